/*
 * What all lines of a container's stream share is made once (prepare) and kept with the origin: the
 * label text and the encoded metadata.
 *
 * Label sets are counted, since each is a stream that Loki keeps open. Over stream_limit a new one
 * gets only the labels that do not come from a container (host, daemon, stream); what was left out goes
 * into the metadata. A set that was not used for an hour is not counted any more.
 */
#include "sinks/loki_sink.h"

#include <errno.h>
#include <snappy-c.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"
#include "sinks/loki_encode.h"
#include "sinks/sink_field.h"

#define PUSH_PATH "/loki/api/v1/push"
#define LABEL_LIMIT 32
#define UNUSED_S 3600

struct options {
    struct text_list labels;
    char *tenant, *host;
    uint64_t stream_limit;
    bool structured_metadata;
};

static const struct option_row rows[] = {
    {"labels", OPTION_LIST, offsetof(struct options, labels),
     "container,compose_project,compose_service,stream,host", NULL, 0, 0, NULL, true,
     "Labels of a stream, of: container, container_id, image, daemon, host, stream, "
     "compose_project, compose_service, and label.KEY for a container's label. The others of these "
     "go into the structured metadata."},
    {"stream_limit", OPTION_COUNT, offsetof(struct options, stream_limit), "5000", NULL, 1, 1000000,
     NULL, true,
     "Label sets in use. Beyond it new ones keep host, daemon and stream only; the rest goes into "
     "the structured metadata."},
    {"structured_metadata", OPTION_BOOL, offsetof(struct options, structured_metadata), "true",
     NULL, 0, 0, NULL, true, "false for a Loki that does not take it (before 3.0 by default)."},
    {"tenant", OPTION_TEXT, offsetof(struct options, tenant), "", NULL, 0, 0, NULL, true,
     "Sent as X-Scope-OrgID."},
    {"host", OPTION_TEXT, offsetof(struct options, host), "", NULL, 0, 0, NULL, true,
     "Value of the label host; empty: the host name, which in a container is the container's."},
    {.path = NULL}};

static const struct {
    const char *name;
    enum sink_field field;
} fields[] = {{"compose_project", SINK_FIELD_COMPOSE_PROJECT},
              {"compose_service", SINK_FIELD_COMPOSE_SERVICE},
              {"container", SINK_FIELD_CONTAINER},
              {"container_id", SINK_FIELD_CONTAINER_ID},
              {"daemon", SINK_FIELD_DAEMON},
              {"host", SINK_FIELD_HOST},
              {"image", SINK_FIELD_IMAGE},
              {"stream", SINK_FIELD_STREAM}};
#define FIELD_COUNT (sizeof(fields) / sizeof(fields[0]))

/* A label set in use. */
struct label_set {
    struct map_node node;
    int64_t used_s;
    char text[];
};

/* What the lines of an origin's stream share; origin->prepared[stream]. */
struct prepared {
    uint64_t batch; /* the last one with this stream in it */
    size_t index;   /* in that batch */
    size_t metadata_bytes;
    size_t labels_bytes; /* with the NUL */
    char bytes[];        /* the label text, then the encoded metadata */
};

struct state {
    struct sink_context context;
    const struct options *options;
    char host[256];
    char tenant_header[256];
    const char *headers[4];
    const char *path;
    struct map sets;
    uint64_t batch;
    struct loki_encoder encoder;
    struct loki_stream *streams;
    struct loki_entry *entries;
    size_t capacity; /* of both */
    struct metric set_count, over_limit;
};

/* ---- settings ---- */

static bool is_label(const char *name)
{
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        if (strcmp(fields[i].name, name) == 0) {
            return true;
        }
    }
    return str_starts_with(name, "label.") && name[6] != '\0' && strlen(name) < 128;
}

/* A name that Loki takes: other letters become '_'. */
static void label_name(const char *item, char *ret_name, size_t name_bytes)
{
    (void)str_copy(ret_name, name_bytes, str_starts_with(item, "label.") ? item + 6 : item);
    for (char *p = ret_name; *p != '\0'; p++) {
        bool letter = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z');
        bool digit = *p >= '0' && *p <= '9' && p != ret_name;
        *p = letter || digit ? *p : '_';
    }
}

/* An earlier item whose label has the name of this one's; NULL when there is none. */
static const char *same_name_before(const struct text_list *labels, size_t index)
{
    char name[128];
    label_name(labels->items[index], name, sizeof(name));
    for (size_t i = 0; i < index; i++) {
        char other[128];
        label_name(labels->items[i], other, sizeof(other));
        if (strcmp(name, other) == 0) {
            return labels->items[i];
        }
    }
    return NULL;
}

static int check(const struct sink_settings *settings, struct error *error)
{
    const struct options *options = settings->options;
    if (options->labels.count > LABEL_LIMIT) {
        error_set(error, "labels: more than %d", LABEL_LIMIT);
        return -EINVAL;
    }
    for (size_t i = 0; i < options->labels.count; i++) {
        const char *other = same_name_before(&options->labels, i);
        if (other != NULL) {
            error_set(error, "labels: '%.80s' and '%.80s' would have the same name", other,
                      options->labels.items[i]);
            return -EINVAL;
        }
        if (!is_label(options->labels.items[i])) {
            error_set(error,
                      "labels: '%.80s' is none of container, container_id, image, daemon, host, "
                      "stream, compose_project, compose_service, label.KEY",
                      options->labels.items[i]);
            return -EINVAL;
        }
    }
    if (strpbrk(options->tenant, "\r\n") != NULL || strlen(options->tenant) > 200) {
        error_set(error, "tenant: up to 200 letters of one line are expected");
        return -EINVAL;
    }
    return 0;
}

static bool list_has(const struct text_list *list, const char *name)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->items[i], name) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- labels ---- */

static const char *value_of(const struct state *state, enum sink_field field,
                            const struct record_origin *origin, enum record_stream stream)
{
    const char *value = field == SINK_FIELD_HOST ? state->host
                                                 : sink_field_value(field, origin, stream);
    return value == NULL ? "" : value;
}

static bool is_from_container(enum sink_field field)
{
    return field != SINK_FIELD_HOST && field != SINK_FIELD_DAEMON && field != SINK_FIELD_STREAM;
}

/* Appends the label text; few: without what comes from the container. */
static int append_labels(const struct state *state, const struct record_origin *origin,
                         enum record_stream stream, bool few, struct buf *out)
{
    const struct text_list *labels = &state->options->labels;
    size_t begin = out->size;
    int rc = buf_append(out, "{", 1);
    for (size_t i = 0; rc == 0 && i < FIELD_COUNT; i++) {
        const char *value = value_of(state, fields[i].field, origin, stream);
        if (value[0] != '\0' && list_has(labels, fields[i].name) &&
            !(few && is_from_container(fields[i].field))) {
            rc = loki_append_label(out, fields[i].name, value);
        }
    }
    for (size_t i = 0; rc == 0 && !few && i < labels->count; i++) {
        const char *key = labels->items[i];
        const char *value = str_starts_with(key, "label.") ? sink_field_label(origin, key + 6)
                                                           : NULL;
        if (value != NULL && value[0] != '\0') {
            char name[128];
            label_name(key, name, sizeof(name));
            rc = loki_append_label(out, name, value);
        }
    }
    if (rc == 0 && out->size == begin + 1) { /* Loki wants one at least */
        rc = loki_append_label(out, "agent", "log_capturer");
    }
    return rc != 0 ? rc : buf_append(out, "}", 2); /* with its NUL */
}

static int append_metadata(const struct state *state, const struct record_origin *origin,
                           enum record_stream stream, bool few, struct buf *out)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && state->options->structured_metadata && i < FIELD_COUNT; i++) {
        const char *value = value_of(state, fields[i].field, origin, stream);
        bool is_in_labels = list_has(&state->options->labels, fields[i].name) &&
                            !(few && is_from_container(fields[i].field));
        if (value[0] != '\0' && !is_in_labels) {
            rc = loki_append_metadata(out, fields[i].name, value);
        }
    }
    const struct text_list *labels = &state->options->labels;
    for (size_t i = 0; rc == 0 && few && state->options->structured_metadata && i < labels->count;
         i++) {
        const char *key = labels->items[i];
        const char *value = str_starts_with(key, "label.") ? sink_field_label(origin, key + 6)
                                                           : NULL;
        if (value != NULL && value[0] != '\0') {
            char name[128];
            label_name(key, name, sizeof(name));
            rc = loki_append_metadata(out, name, value);
        }
    }
    return rc;
}

static int64_t now_s(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

static void forget_unused_sets(struct state *state)
{
    for (struct map_node *node = map_next(&state->sets, NULL); node != NULL;) {
        struct label_set *set = container_of(node, struct label_set, node);
        node = map_next(&state->sets, node);
        if (now_s() - set->used_s > UNUSED_S) {
            map_remove(&state->sets, &set->node);
            free(set);
        }
    }
}

/* Counts the label set as used; false when it is one too many. */
static bool use_set(struct state *state, const char *text)
{
    struct map_node *node = map_find(&state->sets, text);
    if (node == NULL) {
        if (state->sets.size >= state->options->stream_limit) {
            forget_unused_sets(state);
        }
        size_t size = strlen(text) + 1;
        struct label_set *set = state->sets.size >= state->options->stream_limit
                                    ? NULL
                                    : malloc(sizeof(*set) + size);
        if (set == NULL) {
            return false;
        }
        memcpy(set->text, text, size);
        map_insert(&state->sets, &set->node, set->text);
        node = &set->node;
        metric_set(&state->set_count, (int64_t)state->sets.size);
    }
    container_of(node, struct label_set, node)->used_s = now_s();
    return true;
}

static int write_texts(const struct state *state, const struct record_origin *origin,
                       enum record_stream stream, bool few, struct buf *bytes)
{
    buf_clear(bytes);
    int rc = append_labels(state, origin, stream, few, bytes);
    return rc != 0 ? rc : append_metadata(state, origin, stream, few, bytes);
}

static int prepare(void *sink, struct sink_origin *origin, enum record_stream stream)
{
    struct state *state = sink;
    struct buf bytes;
    buf_init(&bytes, 0);
    int rc = write_texts(state, &origin->view, stream, false, &bytes);
    if (rc == 0 && !use_set(state, bytes.data)) {
        metric_add(&state->over_limit, 1);
        rc = write_texts(state, &origin->view, stream, true, &bytes);
    }
    struct prepared *prepared = rc != 0 ? NULL : malloc(sizeof(*prepared) + bytes.size);
    if (prepared != NULL) {
        size_t labels_bytes = strlen(bytes.data) + 1;
        *prepared = (struct prepared){.labels_bytes = labels_bytes,
                                      .metadata_bytes = bytes.size - labels_bytes};
        memcpy(prepared->bytes, bytes.data, bytes.size);
        origin->prepared[stream] = prepared;
    }
    buf_finish(&bytes);
    return rc != 0 ? rc : prepared == NULL ? -ENOMEM : 0;
}

/* ---- encoding ---- */

static int make_room(struct state *state, size_t count)
{
    if (count > state->capacity) {
        free(state->streams);
        free(state->entries);
        state->streams = malloc(count * sizeof(*state->streams));
        state->entries = malloc(count * sizeof(*state->entries));
        state->capacity = state->streams != NULL && state->entries != NULL ? count : 0;
    }
    return count <= state->capacity ? 0 : -ENOMEM;
}

static int encode(void *sink, const struct sink_slice *slice, struct buf *out)
{
    struct state *state = sink;
    size_t stream_count = 0;
    int rc = make_room(state, slice->count);
    if (rc != 0) {
        return rc;
    }
    uint64_t batch = state->batch + 1;
    for (size_t i = 0; i < slice->count; i++) {
        const struct sink_record *record = &slice->records[i];
        bool is_stderr = record->record.stream == RECORD_STDERR;
        struct prepared *prepared =
            record->origin->prepared[is_stderr ? RECORD_STDERR : RECORD_STDOUT];
        if (prepared->batch != batch) {
            prepared->batch = batch;
            prepared->index = stream_count;
            state->streams[stream_count++] = (struct loki_stream){
                prepared->bytes, prepared->bytes + prepared->labels_bytes,
                prepared->metadata_bytes};
            (void)use_set(state, prepared->bytes); /* it is in use, also beyond the limit */
        }
        state->entries[i] = (struct loki_entry){prepared->index, record->record.time_ns,
                                                record->record.line, record->record.line_bytes};
    }
    state->batch = batch;
    return loki_encode(
        &state->encoder,
        &(struct loki_request){state->streams, stream_count, state->entries, slice->count}, out);
}

static int compress(const struct buf *payload, struct buf *out)
{
    size_t size = snappy_max_compressed_length(payload->size);
    int rc = buf_reserve(out, size);
    if (rc != 0) {
        return rc;
    }
    if (snappy_compress(payload->data, payload->size, out->data + out->size, &size) != SNAPPY_OK) {
        return -EINVAL;
    }
    out->size += size;
    return 0;
}

/* ---- sending ---- */

static void handle_end(const struct http_sender_answer *answer, void *data)
{
    struct sink_delivery *delivery = data;
    struct state *state = delivery->type_data;
    state->context.answer(delivery,
                          &(struct sink_response){.rc = answer->rc,
                                                  .status = answer->status,
                                                  .body = answer->body,
                                                  .body_bytes = answer->body_bytes,
                                                  .retry_after_ns = answer->retry_after_ns,
                                                  .text = answer->text},
                          state->context.data);
}

static void send_batch(void *sink, struct sink_delivery *delivery)
{
    struct state *state = sink;
    delivery->type_data = state;
    int rc = http_sender_start(state->context.http,
                               &(struct http_sender_request){.path = state->path,
                                                             .headers = state->headers,
                                                             .body = delivery->payload->data,
                                                             .body_bytes = delivery->payload->size,
                                                             .on_end = handle_end,
                                                             .data = delivery});
    if (rc != 0) {
        handle_end(&(struct http_sender_answer){.rc = rc, .text = strerror(-rc)}, delivery);
    }
}

static bool body_has(const struct sink_response *response, const char *text)
{
    return response->body_bytes > 0 &&
           memmem(response->body, response->body_bytes, text, strlen(text)) != NULL;
}

/*
 * 400 covers lines that Loki will never take: too old, too new, too far behind, out of order, too long,
 * too many labels. It takes the other lines of the batch then, and leaves them out when they come
 * again. Limits of streams and rates are 429.
 */
static enum sink_verdict judge(void *sink, const struct sink_response *response)
{
    (void)sink;
    int status = response->status;
    if (response->rc != 0) {
        return response->rc == -EACCES ? SINK_DENIED : SINK_UNREACHABLE;
    }
    if (status >= 200 && status < 300) {
        return SINK_DELIVERED;
    }
    if (status >= 500 && body_has(response, "larger than max")) {
        return SINK_REJECTED; /* the batch is too large for its inner transport */
    }
    if (status == 429 || status == 408 || status >= 500) {
        return SINK_RETRY;
    }
    bool setting = body_has(response, "structured metadata, but this feature is disallowed") ||
                   body_has(response, "label names; limit");
    if (status == 400 && setting) {
        return SINK_DENIED; /* no matter of the line */
    }
    return status == 400 || status == 413 || status == 422 ? SINK_REJECTED : SINK_DENIED;
}

/* ---- life ---- */

static int register_metrics(struct state *state)
{
    const struct sink_context *context = &state->context;
    int rc = metrics_add(context->metrics, &state->set_count,
                         &(struct metric_desc){.type = METRIC_GAUGE,
                                               .name = "log_capturer_sink_label_sets",
                                               .help = "Label sets in use, of stream_limit.",
                                               .labels = context->metric_labels});
    return rc != 0 ? rc
                   : metrics_add(context->metrics, &state->over_limit,
                                 &(struct metric_desc){
                                     .name = "log_capturer_sink_label_sets_over_limit_total",
                                     .help = "Label sets that were cut to host, daemon and stream.",
                                     .labels = context->metric_labels});
}

static void set_request(struct state *state, const char *url)
{
    size_t size = strlen(url);
    const char *slash = strrchr(url, '/');
    bool whole = slash != NULL && strcmp(slash, "/push") == 0;
    state->path = whole ? "" : &PUSH_PATH[size > 0 && url[size - 1] == '/' ? 1 : 0];
    state->headers[0] = "Content-Type: application/x-protobuf";
    state->headers[1] = "Content-Encoding: snappy";
    if (state->options->tenant[0] != '\0') {
        (void)str_copy(state->tenant_header, sizeof(state->tenant_header), "X-Scope-OrgID: ");
        (void)str_copy(state->tenant_header + 15, sizeof(state->tenant_header) - 15,
                       state->options->tenant);
        state->headers[2] = state->tenant_header;
    }
}

static void release(void *sink)
{
    struct state *state = sink;
    loki_encoder_finish(&state->encoder);
    free(state->streams);
    free(state->entries);
    state->streams = NULL;
    state->entries = NULL;
    state->capacity = 0;
}

static void destroy(void *sink)
{
    struct state *state = sink;
    release(state);
    for (struct map_node *node = map_next(&state->sets, NULL); node != NULL;) {
        struct label_set *set = container_of(node, struct label_set, node);
        node = map_next(&state->sets, node);
        free(set);
    }
    map_finish(&state->sets);
    metric_finish(&state->set_count);
    metric_finish(&state->over_limit);
    free(state);
}

static int create(const struct sink_context *context, const struct sink_settings *settings,
                  void **ret_sink, struct error *error)
{
    struct state *state = calloc(1, sizeof(*state));
    error_set(error, "out of memory");
    if (state == NULL) {
        return -ENOMEM;
    }
    state->context = *context;
    state->options = settings->options;
    loki_encoder_init(&state->encoder);
    if (map_init(&state->sets) != 0) {
        free(state);
        return -ENOMEM;
    }
    (void)str_copy(state->host, sizeof(state->host), state->options->host);
    if (state->host[0] == '\0') {
        (void)gethostname(state->host, sizeof(state->host) - 1);
    }
    set_request(state, settings->http.url);
    int rc = register_metrics(state);
    if (rc != 0) {
        destroy(state);
        return rc;
    }
    *ret_sink = state;
    return 0;
}

const struct sink_type loki_sink = {
    .name = "loki",
    .help = "Grafana Loki's push API; VictoriaLogs takes it too.",
    .options = rows,
    .options_bytes = sizeof(struct options),
    .defaults = {.batch_age = "1s"},
    .uses_http = true,
    .check = check,
    .create = create,
    .destroy = destroy,
    .prepare = prepare,
    .encode = encode,
    .compress = compress,
    .send = send_batch,
    .judge = judge,
    .release = release,
};
