/* What sink.c (life, metrics) and sink_worker.c (the thread) share. Nobody else includes this. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/backoff.h"
#include "pools/pool.h"
#include "process/filter.h"
#include "sinks/sink.h"
#include "sinks/sink_type.h"
#include "spool/spool_reader.h"

#define SINK_RANGES_LIMIT 40 /* of one batch; bisecting halves, so the depth is logarithmic */
#define SINK_OPEN_AFTER 5    /* failures in a row that open the circuit */

struct sink_range {
    size_t from, to;
};

/* One batch at a time; lines of one stream always go to the same lane. */
struct sink_lane {
    struct sink *sink;
    struct sink_batch batch;
    struct sink_range ranges[SINK_RANGES_LIMIT]; /* what is left of a begun batch, last first */
    size_t range_count;
    size_t done; /* records of the batch before this one are done with */
    bool sending;
    bool full;
    unsigned throttled; /* answers 429 in a row to the present range */
    bool tried;         /* the present range was sent before */
    int64_t begun_ns;   /* monotonic; when the first record came */
    int64_t sent_ns;    /* of the send under way */
    struct buf payload; /* encoded, and compressed where the type does */
    struct sink_delivery delivery;
};

struct sink {
    struct sink_options options;
    struct sink_settings *settings;
    const struct sink_type *type;
    struct http_sender *http;
    struct pool *scratch;     /* where batches are encoded that are compressed then */
    struct pool *own_scratch; /* the same one, where nobody else has it */
    void *state;              /* the type's */
    char *dead_letters_path;
    struct buf metric_labels; /* sink="...",type="..." */

    /* ---- of the thread ---- */
    struct spool_reader *reader;
    struct sink_origins origins;
    struct sink_origin **by_id; /* of the present segment, by origin_id */
    size_t by_id_count;
    uint64_t segment;
    struct filter filter;
    struct sink_lane *lanes;
    size_t lane_count;
    struct spool_item item; /* read, but its lane has no room */
    bool item_waits;
    bool caught_up;
    int reader_errno; /* what the last read said, where it was trouble */
    struct backoff backoff;
    unsigned failures; /* in a row */
    bool denied;
    bool told; /* of the present failures, in the log */
    int64_t told_ns;
    int64_t next_try_ns;
    size_t in_flight;
    uint64_t stored_record;
    int64_t stored_ns;
    int64_t busy_ns; /* when it last held something */

    /* ---- shared ---- */
    pthread_t thread;
    bool running; /* the thread was started, and is not joined */
    int wake_fd;  /* look at `stopping` */
    int stop_fd;  /* end at once */
    _Atomic bool stopping, draining, aborted, ended;
    _Atomic int state_number;
    _Atomic int64_t oldest_ns; /* timestamp of the oldest line that waits; 0: none */
    pthread_mutex_t lock;      /* of problem */
    char problem[256];

    struct metric delivered, delivered_bytes, sent_bytes, sends[SINK_VERDICTS], retries;
    struct metric dead_letters, filtered, circuit_open, denied_metric, connections, lag_seconds;
    struct metric_histogram send_seconds;
};

enum sink_state { SINK_RUNNING, SINK_RETRYING, SINK_OPEN, SINK_HELD, SINK_STOPPED };

void *sink_thread(void *data);
void sink_handle_answer(struct sink_delivery *delivery, const struct sink_response *response,
                        void *data);
/* Keeps what keeps it from running; text NULL: nothing does. */
void sink_set_problem(struct sink *sink, enum sink_state state, const char *text, size_t size);
