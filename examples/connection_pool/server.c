/* The end that accepts, chooses and asks. */
#include "connection_pool.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/histogram.h"
#include "base/json.h"
#include "base/timestamp.h"
#include "net/address.h"
#include "pools/balance.h"
#include "pools/netpool_server.h"

struct end {
    struct netpool_server *pool;
    int listen_fd;
    uint64_t chosen;
    int64_t turn;
    uint32_t under_way;
};

struct server {
    struct world *world;
    struct end ends[ENDS_LIMIT];
    size_t count;
    struct conn control;
    atomic_uint_fast64_t next, passed, failed;
    pthread_mutex_t lock; /* of what follows, of the control connection, and of the ends' counts */
    struct balance balance;
    struct histogram waits, exchanges;
    struct error error;
};

static int64_t now_ns(void)
{
    return clock_monotonic_ns(clock_real());
}

/* ---- a request ---- */

static struct end *choose(struct server *server)
{
    struct balance_candidate candidates[ENDS_LIMIT];
    (void)pthread_mutex_lock(&server->lock);
    for (size_t i = 0; i < server->count; i++) {
        const struct end *end = &server->ends[i];
        candidates[i] = (struct balance_candidate){
            .weight = netpool_server_active(end->pool) > 0 ? 1 : 0,
            .load = end->under_way,
            .turn = end->turn};
    }
    size_t index = balance_choose(&server->balance, candidates, server->count);
    for (size_t i = 0; i < server->count; i++) {
        server->ends[i].turn = candidates[i].turn;
    }
    /* Where none has any that is ready, the first that gets one will do. */
    struct end *end = &server->ends[index == BALANCE_NONE ? 0 : index];
    end->under_way++;
    end->chosen++;
    (void)pthread_mutex_unlock(&server->lock);
    return end;
}

static int tell(struct server *server, const struct end *end, const char *id)
{
    char line[NETPOOL_ID_SIZE + 16];
    int size = snprintf(line, sizeof(line), "%zu %s\n", (size_t)(end - server->ends), id);
    (void)pthread_mutex_lock(&server->lock);
    int rc = write_all(&server->control, line, (size_t)size);
    (void)pthread_mutex_unlock(&server->lock);
    return rc;
}

/* Bytes that nobody else sends, there and back. */
static int exchange(struct conn *conn, uint64_t number, size_t size)
{
    char *sent = malloc(size);
    char *got = malloc(size);
    int rc = sent == NULL || got == NULL ? -ENOMEM : 0;
    for (size_t i = 0; rc == 0 && i < size; i++) {
        sent[i] = (char)(number * 31 + i * 7);
    }
    rc = rc != 0 ? rc : write_all(conn, sent, size);
    rc = rc != 0 ? rc : read_all(conn, got, size);
    rc = rc == 0 && memcmp(sent, got, size) != 0 ? -EBADMSG : rc;
    free(sent);
    free(got);
    return rc;
}

static void record(struct server *server, struct end *end, int64_t wait_ns, int64_t exchange_ns)
{
    (void)pthread_mutex_lock(&server->lock);
    end->under_way--;
    histogram_record(&server->waits, (uint64_t)wait_ns, 1);
    histogram_record(&server->exchanges, (uint64_t)exchange_ns, 1);
    (void)pthread_mutex_unlock(&server->lock);
}

static int request(struct server *server, uint64_t number)
{
    struct end *end = choose(server);
    struct netpool_conn taken;
    struct error error = {""};
    int64_t begun_ns = now_ns();
    int rc = netpool_server_get(end->pool, TIMEOUT_NS, &taken, &error);
    int64_t taken_ns = now_ns();
    if (rc == 0) {
        rc = tell(server, end, taken.id);
        rc = rc != 0
                 ? rc
                 : exchange(&taken.conn, number, 1 + number * 7919 % server->world->options->bytes);
        error_set(&error, "request %llu on %s: %s", (unsigned long long)number, taken.id,
                  strerror(-rc));
        conn_finish(&taken.conn);
    }
    record(server, end, taken_ns - begun_ns, now_ns() - taken_ns);
    if (rc != 0) {
        (void)pthread_mutex_lock(&server->lock);
        server->error = error;
        (void)pthread_mutex_unlock(&server->lock);
    }
    return rc;
}

static void *work(void *data)
{
    struct server *server = data;
    uint64_t number;
    while ((number = atomic_fetch_add(&server->next, 1)) < server->world->options->requests) {
        int rc = request(server, number);
        (void)atomic_fetch_add(rc == 0 ? &server->passed : &server->failed, 1);
    }
    return NULL;
}

/* ---- all of them ---- */

static void put_refusals(const struct server *server, struct json_writer *writer)
{
    json_open(writer, "refused", '{');
    for (int why = 0; why < NETPOOL_REFUSALS; why++) {
        uint64_t count = 0;
        for (size_t i = 0; i < server->count; i++) {
            count += netpool_server_refused(server->ends[i].pool, (enum netpool_refusal)why);
        }
        json_put_int(writer, netpool_refusal_name((enum netpool_refusal)why), (int64_t)count);
    }
    json_close(writer, '}');
}

static void print_result(const struct server *server)
{
    struct json_writer writer;
    struct buf out;
    buf_init(&out, 0);
    json_writer_init(&writer, &out);
    json_open(&writer, NULL, '{');
    json_put_int(&writer, "passed", (int64_t)atomic_load(&server->passed));
    json_put_int(&writer, "failed", (int64_t)atomic_load(&server->failed));
    json_put_int(&writer, "wait_p50_us", (int64_t)histogram_percentile(&server->waits, 50) / 1000);
    json_put_int(&writer, "wait_p99_us", (int64_t)histogram_percentile(&server->waits, 99) / 1000);
    json_put_int(&writer, "exchange_p50_us",
                 (int64_t)histogram_percentile(&server->exchanges, 50) / 1000);
    json_open(&writer, "chosen", '[');
    for (size_t i = 0; i < server->count; i++) {
        json_put_int(&writer, NULL, (int64_t)server->ends[i].chosen);
    }
    json_close(&writer, ']');
    put_refusals(server, &writer);
    json_put_string(&writer, "error", server->error.text);
    json_close(&writer, '}');
    (void)printf("%.*s\n", (int)out.size, out.data);
    buf_finish(&out);
}

static int accept_control(struct server *server, int listen_fd)
{
    struct pollfd waiting = {.fd = listen_fd, .events = POLLIN};
    int fd = -1;
    while (fd < 0) {
        if (poll(&waiting, 1, -1) < 0 && errno != EINTR) {
            return -errno;
        }
        fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    }
    conn_init(&server->control, fd);
    return 0;
}

static int serve_requests(struct server *server, struct error *error)
{
    pthread_t threads[100];
    size_t started = 0;
    int listen_fd = address_listen(server->world->options->control, 1, error);
    if (listen_fd < 0) {
        return listen_fd;
    }
    int rc = accept_control(server, listen_fd);
    (void)close(listen_fd);
    while (rc == 0 && started < server->world->options->threads &&
           pthread_create(&threads[started], NULL, work, server) == 0) {
        started++;
    }
    for (size_t i = 0; i < started; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    conn_finish(&server->control);
    return rc;
}

static void wait_for_signal(void)
{
    sigset_t signals;
    int number;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGINT);
    (void)sigwait(&signals, &number);
}

static int open_ends(struct server *server, struct error *error)
{
    const struct options *options = server->world->options;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < options->pool.count; i++) {
        struct end *end = &server->ends[i];
        end->listen_fd = address_listen(options->pool.items[i], 1024, error);
        rc = end->listen_fd < 0
                 ? end->listen_fd
                 : netpool_server_create(
                       &(struct netpool_server_options){.name = options->pool.items[i],
                                                        .loop = server->world->loop,
                                                        .metrics = server->world->metrics,
                                                        .tls = server->world->tls,
                                                        .listen_fd = end->listen_fd,
                                                        .allow = options->allow},
                       &end->pool, error);
        server->count++;
    }
    return rc;
}

int run_server(struct world *world)
{
    static struct server server;
    struct error error = {""};
    sigset_t signals;
    server.world = world;
    (void)pthread_mutex_init(&server.lock, NULL);
    conn_init(&server.control, -1);
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGINT);
    (void)pthread_sigmask(world->options->requests == 0 ? SIG_BLOCK : SIG_UNBLOCK, &signals, NULL);
    int rc = balance_strategy_parse(world->options->strategy, &server.balance.strategy, &error);
    balance_init(&server.balance, server.balance.strategy, (uint64_t)now_ns());
    rc = rc != 0 ? rc : open_ends(&server, &error);
    rc = rc != 0 ? rc : world_start(world, &error);
    if (rc == 0 && world->options->requests == 0) {
        wait_for_signal();
    } else if (rc == 0) {
        rc = serve_requests(&server, &error);
    }
    world_stop(world);
    if (rc == 0) {
        print_result(&server);
    } else {
        (void)complain(&error);
    }
    for (size_t i = 0; i < server.count; i++) {
        netpool_server_destroy(server.ends[i].pool);
        if (server.ends[i].listen_fd >= 0) {
            (void)close(server.ends[i].listen_fd);
        }
    }
    (void)pthread_mutex_destroy(&server.lock);
    return rc == 0 && atomic_load(&server.failed) == 0 ? 0 : 1;
}
