/* Creating what is missing, several at a time, once or by a thread that tends a pool. For pools whose type
 * creates. Any thread. */
#pragma once

#include "pools/pool.h"

/* Creates until `min` are there, `parallel` at a time on threads of their own. The first failure ends it
 * and is returned; -EHOSTDOWN: the circuit allows no attempt now. */
int pool_prefill(struct pool *pool, unsigned parallel, struct error *error)
    __attribute__((warn_unused_result));

struct pool_keeper;

/* A thread that sweeps and creates what is missing, `parallel` (at least 1) at a time. -EINVAL: the type
 * has no create. */
int pool_keeper_start(struct pool *pool, unsigned parallel, struct pool_keeper **ret_keeper,
                      struct error *error) __attribute__((warn_unused_result));
/* Ends the thread; before the pool is destroyed. NULL is ignored. */
void pool_keeper_stop(struct pool_keeper *keeper);
