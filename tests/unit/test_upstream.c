/* Backends that come, go, fail and recover: listening sockets of the test's own, in one loop. */
#include <errno.h>
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
#include "pools/pool_report.h"
#include "pools/upstream.h"
#include "pools/upstream_claim.h"
#include "pools/upstream_conn.h"

#define SERVERS 3

struct server {
    int fd; /* -1: not listening */
    char name[HOSTPORT_TEXT_SIZE];
};

struct world {
    struct loop *loop;
    struct metrics *metrics;
    struct upstream *upstream;
    struct server servers[SERVERS];
    char told[4096];
};

static void keep_told(const char *backend, const char *text, void *data)
{
    struct world *world = data;
    size_t size = strlen(world->told);
    (void)snprintf(world->told + size, sizeof(world->told) - size, "%s %s\n", backend, text);
}

static void server_start(struct server *server)
{
    struct error error = {""};
    server->fd = address_listen(server->name[0] == '\0' ? "127.0.0.1:0" : server->name, 64, &error);
    if (server->fd < 0) {
        fail_msg("%s", error.text);
    }
    (void)snprintf(server->name, sizeof(server->name), "127.0.0.1:%u", address_port_of(server->fd));
}

static void server_stop(struct server *server)
{
    if (server->fd >= 0) {
        (void)close(server->fd);
        server->fd = -1;
    }
}

static void open_world(struct world *world, const struct upstream_options *template)
{
    struct error error = {""};
    struct upstream_options options = *template;
    memset(world, 0, sizeof(*world));
    assert_int_equal(loop_create(clock_real(), &world->loop), 0);
    assert_int_equal(metrics_create(&world->metrics), 0);
    options.name = "test";
    options.loop = world->loop;
    options.metrics = world->metrics;
    options.connections = options.connections > 0 ? options.connections : 10;
    options.stop_fd = -1;
    options.on_change = keep_told;
    options.data = world;
    assert_int_equal(upstream_create(&options, &world->upstream, &error), 0);
    for (int i = 0; i < SERVERS; i++) {
        server_start(&world->servers[i]);
        assert_int_equal(upstream_add(world->upstream, world->servers[i].name, 1, &error), 0);
    }
}

static void close_world(struct world *world)
{
    upstream_destroy(world->upstream);
    metrics_destroy(world->metrics);
    loop_destroy(world->loop);
    for (int i = 0; i < SERVERS; i++) {
        server_stop(&world->servers[i]);
    }
}

static void turn(struct world *world)
{
    assert_int_equal(loop_iterate(world->loop, 2 * NS_PER_MS), 0);
}

struct looked {
    const char *name;
    struct backend_status status;
    bool found;
};

static void look(const struct backend_status *status, void *data)
{
    struct looked *looked = data;
    if (strcmp(status->name, looked->name) == 0) {
        looked->status = *status;
        looked->found = true;
    }
}

static struct backend_status status_of(struct world *world, int server)
{
    struct looked looked = {.name = world->servers[server].name};
    upstream_status(world->upstream, look, &looked);
    assert_true(looked.found);
    return looked.status;
}

static void wait_for_state(struct world *world, int server, const char *state)
{
    while (strcmp(status_of(world, server).state, state) != 0) {
        turn(world);
    }
}

static int index_of(struct world *world, const struct backend *backend)
{
    for (int i = 0; i < SERVERS; i++) {
        if (strcmp(world->servers[i].name, backend_name(backend)) == 0) {
            return i;
        }
    }
    fail();
    return -1;
}

/* Which one was chosen; it is left again. */
static int choose(struct world *world)
{
    struct backend *backend;
    assert_int_equal(upstream_choose(world->upstream, NULL, 0, &backend), 0);
    int at = index_of(world, backend);
    backend_leave(backend);
    return at;
}

/* ---- health ---- */

static const struct upstream_health quick = {.interval_ns = 8 * NS_PER_MS};

static void a_backend_that_dies_is_not_chosen_until_it_is_back(void **state)
{
    (void)state;
    struct world world;
    open_world(&world, &(struct upstream_options){.health = quick});
    server_stop(&world.servers[1]);
    wait_for_state(&world, 1, "down");
    assert_non_null(strstr(status_of(&world, 1).reason, "Connection refused"));
    for (int i = 0; i < 12; i++) {
        assert_true(choose(&world) != 1);
    }
    server_start(&world.servers[1]);
    wait_for_state(&world, 1, "up");
    int chosen = 0;
    for (int i = 0; i < 12; i++) {
        chosen += choose(&world) == 1;
    }
    assert_int_equal(chosen, 4);
    assert_non_null(strstr(world.told, "down: 127.0.0.1:"));
    assert_non_null(strstr(world.told, " up\n"));
    close_world(&world);
}

static void without_any_backend_there_is_no_choice(void **state)
{
    (void)state;
    struct world world;
    struct backend *backend;
    open_world(&world, &(struct upstream_options){.health = quick});
    for (int i = 0; i < SERVERS; i++) {
        server_stop(&world.servers[i]);
    }
    for (int i = 0; i < SERVERS; i++) {
        wait_for_state(&world, i, "down");
    }
    assert_int_equal(upstream_choose(world.upstream, NULL, 0, &backend), -EHOSTDOWN);
    close_world(&world);
}

static void a_silent_backend_fails_its_check(void **state)
{
    (void)state;
    struct world world;
    struct upstream_health asks = quick;
    asks.timeout_ns = 10 * NS_PER_MS;
    asks.send = "PING\r\n";
    asks.expect = "PONG";
    open_world(&world, &(struct upstream_options){.health = asks});
    wait_for_state(&world, 0, "down"); /* it accepts, and says nothing */
    assert_non_null(strstr(status_of(&world, 0).reason, "not answered in time"));
    close_world(&world);
}

/* Serves the health checks of one server, answering `answer` to each, until the state is there. */
static void serve_until(struct world *world, int server, const char *answer, const char *state)
{
    struct conn peers[64];
    int count = 0;
    while (strcmp(status_of(world, server).state, state) != 0) {
        int fd = accept4(world->servers[server].fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0 && count < 64) {
            conn_init(&peers[count], fd);
            assert_true(conn_write(&peers[count], answer, strlen(answer)) > 0);
            count++;
        }
        turn(world);
    }
    for (int i = 0; i < count; i++) {
        conn_finish(&peers[i]);
    }
}

static void the_answer_to_a_check_must_be_the_expected_one(void **state)
{
    (void)state;
    struct world world;
    struct upstream_health asks = quick;
    asks.timeout_ns = 500 * NS_PER_MS;
    asks.send = "PING\r\n";
    asks.expect = "+PONG";
    open_world(&world, &(struct upstream_options){.health = asks});
    char wrong[300];
    memset(wrong, '-', sizeof(wrong) - 1);
    wrong[sizeof(wrong) - 1] = '\0';
    serve_until(&world, 2, wrong, "down");
    assert_non_null(strstr(status_of(&world, 2).reason, "not the expected one"));
    serve_until(&world, 2, "...+PONG\r\n", "up");
    close_world(&world);
}

/* ---- ejection ---- */

static void reported_failures_eject(void **state)
{
    (void)state;
    struct world world;
    struct backend *backend;
    open_world(&world,
               &(struct upstream_options){.ejection = {.failures = 2, .first_ns = 30 * NS_PER_MS}});
    do {
        assert_int_equal(upstream_choose(world.upstream, NULL, 0, &backend), 0);
        if (index_of(&world, backend) != 0) {
            backend_leave(backend);
            backend = NULL;
        }
    } while (backend == NULL);
    backend_report_failure(backend, "it answers nonsense");
    assert_string_equal(status_of(&world, 0).state, "up");
    backend_report_success(backend, NS_PER_MS); /* not in a row */
    backend_report_failure(backend, "it answers nonsense");
    assert_string_equal(status_of(&world, 0).state, "up");
    backend_report_failure(backend, "it answers nonsense");
    assert_string_equal(status_of(&world, 0).state, "ejected");
    assert_string_equal(status_of(&world, 0).reason, "it answers nonsense");
    for (int i = 0; i < 9; i++) {
        assert_true(choose(&world) != 0);
    }
    wait_for_state(&world, 0, "up"); /* its time is over */
    backend_leave(backend);
    close_world(&world);
}

static void an_ejected_one_is_better_than_none(void **state)
{
    (void)state;
    struct world world;
    struct backend *backends[SERVERS];
    struct backend *again;
    open_world(&world, &(struct upstream_options){
                           .ejection = {.failures = 1, .first_ns = 60 * NS_PER_SECOND}});
    for (int i = 0; i < SERVERS; i++) {
        assert_int_equal(upstream_choose(world.upstream, NULL, 0, &backends[i]), 0);
        backend_report_failure(backends[i], "no");
    }
    assert_int_equal(upstream_choose(world.upstream, backends, 2, &again), 0);
    assert_ptr_equal(again, backends[2]); /* not one that was tried */
    backend_leave(again);
    assert_int_equal(upstream_choose(world.upstream, backends, SERVERS, &again), -EHOSTDOWN);
    for (int i = 0; i < SERVERS; i++) {
        backend_leave(backends[i]);
    }
    close_world(&world);
}

/* ---- adding, draining, removing ---- */

static void a_drained_backend_takes_nothing_new(void **state)
{
    (void)state;
    struct world world;
    struct error error = {""};
    open_world(&world, &(struct upstream_options){.slow_start_ns = 0});
    assert_int_equal(upstream_drain(world.upstream, world.servers[0].name, &error), 0);
    for (int i = 0; i < 9; i++) {
        assert_true(choose(&world) != 0);
    }
    assert_int_equal(upstream_add(world.upstream, world.servers[0].name, 1, &error), 0);
    int chosen = 0;
    for (int i = 0; i < 9; i++) {
        chosen += choose(&world) == 0;
    }
    assert_int_equal(chosen, 3);
    assert_int_equal(upstream_add(world.upstream, world.servers[0].name, 1, &error), -EEXIST);
    assert_int_equal(upstream_drain(world.upstream, "127.0.0.1:1", &error), -ENOENT);
    assert_string_equal(error.text, "there is no backend 127.0.0.1:1");
    assert_int_equal(upstream_add(world.upstream, "nonsense", 1, &error), -EINVAL);
    assert_int_equal(upstream_add(world.upstream, ":80", 1, &error), -EINVAL);
    assert_int_equal(upstream_add(world.upstream, "127.0.0.1:1", 0, &error), -EINVAL);
    close_world(&world);
}

static void a_removed_backend_goes_with_its_last_user(void **state)
{
    (void)state;
    struct world world;
    struct backend *users[SERVERS];
    open_world(&world, &(struct upstream_options){.health = quick});
    for (int i = 0; i < SERVERS; i++) {
        assert_int_equal(upstream_choose(world.upstream, NULL, 0, &users[i]), 0);
    }
    for (int i = 0; i < SERVERS; i++) {
        assert_int_equal(upstream_remove(world.upstream, world.servers[i].name, NULL), 0);
    }
    assert_int_equal(upstream_count(world.upstream), 0);
    for (int i = 0; i < 5; i++) {
        turn(&world);
    }
    assert_null(strstr(world.told, "removed")); /* in use still */
    for (int i = 0; i < SERVERS; i++) {
        assert_non_null(backend_name(users[i]));
        backend_leave(users[i]);
    }
    while (strstr(world.told, "removed") == NULL) {
        turn(&world);
    }
    close_world(&world);
}

/* ---- shares ---- */

static void a_full_backend_is_passed_over(void **state)
{
    (void)state;
    struct world world;
    struct backend *held[SERVERS * 2 + 1];
    open_world(&world, &(struct upstream_options){.connections = 2});
    int counts[SERVERS] = {0};
    for (int i = 0; i < SERVERS * 2; i++) {
        assert_int_equal(upstream_choose(world.upstream, NULL, 0, &held[i]), 0);
        counts[index_of(&world, held[i])]++;
    }
    for (int i = 0; i < SERVERS; i++) {
        assert_int_equal(counts[i], 2);
    }
    assert_int_equal(upstream_choose(world.upstream, NULL, 0, &held[SERVERS * 2]),
                     0); /* all are full: one to wait for */
    for (int i = 0; i < SERVERS * 2 + 1; i++) {
        backend_leave(held[i]);
    }
    close_world(&world);
}

static void a_backend_that_came_back_gets_its_share_slowly(void **state)
{
    (void)state;
    struct world world;
    open_world(&world,
               &(struct upstream_options){.health = quick, .slow_start_ns = 1000 * NS_PER_SECOND});
    server_stop(&world.servers[0]);
    wait_for_state(&world, 0, "down");
    server_start(&world.servers[0]);
    wait_for_state(&world, 0, "up");
    int chosen = 0;
    for (int i = 0; i < 2100; i++) {
        chosen += choose(&world) == 0;
    }
    assert_in_range(chosen, 90, 110); /* a tenth of one against two whole ones: 1 of 21 */
    close_world(&world);
}

/* ---- waiting for a place ---- */

struct client {
    struct upstream_waiter waiter;
    struct backend *backend;
    int woken;
};

static void note_place(struct upstream_waiter *waiter)
{
    container_of(waiter, struct client, waiter)->woken++;
}

static int claim(struct world *world, struct client *client)
{
    client->waiter.on_place = note_place;
    return upstream_claim(world->upstream, NULL, 0, &client->waiter, &client->backend);
}

/* All places are taken, and so many more wait. */
static void fill(struct world *world, struct client *clients, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(claim(world, &clients[i]), i < SERVERS ? 0 : -EAGAIN);
    }
}

static void who_waits_longest_gets_the_first_place_anywhere(void **state)
{
    (void)state;
    struct world world;
    struct client clients[SERVERS + 3] = {0};
    open_world(&world, &(struct upstream_options){.connections = 1});
    fill(&world, clients, SERVERS + 3);
    assert_int_equal(upstream_waiting(world.upstream), 3);
    for (int i = 0; i < SERVERS; i++) { /* who waits uses nothing */
        assert_int_equal(status_of(&world, i).active, 1);
    }
    struct backend *first = clients[1].backend;
    backend_leave(first);
    assert_int_equal(clients[SERVERS].woken, 1);
    assert_int_equal(clients[SERVERS + 1].woken, 0);
    struct client newcomer = {.woken = 0};
    assert_int_equal(claim(&world, &newcomer), -EAGAIN); /* it is promised to another */
    assert_int_equal(claim(&world, &clients[SERVERS]), 0);
    assert_ptr_equal(clients[SERVERS].backend, first);
    backend_leave(clients[0].backend);
    assert_int_equal(clients[SERVERS + 1].woken, 1);
    upstream_claim_cancel(world.upstream,
                          &clients[SERVERS + 1].waiter); /* so the next one has it */
    assert_int_equal(clients[SERVERS + 2].woken, 1);
    upstream_claim_cancel(world.upstream, &clients[SERVERS + 2].waiter);
    assert_int_equal(newcomer.woken, 1);
    assert_int_equal(claim(&world, &newcomer), 0);
    assert_int_equal(upstream_waiting(world.upstream), 0);
    backend_leave(newcomer.backend);
    backend_leave(clients[SERVERS].backend);
    for (int i = 2; i < SERVERS; i++) {
        backend_leave(clients[i].backend);
    }
    close_world(&world);
}

static void a_new_backend_is_for_those_who_wait(void **state)
{
    (void)state;
    struct world world;
    struct client clients[SERVERS + 2] = {0};
    open_world(&world, &(struct upstream_options){.connections = 1});
    assert_int_equal(upstream_drain(world.upstream, world.servers[0].name, NULL), 0);
    for (int i = 1; i < SERVERS + 2; i++) {
        assert_int_equal(claim(&world, &clients[i]), i < SERVERS ? 0 : -EAGAIN);
    }
    assert_int_equal(upstream_add(world.upstream, world.servers[0].name, 1, NULL), 0);
    assert_int_equal(clients[SERVERS].woken, 1);
    assert_int_equal(clients[SERVERS + 1].woken, 0);
    assert_int_equal(claim(&world, &clients[SERVERS]), 0);
    upstream_claim_cancel(world.upstream, &clients[SERVERS + 1].waiter);
    for (int i = 1; i <= SERVERS; i++) {
        backend_leave(clients[i].backend);
    }
    close_world(&world);
}

static void without_a_backend_nobody_waits(void **state)
{
    (void)state;
    struct world world;
    struct client clients[SERVERS + 2] = {0};
    open_world(&world, &(struct upstream_options){.connections = 1});
    fill(&world, clients, SERVERS + 2);
    for (int i = 0; i < SERVERS; i++) {
        assert_int_equal(upstream_drain(world.upstream, world.servers[i].name, NULL), 0);
    }
    for (int i = SERVERS; i < SERVERS + 2; i++) {
        assert_int_equal(clients[i].woken, 1);
        assert_int_equal(claim(&world, &clients[i]), -EHOSTDOWN);
    }
    for (int i = 0; i < SERVERS; i++) {
        backend_leave(clients[i].backend);
    }
    close_world(&world);
}

/* ---- connections ---- */

static void threads_get_connections_and_reuse_them(void **state)
{
    (void)state;
    struct world world;
    struct upstream_lease lease;
    struct error error = {""};
    open_world(&world, &(struct upstream_options){.idle_limit_ns = 60 * NS_PER_SECOND});
    for (int i = 0; i < 30; i++) {
        assert_int_equal(upstream_acquire(world.upstream, 5 * NS_PER_SECOND, &lease, &error), 0);
        assert_int_equal(conn_activity(lease.conn), CONN_SILENT);
        upstream_release(&lease, false);
    }
    for (int i = 0; i < SERVERS; i++) {
        struct backend_status status = status_of(&world, i);
        assert_int_equal(status.chosen, 10);
        assert_int_equal(status.idle, 1);
        assert_int_equal(status.active, 0);
        assert_true(status.connect_ms > 0);
    }
    assert_int_equal(upstream_acquire(world.upstream, 5 * NS_PER_SECOND, &lease, &error), 0);
    upstream_release(&lease, true);
    int idle = 0;
    for (int i = 0; i < SERVERS; i++) {
        idle += (int)status_of(&world, i).idle;
    }
    assert_int_equal(idle, 2);
    close_world(&world);
}

static void a_dead_backend_costs_a_thread_no_error(void **state)
{
    (void)state;
    struct world world;
    struct upstream_lease lease;
    struct error error = {""};
    open_world(&world, &(struct upstream_options){.ejection = {.failures = 1}});
    server_stop(&world.servers[0]);
    for (int i = 0; i < 12; i++) {
        assert_int_equal(upstream_acquire(world.upstream, 5 * NS_PER_SECOND, &lease, &error), 0);
        upstream_release(&lease, true);
    }
    assert_int_equal(status_of(&world, 0).failures, 1); /* then it was ejected */
    server_stop(&world.servers[1]);
    server_stop(&world.servers[2]);
    assert_true(upstream_acquire(world.upstream, 0, &lease, &error) != 0);
    assert_true(error.text[0] != '\0');
    close_world(&world);
}

static void warm_connections_are_there_before_they_are_needed(void **state)
{
    (void)state;
    struct world world;
    struct upstream_lease lease;
    struct error error = {""};
    open_world(&world, &(struct upstream_options){.warm = 3});
    for (int i = 0; i < SERVERS; i++) {
        while (status_of(&world, i).idle < 3) {
            turn(&world);
        }
    }
    assert_int_equal(upstream_acquire(world.upstream, 0, &lease, &error), 0);
    upstream_release(&lease, true);
    for (int i = 0; i < SERVERS; i++) { /* and another takes its place */
        while (status_of(&world, i).idle < 3) {
            turn(&world);
        }
    }
    assert_int_equal(upstream_remove(world.upstream, world.servers[1].name, &error), 0);
    close_world(&world);
}

static void a_name_is_looked_up(void **state)
{
    (void)state;
    struct loop *loop = NULL;
    struct resolver *resolver = NULL;
    struct world world = {.told = ""};
    struct error error = {""};
    struct server server = {.name = ""};
    char name[64];
    server_start(&server);
    assert_int_equal(loop_create(clock_real(), &loop), 0);
    assert_int_equal(resolver_create(loop, &resolver), 0);
    assert_int_equal(upstream_create(&(struct upstream_options){.name = "test",
                                                                .loop = loop,
                                                                .resolver = resolver,
                                                                .connections = 1,
                                                                .stop_fd = -1,
                                                                .health = quick,
                                                                .on_change = keep_told,
                                                                .data = &world},
                                     &world.upstream, &error),
                     0);
    world.loop = loop;
    (void)snprintf(name, sizeof(name), "localhost%s", strrchr(server.name, ':'));
    (void)snprintf(world.servers[0].name, sizeof(world.servers[0].name), "%s", name);
    assert_int_equal(upstream_add(world.upstream, name, 1, &error), 0);
    wait_for_state(&world, 0, "up");
    (void)snprintf(world.servers[1].name, sizeof(world.servers[1].name), "no.such.invalid:1");
    assert_int_equal(upstream_add(world.upstream, "no.such.invalid:1", 1, &error), 0);
    while (strstr(world.told, "no.such.invalid:1 the host name no.such.invalid") == NULL) {
        turn(&world);
    }
    assert_string_equal(status_of(&world, 1).state, "resolving");
    upstream_destroy(world.upstream);
    resolver_destroy(resolver);
    loop_destroy(loop);
    server_stop(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_backend_that_dies_is_not_chosen_until_it_is_back),
        cmocka_unit_test(without_any_backend_there_is_no_choice),
        cmocka_unit_test(a_silent_backend_fails_its_check),
        cmocka_unit_test(the_answer_to_a_check_must_be_the_expected_one),
        cmocka_unit_test(reported_failures_eject),
        cmocka_unit_test(an_ejected_one_is_better_than_none),
        cmocka_unit_test(a_drained_backend_takes_nothing_new),
        cmocka_unit_test(a_removed_backend_goes_with_its_last_user),
        cmocka_unit_test(a_full_backend_is_passed_over),
        cmocka_unit_test(who_waits_longest_gets_the_first_place_anywhere),
        cmocka_unit_test(a_new_backend_is_for_those_who_wait),
        cmocka_unit_test(without_a_backend_nobody_waits),
        cmocka_unit_test(a_backend_that_came_back_gets_its_share_slowly),
        cmocka_unit_test(threads_get_connections_and_reuse_them),
        cmocka_unit_test(a_dead_backend_costs_a_thread_no_error),
        cmocka_unit_test(warm_connections_are_there_before_they_are_needed),
        cmocka_unit_test(a_name_is_looked_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
