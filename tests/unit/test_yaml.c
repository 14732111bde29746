/* YAML as a tree: scalars by what they are, places in errors, what is refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/yaml.h"

static struct json *parse(const char *text)
{
    struct json *root = NULL;
    struct error error = {""};
    int rc = yaml_parse(text, strlen(text), &root, &error);
    if (rc == -ENOMEM) { /* under torture */
        return NULL;
    }
    assert_string_equal(error.text, "");
    assert_int_equal(rc, 0);
    return root;
}

static void a_mapping_is_an_object_and_a_sequence_an_array(void **state)
{
    (void)state;
    struct json *root = parse("a: {b: [1, two, -3]}\nc:\n  - x: y\n  - z\n");
    if (root == NULL) {
        return;
    }
    const struct json *list = json_get(json_get(root, "a"), "b");
    assert_true(json_is_array(list));
    const struct json *item = json_first(list);
    assert_int_equal(json_int(item), 1);
    item = json_next(item);
    assert_string_equal(json_string(item), "two");
    item = json_next(item);
    assert_int_equal(json_int(item), -3);
    assert_string_equal(json_string(json_get(json_first(json_get(root, "c")), "x")), "y");
    json_destroy(root);
}

static void only_plain_words_are_more_than_text(void **state)
{
    (void)state;
    struct json *root = parse("yes: true\nno: \"true\"\nword: 'no'\nversion: 1.2.3\nnumber: 7\n"
                              "quoted: \"7\"\nnothing: ~\nescaped: \"a\\r\\n\"\nempty: ''\n");
    if (root == NULL) {
        return;
    }
    assert_true(json_bool(json_get(root, "yes")));
    assert_string_equal(json_string(json_get(root, "no")), "true");
    assert_string_equal(json_string(json_get(root, "word")), "no");
    assert_string_equal(json_string(json_get(root, "version")), "1.2.3");
    assert_null(json_string(json_get(root, "number")));
    assert_int_equal(json_int(json_get(root, "number")), 7);
    assert_string_equal(json_string(json_get(root, "quoted")), "7");
    assert_string_equal(json_string(json_get(root, "escaped")), "a\r\n");
    assert_string_equal(json_string(json_get(root, "empty")), "");
    json_destroy(root);
}

static void what_is_wrong_is_told_with_its_place(void **state)
{
    (void)state;
    static const struct {
        const char *text, *said;
    } rows[] = {{"a: [1, 2", "line 2"},           {"a: 1\nb: 2\na: 3\n", "line 3"},
                {"a: 1\n b: 2\n", "line 2"},      {"a: &x 1\nb: *x\n", "line 2"},
                {"\tkey: 1\n", "line 1"},         {"? [1]\n: 2\n", "line 1"},
                {"a: 1\n---\nb: 2\n", "document"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct json *root = NULL;
        struct error error = {""};
        int rc = yaml_parse(rows[i].text, strlen(rows[i].text), &root, &error);
        if (rc == -ENOMEM) {
            continue;
        }
        assert_int_equal(rc, -EINVAL);
        if (strstr(error.text, rows[i].said) == NULL) {
            fail_msg("'%s': %s", rows[i].text, error.text);
        }
    }
}

static void nothing_is_null(void **state)
{
    (void)state;
    struct json *root = parse("# nothing\n");
    assert_false(json_is_object(root));
    assert_null(json_first(root));
    json_destroy(root);
}

static void nesting_has_a_limit(void **state)
{
    (void)state;
    char deep[200];
    struct json *root = NULL;
    struct error error = {""};
    memset(deep, '[', 100);
    memset(deep + 100, ']', 100);
    int rc = yaml_parse(deep, sizeof(deep), &root, &error);
    assert_true(rc == -EINVAL || rc == -ENOMEM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mapping_is_an_object_and_a_sequence_an_array),
        cmocka_unit_test(only_plain_words_are_more_than_text),
        cmocka_unit_test(what_is_wrong_is_told_with_its_place),
        cmocka_unit_test(nothing_is_null),
        cmocka_unit_test(nesting_has_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
