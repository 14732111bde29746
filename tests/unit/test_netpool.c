/* Both ends of a netpool in one loop over loopback, and each end against a peer that the test plays. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/timestamp.h"
#include "loop/timer.h"
#include "net/dial.h"
#include "pools/netpool_client.h"
#include "pools/netpool_get.h"
#include "pools/netpool_server.h"

#define LIMIT_NS (60 * NS_PER_SECOND)

/* ---- the greeting ---- */

struct pair {
    struct conn ends[2];
};

static void open_pair(struct pair *pair)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    conn_init(&pair->ends[0], fds[0]);
    conn_init(&pair->ends[1], fds[1]);
}

static void close_pair(struct pair *pair)
{
    conn_finish(&pair->ends[0]);
    conn_finish(&pair->ends[1]);
}

static void both_ends_agree_on_an_id_and_read_no_byte_too_many(void **state)
{
    (void)state;
    struct pair pair;
    struct netpool_greeter server;
    struct netpool_greeter client;
    char ids[2][NETPOOL_ID_SIZE];
    char bytes[16];
    int wants = 0;
    open_pair(&pair);
    netpool_greeter_init(&server, true);
    netpool_greeter_init(&client, false);
    assert_int_equal(netpool_greeter_step(&server, &pair.ends[0], &wants, ids[0]), -EAGAIN);
    assert_int_equal(wants, LOOP_READ);
    assert_int_equal(netpool_greeter_step(&client, &pair.ends[1], &wants, ids[1]), 0);
    assert_int_equal(conn_write(&pair.ends[1], "first", 5), 5); /* right behind it */
    assert_int_equal(netpool_greeter_step(&server, &pair.ends[0], &wants, ids[0]), 0);
    assert_string_equal(ids[0], ids[1]);
    assert_int_equal(strlen(ids[0]), 32);
    assert_int_equal(conn_read(&pair.ends[0], bytes, sizeof(bytes)), 5);
    close_pair(&pair);
}

static void a_greeting_may_come_byte_by_byte(void **state)
{
    (void)state;
    static const char greeting[] = "netpool/1 0123456789abcdef0123456789abcdef\n";
    struct pair pair;
    struct netpool_greeter client;
    char id[NETPOOL_ID_SIZE];
    char back[NETPOOL_GREETING_SIZE];
    int wants = 0;
    open_pair(&pair);
    netpool_greeter_init(&client, false);
    for (size_t i = 0; i < NETPOOL_GREETING_SIZE; i++) {
        assert_int_equal(netpool_greeter_step(&client, &pair.ends[0], &wants, id), -EAGAIN);
        assert_int_equal(conn_write(&pair.ends[1], greeting + i, 1), 1);
    }
    assert_int_equal(netpool_greeter_step(&client, &pair.ends[0], &wants, id), 0);
    assert_string_equal(id, "0123456789abcdef0123456789abcdef");
    assert_int_equal(conn_read(&pair.ends[1], back, sizeof(back)), sizeof(back));
    assert_memory_equal(back, greeting, sizeof(back));
    close_pair(&pair);
}

static void what_is_no_greeting_is_seen_at_its_first_wrong_byte(void **state)
{
    (void)state;
    static const char *const wrong[] = {"HTTP/1.1 400 Bad Request\r\n", "netpool/2 ",
                                        "netpool/1 0123456789ABCDEF", "netpool/1 \n",
                                        "netpool/1 0123456789abcdef0123456789abcdef!"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct pair pair;
        struct netpool_greeter client;
        char id[NETPOOL_ID_SIZE];
        int wants = 0;
        open_pair(&pair);
        netpool_greeter_init(&client, false);
        assert_int_equal(conn_write(&pair.ends[1], wrong[i], strlen(wrong[i])), strlen(wrong[i]));
        assert_int_equal(netpool_greeter_step(&client, &pair.ends[0], &wants, id), -EBADMSG);
        close_pair(&pair);
    }
}

static void a_server_wants_its_own_greeting_back(void **state)
{
    (void)state;
    struct pair pair;
    struct netpool_greeter server;
    char id[NETPOOL_ID_SIZE];
    char greeting[NETPOOL_GREETING_SIZE];
    int wants = 0;
    open_pair(&pair);
    netpool_greeter_init(&server, true);
    assert_int_equal(netpool_greeter_step(&server, &pair.ends[0], &wants, id), -EAGAIN);
    assert_int_equal(conn_read(&pair.ends[1], greeting, sizeof(greeting)), sizeof(greeting));
    greeting[20] = greeting[20] == 'a' ? 'b' : 'a';
    assert_int_equal(conn_write(&pair.ends[1], greeting, 21), 21);
    assert_int_equal(netpool_greeter_step(&server, &pair.ends[0], &wants, id), -EBADMSG);
    close_pair(&pair);
}

/* ---- both ends ---- */

struct world {
    struct loop *loop;
    struct metrics *metrics;
    struct netpool_server *server;
    struct netpool_client *client;
    struct pool_mailbox *mailbox;
    int listen_fd;
    uint16_t port;
    int errors, refusals;
    enum netpool_refusal last_refusal;
    char last_error[256];
};

static void count_error(const char *text, void *data)
{
    struct world *world = data;
    world->errors++;
    (void)snprintf(world->last_error, sizeof(world->last_error), "%s", text);
}

static void count_refusal(const char *peer, enum netpool_refusal why, const char *text, void *data)
{
    struct world *world = data;
    assert_memory_equal(peer, "127.0.0.1:", 10);
    assert_true(text[0] != '\0');
    world->refusals++;
    world->last_refusal = why;
}

static void open_world(struct world *world)
{
    struct error error = {""};
    *world = (struct world){.listen_fd = -1};
    assert_int_equal(loop_create(clock_real(), &world->loop), 0);
    assert_int_equal(metrics_create(&world->metrics), 0);
    assert_int_equal(pool_mailbox_create(world->loop, &world->mailbox), 0);
    world->listen_fd = address_listen("127.0.0.1:0", 64, &error);
    assert_true(world->listen_fd >= 0);
    world->port = address_port_of(world->listen_fd);
    assert_true(world->port > 0);
}

static void start_server(struct world *world, const struct netpool_server_options *template)
{
    struct netpool_server_options options = *template;
    options.name = "server";
    options.loop = world->loop;
    options.metrics = world->metrics;
    options.listen_fd = world->listen_fd;
    options.on_refused = count_refusal;
    options.data = world;
    assert_int_equal(netpool_server_create(&options, &world->server, NULL), 0);
}

static void start_client(struct world *world, const struct netpool_client_options *template)
{
    struct netpool_client_options options = *template;
    struct error error = {""};
    options.name = "client";
    options.loop = world->loop;
    options.metrics = world->metrics;
    options.server = (struct hostport){"127.0.0.1", world->port};
    options.on_error = count_error;
    options.data = world;
    options.min_interval_ns = options.min_interval_ns != 0 ? options.min_interval_ns : NS_PER_MS;
    options.max_interval_ns = options.max_interval_ns != 0 ? options.max_interval_ns
                                                           : 10 * NS_PER_MS;
    options.retry_limit_ns = 5 * NS_PER_MS;
    assert_int_equal(netpool_client_create(&options, &world->client, &error), 0);
}

static void close_world(struct world *world)
{
    netpool_client_destroy(world->client);
    netpool_server_destroy(world->server);
    if (world->listen_fd >= 0) {
        (void)close(world->listen_fd);
    }
    pool_mailbox_destroy(world->mailbox);
    metrics_destroy(world->metrics);
    loop_destroy(world->loop);
}

static void turn(struct world *world)
{
    assert_int_equal(loop_iterate(world->loop, 2 * NS_PER_MS), 0);
}

static void wait_for_active(struct world *world, uint32_t client, uint32_t server)
{
    while (netpool_client_active(world->client) < client ||
           netpool_server_active(world->server) < server) {
        turn(world);
    }
}

struct taken {
    struct netpool_get get;
    int calls, rc;
    struct netpool_conn conn;
};

static void handle_taken(struct netpool_get *get, int rc, struct netpool_conn conn, void *data)
{
    struct taken *taken = data;
    assert_ptr_equal(get, &taken->get);
    taken->calls++;
    taken->rc = rc;
    taken->conn = conn;
}

static void take(struct world *world, struct taken *taken, struct pool *pool, const char *id)
{
    *taken = (struct taken){.calls = 0};
    netpool_get_init(&taken->get, world->loop, handle_taken, taken);
    netpool_get_start(&taken->get, pool, world->mailbox, id, LIMIT_NS);
}

static void finish_take(struct world *world, struct taken *taken)
{
    while (taken->calls == 0) {
        turn(world);
    }
    assert_int_equal(taken->rc, 0);
}

/* Bytes written at one end come out at the other. */
static void assert_same_connection(struct world *world, struct conn *one, struct conn *other)
{
    char bytes[8] = "";
    ssize_t n;
    assert_int_equal(conn_write(one, "hello", 5), 5);
    while ((n = conn_read(other, bytes, sizeof(bytes))) == -EAGAIN) {
        turn(world);
    }
    assert_int_equal(n, 5);
    assert_memory_equal(bytes, "hello", 5);
}

/* The server takes any, the client the one with its id. */
static void meet(struct world *world)
{
    struct taken server;
    struct taken client;
    take(world, &server, netpool_server_pool(world->server), NULL);
    finish_take(world, &server);
    take(world, &client, netpool_client_pool(world->client), server.conn.id);
    finish_take(world, &client);
    assert_string_equal(server.conn.id, client.conn.id);
    assert_same_connection(world, &server.conn.conn, &client.conn.conn);
    assert_same_connection(world, &client.conn.conn, &server.conn.conn);
    conn_finish(&server.conn.conn);
    conn_finish(&client.conn.conn);
}

static void both_ends_meet_by_id(void **state)
{
    (void)state;
    struct world world;
    open_world(&world);
    start_server(&world, &(struct netpool_server_options){.max_ready = 100});
    start_client(&world, &(struct netpool_client_options){.min_capacity = 5, .max_capacity = 8});
    wait_for_active(&world, 5, 5);
    for (int i = 0; i < 50; i++) {
        meet(&world);
    }
    assert_int_equal(world.errors, 0);
    assert_int_equal(world.refusals, 0);
    close_world(&world);
}

static void a_taker_may_come_before_its_connection(void **state)
{
    (void)state;
    struct world world;
    struct taken early[3];
    open_world(&world);
    start_server(&world, &(struct netpool_server_options){.max_ready = 10});
    for (int i = 0; i < 3; i++) {
        take(&world, &early[i], netpool_server_pool(world.server), NULL);
    }
    netpool_get_cancel(&early[1].get);
    start_client(&world, &(struct netpool_client_options){.min_capacity = 2, .max_capacity = 2});
    finish_take(&world, &early[0]);
    finish_take(&world, &early[2]);
    assert_int_equal(early[1].calls, 0);
    conn_finish(&early[0].conn.conn);
    conn_finish(&early[2].conn.conn);
    close_world(&world);
}

static void what_was_sent_early_is_not_lost(void **state)
{
    (void)state;
    struct world world;
    struct taken server;
    struct taken client;
    char bytes[16];
    open_world(&world);
    start_server(&world, &(struct netpool_server_options){.max_ready = 10});
    start_client(&world, &(struct netpool_client_options){.min_capacity = 1, .max_capacity = 1});
    take(&world, &server, netpool_server_pool(world.server), NULL);
    finish_take(&world, &server);
    assert_int_equal(conn_write(&server.conn.conn, "early bird", 10), 10);
    for (int i = 0; i < 20; i++) { /* it waits at the client, which looks at it meanwhile */
        turn(&world);
        (void)pool_tend(netpool_client_pool(world.client));
    }
    take(&world, &client, netpool_client_pool(world.client), server.conn.id);
    finish_take(&world, &client);
    assert_int_equal(conn_read(&client.conn.conn, bytes, sizeof(bytes)), 10);
    assert_memory_equal(bytes, "early bird", 10);
    conn_finish(&server.conn.conn);
    conn_finish(&client.conn.conn);
    close_world(&world);
}

static void a_dead_connection_is_never_handed_out(void **state)
{
    (void)state;
    struct world world;
    struct taken client;
    open_world(&world);
    start_server(&world, &(struct netpool_server_options){.max_ready = 10});
    start_client(&world, &(struct netpool_client_options){.min_capacity = 3, .max_capacity = 3});
    wait_for_active(&world, 3, 3);
    (void)pool_flush(netpool_server_pool(world.server)); /* all three die at the far end */
    for (int i = 0; i < 3; i++) {
        take(&world, &client, netpool_client_pool(world.client), NULL);
        finish_take(&world, &client);
        assert_int_equal(conn_activity(&client.conn.conn), CONN_SILENT);
        conn_finish(&client.conn.conn);
    }
    close_world(&world);
}

/* ---- rules of the client ---- */

static void capacity_and_interval_stay_within_their_bounds(void **state)
{
    (void)state;
    struct world world;
    open_world(&world);
    start_server(&world, &(struct netpool_server_options){.max_ready = 100});
    start_client(&world, &(struct netpool_client_options){.min_capacity = 4,
                                                          .max_capacity = 16,
                                                          .min_interval_ns = NS_PER_MS,
                                                          .max_interval_ns = 4 * NS_PER_MS});
    while (netpool_client_capacity(world.client) < 16) { /* grows with what is taken */
        meet(&world);
    }
    while (netpool_client_interval_ns(world.client) < 4 * NS_PER_MS) { /* all are ready: slower */
        turn(&world);
    }
    (void)pool_flush(netpool_client_pool(world.client));
    netpool_server_destroy(world.server); /* the listening socket stays, and nobody answers */
    world.server = NULL;
    (void)close(world.listen_fd);
    world.listen_fd = -1;
    while (netpool_client_capacity(world.client) > 4) { /* every dial fails: shrinks */
        turn(&world);
    }
    while (netpool_client_interval_ns(world.client) > NS_PER_MS) { /* none is ready: faster */
        turn(&world);
    }
    for (int i = 0; i < 20; i++) {
        turn(&world);
    }
    assert_int_equal(netpool_client_capacity(world.client), 4);
    assert_true(world.errors > 0);
    assert_non_null(strstr(world.last_error, "refused"));
    assert_false(netpool_client_ready(world.client));
    close_world(&world);
}

static void without_takers_capacity_settles(void **state)
{
    (void)state;
    struct world world;
    open_world(&world);
    start_server(&world, &(struct netpool_server_options){.max_ready = 100});
    start_client(&world, &(struct netpool_client_options){.min_capacity = 4, .max_capacity = 64});
    wait_for_active(&world, 5, 5);
    for (int i = 0; i < 100; i++) {
        turn(&world);
    }
    assert_int_equal(netpool_client_capacity(world.client), 5);
    close_world(&world);
}

static void it_dials_again_when_the_server_comes_back(void **state)
{
    (void)state;
    struct world world;
    struct error error = {""};
    char name[64];
    open_world(&world);
    (void)close(world.listen_fd);
    start_client(&world, &(struct netpool_client_options){.min_capacity = 2, .max_capacity = 2});
    while (world.errors < 3) {
        turn(&world);
    }
    (void)snprintf(name, sizeof(name), "127.0.0.1:%u", world.port);
    world.listen_fd = address_listen(name, 64, &error);
    assert_true(world.listen_fd >= 0);
    start_server(&world, &(struct netpool_server_options){.max_ready = 10});
    wait_for_active(&world, 2, 2);
    close_world(&world);
}

static void cancelling_ends_everything(void **state)
{
    (void)state;
    struct world world;
    struct taken waiting;
    open_world(&world);
    start_server(&world, &(struct netpool_server_options){.max_ready = 10});
    start_client(&world, &(struct netpool_client_options){.min_capacity = 2, .max_capacity = 2});
    wait_for_active(&world, 2, 2);
    take(&world, &waiting, netpool_client_pool(world.client), "00000000000000000000000000000000");
    netpool_client_cancel(world.client);
    netpool_server_cancel(world.server);
    while (waiting.calls == 0) {
        turn(&world);
    }
    assert_int_equal(waiting.rc, -ESHUTDOWN);
    for (int i = 0; i < 10; i++) {
        turn(&world);
    }
    assert_int_equal(netpool_client_active(world.client), 0);
    assert_int_equal(netpool_server_active(world.server), 0);
    close_world(&world);
}

/* ---- a server among bad clients ---- */

static struct conn visit(struct world *world)
{
    struct hostport hostport = {"127.0.0.1", world->port};
    struct address_list list = {.count = 1};
    struct conn conn;
    assert_int_equal(address_parse(&hostport, &list.items[0]), 0);
    assert_int_equal(
        dial_blocking(&(struct dial_target){.addresses = &list, .timeout_ns = LIMIT_NS}, -1, &conn,
                      NULL),
        0);
    return conn;
}

static void wait_for_refusals(struct world *world, int count)
{
    while (world->refusals < count) {
        turn(world);
    }
}

static void bad_clients_are_refused_and_counted(void **state)
{
    (void)state;
    struct world world;
    open_world(&world);
    start_server(&world, &(struct netpool_server_options){.max_ready = 1,
                                                          .handshake_timeout_ns = 20 * NS_PER_MS});
    struct conn liar = visit(&world);
    assert_int_equal(conn_write(&liar, "GET / HTTP/1.1\r\n", 16), 16);
    wait_for_refusals(&world, 1);
    assert_int_equal(world.last_refusal, NETPOOL_REFUSED_GREETING);
    struct conn quitter = visit(&world);
    conn_finish(&quitter);
    wait_for_refusals(&world, 2);
    assert_int_equal(world.last_refusal, NETPOOL_REFUSED_GREETING);
    struct conn sleeper = visit(&world);
    wait_for_refusals(&world, 3);
    assert_int_equal(world.last_refusal, NETPOOL_REFUSED_TIMEOUT);
    start_client(&world, &(struct netpool_client_options){.min_capacity = 2, .max_capacity = 2});
    wait_for_refusals(&world, 4); /* one is ready, and no more may be */
    assert_int_equal(world.last_refusal, NETPOOL_REFUSED_FULL);
    assert_int_equal(netpool_server_active(world.server), 1);
    for (int why = 0; why < NETPOOL_REFUSALS; why++) {
        uint64_t count = netpool_server_refused(world.server, (enum netpool_refusal)why);
        assert_int_equal(count > 0, why == NETPOOL_REFUSED_GREETING ||
                                        why == NETPOOL_REFUSED_TIMEOUT ||
                                        why == NETPOOL_REFUSED_FULL);
    }
    conn_finish(&liar);
    conn_finish(&sleeper);
    close_world(&world);
}

static void a_flood_does_not_keep_an_honest_client_out(void **state)
{
    (void)state;
    struct world world;
    struct conn flood[32];
    open_world(&world);
    start_server(&world, &(struct netpool_server_options){.max_ready = 10, .max_handshakes = 8});
    for (int i = 0; i < 32; i++) {
        flood[i] = visit(&world);
    }
    start_client(&world, &(struct netpool_client_options){.min_capacity = 3, .max_capacity = 3});
    wait_for_active(&world, 3, 3);
    assert_true(netpool_server_refused(world.server, NETPOOL_REFUSED_CROWDED) >= 24);
    for (int i = 0; i < 32; i++) {
        conn_finish(&flood[i]);
    }
    close_world(&world);
}

static void only_allowed_addresses_come_in(void **state)
{
    (void)state;
    struct world world;
    open_world(&world);
    start_server(&world, &(struct netpool_server_options){.allow = "10.0.0.0/8,192.168.1.10"});
    struct conn stranger = visit(&world);
    wait_for_refusals(&world, 1);
    assert_int_equal(world.last_refusal, NETPOOL_REFUSED_ADDRESS);
    conn_finish(&stranger);
    netpool_server_destroy(world.server);
    start_server(&world, &(struct netpool_server_options){.allow = "10.0.0.0/8,127.0.0.0/8"});
    start_client(&world, &(struct netpool_client_options){.min_capacity = 1, .max_capacity = 1});
    wait_for_active(&world, 1, 1);
    close_world(&world);
}

static void senseless_options_are_refused(void **state)
{
    (void)state;
    struct world world;
    struct error error = {""};
    open_world(&world);
    assert_int_equal(
        netpool_server_create(
            &(struct netpool_server_options){
                .name = "x", .loop = world.loop, .listen_fd = world.listen_fd, .allow = "10.0.0/8"},
            &world.server, &error),
        -EINVAL);
    assert_non_null(strstr(error.text, "'10.0.0/8' is no address or range"));
    assert_int_equal(netpool_client_create(
                         &(struct netpool_client_options){
                             .name = "x", .loop = world.loop, .min_capacity = 5, .max_capacity = 4},
                         &world.client, &error),
                     -EINVAL);
    assert_string_equal(error.text, "netpool x: capacity 5 to 4 makes no sense");
    close_world(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ends_agree_on_an_id_and_read_no_byte_too_many),
        cmocka_unit_test(a_greeting_may_come_byte_by_byte),
        cmocka_unit_test(what_is_no_greeting_is_seen_at_its_first_wrong_byte),
        cmocka_unit_test(a_server_wants_its_own_greeting_back),
        cmocka_unit_test(both_ends_meet_by_id),
        cmocka_unit_test(a_taker_may_come_before_its_connection),
        cmocka_unit_test(what_was_sent_early_is_not_lost),
        cmocka_unit_test(a_dead_connection_is_never_handed_out),
        cmocka_unit_test(capacity_and_interval_stay_within_their_bounds),
        cmocka_unit_test(without_takers_capacity_settles),
        cmocka_unit_test(it_dials_again_when_the_server_comes_back),
        cmocka_unit_test(cancelling_ends_everything),
        cmocka_unit_test(bad_clients_are_refused_and_counted),
        cmocka_unit_test(a_flood_does_not_keep_an_honest_client_out),
        cmocka_unit_test(only_allowed_addresses_come_in),
        cmocka_unit_test(senseless_options_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
