/*
 * Dead letters: records that a sink's target will never take, kept in a file with the reason, one
 * JSON object a line:
 *   {"time":.., "sink":.., "status":400, "reason":.., "number":.., "labels":{..}, "record":{..}}
 * record is what format_json() writes. `log_capturer replay` reads them again.
 */
#pragma once

#include "base/error.h"
#include "sinks/sink_batch.h"

struct sink_dead_letter {
    const char *sink;
    int status;         /* HTTP status, or 0 */
    const char *reason; /* what the target said */
    size_t reason_bytes;
    const struct sink_record *record;
};

/* <state_dir>/<sink>.dead.jsonl */
int sink_dead_letters_path(const char *state_dir, const char *sink, struct buf *ret_path)
    __attribute__((warn_unused_result));
/* Appends one; durable when it returns 0. */
int sink_dead_letters_append(const char *path, const struct sink_dead_letter *letter)
    __attribute__((warn_unused_result));
/* One line of the file, read again. The views live until sink_dead_letter_free(). */
struct sink_dead_letter_record {
    struct record record;
    struct record_origin origin;
    struct sink_dead_letter_storage *storage;
};
/* -EINVAL with the reason. */
int sink_dead_letter_parse(const char *line, size_t size,
                           struct sink_dead_letter_record *ret_record, struct error *error)
    __attribute__((warn_unused_result));
void sink_dead_letter_free(struct sink_dead_letter_record *record);
