/* The pool where several rules meet: who can be helped, what counts as demand, ends while others are inside. */
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "pools/pool_request.h"
#include "test_pool_kit.h"

#define LONG_TIME (60 * NS_PER_SECOND)

static bool is_never(const void *resource, const void *data)
{
    (void)resource;
    (void)data;
    return false;
}

struct waiting {
    struct pool *pool;
    struct pool_wish wish;
    pthread_t thread;
    struct pool_lease lease;
    int rc;
    int id;
};

static void *wait_for_one(void *data)
{
    struct waiting *waiting = data;
    waiting->id = (int)gettid();
    waiting->rc = pool_acquire(waiting->pool, &waiting->wish, &waiting->lease, NULL);
    return NULL;
}

static void start_waiting(struct fixture *fixture, struct waiting *waiting,
                          const struct pool_wish *wish)
{
    uint32_t before = stats_of(fixture).waiting;
    *waiting = (struct waiting){.pool = fixture->pool, .wish = *wish};
    assert_int_equal(pthread_create(&waiting->thread, NULL, wait_for_one, waiting), 0);
    while (stats_of(fixture).waiting == before) {
        usleep(100);
    }
}

static void end_waiting(struct waiting *waiting)
{
    assert_int_equal(pthread_join(waiting->thread, NULL), 0);
}

/* ---- who is helped by a new one ---- */

static void who_waits_for_a_certain_one_makes_no_demand(void **state)
{
    (void)state;
    struct fixture fixture;
    struct waiting picky;
    set_up(&fixture, &(struct pool_options){.max = 10});
    struct pool_lease one = take(&fixture);
    start_waiting(&fixture, &picky,
                  &(struct pool_wish){.timeout_ns = LONG_TIME, .match = is_never});
    assert_int_equal(pool_missing(fixture.pool), 0);
    struct pool_lease other; /* and it holds nobody up */
    assert_int_equal(pool_acquire(fixture.pool, &at_once, &other, NULL), 0);
    give(&fixture, other);
    assert_int_equal(pool_try_acquire(fixture.pool, NULL, &other), 0);
    give(&fixture, other);
    assert_int_equal(pool_close(fixture.pool, 0), -ETIMEDOUT);
    end_waiting(&picky);
    assert_int_equal(picky.rc, -ESHUTDOWN);
    give(&fixture, one);
    tear_down(&fixture);
}

static void who_may_not_have_what_is_left_makes_no_demand(void **state)
{
    (void)state;
    struct fixture fixture;
    struct pool_lease leases[6];
    struct waiting normal;
    set_up(&fixture, &(struct pool_options){.max = 10, .reserved = 4});
    for (int i = 0; i < 6; i++) {
        leases[i] = take(&fixture);
    }
    start_waiting(&fixture, &normal, &(struct pool_wish){.timeout_ns = LONG_TIME});
    assert_int_equal(pool_missing(fixture.pool), 0);
    give(&fixture, leases[0]);
    end_waiting(&normal);
    assert_int_equal(normal.rc, 0);
    assert_int_equal(fixture.maker.made, 6);
    give(&fixture, normal.lease);
    for (int i = 1; i < 6; i++) {
        give(&fixture, leases[i]);
    }
    tear_down(&fixture);
}

static void a_max_that_shrinks_to_the_reserve_leaves_one(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, &(struct pool_options){.max = 4, .reserved = 2});
    pool_resize(fixture.pool, 0, 2);
    give(&fixture, take(&fixture));
    pool_resize(fixture.pool, 0, 1);
    give(&fixture, take(&fixture));
    tear_down(&fixture);
}

static void an_open_circuit_leaves_the_reserve_alone(void **state)
{
    (void)state;
    struct fixture fixture;
    struct pool_lease leases[4];
    struct pool_lease extra;
    struct pool_wish high = {.priority = POOL_HIGH};
    set_up(&fixture,
           &(struct pool_options){
               .max = 10, .reserved = 2, .retry_first_ns = LONG_TIME, .retry_limit_ns = LONG_TIME});
    for (int i = 0; i < 4; i++) {
        leases[i] = take(&fixture);
    }
    do { /* full jitter may give no pause at all */
        fixture.maker.fail = 1;
        assert_int_equal(pool_acquire(fixture.pool, &at_once, &extra, NULL), -ETIMEDOUT);
    } while (pool_retry_delay_ns(fixture.pool) == 0);
    for (int i = 0; i < 4; i++) {
        give(&fixture, leases[i]);
    }
    leases[0] = take(&fixture);
    leases[1] = take(&fixture);
    assert_int_equal(pool_acquire(fixture.pool, &at_once, &extra, NULL), -ETIMEDOUT);
    assert_int_equal(pool_acquire(fixture.pool, &high, &extra, NULL), 0);
    give(&fixture, extra);
    give(&fixture, leases[0]);
    give(&fixture, leases[1]);
    tear_down(&fixture);
}

/* ---- demand ---- */

static void tend_for(struct fixture *fixture, int seconds)
{
    for (int i = 0; i < seconds; i++) {
        advance(fixture, NS_PER_SECOND);
        (void)pool_tend(fixture->pool);
    }
}

static void a_burst_is_counted_though_it_is_swept_meanwhile(void **state)
{
    (void)state;
    struct fixture fixture;
    struct pool_lease leases[40];
    set_up(&fixture, &(struct pool_options){.max = 100, .adapt_interval_ns = 10 * NS_PER_SECOND});
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 40; i++) {
            leases[i] = take(&fixture);
        }
        for (int i = 0; i < 40; i++) {
            give(&fixture, leases[i]);
        }
        tend_for(&fixture, 10);
        assert_int_equal(stats_of(&fixture).target, 50);
    }
    assert_int_equal(stats_of(&fixture).created, 40);
    tear_down(&fixture);
}

static void what_is_destroyed_and_made_anew_is_no_demand(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error error = {""};
    set_up(&fixture,
           &(struct pool_options){.min = 10, .max = 100, .adapt_interval_ns = 10 * NS_PER_SECOND});
    for (int round = 0; round < 5; round++) {
        assert_int_equal(pool_prefill(fixture.pool, 1, &error), 0);
        assert_int_equal(pool_flush(fixture.pool), 10);
        tend_for(&fixture, 10);
        assert_int_equal(stats_of(&fixture).target, 10);
    }
    tear_down(&fixture);
}

static void who_waits_is_demand(void **state)
{
    (void)state;
    struct fixture fixture;
    struct waiting waiting;
    set_up(&fixture,
           &(struct pool_options){.max = 1, .limit = 9, .adapt_interval_ns = NS_PER_SECOND});
    struct pool_lease one = take(&fixture);
    start_waiting(&fixture, &waiting, &(struct pool_wish){.timeout_ns = LONG_TIME});
    give(&fixture, one);
    end_waiting(&waiting);
    give(&fixture, waiting.lease);
    pool_resize(fixture.pool, 0, 9);
    tend_for(&fixture, 1);
    assert_int_equal(stats_of(&fixture).target, 3); /* one in use, one waiting, and a quarter */
    tear_down(&fixture);
}

static void surplus_is_counted_once(void **state)
{
    (void)state;
    struct fixture fixture;
    struct pool_lease leases[20];
    set_up(&fixture, &(struct pool_options){.max = 20});
    for (int i = 0; i < 20; i++) {
        leases[i] = take(&fixture);
    }
    pool_resize(fixture.pool, 0, 19);
    for (int i = 0; i < 20; i++) {
        give(&fixture, leases[i]);
    }
    assert_int_equal(stats_of(&fixture).ended[POOL_END_SURPLUS], 1);
    assert_int_equal(stats_of(&fixture).idle, 19);
    tear_down(&fixture);
}

/* ---- health and age ---- */

static bool always_healthy(void *data, void *resource)
{
    (void)data;
    (void)resource;
    return true;
}

static const struct pool_type checked_type = {
    .create = create_thing, .destroy = destroy_thing, .is_healthy = always_healthy};

static void a_check_is_no_use(void **state)
{
    (void)state;
    struct fixture fixture;
    struct pool_lease leases[16];
    set_up(&fixture, &(struct pool_options){.type = &checked_type,
                                            .max = 16,
                                            .idle_limit_ns = 60 * NS_PER_SECOND,
                                            .check_idle_ns = 10 * NS_PER_SECOND});
    for (int i = 0; i < 16; i++) {
        leases[i] = take(&fixture);
    }
    for (int i = 0; i < 16; i++) {
        give(&fixture, leases[i]);
    }
    for (int i = 0; i < 300; i++) { /* one is in use now and then, the others are only checked */
        give(&fixture, take(&fixture));
        tend_for(&fixture, 1);
    }
    assert_int_equal(stats_of(&fixture).ended[POOL_END_IDLE], 15);
    tear_down(&fixture);
}

static void age_counts_whichever_way_it_is_handed_out(void **state)
{
    (void)state;
    struct fixture fixture;
    struct pool_lease got;
    int first = 1;
    set_up(&fixture,
           &(struct pool_options){.max = 4, .reserved = 1, .age_limit_ns = 10 * NS_PER_SECOND});
    give(&fixture, take(&fixture));
    advance(&fixture, 100 * NS_PER_SECOND);
    struct pool_wish that_one = {.match = has_number, .match_data = &first};
    assert_int_equal(pool_try_acquire(fixture.pool, &that_one, &got), -EAGAIN);
    give(&fixture, take(&fixture));
    advance(&fixture, 100 * NS_PER_SECOND);
    got = take(&fixture);
    assert_int_equal(((struct thing *)got.resource)->number, 3);
    give(&fixture, got);
    struct pool_stats stats = stats_of(&fixture);
    assert_int_equal(stats.acquired, 3); /* those that were not handed out do not count */
    assert_int_equal(stats.reused, 0);
    tear_down(&fixture);
}

/* ---- the circuit ---- */

static void prefill_says_when_nothing_was_tried(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error error = {""};
    set_up(&fixture,
           &(struct pool_options){
               .min = 3, .max = 3, .retry_first_ns = LONG_TIME, .retry_limit_ns = LONG_TIME});
    do {
        fixture.maker.fail = 1;
        assert_int_equal(pool_prefill(fixture.pool, 1, &error), -EIO);
    } while (pool_retry_delay_ns(fixture.pool) == 0);
    assert_int_equal(pool_prefill(fixture.pool, 1, &error), -EHOSTDOWN);
    assert_non_null(strstr(error.text, "the last failed: no things today"));
    tear_down(&fixture);
}

static void the_loss_of_the_last_one_tells_those_who_wait(void **state)
{
    (void)state;
    struct fixture fixture;
    struct pool_lease extra;
    struct waiting waiting;
    set_up(&fixture, &(struct pool_options){.max = 2,
                                            .break_after = 1,
                                            .retry_first_ns = LONG_TIME,
                                            .retry_limit_ns = LONG_TIME});
    struct pool_lease last = take(&fixture);
    do {
        fixture.maker.fail = 1;
        assert_int_equal(pool_acquire(fixture.pool, &at_once, &extra, NULL), -ETIMEDOUT);
    } while (pool_retry_delay_ns(fixture.pool) == 0);
    start_waiting(&fixture, &waiting, &(struct pool_wish){.timeout_ns = LONG_TIME});
    assert_int_equal(pool_discard(fixture.pool, last), 0);
    end_waiting(&waiting);
    assert_int_equal(waiting.rc, -EHOSTDOWN);
    tear_down(&fixture);
}

static void a_sleeper_wakes_for_the_next_attempt(void **state)
{
    (void)state;
    struct maker maker = {.made = 0};
    struct pool *pool = NULL;
    struct pool_lease one;
    struct pool_wish wish = {.timeout_ns = LONG_TIME};
    const struct pool_options options = {.name = "things",
                                         .type = &plain_type,
                                         .data = &maker,
                                         .max = 2,
                                         .retry_first_ns = 5 * NS_PER_MS,
                                         .retry_limit_ns = 5 * NS_PER_MS};
    assert_int_equal(pool_create(&options, &pool, NULL), 0); /* real clocks */
    for (int i = 0; i < 100; i++) {
        struct pool_lease two;
        assert_int_equal(pool_acquire(pool, &wish, &one, NULL), 0);
        maker.fail = 1;
        assert_int_equal(pool_acquire(pool, &wish, &two, NULL), 0);
        assert_int_equal(pool_discard(pool, two), 0);
        assert_int_equal(pool_release(pool, one), 0);
    }
    pool_destroy(pool);
    assert_int_equal(maker.alive, 0);
}

/* ---- requests beside threads ---- */

struct asker {
    struct pool_request request;
    struct pool *pool;
    struct pool_mailbox *mailbox;
    int calls, rc, again;
};

static void handle_done(struct pool_request *request, int rc, struct pool_lease lease, void *data)
{
    struct asker *asker = data;
    asker->calls++;
    asker->rc = rc;
    if (rc == 0) {
        (void)pool_release(asker->pool, lease);
    }
    if (asker->again > 0) {
        asker->again--;
        pool_request_start(request, asker->pool, asker->mailbox,
                           &(struct pool_wish){.timeout_ns = LONG_TIME}, false);
    }
}

struct office {
    struct loop *loop;
    struct pool_mailbox *mailbox;
};

static void open_office(struct office *office)
{
    assert_int_equal(loop_create(clock_real(), &office->loop), 0);
    assert_int_equal(pool_mailbox_create(office->loop, &office->mailbox), 0);
}

static void close_office(struct office *office)
{
    pool_mailbox_destroy(office->mailbox);
    loop_destroy(office->loop);
}

static void ask(struct office *office, struct asker *asker, struct pool *pool)
{
    asker->pool = pool;
    asker->mailbox = office->mailbox;
    pool_request_init(&asker->request, office->loop, handle_done, asker);
    pool_request_start(&asker->request, pool, office->mailbox,
                       &(struct pool_wish){.timeout_ns = LONG_TIME}, false);
}

static void who_can_create_is_not_held_up_by_who_can_not(void **state)
{
    (void)state;
    struct fixture fixture;
    struct office office;
    struct asker asker = {.calls = 0};
    set_up(&fixture, &(struct pool_options){.max = 10});
    open_office(&office);
    ask(&office, &asker, fixture.pool); /* takes no reservation, and nothing is there */
    struct pool_lease lease = take(&fixture);
    give(&fixture, lease);
    while (asker.calls == 0) {
        assert_int_equal(loop_iterate(office.loop, -1), 0);
    }
    assert_int_equal(asker.rc, 0);
    close_office(&office);
    tear_down(&fixture);
}

static void a_request_that_asks_again_leaves_others_their_turn(void **state)
{
    (void)state;
    struct fixture fixture;
    struct office office;
    struct asker asker = {.again = 1000};
    set_up(&fixture, &(struct pool_options){.max = 1});
    open_office(&office);
    give(&fixture, take(&fixture));
    ask(&office, &asker, fixture.pool);
    assert_int_equal(loop_iterate(office.loop, -1), 0);
    assert_int_equal(asker.calls, 1);
    while (asker.calls < 1001) {
        assert_int_equal(loop_iterate(office.loop, -1), 0);
    }
    close_office(&office);
    tear_down(&fixture);
}

/* ---- ends while others are inside ---- */

static void a_pool_may_be_destroyed_under_a_request(void **state)
{
    (void)state;
    struct fixture fixture;
    struct office office;
    struct asker told = {.calls = 0};
    struct asker cancelled = {.calls = 0};
    set_up(&fixture, &(struct pool_options){.max = 1});
    open_office(&office);
    ask(&office, &told, fixture.pool);
    ask(&office, &cancelled, fixture.pool);
    pool_destroy(fixture.pool);
    pool_request_cancel(&cancelled.request);
    while (told.calls == 0) {
        assert_int_equal(loop_iterate(office.loop, -1), 0);
    }
    assert_int_equal(told.rc, -ESHUTDOWN);
    assert_int_equal(cancelled.calls, 0);
    close_office(&office);
}

static void a_pool_may_be_destroyed_under_threads_that_wait(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        struct fixture fixture;
        struct waiting waiting[4];
        set_up(&fixture, &(struct pool_options){.max = 1});
        struct pool_lease one = take(&fixture);
        for (int i = 0; i < 4; i++) {
            start_waiting(&fixture, &waiting[i], &(struct pool_wish){.timeout_ns = LONG_TIME});
        }
        pool_destroy(fixture.pool);
        give(&fixture, one);
        for (int i = 0; i < 4; i++) {
            end_waiting(&waiting[i]);
            assert_int_equal(waiting[i].rc, -ESHUTDOWN);
        }
        assert_int_equal(fixture.maker.alive, 0);
    }
}

static atomic_bool may_fail;

static int fail_when_told(void *data, void **ret_resource, struct error *error)
{
    (void)ret_resource;
    atomic_store((atomic_bool *)data, true);
    while (!atomic_load(&may_fail)) {
        usleep(100);
    }
    error_set(error, "too late");
    return -EIO;
}

static void a_pool_may_be_destroyed_under_a_creation(void **state)
{
    (void)state;
    static const struct pool_type type = {.create = fail_when_told, .destroy = destroy_thing};
    atomic_bool begun = false;
    struct pool *pool = NULL;
    const struct pool_options options = {.name = "things", .type = &type, .data = &begun, .max = 1};
    atomic_store(&may_fail, false);
    assert_int_equal(pool_create(&options, &pool, NULL), 0);
    struct waiting waiting = {.pool = pool, .wish = {.timeout_ns = LONG_TIME}};
    assert_int_equal(pthread_create(&waiting.thread, NULL, wait_for_one, &waiting), 0);
    while (!atomic_load(&begun)) {
        usleep(100);
    }
    pool_destroy(pool);
    atomic_store(&may_fail, true);
    end_waiting(&waiting);
    assert_true(waiting.rc == -EIO || waiting.rc == -ESHUTDOWN);
}

static void closing_may_wait_for_ever(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, &(struct pool_options){.max = 1});
    give(&fixture, take(&fixture));
    assert_int_equal(pool_close(fixture.pool, INT64_MAX), 0);
    assert_int_equal(pool_close(fixture.pool, -1), 0);
    tear_down(&fixture);
}

/* ---- reports ---- */

static void keep_holding(const struct pool_holding *holding, void *data)
{
    *(struct pool_holding *)data = *holding;
}

static void the_report_names_the_thread_that_holds(void **state)
{
    (void)state;
    struct fixture fixture;
    struct waiting waiting;
    struct pool_holding holding;
    set_up(&fixture, &(struct pool_options){.max = 1});
    struct pool_lease one = take(&fixture);
    start_waiting(&fixture, &waiting,
                  &(struct pool_wish){.holder = "the one that waited", .timeout_ns = LONG_TIME});
    give(&fixture, one); /* this thread hands it over, the other one holds it */
    end_waiting(&waiting);
    assert_int_equal(pool_report_holdings(fixture.pool, 0, keep_holding, &holding), 1);
    assert_string_equal(holding.holder, "the one that waited");
    assert_int_equal(holding.thread, waiting.id);
    give(&fixture, waiting.lease);
    tear_down(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_waits_for_a_certain_one_makes_no_demand),
        cmocka_unit_test(who_may_not_have_what_is_left_makes_no_demand),
        cmocka_unit_test(a_max_that_shrinks_to_the_reserve_leaves_one),
        cmocka_unit_test(an_open_circuit_leaves_the_reserve_alone),
        cmocka_unit_test(a_burst_is_counted_though_it_is_swept_meanwhile),
        cmocka_unit_test(what_is_destroyed_and_made_anew_is_no_demand),
        cmocka_unit_test(who_waits_is_demand),
        cmocka_unit_test(surplus_is_counted_once),
        cmocka_unit_test(a_check_is_no_use),
        cmocka_unit_test(age_counts_whichever_way_it_is_handed_out),
        cmocka_unit_test(prefill_says_when_nothing_was_tried),
        cmocka_unit_test(the_loss_of_the_last_one_tells_those_who_wait),
        cmocka_unit_test(a_sleeper_wakes_for_the_next_attempt),
        cmocka_unit_test(who_can_create_is_not_held_up_by_who_can_not),
        cmocka_unit_test(a_request_that_asks_again_leaves_others_their_turn),
        cmocka_unit_test(a_pool_may_be_destroyed_under_a_request),
        cmocka_unit_test(a_pool_may_be_destroyed_under_threads_that_wait),
        cmocka_unit_test(a_pool_may_be_destroyed_under_a_creation),
        cmocka_unit_test(closing_may_wait_for_ever),
        cmocka_unit_test(the_report_names_the_thread_that_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
