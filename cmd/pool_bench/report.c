/* The table for people, and JSON for programs. */
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/json.h"

const double report_percents[REPORT_PERCENTS] = {50, 75, 90, 95, 99, 99.9};
static const char *const thirds[3] = {"first third", "second third", "last third"};

void report_corrected(const struct bench *bench, struct histogram *ret_latency)
{
    const struct histogram *measured = &bench->total.latency;
    bool scheduled = bench->options->rate > 0;
    histogram_correct(ret_latency, measured, scheduled ? 0 : histogram_percentile(measured, 50));
}

void report_progress(const struct bench *bench)
{
    if (bench->options->quiet || isatty(STDERR_FILENO) != 1 || bench->second_count == 0) {
        return;
    }
    const struct bench_second *last = &bench->seconds[bench->second_count - 1];
    (void)fprintf(stderr,
                  "\r\033[K%.0f of %.0f s: %u clients, %.0f requests/s, p50 %.3f ms, p99 %.3f ms, "
                  "%llu errors",
                  last->at_s, (double)bench->length_ns / 1e9, last->clients,
                  last->length_s > 0 ? (double)last->requests / last->length_s : 0, last->p50_ms,
                  last->p99_ms, (unsigned long long)last->errors);
}

static double ms(uint64_t ns)
{
    return (double)ns / 1e6;
}

static void put_latency(const char *name, const struct histogram *latency)
{
    (void)printf("%-22s", name);
    for (int i = 0; i < REPORT_PERCENTS; i++) {
        (void)printf(" %9.3f", ms(histogram_percentile(latency, report_percents[i])));
    }
    (void)printf(" %9.3f\n", ms(latency->most));
}

static void put_errors(const struct bench_counts *counts)
{
    (void)printf("%llu", (unsigned long long)bench_errors(counts));
    for (int i = 0; i < BENCH_ERRORS; i++) {
        if (counts->errors[i] > 0) {
            (void)printf(", %s %llu", bench_error_name((enum bench_error)i),
                         (unsigned long long)counts->errors[i]);
        }
    }
    (void)printf("\n");
}

void report_table(const struct bench *bench)
{
    const struct bench_counts *total = &bench->total;
    static struct histogram corrected;
    bool parts = bench->options->spike || bench->options->failover > 0;
    report_corrected(bench, &corrected);
    if (isatty(STDERR_FILENO) == 1 && !bench->options->quiet) {
        (void)fprintf(stderr, "\r\033[K");
    }
    (void)printf("requests       %llu in %.2f s: %.0f/s\n", (unsigned long long)total->requests,
                 bench->elapsed_s, (double)total->requests / bench->elapsed_s);
    (void)printf("connections    %llu: %.0f/s; %.2f %% of the requests used one that was there\n",
                 (unsigned long long)total->connections,
                 (double)total->connections / bench->elapsed_s,
                 total->requests <= total->connections
                     ? 0
                     : 100 - 100.0 * (double)total->connections / (double)total->requests);
    (void)printf("bytes          %.2f MB/s, both ways together\n",
                 (double)total->bytes / bench->elapsed_s / 1e6);
    (void)printf("errors         ");
    put_errors(total);
    if (bench->connect_errno != 0) {
        (void)printf("               the first connection failed: %s\n",
                     strerror(bench->connect_errno));
    }
    for (int i = 0; parts && i < 3; i++) {
        (void)printf("  %-12s %llu requests, p99 %.3f ms, errors ", thirds[i],
                     (unsigned long long)bench->thirds[i].requests,
                     ms(histogram_percentile(&bench->thirds[i].latency, 99)));
        put_errors(&bench->thirds[i]);
    }
    (void)printf("\n%-22s", "ms");
    for (int i = 0; i < REPORT_PERCENTS; i++) {
        (void)printf("     p%-4g", report_percents[i]);
    }
    (void)printf("       max\n");
    put_latency("latency, measured", &total->latency);
    put_latency("latency, corrected", &corrected);
    put_latency("connect", &total->connect);
    put_latency("connect to 1st answer", &total->first);
}

/* ---- JSON ---- */

static void json_latency(struct json_writer *writer, const char *key,
                         const struct histogram *latency)
{
    json_open(writer, key, '{');
    json_put_int(writer, "count", (int64_t)latency->count);
    json_put_double(writer, "mean_ms", histogram_mean(latency) / 1e6);
    for (int i = 0; i < REPORT_PERCENTS; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "p%g_ms", report_percents[i]);
        json_put_double(writer, name, ms(histogram_percentile(latency, report_percents[i])));
    }
    json_put_double(writer, "max_ms", ms(latency->most));
    json_close(writer, '}');
}

static void json_counts(struct json_writer *writer, const char *key,
                        const struct bench_counts *counts)
{
    json_open(writer, key, '{');
    json_put_int(writer, "requests", (int64_t)counts->requests);
    json_put_int(writer, "errors", (int64_t)bench_errors(counts));
    json_put_double(writer, "p99_ms", ms(histogram_percentile(&counts->latency, 99)));
    json_close(writer, '}');
}

static void json_seconds(struct json_writer *writer, const struct bench *bench)
{
    json_open(writer, "timeline", '[');
    for (size_t i = 0; i < bench->second_count; i++) {
        const struct bench_second *second = &bench->seconds[i];
        json_open(writer, NULL, '{');
        json_put_double(writer, "at_s", second->at_s);
        json_put_double(writer, "length_s", second->length_s);
        json_put_int(writer, "clients", second->clients);
        json_put_int(writer, "requests", (int64_t)second->requests);
        json_put_int(writer, "errors", (int64_t)second->errors);
        json_put_double(writer, "p50_ms", second->p50_ms);
        json_put_double(writer, "p99_ms", second->p99_ms);
        json_close(writer, '}');
    }
    json_close(writer, ']');
}

static void json_errors(struct json_writer *writer, const struct bench_counts *counts)
{
    json_open(writer, "errors", '{');
    json_put_int(writer, "all", (int64_t)bench_errors(counts));
    for (int i = 0; i < BENCH_ERRORS; i++) {
        json_put_int(writer, bench_error_name((enum bench_error)i), (int64_t)counts->errors[i]);
    }
    json_close(writer, '}');
}

int report_write(const char *path, const struct buf *text)
{
    bool is_stdout = strcmp(path, "-") == 0;
    int fd = is_stdout ? STDOUT_FILENO : open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    size_t done = 0;
    int rc = fd < 0 ? -errno : 0;
    while (rc == 0 && done < text->size) {
        ssize_t n = write(fd, text->data + done, text->size - done);
        rc = n < 0 && errno != EINTR ? -errno : 0;
        done += n > 0 ? (size_t)n : 0;
    }
    if (fd >= 0 && !is_stdout) {
        (void)close(fd);
    }
    return rc;
}

int report_json(const struct bench *bench, const char *path)
{
    const struct bench_counts *total = &bench->total;
    static struct histogram corrected;
    struct buf text;
    struct json_writer writer;
    report_corrected(bench, &corrected);
    buf_init(&text, 0);
    json_writer_init(&writer, &text);
    json_open(&writer, NULL, '{');
    json_put_string(&writer, "server", bench->options->server);
    json_put_bool(&writer, "reuse", bench->options->reuse);
    json_put_int(&writer, "size_bytes", (int64_t)bench->options->size_bytes);
    json_put_double(&writer, "elapsed_s", bench->elapsed_s);
    json_put_int(&writer, "requests", (int64_t)total->requests);
    json_put_double(&writer, "requests_per_s", (double)total->requests / bench->elapsed_s);
    json_put_int(&writer, "connections", (int64_t)total->connections);
    json_put_double(&writer, "connections_per_s", (double)total->connections / bench->elapsed_s);
    json_put_double(&writer, "mb_per_s", (double)total->bytes / bench->elapsed_s / 1e6);
    json_errors(&writer, total);
    json_latency(&writer, "latency", &total->latency);
    json_latency(&writer, "latency_corrected", &corrected);
    json_latency(&writer, "connect", &total->connect);
    json_latency(&writer, "first_answer", &total->first);
    json_open(&writer, "thirds", '[');
    for (int i = 0; i < 3; i++) {
        json_counts(&writer, NULL, &bench->thirds[i]);
    }
    json_close(&writer, ']');
    json_seconds(&writer, bench);
    json_close(&writer, '}');
    int rc = writer.rc != 0 ? writer.rc : buf_append_str(&text, "\n");
    rc = rc != 0 ? rc : report_write(path, &text);
    buf_finish(&text);
    return rc;
}
