/* A daemon's refusal has a JSON object with a message; success may have no body at all (204). */
#include "docker/docker_call.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_NS (30 * INT64_C(1000000000))
#define LIMIT_BYTES ((size_t)4 * 1024 * 1024)
#define PATH_LIMIT 2048

struct request {
    struct docker_client *client;
    bool lines;
    docker_call_fn on_done;
    void *data;
};

/* The last line that is not empty. */
static const char *last_line(const char *body, size_t size, size_t *ret_size)
{
    while (size > 0 && isspace((unsigned char)body[size - 1])) {
        size--;
    }
    const char *before = size > 0 ? memrchr(body, '\n', size) : NULL;
    const char *line = before != NULL ? before + 1 : body;
    *ret_size = size - (size_t)(line - body);
    return line;
}

static void handle_answer(const struct http_answer *answer, void *data)
{
    struct request *request = data;
    struct json *root = NULL;
    struct error text = {""};
    struct error parse_error = {""};
    size_t size = answer->body_bytes;
    const char *body = request->lines ? last_line(answer->body, size, &size) : answer->body;
    bool empty = size == 0;
    int rc = answer->end != HTTP_COMPLETE || empty ? 0
                                                   : json_parse(body, size, &root, &parse_error);
    const char *message = answer->end != HTTP_COMPLETE ? answer->text
                                                       : json_get_string(root, "message");
    struct docker_outcome outcome = docker_outcome_make(request->client, answer->end,
                                                        answer->status, message, &text);
    if (outcome.verdict == DOCKER_OK && rc != 0) {
        outcome.verdict = DOCKER_UNAVAILABLE;
        error_set(&text, "%s: %s", docker_client_url(request->client), parse_error.text);
    }
    request->on_done(&outcome, root, request->data);
    json_destroy(root);
    free(request);
}

int docker_call_start(struct docker_client *client, const struct docker_call *call)
{
    struct request *request = calloc(1, sizeof(*request));
    if (request == NULL) {
        return -ENOMEM;
    }
    *request = (struct request){client, call->lines, call->on_done, call->data};
    char path[PATH_LIMIT];
    docker_client_path(client, call->rest, path, sizeof(path));
    struct http_call *started;
    int rc = http_call_start(
        docker_client_http(client),
        &(struct http_call_options){
            .target = docker_client_target(client),
            .method = call->method,
            .path = path,
            .json = call->json,
            .timeout_ns = call->timeout_ns > 0 ? call->timeout_ns : TIMEOUT_NS,
            .limit_bytes = call->limit_bytes > 0 ? call->limit_bytes : LIMIT_BYTES,
            .on_answer = handle_answer,
            .data = request},
        &started);
    if (rc != 0) {
        free(request);
    }
    return rc;
}

int docker_call_append_encoded(struct buf *out, const char *text)
{
    int rc = 0;
    for (; rc == 0 && *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        bool plain = isalnum(c) || strchr("-._~", c) != NULL;
        rc = buf_printf(out, plain ? "%c" : "%%%02X", c);
    }
    return rc;
}

int docker_call_append_label_filter(struct buf *rest, const char *label)
{
    struct buf filters;
    buf_init(&filters, 0);
    int rc = buf_append_str(&filters, "{\"label\":[");
    rc = rc != 0 ? rc : json_append_string(&filters, label, strlen(label));
    rc = rc != 0 ? rc : buf_append_str(&filters, "]}");
    rc = rc != 0 ? rc : buf_append_str(rest, "filters=");
    rc = rc != 0 || buf_terminated(&filters) == NULL
             ? -ENOMEM
             : docker_call_append_encoded(rest, filters.data);
    buf_finish(&filters);
    return rc;
}

void docker_call_put_texts(struct json_writer *writer, const char *key, const char *const *texts)
{
    if (texts == NULL) {
        return;
    }
    json_open(writer, key, '[');
    for (; *texts != NULL; texts++) {
        json_put_string(writer, NULL, *texts);
    }
    json_close(writer, ']');
}
