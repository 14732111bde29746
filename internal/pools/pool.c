/*
 * Life of a pool. It ends when it was destroyed, nothing of it is out, and no call is inside that goes on to
 * use it (pool_enter()): a thread that was woken by the end, a request whose loop was not told yet.
 */
#include "pools/pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/str.h"
#include "base/timestamp.h"
#include "pools/pool_private.h"

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
    pool_unlock(pool);
}

void pool_set_wanted(struct pool *pool, void (*on_wanted)(void *data), void *data)
{
    pool_lock(pool);
    pool->on_wanted = on_wanted;
    pool->wanted_data = data;
    pool_unlock(pool);
}

/* ---- closing ---- */

static bool take_one(struct pool *pool, uint32_t *ret_index)
{
    static const struct pool_wish any;
    pool_lock(pool);
    *ret_index = pool_slots_take_locked(pool, &any);
    if (*ret_index != SLOT_NONE) {
        pool_slot_withdraw(pool, &pool->slots[*ret_index], SLOT_DESTROYING);
    }
    pool_unlock(pool);
    return *ret_index != SLOT_NONE;
}

/* At most as many as were idle when it began: others may make new ones meanwhile. */
static size_t end_idle(struct pool *pool, enum pool_end why)
{
    uint32_t index;
    size_t count = 0;
    for (uint32_t left = pool_slots_idle(pool); left > 0 && take_one(pool, &index); left--) {
        pool_slot_end(pool, index, why);
        count++;
    }
    return count;
}

size_t pool_flush(struct pool *pool)
{
    pool_enter(pool);
    size_t count = end_idle(pool, POOL_END_FLUSHED);
    pool_leave(pool);
    return count;
}

static bool wait_until_gone(struct pool *pool, int64_t timeout_ns)
{
    int64_t now = clock_monotonic_ns(clock_real());
    bool for_ever = timeout_ns < 0 || timeout_ns > INT64_MAX - now;
    int64_t until_ns = for_ever ? INT64_MAX : now + timeout_ns;
    bool waits = timeout_ns != 0;
    while (waits && atomic_load(&pool->live) > 0) {
        waits = pool_wait_locked(pool, &pool->gone, until_ns);
    }
    return atomic_load(&pool->live) == 0;
}

int pool_close(struct pool *pool, int64_t timeout_ns)
{
    pool_lock(pool);
    pool->inside++;
    pool->closed = true;
    pool_fail_waiters_locked(pool, -ESHUTDOWN);
    pool_unlock(pool);
    (void)end_idle(pool, POOL_END_CLOSED);
    pool_lock(pool);
    int rc = wait_until_gone(pool, timeout_ns) ? 0 : -ETIMEDOUT;
    pool->inside--;
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
