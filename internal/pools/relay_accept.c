/*
 * Accepting. The listening socket is shared, and the kernel wakes one worker for a connection; a worker takes
 * as many at a time as there were last time, so that a call that only returns EAGAIN is rare. Whom the
 * kernel wakes is chance; so a worker that has more clients than another hands on to that one.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/timestamp.h"
#include "pools/relay_session.h"

#define ACCEPT_BUDGET 4 /* more at a time makes those that are being served wait */
#define FEW 8           /* clients of a worker */
#define LAST_LIMIT 4096 /* of those who connected before it ended: a flood does not keep it */
#define ACCEPT_PAUSE_NS (50 * NS_PER_MS) /* when no descriptor is free */

static bool reserve_place(struct relay *relay)
{
    if (atomic_fetch_add(&relay->clients, 1) < relay->options.max_clients) {
        return true;
    }
    (void)atomic_fetch_sub(&relay->clients, 1);
    return false;
}

static void turn_away(struct relay_worker *worker, int fd, enum relay_refusal why)
{
    struct conn conn;
    conn_init(&conn, fd);
    conn_abort(&conn);
    relay_count(&worker->counters.refused[why], 1);
}

/* ---- handing over ---- */

struct handed_client {
    struct list link;
    int fd;
    struct address peer;
};

static struct relay_worker *least_loaded(struct relay *relay)
{
    struct relay_worker *best = &relay->workers[0];
    for (unsigned i = 1; i < relay->options.workers; i++) {
        if (atomic_load(&relay->workers[i].session_count) < atomic_load(&best->session_count)) {
            best = &relay->workers[i];
        }
    }
    return best;
}

/* Few clients are shared out one by one, for each may be a long transfer; of many some more are no matter. */
static bool should_pass_on(const struct relay_worker *worker, const struct relay_worker *to)
{
    uint32_t own = atomic_load(&worker->session_count);
    return own > atomic_load(&to->session_count) + (own < FEW ? 0 : 2 + own / 8);
}

static void hand_over(struct relay_worker *worker, struct relay_worker *to, int fd,
                      const struct address *peer)
{
    struct handed_client *client = malloc(sizeof(*client));
    if (client == NULL) {
        turn_away(worker, fd, RELAY_REFUSED_FAULT);
        (void)atomic_fetch_sub(&worker->relay->clients, 1);
        return;
    }
    client->fd = fd;
    client->peer = *peer;
    (void)atomic_fetch_add(&to->session_count, 1);
    (void)pthread_mutex_lock(&to->inbox_lock);
    list_append(&to->handed, &client->link);
    loop_post_send(&to->inbox);
    (void)pthread_mutex_unlock(&to->inbox_lock);
}

static struct handed_client *take_handed(struct relay_worker *worker)
{
    struct handed_client *client = NULL;
    (void)pthread_mutex_lock(&worker->inbox_lock);
    if (!list_empty(&worker->handed)) {
        client = container_of(worker->handed.next, struct handed_client, link);
        list_remove(&client->link);
    }
    (void)pthread_mutex_unlock(&worker->inbox_lock);
    return client;
}

void relay_handle_inbox(struct loop_post *post, void *data)
{
    (void)post;
    struct relay_worker *worker = data;
    struct handed_client *client;
    while ((client = take_handed(worker)) != NULL) {
        (void)atomic_fetch_sub(&worker->session_count, 1); /* relay_accept() counts it */
        relay_accept(worker, client->fd, &client->peer);
        free(client);
    }
}

static void take_client(struct relay_worker *worker, int fd, const struct address *peer)
{
    struct relay_worker *to = least_loaded(worker->relay);
    if (to != worker && should_pass_on(worker, to)) {
        hand_over(worker, to, fd, peer);
    } else {
        relay_accept(worker, fd, peer);
    }
}

/* ---- listening ---- */

/* Up to `most` of those that have connected; how many there were, and errno when there were fewer. */
static unsigned accept_some(struct relay_worker *worker, unsigned most)
{
    for (unsigned i = 0; i < most; i++) {
        struct address peer = {.size = sizeof(peer.storage)};
        int fd = accept4(worker->relay->options.listen_fd, (struct sockaddr *)&peer.storage,
                         &peer.size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            return i;
        }
        relay_count(&worker->counters.accepted, 1);
        if (!reserve_place(worker->relay)) {
            turn_away(worker, fd, RELAY_REFUSED_LIMIT);
        } else {
            take_client(worker, fd, &peer);
        }
    }
    return most;
}

void relay_handle_connections(struct loop_fd *source, int events, void *data)
{
    (void)source;
    (void)events;
    struct relay_worker *worker = data;
    unsigned budget = worker->accept_budget;
    unsigned count = accept_some(worker, budget);
    if (count == budget) {
        worker->accept_budget = budget < ACCEPT_BUDGET ? budget * 2 : budget;
        return;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        loop_fd_remove(&worker->listener); /* what is left waits: there is room again soon */
        loop_timer_arm(&worker->pause_timer, ACCEPT_PAUSE_NS);
    }
    worker->accept_budget = count > 1 ? count : 1;
}

/* Those whom the kernel has connected are served; who comes then is refused, and not left to wait. */
void relay_stop_listening(struct relay_worker *worker)
{
    struct relay *relay = worker->relay;
    if (worker->stopped_listening) {
        return;
    }
    if (!atomic_load(&relay->stopping)) {
        (void)accept_some(worker, LAST_LIMIT);
    }
    loop_fd_remove(&worker->listener);
    loop_timer_disarm(&worker->pause_timer);
    (void)shutdown(relay->options.listen_fd, SHUT_RD);
    worker->stopped_listening = true;
    (void)atomic_fetch_sub(&relay->listening, 1);
}

int relay_listen(struct relay_worker *worker)
{
    return loop_fd_add(worker->loop, &worker->listener, worker->relay->options.listen_fd,
                       LOOP_READ | LOOP_EXCLUSIVE);
}

void relay_handle_pause(struct loop_timer *timer, void *data)
{
    struct relay_worker *worker = data;
    if (!atomic_load(&worker->relay->draining) && relay_listen(worker) != 0) {
        loop_timer_arm(timer, ACCEPT_PAUSE_NS);
    }
}

/* Handed to one that had ended. */
void relay_refuse_handed(struct relay_worker *worker)
{
    struct handed_client *client;
    while ((client = take_handed(worker)) != NULL) {
        turn_away(worker, client->fd, RELAY_REFUSED_FAULT);
        (void)atomic_fetch_sub(&worker->relay->clients, 1);
        free(client);
    }
}
