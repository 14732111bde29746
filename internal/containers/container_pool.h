/*
 * A pool of containers of one preset, made in parallel on first use, each ready to be used and with ports
 * of its own on the host. It lives in a loop; containers are taken and given back from any thread.
 *
 * Nothing outlives it: containers go when it is closed, and a reaper (reaper.h), a process that sees this
 * one die, removes them when it is killed. What an earlier pool left whose process is gone is removed at
 * the start.
 *
 * Loop thread, but for what is marked "any thread".
 */
#pragma once

#include "base/metrics.h"
#include "containers/preset.h"
#include "loop/loop.h"
#include "net/http.h"
#include "pools/pool_report.h"

#define CONTAINER_POOL_SIZE 6

struct container_pool;

struct container {
    unsigned number; /* in its pool, from 0; another container may have it later */
    const char *id, *name;
    const char *host;    /* where its ports are */
    const char *address; /* host:port of the preset's first port; "" where it has none */
    size_t port_count;
    uint16_t ports[PRESET_PORTS_LIMIT];      /* of the container */
    uint16_t host_ports[PRESET_PORTS_LIMIT]; /* of the host, in the same order */
};

struct container_pool_options {
    struct loop *loop; /* borrowed, like the three below */
    struct http_client *http;
    struct metrics *metrics; /* or NULL */
    struct preset *preset;   /* taken over, also when creating fails */
    const char *docker_url;  /* "unix:///var/run/docker.sock"; copied, like the rest */
    uint32_t size;           /* most; 0: 6 */
    uint32_t min;            /* kept ready; 0: size. Less than size: the number follows demand */
    /* Container n has the ports of the host from here + n times the number of its ports; 0: any that
     * are free. */
    uint16_t first_port;
    /* Where the ports of the host are reached; NULL: on 127.0.0.1, or on the host that docker_url
     * names. With a value they are published on all addresses. */
    const char *host;
    int64_t startup_timeout_ns; /* 0: the preset's */
    const char *reaper; /* the program container_pool; NULL: beside this one, else in PATH; "":
                                * without a reaper */
    /* What happens, a line each; any thread. Optional. */
    void (*on_log)(const char *text, void *data);
    void *data;
};

/* Starts nothing yet. -EINVAL with the reason, -ENOENT (no reaper), -ENOMEM. */
int container_pool_create(const struct container_pool_options *options,
                          struct container_pool **ret_pool, struct error *error)
    __attribute__((warn_unused_result));
/* Removes every container of the pool, those that are taken included; on_closed comes once: when all are
 * gone (left 0), or after timeout_ns. */
void container_pool_close(struct container_pool *pool, int64_t timeout_ns,
                          void (*on_closed)(size_t left, void *data), void *data);
/* It must be closed. NULL is ignored. */
void container_pool_destroy(struct container_pool *pool);

/* Begins to make containers, where that has not begun. Any thread. */
void container_pool_begin(struct container_pool *pool);
/* Waits for one that is ready. -ETIMEDOUT; -EHOSTDOWN: three attempts to make one failed, and error says
 * how the last did; -ESHUTDOWN. Any thread but the loop's. */
int container_pool_get(struct container_pool *pool, int64_t timeout_ns, const char *holder,
                       const struct container **ret_container, struct error *error)
    __attribute__((warn_unused_result));
/* It is reset or replaced, as the preset says, and is another's then. broken: it is replaced. Any thread. */
void container_pool_put(struct container_pool *pool, const struct container *container,
                        bool broken);

/* The port of the host for one of the container's; 0: it is not published. */
uint16_t container_host_port(const struct container *container, uint16_t port);

/* For a loop: pool_request.h on this pool, whose resources are struct container. Any thread. */
struct pool *container_pool_pool(struct container_pool *pool);
/* The container of a lease of that pool; it knows its lease from then on. */
const struct container *container_pool_taken(struct pool_lease lease);
const struct preset *container_pool_preset(const struct container_pool *pool);

struct container_pool_stats {
    uint32_t available, taken, making, resetting, total; /* total: most that there may be */
    uint64_t made, failed, died, removed;
};
/* Any thread. */
void container_pool_get_stats(struct container_pool *pool, struct container_pool_stats *ret_stats);
/* Why the last one could not be made; "" where none failed. Any thread. */
void container_pool_trouble(struct container_pool *pool, struct error *ret_text);
