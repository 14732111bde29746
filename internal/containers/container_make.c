/*
 * Preparing (once, and again when the image has gone): the daemon answers, what killed processes left is
 * removed, the image is there or pulled, the network is made. Then each container: ports of the host are
 * picked, for the command may name them; create, start, wait until it is ready.
 */
#include "containers/container_steps.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/str.h"
#include "base/timestamp.h"
#include "docker/docker_images.h"

#define PORT_TRIES 5 /* when others take the ports between our look and the daemon's */
#define EPHEMERAL_FIRST 32768U
#define EPHEMERAL_COUNT 28232U /* Linux: net.ipv4.ip_local_port_range */
#define PULL_AGAIN_NS (30 * NS_PER_SECOND)
#define REAP_TIMEOUT_NS (5 * NS_PER_SECOND)

/* ---- preparing ---- */

static void finish_preparing(struct container_pool *pool, int rc, const char *text)
{
    pool->preparing = false;
    if (rc != 0 || pool->closing) {
        container_give_up(pool, pool->prepare_lease, pool->closing ? 0 : rc, text);
        pool->prepared = pool->closing && pool->prepared;
    } else {
        pool->prepared = true;
        container_make(pool, pool->prepare_lease);
    }
    container_pool_go_on(pool);
}

static void handle_network(const struct docker_outcome *outcome, void *data)
{
    struct container_pool *pool = data;
    if (!pool->destroyed) {
        bool made = outcome->verdict == DOCKER_OK || outcome->verdict == DOCKER_CONFLICT;
        finish_preparing(pool, made ? 0 : -EIO, outcome->text);
    }
    container_pool_call_over(pool);
}

static void prepare_network(struct container_pool *pool)
{
    if (!pool->preset->network || pool->closing) {
        finish_preparing(pool, 0, "");
        return;
    }
    (void)snprintf(pool->network, sizeof(pool->network), "pool-%s", pool->owner.session);
    int rc = docker_network_create(
        pool->docker, pool->network,
        &(struct record_label){.key = OWNER_LABEL_SESSION, .value = pool->owner.session},
        handle_network, pool);
    if (container_pool_call(pool, rc) != 0) {
        finish_preparing(pool, rc, "out of memory");
    }
}

static void handle_pulled(const struct docker_outcome *outcome, void *data)
{
    struct container_pool *pool = data;
    if (pool->destroyed) {
    } else if (outcome->verdict == DOCKER_OK) {
        container_log(pool, "image %s has been pulled", pool->preset->image);
        prepare_network(pool);
    } else {
        pool->pulled_ns = loop_now_ns(pool->options.loop);
        error_set(&pool->pull_trouble,
                  "image %.120s is not there and can't be pulled; build it, or pull it where that "
                  "can be done: %s",
                  pool->preset->image, outcome->text);
        finish_preparing(pool, -ENOENT, pool->pull_trouble.text);
    }
    container_pool_call_over(pool);
}

/* Not again and again: that takes long, and the registry has others to serve. */
static void pull_image(struct container_pool *pool)
{
    if (pool->pulled_ns != 0 && loop_now_ns(pool->options.loop) - pool->pulled_ns < PULL_AGAIN_NS) {
        finish_preparing(pool, -ENOENT, pool->pull_trouble.text);
        return;
    }
    container_log(pool, "image %s is not there; pulling it", pool->preset->image);
    int rc = docker_image_pull(pool->docker, pool->preset->image, handle_pulled, pool);
    if (container_pool_call(pool, rc) != 0) {
        finish_preparing(pool, rc, "out of memory");
    }
}

static void handle_image(const struct docker_outcome *outcome, void *data)
{
    struct container_pool *pool = data;
    if (pool->destroyed) {
    } else if (outcome->verdict == DOCKER_OK) {
        prepare_network(pool);
    } else if (outcome->verdict != DOCKER_NOT_FOUND) {
        finish_preparing(pool, -EIO, outcome->text);
    } else {
        pull_image(pool);
    }
    container_pool_call_over(pool);
}

static void look_for_image(struct container_pool *pool)
{
    int rc = docker_image_look(pool->docker, pool->preset->image, handle_image, pool);
    if (container_pool_call(pool, rc) != 0) {
        finish_preparing(pool, rc, "out of memory");
    }
}

static void handle_reaped(size_t removed, size_t left, const char *text, void *data)
{
    struct container_pool *pool = data;
    if (removed > 0) {
        container_log(pool, "removed %zu containers that a killed process had left", removed);
    }
    if (left > 0) {
        container_log(pool, "%zu containers that a killed process left are still there: %s", left,
                      text);
    }
    reaping_destroy(pool->reaping);
    pool->reaping = NULL;
    look_for_image(pool);
}

/* What can't be removed is no reason to make none. */
static void reap_others(struct container_pool *pool)
{
    const struct reaping_options options = {.loop = pool->options.loop,
                                            .http = pool->options.http,
                                            .docker_url = pool->docker_url,
                                            .timeout_ns = REAP_TIMEOUT_NS,
                                            .on_done = handle_reaped,
                                            .data = pool};
    bool first = !pool->reaped;
    pool->reaped = true;
    if (!first || reaping_start(&options, &pool->reaping, NULL) != 0) {
        look_for_image(pool);
    }
}

static void handle_ping(const struct docker_outcome *outcome, void *data)
{
    struct container_pool *pool = data;
    if (pool->destroyed) {
    } else if (outcome->verdict != DOCKER_OK) {
        finish_preparing(pool, -EHOSTDOWN, outcome->text);
    } else {
        container_watch_begin(pool);
        reap_others(pool);
    }
    container_pool_call_over(pool);
}

void container_prepare(struct container_pool *pool, struct pool_lease lease)
{
    pool->preparing = true;
    pool->prepare_lease = lease;
    int rc = docker_ping(pool->docker, handle_ping, pool);
    if (container_pool_call(pool, rc) != 0) {
        finish_preparing(pool, rc, "out of memory");
    }
}

/* ---- ports ---- */

/* Whether it is free, as far as this machine can tell; the daemon has the last word. */
static uint16_t try_port(const struct container_pool *pool, uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(pool->everywhere ? INADDR_ANY : INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool is_free = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    uint16_t bound = is_free ? address_port_of(fd) : 0;
    if (fd >= 0) {
        (void)close(fd);
    }
    return bound;
}

static bool is_ours(const struct container_pool *pool, uint16_t port)
{
    const struct list *link;
    for (link = pool->containers.next; link != &pool->containers; link = link->next) {
        const struct container *view = &container_of(link, struct pooled_container, link)->view;
        for (size_t i = 0; i < view->port_count; i++) {
            if (view->host_ports[i] == port) {
                return true;
            }
        }
    }
    return false;
}

static uint16_t pick_any(const struct container_pool *pool)
{
    uint16_t port = 0;
    for (int i = 0; i < 100 && (port == 0 || is_ours(pool, port)); i++) {
        if (pool->far) {
            uint16_t random = 0;
            (void)!getrandom(&random, sizeof(random), 0);
            port = (uint16_t)(EPHEMERAL_FIRST + random % EPHEMERAL_COUNT);
        } else {
            port = try_port(pool, 0);
        }
    }
    return port;
}

/* -EADDRINUSE with the reason. */
static int pick_ports(struct pooled_container *container, struct error *error)
{
    struct container_pool *pool = container->pool;
    struct container *view = &container->view;
    uint16_t picked[PRESET_PORTS_LIMIT];
    size_t count = pool->preset->port_count;
    for (size_t i = 0; i < count; i++) {
        uint16_t fixed = pool->options.first_port;
        picked[i] = fixed > 0 ? (uint16_t)(fixed + view->number * count + i) : pick_any(pool);
        if (fixed > 0 && !pool->far && try_port(pool, picked[i]) == 0) {
            error_set(error,
                      "port %u of the host, for container %u, is taken; choose another first port, "
                      "or none, which takes any that are free",
                      picked[i], view->number);
            return -EADDRINUSE;
        }
    }
    for (size_t i = 0; i < count; i++) {
        view->ports[i] = pool->preset->ports[i];
        view->host_ports[i] = picked[i];
    }
    view->port_count = count;
    struct hostport hostport = {.port = count > 0 ? picked[0] : 0};
    (void)str_copy(hostport.host, sizeof(hostport.host), pool->host);
    container->address[0] = '\0';
    if (count > 0) {
        hostport_format(&hostport, container->address);
    }
    return 0;
}

/* ---- failing ---- */

/* Without its last words, or with. */
static void fail_now(struct pooled_container *container, int rc, const char *text)
{
    struct container_pool *pool = container->pool;
    if (container->reserved) {
        container->reserved = false;
        container_give_up(pool, container->lease, pool->closing ? 0 : rc, text);
    }
    if (container->id[0] != '\0') {
        container_remove(container);
    } else {
        container->step = CONTAINER_GONE;
    }
}

static void handle_last_words(struct pooled_container *container)
{
    struct error text;
    struct buf *words = &container->log_text;
    while (words->size > 0 && words->data[words->size - 1] == '\n') {
        words->size--;
    }
    if (container->step != CONTAINER_FAILED) { /* it is being removed already */
        return;
    }
    size_t shown = words->size < 280 ? words->size : 280;
    if (shown < words->size) { /* from the beginning of a line, where there is one */
        const char *from = words->data + words->size - shown;
        const char *line = memchr(from, '\n', shown);
        shown = line != NULL ? (size_t)(words->data + words->size - line - 1) : shown;
    }
    error_set(&text, "%.200s%s%.*s", container->readiness.trouble.text,
              shown > 0 ? "; its last lines: " : "; it has printed nothing", (int)shown,
              shown > 0 ? words->data + words->size - shown : "");
    error_prefix(&text, "container %s", container->name);
    fail_now(container, -ETIMEDOUT, text.text);
}

/* It is there, but of no use. */
static void fail(struct pooled_container *container, const char *text)
{
    error_set(&container->readiness.trouble, "%s", text);
    container_ready_stop(container);
    container->step = CONTAINER_FAILED;
    container_read_logs(container, handle_last_words);
}

static void handle_look(const struct docker_outcome *outcome, const struct docker_details *details,
                        void *data)
{
    struct pooled_container *container = data;
    char text[200];
    container_call_over(container);
    if (container->step == CONTAINER_FAILED && !container->pool->destroyed) {
        (void)snprintf(text, sizeof(text), "it ended with %lld before it was ready%s",
                       outcome->verdict == DOCKER_OK ? (long long)details->exit_code : -1LL,
                       outcome->verdict == DOCKER_OK && details->oom_killed
                           ? ": it needed more memory than it may have"
                           : "");
        fail(container, text);
    }
    container_release(container);
}

void container_make_died(struct pooled_container *container)
{
    container_ready_stop(container);
    container->step = CONTAINER_FAILED;
    if (container_call(container, docker_look(container->pool->docker, container->id, handle_look,
                                              container)) != 0) {
        fail(container, "it ended before it was ready");
    }
}

/* ---- making ---- */

static void create(struct pooled_container *container);

static void handle_ready(struct pooled_container *container, int rc, const char *text)
{
    struct container_pool *pool = container->pool;
    if (rc != 0) {
        fail(container, text);
        return;
    }
    container->step = CONTAINER_READY;
    container->checked_ns = loop_now_ns(pool->options.loop);
    metric_add(&pool->made, 1);
    metric_observe(&pool->make_seconds, container->checked_ns - container->begun_ns);
    container->reserved = false;
    container->resource = true;
    pool_add(pool->pool, container->lease, container);
    container_pool_go_on(pool);
}

static bool is_port_conflict(const char *text)
{
    return strstr(text, "already allocated") != NULL || strstr(text, "already in use") != NULL;
}

/* The one whose port was taken under our hands is gone; now with others. */
static void handle_cleared(const struct docker_outcome *outcome, void *data)
{
    struct pooled_container *container = data;
    container_call_over(container);
    if (container->pool->destroyed) {
    } else if (outcome->verdict != DOCKER_OK && outcome->verdict != DOCKER_NOT_FOUND) {
        fail_now(container, -EIO, outcome->text);
    } else {
        container->id[0] = '\0';
        create(container);
    }
    container_release(container);
}

static void handle_start_failed(struct pooled_container *container, const char *text)
{
    struct container_pool *pool = container->pool;
    struct error whole;
    bool again = is_port_conflict(text) && pool->options.first_port == 0 &&
                 ++container->port_tries < PORT_TRIES && !pool->closing;
    if (!again || container_call(container, docker_remove(pool->docker, container->id,
                                                          handle_cleared, container)) != 0) {
        error_set(&whole, "container %s could not be started: %.380s", container->name, text);
        fail_now(container, -EIO, whole.text);
    }
}

static void handle_started(const struct docker_outcome *outcome, void *data)
{
    struct pooled_container *container = data;
    struct container_pool *pool = container->pool;
    container_call_over(container);
    if (pool->destroyed) {
    } else if (outcome->verdict != DOCKER_OK) {
        handle_start_failed(container, outcome->text);
    } else if (pool->closing) {
        container_remove(container);
    } else {
        container->step = CONTAINER_WAITING;
        container_ready_start(container,
                              pool->options.startup_timeout_ns > 0
                                  ? pool->options.startup_timeout_ns
                                  : pool->preset->startup_timeout_ns,
                              handle_ready);
    }
    container_release(container);
}

static void handle_created(const struct docker_outcome *outcome, const char *id, void *data)
{
    struct pooled_container *container = data;
    struct container_pool *pool = container->pool;
    struct error text;
    container_call_over(container);
    if (outcome->verdict == DOCKER_OK) {
        (void)str_copy(container->id, sizeof(container->id), id);
    }
    if (pool->destroyed) {
    } else if (outcome->verdict != DOCKER_OK || pool->closing) {
        pool->prepared = pool->prepared && outcome->verdict != DOCKER_NOT_FOUND;
        error_set(&text, "container %s could not be created: %.380s", container->name,
                  outcome->text);
        fail_now(container, -EIO, text.text);
    } else if (container_call(container, docker_start(pool->docker, container->id, handle_started,
                                                      container)) != 0) {
        fail_now(container, -ENOMEM, "out of memory");
    }
    container_release(container);
}

/* A NULL-terminated list with the braces replaced; NULL where `from` is empty. */
static int expand_list(const struct pooled_container *container, const struct text_list *from,
                       char ***ret_list, struct error *error)
{
    const struct preset_values values = {.host = container->pool->host,
                                         .number = container->view.number,
                                         .host_ports = container->view.host_ports};
    *ret_list = NULL;
    if (from->count == 0) {
        return 0;
    }
    *ret_list = calloc(from->count + 1, sizeof(char *));
    int rc = *ret_list == NULL ? -ENOMEM : 0;
    for (size_t i = 0; rc == 0 && i < from->count; i++) {
        rc = preset_expand(container->pool->preset, from->items[i], &values, &(*ret_list)[i],
                           error);
    }
    return rc;
}

static void free_list(char **list)
{
    for (char **item = list; item != NULL && *item != NULL; item++) {
        free(*item);
    }
    free(list);
}

static int ask_for_container(struct pooled_container *container, char **command, char **environment)
{
    struct container_pool *pool = container->pool;
    const struct record_label labels[] = {
        {.key = OWNER_LABEL_SESSION, .value = pool->owner.session},
        {.key = OWNER_LABEL_OWNER, .value = pool->owner.text}};
    struct docker_port ports[PRESET_PORTS_LIMIT];
    for (size_t i = 0; i < container->view.port_count; i++) {
        ports[i] = (struct docker_port){.container_port = container->view.ports[i],
                                        .protocol = "tcp",
                                        .host_ip = pool->everywhere ? "0.0.0.0" : "127.0.0.1",
                                        .host_port = container->view.host_ports[i]};
    }
    const struct docker_spec spec = {.name = container->name,
                                     .image = pool->preset->image,
                                     .command = (const char *const *)command,
                                     .environment = (const char *const *)environment,
                                     .labels = labels,
                                     .label_count = sizeof(labels) / sizeof(labels[0]),
                                     .ports = ports,
                                     .port_count = container->view.port_count,
                                     .network = pool->network[0] != '\0' ? pool->network : NULL,
                                     .memory_bytes = pool->preset->memory_bytes,
                                     .init = false};
    return container_call(container, docker_create(pool->docker, &spec, handle_created, container));
}

static void create(struct pooled_container *container)
{
    char **command = NULL;
    char **environment = NULL;
    struct error error = {.text = "out of memory"};
    int rc = pick_ports(container, &error);
    rc = rc != 0 ? rc : expand_list(container, &container->pool->preset->command, &command, &error);
    rc = rc != 0
             ? rc
             : expand_list(container, &container->pool->preset->environment, &environment, &error);
    rc = rc != 0 ? rc : ask_for_container(container, command, environment);
    free_list(command);
    free_list(environment);
    if (rc != 0) {
        fail_now(container, rc, error.text);
    }
}

/* The lowest that no other has. */
static unsigned free_number(const struct container_pool *pool)
{
    const struct list *link;
    unsigned number = 0;
    for (link = pool->containers.next; link != &pool->containers;) {
        const struct pooled_container *other = container_of(link, struct pooled_container, link);
        bool same = other->step != CONTAINER_GONE && other->view.number == number;
        number += same;
        link = same ? pool->containers.next : link->next;
    }
    return number;
}

void container_make(struct container_pool *pool, struct pool_lease lease)
{
    struct pooled_container *container = calloc(1, sizeof(*container));
    if (container == NULL) {
        pool_abandon(pool->pool, lease, -ENOMEM, "out of memory");
        return;
    }
    container->pool = pool;
    container->lease = lease;
    container->reserved = true;
    container->begun_ns = loop_now_ns(pool->options.loop);
    container->view.number = free_number(pool);
    list_init(&container->queue);
    container_ready_init(container);
    container_end_init(container);
    (void)snprintf(container->name, sizeof(container->name), "pool-%.40s-%.8s-%u",
                   pool->preset->name, pool->owner.session, pool->serial++);
    container->view.id = container->id;
    container->view.name = container->name;
    container->view.host = pool->host;
    container->view.address = container->address;
    list_append(&pool->containers, &container->link);
    create(container);
    container_release(container);
}
