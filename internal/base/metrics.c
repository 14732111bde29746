/*
 * A registry is a list of families, each a list of series. Families are few (under two hundred)
 * and are searched by name only when something registers. The text formats are those of
 * https://prometheus.io/docs/instrumenting/exposition_formats/ and
 * https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md; they differ
 * here in the family name of counters (OpenMetrics leaves `_total` to the sample) and the `# EOF`.
 */
#include "base/metrics.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

struct metrics {
    struct list families;
    struct list collectors;
};

struct family {
    struct list link;
    struct list series;
    enum metric_type type;
    const char *name;
    const char *help;
};

struct collector {
    struct list link;
    metrics_collect_fn collect;
    void *data;
};

struct metrics_writer {
    struct buf *out;
    enum metrics_format format;
    const char *name;
    int rc;
};

int metrics_create(struct metrics **ret_metrics)
{
    struct metrics *metrics = calloc(1, sizeof(*metrics));
    if (metrics == NULL) {
        return -ENOMEM;
    }
    list_init(&metrics->families);
    list_init(&metrics->collectors);
    *ret_metrics = metrics;
    return 0;
}

void metrics_destroy(struct metrics *metrics)
{
    if (metrics == NULL) {
        return;
    }
    struct list *link;
    struct list *next;
    list_for_each_safe(link, next, &metrics->families)
    {
        struct family *family = container_of(link, struct family, link);
        list_remove(&family->series);
        free(family);
    }
    list_for_each_safe(link, next, &metrics->collectors)
    {
        free(container_of(link, struct collector, link));
    }
    free(metrics);
}

static struct family *find_family(struct metrics *metrics, enum metric_type type, const char *name,
                                  const char *help)
{
    struct list *link;
    struct list *next;
    list_for_each_safe(link, next, &metrics->families)
    {
        struct family *family = container_of(link, struct family, link);
        if (strcmp(family->name, name) == 0) {
            return family;
        }
    }
    struct family *family = calloc(1, sizeof(*family));
    if (family != NULL) {
        *family = (struct family){.type = type, .name = name, .help = help};
        list_init(&family->series);
        list_append(&metrics->families, &family->link);
    }
    return family;
}

int metrics_add(struct metrics *metrics, struct metric *metric, const struct metric_desc *desc)
{
    *metric = (struct metric){
        .scale = desc->scale > 0 ? desc->scale : 1, .read = desc->read, .data = desc->data};
    list_init(&metric->link);
    if (desc->labels != NULL) {
        metric->labels = strdup(desc->labels);
        if (metric->labels == NULL) {
            return -ENOMEM;
        }
    }
    struct family *family = find_family(metrics, desc->type, desc->name, desc->help);
    if (family == NULL) {
        free(metric->labels);
        metric->labels = NULL;
        return -ENOMEM;
    }
    list_append(&family->series, &metric->link);
    return 0;
}

int metrics_add_histogram(struct metrics *metrics, struct metric_histogram *histogram,
                          const struct metric_desc *desc, int64_t first_bound)
{
    struct metric_desc typed = *desc;
    typed.type = METRIC_HISTOGRAM;
    histogram->first_bound = first_bound;
    return metrics_add(metrics, &histogram->base, &typed);
}

void metric_finish(struct metric *metric)
{
    list_remove(&metric->link);
    free(metric->labels);
    metric->labels = NULL;
}

void metric_observe(struct metric_histogram *histogram, int64_t value)
{
    int i = 0;
    for (int64_t bound = histogram->first_bound; i < METRIC_HISTOGRAM_BUCKETS && value > bound;
         bound *= 2) {
        i++;
    }
    (void)atomic_fetch_add_explicit(&histogram->buckets[i], 1, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&histogram->sum, value, memory_order_relaxed);
}

int metrics_add_collector(struct metrics *metrics, metrics_collect_fn collect, void *data)
{
    struct collector *collector = calloc(1, sizeof(*collector));
    if (collector == NULL) {
        return -ENOMEM;
    }
    *collector = (struct collector){.collect = collect, .data = data};
    list_append(&metrics->collectors, &collector->link);
    return 0;
}

void metrics_remove_collector(struct metrics *metrics, metrics_collect_fn collect, void *data)
{
    struct list *link;
    struct list *next;
    list_for_each_safe(link, next, &metrics->collectors)
    {
        struct collector *collector = container_of(link, struct collector, link);
        if (collector->collect == collect && collector->data == data) {
            list_remove(&collector->link);
            free(collector);
        }
    }
}

int metrics_append_label(struct buf *labels, const char *key, const char *value)
{
    int rc = buf_printf(labels, "%s%s=\"", labels->size > 0 ? "," : "", key);
    for (const char *p = value; rc == 0 && *p != '\0'; p++) {
        switch (*p) {
        case '\\':
            rc = buf_append(labels, "\\\\", 2);
            break;
        case '"':
            rc = buf_append(labels, "\\\"", 2);
            break;
        case '\n':
            rc = buf_append(labels, "\\n", 2);
            break;
        default: {
            size_t length = str_utf8_length(p, strlen(p));
            rc = length == 0 ? buf_append(labels, "\xef\xbf\xbd", 3)
                             : buf_append(labels, p, length);
            p += length > 1 ? length - 1 : 0;
        }
        }
    }
    return rc != 0 ? rc : buf_append(labels, "\"", 1);
}

void metrics_begin(struct metrics_writer *writer, enum metric_type type, const char *name,
                   const char *help)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    size_t size = strlen(name);
    if (type == METRIC_COUNTER && writer->format == METRICS_OPENMETRICS && size > 6 &&
        strcmp(name + size - 6, "_total") == 0) {
        size -= 6;
    }
    writer->name = name;
    if (writer->rc == 0) {
        writer->rc = buf_printf(writer->out, "# HELP %.*s %s\n# TYPE %.*s %s\n", (int)size, name,
                                help, (int)size, name, types[type]);
    }
}

static void put_sample(struct metrics_writer *writer, const char *suffix, const char *labels,
                       const char *extra, double value)
{
    if (writer->rc != 0) {
        return;
    }
    labels = labels == NULL ? "" : labels;
    bool both = *labels != '\0' && *extra != '\0';
    bool any = *labels != '\0' || *extra != '\0';
    bool whole = value > -9e15 && value < 9e15 && value == (double)(int64_t)value;
    writer->rc = buf_printf(writer->out, whole ? "%s%s%s%s%s%s%s %.0f\n" : "%s%s%s%s%s%s%s %.15g\n",
                            writer->name, suffix, any ? "{" : "", labels, both ? "," : "", extra,
                            any ? "}" : "", value);
}

void metrics_put(struct metrics_writer *writer, const char *labels, double value)
{
    put_sample(writer, "", labels, "", value);
}

static void put_histogram(struct metrics_writer *writer, struct metric_histogram *histogram)
{
    const struct metric *base = &histogram->base;
    uint64_t total = 0;
    int64_t bound = histogram->first_bound;
    for (int i = 0; i <= METRIC_HISTOGRAM_BUCKETS; i++, bound *= 2) {
        char storage[64];
        struct buf extra;
        buf_init_fixed(&extra, storage, sizeof(storage));
        total += atomic_load_explicit(&histogram->buckets[i], memory_order_relaxed);
        int rc = i < METRIC_HISTOGRAM_BUCKETS
                     ? buf_printf(&extra, "le=\"%.9g\"", (double)bound * base->scale)
                     : buf_append_str(&extra, "le=\"+Inf\"");
        const char *text = buf_terminated(&extra);
        if (rc == 0 && text != NULL) {
            put_sample(writer, "_bucket", base->labels, text, (double)total);
        }
    }
    int64_t sum = atomic_load_explicit(&histogram->sum, memory_order_relaxed);
    put_sample(writer, "_sum", base->labels, "", (double)sum * base->scale);
    put_sample(writer, "_count", base->labels, "", (double)total);
}

static void render_family(struct metrics_writer *writer, struct family *family)
{
    if (list_empty(&family->series)) {
        return;
    }
    metrics_begin(writer, family->type, family->name, family->help);
    struct list *link;
    struct list *next;
    list_for_each_safe(link, next, &family->series)
    {
        struct metric *metric = container_of(link, struct metric, link);
        if (family->type == METRIC_HISTOGRAM) {
            put_histogram(writer, container_of(metric, struct metric_histogram, base));
            continue;
        }
        int64_t value = metric->read != NULL ? metric->read(metric->data) : metric_get(metric);
        metrics_put(writer, metric->labels, (double)value * metric->scale);
    }
}

int metrics_render(struct metrics *metrics, enum metrics_format format, struct buf *out)
{
    struct metrics_writer writer = {.out = out, .format = format};
    struct list *link;
    struct list *next;
    list_for_each_safe(link, next, &metrics->families)
    {
        render_family(&writer, container_of(link, struct family, link));
    }
    list_for_each_safe(link, next, &metrics->collectors)
    {
        struct collector *collector = container_of(link, struct collector, link);
        collector->collect(&writer, collector->data);
    }
    if (writer.rc == 0 && format == METRICS_OPENMETRICS) {
        writer.rc = buf_append_str(out, "# EOF\n");
    }
    return writer.rc;
}
