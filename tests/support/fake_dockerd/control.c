/*
 * The verbs. Each is a function on one container, or on the whole (container NULL); it reads its
 * parameters from the request and may refuse by a message. The table at the end tells which are
 * which.
 */
#include "fake_dockerd/control.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_dockerd/events.h"
#include "fake_dockerd/logs.h"

struct control {
    struct fake_server *server;
    const struct fake_request *request;
    const char *query;
    struct fake_text list; /* items for {"list":[...]} */
    const char *refusal;   /* a message; NULL: all is well */
};

typedef void (*verb_fn)(struct control *control, struct fake_container *container);

static const char *body_or_query(const struct control *control, const char *name, char *buf,
                                 size_t size)
{
    if (control->request->body_len > 0) {
        snprintf(buf, size, "%.*s", (int)control->request->body_len, control->request->body);
    } else if (!fake_query_get(control->query, name, buf, size)) {
        buf[0] = '\0';
    }
    return buf;
}

/* ---- lines */

static struct fake_span_options line_options(const struct control *control,
                                             const struct fake_container *container)
{
    const char *query = control->query;
    char stream[8] = "o";
    fake_query_get(query, "stream", stream, sizeof stream);
    return (struct fake_span_options){
        .group = fake_query_number(query, "same-timestamp", container->group),
        .stderr_every = fake_query_number(query, "stderr-every", container->stderr_every),
        .size = fake_query_number(query, "size", container->size),
        .no_newline = fake_query_bool(query, "no-newline", false),
        .text_stream = strcmp(stream, "e") == 0 || strcmp(stream, "stderr") == 0 ? 'e' : 'o',
    };
}

/* no-newline is for the last line only. */
static void emit_body(const struct control *control, struct fake_container *container)
{
    struct fake_span_options options = line_options(control, container);
    const char *line = control->request->body;
    const char *end = line + control->request->body_len;
    bool no_newline = options.no_newline;
    while (line < end) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        const char *stop = newline != NULL ? newline : end;
        options.text = line;
        options.size = (uint64_t)(stop - line);
        options.no_newline = no_newline && stop + 1 >= end;
        fake_container_emit(container, options, 1);
        line = stop + 1;
    }
}

static void verb_emit(struct control *control, struct fake_container *container)
{
    uint64_t lines = fake_query_number(control->query, "n", 1);
    struct fake_span_options options = line_options(control, container);
    if (control->request->body_len > 0) {
        emit_body(control, container);
    } else if (options.no_newline && lines > 1) {
        control->refusal = "no-newline is for one line: n=1";
    } else {
        fake_container_emit(container, options, lines);
    }
    fake_logs_flush(container);
}

static void verb_partial(struct control *control, struct fake_container *container)
{
    struct fake_span_options options = line_options(control, container);
    options.size = fake_query_number(control->query, "size", 40000);
    options.interleave = fake_query_bool(control->query, "interleave", false) && !container->tty;
    options.group = 0;
    options.stderr_every = 0;
    fake_container_emit(container, options, 1);
    fake_logs_flush(container);
}

static void verb_rate(struct control *control, struct fake_container *container)
{
    fake_container_set_rate(container, fake_query_number(control->query, "rate", 0));
}

static void verb_truncate(struct control *control, struct fake_container *container)
{
    (void)control;
    fake_history_rotate(&container->history, 0);
}

static void verb_rotate(struct control *control, struct fake_container *container)
{
    fake_history_rotate(&container->history, fake_query_number(control->query, "keep", 0));
}

static void verb_same_timestamp(struct control *control, struct fake_container *container)
{
    container->group = fake_query_number(control->query, "k", 0);
    container->rate_open = false;
}

static void verb_clock_step(struct control *control, struct fake_container *container)
{
    int64_t step_ns = fake_query_signed(control->query, "ms", 0) * 1000000;
    fake_container_step_clock(container, step_ns);
}

/* ---- the life of containers */

static void container_stops(struct control *control, struct fake_container *container,
                            uint64_t exit_code)
{
    char extra[64];
    snprintf(extra, sizeof extra, "\"exitCode\":\"%u\",", (unsigned)exit_code);
    fake_container_die(container, (int)(unsigned char)exit_code);
    fake_events_emit(control->server, container, "die", extra);
    fake_logs_stopped(container, fake_query_bool(control->query, "lose", false));
}

static void verb_start(struct control *control, struct fake_container *container)
{
    if (!fake_container_runs(container)) {
        fake_container_start(container);
        fake_events_emit(control->server, container, "start", "");
    }
}

static void verb_die(struct control *control, struct fake_container *container)
{
    if (fake_container_runs(container)) {
        container_stops(control, container, fake_query_number(control->query, "exit", 0));
    }
}

static void verb_restart(struct control *control, struct fake_container *container)
{
    bool policy = fake_query_bool(control->query, "policy", false);
    if (fake_container_runs(container)) {
        if (!policy) {
            fake_events_emit(control->server, container, "kill", "\"signal\":\"15\",");
        }
        container_stops(control, container, fake_query_number(control->query, "exit", 0));
        if (!policy) {
            fake_events_emit(control->server, container, "stop", "");
        }
    }
    container->restart_count += policy ? 1 : 0;
    fake_container_start(container);
    fake_events_emit(control->server, container, "start", "");
    if (!policy) {
        fake_events_emit(control->server, container, "restart", "");
    }
}

static void verb_destroy(struct control *control, struct fake_container *container)
{
    if (fake_container_runs(container)) {
        fake_events_emit(control->server, container, "kill", "\"signal\":\"9\",");
        container_stops(control, container, 137);
    }
    fake_events_emit(control->server, container, "destroy", "");
    fake_world_remove(&control->server->world, container);
}

static void verb_rename(struct control *control, struct fake_container *container)
{
    char name[FAKE_CONTAINER_NAME_MAX + 1];
    if (!fake_query_get(control->query, "name", name, sizeof name) || name[0] == '\0' ||
        fake_world_find(&control->server->world, name) != NULL) {
        control->refusal = "name is absent or taken";
        return;
    }
    struct fake_text extra = {0};
    fake_text_put(&extra, "\"oldName\":");
    char old[FAKE_CONTAINER_NAME_MAX + 2];
    snprintf(old, sizeof old, "/%s", container->name);
    fake_text_json(&extra, old, strlen(old));
    fake_text_put(&extra, ",");
    fake_text_add(&extra, "", 1);
    snprintf(container->name, sizeof container->name, "%s", name);
    fake_events_emit(control->server, container, "rename", extra.data);
    fake_text_finish(&extra);
}

static void verb_pause(struct control *control, struct fake_container *container)
{
    if (container->state == FAKE_RUNNING) {
        container->state = FAKE_PAUSED;
        fake_events_emit(control->server, container, "pause", "");
    }
}

static void verb_unpause(struct control *control, struct fake_container *container)
{
    if (container->state == FAKE_PAUSED) {
        container->state = FAKE_RUNNING;
        fake_container_set_rate(container, container->rate);
        fake_events_emit(control->server, container, "unpause", "");
    }
}

/* ---- faults of log streams */

static void verb_raw(struct control *control, struct fake_container *container)
{
    fake_logs_raw(container, control->request->body, control->request->body_len);
}

static void verb_frame3(struct control *control, struct fake_container *container)
{
    char text[1024];
    if (body_or_query(control, "text", text, sizeof text)[0] == '\0') {
        snprintf(text, sizeof text, "Error grabbing logs: invalid character '\\x00'");
    }
    fake_logs_error(container, text, fake_query_bool(control->query, "end", true));
}

static bool parse_cut(struct control *control, enum fake_cut *ret_how)
{
    static const char *const names[] = {"clean", "fin-no-last-chunk", "rst", "bad-chunk",
                                        "mid-frame"};
    char mode[32] = "fin-no-last-chunk";
    fake_query_get(control->query, "mode", mode, sizeof mode);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(mode, names[i]) == 0 || (i == FAKE_CUT_FIN && strcmp(mode, "fin") == 0)) {
            *ret_how = (enum fake_cut)i;
            return true;
        }
    }
    control->refusal = "mode is clean, fin-no-last-chunk, rst, bad-chunk or mid-frame";
    return false;
}

static void verb_cut(struct control *control, struct fake_container *container)
{
    enum fake_cut how;
    if (parse_cut(control, &how)) {
        fake_logs_cut(container, how);
    }
}

static void verb_silence(struct control *control, struct fake_container *container)
{
    fake_logs_set_silent(container, fake_query_bool(control->query, "on", true));
}

static void verb_stall_headers(struct control *control, struct fake_container *container)
{
    container->stall_headers = fake_query_bool(control->query, "on", true);
}

static void verb_status(struct control *control, struct fake_container *container)
{
    char body[4096];
    free(container->logs_body);
    container->logs_body = fake_copy(body_or_query(control, "body", body, sizeof body));
    container->logs_status = (int)fake_query_signed(control->query, "status", 0);
    container->logs_status_count = fake_query_number(control->query, "count", 0);
}

static void put_item(struct fake_text *list, const struct fake_container *container)
{
    size_t follows = 0;
    const struct fake_follow *follow;
    LIST_FOREACH(follow, &container->follows, link)
    {
        follows++;
    }
    const struct fake_history *history = &container->history;
    fake_text_printf(list, "%s{\"id\":\"%s\",\"name\":", list->len > 0 ? "," : "", container->id);
    fake_text_json(list, container->name, strlen(container->name));
    fake_text_printf(list,
                     ",\"state\":\"%s\",\"begin\":%llu,\"end\":%llu,\"out\":%llu,\"err\":%llu,"
                     "\"follows\":%zu}",
                     fake_container_state_name(container),
                     (unsigned long long)fake_history_begin(history),
                     (unsigned long long)fake_history_end(history),
                     (unsigned long long)fake_history_next_seq(history, 'o') - 1,
                     (unsigned long long)fake_history_next_seq(history, 'e') - 1, follows);
}

static void verb_show(struct control *control, struct fake_container *container)
{
    put_item(&control->list, container);
}

/* ---- the whole */

static void copy_labels(struct fake_text *labels, const char *query)
{
    char label[512];
    for (size_t i = 0; fake_query_get_nth(query, "label", i, label, sizeof label); i++) {
        char *equals = strchrnul(label, '=');
        fake_text_put(labels, labels->len > 0 ? "," : "");
        fake_text_json(labels, label, (size_t)(equals - label));
        fake_text_put(labels, ":");
        const char *value = *equals == '=' ? equals + 1 : equals;
        fake_text_json(labels, value, strlen(value));
    }
}

static void create_one(struct control *control, const char *name,
                       const struct fake_container_options *options)
{
    struct fake_container *container = fake_world_create(&control->server->world, name, options);
    container->clock_offset_ns = control->server->clock_offset_ns;
    fake_events_emit(control->server, container, "create", "");
    if (fake_query_bool(control->query, "start", true)) {
        verb_start(control, container);
    }
    put_item(&control->list, container);
}

static void verb_create(struct control *control, struct fake_container *none)
{
    (void)none;
    const char *query = control->query;
    struct fake_world *world = &control->server->world;
    struct fake_container_options options = world->defaults;
    char name[FAKE_CONTAINER_NAME_MAX + 1];
    char image[256];
    char driver[64];
    bool named = fake_query_get(query, "name", name, sizeof name);
    uint64_t count = fake_query_number(query, "n", 1);
    if (named && (count != 1 || name[0] == '\0' || fake_world_find(world, name) != NULL)) {
        control->refusal = "name is taken, or for more than one";
        return;
    }
    options.image = fake_query_get(query, "image", image, sizeof image) ? image : options.image;
    if (fake_query_get(query, "driver", driver, sizeof driver)) {
        options.log_driver = driver;
    }
    options.tty = fake_query_bool(query, "tty", false);
    options.lines = fake_query_number(query, "lines", 0);
    options.rate = fake_query_number(query, "rate", options.rate);
    options.size = fake_query_number(query, "size", options.size);
    options.stderr_every = fake_query_number(query, "stderr-every", options.stderr_every);
    options.base_ns = 0;
    options.labels = (struct fake_text){0};
    fake_text_add(&options.labels, world->defaults.labels.data, world->defaults.labels.len);
    copy_labels(&options.labels, query);
    for (uint64_t i = 0; i < count; i++) {
        create_one(control, named ? name : NULL, &options);
    }
    fake_text_finish(&options.labels);
}

static void verb_event(struct control *control, struct fake_container *none)
{
    (void)none;
    fake_events_raw(control->server, control->request->body, control->request->body_len);
}

static void verb_drop_events(struct control *control, struct fake_container *none)
{
    (void)none;
    control->server->drop_events = fake_query_bool(control->query, "on", true);
}

static void verb_close_events(struct control *control, struct fake_container *none)
{
    enum fake_cut how;
    (void)none;
    if (parse_cut(control, &how)) {
        fake_events_cut(control->server, how);
    }
}

static void verb_hang(struct control *control, struct fake_container *none)
{
    char name[32] = "all";
    enum fake_endpoint endpoint;
    bool on = fake_query_bool(control->query, "on", true);
    (void)none;
    fake_query_get(control->query, "endpoint", name, sizeof name);
    if (strcmp(name, "all") == 0) {
        for (size_t i = 0; i < FAKE_ENDPOINTS; i++) {
            control->server->hangs[i] = on;
        }
    } else if (fake_endpoint_parse(name, &endpoint) == 0) {
        control->server->hangs[endpoint] = on;
    } else {
        control->refusal = "no such endpoint";
    }
}

static void verb_endpoint_status(struct control *control, struct fake_container *none)
{
    char name[32] = "";
    char body[4096];
    enum fake_endpoint endpoint;
    (void)none;
    fake_query_get(control->query, "endpoint", name, sizeof name);
    if (fake_endpoint_parse(name, &endpoint) < 0) {
        control->refusal = "no such endpoint";
        return;
    }
    struct fake_refusal *refusal = &control->server->refusals[endpoint];
    free(refusal->body);
    refusal->body = fake_copy(body_or_query(control, "body", body, sizeof body));
    refusal->status = (int)fake_query_signed(control->query, "status", 0);
    refusal->count = fake_query_number(control->query, "count", 0);
}

static void verb_refuse(struct control *control, struct fake_container *none)
{
    (void)none;
    fake_server_refuse(control->server, fake_query_number(control->query, "ms", 1000));
    if (!fake_query_bool(control->query, "cut", false)) {
        return;
    }
    struct fake_connection *next;
    for (struct fake_connection *connection = LIST_FIRST(&control->server->connections);
         connection != NULL; connection = next) {
        next = LIST_NEXT(connection, link);
        if (!connection->control) {
            fake_connection_close(connection);
        }
    }
}

static void verb_split(struct control *control, struct fake_container *none)
{
    (void)none;
    control->server->split_bytes = (size_t)fake_query_number(control->query, "size", 1);
    control->server->split_every_ns = fake_query_number(control->query, "every", 0) * 1000000;
    struct fake_connection *connection;
    LIST_FOREACH(connection, &control->server->connections, link)
    {
        fake_connection_flush(connection);
    }
}

/* ---- the table */

static const struct {
    const char *name;
    bool for_each; /* of the containers meant */
    verb_fn run;
} verbs[] = {
    {"emit", true, verb_emit},
    {"partial", true, verb_partial},
    {"rate", true, verb_rate},
    {"start", true, verb_start},
    {"die", true, verb_die},
    {"restart", true, verb_restart},
    {"destroy", true, verb_destroy},
    {"rename", true, verb_rename},
    {"pause", true, verb_pause},
    {"unpause", true, verb_unpause},
    {"raw", true, verb_raw},
    {"frame3", true, verb_frame3},
    {"cut", true, verb_cut},
    {"silence", true, verb_silence},
    {"truncate", true, verb_truncate},
    {"rotate", true, verb_rotate},
    {"same-timestamp", true, verb_same_timestamp},
    {"clock-step", true, verb_clock_step},
    {"stall-headers", true, verb_stall_headers},
    {"status", true, verb_status},
    {"show", true, verb_show},
    {"create", false, verb_create},
    {"event", false, verb_event},
    {"drop-events", false, verb_drop_events},
    {"close-events", false, verb_close_events},
    {"hang", false, verb_hang},
    {"refuse", false, verb_refuse},
    {"split", false, verb_split},
};

static void answer_stats(struct fake_connection *connection)
{
    const struct fake_server *server = connection->server;
    struct fake_text body = {0};
    fake_text_printf(&body,
                     "{\"accepted\":%llu,\"open\":%llu,\"max_open\":%llu,\"follows\":%llu,"
                     "\"event_listeners\":%zu,\"containers\":%zu,\"requests\":{",
                     (unsigned long long)server->accepted, (unsigned long long)server->open,
                     (unsigned long long)server->most_open,
                     (unsigned long long)server->open_follows, fake_events_listeners(server),
                     server->world.count);
    for (int i = 0; i < FAKE_CONTROL; i++) {
        fake_text_printf(&body, "%s\"%s\":%llu", i > 0 ? "," : "",
                         fake_endpoint_name((enum fake_endpoint)i),
                         (unsigned long long)server->requests[i]);
    }
    fake_text_put(&body, "}}\n");
    fake_connection_answer(connection, 200, "application/json", &body);
    fake_text_finish(&body);
}

static bool is_meant(const struct fake_container *container, const char *pattern)
{
    return pattern[0] == '\0' || fnmatch(pattern, container->name, 0) == 0 ||
           (strlen(pattern) >= 12 && strncmp(container->id, pattern, strlen(pattern)) == 0);
}

/* A verb may take its container out of the world, so it goes over a copy. */
static size_t run_for_each(struct control *control, verb_fn run)
{
    const struct fake_world *world = &control->server->world;
    char pattern[FAKE_CONTAINER_NAME_MAX + 1] = "";
    fake_query_get(control->query, "container", pattern, sizeof pattern);
    struct fake_container **all = fake_allocate(world->count + 1, sizeof(struct fake_container *));
    size_t all_count = world->count;
    size_t meant = 0;
    if (all_count > 0) {
        memcpy(all, world->containers, all_count * sizeof(struct fake_container *));
    }
    for (size_t i = 0; i < all_count && control->refusal == NULL; i++) {
        if (is_meant(all[i], pattern)) {
            meant++;
            run(control, all[i]);
        }
    }
    free(all);
    return meant;
}

static void run_verb(struct control *control, struct fake_connection *connection, bool for_each,
                     verb_fn run)
{
    char text[32];
    bool pattern = fake_query_get(control->query, "container", text, sizeof text);
    size_t meant = 0;
    if (run == verb_status && fake_query_get(control->query, "endpoint", text, sizeof text)) {
        verb_endpoint_status(control, NULL);
    } else if (for_each) {
        meant = run_for_each(control, run);
    } else {
        run(control, NULL);
    }
    if (run == verb_clock_step && !pattern) {
        control->server->clock_offset_ns += fake_query_signed(control->query, "ms", 0) * 1000000;
    }
    if (control->refusal != NULL) {
        fake_connection_refuse(connection, 400, "%s", control->refusal);
        return;
    }
    if (for_each && pattern && meant == 0) {
        fake_connection_refuse(connection, 404, "no such container");
        return;
    }
    struct fake_text body = {0};
    if (run == verb_show || run == verb_create) {
        fake_text_put(&body, "{\"list\":[");
        fake_text_add(&body, control->list.data, control->list.len);
        fake_text_put(&body, "]}\n");
    } else {
        fake_text_printf(&body, "{\"containers\":%zu}\n", meant);
    }
    fake_connection_answer(connection, 200, "application/json", &body);
    fake_text_finish(&body);
}

void fake_control_handle(struct fake_connection *connection, const struct fake_request *request)
{
    const char *name = request->path + strlen("/_fake/");
    struct control control = {
        .server = connection->server, .request = request, .query = request->query};
    if (strcmp(name, "stats") == 0) {
        answer_stats(connection);
        return;
    }
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(name, verbs[i].name) == 0) {
            run_verb(&control, connection, verbs[i].for_each, verbs[i].run);
            fake_text_finish(&control.list);
            return;
        }
    }
    fake_connection_refuse(connection, 404, "no such verb: %s", name);
}
