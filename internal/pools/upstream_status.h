/* What an upstream's backends are and have done. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct upstream;

struct backend_status {
    const char *name;   /* host:port */
    const char *state;  /* "up", "down", "ejected", "draining", "resolving" */
    const char *reason; /* why it is not up; "" else */
    uint32_t weight;
    uint32_t active;                    /* connections that use it */
    uint32_t idle;                      /* in its pool */
    uint64_t created, acquired, reused; /* connections of its pool */
    double lifetime_s;                  /* mean, of those that ended */
    uint64_t chosen, failures;
    uint64_t checks, check_failures;
    double connect_ms; /* smoothed; 0: none was measured */
};
/* The view ends with the call; called under the upstream's lock: it may not call back. Any thread. */
typedef void (*backend_status_fn)(const struct backend_status *status, void *data);
void upstream_status(struct upstream *upstream, backend_status_fn on_backend, void *data);
