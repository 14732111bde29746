/*
 * The managed stream of one container: reads its log from where `resume` stands, gives each new
 * line to its owner once, and ends exactly once.
 *
 * One interface, one const table per way in: the daemon's log API (stream_api.c), and files later.
 * Loop thread only.
 */
#pragma once

#include <stdbool.h>

#include "capture/resume.h"
#include "docker/docker_client.h"

enum stream_end {
    STREAM_COMPLETED, /* the source ended: container stopped, or all of it was read */
    STREAM_CLOSED,    /* by its owner */
    STREAM_ROTATED,   /* its maximal lifetime was over */
    STREAM_SILENT,    /* the idle probe found that it no longer delivers */
    STREAM_PAUSED,    /* closed because the spool takes nothing */
    STREAM_BROKEN,    /* transport error or broken answer */
    STREAM_PROTOCOL,  /* the bytes are no such log */
    STREAM_NO_MEMORY,
    STREAM_REFUSED, /* the daemon said no; see the outcome */
    STREAM_SHUTDOWN,
    STREAM_END_COUNT
};
/* For metrics: "completed", "closed" ... */
const char *stream_end_name(enum stream_end end);

struct stream;

struct stream_options {
    struct docker_client *client;
    const char *id; /* copied */
    bool tty;
    bool follow;   /* otherwise it completes at the log's present end */
    bool whole;    /* never ask for the last lines only: some daemons spin on that */
    bool from_now; /* nothing was recorded: skip what is there */
    size_t max_line_bytes;
    struct resume *resume; /* borrowed until on_end; moved on as lines are recorded */
    /* The daemon answers: from here on bytes may come. Also again, when more had to be asked for. */
    void (*on_open)(void *data);
    /* Takes one new line; 0, or a negative errno which ends the stream. Not called after close. */
    int (*on_record)(const struct record *record, void *data);
    /* A repetition of the daemon's was dropped. */
    void (*on_repeated)(void *data);
    /* Bytes came; called before their lines. */
    void (*on_bytes)(size_t size, void *data);
    /* The answer does not reach back to the last recorded line: lines may have been lost. */
    void (*on_gap)(const struct record *first, void *data);
    void (*on_daemon_error)(const char *text, size_t size, void *data);
    /* Exactly once, never within a call made here; the stream is gone after it. */
    void (*on_end)(enum stream_end end, const struct docker_outcome *outcome, void *data);
    void *data;
};

struct stream_type {
    const char *name;
    int (*open)(const struct stream_options *options, struct stream **ret_stream);
    void (*close)(struct stream *stream, enum stream_end why);
    /* The log is at its end: gives out last lines without newline. */
    void (*flush)(struct stream *stream);
    /* Whether a line of stdout (0), stderr (1) has begun and not ended. */
    bool (*is_open)(const struct stream *stream, int index);
};

struct stream {
    const struct stream_type *type;
};

extern const struct stream_type stream_api_type;

/* -ENOMEM. */
int stream_open(const struct stream_type *type, const struct stream_options *options,
                struct stream **ret_stream) __attribute__((warn_unused_result));
/* Ends it with `why`; idempotent, legal in any callback. NULL is ignored. */
void stream_close(struct stream *stream, enum stream_end why);
void stream_flush(struct stream *stream);
bool stream_is_open(const struct stream *stream, int index);
