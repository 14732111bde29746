/* Health is that the loop answers; readiness is that daemons were listed and the spool takes lines.
 * A sink's state is neither. */
#include "agent/pages.h"

#include <string.h>

static int finish(struct json_writer *writer, struct httpd_response *response)
{
    return writer->rc != 0 ? writer->rc : buf_append(&response->body, "\n", 1);
}

static int answer_metrics(const struct httpd_request *request, struct httpd_response *response,
                          void *data)
{
    const struct pages *pages = data;
    return exporter_answer(pages->exporter, request, response);
}

static int answer_health(const struct httpd_request *request, struct httpd_response *response,
                         void *data)
{
    (void)request;
    (void)data;
    return buf_append_str(&response->body, "{\"status\":\"ok\"}\n");
}

static bool spool_is_ready(struct spool *spool, struct error *reason)
{
    if (spool_state(spool) == SPOOL_WRITING) {
        return true;
    }
    error_set(reason, "the spool can't be written: %s; lines wait, none is lost",
              strerror(spool_stall_errno(spool)));
    return false;
}

static void put_readiness(const struct pages *pages, struct json_writer *writer,
                          struct httpd_response *response)
{
    struct error capture_reason;
    struct error spool_reason;
    bool captures = capture_is_ready(pages->capture, &capture_reason);
    bool writes = spool_is_ready(pages->spool, &spool_reason);
    json_put_bool(writer, "ready", captures && writes);
    json_open(writer, "waiting_for", '[');
    if (!captures) {
        json_put_string(writer, NULL, capture_reason.text);
    }
    if (!writes) {
        json_put_string(writer, NULL, spool_reason.text);
    }
    json_close(writer, ']');
    json_open(writer, "sink_problems", '[');
    sinks_put_problems(pages->sinks, writer);
    json_close(writer, ']');
    if (response != NULL) {
        response->status = captures && writes ? 200 : 503;
    }
}

static int answer_ready(const struct httpd_request *request, struct httpd_response *response,
                        void *data)
{
    (void)request;
    struct json_writer writer;
    json_writer_init(&writer, &response->body);
    json_open(&writer, NULL, '{');
    put_readiness(data, &writer, response);
    json_close(&writer, '}');
    return finish(&writer, response);
}

static void put_spool(struct spool *spool, struct json_writer *writer)
{
    struct spool_status status;
    spool_status(spool, &status);
    json_open(writer, "spool", '{');
    json_put_string(writer, "state", spool_state(spool) == SPOOL_WRITING ? "writing" : "stalled");
    json_put_int(writer, "bytes", (int64_t)status.stored_bytes);
    json_put_int(writer, "limit_bytes", (int64_t)status.limit_bytes);
    json_put_int(writer, "segments", (int64_t)status.segments);
    json_put_int(writer, "records", (int64_t)status.records);
    json_put_int(writer, "oldest_record", (int64_t)status.oldest_record);
    json_put_int(writer, "line_bytes", (int64_t)status.line_bytes);
    json_put_int(writer, "pending_bytes", (int64_t)status.pending_bytes);
    json_put_int(writer, "frames_damaged", (int64_t)status.frames_damaged);
    json_close(writer, '}');
}

static void put_pool(const struct http_client *http, struct json_writer *writer)
{
    struct http_client_status status;
    http_client_status(http, &status);
    json_open(writer, "pool", '{');
    json_put_int(writer, "open", status.open);
    json_put_int(writer, "active", status.active);
    json_put_int(writer, "idle", status.idle);
    json_put_int(writer, "waiting", status.waiting);
    json_put_int(writer, "requests", status.requests);
    json_put_int(writer, "errors", status.errors);
    json_put_int(writer, "calls", status.calls);
    json_put_int(writer, "calls_reused", status.calls_reused);
    json_close(writer, '}');
}

static int answer_status(const struct httpd_request *request, struct httpd_response *response,
                         void *data)
{
    (void)request;
    const struct pages *pages = data;
    struct json_writer writer;
    json_writer_init(&writer, &response->body);
    json_open(&writer, NULL, '{');
    json_put_string(&writer, "version", pages->version);
    put_readiness(pages, &writer, NULL);
    json_open(&writer, "daemons", '[');
    capture_put_daemons(pages->capture, &writer);
    json_close(&writer, ']');
    json_put_int(&writer, "streams_active", (int64_t)capture_active_streams(pages->capture));
    put_pool(pages->http, &writer);
    put_spool(pages->spool, &writer);
    json_open(&writer, "sinks", '[');
    sinks_put_status(pages->sinks, &writer);
    json_close(&writer, ']');
    json_open(&writer, "process", '{');
    exporter_put_process(pages->exporter, &writer);
    json_close(&writer, '}');
    json_close(&writer, '}');
    return finish(&writer, response);
}

static int answer_containers(const struct httpd_request *request, struct httpd_response *response,
                             void *data)
{
    (void)request;
    const struct pages *pages = data;
    struct json_writer writer;
    json_writer_init(&writer, &response->body);
    json_open(&writer, NULL, '{');
    json_open(&writer, "containers", '[');
    capture_put_containers(pages->capture, &writer);
    json_close(&writer, ']');
    json_close(&writer, '}');
    return finish(&writer, response);
}

static int answer_tail(const struct httpd_request *request, struct httpd_response *response,
                       void *data)
{
    const struct pages *pages = data;
    return live_tail_answer(pages->live_tail, request, response);
}

const struct httpd_route *pages_routes(void)
{
    static const struct httpd_route routes[] = {
        {"/metrics", "metrics for Prometheus", answer_metrics, NULL},
        {"/healthz", "200 while the event loop runs", answer_health, NULL},
        {"/readyz", "200 while every daemon is listed and the spool can be written", answer_ready,
         NULL},
        {"/api/v1/status", "daemons, streams, pool, spool, sinks, process", answer_status, NULL},
        {"/api/v1/containers", "every known container", answer_containers, NULL},
        {"/api/v1/tail", "lines as they are captured, for as long as one listens", answer_tail,
         NULL},
        {.path = NULL}};
    return routes;
}
