/* What the spool's own files share: the loop's side, the writer's thread, the start, the readers. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "base/list.h"
#include "loop/task.h"
#include "loop/timer.h"
#include "spool/spool.h"

/* A frame in memory. Read only once it is queued; freed with its last reference. */
struct spool_block {
    struct list link; /* in the writer's queue or the memory ring; under spool->lock */
    _Atomic unsigned references;
    struct spool_frame_header header;
    bool begins_segment;
    uint64_t line_bytes; /* of its records */
    uint64_t segment;    /* number of its segment, set by the writer */
    uint64_t offset;     /* behind it in its segment's file, set by the writer */
    int64_t sealed_ns;   /* monotonic */
    size_t size;
    char payload[];
};

void spool_block_unref(struct spool_block *block);

struct spool_position {
    struct map_node node;
    struct spool_source *source; /* NULL: nobody uses it now */
    bool forgotten;              /* a tombstone goes into the next frame */
    struct spool_position *next_forgotten;
    uint8_t size;
    unsigned char bytes[SPOOL_POSITION_LIMIT_BYTES];
    char key[];
};

struct spool_origin {
    uint64_t declared_in; /* number of the segment; 0: none */
    uint32_t id;
    struct record_origin view;
    char storage[];
};

/* A cursor that keeps segments from being dropped by age. */
struct spool_cursor_state {
    struct list link;        /* in spool->cursors */
    _Atomic uint64_t record; /* next one to read after a restart */
};

struct spool {
    struct spool_options options;
    int dir_fd;
    int lock_fd;

    /* ---- the loop's side ---- */
    struct map positions;
    struct spool_source *dirty;
    struct spool_position *forgotten;
    struct buf scratch; /* payload of the frame being built */
    struct spool_frame_header building;
    int64_t last_time_ns;
    bool open; /* a frame is being built */
    bool begins_segment;
    uint64_t segment_count;     /* segments begun by this process; for spool_origin.declared_in */
    int64_t segment_begun_ns;   /* monotonic */
    uint64_t segment_raw_bytes; /* of payload, sealed since */
    uint32_t next_origin;
    uint64_t next_frame, next_record, line_bytes;
    struct loop_timer commit_timer;
    struct loop_post durable_post;
    bool pressure;

    /* ---- shared; under lock where not atomic ---- */
    pthread_mutex_t lock;
    pthread_cond_t work;    /* for the writer */
    pthread_cond_t durable; /* for readers and spool_close() */
    struct list queue;      /* sealed, not written */
    size_t unfinished;      /* blocks sealed and not durable */
    struct list ring;       /* durable, kept in memory for readers */
    size_t ring_bytes;
    bool sync_wanted;
    bool stopping;
    bool abandoned; /* spool_close() ran out of time */
    bool writer_done;
    bool orphaned; /* the writer\'s to free */
    struct list cursors;
    _Atomic uint64_t pending_bytes;
    _Atomic uint64_t durable_frame, durable_record, durable_line_bytes;
    _Atomic uint64_t stored_bytes, segments, oldest_record;
    _Atomic int stall_errno;

    /* ---- the writer's own ---- */
    pthread_t writer;
    struct spool_writer *writer_state;

    struct metric bytes_metric, limit_metric, segments_metric, records_metric, pending_metric;
    struct metric damaged, torn_bytes, commits, write_errors, raw_bytes, written_bytes, unlinked;
    struct metric stalled_metric, lost;
    struct metric_histogram commit_seconds;
};

/* spool.c: frees what needs no loop. */
void spool_free(struct spool *spool);

/* Bytes of a segment after which the next frame begins a new one. */
uint64_t spool_segment_limit(const struct spool *spool);

/* spool_recovery.c: fills positions and the next numbers; truncates a tail that never was durable. */
int spool_recover(struct spool *spool, struct error *error) __attribute__((warn_unused_result));
int spool_position_store(struct spool *spool, const char *key, size_t key_bytes, const void *bytes,
                         size_t size) __attribute__((warn_unused_result));

/* spool_writer.c */
int spool_writer_start(struct spool *spool) __attribute__((warn_unused_result));
/* Waits for the thread, which has been told to stop. false: a system call holds it; the spool is the
 * thread's then, which frees it when the call returns. */
bool spool_writer_join(struct spool *spool, const struct timespec *deadline);
