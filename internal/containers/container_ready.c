/* Looks again and again, more and more seldom, until one look is satisfied or the time is over. */
#include "containers/container_steps.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "base/timestamp.h"
#include "net/http_call.h"

#define LOOK_FIRST_NS (30 * NS_PER_MS)
#define LOOK_LIMIT_NS (500 * NS_PER_MS)
#define LOOK_TIMEOUT_NS (2 * NS_PER_SECOND)
#define ANSWER_LIMIT_BYTES ((size_t)4 * 1024 * 1024)
#define LINE_LIMIT_BYTES ((size_t)64 * 1024)

static struct pooled_container *owner_of(struct container_readiness *readiness)
{
    return container_of(readiness, struct pooled_container, readiness);
}

/* Takes back everything but an exec that is under way. */
static void clear(struct container_readiness *readiness)
{
    readiness->active = false;
    loop_timer_disarm(&readiness->look_timer);
    loop_timer_disarm(&readiness->deadline_timer);
    container_talk_stop(&readiness->talk);
    docker_logs_close(readiness->logs);
    readiness->logs = NULL;
    http_call_cancel(readiness->call);
    readiness->call = NULL;
}

static void finish(struct container_readiness *readiness, int rc, const char *text)
{
    clear(readiness);
    readiness->on_done(owner_of(readiness), rc, text);
}

static void look_failed(struct container_readiness *readiness, const char *text)
{
    int64_t pause = LOOK_FIRST_NS << (readiness->looks < 8 ? readiness->looks : 8);
    error_set(&readiness->trouble, "%s", text);
    readiness->looks++;
    loop_timer_arm(&readiness->look_timer, pause < LOOK_LIMIT_NS ? pause : LOOK_LIMIT_NS);
}

/* ---- port ---- */

static void handle_talk(struct container_talk *talk, int rc, const char *text)
{
    struct container_readiness *readiness = container_of(talk, struct container_readiness, talk);
    if (rc == 0) {
        finish(readiness, 0, "");
    } else {
        look_failed(readiness, text);
    }
}

static void look_at_port(struct container_readiness *readiness)
{
    struct pooled_container *container = owner_of(readiness);
    container_talk_start(&readiness->talk, &container->view, &container->pool->preset->ready_talk);
}

/* ---- log ---- */

static void handle_piece(uint8_t stream, int64_t time_ns, const char *bytes, size_t size,
                         void *data)
{
    struct container_readiness *readiness = data;
    const char *text = owner_of(readiness)->pool->preset->ready_text;
    (void)stream;
    (void)time_ns;
    if (readiness->active && memmem(bytes, size, text, strlen(text)) != NULL) {
        finish(readiness, 0, "");
    }
}

static void handle_log_data(const char *bytes, size_t size, void *data)
{
    struct container_readiness *readiness = data;
    struct error error = {.text = ""};
    if (frames_feed(&readiness->frames, bytes, size, &error) != 0 && readiness->active) {
        docker_logs_close(readiness->logs);
    }
}

static void handle_log_end(const struct docker_outcome *outcome, void *data)
{
    struct container_readiness *readiness = data;
    struct pooled_container *container = owner_of(readiness);
    container_call_over(container);
    readiness->logs = NULL;
    readiness->under_way = false;
    frames_finish(&readiness->frames);
    if (readiness->active) { /* the container ended, which its event tells, or the stream broke */
        look_failed(readiness, outcome->verdict == DOCKER_OK ? "its log has ended" : outcome->text);
    }
    container_release(container);
}

static void look_at_log(struct container_readiness *readiness)
{
    struct pooled_container *container = owner_of(readiness);
    const struct docker_logs_options options = {.id = container->id,
                                                .follow = true,
                                                .tail = -1,
                                                .on_data = handle_log_data,
                                                .on_end = handle_log_end,
                                                .data = readiness};
    char text[160];
    (void)snprintf(text, sizeof(text), "it has not printed '%.100s'",
                   container->pool->preset->ready_text);
    error_set(&readiness->trouble, "%s", text);
    frames_init(&readiness->frames, &(struct frames_options){.limit_bytes = LINE_LIMIT_BYTES,
                                                             .on_piece = handle_piece,
                                                             .data = readiness});
    if (container_call(container, docker_logs_open(container->pool->docker, &options,
                                                   &readiness->logs)) != 0) {
        frames_finish(&readiness->frames);
        look_failed(readiness, "out of memory");
    } else {
        readiness->under_way = true;
    }
}

/* ---- http ---- */

static void handle_answer(const struct http_answer *answer, void *data)
{
    struct container_readiness *readiness = data;
    struct pooled_container *container = owner_of(readiness);
    char text[320];
    container_call_over(container);
    readiness->under_way = false;
    http_target_destroy(readiness->target);
    readiness->target = NULL;
    readiness->call = NULL;
    if (readiness->active && answer->status >= 200 && answer->status < 300) {
        finish(readiness, 0, "");
    } else if (readiness->active) {
        (void)snprintf(text, sizeof(text), "GET %.100s: %s%.0d%.180s",
                       container->pool->preset->ready_text, answer->status > 0 ? "status " : "",
                       answer->status, answer->status > 0 ? "" : answer->text);
        look_failed(readiness, text);
    }
    container_release(container);
}

static void look_at_http(struct container_readiness *readiness)
{
    struct pooled_container *container = owner_of(readiness);
    struct container_pool *pool = container->pool;
    struct hostport hostport = {
        .port = container_host_port(&container->view, pool->preset->ready_talk.port)};
    char address[HOSTPORT_TEXT_SIZE];
    char url[HOSTPORT_TEXT_SIZE + 8];
    struct endpoint endpoint;
    struct error error = {.text = ""};
    (void)str_copy(hostport.host, sizeof(hostport.host), container->view.host);
    hostport_format(&hostport, address);
    (void)snprintf(url, sizeof(url), "tcp://%s", address);
    int rc = endpoint_parse(url, NULL, &endpoint, &error);
    endpoint.direct = true;
    rc = rc != 0 ? rc : http_target_create(pool->options.http, &endpoint, &readiness->target);
    const struct http_call_options call = {.target = readiness->target,
                                           .path = pool->preset->ready_text,
                                           .timeout_ns = LOOK_TIMEOUT_NS,
                                           .limit_bytes = ANSWER_LIMIT_BYTES,
                                           .on_answer = handle_answer,
                                           .data = readiness};
    if (rc == 0) {
        rc = container_call(container,
                            http_call_start(pool->options.http, &call, &readiness->call));
    }
    if (rc == 0) {
        readiness->under_way = true;
    } else {
        http_target_destroy(readiness->target);
        readiness->target = NULL;
        look_failed(readiness, error.text[0] != '\0' ? error.text : "out of memory");
    }
}

/* ---- exec ---- */

static void handle_exec(const struct docker_outcome *outcome, int64_t exit_code, void *data)
{
    struct container_readiness *readiness = data;
    struct pooled_container *container = owner_of(readiness);
    char text[160];
    container_call_over(container);
    readiness->under_way = false;
    if (readiness->active && outcome->verdict == DOCKER_OK && exit_code == 0) {
        finish(readiness, 0, "");
    } else if (readiness->active && outcome->verdict == DOCKER_OK) {
        (void)snprintf(text, sizeof(text), "%.100s ended with %lld",
                       container->pool->preset->ready_command.items[0], (long long)exit_code);
        look_failed(readiness, text);
    } else if (readiness->active) {
        look_failed(readiness, outcome->text);
    }
    container_release(container);
}

static void look_by_exec(struct container_readiness *readiness)
{
    struct pooled_container *container = owner_of(readiness);
    const char *const *command = (const char *const *)container->pool->preset->ready_command.items;
    if (container_call(container, docker_exec(container->pool->docker, container->id, command,
                                              handle_exec, readiness)) != 0) {
        look_failed(readiness, "out of memory");
    } else {
        readiness->under_way = true;
    }
}

/* ---- all ---- */

static void look(struct container_readiness *readiness)
{
    static void (*const looks[])(struct container_readiness *
                                 readiness) = {[PRESET_READY_PORT] = look_at_port,
                                               [PRESET_READY_LOG] = look_at_log,
                                               [PRESET_READY_HTTP] = look_at_http,
                                               [PRESET_READY_EXEC] = look_by_exec};
    if (readiness->under_way) { /* one of before, which was called off; it comes back soon */
        look_failed(readiness, readiness->trouble.text);
    } else {
        looks[owner_of(readiness)->pool->preset->ready](readiness);
    }
}

static void handle_look(struct loop_timer *timer, void *data)
{
    (void)timer;
    look(data);
}

static void handle_deadline(struct loop_timer *timer, void *data)
{
    struct container_readiness *readiness = data;
    char time[32];
    struct error text;
    (void)timer;
    str_format_duration(readiness->timeout_ns, time, sizeof(time));
    error_set(&text, "it was not ready within %s: %.200s", time, readiness->trouble.text);
    finish(readiness, -ETIMEDOUT, text.text);
}

void container_ready_init(struct pooled_container *container)
{
    struct container_readiness *readiness = &container->readiness;
    struct loop *loop = container->pool->options.loop;
    loop_timer_init(loop, &readiness->look_timer, handle_look, readiness);
    loop_timer_init(loop, &readiness->deadline_timer, handle_deadline, readiness);
    container_talk_init(&readiness->talk, loop, handle_talk);
}

void container_ready_start(struct pooled_container *container, int64_t timeout_ns,
                           void (*on_done)(struct pooled_container *container, int rc,
                                           const char *text))
{
    struct container_readiness *readiness = &container->readiness;
    readiness->on_done = on_done;
    readiness->timeout_ns = timeout_ns;
    readiness->looks = 0;
    readiness->active = true;
    error_set(&readiness->trouble, "nothing was seen of it");
    loop_timer_arm(&readiness->deadline_timer, timeout_ns);
    loop_timer_arm(&readiness->look_timer, 0);
}

void container_ready_stop(struct pooled_container *container)
{
    clear(&container->readiness);
}
