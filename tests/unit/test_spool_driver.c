/*
 * Drives the spool for tests/integration/test_spool_crash.sh; without arguments it tests itself.
 * (No tool of tests/support/tools, because those are not linked with the rooms.)
 *
 *   test_spool_driver append DIR COUNT ACKS   appends COUNT records from two sources, whose positions
 *       are the numbers of their lines, and writes to the file ACKS how many records were durable
 *   test_spool_driver verify DIR ACKS         opens the spool, and checks that every acknowledged record
 *       is there, each once, and that positions match the records; then appends one more. In all
 *       at most 170 records: the limit drops nothing
 *
 * Exit code 0; 1 when something is wrong; 3 when the spool could not be opened.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/metrics.h"
#include "loop/loop.h"
#include "spool/spool.h"
#include "spool/spool_reader.h"

struct driver_source {
    struct spool_source base;
    struct spool_origin *origin;
    uint64_t next;
};

struct driver {
    struct loop *loop;
    struct metrics *metrics;
    struct spool *spool;
    struct driver_source sources[2];
};

static const char *const keys[2] = {"a", "b"};

static size_t encode(const struct spool_source *base, unsigned char *ret_bytes)
{
    const struct driver_source *source = (const struct driver_source *)base;
    memcpy(ret_bytes, &source->next, sizeof(source->next));
    return sizeof(source->next);
}

static int open_spool(struct driver *driver, const char *dir)
{
    struct error error = {""};
    if (loop_create(clock_real(), &driver->loop) != 0 || metrics_create(&driver->metrics) != 0) {
        return -1;
    }
    struct spool_options options = {.loop = driver->loop,
                                    .metrics = driver->metrics,
                                    .dir = dir,
                                    .limit_bytes = UINT64_C(1) << 20,
                                    .commit_interval_ns = 1000000,
                                    .commit_bytes = 1 << 20,
                                    .codec = SPOOL_CODEC_NONE};
    if (spool_open(&options, &driver->spool, &error) != 0) {
        fprintf(stderr, "open: %s\n", error.text);
        return -1;
    }
    for (int i = 0; i < 2; i++) {
        struct driver_source *source = &driver->sources[i];
        size_t size;
        const unsigned char *bytes = spool_position_find(driver->spool, keys[i], &size);
        if (bytes != NULL) {
            memcpy(&source->next, bytes, sizeof(source->next));
        }
        source->base.encode = encode;
        struct record_origin origin = {"local", keys[i], keys[i], "image", NULL, 0};
        if (spool_source_add(driver->spool, &source->base, keys[i]) != 0 ||
            spool_origin_create(driver->spool, &origin, &source->origin) != 0) {
            return -1;
        }
    }
    return 0;
}

static int append(struct driver *driver, unsigned index)
{
    char line[6000];
    struct driver_source *source = &driver->sources[index];
    memset(line, '.', sizeof(line));
    (void)snprintf(line, sizeof(line), "%" PRIu64, source->next);
    struct record record = {1, RECORD_STDOUT, 0, line, sizeof(line)};
    if (spool_append(driver->spool, &source->base, source->origin, &record) != 0) {
        return -1;
    }
    source->next++;
    return 0;
}

static uint64_t durable(const struct driver *driver)
{
    struct spool_status status;
    spool_status(driver->spool, &status);
    return status.records;
}

static void acknowledge(int fd, uint64_t records)
{
    char text[32];
    int size = snprintf(text, sizeof(text), "%" PRIu64 "\n", records);
    (void)!write(fd, text, (size_t)size);
}

static int close_spool(struct driver *driver)
{
    for (int i = 0; i < 2; i++) {
        spool_source_remove(driver->spool, &driver->sources[i].base, false);
        spool_origin_destroy(driver->sources[i].origin);
    }
    int rc = spool_close(driver->spool, INT64_C(10000000000));
    metrics_destroy(driver->metrics);
    loop_destroy(driver->loop);
    return rc == 0 ? 0 : 1;
}

static int run_append(const char *dir, uint64_t count, const char *acks)
{
    struct driver driver = {0};
    int fd = open(acks, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || open_spool(&driver, dir) != 0) {
        return 3;
    }
    uint64_t wanted = durable(&driver);
    for (uint64_t i = 0; i < count; i++) {
        if (append(&driver, i % 3 == 0) != 0) {
            return 1;
        }
        wanted++;
        if (i % 4 == 3) {
            spool_flush(driver.spool);
            for (int turns = 0; turns < 5000 && durable(&driver) < wanted; turns++) {
                if (loop_iterate(driver.loop, 1000000) < 0) {
                    return 1;
                }
            }
            acknowledge(fd, durable(&driver));
        }
    }
    int rc = close_spool(&driver);
    (void)close(fd);
    return rc;
}

/* The greatest number in the file: the last acknowledgement. */
static uint64_t read_acks(const char *path)
{
    char line[64];
    uint64_t most = 0;
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        uint64_t number = strtoull(line, NULL, 10);
        most = number > most ? number : most;
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return most;
}

static int check(struct driver *driver, uint64_t acknowledged)
{
    struct spool_reader *reader;
    struct spool_item item;
    struct error error = {""};
    uint64_t next[2] = {0, 0};
    bool seen[2] = {false, false};
    uint64_t end = 0;
    int rc = 0;
    int got;
    if (spool_reader_open(driver->spool, NULL, true, &reader, &error) != 0) {
        fprintf(stderr, "reader: %s\n", error.text);
        return 1;
    }
    while ((got = spool_reader_next(reader, &item)) == 1) {
        int index = item.origin->name[0] == 'b';
        uint64_t number = strtoull(item.record.line, NULL, 10);
        if (number != next[index]) { /* never so much that the limit drops any */
            fprintf(stderr, "%s: line %" PRIu64 " instead of %" PRIu64 "\n", keys[index], number,
                    next[index]);
            rc = 1;
        }
        seen[index] = true;
        next[index] = number + 1;
        end = item.number + 1;
    }
    uint64_t damaged = spool_reader_damaged(reader);
    spool_reader_close(reader);
    if (got != 0 || damaged != 0 || end < acknowledged || durable(driver) < acknowledged) {
        fprintf(stderr, "%" PRIu64 " records of %" PRIu64 " acknowledged; %" PRIu64 " damaged\n",
                end, acknowledged, damaged);
        rc = 1;
    }
    for (int i = 0; i < 2; i++) {
        if (seen[i] && driver->sources[i].next != next[i]) {
            fprintf(stderr, "%s: position %" PRIu64 ", records up to %" PRIu64 "\n", keys[i],
                    driver->sources[i].next, next[i]);
            rc = 1;
        }
    }
    return rc;
}

static int run_verify(const char *dir, const char *acks)
{
    struct driver driver = {0};
    if (open_spool(&driver, dir) != 0) {
        return 3;
    }
    int rc = check(&driver, read_acks(acks));
    if (append(&driver, 0) != 0) {
        rc = 1;
    }
    return close_spool(&driver) != 0 ? 1 : rc;
}

static int run_self(void)
{
    char dir[] = "/tmp/test_spool_driver.XXXXXX";
    char data[64];
    char acks[64];
    char command[96];
    if (mkdtemp(dir) == NULL) {
        return 1;
    }
    (void)snprintf(data, sizeof(data), "%s/data", dir);
    (void)snprintf(acks, sizeof(acks), "%s/acks", dir);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    int rc = 0;
    for (int i = 0; rc == 0 && i < 3; i++) {
        rc = run_append(data, 40, acks);
        rc = rc != 0 ? rc : run_verify(data, acks);
    }
    (void)!system(command);
    return rc;
}

int main(int argc, char **argv)
{
    if (argc == 1) {
        return run_self();
    }
    if (argc == 5 && strcmp(argv[1], "append") == 0) {
        return run_append(argv[2], strtoull(argv[3], NULL, 10), argv[4]);
    }
    if (argc == 4 && strcmp(argv[1], "verify") == 0) {
        return run_verify(argv[2], argv[3]);
    }
    fprintf(stderr, "usage: test_spool_driver [append DIR COUNT ACKS | verify DIR ACKS]\n");
    return 2;
}
