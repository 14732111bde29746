/* Text helpers; globs and UTF-8 against a second, plainer definition of each. */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void whole_numbers_are_read_to_their_full_width(void **state)
{
    (void)state;
    uint64_t value = 7;
    assert_int_equal(str_parse_u64("0", &value), 0);
    assert_int_equal(value, 0);
    assert_int_equal(str_parse_u64("18446744073709551615", &value), 0);
    assert_true(value == UINT64_MAX);
    value = 7;
    assert_int_equal(str_parse_u64("18446744073709551616", &value), -ERANGE);
    static const char *const bad[] = {"", " 1", "1 ", "-1", "+1", "0x10", "1.5", "abc"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(str_parse_u64(bad[i], &value), -EINVAL);
    }
    assert_int_equal(value, 7);
}

static void durations_are_sums_of_numbers_with_units(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ns;
    } rows[] = {{"0", 0},
                {"0s", 0},
                {"90s", 90000000000},
                {"20ms", 20000000},
                {"250us", 250000},
                {"1h30m", 5400000000000},
                {"7d", 604800000000000},
                {"1d1h1m1s1ms1us", 90061001001000}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        int64_t ns = -1;
        assert_int_equal(str_parse_duration(rows[i].text, &ns), 0);
        assert_int_equal(ns, rows[i].ns);
    }
}

static void what_is_no_duration_leaves_the_output_alone(void **state)
{
    (void)state;
    static const char *const bad[] = {"",   "s",    "5",  "1h30", "1 h", "-5s",
                                      "5x", "1.5s", "5S", "00",   "5s "};
    int64_t ns = 77;
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(str_parse_duration(bad[i], &ns), -EINVAL);
    }
    assert_int_equal(str_parse_duration("106752d", &ns), -ERANGE);
    assert_int_equal(str_parse_duration("99999999999999999999s", &ns), -ERANGE);
    assert_int_equal(str_parse_duration("106751d106751d", &ns), -ERANGE);
    assert_int_equal(ns, 77);
}

static void sizes_are_binary_with_i_and_decimal_without(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } rows[] = {{"0", 0},           {"4096", 4096},          {"1B", 1},
                {"512KiB", 524288}, {"2GiB", 2147483648},    {"10MB", 10000000},
                {"3kB", 3000},      {"1TiB", 1099511627776}, {"16MiB", 16777216}};
    uint64_t bytes = 5;
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_int_equal(str_parse_size(rows[i].text, &bytes), 0);
        assert_int_equal(bytes, rows[i].bytes);
    }
    static const char *const bad[] = {"", "KiB", "1 KiB", "1K", "1kib", "-1", "1.5MiB", "1MiBx"};
    bytes = 5;
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(str_parse_size(bad[i], &bytes), -EINVAL);
    }
    assert_int_equal(str_parse_size("16777216TiB", &bytes), -ERANGE);
    assert_int_equal(bytes, 5);
}

static void what_is_formatted_is_parsed_to_the_same_value(void **state)
{
    (void)state;
    uint64_t value = 1;
    for (int i = 0; i < 5000; i++) {
        char text[32];
        uint64_t size = 0;
        int64_t ns = 0;
        str_format_size(value, text, sizeof(text));
        assert_int_equal(str_parse_size(text, &size), 0);
        assert_true(size == value);
        str_format_duration((int64_t)(value >> 1), text, sizeof(text));
        assert_int_equal(str_parse_duration(text, &ns), 0);
        assert_true(ns == (int64_t)(value >> 1));
        value = value * UINT64_C(6364136223846793005) + 1442695040888963407U;
        if (i % 3 == 0) {
            value >>= value % 60; /* also small ones */
        }
    }
    char text[32];
    str_format_duration(90000000000, text, sizeof(text));
    assert_string_equal(text, "90s");
    str_format_duration(0, text, sizeof(text));
    assert_string_equal(text, "0");
    str_format_size(UINT64_C(2) << 30, text, sizeof(text));
    assert_string_equal(text, "2GiB");
    str_format_size(0, text, sizeof(text));
    assert_string_equal(text, "0B");
}

/* The definition, in its plain form. */
static bool glob_model(const char *pattern, const char *text)
{
    if (*pattern == '\0') {
        return *text == '\0';
    }
    if (*pattern == '*') {
        return glob_model(pattern + 1, text) || (*text != '\0' && glob_model(pattern, text + 1));
    }
    return *text != '\0' && (*pattern == '?' || *pattern == *text) &&
           glob_model(pattern + 1, text + 1);
}

/* Word number n over the letters, and n shrinks by what was used. */
static void make_word(unsigned n, const char *letters, char *ret_word)
{
    size_t count = strlen(letters);
    size_t size = 0;
    for (; n > 0; n = (unsigned)(n / (count + 1))) {
        size_t letter = n % (count + 1);
        if (letter > 0) {
            ret_word[size++] = letters[letter - 1];
        }
    }
    ret_word[size] = '\0';
}

static void a_glob_matches_exactly_what_its_definition_says(void **state)
{
    (void)state;
    char pattern[16];
    char text[16];
    for (unsigned p = 0; p < 3125; p++) {
        make_word(p, "ab*?", pattern);
        for (unsigned t = 0; t < 243; t++) {
            make_word(t, "ab", text);
            if (str_glob_match(pattern, text) != glob_model(pattern, text)) {
                fail_msg("pattern '%s' on '%s'", pattern, text);
            }
        }
    }
    assert_true(str_glob_match("web-*", "web-1"));
    assert_false(str_glob_match("web-*", "Web-1"));
    assert_false(str_glob_match("*a*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
}

static void the_distance_counts_edits(void **state)
{
    (void)state;
    assert_int_equal(str_distance("", ""), 0);
    assert_int_equal(str_distance("abc", ""), 3);
    assert_int_equal(str_distance("", "abc"), 3);
    assert_int_equal(str_distance("kitten", "sitting"), 3);
    assert_int_equal(str_distance("spool.limit", "spool.limt"), 1);
    char sixty_three[64];
    char sixty_four[65];
    memset(sixty_three, 'a', 63);
    sixty_three[63] = '\0';
    memset(sixty_four, 'a', 64);
    sixty_four[64] = '\0';
    assert_int_equal(str_distance(sixty_three, sixty_three), 0);
    assert_true(str_distance(sixty_four, "a") == UINT32_MAX);
    assert_true(str_distance("a", sixty_four) == UINT32_MAX);
}

static void a_copy_is_cut_and_terminated(void **state)
{
    (void)state;
    char small[4] = "zzz";
    assert_string_equal(str_copy(small, sizeof(small), "abcdef"), "abc");
    assert_string_equal(str_copy(small, sizeof(small), ""), "");
    assert_string_equal(str_copy(small, 1, "abc"), "");
}

/* Decodes by RFC 3629 in another way: by code point; 0 when it is none. */
static size_t utf8_model(const unsigned char *bytes, size_t size)
{
    static const struct {
        unsigned mask, lead, least;
        size_t length;
    } forms[] = {
        {0x80, 0, 0, 1}, {0xe0, 0xc0, 0x80, 2}, {0xf0, 0xe0, 0x800, 3}, {0xf8, 0xf0, 0x10000, 4}};
    for (size_t f = 0; size > 0 && f < COUNT(forms); f++) {
        if ((bytes[0] & forms[f].mask) != forms[f].lead || size < forms[f].length) {
            continue;
        }
        unsigned point = bytes[0] & ~forms[f].mask & 0xffU;
        bool good = true;
        for (size_t i = 1; i < forms[f].length; i++) {
            good = good && (bytes[i] & 0xc0) == 0x80;
            point = point << 6 | (bytes[i] & 0x3fU);
        }
        bool surrogate = point >= 0xd800 && point <= 0xdfff;
        return good && point >= forms[f].least && point <= 0x10ffff && !surrogate ? forms[f].length
                                                                                  : 0;
    }
    return 0;
}

static void utf8_sequences_are_those_of_rfc_3629(void **state)
{
    (void)state;
    static const unsigned char tails[] = {0x00, 0x7f, 0x80, 0x8f, 0x90,
                                          0x9f, 0xa0, 0xbf, 0xc0, 0xff};
    for (unsigned lead = 0; lead < 256; lead++) {
        for (size_t n = 0; n < 1000; n++) {
            unsigned char bytes[4] = {(unsigned char)lead, tails[n % 10], tails[n / 10 % 10],
                                      tails[n / 100]};
            for (size_t size = 0; size <= 4; size++) {
                size_t length = str_utf8_length((const char *)bytes, size);
                if (length != utf8_model(bytes, size)) {
                    fail_msg("%02x %02x %02x %02x, %zu bytes", bytes[0], bytes[1], bytes[2],
                             bytes[3], size);
                }
            }
        }
    }
    assert_true(str_is_utf8("", 0));
    assert_true(str_is_utf8("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x8c\x8d", 15));
    assert_false(str_is_utf8("ab\xc3", 3));
    assert_false(str_is_utf8("\xed\xa0\x80", 3));
}

static void a_prefix_is_the_beginning(void **state)
{
    (void)state;
    assert_true(str_starts_with("unix:///x", "unix://"));
    assert_true(str_starts_with("x", ""));
    assert_false(str_starts_with("uni", "unix"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_numbers_are_read_to_their_full_width),
        cmocka_unit_test(durations_are_sums_of_numbers_with_units),
        cmocka_unit_test(what_is_no_duration_leaves_the_output_alone),
        cmocka_unit_test(sizes_are_binary_with_i_and_decimal_without),
        cmocka_unit_test(what_is_formatted_is_parsed_to_the_same_value),
        cmocka_unit_test(a_glob_matches_exactly_what_its_definition_says),
        cmocka_unit_test(the_distance_counts_edits),
        cmocka_unit_test(a_copy_is_cut_and_terminated),
        cmocka_unit_test(utf8_sequences_are_those_of_rfc_3629),
        cmocka_unit_test(a_prefix_is_the_beginning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
