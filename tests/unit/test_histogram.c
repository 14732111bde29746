/* Percentiles within their error, merging, the correction of coordinated omission. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/histogram.h"

static struct histogram one, two;

static void every_value_is_within_a_64th_of_its_cell(void **state)
{
    (void)state;
    for (uint64_t value = 0; value < (UINT64_C(1) << 41); value += value / 7 + 1) {
        histogram_clear(&one);
        histogram_record(&one, value, 1);
        histogram_record(&one, UINT64_MAX, 1); /* so that the end of the cell is shown */
        uint64_t shown = histogram_percentile(&one, 50);
        assert_true(shown >= value && shown - value <= value / 64 + 1);
    }
}

static void percentiles_are_those_of_the_values(void **state)
{
    (void)state;
    histogram_clear(&one);
    assert_int_equal(histogram_percentile(&one, 50), 0);
    for (uint64_t value = 1; value <= 100000; value++) {
        histogram_record(&one, value, 1);
    }
    assert_in_range(histogram_percentile(&one, 50), 50000, 50800);
    assert_in_range(histogram_percentile(&one, 99), 99000, 100000);
    assert_in_range(histogram_percentile(&one, 99.9), 99900, 100000);
    assert_int_equal(histogram_percentile(&one, 100), 100000);
    assert_int_equal(one.least, 1);
    assert_true(histogram_mean(&one) > 50000 && histogram_mean(&one) < 50001);
}

static void merging_adds_up(void **state)
{
    (void)state;
    histogram_clear(&one);
    histogram_clear(&two);
    histogram_record(&one, 10, 3);
    histogram_record(&two, 5, 1);
    histogram_record(&two, 1000, 1);
    histogram_merge(&one, &two);
    assert_int_equal(one.count, 5);
    assert_int_equal(one.sum, 1035);
    assert_int_equal(one.least, 5);
    assert_int_equal(one.most, 1000);
    histogram_clear(&two);
    histogram_merge(&one, &two);
    assert_int_equal(one.least, 5);
}

static void a_stall_counts_for_what_it_kept_from_being_measured(void **state)
{
    (void)state;
    histogram_clear(&one);
    for (int i = 0; i < 99; i++) {
        histogram_record_corrected(&one, 10, 10);
    }
    histogram_record_corrected(&one, 1000, 10); /* a hundred measurements long */
    assert_int_equal(one.count, 99 + 100);
    assert_in_range(histogram_percentile(&one, 75), 480, 520);
    histogram_clear(&two);
    histogram_record(&two, 10, 99);
    histogram_record(&two, 1000, 1);
    assert_int_equal(histogram_percentile(&two, 75), 10); /* what is seen without */
    struct histogram corrected;
    histogram_correct(&corrected, &two, 10);
    assert_int_equal(corrected.count, one.count);
    assert_in_range(histogram_percentile(&corrected, 75), 480, 520);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_value_is_within_a_64th_of_its_cell),
        cmocka_unit_test(percentiles_are_those_of_the_values),
        cmocka_unit_test(merging_adds_up),
        cmocka_unit_test(a_stall_counts_for_what_it_kept_from_being_measured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
