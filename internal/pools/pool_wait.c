/*
 * Who waits, in one queue per priority. Every change that could help somebody (a resource came back,
 * one was destroyed, the circuit allows an attempt) ends in pool_match_locked(), so there is no
 * wake-up to lose: what is there is handed to a waiter by name, never announced to all.
 *
 * A normal waiter gets something only while more than `reserved` places are left (idle ones and those
 * that may still be created together); a high one always.
 */
#include <errno.h>

#include "pools/pool_private.h"

static bool circuit_pauses(const struct pool *pool)
{
    return pool->failures > 0 && pool_now_ns(pool) < pool->next_try_ns;
}

static uint32_t creatable(const struct pool *pool)
{
    uint32_t live = atomic_load(&pool->live);
    uint32_t max = atomic_load(&pool->max);
    return live < max ? max - live : 0;
}

uint32_t pool_keep(const struct pool *pool, enum pool_priority priority)
{
    uint32_t max = atomic_load(&pool->max);
    uint32_t reserved = pool->options.reserved;
    return priority == POOL_HIGH ? 0 : reserved < max ? reserved : max - 1;
}

bool pool_may_take_locked(const struct pool *pool, enum pool_priority priority)
{
    uint32_t keep = pool_keep(pool, priority);
    uint32_t idle = pool_slots_idle(pool);
    return idle > keep || (!circuit_pauses(pool) && idle + creatable(pool) > keep);
}

bool pool_may_create_locked(const struct pool *pool)
{
    if (pool->closed || creatable(pool) == 0) {
        return false;
    }
    /* After a failure one attempt at a time, and no sooner than the pause allows. */
    return pool->failures == 0 || (pool->creating == 0 && !circuit_pauses(pool));
}

bool pool_is_hopeless_locked(const struct pool *pool)
{
    return !pool->options.patient && pool->failures >= pool->options.break_after &&
           pool->creating == 0 && atomic_load(&pool->live) == 0 && !pool_may_create_locked(pool);
}

void pool_note_waiting_locked(struct pool *pool)
{
    if (pool->waiting > pool->waiting_peak) {
        pool->waiting_peak = pool->waiting;
    }
}

void pool_ring_locked(struct pool *pool)
{
    if (pool->on_wanted != NULL && pool_missing_locked(pool) > 0) {
        pool->on_wanted(pool->wanted_data);
    }
}

void pool_queue_locked(struct pool *pool, struct pool_waiter *waiter, bool first)
{
    struct list *queue = &pool->waiters[waiter->wish.priority];
    list_append(first ? queue->next : queue, &waiter->link);
    pool->waiting++;
    pool->choosy += waiter->wish.match != NULL || !waiter->creates;
    pool->plain[waiter->wish.priority] += waiter->wish.match == NULL;
}

void pool_unqueue_locked(struct pool *pool, struct pool_waiter *waiter)
{
    list_remove(&waiter->link);
    pool->waiting--;
    pool->choosy -= waiter->wish.match != NULL || !waiter->creates;
    pool->plain[waiter->wish.priority] -= waiter->wish.match == NULL;
}

static void finish(struct pool *pool, struct pool_waiter *waiter, int rc)
{
    pool_unqueue_locked(pool, waiter);
    waiter->rc = rc;
    waiter->done = true;
    waiter->notify(waiter);
}

/* A slot for this waiter: idle, or free where it takes a reservation; SLOT_NONE. */
static uint32_t find_slot(struct pool *pool, const struct pool_waiter *waiter)
{
    if (!pool_may_take_locked(pool, waiter->wish.priority)) {
        return SLOT_NONE;
    }
    uint32_t index = pool_slots_take_locked(pool, &waiter->wish);
    if (index == SLOT_NONE && waiter->creates && pool_may_create_locked(pool)) {
        index = pool_slots_reserve_locked(pool);
    }
    return index;
}

static void match_queue(struct pool *pool, struct list *queue)
{
    struct list *link;
    struct list *next;
    list_for_each_safe(link, next, queue)
    {
        struct pool_waiter *waiter = container_of(link, struct pool_waiter, link);
        uint32_t index = find_slot(pool, waiter);
        if (index != SLOT_NONE) {
            waiter->lease = pool_slot_lend(pool, index, &waiter->wish, waiter->thread);
            finish(pool, waiter, 0);
        } else if (pool->choosy == 0) {
            return; /* what this one can't have, those behind it can't either */
        }
    }
}

void pool_match_locked(struct pool *pool)
{
    if (pool->closed) {
        return;
    }
    for (int priority = POOL_PRIORITIES - 1; priority >= 0 && pool->waiting > 0; priority--) {
        match_queue(pool, &pool->waiters[priority]);
    }
}

void pool_fail_waiters_locked(struct pool *pool, int rc)
{
    struct list *link;
    struct list *next;
    for (int priority = 0; priority < POOL_PRIORITIES; priority++) {
        list_for_each_safe(link, next, &pool->waiters[priority])
        {
            finish(pool, container_of(link, struct pool_waiter, link), rc);
        }
    }
}

void pool_settle_waiters_locked(struct pool *pool)
{
    if (pool_is_hopeless_locked(pool)) {
        pool_fail_waiters_locked(pool, -EHOSTDOWN);
    } else {
        pool_match_locked(pool);
    }
}

void pool_nudge_locked(struct pool *pool)
{
    struct list *link;
    struct list *next;
    for (int priority = 0; priority < POOL_PRIORITIES; priority++) {
        list_for_each_safe(link, next, &pool->waiters[priority])
        {
            struct pool_waiter *waiter = container_of(link, struct pool_waiter, link);
            if (waiter->creates) {
                waiter->notify(waiter);
            }
        }
    }
}
