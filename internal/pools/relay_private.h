/* The relay and its workers; for the relay's own files. A worker's sessions: relay_session.h. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "loop/task.h"
#include "loop/timer.h"
#include "pools/pool_request.h"
#include "pools/relay.h"

#define RELAY_BUFFER_BYTES ((size_t)64 * 1024) /* of a worker: what a read may bring at once */

/* Of one worker, who alone changes them. */
struct relay_counters {
    _Atomic uint64_t accepted, refused[RELAY_REFUSALS], relayed, cut, kept, bytes[2], spliced;
};

/* A cache line is one worker's. NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding) */
struct relay_worker {
    _Alignas(64) struct relay_counters counters;
    struct relay *relay;
    struct loop *loop;
    struct pool_mailbox *mailbox;
    struct pool *pipes;
    struct loop_fd listener;
    struct loop_post wake; /* drain, stop */
    struct loop_timer tend_timer, pause_timer;
    struct list sessions;
    _Atomic uint32_t session_count; /* those that are being handed over included */
    struct loop_post inbox;         /* clients that another worker accepted for this one */
    pthread_mutex_t inbox_lock;
    struct list handed;
    struct loop_post placed; /* sessions that are to claim their place */
    struct list placed_list; /* under inbox_lock too */
    size_t placed_count;     /* of it */
    unsigned accept_budget;  /* connections at a time */
    pthread_t thread;
    bool running, stopped_listening;
    char *buffer; /* RELAY_BUFFER_BYTES */
};

/* A metric that is a counter of all workers together. */
struct relay_reader {
    const struct relay *relay;
    size_t offset; /* in struct relay_counters */
    struct metric metric;
};
#define RELAY_READERS (RELAY_REFUSALS + 7)

struct relay {
    struct relay_options options;
    struct relay_worker *workers;
    _Atomic uint32_t clients;
    _Atomic uint32_t listening; /* workers */
    _Atomic bool draining, stopping;
    struct relay_reader readers[RELAY_READERS];
    struct metric clients_now;
    char name[64];
};

static inline void relay_count(_Atomic uint64_t *counter, uint64_t amount)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + amount,
                          memory_order_relaxed);
}

/* ---- relay_accept.c ---- */
int relay_listen(struct relay_worker *worker);
void relay_handle_connections(struct loop_fd *source, int events, void *data);
void relay_handle_pause(struct loop_timer *timer, void *data);
void relay_handle_inbox(struct loop_post *post, void *data);
void relay_refuse_handed(struct relay_worker *worker);
void relay_stop_listening(struct relay_worker *worker);

/* ---- relay_open.c ---- */
void relay_handle_placed(struct loop_post *post, void *data);
