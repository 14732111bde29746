/* The end that dials and echoes. */
#include "connection_pool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/timestamp.h"
#include "net/resolver.h"
#include "pools/netpool_client.h"

struct client {
    struct world *world;
    struct resolver *resolver;
    struct netpool_client *pools[ENDS_LIMIT];
    size_t count;
    struct conn control;
    pthread_mutex_t reading; /* of the control connection */
    atomic_uint_fast64_t taken, failed, dial_errors;
    pthread_mutex_t lock; /* of error */
    struct error error;
};

static void handle_error(const char *text, void *data)
{
    struct client *client = data;
    (void)atomic_fetch_add(&client->dial_errors, 1);
    (void)pthread_mutex_lock(&client->lock);
    error_set(&client->error, "%s", text);
    (void)pthread_mutex_unlock(&client->lock);
}

/* The next line of the control connection; false at its end. */
static bool next_request(struct client *client, size_t *ret_index, char ret_id[NETPOOL_ID_SIZE])
{
    char line[NETPOOL_ID_SIZE + 16];
    size_t size = 0;
    char *end;
    (void)pthread_mutex_lock(&client->reading);
    while (size < sizeof(line) - 1 && read_some(&client->control, line + size, 1) == 1 &&
           line[size] != '\n') {
        size++;
    }
    (void)pthread_mutex_unlock(&client->reading);
    line[size] = '\0';
    *ret_index = strtoul(line, &end, 10);
    if (size == 0 || *end != ' ' || strlen(end + 1) != NETPOOL_ID_SIZE - 1 ||
        *ret_index >= client->count) {
        return false;
    }
    memcpy(ret_id, end + 1, NETPOOL_ID_SIZE);
    return true;
}

static int echo(struct conn *conn)
{
    char block[16384];
    ssize_t n;
    int rc = 0;
    while (rc == 0 && (n = read_some(conn, block, sizeof(block))) > 0) {
        rc = write_all(conn, block, (size_t)n);
    }
    return rc;
}

static void *work(void *data)
{
    struct client *client = data;
    size_t index;
    char id[NETPOOL_ID_SIZE];
    while (next_request(client, &index, id)) {
        struct netpool_conn taken;
        struct error error = {""};
        if (netpool_client_get(client->pools[index], id, TIMEOUT_NS, &taken, &error) == 0) {
            (void)atomic_fetch_add(&client->taken, 1);
            (void)echo(&taken.conn); /* what the server got tells whether it was well */
            conn_finish(&taken.conn);
        } else {
            (void)atomic_fetch_add(&client->failed, 1);
            handle_error(error.text, client);
        }
    }
    return NULL;
}

static void print_result(struct client *client)
{
    struct json_writer writer;
    struct buf out;
    buf_init(&out, 0);
    json_writer_init(&writer, &out);
    json_open(&writer, NULL, '{');
    json_put_int(&writer, "taken", (int64_t)atomic_load(&client->taken));
    json_put_int(&writer, "failed", (int64_t)atomic_load(&client->failed));
    json_put_int(&writer, "dial_errors", (int64_t)atomic_load(&client->dial_errors));
    json_open(&writer, "capacity", '[');
    for (size_t i = 0; i < client->count; i++) {
        json_put_int(&writer, NULL, netpool_client_capacity(client->pools[i]));
    }
    json_close(&writer, ']');
    json_put_string(&writer, "error", client->error.text);
    json_close(&writer, '}');
    (void)printf("%.*s\n", (int)out.size, out.data);
    buf_finish(&out);
}

static int open_pools(struct client *client, struct error *error)
{
    const struct options *options = client->world->options;
    int rc = resolver_create(client->world->loop, &client->resolver);
    for (size_t i = 0; rc == 0 && i < options->pool.count; i++) {
        struct netpool_client_options pool = {.name = options->pool.items[i],
                                              .loop = client->world->loop,
                                              .metrics = client->world->metrics,
                                              .resolver = client->resolver,
                                              .tls = client->world->tls,
                                              .min_capacity = 1,
                                              .max_capacity = (uint32_t)options->capacity,
                                              .min_interval_ns = 10 * NS_PER_MS,
                                              .max_interval_ns = NS_PER_SECOND,
                                              .retry_limit_ns = NS_PER_SECOND,
                                              .on_error = handle_error,
                                              .data = client};
        rc = hostport_parse(options->pool.items[i], &pool.server, error);
        rc = rc != 0 ? rc : netpool_client_create(&pool, &client->pools[i], error);
        client->count += rc == 0;
    }
    return rc;
}

static int work_all(struct client *client, struct error *error)
{
    pthread_t threads[100];
    size_t started = 0;
    int fd = -ECONNREFUSED;
    for (int i = 0; i < 100 && fd < 0; i++) { /* the server may not be there yet */
        fd = connect_plain(client->world->options->control, error);
        if (fd < 0) {
            (void)usleep(100000);
        }
    }
    if (fd < 0) {
        return fd;
    }
    conn_init(&client->control, fd);
    while (started < client->world->options->threads &&
           pthread_create(&threads[started], NULL, work, client) == 0) {
        started++;
    }
    for (size_t i = 0; i < started; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    conn_finish(&client->control);
    return 0;
}

int run_client(struct world *world)
{
    static struct client client;
    struct error error = {""};
    client.world = world;
    (void)pthread_mutex_init(&client.lock, NULL);
    (void)pthread_mutex_init(&client.reading, NULL);
    int rc = open_pools(&client, &error);
    rc = rc != 0 ? rc : world_start(world, &error);
    rc = rc != 0 ? rc : work_all(&client, &error);
    world_stop(world);
    if (rc == 0) {
        print_result(&client);
    } else {
        (void)complain(&error);
    }
    for (size_t i = 0; i < client.count; i++) {
        netpool_client_destroy(client.pools[i]);
    }
    resolver_destroy(client.resolver);
    (void)pthread_mutex_destroy(&client.reading);
    (void)pthread_mutex_destroy(&client.lock);
    return rc == 0 && atomic_load(&client.failed) == 0 ? 0 : 1;
}
