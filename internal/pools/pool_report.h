/* What a pool holds and has done. Any thread. */
#pragma once

#include "base/buf.h"
#include "pools/pool.h"

enum pool_end {
    POOL_END_IDLE,      /* idle for too long */
    POOL_END_AGE,       /* too old */
    POOL_END_SURPLUS,   /* more than the target, or than max */
    POOL_END_UNHEALTHY, /* is_healthy said so */
    POOL_END_RESET,     /* could not be reset */
    POOL_END_DISCARDED, /* its user said that it is broken */
    POOL_END_FLUSHED,   /* pool_flush() */
    POOL_END_CLOSED,    /* pool_close() */
    POOL_END_DETACHED   /* left the pool; not destroyed */
};
#define POOL_ENDS 9

struct pool_stats {
    uint32_t idle, in_use, creating, checking, waiting;
    uint32_t min, max, target; /* target: how many are kept, from min to max */
    uint64_t acquired, reused; /* reused: the resource had been used before */
    uint64_t created, create_failures, timeouts;
    uint64_t ended[POOL_ENDS]; /* by enum pool_end */
    double mean_lifetime_ns;   /* of those that ended; 0: none did */
    bool circuit_open;
};
void pool_report_stats(struct pool *pool, struct pool_stats *ret_stats);

/* The series of pool_register_metrics() end before the pool does. The metrics' thread. */
void pool_report_finish(struct pool *pool);

/* One lease that is out. */
struct pool_holding {
    const char *holder; /* as the wish named it, or "unnamed" */
    int thread;         /* its id as in gettid(2) */
    int64_t held_ns;
};
typedef void (*pool_holding_fn)(const struct pool_holding *holding, void *data);
/* Those that are out for at least least_ns; their number. */
size_t pool_report_holdings(struct pool *pool, int64_t least_ns, pool_holding_fn on_holding,
                            void *data);
/* The same as text, a line each; nothing where none is. */
int pool_report_text(struct pool *pool, int64_t least_ns, struct buf *out)
    __attribute__((warn_unused_result));
