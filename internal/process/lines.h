/*
 * Joins pieces (frames.h) into lines, each stream for itself.
 *
 * A piece without newline goes on in the next piece of its stream if that has the same timestamp;
 * otherwise the line was complete. A piece shorter than the shortest that a daemon cuts (8,192
 * bytes, podman) is complete at once.
 *
 * Pure. One thread at a time.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/record.h"

/* record->line is a view for the length of the call. */
typedef void (*lines_record_fn)(const struct record *record, void *data);

struct lines_join {
    struct buf text;
    int64_t time_ns;
    bool open;
    bool truncated;
};

struct lines {
    size_t limit_bytes;
    struct lines_join joins[2]; /* stdout, stderr */
    lines_record_fn on_record;
    void *data;
};

/* limit_bytes: longer lines are cut and flagged RECORD_TRUNCATED. */
void lines_init(struct lines *lines, size_t limit_bytes, lines_record_fn on_record, void *data);
void lines_finish(struct lines *lines);
/* 0, or -ENOMEM: the piece is lost then, so the caller has to read it again. */
int lines_piece(struct lines *lines, uint8_t stream, int64_t time_ns, const char *bytes,
                size_t size) __attribute__((warn_unused_result));
/* Whether a line of this stream has begun and not ended. */
bool lines_is_open(const struct lines *lines, uint8_t stream);
/* The log is at its end: what is open is a last line without newline. */
void lines_flush(struct lines *lines);
