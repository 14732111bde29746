/* The pool: circuit, reservations, closing, reports, metrics. One thread, a clock that the test moves. */
#include "test_pool_kit.h"

/* ---- the circuit ---- */

static void a_failure_is_told_and_the_next_attempt_waits(void **state)
{
    (void)state;
    struct fixture fixture;
    struct pool_lease lease;
    struct error error = {""};
    set_up(&fixture, &(struct pool_options){.max = 2,
                                            .break_after = 3,
                                            .retry_first_ns = NS_PER_SECOND,
                                            .retry_limit_ns = 8 * NS_PER_SECOND});
    fixture.maker.fail = 3;
    assert_int_equal(pool_acquire(fixture.pool, &at_once, &lease, &error), -EIO);
    assert_string_equal(error.text, "pool things: no things today");
    for (int i = 0; i < 2; i++) {
        advance(&fixture, 8 * NS_PER_SECOND);
        assert_int_equal(pool_acquire(fixture.pool, &at_once, &lease, &error), -EIO);
    }
    assert_true(stats_of(&fixture).circuit_open);
    while (pool_retry_delay_ns(fixture.pool) == 0) { /* full jitter may give no pause at all */
        fixture.maker.fail = 1;
        assert_int_equal(pool_acquire(fixture.pool, &at_once, &lease, &error), -EIO);
    }
    assert_int_equal(pool_acquire(fixture.pool, &at_once, &lease, &error), -EHOSTDOWN);
    assert_non_null(strstr(error.text, "the circuit is open after"));
    assert_non_null(strstr(error.text, "no things today"));
    assert_int_equal(pool_missing(fixture.pool), 0);
    advance(&fixture, 8 * NS_PER_SECOND);
    lease = take(&fixture); /* one attempt, which succeeds */
    assert_false(stats_of(&fixture).circuit_open);
    give(&fixture, lease);
    tear_down(&fixture);
}

static void a_failure_does_not_fail_who_can_wait_for_others(void **state)
{
    (void)state;
    struct fixture fixture;
    struct pool_lease extra;
    set_up(&fixture, &(struct pool_options){.max = 2});
    struct pool_lease one = take(&fixture);
    fixture.maker.fail = 1;
    assert_int_equal(pool_acquire(fixture.pool, &at_once, &extra, NULL), -ETIMEDOUT);
    assert_int_equal(stats_of(&fixture).create_failures, 1);
    give(&fixture, one);
    tear_down(&fixture);
}

/* ---- resources made by users ---- */

static const struct pool_type made_type = {.destroy = destroy_thing};

static struct thing *make_thing(struct fixture *fixture)
{
    void *thing = NULL;
    assert_int_equal(create_thing(&fixture->maker, &thing, NULL), 0);
    return thing;
}

static void a_reservation_becomes_a_resource_or_is_given_up(void **state)
{
    (void)state;
    struct fixture fixture;
    struct pool_lease one;
    struct pool_lease two;
    struct pool_lease three;
    void *mine = NULL;
    set_up(&fixture, &(struct pool_options){.type = &made_type, .max = 2});
    assert_int_equal(pool_reserve(fixture.pool, &at_once, &one), 0);
    assert_null(one.resource);
    assert_int_equal(pool_reserve(fixture.pool, &at_once, &two), 0);
    assert_int_equal(pool_reserve(fixture.pool, &at_once, &three), -EAGAIN);
    assert_int_equal(stats_of(&fixture).creating, 2);
    pool_fill(fixture.pool, &one, make_thing(&fixture));
    assert_int_equal(stats_of(&fixture).in_use, 1);
    pool_abandon(fixture.pool, two, 0, "");
    assert_int_equal(stats_of(&fixture).create_failures, 0);
    assert_int_equal(pool_reserve(fixture.pool, &at_once, &two), 0);
    pool_add(fixture.pool, two, make_thing(&fixture));
    assert_int_equal(stats_of(&fixture).idle, 1);
    assert_int_equal(pool_detach(fixture.pool, one, &mine), 0);
    assert_ptr_equal(mine, one.resource);
    assert_int_equal(pool_reserve(fixture.pool, &at_once, &one), 0);
    pool_abandon(fixture.pool, one, -ECONNREFUSED, "refused");
    assert_int_equal(stats_of(&fixture).create_failures, 1);
    destroy_thing(&fixture.maker, mine);
    tear_down(&fixture);
}

static int wanted_calls;

static void count_wanted(void *data)
{
    (void)data;
    wanted_calls++;
}

static void a_lack_is_told(void **state)
{
    (void)state;
    struct fixture fixture;
    struct pool_lease lease;
    wanted_calls = 0;
    set_up(&fixture, &(struct pool_options){
                         .type = &made_type, .min = 1, .max = 2, .on_wanted = count_wanted});
    (void)pool_tend(fixture.pool);
    assert_int_equal(wanted_calls, 1);
    assert_int_equal(pool_reserve(fixture.pool, &at_once, &lease), 0);
    pool_add(fixture.pool, lease, make_thing(&fixture));
    wanted_calls = 0;
    assert_int_equal(pool_try_acquire(fixture.pool, NULL, &lease), 0);
    assert_int_equal(pool_discard(fixture.pool, lease), 0);
    assert_int_equal(wanted_calls, 1);
    tear_down(&fixture);
}

/* ---- closing, reports ---- */

static void keep_holding(const struct pool_holding *holding, void *data)
{
    *(struct pool_holding *)data = *holding;
}

static void what_is_out_is_reported_with_its_holder(void **state)
{
    (void)state;
    struct fixture fixture;
    struct pool_holding holding;
    struct buf text;
    buf_init(&text, 0);
    set_up(&fixture, &(struct pool_options){.max = 2});
    struct pool_lease lease = take(&fixture);
    advance(&fixture, 1500 * NS_PER_MS);
    struct pool_lease young = take(&fixture);
    assert_int_equal(pool_report_holdings(fixture.pool, 0, keep_holding, &holding), 2);
    assert_int_equal(pool_report_holdings(fixture.pool, NS_PER_SECOND, keep_holding, &holding), 1);
    assert_string_equal(holding.holder, "test");
    assert_int_equal(holding.held_ns, 1500 * NS_PER_MS);
    assert_true(holding.thread > 0);
    assert_int_equal(pool_report_text(fixture.pool, NS_PER_SECOND, &text), 0);
    assert_non_null(strstr(buf_terminated(&text), "pool things: held by test (thread "));
    assert_non_null(strstr(text.data, ") for 1.500 s\n"));
    give(&fixture, lease);
    give(&fixture, young);
    buf_clear(&text);
    assert_int_equal(pool_report_text(fixture.pool, 0, &text), 0);
    assert_int_equal(text.size, 0);
    buf_finish(&text);
    tear_down(&fixture);
}

static void closing_reports_what_does_not_come_back(void **state)
{
    (void)state;
    struct fixture fixture;
    struct pool_lease extra;
    struct error error = {""};
    set_up(&fixture, &(struct pool_options){.max = 3});
    struct pool_lease out = take(&fixture);
    give(&fixture, take(&fixture));
    assert_int_equal(pool_close(fixture.pool, NS_PER_MS), -ETIMEDOUT);
    assert_int_equal(fixture.maker.alive, 1);
    assert_int_equal(pool_try_acquire(fixture.pool, NULL, &extra), -ESHUTDOWN);
    assert_int_equal(pool_acquire(fixture.pool, &at_once, &extra, &error), -ESHUTDOWN);
    assert_string_equal(error.text, "pool things is closed");
    assert_int_equal(pool_reserve(fixture.pool, &at_once, &extra), -ESHUTDOWN);
    give(&fixture, out); /* it is destroyed, not kept */
    assert_int_equal(fixture.maker.alive, 0);
    assert_int_equal(pool_close(fixture.pool, 0), 0);
    tear_down(&fixture);
}

static void a_lease_may_outlive_its_pool(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, &(struct pool_options){.max = 3});
    struct pool_lease one = take(&fixture);
    struct pool_lease two = take(&fixture);
    struct pool *pool = fixture.pool;
    pool_destroy(pool);
    assert_int_equal(pool_release(pool, one), 0);
    assert_int_equal(fixture.maker.alive, 1);
    assert_int_equal(pool_discard(pool, two), 0);
    assert_int_equal(fixture.maker.alive, 0);
    pool_destroy(NULL);
}

static void every_metric_of_a_pool_moves(void **state)
{
    (void)state;
    static const char *const expected[] = {
        "log_capturer_pool_created_total{pool=\"things\"} 2\n",
        "log_capturer_pool_create_failures_total{pool=\"things\"} 1\n",
        "log_capturer_pool_timeouts_total{pool=\"things\"} 1\n",
        "log_capturer_pool_acquired_total{pool=\"things\"} 4\n",
        "log_capturer_pool_reused_total{pool=\"things\"} 2\n",
        "log_capturer_pool_reuse_ratio{pool=\"things\"} 0.5\n",
        "log_capturer_pool_resources{pool=\"things\",state=\"in_use\"} 1\n",
        "log_capturer_pool_resources{pool=\"things\",state=\"idle\"} 0\n",
        "log_capturer_pool_destroyed_total{pool=\"things\",reason=\"discarded\"} 1\n",
        "log_capturer_pool_lifetime_seconds_count{pool=\"things\"} 1\n",
        "log_capturer_pool_limit{pool=\"things\"} 2\n",
        "log_capturer_pool_target{pool=\"things\"} 1\n",
        "log_capturer_pool_waiters{pool=\"things\"} 0\n",
        "log_capturer_pool_circuit_open{pool=\"things\"} 1\n"};
    struct fixture fixture;
    struct metrics *metrics = NULL;
    struct pool_lease extra;
    struct buf text;
    buf_init(&text, 0);
    assert_int_equal(metrics_create(&metrics), 0);
    set_up(&fixture, &(struct pool_options){.min = 1, .max = 2, .break_after = 1});
    assert_int_equal(pool_register_metrics(fixture.pool, metrics), 0);
    struct pool_lease one = take(&fixture);
    give(&fixture, one);
    one = take(&fixture);
    give(&fixture, one);
    one = take(&fixture);
    struct pool_lease two = take(&fixture);
    assert_int_equal(pool_discard(fixture.pool, two), 0);
    fixture.maker.fail = 1;
    assert_int_equal(pool_acquire(fixture.pool, &at_once, &extra, NULL), -ETIMEDOUT);
    assert_int_equal(metrics_render(metrics, METRICS_PROMETHEUS, &text), 0);
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        if (strstr(buf_terminated(&text), expected[i]) == NULL) {
            fail_msg("not there: %s", expected[i]);
        }
    }
    give(&fixture, one);
    buf_finish(&text);
    tear_down(&fixture);
    metrics_destroy(metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failure_is_told_and_the_next_attempt_waits),
        cmocka_unit_test(a_failure_does_not_fail_who_can_wait_for_others),
        cmocka_unit_test(a_reservation_becomes_a_resource_or_is_given_up),
        cmocka_unit_test(a_lack_is_told),
        cmocka_unit_test(what_is_out_is_reported_with_its_holder),
        cmocka_unit_test(closing_reports_what_does_not_come_back),
        cmocka_unit_test(a_lease_may_outlive_its_pool),
        cmocka_unit_test(every_metric_of_a_pool_moves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
