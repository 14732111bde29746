/* One call to a daemon whose answer is JSON, or nothing; for the typed calls of this room. Loop thread only. */
#pragma once

#include "base/json.h"
#include "docker/docker_client.h"

/* answer is the parsed body, or NULL where there is none; a view that ends with the call. */
typedef void (*docker_call_fn)(const struct docker_outcome *outcome, const struct json *answer,
                               void *data);

struct docker_call {
    const char *method; /* NULL: GET */
    const char *rest;   /* path behind the version: "/containers/json?all=1" */
    const char *json;   /* body, or NULL */
    int64_t timeout_ns; /* 0: 30 s */
    size_t limit_bytes; /* of the answer; 0: 4 MiB */
    bool lines;         /* the answer is a stream of objects: the last one is handed over */
    docker_call_fn on_done;
    void *data;
};

/* Returns 0 or -ENOMEM; only after 0 does on_done come: exactly once, and not within this call. */
int docker_call_start(struct docker_client *client, const struct docker_call *call)
    __attribute__((warn_unused_result));

/* Appends text as it may stand in an address behind '?' (RFC 3986 section 2.3). */
int docker_call_append_encoded(struct buf *out, const char *text)
    __attribute__((warn_unused_result));
/* Appends the argument `filters` for objects that have this label: "key" or "key=value". */
int docker_call_append_label_filter(struct buf *rest, const char *label)
    __attribute__((warn_unused_result));
/* A member that is a list of texts, which ends with NULL; nothing where texts is NULL. */
void docker_call_put_texts(struct json_writer *writer, const char *key, const char *const *texts);
