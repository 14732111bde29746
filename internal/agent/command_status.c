/*
 * status: looks once, or again and again. On a terminal the page is redrawn in place by one write,
 * line over line, so that nothing flickers.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "agent/client.h"
#include "agent/flags.h"
#include "agent/status_view.h"
#include "agent/table.h"
#include "base/str.h"
#include "base/timestamp.h"

#define ANSWER_LIMIT_NS (5 * NS_PER_SECOND)
#define WATCH_INTERVAL_NS (2 * NS_PER_SECOND)

struct status {
    struct client_flags client;
    bool json;
    int64_t watch_ns; /* 0: once */
    struct client agent;
    struct status_view view;
    struct status_snapshot before;
    struct buf out;
    bool terminal;
    bool stopped; /* by a signal */
};

static int set_watch(void *target, const char *value)
{
    struct status *status = target;
    uint64_t seconds;
    status->watch_ns = WATCH_INTERVAL_NS;
    if (value == NULL) {
        return 0;
    }
    if (str_parse_u64(value, &seconds) == 0 && seconds <= 86400) {
        status->watch_ns = (int64_t)seconds * NS_PER_SECOND;
    } else if (str_parse_duration(value, &status->watch_ns) != 0) {
        return -EINVAL;
    }
    return status->watch_ns >= 100 * NS_PER_MS ? 0 : -EINVAL;
}

static int set_output(void *target, const char *value)
{
    struct status *status = target;
    status->json = strcmp(value, "json") == 0;
    return status->json || strcmp(value, "text") == 0 ? 0 : -EINVAL;
}

static const struct flag_row status_flags[] = {
    {.name = "watch",
     .value = "SECONDS",
     .optional = true,
     .help = "look again every 2 seconds, or as often as said, and show lines per second",
     .set = set_watch},
    {.name = "output",
     .letter = 'o',
     .value = "FORMAT",
     .choices = "text|json",
     .help = "text, or json: the object of /api/v1/status as it is (default: text)",
     .set = set_output},
    CLIENT_URL_FLAG,
    {.name = NULL}};

static int run_status(const struct command_line *line);

const struct command status_command = {
    .name = "status",
    .summary = "show what the running agent does",
    .description = "Shows daemons, streams, connections, spool, sinks and containers of the agent "
                   "that a `run` with the same configuration, environment and flags would be.",
    .flags = status_flags,
    .settings = true,
    .exit_status = "0 the agent is ready, 1 it is not or does not answer, 2 usage",
    .run = run_status,
};

/* ---- looking ---- */

static int get(struct status *status, const char *path, struct client_answer *answer,
               struct error *error)
{
    int rc = client_get(&status->agent, path, ANSWER_LIMIT_NS, answer, error);
    if (rc == 0 && answer->status != 200) {
        error_set(error, "%s%s answers %d: no agent of this version listens there",
                  status->agent.url, path, answer->status);
        free(answer->body);
        rc = -EPROTO;
    }
    return rc;
}

static int get_json(struct status *status, const char *path, struct json **ret_json,
                    struct error *error)
{
    struct client_answer answer;
    int rc = get(status, path, &answer, error);
    if (rc != 0) {
        return rc;
    }
    rc = json_parse(answer.body, answer.body_bytes, ret_json, error);
    if (rc != 0) {
        error_prefix(error, "%s%s is no JSON, so no agent listens there", status->agent.url, path);
    }
    free(answer.body);
    return rc;
}

static int look(struct status *status, struct status_snapshot *snapshot, struct error *error)
{
    int rc = get_json(status, "/api/v1/status", &snapshot->status, error);
    snapshot->at_ns = loop_now_ns(status->agent.loop);
    return rc != 0 ? rc : get_json(status, "/api/v1/containers", &snapshot->containers, error);
}

/* ---- showing ---- */

/* Bytes of `line` that fill `columns`; escape sequences take none. */
static size_t fitting(const char *line, size_t size, size_t columns)
{
    size_t i = 0;
    for (size_t used = 0; i < size; i++) {
        if (line[i] == '\033') {
            while (i < size && line[i] != 'm') {
                i++;
            }
        } else if (((unsigned char)line[i] & 0xc0U) != 0x80U && ++used > columns) {
            break;
        }
    }
    return i;
}

/* What is in status->out as one screen. */
static int draw(struct status *status)
{
    struct winsize window = {0};
    struct buf screen;
    buf_init(&screen, 0);
    bool sized = ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0;
    size_t rows = sized && window.ws_row > 0 ? window.ws_row : 24;
    size_t columns = sized && window.ws_col > 0 ? window.ws_col : 80;
    const char *at = status->out.data;
    const char *end = at + status->out.size;
    int rc = buf_append_str(&screen, "\033[H");
    for (size_t row = 0; rc == 0 && row < rows && at < end; row++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t size = (size_t)((newline != NULL ? newline : end) - at);
        rc = buf_append_str(&screen, row > 0 ? "\r\n" : "");
        rc = rc != 0 ? rc : buf_append(&screen, at, fitting(at, size, columns));
        rc = rc != 0 ? rc : buf_append_str(&screen, "\033[0m\033[K");
        at += size + 1;
    }
    rc = rc != 0 ? rc : buf_append_str(&screen, "\033[J");
    rc = rc != 0 ? rc : command_write(&screen);
    buf_finish(&screen);
    return rc;
}

static int64_t wall_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

/* Exit status of this look; *ret_rc: trouble with the output. */
static int show_text(struct status *status, int *ret_rc)
{
    struct status_snapshot now = {0};
    struct error error;
    int exit_status = 1;
    status->view.now_ns = wall_ns();
    if (look(status, &now, &error) == 0) {
        exit_status = json_get_bool(now.status, "ready") ? 0 : 1;
        status->view.before = status->before.status != NULL ? &status->before : NULL;
        *ret_rc = status_view_put(&status->view, &now, &status->out);
        status_snapshot_finish(&status->before);
        status->before = now;
    } else {
        status_snapshot_finish(&now);
        if (status->watch_ns == 0) {
            (void)fprintf(stderr, "log_capturer status: %s\n", error.text);
            return 1;
        }
        *ret_rc = tone_put(&status->out, status->view.colour, TONE_BAD, error.text);
        *ret_rc = *ret_rc != 0 ? *ret_rc : buf_append(&status->out, "\n", 1);
    }
    if (*ret_rc == 0 && status->watch_ns > 0 && !status->terminal) {
        *ret_rc = buf_append(&status->out, "\n", 1);
    }
    if (*ret_rc == 0) {
        *ret_rc = status->terminal && status->watch_ns > 0 ? draw(status)
                                                           : command_write(&status->out);
    }
    buf_clear(&status->out);
    return exit_status;
}

static int show_json(struct status *status, int *ret_rc)
{
    struct client_answer answer;
    struct error error;
    struct json *root = NULL;
    if (get(status, "/api/v1/status", &answer, &error) != 0) {
        (void)fprintf(stderr, "log_capturer status: %s\n", error.text);
        return 1;
    }
    bool ready = json_parse(answer.body, answer.body_bytes, &root, NULL) == 0 &&
                 json_get_bool(root, "ready");
    json_destroy(root);
    *ret_rc = buf_append(&status->out, answer.body, answer.body_bytes);
    *ret_rc = *ret_rc != 0 ? *ret_rc : command_write(&status->out);
    buf_clear(&status->out);
    free(answer.body);
    return ready ? 0 : 1;
}

static void handle_signal(int number, void *data)
{
    (void)number;
    ((struct status *)data)->stopped = true;
}

static int wait_interval(struct status *status)
{
    int64_t until_ns = loop_now_ns(status->agent.loop) + status->watch_ns;
    int rc = 0;
    for (int64_t left = status->watch_ns; rc == 0 && !status->stopped && left > 0;
         left = until_ns - loop_now_ns(status->agent.loop)) {
        rc = loop_iterate(status->agent.loop, left);
    }
    return rc;
}

/* Exit status of the last look. */
static int watch(struct status *status)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, 0};
    bool full_screen = status->terminal && !status->json;
    int rc = loop_signals_add(status->agent.loop, signals, handle_signal, status);
    int exit_status = 1;
    if (full_screen) { /* the other screen, without a cursor */
        (void)printf("\033[?1049h\033[?25l");
        (void)fflush(stdout);
    }
    while (rc == 0 && !status->stopped) {
        exit_status = status->json ? show_json(status, &rc) : show_text(status, &rc);
        rc = rc != 0 ? rc : wait_interval(status);
    }
    if (full_screen) {
        (void)printf("\033[?25h\033[?1049l");
        (void)fflush(stdout);
    }
    return rc == 0 || rc == -EPIPE ? exit_status : 1;
}

static int show(struct status *status, const char *url)
{
    struct error error;
    int rc = client_init(&status->agent, url, &error);
    if (rc != 0) {
        (void)fprintf(stderr, "log_capturer status: %s\n", error.text);
        return 1;
    }
    if (status->watch_ns > 0) {
        return watch(status);
    }
    int exit_status = status->json ? show_json(status, &rc) : show_text(status, &rc);
    return rc == 0 || rc == -EPIPE ? exit_status : 1;
}

static int run_status(const struct command_line *line)
{
    struct status status = {.terminal = isatty(STDOUT_FILENO) == 1};
    char url[CLIENT_URL_SIZE];
    int exit_status;
    if (!client_parse(&status_command, line, &status.client, url, &exit_status)) {
        return exit_status;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    status.view = (struct status_view){.url = url, .colour = tone_wanted(STDOUT_FILENO)};
    buf_init(&status.out, 0);
    exit_status = show(&status, url);
    status_snapshot_finish(&status.before);
    buf_finish(&status.out);
    client_finish(&status.agent);
    return exit_status;
}
