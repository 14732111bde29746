/*
 * Waiting for a pool's resource in a loop: by callback. Loop thread only; the pool may be shared
 * with other loops and threads.
 */
#pragma once

#include "loop/loop.h"
#include "loop/timer.h"
#include "pools/pool.h"

/* Through which other threads hand resources to a loop; one per loop is enough. */
struct pool_mailbox;
int pool_mailbox_create(struct loop *loop, struct pool_mailbox **ret_mailbox)
    __attribute__((warn_unused_result));
/* No request may be under way. Not from within on_done. NULL is ignored. */
void pool_mailbox_destroy(struct pool_mailbox *mailbox);

struct pool_request;
/* rc as of pool_acquire(). 0 with lease->resource NULL: a reservation, as the request asked for. */
typedef void (*pool_request_fn)(struct pool_request *request, int rc, struct pool_lease lease,
                                void *data);

/* Who waits: embedded in requests, and on the stack of threads. The pool's own. */
struct pool_waiter {
    struct list link;
    struct pool_wish wish;
    bool creates; /* takes a reservation too */
    bool done;
    int rc;
    struct pool_lease lease;
    int32_t thread;                             /* of who waits, as in gettid(2) */
    void (*notify)(struct pool_waiter *waiter); /* with the pool's lock held */
};

struct pool_request {
    struct pool_waiter waiter;
    struct list ready_link;
    struct pool *pool;
    struct pool_mailbox *mailbox;
    struct loop_timer timer;
    pool_request_fn on_done;
    void *data;
    int64_t queued_ns; /* since when it waits; 0: it did not have to */
    bool active;
};

/*
 * Queues; try pool_try_acquire() before it. Somebody must tend the pool (pool_tend()), for that is what
 * brings the next attempt after a failure. on_done comes exactly once, from the loop. `creates`: a
 * reservation will do as well (pool_make.h). The request is embedded in its owner and stays in place
 * until on_done or pool_request_cancel().
 */
void pool_request_start(struct pool_request *request, struct pool *pool,
                        struct pool_mailbox *mailbox, const struct pool_wish *wish, bool creates);
/* on_done will not come; what was granted meanwhile goes back. Also when it is not under way. */
void pool_request_cancel(struct pool_request *request);
/* Before the first start. */
void pool_request_init(struct pool_request *request, struct loop *loop, pool_request_fn on_done,
                       void *data);
