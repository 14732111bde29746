/*
 * The workers' lives, and what they have done.
 */
#include "pools/relay.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/str.h"
#include "base/timestamp.h"
#include "pools/relay_session.h"

#define QUEUE_TIMEOUT_NS (5 * NS_PER_SECOND)
#define CLIENT_TLS_TIMEOUT_NS (5 * NS_PER_SECOND)
#define TEND_NS NS_PER_SECOND
#define PIPE_IDLE_NS NS_PER_SECOND
#define PIPES_LIMIT 256U      /* of each worker */
#define OTHER_DESCRIPTORS 128 /* of the rest of the process */
#define WORKERS_LIMIT 64

/* ---- workers ---- */

static void end_sessions(struct relay_worker *worker)
{
    while (!list_empty(&worker->sessions)) {
        relay_session_end(container_of(worker->sessions.next, struct relay_session, link),
                          RELAY_END_STOPPED);
    }
}

static void handle_wake(struct loop_post *post, void *data)
{
    (void)post;
    struct relay_worker *worker = data;
    relay_stop_listening(worker);
    if (atomic_load(&worker->relay->stopping)) {
        relay_handle_inbox(&worker->inbox, worker);
        end_sessions(worker);
        loop_timer_disarm(&worker->tend_timer);
        loop_stop(worker->loop);
    }
}

static void handle_tend(struct loop_timer *timer, void *data)
{
    struct relay_worker *worker = data;
    (void)pool_tend(worker->pipes);
    for (struct list *link = worker->sessions.next; link != &worker->sessions; link = link->next) {
        relay_session_tend(container_of(link, struct relay_session, link));
    }
    loop_timer_arm(timer, TEND_NS);
}

static void *run_worker(void *data)
{
    struct relay_worker *worker = data;
    int rc = loop_run(worker->loop);
    (void)rc; /* only epoll itself can fail here, and then nothing helps */
    return NULL;
}

static int start_thread(struct relay_worker *worker, unsigned index)
{
    sigset_t all;
    sigset_t before;
    char name[32];
    (void)sigfillset(&all); /* SIGPIPE too: splice(2) raises it */
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = -pthread_create(&worker->thread, NULL, run_worker, worker);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    worker->running = rc == 0;
    if (worker->running) {
        (void)snprintf(name, sizeof(name), "relay-%u", index);
        (void)pthread_setname_np(worker->thread, name);
    }
    return rc;
}

static int create_worker(struct relay *relay, struct relay_worker *worker, unsigned index)
{
    char name[96];
    worker->relay = relay;
    worker->accept_budget = 1;
    list_init(&worker->sessions);
    list_init(&worker->handed);
    list_init(&worker->placed_list);
    (void)pthread_mutex_init(&worker->inbox_lock, NULL);
    (void)snprintf(name, sizeof(name), "%s/pipes-%u", relay->name, index);
    worker->buffer = malloc(RELAY_BUFFER_BYTES);
    int rc = worker->buffer == NULL ? -ENOMEM : loop_create(clock_real(), &worker->loop);
    rc = rc != 0 ? rc : pool_mailbox_create(worker->loop, &worker->mailbox);
    rc = rc != 0 ? rc
                 : pool_create(&(struct pool_options){.name = name,
                                                      .type = &relay_pipe_type,
                                                      .max = PIPES_LIMIT,
                                                      .idle_limit_ns = PIPE_IDLE_NS,
                                                      .check_idle_ns = -1},
                               &worker->pipes, NULL);
    if (rc == 0 && relay->options.metrics != NULL) {
        rc = pool_register_metrics(worker->pipes, relay->options.metrics);
    }
    if (rc != 0) {
        return rc;
    }
    loop_fd_init(&worker->listener, relay_handle_connections, worker);
    loop_post_add(worker->loop, &worker->wake, handle_wake, worker);
    loop_post_add(worker->loop, &worker->inbox, relay_handle_inbox, worker);
    loop_post_add(worker->loop, &worker->placed, relay_handle_placed, worker);
    loop_timer_init(worker->loop, &worker->tend_timer, handle_tend, worker);
    loop_timer_init(worker->loop, &worker->pause_timer, relay_handle_pause, worker);
    loop_timer_arm(&worker->tend_timer, TEND_NS);
    int listens = relay_listen(worker);
    (void)atomic_fetch_add(&relay->listening, listens == 0);
    return listens;
}

static void destroy_worker(struct relay_worker *worker)
{
    if (worker->handed.next != NULL) {
        relay_refuse_handed(worker);
    }
    if (worker->loop != NULL) {
        loop_fd_remove(&worker->listener);
    }
    pool_destroy(worker->pipes);
    pool_mailbox_destroy(worker->mailbox);
    loop_destroy(worker->loop);
    free(worker->buffer);
}

/* ---- metrics ---- */

const char *relay_refusal_name(enum relay_refusal why)
{
    static const char *const names[RELAY_REFUSALS] = {"limit", "no_backend", "queue",
                                                      "tls",   "fault",      "gone"};
    return names[why];
}

static uint64_t read_counter(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void relay_get_stats(const struct relay *relay, struct relay_stats *ret_stats)
{
    *ret_stats = (struct relay_stats){.clients = atomic_load(&relay->clients)};
    for (unsigned i = 0; i < relay->options.workers; i++) {
        const struct relay_counters *counters = &relay->workers[i].counters;
        ret_stats->accepted += read_counter(&counters->accepted);
        ret_stats->relayed += read_counter(&counters->relayed);
        ret_stats->cut += read_counter(&counters->cut);
        ret_stats->kept += read_counter(&counters->kept);
        ret_stats->bytes[0] += read_counter(&counters->bytes[0]);
        ret_stats->bytes[1] += read_counter(&counters->bytes[1]);
        ret_stats->spliced_bytes += read_counter(&counters->spliced);
        for (int why = 0; why < RELAY_REFUSALS; why++) {
            ret_stats->refused[why] += read_counter(&counters->refused[why]);
        }
    }
}

bool relay_is_over(const struct relay *relay)
{
    return atomic_load(&relay->listening) == 0 && atomic_load(&relay->clients) == 0;
}

uint32_t relay_max_clients(const struct relay *relay)
{
    return relay->options.max_clients;
}

/* One counter of all workers together. */
static int64_t read_sum(void *data)
{
    const struct relay_reader *reader = data;
    uint64_t sum = 0;
    for (unsigned i = 0; i < reader->relay->options.workers; i++) {
        const char *counters = (const char *)&reader->relay->workers[i].counters;
        sum += read_counter((const void *)(counters + reader->offset));
    }
    return (int64_t)sum;
}

static int64_t read_clients(void *data)
{
    return atomic_load(&((struct relay *)data)->clients);
}

/* A series of the workers' counter at `offset`. */
static int add_sum(struct relay *relay, size_t at, size_t offset, struct metric_desc desc)
{
    struct relay_reader *reader = &relay->readers[at];
    *reader = (struct relay_reader){.relay = relay, .offset = offset};
    desc.read = read_sum;
    desc.data = reader;
    return metrics_add(relay->options.metrics, &reader->metric, &desc);
}

static int add_refusals(struct relay *relay)
{
    struct buf labels;
    int rc = 0;
    buf_init(&labels, 0);
    for (size_t i = 0; rc == 0 && i < RELAY_REFUSALS; i++) {
        buf_clear(&labels);
        rc = metrics_append_label(&labels, "reason", relay_refusal_name((enum relay_refusal)i));
        const char *text = buf_terminated(&labels);
        rc = rc != 0 || text == NULL
                 ? -ENOMEM
                 : add_sum(relay, i,
                           offsetof(struct relay_counters, refused) + i * sizeof(uint64_t),
                           (struct metric_desc){.name = "log_capturer_relay_refused_total",
                                                .help = "Clients turned away, by reason.",
                                                .labels = text});
    }
    buf_finish(&labels);
    return rc;
}

static int register_metrics(struct relay *relay)
{
    const struct {
        size_t offset;
        const char *name, *help, *labels;
    } rows[] = {
        {offsetof(struct relay_counters, accepted), "log_capturer_relay_accepted_total",
         "Clients accepted.", NULL},
        {offsetof(struct relay_counters, relayed), "log_capturer_relay_relayed_total",
         "Clients that were given a backend.", NULL},
        {offsetof(struct relay_counters, cut), "log_capturer_relay_cut_total",
         "Of these, those that ended by an error or a time-out.", NULL},
        {offsetof(struct relay_counters, kept), "log_capturer_relay_kept_total",
         "Backend connections that went back to their pool when their client left.", NULL},
        {offsetof(struct relay_counters, bytes[0]), "log_capturer_relay_bytes_total",
         "Bytes relayed.", "direction=\"from_clients\""},
        {offsetof(struct relay_counters, bytes[1]), "log_capturer_relay_bytes_total",
         "Bytes relayed.", "direction=\"to_clients\""},
        {offsetof(struct relay_counters, spliced), "log_capturer_relay_spliced_bytes_total",
         "Of these, bytes that did not enter the process.", NULL},
    };
    int rc = add_refusals(relay);
    for (size_t i = 0; rc == 0 && i < sizeof(rows) / sizeof(rows[0]); i++) {
        rc = add_sum(relay, RELAY_REFUSALS + i, rows[i].offset,
                     (struct metric_desc){
                         .name = rows[i].name, .help = rows[i].help, .labels = rows[i].labels});
    }
    return rc != 0 ? rc
                   : metrics_add(relay->options.metrics, &relay->clients_now,
                                 &(struct metric_desc){.type = METRIC_GAUGE,
                                                       .name = "log_capturer_relay_clients",
                                                       .help = "Clients connected.",
                                                       .read = read_clients,
                                                       .data = relay});
}

/* ---- life ---- */

static uint32_t default_max_clients(void)
{
    struct rlimit limit = {0};
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    rlim_t files = limit.rlim_cur > 1000000 ? 1000000 : limit.rlim_cur;
    rlim_t others = OTHER_DESCRIPTORS + files / 32; /* pipes, idle backend connections */
    return files > others + 2 ? (uint32_t)((files - others) / 2) : 1;
}

static int check_options(const struct relay_options *options, struct error *error)
{
    if (options->workers == 0 || options->workers > WORKERS_LIMIT) {
        error_set(error, "workers must be 1 to %d", WORKERS_LIMIT);
        return -EINVAL;
    }
    if (options->proxy_header && options->reuse == RELAY_REUSE_CLEAN) {
        error_set(error, "a backend connection that is used again can't carry the PROXY header of "
                         "each of its clients: choose one of the two");
        return -EINVAL;
    }
    return 0;
}

static void set_listener(const struct relay_options *options)
{
    /* Inherited by what is accepted. */
    struct conn listener = {.fd = options->listen_fd};
    conn_keep_alive(&listener, 60 * NS_PER_SECOND);
}

static struct relay *create(const struct relay_options *options)
{
    size_t size = sizeof(struct relay_worker) * options->workers;
    struct relay *relay = calloc(1, sizeof(*relay));
    if (relay == NULL) {
        return NULL;
    }
    relay->workers = aligned_alloc(64, size);
    if (relay->workers == NULL) {
        free(relay);
        return NULL;
    }
    memset(relay->workers, 0, size);
    relay->options = *options;
    (void)str_copy(relay->name, sizeof(relay->name), options->name);
    struct relay_options *own = &relay->options;
    own->max_clients = own->max_clients > 0 ? own->max_clients : default_max_clients();
    own->queue_timeout_ns = own->queue_timeout_ns > 0 ? own->queue_timeout_ns : QUEUE_TIMEOUT_NS;
    own->client_tls_timeout_ns = own->client_tls_timeout_ns > 0 ? own->client_tls_timeout_ns
                                                                : CLIENT_TLS_TIMEOUT_NS;
    return relay;
}

int relay_create(const struct relay_options *options, struct relay **ret_relay, struct error *error)
{
    int rc = check_options(options, error);
    if (rc != 0) {
        return rc;
    }
    struct relay *relay = create(options);
    if (relay == NULL) {
        error_set(error, "out of memory");
        return -ENOMEM;
    }
    set_listener(options);
    rc = options->metrics != NULL ? register_metrics(relay) : 0;
    for (unsigned i = 0; rc == 0 && i < options->workers; i++) {
        rc = create_worker(relay, &relay->workers[i], i);
    }
    for (unsigned i = 0; rc == 0 && i < options->workers; i++) { /* each may hand over to any */
        rc = start_thread(&relay->workers[i], i);
    }
    if (rc != 0) {
        error_set(error, "a worker can't be started: %s", strerror(-rc));
        relay_destroy(relay);
        return rc;
    }
    *ret_relay = relay;
    return 0;
}

static void wake_workers(struct relay *relay)
{
    for (unsigned i = 0; i < relay->options.workers; i++) {
        if (relay->workers[i].running) {
            loop_post_send(&relay->workers[i].wake);
        }
    }
}

void relay_drain(struct relay *relay)
{
    atomic_store(&relay->draining, true);
    wake_workers(relay);
}

void relay_destroy(struct relay *relay)
{
    if (relay == NULL) {
        return;
    }
    atomic_store(&relay->draining, true);
    atomic_store(&relay->stopping, true);
    wake_workers(relay);
    for (unsigned i = 0; i < relay->options.workers; i++) {
        if (relay->workers[i].running) {
            (void)pthread_join(relay->workers[i].thread, NULL);
        }
    }
    for (unsigned i = 0; i < relay->options.workers; i++) {
        destroy_worker(&relay->workers[i]);
    }
    for (size_t i = 0; i < RELAY_READERS; i++) {
        metric_finish(&relay->readers[i].metric);
    }
    metric_finish(&relay->clients_now);
    free(relay->workers);
    free(relay);
}
