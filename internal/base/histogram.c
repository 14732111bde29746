/* Values below 64 have a cell each; from there on a cell is the 64th part of a power of two. */
#include "base/histogram.h"

#include <string.h>

static size_t cell_of(uint64_t value)
{
    if (value < HISTOGRAM_PARTS) {
        return (size_t)value;
    }
    unsigned power = 63U - (unsigned)__builtin_clzll(value); /* 6 or more */
    unsigned shift = power - 6;
    size_t cell = (size_t)(shift + 1) * HISTOGRAM_PARTS +
                  (size_t)((value >> shift) - HISTOGRAM_PARTS);
    return cell < HISTOGRAM_CELLS ? cell : HISTOGRAM_CELLS - 1;
}

uint64_t histogram_cell_end(size_t cell)
{
    if (cell < HISTOGRAM_PARTS) {
        return cell;
    }
    unsigned shift = (unsigned)(cell / HISTOGRAM_PARTS) - 1;
    return ((HISTOGRAM_PARTS + cell % HISTOGRAM_PARTS + 1) << shift) - 1;
}

void histogram_clear(struct histogram *histogram)
{
    memset(histogram, 0, sizeof(*histogram));
}

void histogram_record(struct histogram *histogram, uint64_t value, uint64_t times)
{
    if (times == 0) {
        return;
    }
    histogram->least = histogram->count == 0 || value < histogram->least ? value : histogram->least;
    histogram->most = value > histogram->most ? value : histogram->most;
    histogram->count += times;
    histogram->sum += value * times;
    histogram->cells[cell_of(value)] += times;
}

void histogram_record_corrected(struct histogram *histogram, uint64_t value, uint64_t interval)
{
    histogram_record(histogram, value, 1);
    while (interval > 0 && value > interval) {
        value -= interval;
        histogram_record(histogram, value, 1);
    }
}

void histogram_merge(struct histogram *histogram, const struct histogram *other)
{
    if (other->count == 0) {
        return;
    }
    histogram->least = histogram->count == 0 || other->least < histogram->least ? other->least
                                                                                : histogram->least;
    histogram->most = other->most > histogram->most ? other->most : histogram->most;
    histogram->count += other->count;
    histogram->sum += other->sum;
    for (size_t i = 0; i < HISTOGRAM_CELLS; i++) {
        histogram->cells[i] += other->cells[i];
    }
}

uint64_t histogram_percentile(const struct histogram *histogram, double percent)
{
    uint64_t wanted = (uint64_t)(percent / 100 * (double)histogram->count + 0.5);
    uint64_t seen = 0;
    wanted = wanted > 0 ? wanted : 1;
    for (size_t i = 0; i < HISTOGRAM_CELLS; i++) {
        seen += histogram->cells[i];
        if (seen >= wanted && seen > 0) {
            uint64_t end = histogram_cell_end(i);
            return end < histogram->most ? end : histogram->most;
        }
    }
    return histogram->most;
}

double histogram_mean(const struct histogram *histogram)
{
    return histogram->count == 0 ? 0 : (double)histogram->sum / (double)histogram->count;
}

void histogram_correct(struct histogram *ret_corrected, const struct histogram *from,
                       uint64_t interval)
{
    histogram_clear(ret_corrected);
    for (size_t i = 0; i < HISTOGRAM_CELLS; i++) {
        uint64_t value = histogram_cell_end(i);
        value = value < from->most ? value : from->most;
        uint64_t times = from->cells[i];
        histogram_record(ret_corrected, value, times);
        while (times > 0 && interval > 0 && value > interval) {
            value -= interval;
            histogram_record(ret_corrected, value, times);
        }
    }
}
