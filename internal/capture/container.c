/* See container.h for the states. Everything here reacts: to the monitor, to a stream, to a timer. */
#include "capture/container.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/backoff.h"
#include "base/log.h"
#include "base/str.h"
#include "base/timestamp.h"
#include "capture/capture_shared.h"
#include "capture/container_probe.h"

#define RETRY_FIRST_NS (250 * NS_PER_MS)
#define RETRY_LIMIT_NS (30 * NS_PER_SECOND)
#define DELAY_SAMPLE 256
#define LOG_EVERY 16 /* failures of one container in a row; the first is a daemon's hiccup */
#define JUMP_LEAST_NS (10 * NS_PER_MS)
#define JUMP_INTERVALS 100
#define FAST_INTERVAL_NS (NS_PER_MS / 20) /* 20,000 lines a second */
#define CAUGHT_UP_NS (200 * NS_PER_MS)

static void begin_reading(struct container *container);

static void set_state(struct container *container, enum container_state state)
{
    struct capture_shared *shared = container->host->shared;
    metric_add(&shared->states[container->state], -1);
    container->state = state;
    metric_add(&shared->states[state], 1);
}

const char *container_state_name(enum container_state state)
{
    static const char *const names[CONTAINER_STATE_COUNT] = {
        [CONTAINER_INSPECTING] = "inspecting", [CONTAINER_IGNORED] = "ignored",
        [CONTAINER_UNREADABLE] = "unreadable", [CONTAINER_WAITING] = "waiting",
        [CONTAINER_FOLLOWING] = "following",   [CONTAINER_CATCHING_UP] = "catching_up",
        [CONTAINER_RETRYING] = "retrying",     [CONTAINER_SUSPENDED] = "suspended"};
    return names[state];
}

static bool is_idle(const struct container *container)
{
    return container->stream == NULL && !container->inspecting && container->probe == NULL;
}

/* Its log is read, or can't be read any more: lets a destroyed container go. */
static bool finish_if_gone(struct container *container)
{
    if (!container->gone || !is_idle(container)) {
        return false;
    }
    if (container->has_run && !container->read_to_end && container->state != CONTAINER_IGNORED &&
        container->state != CONTAINER_UNREADABLE) {
        metric_add(&container->host->shared->gaps, 1);
        log_warn("container %s: it was removed before its log was read to the end; lines may be "
                 "lost",
                 container->name);
    }
    container_free(container, true);
    return true;
}

static void retry_later(struct container *container, int64_t least_ns)
{
    if (finish_if_gone(container)) {
        return;
    }
    if (!container->host->connected || container->host->shared->stopping) {
        set_state(container, CONTAINER_SUSPENDED);
        return;
    }
    struct backoff backoff = {
        .first_ns = RETRY_FIRST_NS, .limit_ns = RETRY_LIMIT_NS, .failures = container->failures++};
    int64_t delay = backoff_next(&backoff);
    set_state(container, CONTAINER_RETRYING);
    loop_timer_arm(&container->retry_timer, delay > least_ns ? delay : least_ns);
}

static void handle_retry(struct loop_timer *timer, void *data)
{
    (void)timer;
    struct container *container = data;
    if (container->known) {
        begin_reading(container);
    } else {
        container_inspect(container);
    }
}

/* ---- the stream's callbacks ---- */

/*
 * dockerd gives no sign when rotation overtakes a follow: it goes on in a later file. What can be
 * seen is a jump of the timestamps, far over the usual distance of lines, in the fast stream of a
 * container whose log rotates, while the reader was behind. A container that wrote nothing for just
 * that time looks the same, so what is counted is that lines may be lost.
 */
static bool jumped_ahead(const struct container *container, const struct record *record)
{
    int64_t jump = record->time_ns - container->last_time_ns;
    return jump > JUMP_LEAST_NS && container->log_rotates && container->live &&
           container->interval_ns < FAST_INTERVAL_NS &&
           jump > container->interval_ns * JUMP_INTERVALS &&
           container->line_at_ns - container->last_time_ns > JUMP_LEAST_NS;
}

static void note_interval(struct container *container, const struct record *record)
{
    int64_t interval = record->time_ns - container->last_time_ns;
    if (container->lines > 0 && interval > 0) {
        container->interval_ns += (interval - container->interval_ns) / 64;
    }
    container->last_time_ns = record->time_ns;
    container->line_at_ns = container->bytes_at_ns;
    container->live = container->live || container->bytes_at_ns - record->time_ns < CAUGHT_UP_NS;
}

static void count_gap(struct container *container, int64_t from_ns, int64_t to_ns, const char *why)
{
    char from[TIMESTAMP_TEXT_SIZE];
    char to[TIMESTAMP_TEXT_SIZE];
    timestamp_format(from_ns, 9, from);
    timestamp_format(to_ns, 9, to);
    container->gaps++;
    metric_add(&container->host->shared->gaps, 1);
    log_warn("container %s: lines between %s and %s may be lost: %s; a larger max-size or max-file "
             "keeps more",
             container->name, from, to, why);
}

static int handle_record(const struct record *record, void *data)
{
    struct container *container = data;
    struct capture_shared *shared = container->host->shared;
    if (jumped_ahead(container, record)) {
        count_gap(container, container->last_time_ns, record->time_ns,
                  "the stream was behind and jumped ahead");
    }
    int rc = spool_append(shared->options.spool, &container->source, container->origin, record);
    if (rc != 0) {
        return rc;
    }
    if (container->lines % DELAY_SAMPLE == 0) {
        int64_t wall = clock_wall_ns(loop_clock(shared->options.loop));
        metric_observe(&shared->delay, wall > record->time_ns ? wall - record->time_ns : 0);
    }
    container->lines++;
    container->bytes += record->line_bytes;
    note_interval(container, record);
    metric_add(&shared->lines, 1);
    metric_add(&shared->bytes, (int64_t)record->line_bytes);
    if ((record->flags & RECORD_TRUNCATED) != 0) {
        metric_add(&shared->truncated, 1);
    }
    return 0;
}

static void handle_repeated(void *data)
{
    struct container *container = data;
    metric_add(&container->host->shared->repeated, 1);
}

static void handle_bytes(size_t size, void *data)
{
    (void)size;
    struct container *container = data;
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME_COARSE,
                        &now); /* per line: the exact clock costs ten times */
    container->bytes_at_ns = (int64_t)now.tv_sec * NS_PER_SECOND + now.tv_nsec;
    container->delivered = true;
    container->failures = 0;
}

static void handle_gap(const struct record *first, void *data)
{
    struct container *container = data;
    const struct resume_mark *marks = container->resume.marks;
    int64_t last = marks[0].time_ns > marks[1].time_ns ? marks[0].time_ns : marks[1].time_ns;
    count_gap(container, last, first->time_ns,
              "the daemon no longer has the last line that was captured");
}

static void handle_daemon_error(const char *text, size_t size, void *data)
{
    struct container *container = data;
    metric_add(&container->host->shared->daemon_errors, 1);
    log_warn("container %s: the daemon reports: %.*s", container->name,
             (int)(size > 300 ? 300 : size), text);
}

/* The last read reached the log's end. */
static void handle_caught_up(struct container *container)
{
    container->caught_up = true;
    if (container->started_again) {
        container->started_again = false;
        begin_reading(container);
    } else if (container->running) {
        container_inspect(container); /* the follow ended, so is it running? */
    } else {
        set_state(container, CONTAINER_WAITING);
        (void)finish_if_gone(container);
    }
}

static void handle_refused(struct container *container, const struct docker_outcome *outcome)
{
    switch (outcome->verdict) {
    case DOCKER_NOT_FOUND:
        container->gone = true;
        if (!finish_if_gone(container)) {
            set_state(container, CONTAINER_WAITING);
        }
        break;
    case DOCKER_NOT_SUPPORTED:
        log_warn("container %s: its logs can't be read, log driver %s: %s", container->name,
                 container->log_driver, outcome->text);
        set_state(container, CONTAINER_UNREADABLE);
        (void)finish_if_gone(container);
        break;
    case DOCKER_CONFLICT:
        retry_later(container, 0); /* dead or being removed: an event will follow */
        break;
    default:
        log_warn("container %s: %s", container->name, outcome->text);
        retry_later(container, RETRY_LIMIT_NS);
    }
}

static void handle_stream_end(enum stream_end end, const struct docker_outcome *outcome, void *data)
{
    struct container *container = data;
    struct capture_shared *shared = container->host->shared;
    bool was_following = container->state == CONTAINER_FOLLOWING;
    if (end == STREAM_COMPLETED && (container->gone || !was_following) && !container->running) {
        stream_flush(container->stream); /* the log ends here: so does its last line */
    }
    container->read_to_end = container->read_to_end || end == STREAM_COMPLETED;
    container->left_open = end == STREAM_COMPLETED && (stream_is_open(container->stream, 0) ||
                                                       stream_is_open(container->stream, 1));
    container->stream = NULL;
    container->resume.open[0] = container->resume.open[1] = false;
    loop_timer_disarm(&container->idle_timer);
    loop_timer_disarm(&container->lifetime_timer);
    metric_add(&shared->active, -1);
    metric_add(&shared->ended[end], 1);
    if (end == STREAM_SHUTDOWN || shared->stopping) {
        set_state(container, CONTAINER_SUSPENDED);
        return;
    }
    switch (end) {
    case STREAM_COMPLETED:
        if (was_following) {
            set_state(container, CONTAINER_CATCHING_UP);
            begin_reading(container);
        } else {
            handle_caught_up(container);
        }
        break;
    case STREAM_REFUSED:
        handle_refused(container, outcome);
        break;
    case STREAM_ROTATED:
    case STREAM_SILENT:
        begin_reading(container);
        break;
    case STREAM_PAUSED:
        set_state(container, CONTAINER_SUSPENDED);
        break;
    case STREAM_CLOSED:
        set_state(container, CONTAINER_IGNORED);
        (void)finish_if_gone(container);
        break;
    default:
        log_write(container->failures % LOG_EVERY == 1 ? LOG_LEVEL_WARN : LOG_LEVEL_DEBUG,
                  "container %s: %s; trying again", container->name, outcome->text);
        retry_later(container, 0);
    }
}

/* ---- reading ---- */

static size_t encode_position(const struct spool_source *source, unsigned char *ret_bytes)
{
    const struct container *container = container_of(source, const struct container, source);
    struct resume resume = container->resume;
    resume.open[0] = resume.open[0] || stream_is_open(container->stream, 0);
    resume.open[1] = resume.open[1] || stream_is_open(container->stream, 1);
    return resume_encode(&resume, ret_bytes);
}

static void watch_for_silence(struct container *container)
{
    int64_t silence = container->host->shared->options.idle_probe_ns;
    container->delivered = false;
    if (silence > 0) {
        loop_timer_arm(&container->idle_timer, silence + jitter(silence / 2));
    }
}

static void limit_lifetime(struct container *container)
{
    const struct capture_options *options = &container->host->shared->options;
    if (options->stream_max_lifetime_ns > 0) {
        int64_t lifetime = options->stream_max_lifetime_ns;
        loop_timer_arm(&container->lifetime_timer, lifetime - jitter(lifetime / 8));
    }
}

static void handle_open(void *data)
{
    struct container *container = data;
    if (container->state == CONTAINER_FOLLOWING) {
        watch_for_silence(container);
        limit_lifetime(container);
    }
}

static void open_stream(struct container *container, bool follow)
{
    struct capture_shared *shared = container->host->shared;
    bool podman = docker_client_is_podman(container->host->client);
    struct stream_options options = {.client = container->host->client,
                                     .id = container->id,
                                     .tty = container->tty,
                                     .follow = follow,
                                     /* podman 4.3 loses lines between a tail and its follow */
                                     .whole = container->suspicious || podman,
                                     .from_now = container->skip_history,
                                     .max_line_bytes = shared->options.max_line_bytes,
                                     .resume = &container->resume,
                                     .on_open = handle_open,
                                     .on_record = handle_record,
                                     .on_repeated = handle_repeated,
                                     .on_bytes = handle_bytes,
                                     .on_gap = handle_gap,
                                     .on_daemon_error = handle_daemon_error,
                                     .on_end = handle_stream_end,
                                     .data = container};
    container->resume.repeats = !docker_client_api_at_least(container->host->client, 1, 42) &&
                                !podman;
    container->caught_up = false;
    container->live = false;
    if (stream_open(&stream_api_type, &options, &container->stream) != 0) {
        retry_later(container, 0);
        return;
    }
    container->skip_history = false; /* what comes now is wanted, also after a reconnect */
    metric_add(&shared->opened, 1);
    metric_add(&shared->active, 1);
    set_state(container, follow ? CONTAINER_FOLLOWING : CONTAINER_CATCHING_UP);
    if (follow) {
        container->started_again = false;
        container->has_run = true;
        container->read_to_end = false;
    }
}

/* Follows a running container, reads a stopped one to its end. */
static void begin_reading(struct container *container)
{
    struct capture_shared *shared = container->host->shared;
    if (shared->stopping || shared->paused || !container->host->connected) {
        set_state(container, CONTAINER_SUSPENDED);
        return;
    }
    bool after_follow = container->state == CONTAINER_CATCHING_UP;
    bool strict = resume_is_strict(&container->resume) && !container->caught_up;
    open_stream(container, container->running && !after_follow && !strict);
}

static void handle_lifetime(struct loop_timer *timer, void *data)
{
    (void)timer;
    struct container *container = data;
    stream_close(container->stream, STREAM_ROTATED);
}

/* ---- the idle probe ---- */

static void handle_probe(const struct probe_result *result, void *data)
{
    struct container *container = data;
    container->probe = NULL;
    if (container->state != CONTAINER_FOLLOWING || container->delivered || result->inconclusive) {
        if (!finish_if_gone(container) && container->state == CONTAINER_FOLLOWING) {
            watch_for_silence(container);
        }
        return;
    }
    const struct resume_mark *mark = &container->resume.marks[result->stream == RECORD_STDERR];
    bool recorded = resume_has_marks(&container->resume);
    bool up_to_date = result->found && mark->count > 0 && result->time_ns <= mark->high_ns;
    if (up_to_date || (!result->found && !recorded)) {
        watch_for_silence(container);
    } else {
        container->suspicious = !result->found;
        log_warn("container %s: its log stream went silent (%s); reading it anew", container->name,
                 result->found ? "newer lines exist" : "its log was truncated from outside");
        stream_close(container->stream, STREAM_SILENT);
    }
}

static void handle_idle(struct loop_timer *timer, void *data)
{
    (void)timer;
    struct container *container = data;
    bool quiet = !container->delivered && container->probe == NULL;
    if (quiet && container->gone) {
        stream_close(container->stream, STREAM_CLOSED);
        return;
    }
    if (!quiet) {
        watch_for_silence(container);
        return;
    }
    metric_add(&container->host->shared->probes, 1);
    struct container_probe_options options = {.client = container->host->client,
                                              .id = container->id,
                                              .tty = container->tty,
                                              .on_result = handle_probe,
                                              .data = container};
    if (container_probe_start(&options, &container->probe) != 0) {
        watch_for_silence(container);
    }
}

/* ---- inspecting ---- */

static int replace_text(char **text, const char *with)
{
    char *copy = strdup(with);
    if (copy == NULL) {
        return -ENOMEM;
    }
    free(*text);
    *text = copy;
    return 0;
}

static int set_origin(struct container *container, const struct docker_container *found)
{
    struct record_origin view = {.daemon = docker_client_name(container->host->client),
                                 .container_id = container->id,
                                 .name = found->name,
                                 .image = found->image,
                                 .labels = found->labels,
                                 .label_count = found->label_count};
    struct spool_origin *origin;
    int rc = spool_origin_create(container->host->shared->options.spool, &view, &origin);
    if (rc == 0) {
        spool_origin_destroy(container->origin);
        container->origin = origin;
    }
    return rc;
}

static void load_position(struct container *container)
{
    const struct capture_shared *shared = container->host->shared;
    size_t size;
    const unsigned char *bytes = spool_position_find(shared->options.spool, container->id, &size);
    if (bytes == NULL && container->skip_history) {
        container->resume.floor_ns = clock_wall_ns(loop_clock(shared->options.loop));
    }
    if (bytes == NULL) {
        return;
    }
    container->skip_history = false;
    if (resume_decode(&container->resume, bytes, size) != 0) {
        log_warn("container %s: its stored position can't be read; reading its log from the "
                 "beginning",
                 container->name);
    }
}

/* Takes over what inspect says; the first time it also gets its place in the spool. */
static int take_over(struct container *container, const struct docker_container *found)
{
    struct spool *spool = container->host->shared->options.spool;
    int rc = replace_text(&container->name, found->name);
    rc = rc != 0 ? rc : replace_text(&container->image, found->image);
    rc = rc != 0 ? rc : replace_text(&container->log_driver, found->log_driver);
    rc = rc != 0 ? rc : set_origin(container, found);
    container->tty = found->tty;
    container->log_rotates = found->log_rotates;
    if (rc == 0 && !container->known) {
        load_position(container);
        container->source.encode = encode_position;
        rc = spool_source_add(spool, &container->source, container->id);
        container->known = rc == 0;
        if (rc == 0 && container->resume.floor_ns > 0) {
            spool_source_touch(spool, &container->source);
        }
    }
    return rc;
}

static bool is_selected(const struct container *container, const struct docker_container *found)
{
    const struct capture_options *options = &container->host->shared->options;
    bool ourselves = options->own_id != NULL && options->own_id[0] != '\0' &&
                     str_starts_with(container->id, options->own_id);
    struct filter_subject subject = {.name = found->name,
                                     .image = found->image,
                                     .driver = found->log_driver,
                                     .labels = found->labels,
                                     .label_count = found->label_count};
    return !ourselves && filter_selects(options->filter, &subject);
}

static void handle_inspected(struct container *container, const struct docker_container *found)
{
    bool was_known = container->known;
    bool never_ran = found->state == DOCKER_STATE_CREATED && !container->started_while_inspecting;
    if (container->started_while_inspecting || container->died_while_inspecting) {
        container->running = !container->died_while_inspecting;
    } else if (found->state != DOCKER_STATE_UNKNOWN) {
        container->running = found->state == DOCKER_STATE_RUNNING;
    }
    container->has_run = container->has_run || !never_ran;
    if (!is_selected(container, found)) {
        if (container->stream != NULL) {
            stream_close(container->stream, STREAM_CLOSED);
        } else {
            set_state(container, CONTAINER_IGNORED);
            (void)finish_if_gone(container);
        }
        return;
    }
    if (take_over(container, found) != 0) {
        retry_later(container, 0);
        return;
    }
    if (container->stream != NULL) {
        return;
    }
    bool all_read = was_known && container->caught_up;
    if (all_read && container->running) {
        retry_later(container, 0); /* its follow ended though it runs: not in a tight loop */
    } else if ((all_read && !container->left_open) || never_ran) {
        set_state(container, CONTAINER_WAITING);
        (void)finish_if_gone(container);
    } else {
        begin_reading(container);
    }
}

static void handle_inspect(const struct docker_outcome *outcome,
                           const struct docker_container *found, void *data)
{
    struct container *container = data;
    container->inspecting = false;
    if (container->host->shared->stopping || outcome->verdict == DOCKER_CLOSED) {
        return;
    }
    if (outcome->verdict == DOCKER_OK) {
        handle_inspected(container, found);
    } else if (container->stream == NULL && outcome->verdict == DOCKER_NOT_FOUND) {
        container->gone = true;
        (void)finish_if_gone(container);
    } else if (container->stream == NULL) {
        log_debug("container %s: %s", container->name, outcome->text);
        retry_later(container, 0);
    }
}

void container_inspect(struct container *container)
{
    if (container->inspecting || container->host->shared->stopping) {
        return;
    }
    if (container->stream == NULL) {
        set_state(container, CONTAINER_INSPECTING);
    }
    container->inspecting = true;
    container->started_while_inspecting = container->died_while_inspecting = false;
    if (docker_inspect(container->host->client, container->id, handle_inspect, container) != 0) {
        container->inspecting = false;
        retry_later(container, 0);
    }
}

/* ---- life ---- */

struct container *container_create(struct container_host *host, const char *id, const char *name,
                                   bool running)
{
    struct container *container = calloc(1, sizeof(*container));
    if (container == NULL) {
        return NULL;
    }
    container->host = host;
    container->running = running;
    container->has_run = running;
    container->skip_history = host->shared->options.since_now && !host->listed_once;
    (void)str_copy(container->id, sizeof(container->id), id);
    container->name = strdup(name);
    container->image = strdup("");
    container->log_driver = strdup("");
    if (container->name == NULL || container->image == NULL || container->log_driver == NULL) {
        free(container->name);
        free(container->image);
        free(container->log_driver);
        free(container);
        return NULL;
    }
    container->interval_ns = NS_PER_SECOND;
    resume_init(&container->resume);
    struct loop *loop = host->shared->options.loop;
    loop_timer_init(loop, &container->retry_timer, handle_retry, container);
    loop_timer_init(loop, &container->idle_timer, handle_idle, container);
    loop_timer_init(loop, &container->lifetime_timer, handle_lifetime, container);
    map_insert(&host->containers, &container->node, container->id);
    metric_add(&host->shared->states[container->state], 1);
    return container;
}

void container_free(struct container *container, bool forget)
{
    struct capture_shared *shared = container->host->shared;
    map_remove(&container->host->containers, &container->node);
    metric_add(&shared->states[container->state], -1);
    loop_timer_disarm(&container->retry_timer);
    loop_timer_disarm(&container->idle_timer);
    loop_timer_disarm(&container->lifetime_timer);
    spool_source_remove(shared->options.spool, &container->source, forget);
    spool_origin_destroy(container->origin);
    resume_finish(&container->resume);
    free(container->name);
    free(container->image);
    free(container->log_driver);
    free(container);
}

/* ---- what the monitor tells ---- */

void container_handle_start(struct container *container)
{
    container->running = true;
    container->has_run = true;
    container->suspicious = false;
    container->started_while_inspecting = container->inspecting;
    container->died_while_inspecting = false;
    if (container->stream != NULL) {
        container->started_again = true;
    } else if (container->state == CONTAINER_WAITING) {
        begin_reading(container);
    }
}

void container_handle_die(struct container *container)
{
    container->running = false;
    container->died_while_inspecting = container->inspecting;
}

void container_handle_listed(struct container *container, const struct docker_container *listed,
                             bool recheck)
{
    bool running = listed->state == DOCKER_STATE_RUNNING;
    bool renamed = strcmp(listed->name, container->name) != 0;
    container->running = running;
    if (renamed) {
        container_inspect(container);
    } else if (container->state == CONTAINER_WAITING && container->known &&
               (running || (recheck && listed->state != DOCKER_STATE_CREATED))) {
        begin_reading(container);
    } else if (container->state == CONTAINER_SUSPENDED) {
        container_resume(container);
    }
}

void container_handle_rename(struct container *container, const char *name)
{
    if (strcmp(name, container->name) != 0) {
        container_inspect(container);
    }
}

void container_handle_destroy(struct container *container)
{
    container->gone = true;
    container->running = false;
    if (container->state != CONTAINER_CATCHING_UP && container->state != CONTAINER_FOLLOWING) {
        loop_timer_disarm(&container->retry_timer);
        (void)finish_if_gone(container);
    }
}

void container_resume(struct container *container)
{
    if (container->state != CONTAINER_SUSPENDED || container->stream != NULL) {
        return;
    }
    container->failures = 0;
    if (container->known) {
        begin_reading(container);
    } else {
        container_inspect(container);
    }
}

void container_suspend(struct container *container, enum stream_end why)
{
    if (container->stream != NULL) {
        stream_close(container->stream, why);
    } else if (container->state == CONTAINER_RETRYING) {
        loop_timer_disarm(&container->retry_timer);
        set_state(container, CONTAINER_SUSPENDED);
    }
}

void container_put(const struct container *container, struct json_writer *writer)
{
    json_open(writer, NULL, '{');
    json_put_string(writer, "daemon", docker_client_name(container->host->client));
    json_put_string(writer, "id", container->id);
    json_put_string(writer, "name", container->name);
    json_put_string(writer, "image", container->image);
    json_put_string(writer, "log_driver", container->log_driver);
    json_put_bool(writer, "tty", container->tty);
    json_put_bool(writer, "running", container->running);
    json_put_string(writer, "state", container_state_name(container->state));
    json_put_int(writer, "lines", (int64_t)container->lines);
    json_put_int(writer, "bytes", (int64_t)container->bytes);
    json_put_int(writer, "gaps", (int64_t)container->gaps);
    char text[TIMESTAMP_TEXT_SIZE];
    timestamp_format(container->last_time_ns, 9, text);
    json_put_string(writer, "last_line_time", container->lines > 0 ? text : NULL);
    json_close(writer, '}');
}
