/*
 * What the tests of the spool share: a spool in a folder of its own, sources whose position is the
 * number of lines they appended, and a check that reads everything back.
 *
 * A line is "<key> <sequence>" and, for padding, " " and dots. The central invariant: behind a
 * reopening, for each source, the position is what its records say.
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "base/metrics.h"
#include "loop/loop.h"
#include "spool/spool.h"
#include "spool/spool_entries.h"
#include "spool/spool_format.h"
#include "spool/spool_reader.h"
#include "spool/spool_segment.h"

#define KIT_KEYS 8
#define KIT_LIMIT_NS (INT64_C(30) * 1000000000)
#define KIT_MIB (UINT64_C(1024) * 1024)

struct kit_source {
    struct spool_source base;
    uint64_t next; /* sequence number of the next line: the position */
    char key[16];
    struct spool_origin *origin;
};

struct kit {
    char dir[64];
    struct loop *loop;
    struct metrics *metrics;
    struct spool *spool;
    struct spool_options options;
    struct kit_source sources[KIT_KEYS];
    uint64_t appended; /* number of the record appended next */
};

/* What a reading found, by key. */
struct kit_found {
    uint64_t first[KIT_KEYS];
    uint64_t next[KIT_KEYS];
    uint64_t records[KIT_KEYS];
    uint64_t total, skipped, damaged;
    bool ordered; /* no record twice, none before an earlier one */
};

static inline int64_t kit_now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline size_t kit_encode(const struct spool_source *base, unsigned char *ret_bytes)
{
    const struct kit_source *source = (const struct kit_source *)base;
    memcpy(ret_bytes, &source->next, sizeof(source->next));
    return sizeof(source->next);
}

static inline void kit_make_dir(struct kit *kit)
{
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    memset(kit, 0, sizeof(*kit));
    (void)snprintf(kit->dir, sizeof(kit->dir), "%s/test_spool.XXXXXX", base);
    assert_non_null(mkdtemp(kit->dir));
    kit->options = (struct spool_options){.limit_bytes = 64 * KIT_MIB,
                                          .commit_interval_ns = 1000000,
                                          .commit_bytes = KIT_MIB,
                                          .codec = SPOOL_CODEC_ZSTD};
}

static inline int kit_path(const struct kit *kit, char *ret_path, size_t size, const char *name)
{
    return snprintf(ret_path, size, "%s/%s", kit->dir, name);
}

static inline void kit_remove_dir(const struct kit *kit)
{
    char command[128];
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", kit->dir);
    (void)!system(command);
}

/* Opens the spool of the folder; sources come with kit_source(). */
static inline int kit_try_open(struct kit *kit, struct error *error)
{
    assert_int_equal(loop_create(clock_real(), &kit->loop), 0);
    assert_int_equal(metrics_create(&kit->metrics), 0);
    kit->options.loop = kit->loop;
    kit->options.metrics = kit->metrics;
    kit->options.dir = kit->dir;
    memset(kit->sources, 0, sizeof(kit->sources));
    int rc = spool_open(&kit->options, &kit->spool, error);
    if (rc != 0) {
        kit->spool = NULL;
        metrics_destroy(kit->metrics);
        loop_destroy(kit->loop);
        return rc;
    }
    struct spool_status status;
    spool_status(kit->spool, &status);
    kit->appended = status.records;
    return 0;
}

static inline void kit_open(struct kit *kit)
{
    struct error error = {""};
    int rc = kit_try_open(kit, &error);
    if (rc != 0) {
        fail_msg("spool_open: %d %s", rc, error.text);
    }
}

static inline uint64_t kit_position(const struct kit *kit, unsigned index)
{
    char key[16];
    size_t size = 0;
    uint64_t position = 0;
    (void)snprintf(key, sizeof(key), "key%u", index);
    const unsigned char *bytes = spool_position_find(kit->spool, key, &size);
    if (bytes == NULL) {
        return 0;
    }
    assert_int_equal(size, sizeof(position));
    memcpy(&position, bytes, sizeof(position));
    return position;
}

/* The source key<index>, which goes on at its stored position; made when it is first asked for. */
static inline struct kit_source *kit_source(struct kit *kit, unsigned index)
{
    struct kit_source *source = &kit->sources[index];
    if (source->base.position == NULL) {
        struct record_label label = {"index", source->key};
        struct spool_origin *origin = source->origin;
        *source = (struct kit_source){.next = kit_position(kit, index), .origin = origin};
        (void)snprintf(source->key, sizeof(source->key), "key%u", index);
        source->base.encode = kit_encode;
        assert_int_equal(spool_source_add(kit->spool, &source->base, source->key), 0);
        if (source->origin == NULL) {
            assert_int_equal(
                spool_origin_create(kit->spool,
                                    &(struct record_origin){"local", "0123456789abcdef",
                                                            source->key, "image:1", &label, 1},
                                    &source->origin),
                0);
        }
    }
    return source;
}

/* line_bytes: at least that long. */
static inline void kit_append(struct kit *kit, unsigned index, size_t line_bytes)
{
    static char storage[64];
    struct kit_source *source = kit_source(kit, index);
    int head = snprintf(storage, sizeof(storage), "%s %" PRIu64 " ", source->key, source->next);
    size_t size = line_bytes > (size_t)head ? line_bytes : (size_t)head;
    char *line = malloc(size + 1);
    assert_non_null(line);
    uint32_t noise = (uint32_t)(source->next * 2654435761U + index + 1);
    for (size_t i = (size_t)head; i < size; i++) { /* hard to compress */
        noise = noise * 1664525U + 1013904223U;
        line[i] = (char)(' ' + (noise >> 24) % 95);
    }
    memcpy(line, storage, (size_t)head);
    struct record record = {
        .time_ns = INT64_C(1700000000000000000) + (int64_t)kit->appended,
        .stream = (uint8_t)(source->next % 2 == 0 ? RECORD_STDOUT : RECORD_STDERR),
        .line = line,
        .line_bytes = size};
    int rc = spool_append(kit->spool, &source->base, source->origin, &record);
    free(line);
    assert_int_equal(rc, 0);
    source->next++;
    kit->appended++;
}

static inline void kit_turn(struct kit *kit)
{
    assert_true(loop_iterate(kit->loop, 1000000) >= 0);
}

static inline uint64_t kit_durable(const struct kit *kit)
{
    struct spool_status status;
    spool_status(kit->spool, &status);
    return status.records;
}

static inline void kit_wait_durable(struct kit *kit)
{
    int64_t end = kit_now_ns() + KIT_LIMIT_NS;
    while (kit_durable(kit) < kit->appended) {
        if (kit_now_ns() > end) {
            fail_msg("only %" PRIu64 " of %" PRIu64 " records became durable", kit_durable(kit),
                     kit->appended);
        }
        kit_turn(kit);
    }
}

/* One frame (and its sync). */
static inline void kit_commit(struct kit *kit)
{
    spool_flush(kit->spool);
    kit_wait_durable(kit);
}

/* The tests' owner goes; positions stay. */
static inline void kit_free_sources(struct kit *kit)
{
    for (unsigned i = 0; i < KIT_KEYS; i++) {
        spool_origin_destroy(kit->sources[i].origin);
        kit->sources[i].origin = NULL;
    }
}

static inline int kit_try_close(struct kit *kit, int64_t timeout_ns)
{
    for (unsigned i = 0; i < KIT_KEYS; i++) {
        spool_source_remove(kit->spool, &kit->sources[i].base, false);
    }
    int rc = spool_close(kit->spool, timeout_ns);
    kit->spool = NULL;
    kit_free_sources(kit);
    metrics_destroy(kit->metrics);
    loop_destroy(kit->loop);
    return rc;
}

static inline void kit_close(struct kit *kit)
{
    assert_int_equal(kit_try_close(kit, KIT_LIMIT_NS), 0);
}

static inline void kit_take(struct kit_found *found, const struct spool_item *item)
{
    unsigned index = 0;
    uint64_t sequence = 0;
    char head[64];
    size_t size = item->record.line_bytes < 63 ? item->record.line_bytes : 63;
    memcpy(head, item->record.line, size);
    head[size] = '\0';
    if (sscanf(head, "key%u %" SCNu64, &index, &sequence) != 2 || index >= KIT_KEYS) {
        fail_msg("not a line of ours: '%s'", head);
    }
    char key[16];
    (void)snprintf(key, sizeof(key), "key%u", index);
    assert_string_equal(item->origin->name, key);
    assert_string_equal(item->origin->labels[0].value, key);
    if (found->records[index] == 0) {
        found->first[index] = sequence;
    } else if (sequence < found->next[index]) {
        found->ordered = false;
    }
    found->next[index] = sequence + 1;
    found->records[index]++;
    found->total++;
}

static inline void kit_drain(struct spool_reader *reader, struct kit_found *found)
{
    struct spool_item item;
    int rc;
    while ((rc = spool_reader_next(reader, &item)) == 1) {
        kit_take(found, &item);
    }
    assert_int_equal(rc, 0);
    found->skipped = spool_reader_skipped(reader);
    found->damaged = spool_reader_damaged(reader);
}

static inline struct spool_reader *kit_reader(struct kit *kit, const char *cursor, bool from_start)
{
    struct spool_reader *reader = NULL;
    struct error error = {""};
    int rc = spool_reader_open(kit->spool, cursor, from_start, &reader, &error);
    if (rc != 0) {
        fail_msg("spool_reader_open: %d %s", rc, error.text);
    }
    return reader;
}

/* All that a running spool gives a reader from its oldest record. */
static inline struct kit_found kit_read_all(struct kit *kit)
{
    struct kit_found found = {.ordered = true};
    struct spool_reader *reader = kit_reader(kit, NULL, true);
    kit_drain(reader, &found);
    spool_reader_close(reader);
    return found;
}

/* The same of the folder. */
static inline struct kit_found kit_read_dir(struct kit *kit)
{
    struct kit_found found = {.ordered = true};
    struct spool_reader *reader = NULL;
    struct error error = {""};
    assert_int_equal(spool_reader_open_dir(kit->dir, &reader, &error), 0);
    kit_drain(reader, &found);
    spool_reader_close(reader);
    return found;
}

/* Every record from sequence 0 up to the position of its source is there, once. */
static inline void kit_assert_exact(const struct kit *kit, const struct kit_found *found)
{
    assert_true(found->ordered);
    for (unsigned i = 0; i < KIT_KEYS; i++) {
        uint64_t position = kit_position(kit, i);
        if (found->records[i] != position || found->next[i] != position) {
            fail_msg("key%u: position %" PRIu64 ", but %" PRIu64 " records up to %" PRIu64, i,
                     position, found->records[i], found->next[i]);
        }
    }
}

/* Reopens a folder and checks the invariant; the spool stays open. */
static inline struct kit_found kit_reopen_exact(struct kit *kit)
{
    kit_open(kit);
    struct kit_found found = kit_read_all(kit);
    kit_assert_exact(kit, &found);
    return found;
}

/* ---- files */

struct kit_bytes {
    unsigned char *data;
    size_t size;
};

static inline struct kit_bytes kit_load(const char *path)
{
    struct kit_bytes bytes = {0};
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    (void)fseek(file, 0, SEEK_END);
    bytes.size = (size_t)ftell(file);
    rewind(file);
    bytes.data = malloc(bytes.size + 1);
    assert_non_null(bytes.data);
    assert_int_equal(fread(bytes.data, 1, bytes.size, file), bytes.size);
    (void)fclose(file);
    return bytes;
}

static inline void kit_save(const char *path, const void *data, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static inline void kit_segment_path(const struct kit *kit, uint64_t number, char ret_path[128])
{
    (void)snprintf(ret_path, 128, "%s/%016" PRIx64 ".seg", kit->dir, number);
}

static inline size_t kit_segments(const struct kit *kit, uint64_t *ret_newest)
{
    uint64_t *numbers = NULL;
    size_t count = 0;
    int fd = open(kit->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(spool_segment_list(fd, &numbers, &count), 0);
    if (ret_newest != NULL) {
        *ret_newest = count > 0 ? numbers[count - 1] : 0;
    }
    free(numbers);
    (void)close(fd);
    return count;
}

/* Offsets of the frames of a segment's bytes, and its end: at most `most`. */
static inline size_t kit_frames(const struct kit_bytes *bytes, size_t *ret_offsets, size_t most)
{
    size_t count = 0;
    size_t at = SPOOL_SEGMENT_HEADER_BYTES;
    struct spool_frame_header header;
    while (at + SPOOL_FRAME_HEADER_BYTES <= bytes->size && count + 1 < most &&
           spool_frame_header_decode(bytes->data + at, &header) == 0) {
        ret_offsets[count++] = at;
        at += SPOOL_FRAME_HEADER_BYTES + header.stored_bytes;
    }
    ret_offsets[count] = at;
    return count;
}

/* ---- frames by hand */

struct kit_frame {
    uint64_t frame, first_record, durable_frame, bytes_before;
    uint8_t flags;
    unsigned index; /* of the key */
    uint64_t first_sequence;
    uint32_t records;
};

/* Appends the frame that appending these records would have made. Returns its bytes of lines. */
static inline uint64_t kit_put_frame(struct buf *out, const struct kit_frame *wanted)
{
    struct buf payload;
    char key[16];
    int64_t last = 0;
    uint64_t line_bytes = 0;
    buf_init(&payload, 0);
    (void)snprintf(key, sizeof(key), "key%u", wanted->index);
    if ((wanted->flags & SPOOL_FRAME_ORIGINS) != 0) {
        struct record_label label = {"index", key};
        assert_int_equal(spool_put_origin(&payload, 0,
                                          &(struct record_origin){"local", "0123456789abcdef", key,
                                                                  "image:1", &label, 1}),
                         0);
    }
    for (uint32_t i = 0; i < wanted->records; i++) {
        char line[64];
        int size = snprintf(line, sizeof(line), "%s %" PRIu64 " ", key, wanted->first_sequence + i);
        struct record record = {1000, RECORD_STDOUT, 0, line, (size_t)size};
        assert_int_equal(spool_put_record(&payload, 0, &last, &record), 0);
        line_bytes += (uint64_t)size;
    }
    uint64_t position = wanted->first_sequence + wanted->records;
    if (position > 0) {
        assert_int_equal(spool_put_position(&payload, key, &position, sizeof(position)), 0);
    }
    struct spool_frame_header header = {.codec = SPOOL_CODEC_NONE,
                                        .flags = wanted->flags,
                                        .stored_bytes = (uint32_t)payload.size,
                                        .raw_bytes = (uint32_t)payload.size,
                                        .frame = wanted->frame,
                                        .first_record = wanted->first_record,
                                        .durable_frame = wanted->durable_frame,
                                        .bytes_before = wanted->bytes_before,
                                        .min_time_ns = 1000,
                                        .max_time_ns = 1000,
                                        .records = wanted->records,
                                        .payload_crc = crc32c(0, payload.data, payload.size)};
    unsigned char head[SPOOL_FRAME_HEADER_BYTES];
    spool_frame_header_encode(&header, head);
    assert_int_equal(buf_append(out, head, sizeof(head)), 0);
    assert_int_equal(buf_append(out, payload.data, payload.size), 0);
    buf_finish(&payload);
    return line_bytes;
}

static inline void kit_put_segment(struct buf *out, uint64_t frame, uint64_t record)
{
    unsigned char head[SPOOL_SEGMENT_HEADER_BYTES];
    spool_segment_header_encode(
        &(struct spool_segment_header){.first_frame = frame, .first_record = record}, head);
    assert_int_equal(buf_append(out, head, sizeof(head)), 0);
}
