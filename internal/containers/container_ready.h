/* Waits until a container is ready. For the files of container_pool alone. Loop thread. */
#pragma once

#include "containers/container_talk.h"
#include "docker/docker_logs.h"
#include "process/frames.h"

struct pooled_container;

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

void container_ready_init(struct pooled_container *container);
/* on_done comes exactly once, from the loop; rc other than 0 with what was seen last. */
void container_ready_start(struct pooled_container *container, int64_t timeout_ns,
                           void (*on_done)(struct pooled_container *container, int rc,
                                           const char *text));
/* on_done will not come. */
void container_ready_stop(struct pooled_container *container);
