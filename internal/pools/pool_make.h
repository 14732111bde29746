/*
 * For pools whose users make the resources themselves: those of a loop, which may not block, and
 * those whose resources come by themselves (accepted connections). A reservation is a lease
 * without a resource: its slot counts as `creating` until it is filled or abandoned. Any thread.
 */
#pragma once

#include "pools/pool.h"

/* Reserves a place. -EAGAIN: `max` is reached, or the circuit allows no attempt now; -ESHUTDOWN. */
int pool_reserve(struct pool *pool, const struct pool_wish *wish, struct pool_lease *ret_lease)
    __attribute__((warn_unused_result));
/* The reservation has become a resource; the lease is in use, by wish->holder. The resource is the
 * pool's from now on. */
void pool_fill(struct pool *pool, struct pool_lease *lease, void *resource);
/* The same, but for whoever comes: it is idle, or handed to who waits. */
void pool_add(struct pool *pool, struct pool_lease lease, void *resource);
/* It has not. rc: why creating failed, which the circuit counts; 0: it was not tried. */
void pool_abandon(struct pool *pool, struct pool_lease lease, int rc, const char *reason);
/* A resource in use leaves the pool: it is the caller's, and destroy is not called. -EINVAL: the lease
 * was given back before. */
int pool_detach(struct pool *pool, struct pool_lease lease, void **ret_resource);
/* How many more there should be now: up to the target, as far as `max` and the circuit allow. */
uint32_t pool_missing(struct pool *pool);
/* When the circuit allows an attempt again, from now; 0: now. */
int64_t pool_retry_delay_ns(struct pool *pool);
