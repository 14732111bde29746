/*
 * What is copied from the real thing: frames of which each is one chunk; `tail` counts records
 * of both streams before they are filtered; `since` is inclusive; a follow of a container that
 * does not run ends after the replay; the type of content depends on the version in the path.
 */
#include "fake_dockerd/logs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FRAME_HEAD 8

static bool follow_wants(const struct fake_follow *follow, char stream)
{
    return stream == 'e' ? follow->err : follow->out;
}

static const char *content_type(const struct fake_connection *connection, bool tty)
{
    if (connection->server->api_minor < 42) {
        return NULL;
    }
    return tty || connection->version < 42 ? "application/vnd.docker.raw-stream"
                                           : "application/vnd.docker.multiplexed-stream";
}

static void put_head(struct fake_follow *follow)
{
    if (!follow->has_head) {
        follow->has_head = true;
        fake_connection_begin(follow->connection,
                              content_type(follow->connection, follow->container->tty));
    }
}

static void put_frame_head(char *out, char type, size_t len)
{
    memset(out, 0, FRAME_HEAD);
    out[0] = type;
    for (int i = 0; i < 4; i++) {
        out[7 - i] = (char)(len >> (8 * i) & 0xff);
    }
}

static void put_record(struct fake_follow *follow, const struct fake_record *record)
{
    static const char hex[] = "0123456789abcdef";
    bool framed = !follow->container->tty;
    size_t len = record->len + (follow->timestamps ? FAKE_TIME_LEN + 1 : 0);
    size_t chunk_len = len + (framed ? FRAME_HEAD : 0);
    put_head(follow);
    struct fake_text *out = &follow->connection->out;
    char *p = fake_text_reserve(out, chunk_len + 32);
    char *start = p;
    for (int shift = 28; shift >= 0; shift -= 4) {
        if (chunk_len >> shift != 0) {
            *p++ = hex[chunk_len >> shift & 15];
        }
    }
    *p++ = '\r';
    *p++ = '\n';
    if (framed) {
        put_frame_head(p, record->stream == 'e' ? 2 : 1, len);
        p += FRAME_HEAD;
    }
    if (follow->timestamps) {
        fake_format_time(record->time_ns, p);
        p += FAKE_TIME_LEN;
        *p++ = ' ';
    }
    memcpy(p, record->data, record->len);
    p += record->len;
    *p++ = '\r';
    *p++ = '\n';
    out->len += (size_t)(p - start);
}

/* Where the stream stops for now. */
static uint64_t follow_stop(const struct fake_follow *follow)
{
    uint64_t end = fake_history_end(&follow->container->history);
    return follow->limit < end ? follow->limit : end;
}

/* Passes over what rotation has taken away and what is too old. */
static void follow_skip(struct fake_follow *follow, uint64_t stop)
{
    struct fake_history *history = &follow->container->history;
    uint64_t begin = fake_history_begin(history);
    follow->next = follow->next < begin ? begin : follow->next;
    if (!follow->filters_since) {
        return;
    }
    uint64_t found = fake_history_seek(history, follow->next, follow->since_ns);
    follow->next = found < stop ? found : stop;
    if (found < stop && !follow->filters_always) {
        follow->filters_since = false;
    }
}

void fake_logs_pump(struct fake_connection *connection)
{
    struct fake_follow *follow = connection->follow;
    struct fake_container *container = follow->container;
    uint64_t stop = follow_stop(follow);
    while (fake_connection_pending(connection) < FAKE_OUTPUT_LIMIT) {
        follow_skip(follow, stop);
        if (follow->next >= stop) {
            break;
        }
        struct fake_record record = fake_history_record(&container->history, follow->next++);
        if (follow_wants(follow, record.stream)) {
            put_record(follow, &record);
        }
    }
    if (follow->next >= stop && (!follow->live || !fake_container_runs(container))) {
        put_head(follow);
        fake_logs_forget(connection);
        fake_connection_end(connection);
    }
}

void fake_logs_forget(struct fake_connection *connection)
{
    struct fake_follow *follow = connection->follow;
    if (follow != NULL) {
        connection->server->open_follows--;
        LIST_REMOVE(follow, link);
        connection->follow = NULL;
        free(follow);
    }
}

/* ---- the request */

/* Plays the error that a test has asked for; false: none. */
static bool play_status(struct fake_connection *connection, struct fake_container *container)
{
    if (container->logs_status == 0) {
        return false;
    }
    int status = container->logs_status;
    if (container->logs_status_count > 0 && --container->logs_status_count == 0) {
        container->logs_status = 0;
    }
    struct fake_text body = {0};
    fake_text_put(&body, container->logs_body);
    fake_connection_answer(connection, status, "application/json", &body);
    fake_text_finish(&body);
    return true;
}

/* tail=N goes by records from the end, not by lines. */
static uint64_t first_record(const struct fake_history *history, const char *query)
{
    uint64_t begin = fake_history_begin(history);
    uint64_t end = fake_history_end(history);
    uint64_t tail = fake_query_number(query, "tail", UINT64_MAX); /* also for "all" */
    return tail < end - begin ? end - tail : begin;
}

static bool parse_since(struct fake_connection *connection, const char *query,
                        struct fake_follow *follow)
{
    char text[64];
    if (!fake_query_get(query, "since", text, sizeof text) || text[0] == '\0' ||
        strcmp(text, "0") == 0) {
        return true;
    }
    if (!fake_parse_time(text, &follow->since_ns)) {
        fake_connection_refuse(connection, 400, "invalid value for \"since\": %s", text);
        return false;
    }
    follow->filters_since = true;
    follow->filters_always = connection->server->api_minor < 43;
    return true;
}

void fake_logs_handle(struct fake_connection *connection, const struct fake_request *request,
                      struct fake_container *container)
{
    const char *query = request->query;
    struct fake_follow options = {
        .connection = connection,
        .container = container,
        .next = first_record(&container->history, query),
        .limit = UINT64_MAX,
        .live = fake_query_bool(query, "follow", false),
        .out = fake_query_bool(query, "stdout", false),
        .err = fake_query_bool(query, "stderr", false),
        .timestamps = fake_query_bool(query, "timestamps", false),
    };
    if (play_status(connection, container)) {
        return;
    }
    if (!options.out && !options.err) {
        fake_connection_refuse(connection, 400,
                               "Bad parameters: you must choose at least one stream");
        return;
    }
    if (strcmp(container->log_driver, "none") == 0) {
        fake_connection_refuse(connection, 501,
                               "configured logging driver does not support reading");
        return;
    }
    if (!parse_since(connection, query, &options)) {
        return;
    }
    if (!options.live || container->silent) {
        options.limit = fake_history_end(&container->history);
    }
    struct fake_follow *follow = fake_allocate(1, sizeof *follow);
    *follow = options;
    connection->follow = follow;
    connection->server->open_follows++;
    LIST_INSERT_HEAD(&container->follows, follow, link);
    if (!container->stall_headers) {
        put_head(follow);
    }
}

/* ---- all streams of a container. The next one is taken first: a flush may end a stream. */

void fake_logs_flush(struct fake_container *container)
{
    struct fake_follow *next;
    for (struct fake_follow *follow = LIST_FIRST(&container->follows); follow != NULL;
         follow = next) {
        next = LIST_NEXT(follow, link);
        fake_connection_flush(follow->connection);
    }
}

void fake_logs_stopped(struct fake_container *container, bool lose)
{
    struct fake_follow *follow;
    LIST_FOREACH(follow, &container->follows, link)
    {
        follow->live = false;
        follow->limit = lose ? follow->next : follow_stop(follow);
    }
    fake_logs_flush(container);
}

void fake_logs_set_silent(struct fake_container *container, bool silent)
{
    struct fake_follow *follow;
    container->silent = silent;
    LIST_FOREACH(follow, &container->follows, link)
    {
        if (follow->live) {
            follow->limit = silent ? follow_stop(follow) : UINT64_MAX;
        }
    }
    fake_logs_flush(container);
}

void fake_logs_raw(struct fake_container *container, const void *data, size_t len)
{
    struct fake_follow *next;
    for (struct fake_follow *follow = LIST_FIRST(&container->follows); follow != NULL;
         follow = next) {
        next = LIST_NEXT(follow, link);
        put_head(follow);
        fake_connection_chunk(follow->connection, data, len);
        fake_connection_flush(follow->connection);
    }
}

void fake_logs_error(struct fake_container *container, const char *text, bool end)
{
    struct fake_text frame = {0};
    if (!container->tty) {
        put_frame_head(fake_text_reserve(&frame, FRAME_HEAD), 3, strlen(text));
        frame.len = FRAME_HEAD;
    }
    fake_text_put(&frame, text);
    fake_logs_raw(container, frame.data, frame.len);
    fake_text_finish(&frame);
    if (end) {
        fake_logs_cut(container, FAKE_CUT_CLEAN);
    }
}

void fake_logs_cut(struct fake_container *container, enum fake_cut how)
{
    struct fake_follow *next;
    for (struct fake_follow *follow = LIST_FIRST(&container->follows); follow != NULL;
         follow = next) {
        next = LIST_NEXT(follow, link);
        put_head(follow);
        fake_connection_cut(follow->connection, how);
    }
}
