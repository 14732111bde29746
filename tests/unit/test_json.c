/* JSON: what is refused, how strings are escaped, where the writer puts commas. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"

static struct json *parsed(const char *text)
{
    struct json *root = NULL;
    struct error error = {""};
    if (json_parse(text, strlen(text), &root, &error) != 0) {
        fail_msg("%s: %s", text, error.text);
    }
    return root;
}

static void values_are_found_by_their_names(void **state)
{
    (void)state;
    struct json *root = parsed(" {\"a\":{\"b\":\"c\\u0041\\n\"},\"n\":-12,\"t\":true,\"f\":1.9,"
                               "\"big\":1e300,\"low\":-1e300,\"A\":1} \r\n\t");
    bool right = strcmp(json_get_string(json_get(root, "a"), "b"), "cA\n") == 0 &&
                 json_get_int(root, "n") == -12 && json_get_bool(root, "t") &&
                 json_get_int(root, "f") == 1 && json_get_int(root, "A") == 1 &&
                 json_get_int(root, "big") == INT64_C(1) << 53 &&
                 json_get_int(root, "low") == -(INT64_C(1) << 53);
    json_destroy(root);
    assert_true(right);
}

static void what_is_missing_gives_the_default(void **state)
{
    (void)state;
    assert_null(json_get(NULL, "a"));
    assert_null(json_get_string(NULL, "a"));
    assert_false(json_get_bool(NULL, "a"));
    assert_int_equal(json_get_int(NULL, "a"), 0);
    assert_null(json_first(NULL));
    assert_null(json_next(NULL));
    assert_null(json_name(NULL));
    assert_null(json_string(NULL));
    struct json *root = parsed("[1,\"a\",null]");
    bool right = json_get(root, "a") == NULL && json_get_string(root, "b") == NULL &&
                 json_string(root) == NULL && !json_is_object(root) && json_is_array(root) &&
                 json_name(json_first(root)) == NULL && json_first(json_first(root)) == NULL;
    json_destroy(root);
    json_destroy(NULL);
    assert_true(right);
}

static void members_are_walked_in_their_order(void **state)
{
    (void)state;
    struct json *root = parsed("{\"x\":\"1\",\"y\":\"2\"}");
    const struct json *first = json_first(root);
    const struct json *second = json_next(first);
    bool right = strcmp(json_name(first), "x") == 0 && strcmp(json_string(second), "2") == 0 &&
                 json_next(second) == NULL;
    json_destroy(root);
    assert_true(right);
}

static void bad_input_is_refused_with_a_place(void **state)
{
    (void)state;
    static const char *const bad[] = {"",         " ",     "{",       "[1,",         "{\"a\"}",
                                      "{\"a\":}", "\"abc", "\"\\x\"", "tru",         "[1]]",
                                      "{} {}",    "1 2",   "[1,]",    "\"\\ud800\"", "nul"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct json *root = (struct json *)(uintptr_t)1;
        struct error error = {""};
        int rc = json_parse(bad[i], strlen(bad[i]), &root, &error);
        if (rc != -EINVAL || strstr(error.text, "byte") == NULL) {
            fail_msg("%s: %d %s", bad[i], rc, error.text);
        }
        assert_ptr_equal(root, (struct json *)(uintptr_t)1);
    }
    struct json *root = NULL;
    assert_int_equal(json_parse("[1]\0", 4, &root, NULL), -EINVAL);
}

static void sixty_four_levels_are_read_and_sixty_five_are_not(void **state)
{
    (void)state;
    char text[140] = {0};
    struct json *root = NULL;
    struct error error;
    memset(text, '[', 64);
    memset(text + 64, ']', 64);
    assert_int_equal(json_parse(text, 128, &root, &error), 0);
    json_destroy(root);
    memset(text, '[', 65);
    memset(text + 65, ']', 65);
    assert_int_equal(json_parse(text, 130, &root, &error), -EINVAL);
    assert_non_null(strstr(error.text, "64"));
}

static void brackets_within_strings_are_no_levels(void **state)
{
    (void)state;
    char text[210];
    memset(text, '[', sizeof(text));
    text[0] = text[201] = '"';
    text[100] = '\\';
    text[101] = '"';
    struct json *root = NULL;
    assert_int_equal(json_parse(text, 202, &root, NULL), 0);
    size_t size = strlen(json_string(root));
    json_destroy(root);
    assert_int_equal(size, 199);
}

static void check_string(const char *bytes, size_t size, const char *expected)
{
    char storage[256];
    struct buf out;
    buf_init_fixed(&out, storage, sizeof(storage));
    assert_int_equal(json_append_string(&out, bytes, size), 0);
    assert_string_equal(buf_terminated(&out), expected);
}

static void strings_are_escaped(void **state)
{
    (void)state;
    check_string("", 0, "\"\"");
    check_string("a\"b\\c/", 6, "\"a\\\"b\\\\c/\"");
    check_string("\n\r\t\0\x1f\x7f", 6, "\"\\n\\r\\t\\u0000\\u001f\x7f\"");
    check_string("gr\xc3\xbc\xf0\x9f\x8c\x8d", 8, "\"gr\xc3\xbc\xf0\x9f\x8c\x8d\"");
}

static void each_byte_that_is_not_utf8_becomes_one_replacement(void **state)
{
    (void)state;
    check_string("a\xff\xfe"
                 "b",
                 4,
                 "\"a\xef\xbf\xbd\xef\xbf\xbd"
                 "b\"");
    check_string("\xc3", 1, "\"\xef\xbf\xbd\"");
    check_string("\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
}

static void a_string_that_does_not_fit_leaves_the_buffer_alone(void **state)
{
    (void)state;
    char storage[16];
    for (size_t room = 0; room < 11; room++) {
        struct buf out;
        buf_init_fixed(&out, storage, room);
        assert_int_equal(json_append_string(&out,
                                            "abc\n\xff"
                                            "d",
                                            6),
                         -E2BIG);
        assert_int_equal(out.size, 0);
    }
    struct buf out;
    buf_init_fixed(&out, storage, 11);
    assert_int_equal(json_append_string(&out,
                                        "abc\n\xff"
                                        "d",
                                        6),
                     0);
}

static void put_everything(struct json_writer *writer)
{
    json_open(writer, NULL, '{');
    json_put_string(writer, "s", "a\"");
    json_put_string(writer, "none", NULL);
    json_open(writer, "empty", '{');
    json_close(writer, '}');
    json_open(writer, "list", '[');
    json_put_int(writer, NULL, INT64_MIN);
    json_put_bool(writer, NULL, true);
    json_open(writer, NULL, '[');
    json_close(writer, ']');
    json_put_double(writer, NULL, 0.25);
    json_close(writer, ']');
    json_put_bool(writer, "b", false);
    json_close(writer, '}');
}

static void the_writer_puts_commas_where_they_belong(void **state)
{
    (void)state;
    struct buf out;
    struct json_writer writer;
    buf_init(&out, 0);
    json_writer_init(&writer, &out);
    put_everything(&writer);
    const char *text = writer.rc == 0 ? buf_terminated(&out) : NULL;
    bool right = text != NULL &&
                 strcmp(text, "{\"s\":\"a\\\"\",\"none\":null,\"empty\":{},\"list\":["
                              "-9223372036854775808,true,[],0.25],\"b\":false}") == 0;
    buf_finish(&out);
    assert_true(right);
}

static void the_writers_first_failure_stays(void **state)
{
    (void)state;
    char storage[128];
    for (size_t room = 0; room < 80; room++) {
        struct buf out;
        struct json_writer writer;
        buf_init_fixed(&out, storage, room);
        json_writer_init(&writer, &out);
        put_everything(&writer);
        assert_int_equal(writer.rc, -E2BIG);
        assert_true(out.size <= room);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_found_by_their_names),
        cmocka_unit_test(what_is_missing_gives_the_default),
        cmocka_unit_test(members_are_walked_in_their_order),
        cmocka_unit_test(bad_input_is_refused_with_a_place),
        cmocka_unit_test(sixty_four_levels_are_read_and_sixty_five_are_not),
        cmocka_unit_test(brackets_within_strings_are_no_levels),
        cmocka_unit_test(strings_are_escaped),
        cmocka_unit_test(each_byte_that_is_not_utf8_becomes_one_replacement),
        cmocka_unit_test(a_string_that_does_not_fit_leaves_the_buffer_alone),
        cmocka_unit_test(the_writer_puts_commas_where_they_belong),
        cmocka_unit_test(the_writers_first_failure_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
