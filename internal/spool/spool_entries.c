/* Every length is checked against what is left; a damaged payload gives -EINVAL, never a read
 * behind its end. */
#include "spool/spool_entries.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct cut {
    const unsigned char *at;
    const unsigned char *end;
    bool bad;
};

static uint64_t take_varint(struct cut *cut)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (cut->at == cut->end) {
            break;
        }
        unsigned char byte = *cut->at++;
        value |= (uint64_t)(byte & 0x7fU) << shift;
        if (byte < 0x80) {
            return value;
        }
    }
    cut->bad = true;
    return 0;
}

static const void *take_string(struct cut *cut, size_t *ret_size)
{
    uint64_t size = take_varint(cut);
    if (cut->bad || size > (uint64_t)(cut->end - cut->at)) {
        cut->bad = true;
        *ret_size = 0;
        return cut->end;
    }
    const unsigned char *from = cut->at;
    cut->at += size;
    *ret_size = (size_t)size;
    return from;
}

static uint8_t take_byte(struct cut *cut)
{
    if (cut->at == cut->end) {
        cut->bad = true;
        return 0;
    }
    return *cut->at++;
}

void spool_entries_init(struct spool_entries *entries, const void *payload, size_t size)
{
    *entries = (struct spool_entries){.at = payload, .end = (const unsigned char *)payload + size};
}

static void take_origin(struct cut *cut, struct spool_entry *entry)
{
    size_t ignored;
    entry->kind = SPOOL_ENTRY_ORIGIN;
    uint64_t id = take_varint(cut);
    entry->origin_id = (uint32_t)id;
    cut->bad = cut->bad || id > UINT32_MAX;
    entry->origin_from = cut->at;
    for (int i = 0; i < 4; i++) {
        (void)take_string(cut, &ignored);
    }
    uint64_t labels = take_varint(cut);
    cut->bad = cut->bad || labels > (uint64_t)(cut->end - cut->at); /* a label has two bytes */
    for (uint64_t i = 0; i < 2 * labels && !cut->bad; i++) {
        (void)take_string(cut, &ignored);
    }
    entry->origin_bytes = (size_t)(cut->at - entry->origin_from);
}

static void take_record(struct cut *cut, uint8_t stream, int64_t *last_time_ns,
                        struct spool_entry *entry)
{
    entry->kind = SPOOL_ENTRY_RECORD;
    uint64_t id = take_varint(cut);
    uint64_t zigzag = take_varint(cut);
    uint64_t delta = zigzag >> 1 ^ (0U - (zigzag & 1U));
    entry->origin_id = (uint32_t)id;
    cut->bad = cut->bad || id > UINT32_MAX;
    *last_time_ns = (int64_t)((uint64_t)*last_time_ns + delta);
    entry->record.time_ns = *last_time_ns;
    entry->record.stream = stream;
    entry->record.flags = take_byte(cut);
    entry->record.line = take_string(cut, &entry->record.line_bytes);
}

int spool_entries_next(struct spool_entries *entries, struct spool_entry *ret_entry)
{
    struct cut cut = {.at = entries->at, .end = entries->end};
    *ret_entry = (struct spool_entry){.kind = SPOOL_ENTRY_END};
    if (cut.at == cut.end) {
        return 0;
    }
    uint8_t tag = take_byte(&cut);
    switch (tag) {
    case 0x01:
        take_origin(&cut, ret_entry);
        break;
    case 0x02:
        ret_entry->kind = SPOOL_ENTRY_POSITION;
        ret_entry->key = take_string(&cut, &ret_entry->key_bytes);
        ret_entry->position = take_string(&cut, &ret_entry->position_bytes);
        break;
    case 0x10 + RECORD_STDOUT:
    case 0x10 + RECORD_STDERR:
        take_record(&cut, (uint8_t)(tag - 0x10), &entries->last_time_ns, ret_entry);
        break;
    default:
        cut.bad = true;
    }
    if (cut.bad) {
        return -EINVAL;
    }
    entries->at = cut.at;
    return 0;
}

/* ---- origins ---- */

void spool_origins_clear(struct spool_origins *origins)
{
    for (size_t i = 0; i < origins->count; i++) {
        free(origins->slots[i]);
    }
    origins->count = 0;
}

void spool_origins_finish(struct spool_origins *origins)
{
    spool_origins_clear(origins);
    free(origins->slots);
    *origins = (struct spool_origins){0};
}

/* Copies a string to *at, terminated, and moves on. */
static const char *copy_text(struct cut *cut, char **at)
{
    size_t size;
    const void *from = take_string(cut, &size);
    char *text = *at;
    memcpy(text, from, size);
    text[size] = '\0';
    *at += size + 1;
    return text;
}

/* One allocation: the origin, its label array, its texts. */
static struct record_origin *decode_origin(const struct spool_entry *entry)
{
    struct cut cut = {.at = entry->origin_from, .end = entry->origin_from + entry->origin_bytes};
    struct cut count = cut;
    size_t ignored;
    for (int i = 0; i < 4; i++) {
        (void)take_string(&count, &ignored);
    }
    size_t labels = (size_t)take_varint(&count);
    size_t texts = entry->origin_bytes + 4 + 2 * labels; /* a NUL each; lengths take at least one */
    struct record_origin *origin = malloc(sizeof(*origin) + labels * sizeof(struct record_label) +
                                          texts);
    if (origin == NULL) {
        return NULL;
    }
    struct record_label *label = (struct record_label *)(void *)(origin + 1);
    char *at = (char *)(label + labels);
    origin->daemon = copy_text(&cut, &at);
    origin->container_id = copy_text(&cut, &at);
    origin->name = copy_text(&cut, &at);
    origin->image = copy_text(&cut, &at);
    origin->labels = label;
    origin->label_count = labels;
    (void)take_varint(&cut);
    for (size_t i = 0; i < labels; i++) {
        label[i].key = copy_text(&cut, &at);
        label[i].value = copy_text(&cut, &at);
    }
    return origin;
}

int spool_origins_take(struct spool_origins *origins, const struct spool_entry *entry)
{
    /* Ids are dense, so one far ahead is damage, not a reason to take memory. */
    if (entry->origin_id > origins->count + 65536U) {
        return -EINVAL;
    }
    if (entry->origin_id >= origins->capacity) {
        size_t capacity = origins->capacity == 0 ? 16 : origins->capacity;
        while (capacity <= entry->origin_id) {
            capacity *= 2;
        }
        struct record_origin **slots = realloc(origins->slots,
                                               capacity * sizeof(struct record_origin *));
        if (slots == NULL) {
            return -ENOMEM;
        }
        origins->slots = slots;
        origins->capacity = capacity;
    }
    struct record_origin *origin = decode_origin(entry);
    if (origin == NULL) {
        return -ENOMEM;
    }
    while (origins->count <= entry->origin_id) {
        origins->slots[origins->count++] = NULL;
    }
    free(origins->slots[entry->origin_id]);
    origins->slots[entry->origin_id] = origin;
    return 0;
}

const struct record_origin *spool_origins_find(const struct spool_origins *origins, uint32_t id)
{
    return id < origins->count ? origins->slots[id] : NULL;
}
