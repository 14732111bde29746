/*
 * A thread that tends a pool: sweeps, and creates what is missing, as many at a time as wanted. For
 * pools whose type creates.
 */
#pragma once

#include "pools/pool.h"

struct pool_keeper;

/* parallel: creations at a time, at least 1. -EINVAL: the type has no create. */
int pool_keeper_start(struct pool *pool, unsigned parallel, struct pool_keeper **ret_keeper,
                      struct error *error) __attribute__((warn_unused_result));
/* Ends the thread; before the pool is destroyed. NULL is ignored. */
void pool_keeper_stop(struct pool_keeper *keeper);
