/* The command line of pool_bench. */
#pragma once

#include "base/option_flags.h"

struct options {
    char *server;
    uint64_t clients, requests, size_bytes, threads;
    int64_t duration_ns, pause_ns, timeout_ns;
    uint64_t rate;
    bool reuse;
    bool load_test, spike;
    uint64_t max_clients;
    int64_t ramp_up_ns, test_ns, ramp_down_ns;
    uint64_t failover; /* port, or 0 */
    uint64_t echo;     /* port, or 0 */
    uint64_t echo_threads;
    char *json, *plot;
    bool quiet;
};

extern const struct option_flags options_flags;

/* What the rows can't see each for itself, and what follows from them. -EINVAL with the reason. */
int options_check(struct options *options, struct error *error) __attribute__((warn_unused_result));
