/*
 * A run of the bench: threads with clients, and what they measured. bench.c has the threads and the
 * phases, client.c one client.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/histogram.h"
#include "base/list.h"
#include "loop/loop.h"
#include "loop/task.h"
#include "loop/timer.h"
#include "net/address.h"
#include "options.h"

enum bench_error {
    BENCH_ERROR_CONNECT, /* no connection */
    BENCH_ERROR_REFUSED, /* closed before a byte of the answer: the relay's way of turning away */
    BENCH_ERROR_BROKEN,  /* closed in the middle of an answer */
    BENCH_ERROR_TIMEOUT, /* not answered in time */
    BENCH_ERROR_MISMATCH /* the answer is not what was sent */
};
#define BENCH_ERRORS 5
const char *bench_error_name(enum bench_error error);

/* What was measured; times in nanoseconds. */
struct bench_counts {
    uint64_t requests, connections, bytes;
    uint64_t errors[BENCH_ERRORS];
    struct histogram latency; /* of requests; of those on a schedule from when they were due */
    struct histogram connect; /* until the relay accepted */
    struct histogram first;   /* from connecting until the first answer, through to the backend */
};

/* A second of the run. */
/* What was measured from at_s - length_s to at_s. */
struct bench_second {
    double at_s, length_s; /* a second, or less at the end of a third and of the run */
    uint32_t clients;
    uint64_t requests, errors, bytes;
    double p50_ms, p99_ms;
};

struct bench;

struct bench_thread {
    struct bench *bench;
    struct loop *loop;
    struct loop_timer pace; /* starts and ends clients as the phase wants */
    struct loop_post stop;
    pthread_t thread;
    bool running;
    unsigned index;
    struct list active, parked; /* clients */
    _Atomic uint32_t active_count;
    char *buffer;         /* for reading */
    pthread_mutex_t lock; /* of what follows */
    struct bench_counts total;
    struct bench_counts interval; /* since the last second */
};

struct bench {
    const struct options *options;
    struct address_list addresses;
    struct bench_thread *threads;
    int64_t begun_ns, length_ns;
    _Atomic uint64_t left; /* clients that have requests left */
    _Atomic bool stopping;
    struct bench_second *seconds;
    size_t second_count, second_room;
    struct bench_counts total;
    struct bench_counts thirds[3]; /* of --spike and --failover */
    double elapsed_s;
    _Atomic int connect_errno; /* of the first connection that could not be made; 0: none */
};

/* Clients that a phase wants at this time of the run, all threads together. */
uint32_t bench_wanted(const struct bench *bench, int64_t at_ns);
/* Runs to its end. -EINVAL with the reason. */
int bench_run(struct bench *bench, struct error *error) __attribute__((warn_unused_result));
void bench_finish(struct bench *bench);
uint64_t bench_errors(const struct bench_counts *counts);

/* ---- client.c ---- */

struct client;
/* A parked client begins, or goes on; an active one is parked after its request. */
struct client *client_create(struct bench_thread *thread, uint32_t number);
void client_start(struct client *client);
void client_retire(struct client *client);
void client_destroy(struct client *client);
struct client *client_of_link(struct list *link);
