/*
 * The bytes of a container's log, as the daemon sends them (see process/frames.h for their form),
 * always with timestamps. Loop thread only.
 */
#pragma once

#include "docker/docker_client.h"

struct docker_logs;

struct docker_logs_options {
    const char *id;
    bool follow;  /* go on with what is written from now on */
    bool probe;   /* a short call among the control calls, with a time limit of 3 s */
    int64_t tail; /* only the last so many lines of what is there; -1: all */
    void (*on_open)(void *data); /* the answer's head came with 200; optional */
    void (*on_data)(const char *bytes, size_t size, void *data);
    docker_done_fn on_end; /* exactly once; never within docker_logs_open() */
    void *data;
};

int docker_logs_open(struct docker_client *client, const struct docker_logs_options *options,
                     struct docker_logs **ret_logs) __attribute__((warn_unused_result));
/* No on_data after this; on_end with DOCKER_CLOSED soon. NULL is ignored. */
void docker_logs_close(struct docker_logs *logs);
