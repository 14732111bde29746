/*
 * The sweep, and the size that follows demand.
 *
 * The sweep walks the idle ones exclusively, for as long as it takes to look at a number each, and moves
 * aside what must go and a few that are due for a check; these are destroyed and asked outside of
 * it. At most a quarter of the idle ones, and at least one, is being checked at a time.
 *
 * Size. Demand of an interval is the greatest number in use at once plus the greatest number
 * waiting. Smoothed, it follows a rise at once and a fall by a quarter of the difference. Wanted are five
 * quarters of it, from min to max. The target grows to what is wanted at once; it shrinks only
 * after three intervals in a row in which less than three quarters of it were wanted, and by a quarter
 * (rounded up) at most. So a load that comes and goes within a few intervals leaves it alone.
 */
#include "pools/pool_private.h"

#include "base/timestamp.h"

#define SMALL_INTERVALS 3
#define SWEEP_NS NS_PER_SECOND
#define BATCH 64 /* slots moved aside at a time */

/* ---- size ---- */

static uint32_t clamp(uint32_t value, uint32_t least, uint32_t most)
{
    return value < least ? least : value > most ? most : value;
}

/* Since it was asked last. */
static uint32_t take_demand_locked(struct pool *pool)
{
    uint32_t idle = pool_slots_idle(pool);
    uint32_t low = atomic_exchange(&pool->idle_low, idle);
    uint32_t live = atomic_load(&pool->live) - pool->creating;
    low = low < idle ? low : idle;
    uint32_t demand = (live > low ? live - low : 0) + pool->waiting_peak;
    pool->waiting_peak = pool->waiting;
    return demand;
}

int64_t pool_adapt_locked(struct pool *pool, int64_t now_ns)
{
    int64_t interval = pool->options.adapt_interval_ns;
    if (interval <= 0) {
        return INT64_MAX;
    }
    if (now_ns - pool->adapted_ns < interval) {
        return pool->adapted_ns + interval - now_ns;
    }
    pool->adapted_ns = now_ns;
    uint32_t demand = take_demand_locked(pool);
    pool->smooth = demand >= pool->smooth ? demand : pool->smooth - (pool->smooth - demand + 3) / 4;
    uint32_t wanted = clamp(pool->smooth + (pool->smooth + 3) / 4, pool->min,
                            atomic_load(&pool->max));
    pool->small_intervals = wanted < pool->target - pool->target / 4 ? pool->small_intervals + 1
                                                                     : 0;
    if (wanted > pool->target) {
        pool->target = wanted;
    } else if (pool->small_intervals >= SMALL_INTERVALS) {
        uint32_t step = pool->target - (pool->target + 3) / 4;
        pool->target = wanted > step ? wanted : step;
    }
    return interval;
}

/* ---- sweep ---- */

struct sweep {
    uint32_t slots[BATCH];
    int why[BATCH]; /* enum pool_end; -1: to be checked */
    size_t count;
    uint32_t checks; /* how many more may be checked */
    uint32_t live;   /* what will be left */
};

/* enum pool_end, -1 for a check, or -2: it stays. */
static int look_at(const struct pool *pool, struct pool_slot *slot, struct sweep *sweep)
{
    const struct pool_options *options = &pool->options;
    int64_t now = pool_now_ns(pool);
    int64_t idle = now - atomic_load_explicit(&slot->since_ns, memory_order_relaxed);
    int64_t well = now - atomic_load_explicit(&slot->well_ns, memory_order_relaxed);
    uint32_t keep = options->adapt_interval_ns > 0 ? pool->target : pool->min;
    if (sweep->live > atomic_load(&pool->max) ||
        (options->adapt_interval_ns > 0 && sweep->live > keep)) {
        return POOL_END_SURPLUS;
    }
    if (options->age_limit_ns > 0 && now - slot->created_ns > options->age_limit_ns) {
        return POOL_END_AGE;
    }
    if (options->idle_limit_ns > 0 && idle > options->idle_limit_ns && sweep->live > keep) {
        return POOL_END_IDLE;
    }
    if (sweep->checks > 0 && options->type->is_healthy != NULL && options->check_idle_ns >= 0 &&
        well > options->check_idle_ns && well > SWEEP_NS / 2) {
        return -1;
    }
    return -2;
}

static void put_aside(struct pool *pool, struct sweep *sweep, uint32_t index, int why)
{
    pool_slot_enter(&pool->slots[index], why < 0 ? SLOT_CHECKING : SLOT_DESTROYING);
    sweep->slots[sweep->count] = index;
    sweep->why[sweep->count++] = why;
    sweep->checks -= why < 0;
    sweep->live -= why >= 0;
}

/* From the one idle longest, which is the bottom of the stack. */
static void collect_locked(struct pool *pool, struct sweep *sweep)
{
    static const struct pool_wish any;
    uint32_t reversed = SLOT_NONE;
    uint32_t index;
    while ((index = pool_slots_take_locked(pool, &any)) != SLOT_NONE) {
        atomic_store_explicit(&pool->slots[index].next, reversed, memory_order_relaxed);
        reversed = index;
    }
    while (reversed != SLOT_NONE) {
        index = reversed;
        reversed = atomic_load_explicit(&pool->slots[index].next, memory_order_relaxed);
        int why = sweep->count < BATCH ? look_at(pool, &pool->slots[index], sweep) : -2;
        if (why == -2) {
            pool_slots_push_locked(pool, index);
        } else {
            put_aside(pool, sweep, index, why);
        }
    }
}

static void finish_sweep(struct pool *pool, const struct sweep *sweep)
{
    for (size_t i = 0; i < sweep->count; i++) {
        uint32_t index = sweep->slots[i];
        int why = sweep->why[i] >= 0 ? sweep->why[i]
                                     : pool_slot_judge(pool, &pool->slots[index], true);
        if (why >= 0) {
            pool_slot_end(pool, index, (enum pool_end)why);
        } else {
            pool_return_checked(pool, index);
        }
    }
}

int64_t pool_tend(struct pool *pool)
{
    struct sweep sweep = {.count = 0};
    pool_lock(pool);
    int64_t now = pool_now_ns(pool);
    int64_t left = pool_adapt_locked(pool, now);
    if (!pool->closed) {
        uint32_t low = atomic_load(&pool->idle_low);
        sweep.checks = pool_slots_idle(pool) / 4 + 1;
        sweep.live = atomic_load(&pool->live);
        collect_locked(pool, &sweep);
        atomic_store(&pool->idle_low, low); /* the sweep is no demand */
        pool_match_locked(pool);
    }
    int64_t retry = pool->failures > 0 && pool->next_try_ns > now ? pool->next_try_ns - now
                                                                  : INT64_MAX;
    pool_unlock(pool);
    finish_sweep(pool, &sweep);
    left = left < retry ? left : retry;
    return sweep.count == BATCH ? 0 : left < SWEEP_NS ? left : SWEEP_NS;
}
