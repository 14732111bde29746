/* The choice: evenness, weights, loads, what is left out. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pools/balance.h"

#define MANY 100000
#define ALL 4

static const enum balance_strategy strategies[ALL] = {
    BALANCE_ROUND_ROBIN, BALANCE_LEAST_CONNECTIONS, BALANCE_RANDOM, BALANCE_P2C};

static void assert_share(long got, double share)
{
    double expected = MANY * share;
    if (abs((int)((double)got - expected)) > expected * 0.03) {
        fail_msg("%ld of %d, not %.0f", got, MANY, expected);
    }
}

static void every_strategy_is_even_within_three_percent(void **state)
{
    (void)state;
    for (int s = 0; s < ALL; s++) {
        struct balance_candidate candidates[5] = {{.weight = 1, .load = 0},
                                                  {.weight = 1, .load = 0},
                                                  {.weight = 1, .load = 0},
                                                  {.weight = 1, .load = 0},
                                                  {.weight = 1, .load = 0}};
        struct balance balance;
        long counts[5] = {0};
        balance_init(&balance, strategies[s], 12345);
        for (int i = 0; i < MANY; i++) {
            counts[balance_choose(&balance, candidates, 5)]++;
        }
        for (int i = 0; i < 5; i++) {
            assert_share(counts[i], 0.2);
        }
    }
}

static void round_robin_takes_turns_and_spreads_weights(void **state)
{
    (void)state;
    struct balance_candidate candidates[3] = {
        {.weight = 5, .load = 0}, {.weight = 1, .load = 0}, {.weight = 1, .load = 0}};
    static const char expected[] = "aabacaa"; /* as nginx's own description has it */
    struct balance balance;
    balance_init(&balance, BALANCE_ROUND_ROBIN, 1);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < strlen(expected); i++) {
            assert_int_equal(balance_choose(&balance, candidates, 3), expected[i] - 'a');
        }
    }
}

static void weights_are_kept(void **state)
{
    (void)state;
    for (int s = 0; s < ALL; s++) {
        struct balance_candidate candidates[3] = {
            {.weight = 1, .load = 0}, {.weight = 2, .load = 0}, {.weight = 5, .load = 0}};
        struct balance balance;
        long counts[3] = {0};
        balance_init(&balance, strategies[s], 99);
        for (int i = 0; i < MANY; i++) { /* each choice stays, as a connection does */
            size_t at = balance_choose(&balance, candidates, 3);
            counts[at]++;
            candidates[at].load++;
        }
        for (int i = 0; i < 3; i++) {
            assert_share(counts[i], candidates[i].weight / 8.0);
        }
    }
}

static void least_connections_takes_the_least(void **state)
{
    (void)state;
    struct balance_candidate candidates[3] = {
        {.weight = 1, .load = 7}, {.weight = 1, .load = 3}, {.weight = 1, .load = 9}};
    struct balance balance;
    balance_init(&balance, BALANCE_LEAST_CONNECTIONS, 1);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(balance_choose(&balance, candidates, 3), 1);
        candidates[1].load++;
    }
    candidates[2].load = 0;
    assert_int_equal(balance_choose(&balance, candidates, 3), 2);
}

static void two_choices_avoid_the_busiest(void **state)
{
    (void)state;
    struct balance_candidate candidates[3] = {
        {.weight = 1, .load = 100}, {.weight = 1, .load = 0}, {.weight = 1, .load = 0}};
    struct balance balance;
    balance_init(&balance, BALANCE_P2C, 7);
    for (int i = 0; i < 1000; i++) {
        assert_true(balance_choose(&balance, candidates, 3) != 0);
    }
}

static void who_is_busy_now_and_then_has_its_share_all_the_same(void **state)
{
    (void)state;
    struct balance balance;
    struct balance_candidate candidates[2] = {{.weight = 1}, {.weight = 1}};
    long got[2] = {0};
    balance_init(&balance, BALANCE_ROUND_ROBIN, 1);
    for (long i = 0; i < MANY; i++) {
        candidates[1].busy = i % 100 < 20; /* for 20 choices in a row */
        size_t chosen = balance_choose(&balance, candidates, 2);
        assert_false(candidates[chosen].busy);
        got[chosen]++;
    }
    assert_share(got[0], 0.5);
    assert_share(got[1], 0.5);
    candidates[0].busy = candidates[1].busy = true;
    assert_true(balance_choose(&balance, candidates, 2) == BALANCE_NONE);
}

static void long_absence_is_not_made_up_for(void **state)
{
    (void)state;
    struct balance balance;
    struct balance_candidate candidates[2] = {{.weight = 1}, {.weight = 1, .busy = true}};
    long in_a_row = 0;
    balance_init(&balance, BALANCE_ROUND_ROBIN, 1);
    for (long i = 0; i < 20000; i++) {
        assert_int_equal(balance_choose(&balance, candidates, 2), 0);
    }
    candidates[1].busy = false;
    while (balance_choose(&balance, candidates, 2) == 1 && in_a_row < 20000) {
        in_a_row++;
    }
    assert_true(in_a_row <= 2 * BALANCE_CREDIT);
}

static void what_has_no_weight_is_left_out(void **state)
{
    (void)state;
    for (int s = 0; s < ALL; s++) {
        struct balance_candidate candidates[3] = {
            {.weight = 0, .load = 0}, {.weight = 1, .load = 50}, {.weight = 0, .load = 0}};
        struct balance balance;
        balance_init(&balance, strategies[s], 3);
        for (int i = 0; i < 100; i++) {
            assert_int_equal(balance_choose(&balance, candidates, 3), 1);
        }
        candidates[1].weight = 0;
        assert_int_equal(balance_choose(&balance, candidates, 3), BALANCE_NONE);
        assert_int_equal(balance_choose(&balance, candidates, 0), BALANCE_NONE);
    }
}

static void names_are_parsed_and_others_refused(void **state)
{
    (void)state;
    for (int s = 0; s < ALL; s++) {
        enum balance_strategy strategy;
        assert_int_equal(
            balance_strategy_parse(balance_strategy_name(strategies[s]), &strategy, NULL), 0);
        assert_int_equal(strategy, strategies[s]);
    }
    enum balance_strategy strategy;
    struct error error = {""};
    assert_int_equal(balance_strategy_parse("fastest", &strategy, &error), -EINVAL);
    assert_non_null(strstr(error.text, "'fastest' is no strategy; there are round-robin"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_strategy_is_even_within_three_percent),
        cmocka_unit_test(round_robin_takes_turns_and_spreads_weights),
        cmocka_unit_test(weights_are_kept),
        cmocka_unit_test(least_connections_takes_the_least),
        cmocka_unit_test(two_choices_avoid_the_busiest),
        cmocka_unit_test(who_is_busy_now_and_then_has_its_share_all_the_same),
        cmocka_unit_test(long_absence_is_not_made_up_for),
        cmocka_unit_test(what_has_no_weight_is_left_out),
        cmocka_unit_test(names_are_parsed_and_others_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
