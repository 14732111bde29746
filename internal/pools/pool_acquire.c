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
#include <errno.h>
#include <sched.h>

#include "base/timestamp.h"
#include "pools/pool_private.h"

#define YIELDS 16
#define WAKE_FLOOR_NS NS_PER_MS /* the coarse clock may say that a pause lasts a little still */

static const struct pool_wish any_wish = {.timeout_ns = 0};

static int64_t real_now_ns(void)
{
    return clock_monotonic_ns(clock_real());
}

/* ---- what is idle ---- */

static bool is_due_for_check(const struct pool *pool, const struct pool_slot *slot)
{
    int64_t after = pool->options.check_idle_ns;
    return pool->options.type->is_healthy != NULL && after >= 0 &&
           pool_now_ns(pool) - atomic_load_explicit(&slot->well_ns, memory_order_relaxed) >= after;
}

/* Whether a popped slot can be handed out without being looked at. */
static bool is_simple(const struct pool *pool, uint32_t index)
{
    return pool->options.age_limit_ns <= 0 && !is_due_for_check(pool, &pool->slots[index]);
}

/* One that is well, from a popped slot on: those that are not are destroyed. SLOT_NONE, SLOT_SLOW. The
 * caller has entered the pool. */
static uint32_t find_well(struct pool *pool, uint32_t index, uint32_t keep)
{
    while (index < SLOT_SLOW) {
        struct pool_slot *slot = &pool->slots[index];
        int why = pool_slot_judge(pool, slot, is_due_for_check(pool, slot));
        if (why < 0) {
            return index;
        }
        pool_slot_end(pool, index, (enum pool_end)why);
        index = pool_slots_pop(pool, keep);
    }
    return index;
}

static int lend(struct pool *pool, uint32_t index, const struct pool_wish *wish,
                struct pool_lease *ret_lease)
{
    *ret_lease = pool_slot_lend(pool, index, wish, pool_thread_id());
    return 0;
}

bool pool_stands_check(struct pool *pool, const struct pool_lease *lease)
{
    struct pool_slot *slot = &pool->slots[lease->slot];
    if (lease->resource == NULL) {
        return true;
    }
    int why = pool_slot_judge(pool, slot, is_due_for_check(pool, slot));
    if (why >= 0) {
        pool_slot_uncount_use(pool, slot);
        pool_slot_end(pool, lease->slot, (enum pool_end)why);
        return false;
    }
    pool_slot_enter(slot, SLOT_IN_USE);
    return true;
}

/* Exclusively, but nobody waits for it: what the wish may have now. */
static int try_slow(struct pool *pool, const struct pool_wish *wish, struct pool_lease *ret_lease)
{
    int rc = -EAGAIN;
    pool_lock(pool);
    uint32_t before = pool->plain[POOL_HIGH] +
                      (wish->priority == POOL_NORMAL ? pool->plain[POOL_NORMAL] : 0);
    if (pool->closed) {
        rc = -ESHUTDOWN;
    } else if ((before == 0 || wish->match != NULL) && pool_may_take_locked(pool, wish->priority)) {
        uint32_t index = pool_slots_take_locked(pool, wish);
        if (index != SLOT_NONE) {
            rc = lend(pool, index, wish, ret_lease);
        }
    }
    pool_unlock(pool);
    return rc;
}

int pool_try_acquire(struct pool *pool, const struct pool_wish *wish, struct pool_lease *ret_lease)
{
    wish = wish != NULL ? wish : &any_wish;
    uint32_t keep = pool_keep(pool, wish->priority);
    uint32_t index = wish->match == NULL ? pool_slots_pop(pool, keep) : SLOT_SLOW;
    if (index < SLOT_SLOW && is_simple(pool, index)) {
        return lend(pool, index, wish, ret_lease);
    }
    if (index == SLOT_NONE && keep == 0) {
        return -EAGAIN;
    }
    pool_enter(pool);
    index = find_well(pool, index, keep);
    int rc = index < SLOT_SLOW ? lend(pool, index, wish, ret_lease) : 1;
    while (rc > 0) {
        rc = try_slow(pool, wish, ret_lease);
        rc = rc == 0 && !pool_stands_check(pool, ret_lease) ? 1 : rc;
    }
    pool_leave(pool);
    return rc;
}

/* ---- waiting ---- */

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

/* Until it is done, or its time is over. The end of the circuit's pause is nobody's event, so each who
 * could make the next attempt wakes for it. */
static void sleep_locked(struct pool *pool, struct sleeper *sleeper)
{
    struct pool_waiter *waiter = &sleeper->waiter;
    while (!waiter->done) {
        int64_t now = real_now_ns();
        int64_t until = sleeper->deadline_ns;
        if (now >= until) {
            return;
        }
        int64_t pause = pool->failures > 0 ? pool->next_try_ns - pool_now_ns(pool) : 0;
        if (waiter->creates && pool->failures > 0 && pool->creating == 0) {
            pool_match_locked(pool); /* the pause may be over by now */
            if (waiter->done) {
                return;
            }
            pause = pause > 0 ? pause : WAKE_FLOOR_NS;
            until = pause < until - now ? now + pause : until;
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

static int tell_answer(const struct pool *pool, int rc, struct error *error)
{
    if (rc == -EHOSTDOWN) {
        return tell_hopeless(pool, error);
    }
    if (rc != 0) {
        error_set(error, "pool %s was closed", pool->name);
    }
    return rc;
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
    if (waiter->done) {
        return tell_answer(pool, waiter->rc, error);
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

/* One turn: in the queue, and with what came of it. 1: another turn. */
static int take_turn(struct pool *pool, struct sleeper *sleeper, struct pool_lease *ret_lease,
                     struct error *error)
{
    pool_lock(pool);
    int rc = wait_locked(pool, sleeper, error);
    pool_unlock(pool);
    *ret_lease = sleeper->waiter.lease;
    sleeper->first = true;
    if (rc == 0 && ret_lease->resource == NULL) {
        return create_one(pool, ret_lease, error);
    }
    return rc == 0 && !pool_stands_check(pool, ret_lease) ? 1 : rc;
}

static int wait_for_turn(struct pool *pool, const struct pool_wish *wish,
                         struct pool_lease *ret_lease, struct error *error)
{
    struct sleeper sleeper = {
        .waiter = {.wish = *wish,
                   .creates = pool->options.type->create != NULL && wish->match == NULL,
                   .thread = pool_thread_id(),
                   .notify = notify_sleeper},
        .deadline_ns = INT64_MAX};
    int64_t now = real_now_ns();
    if (wish->timeout_ns >= 0 && wish->timeout_ns < INT64_MAX - now) {
        sleeper.deadline_ns = now + wish->timeout_ns;
    }
    (void)pthread_cond_init(&sleeper.cond, &pool->monotonic);
    int rc;
    do {
        rc = take_turn(pool, &sleeper, ret_lease, error);
    } while (rc > 0);
    if (sleeper.begun_ns != 0 && rc == 0) {
        metric_observe(&pool->wait_seconds, real_now_ns() - sleeper.begun_ns);
    }
    (void)pthread_cond_destroy(&sleeper.cond);
    return rc;
}

/* index: a slot that was popped and must be looked at; or SLOT_SLOW. */
static int acquire_slow(struct pool *pool, const struct pool_wish *wish, uint32_t index,
                        struct pool_lease *ret_lease, struct error *error)
{
    pool_enter(pool);
    index = find_well(pool, index, pool_keep(pool, wish->priority));
    int rc = index < SLOT_SLOW ? lend(pool, index, wish, ret_lease)
                               : wait_for_turn(pool, wish, ret_lease, error);
    pool_leave(pool);
    return rc;
}

int pool_acquire(struct pool *pool, const struct pool_wish *wish, struct pool_lease *ret_lease,
                 struct error *error)
{
    uint32_t index = SLOT_SLOW;
    for (int i = 0; wish->match == NULL && i <= YIELDS; i++) {
        index = pool_slots_pop(pool, pool_keep(pool, wish->priority));
        if (index < SLOT_SLOW && is_simple(pool, index)) {
            return lend(pool, index, wish, ret_lease);
        }
        if (index < SLOT_SLOW || wish->timeout_ns == 0 ||
            atomic_load(&pool->live) < atomic_load(&pool->max)) {
            break;
        }
        (void)sched_yield();
    }
    return acquire_slow(pool, wish, index, ret_lease, error);
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
    if (closed) { /* nobody else has this slot, so the pool is there still */
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
    struct pool_slot *slot = &pool->slots[index];
    atomic_store_explicit(&slot->well_ns, pool_now_ns(pool), memory_order_relaxed);
    pool_lock(pool);
    (void)atomic_fetch_add(&pool->usable, 1);
    bool closed = pool->closed;
    if (!closed) {
        pool_slot_enter(slot, SLOT_IDLE);
        pool_slots_append_locked(pool, index);
        pool_match_locked(pool);
    }
    pool_unlock(pool);
    if (closed) {
        pool_slot_end(pool, index, POOL_END_CLOSED);
    }
}

/* Whether this one is one too many; then it is withdrawn, so that the next is not counted again. */
static bool claim_surplus(struct pool *pool, struct pool_slot *slot)
{
    if (atomic_load(&pool->usable) <= atomic_load(&pool->max)) {
        return false;
    }
    pool_lock(pool);
    bool surplus = atomic_load(&pool->usable) > atomic_load(&pool->max);
    if (surplus) {
        pool_slot_withdraw(pool, slot, SLOT_DESTROYING);
    }
    pool_unlock(pool);
    return surplus;
}

/* The slot is the caller's, as SLOT_CHECKING. */
static int judge_returned(struct pool *pool, struct pool_slot *slot)
{
    const struct pool_options *options = &pool->options;
    int why = pool_slot_judge(pool, slot, options->check_released);
    if (why < 0 && claim_surplus(pool, slot)) {
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
    if (!pool_slot_claim(pool, lease, SLOT_IN_USE, SLOT_CHECKING)) {
        return -EINVAL;
    }
    pool_slot_end(pool, lease.slot, POOL_END_DISCARDED);
    return 0;
}
