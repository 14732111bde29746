/*
 * The phases: a timer in each thread looks twenty times a second how many clients the phase wants, starts
 * parked ones or retires some. The main thread takes what was measured each second.
 */
#include "bench.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/timestamp.h"
#include "echo.h"
#include "report.h"

#define PACE_NS (50 * NS_PER_MS)
#define READ_BYTES ((size_t)256 * 1024)
#define LOOK_NS (20 * NS_PER_MS)
#define FAILOVER_LOOKS 3000 /* a minute */
#define FAILOVER_CHECKS 2

const char *bench_error_name(enum bench_error error)
{
    static const char *const names[BENCH_ERRORS] = {"connect", "refused", "broken", "timeout",
                                                    "mismatch"};
    return names[error];
}

uint64_t bench_errors(const struct bench_counts *counts)
{
    uint64_t sum = 0;
    for (int i = 0; i < BENCH_ERRORS; i++) {
        sum += counts->errors[i];
    }
    return sum;
}

/* ---- phases ---- */

static uint32_t ramp(uint64_t most, int64_t part_ns, int64_t whole_ns)
{
    return whole_ns <= 0 ? (uint32_t)most
                         : (uint32_t)(most * (uint64_t)part_ns / (uint64_t)whole_ns);
}

uint32_t bench_wanted(const struct bench *bench, int64_t at_ns)
{
    const struct options *options = bench->options;
    uint64_t most = options->max_clients;
    if (options->load_test) {
        int64_t left = bench->length_ns - at_ns;
        return at_ns < options->ramp_up_ns    ? ramp(most, at_ns, options->ramp_up_ns)
               : left <= 0                    ? 0
               : left < options->ramp_down_ns ? ramp(most, left, options->ramp_down_ns)
                                              : (uint32_t)most;
    }
    bool middle = at_ns >= bench->length_ns / 3 && at_ns < bench->length_ns / 3 * 2;
    return (uint32_t)(options->spike && middle ? most : options->clients);
}

static int64_t length_of(const struct options *options)
{
    return options->load_test ? options->ramp_up_ns + options->test_ns + options->ramp_down_ns
                              : options->duration_ns;
}

/* This thread's part of so many. */
static uint32_t part_of(const struct bench_thread *thread, uint32_t count)
{
    uint32_t threads = (uint32_t)thread->bench->options->threads;
    return count / threads + (thread->index < count % threads ? 1 : 0);
}

static bool start_one(struct bench_thread *thread)
{
    if (list_empty(&thread->parked)) {
        return false;
    }
    client_start(client_of_link(thread->parked.next));
    return true;
}

static void handle_pace(struct loop_timer *timer, void *data)
{
    struct bench_thread *thread = data;
    struct bench *bench = thread->bench;
    uint32_t wanted = part_of(thread,
                              bench_wanted(bench, loop_now_ns(thread->loop) - bench->begun_ns));
    bool changing = bench->options->load_test || bench->options->spike;
    struct list *link;
    struct list *next;
    while (changing && thread->active_count < wanted && start_one(thread)) {
    }
    uint32_t surplus = thread->active_count > wanted ? thread->active_count - wanted : 0;
    list_for_each_safe(link, next, &thread->active)
    {
        if (surplus == 0) {
            break;
        }
        client_retire(client_of_link(link));
        surplus--;
    }
    loop_timer_arm(timer, PACE_NS);
}

/* ---- threads ---- */

static void destroy_clients(struct list *list)
{
    while (!list_empty(list)) {
        client_destroy(client_of_link(list->next));
    }
}

static void handle_stop(struct loop_post *post, void *data)
{
    (void)post;
    struct bench_thread *thread = data;
    loop_timer_disarm(&thread->pace);
    destroy_clients(&thread->active);
    destroy_clients(&thread->parked);
    loop_stop(thread->loop);
}

static void *run_thread(void *data)
{
    struct bench_thread *thread = data;
    uint32_t begin = part_of(thread, bench_wanted(thread->bench, 0));
    for (uint32_t i = 0; i < begin && start_one(thread); i++) {
    }
    loop_timer_arm(&thread->pace, PACE_NS);
    int rc = loop_run(thread->loop);
    (void)rc;
    return NULL;
}

static int prepare_thread(struct bench_thread *thread, uint32_t clients)
{
    list_init(&thread->active);
    list_init(&thread->parked);
    (void)pthread_mutex_init(&thread->lock, NULL);
    thread->buffer = malloc(READ_BYTES);
    int rc = thread->buffer == NULL ? -ENOMEM : loop_create(clock_real(), &thread->loop);
    if (rc != 0) {
        return rc;
    }
    loop_timer_init(thread->loop, &thread->pace, handle_pace, thread);
    loop_post_add(thread->loop, &thread->stop, handle_stop, thread);
    for (uint32_t i = 0; i < clients; i++) {
        if (client_create(thread, thread->index + i * (uint32_t)thread->bench->options->threads) ==
            NULL) {
            return -ENOMEM;
        }
    }
    return 0;
}

static int start_threads(struct bench *bench, struct error *error)
{
    const struct options *options = bench->options;
    bool changing = options->load_test || options->spike;
    uint32_t most = (uint32_t)(changing ? options->max_clients : options->clients);
    bench->threads = calloc(options->threads, sizeof(*bench->threads));
    int rc = bench->threads == NULL ? -ENOMEM : 0;
    for (unsigned i = 0; rc == 0 && i < options->threads; i++) {
        struct bench_thread *thread = &bench->threads[i];
        thread->bench = bench;
        thread->index = i;
        rc = prepare_thread(thread, part_of(thread, most));
    }
    atomic_store(&bench->left, most);
    bench->begun_ns = clock_monotonic_ns(clock_real());
    for (unsigned i = 0; rc == 0 && i < options->threads; i++) {
        struct bench_thread *thread = &bench->threads[i];
        rc = -pthread_create(&thread->thread, NULL, run_thread, thread);
        thread->running = rc == 0;
    }
    if (rc != 0) {
        error_set(error, "%s", strerror(-rc));
    }
    return rc;
}

static void stop_threads(struct bench *bench)
{
    for (unsigned i = 0; bench->threads != NULL && i < bench->options->threads; i++) {
        struct bench_thread *thread = &bench->threads[i];
        if (thread->running) {
            loop_post_send(&thread->stop);
            (void)pthread_join(thread->thread, NULL);
            thread->running = false;
        }
    }
}

/* ---- measuring ---- */

static void add_counts(struct bench_counts *to, const struct bench_counts *from)
{
    to->requests += from->requests;
    to->connections += from->connections;
    to->bytes += from->bytes;
    for (int i = 0; i < BENCH_ERRORS; i++) {
        to->errors[i] += from->errors[i];
    }
    histogram_merge(&to->latency, &from->latency);
    histogram_merge(&to->connect, &from->connect);
    histogram_merge(&to->first, &from->first);
}

/* What all threads measured since it was asked last. */
static uint32_t take_interval(struct bench *bench, struct bench_counts *ret_counts)
{
    uint32_t clients = 0;
    memset(ret_counts, 0, sizeof(*ret_counts));
    for (unsigned i = 0; i < bench->options->threads; i++) {
        struct bench_thread *thread = &bench->threads[i];
        (void)pthread_mutex_lock(&thread->lock);
        add_counts(ret_counts, &thread->interval);
        memset(&thread->interval, 0, sizeof(thread->interval));
        (void)pthread_mutex_unlock(&thread->lock);
        clients += thread->active_count;
    }
    return clients;
}

static int note_second(struct bench *bench, double at_s)
{
    static struct bench_counts counts;
    if (bench->second_count == bench->second_room) {
        size_t room = bench->second_room * 2 + 64;
        struct bench_second *seconds = realloc(bench->seconds, room * sizeof(*seconds));
        if (seconds == NULL) {
            return -ENOMEM;
        }
        bench->seconds = seconds;
        bench->second_room = room;
    }
    uint32_t clients = take_interval(bench, &counts);
    double begun_s = bench->second_count > 0 ? bench->seconds[bench->second_count - 1].at_s : 0;
    int third = (int)((begun_s + at_s) / 2 * 3 / ((double)bench->length_ns / 1e9));
    add_counts(&bench->thirds[third < 0 ? 0 : third > 2 ? 2 : third], &counts);
    bench->seconds[bench->second_count++] = (struct bench_second){
        .at_s = at_s,
        .length_s = at_s - begun_s,
        .clients = clients,
        .requests = counts.requests,
        .errors = bench_errors(&counts),
        .bytes = counts.bytes,
        .p50_ms = (double)histogram_percentile(&counts.latency, 50) / 1e6,
        .p99_ms = (double)histogram_percentile(&counts.latency, 99) / 1e6};
    return 0;
}

static void sum_up(struct bench *bench)
{
    for (unsigned i = 0; i < bench->options->threads; i++) {
        add_counts(&bench->total, &bench->threads[i].total);
    }
}

/* ---- a backend that goes and comes back ---- */

static int keep_failover(const struct bench *bench, int64_t at_ns, struct echo **echo,
                         struct error *error)
{
    bool gone = at_ns >= bench->length_ns / 3 && at_ns < bench->length_ns / 3 * 2;
    if (gone && *echo != NULL) {
        echo_stop(*echo);
        *echo = NULL;
    }
    if (!gone && *echo == NULL && bench->options->failover > 0) {
        return echo_start((uint16_t)bench->options->failover,
                          (unsigned)bench->options->echo_threads, echo, error);
    }
    return 0;
}

/* A relay takes a backend after some health checks, so these are waited for. */
static int await_relay(const struct echo *echo, struct error *error)
{
    for (int i = 0; i < FAILOVER_LOOKS; i++) {
        if (echo == NULL || echo_accepted(echo) >= FAILOVER_CHECKS) {
            return 0;
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
    }
    error_set(error,
              "the relay does not connect to the --failover port; is it one of its backends?");
    return -ETIMEDOUT;
}

/* ---- a run ---- */

/* The next full second; thirds that are told apart end an interval too. */
static int64_t next_look(const struct bench *bench, int64_t at_ns)
{
    bool thirds = bench->options->spike || bench->options->failover > 0;
    int64_t next = (at_ns / NS_PER_SECOND + 1) * NS_PER_SECOND;
    for (int third = 1; thirds && third <= 2; third++) {
        int64_t end = bench->length_ns / 3 * third;
        next = end > at_ns && end < next ? end : next;
    }
    return next;
}

static int watch(struct bench *bench, struct echo **echo, struct error *error)
{
    int64_t next = NS_PER_SECOND;
    int rc = 0;
    for (;;) {
        int64_t now = clock_monotonic_ns(clock_real());
        int64_t at = now - bench->begun_ns;
        bool over = at >= bench->length_ns || atomic_load(&bench->left) == 0 ||
                    atomic_load(&bench->stopping);
        if (at >= next || over) {
            next = next_look(bench, at);
            rc = note_second(bench, (double)at / 1e9);
            report_progress(bench);
        }
        rc = rc != 0 ? rc : keep_failover(bench, at, echo, error);
        if (over || rc != 0) {
            bench->elapsed_s = (double)at / 1e9;
            return rc;
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
    }
}

int bench_run(struct bench *bench, struct error *error)
{
    struct hostport hostport;
    struct echo *echo = NULL;
    int rc = hostport_parse(bench->options->server, &hostport, error);
    rc = rc != 0 ? rc : address_resolve(&hostport, &bench->addresses, error);
    bench->length_ns = length_of(bench->options);
    rc = rc != 0 ? rc : keep_failover(bench, 0, &echo, error);
    rc = rc != 0 ? rc : await_relay(echo, error);
    rc = rc != 0 ? rc : start_threads(bench, error);
    rc = rc != 0 ? rc : watch(bench, &echo, error);
    stop_threads(bench);
    if (rc == 0) {
        sum_up(bench);
    }
    echo_stop(echo);
    return rc;
}

void bench_finish(struct bench *bench)
{
    for (unsigned i = 0; bench->threads != NULL && i < bench->options->threads; i++) {
        struct bench_thread *thread = &bench->threads[i];
        if (thread->loop != NULL) {
            destroy_clients(&thread->active);
            destroy_clients(&thread->parked);
            loop_destroy(thread->loop);
            free(thread->buffer);
        }
    }
    free(bench->threads);
    free(bench->seconds);
}
