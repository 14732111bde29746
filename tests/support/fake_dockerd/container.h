/*
 * fake_container: one container and all that tests can do to it; fake_world: all of them, and
 * what was asked for on the command line. Nothing here knows of connections; a container only
 * keeps the list of the follows that are open on it, for logs.c. Single thread.
 */
#ifndef FAKE_CONTAINER_H
#define FAKE_CONTAINER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "fake_dockerd/history.h"
#include "fake_dockerd/text.h"

#define FAKE_ID_LEN 64
#define FAKE_CONTAINER_NAME_MAX 128

struct fake_follow;

enum fake_state { FAKE_CREATED, FAKE_RUNNING, FAKE_PAUSED, FAKE_EXITED };

/* How containers are made; the strings are borrowed, by fake_world for its whole life. */
struct fake_container_options {
    const char *image;
    const char *log_driver;
    uint64_t lines;
    uint64_t rate;
    uint64_t size;
    uint64_t stderr_every;
    uint64_t group;
    int64_t base_ns; /* of the history; 0: so that it ends now */
    int64_t step_ns; /* between two lines of the history */
    bool tty;
    bool stall_headers;
    struct fake_text labels; /* members of a JSON object: "k":"v","k2":"v2" */
};

struct fake_container {
    uint64_t index;
    char id[FAKE_ID_LEN + 1];
    char name[FAKE_CONTAINER_NAME_MAX + 1];      /* of docker; may be changed */
    char line_name[FAKE_CONTAINER_NAME_MAX + 1]; /* the first word of its lines; stays */
    char *image;
    char *log_driver;
    char *labels;
    bool tty;
    enum fake_state state;
    int exit_code;
    int restart_count;
    int64_t created_ns;
    int64_t started_ns;
    int64_t finished_ns;

    struct fake_history history;
    uint64_t rate;
    uint64_t size;
    uint64_t stderr_every;
    uint64_t group;
    int64_t clock_offset_ns;
    uint64_t rate_start_ns; /* monotonic */
    uint64_t rate_done;     /* lines since then */
    bool rate_open;         /* the last span is of the live rate and may be extended */

    bool silent;
    bool stall_headers;
    int logs_status; /* 0: no error is played */
    uint64_t logs_status_count;
    char *logs_body;
    LIST_HEAD(, fake_follow) follows;
};

struct fake_world {
    struct fake_container_options defaults;
    const char *name_prefix;
    struct fake_container **containers;
    size_t count;
    uint64_t next_index;
    struct fake_container **removed; /* destroyed, but still being read */
    size_t removed_count;
};

int64_t fake_now_ns(void); /* wall clock */
uint64_t fake_monotonic_ns(void);

void fake_world_finish(struct fake_world *world);
/* name NULL: prefix and index. The container is in state created, with its history. Borrowed. */
struct fake_container *fake_world_create(struct fake_world *world, const char *name,
                                         const struct fake_container_options *options);
/* Takes it out of the world; it lives on until the last follow of it has ended. */
void fake_world_remove(struct fake_world *world, struct fake_container *container);
/* Frees what is removed and no longer read. */
void fake_world_reap(struct fake_world *world);
/* By name, id, or beginning of the id of 12 characters or more; NULL. */
struct fake_container *fake_world_find(const struct fake_world *world, const char *reference);

bool fake_container_runs(const struct fake_container *container); /* or is paused */
const char *fake_container_state_name(const struct fake_container *container);
void fake_container_start(struct fake_container *container);
void fake_container_die(struct fake_container *container, int exit_code);
/* Adds lines with the time of now, as base_ns says nothing. */
void fake_container_emit(struct fake_container *container, struct fake_span_options options,
                         uint64_t lines);
/* Adds what the live rate has brought until now; returns whether there was anything. */
bool fake_container_tick(struct fake_container *container, uint64_t monotonic_ns);
void fake_container_set_rate(struct fake_container *container, uint64_t rate);
void fake_container_step_clock(struct fake_container *container, int64_t step_ns);

/* One item of /containers/json, and the answer of /containers/<id>/json. */
void fake_container_list_json(const struct fake_container *container, struct fake_text *out);
void fake_container_inspect_json(const struct fake_container *container, struct fake_text *out);

/* "2026-11-21T05:07:19.001862426Z", always 30 bytes. */
#define FAKE_TIME_LEN 30
void fake_format_time(int64_t time_ns, char out[FAKE_TIME_LEN + 1]);

#endif
