/*
 * Five workers share three connections to a real PostgreSQL server, which the example starts.
 *
 *   example_database_pool [ROUNDS]
 *
 * Each worker asks the server for its process id ROUNDS times (3), and holds the connection for 50 to 150 ms
 * meanwhile. One connection is killed by the server on the way; the pool finds out and replaces it.
 */
#include <errno.h>
#include <libpq-fe.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/backoff.h"
#include "base/str.h"
#include "base/timestamp.h"
#include "pools/pool.h"
#include "pools/pool_keeper.h"
#include "pools/pool_report.h"
#include "server.h"

#define CONNECTIONS 3
#define WORKERS 5

/* ---- what a connection is to the pool ---- */

static int create(void *data, void **ret_resource, struct error *error)
{
    PGconn *connection = PQconnectdb(server_conninfo(data));
    if (PQstatus(connection) != CONNECTION_OK) {
        error_set(error, "%s", PQerrorMessage(connection));
        PQfinish(connection);
        return -ECONNREFUSED;
    }
    *ret_resource = connection;
    return 0;
}

static void destroy(void *data, void *resource)
{
    (void)data;
    PQfinish(resource);
}

static bool is_healthy(void *data, void *resource)
{
    (void)data;
    PGresult *result = PQexec(resource, ""); /* the cheapest round trip there is */
    bool healthy = PQresultStatus(result) == PGRES_EMPTY_QUERY;
    PQclear(result);
    return healthy;
}

/* Nobody inherits a transaction, a setting or a temporary table. */
static int reset(void *data, void *resource)
{
    (void)data;
    PGresult *result = PQexec(resource, "DISCARD ALL");
    int rc = PQresultStatus(result) == PGRES_COMMAND_OK ? 0 : -EIO;
    PQclear(result);
    return rc;
}

static const struct pool_type connection_type = {
    .create = create, .destroy = destroy, .is_healthy = is_healthy, .reset = reset};

/* ---- the workers ---- */

struct worker {
    struct pool *pool;
    pthread_t thread;
    char name[24];
    uint64_t rounds;
    uint64_t served;
};

/* True when the server answered. */
static bool query(const struct worker *worker, PGconn *connection)
{
    char text[96];
    (void)snprintf(text, sizeof(text), "SELECT pg_backend_pid(), pg_sleep(%.3f)",
                   0.05 + (double)jitter(100) / 1000);
    PGresult *result = PQexec(connection, text);
    bool answered = PQresultStatus(result) == PGRES_TUPLES_OK;
    if (answered) {
        (void)printf("%s: connection of server process %s\n", worker->name,
                     PQgetvalue(result, 0, 0));
    } else {
        (void)printf("%s: lost its connection, takes another\n", worker->name);
    }
    PQclear(result);
    return answered;
}

static void *work(void *data)
{
    struct worker *worker = data;
    struct pool_wish wish = {.holder = worker->name, .timeout_ns = 5 * NS_PER_SECOND};
    while (worker->served < worker->rounds) {
        struct pool_lease lease;
        struct error error = {""};
        if (pool_acquire(worker->pool, &wish, &lease, &error) != 0) {
            (void)printf("%s: %s\n", worker->name, error.text);
            return NULL;
        }
        if (query(worker, lease.resource)) {
            worker->served++;
            (void)pool_release(worker->pool, lease);
        } else {
            (void)pool_discard(worker->pool, lease);
        }
    }
    return NULL;
}

/* The server ends one of the connections, as an administrator or a failure would. */
static void kill_one(struct server *server)
{
    PGconn *connection = PQconnectdb(server_conninfo(server));
    PQclear(PQexec(connection,
                   "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE "
                   "backend_type = 'client backend' AND pid <> pg_backend_pid() LIMIT 1"));
    PQfinish(connection);
}

static uint64_t run_workers(struct server *server, struct pool *pool, uint64_t rounds)
{
    struct worker workers[WORKERS];
    uint64_t served = 0;
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){.pool = pool, .rounds = rounds};
        (void)snprintf(workers[i].name, sizeof(workers[i].name), "worker %d", i + 1);
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) {
            abort();
        }
    }
    kill_one(server);
    for (int i = 0; i < WORKERS; i++) {
        (void)pthread_join(workers[i].thread, NULL);
        served += workers[i].served;
    }
    return served;
}

static int run(struct server *server, uint64_t rounds, struct error *error)
{
    struct pool *pool = NULL;
    struct pool_keeper *keeper = NULL;
    struct pool_options options = {.name = "database",
                                   .type = &connection_type,
                                   .data = server,
                                   .min = CONNECTIONS,
                                   .max = CONNECTIONS,
                                   .check_idle_ns = NS_PER_SECOND};
    int rc = pool_create(&options, &pool, error);
    rc = rc != 0 ? rc : pool_prefill(pool, CONNECTIONS, error);
    rc = rc != 0 ? rc : pool_keeper_start(pool, 1, &keeper, error);
    if (rc == 0) {
        uint64_t served = run_workers(server, pool, rounds);
        struct pool_stats stats;
        pool_report_stats(pool, &stats);
        (void)printf(
            "%llu queries by %d workers, %llu connections made, %llu times one was reused\n",
            (unsigned long long)served, WORKERS, (unsigned long long)stats.created,
            (unsigned long long)stats.reused);
        rc = served == rounds * WORKERS ? 0 : -EIO;
    }
    pool_keeper_stop(keeper);
    pool_destroy(pool);
    return rc;
}

int main(int argc, char **argv)
{
    struct server *server = NULL;
    struct error error = {""};
    uint64_t rounds = 3;
    if (argc > 2 || (argc == 2 && str_parse_u64(argv[1], &rounds) != 0)) {
        (void)fputs("usage: example_database_pool [ROUNDS]\n", stderr);
        return 2;
    }
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    int rc = server_start(getenv("PG_BIN"), &server, &error);
    rc = rc != 0 ? rc : run(server, rounds, &error);
    server_stop(server);
    if (rc != 0) {
        (void)fprintf(stderr, "example_database_pool: %s\n",
                      error.text[0] != '\0' ? error.text : "not all queries were answered");
    }
    return rc == 0 ? 0 : 1;
}
