/*
 * A bounded pool of resources that are dear to make: connections, database sessions, HTTP clients,
 * buffers, containers. It knows nothing of what they are.
 *
 * A resource is in exactly one state: idle, in use (somebody has its lease), creating, or checking.
 * Who acquires first gets first, within a priority; while somebody waits nobody passes by. Taking
 * an idle resource and returning it make no system call and allocate nothing.
 *
 * Any thread may call everything here but pool_register_metrics() and, after it, pool_destroy(), which
 * are the metrics' thread's. The type's functions are called without a lock held, on the thread that
 * acquires, releases or tends. A loop waits with pool_request.h, a pool whose users make the
 * resources has pool_make.h, pool_keeper.h is a thread that tends.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/metrics.h"
#include "loop/clock.h"

#define POOL_SIZE_LIMIT 65534U

struct pool;

/* What a resource is. `data` is that of the options. */
struct pool_type {
    /* Makes one; may block, and bounds its own time. 0 or a negative errno with the reason. NULL:
     * users make them (pool_make.h). */
    int (*create)(void *data, void **ret_resource, struct error *error);
    void (*destroy)(void *data, void *resource);
    /* Whether it can still be used. Optional. */
    bool (*is_healthy)(void *data, void *resource);
    /* Makes a returned one as good as new; other than 0: it is destroyed. Optional. */
    int (*reset)(void *data, void *resource);
};

/* Ordered as it reads. NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding) */
struct pool_options {
    const char *name; /* in metrics and messages; copied */
    const struct pool_type *type;
    void *data;
    const struct clock *clock; /* NULL: the coarse monotonic clock (4 ms) */
    uint32_t min, max;         /* resources; max 1 to POOL_SIZE_LIMIT */
    uint32_t limit;            /* what pool_resize() may raise max to; 0: max */
    uint32_t reserved;         /* of max, for POOL_HIGH; below max */
    int64_t idle_limit_ns;     /* idle longer: destroyed, but for the last `min`; 0: never */
    int64_t age_limit_ns;      /* older, less up to a tenth by chance: not used again; 0: never */
    int64_t check_idle_ns;     /* is_healthy is asked, by the sweep and before one is handed out,
                                * when it was not seen well for so long; negative: never */
    bool check_released;       /* ... and when it is returned */
    int64_t adapt_interval_ns; /* the size follows demand (pool_adapt.h); 0: min is kept */
    uint32_t break_after;      /* failures of create in a row that open the circuit; 0: 5 */
    int64_t retry_first_ns;    /* pause after the first failure; doubles, full jitter; 0: 100 ms */
    int64_t retry_limit_ns;    /* 0: 30 s */
    bool patient;              /* who waits goes on waiting while the circuit is open */
    /* Fewer are there than should be, or an attempt failed. Any thread, under the pool's lock: a
     * wake-up only. Optional. */
    void (*on_wanted)(void *data);
};

/* -EINVAL with the reason, -ENOMEM. */
int pool_create(const struct pool_options *options, struct pool **ret_pool, struct error *error)
    __attribute__((warn_unused_result));
/* Closes, waiting for nothing. No call may begin after it but to release what is out; the last frees
 * the pool. Those that wait are answered first. */
void pool_destroy(struct pool *pool);
/* Series with the label pool="<name>"; the metrics must outlive the pool. */
int pool_register_metrics(struct pool *pool, struct metrics *metrics)
    __attribute__((warn_unused_result));

enum pool_priority { POOL_NORMAL, POOL_HIGH };
#define POOL_PRIORITIES 2

/* What somebody wants of a pool. All zero: anything, at once or not at all. */
struct pool_wish {
    const char *holder; /* for reports of what is out; must outlive them; NULL: unnamed */
    int64_t timeout_ns; /* from now; negative: for ever */
    enum pool_priority priority;
    /* Only one that this is true of; called with the pool's lock held: a comparison, no more. */
    bool (*match)(const void *resource, const void *match_data);
    const void *match_data;
};

struct pool_lease {
    void *resource;
    uint32_t slot, generation;
};

/*
 * Takes an idle resource, or creates one where `max` allows, or waits. -ETIMEDOUT: none came in
 * time; -ESHUTDOWN: the pool is closed; -EHOSTDOWN: the circuit is open and none is left to wait for;
 * what create returned, where it failed and none is left to wait for.
 */
int pool_acquire(struct pool *pool, const struct pool_wish *wish, struct pool_lease *ret_lease,
                 struct error *error) __attribute__((warn_unused_result));
/* Takes an idle one; never waits, creates nothing. -EAGAIN, -ESHUTDOWN. wish NULL: any. */
int pool_try_acquire(struct pool *pool, const struct pool_wish *wish, struct pool_lease *ret_lease)
    __attribute__((warn_unused_result));
/* Gives it back: to who waits, or to the idle ones. One that is too old, not healthy or can't be
 * reset is destroyed. -EINVAL: the lease was given back before; nothing happened. */
int pool_release(struct pool *pool, struct pool_lease lease);
/* Gives back one that is known to be broken: it is destroyed, and replaced when it is needed. */
int pool_discard(struct pool *pool, struct pool_lease lease);

/* max is cut at options.limit, min at max. Surplus goes as it comes back. */
void pool_resize(struct pool *pool, uint32_t min, uint32_t max);
/* Destroys all idle ones; their number. */
size_t pool_flush(struct pool *pool);
/* Sweeps: destroys what is too old, too long idle, surplus or unhealthy; adapts the size. To be called
 * about each second; returns the time until it has something to do. */
int64_t pool_tend(struct pool *pool);
/* Wakes all who wait with -ESHUTDOWN, destroys what is idle, and waits for what is out (negative: for
 * ever). -ETIMEDOUT: some still is (pool_report.h says what). */
int pool_close(struct pool *pool, int64_t timeout_ns);
