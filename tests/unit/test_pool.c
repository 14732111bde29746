/* The pool: acquiring, returning, limits, health, sweep, size. One thread, a clock that the test moves. */
#include "test_pool_kit.h"

static int number_of(struct pool_lease lease)
{
    return ((struct thing *)lease.resource)->number;
}

static bool thing_is_healthy(void *data, void *resource)
{
    ((struct maker *)data)->checks++;
    return !((struct thing *)resource)->sick;
}

static int reset_thing(void *data, void *resource)
{
    ((struct maker *)data)->resets++;
    return ((struct thing *)resource)->stained ? -EIO : 0;
}

static const struct pool_type careful_type = {.create = create_thing,
                                              .destroy = destroy_thing,
                                              .is_healthy = thing_is_healthy,
                                              .reset = reset_thing};

/* ---- acquiring and returning ---- */

static void what_came_back_last_is_handed_out_first(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, &(struct pool_options){.max = 3});
    struct pool_lease one = take(&fixture);
    struct pool_lease two = take(&fixture);
    assert_int_equal(number_of(one), 1);
    assert_int_equal(number_of(two), 2);
    give(&fixture, two);
    give(&fixture, one);
    struct pool_lease again = take(&fixture);
    assert_int_equal(number_of(again), 1);
    give(&fixture, again);
    struct pool_stats stats = stats_of(&fixture);
    assert_int_equal(stats.acquired, 3);
    assert_int_equal(stats.reused, 1);
    assert_int_equal(stats.created, 2);
    assert_int_equal(stats.idle, 2);
    tear_down(&fixture);
}

static void never_more_than_max_are_there(void **state)
{
    (void)state;
    struct fixture fixture;
    struct pool_lease extra;
    struct error error = {""};
    set_up(&fixture, &(struct pool_options){.max = 2});
    struct pool_lease one = take(&fixture);
    struct pool_lease two = take(&fixture);
    assert_int_equal(pool_acquire(fixture.pool, &at_once, &extra, &error), -ETIMEDOUT);
    assert_string_equal(error.text, "pool things: none of 2 came free in time");
    assert_int_equal(pool_try_acquire(fixture.pool, NULL, &extra), -EAGAIN);
    assert_int_equal(fixture.maker.alive, 2);
    assert_int_equal(stats_of(&fixture).timeouts, 1);
    give(&fixture, one);
    assert_int_equal(pool_try_acquire(fixture.pool, NULL, &extra), 0);
    give(&fixture, extra);
    give(&fixture, two);
    tear_down(&fixture);
}

static void a_wait_ends_at_its_deadline(void **state)
{
    (void)state;
    struct fixture fixture;
    struct pool_lease extra;
    set_up(&fixture, &(struct pool_options){.max = 1});
    struct pool_lease one = take(&fixture);
    struct pool_wish wish = {.timeout_ns = 20 * NS_PER_MS};
    assert_int_equal(pool_acquire(fixture.pool, &wish, &extra, NULL), -ETIMEDOUT);
    assert_int_equal(stats_of(&fixture).waiting, 0);
    give(&fixture, one);
    tear_down(&fixture);
}

static void a_lease_can_be_given_back_once(void **state)
{
    (void)state;
    struct fixture fixture;
    void *resource;
    set_up(&fixture, &(struct pool_options){.max = 1});
    struct pool_lease lease = take(&fixture);
    give(&fixture, lease);
    assert_int_equal(pool_release(fixture.pool, lease), -EINVAL);
    assert_int_equal(pool_discard(fixture.pool, lease), -EINVAL);
    assert_int_equal(pool_detach(fixture.pool, lease, &resource), -EINVAL);
    struct pool_lease next = take(&fixture);
    assert_int_equal(pool_release(fixture.pool, lease), -EINVAL);
    assert_int_equal(stats_of(&fixture).in_use, 1);
    give(&fixture, next);
    tear_down(&fixture);
}

static void a_wish_can_name_the_one_it_wants(void **state)
{
    (void)state;
    struct fixture fixture;
    struct pool_lease leases[4];
    struct pool_lease wanted;
    set_up(&fixture, &(struct pool_options){.max = 4});
    for (int i = 0; i < 4; i++) {
        leases[i] = take(&fixture);
    }
    for (int i = 0; i < 4; i++) {
        give(&fixture, leases[i]);
    }
    for (int number = 1; number <= 4; number++) {
        struct pool_wish wish = {.match = has_number, .match_data = &number};
        assert_int_equal(pool_try_acquire(fixture.pool, &wish, &wanted), 0);
        assert_int_equal(number_of(wanted), number);
        give(&fixture, wanted);
    }
    int nobody = 99;
    struct pool_wish wish = {.match = has_number, .match_data = &nobody};
    assert_int_equal(pool_try_acquire(fixture.pool, &wish, &wanted), -EAGAIN);
    assert_int_equal(pool_acquire(fixture.pool, &wish, &wanted, NULL), -ETIMEDOUT);
    assert_int_equal(stats_of(&fixture).idle, 4);
    tear_down(&fixture);
}

static void some_are_kept_for_high_priority(void **state)
{
    (void)state;
    struct fixture fixture;
    struct pool_lease leases[3];
    struct pool_lease extra;
    struct pool_wish high = {.priority = POOL_HIGH};
    set_up(&fixture, &(struct pool_options){.max = 3, .reserved = 2});
    leases[0] = take(&fixture);
    assert_int_equal(pool_acquire(fixture.pool, &at_once, &extra, NULL), -ETIMEDOUT);
    assert_int_equal(pool_acquire(fixture.pool, &high, &leases[1], NULL), 0);
    assert_int_equal(pool_acquire(fixture.pool, &high, &leases[2], NULL), 0);
    assert_int_equal(pool_acquire(fixture.pool, &high, &extra, NULL), -ETIMEDOUT);
    give(&fixture, leases[1]); /* two idle would be needed for one more normal one */
    give(&fixture, leases[2]);
    assert_int_equal(pool_try_acquire(fixture.pool, &at_once, &extra), -EAGAIN);
    give(&fixture, leases[0]);
    assert_int_equal(pool_try_acquire(fixture.pool, &at_once, &extra), 0);
    give(&fixture, extra);
    tear_down(&fixture);
}

static void senseless_sizes_are_refused(void **state)
{
    (void)state;
    static const struct pool_options senseless[] = {
        {.name = "x", .type = &plain_type, .max = 0},
        {.name = "x", .type = &plain_type, .max = POOL_SIZE_LIMIT + 1},
        {.name = "x", .type = &plain_type, .max = 2, .min = 3},
        {.name = "x", .type = &plain_type, .max = 2, .reserved = 2},
        {.name = "x", .type = &plain_type, .max = 2, .limit = POOL_SIZE_LIMIT + 1}};
    for (size_t i = 0; i < sizeof(senseless) / sizeof(senseless[0]); i++) {
        struct pool *pool = NULL;
        struct error error = {""};
        assert_int_equal(pool_create(&senseless[i], &pool, &error), -EINVAL);
        assert_null(pool);
        assert_memory_equal(error.text, "pool x: ", 8);
    }
}

/* ---- health ---- */

static void one_that_is_not_well_is_replaced(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture,
           &(struct pool_options){
               .type = &careful_type, .max = 2, .check_released = true, .check_idle_ns = -1});
    struct pool_lease sick = take(&fixture);
    ((struct thing *)sick.resource)->sick = true;
    give(&fixture, sick);
    assert_int_equal(fixture.maker.alive, 0);
    struct pool_lease stained = take(&fixture);
    assert_int_equal(number_of(stained), 2);
    ((struct thing *)stained.resource)->stained = true;
    give(&fixture, stained);
    struct pool_lease broken = take(&fixture);
    assert_int_equal(pool_discard(fixture.pool, broken), 0);
    struct pool_lease good = take(&fixture);
    assert_int_equal(number_of(good), 4);
    give(&fixture, good);
    struct pool_stats stats = stats_of(&fixture);
    assert_int_equal(stats.ended[POOL_END_UNHEALTHY], 1);
    assert_int_equal(stats.ended[POOL_END_RESET], 1);
    assert_int_equal(stats.ended[POOL_END_DISCARDED], 1);
    assert_int_equal(stats.idle, 1);
    tear_down(&fixture);
}

static void one_that_fell_ill_while_idle_is_not_handed_out(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture,
           &(struct pool_options){.type = &careful_type, .max = 2, .check_idle_ns = NS_PER_SECOND});
    struct pool_lease lease = take(&fixture);
    give(&fixture, lease);
    struct thing *thing = lease.resource;
    lease = take(&fixture); /* used just now: not asked */
    assert_int_equal(fixture.maker.checks, 0);
    give(&fixture, lease);
    thing->sick = true;
    advance(&fixture, NS_PER_SECOND);
    lease = take(&fixture);
    assert_int_equal(number_of(lease), 2);
    assert_int_equal(fixture.maker.checks, 1);
    give(&fixture, lease);
    tear_down(&fixture);
}

static void the_sweep_finds_the_unhealthy(void **state)
{
    (void)state;
    struct fixture fixture;
    struct pool_lease leases[8];
    set_up(&fixture,
           &(struct pool_options){.type = &careful_type, .max = 8, .check_idle_ns = NS_PER_SECOND});
    for (int i = 0; i < 8; i++) {
        leases[i] = take(&fixture);
        ((struct thing *)leases[i].resource)->sick = i % 2 == 0;
    }
    for (int i = 0; i < 8; i++) {
        give(&fixture, leases[i]);
    }
    for (int i = 0; i < 8; i++) {
        advance(&fixture, NS_PER_SECOND * 2);
        (void)pool_tend(fixture.pool);
    }
    struct pool_stats stats = stats_of(&fixture);
    assert_int_equal(stats.ended[POOL_END_UNHEALTHY], 4);
    assert_int_equal(stats.idle, 4);
    assert_int_equal(stats.checking, 0);
    tear_down(&fixture);
}

/* ---- time ---- */

static void what_is_idle_for_too_long_goes_but_for_min(void **state)
{
    (void)state;
    struct fixture fixture;
    struct pool_lease leases[4];
    set_up(&fixture,
           &(struct pool_options){.min = 1, .max = 4, .idle_limit_ns = 10 * NS_PER_SECOND});
    for (int i = 0; i < 4; i++) {
        leases[i] = take(&fixture);
    }
    for (int i = 0; i < 4; i++) {
        give(&fixture, leases[i]);
        advance(&fixture, NS_PER_SECOND);
    }
    advance(&fixture, 8 * NS_PER_SECOND); /* idle for 12, 11, 10, 9 s */
    (void)pool_tend(fixture.pool);
    assert_int_equal(stats_of(&fixture).ended[POOL_END_IDLE], 2);
    advance(&fixture, 60 * NS_PER_SECOND);
    (void)pool_tend(fixture.pool);
    assert_int_equal(stats_of(&fixture).ended[POOL_END_IDLE], 3);
    struct pool_lease last = take(&fixture);
    assert_int_equal(number_of(last), 4); /* the one used last */
    give(&fixture, last);
    tear_down(&fixture);
}

static void what_is_too_old_is_not_used_again(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture,
           &(struct pool_options){.min = 1, .max = 2, .age_limit_ns = 100 * NS_PER_SECOND});
    struct pool_lease one = take(&fixture);
    advance(&fixture, 50 * NS_PER_SECOND);
    give(&fixture, one);
    one = take(&fixture);
    assert_int_equal(number_of(one), 1);
    advance(&fixture, 51 * NS_PER_SECOND);
    give(&fixture, one); /* on return */
    assert_int_equal(stats_of(&fixture).ended[POOL_END_AGE], 1);
    give(&fixture, take(&fixture));
    advance(&fixture, 101 * NS_PER_SECOND);
    struct pool_lease three = take(&fixture); /* when it is taken */
    assert_int_equal(number_of(three), 3);
    give(&fixture, three);
    advance(&fixture, 101 * NS_PER_SECOND);
    (void)pool_tend(fixture.pool); /* by the sweep, whatever min says */
    assert_int_equal(stats_of(&fixture).ended[POOL_END_AGE], 3);
    assert_int_equal(pool_missing(fixture.pool), 1);
    tear_down(&fixture);
}

static void resources_made_together_do_not_end_together(void **state)
{
    (void)state;
    struct fixture fixture;
    struct pool_lease leases[64];
    set_up(&fixture, &(struct pool_options){.max = 64, .age_limit_ns = 1000 * NS_PER_SECOND});
    for (int i = 0; i < 64; i++) {
        leases[i] = take(&fixture);
    }
    advance(&fixture, 950 * NS_PER_SECOND);
    for (int i = 0; i < 64; i++) {
        give(&fixture, leases[i]);
    }
    uint64_t gone = stats_of(&fixture).ended[POOL_END_AGE];
    assert_in_range(gone, 16, 48);
    tear_down(&fixture);
}

/* ---- size ---- */

static void prefill_brings_min(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error error = {""};
    set_up(&fixture, &(struct pool_options){.min = 5, .max = 9});
    assert_int_equal(pool_prefill(fixture.pool, 1, &error), 0);
    assert_int_equal(stats_of(&fixture).idle, 5);
    assert_int_equal(stats_of(&fixture).acquired, 0);
    fixture.maker.fail = 1;
    pool_resize(fixture.pool, 7, 9);
    assert_int_equal(pool_prefill(fixture.pool, 1, &error), -EIO);
    assert_string_equal(error.text, "pool things: no things today");
    tear_down(&fixture);
}

static void a_smaller_max_takes_effect_as_they_come_back(void **state)
{
    (void)state;
    struct fixture fixture;
    struct pool_lease leases[4];
    struct pool_lease extra;
    set_up(&fixture, &(struct pool_options){.max = 4, .limit = 8});
    for (int i = 0; i < 4; i++) {
        leases[i] = take(&fixture);
    }
    pool_resize(fixture.pool, 0, 2);
    for (int i = 0; i < 4; i++) {
        give(&fixture, leases[i]);
    }
    assert_int_equal(stats_of(&fixture).ended[POOL_END_SURPLUS], 2);
    pool_resize(fixture.pool, 0, 100);
    assert_int_equal(stats_of(&fixture).max, 8);
    for (int i = 0; i < 4; i++) {
        leases[i] = take(&fixture);
    }
    pool_resize(fixture.pool, 0, 4);
    assert_int_equal(pool_acquire(fixture.pool, &at_once, &extra, NULL), -ETIMEDOUT);
    for (int i = 0; i < 4; i++) {
        give(&fixture, leases[i]);
    }
    pool_resize(fixture.pool, 0, 1);
    (void)pool_tend(fixture.pool); /* idle ones go with the sweep */
    assert_int_equal(stats_of(&fixture).idle, 1);
    assert_int_equal(pool_flush(fixture.pool), 1);
    assert_int_equal(stats_of(&fixture).ended[POOL_END_FLUSHED], 1);
    tear_down(&fixture);
}

/* Uses `count` at once, then an interval ends. */
static void live_through(struct fixture *fixture, int count, int64_t interval_ns)
{
    struct pool_lease leases[64];
    for (int i = 0; i < count; i++) {
        leases[i] = take(fixture);
    }
    for (int i = 0; i < count; i++) {
        give(fixture, leases[i]);
    }
    advance(fixture, interval_ns);
    (void)pool_tend(fixture->pool);
}

static void the_size_follows_demand_up_at_once_and_down_slowly(void **state)
{
    (void)state;
    struct fixture fixture;
    int64_t interval = NS_PER_SECOND;
    set_up(&fixture, &(struct pool_options){.min = 2, .max = 60, .adapt_interval_ns = interval});
    live_through(&fixture, 20, interval);
    assert_int_equal(stats_of(&fixture).target, 25); /* five quarters of 20 */
    assert_int_equal(pool_missing(fixture.pool), 5);
    live_through(&fixture, 2, interval); /* a short dip changes nothing */
    live_through(&fixture, 2, interval);
    live_through(&fixture, 20, interval);
    assert_int_equal(stats_of(&fixture).target, 25);
    uint32_t before = 25;
    for (int i = 0; i < 30; i++) {
        live_through(&fixture, 1, interval);
        uint32_t target = stats_of(&fixture).target;
        assert_true(target <= before && target >= before - (before + 3) / 4);
        before = target;
    }
    assert_int_equal(before, 2);
    assert_int_equal(stats_of(&fixture).idle, 2);
    live_through(&fixture, 60, interval);
    assert_int_equal(stats_of(&fixture).target, 60); /* max */
    tear_down(&fixture);
}

static void steady_demand_leaves_the_size_alone(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, &(struct pool_options){.max = 60, .adapt_interval_ns = NS_PER_SECOND});
    for (int i = 0; i < 5; i++) {
        live_through(&fixture, 16, NS_PER_SECOND);
    }
    uint64_t created = stats_of(&fixture).created;
    for (int i = 0; i < 50; i++) {
        live_through(&fixture, 14 + i % 3, NS_PER_SECOND);
        assert_int_equal(stats_of(&fixture).target, 20);
    }
    assert_int_equal(stats_of(&fixture).created, created);
    tear_down(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_came_back_last_is_handed_out_first),
        cmocka_unit_test(never_more_than_max_are_there),
        cmocka_unit_test(a_wait_ends_at_its_deadline),
        cmocka_unit_test(a_lease_can_be_given_back_once),
        cmocka_unit_test(a_wish_can_name_the_one_it_wants),
        cmocka_unit_test(some_are_kept_for_high_priority),
        cmocka_unit_test(senseless_sizes_are_refused),
        cmocka_unit_test(one_that_is_not_well_is_replaced),
        cmocka_unit_test(one_that_fell_ill_while_idle_is_not_handed_out),
        cmocka_unit_test(the_sweep_finds_the_unhealthy),
        cmocka_unit_test(what_is_idle_for_too_long_goes_but_for_min),
        cmocka_unit_test(what_is_too_old_is_not_used_again),
        cmocka_unit_test(resources_made_together_do_not_end_together),
        cmocka_unit_test(prefill_brings_min),
        cmocka_unit_test(a_smaller_max_takes_effect_as_they_come_back),
        cmocka_unit_test(the_size_follows_demand_up_at_once_and_down_slowly),
        cmocka_unit_test(steady_demand_leaves_the_size_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
