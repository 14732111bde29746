/* Metrics, health, and the backends: seen, added, drained, removed. */
#include <errno.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "pools/upstream_claim.h"
#include "server.h"

/* ---- what there is ---- */

static int answer_metrics(const struct httpd_request *request, struct httpd_response *response,
                          void *data)
{
    return exporter_answer(((struct server *)data)->exporter, request, response);
}

static int answer_health(const struct httpd_request *request, struct httpd_response *response,
                         void *data)
{
    (void)request;
    (void)data;
    return buf_append_str(&response->body, "{\"ok\":true}\n");
}

static void put_backend(const struct backend_status *status, void *data)
{
    struct json_writer *writer = data;
    json_open(writer, NULL, '{');
    json_put_string(writer, "address", status->name);
    json_put_string(writer, "state", status->state);
    json_put_string(writer, "reason", status->reason);
    json_put_int(writer, "weight", status->weight);
    json_put_int(writer, "active", status->active);
    json_put_int(writer, "idle", status->idle);
    json_put_int(writer, "chosen", (int64_t)status->chosen);
    json_put_int(writer, "failures", (int64_t)status->failures);
    json_put_int(writer, "checks", (int64_t)status->checks);
    json_put_int(writer, "check_failures", (int64_t)status->check_failures);
    json_put_double(writer, "connect_ms", status->connect_ms);
    json_close(writer, '}');
}

static void put_backends(struct server *server, struct json_writer *writer, const char *key)
{
    json_open(writer, key, '[');
    upstream_status(server->upstream, put_backend, writer);
    json_close(writer, ']');
}

static int answer_backends(const struct httpd_request *request, struct httpd_response *response,
                           void *data)
{
    (void)request;
    struct json_writer writer;
    json_writer_init(&writer, &response->body);
    put_backends(data, &writer, NULL);
    return writer.rc != 0 ? writer.rc : buf_append_str(&response->body, "\n");
}

static void put_refusals(const struct relay_stats *stats, struct json_writer *writer)
{
    json_open(writer, "refused", '{');
    for (int why = 0; why < RELAY_REFUSALS; why++) {
        json_put_int(writer, relay_refusal_name((enum relay_refusal)why),
                     (int64_t)stats->refused[why]);
    }
    json_close(writer, '}');
}

static int answer_status(const struct httpd_request *request, struct httpd_response *response,
                         void *data)
{
    (void)request;
    struct server *server = data;
    struct json_writer writer;
    struct relay_stats stats;
    relay_get_stats(server->relay, &stats);
    json_writer_init(&writer, &response->body);
    json_open(&writer, NULL, '{');
    json_put_string(&writer, "version", LOG_CAPTURER_VERSION);
    json_put_string(&writer, "strategy", server->options.strategy);
    json_put_bool(&writer, "draining", server->draining);
    json_put_int(&writer, "clients", stats.clients);
    json_put_int(&writer, "waiting", upstream_waiting(server->upstream));
    json_put_int(&writer, "max_clients", relay_max_clients(server->relay));
    json_put_int(&writer, "accepted", (int64_t)stats.accepted);
    json_put_int(&writer, "relayed", (int64_t)stats.relayed);
    json_put_int(&writer, "cut", (int64_t)stats.cut);
    json_put_int(&writer, "kept", (int64_t)stats.kept);
    json_put_int(&writer, "bytes_from_clients", (int64_t)stats.bytes[0]);
    json_put_int(&writer, "bytes_to_clients", (int64_t)stats.bytes[1]);
    json_put_int(&writer, "bytes_spliced", (int64_t)stats.spliced_bytes);
    put_refusals(&stats, &writer);
    put_backends(server, &writer, "backends");
    exporter_put_process(server->exporter, &writer);
    json_close(&writer, '}');
    return writer.rc != 0 ? writer.rc : buf_append_str(&response->body, "\n");
}

static void count_up(const struct backend_status *status, void *data)
{
    *(size_t *)data += strcmp(status->state, "up") == 0;
}

static int answer_ready(const struct httpd_request *request, struct httpd_response *response,
                        void *data)
{
    (void)request;
    struct server *server = data;
    size_t up = 0;
    upstream_status(server->upstream, count_up, &up);
    bool ready = up > 0 && !server->draining;
    response->status = ready ? 200 : 503;
    return buf_printf(&response->body, "{\"ready\":%s,\"backends_up\":%zu,\"draining\":%s}\n",
                      ready ? "true" : "false", up, server->draining ? "true" : "false");
}

/* ---- changes ---- */

struct arguments {
    char address[HOSTPORT_TEXT_SIZE];
    uint64_t weight;
    bool has_weight;
};

/* A backend that is there has a weight. */
static void look_for_weight(const struct backend_status *status, void *data)
{
    struct arguments *arguments = data;
    if (strcmp(status->name, arguments->address) == 0) {
        arguments->weight = status->weight;
    }
}

static int take_argument(const char *key, const char *value, void *data)
{
    struct arguments *arguments = data;
    if (strcmp(key, "address") == 0) {
        (void)str_copy(arguments->address, sizeof(arguments->address), value);
        return 0;
    }
    arguments->has_weight = strcmp(key, "weight") == 0;
    return arguments->has_weight ? str_parse_u64(value, &arguments->weight) : -EINVAL;
}

static int answer_error(struct httpd_response *response, unsigned status, const char *text)
{
    response->status = status;
    return httpd_put_error(&response->body, text);
}

static unsigned status_of(int rc)
{
    return rc == -ENOENT ? 404 : rc == -EEXIST ? 409 : rc == -EINVAL ? 400 : 500;
}

enum change { ADD, DRAIN, REMOVE };

static int change(const struct httpd_request *request, struct httpd_response *response,
                  struct server *server, enum change what)
{
    static const char *const words[] = {"added", "drained", "removed"};
    struct arguments arguments = {.weight = 1};
    struct error error = {""};
    if (httpd_request_arguments(request, take_argument, &arguments) != 0 ||
        arguments.weight > UINT32_MAX) {
        return answer_error(response, 400,
                            "the arguments are address=HOST:PORT and, for adding, weight=N");
    }
    const char *address = arguments.address;
    if (!arguments.has_weight) {
        upstream_status(server->upstream, look_for_weight, &arguments);
    }
    int rc = what == ADD
                 ? upstream_add(server->upstream, address, (uint32_t)arguments.weight, &error)
             : what == DRAIN ? upstream_drain(server->upstream, address, &error)
                             : upstream_remove(server->upstream, address, &error);
    if (rc != 0) {
        return answer_error(response, status_of(rc), error.text);
    }
    log_info("backend %s: %s over the admin API", address, words[what]);
    return answer_backends(request, response, server);
}

static int answer_add(const struct httpd_request *request, struct httpd_response *response,
                      void *data)
{
    return change(request, response, data, ADD);
}

static int answer_drain(const struct httpd_request *request, struct httpd_response *response,
                        void *data)
{
    return change(request, response, data, DRAIN);
}

static int answer_remove(const struct httpd_request *request, struct httpd_response *response,
                         void *data)
{
    return change(request, response, data, REMOVE);
}

const struct httpd_route admin_routes[] = {
    {"/metrics", "metrics for Prometheus", answer_metrics, NULL},
    {"/healthz", "200 while the event loop runs", answer_health, NULL},
    {"/readyz", "200 while a backend is up and clients are accepted", answer_ready, NULL},
    {"/api/v1/status", "clients, bytes, refusals, backends, process", answer_status, NULL},
    {"/api/v1/backends", "every backend and its state", answer_backends, NULL},
    {"/api/v1/backends", "POST ?address=HOST:PORT&weight=N adds one", answer_add, "POST"},
    {"/api/v1/backends", "DELETE ?address=HOST:PORT removes it with its last client", answer_remove,
     "DELETE"},
    {"/api/v1/backends/drain", "POST ?address=HOST:PORT: no new clients for it", answer_drain,
     "POST"},
    {.path = NULL}};
