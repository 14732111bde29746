/*
 * bench_codec: what each codec makes of the spool's frames.
 *
 *   bench_codec MIB ROUNDS
 *
 * Frames of 256 KiB are encoded as the spool does it, from lines of 100 bytes, and each is
 * compressed and decompressed by itself, in memory and in one thread; CPU time. A round goes
 * through all codecs. lz4 is loaded when its library is there; the project does not depend on it.
 * Prints one line of JSON per codec and round.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zstd.h>

#include "base/buf.h"
#include "genline/genline.h"
#include "spool/spool_format.h"

#define LINE_BYTES 100U
#define FRAME_BYTES (256U * 1024U)
#define BOUND_BYTES ((size_t)FRAME_BYTES * 2)
#define MIB (UINT64_C(1024) * 1024)
#define START_NS (INT64_C(1700000000) * 1000000000)

typedef int (*lz4_fn)(const char *from, char *to, int size, int capacity);

struct lz4 {
    lz4_fn compress, decompress; /* NULL: not there */
};

struct bench {
    struct buf *frames; /* payloads */
    char **stored;
    size_t *stored_sizes;
    size_t count;
    size_t bytes;
    ZSTD_CCtx *compressor;
    ZSTD_DCtx *decompressor;
    struct lz4 lz4;
};

struct codec {
    const char *name;
    bool is_lz4;
    int level;
};

static const struct codec codecs[] = {
    {"zstd -5", false, -5}, {"zstd -3", false, -3}, {"zstd -1", false, -1}, {"zstd 1", false, 1},
    {"zstd 2", false, 2},   {"zstd 3", false, 3},   {"lz4", true, 0}};

static void die(const char *what)
{
    fprintf(stderr, "bench_codec: %s\n", what);
    exit(1);
}

static double cpu_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void fill_frame(struct buf *frame, uint64_t *number)
{
    char text[LINE_BYTES + GENLINE_SLACK];
    int64_t last_time_ns = 0;
    int rc = 0;
    buf_init(frame, 0);
    while (rc == 0 && frame->size + LINE_BYTES <= FRAME_BYTES) {
        struct genline line = {.name = "bench", .name_len = 5, .stream = 'o', .seq = ++*number};
        struct record record = {.time_ns = START_NS + (int64_t)*number * 10000,
                                .stream = RECORD_STDOUT,
                                .line = text,
                                .line_bytes = genline_format(text, &line, LINE_BYTES)};
        rc = spool_put_record(frame, 0, &last_time_ns, &record);
    }
    if (rc != 0) {
        die("out of memory");
    }
}

static void make_frames(struct bench *bench, uint64_t mib)
{
    uint64_t number = 0;
    bench->count = (size_t)(mib * MIB / FRAME_BYTES);
    bench->frames = calloc(bench->count, sizeof(*bench->frames));
    bench->stored = calloc(bench->count, sizeof(*bench->stored));
    bench->stored_sizes = calloc(bench->count, sizeof(*bench->stored_sizes));
    for (size_t i = 0; bench->frames != NULL && bench->stored != NULL && i < bench->count; i++) {
        fill_frame(&bench->frames[i], &number);
        bench->bytes += bench->frames[i].size;
        bench->stored[i] = malloc(BOUND_BYTES);
        if (bench->stored[i] == NULL) {
            die("out of memory");
        }
        memset(bench->stored[i], 1, BOUND_BYTES); /* no page fault is measured */
    }
    bench->compressor = ZSTD_createCCtx();
    bench->decompressor = ZSTD_createDCtx();
    if (bench->frames == NULL || bench->stored == NULL || bench->stored_sizes == NULL ||
        bench->count == 0 || bench->compressor == NULL || bench->decompressor == NULL) {
        die("out of memory");
    }
}

/* POSIX lets a pointer from dlsym() be a function; ISO C has no cast for it. */
static lz4_fn find(void *library, const char *name)
{
    void *symbol = dlsym(library, name);
    lz4_fn function = NULL;
    memcpy(&function, &symbol, sizeof(function));
    return function;
}

static void load_lz4(struct lz4 *lz4)
{
    void *library = dlopen("liblz4.so.1", RTLD_NOW);
    if (library != NULL) {
        lz4->compress = find(library, "LZ4_compress_default");
        lz4->decompress = find(library, "LZ4_decompress_safe");
    }
}

static size_t compress_frame(struct bench *bench, const struct codec *codec, size_t index)
{
    const struct buf *frame = &bench->frames[index];
    if (codec->is_lz4) {
        return (size_t)bench->lz4.compress(frame->data, bench->stored[index], (int)frame->size,
                                           (int)BOUND_BYTES);
    }
    size_t size = ZSTD_compressCCtx(bench->compressor, bench->stored[index], BOUND_BYTES,
                                    frame->data, frame->size, codec->level);
    return ZSTD_isError(size) ? 0 : size;
}

static size_t decompress_frame(struct bench *bench, const struct codec *codec, size_t index,
                               char *out)
{
    size_t stored = bench->stored_sizes[index];
    if (codec->is_lz4) {
        return (size_t)bench->lz4.decompress(bench->stored[index], out, (int)stored,
                                             (int)BOUND_BYTES);
    }
    return ZSTD_decompressDCtx(bench->decompressor, out, BOUND_BYTES, bench->stored[index], stored);
}

static void measure(struct bench *bench, const struct codec *codec, char *out)
{
    size_t stored = 0;
    double start = cpu_seconds();
    for (size_t i = 0; i < bench->count; i++) {
        bench->stored_sizes[i] = compress_frame(bench, codec, i);
        stored += bench->stored_sizes[i];
    }
    double compressing = cpu_seconds() - start;
    double decompressing = 0;
    for (size_t i = 0; i < bench->count; i++) {
        start = cpu_seconds();
        size_t size = decompress_frame(bench, codec, i, out);
        decompressing += cpu_seconds() - start;
        if (size != bench->frames[i].size || memcmp(out, bench->frames[i].data, size) != 0) {
            die("a frame came back as another");
        }
    }
    double mb = (double)bench->bytes / 1e6;
    printf("{\"codec\":\"%s\",\"mb\":%.1f,\"compress_mb_s\":%.1f,\"decompress_mb_s\":%.1f,"
           "\"ratio\":%.3f}\n",
           codec->name, mb, mb / compressing, mb / decompressing, mb * 1e6 / (double)stored);
    fflush(stdout);
}

static void finish(struct bench *bench)
{
    for (size_t i = 0; i < bench->count; i++) {
        buf_finish(&bench->frames[i]);
        free(bench->stored[i]);
    }
    free(bench->frames);
    free(bench->stored);
    free(bench->stored_sizes);
    (void)ZSTD_freeCCtx(bench->compressor);
    (void)ZSTD_freeDCtx(bench->decompressor);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fputs("usage: bench_codec MIB ROUNDS\n", stderr);
        return 2;
    }
    struct bench bench = {0};
    char *out = malloc(BOUND_BYTES);
    if (out == NULL) {
        die("out of memory");
    }
    memset(out, 1, BOUND_BYTES);
    make_frames(&bench, strtoull(argv[1], NULL, 10));
    load_lz4(&bench.lz4);
    long rounds = strtol(argv[2], NULL, 10);
    for (long round = 0; round < rounds; round++) {
        for (size_t i = 0; i < sizeof(codecs) / sizeof(codecs[0]); i++) {
            if (!codecs[i].is_lz4 || (bench.lz4.compress != NULL && bench.lz4.decompress != NULL)) {
                measure(&bench, &codecs[i], out);
            }
        }
    }
    finish(&bench);
    free(out);
    return 0;
}
