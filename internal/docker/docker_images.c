/*
 * A pull answers 200 at once and then streams objects, the last of which says how it went; only where the
 * registry can't be asked at all does it answer otherwise.
 */
#include "docker/docker_images.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "docker/docker_call.h"

#define PULL_TIMEOUT_NS (INT64_C(600) * 1000000000)
#define PULL_LIMIT_BYTES ((size_t)64 * 1024 * 1024)
#define NAMES_LIMIT 256

struct waiter {
    docker_done_fn on_done;
    docker_names_fn on_names;
    void *data;
};

static void handle_done(const struct docker_outcome *outcome, const struct json *answer, void *data)
{
    struct waiter *waiter = data;
    struct docker_outcome own = *outcome;
    const char *failure = json_get_string(answer, "error"); /* of a pull's stream */
    if (own.verdict == DOCKER_OK && failure != NULL) {
        own.verdict = strstr(failure, "not found") != NULL ? DOCKER_NOT_FOUND : DOCKER_UNAVAILABLE;
        own.text = failure;
    }
    waiter->on_done(&own, waiter->data);
    free(waiter);
}

static int start(struct docker_client *client, const struct docker_call *template,
                 const struct waiter *waiter)
{
    struct waiter *own = calloc(1, sizeof(*own));
    if (own == NULL) {
        return -ENOMEM;
    }
    *own = *waiter;
    struct docker_call call = *template;
    call.data = own;
    int rc = docker_call_start(client, &call);
    if (rc != 0) {
        free(own);
    }
    return rc;
}

/* Appends head, the encoded text, tail; terminated. */
static int make_rest(struct buf *rest, const char *head, const char *text, const char *tail)
{
    int rc = buf_append_str(rest, head);
    rc = rc != 0 ? rc : docker_call_append_encoded(rest, text);
    rc = rc != 0 ? rc : buf_append_str(rest, tail);
    return rc != 0 || buf_terminated(rest) == NULL ? -ENOMEM : 0;
}

int docker_image_look(struct docker_client *client, const char *image, docker_done_fn on_done,
                      void *data)
{
    struct buf rest;
    buf_init(&rest, 0);
    int rc = make_rest(&rest, "/images/", image, "/json");
    rc = rc != 0 ? rc
                 : start(client, &(struct docker_call){.rest = rest.data, .on_done = handle_done},
                         &(struct waiter){.on_done = on_done, .data = data});
    buf_finish(&rest);
    return rc;
}

/* A tag is behind the last colon, unless that belongs to the registry's port. */
static bool has_tag(const char *image)
{
    const char *colon = strrchr(image, ':');
    return (colon != NULL && strchr(colon, '/') == NULL) || strchr(image, '@') != NULL;
}

int docker_image_pull(struct docker_client *client, const char *image, docker_done_fn on_done,
                      void *data)
{
    struct buf rest;
    buf_init(&rest, 0);
    int rc = make_rest(&rest, "/images/create?fromImage=", image,
                       has_tag(image) ? "" : "&tag=latest");
    rc = rc != 0 ? rc
                 : start(client,
                         &(struct docker_call){.method = "POST",
                                               .rest = rest.data,
                                               .timeout_ns = PULL_TIMEOUT_NS,
                                               .limit_bytes = PULL_LIMIT_BYTES,
                                               .lines = true,
                                               .on_done = handle_done},
                         &(struct waiter){.on_done = on_done, .data = data});
    buf_finish(&rest);
    return rc;
}

int docker_network_create(struct docker_client *client, const char *name,
                          const struct record_label *label, docker_done_fn on_done, void *data)
{
    struct buf body;
    struct json_writer writer;
    buf_init(&body, 0);
    json_writer_init(&writer, &body);
    json_open(&writer, NULL, '{');
    json_put_string(&writer, "Name", name);
    json_put_bool(&writer, "CheckDuplicate", true);
    json_open(&writer, "Labels", '{');
    json_put_string(&writer, label->key, label->value);
    json_close(&writer, '}');
    json_close(&writer, '}');
    int rc = writer.rc != 0 || buf_terminated(&body) == NULL
                 ? -ENOMEM
                 : start(client,
                         &(struct docker_call){.method = "POST",
                                               .rest = "/networks/create",
                                               .json = body.data,
                                               .on_done = handle_done},
                         &(struct waiter){.on_done = on_done, .data = data});
    buf_finish(&body);
    return rc;
}

int docker_network_remove(struct docker_client *client, const char *name, docker_done_fn on_done,
                          void *data)
{
    struct buf rest;
    buf_init(&rest, 0);
    int rc = make_rest(&rest, "/networks/", name, "");
    rc = rc != 0 ? rc
                 : start(client,
                         &(struct docker_call){
                             .method = "DELETE", .rest = rest.data, .on_done = handle_done},
                         &(struct waiter){.on_done = on_done, .data = data});
    buf_finish(&rest);
    return rc;
}

static void handle_networks(const struct docker_outcome *outcome, const struct json *answer,
                            void *data)
{
    struct waiter *waiter = data;
    const char *names[NAMES_LIMIT];
    size_t count = 0;
    for (const struct json *network = outcome->verdict == DOCKER_OK ? json_first(answer) : NULL;
         network != NULL && count < NAMES_LIMIT; network = json_next(network)) {
        const char *name = json_get_string(network, "Name");
        if (name != NULL) {
            names[count++] = name;
        }
    }
    waiter->on_names(outcome, names, count, waiter->data);
    free(waiter);
}

int docker_network_list(struct docker_client *client, const char *label, docker_names_fn on_names,
                        void *data)
{
    struct buf rest;
    buf_init(&rest, 0);
    int rc = buf_append_str(&rest, "/networks?");
    rc = rc != 0 ? rc : docker_call_append_label_filter(&rest, label);
    rc = rc != 0 || buf_terminated(&rest) == NULL
             ? -ENOMEM
             : start(client, &(struct docker_call){.rest = rest.data, .on_done = handle_networks},
                     &(struct waiter){.on_names = on_names, .data = data});
    buf_finish(&rest);
    return rc;
}
