/*
 * A batch: records copied from the spool, in their order, waiting to be delivered. It owns the
 * bytes and holds references to the origins. One thread.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/map.h"
#include "base/record.h"

/* An origin as a sink knows it: one per container and set of labels, shared by its records. */
struct sink_origin {
    struct map_node node;
    struct sink_origins *origins;
    struct record_origin view; /* its texts are in storage */
    unsigned references;
    bool wanted[3];    /* by enum record_stream: passes the sink's include and exclude */
    void *prepared[3]; /* the same; the type's, from malloc() */
    uint64_t hash;     /* of the container's id */
    char *storage;
};

struct sink_record {
    uint64_t number;
    uint64_t line_bytes_end; /* struct spool_item.line_bytes */
    struct sink_origin *origin;
    size_t at;            /* of the line in batch->lines */
    struct record record; /* its line pointer is valid in a slice only */
};

struct sink_batch {
    struct buf lines;
    struct sink_record *records;
    size_t count, capacity;
};

/* Records `count` from `records` of one batch, whose line pointers are set. */
struct sink_slice {
    const struct sink_record *records;
    size_t count;
};

void sink_batch_init(struct sink_batch *batch);
/* Frees all, and gives the references back. */
void sink_batch_finish(struct sink_batch *batch);
/* Copies the record and takes a reference of the origin. -ENOMEM: nothing changed. */
int sink_batch_add(struct sink_batch *batch, const struct sink_record *record)
    __attribute__((warn_unused_result));
/* The records from..to (exclusive). Valid until the next sink_batch_add(). */
struct sink_slice sink_batch_slice(struct sink_batch *batch, size_t from, size_t to);
/* Empties it and keeps the memory. */
void sink_batch_clear(struct sink_batch *batch);

/* The table of origins of one sink. */
struct sink_origins {
    struct map map;
    struct buf key; /* scratch */
};

int sink_origins_init(struct sink_origins *origins) __attribute__((warn_unused_result));
/* All references must be given back. */
void sink_origins_finish(struct sink_origins *origins);
/* The one that equals view, with a reference for the caller; made where there is none, then
 * *ret_new is true. NULL without memory. */
struct sink_origin *sink_origins_get(struct sink_origins *origins, const struct record_origin *view,
                                     bool *ret_new);
/* NULL is ignored. */
void sink_origin_unref(struct sink_origin *origin);
