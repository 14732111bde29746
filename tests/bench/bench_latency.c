/*
 * bench_latency: how old is each line on standard input when it can be read there?
 *
 *   bench_latency WARM-UP-S [--json]   lines of `log_capturer run --output json`
 *   bench_latency WARM-UP-S --frames   the body of a log answer with timestamps=1 (no TTY)
 *   bench_latency WARM-UP-S --pushes   what fake_loki --out writes
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
static const char push_time[] = "\"time_ns\":\"";

enum input { INPUT_JSON, INPUT_FRAMES, INPUT_PUSHES };
static const char *const input_names[] = {"--json", "--frames", "--pushes"};

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

static void die_of(const char *text, size_t size)
{
    fprintf(stderr, "bench_latency: no time in: %.*s\n", (int)size, text);
    exit(1);
}

static void add(struct ages *ages, int64_t time_ns, int64_t now_ns)
{
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

static void add_text(struct ages *ages, const char *text, size_t size, int64_t now_ns)
{
    int64_t time_ns;
    if (timestamp_parse(text, size, &time_ns) < 0) {
        die_of(text, size);
    }
    add(ages, time_ns, now_ns);
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
    add_text(ages, data + skipped, line_size - skipped, now_ns);
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
    add_text(ages, data + FRAME_HEADER_BYTES, body, now_ns);
    return FRAME_HEADER_BYTES + body;
}

/* The same for an entry that fake_loki took. */
static size_t take_push(struct ages *ages, const char *data, size_t size, int64_t now_ns)
{
    const char *end = memchr(data, '\n', size);
    if (end == NULL) {
        return 0;
    }
    size_t line_size = (size_t)(end - data) + 1;
    const char *time = memmem(data, line_size, push_time, sizeof(push_time) - 1);
    if (time == NULL) {
        die_of(data, line_size);
    } else {
        add(ages, strtoll(time + sizeof(push_time) - 1, NULL, 10), now_ns);
    }
    return line_size;
}

static size_t take(struct ages *ages, enum input input, const char *data, size_t size,
                   int64_t now_ns)
{
    return input == INPUT_FRAMES   ? take_frame(ages, data, size, now_ns)
           : input == INPUT_PUSHES ? take_push(ages, data, size, now_ns)
                                   : take_json(ages, data, size, now_ns);
}

static int read_all(struct ages *ages, enum input input)
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
            taken = take(ages, input, data + done, size - done, now_ns);
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
    enum input input = INPUT_JSON;
    while (argc == 3 && input <= INPUT_PUSHES && strcmp(argv[2], input_names[input]) != 0) {
        input++;
    }
    if (argc < 2 || argc > 3 || input > INPUT_PUSHES) {
        fputs("usage: bench_latency WARM-UP-S [--json | --frames | --pushes]\n", stderr);
        return 2;
    }
    struct ages ages = {.warm_up_ns = (int64_t)(strtod(argv[1], NULL) * 1e9)};
    if (read_all(&ages, input) != 0 || ages.count == 0) {
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
