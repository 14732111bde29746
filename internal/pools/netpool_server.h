/*
 * The accepting end: takes connections from a listening socket, through TLS and the greeting, until they
 * are ready to be taken. What is refused is closed and counted with its reason.
 *
 * Loop thread, but for what is marked "any thread".
 */
#pragma once

#include "base/metrics.h"
#include "loop/loop.h"
#include "net/address.h"
#include "net/tls.h"
#include "pools/netpool.h"
#include "pools/pool.h"

struct netpool_server;

enum netpool_refusal {
    NETPOOL_REFUSED_ADDRESS,  /* of a client that is not allowed */
    NETPOOL_REFUSED_FULL,     /* as many are ready as may be */
    NETPOOL_REFUSED_TLS,      /* the handshake failed: certificate, version, not TLS */
    NETPOOL_REFUSED_GREETING, /* the client answered something else, or closed */
    NETPOOL_REFUSED_TIMEOUT,  /* not through in time */
    NETPOOL_REFUSED_CROWDED,  /* too many in the handshake: the oldest of them goes */
    NETPOOL_REFUSED_FAULT     /* no memory, no descriptor */
};
#define NETPOOL_REFUSALS 7

struct netpool_server_options {
    const char *name;        /* in metrics and messages; copied */
    struct loop *loop;       /* borrowed, like the two below */
    struct metrics *metrics; /* or NULL */
    struct tls_context *tls; /* NULL: plain; demands client certificates as the context says */
    int listen_fd;           /* of address_listen(); stays the caller's */
    const char *allow;       /* addresses and ranges as in cidr_list_parse(); NULL or "": all */
    uint32_t max_ready;      /* 0: 1024 */
    uint32_t max_handshakes; /* 0: 64 */
    int64_t handshake_timeout_ns; /* 0: 5 s */
    /* One was refused. Optional. */
    void (*on_refused)(const char *peer, enum netpool_refusal why, const char *text, void *data);
    void *data;
};

int netpool_server_create(const struct netpool_server_options *options,
                          struct netpool_server **ret_server, struct error *error)
    __attribute__((warn_unused_result));
/* Requests must have ended. NULL is ignored. */
void netpool_server_destroy(struct netpool_server *server);

/* Takes one that is ready, waiting up to timeout_ns (negative: for ever); its id is the client's too.
 * -ETIMEDOUT, -ESHUTDOWN. Any thread but the loop's. */
int netpool_server_get(struct netpool_server *server, int64_t timeout_ns,
                       struct netpool_conn *ret_conn, struct error *error)
    __attribute__((warn_unused_result));
/* For a loop: netpool_get_start() on this pool. */
struct pool *netpool_server_pool(struct netpool_server *server);

/* Accepts no more and wakes all who wait with -ESHUTDOWN. Any thread. */
void netpool_server_cancel(struct netpool_server *server);
/* Any thread. */
uint32_t netpool_server_active(struct netpool_server *server);
uint64_t netpool_server_refused(const struct netpool_server *server, enum netpool_refusal why);
const char *netpool_refusal_name(enum netpool_refusal why);
