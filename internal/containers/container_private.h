/* What the files of container_pool share. Nobody else includes this. Loop thread, but for what is marked. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "containers/container_pool.h"
#include "containers/owner.h"
#include "containers/reaper.h"
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
    CONTAINER_CREATING, /* until it has been started */
    CONTAINER_WAITING,  /* until it is ready */
    CONTAINER_READY,    /* the pool's, or somebody's */
    CONTAINER_RESETTING,
    CONTAINER_FAILED, /* its last lines are read */
    CONTAINER_REMOVING,
    CONTAINER_GONE
};

struct pooled_container;

/* One connection to a port: something is sent and its answer awaited, or it is seen to stay open. */
struct container_talk {
    struct dial dial;
    struct address_list addresses;
    struct conn conn;
    struct loop_fd source;
    struct loop_timer timer; /* its end; of silence: how long it is watched */
    const struct preset_talk *what;
    struct buf answer;
    size_t sent;
    void (*on_done)(struct container_talk *talk, int rc, const char *text);
};

/* Looks again and again whether a container is ready. */
struct container_readiness {
    struct loop_timer look_timer, deadline_timer;
    struct container_talk talk;
    struct http_target *target;
    struct http_call *call;
    struct docker_logs *logs;
    struct frames frames;
    unsigned looks;
    bool active;    /* on_done is to come */
    bool under_way; /* an exec, which can't be called off */
    int64_t timeout_ns;
    struct error trouble; /* what the last look saw */
    void (*on_done)(struct pooled_container *container, int rc, const char *text);
};

struct pooled_container {
    struct container view; /* first, so that the one is the other */
    struct list link;      /* in pool->containers */
    struct list queue;     /* in pool->to_reset or ->to_remove; under the pool's lock */
    struct container_pool *pool;
    struct pool_lease lease; /* whoever has the container has it */
    enum container_step step;
    bool reserved;   /* lease is a reservation */
    bool resource;   /* of the pool (struct pool) */
    bool given_back; /* which has destroyed it; under the pool's lock */
    unsigned calls;  /* that are under way */
    _Atomic bool dead;
    struct container_readiness readiness;
    struct container_talk reset_talk;
    struct buf log_text;           /* its last lines */
    struct loop_timer retry_timer; /* of a removal */
    int64_t begun_ns;              /* making, resetting */
    int64_t checked_ns;
    unsigned port_tries;
    char id[DOCKER_ID_SIZE];
    char name[CONTAINER_NAME_SIZE];
    char address[HOSTPORT_TEXT_SIZE];
};

struct container_pool {
    struct container_pool_options options;
    struct preset *preset;
    struct docker_client *docker;
    struct pool *pool;
    struct reaper *reaper;
    struct owner owner;
    struct reaping *reaping; /* what others left */
    struct list containers;
    struct loop_post post; /* the pool wants some, or something is in the queues */
    struct loop_timer tend_timer, close_timer, events_timer, check_timer;
    struct docker_events *events;
    bool events_seen; /* were open once */
    bool prepared, preparing, reaped;
    int64_t pulled_ns;               /* when the image could not be pulled; 0: it was not tried */
    struct error pull_trouble;       /* why */
    struct pool_lease prepare_lease; /* the reservation that the preparation is for */
    bool closing, destroyed;
    unsigned calls; /* all that are under way, those of containers included */
    unsigned serial;
    char network[CONTAINER_NAME_SIZE];
    char host[HOSTPORT_HOST_SIZE]; /* where the ports are reached */
    bool everywhere;               /* they are published on all addresses */
    bool far;                      /* it can't be tried here whether a port is free */
    char *docker_url;
    void (*on_closed)(size_t left, void *data);
    void *closed_data;

    pthread_mutex_t lock; /* of what follows */
    struct list to_reset, to_remove;
    bool begun;
    struct error trouble;

    _Atomic uint32_t resetting;
    struct metric made, failed, died, removed;
    struct metric_histogram make_seconds, reset_seconds;
};

/* ---- container_pool.c ---- */
void container_log(const struct container_pool *pool, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Making failed: for who waits, and for the pool's pauses. */
void container_give_up(struct container_pool *pool, struct pool_lease lease, int rc,
                       const char *text);
/* The pool's next step: make what is missing, or end what is closing. */
void container_pool_go_on(struct container_pool *pool);
/* Counts a call for a container when rc is 0; its callback begins with container_call_over(). */
int container_call(struct pooled_container *container, int rc) __attribute__((warn_unused_result));
void container_call_over(struct pooled_container *container);
/* The same for one of the pool. */
int container_pool_call(struct container_pool *pool, int rc) __attribute__((warn_unused_result));
void container_pool_call_over(struct container_pool *pool);
/* Frees a pool that was destroyed, when its last call has come back. */
void container_pool_release(struct container_pool *pool);

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

/* ---- container_talk.c ---- */
void container_talk_init(struct container_talk *talk, struct loop *loop,
                         void (*on_done)(struct container_talk *talk, int rc, const char *text));
/* on_done comes exactly once, perhaps from within the call. */
void container_talk_start(struct container_talk *talk, const struct container *container,
                          const struct preset_talk *what);
/* on_done will not come. */
void container_talk_stop(struct container_talk *talk);

/* ---- container_ready.c ---- */
void container_ready_init(struct pooled_container *container);
/* on_done comes exactly once, from the loop; rc other than 0 with what was seen last. */
void container_ready_start(struct pooled_container *container, int64_t timeout_ns,
                           void (*on_done)(struct pooled_container *container, int rc,
                                           const char *text));
/* on_done will not come. */
void container_ready_stop(struct pooled_container *container);

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
