/*
 * tail: an open answer of /api/v1/tail, passed on. Marks in it say how far we are, so that after the
 * agent was restarted the tail goes on behind the last line it showed. Writing to standard output
 * blocks: a slow reader of ours slows the answer and nothing else.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "agent/client.h"
#include "agent/flags.h"
#include "agent/query_flags.h"
#include "base/json.h"
#include "base/str.h"
#include "base/timestamp.h"

#define RETRY_NS (500 * NS_PER_MS)
#define MARK '\036'

struct tail {
    struct client_flags client;
    struct query_flags wanted;
    uint64_t lines;
    struct client agent;
    struct http_stream *stream;
    struct buf in;   /* the beginning of a line that has not come whole */
    struct buf out;  /* whole lines to be written */
    struct buf body; /* of an answer other than 200 */
    uint64_t next;   /* number of the record to go on with */
    bool has_next;
    bool was_connected, told_away;
    bool open;    /* 200 came */
    bool ended;   /* no answer is under way */
    bool stopped; /* by a signal, or because nobody reads us */
    int status;   /* exit status */
};

static int set_lines(void *target, const char *value)
{
    struct tail *tail = target;
    return str_parse_u64(value, &tail->lines) != 0 || tail->lines > 10000 ? -EINVAL : 0;
}

static int set_text(void *target, const char *text)
{
    return query_set_text(&((struct tail *)target)->wanted, text);
}

static const struct flag_row tail_flags[] = {
    {.name = "lines",
     .letter = 'n',
     .value = "N",
     .help = "begin with the last N matching lines, at most 10000 (default: 10)",
     .set = set_lines},
    QUERY_FLAG_ROWS(offsetof(struct tail, wanted)),
    CLIENT_URL_FLAG,
    {.name = NULL}};

static int run_tail(const struct command_line *line);

const struct command tail_command = {
    .name = "tail",
    .summary = "follow captured lines from the running agent",
    .description = "Prints lines that match all that is given as the running agent captures them. "
                   "When the agent is restarted, it waits for it and goes on behind the last line. "
                   "What it says of itself goes to standard error.",
    .operand = "TEXT",
    .operand_help = "these bytes anywhere in the line",
    .flags = tail_flags,
    .settings = true,
    .after = QUERY_FORMATS_HELP,
    .exit_status = "0 ended by a signal or by the reader, 1 no agent, 2 usage",
    .set_operand = set_text,
    .run = run_tail,
};

static void say(const char *text, const char *url)
{
    (void)fprintf(stderr, "log_capturer tail: %s%s\n", text, url);
}

static void stop(struct tail *tail, int status)
{
    tail->status = status;
    tail->stopped = true;
    http_stream_close(tail->stream);
}

/* ---- the request ---- */

static int put_argument(struct buf *path, const char *key, const char *value)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    int rc = value == NULL ? 0 : buf_printf(path, "&%s=", key);
    for (const char *p = value; rc == 0 && p != NULL && *p != '\0'; p++) {
        rc = strchr(plain, *p) != NULL ? buf_append(path, p, 1)
                                       : buf_printf(path, "%%%02X", (unsigned)(unsigned char)*p);
    }
    return rc;
}

static int put_path(const struct tail *tail, struct buf *path)
{
    static const char *const formats[] = {
        [FORMAT_TEXT] = "text", [FORMAT_JSON] = "json", [FORMAT_LOGFMT] = "logfmt"};
    const struct spool_query *query = &tail->wanted.query;
    int rc = buf_printf(path, "/api/v1/tail?marks=true&format=%s%s%s", formats[tail->wanted.format],
                        tail->wanted.style.colour ? "&colour=true" : "",
                        tail->wanted.style.escape ? "&escape=true" : "");
    rc = rc != 0          ? rc
         : tail->has_next ? buf_printf(path, "&from=%" PRIu64, tail->next)
                          : buf_printf(path, "&lines=%" PRIu64, tail->lines);
    rc = rc != 0 ? rc : put_argument(path, "container", query->container);
    rc = rc != 0 ? rc : put_argument(path, "stream", query->stream);
    rc = rc != 0 ? rc : put_argument(path, "regex", query->regex);
    rc = rc != 0 ? rc : put_argument(path, "text", query->text);
    for (size_t i = 0; rc == 0 && i < query->label_count; i++) {
        rc = put_argument(path, "label", query->labels[i]);
    }
    return rc != 0 || buf_terminated(path) == NULL ? -ENOMEM : 0;
}

/* ---- the answer ---- */

/* A line of the agent's own, without its newline. */
static void take_mark(struct tail *tail, const char *line, size_t size)
{
    char text[64];
    uint64_t number;
    (void)snprintf(text, sizeof(text), "%.*s", (int)(size < 63 ? size : 63), line);
    if (str_starts_with(text, "next ") && str_parse_u64(text + 5, &number) == 0) {
        tail->next = number;
        tail->has_next = true;
    } else if (str_starts_with(text, "missed ")) {
        say(text, " lines, which the spool's limit removed before they were read here");
    }
}

static int take_line(struct tail *tail, const char *line, size_t size)
{
    if (line[0] != MARK) {
        return buf_append(&tail->out, line, size);
    }
    take_mark(tail, line + 1, size - 2);
    return 0;
}

/* Whole lines go on; the rest waits for its end. */
static int take_bytes(struct tail *tail, const char *bytes, size_t size)
{
    int rc = buf_append(&tail->in, bytes, size);
    size_t done = 0;
    while (rc == 0 && done < tail->in.size) {
        const char *line = tail->in.data + done;
        const char *newline = memchr(line, '\n', tail->in.size - done);
        if (newline == NULL) {
            break;
        }
        size_t line_size = (size_t)(newline - line) + 1;
        rc = take_line(tail, line, line_size);
        done += line_size;
    }
    buf_consume(&tail->in, done);
    return rc;
}

static void handle_head(struct http_stream *stream, int status, void *data)
{
    struct tail *tail = data;
    (void)stream;
    tail->open = status == 200;
    if (tail->open && tail->told_away) {
        say("the agent is back", "");
        tail->told_away = false;
    }
    tail->was_connected = tail->was_connected || tail->open;
}

static void handle_data(struct http_stream *stream, const char *bytes, size_t size, void *data)
{
    struct tail *tail = data;
    (void)stream;
    int rc = tail->open ? take_bytes(tail, bytes, size) : buf_append(&tail->body, bytes, size);
    rc = rc != 0 ? rc : command_write(&tail->out);
    if (rc == -EPIPE) {
        stop(tail, 0);
    } else if (rc != 0) {
        say("can't write: ", strerror(-rc));
        stop(tail, 1);
    }
}

/* An answer that is none of a tail: 400, 404, 503. */
static void handle_refusal(struct tail *tail, int status)
{
    struct json *root = NULL;
    const char *body = buf_terminated(&tail->body);
    bool is_json = body != NULL && json_parse(body, tail->body.size, &root, NULL) == 0;
    const char *text = is_json ? json_get_string(root, "error") : NULL;
    (void)fprintf(stderr, "log_capturer tail: %s answers %d: %s\n", tail->agent.url, status,
                  text != NULL ? text : "no agent of this version listens there");
    json_destroy(root);
    tail->status = status == 400 ? 2 : 1;
    tail->stopped = true;
}

static void handle_end(const struct http_result *result, void *data)
{
    struct tail *tail = data;
    struct error error;
    tail->ended = true;
    tail->stream = NULL;
    if (tail->stopped) {
        return;
    }
    if (result->end == HTTP_COMPLETE && result->status != 200) {
        handle_refusal(tail, result->status);
    } else if (!tail->was_connected) {
        (void)client_explain(&tail->agent, result, &error);
        say(error.text, "");
        tail->status = 1;
        tail->stopped = true;
    } else if (!tail->told_away) {
        say("the agent went away; waiting for it at ", tail->agent.url);
        tail->told_away = true;
    }
}

/* ---- life ---- */

static int ask(struct tail *tail)
{
    struct buf path;
    buf_init(&path, 0);
    int rc = put_path(tail, &path);
    tail->ended = tail->open = false;
    buf_clear(&tail->in);
    buf_clear(&tail->body);
    rc = rc != 0 ? rc
                 : http_stream_open(tail->agent.http,
                                    &(struct http_stream_options){.target = tail->agent.target,
                                                                  .kind = HTTP_EVENTS,
                                                                  .path = path.data,
                                                                  .on_head = handle_head,
                                                                  .on_data = handle_data,
                                                                  .on_end = handle_end,
                                                                  .data = tail},
                                    &tail->stream);
    buf_finish(&path);
    while (rc == 0 && !tail->ended) {
        rc = loop_iterate(tail->agent.loop, -1);
    }
    return rc;
}

static int pause_before_retry(struct tail *tail)
{
    int64_t until_ns = loop_now_ns(tail->agent.loop) + RETRY_NS;
    int rc = 0;
    for (int64_t left = RETRY_NS; rc == 0 && !tail->stopped && left > 0;
         left = until_ns - loop_now_ns(tail->agent.loop)) {
        rc = loop_iterate(tail->agent.loop, left);
    }
    return rc;
}

static void handle_signal(int number, void *data)
{
    (void)number;
    stop(data, 0);
}

static int run(struct tail *tail, const char *url)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, 0};
    struct error error;
    int rc = client_init(&tail->agent, url, &error);
    if (rc != 0) {
        say(error.text, "");
        return 1;
    }
    rc = loop_signals_add(tail->agent.loop, signals, handle_signal, tail);
    while (rc == 0 && !tail->stopped) {
        rc = ask(tail);
        if (rc == 0 && !tail->stopped) {
            rc = pause_before_retry(tail);
        }
    }
    if (rc != 0) {
        say(strerror(-rc), "");
    }
    return rc != 0 ? 1 : tail->status;
}

static int run_tail(const struct command_line *line)
{
    struct tail tail = {.lines = 10};
    struct error error;
    struct spool_matcher *matcher = NULL;
    char url[CLIENT_URL_SIZE];
    int status;
    query_flags_init(&tail.wanted);
    buf_init(&tail.in, 0);
    buf_init(&tail.out, 0);
    buf_init(&tail.body, 0);
    if (!client_parse(&tail_command, line, &tail.client, url, &status)) {
        return status;
    }
    if (spool_matcher_create(&tail.wanted.query, &matcher, &error) != 0) {
        return commands_usage_error("tail", "%s", error.text);
    }
    spool_matcher_destroy(matcher);
    (void)signal(SIGPIPE, SIG_IGN);
    status = run(&tail, url);
    client_finish(&tail.agent);
    buf_finish(&tail.in);
    buf_finish(&tail.out);
    buf_finish(&tail.body);
    return status;
}
