/*
 * Two sides of a tail: its thread reads, matches, formats and waits for room in `out`; the loop's
 * side gives `out` to the client. The loop frees a tail when both the answer and the thread have
 * ended; the thread's end is known by its post.
 */
#include "web/live_tail.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "loop/task.h"
#include "process/format.h"
#include "spool/spool_reader.h"
#include "spool/spool_search.h"

#define LABEL_LIMIT 16
#define ARGUMENT_LIMIT_BYTES 1024
#define LINES_LIMIT 10000
#define BATCH_BYTES 16384U
#define WAIT_NS INT64_C(1000000000)
#define MARK_INTERVAL_NS INT64_C(5000000000)

struct live_tail {
    struct live_tail_options options;
    struct list tails;
    size_t count;
    struct metric active;
    struct metric refused;
    struct metric missed;
};

/* Ordered by who uses what. NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding) */
struct tail {
    struct httpd_stream stream;
    struct list link;
    struct live_tail *owner;
    struct loop_post post;
    bool answer_ended;

    /* the request */
    char *arguments[LABEL_LIMIT + 4]; /* copies that `query` points into */
    size_t argument_count;
    const char *labels[LABEL_LIMIT];
    struct spool_query query;
    enum format_kind format;
    struct format_text_style style;
    bool marks;
    bool has_from;
    uint64_t from;
    size_t lines;

    /* the thread's */
    pthread_t thread;
    bool has_thread;
    struct spool_matcher *matcher;
    struct buf batch;
    uint64_t told_missed;
    uint64_t told_next;
    int64_t told_ns;
    _Atomic bool stop;

    /* shared, under lock */
    pthread_mutex_t lock;
    pthread_cond_t room;
    struct spool_reader *reader; /* set once, by the thread */
    struct buf out;
    bool thread_ended;
    int rc; /* why it ended; 0: it was told to */
};

/* ---- the thread ---- */

/* Hands the batch over; waits while the client has enough to take. */
static void hand_over(struct tail *tail)
{
    if (tail->batch.size == 0) {
        return;
    }
    (void)pthread_mutex_lock(&tail->lock);
    while (tail->out.size >= TAIL_BUFFER_BYTES && !atomic_load(&tail->stop)) {
        (void)pthread_cond_wait(&tail->room, &tail->lock);
    }
    bool was_empty = tail->out.size == 0;
    if (buf_append(&tail->out, tail->batch.data, tail->batch.size) != 0) {
        atomic_store(&tail->stop, true); /* no memory: the answer ends */
    }
    (void)pthread_mutex_unlock(&tail->lock);
    buf_clear(&tail->batch);
    if (was_empty) {
        loop_post_send(&tail->post);
    }
}

static int put_missed(struct tail *tail, uint64_t count)
{
    struct buf *batch = &tail->batch;
    if (tail->marks) {
        return buf_printf(batch, "\036missed %" PRIu64 "\n", count);
    }
    switch (tail->format) {
    case FORMAT_JSON:
        return buf_printf(batch, "{\"missed\":%" PRIu64 "}\n", count);
    case FORMAT_LOGFMT:
        return buf_printf(batch, "missed=%" PRIu64 "\n", count);
    default:
        return buf_printf(batch, "log_capturer: missed %" PRIu64 " lines\n", count);
    }
}

static int64_t monotonic_ns(void)
{
    return clock_monotonic_ns(clock_real());
}

/* Says what was not said yet: lines that went, and where we are; the latter behind lines, and now
 * and then where none match. */
static int put_marks(struct tail *tail)
{
    uint64_t missed = spool_reader_skipped(tail->reader);
    uint64_t next = spool_reader_position(tail->reader);
    int rc = 0;
    if (missed > tail->told_missed) {
        rc = put_missed(tail, missed - tail->told_missed);
        metric_add(&tail->owner->missed, (int64_t)(missed - tail->told_missed));
        tail->told_missed = missed;
    }
    bool due = tail->batch.size > 0 || monotonic_ns() - tail->told_ns > MARK_INTERVAL_NS;
    if (rc == 0 && tail->marks && next != tail->told_next && due) {
        rc = buf_printf(&tail->batch, "\036next %" PRIu64 "\n", next);
        tail->told_next = next;
        tail->told_ns = monotonic_ns();
    }
    return rc;
}

/* Until it is told to stop, then 0; or a negative errno. */
static int follow(struct tail *tail)
{
    struct spool_item item;
    int rc = 0;
    while (rc >= 0 && !atomic_load(&tail->stop)) {
        rc = spool_reader_next(tail->reader, &item);
        if (rc == 1) {
            rc = spool_matcher_matches(tail->matcher, &item)
                     ? format_record(&tail->batch, tail->format, item.origin, &item.record,
                                     &tail->style)
                     : 0;
            if (rc == 0 && tail->batch.size >= BATCH_BYTES) {
                rc = put_marks(tail);
                hand_over(tail);
            }
        } else if (rc == 0) { /* all is read */
            rc = put_marks(tail);
            hand_over(tail);
            spool_reader_wait(tail->reader, WAIT_NS);
        }
    }
    return rc < 0 ? rc : 0;
}

static void *run_tail(void *data)
{
    struct tail *tail = data;
    struct spool *spool = tail->owner->options.spool;
    struct spool_reader *reader = NULL;
    struct error error;
    uint64_t begin = tail->from;
    if (!tail->has_from) {
        begin = spool_search_recent(spool, tail->matcher, tail->lines, &tail->stop);
    }
    int rc = spool_reader_open_at(spool, begin, &reader, &error);
    if (rc == 0) {
        (void)pthread_mutex_lock(&tail->lock);
        tail->reader = reader;
        (void)pthread_mutex_unlock(&tail->lock);
        rc = follow(tail);
    }
    (void)pthread_mutex_lock(&tail->lock);
    tail->reader = NULL;
    tail->thread_ended = true;
    tail->rc = rc;
    (void)pthread_mutex_unlock(&tail->lock);
    spool_reader_close(reader);
    loop_post_send(&tail->post);
    return NULL;
}

/* ---- the loop's side ---- */

static void tail_free(struct tail *tail)
{
    if (tail->has_thread) {
        (void)pthread_join(tail->thread, NULL);
        loop_post_remove(&tail->post);
    }
    list_remove(&tail->link);
    tail->owner->count--;
    metric_set(&tail->owner->active, (int64_t)tail->owner->count);
    spool_matcher_destroy(tail->matcher);
    buf_finish(&tail->batch);
    buf_finish(&tail->out);
    for (size_t i = 0; i < tail->argument_count; i++) {
        free(tail->arguments[i]);
    }
    (void)pthread_cond_destroy(&tail->room);
    (void)pthread_mutex_destroy(&tail->lock);
    free(tail);
}

static void stop_thread(struct tail *tail)
{
    atomic_store(&tail->stop, true);
    (void)pthread_mutex_lock(&tail->lock);
    (void)pthread_cond_broadcast(&tail->room);
    if (tail->reader != NULL) {
        spool_reader_wake(tail->reader);
    }
    (void)pthread_mutex_unlock(&tail->lock);
}

static bool thread_ended(struct tail *tail)
{
    (void)pthread_mutex_lock(&tail->lock);
    bool ended = tail->thread_ended;
    (void)pthread_mutex_unlock(&tail->lock);
    return ended;
}

static void handle_post(struct loop_post *post, void *data)
{
    (void)post;
    struct tail *tail = data;
    if (!tail->answer_ended) {
        httpd_stream_wake(&tail->stream);
    } else if (thread_ended(tail)) {
        if (tail->rc != 0) {
            log_warn("a tail ended: reading the spool: %s", strerror(-tail->rc));
        }
        tail_free(tail);
    }
}

static ssize_t read_out(struct httpd_stream *stream, char *ret_bytes, size_t size)
{
    struct tail *tail = container_of(stream, struct tail, stream);
    (void)pthread_mutex_lock(&tail->lock);
    size_t taken = tail->out.size < size ? tail->out.size : size;
    if (taken > 0) {
        memcpy(ret_bytes, tail->out.data, taken);
        buf_consume(&tail->out, taken);
        (void)pthread_cond_signal(&tail->room);
    }
    bool ended = taken == 0 && tail->thread_ended;
    (void)pthread_mutex_unlock(&tail->lock);
    return ended ? -1 : (ssize_t)taken;
}

static void handle_end(struct httpd_stream *stream)
{
    struct tail *tail = container_of(stream, struct tail, stream);
    tail->answer_ended = true;
    stop_thread(tail);
    if (tail->has_thread && thread_ended(tail)) {
        loop_post_send(&tail->post); /* its own post may have come while the answer was open */
    }
}

/* ---- the request ---- */

struct reading {
    struct tail *tail;
    struct error *error;
};

static int refuse(struct reading *reading, const char *key, const char *expected)
{
    error_set(reading->error, "%.40s: %s", key, expected);
    return -EINVAL;
}

/* A copy that lives as long as the tail; NULL without memory. */
static const char *keep(struct tail *tail, const char *value)
{
    if (tail->argument_count == sizeof(tail->arguments) / sizeof(tail->arguments[0])) {
        return NULL;
    }
    char *copy = strdup(value);
    if (copy != NULL) {
        tail->arguments[tail->argument_count++] = copy;
    }
    return copy;
}

static int take_pattern(struct reading *reading, const char *key, const char *value,
                        const char **ret_at)
{
    if (strlen(value) > ARGUMENT_LIMIT_BYTES) {
        return refuse(reading, key, "longer than 1024 bytes");
    }
    if (*ret_at != NULL) {
        return refuse(reading, key, "is there twice");
    }
    *ret_at = keep(reading->tail, value);
    return *ret_at != NULL ? 0 : refuse(reading, key, "out of memory");
}

static int take_label(struct reading *reading, const char *key, const char *value)
{
    struct spool_query *query = &reading->tail->query;
    if (query->label_count == LABEL_LIMIT) {
        return refuse(reading, key, "at most 16 of them");
    }
    int rc = take_pattern(reading, key, value, &reading->tail->labels[query->label_count]);
    query->label_count += rc == 0;
    return rc;
}

static int take_number(struct reading *reading, const char *key, const char *value,
                       uint64_t *ret_number)
{
    return str_parse_u64(value, ret_number) == 0
               ? 0
               : refuse(reading, key, "a whole number is expected");
}

static int take_switch(struct reading *reading, const char *key, const char *value, bool *ret_on)
{
    *ret_on = strcmp(value, "true") == 0;
    return *ret_on || strcmp(value, "false") == 0
               ? 0
               : refuse(reading, key, "true or false is expected");
}

static int take_form(struct reading *reading, const char *key, const char *value)
{
    struct tail *tail = reading->tail;
    uint64_t lines;
    int rc;
    if (strcmp(key, "format") == 0) {
        return format_kind_parse(value, &tail->format) == 0
                   ? 0
                   : refuse(reading, key, "text, json or logfmt is expected");
    }
    if (strcmp(key, "colour") == 0) {
        return take_switch(reading, key, value, &tail->style.colour);
    }
    if (strcmp(key, "escape") == 0) {
        return take_switch(reading, key, value, &tail->style.escape);
    }
    if (strcmp(key, "marks") == 0) {
        return take_switch(reading, key, value, &tail->marks);
    }
    if (strcmp(key, "from") == 0) {
        tail->has_from = true;
        return take_number(reading, key, value, &tail->from);
    }
    if (strcmp(key, "lines") == 0) {
        rc = take_number(reading, key, value, &lines);
        tail->lines = rc == 0 && lines <= LINES_LIMIT ? (size_t)lines : 0;
        return rc == 0 && lines > LINES_LIMIT ? refuse(reading, key, "at most 10000") : rc;
    }
    return refuse(reading, key,
                  "no such argument; there are container, label, stream, regex, text, lines, from, "
                  "format, colour, escape, marks");
}

static int take_argument(const char *key, const char *value, void *data)
{
    struct reading *reading = data;
    struct spool_query *query = &reading->tail->query;
    if (strcmp(key, "container") == 0) {
        return take_pattern(reading, key, value, &query->container);
    }
    if (strcmp(key, "stream") == 0) {
        return take_pattern(reading, key, value, &query->stream);
    }
    if (strcmp(key, "regex") == 0) {
        return take_pattern(reading, key, value, &query->regex);
    }
    if (strcmp(key, "text") == 0) {
        return take_pattern(reading, key, value, &query->text);
    }
    if (strcmp(key, "label") == 0) {
        return take_label(reading, key, value);
    }
    return take_form(reading, key, value);
}

static struct tail *tail_new(struct live_tail *live_tail)
{
    struct tail *tail = calloc(1, sizeof(*tail));
    if (tail == NULL) {
        return NULL;
    }
    tail->owner = live_tail;
    tail->stream.read = read_out;
    tail->stream.on_end = handle_end;
    tail->query = (struct spool_query){
        .labels = tail->labels, .since_ns = INT64_MIN, .until_ns = INT64_MAX};
    tail->format = FORMAT_JSON;
    tail->style.name_columns = 16;
    tail->lines = 10;
    tail->told_next = UINT64_MAX;
    (void)pthread_mutex_init(&tail->lock, NULL);
    (void)pthread_cond_init(&tail->room, NULL);
    buf_init(&tail->batch, 0);
    buf_init(&tail->out, 0);
    list_append(&live_tail->tails, &tail->link);
    live_tail->count++;
    metric_set(&live_tail->active, (int64_t)live_tail->count);
    return tail;
}

static int begin(struct tail *tail)
{
    loop_post_add(tail->owner->options.loop, &tail->post, handle_post, tail);
    int rc = pthread_create(&tail->thread, NULL, run_tail, tail);
    if (rc != 0) {
        loop_post_remove(&tail->post);
        return -rc;
    }
    tail->has_thread = true;
    return 0;
}

static int answer_error(struct httpd_response *response, unsigned status, const char *text)
{
    response->status = status;
    return httpd_put_error(&response->body, text);
}

int live_tail_answer(struct live_tail *live_tail, const struct httpd_request *request,
                     struct httpd_response *response)
{
    struct error error = {""};
    if (live_tail->count >= TAIL_LIMIT) {
        metric_add(&live_tail->refused, 1);
        return answer_error(response, 503, "8 tails are open, and there may not be more");
    }
    struct tail *tail = tail_new(live_tail);
    if (tail == NULL) {
        return -ENOMEM;
    }
    struct reading reading = {tail, &error};
    int rc = httpd_request_arguments(request, take_argument, &reading);
    rc = rc != 0 ? rc : spool_matcher_create(&tail->query, &tail->matcher, &error);
    if (rc != 0) {
        tail_free(tail);
        return rc == -EINVAL ? answer_error(response, 400, error.text) : rc;
    }
    struct spool_status status;
    spool_status(live_tail->options.spool, &status);
    if (tail->from > status.records) { /* of another spool: from now on */
        tail->from = status.records;
    }
    rc = begin(tail);
    if (rc != 0) {
        tail_free(tail);
        return rc;
    }
    response->content_type = tail->format == FORMAT_JSON ? "application/x-ndjson"
                                                         : "text/plain; charset=utf-8";
    response->stream = &tail->stream;
    return 0;
}

/* ---- life ---- */

int live_tail_create(const struct live_tail_options *options, struct live_tail **ret_live_tail)
{
    struct live_tail *live_tail = calloc(1, sizeof(*live_tail));
    if (live_tail == NULL) {
        return -ENOMEM;
    }
    live_tail->options = *options;
    list_init(&live_tail->tails);
    int rc = metrics_add(options->metrics, &live_tail->active,
                         &(struct metric_desc){.type = METRIC_GAUGE,
                                               .name = "log_capturer_tails",
                                               .help = "Live tails that are open."});
    rc = rc != 0 ? rc
                 : metrics_add(options->metrics, &live_tail->refused,
                               &(struct metric_desc){
                                   .name = "log_capturer_tails_refused_total",
                                   .help = "Live tails refused because there were too many."});
    rc = rc != 0 ? rc
                 : metrics_add(options->metrics, &live_tail->missed,
                               &(struct metric_desc){
                                   .name = "log_capturer_tail_lines_missed_total",
                                   .help = "Lines that went before a live tail came to them; its "
                                           "client was told."});
    if (rc != 0) {
        live_tail_destroy(live_tail);
        return rc;
    }
    *ret_live_tail = live_tail;
    return 0;
}

void live_tail_destroy(struct live_tail *live_tail)
{
    struct list *link;
    struct list *next;
    if (live_tail == NULL) {
        return;
    }
    list_for_each_safe(link, next, &live_tail->tails)
    {
        struct tail *tail = container_of(link, struct tail, link);
        stop_thread(tail);
        tail_free(tail);
    }
    metric_finish(&live_tail->active);
    metric_finish(&live_tail->refused);
    metric_finish(&live_tail->missed);
    free(live_tail);
}
