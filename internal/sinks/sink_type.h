/*
 * What a kind of sink is. It gives four small things: options (rows), encode (records to bytes),
 * send (bytes to the world) and judge (what the world answered to a verdict). Everything else is
 * the framework's (sink.h): cursor, batches, lanes, retries, circuit breaker, dead letters, metrics.
 *
 * All functions but `check` and `check_pair` run on the sink's thread, or where a command uses the sink alone.
 */
#pragma once

#include "base/metrics.h"
#include "base/option.h"
#include "loop/loop.h"
#include "net/http_sender.h"
#include "sinks/sink_batch.h"
#include "sinks/sink_settings.h"

enum sink_verdict {
    SINK_DELIVERED,   /* taken for good */
    SINK_RETRY,       /* not now: sent again, for ever */
    SINK_REJECTED,    /* never, because of a record in it: the batch is bisected, and a record
                       * alone becomes a dead letter */
    SINK_UNREACHABLE, /* no answer: sent again, for ever */
    SINK_DENIED,      /* not allowed, or not there: held until somebody mends the settings */
};
#define SINK_VERDICTS 5
const char *sink_verdict_name(enum sink_verdict verdict);

/* What came of one send, before it is judged. */
struct sink_response {
    int rc;           /* 0: there is an answer; else a negative errno */
    int status;       /* HTTP status, or 0 */
    const char *body; /* of the answer, cut at HTTP_SENDER_BODY_LIMIT; not terminated */
    size_t body_bytes;
    int64_t retry_after_ns; /* asked for by the answer; 0: not */
    const char *text;       /* for people, where rc is not 0 */
};

/* One send. The framework's; `type_data` is the type's to use until it is answered. */
struct sink_delivery {
    struct sink_slice slice;   /* the records */
    const struct buf *payload; /* what encode made of them */
    void *type_data;
};

/* What the framework lends a sink while it lives. */
struct sink_context {
    const char *name;
    const char *state_dir;    /* for files that must outlive the process */
    struct http_sender *http; /* for types with uses_http, else NULL */
    struct loop *loop; /* on whose thread create and destroy run; NULL where a command replays */
    int stop_fd;       /* readable when waiting must end */
    struct metrics *metrics; /* for the type's own, with these labels */
    const char *metric_labels;
    /* Answers a delivery: at once from within send, or later from within http_sender_poll(). */
    void (*answer)(struct sink_delivery *delivery, const struct sink_response *response,
                   void *data);
    void *data;
};

/* How a type wants its batches by default; NULL: as the rows of sink_common_options say. */
struct sink_defaults {
    const char *batch_bytes;
    const char *batch_age;
    const char *concurrency;
};

struct sink_type {
    const char *name;
    const char *help;                 /* one sentence */
    const struct option_row *options; /* of a struct of options_bytes; ends with a NULL path */
    size_t options_bytes;
    struct sink_defaults defaults;
    bool uses_http; /* has sink_http_options too */
    bool one_batch; /* answers within send: more than one batch under way would gain nothing */

    /* The settings against each other; nothing is opened. Optional. */
    int (*check)(const struct sink_settings *settings, struct error *error);
    /* The settings of two sinks of this type against each other. Optional. */
    int (*check_pair)(const struct sink_settings *settings, const struct sink_settings *other,
                      struct error *error);
    /* settings live as long as the sink. */
    int (*create)(const struct sink_context *context, const struct sink_settings *settings,
                  void **ret_sink, struct error *error);
    void (*destroy)(void *sink);
    /* Prepares what all records of an origin's stream share, into origin->prepared[stream] (freed with
     * the origin); before the first of them is encoded. Optional. */
    int (*prepare)(void *sink, struct sink_origin *origin, enum record_stream stream);
    /* Appends the bytes to send for these records. 0, or what buf returned. */
    int (*encode)(void *sink, const struct sink_slice *slice, struct buf *out);
    /* Wraps the whole payload, as the target wants it. Optional. */
    int (*compress)(const struct buf *payload, struct buf *out);
    /* Begins; context->answer() comes exactly once, unless http is destroyed before. */
    void (*send)(void *sink, struct sink_delivery *delivery);
    enum sink_verdict (*judge)(void *sink, const struct sink_response *response);
    /* What was delivered until now must survive: called before the cursor is stored. Optional. */
    int (*settle)(void *sink, uint64_t next_record);
    /* Frees what only a batch needs: there was none for a while. Optional. */
    void (*release)(void *sink);
    /* A little of work that can wait, when nothing else is to do; true: there is more. Optional. */
    bool (*work)(void *sink);
    /* Open sockets to the target, of a type without uses_http. Any thread. Optional. */
    int64_t (*connections)(void *sink);
};

/* All types, ended by NULL. */
extern const struct sink_type *const sink_types[];
const struct sink_type *sink_type_find(const char *name);
