/* search: a query from flags, matches to standard output. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "agent/flags.h"
#include "agent/query_flags.h"
#include "base/str.h"
#include "base/timestamp.h"

#define OUT_BYTES 65536

struct search {
    struct query_flags wanted;
    const char *dir;
    struct buf out;
    bool found;
};

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

static int set_dir(void *target, const char *value)
{
    ((struct search *)target)->dir = value;
    return 0;
}

static int set_since(void *target, const char *value)
{
    return parse_time(value, &((struct search *)target)->wanted.query.since_ns);
}

static int set_until(void *target, const char *value)
{
    return parse_time(value, &((struct search *)target)->wanted.query.until_ns);
}

static int set_text(void *target, const char *text)
{
    return query_set_text(&((struct search *)target)->wanted, text);
}

static const struct flag_row search_flags[] = {
    {.name = "data-dir",
     .value = "DIR",
     .completes = FLAG_FOLDER,
     .help = "folder of the spool (default: /var/lib/log_capturer)",
     .set = set_dir},
    QUERY_FLAG_ROWS(offsetof(struct search, wanted)),
    {.name = "since",
     .value = "T",
     .help = "not before this time: RFC 3339 (2026-11-21T04:41:00Z) or how long ago (90s, 2h, 7d)",
     .set = set_since},
    {.name = "until", .value = "T", .help = "not after this time", .set = set_until},
    {.name = NULL}};

static int run_search(const struct command_line *line);

const struct command search_command = {
    .name = "search",
    .summary = "find captured lines, agent running or not",
    .description = "Prints captured lines that match all that is given, in the order of capture. "
                   "The agent may run or not.",
    .operand = "TEXT",
    .operand_help = "these bytes anywhere in the line",
    .flags = search_flags,
    .after = QUERY_FORMATS_HELP,
    .exit_status = "0 something matched, 1 nothing did, 2 trouble",
    .set_operand = set_text,
    .run = run_search,
};

static int handle_match(const struct spool_item *item, void *data)
{
    struct search *search = data;
    search->found = true;
    int rc = format_record(&search->out, search->wanted.format, item->origin, &item->record,
                           &search->wanted.style);
    return rc == 0 && search->out.size >= OUT_BYTES ? command_write(&search->out) : rc;
}

static int run_search(const struct command_line *line)
{
    struct search search = {.dir = "/var/lib/log_capturer"};
    struct error error = {""};
    int status;
    query_flags_init(&search.wanted);
    if (!command_parse(&search_command, line, NULL, &search, &status)) {
        return status;
    }
    buf_init(&search.out, 0);
    int rc = spool_search(search.dir, &search.wanted.query, handle_match, &search, &error);
    rc = rc != 0 ? rc : command_write(&search.out);
    if (rc != 0 && rc != -EPIPE) {
        (void)fprintf(stderr, "log_capturer search: %s\n",
                      error.text[0] != '\0' ? error.text : strerror(-rc));
    }
    buf_finish(&search.out);
    return rc != 0 && rc != -EPIPE ? 2 : search.found ? 0 : 1;
}
