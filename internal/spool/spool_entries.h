/*
 * Reads the entries of a frame's payload (spool_format.h) and keeps the origins of a segment.
 * One thread at a time; views live as long as the payload and, for origins, as the table.
 */
#pragma once

#include "spool/spool_format.h"

enum spool_entry_kind {
    SPOOL_ENTRY_END,
    SPOOL_ENTRY_ORIGIN,
    SPOOL_ENTRY_POSITION,
    SPOOL_ENTRY_RECORD
};

struct spool_entry {
    enum spool_entry_kind kind;
    uint32_t origin_id;   /* origin, record */
    struct record record; /* record */
    const char *key;      /* position: not terminated */
    size_t key_bytes;
    const void *position;
    size_t position_bytes;
    const unsigned char *origin_from; /* origin: its encoded fields */
    size_t origin_bytes;
};

struct spool_entries {
    const unsigned char *at;
    const unsigned char *end;
    int64_t last_time_ns;
};

void spool_entries_init(struct spool_entries *entries, const void *payload, size_t size);
/* 0 and the next entry (SPOOL_ENTRY_END at the end), or -EINVAL: damaged. */
int spool_entries_next(struct spool_entries *entries, struct spool_entry *ret_entry)
    __attribute__((warn_unused_result));

/* The origins of one segment, by id. */
struct spool_origins {
    struct record_origin **slots; /* each one allocation, texts included */
    size_t count, capacity;
};

void spool_origins_clear(struct spool_origins *origins);
void spool_origins_finish(struct spool_origins *origins);
/* Takes over an origin entry; a known id is replaced. -EINVAL damaged, -ENOMEM. */
int spool_origins_take(struct spool_origins *origins, const struct spool_entry *entry)
    __attribute__((warn_unused_result));
/* NULL when it was never declared. */
const struct record_origin *spool_origins_find(const struct spool_origins *origins, uint32_t id);
