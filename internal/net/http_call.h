/* A call: one request whose whole answer is collected and handed over. Loop thread only. */
#pragma once

#include "net/http.h"

struct http_call;

struct http_answer {
    enum http_end end;
    int status;
    const char *text;        /* for people, when end is not HTTP_COMPLETE */
    const char *body;        /* terminated by a NUL that is not counted */
    size_t body_bytes;       /* all three live during the callback */
    const char *api_version; /* header Api-Version, or "" */
    const char *server;      /* header Server, or "" */
    const char *via;         /* header Via, or "" */
};

struct http_call_options {
    struct http_target *target;
    const char *method; /* NULL: GET */
    const char *path;
    const char *json; /* a body to send; NULL: none */
    int64_t timeout_ns;
    size_t limit_bytes; /* a longer body ends the call as HTTP_BROKEN */
    void (*on_answer)(const struct http_answer *answer, void *data);
    void *data;
};

/* Returns 0 or -ENOMEM; only after 0 does on_answer come: exactly once, and not within this call. */
int http_call_start(struct http_client *client, const struct http_call_options *options,
                    struct http_call **ret_call) __attribute__((warn_unused_result));
/* Ends it soon with HTTP_CLOSED. NULL is ignored. */
void http_call_cancel(struct http_call *call);
