/*
 * One daemon: where it listens, which API version is spoken, and what an answer means.
 * Docker Engine 19.03 (API 1.40) and later, and podman's compatible API.
 * Loop thread only.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "net/http_call.h"

#define DOCKER_ID_SIZE 65 /* 64 hexadecimal digits and a NUL */

struct docker_client;

enum docker_verdict {
    DOCKER_OK,
    DOCKER_NOT_FOUND,     /* 404 */
    DOCKER_CONFLICT,      /* 409: dead or being removed */
    DOCKER_NOT_SUPPORTED, /* 501: this log driver can't be read */
    DOCKER_REFUSED,       /* another 4xx: this request will not do, now or later */
    DOCKER_UNAVAILABLE,   /* no connection, 5xx, a broken or senseless answer: try again */
    DOCKER_CLOSED,        /* ended by us */
};

struct docker_outcome {
    enum docker_verdict verdict;
    int status;       /* HTTP status; 0: none */
    const char *text; /* for people: what failed and what helps; valid within the callback */
};

typedef void (*docker_done_fn)(const struct docker_outcome *outcome, void *data);

/* name is copied; http is borrowed. */
int docker_client_create(struct http_client *http, const char *name,
                         const struct endpoint *endpoint, struct docker_client **ret_client)
    __attribute__((warn_unused_result));
/* All its calls must have ended. NULL is ignored. */
void docker_client_destroy(struct docker_client *client);

const char *docker_client_name(const struct docker_client *client);
const char *docker_client_url(const struct docker_client *client);
/* From the last ping; "" before it. */
const char *docker_client_server(const struct docker_client *client);
/* The version spoken, such as "1.41"; "" before the first ping. */
const char *docker_client_api_version(const struct docker_client *client);
bool docker_client_api_at_least(const struct docker_client *client, unsigned major, unsigned minor);
bool docker_client_is_podman(const struct docker_client *client);

/* GET /_ping; negotiates the API version: the lower of the daemon's and ours. Also the health
 * check and the reaper of idle connections. Returns 0 or -ENOMEM; on_done comes after 0 only. */
int docker_ping(struct docker_client *client, docker_done_fn on_done, void *data)
    __attribute__((warn_unused_result));

struct loop *docker_client_loop(const struct docker_client *client);

/* ---- for the other files of this room ---- */

struct http_client *docker_client_http(const struct docker_client *client);
struct http_target *docker_client_target(const struct docker_client *client);
/* Writes `/v1.41<rest>`. */
void docker_client_path(const struct docker_client *client, const char *rest, char *ret_path,
                        size_t path_bytes);
/* message: the body's "message", or NULL. text is put into storage. */
struct docker_outcome docker_outcome_make(const struct docker_client *client, enum http_end end,
                                          int status, const char *message, struct error *storage);
