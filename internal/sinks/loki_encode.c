/* Lengths come before contents in protobuf, so sizes are added up first; then each message is written
 * into room that is reserved for exactly it. */
#include "sinks/loki_encode.h"

#include <errno.h>
#include <pb_encode.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

#define NONE SIZE_MAX
#define NS_IN_SECOND 1000000000
#define VALUE_LIMIT_BYTES 1024 /* of a label; Loki refuses a line for one over 2048 */

void loki_encoder_init(struct loki_encoder *encoder)
{
    *encoder = (struct loki_encoder){0};
}

void loki_encoder_finish(struct loki_encoder *encoder)
{
    free(encoder->next);
    free(encoder->first);
    free(encoder->last);
    free(encoder->bytes);
    *encoder = (struct loki_encoder){0};
}

/* Scratch memory is not kept over a growth. */
static int make_room(struct loki_encoder *encoder, const struct loki_request *request)
{
    if (request->entry_count > encoder->entry_capacity) {
        free(encoder->next);
        encoder->next = malloc(request->entry_count * sizeof(size_t));
        encoder->entry_capacity = encoder->next != NULL ? request->entry_count : 0;
    }
    if (request->stream_count > encoder->stream_capacity) {
        free(encoder->first);
        free(encoder->last);
        free(encoder->bytes);
        encoder->first = malloc(request->stream_count * sizeof(size_t));
        encoder->last = malloc(request->stream_count * sizeof(size_t));
        encoder->bytes = malloc(request->stream_count * sizeof(uint64_t));
        bool whole = encoder->first != NULL && encoder->last != NULL && encoder->bytes != NULL;
        encoder->stream_capacity = whole ? request->stream_count : 0;
    }
    bool enough = encoder->entry_capacity >= request->entry_count &&
                  encoder->stream_capacity >= request->stream_count;
    return enough ? 0 : -ENOMEM;
}

/* ---- sizes ---- */

static uint64_t varint_bytes(uint64_t value)
{
    uint64_t bytes = 1;
    while (value >= 128) {
        value >>= 7;
        bytes++;
    }
    return bytes;
}

/* A field with a length: its tag (field numbers here are below 16), its length, its contents. */
static uint64_t field_bytes(uint64_t contents)
{
    return 1 + varint_bytes(contents) + contents;
}

struct moment {
    uint64_t seconds, nanos; /* as varints: negative seconds take ten bytes */
};

static struct moment moment_of(int64_t time_ns)
{
    int64_t seconds = time_ns / NS_IN_SECOND;
    int64_t nanos = time_ns % NS_IN_SECOND;
    if (nanos < 0) {
        nanos += NS_IN_SECOND;
        seconds--;
    }
    return (struct moment){(uint64_t)seconds, (uint64_t)nanos};
}

static uint64_t timestamp_bytes(int64_t time_ns)
{
    struct moment moment = moment_of(time_ns);
    return 2 + varint_bytes(moment.seconds) + varint_bytes(moment.nanos);
}

static uint64_t entry_bytes(const struct loki_entry *entry, const struct loki_stream *stream)
{
    return field_bytes(timestamp_bytes(entry->time_ns)) + field_bytes(entry->line_bytes) +
           stream->metadata_bytes;
}

/* ---- writing ---- */

static bool put_string(pb_ostream_t *stream, uint32_t field, const char *bytes, size_t size)
{
    return pb_encode_tag(stream, PB_WT_STRING, field) &&
           pb_encode_string(stream, (const pb_byte_t *)bytes, size);
}

static bool put_message(pb_ostream_t *stream, uint32_t field, uint64_t size)
{
    return pb_encode_tag(stream, PB_WT_STRING, field) && pb_encode_varint(stream, size);
}

static bool put_timestamp(pb_ostream_t *stream, int64_t time_ns)
{
    struct moment moment = moment_of(time_ns);
    return put_message(stream, 1, timestamp_bytes(time_ns)) &&
           pb_encode_tag(stream, PB_WT_VARINT, 1) && pb_encode_varint(stream, moment.seconds) &&
           pb_encode_tag(stream, PB_WT_VARINT, 2) && pb_encode_varint(stream, moment.nanos);
}

/* A stream into `size` bytes at the end of out, which are reserved. */
static int open_end(struct buf *out, uint64_t size, pb_ostream_t *ret_stream)
{
    int rc = buf_reserve(out, size);
    if (rc == 0) {
        *ret_stream = pb_ostream_from_buffer((pb_byte_t *)out->data + out->size, size);
    }
    return rc;
}

static int put_entry(struct buf *out, const struct loki_entry *entry,
                     const struct loki_stream *stream)
{
    uint64_t size = entry_bytes(entry, stream);
    pb_ostream_t end;
    int rc = open_end(out, field_bytes(size), &end);
    if (rc != 0) {
        return rc;
    }
    bool good = put_message(&end, 2, size) && put_timestamp(&end, entry->time_ns) &&
                put_string(&end, 2, entry->line, entry->line_bytes) &&
                (stream->metadata_bytes == 0 ||
                 pb_write(&end, (const pb_byte_t *)stream->metadata, stream->metadata_bytes));
    out->size += end.bytes_written;
    return good ? 0 : -EINVAL;
}

static int put_stream(struct loki_encoder *encoder, const struct loki_request *request,
                      size_t index, struct buf *out)
{
    const struct loki_stream *stream = &request->streams[index];
    size_t labels_bytes = strlen(stream->labels);
    uint64_t size = field_bytes(labels_bytes) + encoder->bytes[index];
    pb_ostream_t end;
    int rc = open_end(out, 16 + field_bytes(labels_bytes), &end);
    if (rc != 0) {
        return rc;
    }
    bool good = put_message(&end, 1, size) && put_string(&end, 1, stream->labels, labels_bytes);
    out->size += end.bytes_written;
    rc = good ? 0 : -EINVAL;
    for (size_t i = encoder->first[index]; rc == 0 && i != NONE; i = encoder->next[i]) {
        rc = put_entry(out, &request->entries[i], stream);
    }
    return rc;
}

int loki_encode(struct loki_encoder *encoder, const struct loki_request *request, struct buf *out)
{
    size_t before = out->size;
    int rc = make_room(encoder, request);
    if (rc != 0) {
        return rc;
    }
    for (size_t i = 0; i < request->stream_count; i++) {
        encoder->first[i] = NONE;
        encoder->bytes[i] = 0;
    }
    for (size_t i = 0; i < request->entry_count; i++) {
        const struct loki_entry *entry = &request->entries[i];
        size_t stream = entry->stream;
        encoder->next[i] = NONE;
        if (encoder->first[stream] == NONE) {
            encoder->first[stream] = i;
        } else {
            encoder->next[encoder->last[stream]] = i;
        }
        encoder->last[stream] = i;
        encoder->bytes[stream] += field_bytes(entry_bytes(entry, &request->streams[stream]));
    }
    for (size_t i = 0; rc == 0 && i < request->stream_count; i++) {
        rc = encoder->first[i] == NONE ? 0 : put_stream(encoder, request, i, out);
    }
    if (rc != 0) {
        out->size = before;
    }
    return rc;
}

/* ---- labels and metadata ---- */

/* Valid UTF-8 as it is, other bytes as U+FFFD. */
static int append_utf8(struct buf *out, const char *text, bool quoted)
{
    size_t size = strlen(text);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < size && i < VALUE_LIMIT_BYTES;) {
        size_t length = str_utf8_length(text + i, size - i);
        if (length == 0) {
            rc = buf_append_str(out, "\xef\xbf\xbd");
            length = 1;
        } else if (quoted && (text[i] == '"' || text[i] == '\\')) {
            rc = buf_append(out, text[i] == '"' ? "\\\"" : "\\\\", 2);
        } else if (quoted && text[i] == '\n') {
            rc = buf_append(out, "\\n", 2);
        } else {
            rc = buf_append(out, text + i, length);
        }
        i += length;
    }
    return rc;
}

int loki_append_metadata(struct buf *out, const char *name, const char *value)
{
    struct buf clean;
    pb_ostream_t end;
    buf_init(&clean, 0);
    int rc = append_utf8(&clean, value, false);
    size_t name_bytes = strlen(name);
    uint64_t size = field_bytes(name_bytes) + field_bytes(clean.size);
    rc = rc != 0 ? rc : open_end(out, field_bytes(size), &end);
    if (rc == 0) {
        bool good = put_message(&end, 3, size) && put_string(&end, 1, name, name_bytes) &&
                    put_string(&end, 2, clean.data == NULL ? "" : clean.data, clean.size);
        out->size += end.bytes_written;
        rc = good ? 0 : -EINVAL;
    }
    buf_finish(&clean);
    return rc;
}

int loki_append_label(struct buf *out, const char *name, const char *value)
{
    bool first = out->size > 0 && out->data[out->size - 1] == '{';
    int rc = buf_printf(out, "%s%s=\"", first ? "" : ", ", name);
    rc = rc != 0 ? rc : append_utf8(out, value, true);
    return rc != 0 ? rc : buf_append(out, "\"", 1);
}
