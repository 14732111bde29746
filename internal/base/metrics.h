/*
 * Metrics that live in the objects that count. An object embeds struct metric, registers it when
 * it is created and takes it out with metric_finish() before it goes; nothing is looked up on a
 * hot path.
 *
 * Values may be changed from any thread. Registering, removing and rendering belong to the loop
 * thread. Names, help texts and label values follow https://prometheus.io/docs/practices/naming/.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/list.h"

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metric_desc {
    enum metric_type type;
    const char *name;   /* whole, with prefix and unit; counters end in _total */
    const char *help;   /* one sentence; both must outlive the metric */
    const char *labels; /* `a="b",c="d"` made by metrics_append_label(), or NULL; copied */
    double scale;       /* shown = value * scale; 0 means 1. 1e-9 turns nanoseconds to seconds */
    int64_t (*read)(void *data); /* set: asked at each rendering instead of the stored value */
    void *data;
};

struct metric {
    struct list link; /* in its family, or alone */
    _Atomic int64_t value;
    int64_t (*read)(void *data);
    void *data;
    double scale;
    char *labels;
};

#define METRIC_HISTOGRAM_BUCKETS 16

/* Fixed buckets: upper bound i is first_bound * 2^i in the raw unit; the last is +Inf. */
struct metric_histogram {
    struct metric base;
    int64_t first_bound;
    _Atomic uint64_t buckets[METRIC_HISTOGRAM_BUCKETS + 1];
    _Atomic int64_t sum;
};

struct metrics;
struct metrics_writer;

int metrics_create(struct metrics **ret_metrics) __attribute__((warn_unused_result));
void metrics_destroy(struct metrics *metrics);

/* Each returns 0 or -ENOMEM; after a failure metric_finish() is harmless. */
int metrics_add(struct metrics *metrics, struct metric *metric, const struct metric_desc *desc)
    __attribute__((warn_unused_result));
int metrics_add_histogram(struct metrics *metrics, struct metric_histogram *histogram,
                          const struct metric_desc *desc, int64_t first_bound)
    __attribute__((warn_unused_result));
void metric_finish(struct metric *metric);

static inline void metric_add(struct metric *metric, int64_t amount)
{
    (void)atomic_fetch_add_explicit(&metric->value, amount, memory_order_relaxed);
}

static inline void metric_set(struct metric *metric, int64_t value)
{
    atomic_store_explicit(&metric->value, value, memory_order_relaxed);
}

static inline int64_t metric_get(const struct metric *metric)
{
    return atomic_load_explicit(&metric->value, memory_order_relaxed);
}

void metric_observe(struct metric_histogram *histogram, int64_t value);

/* Families whose series come and go, such as one per container: called at each rendering. */
typedef void (*metrics_collect_fn)(struct metrics_writer *writer, void *data);
int metrics_add_collector(struct metrics *metrics, metrics_collect_fn collect, void *data)
    __attribute__((warn_unused_result));
void metrics_remove_collector(struct metrics *metrics, metrics_collect_fn collect, void *data);
/* Within a collector: opens a family, then one call per series. labels as in metric_desc. */
void metrics_begin(struct metrics_writer *writer, enum metric_type type, const char *name,
                   const char *help);
void metrics_put(struct metrics_writer *writer, const char *labels, double value);

/* Appends `key="value"` (and a comma before it where needed), escaped. */
int metrics_append_label(struct buf *labels, const char *key, const char *value)
    __attribute__((warn_unused_result));

enum metrics_format { METRICS_PROMETHEUS, METRICS_OPENMETRICS };
/* Prometheus text 0.0.4 or OpenMetrics 1.0.0. Returns 0 or what buf returned. */
int metrics_render(struct metrics *metrics, enum metrics_format format, struct buf *out)
    __attribute__((warn_unused_result));
