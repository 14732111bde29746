/*
 * The HTTP API. An acquisition lives from the request to the container's return. It waits in the pool's
 * queue with the request open; then it holds the container until it is released, or its holder is gone:
 * the process (a pidfd tells), the connection (hold=1), or its time.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "base/timestamp.h"
#include "serve.h"

#define WAIT_NS (30 * NS_PER_SECOND)

struct acquisition {
    struct list link; /* in server->acquisitions */
    struct server *server;
    struct pool_request request;
    struct httpd_later later;          /* while it waits */
    struct httpd_stream stream;        /* hold: the answer, which stays open */
    const struct container *container; /* NULL: it waits */
    char lease[LEASE_SIZE];
    char holder[48];
    uint64_t pid;
    int pidfd;
    struct loop_fd pid_watch;
    int64_t ttl_ns;
    int64_t timeout_ns;
    struct loop_timer ttl_timer;
    int64_t taken_ns;
    bool hold;
    bool streaming;    /* the stream is the server's */
    struct buf answer; /* hold: what has not been sent */
};

static int refuse(struct httpd_response *response, unsigned status, const char *text)
{
    response->status = status;
    return httpd_put_error(&response->body, text);
}

/* ---- the end of an acquisition ---- */

static void destroy(struct acquisition *acquisition)
{
    pool_request_cancel(&acquisition->request);
    loop_timer_disarm(&acquisition->ttl_timer);
    if (acquisition->pidfd >= 0) {
        loop_fd_remove(&acquisition->pid_watch);
        (void)close(acquisition->pidfd);
    }
    list_remove(&acquisition->link);
    buf_finish(&acquisition->answer);
    free(acquisition);
}

/* Gives the container back. With a stream, its end comes later and frees. */
static void give_back(struct acquisition *acquisition, bool broken, const char *why)
{
    struct server *server = acquisition->server;
    if (acquisition->container != NULL) {
        log_info("%s: given back: %s", acquisition->container->name, why);
        container_pool_put(server->pool, acquisition->container, broken);
        acquisition->container = NULL;
    }
    if (acquisition->streaming) {
        httpd_stream_wake(&acquisition->stream); /* which then ends */
    } else {
        destroy(acquisition);
    }
}

static void handle_process_end(struct loop_fd *source, int events, void *data)
{
    struct acquisition *acquisition = data;
    (void)source;
    (void)events;
    if (acquisition->container != NULL) {
        give_back(acquisition, false, "its holder has ended");
    } else { /* it waits: who asked will see no container, and nobody else does */
        acquisition->pid = 0;
        loop_fd_remove(&acquisition->pid_watch);
        (void)close(acquisition->pidfd);
        acquisition->pidfd = -1;
    }
}

static void handle_ttl(struct loop_timer *timer, void *data)
{
    (void)timer;
    give_back(data, false, "its time is over");
}

/* ---- answers ---- */

static void put_container(struct json_writer *writer, const struct container *container)
{
    json_put_int(writer, "number", container->number);
    json_put_string(writer, "id", container->id);
    json_put_string(writer, "name", container->name);
    json_put_string(writer, "host", container->host);
    json_put_string(writer, "address", container->address);
    json_open(writer, "ports", '{');
    for (size_t i = 0; i < container->port_count; i++) {
        char key[8];
        (void)snprintf(key, sizeof(key), "%u", container->ports[i]);
        json_put_int(writer, key, container->host_ports[i]);
    }
    json_close(writer, '}');
}

static int describe(const struct acquisition *acquisition, struct buf *out)
{
    struct json_writer writer;
    json_writer_init(&writer, out);
    json_open(&writer, NULL, '{');
    json_put_string(&writer, "lease", acquisition->lease);
    put_container(&writer, acquisition->container);
    json_close(&writer, '}');
    return writer.rc != 0 ? writer.rc : buf_append_str(out, "\n");
}

static ssize_t read_held(struct httpd_stream *stream, char *ret_bytes, size_t size)
{
    struct acquisition *acquisition = container_of(stream, struct acquisition, stream);
    size_t n = acquisition->answer.size < size ? acquisition->answer.size : size;
    if (n == 0) { /* all was said; the end is when it was given back another way */
        return acquisition->container == NULL ? -1 : 0;
    }
    memcpy(ret_bytes, acquisition->answer.data, n);
    buf_consume(&acquisition->answer, n);
    return (ssize_t)n;
}

static void handle_held_end(struct httpd_stream *stream)
{
    struct acquisition *acquisition = container_of(stream, struct acquisition, stream);
    acquisition->streaming = false;
    give_back(acquisition, false, "its holder has closed the connection");
}

/* Without memory for the answer it ends at once. */
static void open_stream(struct acquisition *acquisition)
{
    acquisition->streaming = true;
    if (describe(acquisition, &acquisition->answer) != 0) {
        buf_clear(&acquisition->answer);
    }
}

/* It has a container from now on. */
static void take(struct acquisition *acquisition, struct pool_lease lease)
{
    unsigned char bytes[(LEASE_SIZE - 1) / 2] = {0};
    (void)!getrandom(bytes, sizeof(bytes), 0);
    for (size_t i = 0; i < sizeof(bytes); i++) {
        (void)snprintf(acquisition->lease + 2 * i, 3, "%02x", bytes[i]);
    }
    acquisition->container = container_pool_taken(lease);
    acquisition->taken_ns = loop_now_ns(acquisition->server->loop);
    if (acquisition->ttl_ns > 0) {
        loop_timer_arm(&acquisition->ttl_timer, acquisition->ttl_ns);
    }
    log_info("%s: taken by %s", acquisition->container->name, acquisition->holder);
}

/* Whether there is nobody any more to whom a container could be given. */
static bool is_forsaken(const struct acquisition *acquisition)
{
    return !acquisition->hold && acquisition->pid == 0 && acquisition->ttl_ns == 0;
}

static void explain(struct acquisition *acquisition, int rc, struct error *ret_text)
{
    struct pool_stats stats;
    struct error trouble;
    pool_report_stats(container_pool_pool(acquisition->server->pool), &stats);
    container_pool_trouble(acquisition->server->pool, &trouble);
    error_set(ret_text, "%s: %u are taken, %u are being made, of %u%s%.300s",
              rc == -ETIMEDOUT ? "no container became free in time" : "no container can be made",
              stats.in_use, stats.creating, stats.max, trouble.text[0] != '\0' ? "; " : "",
              trouble.text);
}

static void handle_granted(struct pool_request *request, int rc, struct pool_lease lease,
                           void *data)
{
    struct acquisition *acquisition = data;
    struct error text;
    struct buf body;
    (void)request;
    if (rc == 0 && acquisition->hold) {
        take(acquisition, lease);
        open_stream(acquisition);
        httpd_later_stream(&acquisition->later, &acquisition->stream);
        return;
    }
    buf_init(&body, 0);
    unsigned status = rc == 0 ? 200 : rc == -ETIMEDOUT ? 504 : 503;
    if (rc == 0) {
        take(acquisition, lease);
        rc = describe(acquisition, &body);
    } else {
        explain(acquisition, rc, &text);
        rc = httpd_put_error(&body, text.text);
    }
    httpd_later_answer(&acquisition->later, rc == 0 ? status : 500, &body);
    buf_finish(&body);
    if (acquisition->container == NULL) {
        destroy(acquisition);
    } else if (is_forsaken(acquisition)) {
        give_back(acquisition, false, "its holder has ended");
    }
}

/* Who waited has closed the connection. */
static void handle_gone(struct httpd_later *later)
{
    destroy(container_of(later, struct acquisition, later));
}

/* ---- acquire ---- */

static int take_argument(const char *key, const char *value, void *data)
{
    struct acquisition *acquisition = data;
    uint64_t flag;
    if (strcmp(key, "pid") == 0) {
        return str_parse_u64(value, &acquisition->pid);
    }
    if (strcmp(key, "hold") == 0) {
        int rc = str_parse_u64(value, &flag);
        acquisition->hold = rc == 0 && flag == 1;
        return rc;
    }
    if (strcmp(key, "ttl") == 0) {
        return str_parse_duration(value, &acquisition->ttl_ns);
    }
    return strcmp(key, "timeout") == 0 ? str_parse_duration(value, &acquisition->timeout_ns)
                                       : -EINVAL;
}

/* -ESRCH: there is no such process. */
static int watch_process(struct acquisition *acquisition)
{
    if (acquisition->pid == 0) {
        return 0;
    }
    if (acquisition->pid > INT32_MAX) {
        return -ESRCH;
    }
    acquisition->pidfd = (int)syscall(SYS_pidfd_open, (pid_t)acquisition->pid, 0);
    int rc = acquisition->pidfd < 0
                 ? -errno
                 : loop_fd_add(acquisition->server->loop, &acquisition->pid_watch,
                               acquisition->pidfd, LOOP_READ);
    if (rc != 0 && acquisition->pidfd >= 0) {
        (void)close(acquisition->pidfd);
        acquisition->pidfd = -1;
    }
    return rc;
}

static struct acquisition *begin(struct server *server)
{
    struct acquisition *acquisition = calloc(1, sizeof(*acquisition));
    if (acquisition != NULL) {
        acquisition->server = server;
        acquisition->pidfd = -1;
        acquisition->timeout_ns = WAIT_NS;
        acquisition->later.on_gone = handle_gone;
        acquisition->stream.read = read_held;
        acquisition->stream.on_end = handle_held_end;
        buf_init(&acquisition->answer, 0);
        list_append(&server->acquisitions, &acquisition->link);
        pool_request_init(&acquisition->request, server->loop, handle_granted, acquisition);
        loop_timer_init(server->loop, &acquisition->ttl_timer, handle_ttl, acquisition);
        loop_fd_init(&acquisition->pid_watch, handle_process_end, acquisition);
    }
    return acquisition;
}

/* There is one: the answer is now. */
static int answer_now(struct acquisition *acquisition, struct httpd_response *response,
                      struct pool_lease lease)
{
    take(acquisition, lease);
    if (!acquisition->hold) {
        return describe(acquisition, &response->body);
    }
    open_stream(acquisition);
    response->stream = &acquisition->stream;
    return 0;
}

static int answer_acquire(const struct httpd_request *request, struct httpd_response *response,
                          void *data)
{
    struct server *server = data;
    struct acquisition *acquisition = begin(server);
    struct pool_lease lease;
    if (acquisition == NULL) {
        return -ENOMEM;
    }
    if (httpd_request_arguments(request, take_argument, acquisition) != 0) {
        destroy(acquisition);
        return refuse(response, 400,
                      "the arguments are pid=PID, hold=1 or ttl=DURATION, and timeout=DURATION");
    }
    if (is_forsaken(acquisition)) {
        destroy(acquisition);
        return refuse(response, 400,
                      "say how long it is held, so that it can't be lost: pid=PID (until that "
                      "process ends), hold=1 (until you close the connection) or ttl=DURATION");
    }
    if (watch_process(acquisition) != 0) {
        destroy(acquisition);
        return refuse(response, 400, "pid: there is no such process");
    }
    (void)snprintf(acquisition->holder, sizeof(acquisition->holder), "%s%.0llu",
                   acquisition->pid > 0 ? "process "
                   : acquisition->hold  ? "a connection"
                                        : "somebody, for a time",
                   (unsigned long long)acquisition->pid);
    const struct pool_wish wish = {.holder = "api", .timeout_ns = acquisition->timeout_ns};
    container_pool_begin(server->pool);
    if (pool_try_acquire(container_pool_pool(server->pool), &wish, &lease) == 0) {
        return answer_now(acquisition, response, lease);
    }
    response->later = &acquisition->later;
    pool_request_start(&acquisition->request, container_pool_pool(server->pool), server->mailbox,
                       &wish, false);
    return 0;
}

/* ---- release ---- */

struct release {
    const char *lease;
    uint64_t broken;
};

static int take_release(const char *key, const char *value, void *data)
{
    struct release *release = data;
    if (strcmp(key, "lease") == 0) {
        release->lease = value;
        return 0;
    }
    return strcmp(key, "broken") == 0 ? str_parse_u64(value, &release->broken) : -EINVAL;
}

static int answer_release(const struct httpd_request *request, struct httpd_response *response,
                          void *data)
{
    struct server *server = data;
    struct release release = {.lease = ""};
    if (httpd_request_arguments(request, take_release, &release) != 0 || release.broken > 1) {
        return refuse(response, 400, "the arguments are lease=LEASE and broken=1");
    }
    for (struct list *link = server->acquisitions.next; link != &server->acquisitions;
         link = link->next) {
        struct acquisition *acquisition = container_of(link, struct acquisition, link);
        if (acquisition->container != NULL && strcmp(acquisition->lease, release.lease) == 0) {
            give_back(acquisition, release.broken == 1, "released");
            return buf_append_str(&response->body, "{\"released\":true}\n");
        }
    }
    return refuse(response, 404, "nobody holds this lease: it was released, or its holder is gone");
}

/* ---- what there is ---- */

static void put_held(const struct server *server, struct json_writer *writer)
{
    int64_t now_ns = loop_now_ns(server->loop);
    json_open(writer, "held", '[');
    for (struct list *link = server->acquisitions.next; link != &server->acquisitions;
         link = link->next) {
        const struct acquisition *acquisition = container_of(link, struct acquisition, link);
        if (acquisition->container != NULL) {
            json_open(writer, NULL, '{');
            json_put_string(writer, "lease", acquisition->lease);
            json_put_string(writer, "name", acquisition->container->name);
            json_put_string(writer, "address", acquisition->container->address);
            json_put_string(writer, "holder", acquisition->holder);
            json_put_int(writer, "held_ms", (now_ns - acquisition->taken_ns) / NS_PER_MS);
            json_close(writer, '}');
        }
    }
    json_close(writer, ']');
}

static int answer_stats(const struct httpd_request *request, struct httpd_response *response,
                        void *data)
{
    struct server *server = data;
    struct container_pool_stats stats;
    struct error trouble;
    struct json_writer writer;
    (void)request;
    container_pool_get_stats(server->pool, &stats);
    container_pool_trouble(server->pool, &trouble);
    json_writer_init(&writer, &response->body);
    json_open(&writer, NULL, '{');
    json_put_string(&writer, "preset", container_pool_preset(server->pool)->name);
    json_put_string(&writer, "image", container_pool_preset(server->pool)->image);
    json_put_int(&writer, "total", stats.total);
    json_put_int(&writer, "available", stats.available);
    json_put_int(&writer, "taken", stats.taken);
    json_put_int(&writer, "making", stats.making);
    json_put_int(&writer, "resetting", stats.resetting);
    json_put_int(&writer, "made", (int64_t)stats.made);
    json_put_int(&writer, "failed", (int64_t)stats.failed);
    json_put_int(&writer, "died", (int64_t)stats.died);
    json_put_int(&writer, "removed", (int64_t)stats.removed);
    json_put_string(&writer, "trouble", trouble.text);
    put_held(server, &writer);
    exporter_put_process(server->exporter, &writer);
    json_close(&writer, '}');
    return writer.rc != 0 ? writer.rc : buf_append_str(&response->body, "\n");
}

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

void api_finish(struct server *server)
{
    struct list *link;
    struct list *next;
    list_for_each_safe(link, next, &server->acquisitions)
    {
        struct acquisition *acquisition = container_of(link, struct acquisition, link);
        if (acquisition->container != NULL) {
            give_back(acquisition, false, "the pool is closed");
        }
    }
}

const struct httpd_route api_routes[] = {
    {"/acquire", "POST ?pid=PID, ?hold=1 or ?ttl=60s, &timeout=30s: takes a container",
     answer_acquire, "POST"},
    {"/release", "POST ?lease=LEASE[&broken=1]: gives it back", answer_release, "POST"},
    {"/stats", "what the pool holds, who has what, what has been done", answer_stats, NULL},
    {"/metrics", "metrics for Prometheus", answer_metrics, NULL},
    {"/healthz", "200 while the event loop runs", answer_health, NULL},
    {.path = NULL}};
