/* A session that has its server: events, ends, and what becomes of the server's connection. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/timestamp.h"
#include "pools/relay_session.h"

#define KEEP_ALIVE_AFTER_S 2

/* ---- ends ---- */

bool relay_session_is_clean(const struct relay_session *session)
{
    const struct relay_side *server = &session->sides[1];
    return session->worker->relay->options.reuse == RELAY_REUSE_CLEAN && session->answered &&
           session->sides[0].ended && !server->readable && !server->ended && !server->shut &&
           !server->hung_up && relay_flow_is_empty(&session->flows[0]) &&
           relay_flow_is_empty(&session->flows[1]);
}

static void release_server(struct relay_session *session, enum relay_end end)
{
    struct relay_side *server = &session->sides[1];
    struct pool *pool = backend_pool(session->backend);
    if (end == RELAY_END_DONE && relay_session_is_clean(session)) {
        loop_fd_remove(&server->source); /* it stays open */
        ((struct upstream_conn *)session->lease.resource)->used = true;
        relay_count(&session->worker->counters.kept, 1);
        (void)pool_release(pool, session->lease);
    } else {
        if (end != RELAY_END_DONE) {
            conn_abort_when_finished(&server->conn);
        }
        loop_fd_forget(&server->source);
        (void)pool_discard(pool, session->lease);
    }
    backend_leave(session->backend);
}

void relay_session_end(struct relay_session *session, enum relay_end end)
{
    struct relay_worker *worker = session->worker;
    loop_timer_disarm(&session->timer);
    loop_task_cancel(&session->task);
    relay_opening_destroy(session->opening);
    if (session->lease.resource != NULL) {
        if (end == RELAY_END_CUT) {
            relay_count(&worker->counters.cut, 1);
        }
        release_server(session, end);
    }
    relay_flow_finish(session, &session->flows[0]);
    relay_flow_finish(session, &session->flows[1]);
    loop_fd_forget(&session->sides[0].source);
    if (end != RELAY_END_DONE) { /* who was cut off must not look like one who has finished */
        conn_abort_when_finished(&session->sides[0].conn);
    } else if (!session->sides[0].shut) {
        (void)conn_close_write(&session->sides[0].conn); /* in TLS a word of its own */
    }
    conn_finish(&session->sides[0].conn);
    list_remove(&session->link);
    (void)atomic_fetch_sub(&worker->session_count, 1);
    (void)atomic_fetch_sub(&worker->relay->clients, 1);
    free(session);
}

/* Each direction has ended and was passed on; or the rest is of no use to anybody. */
static bool is_over(const struct relay_session *session)
{
    const struct relay_side *client = &session->sides[0];
    const struct relay_side *server = &session->sides[1];
    return (client->shut && server->shut) || relay_session_is_clean(session);
}

/* ---- moving ---- */

static void note_movement(struct relay_session *session)
{
    if (session->worker->relay->options.idle_timeout_ns > 0) {
        session->moved_ns = loop_now_ns(session->worker->loop);
    }
}

static void go_on(struct relay_session *session)
{
    int rc = relay_move(session);
    note_movement(session);
    bool stuck = rc == 0 && session->sides[0].broken; /* what the client left can't be passed on */
    if (rc >= 0 && is_over(session)) {
        relay_session_end(session, RELAY_END_DONE);
    } else if (rc < 0 || stuck) {
        relay_session_end(session, RELAY_END_CUT);
    } else if (rc > 0) {
        loop_task_schedule(session->worker->loop, &session->task);
    }
}

static void note_events(struct relay_side *side, int events)
{
    bool any = side->conn.tls != NULL; /* TLS may wait for the one to do the other */
    side->readable = side->readable || any || (events & LOOP_READ) != 0;
    side->writable = side->writable || any || (events & LOOP_WRITE) != 0;
    side->hung_up = side->hung_up || (events & LOOP_HANGUP) != 0;
    side->broken = side->broken || (events & LOOP_ERROR) != 0;
    side->urgent = side->urgent || (events & LOOP_URGENT) != 0;
}

static void handle_client(struct loop_fd *source, int events, void *data)
{
    (void)source;
    struct relay_session *session = data;
    note_events(&session->sides[0], events);
    if (session->opening != NULL) {
        relay_opening_handle_client(session);
    } else {
        go_on(session);
    }
}

static void handle_server(struct loop_fd *source, int events, void *data)
{
    (void)source;
    struct relay_session *session = data;
    note_events(&session->sides[1], events);
    go_on(session);
}

static void handle_turn(struct loop_task *task, void *data)
{
    (void)task;
    go_on(data);
}

static void handle_idle(struct loop_timer *timer, void *data)
{
    struct relay_session *session = data;
    int64_t limit = session->worker->relay->options.idle_timeout_ns;
    int64_t idle = loop_now_ns(session->worker->loop) - session->moved_ns;
    if (idle >= limit) {
        relay_session_end(session, RELAY_END_CUT);
    } else {
        loop_timer_arm(timer, limit - idle);
    }
}

void relay_session_tend(struct relay_session *session)
{
    if (session->lease.resource != NULL && session->opening == NULL &&
        session->seconds < KEEP_ALIVE_AFTER_S && ++session->seconds == KEEP_ALIVE_AFTER_S) {
        upstream_keep_alive(session->worker->relay->options.upstream, &session->sides[1].conn);
    }
}

/* ---- beginning ---- */

int relay_session_watch_client(struct relay_session *session)
{
    loop_fd_init(&session->sides[0].source, handle_client, session);
    return loop_fd_add(session->worker->loop, &session->sides[0].source, session->sides[0].conn.fd,
                       RELAY_WATCHED);
}

/* A dial has watched it already. */
static int watch_server(struct relay_session *session)
{
    struct relay_side *server = &session->sides[1];
    if (server->source.loop != NULL) {
        server->source.handle = handle_server;
        server->source.data = session;
        return 0;
    }
    loop_fd_init(&server->source, handle_server, session);
    return loop_fd_add(session->worker->loop, &server->source, server->conn.fd, RELAY_WATCHED);
}

/* Unless the dial has sent it. */
static int queue_header(struct relay_session *session)
{
    const struct relay_opening *opening = session->opening;
    struct relay_flow *flow = &session->flows[0];
    if (opening->header_size > 0) {
        flow->pending = malloc(opening->header_size);
        if (flow->pending == NULL) {
            return -ENOMEM;
        }
        memcpy(flow->pending, opening->header, opening->header_size);
        flow->pending_at = 0;
        flow->pending_size = opening->header_size;
    }
    return 0;
}

void relay_session_begin(struct relay_session *session)
{
    struct relay_worker *worker = session->worker;
    struct relay_side *server = &session->sides[1];
    int64_t idle_ns = worker->relay->options.idle_timeout_ns;
    bool dialed = server->source.loop != NULL;
    int events = dialed ? session->opening->dial.last_events : 0; /* what came with it */
    int rc = queue_header(session);
    relay_opening_destroy(session->opening);
    session->opening = NULL;
    session->answered = true;
    server->conn = ((struct upstream_conn *)session->lease.resource)->conn;
    server->writable = true;
    note_events(server, events);
    relay_count(&worker->counters.relayed, 1);
    loop_timer_disarm(&session->timer);
    loop_task_init(&session->task, handle_turn, session);
    if (rc != 0 || watch_server(session) != 0) {
        relay_session_end(session, RELAY_END_CUT);
        return;
    }
    loop_timer_init(worker->loop, &session->timer, handle_idle, session);
    if (idle_ns > 0) {
        loop_timer_arm(&session->timer, idle_ns);
    }
    go_on(session);
}
