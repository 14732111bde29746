/* Keeps a pool in a loop of its own and answers for it. */
#include "serve.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/timestamp.h"

#define CLOSE_TIMEOUT_NS (30 * NS_PER_SECOND)

static void handle_log(const char *text, void *data)
{
    (void)data;
    log_info("%s", text);
}

static void handle_closed(size_t left, void *data)
{
    struct server *server = data;
    server->left = left;
    loop_stop(server->loop);
}

static void handle_signal(int number, void *data)
{
    struct server *server = data;
    (void)number;
    if (!server->closing) {
        server->closing = true;
        log_info("removing all containers");
        api_finish(server);
        container_pool_close(server->pool, CLOSE_TIMEOUT_NS, handle_closed, server);
    }
}

static int create_parts(struct server *server, struct error *error)
{
    static const int signals[] = {SIGTERM, SIGINT, 0};
    struct http_client_options http = {.idle_total = 64,
                                       .idle_per_host = 16,
                                       .idle_timeout_ns = 30 * NS_PER_SECOND,
                                       .opens_limit = 16};
    int rc = loop_create(clock_real(), &server->loop);
    rc = rc != 0 ? rc : loop_signals_add(server->loop, signals, handle_signal, server);
    rc = rc != 0 ? rc : metrics_create(&server->metrics);
    rc = rc != 0 ? rc : loop_register_metrics(server->loop, server->metrics);
    rc = rc != 0 ? rc : exporter_create(server->metrics, LOG_CAPTURER_VERSION, &server->exporter);
    http.loop = server->loop;
    http.metrics = server->metrics;
    rc = rc != 0 ? rc : http_client_create(&http, &server->http);
    rc = rc != 0 ? rc : pool_mailbox_create(server->loop, &server->mailbox);
    if (rc != 0) {
        error_set(error, "it can't be set up: %s", strerror(-rc));
    }
    return rc;
}

static int create_pool(struct server *server, struct error *error)
{
    const struct options *options = server->options;
    struct container_pool_options pool = {.loop = server->loop,
                                          .http = server->http,
                                          .metrics = server->metrics,
                                          .docker_url = options_docker(options),
                                          .size = (uint32_t)options->size,
                                          .min = (uint32_t)options->min,
                                          .first_port = (uint16_t)options->first_port,
                                          .host = options->host[0] != '\0' ? options->host : NULL,
                                          .startup_timeout_ns = options->startup_timeout_ns,
                                          .reaper = "/proc/self/exe",
                                          .on_log = handle_log};
    int rc = preset_load(options->presets[0] != '\0' ? options->presets : NULL, options->preset,
                         &pool.preset, error);
    return rc != 0 ? rc : container_pool_create(&pool, &server->pool, error);
}

static int start(struct server *server, struct error *error)
{
    char storage[256];
    const char *listen = options_listen(server->options, storage, sizeof(storage));
    int rc = create_parts(server, error);
    rc = rc != 0 ? rc : create_pool(server, error);
    rc = rc != 0 ? rc
                 : httpd_create(&(struct httpd_options){.loop = server->loop,
                                                        .metrics = server->metrics,
                                                        .listen = listen,
                                                        .routes = api_routes,
                                                        .data = server},
                                &server->httpd, error);
    if (rc == 0) {
        log_info("listening on %s", listen);
        container_pool_begin(server->pool);
    }
    return rc;
}

static void finish(struct server *server)
{
    httpd_destroy(server->httpd);
    container_pool_destroy(server->pool);
    if (server->http != NULL) {
        http_client_shutdown(server->http);
        http_client_destroy(server->http);
    }
    pool_mailbox_destroy(server->mailbox);
    exporter_destroy(server->exporter);
    metrics_destroy(server->metrics);
    loop_destroy(server->loop);
}

int serve(const struct verb *verb, const struct options *options, char **arguments)
{
    struct server server = {.options = options};
    struct error error = {.text = ""};
    (void)arguments;
    if (options->preset[0] == '\0') {
        return option_flags_complain(&verb->flags, "--preset is missing");
    }
    bool json = strcmp(options->log_format, "json") == 0;
    log_configure(LOG_LEVEL_INFO, json ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT);
    list_init(&server.acquisitions);
    int rc = start(&server, &error);
    if (rc != 0) {
        log_error("%s", error.text);
    } else {
        rc = loop_run(server.loop);
    }
    finish(&server);
    if (server.left > 0) {
        log_error("%zu containers are left; `container_pool clean` removes them", server.left);
    }
    return rc != 0 || server.left > 0 ? 1 : 0;
}
