/*
 * The slots and their states.
 *
 *   free --reserve--> creating --fill--> in use <--take, give back--> idle --sweep--> checking
 *     ^                                    |                             |               |
 *     `------------------------------- destroying <----------------------+---------------'
 *
 * A slot belongs to whoever moved it out of idle or free; nobody else writes its members. The stack
 * of idle slots is Treiber's (IBM RJ 5118, 1986), by index, with a count of changes in its head,
 * so that a slot that was taken and given back meanwhile is not mistaken for one that stayed. It
 * wraps after 2^31 changes: a thread would have to sleep for just so many between its load and its
 * compare-and-swap.
 *
 * The stack makes the last returned one the next handed out: it is warm, and what the pool has too
 * many of stays idle until the sweep takes it.
 */
#include <assert.h>
#include <errno.h>
#include <unistd.h>

#include "base/timestamp.h"
#include "pools/pool_private.h"

static uint32_t head_top(uint64_t head)
{
    return (uint32_t)(head & HEAD_NONE);
}

static uint32_t head_count(uint64_t head)
{
    return (uint32_t)(head >> 16) & 0xffffU;
}

/* The same count of changes and flag plus one change, another top and number. */
static uint64_t head_with(uint64_t head, uint32_t top, uint32_t count)
{
    return ((head & (HEAD_CHANGE_MASK | HEAD_SLOW)) + HEAD_CHANGE_ONE) | (uint64_t)count << 16 |
           top;
}

static uint64_t load_head(const struct pool *pool)
{
    return atomic_load_explicit(&pool->head, memory_order_acquire);
}

static bool swap_head(struct pool *pool, uint64_t *expected, uint64_t head)
{
    return atomic_compare_exchange_weak_explicit(&pool->head, expected, head, memory_order_acq_rel,
                                                 memory_order_acquire);
}

uint32_t pool_slots_idle(const struct pool *pool)
{
    return head_count(load_head(pool));
}

/* `count` are idle now. */
static void note_busy(struct pool *pool, uint32_t count)
{
    uint32_t usable = atomic_load_explicit(&pool->usable, memory_order_relaxed);
    uint32_t busy = usable > count ? usable - count : 0;
    uint32_t peak = atomic_load_explicit(&pool->peak_busy, memory_order_relaxed);
    while (busy > peak &&
           !atomic_compare_exchange_weak_explicit(&pool->peak_busy, &peak, busy,
                                                  memory_order_relaxed, memory_order_relaxed)) {
    }
}

uint32_t pool_slots_pop(struct pool *pool, uint32_t keep)
{
    uint64_t head = load_head(pool);
    while ((head & HEAD_SLOW) == 0) {
        if (head_count(head) <= keep) {
            return SLOT_NONE;
        }
        uint32_t index = head_top(head);
        uint32_t next = atomic_load_explicit(&pool->slots[index].next, memory_order_relaxed);
        uint32_t count = head_count(head) - 1;
        if (swap_head(pool, &head, head_with(head, next, count))) {
            note_busy(pool, count);
            return index;
        }
    }
    return SLOT_SLOW;
}

bool pool_slots_push(struct pool *pool, uint32_t index)
{
    uint64_t head = load_head(pool);
    while ((head & HEAD_SLOW) == 0) {
        atomic_store_explicit(&pool->slots[index].next, head_top(head), memory_order_relaxed);
        if (swap_head(pool, &head, head_with(head, index, head_count(head) + 1))) {
            return true;
        }
    }
    return false;
}

/* ---- exclusively ---- */

/* Whoever loaded the head before fails to swap it, and finds HEAD_SLOW then. */
static void shut_fast_way(struct pool *pool)
{
    uint64_t head = load_head(pool);
    while (!swap_head(pool, &head, head_with(head, head_top(head), head_count(head)) | HEAD_SLOW)) {
    }
}

void pool_lock(struct pool *pool)
{
    (void)pthread_mutex_lock(&pool->lock);
    shut_fast_way(pool);
}

bool pool_wait_locked(struct pool *pool, pthread_cond_t *cond, int64_t until_ns)
{
    struct timespec until = {until_ns / NS_PER_SECOND, until_ns % NS_PER_SECOND};
    pool_note_waiting_locked(pool);
    pool_ring_locked(pool);
    int rc = pthread_cond_timedwait(cond, &pool->lock, &until);
    shut_fast_way(pool); /* another one may have opened it meanwhile */
    return rc != ETIMEDOUT;
}

static bool is_left_alone(const struct pool *pool)
{
    return pool->orphaned && pool->inside == 0 && atomic_load(&pool->live) == 0;
}

void pool_unlock(struct pool *pool)
{
    bool last = is_left_alone(pool);
    pool_note_waiting_locked(pool);
    pool_ring_locked(pool);
    if (pool->waiting == 0 && !pool->closed) {
        (void)atomic_fetch_and_explicit(&pool->head, ~HEAD_SLOW, memory_order_release);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    if (last) {
        pool_free(pool);
    }
}

void pool_enter(struct pool *pool)
{
    (void)pthread_mutex_lock(&pool->lock);
    pool->inside++;
    (void)pthread_mutex_unlock(&pool->lock);
}

void pool_leave(struct pool *pool)
{
    (void)pthread_mutex_lock(&pool->lock);
    pool->inside--;
    bool last = is_left_alone(pool);
    (void)pthread_mutex_unlock(&pool->lock);
    if (last) {
        pool_free(pool);
    }
}

static void set_head_locked(struct pool *pool, uint32_t top, uint32_t count)
{
    atomic_store_explicit(&pool->head, head_with(load_head(pool), top, count),
                          memory_order_release);
}

void pool_slots_push_locked(struct pool *pool, uint32_t index)
{
    uint64_t head = load_head(pool);
    atomic_store_explicit(&pool->slots[index].next, head_top(head), memory_order_relaxed);
    set_head_locked(pool, index, head_count(head) + 1);
}

void pool_slots_append_locked(struct pool *pool, uint32_t index)
{
    uint64_t head = load_head(pool);
    uint32_t at = head_top(head);
    if (at == HEAD_NONE) {
        pool_slots_push_locked(pool, index);
        return;
    }
    uint32_t next;
    while ((next = atomic_load_explicit(&pool->slots[at].next, memory_order_relaxed)) !=
           HEAD_NONE) {
        at = next;
    }
    atomic_store_explicit(&pool->slots[index].next, (uint32_t)HEAD_NONE, memory_order_relaxed);
    atomic_store_explicit(&pool->slots[at].next, index, memory_order_relaxed);
    set_head_locked(pool, head_top(head), head_count(head) + 1);
}

uint32_t pool_slots_take_locked(struct pool *pool, const struct pool_wish *wish)
{
    uint64_t head = load_head(pool);
    uint32_t before = SLOT_NONE;
    uint32_t index = head_top(head);
    while (index != HEAD_NONE && wish->match != NULL &&
           !wish->match(pool->slots[index].resource, wish->match_data)) {
        before = index;
        index = atomic_load_explicit(&pool->slots[index].next, memory_order_relaxed);
    }
    if (index == HEAD_NONE) {
        return SLOT_NONE;
    }
    uint32_t next = atomic_load_explicit(&pool->slots[index].next, memory_order_relaxed);
    uint32_t count = head_count(head) - 1;
    if (before != SLOT_NONE) {
        atomic_store_explicit(&pool->slots[before].next, next, memory_order_relaxed);
        next = head_top(head);
    }
    set_head_locked(pool, next, count);
    return index;
}

uint32_t pool_slots_reserve_locked(struct pool *pool)
{
    uint32_t index = pool->first_free;
    if (index != SLOT_NONE) {
        pool->first_free = atomic_load_explicit(&pool->slots[index].next, memory_order_relaxed);
    } else {
        index = pool->used++;
    }
    assert(index < pool->slot_count);
    pool_slot_enter(&pool->slots[index], SLOT_CREATING);
    pool->creating++;
    (void)atomic_fetch_add(&pool->live, 1);
    return index;
}

void pool_slots_free_locked(struct pool *pool, uint32_t index)
{
    struct pool_slot *slot = &pool->slots[index];
    slot->resource = NULL;
    pool_slot_enter(slot, SLOT_FREE);
    atomic_store_explicit(&slot->next, pool->first_free, memory_order_relaxed);
    pool->first_free = index;
    (void)atomic_fetch_sub(&pool->live, 1);
    (void)pthread_cond_broadcast(&pool->gone);
}

/* ---- states ---- */

enum slot_state pool_slot_state(const struct pool_slot *slot)
{
    return (enum slot_state)(atomic_load_explicit(&slot->word, memory_order_relaxed) & 7U);
}

void pool_slot_enter(struct pool_slot *slot, enum slot_state state)
{
    uint32_t word = atomic_load_explicit(&slot->word, memory_order_relaxed);
    atomic_store_explicit(&slot->word, (word & ~7U) | (uint32_t)state, memory_order_release);
}

bool pool_slot_claim(struct pool *pool, struct pool_lease lease, enum slot_state from,
                     enum slot_state to)
{
    if (lease.slot >= pool->slot_count) {
        return false;
    }
    uint32_t expected = lease.generation << 3 | (uint32_t)from;
    return atomic_compare_exchange_strong_explicit(&pool->slots[lease.slot].word, &expected,
                                                   lease.generation << 3 | (uint32_t)to,
                                                   memory_order_acq_rel, memory_order_relaxed);
}

int32_t pool_thread_id(void)
{
    static _Thread_local __attribute__((tls_model("initial-exec"))) int32_t id;
    if (id == 0) {
        id = (int32_t)gettid();
    }
    return id;
}

void pool_slot_begin(struct pool *pool, uint32_t index, void *resource)
{
    struct pool_slot *slot = &pool->slots[index];
    slot->resource = resource;
    slot->created_ns = pool_now_ns(pool);
    slot->uses = 0;
    atomic_store_explicit(&slot->since_ns, slot->created_ns, memory_order_relaxed);
    atomic_store_explicit(&slot->well_ns, slot->created_ns, memory_order_relaxed);
    (void)atomic_fetch_add(&pool->usable, 1);
    note_busy(pool, pool_slots_idle(pool));
}

void pool_slot_count_use(struct pool *pool, struct pool_slot *slot)
{
    uint64_t acquired = atomic_load_explicit(&slot->acquired, memory_order_relaxed);
    atomic_store_explicit(&slot->acquired, acquired + 1, memory_order_relaxed);
    if (slot->uses++ == 0) {
        (void)atomic_fetch_add_explicit(&pool->first_uses, 1, memory_order_relaxed);
    }
}

void pool_slot_uncount_use(struct pool *pool, struct pool_slot *slot)
{
    uint64_t acquired = atomic_load_explicit(&slot->acquired, memory_order_relaxed);
    atomic_store_explicit(&slot->acquired, acquired - 1, memory_order_relaxed);
    if (--slot->uses == 0) {
        (void)atomic_fetch_sub_explicit(&pool->first_uses, 1, memory_order_relaxed);
    }
}

struct pool_lease pool_slot_lend(struct pool *pool, uint32_t index, const struct pool_wish *wish,
                                 int32_t thread)
{
    struct pool_slot *slot = &pool->slots[index];
    uint32_t word = atomic_load_explicit(&slot->word, memory_order_relaxed);
    uint32_t generation = (word >> 3) + 1;
    bool reserved = (word & 7U) == SLOT_CREATING;
    atomic_store_explicit(&slot->since_ns, pool_now_ns(pool), memory_order_relaxed);
    atomic_store_explicit(&slot->holder, wish->holder, memory_order_relaxed);
    atomic_store_explicit(&slot->thread, thread, memory_order_relaxed);
    if (!reserved) {
        pool_slot_count_use(pool, slot);
    }
    uint32_t state = reserved ? SLOT_CREATING : SLOT_IN_USE;
    atomic_store_explicit(&slot->word, generation << 3 | state, memory_order_release);
    return (struct pool_lease){slot->resource, index, generation & (UINT32_MAX >> 3)};
}

void pool_slot_withdraw(struct pool *pool, struct pool_slot *slot, enum slot_state state)
{
    pool_slot_enter(slot, state);
    (void)atomic_fetch_sub(&pool->usable, 1);
}

/* Spread, so that resources made together do not end together. */
static int64_t age_limit(const struct pool *pool, const struct pool_slot *slot)
{
    int64_t limit = pool->options.age_limit_ns;
    uint64_t mixed = (uint64_t)(slot - pool->slots + 1) * UINT64_C(0x9e3779b97f4a7c15);
    return limit - limit / 10 * (int64_t)(mixed >> 54) / 1024;
}

int pool_slot_judge(struct pool *pool, struct pool_slot *slot, bool ask)
{
    const struct pool_options *options = &pool->options;
    if (options->age_limit_ns > 0 && pool_now_ns(pool) - slot->created_ns > age_limit(pool, slot)) {
        return POOL_END_AGE;
    }
    if (ask && options->type->is_healthy != NULL) {
        pool_slot_enter(slot, SLOT_CHECKING);
        if (!options->type->is_healthy(options->data, slot->resource)) {
            return POOL_END_UNHEALTHY;
        }
    }
    return -1;
}

void pool_slot_end(struct pool *pool, uint32_t index, enum pool_end why)
{
    struct pool_slot *slot = &pool->slots[index];
    if (pool_slot_state(slot) != SLOT_DESTROYING) {
        pool_slot_withdraw(pool, slot, SLOT_DESTROYING);
    }
    metric_observe(&pool->lifetime_seconds, pool_now_ns(pool) - slot->created_ns);
    if (why != POOL_END_DETACHED) {
        pool->options.type->destroy(pool->options.data, slot->resource);
    }
    pool_lock(pool);
    metric_add(&pool->ended[why], 1);
    pool_slots_free_locked(pool, index);
    pool_settle_waiters_locked(pool);
    pool_unlock(pool);
}
