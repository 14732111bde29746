/*
 * Capture: finds the containers of all daemons and reads each one's log into the spool, every line
 * once. One monitor per daemon, one managed stream per container.
 * Loop thread only.
 */
#pragma once

#include <stdbool.h>

#include "base/json.h"
#include "docker/docker_client.h"
#include "process/filter.h"
#include "spool/spool.h"

struct capture;

struct capture_options {
    struct loop *loop;
    struct metrics *metrics;
    struct spool *spool; /* all borrowed for the capture's life */
    struct docker_client *const *daemons;
    size_t daemon_count;
    const struct filter *filter; /* borrowed until capture_set_filter() */
    const char *own_id;          /* of the container we run in; NULL or "": none */
    bool since_now;              /* a container seen first: skip what it wrote before */
    size_t max_line_bytes;
    int64_t relist_interval_ns;
    int64_t idle_probe_ns;          /* silence after which a follow is checked; 0: never */
    int64_t stream_max_lifetime_ns; /* 0: none */
    /* Stops and resumes the reading of all streams at their sockets. */
    void (*pause_reading)(bool paused, void *data);
    void *data;
};

/* 0 or -ENOMEM. Speaks to nobody yet. */
int capture_create(const struct capture_options *options, struct capture **ret_capture)
    __attribute__((warn_unused_result));
/* Begins to connect to the daemons. */
void capture_start(struct capture *capture);
/* No stream or call is begun after this; those under way end when the transport is shut down. */
void capture_stop(struct capture *capture);
/* After its streams and calls have ended. Positions stay in the spool. NULL is ignored. */
void capture_destroy(struct capture *capture);

/* The filter changed (its memory too): looks at every container again. */
void capture_set_filter(struct capture *capture, const struct filter *filter);
/* The spool takes nothing (true) or takes again (false): reading pauses, and after 3 s the streams
 * are closed, because dockerd holds 4,096 messages in memory for a reader that does not read. */
void capture_set_pressure(struct capture *capture, bool pressure);

/* Whether every daemon is connected and was listed. reason: NULL, or gets what is waited for. */
bool capture_is_ready(const struct capture *capture, struct error *reason);
/* Members of an open JSON array. */
void capture_put_daemons(const struct capture *capture, struct json_writer *writer);
void capture_put_containers(const struct capture *capture, struct json_writer *writer);
/* Streams that are open now. */
size_t capture_active_streams(const struct capture *capture);
