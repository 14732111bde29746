/* What the files of container_pool share. Nobody else includes this. Loop thread, but for what is marked. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "containers/container_pool.h"
#include "containers/owner.h"
#include "docker/docker_events.h"
#include "docker/docker_lifecycle.h"
#include "docker/docker_logs.h"
#include "loop/task.h"
#include "loop/timer.h"
#include "net/dial.h"
#include "pools/pool_make.h"
#include "process/frames.h"

#define CONTAINER_NAME_SIZE 80

enum container_step {
    CONTAINER_CREATING,
    CONTAINER_STARTING,
    CONTAINER_WAITING, /* until it is ready */
    CONTAINER_READY,   /* the pool's, or somebody's */
    CONTAINER_RESETTING,
    CONTAINER_REMOVING
};

/* Looks again and again whether a container is ready. */
struct container_readiness {
    struct loop_timer timer; /* the next look; also how long an accepted connection is kept */
    struct loop_timer deadline;
    struct dial dial;
    struct conn conn;
    struct http_target *target;
    struct http_call *call;
    struct docker_logs *logs;
    struct frames *frames;
    unsigned looks;
    bool active, under_way;
    void (*on_done)(struct container_readiness *readiness, int rc, const char *text);
};

struct pooled_container {
    struct container view; /* first, so that the one is the other */
    struct list link;      /* in pool->containers */
    struct list queue;     /* in pool->to_reset or ->to_remove; under the pool's lock */
    struct container_pool *pool;
    struct pool_lease lease; /* whoever has the container has it */
    enum container_step step;
    bool owned; /* the pool (struct pool) has it as a resource */
    _Atomic bool dead;
    struct container_readiness readiness;
    struct frames *log_frames; /* while its last lines are read */
    struct buf log_text;
    struct loop_timer retry_timer; /* of a removal */
    int64_t begun_ns;
    unsigned port_tries;
    int failed_rc;
    struct error failed;
    char id[DOCKER_ID_SIZE];
    char name[CONTAINER_NAME_SIZE];
    char host[HOSTPORT_HOST_SIZE];
    char address[HOSTPORT_TEXT_SIZE];
};

enum container_image { IMAGE_UNKNOWN, IMAGE_LOOKING, IMAGE_THERE };

struct container_pool {
    struct container_pool_options options;
    struct docker_client *docker;
    struct pool *pool;
    struct reaper *reaper;
    struct list containers;
    struct loop_post post; /* the pool wants some, or there is something in the queues */
    struct loop_timer tend_timer, close_timer, events_timer;
    struct docker_events *events;
    enum container_image image;
    bool prepared, preparing; /* daemon, left-overs, image, network */
    bool closing;
    unsigned next_number;
    char network[CONTAINER_NAME_SIZE];
    char host[HOSTPORT_HOST_SIZE];
    bool host_is_remote;
    struct owner owner;
    char *docker_url;
    void (*on_closed)(size_t left, void *data);
    void *closed_data;

    pthread_mutex_t lock; /* of what follows */
    struct list to_reset, to_remove;
    bool begun;
    struct error trouble;

    struct metric made, failed, died, removed, resets, taken_now;
    struct metric_histogram make_seconds, reset_seconds;
};

/* ---- container_pool.c ---- */
void container_log(const struct container_pool *pool, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void container_note_trouble(struct container_pool *pool, const char *text);
/* The pool's next step: make what is missing, or end what is closing. */
void container_pool_go_on(struct container_pool *pool);

/* ---- container_make.c ---- */
/* Daemon, left-overs of others, image, network; then containers. */
void container_prepare(struct container_pool *pool);
void container_make(struct container_pool *pool, struct pool_lease lease);

/* ---- container_ready.c ---- */
void container_ready_init(struct pooled_container *container,
                          void (*on_done)(struct container_readiness *readiness, int rc,
                                          const char *text));
void container_ready_start(struct pooled_container *container, int64_t timeout_ns);
void container_ready_stop(struct container_readiness *readiness);

/* ---- container_end.c ---- */
void container_reset(struct pooled_container *container);
/* Removes it, however long that takes; then it is gone. */
void container_remove(struct pooled_container *container);
/* Reads its last lines into log_text, then calls on_read. */
void container_read_logs(struct pooled_container *container,
                         void (*on_read)(struct pooled_container *container));
