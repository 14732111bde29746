/*
 * Three calls: create, start, inspect. The answer to start goes on until the command has ended, for its output
 * is asked for, and is then over with its connection.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "docker/docker_call.h"
#include "docker/docker_lifecycle.h"

#define TIMEOUT_NS (60 * INT64_C(1000000000))

struct exec {
    struct docker_client *client;
    docker_waited_fn on_ended;
    void *data;
    char id[DOCKER_ID_SIZE];
};

static void finish(struct exec *exec, const struct docker_outcome *outcome, int64_t exit_code)
{
    exec->on_ended(outcome, exit_code, exec->data);
    free(exec);
}

static void fail(struct exec *exec, const char *text)
{
    struct docker_outcome outcome = {.verdict = DOCKER_UNAVAILABLE, .text = text};
    finish(exec, &outcome, 0);
}

static void handle_looked(const struct docker_outcome *outcome, const struct json *answer,
                          void *data)
{
    struct exec *exec = data;
    if (outcome->verdict == DOCKER_OK && json_get_bool(answer, "Running")) {
        fail(exec, "the daemon's answer ended before the command did");
    } else {
        finish(exec, outcome, json_get_int(answer, "ExitCode"));
    }
}

static void drop(struct http_stream *stream, const char *bytes, size_t size, void *data)
{
    (void)stream;
    (void)bytes;
    (void)size;
    (void)data;
}

/* Its output is over. */
static void handle_end(const struct http_result *result, void *data)
{
    struct exec *exec = data;
    char rest[160];
    struct error text = {""};
    if (result->end != HTTP_COMPLETE || result->status != 200) {
        struct docker_outcome outcome = docker_outcome_make(exec->client, result->end,
                                                            result->status, result->text, &text);
        finish(exec, &outcome, 0);
        return;
    }
    (void)snprintf(rest, sizeof(rest), "/exec/%s/json", exec->id);
    if (docker_call_start(
            exec->client,
            &(struct docker_call){.rest = rest, .on_done = handle_looked, .data = exec}) != 0) {
        fail(exec, "out of memory");
    }
}

static void handle_created(const struct docker_outcome *outcome, const struct json *answer,
                           void *data)
{
    struct exec *exec = data;
    struct http_stream *stream;
    char rest[160];
    char path[192];
    const char *id = json_get_string(answer, "Id");
    if (outcome->verdict != DOCKER_OK) {
        finish(exec, outcome, 0);
        return;
    }
    if (id == NULL || strlen(id) >= sizeof(exec->id)) {
        fail(exec, "the daemon's answer to exec has no usable Id");
        return;
    }
    (void)str_copy(exec->id, sizeof(exec->id), id);
    (void)snprintf(rest, sizeof(rest), "/exec/%s/start", exec->id);
    docker_client_path(exec->client, rest, path, sizeof(path));
    if (http_stream_open(docker_client_http(exec->client),
                         &(struct http_stream_options){.target = docker_client_target(exec->client),
                                                       .kind = HTTP_CALL,
                                                       .method = "POST",
                                                       .path = path,
                                                       .json = "{\"Detach\":false,\"Tty\":false}",
                                                       .timeout_ns = TIMEOUT_NS,
                                                       .on_data = drop,
                                                       .on_end = handle_end,
                                                       .data = exec},
                         &stream) != 0) {
        fail(exec, "out of memory");
    }
}

int docker_exec(struct docker_client *client, const char *id, const char *const *command,
                docker_waited_fn on_ended, void *data)
{
    char rest[160];
    struct buf body;
    struct json_writer writer;
    struct exec *exec = calloc(1, sizeof(*exec));
    if (exec == NULL) {
        return -ENOMEM;
    }
    *exec = (struct exec){.client = client, .on_ended = on_ended, .data = data};
    buf_init(&body, 0);
    json_writer_init(&writer, &body);
    json_open(&writer, NULL, '{');
    docker_call_put_texts(&writer, "Cmd", command);
    json_put_bool(&writer, "AttachStdout", true);
    json_put_bool(&writer, "AttachStderr", true);
    json_close(&writer, '}');
    (void)snprintf(rest, sizeof(rest), "/containers/%s/exec", id);
    int rc = writer.rc != 0 || buf_terminated(&body) == NULL
                 ? -ENOMEM
                 : docker_call_start(client, &(struct docker_call){.method = "POST",
                                                                   .rest = rest,
                                                                   .json = body.data,
                                                                   .on_done = handle_created,
                                                                   .data = exec});
    if (rc != 0) {
        free(exec);
    }
    buf_finish(&body);
    return rc;
}
