/* What a run has shown: a line of progress, a table, JSON, a drawing. Main thread only. */
#pragma once

#include "bench.h"

/* On a terminal, one line that is overwritten. */
void report_progress(const struct bench *bench);
void report_table(const struct bench *bench);
/* 0 or a negative errno. path `-`: standard output. */
int report_json(const struct bench *bench, const char *path) __attribute__((warn_unused_result));
int report_plot(const struct bench *bench, const char *path) __attribute__((warn_unused_result));

/* ---- for them ---- */

/* The latency corrected for coordinated omission; on a schedule it is as it was measured. */
void report_corrected(const struct bench *bench, struct histogram *ret_latency);
extern const double report_percents[];
#define REPORT_PERCENTS 6
/* Writes what is in the buffer to the file. */
struct buf;
int report_write(const char *path, const struct buf *text) __attribute__((warn_unused_result));
