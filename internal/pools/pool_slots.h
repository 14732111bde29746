/*
 * The slots of a pool, their states and the stack of idle ones; for the pool's own files.
 *
 * Idle slots are a stack whose head is one word, so that taking and returning are one compare and
 * swap each. Everything else happens exclusively: with the lock held and HEAD_SLOW set in that
 * word, which sends all who come by the fast way to the lock. HEAD_SLOW stays set while somebody
 * waits, so that nobody passes by, and when the pool is closed.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "pools/pool.h"
#include "pools/pool_report.h"

/* head: 31 bits that count changes (against ABA), HEAD_SLOW, 16 bits number of idle, 16 bits top. */
#define HEAD_NONE UINT64_C(0xffff)
#define HEAD_SLOW (UINT64_C(1) << 32)
#define HEAD_CHANGE_ONE (UINT64_C(1) << 33)
#define HEAD_CHANGE_MASK (~(HEAD_CHANGE_ONE - 1))

enum slot_state {
    SLOT_FREE,
    SLOT_CREATING,
    SLOT_IDLE,
    SLOT_IN_USE,
    SLOT_CHECKING,  /* is_healthy or reset is being asked */
    SLOT_DESTROYING /* destroy is being called */
};

#define SLOT_NONE UINT32_MAX
#define SLOT_SLOW (UINT32_MAX - 1) /* the fast way is shut */

/* A cache line each. */
struct pool_slot {
    _Alignas(64) _Atomic uint32_t word; /* generation * 8 + state */
    _Atomic uint32_t next;              /* in the stack of idle ones, or of free ones */
    void *resource;                     /* whoever moved the slot out of idle or free has it */
    int64_t created_ns;
    _Atomic int64_t since_ns;     /* of the present state */
    _Atomic(const char *) holder; /* in use */
    _Atomic int64_t well_ns;      /* when it was last known to be well */
    _Atomic uint64_t acquired;    /* of all resources that were here */
    _Atomic int32_t thread;       /* in use */
    uint32_t uses;                /* of this resource */
};

/* The fast way: an idle slot, now the caller's alone. Leaves `keep` idle ones; SLOT_NONE when there are no
 * more, SLOT_SLOW when HEAD_SLOW is set. */
uint32_t pool_slots_pop(struct pool *pool, uint32_t keep);
/* The fast way back; false when HEAD_SLOW is set. The slot is idle already. */
bool pool_slots_push(struct pool *pool, uint32_t index);
uint32_t pool_slots_idle(const struct pool *pool);

/* Exclusively from lock to unlock. */
void pool_lock(struct pool *pool);
/* Calls on_wanted where fewer are there than should be. A destroyed pool is freed here once nothing of it
 * is out and nobody is inside. */
void pool_unlock(struct pool *pool);
/* Whoever goes on to use the pool after something that may free it holds it meanwhile. */
void pool_enter(struct pool *pool);
void pool_leave(struct pool *pool);
/* Waits for the condition until then (CLOCK_MONOTONIC); false: that time has come. */
bool pool_wait_locked(struct pool *pool, pthread_cond_t *cond, int64_t until_ns);
void pool_slots_push_locked(struct pool *pool, uint32_t index);
/* To the bottom: it is handed out last. */
void pool_slots_append_locked(struct pool *pool, uint32_t index);
/* The first idle one that matches (match NULL: any); SLOT_NONE. It is in no list then. */
uint32_t pool_slots_take_locked(struct pool *pool, const struct pool_wish *wish);
/* A free slot, now creating; there must be one. */
uint32_t pool_slots_reserve_locked(struct pool *pool);
void pool_slots_free_locked(struct pool *pool, uint32_t index);

/* ---- states ---- */

enum slot_state pool_slot_state(const struct pool_slot *slot);
/* Moves a slot that is the caller's alone. */
void pool_slot_enter(struct pool_slot *slot, enum slot_state state);
/* Moves it if the lease is out and of this generation. */
bool pool_slot_claim(struct pool *pool, struct pool_lease lease, enum slot_state from,
                     enum slot_state to);
/* In use by the wish's holder from now on, on this thread (gettid(2)). */
struct pool_lease pool_slot_lend(struct pool *pool, uint32_t index, const struct pool_wish *wish,
                                 int32_t thread);
int32_t pool_thread_id(void);
/* The resource of a slot that was created. */
void pool_slot_begin(struct pool *pool, uint32_t index, void *resource);
void pool_slot_count_use(struct pool *pool, struct pool_slot *slot);
void pool_slot_uncount_use(struct pool *pool, struct pool_slot *slot);
/* Neither idle nor in use from now on. */
void pool_slot_withdraw(struct pool *pool, struct pool_slot *slot, enum slot_state state);
/* Why it should not be handed out or go back to the idle ones; -1: it is well. It must be the
 * caller's alone. */
int pool_slot_judge(struct pool *pool, struct pool_slot *slot, bool ask);
/* Destroys the resource of a slot that is the caller's alone, and frees the slot; it may be withdrawn as
 * SLOT_DESTROYING before. Not exclusively. May free the pool (pool_enter()). */
void pool_slot_end(struct pool *pool, uint32_t index, enum pool_end why);
