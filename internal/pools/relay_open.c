/*
 * From a client to a server: TLS with the client, a backend by the strategy, a connection of its pool.
 *
 *   accepted -> (securing) -> choose a backend -> idle connection ----------------> begin
 *                                  ^            -> may make one -> dial -> made ---'
 *                                  |            -> full: queue -> granted one -----'
 *                                  `- could not be reached: another one   -> time is over: refused
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/timestamp.h"
#include "pools/proxy_header.h"
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

void relay_opening_destroy(struct relay_opening *opening)
{
    if (opening == NULL) {
        return;
    }
    struct relay_session *session = opening->session;
    bool dialing = opening->dial.active;
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
    if (opening->tried_count < RELAY_TRIES) {
        opening->tried[opening->tried_count++] = session->backend;
    }
    give_up_backend(session);
    open_server(session);
}

/* ---- a connection ---- */

static size_t make_header(const struct relay_session *session, uint8_t *ret_header)
{
    struct address local = {.size = sizeof(local.storage)};
    if (!session->worker->relay->options.proxy_header) {
        return 0;
    }
    if (getsockname(session->sides[0].conn.fd, (struct sockaddr *)&local.storage, &local.size) !=
        0) {
        local.storage.ss_family = AF_UNSPEC;
    }
    return proxy_header_write(&session->opening->peer, &local, ret_header);
}

static void use_lease(struct relay_session *session, struct pool_lease lease)
{
    uint8_t header[PROXY_HEADER_SIZE];
    size_t size = make_header(session, header);
    session->lease = lease;
    relay_session_begin(session, header, size);
}

static void connected(struct relay_session *session, struct conn conn)
{
    struct backend *backend = session->backend;
    struct pool_lease lease = session->lease;
    struct upstream_conn *made = NULL;
    backend_report_success(backend,
                           loop_now_ns(session->worker->loop) - session->opening->begun_ns);
    if (upstream_conn_create(conn, &made) != 0) {
        pool_abandon(backend_pool(backend), lease, -ENOMEM, "out of memory");
        relay_refuse(session, RELAY_REFUSED_FAULT);
        return;
    }
    pool_fill(backend_pool(backend), &lease, made);
    use_lease(session, lease);
}

static void dial_failed(struct relay_session *session, int rc, const char *text)
{
    struct backend *backend = session->backend;
    pool_abandon(backend_pool(backend), session->lease, rc, text);
    bool ours = rc == -EMFILE || rc == -ENFILE || rc == -ENOMEM || rc == -ENOBUFS ||
                rc == -EADDRNOTAVAIL;
    if (ours) { /* no fault of the backend's, and another one would not help */
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
    if (rc != 0) {
        give_up_backend(session);
        relay_refuse(session, rc == -ETIMEDOUT ? RELAY_REFUSED_QUEUE : RELAY_REFUSED_NO_BACKEND);
    } else if (lease.resource != NULL) {
        use_lease(session, lease);
    } else {
        dial_server(session, lease);
    }
}

/* Where its circuit pauses after failures, the others come first. */
static void queue(struct relay_session *session)
{
    struct relay_opening *opening = session->opening;
    struct pool *pool = backend_pool(session->backend);
    struct backend *other;
    if (pool_retry_delay_ns(pool) > 0 && opening->tried_count < RELAY_TRIES) {
        opening->tried[opening->tried_count] = session->backend;
        if (upstream_choose(session->worker->relay->options.upstream, opening->tried,
                            opening->tried_count + 1, &other) == 0) {
            backend_leave(other); /* there is one; it is chosen again below */
            try_another(session);
            return;
        }
    }
    struct pool_wish patient = wish;
    int64_t left = opening->deadline_ns - loop_now_ns(session->worker->loop);
    patient.timeout_ns = left > 0 ? left : 0;
    pool_request_start(&opening->request, pool, session->worker->mailbox, &patient, true);
}

static void open_server(struct relay_session *session)
{
    struct relay_opening *opening = session->opening;
    struct pool_lease lease;
    if (upstream_choose(session->worker->relay->options.upstream, opening->tried,
                        opening->tried_count, &session->backend) != 0) {
        relay_refuse(session, RELAY_REFUSED_NO_BACKEND);
        return;
    }
    struct pool *pool = backend_pool(session->backend);
    if (pool_try_acquire(pool, &wish, &lease) == 0) {
        use_lease(session, lease);
    } else if (pool_reserve(pool, &wish, &lease) == 0) {
        dial_server(session, lease);
    } else {
        queue(session);
    }
}

/* ---- the client ---- */

static void handle_securing_timeout(struct loop_timer *timer, void *data)
{
    (void)timer;
    relay_refuse(data, RELAY_REFUSED_TLS);
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

/* A client that goes while it waits frees its place. Its bytes stay where they are. */
void relay_opening_handle_client(struct relay_session *session)
{
    struct relay_side *client = &session->sides[0];
    if (session->opening->securing) {
        secure(session);
    } else if (client->hung_up && conn_activity(&client->conn) == CONN_OVER) {
        relay_session_end(session, RELAY_END_CUT);
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
    loop_timer_init(worker->loop, &session->timer, handle_securing_timeout, session);
    opening->session = session;
    opening->peer = *peer;
    opening->deadline_ns = loop_now_ns(worker->loop) + worker->relay->options.queue_timeout_ns;
    pool_request_init(&opening->request, worker->loop, handle_granted, session);
    dial_init(&opening->dial, worker->loop, handle_dialed, session);
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
