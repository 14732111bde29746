/* The intrusive table and the intrusive list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/list.h"
#include "base/map.h"

#define NODES 2000

struct item {
    struct map_node node;
    char key[16];
    bool present;
    bool seen;
};

static struct item items[NODES];

static void make_items(void)
{
    for (int i = 0; i < NODES; i++) {
        items[i] = (struct item){0};
        (void)snprintf(items[i].key, sizeof(items[i].key), "key-%d", i * 7919);
    }
}

/* What the table holds is what `present` says, by look-up and by walk. */
static bool agrees(const struct map *map)
{
    size_t count = 0;
    size_t walked = 0;
    for (int i = 0; i < NODES; i++) {
        items[i].seen = false;
        count += items[i].present;
        if (map_find(map, items[i].key) != (items[i].present ? &items[i].node : NULL)) {
            return false;
        }
    }
    for (struct map_node *node = map_next(map, NULL); node != NULL; node = map_next(map, node)) {
        struct item *item = container_of(node, struct item, node);
        if (item->seen || !item->present) {
            return false;
        }
        item->seen = true;
        walked++;
    }
    return walked == count && map->size == count;
}

static void a_table_holds_what_was_put_in_and_not_taken_out(void **state)
{
    (void)state;
    struct map map;
    bool right = true;
    make_items();
    assert_int_equal(map_init(&map), 0);
    uint64_t random = 1;
    for (int i = 0; i < 20000; i++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407U;
        struct item *item = &items[(random >> 33) % NODES];
        if (item->present) {
            map_remove(&map, &item->node);
        } else {
            map_insert(&map, &item->node, item->key);
        }
        item->present = !item->present;
        right = right && (i % 1000 != 0 || agrees(&map));
    }
    right = right && agrees(&map);
    map_finish(&map);
    assert_true(right);
}

static void an_empty_table_finds_nothing(void **state)
{
    (void)state;
    struct map map;
    assert_int_equal(map_init(&map), 0);
    bool right = map_find(&map, "") == NULL && map_next(&map, NULL) == NULL;
    map_finish(&map);
    assert_true(right);
    assert_null(map_find(&map, "a")); /* also after its end */
    assert_null(map_next(&map, NULL));
    map_finish(&map);
}

static void removal_while_walking_is_safe_for_what_was_passed(void **state)
{
    (void)state;
    struct map map;
    make_items();
    assert_int_equal(map_init(&map), 0);
    for (int i = 0; i < 100; i++) {
        map_insert(&map, &items[i].node, items[i].key);
    }
    size_t walked = 0;
    for (struct map_node *node = map_next(&map, NULL); node != NULL;) {
        struct map_node *passed = node;
        node = map_next(&map, node);
        map_remove(&map, passed);
        walked++;
    }
    size_t left = map.size;
    map_finish(&map);
    assert_int_equal(walked, 100);
    assert_int_equal(left, 0);
}

static void a_list_keeps_order_and_lets_go(void **state)
{
    (void)state;
    struct list head;
    struct list links[3];
    struct list *link;
    struct list *next;
    list_init(&head);
    for (int i = 0; i < 3; i++) {
        list_init(&links[i]);
        list_append(&head, &links[i]);
    }
    int at = 0;
    list_for_each_safe(link, next, &head)
    {
        assert_ptr_equal(link, &links[at]);
        at++;
        list_remove(link);
        list_remove(link); /* a link in no list stays where it is */
    }
    assert_int_equal(at, 3);
    assert_true(list_empty(&head));
}

static void removing_a_link_of_zeros_does_nothing(void **state)
{
    (void)state;
    struct list link = {NULL, NULL};
    list_remove(&link);
    assert_true(list_empty(&link));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_table_holds_what_was_put_in_and_not_taken_out),
        cmocka_unit_test(an_empty_table_finds_nothing),
        cmocka_unit_test(removal_while_walking_is_safe_for_what_was_passed),
        cmocka_unit_test(a_list_keeps_order_and_lets_go),
        cmocka_unit_test(removing_a_link_of_zeros_does_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
