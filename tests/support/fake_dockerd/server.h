/*
 * fake_server: fake_dockerd as a whole: listening sockets, one epoll loop in one thread, the
 * containers, the faults that are being played, and the counters. It owns all of these, and the
 * connections (see connection.h), which it frees at the end of the loop's turn in which they
 * were closed.
 */
#ifndef FAKE_SERVER_H
#define FAKE_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "fake_dockerd/connection.h"
#include "fake_dockerd/container.h"
#include "fake_dockerd/text.h"

enum fake_endpoint {
    FAKE_PING,
    FAKE_VERSION,
    FAKE_INFO,
    FAKE_LIST,
    FAKE_INSPECT,
    FAKE_LOGS,
    FAKE_EVENTS,
    FAKE_OTHER,
    FAKE_CONTROL,
    FAKE_ENDPOINTS,
};

#define FAKE_EVENT_RING 256
#define FAKE_LISTENERS 3

/* An answer that is played instead of the real one. */
struct fake_refusal {
    int status; /* 0: none */
    uint64_t count;
    char *body;
};

struct fake_listener {
    int fd; /* -1: not listening */
    const char *path;
    uint16_t port;
    bool used;
    bool control;
};

struct fake_event {
    int64_t time_ns;
    struct fake_text json;
};

struct fake_server {
    struct fake_world world;
    unsigned api_minor;
    unsigned min_api_minor;
    const char *server_version;
    const char *daemon_id;
    int epoll_fd;
    struct fake_listener listeners[FAKE_LISTENERS];
    LIST_HEAD(, fake_connection) connections;
    LIST_HEAD(, fake_connection) dead;
    LIST_HEAD(, fake_connection) event_listeners;
    struct fake_event events[FAKE_EVENT_RING];
    uint64_t event_count;
    int64_t clock_offset_ns;

    /* faults */
    bool hangs[FAKE_ENDPOINTS];
    struct fake_refusal refusals[FAKE_ENDPOINTS];
    bool drop_events;
    size_t split_bytes; /* 0: off */
    uint64_t split_every_ns;
    bool sends_pieces;        /* the moment for the next piece has come */
    uint64_t refuse_until_ns; /* 0: listening */

    uint64_t accepted;
    uint64_t open;
    uint64_t most_open;
    uint64_t open_follows;
    uint64_t requests[FAKE_ENDPOINTS];
};

/* epoll and an empty world; negative errno. */
int fake_server_init(struct fake_server *server) __attribute__((warn_unused_result));
void fake_server_finish(struct fake_server *server);
/* path is borrowed; a file in the way is removed. Negative errno. */
int fake_server_listen_unix(struct fake_server *server, const char *path, bool control)
    __attribute__((warn_unused_result));
/* 127.0.0.1; port 0 takes a free one, which the listener then says. */
int fake_server_listen_tcp(struct fake_server *server, uint16_t port)
    __attribute__((warn_unused_result));
/* Until stop_fd is readable. */
int fake_server_run(struct fake_server *server, int stop_fd) __attribute__((warn_unused_result));
/* Closes the listening sockets for a time; what is open stays. */
void fake_server_refuse(struct fake_server *server, uint64_t ms);
const char *fake_endpoint_name(enum fake_endpoint endpoint);
/* -EINVAL: no such name. */
int fake_endpoint_parse(const char *name, enum fake_endpoint *ret_endpoint);

#endif
