/*
 * Counts of values by size, with a relative error of at most 1/64, from 0 to 2^42; larger ones count as
 * that. The scale is HdrHistogram's (http://hdrhistogram.org): each power of two has 64 equal parts.
 * A plain value of about 20 KiB; one thread at a time.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_PARTS 64
#define HISTOGRAM_POWERS 37
#define HISTOGRAM_CELLS ((size_t)HISTOGRAM_PARTS * HISTOGRAM_POWERS)

struct histogram {
    uint64_t count, sum;
    uint64_t least, most; /* as they were; of none: 0 */
    uint64_t cells[HISTOGRAM_CELLS];
};

void histogram_clear(struct histogram *histogram);
void histogram_record(struct histogram *histogram, uint64_t value, uint64_t times);
/*
 * Corrects coordinated omission: a value longer than the interval at which measurements were to be made
 * stands for those that could not be made meanwhile: value - interval, value - 2 interval ... are
 * recorded as well. interval 0: as histogram_record().
 */
void histogram_record_corrected(struct histogram *histogram, uint64_t value, uint64_t interval);
void histogram_merge(struct histogram *histogram, const struct histogram *other);
/* The value that `percent` of all do not exceed (0 to 100); 0 of none. */
uint64_t histogram_percentile(const struct histogram *histogram, double percent);
double histogram_mean(const struct histogram *histogram);
/* The largest value that counts in the same cell. */
uint64_t histogram_cell_end(size_t cell);
/* A copy of `from` in which every value is corrected. */
void histogram_correct(struct histogram *ret_corrected, const struct histogram *from,
                       uint64_t interval);
