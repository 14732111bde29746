/*
 * The managed stream with the daemon's way of refusing on top: an answer other than 200 has a JSON
 * body with a message, which must not be taken for log lines.
 *
 * `since` is not used: daemons below API 1.42 lose data with it where rotated files are compressed,
 * 23.0 drops live lines when the clock steps back, and podman takes it as exclusive. `tail` is
 * exact everywhere, and the reader filters.
 */
#include "docker/docker_logs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"

#define PROBE_TIMEOUT_NS (3 * INT64_C(1000000000))
#define MESSAGE_LIMIT_BYTES 4096

struct docker_logs {
    struct docker_client *client;
    struct http_stream *stream;
    struct docker_logs_options options;
    struct buf message;
    int status;
};

static void handle_head(struct http_stream *stream, int status, void *data)
{
    (void)stream;
    struct docker_logs *logs = data;
    logs->status = status;
    if (status == 200 && logs->options.on_open != NULL) {
        logs->options.on_open(logs->options.data);
    }
}

static void handle_data(struct http_stream *stream, const char *bytes, size_t size, void *data)
{
    struct docker_logs *logs = data;
    if (logs->status == 200) {
        logs->options.on_data(bytes, size, logs->options.data);
    } else if (buf_append(&logs->message, bytes, size) != 0) {
        http_stream_close(stream);
    }
}

static void handle_end(const struct http_result *result, void *data)
{
    struct docker_logs *logs = data;
    struct json *root = NULL;
    struct error text = {""};
    const char *message = result->text;
    if (result->end == HTTP_COMPLETE) {
        int rc = json_parse(logs->message.data != NULL ? logs->message.data : "",
                            logs->message.size, &root, NULL);
        message = rc == 0 ? json_get_string(root, "message") : NULL;
    }
    struct docker_outcome outcome = docker_outcome_make(logs->client, result->end, result->status,
                                                        message, &text);
    logs->options.on_end(&outcome, logs->options.data);
    json_destroy(root);
    buf_finish(&logs->message);
    free(logs);
}

int docker_logs_open(struct docker_client *client, const struct docker_logs_options *options,
                     struct docker_logs **ret_logs)
{
    struct docker_logs *logs = calloc(1, sizeof(*logs));
    if (logs == NULL) {
        return -ENOMEM;
    }
    logs->client = client;
    logs->options = *options;
    logs->options.id = NULL;
    buf_init(&logs->message, MESSAGE_LIMIT_BYTES);
    char tail[24] = "all";
    char rest[256];
    char path[288];
    if (options->tail >= 0) {
        (void)snprintf(tail, sizeof(tail), "%lld", (long long)options->tail);
    }
    (void)snprintf(rest, sizeof(rest),
                   "/containers/%s/logs?follow=%d&stdout=1&stderr=1&timestamps=1&tail=%s",
                   options->id, options->follow ? 1 : 0, tail);
    docker_client_path(client, rest, path, sizeof(path));
    int rc = http_stream_open(
        docker_client_http(client),
        &(struct http_stream_options){.target = docker_client_target(client),
                                      .kind = options->probe ? HTTP_CALL : HTTP_FOLLOW,
                                      .path = path,
                                      .timeout_ns = options->probe ? PROBE_TIMEOUT_NS : 0,
                                      .on_head = handle_head,
                                      .on_data = handle_data,
                                      .on_end = handle_end,
                                      .data = logs},
        &logs->stream);
    if (rc != 0) {
        free(logs);
        return rc;
    }
    *ret_logs = logs;
    return 0;
}

void docker_logs_close(struct docker_logs *logs)
{
    if (logs != NULL) {
        http_stream_close(logs->stream);
    }
}
