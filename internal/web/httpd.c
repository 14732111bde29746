/*
 * libmicrohttpd's epoll descriptor nests in the loop's own; MHD_get_timeout() feeds one timer. The
 * listening socket is ours, so that the errors of bind() can be told apart.
 */
#include "web/httpd.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/json.h"
#include "base/str.h"
#include "loop/timer.h"
#include "net/address.h"

#define CONNECTION_LIMIT 64
#define CONNECTION_TIMEOUT_S 15
#define STREAM_TIMEOUT_S 300 /* for a client that takes no bytes while there are some */
#define STREAM_BLOCK_BYTES (32U * 1024U)

struct httpd {
    struct httpd_options options;
    struct MHD_Daemon *daemon;
    struct loop_fd source;
    struct loop_timer timer;
    uint16_t port;
    struct metric requests;
    struct list streams;
    struct list laters;
    char unix_path[108]; /* listened on; sun_path of unix(7) */
};

/* ---- the loop ---- */

static void run_daemon(struct httpd *httpd)
{
    MHD_UNSIGNED_LONG_LONG timeout_ms;
    (void)MHD_run(httpd->daemon);
    loop_timer_disarm(&httpd->timer);
    if (MHD_get_timeout(httpd->daemon, &timeout_ms) == MHD_YES) {
        loop_timer_arm(&httpd->timer, (int64_t)timeout_ms * 1000000);
    }
}

/* Runs it soon, from the loop. */
static void run_soon(struct httpd *httpd)
{
    loop_timer_arm(&httpd->timer, 0);
}

static void handle_ready(struct loop_fd *source, int events, void *data)
{
    (void)source;
    (void)events;
    run_daemon(data);
}

static void handle_timeout(struct loop_timer *timer, void *data)
{
    (void)timer;
    run_daemon(data);
}

/* ---- open answers ---- */

static void resume(struct httpd_stream *stream)
{
    if (stream->suspended) {
        stream->suspended = false;
        MHD_resume_connection(stream->connection);
        run_soon(stream->httpd);
    }
}

void httpd_stream_wake(struct httpd_stream *stream)
{
    resume(stream);
}

/* Bytes of a client that has nothing to say are left alone; its end is the answer's end. */
static void handle_client(struct loop_fd *source, int events, void *data)
{
    struct httpd_stream *stream = data;
    char byte;
    (void)events;
    ssize_t n = recv(source->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    loop_fd_remove(source);
    if (n <= 0) {
        stream->gone = true;
        resume(stream);
    }
}

static ssize_t read_stream(void *data, uint64_t position, char *bytes, size_t size)
{
    struct httpd_stream *stream = data;
    (void)position;
    ssize_t n = stream->gone ? -1 : stream->read(stream, bytes, size);
    if (n == 0) {
        stream->suspended = true;
        MHD_suspend_connection(stream->connection);
    }
    return n >= 0         ? n
           : stream->gone ? MHD_CONTENT_READER_END_WITH_ERROR
                          : MHD_CONTENT_READER_END_OF_STREAM;
}

static void finish_stream(void *data)
{
    struct httpd_stream *stream = data;
    loop_fd_remove(&stream->watch);
    list_remove(&stream->link);
    stream->on_end(stream);
}

/* The client's socket is in the loop as well, because libmicrohttpd does not look at a connection
 * that is suspended. */
static void watch_client(struct httpd_stream *stream)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(
        stream->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (info == NULL) {
        return;
    }
    int one = 1;
    (void)setsockopt(info->connect_fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    int rc = loop_fd_add(stream->httpd->options.loop, &stream->watch, info->connect_fd, LOOP_READ);
    (void)rc; /* then a client's going is seen at the next line for it */
}

/* NULL when there is no memory; on_end was called then. */
static struct MHD_Response *open_stream(struct httpd *httpd, struct httpd_stream *stream,
                                        struct MHD_Connection *connection)
{
    stream->httpd = httpd;
    stream->connection = connection;
    stream->suspended = stream->gone = false;
    loop_fd_init(&stream->watch, handle_client, stream);
    list_append(&httpd->streams, &stream->link);
    struct MHD_Response *reply = MHD_create_response_from_callback(
        MHD_SIZE_UNKNOWN, STREAM_BLOCK_BYTES, read_stream, stream, finish_stream);
    if (reply == NULL) {
        finish_stream(stream);
        return NULL;
    }
    watch_client(stream);
    (void)MHD_set_connection_option(connection, MHD_CONNECTION_OPTION_TIMEOUT,
                                    (unsigned)STREAM_TIMEOUT_S);
    return reply;
}

/* ---- answers that come later ---- */

/* What libmicrohttpd keeps for us with a request. */
struct httpd_pending {
    struct httpd_later *later; /* NULL: its answer is not waited for, or it is here */
    bool answered;
    unsigned status;
    struct buf body;
    struct httpd_stream *stream; /* the answer, until it is begun */
};

static void handle_completed(void *data, struct MHD_Connection *connection, void **context,
                             enum MHD_RequestTerminationCode code)
{
    (void)data;
    (void)connection;
    (void)code;
    struct httpd_pending *pending = *context;
    if (pending != NULL) {
        if (pending->stream != NULL) {
            pending->stream->on_end(pending->stream);
        }
        buf_finish(&pending->body);
        free(pending);
    }
    *context = NULL;
}

/* From now on libmicrohttpd may ask for the answer. */
static void settle(struct httpd_later *later)
{
    struct httpd_pending *pending = later->pending;
    pending->answered = true;
    pending->later = NULL;
    loop_fd_remove(&later->watch);
    list_remove(&later->link);
    MHD_resume_connection(later->connection);
    run_soon(later->httpd);
}

void httpd_later_answer(struct httpd_later *later, unsigned status, const struct buf *body)
{
    struct httpd_pending *pending = later->pending;
    pending->status = status;
    if (buf_append(&pending->body, body->data, body->size) != 0) {
        pending->status = MHD_HTTP_INTERNAL_SERVER_ERROR;
    }
    settle(later);
}

void httpd_later_stream(struct httpd_later *later, struct httpd_stream *stream)
{
    later->pending->status = MHD_HTTP_OK;
    later->pending->stream = stream;
    settle(later);
}

static void give_up(struct httpd_later *later)
{
    settle(later);
    later->on_gone(later);
}

static bool is_gone(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

static void handle_waiting_client(struct loop_fd *source, int events, void *data)
{
    (void)events;
    if (is_gone(source->fd)) {
        give_up(data);
    } else {
        loop_fd_remove(source); /* it says something, which waits like itself */
    }
}

static void wait_for_answer(struct httpd *httpd, struct httpd_later *later,
                            struct httpd_pending *pending, struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(
        connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    later->httpd = httpd;
    later->connection = connection;
    later->pending = pending;
    pending->later = later;
    pending->status = MHD_HTTP_SERVICE_UNAVAILABLE;
    list_append(&httpd->laters, &later->link);
    loop_fd_init(&later->watch, handle_waiting_client, later);
    if (info != NULL) {
        int rc = loop_fd_add(httpd->options.loop, &later->watch, info->connect_fd, LOOP_READ);
        (void)rc; /* then a client's going is seen when it is answered */
    }
    MHD_suspend_connection(connection);
}

/* ---- requests ---- */

struct argument_walk {
    httpd_argument_fn take;
    void *data;
    int rc;
};

static enum MHD_Result take_argument(void *data, enum MHD_ValueKind kind, const char *key,
                                     const char *value)
{
    struct argument_walk *walk = data;
    (void)kind;
    walk->rc = walk->take(key, value != NULL ? value : "", walk->data);
    return walk->rc == 0 ? MHD_YES : MHD_NO;
}

int httpd_request_arguments(const struct httpd_request *request, httpd_argument_fn take, void *data)
{
    struct argument_walk walk = {take, data, 0};
    (void)MHD_get_connection_values(request->connection, MHD_GET_ARGUMENT_KIND, take_argument,
                                    &walk);
    return walk.rc;
}

static int put_index(const struct httpd *httpd, struct httpd_response *response)
{
    response->content_type = "text/plain; charset=utf-8";
    int rc = buf_append_str(&response->body, "log_capturer\n\n");
    for (const struct httpd_route *route = httpd->options.routes; rc == 0 && route->path != NULL;
         route++) {
        rc = buf_printf(&response->body, "%-20s %s\n", route->path, route->help);
    }
    return rc;
}

static int refuse(struct httpd_response *response, unsigned status, const char *text)
{
    response->status = status;
    return buf_printf(&response->body, "{\"error\":\"%s\"}\n", text);
}

static bool reads_only(const char *method)
{
    return strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
}

static int answer(struct httpd *httpd, const struct httpd_request *request,
                  struct httpd_response *response)
{
    bool known = false;
    for (const struct httpd_route *route = httpd->options.routes; route->path != NULL; route++) {
        if (strcmp(route->path, request->path) == 0) {
            known = true;
            if (route->method != NULL ? strcmp(route->method, request->method) == 0
                                      : reads_only(request->method)) {
                return route->handle(request, response, httpd->options.data);
            }
        }
    }
    if (strcmp(request->path, "/") == 0 && reads_only(request->method)) {
        return put_index(httpd, response);
    }
    return known || strcmp(request->path, "/") == 0
               ? refuse(response, MHD_HTTP_METHOD_NOT_ALLOWED,
                        "this method is not answered here; / lists what is")
               : refuse(response, MHD_HTTP_NOT_FOUND, "no such page; / lists what there is");
}

static enum MHD_Result send_response(struct httpd *httpd, struct MHD_Connection *connection,
                                     struct httpd_response *response)
{
    struct MHD_Response *reply = response->stream != NULL
                                     ? open_stream(httpd, response->stream, connection)
                                     : MHD_create_response_from_buffer(response->body.size,
                                                                       response->body.data,
                                                                       MHD_RESPMEM_MUST_COPY);
    if (reply == NULL) {
        return MHD_NO;
    }
    (void)MHD_add_response_header(reply, MHD_HTTP_HEADER_CONTENT_TYPE, response->content_type);
    (void)MHD_add_response_header(reply, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    (void)MHD_add_response_header(reply, "X-Content-Type-Options", "nosniff");
    enum MHD_Result result = MHD_queue_response(connection, response->status, reply);
    MHD_destroy_response(reply);
    return result;
}

static const char *header_of(struct MHD_Connection *connection, const char *name)
{
    return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

static enum MHD_Result send_late_answer(struct httpd *httpd, struct MHD_Connection *connection,
                                        struct httpd_pending *pending)
{
    struct httpd_response response = {.status = pending->status,
                                      .content_type = "application/json",
                                      .body = pending->body,
                                      .stream = pending->stream};
    pending->stream = NULL;
    return send_response(httpd, connection, &response);
}

/* The whole request is there. */
static enum MHD_Result handle_whole(struct httpd *httpd, struct httpd_request *request,
                                    struct httpd_pending *pending)
{
    struct MHD_Connection *connection = request->connection;
    struct httpd_response response = {.status = MHD_HTTP_OK, .content_type = "application/json"};
    buf_init(&response.body, 64U * 1024U * 1024U);
    metric_add(&httpd->requests, 1);
    int rc = !reads_only(request->method) && header_of(connection, MHD_HTTP_HEADER_ORIGIN) != NULL
                 ? refuse(&response, MHD_HTTP_FORBIDDEN,
                          "a page of another site may not change anything here")
                 : answer(httpd, request, &response);
    if (rc == 0 && response.later != NULL) {
        wait_for_answer(httpd, response.later, pending, connection);
        buf_finish(&response.body);
        return MHD_YES;
    }
    if (rc != 0) {
        response.status = MHD_HTTP_INTERNAL_SERVER_ERROR;
        buf_clear(&response.body);
    }
    enum MHD_Result result = send_response(httpd, connection, &response);
    buf_finish(&response.body);
    return result;
}

/* NOLINTNEXTLINE(readability-function-size): the signature is libmicrohttpd's */
static enum MHD_Result handle_request(void *data, struct MHD_Connection *connection,
                                      const char *url, const char *method, const char *version,
                                      const char *upload, size_t *upload_size, void **context)
{
    (void)version;
    (void)upload;
    struct httpd *httpd = data;
    struct httpd_pending *pending = *context;
    if (pending == NULL) { /* called once for the head, then for the body's end */
        pending = calloc(1, sizeof(*pending));
        *context = pending;
        if (pending == NULL) {
            return MHD_NO;
        }
        buf_init(&pending->body, 0);
        return MHD_YES;
    }
    if (*upload_size > 0) { /* bodies are of no interest */
        *upload_size = 0;
        return MHD_YES;
    }
    if (pending->answered) {
        return send_late_answer(httpd, connection, pending);
    }
    const char *accept = header_of(connection, MHD_HTTP_HEADER_ACCEPT);
    struct httpd_request request = {.method = method,
                                    .path = url,
                                    .accept = accept != NULL ? accept : "",
                                    .connection = connection};
    return handle_whole(httpd, &request, pending);
}

/* ---- life ---- */

static int start_daemon(struct httpd *httpd, int listen_fd, struct error *error)
{
    httpd->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, handle_request, httpd,
        MHD_OPTION_LISTEN_SOCKET, listen_fd, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)CONNECTION_LIMIT, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)CONNECTION_TIMEOUT_S,
        MHD_OPTION_NOTIFY_COMPLETED, handle_completed, NULL, MHD_OPTION_END);
    if (httpd->daemon == NULL) {
        (void)close(listen_fd);
        error_set(error, "the HTTP server can't be started: %s", strerror(errno));
        return -ENOMEM;
    }
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(httpd->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    int rc = info == NULL
                 ? -EINVAL
                 : loop_fd_add(httpd->options.loop, &httpd->source, info->epoll_fd, LOOP_READ);
    if (rc != 0) {
        error_set(error, "the HTTP server can't be watched: %s", strerror(-rc));
    }
    return rc;
}

int httpd_put_error(struct buf *body, const char *text)
{
    struct json_writer writer;
    json_writer_init(&writer, body);
    json_open(&writer, NULL, '{');
    json_put_string(&writer, "error", text);
    json_close(&writer, '}');
    return writer.rc != 0 ? writer.rc : buf_append_str(body, "\n");
}

int httpd_create(const struct httpd_options *options, struct httpd **ret_httpd, struct error *error)
{
    struct httpd *httpd = calloc(1, sizeof(*httpd));
    if (httpd == NULL) {
        error_set(error, "out of memory");
        return -ENOMEM;
    }
    httpd->options = *options;
    list_init(&httpd->streams);
    list_init(&httpd->laters);
    loop_fd_init(&httpd->source, handle_ready, httpd);
    loop_timer_init(options->loop, &httpd->timer, handle_timeout, httpd);
    int rc = metrics_add(
        options->metrics, &httpd->requests,
        &(struct metric_desc){.name = "log_capturer_http_requests_total",
                              .help = "Requests to this program's own HTTP server."});
    if (rc == 0) {
        int fd = address_listen(options->listen, CONNECTION_LIMIT, error);
        httpd->port = fd < 0 ? 0 : address_port_of(fd);
        if (fd >= 0 && str_starts_with(options->listen, "unix:")) {
            (void)str_copy(httpd->unix_path, sizeof(httpd->unix_path), options->listen + 5);
        }
        rc = fd < 0 ? fd : start_daemon(httpd, fd, error);
    }
    if (rc != 0) {
        httpd_destroy(httpd);
        return rc;
    }
    *ret_httpd = httpd;
    return 0;
}

void httpd_destroy(struct httpd *httpd)
{
    if (httpd == NULL) {
        return;
    }
    struct list *link;
    struct list *next;
    loop_fd_remove(&httpd->source);
    if (httpd->daemon != NULL) {
        list_for_each_safe(link, next, &httpd->streams)
        { /* a daemon with suspended connections can't be stopped */
            struct httpd_stream *stream = container_of(link, struct httpd_stream, link);
            stream->gone = true;
            resume(stream);
        }
        while (!list_empty(&httpd->laters)) {
            give_up(container_of(httpd->laters.next, struct httpd_later, link));
        }
        MHD_stop_daemon(httpd->daemon);
    }
    loop_timer_disarm(&httpd->timer);
    metric_finish(&httpd->requests);
    if (httpd->unix_path[0] != '\0') {
        (void)unlink(httpd->unix_path);
    }
    free(httpd);
}

uint16_t httpd_port(const struct httpd *httpd)
{
    return httpd->port;
}
