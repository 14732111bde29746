/* What pool_server is made of. Loop thread only. */
#pragma once

#include "backends_file.h"
#include "loop/timer.h"
#include "options.h"
#include "pools/relay.h"
#include "web/exporter.h"
#include "web/httpd.h"

struct server {
    struct options options;
    struct loop *loop;
    struct metrics *metrics;
    struct exporter *exporter;
    struct httpd *httpd;
    struct resolver *resolver;
    struct tls_context *client_tls, *backend_tls;
    struct upstream *upstream;
    struct relay *relay;
    int listen_fd;
    struct loop_timer report_timer, file_timer, drain_timer;
    struct backends_file_stamp stamp;
    bool draining;
    int64_t drain_end_ns;
    char *health_send;           /* with its escapes resolved */
    struct relay_stats reported; /* at the last line of metrics */
};

/* Listens and relays when it returns 0. The server is to be finished in any case. */
int server_start(struct server *server, struct error *error) __attribute__((warn_unused_result));
/* Until it was ended by a signal and has drained. */
int server_run(struct server *server) __attribute__((warn_unused_result));
void server_finish(struct server *server);

/* ---- admin.c ---- */
extern const struct httpd_route admin_routes[];
/* ---- report.c ---- */
/* A line of metrics for each pool and one for all. */
void report_metrics(struct server *server);
