/* What the files of container_pool share. Nobody else includes this. Loop thread, but for what is marked. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "containers/container_pool.h"
#include "containers/container_ready.h"
#include "containers/container_talk.h"
#include "containers/owner.h"
#include "containers/reaper.h"
#include "docker/docker_events.h"
#include "docker/docker_lifecycle.h"
#include "loop/task.h"
#include "loop/timer.h"
#include "pools/pool_make.h"

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
    bool nothing_left; /* of what it has made */
    unsigned calls;    /* all that are under way, those of containers included */
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
