/*
 * Newline-delimited JSON; chunk boundaries mean nothing. A line over 1 MiB or one that does not
 * parse is told and skipped; the monitor's listing makes up for what it said.
 * API 1.52 dropped `status` and `id`, so Type, Action and Actor.ID are read.
 */
#include "docker/docker_events.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

#define EVENT_LIMIT_BYTES (1024U * 1024U)

struct docker_events {
    struct docker_client *client;
    struct http_stream *stream;
    struct docker_events_options options;
    struct docker_event_reader reader;
    int status;
};

static enum docker_action parse_action(const char *word)
{
    static const struct {
        const char *word;
        enum docker_action action;
    } words[] = {{"create", DOCKER_ACTION_CREATE}, {"start", DOCKER_ACTION_START},
                 {"die", DOCKER_ACTION_DIE},       {"died", DOCKER_ACTION_DIE},
                 {"pause", DOCKER_ACTION_PAUSE},   {"unpause", DOCKER_ACTION_UNPAUSE},
                 {"rename", DOCKER_ACTION_RENAME}, {"destroy", DOCKER_ACTION_DESTROY},
                 {"remove", DOCKER_ACTION_DESTROY}};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(word, words[i].word) == 0) {
            return words[i].action;
        }
    }
    return DOCKER_ACTION_OTHER;
}

int docker_event_parse(const struct json *object, struct docker_event *ret_event,
                       struct error *error)
{
    const char *type = json_get_string(object, "Type");
    const char *action = json_get_string(object, "Action");
    const struct json *actor = json_get(object, "Actor");
    const char *id = json_get_string(actor, "ID");
    if (type == NULL || strcmp(type, "container") != 0 || action == NULL || id == NULL ||
        strlen(id) != DOCKER_ID_SIZE - 1 || strspn(id, "0123456789abcdef") != DOCKER_ID_SIZE - 1) {
        error_set(error, "an event that is not of a container");
        return -EINVAL;
    }
    const char *name = json_get_string(json_get(actor, "Attributes"), "name");
    *ret_event = (struct docker_event){.action = parse_action(action),
                                       .id = id,
                                       .name = name == NULL ? "" : name,
                                       .time_s = json_get_int(object, "time")};
    return 0;
}

void docker_event_reader_init(struct docker_event_reader *reader)
{
    *reader = (struct docker_event_reader){0};
    buf_init(&reader->line, EVENT_LIMIT_BYTES);
}

void docker_event_reader_finish(struct docker_event_reader *reader)
{
    buf_finish(&reader->line);
}

static void handle_line(struct docker_event_reader *reader, const char *line, size_t size)
{
    struct json *root = NULL;
    struct error error = {""};
    struct docker_event event;
    if (size == 0 || (size == 1 && line[0] == '\r')) {
        return;
    }
    if (json_parse(line, size, &root, &error) != 0) {
        reader->on_bad_event(error.text, reader->data);
    } else if (docker_event_parse(root, &event, &error) == 0 &&
               event.action != DOCKER_ACTION_OTHER) {
        reader->on_event(&event, reader->data);
    }
    json_destroy(root);
}

void docker_event_reader_feed(struct docker_event_reader *reader, const char *bytes, size_t size)
{
    while (size > 0) {
        const char *end = memchr(bytes, '\n', size);
        size_t length = end == NULL ? size : (size_t)(end - bytes);
        if (!reader->skipping && end != NULL && reader->line.size == 0 &&
            length <= EVENT_LIMIT_BYTES) {
            handle_line(reader, bytes, length);
        } else if (!reader->skipping) {
            if (buf_append(&reader->line, bytes, length) != 0) {
                reader->skipping = true;
                reader->on_bad_event("an event is longer than can be held", reader->data);
            } else if (end != NULL) {
                handle_line(reader, reader->line.data, reader->line.size);
            }
        }
        if (end == NULL) {
            return;
        }
        reader->skipping = false;
        buf_clear(&reader->line);
        bytes += length + 1;
        size -= length + 1;
    }
}

static void handle_head(struct http_stream *stream, int status, void *data)
{
    (void)stream;
    struct docker_events *events = data;
    events->status = status;
    if (status == 200) {
        events->options.on_open(events->options.data);
    }
}

static void handle_data(struct http_stream *stream, const char *bytes, size_t size, void *data)
{
    (void)stream;
    struct docker_events *events = data;
    if (events->status == 200) {
        docker_event_reader_feed(&events->reader, bytes, size);
    }
}

static void handle_end(const struct http_result *result, void *data)
{
    struct docker_events *events = data;
    struct error text = {""};
    struct docker_outcome outcome = docker_outcome_make(
        events->client, result->end, result->status,
        result->end == HTTP_COMPLETE ? NULL : result->text, &text);
    events->options.on_end(&outcome, events->options.data);
    docker_event_reader_finish(&events->reader);
    free(events);
}

int docker_events_open(struct docker_client *client, const struct docker_events_options *options,
                       struct docker_events **ret_events)
{
    struct docker_events *events = calloc(1, sizeof(*events));
    if (events == NULL) {
        return -ENOMEM;
    }
    events->client = client;
    events->options = *options;
    docker_event_reader_init(&events->reader);
    events->reader.on_event = options->on_event;
    events->reader.on_bad_event = options->on_bad_event;
    events->reader.data = options->data;
    char rest[160];
    char path[192];
    /* filters={"type":["container"]} */
    int n = snprintf(rest, sizeof(rest),
                     "/events?filters=%%7B%%22type%%22%%3A%%5B%%22container%%22%%5D%%7D");
    if (options->since_s > 0) {
        (void)snprintf(rest + n, sizeof(rest) - (size_t)n, "&since=%lld",
                       (long long)options->since_s);
    }
    docker_client_path(client, rest, path, sizeof(path));
    int rc = http_stream_open(docker_client_http(client),
                              &(struct http_stream_options){.target = docker_client_target(client),
                                                            .kind = HTTP_EVENTS,
                                                            .path = path,
                                                            .on_head = handle_head,
                                                            .on_data = handle_data,
                                                            .on_end = handle_end,
                                                            .data = events},
                              &events->stream);
    if (rc != 0) {
        free(events);
        return rc;
    }
    *ret_events = events;
    return 0;
}

void docker_events_close(struct docker_events *events)
{
    if (events != NULL) {
        http_stream_close(events->stream);
    }
}
