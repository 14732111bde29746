/*
 * The HTTP server in the loop: GET and HEAD on a table of paths, by libmicrohttpd with an external
 * epoll set, no thread of its own. A hung loop makes a request hang, which is what a health check
 * wants to see.
 * Loop thread only.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/metrics.h"
#include "loop/loop.h"

struct httpd;

struct httpd_request {
    const char *path;
    const char *accept; /* header Accept, or "" */
};

struct httpd_response {
    unsigned status;          /* 200 unless changed */
    const char *content_type; /* "application/json" unless changed; static */
    struct buf body;
};

/* Fills the response. An error of it (a negative errno) becomes 500. */
typedef int (*httpd_handle_fn)(const struct httpd_request *request, struct httpd_response *response,
                               void *data);

struct httpd_route {
    const char *path;
    const char *help; /* one line for the index at / */
    httpd_handle_fn handle;
};

struct httpd_options {
    struct loop *loop;
    struct metrics *metrics;
    const char *listen; /* "127.0.0.1:8001", "[::1]:8001", ":8001" for all addresses */
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
