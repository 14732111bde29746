/*
 * From a client to a server: TLS with the client, a backend by the strategy, a connection of its pool.
 *
 *   accepted -> (securing) -> claim a place -> idle connection ----------------------> begin
 *                                ^  |   ^    -> may make one -> dial -> made ----------'
 *                                |  |   |    -> one is being made: wait -> granted one '
 *                                |  |   `------ could not be reached: another backend
 *                                |  `-> all are full: wait -> time is over: refused
 *                                `----- a place came free
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/timestamp.h"
#include "pools/relay_session.h"

static const struct pool_wish wish = {.holder = "relay"};

static void open_server(struct relay_session *session);

/* ---- turning away ---- */

void relay_refuse(struct relay_session *session, enum relay_refusal why)
{
    relay_count(&session->worker->counters.refused[why], 1);
    if (session->sides[0].conn.tls == NULL) {
        conn_abort(&session->sides[0].conn); /* its client learns at once, whatever it has sent */
        loop_fd_forget(&session->sides[0].source);
    }
    relay_session_end(session, RELAY_END_CUT);
}

/* The lease and the choice that did not lead to a server. */
static void give_up_backend(struct relay_session *session)
{
    if (session->backend != NULL) {
        backend_leave(session->backend);
        session->backend = NULL;
    }
}

static struct upstream *upstream_of(const struct relay_session *session)
{
    return session->worker->relay->options.upstream;
}

static void stop_waiting(struct relay_opening *opening)
{
    struct relay_worker *worker = opening->session->worker;
    if (opening->waiter.since_ns != 0) {
        upstream_claim_cancel(upstream_of(opening->session), &opening->waiter);
        (void)pthread_mutex_lock(&worker->inbox_lock);
        worker->placed_count -= !list_empty(&opening->placed_link);
        list_remove(&opening->placed_link);
        (void)pthread_mutex_unlock(&worker->inbox_lock);
    }
}

void relay_opening_destroy(struct relay_opening *opening)
{
    if (opening == NULL) {
        return;
    }
    struct relay_session *session = opening->session;
    bool dialing = opening->dial.active;
    stop_waiting(opening);
    pool_request_cancel(&opening->request);
    dial_cancel(&opening->dial);
    if (dialing) {
        pool_abandon(backend_pool(session->backend), session->lease, 0, "");
    }
    if (session->lease.resource == NULL) {
        give_up_backend(session);
    }
    addresses_unref(opening->addresses);
    free(opening);
}

/* This backend won't do; there may be others. */
static void try_another(struct relay_session *session)
{
    struct relay_opening *opening = session->opening;
    bool last = opening->tried_count == RELAY_TRIES;
    if (!last) {
        opening->tried[opening->tried_count++] = session->backend;
    }
    give_up_backend(session);
    if (last) {
        relay_refuse(session, RELAY_REFUSED_NO_BACKEND);
    } else {
        open_server(session);
    }
}

/* ---- a connection ---- */

static void make_header(struct relay_session *session)
{
    struct address local = {.size = sizeof(local.storage)};
    struct relay_opening *opening = session->opening;
    if (getsockname(session->sides[0].conn.fd, (struct sockaddr *)&local.storage, &local.size) !=
        0) {
        local.storage.ss_family = AF_UNSPEC;
    }
    opening->header_size = proxy_header_write(&opening->peer, &local, opening->header);
}

static void use_lease(struct relay_session *session, struct pool_lease lease)
{
    session->lease = lease;
    relay_session_begin(session);
}

static void connected(struct relay_session *session, struct conn conn)
{
    struct backend *backend = session->backend;
    struct pool_lease lease = session->lease;
    struct upstream_conn *made = NULL;
    backend_report_success(backend,
                           loop_now_ns(session->worker->loop) - session->opening->begun_ns);
    if (upstream_conn_create(conn, &made) != 0) {
        loop_fd_forget(&session->sides[1].source); /* it was closed */
        pool_abandon(backend_pool(backend), lease, 0, "");
        relay_refuse(session, RELAY_REFUSED_FAULT);
        return;
    }
    pool_fill(backend_pool(backend), &lease, made);
    session->opening->header_size = 0; /* it was sent */
    use_lease(session, lease);
}

static void dial_failed(struct relay_session *session, int rc, const char *text)
{
    struct backend *backend = session->backend;
    bool own = dial_is_own_fault(rc);
    pool_abandon(backend_pool(backend), session->lease, own ? 0 : rc, text);
    if (own) {
        relay_refuse(session, RELAY_REFUSED_FAULT);
        return;
    }
    backend_report_failure(backend, text);
    try_another(session);
}

static void handle_dialed(struct dial *dial, int rc, struct conn conn, const char *text, void *data)
{
    (void)dial;
    struct relay_session *session = data;
    if (rc != 0) {
        dial_failed(session, rc, text);
    } else {
        connected(session, conn);
    }
}

/* The lease is a reservation. */
static void dial_server(struct relay_session *session, struct pool_lease lease)
{
    struct relay_opening *opening = session->opening;
    struct conn conn;
    session->lease = lease;
    addresses_unref(opening->addresses);
    opening->addresses = backend_addresses(session->backend);
    if (opening->addresses == NULL) {
        dial_failed(session, -EHOSTUNREACH, "its name is not looked up yet");
        return;
    }
    opening->begun_ns = loop_now_ns(session->worker->loop);
    struct dial_target target = backend_dial_target(session->backend, opening->addresses);
    target.source = &session->sides[1].source;
    target.events = RELAY_WATCHED;
    target.preface = opening->header;
    target.preface_size = opening->header_size;
    int rc = dial_start(&opening->dial, &target, &conn);
    if (rc == 0) {
        connected(session, conn);
    } else if (rc != -EAGAIN) {
        dial_failed(session, rc, dial_error(&opening->dial));
    }
}

/* ---- the queue ---- */

static void handle_granted(struct pool_request *request, int rc, struct pool_lease lease,
                           void *data)
{
    (void)request;
    struct relay_session *session = data;
    if (rc == -ETIMEDOUT) {
        give_up_backend(session);
        relay_refuse(session, RELAY_REFUSED_QUEUE);
    } else if (rc != 0) {
        try_another(session);
    } else if (lease.resource != NULL) {
        use_lease(session, lease);
    } else {
        dial_server(session, lease);
    }
}

static int64_t left_ns(const struct relay_session *session)
{
    int64_t left = session->opening->deadline_ns - loop_now_ns(session->worker->loop);
    return left > 0 ? left : 0;
}

/* It has ended, and has sent nothing: it has most likely given up. */
static bool has_left(struct relay_session *session)
{
    struct relay_side *client = &session->sides[0];
    return client->hung_up && conn_activity(&client->conn) == CONN_OVER;
}

/* It has a place, but no connection may be made now. Where its circuit pauses after failures, the others
 * come first; else those that are being made (warm ones) are waited for. */
static void wait_for_pool(struct relay_session *session)
{
    struct relay_opening *opening = session->opening;
    struct pool *pool = backend_pool(session->backend);
    if (pool_retry_delay_ns(pool) > 0 && opening->tried_count < RELAY_TRIES) {
        opening->tried[opening->tried_count] = session->backend;
        if (upstream_has_place(upstream_of(session), opening->tried, opening->tried_count + 1)) {
            try_another(session);
            return;
        }
    }
    if (has_left(session)) {
        relay_refuse(session, RELAY_REFUSED_GONE);
        return;
    }
    struct pool_wish patient = wish;
    patient.timeout_ns = left_ns(session);
    pool_request_start(&opening->request, pool, session->worker->mailbox, &patient, true);
}

static void handle_place(struct upstream_waiter *waiter)
{
    struct relay_opening *opening = container_of(waiter, struct relay_opening, waiter);
    struct relay_worker *worker = opening->session->worker;
    (void)pthread_mutex_lock(&worker->inbox_lock);
    list_append(&worker->placed_list, &opening->placed_link);
    worker->placed_count++;
    loop_post_send(&worker->placed);
    (void)pthread_mutex_unlock(&worker->inbox_lock);
}

static struct relay_opening *take_placed(struct relay_worker *worker)
{
    struct relay_opening *opening = NULL;
    (void)pthread_mutex_lock(&worker->inbox_lock);
    if (!list_empty(&worker->placed_list)) {
        opening = container_of(worker->placed_list.next, struct relay_opening, placed_link);
        list_remove(&opening->placed_link);
        worker->placed_count--;
    }
    (void)pthread_mutex_unlock(&worker->inbox_lock);
    return opening;
}

void relay_handle_placed(struct loop_post *post, void *data)
{
    struct relay_worker *worker = data;
    struct relay_opening *opening;
    (void)pthread_mutex_lock(&worker->inbox_lock);
    size_t count = worker->placed_count;
    (void)pthread_mutex_unlock(&worker->inbox_lock);
    for (; count > 0 && (opening = take_placed(worker)) != NULL; count--) {
        opening->tried_count = 0; /* time has passed */
        loop_timer_disarm(&opening->session->timer);
        open_server(opening->session);
    }
    (void)pthread_mutex_lock(&worker->inbox_lock);
    if (worker->placed_count > 0) { /* what came meanwhile: others have their turn first */
        loop_post_send(post);
    }
    (void)pthread_mutex_unlock(&worker->inbox_lock);
}

static void open_server(struct relay_session *session)
{
    struct relay_opening *opening = session->opening;
    struct pool_lease lease;
    int rc = upstream_claim(upstream_of(session), opening->tried, opening->tried_count,
                            &opening->waiter, &session->backend);
    if (rc == -EAGAIN && !has_left(session)) {
        loop_timer_arm(&session->timer, left_ns(session));
        return;
    }
    if (rc != 0) {
        relay_refuse(session, rc == -EAGAIN ? RELAY_REFUSED_GONE : RELAY_REFUSED_NO_BACKEND);
        return;
    }
    struct pool *pool = backend_pool(session->backend);
    if (pool_try_acquire(pool, &wish, &lease) == 0) {
        use_lease(session, lease);
    } else if (pool_reserve(pool, &wish, &lease) == 0) {
        dial_server(session, lease);
    } else {
        wait_for_pool(session);
    }
}

/* ---- the client ---- */

static void handle_opening_timeout(struct loop_timer *timer, void *data)
{
    (void)timer;
    struct relay_session *session = data;
    relay_refuse(session, session->opening->securing ? RELAY_REFUSED_TLS : RELAY_REFUSED_QUEUE);
}

static void secure(struct relay_session *session)
{
    int rc = conn_handshake(&session->sides[0].conn, NULL);
    if (rc == -EAGAIN) {
        return;
    }
    if (rc != 0) {
        relay_refuse(session, RELAY_REFUSED_TLS);
        return;
    }
    loop_timer_disarm(&session->timer);
    session->opening->securing = false;
    open_server(session);
}

static bool waits(const struct relay_opening *opening)
{
    return opening->waiter.since_ns != 0 || opening->request.active;
}

/* A client that is reset frees its place, and so does one that leaves while it waits. One whose backend is being
 * connected to may have nothing to say, and goes on. */
void relay_opening_handle_client(struct relay_session *session)
{
    struct relay_side *client = &session->sides[0];
    if (session->opening->securing) {
        secure(session);
    } else if (client->broken || (waits(session->opening) && has_left(session))) {
        relay_refuse(session, RELAY_REFUSED_GONE);
    }
}

static struct relay_session *create_session(struct relay_worker *worker, int fd,
                                            const struct address *peer)
{
    struct relay_session *session = calloc(1, sizeof(*session));
    struct relay_opening *opening = calloc(1, sizeof(*opening));
    if (session == NULL || opening == NULL) {
        free(session);
        free(opening);
        return NULL;
    }
    session->worker = worker;
    session->opening = opening;
    conn_init(&session->sides[0].conn, fd);
    conn_init(&session->sides[1].conn, -1);
    list_init(&session->link);
    list_init(&session->task.link);
    list_init(&opening->placed_link);
    opening->waiter.on_place = handle_place;
    loop_timer_init(worker->loop, &session->timer, handle_opening_timeout, session);
    opening->session = session;
    opening->peer = *peer;
    opening->deadline_ns = loop_now_ns(worker->loop) + worker->relay->options.queue_timeout_ns;
    pool_request_init(&opening->request, worker->loop, handle_granted, session);
    dial_init(&opening->dial, worker->loop, handle_dialed, session);
    if (worker->relay->options.proxy_header) {
        make_header(session);
    }
    return session;
}

void relay_accept(struct relay_worker *worker, int fd, const struct address *peer)
{
    const struct relay_options *options = &worker->relay->options;
    struct relay_session *session = create_session(worker, fd, peer);
    if (session == NULL) {
        struct conn conn;
        conn_init(&conn, fd);
        conn_abort(&conn);
        relay_count(&worker->counters.refused[RELAY_REFUSED_FAULT], 1);
        (void)atomic_fetch_sub(&worker->relay->clients, 1);
        return;
    }
    list_append(&worker->sessions, &session->link);
    (void)atomic_fetch_add(&worker->session_count, 1);
    if (relay_session_watch_client(session) != 0 ||
        (options->tls != NULL &&
         conn_start_tls(&session->sides[0].conn, options->tls, NULL) != 0)) {
        relay_refuse(session, RELAY_REFUSED_FAULT);
    } else if (options->tls != NULL) {
        session->opening->securing = true;
        loop_timer_arm(&session->timer, options->client_tls_timeout_ns);
    } else {
        open_server(session);
    }
}
