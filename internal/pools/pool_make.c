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
        *ret_lease = pool_slot_lend(pool, pool_slots_reserve_locked(pool), wish, pool_thread_id());
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
    pool_settle_waiters_locked(pool);
    pool_nudge_locked(pool);
    if (rc != 0 && pool->on_wanted != NULL) { /* when the next attempt may be made has changed */
        pool->on_wanted(pool->wanted_data);
    }
    pool_unlock(pool);
}

int pool_detach(struct pool *pool, struct pool_lease lease, void **ret_resource)
{
    if (!pool_slot_claim(pool, lease, SLOT_IN_USE, SLOT_CHECKING)) {
        return -EINVAL;
    }
    *ret_resource = lease.resource;
    pool_slot_end(pool, lease.slot, POOL_END_DETACHED);
    return 0;
}

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* How many of those who wait a new one would help, beyond those that are there or coming. Who waits for a
 * certain one is not helped, nor normal ones who may not have what is left. */
static uint32_t wanted_by_waiters(const struct pool *pool)
{
    uint32_t idle = pool_slots_idle(pool);
    uint32_t live = atomic_load(&pool->live);
    uint32_t max = atomic_load(&pool->max);
    uint32_t left = idle + pool->creating + (live < max ? max - live : 0);
    uint32_t high = smaller(pool->plain[POOL_HIGH], left);
    uint32_t keep = pool_keep(pool, POOL_NORMAL);
    uint32_t normal = left - high > keep ? smaller(pool->plain[POOL_NORMAL], left - high - keep)
                                         : 0;
    return high + normal > idle + pool->creating ? high + normal - idle - pool->creating : 0;
}

uint32_t pool_missing_locked(const struct pool *pool)
{
    uint32_t live = atomic_load(&pool->live);
    uint32_t max = atomic_load(&pool->max);
    uint32_t missing = pool->target > live ? pool->target - live : 0;
    uint32_t wanted = wanted_by_waiters(pool);
    missing = smaller(missing > wanted ? missing : wanted, live < max ? max - live : 0);
    missing = missing > 0 && pool_may_create_locked(pool) ? missing : 0;
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
    if (atomic_load_explicit(&pool->failures, memory_order_relaxed) == 0) {
        return 0;
    }
    (void)pthread_mutex_lock(&pool->lock); /* a look, which rings nobody */
    int64_t delay = pool->failures > 0 ? pool->next_try_ns - pool_now_ns(pool) : 0;
    (void)pthread_mutex_unlock(&pool->lock);
    return delay > 0 ? delay : 0;
}
