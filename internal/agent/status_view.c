/* One function per paragraph of the page. */
#include "agent/status_view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/table.h"
#include "base/timestamp.h"

struct page {
    const struct status_view *view;
    const struct status_snapshot *now;
    struct buf *out;
    int rc; /* the first failure stays */
};

void status_snapshot_finish(struct status_snapshot *snapshot)
{
    json_destroy(snapshot->status);
    json_destroy(snapshot->containers);
    *snapshot = (struct status_snapshot){0};
}

static void put_tone(struct page *page, enum tone tone, const char *text)
{
    if (page->rc == 0) {
        page->rc = tone_put(page->out, page->view->colour, tone, text);
    }
}

static void put_text(struct page *page, const char *text)
{
    if (page->rc == 0) {
        page->rc = buf_append_str(page->out, text);
    }
}

static void put_heading(struct page *page, const char *text)
{
    put_tone(page, TONE_STRONG, text);
}

static void put_table(struct page *page, struct table *table)
{
    if (page->rc == 0) {
        page->rc = table_write(table, page->view->colour, page->out);
    }
    table_finish(table);
}

static void put_titles(struct table *table, const char *const *titles)
{
    table_add_row(table);
    for (size_t i = 0; i < table->columns; i++) {
        table_put(table, i, TONE_FAINT, titles[i]);
    }
}

static const char *or_none(const char *text)
{
    return text == NULL || text[0] == '\0' ? "-" : text;
}

/* ---- numbers ---- */

/* Per second since the look before; a negative number when there is none. */
static double rate_of(const struct page *page, int64_t now, int64_t before)
{
    const struct status_snapshot *earlier = page->view->before;
    if (earlier == NULL || page->now->at_ns <= earlier->at_ns || now < before) {
        return -1;
    }
    return (double)(now - before) * 1e9 / (double)(page->now->at_ns - earlier->at_ns);
}

static const char *rate_text(double rate, char ret_text[TABLE_TEXT_SIZE])
{
    if (rate < 0) {
        return "-";
    }
    if (rate >= 10 || rate == 0) {
        return human_count((int64_t)(rate + 0.5), ret_text);
    }
    (void)snprintf(ret_text, TABLE_TEXT_SIZE, "%.1f", rate);
    return ret_text;
}

/* The member of an array with this name. */
static const struct json *find_named(const struct json *array, const char *name)
{
    for (const struct json *at = json_first(array); at != NULL; at = json_next(at)) {
        const char *other = json_get_string(at, "name");
        if (name != NULL && other != NULL && strcmp(other, name) == 0) {
            return at;
        }
    }
    return NULL;
}

static double rate_of_member(const struct page *page, const struct json *now,
                             const struct json *before, const char *key)
{
    return before == NULL ? -1 : rate_of(page, json_get_int(now, key), json_get_int(before, key));
}

/* ---- paragraphs ---- */

static void put_head(struct page *page)
{
    char text[512];
    char up[TABLE_TEXT_SIZE];
    const struct json *status = page->now->status;
    int64_t up_s = json_get_int(json_get(status, "process"), "uptime_seconds");
    bool ready = json_get_bool(status, "ready");
    (void)snprintf(text, sizeof(text),
                   "log_capturer %s at %s: ", or_none(json_get_string(status, "version")),
                   page->view->url);
    put_heading(page, text);
    put_tone(page, ready ? TONE_GOOD : TONE_BAD, ready ? "ready" : "not ready");
    put_text(page, ", up ");
    put_text(page, human_duration(up_s * NS_PER_SECOND, up));
    put_text(page, "\n");
    for (const struct json *reason = json_first(json_get(status, "waiting_for")); reason != NULL;
         reason = json_next(reason)) {
        put_text(page, "  ");
        put_tone(page, TONE_BAD, or_none(json_string(reason)));
        put_text(page, "\n");
    }
}

static void put_daemons(struct page *page)
{
    static const char *const titles[] = {"DAEMON", "STATE", "API", "SERVER", "CONTAINERS", "URL"};
    struct table table;
    char text[TABLE_TEXT_SIZE];
    table_init(&table, 6, "llllrl");
    put_titles(&table, titles);
    for (const struct json *daemon = json_first(json_get(page->now->status, "daemons"));
         daemon != NULL; daemon = json_next(daemon)) {
        bool connected = json_get_bool(daemon, "connected");
        table_add_row(&table);
        table_put(&table, 0, TONE_PLAIN, or_none(json_get_string(daemon, "name")));
        table_put(&table, 1, connected ? TONE_GOOD : TONE_BAD, connected ? "connected" : "away");
        table_put(&table, 2, TONE_PLAIN, or_none(json_get_string(daemon, "api_version")));
        table_put(&table, 3, TONE_PLAIN, or_none(json_get_string(daemon, "server")));
        table_put(&table, 4, TONE_PLAIN, human_count(json_get_int(daemon, "containers"), text));
        table_put(&table, 5, TONE_PLAIN, or_none(json_get_string(daemon, "url")));
    }
    put_text(page, "\n");
    put_table(page, &table);
}

/* "12 following, 1 unreadable" */
static void count_states(const struct page *page, struct buf *text)
{
    static const char *const states[] = {"following", "catching_up", "waiting",    "inspecting",
                                         "retrying",  "suspended",   "unreadable", "ignored"};
    const char *comma = "";
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        size_t count = 0;
        for (const struct json *at = json_first(json_get(page->now->containers, "containers"));
             at != NULL; at = json_next(at)) {
            const char *state = json_get_string(at, "state");
            count += state != NULL && strcmp(state, states[i]) == 0;
        }
        if (count > 0 && buf_printf(text, "%s%zu %s", comma, count, states[i]) == 0) {
            comma = ", ";
        }
    }
}

static void put_streams(struct page *page, struct table *table)
{
    char storage[256];
    char all[320];
    struct buf text;
    buf_init_fixed(&text, storage, sizeof(storage));
    count_states(page, &text);
    const char *states = buf_terminated(&text);
    (void)snprintf(all, sizeof(all), "%lld open%s%s",
                   (long long)json_get_int(page->now->status, "streams_active"),
                   text.size > 0 ? "; containers: " : "", states != NULL ? states : "");
    table_add_row(table);
    table_put(table, 0, TONE_STRONG, "streams");
    table_put(table, 1, TONE_PLAIN, all);
}

static void put_pool(struct page *page, struct table *table)
{
    const struct json *pool = json_get(page->now->status, "pool");
    char text[256];
    char requests[TABLE_TEXT_SIZE];
    double calls = (double)json_get_int(pool, "calls");
    int64_t errors = json_get_int(pool, "errors");
    int64_t waiting = json_get_int(pool, "waiting");
    (void)snprintf(text, sizeof(text),
                   "%lld open, %lld active, %lld idle; %s requests, %lld errors; %.1f %% of calls "
                   "reused a connection; %lld waiting",
                   (long long)json_get_int(pool, "open"), (long long)json_get_int(pool, "active"),
                   (long long)json_get_int(pool, "idle"),
                   human_count(json_get_int(pool, "requests"), requests), (long long)errors,
                   calls > 0 ? (double)json_get_int(pool, "calls_reused") * 100 / calls : 0,
                   (long long)waiting);
    table_add_row(table);
    table_put(table, 0, TONE_STRONG, "pool");
    table_put(table, 1, waiting > 0 ? TONE_WARN : TONE_PLAIN, text);
}

static void put_spool(struct page *page, struct table *table)
{
    const struct json *spool = json_get(page->now->status, "spool");
    const struct status_snapshot *before = page->view->before;
    const struct json *earlier = before != NULL ? json_get(before->status, "spool") : NULL;
    const char *state = json_get_string(spool, "state");
    long long segments = json_get_int(spool, "segments");
    double rate = rate_of_member(page, spool, earlier, "records");
    char text[320];
    char speed[TABLE_TEXT_SIZE + 16] = "";
    char numbers[5][TABLE_TEXT_SIZE];
    if (rate >= 0) {
        (void)snprintf(speed, sizeof(speed), ", %s lines/s", rate_text(rate, numbers[3]));
    }
    (void)snprintf(
        text, sizeof(text),
        "%s; %s of %s in %lld segment%s; %s lines%s; %s pending; %lld frames damaged",
        or_none(state), human_bytes(json_get_int(spool, "bytes"), numbers[0]),
        human_bytes(json_get_int(spool, "limit_bytes"), numbers[1]), segments,
        segments == 1 ? "" : "s",
        human_count(json_get_int(spool, "records") - json_get_int(spool, "oldest_record"),
                    numbers[2]),
        speed, human_bytes(json_get_int(spool, "pending_bytes"), numbers[4]),
        (long long)json_get_int(spool, "frames_damaged"));
    table_add_row(table);
    table_put(table, 0, TONE_STRONG, "spool");
    table_put(table, 1, state != NULL && strcmp(state, "writing") == 0 ? TONE_PLAIN : TONE_BAD,
              text);
}

static void put_process(struct page *page, struct table *table)
{
    const struct json *process = json_get(page->now->status, "process");
    char text[160];
    char numbers[3][TABLE_TEXT_SIZE];
    (void)snprintf(text, sizeof(text), "%lld of %s files open, %lld threads, %s resident, %s CPU",
                   (long long)json_get_int(process, "open_fds"),
                   human_count(json_get_int(process, "max_fds"), numbers[0]),
                   (long long)json_get_int(process, "threads"),
                   human_bytes(json_get_int(process, "resident_bytes"), numbers[1]),
                   human_duration(json_get_int(process, "cpu_ms") * NS_PER_MS, numbers[2]));
    table_add_row(table);
    table_put(table, 0, TONE_STRONG, "process");
    table_put(table, 1, TONE_PLAIN, text);
}

static void put_totals(struct page *page)
{
    struct table table;
    table_init(&table, 2, "ll");
    put_streams(page, &table);
    put_pool(page, &table);
    put_spool(page, &table);
    put_process(page, &table);
    put_text(page, "\n");
    put_table(page, &table);
}

static enum tone tone_of_sink(const char *state)
{
    bool bad = strcmp(state, "denied") == 0 || strcmp(state, "stopped") == 0;
    return strcmp(state, "running") == 0 ? TONE_GOOD : bad ? TONE_BAD : TONE_WARN;
}

static void put_problems(struct page *page)
{
    for (const struct json *sink = json_first(json_get(page->now->status, "sinks")); sink != NULL;
         sink = json_next(sink)) {
        const char *problem = json_get_string(sink, "problem");
        if (problem != NULL) {
            put_text(page, "  ");
            put_text(page, or_none(json_get_string(sink, "name")));
            put_text(page, ": ");
            put_tone(page, TONE_WARN, problem);
            put_text(page, "\n");
        }
    }
}

static void put_sinks(struct page *page)
{
    static const char *const titles[] = {"SINK",    "TYPE",      "STATE",
                                         "LAG",     "LAG BYTES", "DELIVERED",
                                         "LINES/S", "RETRIES",   "DEAD LETTERS"};
    const struct status_snapshot *earlier = page->view->before;
    const struct json *before = earlier != NULL ? json_get(earlier->status, "sinks") : NULL;
    struct table table;
    char text[TABLE_TEXT_SIZE];
    table_init(&table, 9, "lllrrrrrr");
    put_titles(&table, titles);
    for (const struct json *sink = json_first(json_get(page->now->status, "sinks")); sink != NULL;
         sink = json_next(sink)) {
        const struct json *same = find_named(before, json_get_string(sink, "name"));
        const char *state = or_none(json_get_string(sink, "state"));
        int64_t dead = json_get_int(sink, "dead_letters");
        table_add_row(&table);
        table_put(&table, 0, TONE_PLAIN, or_none(json_get_string(sink, "name")));
        table_put(&table, 1, TONE_PLAIN, or_none(json_get_string(sink, "type")));
        table_put(&table, 2, tone_of_sink(state), state);
        table_put(&table, 3, TONE_PLAIN, human_count(json_get_int(sink, "lag_lines"), text));
        table_put(&table, 4, TONE_PLAIN, human_bytes(json_get_int(sink, "lag_bytes"), text));
        table_put(&table, 5, TONE_PLAIN, human_count(json_get_int(sink, "delivered_lines"), text));
        table_put(&table, 6, TONE_PLAIN,
                  rate_text(rate_of_member(page, sink, same, "delivered_lines"), text));
        table_put(&table, 7, TONE_PLAIN, human_count(json_get_int(sink, "retries"), text));
        table_put(&table, 8, dead > 0 ? TONE_WARN : TONE_PLAIN, human_count(dead, text));
    }
    if (table.row_count > 1) {
        put_text(page, "\n");
        put_table(page, &table);
        put_problems(page);
    }
    table_finish(&table);
}

static enum tone tone_of_container(const char *state)
{
    static const char *const faint[] = {"waiting", "ignored", "inspecting", "catching_up"};
    if (strcmp(state, "following") == 0) {
        return TONE_GOOD;
    }
    for (size_t i = 0; i < sizeof(faint) / sizeof(faint[0]); i++) {
        if (strcmp(state, faint[i]) == 0) {
            return TONE_FAINT;
        }
    }
    return TONE_WARN;
}

static void put_container(struct page *page, struct table *table, const struct json *container,
                          const struct json *before)
{
    char text[TABLE_TEXT_SIZE];
    const char *state = or_none(json_get_string(container, "state"));
    const char *last = json_get_string(container, "last_line_time");
    int64_t last_ns;
    int64_t gaps = json_get_int(container, "gaps");
    bool timed = last != NULL && timestamp_parse(last, strlen(last), &last_ns) > 0;
    int64_t age_ns = timed && last_ns < page->view->now_ns ? page->view->now_ns - last_ns : 0;
    table_add_row(table);
    table_put(table, 0, TONE_PLAIN, or_none(json_get_string(container, "name")));
    table_put(table, 1, tone_of_container(state), state);
    table_put(table, 2, TONE_PLAIN, human_count(json_get_int(container, "lines"), text));
    table_put(table, 3, TONE_PLAIN,
              rate_text(rate_of_member(page, container, before, "lines"), text));
    table_put(table, 4, gaps > 0 ? TONE_BAD : TONE_PLAIN, human_count(gaps, text));
    table_put(table, 5, TONE_PLAIN, timed ? human_duration(age_ns, text) : "-");
    table_put(table, 6, TONE_PLAIN, or_none(json_get_string(container, "log_driver")));
    table_put(table, 7, TONE_PLAIN, or_none(json_get_string(container, "image")));
}

static int compare_names(const void *a, const void *b)
{
    const struct json *one = *(const struct json *const *)a;
    const struct json *other = *(const struct json *const *)b;
    int order = strcmp(or_none(json_get_string(one, "name")),
                       or_none(json_get_string(other, "name")));
    return order != 0
               ? order
               : strcmp(or_none(json_get_string(one, "id")), or_none(json_get_string(other, "id")));
}

/* The members of an array, by name. Caller frees with free(). */
static const struct json **sorted_members(const struct json *array, size_t *ret_count)
{
    size_t count = 0;
    for (const struct json *at = json_first(array); at != NULL; at = json_next(at)) {
        count++;
    }
    const struct json **members = calloc(count + 1, sizeof(const struct json *));
    size_t i = 0;
    for (const struct json *at = json_first(array); members != NULL && at != NULL;
         at = json_next(at)) {
        members[i++] = at;
    }
    if (members != NULL) {
        qsort(members, count, sizeof(const struct json *), compare_names);
    }
    *ret_count = members != NULL ? count : 0;
    return members;
}

static void put_containers(struct page *page)
{
    static const char *const titles[] = {"CONTAINER", "STATE",     "LINES",  "LINES/S",
                                         "GAPS",      "LAST LINE", "DRIVER", "IMAGE"};
    const struct status_snapshot *earlier = page->view->before;
    size_t count;
    size_t before_count = 0;
    const struct json **now = sorted_members(json_get(page->now->containers, "containers"), &count);
    const struct json **before = earlier != NULL
                                     ? sorted_members(json_get(earlier->containers, "containers"),
                                                      &before_count)
                                     : NULL;
    struct table table;
    table_init(&table, 8, "llrrrrll");
    put_titles(&table, titles);
    size_t at = 0; /* both are in order */
    for (size_t i = 0; i < count; i++) {
        while (at < before_count && compare_names(&before[at], &now[i]) < 0) {
            at++;
        }
        bool same = at < before_count && compare_names(&before[at], &now[i]) == 0;
        put_container(page, &table, now[i], same ? before[at] : NULL);
    }
    if (count > 0) {
        put_text(page, "\n");
        put_table(page, &table);
    }
    table_finish(&table);
    free(now);
    free(before);
}

int status_view_put(const struct status_view *view, const struct status_snapshot *snapshot,
                    struct buf *out)
{
    struct page page = {.view = view, .now = snapshot, .out = out};
    put_head(&page);
    put_daemons(&page);
    put_totals(&page);
    put_sinks(&page);
    put_containers(&page);
    return page.rc;
}
