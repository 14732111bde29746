/*
 * Making containers, and ending them. Every on_done comes exactly once, after 0 was returned, and never from
 * within the call. Loop thread only.
 */
#pragma once

#include "docker/docker_client.h"
#include "docker/docker_containers.h"

#define DOCKER_PORTS_LIMIT 8

/* A port of the container on a port of the host. */
struct docker_port {
    const char *protocol; /* "tcp" or "udp" */
    const char *host_ip;  /* "127.0.0.1" */
    uint16_t container_port;
    uint16_t host_port; /* creating: 0 lets the daemon choose */
};

struct docker_spec {
    const char *name; /* NULL: the daemon chooses */
    const char *image;
    const char *const *command;     /* ends with NULL; NULL: the image's */
    const char *const *environment; /* "NAME=value"; ends with NULL; or NULL */
    const struct record_label *labels;
    size_t label_count;
    const struct docker_port *ports;
    size_t port_count;
    const char *network;   /* name or id; NULL: the default one */
    uint64_t memory_bytes; /* limit; 0: none */
    bool init;             /* an init process that reaps and passes signals on */
};

/* id is valid within the call; NULL unless the verdict is DOCKER_OK. DOCKER_NOT_FOUND: no such image. */
typedef void (*docker_created_fn)(const struct docker_outcome *outcome, const char *id, void *data);
int docker_create(struct docker_client *client, const struct docker_spec *spec,
                  docker_created_fn on_created, void *data) __attribute__((warn_unused_result));
int docker_start(struct docker_client *client, const char *id, docker_done_fn on_done, void *data)
    __attribute__((warn_unused_result));
/* SIGTERM, then SIGKILL after so many seconds; on_done comes when it has ended. */
int docker_stop(struct docker_client *client, const char *id, unsigned timeout_s,
                docker_done_fn on_done, void *data) __attribute__((warn_unused_result));
int docker_restart(struct docker_client *client, const char *id, unsigned timeout_s,
                   docker_done_fn on_done, void *data) __attribute__((warn_unused_result));
int docker_kill(struct docker_client *client, const char *id, const char *signal,
                docker_done_fn on_done, void *data) __attribute__((warn_unused_result));
/* Running or not, with its anonymous volumes. DOCKER_NOT_FOUND: it is gone already; DOCKER_CONFLICT:
 * somebody else removes it. */
int docker_remove(struct docker_client *client, const char *id, docker_done_fn on_done, void *data)
    __attribute__((warn_unused_result));

/* Until it has ended; no time limit of ours. */
typedef void (*docker_waited_fn)(const struct docker_outcome *outcome, int64_t exit_code,
                                 void *data);
int docker_wait(struct docker_client *client, const char *id, docker_waited_fn on_waited,
                void *data) __attribute__((warn_unused_result));

/* What inspect says beyond docker_inspect(); views that end with the call. */
struct docker_details {
    const char *id, *name, *ip; /* ip: of its (first) network; "" while it has none */
    enum docker_state state;
    bool running;
    int64_t exit_code;
    const char *error; /* why it could not be started; "" else */
    bool oom_killed;
    struct docker_port ports[DOCKER_PORTS_LIMIT]; /* published ones */
    size_t port_count;
};
/* -EINVAL with the reason. Pure. */
int docker_details_parse(const struct json *object, struct docker_details *ret_details,
                         struct error *error) __attribute__((warn_unused_result));
typedef void (*docker_details_fn)(const struct docker_outcome *outcome,
                                  const struct docker_details *details, void *data);
int docker_look(struct docker_client *client, const char *id, docker_details_fn on_details,
                void *data) __attribute__((warn_unused_result));

/* Runs a command in a running container and waits for its end, up to a minute; its output is dropped.
 * command ends with NULL. */
int docker_exec(struct docker_client *client, const char *id, const char *const *command,
                docker_waited_fn on_ended, void *data) __attribute__((warn_unused_result));
