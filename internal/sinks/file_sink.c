/* Encoding is the same for every attempt, since what is in a file is compared with what would be
 * written; so `text` has no columns here. */
#include "sinks/file_sink.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "process/format.h"
#include "sinks/file_path.h"
#include "sinks/file_store.h"

struct options {
    char *path, *format, *compress;
    uint64_t rotate_bytes, keep;
    int64_t rotate_age_ns, keep_age_ns;
};

static const struct option_row rows[] = {
    {"path", OPTION_TEXT, offsetof(struct options, path), "", NULL, 0, 0, NULL, true,
     "Where to; may name {container.name} {container.id} {container.image} {daemon} {stream} "
     "{compose_project} {compose_service}."},
    {"format", OPTION_CHOICE, offsetof(struct options, format), "json", "json|text|logfmt|raw", 0,
     0, NULL, true,
     "What is written for each line: json is the object of `search -o json`, raw the line alone."},
    {"rotate_size", OPTION_SIZE, offsetof(struct options, rotate_bytes), "100MiB", NULL, 0, 0, NULL,
     true, "A file that would grow beyond this is rotated; 0: never by size."},
    {"rotate_age", OPTION_DURATION, offsetof(struct options, rotate_age_ns), "0", NULL, 0, 0, NULL,
     true, "A file begun so long ago is rotated with the next line; 0: never by age."},
    {"keep", OPTION_COUNT, offsetof(struct options, keep), "5", NULL, 0, 100000, NULL, true,
     "Rotated files kept of each file: .1 is the newest; 0: all."},
    {"keep_age", OPTION_DURATION, offsetof(struct options, keep_age_ns), "0", NULL, 0, 0, NULL,
     true, "Rotated files older than this are removed at the next rotation; 0: never."},
    {"compress", OPTION_CHOICE, offsetof(struct options, compress), "none", "none|gzip", 0, 0, NULL,
     true, "What is done with rotated files."},
    {.path = NULL}};

enum line_format { LINE_RAW = -1 }; /* beside enum format_kind */

struct state {
    struct sink_context context;
    const struct options *options;
    int format; /* enum format_kind or LINE_RAW */
    struct file_store *store;
    struct buf folder, journal_path;
    size_t *ends; /* in the payload, of each record encoded last */
    size_t ends_capacity;
};

static int check(const struct sink_settings *settings, struct error *error)
{
    const struct options *options = settings->options;
    return file_path_check(options->path, error);
}

/* Two would rotate each other's files and put their lines between each other's. */
static int check_pair(const struct sink_settings *settings, const struct sink_settings *other,
                      struct error *error)
{
    const struct options *options = settings->options;
    const struct options *others = other->options;
    if (strcmp(options->path, others->path) != 0) {
        return 0;
    }
    error_set(error, "path: sinks.%s writes there too; each needs files of its own", other->name);
    return -EINVAL;
}

static void destroy(void *sink)
{
    struct state *state = sink;
    file_store_destroy(state->store);
    buf_finish(&state->folder);
    buf_finish(&state->journal_path);
    free(state->ends);
    free(state);
}

static int open_store(struct state *state, struct error *error)
{
    const struct options *options = state->options;
    int rc = buf_append(&state->folder, options->path, file_path_base(options->path));
    rc = rc != 0 ? rc
                 : buf_printf(&state->journal_path, "%s/%s.files", state->context.state_dir,
                              state->context.name);
    if (rc != 0 || buf_terminated(&state->folder) == NULL ||
        buf_terminated(&state->journal_path) == NULL) {
        error_set(error, "out of memory");
        return -ENOMEM;
    }
    return file_store_create(
        &(struct file_store_options){.folder = state->folder.data,
                                     .journal_path = state->journal_path.data,
                                     .rotate_bytes = options->rotate_bytes,
                                     .rotate_age_ns = options->rotate_age_ns,
                                     .keep = options->keep,
                                     .keep_age_ns = options->keep_age_ns,
                                     .gzip = strcmp(options->compress, "gzip") == 0},
        &state->store, error);
}

static int create(const struct sink_context *context, const struct sink_settings *settings,
                  void **ret_sink, struct error *error)
{
    struct state *state = calloc(1, sizeof(*state));
    if (state == NULL) {
        error_set(error, "out of memory");
        return -ENOMEM;
    }
    enum format_kind format;
    state->context = *context;
    state->options = settings->options;
    state->format = format_kind_parse(state->options->format, &format) == 0 ? (int)format
                                                                            : LINE_RAW;
    buf_init(&state->folder, 0);
    buf_init(&state->journal_path, 0);
    int rc = open_store(state, error);
    if (rc != 0) {
        destroy(state);
        return rc;
    }
    *ret_sink = state;
    return 0;
}

/* origin->prepared: the path. */
static int prepare(void *sink, struct sink_origin *origin, enum record_stream stream)
{
    const struct state *state = sink;
    struct buf path;
    buf_init(&path, 0);
    int rc = file_path_expand(state->options->path, &origin->view, stream, &path);
    rc = rc != 0 || buf_terminated(&path) != NULL ? rc : -ENOMEM;
    if (rc != 0) {
        buf_finish(&path);
        return rc;
    }
    origin->prepared[stream] = path.data;
    return 0;
}

static const char *path_of(const struct sink_record *record)
{
    bool is_stderr = record->record.stream == RECORD_STDERR;
    return record->origin->prepared[is_stderr ? RECORD_STDERR : RECORD_STDOUT];
}

static int encode_line(const struct state *state, const struct sink_record *record, struct buf *out)
{
    static const struct format_text_style plain = {.colour = false};
    if (state->format == LINE_RAW) {
        int rc = buf_append(out, record->record.line, record->record.line_bytes);
        return rc != 0 ? rc : buf_append(out, "\n", 1);
    }
    return format_record(out, (enum format_kind)state->format, &record->origin->view,
                         &record->record, &plain);
}

static int encode(void *sink, const struct sink_slice *slice, struct buf *out)
{
    struct state *state = sink;
    int rc = 0;
    if (slice->count > state->ends_capacity) {
        size_t *ends = realloc(state->ends, slice->count * sizeof(*ends));
        if (ends == NULL) {
            return -ENOMEM;
        }
        state->ends = ends;
        state->ends_capacity = slice->count;
    }
    for (size_t i = 0; rc == 0 && i < slice->count; i++) {
        rc = encode_line(state, &slice->records[i], out);
        state->ends[i] = out->size;
    }
    return rc;
}

static void send_batch(void *sink, struct sink_delivery *delivery)
{
    struct state *state = sink;
    struct error error = {""};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < delivery->slice.count; i++) {
        const struct sink_record *record = &delivery->slice.records[i];
        size_t begin = i == 0 ? 0 : state->ends[i - 1];
        rc = file_store_add(state->store, path_of(record), record->number,
                            delivery->payload->data + begin, state->ends[i] - begin);
    }
    int written = file_store_write(state->store, &error);
    rc = rc != 0 ? rc : written;
    state->context.answer(delivery,
                          &(struct sink_response){
                              .rc = rc, .text = error.text[0] != '\0' ? error.text : strerror(-rc)},
                          state->context.data);
}

static enum sink_verdict judge(void *sink, const struct sink_response *response)
{
    (void)sink;
    switch (response->rc) {
    case 0:
        return SINK_DELIVERED;
    case -EACCES:
    case -EPERM:
    case -EROFS:
    case -ELOOP:
    case -ENOTDIR:
    case -EISDIR:
        return SINK_DENIED;
    default:
        return SINK_RETRY;
    }
}

static int settle(void *sink, uint64_t next_record)
{
    return file_store_settle(((struct state *)sink)->store, next_record);
}

static bool work(void *sink)
{
    return file_store_work(((struct state *)sink)->store);
}

const struct sink_type file_sink = {
    .name = "file",
    .help = "A file per container, or one for all, with rotation; each line exactly once.",
    .options = rows,
    .options_bytes = sizeof(struct options),
    .defaults = {.batch_bytes = "256KiB"},
    .one_batch = true,
    .check = check,
    .check_pair = check_pair,
    .create = create,
    .destroy = destroy,
    .prepare = prepare,
    .encode = encode,
    .send = send_batch,
    .judge = judge,
    .settle = settle,
    .work = work,
};
