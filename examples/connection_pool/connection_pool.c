/*
 * Two processes with a pool of connections between them, dialed by one and used by the other: what a server
 * behind a firewall needs to be reached.
 *
 *   example_connection_pool --role server --pool HOST:PORT [--pool ...] --control HOST:PORT
 *   example_connection_pool --role client --pool HOST:PORT [--pool ...] --control HOST:PORT
 *
 * For each request the server chooses one of its pools, takes a connection that is ready, tells the client its
 * id over the control connection, sends bytes and wants them back. The client takes the connection with that
 * id and echoes. Both print what came of it as JSON.
 */
#include "connection_pool.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/timestamp.h"
#include "net/address.h"
#include "net/dial.h"
#include "web/exporter.h"

#define AT(member) offsetof(struct options, member)

static const struct option_row rows[] = {
    {"role", OPTION_CHOICE, AT(role), "server", "server|client", 0, 0, NULL, false,
     "The server accepts, chooses and asks; the client dials and echoes."},
    {"pool", OPTION_LIST, AT(pool), NULL, NULL, 0, 0, NULL, false,
     "HOST:PORT of a pool; may be repeated, in the same order at both ends."},
    {"control", OPTION_TEXT, AT(control), "127.0.0.1:9200", NULL, 0, 0, NULL, false,
     "HOST:PORT over which ids are told."},
    {"strategy", OPTION_CHOICE, AT(strategy), "round-robin",
     "round-robin|least-connections|random|p2c", 0, 0, NULL, false,
     "Server: which of its pools the next request uses."},
    {"requests", OPTION_COUNT, AT(requests), "200", NULL, 0, 10000000, NULL, false,
     "Server: how many; 0: none, it accepts until SIGTERM."},
    {"bytes", OPTION_COUNT, AT(bytes), "65536", NULL, 1, 16777216, NULL, false,
     "Server: of a request, at most."},
    {"threads", OPTION_COUNT, AT(threads), "8", NULL, 1, 100, NULL, false,
     "That take connections."},
    {"capacity", OPTION_COUNT, AT(capacity), "32", NULL, 1, 10000, NULL, false,
     "Client: connections kept ready in each pool, at most."},
    {"tls", OPTION_CHOICE, AT(tls), "none", "none|unverified|verified", 0, 0, NULL, false,
     "Of the pools. Server: unverified needs no --cert; verified demands client certificates where "
     "--ca is given."},
    {"cert", OPTION_TEXT, AT(cert), "", NULL, 0, 0, NULL, false, "PEM file."},
    {"key", OPTION_TEXT, AT(key), "", NULL, 0, 0, NULL, false, "PEM file of its key."},
    {"ca", OPTION_TEXT, AT(ca), "", NULL, 0, 0, NULL, false, "PEM file of authorities."},
    {"allow", OPTION_TEXT, AT(allow), "", NULL, 0, 0, NULL, false,
     "Server: addresses and ranges that may connect, with commas; else all."},
    {"metrics", OPTION_TEXT, AT(metrics), "", NULL, 0, 0, NULL, false,
     "HOST:PORT where /metrics is shown; empty: nowhere."},
    {.path = NULL}};
static const struct option_flags flags = {
    .program = "example_connection_pool",
    .usage = "--role server|client --pool HOST:PORT [FLAGS]",
    .description = "Two processes with pools of connections between them.",
    .rows = rows,
    .after = "Prints its result as JSON. Exit status: 0 all went well, 1 not."};

int complain(const struct error *error)
{
    (void)fprintf(stderr, "example_connection_pool: %s\n", error->text);
    return 1;
}

/* ---- bytes ---- */

static int wait_for(const struct conn *conn, int otherwise)
{
    bool reads = conn_wants(conn, otherwise) == LOOP_READ;
    struct pollfd waiting = {.fd = conn->fd, .events = reads ? POLLIN : POLLOUT};
    int n = poll(&waiting, 1, (int)(TIMEOUT_NS / NS_PER_MS));
    return n > 0 ? 0 : n == 0 ? -ETIMEDOUT : -errno;
}

int write_all(struct conn *conn, const void *bytes, size_t size)
{
    int rc = 0;
    for (size_t done = 0; rc == 0 && done < size;) {
        ssize_t n = conn_write(conn, (const char *)bytes + done, size - done);
        done += n > 0 ? (size_t)n : 0;
        rc = n == -EAGAIN ? wait_for(conn, LOOP_WRITE) : n < 0 ? (int)n : 0;
    }
    return rc;
}

ssize_t read_some(struct conn *conn, void *ret_bytes, size_t size)
{
    for (;;) {
        ssize_t n = conn_read(conn, ret_bytes, size);
        if (n != -EAGAIN) {
            return n;
        }
        int rc = wait_for(conn, LOOP_READ);
        if (rc != 0) {
            return rc;
        }
    }
}

int read_all(struct conn *conn, void *ret_bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = read_some(conn, (char *)ret_bytes + done, size - done);
        if (n <= 0) {
            return n == 0 ? -ECONNRESET : (int)n;
        }
        done += (size_t)n;
    }
    return 0;
}

int connect_plain(const char *host_port, struct error *error)
{
    struct hostport hostport;
    struct address_list addresses;
    struct conn conn;
    int rc = hostport_parse(host_port, &hostport, error);
    rc = rc != 0 ? rc : address_resolve(&hostport, &addresses, error);
    rc = rc != 0 ? rc
                 : dial_blocking(
                       &(struct dial_target){.addresses = &addresses, .timeout_ns = TIMEOUT_NS}, -1,
                       &conn, error);
    return rc != 0 ? rc : conn.fd;
}

/* ---- the loop ---- */

static void handle_stop(struct loop_post *post, void *data)
{
    (void)post;
    loop_stop(data);
}

static void *run_loop(void *data)
{
    struct world *world = data;
    (void)!loop_run(world->loop);
    return NULL;
}

int world_start(struct world *world, struct error *error)
{
    int rc = -pthread_create(&world->thread, NULL, run_loop, world);
    world->running = rc == 0;
    if (rc != 0) {
        error_set(error, "no thread: %s", strerror(-rc));
    }
    return rc;
}

void world_stop(struct world *world)
{
    if (world->running) {
        loop_post_send(&world->stop);
        (void)pthread_join(world->thread, NULL);
        world->running = false;
    }
}

static int create_tls(struct world *world, struct error *error)
{
    const struct options *options = world->options;
    bool server = strcmp(options->role, "server") == 0;
    bool verified = strcmp(options->tls, "verified") == 0;
    if (strcmp(options->tls, "none") == 0) {
        return 0;
    }
    return tls_context_create(
        &(struct tls_options){.server = server,
                              .verify = verified && (!server || options->ca[0] != '\0'),
                              .ca = options->ca,
                              .cert = options->cert,
                              .key = options->key},
        &world->tls, error);
}

static int answer_metrics(const struct httpd_request *request, struct httpd_response *response,
                          void *data)
{
    return exporter_answer(((struct world *)data)->exporter, request, response);
}

static int show_metrics(struct world *world, struct error *error)
{
    static const struct httpd_route routes[] = {
        {"/metrics", "metrics for Prometheus", answer_metrics, NULL}, {.path = NULL}};
    if (world->options->metrics[0] == '\0') {
        return 0;
    }
    int rc = exporter_create(world->metrics, LOG_CAPTURER_VERSION, &world->exporter);
    return rc != 0 ? rc
                   : httpd_create(&(struct httpd_options){.loop = world->loop,
                                                          .metrics = world->metrics,
                                                          .listen = world->options->metrics,
                                                          .routes = routes,
                                                          .data = world},
                                  &world->httpd, error);
}

static int run(const struct options *options)
{
    struct world world = {.options = options};
    struct error error = {.text = "out of memory"};
    int status = 1;
    if (options->pool.count == 0 || options->pool.count > ENDS_LIMIT) {
        return option_flags_complain(&flags, "--pool: 1 to %d of them are needed", ENDS_LIMIT);
    }
    int rc = loop_create(clock_real(), &world.loop);
    rc = rc != 0 ? rc : metrics_create(&world.metrics);
    rc = rc != 0 ? rc : create_tls(&world, &error);
    rc = rc != 0 ? rc : show_metrics(&world, &error);
    if (rc != 0) {
        status = complain(&error);
    } else {
        loop_post_add(world.loop, &world.stop, handle_stop, world.loop);
        status = strcmp(options->role, "server") == 0 ? run_server(&world) : run_client(&world);
        loop_post_remove(&world.stop);
    }
    httpd_destroy(world.httpd);
    exporter_destroy(world.exporter);
    tls_context_destroy(world.tls);
    metrics_destroy(world.metrics);
    loop_destroy(world.loop);
    return status;
}

int main(int argc, char **argv)
{
    struct options options = {.role = NULL};
    int next;
    (void)signal(SIGPIPE, SIG_IGN);
    if (options_init(&options, rows) != 0) {
        return 1;
    }
    enum option_flags_result parsed = option_flags_parse(&flags, argc, argv, &options, &next);
    int status = parsed == OPTION_FLAGS_BAD ? 2 : parsed == OPTION_FLAGS_RUN ? run(&options) : 0;
    options_finish(&options, rows);
    return status;
}
