/*
 * The manager is one timer. A round reserves a place in the pool for each connection that is missing
 * and starts an attempt for it: dial (addresses, TLS), greeting, into the pool. The rules of capacity
 * and interval are applied when a round's last attempt has ended. What slows it after failures
 * is the pool's own circuit.
 */
#include "pools/netpool_client.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/timestamp.h"
#include "loop/task.h"
#include "net/dial.h"
#include "pools/netpool_get.h"
#include "pools/pool_make.h"

#define DIAL_TIMEOUT_NS (5 * NS_PER_SECOND)
#define ATTEMPTS_LIMIT 64 /* dials at a time */
#define CHECK_IDLE_NS 0   /* each one is looked at before it is handed out */

struct netpool_client {
    struct netpool_client_options options;
    struct pool *pool;
    struct loop_timer timer;
    struct loop_post wake; /* from threads that took one or cancelled */
    struct resolver_query *query;
    struct address_list addresses;
    struct list attempts;
    size_t attempt_count;
    uint32_t tried, succeeded; /* of the present round */
    bool in_round, stopped;
    uint64_t seen_gone; /* connections that had been taken or lost when capacity was adjusted */
    uint32_t grown;     /* places that growth added and that are not filled yet */
    int64_t next_round_ns;
    _Atomic uint32_t capacity;
    _Atomic int64_t interval_ns;
    _Atomic bool cancelled;
    struct metric capacity_now, interval_now;
};

struct attempt {
    struct list link;
    struct netpool_client *client;
    struct pool_lease lease;
    struct dial dial;
    struct loop_fd source;
    struct loop_timer timer;
    struct netpool_greeter greeter;
    struct netpool_conn conn;
};

static void begin_round(struct netpool_client *client);

/* ---- rules ---- */

static uint32_t bounded(uint32_t value, uint32_t least, uint32_t most)
{
    return value < least ? least : value > most ? most : value;
}

static uint64_t count_gone(struct netpool_client *client)
{
    struct pool_stats stats;
    pool_report_stats(client->pool, &stats);
    uint64_t gone = 0;
    for (int i = 0; i < POOL_ENDS; i++) {
        gone += i == POOL_END_SURPLUS ? 0 : stats.ended[i];
    }
    return gone;
}

/* Those that are ready above it stay: the other end may just be taking one. */
static void set_capacity(struct netpool_client *client, uint32_t capacity)
{
    atomic_store(&client->capacity, capacity);
    pool_resize(client->pool, capacity, client->options.max_capacity);
}

static void adjust_capacity(struct netpool_client *client)
{
    uint32_t capacity = atomic_load(&client->capacity);
    uint32_t quarter = (capacity + 3) / 4;
    uint64_t gone = count_gone(client);
    bool replaced = gone != client->seen_gone || client->grown == 0;
    uint32_t wanted = capacity;
    if (client->succeeded * 5 < client->tried) {
        wanted = bounded(capacity - quarter, client->options.min_capacity,
                         client->options.max_capacity);
    } else if (client->succeeded * 5 > client->tried * 4 && replaced) {
        wanted = bounded(capacity + quarter, client->options.min_capacity,
                         client->options.max_capacity);
    }
    client->seen_gone = gone;
    client->grown = wanted > capacity ? wanted - capacity : 0;
    if (wanted != capacity) {
        set_capacity(client, wanted);
    }
}

static void adjust_interval(struct netpool_client *client)
{
    const struct netpool_client_options *options = &client->options;
    uint64_t ready = netpool_client_active(client);
    uint32_t capacity = atomic_load(&client->capacity);
    int64_t interval = atomic_load(&client->interval_ns);
    if (ready * 5 < capacity) {
        interval -= interval / 4;
    } else if (ready * 5 > (uint64_t)capacity * 4) {
        interval += interval / 4 + 1;
    }
    interval = interval < options->min_interval_ns   ? options->min_interval_ns
               : interval > options->max_interval_ns ? options->max_interval_ns
                                                     : interval;
    atomic_store(&client->interval_ns, interval);
}

/* ---- attempts ---- */

static void round_is_over(struct netpool_client *client)
{
    client->in_round = false;
    if (client->tried > 0) {
        adjust_capacity(client);
    }
    int64_t delay = client->next_round_ns - loop_now_ns(client->options.loop);
    int64_t pause = pool_retry_delay_ns(client->pool);
    loop_timer_arm(&client->timer, delay > pause ? delay : pause);
}

static void attempt_free(struct attempt *attempt)
{
    struct netpool_client *client = attempt->client;
    dial_cancel(&attempt->dial);
    loop_fd_remove(&attempt->source);
    loop_timer_disarm(&attempt->timer);
    list_remove(&attempt->link);
    client->attempt_count--;
    free(attempt);
    if (client->attempt_count == 0 && client->in_round && !client->stopped) {
        round_is_over(client);
    }
}

static void attempt_fail(struct attempt *attempt, int rc, const char *text)
{
    struct netpool_client *client = attempt->client;
    conn_finish(&attempt->conn.conn);
    pool_abandon(client->pool, attempt->lease, rc, text);
    if (client->options.on_error != NULL) {
        client->options.on_error(text, client->options.data);
    }
    attempt_free(attempt);
}

static void explain_greeting(int rc, struct error *error)
{
    error_set(error, "the greeting: %s",
              rc == -EBADMSG      ? "the server speaks another protocol"
              : rc == -ECONNRESET ? "the server closed the connection"
                                  : strerror(-rc));
}

static void greet(struct attempt *attempt)
{
    int wants = 0;
    int rc = netpool_greeter_step(&attempt->greeter, &attempt->conn.conn, &wants, attempt->conn.id);
    if (rc == -EAGAIN) {
        rc = attempt->source.loop == NULL
                 ? loop_fd_add(attempt->client->options.loop, &attempt->source,
                               attempt->conn.conn.fd, wants)
                 : loop_fd_modify(&attempt->source, wants);
        if (rc == 0) {
            return;
        }
    }
    loop_fd_remove(&attempt->source);
    if (rc != 0) {
        struct error error;
        explain_greeting(rc, &error);
        attempt_fail(attempt, rc, error.text);
        return;
    }
    attempt->client->succeeded++;
    netpool_put(attempt->client->pool, attempt->lease, &attempt->conn);
    attempt_free(attempt);
}

static void handle_greeting(struct loop_fd *source, int events, void *data)
{
    (void)source;
    (void)events;
    greet(data);
}

static void handle_timeout(struct loop_timer *timer, void *data)
{
    (void)timer;
    struct attempt *attempt = data;
    loop_fd_remove(&attempt->source);
    dial_cancel(&attempt->dial);
    attempt_fail(attempt, -ETIMEDOUT, "no connection, TLS and greeting in time");
}

static void connected(struct attempt *attempt, struct conn conn)
{
    attempt->conn.conn = conn;
    greet(attempt);
}

static void handle_dialed(struct dial *dial, int rc, struct conn conn, const char *text, void *data)
{
    (void)dial;
    if (rc != 0) {
        attempt_fail(data, rc, text);
    } else {
        connected(data, conn);
    }
}

static void attempt_start(struct netpool_client *client, struct pool_lease lease)
{
    struct loop *loop = client->options.loop;
    struct attempt *attempt = calloc(1, sizeof(*attempt));
    if (attempt == NULL) {
        pool_abandon(client->pool, lease, -ENOMEM, "out of memory");
        return;
    }
    attempt->client = client;
    attempt->lease = lease;
    conn_init(&attempt->conn.conn, -1);
    dial_init(&attempt->dial, loop, handle_dialed, attempt);
    loop_fd_init(&attempt->source, handle_greeting, attempt);
    loop_timer_init(loop, &attempt->timer, handle_timeout, attempt);
    netpool_greeter_init(&attempt->greeter, false);
    list_append(&client->attempts, &attempt->link);
    client->attempt_count++;
    client->tried++;
    loop_timer_arm(&attempt->timer, client->options.dial_timeout_ns);
    struct conn conn;
    int rc = dial_start(&attempt->dial,
                        &(struct dial_target){.addresses = &client->addresses,
                                              .tls = client->options.tls,
                                              .host = client->options.server.host},
                        &conn);
    if (rc == 0) {
        connected(attempt, conn);
    } else if (rc != -EAGAIN) {
        attempt_fail(attempt, rc, dial_error(&attempt->dial));
    }
}

/* ---- rounds ---- */

static void dial_missing(struct netpool_client *client)
{
    static const struct pool_wish wish = {.holder = "netpool", .priority = POOL_HIGH};
    struct pool_lease lease;
    client->in_round = true;
    client->tried = client->succeeded = 0;
    client->attempt_count++; /* the round does not end while it is being started */
    while (client->attempt_count <= ATTEMPTS_LIMIT && pool_missing(client->pool) > 0 &&
           pool_reserve(client->pool, &wish, &lease) == 0) {
        attempt_start(client, lease);
    }
    if (--client->attempt_count == 0) {
        round_is_over(client);
    }
}

static void handle_resolved(int rc, const struct address_list *list, const char *text, void *data)
{
    static const struct pool_wish wish = {.holder = "netpool", .priority = POOL_HIGH};
    struct netpool_client *client = data;
    struct pool_lease lease;
    client->query = NULL;
    if (rc == 0) {
        client->addresses = *list;
        dial_missing(client);
        return;
    }
    if (client->options.on_error != NULL) {
        client->options.on_error(text, client->options.data);
    }
    if (pool_reserve(client->pool, &wish, &lease) == 0) {
        pool_abandon(client->pool, lease, rc, text); /* the circuit counts it */
    }
    client->tried = 1;
    client->succeeded = 0;
    round_is_over(client);
}

/* Names are looked up again each round: they may have moved. */
static void begin_round(struct netpool_client *client)
{
    const struct netpool_client_options *options = &client->options;
    if (client->stopped || client->in_round || client->query != NULL) {
        return;
    }
    (void)pool_tend(client->pool);
    adjust_interval(client);
    client->next_round_ns = loop_now_ns(options->loop) + atomic_load(&client->interval_ns);
    client->tried = 0;
    if (pool_missing(client->pool) == 0) {
        round_is_over(client);
    } else if (address_parse(&options->server, &client->addresses.items[0]) == 0) {
        client->addresses.count = 1;
        dial_missing(client);
    } else if (options->resolver == NULL ||
               resolver_start(options->resolver, &options->server, handle_resolved, client,
                              &client->query) != 0) {
        handle_resolved(-EHOSTUNREACH, NULL, "the host name can't be looked up", client);
    }
}

static void handle_round(struct loop_timer *timer, void *data)
{
    (void)timer;
    begin_round(data);
}

static void stop(struct netpool_client *client)
{
    struct list *link;
    struct list *next;
    client->stopped = true;
    loop_timer_disarm(&client->timer);
    resolver_cancel(client->query);
    client->query = NULL;
    list_for_each_safe(link, next, &client->attempts)
    {
        struct attempt *attempt = container_of(link, struct attempt, link);
        conn_finish(&attempt->conn.conn);
        loop_fd_remove(&attempt->source);
        pool_abandon(client->pool, attempt->lease, 0, "");
        attempt_free(attempt);
    }
}

/* Some were taken (so the round may be due at once), or it was cancelled. */
static void handle_wake(struct loop_post *post, void *data)
{
    (void)post;
    struct netpool_client *client = data;
    if (atomic_load(&client->cancelled)) {
        stop(client);
    } else if (!client->stopped && !client->in_round &&
               loop_now_ns(client->options.loop) >= client->next_round_ns &&
               pool_retry_delay_ns(client->pool) == 0) {
        begin_round(client);
    }
}

static void handle_wanted(void *data)
{
    loop_post_send(&((struct netpool_client *)data)->wake);
}

/* ---- life ---- */

static int check_options(const struct netpool_client_options *options, struct error *error)
{
    if (options->min_capacity == 0 || options->min_capacity > options->max_capacity) {
        error_set(error, "netpool %s: capacity %u to %u makes no sense", options->name,
                  options->min_capacity, options->max_capacity);
        return -EINVAL;
    }
    if (options->min_interval_ns <= 0 || options->min_interval_ns > options->max_interval_ns) {
        error_set(error,
                  "netpool %s: the intervals make no sense; the first must be above 0 and "
                  "not above the second",
                  options->name);
        return -EINVAL;
    }
    return 0;
}

static int64_t read_capacity(void *data)
{
    return netpool_client_capacity(data);
}

static int64_t read_interval(void *data)
{
    return netpool_client_interval_ns(data);
}

static int register_metrics(struct netpool_client *client)
{
    struct metrics *metrics = client->options.metrics;
    struct buf labels;
    buf_init(&labels, 0);
    int rc = metrics_append_label(&labels, "pool", client->options.name);
    const char *text = buf_terminated(&labels);
    rc = rc != 0 || text == NULL ? -ENOMEM : pool_register_metrics(client->pool, metrics);
    rc = rc != 0 ? rc
                 : metrics_add(metrics, &client->capacity_now,
                               &(struct metric_desc){
                                   .type = METRIC_GAUGE,
                                   .name = "log_capturer_netpool_capacity",
                                   .help = "Connections that the dialing end keeps ready.",
                                   .labels = text,
                                   .read = read_capacity,
                                   .data = client});
    rc = rc != 0
             ? rc
             : metrics_add(metrics, &client->interval_now,
                           &(struct metric_desc){.type = METRIC_GAUGE,
                                                 .name = "log_capturer_netpool_interval_seconds",
                                                 .help = "Pause between rounds of dials.",
                                                 .labels = text,
                                                 .scale = 1e-9,
                                                 .read = read_interval,
                                                 .data = client});
    buf_finish(&labels);
    return rc;
}

static int create_pool(struct netpool_client *client, struct error *error)
{
    const struct netpool_client_options *options = &client->options;
    struct pool_options pool = {.name = options->name,
                                .type = &netpool_type,
                                .data = client,
                                .clock = loop_clock(options->loop),
                                .min = options->min_capacity,
                                .max = options->max_capacity,
                                .check_idle_ns = CHECK_IDLE_NS,
                                .retry_first_ns = options->min_interval_ns,
                                .retry_limit_ns = options->retry_limit_ns,
                                .patient = true,
                                .on_wanted = handle_wanted};
    return pool_create(&pool, &client->pool, error);
}

int netpool_client_create(const struct netpool_client_options *options,
                          struct netpool_client **ret_client, struct error *error)
{
    int rc = check_options(options, error);
    struct netpool_client *client = rc == 0 ? calloc(1, sizeof(*client)) : NULL;
    if (client == NULL) {
        error_set(rc == 0 ? error : NULL, "out of memory");
        return rc != 0 ? rc : -ENOMEM;
    }
    client->options = *options;
    client->options.dial_timeout_ns = options->dial_timeout_ns > 0 ? options->dial_timeout_ns
                                                                   : DIAL_TIMEOUT_NS;
    list_init(&client->attempts);
    list_init(&client->capacity_now.link);
    list_init(&client->interval_now.link);
    loop_timer_init(options->loop, &client->timer, handle_round, client);
    loop_post_add(options->loop, &client->wake, handle_wake, client);
    atomic_store(&client->capacity, options->min_capacity);
    atomic_store(&client->interval_ns, options->min_interval_ns);
    rc = create_pool(client, error);
    if (rc == 0 && options->metrics != NULL) {
        rc = register_metrics(client);
        error_set(rc != 0 ? error : NULL, "out of memory");
    }
    if (rc != 0) {
        netpool_client_destroy(client);
        return rc;
    }
    loop_timer_arm(&client->timer, 0);
    *ret_client = client;
    return 0;
}

void netpool_client_destroy(struct netpool_client *client)
{
    if (client == NULL) {
        return;
    }
    if (client->pool != NULL) {
        stop(client);
    }
    metric_finish(&client->capacity_now);
    metric_finish(&client->interval_now);
    pool_destroy(client->pool);
    loop_timer_disarm(&client->timer);
    loop_post_remove(&client->wake);
    free(client);
}

/* ---- any thread ---- */

int netpool_client_get(struct netpool_client *client, const char *id, int64_t timeout_ns,
                       struct netpool_conn *ret_conn, struct error *error)
{
    return netpool_take(client->pool, id, timeout_ns, ret_conn, error);
}

struct pool *netpool_client_pool(struct netpool_client *client)
{
    return client->pool;
}

void netpool_client_cancel(struct netpool_client *client)
{
    atomic_store(&client->cancelled, true);
    (void)pool_close(client->pool, 0);
    loop_post_send(&client->wake);
}

void netpool_client_flush(struct netpool_client *client)
{
    (void)pool_flush(client->pool);
}

bool netpool_client_ready(struct netpool_client *client)
{
    return netpool_client_active(client) > 0;
}

uint32_t netpool_client_active(struct netpool_client *client)
{
    struct pool_stats stats;
    pool_report_stats(client->pool, &stats);
    return stats.idle;
}

uint32_t netpool_client_capacity(const struct netpool_client *client)
{
    return atomic_load(&client->capacity);
}

int64_t netpool_client_interval_ns(const struct netpool_client *client)
{
    return atomic_load(&client->interval_ns);
}
