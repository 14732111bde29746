/* Taking a connection of a netpool in a loop: by callback. Thread of that loop only. */
#pragma once

#include "pools/netpool.h"
#include "pools/pool_request.h"

struct netpool_get;
/* rc as of netpool_client_get(); conn is the callee's where it is 0. */
typedef void (*netpool_get_fn)(struct netpool_get *get, int rc, struct netpool_conn conn,
                               void *data);

/* Embedded in its owner. */
struct netpool_get {
    struct pool_request request;
    struct pool *pool;
    char id[NETPOOL_ID_SIZE];
    netpool_get_fn on_done;
    void *data;
};

void netpool_get_init(struct netpool_get *get, struct loop *loop, netpool_get_fn on_done,
                      void *data);
/* on_done comes exactly once, from the loop. id NULL: any. */
void netpool_get_start(struct netpool_get *get, struct pool *pool, struct pool_mailbox *mailbox,
                       const char *id, int64_t timeout_ns);
void netpool_get_cancel(struct netpool_get *get);

/* ---- for netpool_client.c and netpool_server.c ---- */

/* Waits and takes. */
int netpool_take(struct pool *pool, const char *id, int64_t timeout_ns,
                 struct netpool_conn *ret_conn, struct error *error)
    __attribute__((warn_unused_result));
/* Puts a connection into its reserved place; it is closed where there is no memory. */
void netpool_put(struct pool *pool, struct pool_lease lease, const struct netpool_conn *conn);
/* Resources are heap copies of struct netpool_conn. */
extern const struct pool_type netpool_type;
