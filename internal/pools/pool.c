/*
 * Acquiring and returning.
 *
 * An acquirer first takes the fast way. Where that gives nothing, and nothing may be created, it
 * yields the processor a few times: whoever holds a resource for a moment only gets to run and
 * returns it, and no thread has to be put to sleep and woken. Only then it queues. Without that, as
 * soon as one thread waits, every return would hand over to a sleeping thread and every acquirer would
 * become the next sleeper: each use would cost two switches, for as long as the load lasts.
 *
 * A thread that creates does so without the lock, on a slot that is reserved. If that fails, the
 * others' resources may still come back: it waits for them, at the head of its queue.
 */
#include "pools/pool.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/str.h"
#include "base/timestamp.h"
#include "pools/pool_private.h"

#define YIELDS 16
#define BREAK_AFTER 5
#define RETRY_FIRST_NS (100 * NS_PER_MS)
#define RETRY_LIMIT_NS (30 * NS_PER_SECOND)

/* ---- life ---- */

static int check_options(const struct pool_options *options, struct error *error)
{
    const char *name = options->name;
    if (options->max == 0 || options->max > POOL_SIZE_LIMIT || options->limit > POOL_SIZE_LIMIT) {
        error_set(error, "pool %s: max must be 1 to %u, not %u", name, POOL_SIZE_LIMIT,
                  options->max == 0 ? 0 : options->max);
        return -EINVAL;
    }
    if (options->min > options->max) {
        error_set(error, "pool %s: min (%u) is above max (%u)", name, options->min, options->max);
        return -EINVAL;
    }
    if (options->reserved >= options->max) {
        error_set(error, "pool %s: %u reserved of %u leaves nothing for others", name,
                  options->reserved, options->max);
        return -EINVAL;
    }
    return 0;
}

static void apply_defaults(struct pool *pool)
{
    struct pool_options *options = &pool->options;
    options->limit = options->limit > options->max ? options->limit : options->max;
    options->break_after = options->break_after != 0 ? options->break_after : BREAK_AFTER;
    pool->backoff = (struct backoff){
        .first_ns = options->retry_first_ns > 0 ? options->retry_first_ns : RETRY_FIRST_NS,
        .limit_ns = options->retry_limit_ns > 0 ? options->retry_limit_ns : RETRY_LIMIT_NS,
        .full_jitter = true};
    pool->clock = options->clock != NULL ? options->clock : clock_coarse();
    pool->on_wanted = options->on_wanted;
    pool->wanted_data = options->data;
    pool->min = options->min;
    pool->target = options->min;
    pool->smooth = options->min;
    atomic_init(&pool->max, options->max);
    pool->slot_count = options->limit;
    pool->first_free = SLOT_NONE;
    pool->adapted_ns = pool->looked_ns = pool_now_ns(pool);
}

int pool_create(const struct pool_options *options, struct pool **ret_pool, struct error *error)
{
    int rc = check_options(options, error);
    if (rc != 0) {
        return rc;
    }
    size_t name_size = strlen(options->name) + 1;
    size_t size = (sizeof(struct pool) + name_size + 63) / 64 * 64;
    struct pool *pool = aligned_alloc(64, size);
    if (pool == NULL) {
        goto no_memory;
    }
    memset(pool, 0, size);
    memcpy(pool->name, options->name, name_size);
    pool->options = *options;
    pool->options.name = pool->name;
    apply_defaults(pool);
    pool->slots = aligned_alloc(64, (size_t)pool->slot_count * sizeof(*pool->slots));
    if (pool->slots == NULL) {
        free(pool);
        goto no_memory;
    }
    memset(pool->slots, 0, (size_t)pool->slot_count * sizeof(*pool->slots));
    atomic_init(&pool->head, HEAD_NONE);
    (void)pthread_mutex_init(&pool->lock, NULL);
    (void)pthread_condattr_init(&pool->monotonic);
    (void)pthread_condattr_setclock(&pool->monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&pool->gone, &pool->monotonic);
    for (int i = 0; i < POOL_PRIORITIES; i++) {
        list_init(&pool->waiters[i]);
    }
    *ret_pool = pool;
    return 0;
no_memory:
    error_set(error, "pool %s: out of memory", options->name);
    return -ENOMEM;
}

void pool_free(struct pool *pool)
{
    (void)pthread_cond_destroy(&pool->gone);
    (void)pthread_condattr_destroy(&pool->monotonic);
    (void)pthread_mutex_destroy(&pool->lock);
    free(pool->slots);
    free(pool);
}

void pool_destroy(struct pool *pool)
{
    if (pool == NULL) {
        return;
    }
    (void)pool_close(pool, 0);
    pool_report_finish(pool);
    pool_lock(pool);
    pool->orphaned = true;
    pool->on_wanted = NULL;
    bool last = atomic_load(&pool->live) == 0;
    pool_unlock(pool);
    if (last) {
        pool_free(pool);
    }
}

void pool_set_wanted(struct pool *pool, void (*on_wanted)(void *data), void *data)
{
    pool_lock(pool);
    pool->on_wanted = on_wanted;
    pool->wanted_data = data;
    pool_unlock(pool);
}

/* ---- acquiring ---- */

static int64_t real_now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

static bool is_due_for_check(const struct pool *pool, const struct pool_slot *slot)
{
    int64_t after = pool->options.check_idle_ns;
    return pool->options.type->is_healthy != NULL && after >= 0 &&
           pool_now_ns(pool) - atomic_load_explicit(&slot->well_ns, memory_order_relaxed) >= after;
}

/* The wish's idle one by the fast way, seen to be well; SLOT_NONE. */
static uint32_t take_fast(struct pool *pool, const struct pool_wish *wish)
{
    uint32_t keep = wish->priority == POOL_HIGH ? 0 : pool->options.reserved;
    for (;;) {
        uint32_t index = pool_slots_pop(pool, keep);
        if (index == SLOT_NONE) {
            return SLOT_NONE;
        }
        struct pool_slot *slot = &pool->slots[index];
        int why = pool_slot_judge(pool, slot, is_due_for_check(pool, slot));
        if (why < 0) {
            return index;
        }
        pool_slot_end(pool, index, (enum pool_end)why);
    }
}

bool pool_stands_check(struct pool *pool, const struct pool_lease *lease)
{
    struct pool_slot *slot = &pool->slots[lease->slot];
    if (lease->resource == NULL || !is_due_for_check(pool, slot)) {
        return true;
    }
    int why = pool_slot_judge(pool, slot, true);
    if (why >= 0) {
        pool_slot_end(pool, lease->slot, (enum pool_end)why);
        return false;
    }
    pool_slot_enter(slot, SLOT_IN_USE);
    return true;
}

static const struct pool_wish any_wish = {.timeout_ns = 0};

/* Exclusively, but nobody waits for it: what the wish may have now. */
static int try_slow(struct pool *pool, const struct pool_wish *wish, struct pool_lease *ret_lease)
{
    int rc = -EAGAIN;
    pool_lock(pool);
    bool behind = !list_empty(&pool->waiters[POOL_HIGH]) ||
                  (wish->priority == POOL_NORMAL && !list_empty(&pool->waiters[POOL_NORMAL]));
    if (pool->closed) {
        rc = -ESHUTDOWN;
    } else if ((!behind || wish->match != NULL) && pool_may_take_locked(pool, wish->priority)) {
        uint32_t index = pool_slots_take_locked(pool, wish);
        if (index != SLOT_NONE) {
            *ret_lease = pool_slot_lend(pool, index, wish);
            rc = 0;
        }
    }
    pool_unlock(pool);
    return rc;
}

int pool_try_acquire(struct pool *pool, const struct pool_wish *wish, struct pool_lease *ret_lease)
{
    wish = wish != NULL ? wish : &any_wish;
    if (wish->match == NULL) {
        uint32_t index = take_fast(pool, wish);
        if (index != SLOT_NONE) {
            *ret_lease = pool_slot_lend(pool, index, wish);
            return 0;
        }
        bool keeps = wish->priority == POOL_NORMAL && pool->options.reserved > 0;
        if (!keeps && !pool_is_slow(pool)) {
            return -EAGAIN;
        }
    }
    int rc;
    do {
        rc = try_slow(pool, wish, ret_lease);
    } while (rc == 0 && !pool_stands_check(pool, ret_lease));
    return rc;
}

/* A thread that waits. */
struct sleeper {
    struct pool_waiter waiter;
    pthread_cond_t cond;
    int64_t begun_ns; /* of the wait, real time */
    int64_t deadline_ns;
    bool first; /* goes to the head of the queue: it had its turn before */
};

static void notify_sleeper(struct pool_waiter *waiter)
{
    (void)pthread_cond_signal(&container_of(waiter, struct sleeper, waiter)->cond);
}

/* Until it is done, or its time is over; wakes for the circuit's next attempt. */
static void sleep_locked(struct pool *pool, struct sleeper *sleeper)
{
    struct pool_waiter *waiter = &sleeper->waiter;
    while (!waiter->done) {
        int64_t now = real_now_ns();
        int64_t pause = pool->failures > 0 ? pool->next_try_ns - pool_now_ns(pool) : 0;
        int64_t until = sleeper->deadline_ns;
        if (now >= until) {
            return;
        }
        if (waiter->creates && pause > 0 && pause < until - now) {
            until = now + pause;
        }
        (void)pool_wait_locked(pool, &sleeper->cond, until);
        pool_match_locked(pool);
    }
}

static int tell_hopeless(const struct pool *pool, struct error *error)
{
    error_set(error, "pool %s: the circuit is open after %u failures to create one, the last: %s",
              pool->name, pool->failures, pool->failed.text);
    return -EHOSTDOWN;
}

static int wait_locked(struct pool *pool, struct sleeper *sleeper, struct error *error)
{
    struct pool_waiter *waiter = &sleeper->waiter;
    if (pool->closed) {
        error_set(error, "pool %s is closed", pool->name);
        return -ESHUTDOWN;
    }
    if (pool_is_hopeless_locked(pool)) {
        return tell_hopeless(pool, error);
    }
    waiter->done = false;
    pool_queue_locked(pool, waiter, sleeper->first);
    pool_match_locked(pool);
    if (!waiter->done && real_now_ns() < sleeper->deadline_ns) {
        sleeper->begun_ns = sleeper->begun_ns != 0 ? sleeper->begun_ns : real_now_ns();
        sleep_locked(pool, sleeper);
    }
    if (waiter->done && waiter->rc == -EHOSTDOWN) {
        return tell_hopeless(pool, error);
    }
    if (waiter->done) {
        if (waiter->rc != 0) {
            error_set(error, "pool %s was closed", pool->name);
        }
        return waiter->rc;
    }
    pool_unqueue_locked(pool, waiter);
    metric_add(&pool->timeouts, 1);
    error_set(error, "pool %s: none of %u came free in time", pool->name, atomic_load(&pool->max));
    return -ETIMEDOUT;
}

/* Creates on the reserved slot. 0: the lease has it. 1: others' may come back. Else a negative errno. */
static int create_one(struct pool *pool, struct pool_lease *lease, struct error *error)
{
    struct error reason = {""};
    void *resource = NULL;
    int rc = pool->options.type->create(pool->options.data, &resource, &reason);
    if (rc == 0) {
        pool_fill(pool, lease, resource);
        return 0;
    }
    pool_abandon(pool, *lease, rc, reason.text);
    if (atomic_load(&pool->live) > 0) {
        return 1;
    }
    error_set(error, "pool %s: %s", pool->name, reason.text);
    return rc;
}

static int acquire_slow(struct pool *pool, const struct pool_wish *wish,
                        struct pool_lease *ret_lease, struct error *error)
{
    struct sleeper sleeper = {
        .waiter = {.wish = *wish,
                   .creates = pool->options.type->create != NULL && wish->match == NULL,
                   .notify = notify_sleeper},
        .deadline_ns = INT64_MAX};
    if (wish->timeout_ns >= 0 && wish->timeout_ns < INT64_MAX / 2) {
        sleeper.deadline_ns = real_now_ns() + wish->timeout_ns;
    }
    (void)pthread_cond_init(&sleeper.cond, &pool->monotonic);
    int rc;
    do {
        pool_lock(pool);
        rc = wait_locked(pool, &sleeper, error);
        pool_unlock(pool);
        *ret_lease = sleeper.waiter.lease;
        sleeper.first = true;
        if (rc == 0 && ret_lease->resource == NULL) {
            rc = create_one(pool, ret_lease, error);
        } else if (rc == 0 && !pool_stands_check(pool, ret_lease)) {
            rc = 1;
        }
    } while (rc > 0);
    (void)pthread_cond_destroy(&sleeper.cond);
    if (sleeper.begun_ns != 0 && rc == 0) {
        metric_observe(&pool->wait_seconds, real_now_ns() - sleeper.begun_ns);
    }
    return rc;
}

int pool_acquire(struct pool *pool, const struct pool_wish *wish, struct pool_lease *ret_lease,
                 struct error *error)
{
    for (int i = 0; wish->match == NULL && i <= YIELDS; i++) {
        uint32_t index = take_fast(pool, wish);
        if (index != SLOT_NONE) {
            *ret_lease = pool_slot_lend(pool, index, wish);
            return 0;
        }
        if (wish->timeout_ns == 0 || atomic_load(&pool->live) < atomic_load(&pool->max)) {
            break;
        }
        (void)sched_yield();
    }
    return acquire_slow(pool, wish, ret_lease, error);
}

/* ---- returning ---- */

/* The slot is idle from now on, or destroyed where the pool is closed. */
static void put_back(struct pool *pool, uint32_t index)
{
    pool_slot_enter(&pool->slots[index], SLOT_IDLE);
    if (pool_slots_push(pool, index)) {
        return;
    }
    pool_lock(pool);
    bool closed = pool->closed;
    if (!closed) {
        pool_slots_push_locked(pool, index);
        pool_match_locked(pool);
    }
    pool_unlock(pool);
    if (closed) {
        pool_slot_end(pool, index, POOL_END_CLOSED);
    }
}

void pool_give_back(struct pool *pool, uint32_t index)
{
    struct pool_slot *slot = &pool->slots[index];
    int64_t now = pool_now_ns(pool);
    atomic_store_explicit(&slot->since_ns, now, memory_order_relaxed);
    atomic_store_explicit(&slot->well_ns, now, memory_order_relaxed);
    put_back(pool, index);
}

void pool_return_checked(struct pool *pool, uint32_t index)
{
    atomic_store_explicit(&pool->slots[index].well_ns, pool_now_ns(pool), memory_order_relaxed);
    put_back(pool, index);
}

/* The slot is the caller's, as SLOT_CHECKING. */
static int judge_returned(struct pool *pool, struct pool_slot *slot)
{
    const struct pool_options *options = &pool->options;
    int why = pool_slot_judge(pool, slot, options->check_released);
    if (why < 0 && atomic_load(&pool->live) > atomic_load(&pool->max)) {
        why = POOL_END_SURPLUS;
    }
    if (why < 0 && options->type->reset != NULL &&
        options->type->reset(options->data, slot->resource) != 0) {
        why = POOL_END_RESET;
    }
    return why;
}

int pool_release(struct pool *pool, struct pool_lease lease)
{
    if (!pool_slot_claim(pool, lease, SLOT_IN_USE, SLOT_CHECKING)) {
        return -EINVAL;
    }
    int why = judge_returned(pool, &pool->slots[lease.slot]);
    if (why >= 0) {
        pool_slot_end(pool, lease.slot, (enum pool_end)why);
    } else {
        pool_give_back(pool, lease.slot);
    }
    return 0;
}

int pool_discard(struct pool *pool, struct pool_lease lease)
{
    if (!pool_slot_claim(pool, lease, SLOT_IN_USE, SLOT_DESTROYING)) {
        return -EINVAL;
    }
    pool_slot_end(pool, lease.slot, POOL_END_DISCARDED);
    return 0;
}

/* ---- closing ---- */

size_t pool_flush(struct pool *pool)
{
    size_t count = 0;
    for (;;) {
        pool_lock(pool);
        uint32_t index = pool_slots_take_locked(pool, &any_wish);
        bool closed = pool->closed;
        if (index != SLOT_NONE) {
            pool_slot_enter(&pool->slots[index], SLOT_DESTROYING);
        }
        pool_unlock(pool);
        if (index == SLOT_NONE) {
            return count;
        }
        pool_slot_end(pool, index, closed ? POOL_END_CLOSED : POOL_END_FLUSHED);
        count++;
    }
}

int pool_close(struct pool *pool, int64_t timeout_ns)
{
    pool_lock(pool);
    pool->closed = true;
    pool_fail_waiters_locked(pool, -ESHUTDOWN);
    pool_unlock(pool);
    (void)pool_flush(pool);
    int64_t until_ns = real_now_ns() + timeout_ns;
    pool_lock(pool);
    bool waits = timeout_ns > 0;
    while (waits && atomic_load(&pool->live) > 0) {
        waits = pool_wait_locked(pool, &pool->gone, until_ns);
    }
    int rc = atomic_load(&pool->live) > 0 ? -ETIMEDOUT : 0;
    pool_unlock(pool);
    return rc;
}

void pool_resize(struct pool *pool, uint32_t min, uint32_t max)
{
    pool_lock(pool);
    max = max > pool->slot_count ? pool->slot_count : max;
    max = max == 0 ? 1 : max;
    pool->min = min < max ? min : max;
    atomic_store(&pool->max, max);
    pool->target = pool->target < pool->min || pool->options.adapt_interval_ns == 0 ? pool->min
                   : pool->target > max                                             ? max
                                                                                    : pool->target;
    pool_match_locked(pool);
    pool_unlock(pool);
}
