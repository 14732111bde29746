/* Connections to a backend as resources of its pool, and how to make one in a loop. Any thread. */
#pragma once

#include "net/dial.h"
#include "pools/pool_make.h"
#include "pools/upstream.h"

struct upstream_conn {
    struct conn conn;
    /* Bytes of an earlier user went over it; so bytes that wait are none of the next one's. */
    bool used;
};

/* The backend's addresses, kept until addresses_unref(): names may be looked up again meanwhile. */
struct addresses {
    _Atomic unsigned references;
    struct address_list list;
};
/* NULL while its name is not looked up yet. */
struct addresses *backend_addresses(struct backend *backend);
void addresses_unref(struct addresses *addresses);

/* What to dial; addresses stay the caller's. The time-out is what the backend took so far, four
 * times its smoothed time and deviation, from 250 ms to connect_timeout_ns. */
struct dial_target backend_dial_target(struct backend *backend, const struct addresses *addresses);

/* TCP keep-alive as the upstream's options have it. */
void upstream_keep_alive(const struct upstream *upstream, const struct conn *conn);

/* Makes a resource of a new connection; -ENOMEM: it was closed. */
int upstream_conn_create(struct conn conn, struct upstream_conn **ret_conn)
    __attribute__((warn_unused_result));
