/* Which containers are captured. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "process/filter.h"

#define LIST(...)                                                                                  \
    {                                                                                              \
        (const char *const[]){__VA_ARGS__},                                                        \
            sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *)                      \
    }

static const struct record_label labels[] = {
    {"com.docker.compose.project", "shop"}, {"tier", "web"}, {"empty", ""}};
static const struct filter_subject web = {"shop-web-1", "nginx:1.25", "json-file", labels, 3};

static bool selects(const struct filter_rules *include, const struct filter_rules *exclude,
                    const struct filter_subject *subject)
{
    struct filter filter = {.include = {.name = {NULL, 0}}};
    if (include != NULL) {
        filter.include = *include;
    }
    if (exclude != NULL) {
        filter.exclude = *exclude;
    }
    return filter_selects(&filter, subject);
}

#define INCLUDES(...) selects(&(struct filter_rules){__VA_ARGS__}, NULL, &web)
#define EXCLUDES(...) (!selects(NULL, &(struct filter_rules){__VA_ARGS__}, &web))

static void without_rules_everything_is_selected(void **state)
{
    (void)state;
    const struct filter_subject bare = {"", "", NULL, NULL, 0};
    assert_true(selects(NULL, NULL, &web));
    assert_true(selects(NULL, NULL, &bare));
}

static void any_pattern_of_a_kind_will_do(void **state)
{
    (void)state;
    assert_true(INCLUDES(.name = LIST("db-*", "shop-*")));
    assert_true(INCLUDES(.image = LIST("nginx*")));
    assert_true(INCLUDES(.project = LIST("sh?p")));
    assert_true(INCLUDES(.driver = LIST("local", "json-file")));
    assert_false(INCLUDES(.name = LIST("db-*", "shop-api-*")));
    assert_false(INCLUDES(.name = LIST("shop")));
}

static void every_kind_that_is_given_must_match(void **state)
{
    (void)state;
    assert_true(INCLUDES(.name = LIST("shop-*"), .image = LIST("nginx*")));
    assert_false(INCLUDES(.name = LIST("shop-*"), .image = LIST("redis*")));
    assert_false(INCLUDES(.name = LIST("shop-*"), .label = LIST("tier=db")));
}

static void a_label_matches_by_key_or_by_value(void **state)
{
    (void)state;
    assert_true(INCLUDES(.label = LIST("tier")));
    assert_true(INCLUDES(.label = LIST("tier=web")));
    assert_true(INCLUDES(.label = LIST("tier=w*")));
    assert_true(INCLUDES(.label = LIST("empty=")));
    assert_true(INCLUDES(.label = LIST("empty")));
    assert_false(INCLUDES(.label = LIST("tie")));
    assert_false(INCLUDES(.label = LIST("tier2")));
    assert_false(INCLUDES(.label = LIST("tier=")));
    assert_false(INCLUDES(.label = LIST("tier=web2")));
}

static void one_exclude_rule_is_enough(void **state)
{
    (void)state;
    assert_true(EXCLUDES(.name = LIST("*")));
    assert_true(EXCLUDES(.image = LIST("x", "nginx:*")));
    assert_true(EXCLUDES(.project = LIST("shop")));
    assert_true(EXCLUDES(.driver = LIST("json-file")));
    assert_true(EXCLUDES(.label = LIST("tier=web")));
    assert_false(EXCLUDES(.name = LIST("db"), .image = LIST("redis"), .label = LIST("tier=db")));
    assert_false(selects(&(struct filter_rules){.name = LIST("*")},
                         &(struct filter_rules){.label = LIST("tier")}, &web));
}

static void a_container_of_no_project_is_not_excluded_by_one(void **state)
{
    (void)state;
    const struct filter_subject alone = {"a", "b", "local", NULL, 0};
    assert_true(selects(NULL, &(struct filter_rules){.project = LIST("*")}, &alone));
    assert_false(selects(&(struct filter_rules){.project = LIST("shop")}, NULL, &alone));
}

static void a_driver_that_is_not_known_yet_decides_nothing(void **state)
{
    (void)state;
    const struct filter_subject early = {"a", "b", NULL, NULL, 0};
    assert_true(selects(&(struct filter_rules){.driver = LIST("local")}, NULL, &early));
    assert_true(selects(NULL, &(struct filter_rules){.driver = LIST("*")}, &early));
    assert_false(
        selects(&(struct filter_rules){.driver = LIST("local"), .name = LIST("x")}, NULL, &early));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_rules_everything_is_selected),
        cmocka_unit_test(any_pattern_of_a_kind_will_do),
        cmocka_unit_test(every_kind_that_is_given_must_match),
        cmocka_unit_test(a_label_matches_by_key_or_by_value),
        cmocka_unit_test(one_exclude_rule_is_enough),
        cmocka_unit_test(a_container_of_no_project_is_not_excluded_by_one),
        cmocka_unit_test(a_driver_that_is_not_known_yet_decides_nothing),
    };
    return cmocka_run_group_tests_name("filter", tests, NULL, NULL);
}
