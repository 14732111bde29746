/*
 * Choosing for loops, which may not block: a place at a backend, or a wait for one. Those who wait are in one
 * queue for all backends, so who has waited longest is given the place that comes free first, wherever that
 * is; who waits uses no backend.
 */
#pragma once

#include "base/list.h"
#include "pools/upstream.h"

enum upstream_waiter_state { UPSTREAM_IDLE, UPSTREAM_WAITS, UPSTREAM_PROMISED };

/* Embedded in its owner; one thread's. Zero but for on_place. */
struct upstream_waiter {
    struct list link;
    enum upstream_waiter_state state; /* under the upstream's lock */
    int64_t since_ns;                 /* 0: it has not had to wait */
    /* Claim again now. Any thread, with the upstream's lock held: a wake-up only. */
    void (*on_place)(struct upstream_waiter *waiter);
};

/* A backend that is well, not `tried`, and has a place, by the strategy; it is held until backend_leave().
 * -EAGAIN: there are such, but all are full: it waits, and on_place comes. -EHOSTDOWN: there is none. */
int upstream_claim(struct upstream *upstream, struct backend *const *tried, size_t tried_count,
                   struct upstream_waiter *waiter, struct backend **ret_backend)
    __attribute__((warn_unused_result));
/* on_place will not come. Also when it does not wait. */
void upstream_claim_cancel(struct upstream *upstream, struct upstream_waiter *waiter);
/* Whether upstream_claim() would find one. Any thread. */
bool upstream_has_place(struct upstream *upstream, struct backend *const *tried,
                        size_t tried_count);
/* Of upstream_claim(), now. Any thread. */
uint32_t upstream_waiting(struct upstream *upstream);
