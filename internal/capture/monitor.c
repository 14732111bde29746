/*
 * The daemon keeps 256 events of all kinds, and a burst of health checks evicts the rest, so events
 * are hints: each listing is the truth. A listing is a round with a number; containers that no
 * round since their last mention named are gone.
 */
#include "capture/monitor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/backoff.h"
#include "base/log.h"
#include "base/str.h"
#include "base/timestamp.h"
#include "docker/docker_events.h"

#define RECONNECT_FIRST_NS (250 * NS_PER_MS)
#define RECONNECT_LIMIT_NS (5 * NS_PER_SECOND)
#define PING_INTERVAL_NS (15 * NS_PER_SECOND)
#define RECHECK_ROUNDS 10 /* each so many listings, stopped containers are read again too */

struct monitor {
    struct container_host host;
    const char *name; /* the client's */
    struct docker_events *events;
    struct loop_timer reconnect_timer;
    struct loop_timer relist_timer;
    struct loop_timer ping_timer;
    struct backoff backoff;
    bool hearing; /* the events' head came */
    bool listing;
    bool recheck; /* events may have been lost since the last round */
    bool told;    /* the present trouble was logged */
    uint64_t round;
    int64_t last_event_s;
    char trouble[512];
    struct metric up;
};

static void connect_now(struct monitor *monitor);
static void list_now(struct monitor *monitor);

static struct capture_shared *shared_of(struct monitor *monitor)
{
    return monitor->host.shared;
}

/* ---- containers ---- */

static struct container *find(struct monitor *monitor, const char *id)
{
    struct map_node *node = map_find(&monitor->host.containers, id);
    return node == NULL ? NULL : container_of(node, struct container, node);
}

static void add(struct monitor *monitor, const char *id, const char *name, bool running)
{
    struct container *container = container_create(&monitor->host, id, name, running);
    if (container != NULL) {
        container->listed = monitor->round;
        container_inspect(container);
    }
}

/* Calls `visit` for each container; it may free the one it is given. */
static void for_each(struct monitor *monitor,
                     void (*visit)(struct container *container, void *data), void *data)
{
    struct map_node *node = map_next(&monitor->host.containers, NULL);
    while (node != NULL) {
        struct map_node *next = map_next(&monitor->host.containers, node);
        visit(container_of(node, struct container, node), data);
        node = next;
    }
}

static void suspend_one(struct container *container, void *data)
{
    container_suspend(container, *(const enum stream_end *)data);
}

static void resume_one(struct container *container, void *data)
{
    (void)data;
    container_resume(container);
}

static void reinspect_one(struct container *container, void *data)
{
    (void)data;
    container_inspect(container);
}

static void drop_if_unlisted(struct container *container, void *data)
{
    if (container->listed < *(const uint64_t *)data) {
        container_handle_destroy(container);
    }
}

/* ---- connecting ---- */

static void note_trouble(struct monitor *monitor, const char *text)
{
    (void)snprintf(monitor->trouble, sizeof(monitor->trouble), "%s", text);
    if (!monitor->told) {
        monitor->told = true;
        log_warn("daemon %s: %s; trying again until it answers", monitor->name, text);
    }
}

static void reconnect_later(struct monitor *monitor)
{
    if (!shared_of(monitor)->stopping) {
        loop_timer_arm(&monitor->reconnect_timer, backoff_next(&monitor->backoff));
    }
}

static void disconnect(struct monitor *monitor, const char *why)
{
    if (monitor->host.connected) {
        monitor->host.connected = false;
        metric_set(&monitor->up, 0);
        monitor->told = false;
    }
    note_trouble(monitor, why);
    loop_timer_disarm(&monitor->relist_timer);
    loop_timer_disarm(&monitor->ping_timer);
    docker_events_close(monitor->events); /* its end begins the next attempt */
    if (monitor->events == NULL) {
        reconnect_later(monitor);
    }
}

static void handle_reconnect(struct loop_timer *timer, void *data)
{
    (void)timer;
    connect_now(data);
}

/* ---- listing ---- */

static void take_listed(struct monitor *monitor, const struct docker_container *listed)
{
    struct container *container = find(monitor, listed->id);
    if (container == NULL) {
        add(monitor, listed->id, listed->name, listed->state == DOCKER_STATE_RUNNING);
    } else {
        container->listed = monitor->round;
        container_handle_listed(container, listed, monitor->recheck);
    }
}

static bool is_kept(const char *id, void *data)
{
    return find(data, id) != NULL;
}

static void become_connected(struct monitor *monitor)
{
    struct capture_shared *shared = shared_of(monitor);
    if (monitor->host.connected) {
        return;
    }
    log_info("daemon %s: %s, API %s, %zu containers", monitor->name,
             docker_client_server(monitor->host.client),
             docker_client_api_version(monitor->host.client), monitor->host.containers.size);
    monitor->host.connected = true;
    monitor->host.listed_once = true;
    monitor->told = false;
    monitor->trouble[0] = '\0';
    backoff_reset(&monitor->backoff);
    metric_set(&monitor->up, 1);
    metric_add(&shared->connects, 1);
    for_each(monitor, resume_one, NULL);
    /* With one daemon, a position without a container is of one that was removed meanwhile. */
    if (shared->options.daemon_count == 1) {
        spool_positions_prune(shared->options.spool, is_kept, monitor);
    }
}

static void handle_list(const struct docker_outcome *outcome,
                        const struct docker_container *containers, size_t count, void *data)
{
    struct monitor *monitor = data;
    struct capture_shared *shared = shared_of(monitor);
    monitor->listing = false;
    if (shared->stopping || outcome->verdict == DOCKER_CLOSED) {
        return;
    }
    if (outcome->verdict != DOCKER_OK) {
        disconnect(monitor, outcome->text);
        return;
    }
    if (!monitor->hearing) {
        return; /* the events ended meanwhile: another round comes */
    }
    metric_add(&shared->listings, 1);
    for (size_t i = 0; i < count; i++) {
        take_listed(monitor, &containers[i]);
    }
    uint64_t round = monitor->round;
    for_each(monitor, drop_if_unlisted, &round);
    monitor->recheck = monitor->round % RECHECK_ROUNDS == RECHECK_ROUNDS - 1;
    become_connected(monitor);
    loop_timer_arm(&monitor->relist_timer, shared->options.relist_interval_ns);
}

static void list_now(struct monitor *monitor)
{
    if (monitor->listing) {
        return;
    }
    monitor->round++;
    monitor->listing = true;
    if (docker_list(monitor->host.client, handle_list, monitor) != 0) {
        monitor->listing = false;
        disconnect(monitor, "out of memory");
    }
}

static void handle_relist(struct loop_timer *timer, void *data)
{
    (void)timer;
    list_now(data);
}

/* ---- events ---- */

static void handle_event(const struct docker_event *event, void *data)
{
    struct monitor *monitor = data;
    struct container *container = find(monitor, event->id);
    metric_add(&shared_of(monitor)->events, 1);
    if (event->time_s > monitor->last_event_s) {
        monitor->last_event_s = event->time_s;
    }
    if (container == NULL) {
        if (event->action == DOCKER_ACTION_CREATE || event->action == DOCKER_ACTION_START) {
            add(monitor, event->id, event->name, event->action == DOCKER_ACTION_START);
        }
        return;
    }
    container->listed = monitor->round; /* a listing that began before knows it, or not yet */
    switch (event->action) {
    case DOCKER_ACTION_START:
        container_handle_start(container);
        break;
    case DOCKER_ACTION_DIE:
        container_handle_die(container);
        break;
    case DOCKER_ACTION_RENAME:
        container_handle_rename(container, event->name);
        break;
    case DOCKER_ACTION_DESTROY:
        container_handle_destroy(container);
        break;
    default: /* paused containers keep their streams */
        break;
    }
}

static void handle_bad_event(const char *text, void *data)
{
    struct monitor *monitor = data;
    metric_add(&shared_of(monitor)->bad_events, 1);
    log_warn("daemon %s: an event was skipped: %s; listing again", monitor->name, text);
    monitor->recheck = true;
    list_now(monitor);
}

static void handle_events_open(void *data)
{
    struct monitor *monitor = data;
    monitor->hearing = true;
    monitor->recheck = true;
    list_now(monitor);
    loop_timer_arm(&monitor->ping_timer, PING_INTERVAL_NS);
}

static void handle_events_end(const struct docker_outcome *outcome, void *data)
{
    struct monitor *monitor = data;
    monitor->events = NULL;
    monitor->hearing = false;
    if (!shared_of(monitor)->stopping && outcome->verdict != DOCKER_CLOSED) {
        disconnect(monitor,
                   outcome->verdict == DOCKER_OK ? "the event stream ended" : outcome->text);
    } else {
        reconnect_later(monitor);
    }
}

static void open_events(struct monitor *monitor)
{
    struct docker_events_options options = {.since_s = monitor->last_event_s,
                                            .on_open = handle_events_open,
                                            .on_event = handle_event,
                                            .on_bad_event = handle_bad_event,
                                            .on_end = handle_events_end,
                                            .data = monitor};
    if (docker_events_open(monitor->host.client, &options, &monitor->events) != 0) {
        disconnect(monitor, "out of memory");
    }
}

/* ---- ping ---- */

static void handle_first_ping(const struct docker_outcome *outcome, void *data)
{
    struct monitor *monitor = data;
    if (shared_of(monitor)->stopping || outcome->verdict == DOCKER_CLOSED) {
        return;
    }
    if (outcome->verdict == DOCKER_OK) {
        open_events(monitor);
    } else {
        note_trouble(monitor, outcome->text);
        reconnect_later(monitor);
    }
}

static void connect_now(struct monitor *monitor)
{
    if (docker_ping(monitor->host.client, handle_first_ping, monitor) != 0) {
        reconnect_later(monitor);
    }
}

static void handle_health_ping(const struct docker_outcome *outcome, void *data)
{
    struct monitor *monitor = data;
    if (shared_of(monitor)->stopping || outcome->verdict == DOCKER_CLOSED) {
        return;
    }
    if (outcome->verdict != DOCKER_OK && monitor->hearing) {
        disconnect(monitor, outcome->text);
    } else if (monitor->hearing) {
        loop_timer_arm(&monitor->ping_timer, PING_INTERVAL_NS);
    }
}

static void handle_ping_timer(struct loop_timer *timer, void *data)
{
    struct monitor *monitor = data;
    if (docker_ping(monitor->host.client, handle_health_ping, monitor) != 0) {
        loop_timer_arm(timer, PING_INTERVAL_NS);
    }
}

/* ---- life ---- */

static int register_up(struct monitor *monitor)
{
    char storage[256];
    struct buf labels;
    buf_init_fixed(&labels, storage, sizeof(storage));
    int rc = metrics_append_label(&labels, "daemon", monitor->name);
    const char *text = buf_terminated(&labels);
    if (rc != 0 || text == NULL) {
        return -ENOMEM;
    }
    return metrics_add(
        shared_of(monitor)->options.metrics, &monitor->up,
        &(struct metric_desc){.type = METRIC_GAUGE,
                              .name = "log_capturer_daemon_up",
                              .help = "1 while the daemon's events are heard and it was listed.",
                              .labels = text});
}

int monitor_create(struct capture_shared *shared, struct docker_client *client,
                   struct monitor **ret_monitor)
{
    struct monitor *monitor = calloc(1, sizeof(*monitor));
    if (monitor == NULL) {
        return -ENOMEM;
    }
    struct loop *loop = shared->options.loop;
    monitor->host.shared = shared;
    monitor->host.client = client;
    monitor->name = docker_client_name(client);
    monitor->backoff = (struct backoff){.first_ns = RECONNECT_FIRST_NS,
                                        .limit_ns = RECONNECT_LIMIT_NS};
    loop_timer_init(loop, &monitor->reconnect_timer, handle_reconnect, monitor);
    loop_timer_init(loop, &monitor->relist_timer, handle_relist, monitor);
    loop_timer_init(loop, &monitor->ping_timer, handle_ping_timer, monitor);
    (void)snprintf(monitor->trouble, sizeof(monitor->trouble), "connecting to %s",
                   docker_client_url(client));
    int rc = map_init(&monitor->host.containers);
    rc = rc != 0 ? rc : register_up(monitor);
    if (rc != 0) {
        monitor_destroy(monitor);
        return rc;
    }
    *ret_monitor = monitor;
    return 0;
}

void monitor_start(struct monitor *monitor)
{
    connect_now(monitor);
}

void monitor_stop(struct monitor *monitor)
{
    loop_timer_disarm(&monitor->reconnect_timer);
    loop_timer_disarm(&monitor->relist_timer);
    loop_timer_disarm(&monitor->ping_timer);
    enum stream_end why = STREAM_SHUTDOWN;
    for_each(monitor, suspend_one, &why);
}

static void free_one(struct container *container, void *data)
{
    (void)data;
    container_free(container, container->gone);
}

void monitor_destroy(struct monitor *monitor)
{
    if (monitor == NULL) {
        return;
    }
    if (monitor->host.containers.slots != NULL) {
        for_each(monitor, free_one, NULL);
    }
    map_finish(&monitor->host.containers);
    metric_finish(&monitor->up);
    free(monitor);
}

void monitor_pause(struct monitor *monitor, bool paused)
{
    enum stream_end why = STREAM_PAUSED;
    if (paused) {
        for_each(monitor, suspend_one, &why);
    } else if (monitor->host.connected) {
        for_each(monitor, resume_one, NULL);
    }
}

void monitor_reinspect(struct monitor *monitor)
{
    for_each(monitor, reinspect_one, NULL);
}

bool monitor_is_ready(const struct monitor *monitor, struct error *reason)
{
    if (!monitor->host.connected) {
        error_set(reason, "daemon %s: %s", monitor->name, monitor->trouble);
    }
    return monitor->host.connected;
}

void monitor_put(const struct monitor *monitor, struct json_writer *writer)
{
    const struct docker_client *client = monitor->host.client;
    json_open(writer, NULL, '{');
    json_put_string(writer, "name", monitor->name);
    json_put_string(writer, "url", docker_client_url(client));
    json_put_bool(writer, "connected", monitor->host.connected);
    json_put_string(writer, "server", docker_client_server(client));
    json_put_string(writer, "api_version", docker_client_api_version(client));
    json_put_int(writer, "containers", (int64_t)monitor->host.containers.size);
    json_put_string(writer, "trouble", monitor->trouble[0] != '\0' ? monitor->trouble : NULL);
    json_close(writer, '}');
}

void monitor_put_containers(const struct monitor *monitor, struct json_writer *writer)
{
    for (struct map_node *node = map_next(&monitor->host.containers, NULL); node != NULL;
         node = map_next(&monitor->host.containers, node)) {
        container_put(container_of(node, struct container, node), writer);
    }
}

size_t monitor_put_series(const struct monitor *monitor, struct metrics_writer *writer,
                          double (*value)(const struct container *container), size_t limit)
{
    for (struct map_node *node = map_next(&monitor->host.containers, NULL);
         node != NULL && limit > 0; node = map_next(&monitor->host.containers, node)) {
        const struct container *container = container_of(node, const struct container, node);
        char storage[512];
        struct buf labels;
        buf_init_fixed(&labels, storage, sizeof(storage));
        int rc = metrics_append_label(&labels, "daemon", monitor->name);
        rc = rc != 0 ? rc : metrics_append_label(&labels, "container", container->name);
        char short_id[13];
        (void)str_copy(short_id, sizeof(short_id), container->id);
        rc = rc != 0 ? rc : metrics_append_label(&labels, "id", short_id);
        const char *text = buf_terminated(&labels);
        if (rc == 0 && text != NULL && container->known) {
            metrics_put(writer, text, value(container));
            limit--;
        }
    }
    return limit;
}
