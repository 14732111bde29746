/*
 * One state machine for both ways; what differs is who waits.
 */
#include "net/dial.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#define NS_PER_MS INT64_C(1000000)

/* ---- steps ---- */

static void tell_failure(const struct dial_target *target, size_t index, int rc,
                         struct error *error)
{
    char text[ADDRESS_TEXT_SIZE];
    address_format(&target->addresses->items[index], text);
    if (rc != -EPROTO && rc != -ECONNABORTED) { /* these have their text */
        error_set(error, "%s", strerror(-rc));
    }
    error_prefix(error, "%s", text);
}

/* 0: connected; -EAGAIN: under way; else why not. */
static int open_socket(const struct address *address, struct conn *ret_conn)
{
    int one = 1;
    int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    conn_init(ret_conn, fd);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(fd, (const struct sockaddr *)&address->storage, address->size) == 0) {
        return 0;
    }
    return errno == EINPROGRESS ? -EAGAIN : -errno;
}

static int connect_result(const struct conn *conn)
{
    int code = 0;
    socklen_t size = sizeof(code);
    return getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &code, &size) != 0 ? -errno : -code;
}

/* It fits into the buffer of a new socket. */
static int send_preface(const struct dial *dial)
{
    const struct dial_target *target = &dial->target;
    if (target->preface_size == 0) {
        return 0;
    }
    ssize_t n = send(dial->conn.fd, target->preface, target->preface_size, MSG_NOSIGNAL);
    return n < 0 ? -errno : (size_t)n == target->preface_size ? 0 : -EMSGSIZE;
}

static int begin_tls(struct dial *dial)
{
    const struct dial_target *target = &dial->target;
    int rc = send_preface(dial);
    if (rc != 0) {
        return rc;
    }
    dial->connected = true;
    rc = target->tls == NULL ? 0 : conn_start_tls(&dial->conn, target->tls, target->host);
    return rc != 0 ? rc : conn_handshake(&dial->conn, &dial->error);
}

/* Goes on with the present address. */
static int step(struct dial *dial)
{
    if (dial->connected) {
        return conn_handshake(&dial->conn, &dial->error);
    }
    int rc = connect_result(&dial->conn);
    return rc != 0 ? rc : begin_tls(dial);
}

/* Goes through the addresses until one works or must be waited for. */
static int try_next(struct dial *dial)
{
    const struct address_list *list = dial->target.addresses;
    int rc = dial->rc;
    while (dial->next < list->count) {
        dial->connected = false;
        rc = open_socket(&list->items[dial->next++], &dial->conn);
        rc = rc != 0 ? rc : begin_tls(dial);
        if (rc == 0 || rc == -EAGAIN) {
            return rc;
        }
        tell_failure(&dial->target, dial->next - 1, rc, &dial->error);
        conn_finish(&dial->conn);
    }
    return rc;
}

static void stop_watching(struct dial *dial)
{
    if (dial->source != NULL) {
        loop_fd_remove(dial->source);
    }
}

/* After an event: 0, -EAGAIN, or the last address's failure. */
static int go_on(struct dial *dial)
{
    int rc = step(dial);
    if (rc == 0 || rc == -EAGAIN) {
        return rc;
    }
    stop_watching(dial); /* before the fd is closed */
    tell_failure(&dial->target, dial->next - 1, rc, &dial->error);
    conn_finish(&dial->conn);
    dial->rc = rc;
    return try_next(dial);
}

static int wanted_events(const struct dial *dial)
{
    return dial->connected ? conn_wants(&dial->conn, LOOP_READ) : LOOP_WRITE;
}

static void prepare(struct dial *dial, const struct dial_target *target)
{
    dial->target = *target;
    dial->next = 0;
    dial->rc = -EHOSTUNREACH;
    conn_init(&dial->conn, -1);
    error_set(&dial->error, "no address");
}

/* ---- in a loop ---- */

static void stop(struct dial *dial, bool keeps_source)
{
    dial->active = false;
    if (!keeps_source) {
        stop_watching(dial);
    }
    loop_timer_disarm(&dial->timer);
}

static void finish(struct dial *dial, int rc)
{
    struct conn conn = dial->conn;
    stop(dial, rc == 0 && dial->source != &dial->own_source);
    conn_init(&dial->conn, -1);
    if (rc != 0) {
        conn_finish(&conn);
    }
    dial->on_done(dial, rc, conn, dial->error.text, dial->data);
}

static int watch(struct dial *dial)
{
    int events = dial->source == &dial->own_source ? wanted_events(dial) : dial->target.events;
    int rc = dial->source->loop == NULL
                 ? loop_fd_add(dial->loop, dial->source, dial->conn.fd, events)
                 : loop_fd_modify(dial->source, events);
    if (rc != 0) {
        error_set(&dial->error, "%s", strerror(-rc));
    }
    return rc;
}

static void handle_ready(struct loop_fd *source, int events, void *data)
{
    (void)source;
    struct dial *dial = data;
    dial->last_events = events;
    int rc = go_on(dial);
    if (rc == -EAGAIN) {
        rc = watch(dial);
        if (rc == 0) {
            return;
        }
    }
    finish(dial, rc);
}

static void handle_timeout(struct loop_timer *timer, void *data)
{
    (void)timer;
    struct dial *dial = data;
    error_set(&dial->error, "no answer in time");
    tell_failure(&dial->target, dial->next - 1, -EPROTO, &dial->error);
    finish(dial, -ETIMEDOUT);
}

void dial_init(struct dial *dial, struct loop *loop, dial_fn on_done, void *data)
{
    *dial = (struct dial){.loop = loop, .on_done = on_done, .data = data};
    conn_init(&dial->conn, -1);
    loop_fd_init(&dial->own_source, handle_ready, dial);
    loop_timer_init(loop, &dial->timer, handle_timeout, dial);
}

int dial_start(struct dial *dial, const struct dial_target *target, struct conn *ret_conn)
{
    prepare(dial, target);
    dial->source = target->source != NULL ? target->source : &dial->own_source;
    if (target->source != NULL) {
        loop_fd_init(target->source, handle_ready, dial);
    }
    int rc = try_next(dial);
    if (rc == -EAGAIN) {
        rc = watch(dial);
        if (rc == 0) {
            dial->active = true;
            if (target->timeout_ns > 0) {
                loop_timer_arm(&dial->timer, target->timeout_ns);
            }
            return -EAGAIN;
        }
    }
    if (rc == 0) {
        *ret_conn = dial->conn;
        conn_init(&dial->conn, -1);
    } else {
        conn_finish(&dial->conn);
    }
    return rc;
}

bool dial_is_own_fault(int rc)
{
    return rc == -EMFILE || rc == -ENFILE || rc == -ENOMEM || rc == -ENOBUFS ||
           rc == -EADDRNOTAVAIL;
}

const char *dial_error(const struct dial *dial)
{
    return dial->error.text;
}

void dial_cancel(struct dial *dial)
{
    if (dial->active) {
        stop(dial, false);
        conn_finish(&dial->conn);
    }
}

/* ---- blocking ---- */

static int64_t now_ns(void)
{
    return clock_monotonic_ns(clock_real());
}

/* 0 when the socket is ready. */
static int wait_ready(const struct dial *dial, int stop_fd, int64_t deadline_ns)
{
    int events = wanted_events(dial);
    struct pollfd fds[2] = {{.fd = dial->conn.fd}, {.fd = stop_fd, .events = POLLIN}};
    fds[0].events = (short)(((events & LOOP_READ) != 0 ? POLLIN : 0) |
                            ((events & LOOP_WRITE) != 0 ? POLLOUT : 0));
    for (;;) {
        int64_t left = deadline_ns - now_ns();
        if (left <= 0) {
            return -ETIMEDOUT;
        }
        int64_t ms = (left + NS_PER_MS - 1) / NS_PER_MS;
        int n = poll(fds, 2, ms > 60000 ? 60000 : (int)ms);
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        if (n > 0 && fds[1].revents != 0) {
            return -ECANCELED;
        }
        if (n > 0) {
            return 0;
        }
    }
}

int dial_blocking(const struct dial_target *target, int stop_fd, struct conn *ret_conn,
                  struct error *error)
{
    struct dial dial = {.on_done = NULL};
    int64_t deadline = target->timeout_ns > 0 ? now_ns() + target->timeout_ns : INT64_MAX;
    prepare(&dial, target);
    int rc = try_next(&dial);
    while (rc == -EAGAIN) {
        rc = wait_ready(&dial, stop_fd, deadline);
        if (rc != 0) {
            error_set(&dial.error, "%s", rc == -ETIMEDOUT ? "no answer in time" : strerror(-rc));
            tell_failure(target, dial.next - 1, -EPROTO, &dial.error);
            break;
        }
        rc = go_on(&dial);
    }
    if (rc != 0) {
        conn_finish(&dial.conn);
        error_set(error, "%s", dial.error.text);
        return rc;
    }
    *ret_conn = dial.conn;
    return 0;
}
