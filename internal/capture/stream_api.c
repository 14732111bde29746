/*
 * The stream over the daemon's log API.
 *
 * An answer is asked for with the last 32 lines first. If its first line is not one that was
 * recorded, the answer may have a hole before it, and more is asked for: 1,024, 32,768, all. A
 * `tail` costs the daemon O(lines), `since` O(stored bytes), and `since` is wrong on old daemons.
 *
 * Some daemons (23 and later, after the log file was truncated from outside) spin on a `tail`
 * without answering: without a byte for 3 s, although lines are known to exist, it is given up and
 * the whole log asked for.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/str.h"
#include "capture/stream.h"
#include "docker/docker_logs.h"
#include "loop/loop.h"
#include "loop/timer.h"
#include "process/frames.h"
#include "process/lines.h"

#define FIRST_DATA_LIMIT_NS (3 * INT64_C(1000000000))
#define FRAME_ROOM_BYTES 65536

static const int64_t tails[] = {32, 1024, 32768, -1};
#define TAIL_STEPS (sizeof(tails) / sizeof(tails[0]))

struct stream_api {
    struct stream base;
    struct stream_options options;
    char id[DOCKER_ID_SIZE];
    struct docker_logs *logs;
    struct frames frames;
    struct lines lines;
    struct loop_timer first_data_timer;
    size_t step; /* in tails */
    bool partial;
    bool ending;   /* why is set; no more lines */
    bool ask_more; /* end this answer and ask for more of the log */
    bool strict;   /* looking for the mark itself */
    enum stream_end why;
};

static struct stream_api *as_api(struct stream *stream)
{
    return container_of(stream, struct stream_api, base);
}

static int ask(struct stream_api *stream);

static void stop_answer(struct stream_api *stream)
{
    loop_timer_disarm(&stream->first_data_timer);
    docker_logs_close(stream->logs);
}

static void end_with(struct stream_api *stream, enum stream_end why)
{
    if (!stream->ending) {
        stream->ending = true;
        stream->why = why;
        stop_answer(stream);
    }
}

/* ---- lines ---- */

static int64_t wall_now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void handle_record(const struct record *record, void *data)
{
    struct stream_api *stream = data;
    const struct stream_options *options = &stream->options;
    if (stream->ending || stream->ask_more) {
        return;
    }
    struct resume *resume = options->resume;
    bool had_gap = resume->gap;
    int64_t wall_ns = resume_needs_clock(resume, record) ? wall_now_ns() : 0;
    switch (resume_judge(resume, record, wall_ns)) {
    case RESUME_SEEN:
        return;
    case RESUME_REPEATED:
        options->on_repeated(options->data);
        return;
    case RESUME_NOT_PROVED:
        stream->ask_more = true;
        stop_answer(stream);
        return;
    case RESUME_NEW:
        break;
    }
    if (resume->gap && !had_gap) {
        options->on_gap(record, options->data);
    }
    int rc = options->on_record(record, options->data);
    if (rc == 0) {
        resume_record(resume, record);
    } else {
        end_with(stream, STREAM_NO_MEMORY);
    }
}

static void handle_piece(uint8_t stream_number, int64_t time_ns, const char *bytes, size_t size,
                         void *data)
{
    struct stream_api *stream = data;
    if (stream->ending || stream->ask_more) {
        return;
    }
    if (lines_piece(&stream->lines, stream_number, time_ns, bytes, size) != 0) {
        end_with(stream, STREAM_NO_MEMORY);
    }
}

/* The answer flows: from here on bytes are due. */
static void handle_open(void *data)
{
    struct stream_api *stream = data;
    stream->options.on_open(stream->options.data);
    if (stream->partial && !stream->ending) {
        loop_timer_arm(&stream->first_data_timer, FIRST_DATA_LIMIT_NS);
    }
}

static void handle_daemon_error(const char *text, size_t size, void *data)
{
    struct stream_api *stream = data;
    stream->options.on_daemon_error(text, size, stream->options.data);
}

/* ---- the answer ---- */

static void handle_bytes(const char *bytes, size_t size, void *data)
{
    struct stream_api *stream = data;
    if (stream->ending || stream->ask_more) {
        return;
    }
    loop_timer_disarm(&stream->first_data_timer);
    stream->options.on_bytes(size, stream->options.data);
    int rc = frames_feed(&stream->frames, bytes, size, NULL);
    if (rc != 0) {
        end_with(stream, rc == -EPROTO ? STREAM_PROTOCOL : STREAM_NO_MEMORY);
    }
}

static void reset_answer(struct stream_api *stream)
{
    size_t limit = stream->options.max_line_bytes;
    frames_finish(&stream->frames);
    lines_finish(&stream->lines);
    frames_init(&stream->frames,
                &(struct frames_options){.tty = stream->options.tty,
                                         .limit_bytes = limit + limit / 64 + FRAME_ROOM_BYTES,
                                         .on_piece = handle_piece,
                                         .on_daemon_error = handle_daemon_error,
                                         .data = stream});
    lines_init(&stream->lines, limit, handle_record, stream);
}

static void destroy(struct stream_api *stream)
{
    loop_timer_disarm(&stream->first_data_timer);
    frames_finish(&stream->frames);
    lines_finish(&stream->lines);
    free(stream);
}

static enum stream_end end_of(const struct stream_api *stream, const struct docker_outcome *outcome)
{
    switch (outcome->verdict) {
    case DOCKER_OK:
        return frames_is_inside(&stream->frames) && !stream->options.tty ? STREAM_BROKEN
                                                                         : STREAM_COMPLETED;
    case DOCKER_CLOSED:
        return STREAM_SHUTDOWN;
    case DOCKER_UNAVAILABLE:
        return STREAM_BROKEN;
    default:
        return STREAM_REFUSED;
    }
}

/* The mark was looked for in the whole log and is gone: all of it came later. */
static bool mark_is_gone(struct stream_api *stream, const struct docker_outcome *outcome)
{
    return stream->strict && !stream->ending && outcome->verdict == DOCKER_OK &&
           (stream->options.resume->seeking[0] || stream->options.resume->seeking[1]) &&
           !stream->options.follow;
}

static void handle_logs_end(const struct docker_outcome *outcome, void *data)
{
    struct stream_api *stream = data;
    stream->logs = NULL;
    loop_timer_disarm(&stream->first_data_timer);
    bool again = false;
    if (!stream->ending && stream->ask_more) {
        again = true;
        stream->step++;
    } else if (mark_is_gone(stream, outcome)) {
        again = true;
        stream->options.resume->accept_all = true;
    }
    if (again) {
        reset_answer(stream);
        if (ask(stream) == 0) {
            return;
        }
        stream->ending = true;
        stream->why = STREAM_NO_MEMORY;
    }
    enum stream_end end = stream->ending ? stream->why : end_of(stream, outcome);
    if (end == STREAM_COMPLETED) {
        frames_end(&stream->frames); /* whether what is open then is a last line, the owner knows */
    }
    stream->options.on_end(end, outcome, stream->options.data);
    destroy(stream);
}

static void handle_first_data_timer(struct loop_timer *timer, void *data)
{
    (void)timer;
    struct stream_api *stream = data;
    stream->ask_more = true;
    stream->step = TAIL_STEPS - 2; /* the next step is the whole log */
    stop_answer(stream);
}

static int ask(struct stream_api *stream)
{
    const struct stream_options *options = &stream->options;
    struct resume *resume = options->resume;
    int64_t tail = -1;
    stream->strict = resume_is_strict(resume) && !resume->accept_all;
    if (options->from_now && !resume_has_marks(resume)) {
        tail = 0;
    } else if (!options->whole && resume_allows_partial(resume)) {
        tail = tails[stream->step];
    }
    stream->partial = tail > 0;
    stream->ask_more = false;
    resume_begin(resume, stream->partial);
    return docker_logs_open(options->client,
                            &(struct docker_logs_options){.id = stream->id,
                                                          .follow = options->follow,
                                                          .tail = tail,
                                                          .on_open = handle_open,
                                                          .on_data = handle_bytes,
                                                          .on_end = handle_logs_end,
                                                          .data = stream},
                            &stream->logs);
}

/* ---- the table ---- */

static int api_open(const struct stream_options *options, struct stream **ret_stream)
{
    struct stream_api *stream = calloc(1, sizeof(*stream));
    if (stream == NULL) {
        return -ENOMEM;
    }
    stream->base.type = &stream_api_type;
    stream->options = *options;
    stream->options.id = stream->id;
    (void)str_copy(stream->id, sizeof(stream->id), options->id);
    loop_timer_init(docker_client_loop(options->client), &stream->first_data_timer,
                    handle_first_data_timer, stream);
    reset_answer(stream);
    int rc = ask(stream);
    if (rc != 0) {
        destroy(stream);
        return rc;
    }
    *ret_stream = &stream->base;
    return 0;
}

static void api_close(struct stream *stream, enum stream_end why)
{
    end_with(as_api(stream), why);
}

static void api_flush(struct stream *stream)
{
    lines_flush(&as_api(stream)->lines);
}

static bool api_is_open(const struct stream *stream, int index)
{
    const struct stream_api *api = container_of(stream, const struct stream_api, base);
    return lines_is_open(&api->lines, index == 0 ? RECORD_STDOUT : RECORD_STDERR);
}

const struct stream_type stream_api_type = {.name = "api",
                                            .open = api_open,
                                            .close = api_close,
                                            .flush = api_flush,
                                            .is_open = api_is_open};
