/*
 * Buffers that all sinks of an agent share, for a batch that is encoded before it is compressed: as many as
 * threads that encode at the same time, each as large as the largest batch it saw. Any thread.
 */
#pragma once

#include "pools/pool.h"

/* Resources are struct buf, empty. metrics may be NULL. */
int sink_scratch_create(struct metrics *metrics, struct pool **ret_pool)
    __attribute__((warn_unused_result));
/* Frees those that were idle for a while. */
void sink_scratch_tend(struct pool *pool);
