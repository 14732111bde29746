/* Owns the monitors and what they share: counters, the filter, back-pressure. */
#include "capture/capture.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/timestamp.h"
#include "capture/capture_shared.h"
#include "capture/monitor.h"

#define PRESSURE_LIMIT_NS (3 * NS_PER_SECOND)
#define CONTAINER_SERIES_LIMIT 1000

struct capture {
    struct capture_shared shared;
    struct monitor **monitors;
    size_t monitor_count;
    struct loop_timer pressure_timer;
    bool collecting;
};

static int register_enumerated(struct capture_shared *shared)
{
    struct metrics *metrics = shared->options.metrics;
    int rc = 0;
    for (int i = 0; rc == 0 && i < STREAM_END_COUNT + CONTAINER_STATE_COUNT; i++) {
        char storage[64];
        struct buf labels;
        buf_init_fixed(&labels, storage, sizeof(storage));
        bool is_end = i < STREAM_END_COUNT;
        int state = i - STREAM_END_COUNT;
        rc = is_end ? metrics_append_label(&labels, "reason", stream_end_name((enum stream_end)i))
                    : metrics_append_label(&labels, "state",
                                           container_state_name((enum container_state)state));
        const char *text = buf_terminated(&labels);
        struct metric_desc end = {METRIC_COUNTER,
                                  "log_capturer_streams_ended_total",
                                  "Container log streams that ended, by reason.",
                                  text,
                                  1,
                                  NULL,
                                  NULL};
        struct metric_desc at = {
            METRIC_GAUGE, "log_capturer_containers", "Known containers, by state.", text, 1, NULL,
            NULL};
        if (rc == 0 && text != NULL) {
            rc = is_end ? metrics_add(metrics, &shared->ended[i], &end)
                        : metrics_add(metrics, &shared->states[state], &at);
        }
    }
    return rc;
}

static int register_metrics(struct capture_shared *shared)
{
    const struct {
        struct metric *metric;
        enum metric_type type;
        const char *name;
        const char *help;
    } rows[] = {
        {&shared->lines, METRIC_COUNTER, "log_capturer_lines_captured_total",
         "Lines taken into the spool."},
        {&shared->bytes, METRIC_COUNTER, "log_capturer_bytes_captured_total",
         "Bytes of these lines, without newlines."},
        {&shared->truncated, METRIC_COUNTER, "log_capturer_lines_truncated_total",
         "Lines longer than capture.max_line, cut there."},
        {&shared->gaps, METRIC_COUNTER, "log_capturer_capture_gaps_total",
         "Times that lines may have been lost: the last captured one was gone, a follow was "
         "overtaken by rotation, or a container was removed before it was read."},
        {&shared->repeated, METRIC_COUNTER, "log_capturer_lines_repeated_total",
         "Lines that the daemon sent twice and that were dropped once."},
        {&shared->daemon_errors, METRIC_COUNTER, "log_capturer_daemon_log_errors_total",
         "Error texts that daemons put into log streams."},
        {&shared->opened, METRIC_COUNTER, "log_capturer_streams_opened_total",
         "Container log streams opened."},
        {&shared->active, METRIC_GAUGE, "log_capturer_streams_active",
         "Container log streams that are open."},
        {&shared->probes, METRIC_COUNTER, "log_capturer_idle_probes_total",
         "Silent streams that were checked."},
        {&shared->events, METRIC_COUNTER, "log_capturer_daemon_events_total",
         "Container events heard."},
        {&shared->bad_events, METRIC_COUNTER, "log_capturer_daemon_events_unreadable_total",
         "Events that could not be read."},
        {&shared->listings, METRIC_COUNTER, "log_capturer_daemon_listings_total",
         "Listings of all containers."},
        {&shared->connects, METRIC_COUNTER, "log_capturer_daemon_connects_total",
         "Times that a daemon was reached and listed after it had not been."},
    };
    struct metrics *metrics = shared->options.metrics;
    int rc = register_enumerated(shared);
    for (size_t i = 0; rc == 0 && i < sizeof(rows) / sizeof(rows[0]); i++) {
        rc = metrics_add(metrics, rows[i].metric,
                         &(struct metric_desc){
                             .type = rows[i].type, .name = rows[i].name, .help = rows[i].help});
    }
    return rc != 0 ? rc
                   : metrics_add_histogram(
                         metrics, &shared->delay,
                         &(struct metric_desc){
                             .name = "log_capturer_capture_delay_seconds",
                             .help = "Time from a line's timestamp until it was captured; one line "
                                     "in 256 of each container.",
                             .scale = 1e-9},
                         1000000);
}

static void finish_metrics(struct capture_shared *shared)
{
    struct metric *const all[] = {&shared->lines,    &shared->bytes,      &shared->truncated,
                                  &shared->gaps,     &shared->repeated,   &shared->daemon_errors,
                                  &shared->opened,   &shared->active,     &shared->probes,
                                  &shared->events,   &shared->bad_events, &shared->listings,
                                  &shared->connects, &shared->delay.base};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        metric_finish(all[i]);
    }
    for (int i = 0; i < STREAM_END_COUNT; i++) {
        metric_finish(&shared->ended[i]);
    }
    for (int i = 0; i < CONTAINER_STATE_COUNT; i++) {
        metric_finish(&shared->states[i]);
    }
}

static void put_container_series(struct metrics_writer *writer, const struct capture *capture,
                                 double (*value)(const struct container *container))
{
    size_t left = CONTAINER_SERIES_LIMIT;
    for (size_t i = 0; i < capture->monitor_count; i++) {
        left = monitor_put_series(capture->monitors[i], writer, value, left);
    }
}

static double value_of_lines(const struct container *container)
{
    return (double)container->lines;
}

static double value_of_last_line(const struct container *container)
{
    return (double)container->last_time_ns / 1e9;
}

static double value_of_running(const struct container *container)
{
    return container->running ? 1 : 0;
}

static void collect(struct metrics_writer *writer, void *data)
{
    metrics_begin(writer, METRIC_COUNTER, "log_capturer_container_lines_total",
                  "Lines captured of one container since it was seen; 1,000 containers at most.");
    put_container_series(writer, data, value_of_lines);
    metrics_begin(writer, METRIC_GAUGE, "log_capturer_container_last_line_timestamp_seconds",
                  "Time of its last captured line.");
    put_container_series(writer, data, value_of_last_line);
    metrics_begin(writer, METRIC_GAUGE, "log_capturer_container_running",
                  "1 while the container runs.");
    put_container_series(writer, data, value_of_running);
}

static void handle_long_pressure(struct loop_timer *timer, void *data)
{
    (void)timer;
    struct capture *capture = data;
    capture->shared.paused = true;
    log_warn("the spool takes no more lines: container streams are closed until it does; the "
             "daemons keep the logs");
    for (size_t i = 0; i < capture->monitor_count; i++) {
        monitor_pause(capture->monitors[i], true);
    }
}

void capture_set_pressure(struct capture *capture, bool pressure)
{
    struct capture_shared *shared = &capture->shared;
    if (shared->stopping) {
        return;
    }
    shared->options.pause_reading(pressure, shared->options.data);
    if (pressure) {
        loop_timer_arm(&capture->pressure_timer, PRESSURE_LIMIT_NS);
        return;
    }
    loop_timer_disarm(&capture->pressure_timer);
    if (shared->paused) {
        shared->paused = false;
        log_info("the spool takes lines again");
        for (size_t i = 0; i < capture->monitor_count; i++) {
            monitor_pause(capture->monitors[i], false);
        }
    }
}

int capture_create(const struct capture_options *options, struct capture **ret_capture)
{
    struct capture *capture = calloc(1, sizeof(*capture));
    if (capture == NULL) {
        return -ENOMEM;
    }
    capture->shared.options = *options;
    loop_timer_init(options->loop, &capture->pressure_timer, handle_long_pressure, capture);
    capture->monitors = calloc(options->daemon_count + 1, sizeof(struct monitor *));
    int rc = capture->monitors == NULL ? -ENOMEM : register_metrics(&capture->shared);
    if (rc == 0) {
        rc = metrics_add_collector(options->metrics, collect, capture);
        capture->collecting = rc == 0;
    }
    for (size_t i = 0; rc == 0 && i < options->daemon_count; i++) {
        rc = monitor_create(&capture->shared, options->daemons[i], &capture->monitors[i]);
        capture->monitor_count += rc == 0;
    }
    if (rc != 0) {
        capture_destroy(capture);
        return rc;
    }
    *ret_capture = capture;
    return 0;
}

void capture_start(struct capture *capture)
{
    for (size_t i = 0; i < capture->monitor_count; i++) {
        monitor_start(capture->monitors[i]);
    }
}

void capture_stop(struct capture *capture)
{
    capture->shared.stopping = true;
    loop_timer_disarm(&capture->pressure_timer);
    for (size_t i = 0; i < capture->monitor_count; i++) {
        monitor_stop(capture->monitors[i]);
    }
}

void capture_destroy(struct capture *capture)
{
    if (capture == NULL) {
        return;
    }
    if (capture->collecting) {
        metrics_remove_collector(capture->shared.options.metrics, collect, capture);
    }
    for (size_t i = 0; capture->monitors != NULL && i < capture->monitor_count; i++) {
        monitor_destroy(capture->monitors[i]);
    }
    finish_metrics(&capture->shared);
    free(capture->monitors);
    free(capture);
}

void capture_set_filter(struct capture *capture, const struct filter *filter)
{
    capture->shared.options.filter = filter;
    for (size_t i = 0; i < capture->monitor_count; i++) {
        monitor_reinspect(capture->monitors[i]);
    }
}

bool capture_is_ready(const struct capture *capture, struct error *reason)
{
    for (size_t i = 0; i < capture->monitor_count; i++) {
        if (!monitor_is_ready(capture->monitors[i], reason)) {
            return false;
        }
    }
    return true;
}

void capture_put_daemons(const struct capture *capture, struct json_writer *writer)
{
    for (size_t i = 0; i < capture->monitor_count; i++) {
        monitor_put(capture->monitors[i], writer);
    }
}

void capture_put_containers(const struct capture *capture, struct json_writer *writer)
{
    for (size_t i = 0; i < capture->monitor_count; i++) {
        monitor_put_containers(capture->monitors[i], writer);
    }
}

size_t capture_active_streams(const struct capture *capture)
{
    return (size_t)metric_get(&capture->shared.active);
}
