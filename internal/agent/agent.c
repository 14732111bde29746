/*
 * Made in this order, and unmade in the reverse: metrics, loop, spool, transport, capture, sinks,
 * HTTP server. On SIGTERM the streams end first, then what was captured is made durable, then the
 * sinks write what is left, all within 2 seconds.
 */
#include "agent/agent.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/pages.h"
#include "agent/surroundings.h"
#include "base/log.h"
#include "base/str.h"
#include "base/timestamp.h"
#include "capture/capture.h"
#include "loop/loop.h"
#include "loop/timer.h"
#include "sinks/sinks.h"
#include "web/exporter.h"
#include "web/httpd.h"

#define TRIM_FIRST_NS (30 * NS_PER_SECOND)
#define TRIM_INTERVAL_NS (60 * NS_PER_SECOND)
#define MMAP_THRESHOLD_BYTES (640 * 1024)
#define TRIM_THRESHOLD_BYTES (8 * 1024 * 1024)
#define SINK_LIMIT_NS (500 * NS_PER_MS)
#define SPOOL_LIMIT_NS (1000 * NS_PER_MS)

struct agent {
    struct agent_options options;
    struct config config;
    struct config reloaded; /* holds the patterns of the present filter after a SIGHUP */
    struct metrics *metrics;
    struct loop *loop;
    struct spool *spool;
    struct http_client *http;
    struct capture *capture;
    struct sinks *sinks;
    struct buf state_dir; /* of the sinks */
    struct exporter *exporter;
    struct live_tail *live_tail;
    struct httpd *httpd;
    struct pages pages;
    struct docker_client **daemons;
    struct filter filter;
    char own_id[72];
    struct loop_timer trim_timer;
    struct metric reloads;
    struct metric reload_failures;
};

/* ---- from configuration to options of the parts ---- */

static void apply_log(const struct config *config)
{
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    enum log_level level = LOG_LEVEL_INFO;
    for (int i = 0; i < 4; i++) {
        if (strcmp(config->log_level, levels[i]) == 0) {
            level = (enum log_level)i;
        }
    }
    log_configure(level,
                  strcmp(config->log_format, "json") == 0 ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT);
}

static struct filter_list list_of(const struct text_list *list)
{
    return (struct filter_list){(const char *const *)list->items, list->count};
}

static struct filter_rules rules_of(const struct config_rules *rules)
{
    return (struct filter_rules){.name = list_of(&rules->name),
                                 .label = list_of(&rules->label),
                                 .image = list_of(&rules->image),
                                 .project = list_of(&rules->project),
                                 .driver = list_of(&rules->driver)};
}

static struct filter filter_of(const struct config *config)
{
    return (struct filter){rules_of(&config->include), rules_of(&config->exclude)};
}

/* ---- the parts ---- */

static void handle_pressure(bool pressure, void *data)
{
    struct agent *agent = data;
    if (agent->capture != NULL) {
        capture_set_pressure(agent->capture, pressure);
    }
}

static int open_spool(struct agent *agent, struct error *error)
{
    const struct config *config = &agent->config;
    struct spool_options options = {
        .loop = agent->loop,
        .metrics = agent->metrics,
        .dir = config->spool_dir,
        .limit_bytes = config->limit_bytes,
        .age_ns = config->age_ns,
        .commit_interval_ns = config->commit_interval_ns,
        .commit_bytes = config->commit_bytes,
        .codec = strcmp(config->compression, "zstd") == 0 ? SPOOL_CODEC_ZSTD : SPOOL_CODEC_NONE,
        .on_pressure = handle_pressure,
        .data = agent};
    int rc = spool_open(&options, &agent->spool, error);
    if (rc == -EACCES || rc == -EPERM || rc == -ENOENT) {
        error_prefix(error, "the spool's folder must be writable; --data-dir names another one");
    }
    return rc;
}

static int create_http(struct agent *agent)
{
    const struct config *config = &agent->config;
    return http_client_create(
        &(struct http_client_options){.loop = agent->loop,
                                      .metrics = agent->metrics,
                                      .idle_total = (uint32_t)config->idle_total,
                                      .idle_per_host = (uint32_t)config->idle_per_host,
                                      .idle_timeout_ns = config->idle_timeout_ns,
                                      .keepalive_ns = config->keepalive_ns,
                                      .follows_limit = (uint32_t)config->follows,
                                      .opens_limit = (uint32_t)config->opens},
        &agent->http);
}

static int create_daemon(struct agent *agent, const struct config_daemon *daemon,
                         struct docker_client **ret_client, struct error *error)
{
    struct endpoint endpoint;
    struct endpoint_tls tls = {.insecure = daemon->insecure};
    (void)str_copy(tls.ca, sizeof(tls.ca), daemon->ca != NULL ? daemon->ca : "");
    (void)str_copy(tls.cert, sizeof(tls.cert), daemon->cert != NULL ? daemon->cert : "");
    (void)str_copy(tls.key, sizeof(tls.key), daemon->key != NULL ? daemon->key : "");
    int rc = endpoint_parse(daemon->url, &tls, &endpoint, error);
    return rc != 0 ? rc : docker_client_create(agent->http, daemon->name, &endpoint, ret_client);
}

static int create_daemons(struct agent *agent, struct error *error)
{
    const struct config *config = &agent->config;
    agent->daemons = calloc(config->daemon_count, sizeof(struct docker_client *));
    int rc = agent->daemons == NULL ? -ENOMEM : 0;
    for (size_t i = 0; rc == 0 && i < config->daemon_count; i++) {
        rc = create_daemon(agent, &config->daemons[i], &agent->daemons[i], error);
    }
    return rc;
}

static void pause_reading(bool paused, void *data)
{
    struct agent *agent = data;
    http_client_pause_follows(agent->http, paused);
}

static int create_capture(struct agent *agent)
{
    const struct config *config = &agent->config;
    agent->filter = filter_of(config);
    surroundings_own_id(agent->own_id, sizeof(agent->own_id));
    return capture_create(
        &(struct capture_options){.loop = agent->loop,
                                  .metrics = agent->metrics,
                                  .spool = agent->spool,
                                  .daemons = agent->daemons,
                                  .daemon_count = config->daemon_count,
                                  .filter = &agent->filter,
                                  .own_id = agent->own_id,
                                  .since_now = strcmp(config->since, "now") == 0,
                                  .max_line_bytes = (size_t)config->max_line_bytes,
                                  .relist_interval_ns = config->relist_interval_ns,
                                  .idle_probe_ns = config->idle_probe_ns,
                                  .stream_max_lifetime_ns = config->stream_max_lifetime_ns,
                                  .pause_reading = pause_reading,
                                  .data = agent},
        &agent->capture);
}

static int create_sinks(struct agent *agent, struct error *error)
{
    struct config *config = &agent->config;
    buf_init(&agent->state_dir, 0);
    int rc = buf_printf(&agent->state_dir, "%s/sinks", config->spool_dir);
    if (rc != 0 || buf_terminated(&agent->state_dir) == NULL) {
        return -ENOMEM;
    }
    rc = sinks_create(&(struct sinks_options){.loop = agent->loop,
                                              .spool = agent->spool,
                                              .metrics = agent->metrics,
                                              .state_dir = agent->state_dir.data},
                      &agent->sinks);
    if (rc == 0) {
        size_t count = config->sink_count;
        config->sink_count = 0;
        rc = sinks_apply(agent->sinks, config->sinks, count, error);
    }
    return rc;
}

static int create_httpd(struct agent *agent, struct error *error)
{
    const char *listen_on = agent->config.listen;
    if (listen_on[0] == '\0') {
        listen_on = surroundings_in_container() ? ":8001" : "127.0.0.1:8001";
    }
    agent->pages = (struct pages){.exporter = agent->exporter,
                                  .capture = agent->capture,
                                  .spool = agent->spool,
                                  .sinks = agent->sinks,
                                  .http = agent->http,
                                  .live_tail = agent->live_tail,
                                  .version = agent->options.version};
    int rc = httpd_create(&(struct httpd_options){.loop = agent->loop,
                                                  .metrics = agent->metrics,
                                                  .listen = listen_on,
                                                  .routes = pages_routes(),
                                                  .data = &agent->pages},
                          &agent->httpd, error);
    if (rc == 0) {
        log_info("listening on %s, port %u: /metrics, /readyz, /api/v1/status", listen_on,
                 (unsigned)httpd_port(agent->httpd));
    } else if (rc == -EADDRINUSE) {
        error_prefix(error, "is another log_capturer running? --listen takes another port");
    }
    return rc;
}

/* ---- signals ---- */

static void warn_needs_restart(const struct config *old, const struct config *new)
{
    for (const struct option_row *row = option_rows; row->path != NULL; row++) {
        char before[4096];
        char after[4096];
        if (!row->live && option_get(old, row, before, sizeof(before)) == 0 &&
            option_get(new, row, after, sizeof(after)) == 0 && strcmp(before, after) != 0) {
            log_warn("reload: %s takes effect at the next start", row->path);
        }
    }
    bool same = old->daemon_count == new->daemon_count;
    for (size_t i = 0; same && i < old->daemon_count; i++) {
        same = strcmp(old->daemons[i].name, new->daemons[i].name) == 0 &&
               strcmp(old->daemons[i].url, new->daemons[i].url) == 0;
    }
    if (!same) {
        log_warn("reload: docker takes effect at the next start");
    }
}

static void reload(struct agent *agent)
{
    struct config fresh;
    struct config_errors *errors = calloc(1, sizeof(*errors));
    if (errors == NULL || config_load(&agent->options.sources, &fresh, errors) != 0) {
        metric_add(&agent->reload_failures, 1);
        for (size_t i = 0; errors != NULL && i < errors->count && i < CONFIG_ERROR_LIMIT; i++) {
            log_error("%s", errors->errors[i].text);
        }
        log_error("reload: the configuration stays as it was");
        free(errors);
        return;
    }
    free(errors);
    warn_needs_restart(&agent->config, &fresh);
    apply_log(&fresh);
    agent->filter = filter_of(&fresh);
    capture_set_filter(agent->capture, &agent->filter);
    size_t sink_count = fresh.sink_count;
    fresh.sink_count = 0;
    (void)sinks_apply(agent->sinks, fresh.sinks, sink_count, NULL);
    config_finish(&agent->reloaded);
    agent->reloaded = fresh;
    metric_add(&agent->reloads, 1);
    log_info("reload: filters, sinks and log settings are applied");
}

static void handle_signal(int number, void *data)
{
    struct agent *agent = data;
    if (number == SIGHUP) {
        reload(agent);
    } else {
        log_info("%s: stopping", strsignal(number));
        loop_stop(agent->loop);
    }
}

/* ---- memory ---- */

/* What a start with many containers or a burst needed goes back to the system. */
static void handle_trim(struct loop_timer *timer, void *data)
{
    (void)data;
    (void)malloc_trim(0);
    loop_timer_arm(timer, TRIM_INTERVAL_NS);
}

/* The C library would keep large blocks, such as batches, once some were freed. Frames of the spool
 * (256 KiB) come and go all the time and stay below. */
static void limit_memory(void)
{
    (void)mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES);
    (void)mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES);
}

/* ---- life ---- */

static int register_metrics(struct agent *agent)
{
    int rc = metrics_add(agent->metrics, &agent->reloads,
                         &(struct metric_desc){.name = "log_capturer_config_reloads_total",
                                               .help = "Configurations applied by SIGHUP."});
    return rc != 0 ? rc
                   : metrics_add(
                         agent->metrics, &agent->reload_failures,
                         &(struct metric_desc){.name = "log_capturer_config_reload_failures_total",
                                               .help = "SIGHUPs whose configuration was refused."});
}

static int build(struct agent *agent, struct error *error)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, 0};
    error_set(error, "out of memory");
    int rc = metrics_create(&agent->metrics);
    rc = rc != 0 ? rc : register_metrics(agent);
    rc = rc != 0 ? rc : loop_create(clock_real(), &agent->loop);
    rc = rc != 0 ? rc : loop_register_metrics(agent->loop, agent->metrics);
    rc = rc != 0 ? rc : loop_signals_add(agent->loop, signals, handle_signal, agent);
    rc = rc != 0 ? rc : open_spool(agent, error);
    rc = rc != 0 ? rc : create_http(agent);
    rc = rc != 0 ? rc : create_daemons(agent, error);
    rc = rc != 0 ? rc : create_capture(agent);
    rc = rc != 0 ? rc : create_sinks(agent, error);
    rc = rc != 0 ? rc : exporter_create(agent->metrics, agent->options.version, &agent->exporter);
    rc = rc != 0 ? rc
                 : live_tail_create(&(struct live_tail_options){.loop = agent->loop,
                                                                .metrics = agent->metrics,
                                                                .spool = agent->spool},
                                    &agent->live_tail);
    return rc != 0 ? rc : create_httpd(agent, error);
}

/* Returns 0 when everything captured is durable. */
static int tear_down(struct agent *agent)
{
    httpd_destroy(agent->httpd);
    live_tail_destroy(agent->live_tail);
    exporter_destroy(agent->exporter);
    if (agent->capture != NULL) {
        capture_stop(agent->capture);
    }
    if (agent->http != NULL) {
        http_client_shutdown(agent->http);
    }
    capture_destroy(agent->capture);
    for (size_t i = 0; agent->daemons != NULL && i < agent->config.daemon_count; i++) {
        docker_client_destroy(agent->daemons[i]);
    }
    http_client_destroy(agent->http);
    if (agent->spool != NULL) {
        spool_flush(agent->spool);
    }
    sinks_destroy(agent->sinks, SINK_LIMIT_NS);
    buf_finish(&agent->state_dir);
    int rc = agent->spool != NULL ? spool_close(agent->spool, SPOOL_LIMIT_NS) : 0;
    loop_destroy(agent->loop);
    metric_finish(&agent->reloads);
    metric_finish(&agent->reload_failures);
    metrics_destroy(agent->metrics);
    free(agent->daemons);
    config_finish(&agent->reloaded);
    config_finish(&agent->config);
    return rc;
}

int agent_run(const struct agent_options *options)
{
    struct agent *agent = calloc(1, sizeof(*agent));
    if (agent == NULL) {
        log_error("out of memory");
        return 1;
    }
    agent->options = *options;
    agent->config = *options->config;
    *options->config = (struct config){0};
    apply_log(&agent->config);
    limit_memory();
    surroundings_raise_fd_limit();
    (void)signal(SIGPIPE, SIG_IGN);

    struct error error;
    int rc = build(agent, &error);
    if (rc != 0) {
        log_error("%s", error.text);
    } else {
        capture_start(agent->capture);
        loop_timer_init(agent->loop, &agent->trim_timer, handle_trim, agent);
        loop_timer_arm(&agent->trim_timer, TRIM_FIRST_NS);
        rc = loop_run(agent->loop);
        loop_timer_disarm(&agent->trim_timer);
        if (rc != 0) {
            log_error("the event loop failed: %s", strerror(-rc));
        }
    }
    int left = tear_down(agent);
    if (left != 0) {
        log_error("not everything captured could be written; it will be captured again");
    }
    free(agent);
    return rc == 0 && left == 0 ? 0 : 1;
}
