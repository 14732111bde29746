/* Collects a body in a bounded buffer; everything else is the managed stream's. */
#include "net/http_call.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/str.h"

struct http_call {
    struct http_stream *stream;
    struct buf body;
    size_t limit_bytes;
    int body_rc;
    char api_version[16];
    char server[64];
    char via[64];
    void (*on_answer)(const struct http_answer *answer, void *data);
    void *data;
};

static void take_header(const char *line, size_t size, const char *name, char *ret_value,
                        size_t value_bytes)
{
    size_t name_size = strlen(name);
    if (size < name_size || strncasecmp(line, name, name_size) != 0) {
        return;
    }
    size_t from = name_size;
    while (from < size && line[from] == ' ') {
        from++;
    }
    size_t length = size - from < value_bytes - 1 ? size - from : value_bytes - 1;
    memcpy(ret_value, line + from, length);
    ret_value[length] = '\0';
}

static void handle_header(const char *line, size_t size, void *data)
{
    struct http_call *call = data;
    take_header(line, size, "api-version:", call->api_version, sizeof(call->api_version));
    take_header(line, size, "server:", call->server, sizeof(call->server));
    take_header(line, size, "via:", call->via, sizeof(call->via));
}

static void handle_data(struct http_stream *stream, const char *bytes, size_t size, void *data)
{
    struct http_call *call = data;
    call->body_rc = buf_append(&call->body, bytes, size);
    if (call->body_rc != 0) {
        http_stream_close(stream);
    }
}

static void handle_end(const struct http_result *result, void *data)
{
    struct http_call *call = data;
    const char *body = buf_terminated(&call->body);
    struct http_answer answer = {.end = result->end,
                                 .status = result->status,
                                 .text = result->text,
                                 .body = body == NULL ? "" : body,
                                 .body_bytes = body == NULL ? 0 : call->body.size,
                                 .api_version = call->api_version,
                                 .server = call->server,
                                 .via = call->via};
    if (call->body_rc == -E2BIG || call->body.size > call->limit_bytes) {
        answer.end = HTTP_BROKEN;
        answer.text = "the answer is longer than the limit";
    } else if (call->body_rc != 0 || body == NULL) {
        answer.end = HTTP_NO_MEMORY;
        answer.text = "out of memory";
    }
    call->on_answer(&answer, call->data);
    buf_finish(&call->body);
    free(call);
}

int http_call_start(struct http_client *client, const struct http_call_options *options,
                    struct http_call **ret_call)
{
    struct http_call *call = calloc(1, sizeof(*call));
    if (call == NULL) {
        return -ENOMEM;
    }
    call->on_answer = options->on_answer;
    call->data = options->data;
    call->limit_bytes = options->limit_bytes;
    buf_init(&call->body, options->limit_bytes + 2); /* one over, to see that, and a NUL */
    struct http_stream_options stream = {.target = options->target,
                                         .kind = HTTP_CALL,
                                         .method = options->method,
                                         .path = options->path,
                                         .json = options->json,
                                         .timeout_ns = options->timeout_ns,
                                         .on_header = handle_header,
                                         .on_data = handle_data,
                                         .on_end = handle_end,
                                         .data = call};
    int rc = http_stream_open(client, &stream, &call->stream);
    if (rc != 0) {
        free(call);
        return rc;
    }
    *ret_call = call;
    return 0;
}

void http_call_cancel(struct http_call *call)
{
    if (call != NULL) {
        http_stream_close(call->stream);
    }
}
