/* search: a query from flags, matches to standard output. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/commands.h"
#include "base/str.h"
#include "base/timestamp.h"
#include "process/format.h"
#include "spool/spool_search.h"

#define LABEL_LIMIT 16
#define OUT_BYTES 65536

struct search {
    const char *dir;
    struct spool_query query;
    const char *labels[LABEL_LIMIT];
    enum format_kind format;
    struct format_text_style style;
    struct buf out;
};

static void put_help(void)
{
    (void)printf(
        "usage: log_capturer search [FLAGS] [TEXT]\n\n"
        "Prints captured lines that match all that is given, in the order of capture. The agent\n"
        "may run or not.\n\n"
        "  --data-dir DIR        folder of the spool (default: /var/lib/log_capturer)\n"
        "  -o FORMAT             text, json or logfmt (default: text)\n"
        "  --container NAME      name (globs allowed), or the first 12 digits or more of an id\n"
        "  --label K=V           container label; V may be a glob; K alone: has the label\n"
        "  --stream stdout|stderr\n"
        "  --since T, --until T  RFC 3339 (2026-11-21T04:41:00Z) or how long ago (90s, 2h, 7d)\n"
        "  --regex R             POSIX extended regular expression, anywhere in the line\n"
        "  TEXT                  these bytes anywhere in the line\n\n"
        "json: one object a line: time, daemon, container {id, name, image}, stream, line. Bytes of "
        "a line\nthat are not UTF-8 become U+FFFD in \"line\"; such an object also has "
        "\"line_base64\" with the exact\nbytes. \"truncated\": true marks a line cut at "
        "capture.max_line.\n\n"
        "Exit status: 0 something matched, 1 nothing did, 2 trouble.\n");
}

/* An RFC 3339 time, or a duration before now. */
static int parse_time(const char *text, int64_t *ret_ns)
{
    int64_t duration;
    size_t size = strlen(text);
    if (timestamp_parse(text, size, ret_ns) == (int)size) {
        return 0;
    }
    if (str_parse_duration(text, &duration) != 0) {
        return -EINVAL;
    }
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    *ret_ns = (int64_t)now.tv_sec * NS_PER_SECOND + now.tv_nsec - duration;
    return 0;
}

static int take_flag(struct search *search, const char *name, const char *value)
{
    struct spool_query *query = &search->query;
    int rc = 0;
    if (strcmp(name, "--data-dir") == 0) {
        search->dir = value;
    } else if (strcmp(name, "-o") == 0 || strcmp(name, "--output") == 0) {
        rc = format_kind_parse(value, &search->format);
    } else if (strcmp(name, "--container") == 0) {
        query->container = value;
    } else if (strcmp(name, "--label") == 0) {
        rc = query->label_count == LABEL_LIMIT ? -E2BIG : 0;
        if (rc == 0) {
            search->labels[query->label_count++] = value;
        }
    } else if (strcmp(name, "--stream") == 0) {
        query->stream = value;
    } else if (strcmp(name, "--since") == 0) {
        rc = parse_time(value, &query->since_ns);
    } else if (strcmp(name, "--until") == 0) {
        rc = parse_time(value, &query->until_ns);
    } else if (strcmp(name, "--regex") == 0) {
        query->regex = value;
    } else {
        return commands_usage_error("search", "unknown flag '%s'", name);
    }
    return rc == 0 ? 0 : commands_usage_error("search", "%s can't be '%s'", name, value);
}

static int parse(struct search *search, const struct command_line *line)
{
    for (int i = 1; i < line->argc; i++) {
        char *argument = line->argv[i];
        char *equals = str_starts_with(argument, "--") ? strchr(argument, '=') : NULL;
        if (argument[0] != '-' || argument[1] == '\0') {
            if (search->query.text != NULL) {
                return commands_usage_error("search", "one TEXT only; quote it if it has spaces");
            }
            search->query.text = argument;
            continue;
        }
        if (equals == NULL && i + 1 >= line->argc) {
            return commands_usage_error("search", "%s needs a value", argument);
        }
        const char *value = equals != NULL ? equals + 1 : line->argv[++i];
        if (equals != NULL) {
            *equals = '\0';
        }
        int rc = take_flag(search, argument, value);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

struct progress {
    struct search *search;
    bool found;
};

static int handle_match(const struct spool_item *item, void *data)
{
    struct progress *progress = data;
    struct search *search = progress->search;
    progress->found = true;
    int rc = format_record(&search->out, search->format, item->origin, &item->record,
                           &search->style);
    return rc == 0 && search->out.size >= OUT_BYTES ? command_write(&search->out) : rc;
}

int command_search(const struct command_line *line)
{
    for (int i = 1; i < line->argc; i++) {
        if (strcmp(line->argv[i], "--help") == 0 || strcmp(line->argv[i], "-h") == 0) {
            put_help();
            return 0;
        }
    }
    struct search search = {.dir = "/var/lib/log_capturer",
                            .query = {.since_ns = INT64_MIN, .until_ns = INT64_MAX},
                            .format = FORMAT_TEXT};
    struct progress progress = {.search = &search};
    struct error error = {""};
    search.query.labels = search.labels;
    search.style = (struct format_text_style){isatty(STDOUT_FILENO) == 1, 16};
    buf_init(&search.out, 0);
    int status = parse(&search, line);
    if (status == 0) {
        int rc = spool_search(search.dir, &search.query, handle_match, &progress, &error);
        rc = rc != 0 ? rc : command_write(&search.out);
        if (rc != 0 && rc != -EPIPE) {
            (void)fprintf(stderr, "log_capturer search: %s\n",
                          error.text[0] != '\0' ? error.text : strerror(-rc));
        }
        status = rc != 0 && rc != -EPIPE ? 2 : progress.found ? 0 : 1;
    }
    buf_finish(&search.out);
    return status;
}
