/*
 * process_* as https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics names
 * them, read from /proc/self at each scrape, and process_threads as the Java client calls it.
 */
#include "web/exporter.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"

struct exporter {
    struct metrics *metrics;
    double start_time_s;
    char labels[128];
};

/* The fields of /proc/self/stat behind the program's name, by proc(5)'s numbers (3 and on). */
struct stat_fields {
    uint64_t threads;        /* 20 */
    uint64_t user_ticks;     /* 14 */
    uint64_t system_ticks;   /* 15 */
    uint64_t start_ticks;    /* 22 */
    uint64_t virtual_bytes;  /* 23 */
    uint64_t resident_pages; /* 24 */
};

static ssize_t read_file(const char *path, char *ret_text, size_t text_bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    ssize_t n = read(fd, ret_text, text_bytes - 1);
    (void)close(fd);
    if (n >= 0) {
        ret_text[n] = '\0';
    }
    return n;
}

static uint64_t take_number(const char *text)
{
    char digits[24];
    uint64_t value = 0;
    (void)str_copy(digits, sizeof(digits), text);
    digits[strspn(digits, "0123456789")] = '\0';
    return str_parse_u64(digits, &value) == 0 ? value : 0;
}

static bool read_stat(struct stat_fields *ret)
{
    char text[1024];
    if (read_file("/proc/self/stat", text, sizeof(text)) < 0) {
        return false;
    }
    const char *at = strrchr(text, ')');
    uint64_t *const wanted[25] = {
        [14] = &ret->user_ticks,  [15] = &ret->system_ticks,  [20] = &ret->threads,
        [22] = &ret->start_ticks, [23] = &ret->virtual_bytes, [24] = &ret->resident_pages};
    for (int field = 3; at != NULL && field < 25; field++) {
        at = strchr(at, ' ');
        if (at == NULL) {
            return false;
        }
        at++;
        if (wanted[field] != NULL) {
            *wanted[field] = take_number(at);
        }
    }
    return at != NULL;
}

static double count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    if (dir == NULL) {
        return 0;
    }
    double count = -1; /* the folder's own */
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        count += entry->d_name[0] != '.';
    }
    (void)closedir(dir);
    return count;
}

static void put_one(struct metrics_writer *writer, enum metric_type type, const char *name,
                    const char *help, double value)
{
    metrics_begin(writer, type, name, help);
    metrics_put(writer, NULL, value);
}

static void collect(struct metrics_writer *writer, void *data)
{
    const struct exporter *exporter = data;
    struct stat_fields stat = {0};
    struct rlimit limit = {0};
    double ticks = (double)sysconf(_SC_CLK_TCK);
    bool known = read_stat(&stat);
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    put_one(writer, METRIC_GAUGE, "process_open_fds", "Open file descriptors.", count_fds());
    put_one(writer, METRIC_GAUGE, "process_max_fds", "Limit of open file descriptors.",
            (double)limit.rlim_cur);
    put_one(writer, METRIC_GAUGE, "process_start_time_seconds",
            "Start of the process, seconds since 1970 UTC.", exporter->start_time_s);
    if (known) {
        put_one(writer, METRIC_GAUGE, "process_threads", "Threads.", (double)stat.threads);
        put_one(writer, METRIC_COUNTER, "process_cpu_seconds_total",
                "User and system CPU time spent.",
                (double)(stat.user_ticks + stat.system_ticks) / ticks);
        put_one(writer, METRIC_GAUGE, "process_virtual_memory_bytes", "Virtual memory size.",
                (double)stat.virtual_bytes);
        put_one(writer, METRIC_GAUGE, "process_resident_memory_bytes", "Resident memory size.",
                (double)stat.resident_pages * (double)sysconf(_SC_PAGESIZE));
    }
    metrics_begin(writer, METRIC_GAUGE, "log_capturer_build_info",
                  "1; the labels say what was built.");
    metrics_put(writer, exporter->labels, 1);
}

void exporter_put_process(const struct exporter *exporter, struct json_writer *writer)
{
    struct timespec wall;
    struct stat_fields stat = {0};
    struct rlimit limit = {0};
    int64_t ticks = sysconf(_SC_CLK_TCK);
    (void)clock_gettime(CLOCK_REALTIME, &wall);
    (void)read_stat(&stat);
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    json_put_int(writer, "uptime_seconds", (int64_t)((double)wall.tv_sec - exporter->start_time_s));
    json_put_int(writer, "open_fds", (int64_t)count_fds());
    json_put_int(writer, "max_fds", (int64_t)limit.rlim_cur);
    json_put_int(writer, "threads", (int64_t)stat.threads);
    json_put_int(writer, "resident_bytes", (int64_t)stat.resident_pages * sysconf(_SC_PAGESIZE));
    json_put_int(writer, "cpu_ms", (int64_t)(stat.user_ticks + stat.system_ticks) * 1000 / ticks);
}

static double start_time(void)
{
    struct timespec wall;
    struct timespec boot;
    struct stat_fields stat = {0};
    (void)clock_gettime(CLOCK_REALTIME, &wall);
    (void)clock_gettime(CLOCK_BOOTTIME, &boot);
    (void)read_stat(&stat);
    double since_boot = (double)boot.tv_sec + (double)boot.tv_nsec / 1e9;
    return (double)wall.tv_sec - since_boot +
           (double)stat.start_ticks / (double)sysconf(_SC_CLK_TCK);
}

int exporter_create(struct metrics *metrics, const char *version, struct exporter **ret_exporter)
{
    struct exporter *exporter = calloc(1, sizeof(*exporter));
    if (exporter == NULL) {
        return -ENOMEM;
    }
    exporter->metrics = metrics;
    exporter->start_time_s = start_time();
    struct buf labels;
    buf_init_fixed(&labels, exporter->labels, sizeof(exporter->labels));
    int rc = metrics_append_label(&labels, "version", version);
    rc = rc != 0 ? rc : buf_append(&labels, "", 1);
    rc = rc != 0 ? rc : metrics_add_collector(metrics, collect, exporter);
    if (rc != 0) {
        free(exporter);
        return rc;
    }
    *ret_exporter = exporter;
    return 0;
}

void exporter_destroy(struct exporter *exporter)
{
    if (exporter != NULL) {
        metrics_remove_collector(exporter->metrics, collect, exporter);
        free(exporter);
    }
}

/* The q of a media type in an Accept header (RFC 9110, 12.4.2), in thousandths; 0: not named. */
static int quality_of(const char *accept, const char *type)
{
    const char *at = strstr(accept, type);
    if (at == NULL) {
        return 0;
    }
    size_t size = strcspn(at, ",");
    const char *q = memmem(at, size, "q=", 2);
    if (q == NULL) {
        return 1000;
    }
    int quality = q[2] == '1' ? 1000 : 0;
    for (int i = 0, unit = 100; q[2] == '0' && q[3] == '.' && i < 3; i++, unit /= 10) {
        if (q[4 + i] < '0' || q[4 + i] > '9') {
            break;
        }
        quality += (q[4 + i] - '0') * unit;
    }
    return quality;
}

int exporter_answer(struct exporter *exporter, const struct httpd_request *request,
                    struct httpd_response *response)
{
    int openmetrics_quality = quality_of(request->accept, "application/openmetrics-text");
    bool openmetrics = openmetrics_quality > 0 &&
                       openmetrics_quality >= quality_of(request->accept, "text/plain");
    response->content_type = openmetrics
                                 ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                                 : "text/plain; version=0.0.4; charset=utf-8";
    return metrics_render(exporter->metrics, openmetrics ? METRICS_OPENMETRICS : METRICS_PROMETHEUS,
                          &response->body);
}
