/*
 * Standard output may be a pipe that nobody reads. The thread waits with poll() for room together
 * with an eventfd, and writes at most PIPE_BUF bytes then, which a ready pipe always takes, so
 * that the end of the agent never waits for a reader. When the reader goes away the sink stops and
 * keeps its cursor; capture goes on.
 */
#include "sinks/stdout_sink.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/timestamp.h"
#include "spool/spool_reader.h"

#define OUT_BYTES 65536
#define WAIT_NS (NS_PER_SECOND / 4)
#define STORE_INTERVAL_NS NS_PER_SECOND
#define NAME_COLUMNS_LIMIT 32

struct stdout_sink {
    struct stdout_sink_options options;
    struct spool_reader *reader;
    pthread_t thread;
    bool running;
    int stop_fd; /* readable once the time for the rest is over */
    _Atomic bool stopping;
    struct buf out;
    struct format_text_style style;
    int64_t stored_ns;
    uint64_t stored_record;
    struct metric delivered, errors;
};

static int64_t monotonic_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

/* 0, -ECANCELED when the sink is to end, or another negative errno. */
static int write_out(struct stdout_sink *sink)
{
    size_t done = 0;
    while (done < sink->out.size) {
        struct pollfd fds[2] = {{.fd = sink->options.fd, .events = POLLOUT},
                                {.fd = sink->stop_fd, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0 && errno != EINTR) {
            return -errno;
        }
        if (fds[1].revents != 0) {
            return -ECANCELED;
        }
        if (fds[0].revents == 0) {
            continue;
        }
        size_t size = sink->out.size - done;
        ssize_t n = write(sink->options.fd, sink->out.data + done,
                          size > PIPE_BUF ? PIPE_BUF : size);
        if (n < 0 && errno != EINTR && errno != EAGAIN) {
            return -errno;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    buf_clear(&sink->out);
    return 0;
}

static int format_item(struct stdout_sink *sink, const struct spool_item *item)
{
    size_t columns = strlen(item->origin->name);
    switch (sink->options.format) {
    case FORMAT_JSON:
        return format_json(&sink->out, item->origin, &item->record);
    case FORMAT_LOGFMT:
        return format_logfmt(&sink->out, item->origin, &item->record);
    default:
        if (columns > sink->style.name_columns && columns <= NAME_COLUMNS_LIMIT) {
            sink->style.name_columns = columns;
        }
        return format_text(&sink->out, item->origin, &item->record, &sink->style);
    }
}

static void store_cursor(struct stdout_sink *sink, uint64_t record, bool now)
{
    int64_t time_ns = monotonic_ns();
    if (record == sink->stored_record || (!now && time_ns - sink->stored_ns < STORE_INTERVAL_NS)) {
        return;
    }
    sink->stored_ns = time_ns;
    if (spool_reader_commit(sink->reader, record) == 0) {
        sink->stored_record = record;
    } else {
        metric_add(&sink->errors, 1);
    }
}

/* Writes everything that is there; 0, or what ended it. */
static int deliver_waiting(struct stdout_sink *sink, uint64_t *written)
{
    struct spool_item item;
    int64_t lines = 0;
    int rc;
    while ((rc = spool_reader_next(sink->reader, &item)) == 1) {
        rc = format_item(sink, &item);
        lines++;
        if (rc == 0 && sink->out.size >= OUT_BYTES) {
            rc = write_out(sink);
            if (rc == 0) {
                *written = spool_reader_position(sink->reader);
                metric_add(&sink->delivered, lines);
                lines = 0;
                store_cursor(sink, *written, false);
            }
        }
        if (rc != 0) {
            return rc;
        }
    }
    rc = rc != 0 ? rc : write_out(sink);
    if (rc == 0) {
        *written = spool_reader_position(sink->reader);
        metric_add(&sink->delivered, lines);
    }
    return rc;
}

static void *run(void *data)
{
    struct stdout_sink *sink = data;
    uint64_t written = spool_reader_position(sink->reader);
    sink->stored_record = written;
    int rc = 0;
    while (rc == 0) {
        bool last = atomic_load(&sink->stopping);
        rc = deliver_waiting(sink, &written);
        store_cursor(sink, written, last || rc != 0);
        if (last) {
            break;
        }
        if (rc == 0) {
            spool_reader_wait(sink->reader, WAIT_NS);
        }
    }
    if (rc != 0 && rc != -ECANCELED) {
        metric_add(&sink->errors, 1);
        log_warn("stdout sink: %s; it stops, capture goes on", strerror(-rc));
    }
    return NULL;
}

static int register_metrics(struct stdout_sink *sink)
{
    int rc = metrics_add(sink->options.metrics, &sink->delivered,
                         &(struct metric_desc){.name = "log_capturer_sink_lines_delivered_total",
                                               .help = "Lines that a sink took.",
                                               .labels = "sink=\"stdout\",type=\"stdout\""});
    return rc != 0
               ? rc
               : metrics_add(sink->options.metrics, &sink->errors,
                             &(struct metric_desc){.name = "log_capturer_sink_errors_total",
                                                   .help = "Writes or cursor updates that failed.",
                                                   .labels = "sink=\"stdout\",type=\"stdout\""});
}

static int start_thread(struct stdout_sink *sink)
{
    /* Signals are the loop's; SIGPIPE becomes EPIPE. */
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = -pthread_create(&sink->thread, NULL, run, sink);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc == 0) {
        sink->running = true;
        (void)pthread_setname_np(sink->thread, "sink-stdout");
    }
    return rc;
}

int stdout_sink_create(const struct stdout_sink_options *options, struct stdout_sink **ret_sink,
                       struct error *error)
{
    struct stdout_sink *sink = calloc(1, sizeof(*sink));
    if (sink == NULL) {
        error_set(error, "out of memory");
        return -ENOMEM;
    }
    sink->options = *options;
    sink->style.colour = isatty(options->fd) == 1;
    buf_init(&sink->out, 0);
    sink->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = sink->stop_fd < 0 ? -errno : register_metrics(sink);
    if (rc == 0) {
        rc = spool_reader_open(options->spool, "stdout", true, &sink->reader, error);
    } else {
        error_set(error, "stdout sink: %s", strerror(-rc));
    }
    if (rc == 0) {
        rc = start_thread(sink);
    }
    if (rc != 0) {
        stdout_sink_destroy(sink, 0);
        return rc;
    }
    *ret_sink = sink;
    return 0;
}

/* Joins within timeout_ns, else tells the thread to leave the rest, and joins. */
static void stop_thread(struct stdout_sink *sink, int64_t timeout_ns)
{
    struct timespec deadline;
    atomic_store(&sink->stopping, true);
    spool_reader_wake(sink->reader);
    (void)clock_gettime(CLOCK_REALTIME, &deadline);
    int64_t ns = deadline.tv_nsec + timeout_ns;
    deadline.tv_sec += ns / NS_PER_SECOND;
    deadline.tv_nsec = ns % NS_PER_SECOND;
    if (pthread_timedjoin_np(sink->thread, NULL, &deadline) == 0) {
        return;
    }
    uint64_t one = 1;
    if (write(sink->stop_fd, &one, sizeof(one)) < 0) {
        log_warn("stdout sink: %s", strerror(errno));
    }
    (void)pthread_join(sink->thread, NULL);
}

void stdout_sink_destroy(struct stdout_sink *sink, int64_t timeout_ns)
{
    if (sink == NULL) {
        return;
    }
    if (sink->running) {
        stop_thread(sink, timeout_ns);
    }
    spool_reader_close(sink->reader);
    if (sink->stop_fd >= 0) {
        (void)close(sink->stop_fd);
    }
    buf_finish(&sink->out);
    metric_finish(&sink->delivered);
    metric_finish(&sink->errors);
    free(sink);
}
