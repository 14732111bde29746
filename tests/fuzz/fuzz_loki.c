/*
 * Any bytes as labels, metadata and lines: what the encoder writes is read again by push_request and
 * is the same. The input is cut at 0xff into pieces: a label's value, a metadata value, then lines;
 * the first byte of a line chooses its stream and time. The input itself is read as a push, too.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "push_request/push_request.h"
#include "sinks/loki_encode.h"

#define STREAMS 4
#define ENTRIES 64
#define TEXT_MAX 200

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

struct input {
    const char *at, *end;
};

/* The next piece; false at the end. */
static bool next_piece(struct input *input, struct push_text *ret_piece)
{
    if (input->at == input->end) {
        return false;
    }
    const char *cut = memchr(input->at, 0xff, (size_t)(input->end - input->at));
    const char *end = cut == NULL ? input->end : cut;
    *ret_piece = (struct push_text){input->at, (size_t)(end - input->at)};
    input->at = cut == NULL ? end : cut + 1;
    return true;
}

static void next_text(struct input *input, char ret_text[TEXT_MAX])
{
    struct push_text piece = {"", 0};
    (void)next_piece(input, &piece);
    size_t size = piece.len < TEXT_MAX - 1 ? piece.len : TEXT_MAX - 1;
    memcpy(ret_text, piece.data, size);
    ret_text[size] = '\0';
}

/* ---- what must be read again ---- */

struct texts {
    char value[TEXT_MAX], metadata[TEXT_MAX];
};

static int check_label(const struct push_label *label, void *data)
{
    const struct texts *texts = data;
    if (strcmp(label->name, "value") == 0 && push_is_utf8(texts->value, strlen(texts->value))) {
        must(strcmp(label->value, texts->value) == 0);
    }
    return 0;
}

struct reading {
    const struct loki_request *request;
    const struct texts *texts;
    bool read[ENTRIES];
    size_t count;
};

static bool is_time(const struct push_entry *entry, int64_t time_ns)
{
    int64_t nanos = time_ns % 1000000000;
    int64_t seconds = time_ns / 1000000000 - (nanos < 0);
    return entry->seconds == seconds && entry->nanos == (nanos < 0 ? nanos + 1000000000 : nanos);
}

static int check_entry(const struct push_entry *entry, void *data)
{
    struct reading *reading = data;
    const struct loki_request *request = reading->request;
    size_t i = 0;
    while (i < request->entry_count &&
           (reading->read[i] ||
            strlen(request->streams[request->entries[i].stream].labels) != entry->labels.len ||
            memcmp(request->streams[request->entries[i].stream].labels, entry->labels.data,
                   entry->labels.len) != 0)) {
        i++;
    }
    must(i < request->entry_count); /* the first of its stream that was not read: the order */
    const struct loki_entry *wanted = &request->entries[i];
    reading->read[i] = true;
    reading->count++;
    must(is_time(entry, wanted->time_ns));
    must(entry->line.len == wanted->line_bytes);
    must(entry->line.len == 0 || memcmp(entry->line.data, wanted->line, entry->line.len) == 0);
    must(push_labels_read(entry->labels, check_label, (void *)(uintptr_t)reading->texts) == 0);
    must(entry->metadata_count == (request->streams[wanted->stream].metadata_bytes > 0));
    const char *metadata = reading->texts->metadata;
    if (entry->metadata_count > 0 && push_is_utf8(metadata, strlen(metadata))) {
        must(entry->metadata[0].value.len == strlen(metadata));
        must(memcmp(entry->metadata[0].value.data, metadata, strlen(metadata)) == 0);
    }
    return 0;
}

/* ---- making it ---- */

struct made {
    struct texts texts;
    struct buf labels[STREAMS], metadata;
    struct loki_stream streams[STREAMS];
    struct loki_entry entries[ENTRIES];
};

static void make_streams(struct made *made)
{
    buf_init(&made->metadata, 0);
    must(loki_append_metadata(&made->metadata, "name", made->texts.metadata) == 0);
    for (size_t i = 0; i < STREAMS; i++) {
        struct buf *labels = &made->labels[i];
        char number[2] = {(char)('0' + i), '\0'};
        buf_init(labels, 0);
        must(buf_append(labels, "{", 1) == 0);
        must(loki_append_label(labels, "number", number) == 0);
        must(loki_append_label(labels, "value", made->texts.value) == 0);
        must(buf_append(labels, "}", 2) == 0);
        bool with = i % 2 == 0;
        made->streams[i] = (struct loki_stream){labels->data, with ? made->metadata.data : NULL,
                                                with ? made->metadata.size : 0};
    }
}

static size_t make_entries(struct input *input, struct made *made)
{
    size_t count = 0;
    struct push_text piece;
    while (count < ENTRIES && next_piece(input, &piece)) {
        unsigned char head = piece.len > 0 ? (unsigned char)piece.data[0] : 0;
        uint64_t time = 0;
        for (size_t i = 0; i < 8; i++) {
            time = time << 8 | (i < piece.len ? (unsigned char)piece.data[i] : 0U);
        }
        made->entries[count++] = (struct loki_entry){
            head % STREAMS, (int64_t)(time << (head % 64U)), piece.data, piece.len};
    }
    return count;
}

static int ignore(const struct push_entry *entry, void *data)
{
    (void)data;
    (void)push_labels_read(entry->labels, NULL, NULL);
    return 0;
}

static void read_as_push(const uint8_t *data, size_t size)
{
    size_t plain = 0;
    (void)push_request_read(data, size, ignore, NULL);
    free(push_unsnap(data, size, (size_t)1 << 20, &plain));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {(const char *)data, (const char *)data + size};
    struct made made = {0};
    struct loki_encoder encoder;
    struct buf out;
    read_as_push(data, size);
    next_text(&input, made.texts.value);
    next_text(&input, made.texts.metadata);
    make_streams(&made);
    struct loki_request request = {made.streams, STREAMS, made.entries,
                                   make_entries(&input, &made)};
    struct reading reading = {.request = &request, .texts = &made.texts};
    loki_encoder_init(&encoder);
    buf_init(&out, 0);
    must(loki_encode(&encoder, &request, &out) == 0);
    must(push_request_read(out.data, out.size, check_entry, &reading) == 0);
    must(reading.count == request.entry_count);
    buf_finish(&out);
    loki_encoder_finish(&encoder);
    for (size_t i = 0; i < STREAMS; i++) {
        buf_finish(&made.labels[i]);
    }
    buf_finish(&made.metadata);
    return 0;
}
