/*
 * The stdout sink: writes each durable record as a line to standard output, from a cursor of its
 * own named "stdout", on a thread of its own.
 *
 * At least once: the cursor is stored each second and at the end, so that a kill may repeat up to a
 * second of output. Created and destroyed on the loop thread.
 */
#pragma once

#include "base/error.h"
#include "base/metrics.h"
#include "process/format.h"
#include "spool/spool.h"

struct stdout_sink;

struct stdout_sink_options {
    struct spool *spool;     /* borrowed for the sink's life */
    struct metrics *metrics; /* borrowed */
    enum format_kind format;
    int fd; /* where to; borrowed */
};

int stdout_sink_create(const struct stdout_sink_options *options, struct stdout_sink **ret_sink,
                       struct error *error) __attribute__((warn_unused_result));
/* Writes what is durable and waiting, for at most timeout_ns, stores the cursor, ends the thread.
 * NULL is ignored. */
void stdout_sink_destroy(struct stdout_sink *sink, int64_t timeout_ns);
