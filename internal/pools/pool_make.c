/* Reservations, and the circuit that a failed one opens. */
#include "pools/pool_make.h"

#include <errno.h>

#include "pools/pool_private.h"

int pool_reserve(struct pool *pool, const struct pool_wish *wish, struct pool_lease *ret_lease)
{
    int rc = -EAGAIN;
    pool_lock(pool);
    if (pool->closed) {
        rc = -ESHUTDOWN;
    } else if (pool_may_take_locked(pool, wish->priority) && pool_may_create_locked(pool)) {
        *ret_lease = pool_slot_lend(pool, pool_slots_reserve_locked(pool), wish);
        rc = 0;
    }
    pool_unlock(pool);
    return rc;
}

/* The circuit is closed again, so those who wait for an attempt may make theirs. */
static void count_success(struct pool *pool)
{
    metric_add(&pool->created, 1);
    pool_lock(pool);
    pool->creating--;
    bool failed_before = pool->failures > 0;
    pool->failures = 0;
    backoff_reset(&pool->backoff);
    if (failed_before) {
        pool_match_locked(pool);
    }
    pool_unlock(pool);
}

void pool_fill(struct pool *pool, struct pool_lease *lease, void *resource)
{
    pool_slot_begin(pool, lease->slot, resource);
    pool_slot_count_use(pool, &pool->slots[lease->slot]);
    lease->resource = resource;
    (void)pool_slot_claim(pool, *lease, SLOT_CREATING, SLOT_IN_USE);
    count_success(pool);
}

void pool_add(struct pool *pool, struct pool_lease lease, void *resource)
{
    pool_slot_begin(pool, lease.slot, resource);
    count_success(pool);
    pool_give_back(pool, lease.slot);
}

static void count_failure_locked(struct pool *pool, int rc, const char *reason)
{
    metric_add(&pool->create_failures, 1);
    pool->failures++;
    pool->failed_rc = rc;
    pool->next_try_ns = pool_now_ns(pool) + backoff_next(&pool->backoff);
    error_set(&pool->failed, "%s", reason);
}

void pool_abandon(struct pool *pool, struct pool_lease lease, int rc, const char *reason)
{
    pool_lock(pool);
    pool->creating--;
    pool_slots_free_locked(pool, lease.slot);
    if (rc != 0) {
        count_failure_locked(pool, rc, reason);
    }
    if (pool_is_hopeless_locked(pool)) {
        pool_fail_waiters_locked(pool, -EHOSTDOWN);
    } else {
        pool_nudge_locked(pool);
        pool_match_locked(pool);
    }
    pool_unlock_or_free(pool);
}

int pool_detach(struct pool *pool, struct pool_lease lease, void **ret_resource)
{
    if (!pool_slot_claim(pool, lease, SLOT_IN_USE, SLOT_DESTROYING)) {
        return -EINVAL;
    }
    *ret_resource = lease.resource;
    pool_slot_end(pool, lease.slot, POOL_END_DETACHED);
    return 0;
}

uint32_t pool_missing_locked(const struct pool *pool)
{
    uint32_t live = atomic_load(&pool->live);
    uint32_t max = atomic_load(&pool->max);
    uint32_t wanted = pool->target;
    if (pool->waiting > 0) { /* each may take one away */
        wanted = live - pool->creating + pool->waiting > wanted
                     ? live - pool->creating + pool->waiting
                     : wanted;
    }
    wanted = wanted < max ? wanted : max;
    uint32_t missing = wanted > live && pool_may_create_locked(pool) ? wanted - live : 0;
    return missing > 1 && pool->failures > 0 ? 1 : missing;
}

uint32_t pool_missing(struct pool *pool)
{
    (void)pthread_mutex_lock(&pool->lock);
    uint32_t missing = pool_missing_locked(pool);
    (void)pthread_mutex_unlock(&pool->lock);
    return missing;
}

int64_t pool_retry_delay_ns(struct pool *pool)
{
    pool_lock(pool);
    int64_t delay = pool->failures > 0 ? pool->next_try_ns - pool_now_ns(pool) : 0;
    pool_unlock(pool);
    return delay > 0 ? delay : 0;
}
