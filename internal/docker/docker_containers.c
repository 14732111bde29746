/*
 * List and inspect name the same things differently: Names and State (a word) in one, Name, State
 * (an object) and Config in the other. One parser reads both, so that whichever came last is right.
 */
#include "docker/docker_containers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "docker/docker_call.h"

#define LIST_LIMIT_BYTES (64U * 1024U * 1024U)
#define LABEL_LIMIT 256

static enum docker_state parse_state(const char *word)
{
    static const struct {
        const char *word;
        enum docker_state state;
    } words[] = {{"created", DOCKER_STATE_CREATED},       {"initialized", DOCKER_STATE_CREATED},
                 {"configured", DOCKER_STATE_CREATED},    {"running", DOCKER_STATE_RUNNING},
                 {"paused", DOCKER_STATE_RUNNING},        {"stopping", DOCKER_STATE_RUNNING},
                 {"restarting", DOCKER_STATE_RESTARTING}, {"exited", DOCKER_STATE_EXITED},
                 {"stopped", DOCKER_STATE_EXITED},        {"dead", DOCKER_STATE_EXITED},
                 {"removing", DOCKER_STATE_EXITED}};
    for (size_t i = 0; word != NULL && i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(word, words[i].word) == 0) {
            return words[i].state;
        }
    }
    return DOCKER_STATE_UNKNOWN;
}

/* A linked container has `/app/alias` among its names, possibly first. */
static const char *own_name(const struct json *names)
{
    for (const struct json *name = json_first(names); name != NULL; name = json_next(name)) {
        const char *text = json_string(name);
        if (text != NULL && strchr(text + (text[0] == '/'), '/') == NULL) {
            return text;
        }
    }
    return json_string(json_first(names));
}

static const char *text_or(const char *text, const char *otherwise)
{
    return text != NULL ? text : otherwise;
}

static bool is_id(const char *id)
{
    return id != NULL && strlen(id) == DOCKER_ID_SIZE - 1 &&
           strspn(id, "0123456789abcdef") == DOCKER_ID_SIZE - 1;
}

int docker_container_parse(const struct json *object, struct record_label *storage,
                           size_t label_limit, struct docker_container *ret_container,
                           struct error *error)
{
    const char *id = json_get_string(object, "Id");
    if (!is_id(id)) {
        error_set(error, "a container without a usable Id ('%.80s')", text_or(id, ""));
        return -EINVAL;
    }
    const struct json *config = json_get(object, "Config");
    const struct json *state = json_get(object, "State");
    const char *name = json_get_string(object, "Name");
    if (name == NULL || name[0] == '\0') { /* podman's list has an empty Name too */
        name = own_name(json_get(object, "Names"));
    }
    name = text_or(name, "");
    const char *image = json_get_string(config, "Image");
    const struct json *labels = json_get(json_is_object(config) ? config : object, "Labels");
    const struct json *logging = json_get(json_get(object, "HostConfig"), "LogConfig");
    const char *max_size = json_get_string(json_get(logging, "Config"), "max-size");
    const char *driver = text_or(json_get_string(logging, "Type"), "");
    struct docker_container container = {
        .id = id,
        .name = name[0] == '/' ? name + 1 : name,
        .image = text_or(image != NULL ? image : json_get_string(object, "Image"), ""),
        .state = parse_state(json_is_object(state) ? json_get_string(state, "Status")
                                                   : json_string(state)),
        .labels = storage,
        .tty = json_get_bool(config, "Tty"),
        .log_driver = driver,
        .log_rotates = (max_size != NULL && strcmp(max_size, "-1") != 0) ||
                       (max_size == NULL && strcmp(driver, "local") == 0)};
    for (const struct json *label = json_first(labels);
         label != NULL && container.label_count < label_limit; label = json_next(label)) {
        if (json_string(label) != NULL && json_name(label) != NULL) {
            storage[container.label_count++] = (struct record_label){json_name(label),
                                                                     json_string(label)};
        }
    }
    *ret_container = container;
    return 0;
}

/* ---- calls ---- */

struct request {
    struct docker_client *client;
    docker_list_fn on_list;
    docker_inspect_fn on_inspect;
    void *data;
};

static size_t count_members(const struct json *array)
{
    size_t count = 0;
    for (const struct json *member = json_first(array); member != NULL;
         member = json_next(member)) {
        count++;
    }
    return count;
}

static size_t count_labels(const struct json *array)
{
    size_t count = 0;
    for (const struct json *member = json_first(array); member != NULL;
         member = json_next(member)) {
        count += count_members(json_get(member, "Labels"));
    }
    return count;
}

/* Frees with free(*ret_containers) and free(*ret_labels). */
static int parse_list(const struct json *array, struct docker_container **ret_containers,
                      struct record_label **ret_labels, size_t *ret_count)
{
    struct docker_container *containers = calloc(count_members(array) + 1, sizeof(*containers));
    size_t label_room = count_labels(array);
    struct record_label *labels = calloc(label_room + 1, sizeof(*labels));
    *ret_containers = containers;
    *ret_labels = labels;
    *ret_count = 0;
    if (containers == NULL || labels == NULL) {
        return -ENOMEM;
    }
    size_t used = 0;
    for (const struct json *member = json_first(array); member != NULL;
         member = json_next(member)) {
        if (docker_container_parse(member, labels + used, label_room - used,
                                   &containers[*ret_count], NULL) == 0) {
            used += containers[*ret_count].label_count;
            (*ret_count)++;
        }
    }
    return 0;
}

static void handle_list(const struct docker_outcome *outcome, const struct json *root, void *data)
{
    struct request *request = data;
    struct error text = {""};
    struct docker_outcome own = *outcome;
    struct docker_container *containers = NULL;
    struct record_label *labels = NULL;
    size_t count = 0;
    if (own.verdict == DOCKER_OK && !json_is_array(root)) {
        own.verdict = DOCKER_UNAVAILABLE;
        own.text = text.text;
        error_set(&text, "%s: the list of containers is no JSON array",
                  docker_client_url(request->client));
    } else if (own.verdict == DOCKER_OK && parse_list(root, &containers, &labels, &count) != 0) {
        own.verdict = DOCKER_UNAVAILABLE;
        own.text = "out of memory";
    }
    request->on_list(&own, own.verdict == DOCKER_OK ? containers : NULL, count, request->data);
    free(containers);
    free(labels);
    free(request);
}

static void handle_inspect(const struct docker_outcome *outcome, const struct json *root,
                           void *data)
{
    struct request *request = data;
    struct error text = {""};
    struct docker_outcome own = *outcome;
    struct record_label labels[LABEL_LIMIT];
    struct docker_container container;
    struct error parse_error = {""};
    if (own.verdict == DOCKER_OK &&
        docker_container_parse(root, labels, LABEL_LIMIT, &container, &parse_error) != 0) {
        own.verdict = DOCKER_UNAVAILABLE;
        own.text = text.text;
        error_set(&text, "%s: %s", docker_client_url(request->client), parse_error.text);
    }
    request->on_inspect(&own, own.verdict == DOCKER_OK ? &container : NULL, request->data);
    free(request);
}

static int start(const char *rest, size_t limit_bytes, docker_call_fn on_done,
                 const struct request *template)
{
    struct request *request = calloc(1, sizeof(*request));
    if (request == NULL) {
        return -ENOMEM;
    }
    *request = *template;
    int rc = docker_call_start(request->client, &(struct docker_call){.rest = rest,
                                                                      .limit_bytes = limit_bytes,
                                                                      .on_done = on_done,
                                                                      .data = request});
    if (rc != 0) {
        free(request);
    }
    return rc;
}

int docker_list(struct docker_client *client, docker_list_fn on_list, void *data)
{
    return start("/containers/json?all=1", LIST_LIMIT_BYTES, handle_list,
                 &(struct request){.client = client, .on_list = on_list, .data = data});
}

int docker_list_labelled(struct docker_client *client, const char *label, docker_list_fn on_list,
                         void *data)
{
    struct buf rest;
    buf_init(&rest, 0);
    int rc = buf_append_str(&rest, "/containers/json?all=1&");
    rc = rc != 0 ? rc : docker_call_append_label_filter(&rest, label);
    rc = rc != 0 || buf_terminated(&rest) == NULL
             ? -ENOMEM
             : start(rest.data, LIST_LIMIT_BYTES, handle_list,
                     &(struct request){.client = client, .on_list = on_list, .data = data});
    buf_finish(&rest);
    return rc;
}

int docker_inspect(struct docker_client *client, const char *id, docker_inspect_fn on_inspect,
                   void *data)
{
    char rest[128];
    (void)snprintf(rest, sizeof(rest), "/containers/%s/json", id);
    return start(rest, 0, handle_inspect,
                 &(struct request){.client = client, .on_inspect = on_inspect, .data = data});
}
