/*
 * Where a daemon listens: `unix:///var/run/docker.sock`, `tcp://host:2375`, `https://host:2376`.
 * A plain value; strings are within it. Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define ENDPOINT_PATH_SIZE 256

struct endpoint_tls {
    char ca[ENDPOINT_PATH_SIZE]; /* PEM files; empty: the system's authorities, no client cert */
    char cert[ENDPOINT_PATH_SIZE];
    char key[ENDPOINT_PATH_SIZE];
    bool insecure; /* encrypted, but the server's certificate is not verified */
};

struct endpoint {
    char url[ENDPOINT_PATH_SIZE];          /* as it was given, for messages */
    char unix_path[108];                   /* empty for TCP; 108 is sun_path of unix(7) */
    char base_url[ENDPOINT_PATH_SIZE + 8]; /* `http://host:port` without a final slash; TCP only */
    bool use_tls;
    bool direct; /* past any proxy of the environment; false from endpoint_parse() */
    struct endpoint_tls tls;
};

/* tls is NULL or copied. tcp:// with tls becomes https. -EINVAL with what is wrong and what would
 * be right in error. */
int endpoint_parse(const char *url, const struct endpoint_tls *tls, struct endpoint *ret_endpoint,
                   struct error *error) __attribute__((warn_unused_result));
