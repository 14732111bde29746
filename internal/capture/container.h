/*
 * One container: what is known of it, and the state machine that keeps its log read.
 *
 *            seen                 start            EOF              EOF
 *   (list, create, start) -> INSPECTING -> FOLLOWING -> CATCHING_UP -> WAITING
 *                               |              ^            |             |
 *                               |              `--running---'    start    |
 *                               v              ^--------------------------'
 *                     IGNORED, UNREADABLE
 *   RETRYING: after an error, until a timer; SUSPENDED: while the daemon is gone or the spool full.
 *
 * A follow that ended cleanly is always followed by a read up to the log's end (CATCHING_UP):
 * dockerd 20.10 ends a follow early when its container exits during the replay. Events never close
 * a stream: `die` may come before the last lines.
 *
 * Loop thread only. Private to this room.
 */
#pragma once

#include "base/json.h"
#include "base/map.h"
#include "capture/stream.h"
#include "docker/docker_containers.h"
#include "docker/docker_logs.h"
#include "loop/timer.h"
#include "process/frames.h"
#include "spool/spool.h"

struct capture_shared;

enum container_state {
    CONTAINER_INSPECTING,
    CONTAINER_IGNORED,    /* the filter, or ourselves */
    CONTAINER_UNREADABLE, /* its log driver can't be read (501) */
    CONTAINER_WAITING,    /* all is read; waits for a start */
    CONTAINER_FOLLOWING,
    CONTAINER_CATCHING_UP,
    CONTAINER_RETRYING,
    CONTAINER_SUSPENDED,
    CONTAINER_STATE_COUNT
};

/* The daemon's side, as its containers need it. */
struct container_host {
    struct capture_shared *shared;
    struct docker_client *client;
    struct map containers; /* by id */
    bool connected;        /* its events are heard and it was listed since */
    bool listed_once;      /* what comes now was made after the agent's start */
};

struct container {
    struct map_node node; /* in host->containers */
    struct container_host *host;
    char id[DOCKER_ID_SIZE];
    char *name;
    char *image;
    char *log_driver;
    bool tty;
    enum container_state state;
    uint64_t listed; /* round of the listing that named it last */

    bool running;                                         /* as events and listings say */
    bool started_again;                                   /* since the present stream began */
    bool started_while_inspecting, died_while_inspecting; /* what inspect says is older */
    bool has_run;                                         /* it may have written something */
    bool read_to_end; /* the last stream reached the end of the log */
    bool gone;        /* destroyed; goes when its log is read */
    bool known;       /* inspected: origin and source are there */
    bool inspecting;
    bool suspicious;   /* its log was truncated from outside: ask for the whole log only */
    bool skip_history; /* nothing recorded and nothing before now wanted */
    bool caught_up;    /* by the last read to the end, with no stream since */
    bool left_open;    /* it ended within a line, the last one if the container stopped */
    bool delivered;    /* bytes came since the idle timer looked */

    struct resume resume;
    struct spool_source source;
    struct spool_origin *origin;
    struct stream *stream;
    struct loop_timer retry_timer;
    struct loop_timer idle_timer;
    struct loop_timer lifetime_timer;
    unsigned failures;
    uint64_t lines, bytes, gaps;
    int64_t last_time_ns; /* of its last line */
    int64_t bytes_at_ns;  /* wall clock when the present bytes came */
    int64_t line_at_ns;   /* and when those of the last recorded line did */
    int64_t interval_ns;  /* moving mean of the time between two lines */
    bool live;            /* the present follow has caught up with the container */
    bool log_rotates;
    struct container_probe *probe;
};

/* New in host->containers; container_inspect() begins its work. NULL without memory. */
struct container *container_create(struct container_host *host, const char *id, const char *name,
                                   bool running);
/* Frees it now; its stream and calls must have ended. The position stays unless forget. */
void container_free(struct container *container, bool forget);

/* What a listing says of a known container. recheck: events may have been lost. */
void container_handle_listed(struct container *container, const struct docker_container *listed,
                             bool recheck);
void container_handle_start(struct container *container);
void container_handle_die(struct container *container);
void container_handle_rename(struct container *container, const char *name);
/* May free it. */
void container_handle_destroy(struct container *container);
/* Asks the daemon what it is, and goes on from there: after its creation, when it was renamed, when
 * the filter changed. */
void container_inspect(struct container *container);
/* Goes on after SUSPENDED. */
void container_resume(struct container *container);
/* Ends its stream with `why`, to be resumed later. */
void container_suspend(struct container *container, enum stream_end why);

const char *container_state_name(enum container_state state);
void container_put(const struct container *container, struct json_writer *writer);
