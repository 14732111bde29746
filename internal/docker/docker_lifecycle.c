/* Each call is a POST or DELETE whose answer is nothing or a small object. */
#include "docker/docker_lifecycle.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "docker/docker_call.h"

#define WAIT_TIMEOUT_NS (INT64_C(86400) * 365 * 1000000000)
#define REMOVE_TIMEOUT_NS (60 * INT64_C(1000000000))

/* ---- calls without an answer ---- */

struct simple {
    docker_done_fn on_done;
    void *data;
};

static void handle_simple(const struct docker_outcome *outcome, const struct json *answer,
                          void *data)
{
    (void)answer;
    struct simple *simple = data;
    struct docker_outcome own = *outcome;
    if (own.status == 304) { /* it is as it was asked to be */
        own.verdict = DOCKER_OK;
    }
    simple->on_done(&own, simple->data);
    free(simple);
}

static int start_simple(struct docker_client *client, const struct docker_call *template,
                        docker_done_fn on_done, void *data)
{
    struct simple *simple = calloc(1, sizeof(*simple));
    if (simple == NULL) {
        return -ENOMEM;
    }
    *simple = (struct simple){on_done, data};
    struct docker_call call = *template;
    call.on_done = handle_simple;
    call.data = simple;
    int rc = docker_call_start(client, &call);
    if (rc != 0) {
        free(simple);
    }
    return rc;
}

int docker_start(struct docker_client *client, const char *id, docker_done_fn on_done, void *data)
{
    char rest[160];
    (void)snprintf(rest, sizeof(rest), "/containers/%s/start", id);
    return start_simple(client, &(struct docker_call){.method = "POST", .rest = rest}, on_done,
                        data);
}

static int start_with_timeout(struct docker_client *client, const char *rest, unsigned timeout_s,
                              docker_done_fn on_done, void *data)
{
    struct docker_call call = {
        .method = "POST", .rest = rest, .timeout_ns = (INT64_C(30) + timeout_s) * 1000000000};
    return start_simple(client, &call, on_done, data);
}

int docker_stop(struct docker_client *client, const char *id, unsigned timeout_s,
                docker_done_fn on_done, void *data)
{
    char rest[160];
    (void)snprintf(rest, sizeof(rest), "/containers/%s/stop?t=%u", id, timeout_s);
    return start_with_timeout(client, rest, timeout_s, on_done, data);
}

int docker_restart(struct docker_client *client, const char *id, unsigned timeout_s,
                   docker_done_fn on_done, void *data)
{
    char rest[160];
    (void)snprintf(rest, sizeof(rest), "/containers/%s/restart?t=%u", id, timeout_s);
    return start_with_timeout(client, rest, timeout_s, on_done, data);
}

int docker_kill(struct docker_client *client, const char *id, const char *signal,
                docker_done_fn on_done, void *data)
{
    char rest[160];
    (void)snprintf(rest, sizeof(rest), "/containers/%s/kill?signal=%s", id, signal);
    return start_simple(client, &(struct docker_call){.method = "POST", .rest = rest}, on_done,
                        data);
}

int docker_remove(struct docker_client *client, const char *id, docker_done_fn on_done, void *data)
{
    char rest[160];
    (void)snprintf(rest, sizeof(rest), "/containers/%s?force=1&v=1", id);
    return start_simple(
        client,
        &(struct docker_call){.method = "DELETE", .rest = rest, .timeout_ns = REMOVE_TIMEOUT_NS},
        on_done, data);
}

/* ---- creating ---- */

static void port_key(const struct docker_port *port, char *ret_key, size_t key_bytes)
{
    (void)snprintf(ret_key, key_bytes, "%u/%s", port->container_port, port->protocol);
}

static void put_exposed(struct json_writer *writer, const struct docker_spec *spec)
{
    json_open(writer, "ExposedPorts", '{');
    for (size_t i = 0; i < spec->port_count; i++) {
        char key[32];
        port_key(&spec->ports[i], key, sizeof(key));
        json_open(writer, key, '{');
        json_close(writer, '}');
    }
    json_close(writer, '}');
}

static void put_bindings(struct json_writer *writer, const struct docker_spec *spec)
{
    json_open(writer, "PortBindings", '{');
    for (size_t i = 0; i < spec->port_count; i++) {
        const struct docker_port *port = &spec->ports[i];
        char key[32];
        char number[8];
        port_key(port, key, sizeof(key));
        (void)snprintf(number, sizeof(number), "%u", port->host_port);
        json_open(writer, key, '[');
        json_open(writer, NULL, '{');
        json_put_string(writer, "HostIp", port->host_ip);
        json_put_string(writer, "HostPort", number);
        json_close(writer, '}');
        json_close(writer, ']');
    }
    json_close(writer, '}');
}

static int write_spec(const struct docker_spec *spec, struct buf *out)
{
    struct json_writer writer;
    json_writer_init(&writer, out);
    json_open(&writer, NULL, '{');
    json_put_string(&writer, "Image", spec->image);
    docker_call_put_texts(&writer, "Cmd", spec->command);
    docker_call_put_texts(&writer, "Env", spec->environment);
    json_open(&writer, "Labels", '{');
    for (size_t i = 0; i < spec->label_count; i++) {
        json_put_string(&writer, spec->labels[i].key, spec->labels[i].value);
    }
    json_close(&writer, '}');
    put_exposed(&writer, spec);
    json_open(&writer, "HostConfig", '{');
    put_bindings(&writer, spec);
    json_put_int(&writer, "Memory", (int64_t)spec->memory_bytes);
    json_put_bool(&writer, "Init", spec->init);
    if (spec->network != NULL) {
        json_put_string(&writer, "NetworkMode", spec->network);
    }
    json_close(&writer, '}');
    json_close(&writer, '}');
    return writer.rc != 0 || buf_terminated(out) == NULL ? -ENOMEM : 0;
}

struct creation {
    docker_created_fn on_created;
    void *data;
};

static void handle_created(const struct docker_outcome *outcome, const struct json *answer,
                           void *data)
{
    struct creation *creation = data;
    struct docker_outcome own = *outcome;
    const char *id = own.verdict == DOCKER_OK ? json_get_string(answer, "Id") : NULL;
    if (own.verdict == DOCKER_OK && (id == NULL || strlen(id) != DOCKER_ID_SIZE - 1)) {
        own.verdict = DOCKER_UNAVAILABLE;
        own.text = "the daemon's answer to create has no usable Id";
        id = NULL;
    }
    creation->on_created(&own, id, creation->data);
    free(creation);
}

int docker_create(struct docker_client *client, const struct docker_spec *spec,
                  docker_created_fn on_created, void *data)
{
    struct buf body;
    struct buf rest;
    struct creation *creation = calloc(1, sizeof(*creation));
    buf_init(&body, 0);
    buf_init(&rest, 0);
    int rc = creation == NULL ? -ENOMEM : write_spec(spec, &body);
    rc = rc != 0 ? rc : buf_append_str(&rest, "/containers/create");
    if (rc == 0 && spec->name != NULL) {
        rc = buf_append_str(&rest, "?name=");
        rc = rc != 0 ? rc : docker_call_append_encoded(&rest, spec->name);
    }
    rc = rc == 0 && buf_terminated(&rest) == NULL ? -ENOMEM : rc;
    if (rc == 0) {
        *creation = (struct creation){on_created, data};
        rc = docker_call_start(client, &(struct docker_call){.method = "POST",
                                                             .rest = rest.data,
                                                             .json = body.data,
                                                             .on_done = handle_created,
                                                             .data = creation});
    }
    if (rc != 0) {
        free(creation);
    }
    buf_finish(&body);
    buf_finish(&rest);
    return rc;
}

/* ---- waiting ---- */

struct waiting {
    docker_waited_fn on_waited;
    void *data;
};

static void handle_waited(const struct docker_outcome *outcome, const struct json *answer,
                          void *data)
{
    struct waiting *waiting = data;
    waiting->on_waited(outcome, json_get_int(answer, "StatusCode"), waiting->data);
    free(waiting);
}

int docker_wait(struct docker_client *client, const char *id, docker_waited_fn on_waited,
                void *data)
{
    char rest[160];
    struct waiting *waiting = calloc(1, sizeof(*waiting));
    if (waiting == NULL) {
        return -ENOMEM;
    }
    *waiting = (struct waiting){on_waited, data};
    (void)snprintf(rest, sizeof(rest), "/containers/%s/wait", id);
    int rc = docker_call_start(client, &(struct docker_call){.method = "POST",
                                                             .rest = rest,
                                                             .timeout_ns = WAIT_TIMEOUT_NS,
                                                             .on_done = handle_waited,
                                                             .data = waiting});
    if (rc != 0) {
        free(waiting);
    }
    return rc;
}

/* ---- details ---- */

static const char *text_or_empty(const char *text)
{
    return text != NULL ? text : "";
}

/* "9092/tcp": [{"HostIp": "127.0.0.1", "HostPort": "19092"}] */
static void take_port(const struct json *binding, struct docker_details *details)
{
    const struct json *first = json_first(binding);
    const char *host_port = json_get_string(first, "HostPort");
    const char *name = json_name(binding) != NULL ? json_name(binding) : "";
    const char *slash = strchr(name, '/');
    char number[8] = "";
    uint64_t container_port;
    uint64_t port;
    if (slash == NULL || host_port == NULL || details->port_count == DOCKER_PORTS_LIMIT ||
        (size_t)(slash - name) >= sizeof(number)) {
        return;
    }
    memcpy(number, name, (size_t)(slash - name));
    if (str_parse_u64(number, &container_port) == 0 && str_parse_u64(host_port, &port) == 0 &&
        container_port <= 65535 && port <= 65535) {
        details->ports[details->port_count++] = (struct docker_port){
            .container_port = (uint16_t)container_port,
            .protocol = slash + 1,
            .host_ip = text_or_empty(json_get_string(first, "HostIp")),
            .host_port = (uint16_t)port};
    }
}

int docker_details_parse(const struct json *object, struct docker_details *ret_details,
                         struct error *error)
{
    struct docker_container container;
    int rc = docker_container_parse(object, NULL, 0, &container, error);
    if (rc != 0) {
        return rc;
    }
    const struct json *state = json_get(object, "State");
    const struct json *network = json_get(object, "NetworkSettings");
    struct docker_details details = {.id = container.id,
                                     .name = container.name,
                                     .state = container.state,
                                     .running = json_get_bool(state, "Running"),
                                     .exit_code = json_get_int(state, "ExitCode"),
                                     .error = text_or_empty(json_get_string(state, "Error")),
                                     .oom_killed = json_get_bool(state, "OOMKilled")};
    details.ip = text_or_empty(json_get_string(network, "IPAddress"));
    if (details.ip[0] == '\0') { /* a network that is not the default one */
        details.ip = text_or_empty(
            json_get_string(json_first(json_get(network, "Networks")), "IPAddress"));
    }
    for (const struct json *binding = json_first(json_get(network, "Ports")); binding != NULL;
         binding = json_next(binding)) {
        take_port(binding, &details);
    }
    *ret_details = details;
    return 0;
}

struct look {
    docker_details_fn on_details;
    void *data;
};

static void handle_look(const struct docker_outcome *outcome, const struct json *answer, void *data)
{
    struct look *look = data;
    struct docker_outcome own = *outcome;
    struct docker_details details;
    struct error error = {""};
    if (own.verdict == DOCKER_OK && docker_details_parse(answer, &details, &error) != 0) {
        own.verdict = DOCKER_UNAVAILABLE;
        own.text = error.text;
    }
    look->on_details(&own, own.verdict == DOCKER_OK ? &details : NULL, look->data);
    free(look);
}

int docker_look(struct docker_client *client, const char *id, docker_details_fn on_details,
                void *data)
{
    char rest[160];
    struct look *look = calloc(1, sizeof(*look));
    if (look == NULL) {
        return -ENOMEM;
    }
    *look = (struct look){on_details, data};
    (void)snprintf(rest, sizeof(rest), "/containers/%s/json", id);
    int rc = docker_call_start(
        client, &(struct docker_call){.rest = rest, .on_done = handle_look, .data = look});
    if (rc != 0) {
        free(look);
    }
    return rc;
}
