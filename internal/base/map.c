/* Separate chaining, doubled at a load of one. */
#include "base/map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

#define MAP_FIRST_SLOTS 16

int map_init(struct map *map)
{
    *map = (struct map){.slots = calloc(MAP_FIRST_SLOTS, sizeof(struct map_node *)),
                        .slot_count = MAP_FIRST_SLOTS};
    return map->slots == NULL ? -ENOMEM : 0;
}

void map_finish(struct map *map)
{
    free(map->slots);
    *map = (struct map){0};
}

static struct map_node **slot_of(const struct map *map, uint64_t hash)
{
    return &map->slots[(hash ^ hash >> 32) & (map->slot_count - 1)];
}

static void grow(struct map *map)
{
    struct map bigger = {.slots = calloc(map->slot_count * 2, sizeof(struct map_node *)),
                         .slot_count = map->slot_count * 2,
                         .size = map->size};
    if (bigger.slots == NULL) {
        return;
    }
    for (size_t i = 0; i < map->slot_count; i++) {
        for (struct map_node *node = map->slots[i]; node != NULL;) {
            struct map_node *next = node->next;
            struct map_node **slot = slot_of(&bigger, node->hash);
            node->next = *slot;
            *slot = node;
            node = next;
        }
    }
    free(map->slots);
    *map = bigger;
}

void map_insert(struct map *map, struct map_node *node, const char *key)
{
    if (map->size >= map->slot_count) {
        grow(map);
    }
    node->key = key;
    node->hash = str_hash(key, strlen(key));
    struct map_node **slot = slot_of(map, node->hash);
    node->next = *slot;
    *slot = node;
    map->size++;
}

struct map_node *map_find(const struct map *map, const char *key)
{
    if (map->slots == NULL) {
        return NULL;
    }
    uint64_t hash = str_hash(key, strlen(key));
    for (struct map_node *node = *slot_of(map, hash); node != NULL; node = node->next) {
        if (node->hash == hash && strcmp(node->key, key) == 0) {
            return node;
        }
    }
    return NULL;
}

void map_remove(struct map *map, struct map_node *node)
{
    for (struct map_node **at = slot_of(map, node->hash); *at != NULL; at = &(*at)->next) {
        if (*at == node) {
            *at = node->next;
            node->next = NULL;
            map->size--;
            return;
        }
    }
}

struct map_node *map_next(const struct map *map, const struct map_node *node)
{
    size_t i = 0;
    if (node != NULL) {
        if (node->next != NULL) {
            return node->next;
        }
        i = (size_t)(slot_of(map, node->hash) - map->slots) + 1;
    }
    for (; map->slots != NULL && i < map->slot_count; i++) {
        if (map->slots[i] != NULL) {
            return map->slots[i];
        }
    }
    return NULL;
}
