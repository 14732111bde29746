/*
 * The loop. It sleeps until a socket is ready, or for one tick when something happens by time:
 * live rates, paced pieces, listening again.
 */
#include "fake_dockerd/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fake_dockerd/events.h"
#include "fake_dockerd/logs.h"

#define TICK_MS 5
#define BACKLOG 4096
#define EVENTS 256

static const char *const endpoint_names[FAKE_ENDPOINTS] = {
    "ping", "version", "info", "list", "inspect", "logs", "events", "other", "control",
};

const char *fake_endpoint_name(enum fake_endpoint endpoint)
{
    return endpoint_names[endpoint];
}

int fake_endpoint_parse(const char *name, enum fake_endpoint *ret_endpoint)
{
    for (int i = 0; i < FAKE_ENDPOINTS; i++) {
        if (strcmp(name, endpoint_names[i]) == 0) {
            *ret_endpoint = (enum fake_endpoint)i;
            return 0;
        }
    }
    return -EINVAL;
}

int fake_server_init(struct fake_server *server)
{
    for (size_t i = 0; i < FAKE_LISTENERS; i++) {
        server->listeners[i].fd = -1;
    }
    LIST_INIT(&server->connections);
    LIST_INIT(&server->dead);
    LIST_INIT(&server->event_listeners);
    server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    return server->epoll_fd < 0 ? -errno : 0;
}

static void bury_dead(struct fake_server *server)
{
    struct fake_connection *connection;
    while ((connection = LIST_FIRST(&server->dead)) != NULL) {
        LIST_REMOVE(connection, link);
        fake_text_finish(&connection->in);
        fake_text_finish(&connection->out);
        free(connection);
    }
}

static void listener_close(struct fake_listener *listener)
{
    if (listener->fd >= 0) {
        close(listener->fd);
        listener->fd = -1;
        if (listener->path != NULL) {
            unlink(listener->path);
        }
    }
}

void fake_server_finish(struct fake_server *server)
{
    struct fake_connection *connection;
    while ((connection = LIST_FIRST(&server->connections)) != NULL) {
        fake_connection_close(connection);
    }
    bury_dead(server);
    for (size_t i = 0; i < FAKE_LISTENERS; i++) {
        listener_close(&server->listeners[i]);
    }
    for (size_t i = 0; i < FAKE_ENDPOINTS; i++) {
        free(server->refusals[i].body);
    }
    fake_events_finish(server);
    fake_world_finish(&server->world);
    close(server->epoll_fd);
}

/* ---- listening */

static int open_unix(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        return -ENAMETOOLONG;
    }
    memcpy(address.sun_path, path, strlen(path));
    unlink(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -errno;
    }
    if (bind(fd, (const struct sockaddr *)&address, sizeof address) < 0 ||
        listen(fd, BACKLOG) < 0) {
        int err = -errno;
        close(fd);
        return err;
    }
    return fd;
}

static int open_tcp(uint16_t port, uint16_t *ret_port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -errno;
    }
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        bind(fd, (const struct sockaddr *)&address, sizeof address) < 0 ||
        listen(fd, BACKLOG) < 0 || getsockname(fd, (struct sockaddr *)&address, &len) < 0) {
        int err = -errno;
        close(fd);
        return err;
    }
    *ret_port = ntohs(address.sin_port);
    return fd;
}

static int listener_open(struct fake_server *server, struct fake_listener *listener)
{
    int fd = listener->path != NULL ? open_unix(listener->path)
                                    : open_tcp(listener->port, &listener->port);
    if (fd < 0) {
        return fd;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = listener};
    if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
        int err = -errno;
        close(fd);
        return err;
    }
    listener->fd = fd;
    return 0;
}

static int server_listen(struct fake_server *server, const struct fake_listener *wanted)
{
    size_t i = 0;
    while (i < FAKE_LISTENERS && server->listeners[i].used) {
        i++;
    }
    if (i == FAKE_LISTENERS) {
        return -ENOSPC;
    }
    server->listeners[i] = *wanted;
    server->listeners[i].used = true;
    return listener_open(server, &server->listeners[i]);
}

int fake_server_listen_unix(struct fake_server *server, const char *path, bool control)
{
    struct fake_listener listener = {.fd = -1, .path = path, .control = control};
    return server_listen(server, &listener);
}

int fake_server_listen_tcp(struct fake_server *server, uint16_t port)
{
    struct fake_listener listener = {.fd = -1, .port = port};
    return server_listen(server, &listener);
}

void fake_server_refuse(struct fake_server *server, uint64_t ms)
{
    for (size_t i = 0; i < FAKE_LISTENERS; i++) {
        if (!server->listeners[i].control) {
            listener_close(&server->listeners[i]);
        }
    }
    server->refuse_until_ns = fake_monotonic_ns() + ms * 1000000;
}

static void listen_again(struct fake_server *server)
{
    server->refuse_until_ns = 0;
    for (size_t i = 0; i < FAKE_LISTENERS; i++) {
        struct fake_listener *listener = &server->listeners[i];
        if (listener->used && listener->fd < 0 && listener_open(server, listener) < 0) {
            server->refuse_until_ns = 1; /* try again at the next tick */
        }
    }
}

static void accept_all(struct fake_server *server, const struct fake_listener *listener)
{
    int fd;
    while (listener->fd >= 0 &&
           (fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
        fake_connection_create(server, fd, listener->control);
    }
}

/* ---- the loop */

static bool needs_ticks(const struct fake_server *server)
{
    if (server->refuse_until_ns > 0 || (server->split_bytes > 0 && server->split_every_ns > 0)) {
        return true;
    }
    for (size_t i = 0; i < server->world.count; i++) {
        const struct fake_container *container = server->world.containers[i];
        if (container->rate > 0 && container->state == FAKE_RUNNING) {
            return true;
        }
    }
    return false;
}

static void send_pieces(struct fake_server *server)
{
    struct fake_connection *next;
    server->sends_pieces = true;
    for (struct fake_connection *connection = LIST_FIRST(&server->connections); connection != NULL;
         connection = next) {
        next = LIST_NEXT(connection, link);
        if (fake_connection_pending(connection) > 0) {
            fake_connection_flush(connection);
        }
    }
    server->sends_pieces = false;
}

static void server_tick(struct fake_server *server, uint64_t *last_pieces_ns)
{
    uint64_t now = fake_monotonic_ns();
    if (server->refuse_until_ns > 0 && now >= server->refuse_until_ns) {
        listen_again(server);
    }
    if (server->split_bytes > 0 && now - *last_pieces_ns >= server->split_every_ns) {
        *last_pieces_ns = now;
        send_pieces(server);
    }
    for (size_t i = 0; i < server->world.count; i++) {
        if (fake_container_tick(server->world.containers[i], now)) {
            fake_logs_flush(server->world.containers[i]);
        }
    }
}

static bool is_listener(const struct fake_server *server, const void *source)
{
    const char *p = source;
    return p >= (const char *)server->listeners &&
           p < (const char *)(server->listeners + FAKE_LISTENERS);
}

static bool dispatch(struct fake_server *server, const struct epoll_event *event)
{
    void *source = event->data.ptr;
    if (source == NULL) {
        return false;
    }
    if (is_listener(server, source)) {
        accept_all(server, source);
    } else {
        fake_connection_ready(source, event->events);
    }
    return true;
}

int fake_server_run(struct fake_server *server, int stop_fd)
{
    struct epoll_event stop = {.events = EPOLLIN};
    if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, stop_fd, &stop) < 0) {
        return -errno;
    }
    uint64_t last_tick_ns = fake_monotonic_ns();
    uint64_t last_pieces_ns = 0;
    for (;;) {
        struct epoll_event events[EVENTS];
        int timeout_ms = needs_ticks(server) ? TICK_MS : -1;
        int count = epoll_wait(server->epoll_fd, events, EVENTS, timeout_ms);
        if (count < 0 && errno != EINTR) {
            return -errno;
        }
        for (int i = 0; i < count; i++) {
            if (!dispatch(server, &events[i])) {
                return 0;
            }
        }
        uint64_t now = fake_monotonic_ns();
        if (timeout_ms > 0 && now - last_tick_ns >= (uint64_t)TICK_MS * 1000000) {
            last_tick_ns = now;
            server_tick(server, &last_pieces_ns);
        }
        bury_dead(server);
        fake_world_reap(&server->world);
    }
}
