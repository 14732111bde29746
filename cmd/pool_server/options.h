/* The command line of pool_server. */
#pragma once

#include "base/option_flags.h"

struct options {
    uint64_t port;
    char *listen; /* "": all addresses, `port` */
    struct text_list backend;
    char *backends; /* a file, or "" */
    char *strategy;
    uint64_t max_connections, warm, workers, max_clients;
    char *reuse;
    int64_t idle_timeout_ns, session_timeout_ns, queue_timeout_ns, connect_timeout_ns;
    int64_t drain_timeout_ns, keep_alive_ns, slow_start_ns;
    int64_t health_interval_ns, health_timeout_ns;
    char *health_send, *health_expect;
    uint64_t eject_failures;
    int64_t eject_time_ns;
    bool proxy_header;
    char *tls_cert, *tls_key, *tls_client_ca;
    char *backend_tls, *backend_ca, *backend_cert, *backend_key;
    bool tls_12;
    char *metrics;
    char *log_format;
    bool debug;
};

extern const struct option_flags options_flags;

/* What the rows can't see each for itself. -EINVAL with the reason. */
int options_check(const struct options *options, struct error *error)
    __attribute__((warn_unused_result));
