/*
 * The idle probe: asks a daemon for the last line of a log, to see whether a silent follow missed
 * it. Loop thread only. Private to this room.
 */
#pragma once

#include "docker/docker_client.h"

struct container_probe;

struct probe_result {
    bool inconclusive; /* the daemon refused or was gone: says nothing of the follow */
    bool found;        /* there is a line; the rest says which */
    uint8_t stream;
    int64_t time_ns;
};

typedef void (*probe_fn)(const struct probe_result *result, void *data);

struct container_probe_options {
    struct docker_client *client;
    const char *id;
    bool tty;
    probe_fn on_result; /* exactly once, after 3 s at the latest, never within the call */
    void *data;
};

int container_probe_start(const struct container_probe_options *options,
                          struct container_probe **ret_probe) __attribute__((warn_unused_result));
