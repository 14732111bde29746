/* Lines of a batch lie one behind the other in one buffer; origins are found by all that they say. */
#include "sinks/sink_batch.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

void sink_batch_init(struct sink_batch *batch)
{
    *batch = (struct sink_batch){0};
    buf_init(&batch->lines, 0);
}

void sink_batch_finish(struct sink_batch *batch)
{
    sink_batch_clear(batch);
    buf_finish(&batch->lines);
    free(batch->records);
    batch->records = NULL;
    batch->capacity = 0;
}

static int make_room(struct sink_batch *batch)
{
    if (batch->count < batch->capacity) {
        return 0;
    }
    size_t capacity = batch->capacity == 0 ? 64 : batch->capacity * 2;
    struct sink_record *records = realloc(batch->records, capacity * sizeof(*records));
    if (records == NULL) {
        return -ENOMEM;
    }
    batch->records = records;
    batch->capacity = capacity;
    return 0;
}

int sink_batch_add(struct sink_batch *batch, const struct sink_record *record)
{
    size_t at = batch->lines.size;
    int rc = make_room(batch);
    rc = rc != 0 ? rc : buf_append(&batch->lines, record->record.line, record->record.line_bytes);
    if (rc == 0) {
        struct sink_record *copy = &batch->records[batch->count++];
        *copy = *record;
        copy->at = at;
        copy->origin->references++;
    }
    return rc;
}

struct sink_slice sink_batch_slice(struct sink_batch *batch, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        struct sink_record *record = &batch->records[i];
        record->record.line = batch->lines.data == NULL ? "" : batch->lines.data + record->at;
    }
    return (struct sink_slice){batch->records + from, to - from};
}

void sink_batch_clear(struct sink_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        sink_origin_unref(batch->records[i].origin);
    }
    batch->count = 0;
    buf_clear(&batch->lines);
}

/* ---- origins ---- */

int sink_origins_init(struct sink_origins *origins)
{
    buf_init(&origins->key, 0);
    return map_init(&origins->map);
}

void sink_origins_finish(struct sink_origins *origins)
{
    map_finish(&origins->map);
    buf_finish(&origins->key);
}

/* The container and a hash of all that is said of it. */
static int write_key(struct buf *key, const struct record_origin *view)
{
    buf_clear(key);
    int rc = buf_printf(key, "%s\x1f%s\x1f%s\x1f%s", view->daemon, view->container_id, view->name,
                        view->image);
    for (size_t i = 0; rc == 0 && i < view->label_count; i++) {
        rc = buf_printf(key, "\x1f%s\x1e%s", view->labels[i].key, view->labels[i].value);
    }
    if (rc == 0) {
        uint64_t hash = str_hash(key->data, key->size);
        buf_clear(key);
        rc = buf_printf(key, "%s %016" PRIx64, view->container_id, hash);
    }
    return rc != 0 ? rc : buf_terminated(key) == NULL ? -ENOMEM : 0;
}

static size_t text_bytes(const struct record_origin *view)
{
    size_t size = strlen(view->daemon) + strlen(view->container_id) + strlen(view->name) +
                  strlen(view->image) + 4;
    for (size_t i = 0; i < view->label_count; i++) {
        size += strlen(view->labels[i].key) + strlen(view->labels[i].value) + 2;
    }
    return size;
}

static const char *put_text(char **at, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = *at;
    memcpy(copy, text, size);
    *at += size;
    return copy;
}

/* One allocation: the labels, the texts, the key. */
static struct sink_origin *copy_origin(const struct record_origin *view, const struct buf *key)
{
    struct sink_origin *origin = calloc(1, sizeof(*origin));
    size_t labels_bytes = view->label_count * sizeof(struct record_label);
    char *storage = malloc(labels_bytes + text_bytes(view) + key->size + 1);
    if (origin == NULL || storage == NULL) {
        free(origin);
        free(storage);
        return NULL;
    }
    struct record_label *labels = (struct record_label *)(void *)storage;
    char *at = storage + labels_bytes;
    origin->storage = storage;
    for (size_t i = 0; i < view->label_count; i++) {
        labels[i].key = put_text(&at, view->labels[i].key);
        labels[i].value = put_text(&at, view->labels[i].value);
    }
    origin->view = (struct record_origin){.daemon = put_text(&at, view->daemon),
                                          .container_id = put_text(&at, view->container_id),
                                          .name = put_text(&at, view->name),
                                          .image = put_text(&at, view->image),
                                          .labels = labels,
                                          .label_count = view->label_count};
    memcpy(at, key->data, key->size + 1);
    origin->hash = str_hash(view->container_id, strlen(view->container_id));
    origin->node.key = at;
    return origin;
}

struct sink_origin *sink_origins_get(struct sink_origins *origins, const struct record_origin *view,
                                     bool *ret_new)
{
    if (write_key(&origins->key, view) != 0) {
        return NULL;
    }
    struct map_node *node = map_find(&origins->map, origins->key.data);
    struct sink_origin *origin;
    *ret_new = node == NULL;
    if (node != NULL) {
        origin = container_of(node, struct sink_origin, node);
    } else {
        origin = copy_origin(view, &origins->key);
        if (origin == NULL) {
            return NULL;
        }
        origin->origins = origins;
        map_insert(&origins->map, &origin->node, origin->node.key);
    }
    origin->references++;
    return origin;
}

void sink_origin_unref(struct sink_origin *origin)
{
    if (origin == NULL || --origin->references > 0) {
        return;
    }
    map_remove(&origin->origins->map, &origin->node);
    for (size_t i = 0; i < sizeof(origin->prepared) / sizeof(origin->prepared[0]); i++) {
        free(origin->prepared[i]);
    }
    free(origin->storage);
    free(origin);
}
