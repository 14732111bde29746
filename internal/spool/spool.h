/*
 * The spool: one append-only log on disk (spool_format.h), many readers.
 *
 * The loop thread appends; a writer thread of its own compresses, writes and syncs. A record and the
 * new position of its source go into the same frame, so that after a crash either both are there or
 * neither. Readers (spool_reader.h) see durable frames only.
 *
 * All functions belong to the loop thread, unless they say otherwise.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "base/map.h"
#include "base/metrics.h"
#include "base/record.h"
#include "loop/loop.h"
#include "spool/spool_format.h"

struct spool;
struct spool_origin;

#define SPOOL_POSITION_LIMIT_BYTES 127

struct spool_options {
    struct loop *loop;
    struct metrics *metrics;
    const char *dir;      /* made when missing; all borrowed for the spool's life */
    uint64_t limit_bytes; /* on disk; the oldest segment goes when it is passed */
    int64_t age_ns;       /* segments older than this go, once no cursor needs them; 0: never */
    int64_t commit_interval_ns; /* the longest time until a record is handed to the disk */
    uint64_t commit_bytes;      /* sync at the latest after so many bytes of payload */
    enum spool_codec codec;
    /* The spool can't take more for now (true), or can again (false). Optional. */
    void (*on_pressure)(bool pressure, void *data);
    void *data;
};

/* Takes the folder's lock and recovers what is there; never fails over damage. -EWOULDBLOCK when
 * another process holds the spool; other errors of the folder with the reason. */
int spool_open(const struct spool_options *options, struct spool **ret_spool, struct error *error)
    __attribute__((warn_unused_result));
/* Writes and syncs what was appended, waiting at most timeout_ns for the disk, and half of that once
 * more for a system call under way. Returns 0 when all is durable, -ETIMEDOUT otherwise. Readers
 * must be closed before. Where the disk does not return at all, the thread in it frees the
 * memory should it ever return. */
int spool_close(struct spool *spool, int64_t timeout_ns);

/* ---- sources: where records come from, and how far they were read ---- */

/* Embedded in its owner. */
struct spool_source {
    struct spool_position *position; /* the spool's own */
    bool dirty;
    struct spool_source *next_dirty;
    /* Writes the position behind the last record appended; returns its bytes, at most
     * SPOOL_POSITION_LIMIT_BYTES. Called from within spool_append() and spool_flush(). */
    size_t (*encode)(const struct spool_source *source, unsigned char *ret_bytes);
};

/* The stored position of a source; NULL when there is none. Lives until the source changes. */
const unsigned char *spool_position_find(const struct spool *spool, const char *key,
                                         size_t *ret_bytes);
/* key: under 128 bytes, copied. -ENOMEM, -EEXIST. */
int spool_source_add(struct spool *spool, struct spool_source *source, const char *key)
    __attribute__((warn_unused_result));
/* Its position stays; or goes, when the source will not come back. */
void spool_source_remove(struct spool *spool, struct spool_source *source, bool forget);
/* Drops positions for which `keep` says no; sources in use are not asked. */
void spool_positions_prune(struct spool *spool, bool (*keep)(const char *key, void *data),
                           void *data);
/* Its position changed without a record: goes into the next frame. */
void spool_source_touch(struct spool *spool, struct spool_source *source);

/* ---- appending ---- */

/* Copies origin. -ENOMEM. */
int spool_origin_create(struct spool *spool, const struct record_origin *origin,
                        struct spool_origin **ret_origin) __attribute__((warn_unused_result));
void spool_origin_destroy(struct spool_origin *origin);

/* Appends one record. Before it takes the record it may finish a frame, with the positions as they
 * are then: so the caller moves its position on only after this returned 0. -ENOMEM: not taken. */
int spool_append(struct spool *spool, struct spool_source *source, struct spool_origin *origin,
                 const struct record *record) __attribute__((warn_unused_result));
/* Hands what was appended to the writer now instead of after the interval. */
void spool_flush(struct spool *spool);

/* ---- state; any thread ---- */

enum spool_state {
    SPOOL_WRITING,
    SPOOL_STALLED, /* the disk refuses: full, or an error; what was appended is kept and retried */
};
enum spool_state spool_state(struct spool *spool);
/* errno of the last refusal; 0 while SPOOL_WRITING. */
int spool_stall_errno(struct spool *spool);

struct spool_status {
    uint64_t records;       /* number of the record behind the last durable one */
    uint64_t oldest_record; /* first one still there */
    uint64_t line_bytes;    /* of all durable records since the spool was made */
    uint64_t stored_bytes;  /* on disk */
    uint64_t limit_bytes;   /* the most there may be */
    uint64_t segments;
    uint64_t pending_bytes; /* appended, not durable */
    uint64_t frames_damaged;
};
void spool_status(struct spool *spool, struct spool_status *ret_status);
