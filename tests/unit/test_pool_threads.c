/* The pool among threads and loops: order, priority, wake-ups, closing, and a crowd that does everything at once. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/timestamp.h"
#include "pools/pool.h"
#include "pools/pool_keeper.h"
#include "pools/pool_make.h"
#include "pools/pool_report.h"
#include "pools/pool_request.h"

#define LONG_TIME (60 * NS_PER_SECOND)

/* A resource that notices when two hold it. */
struct thing {
    atomic_int holders;
    atomic_bool sick;
};

struct world {
    struct pool *pool;
    atomic_int alive, most_alive, creating, most_creating, fail;
};

static void note_most(atomic_int *most, int value)
{
    int seen = atomic_load(most);
    while (value > seen && !atomic_compare_exchange_weak(most, &seen, value)) {
    }
}

static int create_thing(void *data, void **ret_resource, struct error *error)
{
    struct world *world = data;
    note_most(&world->most_creating, atomic_fetch_add(&world->creating, 1) + 1);
    usleep(200); /* so that creations meet */
    (void)atomic_fetch_sub(&world->creating, 1);
    if (atomic_load(&world->fail) > 0 && atomic_fetch_sub(&world->fail, 1) > 0) {
        error_set(error, "not now");
        return -EIO;
    }
    struct thing *thing = calloc(1, sizeof(*thing));
    if (thing == NULL) {
        return -ENOMEM;
    }
    note_most(&world->most_alive, atomic_fetch_add(&world->alive, 1) + 1);
    *ret_resource = thing;
    return 0;
}

static void destroy_thing(void *data, void *resource)
{
    struct thing *thing = resource;
    assert_int_equal(atomic_load(&thing->holders), 0);
    (void)atomic_fetch_sub(&((struct world *)data)->alive, 1);
    free(thing);
}

static bool is_healthy(void *data, void *resource)
{
    (void)data;
    return !atomic_load(&((struct thing *)resource)->sick);
}

static const struct pool_type type = {
    .create = create_thing, .destroy = destroy_thing, .is_healthy = is_healthy};

static void open_world(struct world *world, const struct pool_options *template)
{
    struct error error = {""};
    struct pool_options options = *template;
    memset(world, 0, sizeof(*world));
    options.name = "things";
    options.type = &type;
    options.data = world;
    assert_int_equal(pool_create(&options, &world->pool, &error), 0);
}

static void hold(struct pool_lease lease)
{
    struct thing *thing = lease.resource;
    assert_int_equal(atomic_fetch_add(&thing->holders, 1), 0);
}

static void unhold(struct pool_lease lease)
{
    struct thing *thing = lease.resource;
    assert_int_equal(atomic_fetch_sub(&thing->holders, 1), 1);
}

static uint32_t waiting_in(struct pool *pool)
{
    struct pool_stats stats;
    pool_report_stats(pool, &stats);
    return stats.waiting;
}

static void wait_for_waiters(struct pool *pool, uint32_t count)
{
    while (waiting_in(pool) != count) {
        usleep(100);
    }
}

/* ---- order ---- */

static atomic_int next_turn;

struct queuer {
    struct world *world;
    pthread_t thread;
    enum pool_priority priority;
    int turn, rc;
};

static void *queue_up(void *data)
{
    struct queuer *queuer = data;
    struct pool_wish wish = {.timeout_ns = LONG_TIME, .priority = queuer->priority};
    struct pool_lease lease;
    queuer->rc = pool_acquire(queuer->world->pool, &wish, &lease, NULL);
    if (queuer->rc == 0) {
        queuer->turn = atomic_fetch_add(&next_turn, 1);
        (void)pool_release(queuer->world->pool, lease);
    }
    return NULL;
}

static void start_queuer(struct queuer *queuer, struct world *world, enum pool_priority priority)
{
    uint32_t before = waiting_in(world->pool);
    *queuer = (struct queuer){.world = world, .priority = priority, .turn = -1};
    assert_int_equal(pthread_create(&queuer->thread, NULL, queue_up, queuer), 0);
    wait_for_waiters(world->pool, before + 1);
}

static struct pool_lease take(struct world *world)
{
    struct pool_wish wish = {.timeout_ns = LONG_TIME};
    struct pool_lease lease;
    assert_int_equal(pool_acquire(world->pool, &wish, &lease, NULL), 0);
    return lease;
}

static void first_come_first_served_within_a_priority(void **state)
{
    (void)state;
    struct world world;
    struct queuer queuers[8];
    open_world(&world, &(struct pool_options){.max = 1});
    atomic_store(&next_turn, 0);
    struct pool_lease lease = take(&world);
    for (int i = 0; i < 8; i++) {
        start_queuer(&queuers[i], &world, i < 5 ? POOL_NORMAL : POOL_HIGH);
    }
    struct pool_lease passer;
    assert_int_equal(pool_try_acquire(world.pool, NULL, &passer), -EAGAIN);
    assert_int_equal(pool_release(world.pool, lease), 0);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(pthread_join(queuers[i].thread, NULL), 0);
        assert_int_equal(queuers[i].rc, 0);
        assert_int_equal(queuers[i].turn, i < 5 ? i + 3 : i - 5);
    }
    struct pool_stats stats;
    pool_report_stats(world.pool, &stats);
    assert_int_equal(stats.acquired, 9);
    pool_destroy(world.pool);
    assert_int_equal(world.alive, 0);
}

static void closing_wakes_all_who_wait(void **state)
{
    (void)state;
    struct world world;
    struct queuer queuers[6];
    open_world(&world, &(struct pool_options){.max = 1});
    struct pool_lease lease = take(&world);
    for (int i = 0; i < 6; i++) {
        start_queuer(&queuers[i], &world, POOL_NORMAL);
    }
    assert_int_equal(pool_close(world.pool, 0), -ETIMEDOUT);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(pthread_join(queuers[i].thread, NULL), 0);
        assert_int_equal(queuers[i].rc, -ESHUTDOWN);
    }
    assert_int_equal(pool_release(world.pool, lease), 0);
    pool_destroy(world.pool);
    assert_int_equal(world.alive, 0);
}

static void *release_soon(void *data)
{
    struct pool_lease *lease = ((void **)data)[1];
    usleep(20000); /* the other thread waits by then, as a rule; it need not */
    (void)pool_release(((void **)data)[0], *lease);
    return NULL;
}

static void closing_waits_for_what_is_out(void **state)
{
    (void)state;
    struct world world;
    pthread_t thread;
    open_world(&world, &(struct pool_options){.max = 1});
    struct pool_lease lease = take(&world);
    void *arguments[] = {world.pool, &lease};
    assert_int_equal(pthread_create(&thread, NULL, release_soon, arguments), 0);
    assert_int_equal(pool_close(world.pool, LONG_TIME), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    pool_destroy(world.pool);
    assert_int_equal(world.alive, 0);
}

static void a_waiter_creates_where_one_was_destroyed(void **state)
{
    (void)state;
    struct world world;
    struct queuer queuers[3];
    open_world(&world, &(struct pool_options){.max = 1});
    struct pool_lease lease = take(&world);
    for (int i = 0; i < 3; i++) {
        start_queuer(&queuers[i], &world, POOL_NORMAL);
    }
    assert_int_equal(pool_discard(world.pool, lease), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(queuers[i].thread, NULL), 0);
        assert_int_equal(queuers[i].rc, 0);
    }
    pool_destroy(world.pool);
    assert_int_equal(world.alive, 0);
}

static void waiters_are_told_when_the_circuit_opens(void **state)
{
    (void)state;
    struct world world;
    struct queuer queuers[3];
    open_world(&world, &(struct pool_options){.max = 1,
                                              .break_after = 2,
                                              .retry_first_ns = NS_PER_MS,
                                              .retry_limit_ns = NS_PER_MS});
    struct pool_lease lease = take(&world);
    for (int i = 0; i < 3; i++) {
        start_queuer(&queuers[i], &world, POOL_NORMAL);
    }
    atomic_store(&world.fail, 1000000);
    assert_int_equal(pool_discard(world.pool, lease), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(queuers[i].thread, NULL), 0);
        assert_true(queuers[i].rc == -EIO || queuers[i].rc == -EHOSTDOWN);
    }
    atomic_store(&world.fail, 0);
    pool_destroy(world.pool);
}

/* ---- the keeper ---- */

static void wait_for_idle(struct pool *pool, uint32_t count)
{
    struct pool_stats stats;
    do {
        usleep(100);
        pool_report_stats(pool, &stats);
    } while (stats.idle != count);
}

static void the_keeper_keeps_min_and_creates_in_parallel(void **state)
{
    (void)state;
    struct world world;
    struct pool_keeper *keeper = NULL;
    struct pool_lease leases[6];
    open_world(&world, &(struct pool_options){.min = 6, .max = 6, .retry_first_ns = NS_PER_MS});
    assert_int_equal(pool_keeper_start(world.pool, 6, &keeper, NULL), 0);
    wait_for_idle(world.pool, 6);
    assert_true(atomic_load(&world.most_creating) > 1);
    for (int i = 0; i < 6; i++) {
        leases[i] = take(&world);
    }
    atomic_store(&world.fail, 3);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(pool_discard(world.pool, leases[i]), 0);
    }
    wait_for_idle(world.pool, 6);
    assert_int_equal(atomic_load(&world.most_alive), 6);
    pool_keeper_stop(keeper);
    pool_destroy(world.pool);
    assert_int_equal(world.alive, 0);
}

/* ---- requests of a loop ---- */

struct asker {
    struct pool_request request;
    struct loop *loop;
    int calls, rc;
    struct pool_lease lease;
};

static void handle_done(struct pool_request *request, int rc, struct pool_lease lease, void *data)
{
    struct asker *asker = data;
    assert_ptr_equal(request, &asker->request);
    asker->calls++;
    asker->rc = rc;
    asker->lease = lease;
}

struct loop_world {
    struct world world;
    struct loop *loop;
    struct pool_mailbox *mailbox;
};

static void open_loop_world(struct loop_world *at, const struct pool_options *options)
{
    open_world(&at->world, options);
    assert_int_equal(loop_create(clock_real(), &at->loop), 0);
    assert_int_equal(pool_mailbox_create(at->loop, &at->mailbox), 0);
}

static void close_loop_world(struct loop_world *at)
{
    pool_mailbox_destroy(at->mailbox);
    loop_destroy(at->loop);
    pool_destroy(at->world.pool);
    assert_int_equal(at->world.alive, 0);
}

static void ask(struct loop_world *at, struct asker *asker, int64_t timeout_ns, bool creates)
{
    *asker = (struct asker){.loop = at->loop};
    pool_request_init(&asker->request, at->loop, handle_done, asker);
    pool_request_start(&asker->request, at->world.pool, at->mailbox,
                       &(struct pool_wish){.timeout_ns = timeout_ns}, creates);
    assert_int_equal(asker->calls, 0); /* never from within */
}

static void run_until(struct loop_world *at, const struct asker *asker)
{
    while (asker->calls == 0) {
        assert_int_equal(loop_iterate(at->loop, -1), 0);
    }
}

static void a_loop_is_answered_by_another_thread(void **state)
{
    (void)state;
    struct loop_world at;
    struct asker first;
    struct asker second;
    pthread_t thread;
    open_loop_world(&at, &(struct pool_options){.max = 1});
    struct pool_lease lease = take(&at.world);
    ask(&at, &first, LONG_TIME, false);
    ask(&at, &second, LONG_TIME, false);
    void *arguments[] = {at.world.pool, &lease};
    assert_int_equal(pthread_create(&thread, NULL, release_soon, arguments), 0);
    run_until(&at, &first);
    assert_int_equal(first.rc, 0);
    assert_int_equal(second.calls, 0);
    assert_int_equal(pool_release(at.world.pool, first.lease), 0);
    run_until(&at, &second);
    assert_int_equal(pool_release(at.world.pool, second.lease), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    close_loop_world(&at);
}

static void a_request_times_out_or_is_cancelled(void **state)
{
    (void)state;
    struct loop_world at;
    struct asker late;
    struct asker cancelled;
    struct asker granted;
    open_loop_world(&at, &(struct pool_options){.max = 1});
    struct pool_lease lease = take(&at.world);
    ask(&at, &late, NS_PER_MS, false);
    ask(&at, &cancelled, NS_PER_MS, false);
    pool_request_cancel(&cancelled.request);
    pool_request_cancel(&cancelled.request);
    run_until(&at, &late);
    assert_int_equal(late.rc, -ETIMEDOUT);
    assert_int_equal(cancelled.calls, 0);
    ask(&at, &granted, LONG_TIME, false);
    assert_int_equal(pool_release(at.world.pool, lease), 0);
    pool_request_cancel(&granted.request); /* it was granted, but not told */
    assert_int_equal(loop_iterate(at.loop, 0), 0);
    assert_int_equal(granted.calls, 0);
    lease = take(&at.world);
    assert_int_equal(pool_release(at.world.pool, lease), 0);
    close_loop_world(&at);
}

static void a_request_may_get_a_reservation(void **state)
{
    (void)state;
    struct loop_world at;
    struct asker maker;
    struct asker closed;
    void *thing = NULL;
    open_loop_world(&at, &(struct pool_options){.max = 1});
    ask(&at, &maker, LONG_TIME, true);
    run_until(&at, &maker);
    assert_int_equal(maker.rc, 0);
    assert_null(maker.lease.resource);
    assert_int_equal(create_thing(&at.world, &thing, NULL), 0);
    pool_fill(at.world.pool, &maker.lease, thing);
    ask(&at, &closed, LONG_TIME, true);
    assert_int_equal(pool_close(at.world.pool, 0), -ETIMEDOUT);
    run_until(&at, &closed);
    assert_int_equal(closed.rc, -ESHUTDOWN);
    assert_int_equal(pool_release(at.world.pool, maker.lease), 0);
    ask(&at, &closed, LONG_TIME, true);
    run_until(&at, &closed);
    assert_int_equal(closed.rc, -ESHUTDOWN);
    close_loop_world(&at);
}

/* ---- a crowd ---- */

#define CROWD 8

struct member {
    struct world *world;
    pthread_t thread;
    unsigned seed;
    int rounds;
    long got, timed_out;
};

static void use_once(struct member *member)
{
    static const int64_t timeouts[] = {0, NS_PER_MS, 20 * NS_PER_MS, LONG_TIME};
    struct pool *pool = member->world->pool;
    struct pool_wish wish = {.holder = "crowd",
                             .timeout_ns = timeouts[rand_r(&member->seed) % 4],
                             .priority = rand_r(&member->seed) % 4 == 0 ? POOL_HIGH : POOL_NORMAL};
    struct pool_lease lease;
    void *mine;
    int rc = pool_acquire(pool, &wish, &lease, NULL);
    if (rc != 0) {
        assert_true(rc == -ETIMEDOUT || rc == -EIO || rc == -EHOSTDOWN);
        member->timed_out++;
        return;
    }
    member->got++;
    hold(lease);
    for (int i = rand_r(&member->seed) % 200; i > 0; i--) {
        (void)atomic_load(&((struct thing *)lease.resource)->holders);
    }
    if (rand_r(&member->seed) % 64 == 0) {
        usleep(100);
    }
    atomic_store(&((struct thing *)lease.resource)->sick, rand_r(&member->seed) % 50 == 0);
    unhold(lease);
    switch (rand_r(&member->seed) % 50) {
    case 0:
        assert_int_equal(pool_discard(pool, lease), 0);
        break;
    case 1:
        assert_int_equal(pool_detach(pool, lease, &mine), 0);
        destroy_thing(member->world, mine);
        break;
    default:
        assert_int_equal(pool_release(pool, lease), 0);
    }
}

static void disturb(struct member *member)
{
    struct pool *pool = member->world->pool;
    switch (rand_r(&member->seed) % 8) {
    case 0:
        (void)pool_tend(pool);
        break;
    case 1:
        (void)pool_flush(pool);
        break;
    case 2:
        pool_resize(pool, (uint32_t)(rand_r(&member->seed) % 3),
                    3 + (uint32_t)(rand_r(&member->seed) % 4));
        break;
    case 3:
        atomic_store(&member->world->fail, 1);
        break;
    default: {
        struct pool_stats stats;
        pool_report_stats(pool, &stats);
        assert_true(stats.in_use + stats.idle <= 6);
    }
    }
}

static void *be_in_crowd(void *data)
{
    struct member *member = data;
    for (int i = 0; i < member->rounds; i++) {
        use_once(member);
        if (rand_r(&member->seed) % 100 == 0) {
            disturb(member);
        }
    }
    return NULL;
}

static void in_a_crowd_nobody_shares_and_nothing_is_lost(void **state)
{
    (void)state;
    struct world world;
    struct pool_keeper *keeper = NULL;
    struct member members[CROWD];
    open_world(&world, &(struct pool_options){.min = 2,
                                              .max = 5,
                                              .limit = 6,
                                              .reserved = 1,
                                              .check_released = true,
                                              .check_idle_ns = NS_PER_MS,
                                              .idle_limit_ns = 2 * NS_PER_MS,
                                              .age_limit_ns = 50 * NS_PER_MS,
                                              .adapt_interval_ns = 5 * NS_PER_MS,
                                              .retry_first_ns = NS_PER_MS,
                                              .retry_limit_ns = NS_PER_MS});
    assert_int_equal(pool_keeper_start(world.pool, 3, &keeper, NULL), 0);
    for (unsigned i = 0; i < CROWD; i++) {
        members[i] = (struct member){.world = &world, .seed = i * 7919 + 1, .rounds = 1500};
        assert_int_equal(pthread_create(&members[i].thread, NULL, be_in_crowd, &members[i]), 0);
    }
    long got = 0;
    for (int i = 0; i < CROWD; i++) {
        assert_int_equal(pthread_join(members[i].thread, NULL), 0);
        got += members[i].got;
    }
    pool_keeper_stop(keeper);
    struct pool_stats stats;
    pool_report_stats(world.pool, &stats);
    assert_true(got > CROWD * 1500 / 2);
    assert_int_equal(stats.acquired, got);
    assert_int_equal(stats.waiting, 0);
    assert_int_equal(stats.in_use + stats.creating + stats.checking, 0);
    assert_true(atomic_load(&world.most_alive) <= 6);
    uint64_t ended = 0;
    for (int i = 0; i < POOL_ENDS; i++) {
        ended += stats.ended[i];
    }
    assert_int_equal(stats.created, ended + stats.idle);
    assert_int_equal(pool_close(world.pool, 0), 0);
    pool_destroy(world.pool);
    assert_int_equal(world.alive, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_come_first_served_within_a_priority),
        cmocka_unit_test(closing_wakes_all_who_wait),
        cmocka_unit_test(closing_waits_for_what_is_out),
        cmocka_unit_test(a_waiter_creates_where_one_was_destroyed),
        cmocka_unit_test(waiters_are_told_when_the_circuit_opens),
        cmocka_unit_test(the_keeper_keeps_min_and_creates_in_parallel),
        cmocka_unit_test(a_loop_is_answered_by_another_thread),
        cmocka_unit_test(a_request_times_out_or_is_cancelled),
        cmocka_unit_test(a_request_may_get_a_reservation),
        cmocka_unit_test(in_a_crowd_nobody_shares_and_nothing_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
