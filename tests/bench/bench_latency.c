/*
 * bench_latency: how old is each line on standard input when it can be read there?
 *
 *   bench_latency WARM-UP-S            lines of `log_capturer run --output json`
 *   bench_latency WARM-UP-S --frames   the body of a log answer with timestamps=1 (no TTY)
 *
 * The age is the wall clock behind the read() that brought the end of the line, less the
 * timestamp that dockerd gave it. Lines of the first WARM-UP-S seconds are not measured. Prints
 * the number of lines, of those measured, and percentiles in milliseconds.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/timestamp.h"

#define READ_BYTES ((size_t)1024 * 1024)
#define FRAME_HEADER_BYTES 8
static const char json_start[] = "{\"time\":\"";

struct ages {
    int64_t *ns;
    size_t count, capacity;
    uint64_t lines;
    int64_t first_ns; /* wall clock of the first line */
    int64_t warm_up_ns;
};

static int64_t wall_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

static void add(struct ages *ages, const char *text, size_t size, int64_t now_ns)
{
    int64_t time_ns;
    if (timestamp_parse(text, size, &time_ns) < 0) {
        fprintf(stderr, "bench_latency: no time in: %.*s\n", (int)size, text);
        exit(1);
    }
    if (ages->lines++ == 0) {
        ages->first_ns = now_ns;
    }
    if (now_ns - ages->first_ns < ages->warm_up_ns) {
        return;
    }
    if (ages->count == ages->capacity) {
        ages->capacity = ages->capacity == 0 ? 1U << 20 : ages->capacity * 2;
        ages->ns = realloc(ages->ns, ages->capacity * sizeof(*ages->ns));
        if (ages->ns == NULL) {
            fputs("bench_latency: out of memory\n", stderr);
            exit(1);
        }
    }
    ages->ns[ages->count++] = now_ns - time_ns;
}

/* Bytes of the first whole line of JSON, 0 when its end has not come. */
static size_t take_json(struct ages *ages, const char *data, size_t size, int64_t now_ns)
{
    const char *end = memchr(data, '\n', size);
    if (end == NULL) {
        return 0;
    }
    size_t line_size = (size_t)(end - data) + 1;
    size_t start = sizeof(json_start) - 1;
    bool known = line_size > start && memcmp(data, json_start, start) == 0;
    size_t skipped = known ? start : 0;
    add(ages, data + skipped, line_size - skipped, now_ns);
    return line_size;
}

/* The same for a frame; each of ours is one line. */
static size_t take_frame(struct ages *ages, const char *data, size_t size, int64_t now_ns)
{
    const unsigned char *header = (const unsigned char *)data;
    if (size < FRAME_HEADER_BYTES) {
        return 0;
    }
    size_t body = (size_t)header[4] << 24 | (size_t)header[5] << 16 | (size_t)header[6] << 8 |
                  (size_t)header[7];
    if (size < FRAME_HEADER_BYTES + body) {
        return 0;
    }
    add(ages, data + FRAME_HEADER_BYTES, body, now_ns);
    return FRAME_HEADER_BYTES + body;
}

static int read_all(struct ages *ages, bool frames)
{
    char *data = malloc(READ_BYTES);
    size_t kept = 0;
    while (data != NULL) {
        ssize_t count = read(STDIN_FILENO, data + kept, READ_BYTES - kept);
        if (count <= 0) {
            int rc = count < 0 || kept > 0 ? -1 : 0;
            free(data);
            return rc;
        }
        int64_t now_ns = wall_ns();
        size_t size = kept + (size_t)count;
        size_t done = 0;
        size_t taken;
        do {
            taken = frames ? take_frame(ages, data + done, size - done, now_ns)
                           : take_json(ages, data + done, size - done, now_ns);
            done += taken;
        } while (taken > 0 && done < size);
        kept = size - done;
        memmove(data, data + done, kept);
        if (kept == READ_BYTES) {
            break;
        }
    }
    free(data);
    return -1;
}

static int compare(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a;
    int64_t right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

static double quantile_ms(const struct ages *ages, double quantile)
{
    size_t index = (size_t)((double)(ages->count - 1) * quantile);
    return (double)ages->ns[index] / 1e6;
}

int main(int argc, char **argv)
{
    bool frames = argc == 3 && strcmp(argv[2], "--frames") == 0;
    if (argc < 2 || argc > 3 || (argc == 3 && !frames)) {
        fputs("usage: bench_latency WARM-UP-S [--frames]\n", stderr);
        return 2;
    }
    struct ages ages = {.warm_up_ns = (int64_t)(strtod(argv[1], NULL) * 1e9)};
    if (read_all(&ages, frames) != 0 || ages.count == 0) {
        fprintf(stderr, "bench_latency: no whole input: %llu lines, %zu measured\n",
                (unsigned long long)ages.lines, ages.count);
        free(ages.ns);
        return 1;
    }
    qsort(ages.ns, ages.count, sizeof(*ages.ns), compare);
    printf("{\"lines\":%llu,\"measured\":%zu,\"p50_ms\":%.2f,\"p90_ms\":%.2f,\"p99_ms\":%.2f,"
           "\"p999_ms\":%.2f,\"max_ms\":%.2f}\n",
           (unsigned long long)ages.lines, ages.count, quantile_ms(&ages, 0.5),
           quantile_ms(&ages, 0.9), quantile_ms(&ages, 0.99), quantile_ms(&ages, 0.999),
           quantile_ms(&ages, 1));
    free(ages.ns);
    return 0;
}
