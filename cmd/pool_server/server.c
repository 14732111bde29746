/* Builds everything from the options, and owns it; signals; the file of backends; draining. */
#include "server.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"
#include "base/timestamp.h"

#define BACKLOG 4096
#define REPORT_NS (10 * NS_PER_SECOND)
#define FILE_LOOK_NS NS_PER_SECOND
#define DRAIN_LOOK_NS (20 * NS_PER_MS)

/* ---- the file of backends ---- */

static void load_backends(struct server *server)
{
    struct error error = {""};
    server->stamp = backends_file_look(server->options.backends);
    if (backends_file_load(server->options.backends, server->upstream, &error) == 0) {
        log_info("%s: %zu backends", server->options.backends, upstream_count(server->upstream));
    } else {
        log_error("%s; the backends stay as they are", error.text);
    }
}

static void handle_file(struct loop_timer *timer, void *data)
{
    struct server *server = data;
    struct backends_file_stamp stamp = backends_file_look(server->options.backends);
    if (!backends_file_same(&stamp, &server->stamp)) {
        load_backends(server);
    }
    loop_timer_arm(timer, FILE_LOOK_NS);
}

static int add_backends(struct server *server, struct error *error)
{
    const struct options *options = &server->options;
    int rc = 0;
    if (options->backends[0] != '\0') {
        server->stamp = backends_file_look(options->backends);
        loop_timer_arm(&server->file_timer, FILE_LOOK_NS);
        return backends_file_load(options->backends, server->upstream, error);
    }
    for (size_t i = 0; rc == 0 && i < options->backend.count; i++) {
        rc = upstream_add(server->upstream, options->backend.items[i], 1, error);
    }
    return rc;
}

/* ---- ending ---- */

static void handle_drain(struct loop_timer *timer, void *data)
{
    struct server *server = data;
    struct relay_stats stats;
    relay_get_stats(server->relay, &stats);
    if (relay_is_over(server->relay)) {
        log_info("all clients have left");
        loop_stop(server->loop);
    } else if (loop_now_ns(server->loop) >= server->drain_end_ns) {
        log_warn("%u clients are cut after --drain-timeout", stats.clients);
        loop_stop(server->loop);
    } else {
        loop_timer_arm(timer, DRAIN_LOOK_NS);
    }
}

static void drain(struct server *server)
{
    struct relay_stats stats;
    relay_get_stats(server->relay, &stats);
    server->draining = true;
    server->drain_end_ns = loop_now_ns(server->loop) + server->options.drain_timeout_ns;
    log_info("draining: no new clients, %u are connected", stats.clients);
    relay_drain(server->relay);
    loop_timer_arm(&server->drain_timer, 0);
}

static void handle_signal(int number, void *data)
{
    struct server *server = data;
    if (number == SIGHUP) {
        if (server->options.backends[0] != '\0') {
            load_backends(server);
        }
    } else if (server->draining) {
        log_warn("a second signal: the clients that are left are cut");
        loop_stop(server->loop);
    } else {
        drain(server);
    }
}

/* ---- parts ---- */

static void handle_change(const char *backend, const char *text, void *data)
{
    (void)data;
    if (str_starts_with(text, "down") || str_starts_with(text, "ejected")) {
        log_warn("backend %s: %s", backend, text);
    } else {
        log_info("backend %s: %s", backend, text);
    }
}

static int create_tls(struct server *server, struct error *error)
{
    const struct options *options = &server->options;
    int rc = 0;
    if (options->tls_cert[0] != '\0') {
        bool makes_one = strcmp(options->tls_cert, "self-signed") == 0;
        rc = tls_context_create(&(struct tls_options){.server = true,
                                                      .verify = options->tls_client_ca[0] != '\0',
                                                      .ca = options->tls_client_ca,
                                                      .cert = makes_one ? NULL : options->tls_cert,
                                                      .key = options->tls_key,
                                                      .allow_12 = options->tls_12},
                                &server->client_tls, error);
    }
    if (rc == 0 && strcmp(options->backend_tls, "none") != 0) {
        bool verify = strcmp(options->backend_tls, "verified") == 0;
        rc = tls_context_create(&(struct tls_options){.verify = verify,
                                                      .ca = options->backend_ca,
                                                      .cert = options->backend_cert,
                                                      .key = options->backend_key,
                                                      .allow_12 = options->tls_12},
                                &server->backend_tls, error);
    }
    return rc;
}

/* \r and \n in what is to be sent. */
static char *unescape(const char *text)
{
    char *out = strdup(text);
    char *to = out;
    for (const char *from = text; out != NULL && *from != '\0'; from++) {
        bool escaped = from[0] == '\\' && (from[1] == 'r' || from[1] == 'n');
        *to++ = !escaped ? *from : *++from == 'r' ? '\r' : '\n';
    }
    if (out != NULL) {
        *to = '\0';
    }
    return out;
}

static int create_upstream(struct server *server, struct error *error)
{
    const struct options *options = &server->options;
    enum balance_strategy strategy;
    int rc = balance_strategy_parse(options->strategy, &strategy, error);
    server->health_send = unescape(options->health_send);
    if (rc == 0 && server->health_send == NULL) {
        error_set(error, "out of memory");
        rc = -ENOMEM;
    }
    if (rc != 0) {
        return rc;
    }
    struct upstream_options upstream = {
        .name = "backends",
        .loop = server->loop,
        .metrics = server->metrics,
        .resolver = server->resolver,
        .tls = server->backend_tls,
        .strategy = strategy,
        .connections = (uint32_t)options->max_connections,
        .warm = (uint32_t)options->warm,
        .idle_limit_ns = options->idle_timeout_ns,
        .keep_alive_ns = options->keep_alive_ns,
        .connect_timeout_ns = options->connect_timeout_ns,
        .slow_start_ns = options->slow_start_ns,
        .health = {.interval_ns = options->health_interval_ns,
                   .timeout_ns = options->health_timeout_ns,
                   .send = server->health_send[0] != '\0' ? server->health_send : NULL,
                   .expect = options->health_expect[0] != '\0' ? options->health_expect : NULL},
        .ejection = {.failures = (unsigned)options->eject_failures,
                     .first_ns = options->eject_time_ns},
        .proxy_header = options->proxy_header,
        .stop_fd = -1,
        .on_change = handle_change};
    rc = upstream_create(&upstream, &server->upstream, error);
    return rc != 0 ? rc : add_backends(server, error);
}

static int create_relay(struct server *server, struct error *error)
{
    const struct options *options = &server->options;
    char listen[32];
    (void)snprintf(listen, sizeof(listen), ":%u", (unsigned)options->port);
    server->listen_fd = address_listen(options->listen[0] != '\0' ? options->listen : listen,
                                       BACKLOG, error);
    if (server->listen_fd < 0) {
        return server->listen_fd;
    }
    bool clean = strcmp(options->reuse, "clean") == 0;
    return relay_create(
        &(struct relay_options){.name = "relay",
                                .upstream = server->upstream,
                                .metrics = server->metrics,
                                .tls = server->client_tls,
                                .listen_fd = server->listen_fd,
                                .workers = (unsigned)options->workers,
                                .max_clients = (uint32_t)options->max_clients,
                                .queue_timeout_ns = options->queue_timeout_ns,
                                .idle_timeout_ns = options->session_timeout_ns,
                                .reuse = clean ? RELAY_REUSE_CLEAN : RELAY_REUSE_NEVER,
                                .proxy_header = options->proxy_header},
        &server->relay, error);
}

static int create_httpd(struct server *server, struct error *error)
{
    if (server->options.metrics[0] == '\0') {
        return 0;
    }
    return httpd_create(&(struct httpd_options){.loop = server->loop,
                                                .metrics = server->metrics,
                                                .listen = server->options.metrics,
                                                .routes = admin_routes,
                                                .data = server},
                        &server->httpd, error);
}

static void handle_report(struct loop_timer *timer, void *data)
{
    report_metrics(data);
    loop_timer_arm(timer, REPORT_NS);
}

/* ---- life ---- */

static int create_base(struct server *server, struct error *error)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, 0};
    int rc = loop_create(clock_real(), &server->loop);
    rc = rc != 0 ? rc : loop_signals_add(server->loop, signals, handle_signal, server);
    rc = rc != 0 ? rc : metrics_create(&server->metrics);
    rc = rc != 0 ? rc : loop_register_metrics(server->loop, server->metrics);
    rc = rc != 0 ? rc : exporter_create(server->metrics, LOG_CAPTURER_VERSION, &server->exporter);
    rc = rc != 0 ? rc : resolver_create(server->loop, &server->resolver);
    if (rc != 0) {
        error_set(error, "%s", strerror(-rc));
        return rc;
    }
    loop_timer_init(server->loop, &server->report_timer, handle_report, server);
    loop_timer_init(server->loop, &server->file_timer, handle_file, server);
    loop_timer_init(server->loop, &server->drain_timer, handle_drain, server);
    return 0;
}

/* As many open files as the system allows; what --max-clients needs beyond that is told. */
static void raise_file_limit(const struct options *options)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return;
    }
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && options->max_clients * 2 > limit.rlim_cur) {
        log_warn("--max-clients %llu needs twice as many open files, and the limit is %llu "
                 "(ulimit -n): clients beyond it are refused",
                 (unsigned long long)options->max_clients, (unsigned long long)limit.rlim_cur);
    }
}

int server_start(struct server *server, struct error *error)
{
    raise_file_limit(&server->options);
    server->listen_fd = -1;
    (void)signal(SIGPIPE, SIG_IGN);
    int rc = create_base(server, error);
    rc = rc != 0 ? rc : create_tls(server, error);
    rc = rc != 0 ? rc : create_upstream(server, error);
    rc = rc != 0 ? rc : create_httpd(server, error);
    rc = rc != 0 ? rc : create_relay(server, error);
    if (rc != 0) {
        return rc;
    }
    loop_timer_arm(&server->report_timer, REPORT_NS);
    log_info("relays port %u to %zu backends, %s, %llu workers, at most %u clients",
             address_port_of(server->listen_fd), upstream_count(server->upstream),
             server->options.strategy, (unsigned long long)server->options.workers,
             relay_max_clients(server->relay));
    if (server->httpd != NULL) {
        log_info("metrics and admin API: port %u", httpd_port(server->httpd));
    }
    return 0;
}

int server_run(struct server *server)
{
    return loop_run(server->loop);
}

void server_finish(struct server *server)
{
    relay_destroy(server->relay);
    httpd_destroy(server->httpd);
    upstream_destroy(server->upstream);
    if (server->listen_fd >= 0) {
        (void)close(server->listen_fd);
    }
    tls_context_destroy(server->client_tls);
    tls_context_destroy(server->backend_tls);
    resolver_destroy(server->resolver);
    exporter_destroy(server->exporter);
    metrics_destroy(server->metrics);
    if (server->loop != NULL) {
        loop_timer_disarm(&server->report_timer);
        loop_timer_disarm(&server->file_timer);
        loop_timer_disarm(&server->drain_timer);
    }
    loop_destroy(server->loop);
    free(server->health_send);
}
