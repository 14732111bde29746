/* What the pool's own files share. Nobody else includes this. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/backoff.h"
#include "base/list.h"
#include "pools/pool.h"
#include "pools/pool_make.h"
#include "pools/pool_report.h"
#include "pools/pool_request.h"
#include "pools/pool_slots.h"

struct pool {
    _Alignas(64) _Atomic uint64_t head;
    _Alignas(64) _Atomic uint32_t usable; /* idle and in use together */
    _Atomic uint32_t peak_busy;           /* most in use at once since adapted */
    _Atomic uint32_t live;                /* slots that are not free; changes exclusively */
    _Atomic uint32_t max;                 /* the same */
    _Atomic uint64_t first_uses;
    struct pool_options options;
    const struct clock *clock;
    struct pool_slot *slots;
    uint32_t slot_count;

    pthread_mutex_t lock; /* of all below */
    pthread_condattr_t monotonic;
    pthread_cond_t gone; /* a slot became free */
    uint32_t first_free; /* SLOT_NONE: those from used on */
    uint32_t used;       /* slots that were ever used */
    uint32_t creating;
    uint32_t min, target;
    uint32_t waiting, waiting_peak;
    uint32_t choosy;                 /* of these, who would not take just anything, or create */
    uint32_t plain[POOL_PRIORITIES]; /* of these, without wish.match */
    struct list waiters[POOL_PRIORITIES];
    uint32_t inside;       /* who is in the middle of something (pool_enter()) */
    bool closed, orphaned; /* orphaned: destroyed, freed once it is left alone */
    struct backoff backoff;
    _Atomic unsigned failures; /* in a row; changed under the lock */
    int64_t next_try_ns;
    int failed_rc;
    struct error failed;
    int64_t adapted_ns, looked_ns;
    uint32_t smooth; /* demand, of pool_adapt */
    unsigned small_intervals;
    void (*on_wanted)(void *data);
    void *wanted_data;

    struct metric created, create_failures, timeouts, ended[POOL_ENDS];
    struct metric in_use_now, idle_now, creating_now, checking_now, waiters_now;
    struct metric acquired_now, reused_now, reuse_ratio, target_now, limit_now, circuit_now;
    struct metric_histogram wait_seconds, lifetime_seconds;
    char name[];
};

static inline int64_t pool_now_ns(const struct pool *pool)
{
    return clock_monotonic_ns(pool->clock);
}

/* ---- pool_wait.c ---- */

/* Exclusively: hands what is there to who waits. */
void pool_match_locked(struct pool *pool);
void pool_queue_locked(struct pool *pool, struct pool_waiter *waiter, bool first);
void pool_unqueue_locked(struct pool *pool, struct pool_waiter *waiter);
void pool_note_waiting_locked(struct pool *pool);
/* Whether one more may be created now. */
bool pool_may_create_locked(const struct pool *pool);
/* How many places one of this priority leaves to others. */
uint32_t pool_keep(const struct pool *pool, enum pool_priority priority);
/* Whether one of this priority may have anything now. */
bool pool_may_take_locked(const struct pool *pool, enum pool_priority priority);
/* Nothing is there or coming: waiting is vain. */
bool pool_is_hopeless_locked(const struct pool *pool);
/* Fails all who wait. */
void pool_fail_waiters_locked(struct pool *pool, int rc);
/* Something is there, or is not any more: those who wait are served, or told that they wait in vain. */
void pool_settle_waiters_locked(struct pool *pool);
/* Wakes those who would create: when they may has changed. */
void pool_nudge_locked(struct pool *pool);
/* Puts a slot that is the caller's back among the idle ones, or hands it to who waits. */
void pool_give_back(struct pool *pool, uint32_t index);
/* The same for one that was idle all the time, and is seen to be well. */
void pool_return_checked(struct pool *pool, uint32_t index);

/* ---- pool_tend.c ---- */

int64_t pool_adapt_locked(struct pool *pool, int64_t now_ns);

/* As pool_missing(). */
uint32_t pool_missing_locked(const struct pool *pool);
/* Calls on_wanted where it is due. */
void pool_ring_locked(struct pool *pool);
/* What was lent exclusively is looked at afterwards; false: it was not well and is gone, ask again. */
bool pool_stands_check(struct pool *pool, const struct pool_lease *lease);
/* Instead of the options' on_wanted. */
void pool_set_wanted(struct pool *pool, void (*on_wanted)(void *data), void *data);
void pool_free(struct pool *pool);
