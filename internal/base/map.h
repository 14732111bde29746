/*
 * Intrusive hash table with text keys. The node and its key belong to the caller and must stay
 * in place while they are in the table. One thread at a time.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct map_node {
    struct map_node *next;
    const char *key;
    uint64_t hash;
};

struct map {
    struct map_node **slots;
    size_t slot_count; /* a power of two */
    size_t size;
};

/* Returns 0 or -ENOMEM. */
int map_init(struct map *map) __attribute__((warn_unused_result));
/* Frees the table only; the nodes are the caller's. */
void map_finish(struct map *map);
/* Puts node under key; the key must not be present. Can't fail: the table stays small without
 * memory and only gets slower. */
void map_insert(struct map *map, struct map_node *node, const char *key);
struct map_node *map_find(const struct map *map, const char *key);
/* Takes out a node that is in the table. */
void map_remove(struct map *map, struct map_node *node);
/* Iteration in no particular order: NULL gives the first; NULL comes behind the last. The table
 * must not change but for the removal of nodes already passed. */
struct map_node *map_next(const struct map *map, const struct map_node *node);
