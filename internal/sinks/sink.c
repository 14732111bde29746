/*
 * Life and figures of a sink. Everything is made on the loop's thread; the thread only works, and
 * ends; then everything is freed on the loop's thread again.
 */
#include "sinks/sink.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"
#include "base/timestamp.h"
#include "sinks/sink_dead_letters.h"
#include "sinks/sink_private.h"
#include "sinks/sink_scratch.h"

#define RETRY_FIRST_NS (250 * NS_PER_MS)

const char *sink_verdict_name(enum sink_verdict verdict)
{
    static const char *const names[] = {"delivered", "retry", "rejected", "unreachable", "denied"};
    return names[verdict];
}

/* ---- metrics ---- */

static int64_t read_connections(void *data)
{
    const struct sink *sink = data;
    return sink->http != NULL ? (int64_t)http_sender_sockets(sink->http)
           : sink->type->connections != NULL && sink->state != NULL
               ? sink->type->connections(sink->state)
               : 0;
}

static int64_t read_lag_ns(void *data)
{
    struct sink *sink = data;
    int64_t oldest = atomic_load(&sink->oldest_ns);
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    int64_t lag = (int64_t)now.tv_sec * NS_PER_SECOND + now.tv_nsec - oldest;
    return oldest == 0 || lag < 0 ? 0 : lag;
}

static int add_metrics(struct sink *sink, const char *labels)
{
    struct metrics *metrics = sink->options.metrics;
    const struct {
        struct metric *metric;
        struct metric_desc desc;
    } rows[] = {
        {&sink->delivered,
         {.name = "log_capturer_sink_lines_delivered_total", .help = "Lines that a sink took."}},
        {&sink->delivered_bytes,
         {.name = "log_capturer_sink_line_bytes_delivered_total", .help = "Bytes of these lines."}},
        {&sink->sent_bytes,
         {.name = "log_capturer_sink_sent_bytes_total",
          .help = "Bytes of what was sent, encoded and compressed, repetitions included."}},
        {&sink->retries,
         {.name = "log_capturer_sink_retries_total",
          .help = "Sends that repeated an earlier one."}},
        {&sink->dead_letters,
         {.name = "log_capturer_sink_dead_letters_total",
          .help = "Lines that a target rejected for good, kept in the dead-letter file."}},
        {&sink->filtered,
         {.name = "log_capturer_sink_lines_filtered_total",
          .help = "Lines that include and exclude of the sink left out."}},
        {&sink->circuit_open,
         {.type = METRIC_GAUGE,
          .name = "log_capturer_sink_circuit_open",
          .help = "1 after 5 failures in a row, until a send succeeds."}},
        {&sink->denied_metric,
         {.type = METRIC_GAUGE,
          .name = "log_capturer_sink_denied",
          .help = "1 while the target answers that we may not, or that it is not there."}},
        {&sink->connections,
         {.type = METRIC_GAUGE,
          .name = "log_capturer_sink_connections",
          .help = "Open sockets to the target.",
          .read = read_connections,
          .data = sink}},
    };
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct metric_desc desc = rows[i].desc;
        desc.labels = labels;
        rc = metrics_add(metrics, rows[i].metric, &desc);
    }
    return rc != 0 ? rc
                   : metrics_add_histogram(
                         metrics, &sink->send_seconds,
                         &(struct metric_desc){.name = "log_capturer_sink_send_seconds",
                                               .help = "Time from a send to its answer.",
                                               .labels = labels,
                                               .scale = 1e-9},
                         NS_PER_MS);
}

static int add_send_metrics(struct sink *sink, struct buf *labels)
{
    size_t size = labels->size;
    int rc = 0;
    for (int i = 0; rc == 0 && i < SINK_VERDICTS; i++) {
        labels->size = size;
        rc = metrics_append_label(labels, "verdict", sink_verdict_name((enum sink_verdict)i));
        const char *text = buf_terminated(labels);
        rc = rc != 0 ? rc
             : text == NULL
                 ? -ENOMEM
                 : metrics_add(sink->options.metrics, &sink->sends[i],
                               &(struct metric_desc){.name = "log_capturer_sink_sends_total",
                                                     .help = "Batches sent, by what came of it.",
                                                     .labels = text});
    }
    return rc;
}

static int add_lag_metric(struct sink *sink, struct buf *labels)
{
    buf_clear(labels);
    int rc = metrics_append_label(labels, "cursor", sink->settings->name);
    const char *text = buf_terminated(labels);
    return rc != 0        ? rc
           : text == NULL ? -ENOMEM
                          : metrics_add(sink->options.metrics, &sink->lag_seconds,
                                        &(struct metric_desc){
                                            .type = METRIC_GAUGE,
                                            .name = "log_capturer_cursor_lag_seconds",
                                            .help = "Age of the oldest line that is not done with, "
                                                    "by its own timestamp; 0 when none waits.",
                                            .labels = text,
                                            .scale = 1e-9,
                                            .read = read_lag_ns,
                                            .data = sink});
}

static int register_metrics(struct sink *sink)
{
    struct buf labels;
    struct buf *own = &sink->metric_labels;
    buf_init(&labels, 0);
    int rc = metrics_append_label(own, "sink", sink->settings->name);
    rc = rc != 0 ? rc : metrics_append_label(own, "type", sink->type->name);
    rc = rc != 0 ? rc : buf_terminated(own) == NULL ? -ENOMEM : 0;
    rc = rc != 0 ? rc : add_metrics(sink, own->data);
    rc = rc != 0 ? rc : buf_append(&labels, own->data, own->size);
    rc = rc != 0 ? rc : add_send_metrics(sink, &labels);
    rc = rc != 0 ? rc : add_lag_metric(sink, &labels);
    buf_finish(&labels);
    return rc;
}

static void finish_metrics(struct sink *sink)
{
    struct metric *const all[] = {&sink->delivered,    &sink->delivered_bytes,  &sink->sent_bytes,
                                  &sink->retries,      &sink->dead_letters,     &sink->filtered,
                                  &sink->circuit_open, &sink->denied_metric,    &sink->connections,
                                  &sink->lag_seconds,  &sink->send_seconds.base};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        metric_finish(all[i]);
    }
    for (int i = 0; i < SINK_VERDICTS; i++) {
        metric_finish(&sink->sends[i]);
    }
}

/* ---- state ---- */

void sink_set_problem(struct sink *sink, enum sink_state state, const char *text, size_t size)
{
    (void)pthread_mutex_lock(&sink->lock);
    size = size < sizeof(sink->problem) - 1 ? size : sizeof(sink->problem) - 1;
    for (size_t i = 0; text != NULL && i < size; i++) {
        sink->problem[i] = (unsigned char)text[i] < ' ' ? ' ' : text[i];
    }
    sink->problem[text == NULL ? 0 : size] = '\0';
    (void)pthread_mutex_unlock(&sink->lock);
    atomic_store(&sink->state_number, (int)state);
    metric_set(&sink->circuit_open, state == SINK_OPEN);
    metric_set(&sink->denied_metric, state == SINK_HELD);
}

void sink_status(struct sink *sink, struct sink_status *ret_status)
{
    static const char *const words[] = {"running", "retrying", "open", "denied", "stopped"};
    *ret_status = (struct sink_status){.state = words[atomic_load(&sink->state_number)],
                                       .delivered_lines = (uint64_t)metric_get(&sink->delivered),
                                       .retries = (uint64_t)metric_get(&sink->retries),
                                       .dead_letters = (uint64_t)metric_get(&sink->dead_letters)};
    spool_reader_lag(sink->reader, &ret_status->lag_lines, &ret_status->lag_bytes);
    (void)pthread_mutex_lock(&sink->lock);
    (void)str_copy(ret_status->problem, sizeof(ret_status->problem), sink->problem);
    (void)pthread_mutex_unlock(&sink->lock);
}

const struct sink_settings *sink_settings_of(const struct sink *sink)
{
    return sink->settings;
}

/* ---- life ---- */

static struct filter_list list_of(const struct text_list *list)
{
    return (struct filter_list){(const char *const *)list->items, list->count};
}

static int make_lanes(struct sink *sink)
{
    const struct sink_common *common = &sink->settings->common;
    sink->filter.include.name = list_of(&common->include.container);
    sink->filter.include.label = list_of(&common->include.label);
    sink->filter.exclude.name = list_of(&common->exclude.container);
    sink->filter.exclude.label = list_of(&common->exclude.label);
    sink->backoff = (struct backoff){.first_ns = RETRY_FIRST_NS,
                                     .limit_ns = common->retry_limit_ns};
    sink->lanes = calloc(common->concurrency, sizeof(*sink->lanes));
    if (sink->lanes == NULL) {
        return -ENOMEM;
    }
    sink->lane_count = common->concurrency;
    for (size_t i = 0; i < sink->lane_count; i++) {
        sink->lanes[i].sink = sink;
        sink_batch_init(&sink->lanes[i].batch);
        buf_init(&sink->lanes[i].payload, 0);
    }
    return sink_origins_init(&sink->origins);
}

static int open_files(struct sink *sink, struct error *error)
{
    struct buf path;
    if (mkdir(sink->options.state_dir, 0700) != 0 && errno != EEXIST) {
        int rc = -errno;
        error_set(error, "%s: %s", sink->options.state_dir, strerror(errno));
        return rc;
    }
    buf_init(&path, 0);
    if (sink_dead_letters_path(sink->options.state_dir, sink->settings->name, &path) != 0) {
        buf_finish(&path);
        error_set(error, "out of memory");
        return -ENOMEM;
    }
    sink->dead_letters_path = path.data;
    sink->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    sink->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (sink->wake_fd < 0 || sink->stop_fd < 0) {
        int rc = -errno;
        error_set(error, "eventfd: %s", strerror(-rc));
        return rc;
    }
    return 0;
}

static int create_state(struct sink *sink, struct error *error)
{
    const struct sink_settings *settings = sink->settings;
    int rc = 0;
    sink->scratch = sink->options.scratch;
    if (sink->scratch == NULL) {
        rc = sink_scratch_create(NULL, &sink->own_scratch);
        sink->scratch = sink->own_scratch;
    }
    if (rc == 0 && sink->type->uses_http) {
        struct http_sender_options options;
        sink_settings_http(settings, &options);
        rc = http_sender_create(&options, &sink->http, error);
    }
    return rc != 0 ? rc
                   : sink->type->create(
                         &(struct sink_context){.name = settings->name,
                                                .state_dir = sink->options.state_dir,
                                                .http = sink->http,
                                                .loop = sink->options.loop,
                                                .stop_fd = sink->stop_fd,
                                                .metrics = sink->options.metrics,
                                                .metric_labels = sink->metric_labels.data,
                                                .answer = sink_handle_answer,
                                                .data = sink},
                         settings, &sink->state, error);
}

static int start_thread(struct sink *sink, struct error *error)
{
    /* Signals are the loop's; SIGPIPE becomes EPIPE. */
    sigset_t all;
    sigset_t before;
    char name[16];
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = -pthread_create(&sink->thread, NULL, sink_thread, sink);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        error_set(error, "no thread: %s", strerror(-rc));
        return rc;
    }
    sink->running = true;
    (void)str_copy(name, sizeof(name), "sink-");
    (void)str_copy(name + 5, sizeof(name) - 5, sink->settings->name);
    (void)pthread_setname_np(sink->thread, name);
    return 0;
}

int sink_create(const struct sink_options *options, struct sink **ret_sink, struct error *error)
{
    struct sink *sink = calloc(1, sizeof(*sink));
    if (sink == NULL) {
        sink_settings_destroy(options->settings);
        error_set(error, "out of memory");
        return -ENOMEM;
    }
    sink->options = *options;
    sink->settings = options->settings;
    sink->type = options->settings->type;
    sink->told_ns = INT64_MIN / 2;
    sink->wake_fd = -1;
    sink->stop_fd = -1;
    buf_init(&sink->metric_labels, 0);
    (void)pthread_mutex_init(&sink->lock, NULL);
    error_set(error, "out of memory");
    bool from_start = strcmp(sink->settings->common.start, "beginning") == 0;
    int rc = make_lanes(sink);
    rc = rc != 0 ? rc : register_metrics(sink);
    rc = rc != 0 ? rc : open_files(sink, error);
    rc = rc != 0 ? rc
                 : spool_reader_open(options->spool, sink->settings->name, from_start,
                                     &sink->reader, error);
    rc = rc != 0 ? rc : create_state(sink, error);
    rc = rc != 0 ? rc : start_thread(sink, error);
    if (rc != 0) {
        error_prefix(error, "sinks.%s", sink->settings->name);
        sink_destroy(sink, 0);
        return rc;
    }
    *ret_sink = sink;
    return 0;
}

static void ring(int fd)
{
    uint64_t one = 1;
    if (write(fd, &one, sizeof(one)) < 0) {
        log_warn("eventfd: %s", strerror(errno)); /* it was rung 2^64 times */
    }
}

void sink_stop(struct sink *sink, bool drain)
{
    atomic_store(&sink->draining, drain);
    atomic_store(&sink->stopping, true);
    ring(sink->wake_fd);
    spool_reader_wake(sink->reader);
}

void sink_abort(struct sink *sink)
{
    atomic_store(&sink->aborted, true);
    ring(sink->stop_fd);
    sink_stop(sink, false);
}

bool sink_has_ended(const struct sink *sink)
{
    return atomic_load(&sink->ended);
}

/* Joins within timeout_ns, else aborts and joins. */
static void join(struct sink *sink, int64_t timeout_ns)
{
    struct timespec deadline;
    (void)clock_gettime(CLOCK_REALTIME, &deadline);
    int64_t ns = deadline.tv_nsec + timeout_ns;
    deadline.tv_sec += ns / NS_PER_SECOND;
    deadline.tv_nsec = ns % NS_PER_SECOND;
    if (pthread_timedjoin_np(sink->thread, NULL, &deadline) != 0) {
        sink_abort(sink);
        (void)pthread_join(sink->thread, NULL);
    }
}

static void free_thread_side(struct sink *sink)
{
    for (size_t i = 0; i < sink->lane_count; i++) {
        sink_batch_finish(&sink->lanes[i].batch);
        buf_finish(&sink->lanes[i].payload);
    }
    for (size_t i = 0; i < sink->by_id_count; i++) {
        sink_origin_unref(sink->by_id[i]);
    }
    free(sink->by_id);
    free(sink->lanes);
    if (sink->origins.map.slots != NULL) {
        sink_origins_finish(&sink->origins);
    }
}

void sink_destroy(struct sink *sink, int64_t timeout_ns)
{
    if (sink == NULL) {
        return;
    }
    if (sink->running) {
        if (!atomic_load(&sink->stopping)) {
            sink_stop(sink, true);
        }
        join(sink, timeout_ns);
    }
    if (sink->state != NULL) {
        sink->type->destroy(sink->state);
    }
    finish_metrics(sink);
    http_sender_destroy(sink->http);
    pool_destroy(sink->own_scratch);
    free_thread_side(sink);
    spool_reader_close(sink->reader);
    if (sink->wake_fd >= 0) {
        (void)close(sink->wake_fd);
    }
    if (sink->stop_fd >= 0) {
        (void)close(sink->stop_fd);
    }
    (void)pthread_mutex_destroy(&sink->lock);
    sink_settings_destroy(sink->settings);
    buf_finish(&sink->metric_labels);
    free(sink->dead_letters_path);
    free(sink);
}
