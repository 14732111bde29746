/*
 * Standard output may be a pipe that nobody reads. send waits with poll() for room together with
 * stop_fd, and writes at most PIPE_BUF bytes then, which a ready pipe always takes, so that the
 * end of the agent never waits for a reader. What of a batch was written stays written: a failed
 * send goes on behind it.
 */
#include "sinks/stdout_sink.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "process/format.h"

#define NAME_COLUMNS_LIMIT 32

struct options {
    char *format;
};

static const struct option_row rows[] = {
    {"format", OPTION_CHOICE, offsetof(struct options, format), "text", "text|json|logfmt", 0, 0,
     NULL, true, "What is written for each line; json is the object of `search -o json`."},
    {.path = NULL}};

struct state {
    struct sink_context context;
    enum format_kind format;
    struct format_text_style style;
    uint64_t part_of; /* number of the first record of the batch that was written in part */
    size_t part_bytes;
};

/* Lines longer than PIPE_BUF would be mixed. */
static int check_pair(const struct sink_settings *settings, const struct sink_settings *other,
                      struct error *error)
{
    (void)settings;
    error_set(error, "there is one standard output, and sinks.%s has it", other->name);
    return -EINVAL;
}

static int create(const struct sink_context *context, const struct sink_settings *settings,
                  void **ret_sink, struct error *error)
{
    const struct options *options = settings->options;
    struct state *state = calloc(1, sizeof(*state));
    if (state == NULL) {
        error_set(error, "out of memory");
        return -ENOMEM;
    }
    state->context = *context;
    state->style.colour = isatty(STDOUT_FILENO) == 1;
    int rc = format_kind_parse(options->format, &state->format);
    if (rc != 0) {
        free(state);
        return rc;
    }
    *ret_sink = state;
    return 0;
}

static void destroy(void *sink)
{
    free(sink);
}

/* The columns first: the same records again must give the same bytes. */
static int encode(void *sink, const struct sink_slice *slice, struct buf *out)
{
    struct state *state = sink;
    for (size_t i = 0; i < slice->count; i++) {
        size_t columns = strlen(slice->records[i].origin->view.name);
        if (columns > state->style.name_columns && columns <= NAME_COLUMNS_LIMIT) {
            state->style.name_columns = columns;
        }
    }
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < slice->count; i++) {
        const struct sink_record *record = &slice->records[i];
        rc = format_record(out, state->format, &record->origin->view, &record->record,
                           &state->style);
    }
    return rc;
}

/* 0, -ECANCELED when waiting must end, or another negative errno. *done counts what was written. */
static int write_out(const struct state *state, const struct buf *bytes, size_t *done)
{
    while (*done < bytes->size) {
        struct pollfd fds[2] = {{.fd = STDOUT_FILENO, .events = POLLOUT},
                                {.fd = state->context.stop_fd, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0 && errno != EINTR) {
            return -errno;
        }
        if (fds[1].revents != 0) {
            return -ECANCELED;
        }
        if (fds[0].revents == 0) {
            continue;
        }
        size_t size = bytes->size - *done;
        ssize_t n = write(STDOUT_FILENO, bytes->data + *done, size > PIPE_BUF ? PIPE_BUF : size);
        if (n < 0 && errno != EINTR && errno != EAGAIN) {
            return -errno;
        }
        *done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static void send_batch(void *sink, struct sink_delivery *delivery)
{
    struct state *state = sink;
    uint64_t first = delivery->slice.records[0].number;
    size_t done = state->part_of == first ? state->part_bytes : 0;
    done = done < delivery->payload->size ? done : delivery->payload->size;
    int rc = write_out(state, delivery->payload, &done);
    state->part_of = rc == 0 ? UINT64_MAX : first;
    state->part_bytes = done;
    state->context.answer(delivery,
                          &(struct sink_response){.rc = rc, .text = rc != 0 ? strerror(-rc) : NULL},
                          state->context.data);
}

static enum sink_verdict judge(void *sink, const struct sink_response *response)
{
    (void)sink;
    return response->rc == 0 ? SINK_DELIVERED : SINK_UNREACHABLE;
}

const struct sink_type stdout_sink = {
    .name = "stdout",
    .help = "Standard output, for people and for whatever reads the agent's output.",
    .options = rows,
    .options_bytes = sizeof(struct options),
    .defaults = {.batch_bytes = "64KiB"},
    .one_batch = true,
    .check_pair = check_pair,
    .create = create,
    .destroy = destroy,
    .encode = encode,
    .send = send_batch,
    .judge = judge,
};
