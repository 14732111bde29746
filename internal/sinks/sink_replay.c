/* A delivery as the worker makes it, but alone: encode, compress, send, wait, judge. */
#include "sinks/sink_replay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/timestamp.h"
#include "sinks/sink_dead_letters.h"
#include "sinks/sink_type.h"

#define WAIT_NS (NS_PER_SECOND / 2)

struct replay {
    const struct sink_replay_options *options;
    const struct sink_type *type;
    struct metrics *metrics; /* nobody reads them */
    struct http_sender *http;
    void *state;
    int stop_fd;
    struct sink_origins origins;
    struct buf path, aside_path; /* the file, and where it is moved */
    struct buf plain, payload;
    FILE *aside;
    struct sink_replay_result result;

    /* the letter under way */
    bool answered;
    enum sink_verdict verdict;
    struct error reason;
};

static void handle_answer(struct sink_delivery *delivery, const struct sink_response *response,
                          void *data)
{
    (void)delivery;
    struct replay *replay = data;
    int size = (int)(response->body_bytes < 200 ? response->body_bytes : 200);
    replay->answered = true;
    replay->verdict = replay->type->judge(replay->state, response);
    if (response->rc != 0) {
        error_set(&replay->reason, "%s", response->text);
    } else {
        error_set(&replay->reason, "status %d: %.*s", response->status, size,
                  size > 0 ? response->body : "");
    }
}

static int encode(struct replay *replay, const struct sink_slice *slice)
{
    bool compresses = replay->type->compress != NULL;
    buf_clear(&replay->plain);
    buf_clear(&replay->payload);
    int rc = replay->type->encode(replay->state, slice,
                                  compresses ? &replay->plain : &replay->payload);
    return rc == 0 && compresses ? replay->type->compress(&replay->plain, &replay->payload) : rc;
}

static int send_record(struct replay *replay, const struct sink_record *record)
{
    struct sink_delivery delivery = {.slice = {record, 1}, .payload = &replay->payload};
    int rc = encode(replay, &delivery.slice);
    if (rc != 0) {
        return rc;
    }
    replay->answered = false;
    replay->type->send(replay->state, &delivery);
    while (!replay->answered) {
        http_sender_poll(replay->http, WAIT_NS, -1);
    }
    return 0;
}

/* Sets replay->verdict. */
static int send_letter(struct replay *replay, const struct sink_dead_letter_record *letter)
{
    bool fresh;
    struct sink_origin *origin = sink_origins_get(&replay->origins, &letter->origin, &fresh);
    if (origin == NULL) {
        return -ENOMEM;
    }
    origin->wanted[RECORD_STDOUT] = true;
    origin->wanted[RECORD_STDERR] = true;
    int rc = replay->type->prepare != NULL
                 ? replay->type->prepare(replay->state, origin,
                                         (enum record_stream)letter->record.stream)
                 : 0;
    struct sink_record record = {.origin = origin, .record = letter->record};
    rc = rc != 0 ? rc : send_record(replay, &record);
    sink_origin_unref(origin);
    return rc;
}

/* Puts a line back as it was. */
static int put_back(const struct replay *replay, const char *line, size_t size)
{
    int fd = open(replay->path.data, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -errno;
    }
    ssize_t n = write(fd, line, size);
    int rc = n < 0 ? -errno : (size_t)n < size ? -ENOSPC : 0;
    if (rc == 0 && fdatasync(fd) != 0) {
        rc = -errno;
    }
    (void)close(fd);
    return rc;
}

/* One line of the file; *ended becomes true when the target takes nothing now. */
static int replay_line(struct replay *replay, const char *line, size_t size, bool *ended)
{
    struct sink_dead_letter_record letter;
    struct error damage;
    if (*ended) {
        replay->result.left++;
        return put_back(replay, line, size);
    }
    if (sink_dead_letter_parse(line, size, &letter, &damage) != 0) {
        replay->result.damaged++;
        return put_back(replay, line, size);
    }
    int rc = send_letter(replay, &letter);
    sink_dead_letter_free(&letter);
    if (rc == 0 && replay->verdict == SINK_DELIVERED) {
        replay->result.delivered++;
        return 0;
    }
    *ended = rc != 0 || replay->verdict != SINK_REJECTED;
    *(*ended ? &replay->result.left : &replay->result.rejected) += 1;
    int back = put_back(replay, line, size);
    return rc != 0 ? rc : back;
}

static int replay_file(struct replay *replay, struct error *error)
{
    char *line = NULL;
    size_t capacity = 0;
    bool ended = false;
    int rc = 0;
    uint64_t done = 0;
    for (ssize_t n; rc == 0 && (n = getline(&line, &capacity, replay->aside)) > 0;) {
        rc = replay_line(replay, line, (size_t)n, &ended);
        if (replay->options->on_progress != NULL) {
            replay->options->on_progress(++done, replay->options->data);
        }
    }
    free(line);
    if (rc == 0 && feof(replay->aside) == 0) {
        rc = -EIO; /* or without memory: the rest was not read */
    }
    if (rc != 0) {
        error_set(error, "%s; what is left is in %s", strerror(-rc), replay->aside_path.data);
        return rc;
    }
    if (unlink(replay->aside_path.data) != 0) {
        rc = -errno;
        error_set(error, "%s: %s", replay->aside_path.data, strerror(errno));
    } else if (ended) {
        rc = -EAGAIN;
        *error = replay->reason;
    }
    return rc;
}

/* Moves the file aside, unless a killed replay left one there, and locks it. */
static int take_file(struct replay *replay, struct error *error)
{
    const char *aside = replay->aside_path.data;
    if (access(aside, F_OK) != 0 && rename(replay->path.data, aside) != 0) {
        int rc = -errno;
        error_set(error, "%s: %s", replay->path.data,
                  rc == -ENOENT ? "there are no dead letters" : strerror(-rc));
        return rc;
    }
    replay->aside = fopen(aside, "re");
    if (replay->aside == NULL) {
        int rc = -errno;
        error_set(error, "%s: %s", aside, strerror(errno));
        return rc;
    }
    if (flock(fileno(replay->aside), LOCK_EX | LOCK_NB) != 0) {
        error_set(error, "another replay of this sink runs");
        return -EBUSY;
    }
    return 0;
}

static int set_up(struct replay *replay, struct error *error)
{
    const struct sink_settings *settings = replay->options->settings;
    struct http_sender_options http;
    error_set(error, "out of memory");
    int rc = sink_origins_init(&replay->origins);
    rc = rc != 0 ? rc : metrics_create(&replay->metrics);
    rc = rc != 0
             ? rc
             : sink_dead_letters_path(replay->options->state_dir, settings->name, &replay->path);
    rc = rc != 0 ? rc : buf_printf(&replay->aside_path, "%s.replay", replay->path.data);
    rc = rc != 0 || buf_terminated(&replay->aside_path) != NULL ? rc : -ENOMEM;
    if (rc != 0) {
        return rc;
    }
    replay->stop_fd = eventfd(0, EFD_CLOEXEC);
    sink_settings_http(settings, &http);
    rc = take_file(replay, error);
    rc = rc != 0 ? rc : http_sender_create(&http, &replay->http, error);
    return rc != 0 ? rc
                   : replay->type->create(
                         &(struct sink_context){.name = settings->name,
                                                .state_dir = replay->options->state_dir,
                                                .http = replay->http,
                                                .stop_fd = replay->stop_fd,
                                                .metrics = replay->metrics,
                                                .metric_labels = "",
                                                .answer = handle_answer,
                                                .data = replay},
                         settings, &replay->state, error);
}

static void tear_down(struct replay *replay)
{
    if (replay->state != NULL) {
        replay->type->destroy(replay->state);
    }
    http_sender_destroy(replay->http);
    metrics_destroy(replay->metrics);
    if (replay->aside != NULL) {
        (void)fclose(replay->aside);
    }
    if (replay->stop_fd >= 0) {
        (void)close(replay->stop_fd);
    }
    if (replay->origins.map.slots != NULL) {
        sink_origins_finish(&replay->origins);
    }
    buf_finish(&replay->path);
    buf_finish(&replay->aside_path);
    buf_finish(&replay->plain);
    buf_finish(&replay->payload);
}

int sink_replay(const struct sink_replay_options *options, struct sink_replay_result *ret_result,
                struct error *error)
{
    struct replay replay = {.options = options, .type = options->settings->type, .stop_fd = -1};
    buf_init(&replay.path, 0);
    buf_init(&replay.aside_path, 0);
    buf_init(&replay.plain, 0);
    buf_init(&replay.payload, 0);
    int rc = -EINVAL;
    if (!replay.type->uses_http) {
        error_set(error, "a %s sink rejects nothing, so it has no dead letters", replay.type->name);
    } else {
        rc = set_up(&replay, error);
        rc = rc != 0 ? rc : replay_file(&replay, error);
    }
    *ret_result = replay.result;
    tear_down(&replay);
    return rc;
}
