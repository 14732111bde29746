/*
 * bench_spool: the spool without an agent around it.
 *
 *   bench_spool DIR MIB ROUNDS
 *
 * MIB of lines of 100 bytes go into a spool below DIR, once with each codec, and as they are into a
 * plain file that is synced after each MiB; a round measures all three, one behind the other. The
 * clock stops when the last line is durable. Then the spool is read back as a folder, from the page
 * cache, once for the clock and once to check every line. Prints one line of JSON per measurement.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "genline/genline.h"
#include "loop/loop.h"
#include "spool/spool.h"
#include "spool/spool_reader.h"

#define LINE_BYTES 100U
#define MIB (UINT64_C(1024) * 1024)
#define DISTINCT_LINES 500000U /* then they come again; a frame holds 2,500 */
#define LINES_PER_TURN 512U    /* appended between two looks at the loop, as by a paced reader */
#define START_NS (INT64_C(1700000000) * 1000000000)

struct bench {
    const char *dir; /* of the spool and of the plain file; gone behind each measurement */
    char spool_dir[512];
    char file_path[512];
    char *lines; /* DISTINCT_LINES of LINE_BYTES each, without newlines */
    uint64_t count;
    int round;
};

struct source {
    struct spool_source base;
    uint64_t next;
};

static void die(const char *what, int rc)
{
    fprintf(stderr, "bench_spool: %s: %s\n", what, strerror(rc < 0 ? -rc : rc));
    exit(1);
}

static double seconds_of(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static const char *line_at(const struct bench *bench, uint64_t number)
{
    return bench->lines + number % DISTINCT_LINES * LINE_BYTES;
}

static void make_lines(struct bench *bench)
{
    bench->lines = malloc((size_t)DISTINCT_LINES * LINE_BYTES + GENLINE_SLACK);
    if (bench->lines == NULL) {
        die("lines", ENOMEM);
    }
    for (uint64_t i = 0; i < DISTINCT_LINES; i++) {
        struct genline line = {.name = "bench", .name_len = 5, .stream = 'o', .seq = i + 1};
        if (genline_format(bench->lines + i * LINE_BYTES, &line, LINE_BYTES) != LINE_BYTES) {
            die("a line is too long", EINVAL);
        }
    }
}

static void remove_spool(const struct bench *bench)
{
    char command[600];
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", bench->spool_dir);
    if (system(command) != 0) { /* NOLINT(cert-env33-c) */
        die(command, EIO);
    }
}

static void print_result(const struct bench *bench, const char *what, double seconds, double cpu)
{
    double mb = (double)(bench->count * LINE_BYTES) / 1e6;
    printf("{\"round\":%d,\"what\":\"%s\",\"mb\":%.1f,\"mb_s\":%.1f,\"cpu_s_per_gb\":%.3f}\n",
           bench->round, what, mb, mb / seconds, cpu / mb * 1e3);
    fflush(stdout);
}

/* ---- the spool ---- */

static size_t encode(const struct spool_source *base, unsigned char *ret_bytes)
{
    const struct source *source = (const struct source *)base;
    memcpy(ret_bytes, &source->next, sizeof(source->next));
    return sizeof(source->next);
}

static void note_pressure(bool pressure, void *data)
{
    *(bool *)data = pressure;
}

static void iterate(struct loop *loop, int64_t timeout_ns)
{
    int rc = loop_iterate(loop, timeout_ns);
    if (rc < 0) {
        die("loop", rc);
    }
}

static void append_all(const struct bench *bench, struct spool *spool, struct loop *loop,
                       const bool *pressure)
{
    const struct record_origin origin = {
        .daemon = "local",
        .container_id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        .name = "bench",
        .image = "bench:1"};
    struct source source = {.base = {.encode = encode}};
    struct spool_origin *made;
    int rc = spool_origin_create(spool, &origin, &made);
    rc = rc != 0 ? rc : spool_source_add(spool, &source.base, "bench");
    if (rc != 0) {
        die("source", rc);
    }
    while (source.next < bench->count) {
        struct record record = {.time_ns = START_NS + (int64_t)source.next * 1000,
                                .stream = RECORD_STDOUT,
                                .line = line_at(bench, source.next),
                                .line_bytes = LINE_BYTES};
        rc = spool_append(spool, &source.base, made, &record);
        if (rc != 0) {
            die("spool_append", rc);
        }
        source.next++;
        if (source.next % LINES_PER_TURN == 0) {
            iterate(loop, 0);
            while (*pressure) {
                iterate(loop, 1000000);
            }
        }
    }
    spool_flush(spool);
    struct spool_status status;
    for (spool_status(spool, &status); status.records < bench->count;
         spool_status(spool, &status)) {
        iterate(loop, 200000);
    }
    spool_source_remove(spool, &source.base, false);
    spool_origin_destroy(made);
}

static void write_spool(struct bench *bench, enum spool_codec codec, const char *what)
{
    bool pressure = false;
    struct loop *loop = NULL;
    struct metrics *metrics = NULL;
    struct spool *spool = NULL;
    struct error error = {""};
    remove_spool(bench);
    int rc = loop_create(clock_real(), &loop);
    rc = rc != 0 ? rc : metrics_create(&metrics);
    if (rc != 0) {
        die("loop", rc);
    }
    rc = spool_open(&(struct spool_options){.loop = loop,
                                            .metrics = metrics,
                                            .dir = bench->spool_dir,
                                            .limit_bytes = 64 * 1024 * MIB,
                                            .commit_interval_ns = 20000000,
                                            .commit_bytes = MIB,
                                            .codec = codec,
                                            .on_pressure = note_pressure,
                                            .data = &pressure},
                    &spool, &error);
    if (rc != 0) {
        die(error.text, rc);
    }
    double start = seconds_of(CLOCK_MONOTONIC);
    double cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    append_all(bench, spool, loop, &pressure);
    print_result(bench, what, seconds_of(CLOCK_MONOTONIC) - start,
                 seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu);
    rc = spool_close(spool, INT64_C(30) * 1000000000);
    if (rc != 0) {
        die("spool_close", rc);
    }
    metrics_destroy(metrics);
    loop_destroy(loop);
}

/* ---- a plain file ---- */

static void write_whole(int fd, const char *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t count = write(fd, bytes + done, size - done);
        if (count < 0 && errno != EINTR) {
            die("write", errno);
        }
        done += count > 0 ? (size_t)count : 0;
    }
}

static void write_plain(struct bench *bench)
{
    uint64_t bytes = bench->count * LINE_BYTES;
    uint64_t round_bytes = (uint64_t)DISTINCT_LINES * LINE_BYTES;
    (void)unlink(bench->file_path);
    int fd = open(bench->file_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        die(bench->file_path, errno);
    }
    double start = seconds_of(CLOCK_MONOTONIC);
    double cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    for (uint64_t done = 0; done < bytes;) {
        uint64_t at = done % round_bytes;
        uint64_t size = MIB;
        size = size > bytes - done ? bytes - done : size;
        uint64_t first = size > round_bytes - at ? round_bytes - at : size;
        write_whole(fd, bench->lines + at, (size_t)first);
        write_whole(fd, bench->lines, (size_t)(size - first));
        if (fdatasync(fd) != 0) {
            die("fdatasync", errno);
        }
        done += size;
    }
    print_result(bench, "plain", seconds_of(CLOCK_MONOTONIC) - start,
                 seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu);
    close(fd);
    (void)unlink(bench->file_path);
}

/* ---- reading ---- */

/* check: every line is the one that was appended; else only their number and bytes. */
static void read_spool(struct bench *bench, const char *what, bool check)
{
    struct error error = {""};
    struct spool_reader *reader;
    struct spool_item item;
    uint64_t count = 0;
    uint64_t bytes = 0;
    double start = seconds_of(CLOCK_MONOTONIC);
    double cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    int rc = spool_reader_open_dir(bench->spool_dir, &reader, &error);
    if (rc != 0) {
        die(error.text, rc);
    }
    while ((rc = spool_reader_next(reader, &item)) == 1) {
        if (check && (item.record.line_bytes != LINE_BYTES ||
                      memcmp(item.record.line, line_at(bench, count), LINE_BYTES) != 0)) {
            die("a line is not the one that was appended", EIO);
        }
        count++;
        bytes += item.record.line_bytes;
    }
    double seconds = seconds_of(CLOCK_MONOTONIC) - start;
    cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    if (rc != 0 || count != bench->count || bytes != count * LINE_BYTES ||
        spool_reader_damaged(reader) != 0 || spool_reader_skipped(reader) != 0) {
        fprintf(stderr, "bench_spool: %" PRIu64 " lines of %" PRIu64 " read, rc %d\n", count,
                bench->count, rc);
        exit(1);
    }
    spool_reader_close(reader);
    if (!check) {
        print_result(bench, what, seconds, cpu);
    }
}

static void measure_round(struct bench *bench)
{
    write_plain(bench);
    write_spool(bench, SPOOL_CODEC_ZSTD, "write zstd 1");
    read_spool(bench, "read zstd 1", false);
    read_spool(bench, "", true);
    write_spool(bench, SPOOL_CODEC_NONE, "write none");
    read_spool(bench, "read none", false);
    read_spool(bench, "", true);
    remove_spool(bench);
}

int main(int argc, char **argv)
{
    if (argc != 4 || strchr(argv[1], '\'') != NULL) {
        fputs("usage: bench_spool DIR MIB ROUNDS\n", stderr);
        return 2;
    }
    struct bench bench = {.dir = argv[1]};
    bench.count = strtoull(argv[2], NULL, 10) * MIB / LINE_BYTES;
    (void)snprintf(bench.spool_dir, sizeof(bench.spool_dir), "%s/bench_spool", bench.dir);
    (void)snprintf(bench.file_path, sizeof(bench.file_path), "%s/bench_plain", bench.dir);
    make_lines(&bench);
    long rounds = strtol(argv[3], NULL, 10);
    for (bench.round = 1; bench.round <= rounds; bench.round++) {
        measure_round(&bench);
    }
    free(bench.lines);
    return 0;
}
