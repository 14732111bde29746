/* libyaml's events are written as JSON text, which json_parse() reads: so there is one kind of tree. */
#include "base/yaml.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/buf.h"

#define DEPTH_LIMIT 32
#define KEYS_LIMIT 256 /* of one mapping */

struct level {
    bool mapping;
    bool wants_value; /* of a mapping: its key was written */
    size_t members;
    char *keys[KEYS_LIMIT];
};

struct reader {
    yaml_parser_t parser;
    struct buf out;
    struct level levels[DEPTH_LIMIT];
    size_t depth;
    struct error *error;
};

static int refuse(struct reader *reader, const yaml_event_t *event, const char *text)
{
    error_set(reader->error, "line %zu, column %zu: %s", event->start_mark.line + 1,
              event->start_mark.column + 1, text);
    return -EINVAL;
}

/* ---- scalars ---- */

static bool is_number(const char *text)
{
    text += *text == '-';
    if (!isdigit((unsigned char)*text) || (text[0] == '0' && isdigit((unsigned char)text[1]))) {
        return false;
    }
    text += strspn(text, "0123456789");
    if (*text == '.' && isdigit((unsigned char)text[1])) {
        text++;
        text += strspn(text, "0123456789");
    }
    return *text == '\0';
}

static bool is_word(const char *text)
{
    return strcmp(text, "true") == 0 || strcmp(text, "false") == 0 || strcmp(text, "null") == 0;
}

static int put_scalar(struct reader *reader, const yaml_event_t *event, bool key)
{
    const char *text = (const char *)event->data.scalar.value;
    size_t size = event->data.scalar.length;
    bool plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && strlen(text) == size;
    if (!key && plain && size == 0) {
        return buf_append_str(&reader->out, "null");
    }
    return !key && plain && (is_number(text) || is_word(text))
               ? buf_append(&reader->out, text, size)
               : json_append_string(&reader->out, text, size);
}

/* ---- members ---- */

static int take_key(struct reader *reader, struct level *level, const yaml_event_t *event)
{
    const char *text = (const char *)event->data.scalar.value;
    if (event->type != YAML_SCALAR_EVENT) {
        return refuse(reader, event, "a key must be text");
    }
    for (size_t i = 0; i < level->members; i++) {
        if (strcmp(level->keys[i], text) == 0) {
            return refuse(reader, event, "this key is there twice");
        }
    }
    if (level->members == KEYS_LIMIT) {
        return refuse(reader, event, "too many keys");
    }
    level->keys[level->members] = strdup(text);
    return level->keys[level->members] == NULL ? -ENOMEM : 0;
}

/* Before a value or a key: commas, colons. *ret_key: it is a key. */
static int begin_node(struct reader *reader, const yaml_event_t *event, bool *ret_key)
{
    *ret_key = false;
    if (reader->depth == 0) {
        return 0;
    }
    struct level *level = &reader->levels[reader->depth - 1];
    if (level->mapping && level->wants_value) {
        level->wants_value = false;
        return buf_append_str(&reader->out, ":");
    }
    int rc = level->members > 0 ? buf_append_str(&reader->out, ",") : 0;
    if (rc == 0 && level->mapping) {
        rc = take_key(reader, level, event);
        level->wants_value = true;
        *ret_key = true;
    }
    level->members += rc == 0;
    return rc;
}

static int open_level(struct reader *reader, const yaml_event_t *event, bool mapping)
{
    if (reader->depth == DEPTH_LIMIT) {
        return refuse(reader, event, "nested too deeply");
    }
    struct level *level = &reader->levels[reader->depth++];
    level->mapping = mapping;
    level->wants_value = false;
    level->members = 0;
    return buf_append_str(&reader->out, mapping ? "{" : "[");
}

static int close_level(struct reader *reader)
{
    struct level *level = &reader->levels[--reader->depth];
    for (size_t i = 0; level->mapping && i < level->members; i++) {
        free(level->keys[i]);
    }
    return buf_append_str(&reader->out, level->mapping ? "}" : "]");
}

static int take_event(struct reader *reader, const yaml_event_t *event)
{
    bool key = false;
    int rc = 0;
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        rc = begin_node(reader, event, &key);
        return rc != 0 ? rc : put_scalar(reader, event, key);
    case YAML_MAPPING_START_EVENT:
    case YAML_SEQUENCE_START_EVENT:
        rc = begin_node(reader, event, &key);
        return rc != 0 ? rc : open_level(reader, event, event->type == YAML_MAPPING_START_EVENT);
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
        return close_level(reader);
    case YAML_ALIAS_EVENT:
        return refuse(reader, event, "aliases are not understood here");
    default:
        return 0;
    }
}

/* ---- reading ---- */

static int tell_parser(struct reader *reader)
{
    const yaml_parser_t *parser = &reader->parser;
    error_set(reader->error, "line %zu, column %zu: %s", parser->problem_mark.line + 1,
              parser->problem_mark.column + 1,
              parser->problem != NULL ? parser->problem : "this is no YAML");
    return -EINVAL;
}

static int read_events(struct reader *reader)
{
    int rc = 0;
    bool ended = false;
    unsigned documents = 0;
    while (rc == 0 && !ended) {
        yaml_event_t event;
        if (yaml_parser_parse(&reader->parser, &event) == 0) {
            return tell_parser(reader);
        }
        documents += event.type == YAML_DOCUMENT_START_EVENT;
        rc = documents > 1 ? refuse(reader, &event, "a second document begins; one is expected")
                           : take_event(reader, &event);
        ended = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    return rc;
}

static void free_keys(struct reader *reader)
{
    while (reader->depth > 0) {
        (void)!close_level(reader);
    }
}

int yaml_parse(const char *bytes, size_t size, struct json **ret_root, struct error *error)
{
    struct reader *reader = calloc(1, sizeof(*reader));
    if (reader == NULL || yaml_parser_initialize(&reader->parser) == 0) {
        free(reader);
        error_set(error, "out of memory");
        return -ENOMEM;
    }
    reader->error = error;
    buf_init(&reader->out, 0);
    yaml_parser_set_input_string(&reader->parser, (const unsigned char *)bytes, size);
    int rc = read_events(reader);
    free_keys(reader);
    if (rc == 0 && reader->out.size == 0) {
        rc = buf_append_str(&reader->out, "null");
    }
    rc = rc != 0 ? rc : json_parse(reader->out.data, reader->out.size, ret_root, error);
    if (rc == -ENOMEM) {
        error_set(error, "out of memory");
    }
    yaml_parser_delete(&reader->parser);
    buf_finish(&reader->out);
    free(reader);
    return rc;
}
