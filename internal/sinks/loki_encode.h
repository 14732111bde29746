/*
 * Loki's push request in protobuf (logproto.PushRequest,
 * https://github.com/grafana/loki/blob/main/pkg/push/push.proto):
 *   PushRequest   { repeated Stream streams = 1; }
 *   Stream        { string labels = 1; repeated Entry entries = 2; }
 *   Entry         { Timestamp timestamp = 1; string line = 2; repeated LabelPair metadata = 3; }
 *   Timestamp     { int64 seconds = 1; int32 nanos = 2; }
 *   LabelPair     { string name = 1; string value = 2; }
 * Written with nanopb's encoder. Pure but for its scratch memory. One thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct loki_stream {
    const char *labels;   /* {name="value", ...}, terminated */
    const char *metadata; /* of loki_append_metadata(); the same for each of its entries */
    size_t metadata_bytes;
};

struct loki_entry {
    size_t stream; /* index */
    int64_t time_ns;
    const char *line;
    size_t line_bytes;
};

struct loki_request {
    const struct loki_stream *streams;
    size_t stream_count;
    const struct loki_entry *entries; /* in their order */
    size_t entry_count;
};

struct loki_encoder {
    size_t *next;         /* of the same stream, by entry */
    size_t *first, *last; /* entries, by stream */
    uint64_t *bytes;      /* by stream */
    size_t entry_capacity, stream_capacity;
};

void loki_encoder_init(struct loki_encoder *encoder);
void loki_encoder_finish(struct loki_encoder *encoder);
/* Appends the request; streams without entries are left out. */
int loki_encode(struct loki_encoder *encoder, const struct loki_request *request, struct buf *out)
    __attribute__((warn_unused_result));
/* Appends one pair as an entry holds it. */
int loki_append_metadata(struct buf *out, const char *name, const char *value)
    __attribute__((warn_unused_result));
/* Appends `name="value"` (and a comma before it, unless out ends in '{'), escaped; bytes that are not
 * UTF-8 become U+FFFD, and it is cut at 1 KiB. */
int loki_append_label(struct buf *out, const char *name, const char *value)
    __attribute__((warn_unused_result));
