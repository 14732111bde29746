/*
 * A relay of TCP connections: takes clients from a listening socket, gives each a connection of an upstream's
 * pool, and moves bytes both ways until both have ended. Bytes of long transfers never enter the process
 * (splice(2), through pipes that are borrowed only while bytes move).
 *
 * Workers are threads, each with a loop of its own; they share the listening socket and the upstream.
 * A client whose backend can't be reached is given another one before it is turned away.
 *
 * Loop thread of the upstream, but for what is marked "any thread".
 */
#pragma once

#include "base/metrics.h"
#include "net/tls.h"
#include "pools/upstream.h"

struct relay;

enum relay_reuse {
    RELAY_REUSE_NEVER, /* a backend connection ends with its client */
    /*
     * It goes back to its pool when its client has left in order: the client has ended, all it sent was
     * passed on, and the last bytes that moved were the backend's answer. Only for protocols in
     * which each request is answered, nothing of a request outlives its answer (no login, no
     * transaction, no subscription), and clients read the answer before they close.
     */
    RELAY_REUSE_CLEAN
};

struct relay_options {
    const char *name;          /* in metrics and messages; copied */
    struct upstream *upstream; /* borrowed, like the four below */
    struct metrics *metrics;   /* or NULL */
    struct tls_context *tls;   /* of clients; NULL: plain */
    int listen_fd;             /* of address_listen() */
    unsigned workers;          /* 1 to 64 */
    uint32_t max_clients;      /* more are turned away; 0: what the limit of open files allows */
    int64_t queue_timeout_ns;  /* to wait for a place at a backend; 0: 5 s */
    int64_t idle_timeout_ns;   /* without a byte either way; 0: never */
    int64_t client_tls_timeout_ns; /* of a client's handshake; 0: 5 s */
    enum relay_reuse reuse;
    /* PROXY protocol v2 to backends, before their TLS; not with RELAY_REUSE_CLEAN, nor with connections
     * that are ready where backends speak TLS. */
    bool proxy_header;
};

/* -EINVAL with what makes no sense; else why a worker can't be started. */
int relay_create(const struct relay_options *options, struct relay **ret_relay, struct error *error)
    __attribute__((warn_unused_result));
/* Accepts those who have connected, and no more: the listening socket is shut, so who comes is refused by the
 * kernel. Who is connected goes on. */
void relay_drain(struct relay *relay);
/* It has drained: no client is left, and none will come. Any thread. */
bool relay_is_over(const struct relay *relay);
/* Cuts what is left and ends the workers. NULL is ignored. */
void relay_destroy(struct relay *relay);

enum relay_refusal {
    RELAY_REFUSED_LIMIT,      /* max_clients */
    RELAY_REFUSED_NO_BACKEND, /* none is up, or none could be reached */
    RELAY_REFUSED_QUEUE,      /* no place came free in time */
    RELAY_REFUSED_TLS,        /* the client's handshake failed */
    RELAY_REFUSED_FAULT,      /* no memory, no descriptor */
    RELAY_REFUSED_GONE        /* it went while it waited for a place */
};
#define RELAY_REFUSALS 6
const char *relay_refusal_name(enum relay_refusal why);

struct relay_stats {
    uint64_t accepted;
    uint64_t refused[RELAY_REFUSALS];
    uint64_t relayed;       /* clients that were given a backend */
    uint64_t cut;           /* of these, ended by an error or a time-out */
    uint64_t kept;          /* backend connections that went back to their pool */
    uint64_t bytes[2];      /* from clients; to clients */
    uint64_t spliced_bytes; /* of these, without entering the process */
    uint32_t clients;       /* now */
};
/* Any thread. */
void relay_get_stats(const struct relay *relay, struct relay_stats *ret_stats);
uint32_t relay_max_clients(const struct relay *relay);
