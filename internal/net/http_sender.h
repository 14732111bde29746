/*
 * Requests with a body, from a thread of their own: what a sink sends through. A sender has its own
 * connections (kept alive, closed with it) and secrets, and any number of requests under way.
 *
 * One thread uses it; any other may read http_sender_sockets(). Redirects are not followed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct http_sender;

#define HTTP_SENDER_BODY_LIMIT 65536 /* of an answer; the rest is read and dropped */

struct http_sender_options {
    const char *url;               /* http or https; requests append their path to it */
    const char *username;          /* basic authentication; NULL or "": none */
    const char *password_file;     /* secrets are read again for each request; a file that */
    const char *bearer_token_file; /* others may read is refused */
    const char *ca, *cert, *key;   /* PEM files; NULL or "": the system's, none, none */
    bool insecure;                 /* the server's certificate is not checked */
    int64_t timeout_ns;            /* of a whole request */
};

struct http_sender_answer {
    int rc;           /* 0: an answer came; else a negative errno */
    int status;       /* HTTP status */
    const char *body; /* cut at HTTP_SENDER_BODY_LIMIT; valid within on_end */
    size_t body_bytes;
    int64_t retry_after_ns; /* header Retry-After; 0: none */
    const char *text;       /* for people where rc is not 0 */
};

struct http_sender_request {
    const char *path;           /* behind the URL; copied */
    const char *const *headers; /* "Name: value", ends with NULL; copied */
    const void *body;           /* borrowed until on_end */
    size_t body_bytes;
    void (*on_end)(const struct http_sender_answer *answer, void *data);
    void *data;
};

/* What can be wrong with the options before anything is opened: -EINVAL with the reason. */
int http_sender_check(const struct http_sender_options *options, struct error *error)
    __attribute__((warn_unused_result));
/* options' texts are borrowed for the sender's life. -EINVAL with the reason: options that make no
 * sense, a secret that can't be read or may be read by others. On the loop's thread. */
int http_sender_create(const struct http_sender_options *options, struct http_sender **ret_sender,
                       struct error *error) __attribute__((warn_unused_result));
/* Requests under way end without on_end. NULL is ignored. */
void http_sender_destroy(struct http_sender *sender);

/* A POST. on_end comes exactly once, from http_sender_poll(). Where it can't be begun, that comes as
 * its answer too. -ENOMEM: nothing was begun. */
int http_sender_start(struct http_sender *sender, const struct http_sender_request *request)
    __attribute__((warn_unused_result));
/* Moves what is under way, waiting at most timeout_ns for anything to happen, or for wake_fd to be
 * readable. */
void http_sender_poll(struct http_sender *sender, int64_t timeout_ns, int wake_fd);
/* Open sockets; any thread. */
size_t http_sender_sockets(const struct http_sender *sender);
