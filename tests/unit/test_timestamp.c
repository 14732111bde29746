/* RFC 3339 to nanoseconds and back. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/timestamp.h"

static int64_t parsed(const char *text)
{
    int64_t time_ns = -1;
    int rc = timestamp_parse(text, strlen(text), &time_ns);
    if (rc != (int)strlen(text)) {
        fail_msg("'%s' gave %d", text, rc);
    }
    return time_ns;
}

static void known_times_have_their_known_numbers(void **state)
{
    (void)state;
    assert_int_equal(parsed("1970-01-01T00:00:00Z"), 0);
    assert_int_equal(parsed("1970-01-01T00:00:00.000000001Z"), 1);
    assert_int_equal(parsed("1969-12-31T23:59:59.999999999Z"), -1);
    assert_int_equal(parsed("2000-02-29T12:00:00Z"), 951825600 * NS_PER_SECOND);
    assert_int_equal(parsed("2026-11-21T04:41:00.123456789Z"), 1795236060123456789);
    assert_int_equal(parsed("2016-12-31T23:59:60Z"), 1483228800 * NS_PER_SECOND);
}

static void an_offset_is_taken_off(void **state)
{
    (void)state;
    int64_t utc = parsed("2026-03-01T00:30:00.5Z");
    assert_int_equal(parsed("2026-03-01T02:00:00.5+01:30"), utc);
    assert_int_equal(parsed("2026-02-28T16:30:00.50-08:00"), utc);
    assert_int_equal(parsed("2026-03-01T00:30:00.500000000+00:00"), utc);
    assert_int_equal(parsed("2026-03-01T00:30:00.500z"), utc);
}

static void a_fraction_may_have_any_number_of_digits(void **state)
{
    (void)state;
    assert_int_equal(parsed("1970-01-01T00:00:00.1Z"), 100000000);
    assert_int_equal(parsed("1970-01-01T00:00:00.123456Z"), 123456000);
    assert_int_equal(parsed("1970-01-01T00:00:00.1234567899999Z"), 123456789);
}

static void every_value_comes_back_from_its_text(void **state)
{
    (void)state;
    const int64_t first = parsed("1678-01-01T00:00:00Z");
    const int64_t last = parsed("2261-12-31T23:59:59.999999999Z");
    uint64_t random = 88172645463325252U;
    for (int i = 0; i < 50000; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        int64_t time_ns = (int64_t)((uint64_t)first +
                                    random % ((uint64_t)last - (uint64_t)first + 1));
        char text[TIMESTAMP_TEXT_SIZE];
        timestamp_format(time_ns, 9, text);
        assert_int_equal(strlen(text), 30);
        assert_true(parsed(text) == time_ns);
    }
}

static void each_day_is_the_one_that_the_c_library_says(void **state)
{
    (void)state;
    for (int64_t day = -70000; day < 80000; day++) {
        char text[TIMESTAMP_TEXT_SIZE];
        char expected[TIMESTAMP_TEXT_SIZE];
        time_t seconds = day * 86400 + (day & 0xffff);
        struct tm parts;
        timestamp_format(seconds * NS_PER_SECOND, 0, text);
        assert_non_null(gmtime_r(&seconds, &parts));
        assert_int_not_equal(strftime(expected, sizeof(expected), "%Y-%m-%dT%H:%M:%SZ", &parts), 0);
        assert_string_equal(text, expected);
        assert_true(parsed(text) == seconds * NS_PER_SECOND);
    }
}

static void digits_of_the_fraction_are_cut_not_rounded(void **state)
{
    (void)state;
    static const char *const expected[] = {
        "2026-11-21T04:41:00Z",          "2026-11-21T04:41:00.9Z",
        "2026-11-21T04:41:00.98Z",       "2026-11-21T04:41:00.987Z",
        "2026-11-21T04:41:00.9876Z",     "2026-11-21T04:41:00.98765Z",
        "2026-11-21T04:41:00.987654Z",   "2026-11-21T04:41:00.9876543Z",
        "2026-11-21T04:41:00.98765432Z", "2026-11-21T04:41:00.987654321Z"};
    for (int digits = 0; digits <= 9; digits++) {
        char text[TIMESTAMP_TEXT_SIZE];
        timestamp_format(1795236060987654321, digits, text);
        assert_string_equal(text, expected[digits]);
    }
    char text[TIMESTAMP_TEXT_SIZE];
    timestamp_format(INT64_MIN, 9, text);
    assert_string_equal(text, "1677-09-21T00:12:43.145224192Z");
    timestamp_format(INT64_MAX, 9, text);
    assert_string_equal(text, "2262-04-11T23:47:16.854775807Z");
}

static void what_follows_a_time_is_not_taken(void **state)
{
    (void)state;
    int64_t time_ns;
    assert_int_equal(timestamp_parse("2026-11-21T04:41:00Zxyz", 23, &time_ns), 20);
    assert_int_equal(timestamp_parse("2026-11-21T04:41:00+01:00 a", 27, &time_ns), 25);
}

static void what_is_no_time_leaves_the_output_alone(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "2026-11-21",
        "2026-11-21T04:41:00",
        "2026-11-21T04:41:00.",
        "2026-11-21T04:41:00.Z",
        "2026-11-21T04:41:00.5",
        "2026-13-21T04:41:00Z",
        "2026-00-21T04:41:00Z",
        "2026-11-00T04:41:00Z",
        "2026-11-32T04:41:00Z",
        "2026-11-21T24:41:00Z",
        "2026-11-21T04:60:00Z",
        "2026-11-21T04:41:61Z",
        "2026-11-21T04:41:00+1:00",
        "2026-11-21T04:41:00+24:00",
        "2026-11-21T04:41:00+01:60",
        "2026-11-21T04:41:00+0100",
        "2026/11/21T04:41:00Z",
        "x026-11-21T04:41:00Z",
        "-026-11-21T04:41:00Z",
        "2026-11-21t04:41:00X",
    };
    int64_t time_ns = 99;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int rc = timestamp_parse(bad[i], strlen(bad[i]), &time_ns);
        if (rc != -EINVAL) {
            fail_msg("'%s' gave %d", bad[i], rc);
        }
    }
    assert_int_equal(timestamp_parse("1500-11-21T04:41:00Z", 20, &time_ns), -ERANGE);
    assert_int_equal(timestamp_parse("9999-11-21T04:41:00Z", 20, &time_ns), -ERANGE);
    assert_int_equal(time_ns, 99);
}

static void a_day_that_its_month_does_not_have_is_no_time(void **state)
{
    (void)state;
    static const char *const bad[] = {"2026-02-29T00:00:00Z", "2024-02-30T00:00:00Z",
                                      "1900-02-29T00:00:00Z", "2026-04-31T00:00:00Z"};
    int64_t time_ns;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int rc = timestamp_parse(bad[i], strlen(bad[i]), &time_ns);
        if (rc != -EINVAL) {
            fail_msg("'%s' gave %d", bad[i], rc);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_times_have_their_known_numbers),
        cmocka_unit_test(an_offset_is_taken_off),
        cmocka_unit_test(a_fraction_may_have_any_number_of_digits),
        cmocka_unit_test(every_value_comes_back_from_its_text),
        cmocka_unit_test(each_day_is_the_one_that_the_c_library_says),
        cmocka_unit_test(digits_of_the_fraction_are_cut_not_rounded),
        cmocka_unit_test(what_follows_a_time_is_not_taken),
        cmocka_unit_test(what_is_no_time_leaves_the_output_alone),
        cmocka_unit_test(a_day_that_its_month_does_not_have_is_no_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
