/* What the two ends of example_connection_pool share. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/option_flags.h"
#include "loop/loop.h"
#include "loop/task.h"
#include "net/tls.h"
#include "pools/netpool.h"

#define TIMEOUT_NS (INT64_C(20) * 1000000000)
#define ENDS_LIMIT 8 /* pools of one process */

struct options {
    char *role, *control, *strategy, *tls, *cert, *key, *ca, *allow, *metrics;
    struct text_list pool;
    uint64_t requests, threads, capacity, bytes;
};

/* A thread that runs a loop, in which the pools live. */
struct world {
    const struct options *options;
    struct loop *loop;
    struct metrics *metrics;
    struct exporter *exporter;
    struct httpd *httpd;     /* NULL: metrics are not shown */
    struct tls_context *tls; /* NULL: plain */
    struct loop_post stop;
    pthread_t thread;
    bool running;
};

/* The exit status of a role. */
int run_server(struct world *world);
int run_client(struct world *world);

/* ---- connection_pool.c ---- */
int world_start(struct world *world, struct error *error);
/* Ends the thread; the pools may be destroyed then. */
void world_stop(struct world *world);
int complain(const struct error *error);

/* All of it, waiting up to TIMEOUT_NS each time. 0, or a negative errno. */
int write_all(struct conn *conn, const void *bytes, size_t size);
int read_all(struct conn *conn, void *ret_bytes, size_t size);
/* What there is: bytes, 0 at the end, a negative errno. */
ssize_t read_some(struct conn *conn, void *ret_bytes, size_t size);
/* Blocking socket to HOST:PORT, or a listening one; negative errno with the reason. */
int connect_plain(const char *host_port, struct error *error);
