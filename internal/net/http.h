/*
 * The pooled transport: one share handle and one multi for everything that speaks to daemons, and
 * the managed stream, which is one request and its answer.
 *
 * A stream ends in every case (completed, closed by its owner, transport error, time-out, client
 * destroyed): on_end comes exactly once, at the bottom of a loop iteration, never from within a
 * call made here. After it the stream is gone, its transfer freed and its socket either back in
 * the pool or closed.
 *
 * Loop thread only.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/metrics.h"
#include "loop/loop.h"
#include "net/endpoint.h"

struct http_client;
struct http_target;
struct http_stream;

struct http_client_options {
    struct loop *loop;       /* borrowed */
    struct metrics *metrics; /* borrowed */
    uint32_t idle_total;     /* idle connections kept, all targets together */
    uint32_t idle_per_host;  /* the same for one target, and its concurrent calls; with several
                              * targets in use their limits are one sum */
    int64_t idle_timeout_ns;
    int64_t keepalive_ns;   /* TCP keep-alive; 0: off */
    uint32_t follows_limit; /* concurrent follows; 0: what the fd limit leaves */
    uint32_t opens_limit;   /* follows that may be without an answer at a time; at least 1 */
};

int http_client_create(const struct http_client_options *options, struct http_client **ret_client)
    __attribute__((warn_unused_result));
/* Ends all streams: their on_end runs in here. Nothing may be opened after it. Not from a callback.
 */
void http_client_shutdown(struct http_client *client);
/* Shuts down where that was not done, and closes all sockets. The targets must be gone. NULL is
 * ignored. */
void http_client_destroy(struct http_client *client);
struct loop *http_client_loop(const struct http_client *client);
/* While paused no bytes of follows are read; for back-pressure of up to a few seconds. */
void http_client_pause_follows(struct http_client *client, bool paused);

/* A daemon as the pool sees it. Must outlive its streams. */
int http_target_create(struct http_client *client, const struct endpoint *endpoint,
                       struct http_target **ret_target) __attribute__((warn_unused_result));
void http_target_destroy(struct http_target *target);

enum http_kind {
    HTTP_CALL,   /* short: slots per target, a time limit, read at once */
    HTTP_FOLLOW, /* long: paced reads, capped, opened few at a time, on a connection of its own */
    HTTP_EVENTS, /* long, read at once, not capped */
};

enum http_end {
    HTTP_COMPLETE,  /* the answer came whole */
    HTTP_CLOSED,    /* by its owner */
    HTTP_REFUSED,   /* no connection could be made */
    HTTP_BROKEN,    /* the connection or the answer broke off */
    HTTP_TIMED_OUT, /* timeout_ns passed */
    HTTP_NO_MEMORY,
    HTTP_SHUTDOWN, /* the client was destroyed */
};

struct http_result {
    enum http_end end;
    int status;       /* HTTP status; 0 when none came */
    const char *text; /* for people; valid within on_end */
};

struct http_stream_options {
    struct http_target *target;
    enum http_kind kind;
    const char *method; /* NULL: GET; copied like path */
    const char *path;   /* begins with a slash, encoded */
    const char *json;   /* a body to send, of JSON; NULL: none; copied */
    int64_t timeout_ns; /* HTTP_CALL: whole life, waiting included; others have none */
    /* The answer's head is complete. Optional. */
    void (*on_head)(struct http_stream *stream, int status, void *data);
    /* One header line of the answer, without its line end. Optional. */
    void (*on_header)(const char *line, size_t size, void *data);
    /* Bytes of the body; valid during the call. */
    void (*on_data)(struct http_stream *stream, const char *bytes, size_t size, void *data);
    void (*on_end)(const struct http_result *result, void *data);
    void *data;
};

/* Returns 0 or -ENOMEM; only after 0 does on_end come. */
int http_stream_open(struct http_client *client, const struct http_stream_options *options,
                     struct http_stream **ret_stream) __attribute__((warn_unused_result));
/* Legal at any time until on_end, in any callback, and more than once. NULL is ignored. No on_data
 * comes after it. */
void http_stream_close(struct http_stream *stream);

struct http_client_status {
    int64_t open, active, idle, waiting; /* connections; requests that wait for a slot */
    int64_t requests, errors;
    int64_t calls, calls_reused; /* those over a connection that was there */
};
void http_client_status(const struct http_client *client, struct http_client_status *ret_status);

/* Sockets that the client believes open, for the comparison with /proc/self/fd. */
size_t http_client_open_sockets(const struct http_client *client);
