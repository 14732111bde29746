/*
 * The sweep, and the size that follows demand.
 *
 * The sweep walks the idle ones exclusively, for as long as it takes to look at a number each, and moves
 * aside what must go and a few that are due for a check; these are destroyed and asked outside of
 * it. At most a quarter of the idle ones, and at least one, is being checked at a time. They come back
 * to the bottom of the stack, for a check is no use.
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
    uint32_t usable = atomic_load(&pool->usable);
    uint32_t idle = pool_slots_idle(pool);
    uint32_t busy = usable > idle ? usable - idle : 0;
    uint32_t peak = atomic_exchange(&pool->peak_busy, busy);
    uint32_t demand = (peak > busy ? peak : busy) + pool->waiting_peak;
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
    uint32_t keep;   /* the target, or what was in use at once lately */
};

/* Why it must go, as enum pool_end; -1: it stays. */
static int look_at(const struct pool *pool, const struct pool_slot *slot, const struct sweep *sweep)
{
    const struct pool_options *options = &pool->options;
    bool adapts = options->adapt_interval_ns > 0;
    int64_t now = pool_now_ns(pool);
    int64_t idle = now - atomic_load_explicit(&slot->since_ns, memory_order_relaxed);
    uint32_t keep = adapts ? sweep->keep : pool->min;
    if (sweep->live > atomic_load(&pool->max) || (adapts && sweep->live > keep)) {
        return POOL_END_SURPLUS;
    }
    if (options->age_limit_ns > 0 && now - slot->created_ns > options->age_limit_ns) {
        return POOL_END_AGE;
    }
    return options->idle_limit_ns > 0 && idle > options->idle_limit_ns && sweep->live > keep
               ? POOL_END_IDLE
               : -1;
}

static bool is_due_for_check(const struct pool *pool, const struct pool_slot *slot)
{
    int64_t limit = pool->options.check_idle_ns;
    int64_t well = pool_now_ns(pool) - atomic_load_explicit(&slot->well_ns, memory_order_relaxed);
    return pool->options.type->is_healthy != NULL && limit >= 0 && well > limit &&
           well > SWEEP_NS / 2;
}

static void put_aside(struct pool *pool, struct sweep *sweep, uint32_t index, int why)
{
    pool_slot_withdraw(pool, &pool->slots[index], why < 0 ? SLOT_CHECKING : SLOT_DESTROYING);
    sweep->slots[sweep->count] = index;
    sweep->why[sweep->count++] = why;
    sweep->live -= why >= 0;
}

/* Takes all, the top first. Of those that are due for a check the first ones are marked: the ones checked
 * last are at the bottom, so that all have their turn. The result is a list that begins at the bottom. */
static uint32_t take_all_locked(struct pool *pool, struct sweep *sweep)
{
    static const struct pool_wish any;
    uint32_t list = SLOT_NONE;
    uint32_t index;
    while ((index = pool_slots_take_locked(pool, &any)) != SLOT_NONE) {
        struct pool_slot *slot = &pool->slots[index];
        atomic_store_explicit(&slot->next, list, memory_order_relaxed);
        list = index;
        if (sweep->checks > 0 && is_due_for_check(pool, slot)) {
            sweep->checks--;
            pool_slot_enter(slot, SLOT_CHECKING);
        }
    }
    return list;
}

/* From the bottom, where those are that were used least. */
static void collect_locked(struct pool *pool, struct sweep *sweep)
{
    uint32_t list = take_all_locked(pool, sweep);
    while (list != SLOT_NONE) {
        uint32_t index = list;
        struct pool_slot *slot = &pool->slots[index];
        list = atomic_load_explicit(&slot->next, memory_order_relaxed);
        bool marked = pool_slot_state(slot) == SLOT_CHECKING;
        bool room = sweep->count < BATCH;
        int why = room ? look_at(pool, slot, sweep) : -1;
        if (why >= 0 || (marked && room)) {
            put_aside(pool, sweep, index, why);
        } else {
            pool_slot_enter(slot, SLOT_IDLE);
            pool_slots_push_locked(pool, index);
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
            pool_slot_enter(&pool->slots[index], SLOT_DESTROYING); /* withdrawn already */
            pool_slot_end(pool, index, (enum pool_end)why);
        } else {
            pool_return_checked(pool, index);
        }
    }
}

/* What a sweep may take and ask. */
static void plan_locked(const struct pool *pool, struct sweep *sweep)
{
    uint32_t peak = atomic_load(&pool->peak_busy);
    uint32_t idle = pool_slots_idle(pool);
    sweep->checks = idle / 4 > 0 ? idle / 4 : 1;
    sweep->live = atomic_load(&pool->live);
    sweep->keep = peak > pool->target ? peak : pool->target;
}

int64_t pool_tend(struct pool *pool)
{
    struct sweep sweep = {.count = 0};
    pool_lock(pool);
    pool->inside++;
    int64_t now = pool_now_ns(pool);
    if (!pool->closed) {
        plan_locked(pool, &sweep);
        collect_locked(pool, &sweep);
    }
    int64_t left = pool_adapt_locked(pool, now);
    pool_match_locked(pool);
    int64_t retry = pool->failures > 0 && pool->next_try_ns > now ? pool->next_try_ns - now
                                                                  : INT64_MAX;
    pool_unlock(pool);
    finish_sweep(pool, &sweep);
    pool_leave(pool);
    left = left < retry ? left : retry;
    return sweep.count == BATCH ? 0 : left < SWEEP_NS ? left : SWEEP_NS;
}
