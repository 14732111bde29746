/*
 * Writes a record as one line for people or programs: what the stdout sink, `search` and files show.
 * Pure. Any thread.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/record.h"

enum format_kind { FORMAT_TEXT, FORMAT_JSON, FORMAT_LOGFMT };

/* "text", "json", "logfmt"; -EINVAL otherwise. */
int format_kind_parse(const char *word, enum format_kind *ret_kind)
    __attribute__((warn_unused_result));

struct format_text_style {
    bool colour;         /* container name in a colour of its own, for a terminal */
    size_t name_columns; /* names are padded to this */
    bool escape;         /* a terminal without colour: control bytes are escaped all the same */
};

/*
 * json: {"time":"<RFC 3339, 9 digits>","daemon":..,"container":{"id":..,"name":..,"image":..},
 *        "stream":"stdout","line":".."}, then "truncated":true for a cut line, and, where the line
 *        is not UTF-8, "line_base64" with its exact bytes ("line" then has U+FFFD for each bad one).
 * logfmt: the same as key=value; bytes that are not printable are written \xNN in quotes.
 * text: `name  | line`, as `docker compose logs` shows it; control bytes are escaped on a terminal.
 * A newline ends each. 0 or what buf returned.
 */
int format_json(struct buf *out, const struct record_origin *origin, const struct record *record)
    __attribute__((warn_unused_result));
int format_logfmt(struct buf *out, const struct record_origin *origin, const struct record *record)
    __attribute__((warn_unused_result));
int format_text(struct buf *out, const struct record_origin *origin, const struct record *record,
                const struct format_text_style *style) __attribute__((warn_unused_result));
/* One of the three. style may be NULL for json and logfmt. */
int format_record(struct buf *out, enum format_kind kind, const struct record_origin *origin,
                  const struct record *record, const struct format_text_style *style)
    __attribute__((warn_unused_result));
/* Appends the bytes in base64 (RFC 4648) with padding. */
int format_base64(struct buf *out, const char *bytes, size_t size)
    __attribute__((warn_unused_result));
