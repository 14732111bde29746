/*
 * A sink at work: a reader of the spool that delivers elsewhere, on a thread of its own, for ever. One
 * that is slow or dead delays nobody else; it only lags.
 *
 * What it promises. The cursor moves behind a record only once that was delivered, filtered out, or
 * written to the dead letters; so a kill repeats lines at most since the last store of the cursor
 * (each second), and never loses one. A type may do better (the file sink repeats none). Ending and
 * changed settings repeat none, but where a target fails and concurrency is above 1: what other
 * lanes delivered meanwhile comes again. Lines of one stream arrive in their order.
 *
 * All functions belong to the loop's thread unless they say otherwise.
 */
#pragma once

#include "base/error.h"
#include "base/metrics.h"
#include "sinks/sink_settings.h"
#include "spool/spool.h"

struct sink;

struct sink_options {
    struct spool *spool;            /* borrowed for the sink's life */
    struct metrics *metrics;        /* borrowed */
    struct loop *loop;              /* borrowed; for types that connect in it */
    struct pool *scratch;           /* borrowed, of sink_scratch.h; NULL: the sink makes its own */
    const char *state_dir;          /* borrowed; made where it is missing */
    struct sink_settings *settings; /* taken over by sink_create(), also when it fails */
    void (*on_ended)(void *data);   /* the thread is about to end; comes on that thread. Optional */
    void *data;
};

int sink_create(const struct sink_options *options, struct sink **ret_sink, struct error *error)
    __attribute__((warn_unused_result));
/* Asks it to end: it takes no more records (drain: none but those that are durable now), sends
 * what it holds, stores its cursor. The first failure ends it too. */
void sink_stop(struct sink *sink, bool drain);
/* Ends what it waits for, at once. */
void sink_abort(struct sink *sink);
/* Whether the thread is done. */
bool sink_has_ended(const struct sink *sink);
/* sink_stop(), then sink_abort() once timeout_ns have passed. NULL is ignored. */
void sink_destroy(struct sink *sink, int64_t timeout_ns);

const struct sink_settings *sink_settings_of(const struct sink *sink);

struct sink_status {
    const char *state; /* running, retrying, open (the circuit breaker), denied, stopped */
    uint64_t lag_lines, lag_bytes;
    uint64_t delivered_lines, retries, dead_letters;
    char problem[256]; /* why it does not run; "" while it does */
};
void sink_status(struct sink *sink, struct sink_status *ret_status);
