/*
 * The HTTP server in the loop: a table of methods and paths, by libmicrohttpd with an external epoll
 * set, no thread of its own. A hung loop makes a request hang, which is what a health check wants to
 * see. A request that changes something is refused when a browser sent it for another site's page
 * (it has an Origin); arguments stand in the address, bodies are of no interest.
 * Loop thread only.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/list.h"
#include "base/metrics.h"
#include "loop/loop.h"

struct httpd;

struct MHD_Connection;

struct httpd_request {
    const char *method;
    const char *path;
    const char *accept;                /* header Accept, or "" */
    struct MHD_Connection *connection; /* for httpd_request_arguments() */
};

/* One argument behind '?', decoded; both live as long as the request. value is "" where there is no
 * '='. A result other than 0 ends the walk. */
typedef int (*httpd_argument_fn)(const char *key, const char *value, void *data);
/* Hands over the arguments in their order; returns what the last call returned. */
int httpd_request_arguments(const struct httpd_request *request, httpd_argument_fn take,
                            void *data);

/*
 * An answer whose end is open, embedded in its owner, who hands it over in a response. It is sent in
 * chunks, as fast as the client takes them: nothing is read ahead.
 */
struct httpd_stream {
    /* Writes at most `size` bytes and returns their number; 0 when there are none now, until
     * httpd_stream_wake(); a negative number ends the answer. */
    ssize_t (*read)(struct httpd_stream *stream, char *ret_bytes, size_t size);
    /* Exactly once: the client is gone, the answer ended, the server stops, or it never began. The
     * stream is its owner's again. */
    void (*on_end)(struct httpd_stream *stream);

    /* the server's */
    struct list link;
    struct httpd *httpd;
    struct MHD_Connection *connection;
    struct loop_fd watch; /* tells that the client went while nothing was sent */
    bool suspended, gone;
};

/* There is something to read. Not from within `read`. */
void httpd_stream_wake(struct httpd_stream *stream);

struct httpd_response {
    unsigned status;          /* 200 unless changed */
    const char *content_type; /* "application/json" unless changed; static */
    struct buf body;
    struct httpd_stream *stream; /* set: sent instead of the body */
    struct httpd_later *later;   /* set: there is no answer yet, and nothing else counts */
};

/*
 * An answer that comes later, embedded in its owner, who hands it over in a response. It is either
 * given with httpd_later_answer(), or on_gone comes: the client is gone, or the server stops.
 */
struct httpd_later {
    void (*on_gone)(struct httpd_later *later);

    /* the server's */
    struct list link;
    struct httpd *httpd;
    struct MHD_Connection *connection;
    struct httpd_pending *pending;
    struct loop_fd watch;
};

/* Sends the answer; body is copied. The request is over then. Not from within the handler. */
void httpd_later_answer(struct httpd_later *later, unsigned status, const struct buf *body);
/* The same with an open end. The stream's on_end comes even where it was never begun. */
void httpd_later_stream(struct httpd_later *later, struct httpd_stream *stream);

/* {"error":text} as the body. */
int httpd_put_error(struct buf *body, const char *text) __attribute__((warn_unused_result));

/* Fills the response. An error of it (a negative errno) becomes 500. */
typedef int (*httpd_handle_fn)(const struct httpd_request *request, struct httpd_response *response,
                               void *data);

struct httpd_route {
    const char *path;
    const char *help; /* one line for the index at / */
    httpd_handle_fn handle;
    const char *method; /* NULL: GET, and HEAD */
};

struct httpd_options {
    struct loop *loop;
    struct metrics *metrics;
    const char *listen; /* "127.0.0.1:8001", "[::1]:8001", ":8001" for all addresses, or
                         * "unix:/path" for a socket that only its owner may use */
    const struct httpd_route *routes; /* ends with a NULL path; borrowed */
    void *data;
};

/* Listens when it returns 0. -EINVAL for an address that makes no sense, else why it can't be
 * listened on, with the remedy in error. */
int httpd_create(const struct httpd_options *options, struct httpd **ret_httpd, struct error *error)
    __attribute__((warn_unused_result));
void httpd_destroy(struct httpd *httpd);
/* The port it listens on, for `:0`. */
uint16_t httpd_port(const struct httpd *httpd);
