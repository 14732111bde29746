/*
 * What a daemon says of its containers. Everything handed to a callback is a view that ends with
 * the callback. Loop thread only; the parsers are pure and may be called from anywhere.
 */
#pragma once

#include "base/json.h"
#include "base/record.h"
#include "docker/docker_client.h"

enum docker_state {
    DOCKER_STATE_UNKNOWN,
    DOCKER_STATE_CREATED,
    DOCKER_STATE_RUNNING, /* includes paused */
    DOCKER_STATE_RESTARTING,
    DOCKER_STATE_EXITED, /* includes dead and being removed */
};

struct docker_container {
    const char *id;    /* 64 hexadecimal digits */
    const char *name;  /* without the leading slash */
    const char *image; /* as it was named when the container was made */
    enum docker_state state;
    const struct record_label *labels;
    size_t label_count;
    bool tty;               /* inspect only, like what follows */
    const char *log_driver; /* "" when not said */
    bool log_rotates;       /* old lines go: max-size is set, or the driver's default does it */
};

/* Takes over what a JSON object of /containers/json or /containers/<id>/json says. Labels go to
 * storage, which must have room for label_limit; more are left out. -EINVAL with the reason when
 * it has no usable id. */
int docker_container_parse(const struct json *object, struct record_label *storage,
                           size_t label_limit, struct docker_container *ret_container,
                           struct error *error) __attribute__((warn_unused_result));

typedef void (*docker_list_fn)(const struct docker_outcome *outcome,
                               const struct docker_container *containers, size_t count, void *data);
/* All containers, stopped ones included. containers is NULL unless the verdict is DOCKER_OK. */
int docker_list(struct docker_client *client, docker_list_fn on_list, void *data)
    __attribute__((warn_unused_result));

/* The same for those that have the label (`key`, or `key=value`). */
int docker_list_labelled(struct docker_client *client, const char *label, docker_list_fn on_list,
                         void *data) __attribute__((warn_unused_result));

typedef void (*docker_inspect_fn)(const struct docker_outcome *outcome,
                                  const struct docker_container *container, void *data);
int docker_inspect(struct docker_client *client, const char *id, docker_inspect_fn on_inspect,
                   void *data) __attribute__((warn_unused_result));
