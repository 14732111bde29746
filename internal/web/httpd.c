/*
 * libmicrohttpd's epoll descriptor nests in the loop's own; MHD_get_timeout() feeds one timer. The
 * listening socket is ours, so that the errors of bind() can be told apart.
 */
#include "web/httpd.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/hostport.h"
#include "base/str.h"
#include "loop/timer.h"

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

static int answer(struct httpd *httpd, const struct httpd_request *request,
                  struct httpd_response *response)
{
    for (const struct httpd_route *route = httpd->options.routes; route->path != NULL; route++) {
        if (strcmp(route->path, request->path) == 0) {
            return route->handle(request, response, httpd->options.data);
        }
    }
    if (strcmp(request->path, "/") == 0) {
        return put_index(httpd, response);
    }
    response->status = MHD_HTTP_NOT_FOUND;
    return buf_append_str(&response->body, "{\"error\":\"no such page; / lists what there is\"}\n");
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

/* NOLINTNEXTLINE(readability-function-size): the signature is libmicrohttpd's */
static enum MHD_Result handle_request(void *data, struct MHD_Connection *connection,
                                      const char *url, const char *method, const char *version,
                                      const char *upload, size_t *upload_size, void **context)
{
    (void)version;
    (void)upload;
    struct httpd *httpd = data;
    static char seen;
    if (*context == NULL) { /* called once for the head, then for the body's end */
        *context = &seen;
        return MHD_YES;
    }
    if (*upload_size > 0) { /* bodies are of no interest */
        *upload_size = 0;
        return MHD_YES;
    }
    metric_add(&httpd->requests, 1);
    struct httpd_response response = {.status = MHD_HTTP_OK, .content_type = "application/json"};
    buf_init(&response.body, 64U * 1024U * 1024U);
    const char *accept = MHD_lookup_connection_value(connection, MHD_HEADER_KIND,
                                                     MHD_HTTP_HEADER_ACCEPT);
    struct httpd_request request = {
        .path = url, .accept = accept != NULL ? accept : "", .connection = connection};
    int rc = 0;
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        response.status = MHD_HTTP_METHOD_NOT_ALLOWED;
        rc = buf_append_str(&response.body,
                            "{\"error\":\"only GET and HEAD are answered here\"}\n");
    } else {
        rc = answer(httpd, &request, &response);
    }
    if (rc != 0) {
        response.status = MHD_HTTP_INTERNAL_SERVER_ERROR;
        buf_clear(&response.body);
    }
    enum MHD_Result result = send_response(httpd, connection, &response);
    buf_finish(&response.body);
    return result;
}

/* ---- listening ---- */

static int bind_first(const struct addrinfo *found)
{
    int rc = -EADDRNOTAVAIL;
    for (const struct addrinfo *at = found; at != NULL; at = at->ai_next) {
        int fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0) {
            rc = -errno;
            continue;
        }
        int one = 1;
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        if (bind(fd, at->ai_addr, at->ai_addrlen) == 0 && listen(fd, CONNECTION_LIMIT) == 0) {
            return fd;
        }
        rc = -errno;
        (void)close(fd);
    }
    return rc;
}

static int open_listener(const char *listen_on, struct error *error)
{
    struct hostport hostport;
    char port[8];
    int rc = hostport_parse(listen_on, &hostport, error);
    if (rc != 0) {
        return rc;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    (void)snprintf(port, sizeof(port), "%u", hostport.port);
    int code = getaddrinfo(hostport.host[0] == '\0' ? NULL : hostport.host, port, &hints, &found);
    if (code != 0) {
        error_set(error, "can't listen on %s: %s", listen_on, gai_strerror(code));
        return -EINVAL;
    }
    int fd = bind_first(found);
    freeaddrinfo(found);
    if (fd < 0) {
        error_set(error, "can't listen on %s: %s%s", listen_on, strerror(-fd),
                  fd == -EADDRINUSE ? "; is another log_capturer running? --listen takes another "
                                      "port"
                                    : "");
    }
    return fd;
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof(address);
    char port[8];
    uint64_t number = 0;
    if (getsockname(fd, (struct sockaddr *)&address, &size) != 0 ||
        getnameinfo((struct sockaddr *)&address, size, NULL, 0, port, sizeof(port),
                    NI_NUMERICSERV) != 0 ||
        str_parse_u64(port, &number) != 0) {
        return 0;
    }
    return (uint16_t)number;
}

static int start_daemon(struct httpd *httpd, int listen_fd, struct error *error)
{
    httpd->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL,
                                     handle_request, httpd, MHD_OPTION_LISTEN_SOCKET, listen_fd,
                                     MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTION_LIMIT,
                                     MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)CONNECTION_TIMEOUT_S,
                                     MHD_OPTION_END);
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

int httpd_create(const struct httpd_options *options, struct httpd **ret_httpd, struct error *error)
{
    struct httpd *httpd = calloc(1, sizeof(*httpd));
    if (httpd == NULL) {
        error_set(error, "out of memory");
        return -ENOMEM;
    }
    httpd->options = *options;
    list_init(&httpd->streams);
    loop_fd_init(&httpd->source, handle_ready, httpd);
    loop_timer_init(options->loop, &httpd->timer, handle_timeout, httpd);
    int rc = metrics_add(
        options->metrics, &httpd->requests,
        &(struct metric_desc){.name = "log_capturer_http_requests_total",
                              .help = "Requests to this agent's own HTTP server."});
    if (rc == 0) {
        int fd = open_listener(options->listen, error);
        httpd->port = fd < 0 ? 0 : port_of(fd);
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
        MHD_stop_daemon(httpd->daemon);
    }
    loop_timer_disarm(&httpd->timer);
    metric_finish(&httpd->requests);
    free(httpd);
}

uint16_t httpd_port(const struct httpd *httpd)
{
    return httpd->port;
}
