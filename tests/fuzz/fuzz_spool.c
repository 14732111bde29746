/*
 * A segment's bytes, as they are or with their checksums put right (first byte odd), through
 * recovery, both kinds of reader, and a second start behind that.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/metrics.h"
#include "loop/loop.h"
#include "spool/spool.h"
#include "spool/spool_reader.h"
#include "spool/spool_segment.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[64];

static void remove_segments(void)
{
    uint64_t *numbers;
    size_t count;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || spool_segment_list(fd, &numbers, &count) != 0) {
        abort();
    }
    for (size_t i = 0; i < count; i++) {
        char name[SPOOL_SEGMENT_NAME_SIZE];
        spool_segment_name(numbers[i], name);
        (void)unlinkat(fd, name, 0);
    }
    free(numbers);
    (void)close(fd);
}

static void remove_dir(void)
{
    char path[128];
    remove_segments();
    (void)snprintf(path, sizeof(path), "%s/lock", dir);
    (void)unlink(path);
    (void)rmdir(dir);
}

static void make_dir(void)
{
    if (dir[0] == '\0') {
        (void)snprintf(dir, sizeof(dir), "%s/fuzz_spool.XXXXXX",
                       access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
        if (mkdtemp(dir) == NULL || atexit(remove_dir) != 0) {
            abort();
        }
    }
}

static void put_u32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        at[i] = (uint8_t)(value >> (8 * i));
    }
}

static uint32_t get_u32(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* Makes headers of what is where they would be, so that the bytes reach the entry parser. */
static void put_right(uint8_t *bytes, size_t size)
{
    if (size < SPOOL_SEGMENT_HEADER_BYTES) {
        return;
    }
    memset(bytes, 0, SPOOL_SEGMENT_HEADER_BYTES);
    memcpy(bytes, "LCSPOOL\n", 8);
    bytes[8] = SPOOL_FORMAT_VERSION;
    bytes[12] = SPOOL_SEGMENT_HEADER_BYTES;
    bytes[16] = 1;
    put_u32(bytes + 60, crc32c(0, bytes, 60));
    size_t at = SPOOL_SEGMENT_HEADER_BYTES;
    while (size - at >= SPOOL_FRAME_HEADER_BYTES) {
        uint8_t *head = bytes + at;
        size_t room = size - at - SPOOL_FRAME_HEADER_BYTES;
        size_t stored = get_u32(head + 8) % 4096;
        stored = stored < room ? stored : room;
        memcpy(head, "LFRM", 4);
        head[4] &= 1;
        put_u32(head + 8, (uint32_t)stored);
        put_u32(head + 12, head[4] == 0 ? (uint32_t)stored : get_u32(head + 12) % 65536);
        put_u32(head + 72, crc32c(0, head + SPOOL_FRAME_HEADER_BYTES, stored));
        put_u32(head + 76, crc32c(0, head, 76));
        at += SPOOL_FRAME_HEADER_BYTES + stored;
    }
}

static void read_all(struct spool_reader *reader)
{
    struct spool_item item;
    volatile uint8_t sum = 0;
    while (spool_reader_next(reader, &item) == 1) {
        for (size_t i = 0; i < item.record.line_bytes; i++) {
            sum = (uint8_t)(sum + (uint8_t)item.record.line[i]);
        }
        sum = (uint8_t)(sum + strlen(item.origin->name) + item.origin->label_count);
    }
    spool_reader_close(reader);
}

static void run_once(void)
{
    struct loop *loop;
    struct metrics *metrics;
    struct spool *spool;
    struct spool_reader *reader;
    struct error error;
    if (loop_create(clock_real(), &loop) != 0 || metrics_create(&metrics) != 0) {
        abort();
    }
    if (spool_reader_open_dir(dir, &reader, &error) == 0) {
        read_all(reader);
    }
    struct spool_options options = {.loop = loop,
                                    .metrics = metrics,
                                    .dir = dir,
                                    .limit_bytes = 1 << 20,
                                    .commit_interval_ns = 1000000,
                                    .commit_bytes = 1 << 20,
                                    .codec = SPOOL_CODEC_NONE};
    int rc = spool_open(&options, &spool, &error);
    if (rc == 0) {
        if (spool_reader_open(spool, NULL, true, &reader, &error) == 0) {
            read_all(reader);
        }
        (void)spool_close(spool, INT64_C(10000000000));
    } else if (rc != -EPROTONOSUPPORT) {
        abort(); /* it always starts */
    }
    metrics_destroy(metrics);
    loop_destroy(loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[128];
    if (size == 0 || size > 65536) {
        return 0;
    }
    make_dir();
    uint8_t *bytes = malloc(size);
    if (bytes == NULL) {
        return 0;
    }
    memcpy(bytes, data + 1, size - 1);
    if (data[0] % 2 == 1) {
        put_right(bytes, size - 1);
    }
    (void)snprintf(path, sizeof(path), "%s/0000000000000001.seg", dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, bytes, size - 1) != (ssize_t)(size - 1)) {
        abort();
    }
    (void)close(fd);
    free(bytes);
    run_once();
    run_once();
    remove_segments();
    return 0;
}
