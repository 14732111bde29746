/* A pooled container's way: made, watched, reset, removed. For the files of container_pool alone.
 * Loop thread. */
#pragma once

#include "containers/container_private.h"

/* ---- container_watch.c ---- */
/* Looks at idle ones now and then. */
void container_watch_start(struct container_pool *pool);
/* The daemon has answered: follows its events from now on. */
void container_watch_begin(struct container_pool *pool);
void container_watch_stop(struct container_pool *pool);

/* ---- container_make.c ---- */
/* Daemon, left-overs of others, image, network; then a container for the reservation. */
void container_prepare(struct container_pool *pool, struct pool_lease lease);
void container_make(struct container_pool *pool, struct pool_lease lease);
/* It ended while it was made. */
void container_make_died(struct pooled_container *container);

/* ---- container_end.c ---- */
void container_end_init(struct pooled_container *container);
void container_reset(struct pooled_container *container);
/* Removes it, however long that takes. At any step but CREATING. */
void container_remove(struct pooled_container *container);
/* Frees it where nothing holds it any more. */
void container_release(struct pooled_container *container);
/* Reads its last lines into log_text, then calls on_read. */
void container_read_logs(struct pooled_container *container,
                         void (*on_read)(struct pooled_container *container));
