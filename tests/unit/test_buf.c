/* The byte buffer: limits, fixed storage, and that a failed append leaves the contents alone. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"

static void appended_bytes_stand_one_behind_the_other(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 0);
    int rc = buf_append(&buf, "ab\0c", 4);
    rc = rc != 0 ? rc : buf_append_str(&buf, "de");
    rc = rc != 0 ? rc : buf_printf(&buf, "%d", 42);
    if (rc == 0) {
        assert_int_equal(buf.size, 8);
        assert_memory_equal(buf.data, "ab\0cde42", 8);
    }
    buf_finish(&buf);
    assert_int_equal(rc, 0);
}

static void a_buffer_grows_to_its_limit_and_no_further(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 1000);
    int rc = 0;
    for (int i = 0; rc == 0 && i < 1000; i++) {
        rc = buf_append(&buf, "x", 1);
    }
    int over = buf_append(&buf, "y", 1);
    size_t size = buf.size;
    size_t capacity = buf.capacity;
    buf_finish(&buf);
    assert_int_equal(rc, 0);
    assert_int_equal(over, -E2BIG);
    assert_int_equal(size, 1000);
    assert_true(capacity <= 1000);
}

static void an_append_over_the_limit_changes_nothing(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 4);
    int first = buf_append(&buf, "abc", 3);
    int over = buf_append(&buf, "de", 2);
    int huge = buf_append(&buf, "de", SIZE_MAX);
    int reserve = buf_reserve(&buf, SIZE_MAX - 1);
    bool same = buf.size == 3 && (first != 0 || memcmp(buf.data, "abc", 3) == 0);
    buf_finish(&buf);
    assert_int_equal(first, 0);
    assert_int_equal(over, -E2BIG);
    assert_int_equal(huge, -E2BIG);
    assert_int_equal(reserve, -E2BIG);
    assert_true(same);
}

static void without_a_limit_an_impossible_size_is_still_refused(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 0);
    assert_int_not_equal(buf_reserve(&buf, SIZE_MAX), 0);
    assert_int_not_equal(buf_reserve(&buf, SIZE_MAX / 2 + 1), 0);
    buf_finish(&buf);
}

static void fixed_storage_is_used_to_its_last_byte(void **state)
{
    (void)state;
    char storage[5] = "....";
    struct buf buf;
    buf_init_fixed(&buf, storage, 4);
    assert_int_equal(buf_append_str(&buf, "abcd"), 0);
    assert_int_equal(buf_append(&buf, "e", 1), -E2BIG);
    assert_null(buf_terminated(&buf));
    assert_ptr_equal(buf.data, storage);
    assert_string_equal(storage, "abcd");
    buf_clear(&buf);
    assert_int_equal(buf_append_str(&buf, "x"), 0);
    assert_string_equal(buf_terminated(&buf), "x");
    buf_finish(&buf);
    assert_int_equal(buf.size, 0);
    assert_int_equal(buf_append_str(&buf, "y"), 0);
    assert_ptr_equal(buf.data, storage);
}

static void empty_fixed_storage_takes_nothing(void **state)
{
    (void)state;
    struct buf buf;
    char none[1];
    buf_init_fixed(&buf, none, 0);
    assert_int_equal(buf_append(&buf, "", 0), 0);
    assert_int_equal(buf_append(&buf, "a", 1), -E2BIG);
    buf_finish(&buf);
}

static void printf_of_any_length_gives_the_whole_text(void **state)
{
    (void)state;
    char text[600];
    for (size_t length = 250; length < 520; length++) {
        memset(text, 'a', length);
        text[length] = '\0';
        struct buf buf;
        buf_init(&buf, 0);
        int rc = buf_printf(&buf, "%s", text);
        bool same = rc == 0 && buf.size == length && memcmp(buf.data, text, length) == 0;
        buf_finish(&buf);
        assert_int_equal(rc, 0);
        assert_true(same);
    }
}

static void printf_that_fits_exactly_is_taken(void **state)
{
    (void)state;
    static const size_t lengths[] = {1, 255, 256, 300};
    char text[301];
    char storage[300];
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        memset(text, 'a', sizeof(text));
        text[lengths[i]] = '\0';
        struct buf buf;
        buf_init_fixed(&buf, storage, lengths[i]);
        assert_int_equal(buf_printf(&buf, "%s", text), 0);
        assert_int_equal(buf.size, lengths[i]);
        assert_int_equal(buf_printf(&buf, "b"), -E2BIG);
    }
}

static void consuming_drops_the_front(void **state)
{
    (void)state;
    char storage[8];
    struct buf buf;
    buf_init_fixed(&buf, storage, sizeof(storage));
    assert_int_equal(buf_append_str(&buf, "abcdef"), 0);
    buf_consume(&buf, 0);
    assert_int_equal(buf.size, 6);
    buf_consume(&buf, 2);
    assert_memory_equal(buf.data, "cdef", 4);
    buf_consume(&buf, 4);
    assert_int_equal(buf.size, 0);
}

static void a_terminated_buffer_does_not_count_its_nul(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 0);
    const char *empty = buf_terminated(&buf);
    bool was_empty = empty != NULL && empty[0] == '\0' && buf.size == 0;
    int rc = buf_append_str(&buf, "abc");
    const char *text = rc == 0 ? buf_terminated(&buf) : NULL;
    bool same = text != NULL && strcmp(text, "abc") == 0 && buf.size == 3;
    buf_finish(&buf);
    buf_finish(&buf); /* twice is harmless */
    assert_true(was_empty);
    assert_true(same);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appended_bytes_stand_one_behind_the_other),
        cmocka_unit_test(a_buffer_grows_to_its_limit_and_no_further),
        cmocka_unit_test(an_append_over_the_limit_changes_nothing),
        cmocka_unit_test(without_a_limit_an_impossible_size_is_still_refused),
        cmocka_unit_test(fixed_storage_is_used_to_its_last_byte),
        cmocka_unit_test(empty_fixed_storage_takes_nothing),
        cmocka_unit_test(printf_of_any_length_gives_the_whole_text),
        cmocka_unit_test(printf_that_fits_exactly_is_taken),
        cmocka_unit_test(consuming_drops_the_front),
        cmocka_unit_test(a_terminated_buffer_does_not_count_its_nul),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
