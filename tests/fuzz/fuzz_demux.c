/*
 * Frames and lines. Byte 0 chooses TTY and limits, byte 1 seeds the chunk sizes; the rest is the
 * answer of a daemon. The records must not depend on how the answer was cut into chunks.
 */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/record.h"
#include "process/frames.h"
#include "process/lines.h"

struct run {
    struct lines lines;
    size_t limit_bytes;
    uint32_t hash;
    size_t records;
    size_t errors;
};

struct summary {
    uint32_t hash;
    size_t records, errors;
    uint64_t without_time;
    int rc;
};

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void take_record(const struct record *record, void *data)
{
    struct run *run = data;
    must(record->line_bytes <= run->limit_bytes);
    must(record->stream == RECORD_STDOUT || record->stream == RECORD_STDERR);
    run->hash = crc32c(run->hash, &record->time_ns, sizeof(record->time_ns));
    run->hash = crc32c(run->hash, &record->stream, 1);
    run->hash = crc32c(run->hash, &record->flags, 1);
    run->hash = crc32c(run->hash, &record->line_bytes, sizeof(record->line_bytes));
    run->hash = crc32c(run->hash, record->line, record->line_bytes);
    run->records++;
}

static void take_piece(uint8_t stream, int64_t time_ns, const char *bytes, size_t size, void *data)
{
    struct run *run = data;
    must(lines_piece(&run->lines, stream, time_ns, bytes, size) == 0);
}

static void take_error(const char *text, size_t size, void *data)
{
    struct run *run = data;
    run->hash = crc32c(run->hash, text, size);
    run->errors++;
}

/* step 0: whole; 1: byte by byte; otherwise random chunks seeded by it. */
static struct summary play(uint8_t mode, uint32_t step, const uint8_t *data, size_t size)
{
    static const size_t frame_limits[] = {1 << 20, 40, 100, 20000};
    static const size_t line_limits[] = {1 << 20, 16, 9000, 100};
    struct run run = {.limit_bytes = line_limits[mode >> 3 & 3]};
    struct frames frames;
    int rc = 0;
    uint32_t random = step;
    lines_init(&run.lines, run.limit_bytes, take_record, &run);
    frames_init(&frames, &(struct frames_options){.tty = (mode & 1) != 0,
                                                  .limit_bytes = frame_limits[mode >> 1 & 3],
                                                  .on_piece = take_piece,
                                                  .on_daemon_error = take_error,
                                                  .data = &run});
    for (size_t at = 0; rc == 0 && at < size;) {
        random = random * 1664525 + 1013904223;
        size_t take = step == 0 ? size : step == 1 ? 1 : 1 + (random >> 24) * (random >> 16 & 7);
        take = take < size - at ? take : size - at;
        /* A copy of its own, so that a read past the chunk is seen. */
        char *chunk = malloc(take);
        must(chunk != NULL);
        memcpy(chunk, data + at, take);
        rc = frames_feed(&frames, chunk, take, NULL);
        free(chunk);
        at += take;
    }
    must(rc == 0 || rc == -EPROTO);
    must((mode & 1) == 0 || rc == 0);
    if (rc == 0) {
        frames_end(&frames);
    }
    uint64_t without_time = frames.without_time;
    frames_finish(&frames);
    lines_flush(&run.lines);
    lines_finish(&run.lines);
    return (struct summary){run.hash, run.records, run.errors, without_time, rc};
}

static void compare(const struct summary *a, const struct summary *b)
{
    must(a->hash == b->hash && a->records == b->records && a->errors == b->errors &&
         a->without_time == b->without_time && a->rc == b->rc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    uint8_t mode = data[0];
    struct summary whole = play(mode, 0, data + 2, size - 2);
    struct summary bytewise = play(mode, 1, data + 2, size - 2);
    struct summary random = play(mode, 2U + data[1], data + 2, size - 2);
    compare(&whole, &bytewise);
    compare(&whole, &random);
    return 0;
}
