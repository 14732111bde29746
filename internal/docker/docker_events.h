/*
 * The daemon's event stream, container events only. Loop thread only; docker_event_parse() is pure.
 */
#pragma once

#include "base/json.h"
#include "docker/docker_client.h"

enum docker_action {
    DOCKER_ACTION_OTHER, /* exec, health, top, attach ...: nothing to a log reader */
    DOCKER_ACTION_CREATE,
    DOCKER_ACTION_START,
    DOCKER_ACTION_DIE,
    DOCKER_ACTION_PAUSE,
    DOCKER_ACTION_UNPAUSE,
    DOCKER_ACTION_RENAME,
    DOCKER_ACTION_DESTROY, /* podman says remove */
};

struct docker_event {
    enum docker_action action;
    const char *id;   /* of the container */
    const char *name; /* its name, after a rename the new one; "" when not said */
    int64_t time_s;   /* of the daemon's clock, since 1970 UTC; 0 when not said */
};

/* -EINVAL when it is not a container's event. Views into `object`. */
int docker_event_parse(const struct json *object, struct docker_event *ret_event,
                       struct error *error) __attribute__((warn_unused_result));

struct docker_events;

struct docker_events_options {
    int64_t since_s; /* replay from then on, inclusive; 0: from now. The daemon keeps 256 events */
    void (*on_open)(void *data); /* the daemon listens: what happens from now on will be told */
    void (*on_event)(const struct docker_event *event, void *data);
    /* text says what in the stream could not be read. */
    void (*on_bad_event)(const char *text, void *data);
    docker_done_fn on_end; /* exactly once */
    void *data;
};

int docker_events_open(struct docker_client *client, const struct docker_events_options *options,
                       struct docker_events **ret_events) __attribute__((warn_unused_result));
/* on_end comes soon. NULL is ignored. */
void docker_events_close(struct docker_events *events);

/* ---- the splitter, shown for tests and fuzzing ---- */

struct docker_event_reader {
    struct buf line;
    void (*on_event)(const struct docker_event *event, void *data);
    void (*on_bad_event)(const char *text, void *data);
    void *data;
    bool skipping; /* the rest of a line that was too long */
};
void docker_event_reader_init(struct docker_event_reader *reader);
void docker_event_reader_feed(struct docker_event_reader *reader, const char *bytes, size_t size);
void docker_event_reader_finish(struct docker_event_reader *reader);
