/*
 * Health checks of a backend: connect, through TLS where it is used, and where wanted send something and
 * look for an answer.
 *
 * The pause to the next check follows the state: the interval while all is well; a quarter of it while a
 * verdict is forming (some checks failed, but not enough; or some passed again); twice, then four
 * times it while the backend stays down. Each pause is spread by a tenth, so that agents that started
 * together do not check together.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/backoff.h"
#include "base/timestamp.h"
#include "pools/proxy_header.h"
#include "pools/upstream_private.h"

#define UNEXPECTED "the answer to the health check is not the expected one"

static const struct upstream_health *settings(const struct backend *backend)
{
    return &backend->upstream->options.health;
}

/* ---- the verdict ---- */

static int64_t pause_of(const struct backend *backend, bool up)
{
    const struct backend_health *health = &backend->health;
    int64_t interval = settings(backend)->interval_ns;
    bool forming = up ? health->failed > 0 : health->passed > 0;
    int64_t pause = forming                    ? interval / 4
                    : up                       ? interval
                    : health->down_checks <= 4 ? interval
                    : health->down_checks <= 8 ? interval * 2
                                               : interval * 4;
    return pause - pause / 20 + jitter(pause / 10 + 1);
}

static void set_up(struct backend *backend, bool up, const char *text)
{
    struct upstream *upstream = backend->upstream;
    (void)pthread_mutex_lock(&upstream->lock);
    bool changes = backend->up != up;
    backend->up = up;
    if (changes && up) {
        backend->up_since_ns = loop_now_ns(upstream->options.loop);
    }
    if (up) { /* what is seen to be well is no longer ejected */
        backend->ejected_until_ns = 0;
        backend->failures_in_row = 0;
        backend->reason[0] = '\0';
    } else {
        (void)snprintf(backend->reason, sizeof(backend->reason), "%s", text);
    }
    upstream_wake_locked(upstream, SIZE_MAX);
    (void)pthread_mutex_unlock(&upstream->lock);
    if (changes) {
        backend_tell(backend, up ? "up" : "down: %s", text);
        if (!up) {
            (void)pool_flush(backend->pool);
        }
        upstream_warm(upstream);
    }
}

static void judge(struct backend *backend, int rc, const char *text)
{
    struct backend_health *health = &backend->health;
    metric_add(&backend->checks, 1);
    if (rc == 0) {
        health->passed++;
        health->failed = 0;
    } else {
        metric_add(&backend->check_failures, 1);
        health->failed++;
        health->passed = 0;
    }
    if (rc == 0 && (backend->up || health->passed >= settings(backend)->rise)) {
        health->down_checks = 0;
        set_up(backend, true, "");
    } else if (rc != 0 &&
               (!backend->up || rc == -ECONNREFUSED || health->failed >= settings(backend)->fall)) {
        health->down_checks++;
        set_up(backend, false, text);
    }
}

/* ---- a check ---- */

static void end_check(struct backend *backend, int rc, const char *text)
{
    struct backend_health *health = &backend->health;
    metric_observe(&backend->check_seconds,
                   loop_now_ns(backend->upstream->options.loop) - health->begun_ns);
    health->checking = false;
    loop_fd_remove(&health->source);
    dial_cancel(&health->dial);
    conn_abort(&health->conn); /* a check leaves nothing in TIME_WAIT */
    addresses_unref(health->addresses);
    health->addresses = NULL;
    if (!dial_is_own_fault(rc)) {
        judge(backend, rc, text);
    }
    loop_timer_arm(&health->timer, pause_of(backend, backend->up));
}

static bool is_answered(const struct backend *backend)
{
    const struct backend_health *health = &backend->health;
    const char *expect = settings(backend)->expect;
    return expect == NULL
               ? health->answered > 0
               : memmem(health->answer, health->answered, expect, strlen(expect)) != NULL;
}

/* 0: done; -EAGAIN: *ret_wants; else it failed. */
static int talk(struct backend *backend, int *ret_wants)
{
    struct backend_health *health = &backend->health;
    const char *send = settings(backend)->send != NULL ? settings(backend)->send : "";
    size_t size = strlen(send);
    while (health->sent < size) {
        ssize_t n = conn_write(&health->conn, send + health->sent, size - health->sent);
        *ret_wants = conn_wants(&health->conn, LOOP_WRITE);
        if (n < 0) {
            return (int)n;
        }
        health->sent += (size_t)n;
    }
    while (!is_answered(backend) && health->answered < sizeof(health->answer)) {
        ssize_t n = conn_read(&health->conn, health->answer + health->answered,
                              sizeof(health->answer) - health->answered);
        *ret_wants = conn_wants(&health->conn, LOOP_READ);
        if (n <= 0) {
            return n == 0 ? -ECONNRESET : (int)n;
        }
        health->answered += (size_t)n;
    }
    return is_answered(backend) ? 0 : -EBADMSG;
}

static void go_on(struct backend *backend)
{
    struct backend_health *health = &backend->health;
    int wants = 0;
    int rc = talk(backend, &wants);
    if (rc == -EAGAIN) {
        rc = health->source.loop == NULL ? loop_fd_add(backend->upstream->options.loop,
                                                       &health->source, health->conn.fd, wants)
                                         : loop_fd_modify(&health->source, wants);
        if (rc == 0) {
            return;
        }
    }
    end_check(backend, rc, rc == -EBADMSG ? UNEXPECTED : strerror(-rc));
}

static void handle_ready(struct loop_fd *source, int events, void *data)
{
    (void)source;
    (void)events;
    go_on(data);
}

static void connected(struct backend *backend, struct conn conn)
{
    backend->health.conn = conn;
    if (settings(backend)->send == NULL && settings(backend)->expect == NULL) {
        end_check(backend, 0, "");
    } else {
        go_on(backend);
    }
}

static void handle_dialed(struct dial *dial, int rc, struct conn conn, const char *text, void *data)
{
    (void)dial;
    if (rc != 0) {
        end_check(data, rc, text);
    } else {
        connected(data, conn);
    }
}

static void check(struct backend *backend)
{
    struct backend_health *health = &backend->health;
    struct conn conn = {.fd = -1};
    health->addresses = backend_addresses(backend);
    if (health->addresses == NULL) {
        loop_timer_arm(&health->timer, settings(backend)->interval_ns);
        return;
    }
    health->checking = true;
    health->begun_ns = loop_now_ns(backend->upstream->options.loop);
    health->sent = health->answered = 0;
    loop_timer_arm(&health->timer, settings(backend)->timeout_ns);
    bool proxy = backend->upstream->options.proxy_header;
    struct dial_target target = {.preface = proxy_header_local,
                                 .preface_size = proxy ? PROXY_HEADER_LOCAL_SIZE : 0,
                                 .addresses = &health->addresses->list,
                                 .tls = backend->upstream->options.tls,
                                 .host = backend->hostport.host};
    int rc = dial_start(&health->dial, &target, &conn);
    if (rc == 0) {
        connected(backend, conn);
    } else if (rc != -EAGAIN) {
        end_check(backend, rc, dial_error(&health->dial));
    }
}

static void handle_timer(struct loop_timer *timer, void *data)
{
    (void)timer;
    struct backend *backend = data;
    if (backend->health.checking) {
        end_check(backend, -ETIMEDOUT,
                  backend->health.answered > 0 ? UNEXPECTED
                                               : "the health check was not answered in time");
    } else {
        check(backend);
    }
}

/* ---- life ---- */

void backend_health_init(struct backend *backend)
{
    struct backend_health *health = &backend->health;
    struct loop *loop = backend->upstream->options.loop;
    loop_timer_init(loop, &health->timer, handle_timer, backend);
    dial_init(&health->dial, loop, handle_dialed, backend);
    loop_fd_init(&health->source, handle_ready, backend);
    conn_init(&health->conn, -1);
}

/* The first check comes at once. */
void backend_health_start(struct backend *backend)
{
    if (settings(backend)->interval_ns > 0 && !backend->health.checking) {
        loop_timer_arm(&backend->health.timer, 0);
    }
}

void backend_health_hurry(struct backend *backend)
{
    struct backend_health *health = &backend->health;
    int64_t soon = settings(backend)->interval_ns / 4;
    int64_t left = health->timer.due_ns - loop_now_ns(backend->upstream->options.loop);
    if (loop_timer_armed(&health->timer) && !health->checking && left > soon) {
        loop_timer_arm(&health->timer, 0);
    }
}

void backend_health_stop(struct backend *backend)
{
    struct backend_health *health = &backend->health;
    loop_timer_disarm(&health->timer);
    dial_cancel(&health->dial);
    loop_fd_remove(&health->source);
    conn_finish(&health->conn);
    addresses_unref(health->addresses);
    health->addresses = NULL;
    health->checking = false;
}
