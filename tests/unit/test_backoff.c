/* Back-off and jitter: chance within bounds that are not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/backoff.h"

static void each_delay_lies_between_half_the_ceiling_and_the_ceiling(void **state)
{
    (void)state;
    for (int round = 0; round < 200; round++) {
        struct backoff backoff = {.first_ns = 1000, .limit_ns = 60000};
        int64_t ceiling = 1000;
        for (int i = 0; i < 100; i++) {
            int64_t delay = backoff_next(&backoff);
            assert_true(delay >= ceiling / 2 && delay <= ceiling);
            ceiling = ceiling * 2 < 60000 ? ceiling * 2 : 60000;
        }
    }
}

static void with_full_jitter_a_delay_lies_anywhere_up_to_the_ceiling(void **state)
{
    (void)state;
    int low = 0;
    for (int round = 0; round < 1000; round++) {
        struct backoff backoff = {.first_ns = 1000, .limit_ns = 60000, .full_jitter = true};
        int64_t delay = backoff_next(&backoff);
        assert_true(delay >= 0 && delay <= 1000);
        low += delay < 500;
    }
    assert_in_range(low, 300, 700);
}

static void after_a_success_it_begins_again(void **state)
{
    (void)state;
    struct backoff backoff = {.first_ns = 1000, .limit_ns = INT64_C(3600000000000)};
    for (int i = 0; i < 30; i++) {
        (void)backoff_next(&backoff);
    }
    backoff_reset(&backoff);
    assert_true(backoff_next(&backoff) <= 1000);
}

static void a_first_delay_above_the_limit_is_the_limit(void **state)
{
    (void)state;
    struct backoff backoff = {.first_ns = 5000, .limit_ns = 1000};
    for (int i = 0; i < 50; i++) {
        int64_t delay = backoff_next(&backoff);
        assert_true(delay >= 500 && delay <= 1000);
    }
}

static void jitter_stays_below_its_bound_and_reaches_all_of_it(void **state)
{
    (void)state;
    unsigned seen = 0;
    assert_int_equal(jitter(0), 0);
    assert_int_equal(jitter(-5), 0);
    assert_int_equal(jitter(1), 0);
    for (int i = 0; i < 1000; i++) {
        int64_t value = jitter(4);
        assert_true(value >= 0 && value < 4);
        seen |= 1U << value;
        assert_true(jitter(INT64_MAX) >= 0);
    }
    assert_int_equal(seen, 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_delay_lies_between_half_the_ceiling_and_the_ceiling),
        cmocka_unit_test(with_full_jitter_a_delay_lies_anywhere_up_to_the_ceiling),
        cmocka_unit_test(after_a_success_it_begins_again),
        cmocka_unit_test(a_first_delay_above_the_limit_is_the_limit),
        cmocka_unit_test(jitter_stays_below_its_bound_and_reaches_all_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
