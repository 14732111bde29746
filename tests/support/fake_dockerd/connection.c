/*
 * Output goes to a buffer first and from there to the socket as far as it takes it; the buffer
 * of an idle connection is given back, since there are thousands. With `split` on, each turn
 * sends only so many bytes, either as fast as the loop turns or one piece a tick.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "fake_dockerd/api.h"
#include "fake_dockerd/http.h"
#include "fake_dockerd/logs.h"
#include "fake_dockerd/server.h"

#define INPUT_LIMIT ((size_t)65 * 1024 * 1024)
#define LENGTH_LIMIT 2048 /* a longer answer is sent in chunks, as Go does it */
#define CHUNK_BYTES 4096
#define IDLE_ROOM 4096

void fake_connection_create(struct fake_server *server, int fd, bool control)
{
    struct fake_connection *connection = fake_allocate(1, sizeof *connection);
    connection->server = server;
    connection->fd = fd;
    connection->control = control;
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = connection};
    if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
        close(fd);
        free(connection);
        return;
    }
    LIST_INSERT_HEAD(&server->connections, connection, link);
    if (!control) {
        server->accepted++;
        server->open++;
    }
}

void fake_connection_close(struct fake_connection *connection)
{
    if (connection->dead) {
        return;
    }
    fake_logs_forget(connection);
    if (connection->listens) {
        LIST_REMOVE(connection, listener_link);
        connection->listens = false;
    }
    connection->server->open -= connection->control ? 0 : 1;
    connection->dead = true;
    epoll_ctl(connection->server->epoll_fd, EPOLL_CTL_DEL, connection->fd, NULL);
    close(connection->fd);
    connection->fd = -1;
    LIST_REMOVE(connection, link);
    LIST_INSERT_HEAD(&connection->server->dead, connection, link);
}

size_t fake_connection_pending(const struct fake_connection *connection)
{
    return connection->out.len - connection->out_at;
}

/* ---- input */

static void note_use(struct fake_connection *connection, const struct fake_request *request)
{
    struct fake_server *server = connection->server;
    bool control = strncmp(request->path, "/_fake/", 7) == 0;
    if (control && !connection->control && !connection->used) {
        connection->control = true;
        server->accepted--;
        server->open--;
    }
    connection->used = connection->used || !control;
    if (!control && server->open > server->most_open) {
        server->most_open = server->open;
    }
}

static void handle_request(struct fake_connection *connection, const struct fake_request *request)
{
    note_use(connection, request);
    connection->busy = true;
    connection->chunked = false;
    connection->close_after = !request->keep_alive;
    connection->version = request->version > 0 ? request->version : connection->server->api_minor;
    fake_api_handle(connection, request);
}

static void process_input(struct fake_connection *connection)
{
    connection->processing = true;
    while (!connection->dead && !connection->busy && connection->in.len > 0) {
        struct fake_request request;
        bool head_done;
        int rc = fake_request_parse(connection->in.data, connection->in.len, &request, &head_done);
        if (rc < 0) {
            connection->busy = true;
            connection->close_after = true;
            connection->in.len = 0;
            fake_connection_refuse(connection, 400, "bad request");
        } else if (rc == 0) {
            static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
            if (head_done && request.expects_continue && request.body_len > 0 &&
                connection->in.len == request.total_len - request.body_len) {
                fake_text_add(&connection->out, go_on, sizeof go_on - 1);
            }
            break;
        } else {
            handle_request(connection, &request);
            fake_text_drop_front(&connection->in, request.total_len);
        }
    }
    if (connection->in.len == 0) {
        fake_text_finish(&connection->in);
    }
    connection->processing = false;
}

static void read_input(struct fake_connection *connection)
{
    char buf[16384];
    ssize_t count = recv(connection->fd, buf, sizeof buf, MSG_DONTWAIT);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (count <= 0 || connection->in.len > INPUT_LIMIT) {
        fake_connection_close(connection); /* a half-close ends a stream of dockerd as well */
        return;
    }
    fake_text_add(&connection->in, buf, (size_t)count);
    fake_connection_flush(connection);
}

/* ---- output */

static void want_writable(struct fake_connection *connection)
{
    bool wanted = fake_connection_pending(connection) > 0 &&
                  (connection->server->split_bytes == 0 ||
                   connection->server->split_every_ns == 0 || connection->control);
    if (wanted != connection->waits_writable) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | (wanted ? EPOLLOUT : 0U),
                                    .data.ptr = connection};
        epoll_ctl(connection->server->epoll_fd, EPOLL_CTL_MOD, connection->fd, &event);
        connection->waits_writable = wanted;
    }
}

static void send_pending(struct fake_connection *connection)
{
    const struct fake_server *server = connection->server;
    size_t split = connection->control ? 0 : server->split_bytes;
    if (split > 0 && server->split_every_ns > 0 && !server->sends_pieces) {
        return;
    }
    while (fake_connection_pending(connection) > 0) {
        size_t len = fake_connection_pending(connection);
        len = split > 0 && len > split ? split : len;
        ssize_t count = send(connection->fd, connection->out.data + connection->out_at, len,
                             MSG_DONTWAIT | MSG_NOSIGNAL);
        if (count < 0) {
            if (errno != EAGAIN && errno != EINTR) {
                fake_connection_close(connection);
            }
            return;
        }
        connection->out_at += (size_t)count;
        if (split > 0) {
            break;
        }
    }
}

/* Gives back the memory of a buffer that has emptied, and the sent part of one that has not. */
static void tidy_output(struct fake_connection *connection)
{
    if (fake_connection_pending(connection) == 0) {
        connection->out.len = 0;
        if (connection->out.room > IDLE_ROOM) {
            fake_text_finish(&connection->out);
        }
    } else if (connection->out_at < FAKE_OUTPUT_LIMIT / 2) {
        return;
    } else {
        fake_text_drop_front(&connection->out, connection->out_at);
    }
    connection->out_at = 0;
}

void fake_connection_flush(struct fake_connection *connection)
{
    if (connection->processing || connection->dead) {
        return;
    }
    bool again;
    do {
        if (!connection->busy) {
            process_input(connection);
        }
        bool streams = connection->follow != NULL;
        if (streams) {
            fake_logs_pump(connection);
        }
        size_t before = fake_connection_pending(connection);
        if (before > 0 && !connection->dead) {
            send_pending(connection);
        }
        if (connection->dead) {
            return;
        }
        tidy_output(connection);
        /* All went out of a stream that was held back: there may be more of it. Or it has ended:
         * there may be another request. */
        again = (before >= FAKE_OUTPUT_LIMIT && fake_connection_pending(connection) == 0) ||
                (streams && connection->follow == NULL);
    } while (again);
    if (fake_connection_pending(connection) == 0 && !connection->busy && connection->close_after) {
        fake_connection_close(connection);
        return;
    }
    want_writable(connection);
}

void fake_connection_ready(struct fake_connection *connection, uint32_t events)
{
    if (!connection->dead && (events & (EPOLLERR | EPOLLHUP)) != 0) {
        fake_connection_close(connection);
    }
    if (!connection->dead && (events & EPOLLOUT) != 0) {
        fake_connection_flush(connection);
    }
    if (!connection->dead && (events & (EPOLLIN | EPOLLRDHUP)) != 0) {
        read_input(connection);
    }
}

/* ---- answers */

static const char *reason(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 201:
        return "Created";
    case 400:
        return "Bad Request";
    case 404:
        return "Not Found";
    case 409:
        return "Conflict";
    case 500:
        return "Internal Server Error";
    case 501:
        return "Not Implemented";
    case 503:
        return "Service Unavailable";
    default:
        return "Status";
    }
}

static void put_head(struct fake_connection *connection, int status, const char *type)
{
    const struct fake_server *server = connection->server;
    static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t now = time(NULL);
    struct tm tm;
    gmtime_r(&now, &tm);
    struct fake_text *out = &connection->out;
    fake_text_printf(out, "HTTP/1.1 %d %s\r\nApi-Version: 1.%u\r\n", status, reason(status),
                     server->api_minor);
    if (type != NULL) {
        fake_text_printf(out, "Content-Type: %s\r\n", type);
    }
    fake_text_printf(out,
                     "Docker-Experimental: false\r\nOstype: linux\r\nServer: Docker/%s (linux)\r\n"
                     "Date: %s, %02d %s %d %02d:%02d:%02d GMT\r\n",
                     server->server_version, days[tm.tm_wday], tm.tm_mday, months[tm.tm_mon],
                     tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
    if (connection->close_after) {
        fake_text_put(out, "Connection: close\r\n");
    }
}

void fake_connection_answer(struct fake_connection *connection, int status, const char *type,
                            const struct fake_text *body)
{
    put_head(connection, status, type);
    if (body->len <= LENGTH_LIMIT) {
        fake_text_printf(&connection->out, "Content-Length: %zu\r\n\r\n", body->len);
        fake_text_add(&connection->out, body->data, body->len);
    } else {
        fake_text_put(&connection->out, "Transfer-Encoding: chunked\r\n\r\n");
        for (size_t at = 0; at < body->len; at += CHUNK_BYTES) {
            size_t left = body->len - at;
            fake_connection_chunk(connection, body->data + at,
                                  left < CHUNK_BYTES ? left : CHUNK_BYTES);
        }
        fake_text_put(&connection->out, "0\r\n\r\n");
    }
    connection->busy = false;
    fake_connection_flush(connection);
}

void fake_connection_refuse(struct fake_connection *connection, int status, const char *format, ...)
{
    char message[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    struct fake_text body = {0};
    fake_text_put(&body, "{\"message\":");
    fake_text_json(&body, message, strlen(message));
    fake_text_put(&body, "}\n");
    fake_connection_answer(connection, status, "application/json", &body);
    fake_text_finish(&body);
}

void fake_connection_begin(struct fake_connection *connection, const char *type)
{
    put_head(connection, 200, type);
    fake_text_put(&connection->out, "Transfer-Encoding: chunked\r\n\r\n");
    connection->chunked = true;
}

void fake_connection_chunk(struct fake_connection *connection, const void *data, size_t len)
{
    if (len > 0) {
        fake_text_printf(&connection->out, "%zx\r\n", len);
        fake_text_add(&connection->out, data, len);
        fake_text_add(&connection->out, "\r\n", 2);
    }
}

/* Not followed by a flush: fake_logs_pump, which is called by one, ends streams with this. */
void fake_connection_end(struct fake_connection *connection)
{
    if (connection->chunked) {
        fake_text_put(&connection->out, "0\r\n\r\n");
    }
    if (connection->listens) {
        LIST_REMOVE(connection, listener_link);
        connection->listens = false;
    }
    connection->chunked = false;
    connection->busy = false;
}

static void send_and_close(struct fake_connection *connection, const char *last)
{
    fake_text_put(&connection->out, last);
    send_pending(connection);
    fake_connection_close(connection);
}

void fake_connection_cut(struct fake_connection *connection, enum fake_cut how)
{
    if (connection->dead) {
        return;
    }
    fake_logs_forget(connection);
    switch (how) {
    case FAKE_CUT_CLEAN:
        fake_connection_end(connection);
        fake_connection_flush(connection);
        break;
    case FAKE_CUT_FIN:
        send_and_close(connection, "");
        break;
    case FAKE_CUT_BAD_CHUNK:
        send_and_close(connection, "zz\r\nno chunk at all\r\n");
        break;
    case FAKE_CUT_MID_FRAME:
        send_pending(connection);
        /* of a chunk and frame of some 100 bytes the beginning, and the stream's end within */
        fake_text_add(&connection->out, "6c\r\n\1\0\0\0\0\0\0\x64", 12);
        send_and_close(connection, "2026-01-01T00:00:00.000000000Z half a li");
        break;
    case FAKE_CUT_RST: {
        struct linger linger = {.l_onoff = 1};
        setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
        fake_connection_close(connection);
        break;
    }
    }
}
