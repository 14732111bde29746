/*
 * Test containers the easy way: a container_pool with a thread of its own. Any thread.
 *
 *     struct containers *redis;
 *     const struct container *container;
 *     struct error error;
 *     if (containers_shared("redis", &redis, &error) != 0 ||
 *         containers_get(redis, &container, &error) != 0) {
 *         fail(error.text);
 *     }
 *     connect_to(container->address);
 *     containers_put(redis, container);
 *
 * All containers are gone when the process has ended, whichever way it ends.
 */
#pragma once

#include "containers/container_pool.h"

struct containers;

/* All but the preset may be zero. */
struct containers_options {
    const char *preset;
    const char *presets_file; /* NULL: the built-in presets */
    const char *docker_url;   /* NULL: DOCKER_HOST, else unix:///var/run/docker.sock */
    uint32_t size, min;       /* the rest as in container_pool.h */
    uint16_t first_port;
    const char *host;
    int64_t startup_timeout_ns;
    const char *reaper;
    void (*on_log)(const char *text, void *data);
    void *data;
};

/* Starts no container yet. -EINVAL, -ENOENT with the reason. */
int containers_open(const struct containers_options *options, struct containers **ret_containers,
                    struct error *error) __attribute__((warn_unused_result));
/* Removes all of them, within 30 s; returns how many could not be. Their views end here. NULL is ignored. */
size_t containers_close(struct containers *containers);
/* The same pool for everybody in this process who names the preset; it is closed at the process's exit. */
int containers_shared(const char *preset, struct containers **ret_containers, struct error *error)
    __attribute__((warn_unused_result));

/* Makes all there are to be, in parallel, and waits. -EHOSTDOWN with the reason, -ETIMEDOUT. */
int containers_fill(struct containers *containers, int64_t timeout_ns, struct error *error)
    __attribute__((warn_unused_result));
/* Takes one that is ready, within 30 s. As container_pool_get(). */
int containers_get(struct containers *containers, const struct container **ret_container,
                   struct error *error) __attribute__((warn_unused_result));
void containers_put(struct containers *containers, const struct container *container);
/* It is of no use any more: another one takes its place. */
void containers_put_broken(struct containers *containers, const struct container *container);
void containers_get_stats(struct containers *containers, struct container_pool_stats *ret_stats);
