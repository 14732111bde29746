/*
 * Reads records in the order in which they were written. Two kinds:
 *   of a running spool (in its process): sees what is durable, waits for more, takes the newest
 *     frames from memory, and may have a durable cursor, which keeps segments from going by age;
 *   of a folder (another process, or none running): sees what is on disk.
 *
 * A reader belongs to one thread; opening, closing and metrics belong to the loop thread.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "base/record.h"
#include "spool/spool.h"

struct spool_reader;

struct spool_item {
    uint64_t number;      /* of the record */
    struct record record; /* both live until the next call */
    const struct record_origin *origin;
    uint64_t segment; /* with origin_id the same for the same origin */
    uint32_t origin_id;
    uint64_t line_bytes; /* of all lines of the spool up to this one */
};

/* With the cursor of this name: begins where it stands; a new one at the oldest record
 * (from_start) or behind the newest. */
int spool_reader_open(struct spool *spool, const char *cursor_name, bool from_start,
                      struct spool_reader **ret_reader, struct error *error)
    __attribute__((warn_unused_result));
/* Without a cursor, from this record on. Any thread may open, use and close it: it has no metrics. */
int spool_reader_open_at(struct spool *spool, uint64_t record, struct spool_reader **ret_reader,
                         struct error *error) __attribute__((warn_unused_result));
/* Of a folder, from its oldest record. -ENOENT when there is no spool. */
int spool_reader_open_dir(const char *dir, struct spool_reader **ret_reader, struct error *error)
    __attribute__((warn_unused_result));
/* Does not move the cursor. NULL is ignored. */
void spool_reader_close(struct spool_reader *reader);

/* Frames that have no record within these times are passed over without being decompressed; their
 * records are not counted as skipped. */
void spool_reader_limit_times(struct spool_reader *reader, int64_t since_ns, int64_t until_ns);

/* 1 and the next record; 0 when there is none now; a negative errno on trouble that is not damage.
 * What was lost to the limit or to damage is passed over and counted. */
int spool_reader_next(struct spool_reader *reader, struct spool_item *ret_item)
    __attribute__((warn_unused_result));
/* Waits until there may be more, at most timeout_ns, or until spool_reader_wake(). */
void spool_reader_wait(struct spool_reader *reader, int64_t timeout_ns);
/* Any thread. */
void spool_reader_wake(struct spool_reader *reader);

/* Everything before this record number is done with, and had so many bytes of lines (of the item
 * before it): what the lag is reckoned from. Not durable. */
void spool_reader_advance(struct spool_reader *reader, uint64_t record, uint64_t line_bytes);
/* The same, durable when it returns 0: the cursor begins there after a restart. */
int spool_reader_commit(struct spool_reader *reader, uint64_t record)
    __attribute__((warn_unused_result));
/* Durable records that are not done with, and the bytes of their lines. Any thread. */
void spool_reader_lag(const struct spool_reader *reader, uint64_t *ret_records,
                      uint64_t *ret_bytes);
/* Bytes of all lines before the record that comes next. */
uint64_t spool_reader_line_bytes(const struct spool_reader *reader);
/* Where the reader stands: number of the record that comes next. */
uint64_t spool_reader_position(const struct spool_reader *reader);
/* Records that were gone when the reader came to them, and damaged frames it met. */
uint64_t spool_reader_skipped(const struct spool_reader *reader);
uint64_t spool_reader_damaged(const struct spool_reader *reader);
