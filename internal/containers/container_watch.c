/*
 * Two ways to see that a container is no longer what it was: the daemon's events say who ended, and every
 * half a minute an idle one is looked at as when it was made.
 *
 * When the stream of events breaks off it is opened again, and a list tells who ended meanwhile.
 */
#include "containers/container_steps.h"

#include <stdio.h>
#include <string.h>

#include "base/timestamp.h"

#define REOPEN_NS NS_PER_SECOND
#define CHECK_ROUND_NS NS_PER_SECOND
#define CHECK_NS (30 * NS_PER_SECOND)
#define CHECK_TIMEOUT_NS (3 * NS_PER_SECOND)

/* ---- who ended ---- */

static bool is_same(const void *resource, const void *match_data)
{
    return resource == match_data;
}

/* Takes it out where nobody has it, so that another one is made at once. */
static void drop_idle(struct pooled_container *container)
{
    const struct pool_wish wish = {.holder = "watch", .match = is_same, .match_data = container};
    struct pool_lease lease;
    if (pool_try_acquire(container->pool->pool, &wish, &lease) == 0) {
        (void)pool_discard(container->pool->pool, lease);
    }
}

static void handle_death(struct pooled_container *container)
{
    struct container_pool *pool = container->pool;
    bool restarts = container->step == CONTAINER_RESETTING &&
                    pool->preset->reset == PRESET_RESET_RESTART;
    if (container->step >= CONTAINER_FAILED || restarts || atomic_load(&container->dead)) {
        return;
    }
    atomic_store(&container->dead, true);
    metric_add(&pool->died, 1);
    if (container->step == CONTAINER_WAITING) {
        container_make_died(container);
    } else {
        container_log(pool, "container %s has ended", container->name);
        drop_idle(container);
    }
}

static void handle_event(const struct docker_event *event, void *data)
{
    struct container_pool *pool = data;
    struct list *link;
    struct list *next;
    if (event->action != DOCKER_ACTION_DIE && event->action != DOCKER_ACTION_DESTROY) {
        return;
    }
    list_for_each_safe(link, next, &pool->containers)
    {
        struct pooled_container *container = container_of(link, struct pooled_container, link);
        if (strcmp(container->id, event->id) == 0) {
            handle_death(container);
        }
    }
}

static bool is_running(const char *id, const struct docker_container *containers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(containers[i].id, id) == 0) {
            return containers[i].state == DOCKER_STATE_RUNNING;
        }
    }
    return false;
}

static void handle_list(const struct docker_outcome *outcome,
                        const struct docker_container *containers, size_t count, void *data)
{
    struct container_pool *pool = data;
    struct list *link;
    struct list *next;
    if (outcome->verdict == DOCKER_OK && !pool->closing && !pool->destroyed) {
        list_for_each_safe(link, next, &pool->containers)
        {
            struct pooled_container *container = container_of(link, struct pooled_container, link);
            bool started = container->step >= CONTAINER_WAITING;
            if (started && !is_running(container->id, containers, count)) {
                handle_death(container);
            }
        }
    }
    container_pool_call_over(pool);
}

static void handle_open(void *data)
{
    struct container_pool *pool = data;
    char label[sizeof(OWNER_LABEL_SESSION) + OWNER_SESSION_SIZE];
    if (pool->events_seen) {
        (void)snprintf(label, sizeof(label), "%s=%s", OWNER_LABEL_SESSION, pool->owner.session);
        if (container_pool_call(
                pool, docker_list_labelled(pool->docker, label, handle_list, pool)) != 0) {
            container_log(pool, "out of memory");
        }
    }
    pool->events_seen = true;
}

static void handle_end(const struct docker_outcome *outcome, void *data)
{
    struct container_pool *pool = data;
    (void)outcome; /* who makes a container sees and says what is wrong with the daemon */
    pool->events = NULL;
    if (!pool->closing && !pool->destroyed) {
        loop_timer_arm(&pool->events_timer, REOPEN_NS);
    }
    container_pool_call_over(pool);
}

static void handle_bad_event(const char *text, void *data)
{
    container_log(data, "%s", text);
}

static void open_events(struct loop_timer *timer, void *data)
{
    struct container_pool *pool = data;
    const struct docker_events_options options = {.on_open = handle_open,
                                                  .on_event = handle_event,
                                                  .on_bad_event = handle_bad_event,
                                                  .on_end = handle_end,
                                                  .data = pool};
    if (container_pool_call(pool, docker_events_open(pool->docker, &options, &pool->events)) != 0) {
        loop_timer_arm(timer, REOPEN_NS);
    }
}

/* ---- who is not well ---- */

static bool is_due(const void *resource, const void *match_data)
{
    const struct pooled_container *container = resource;
    const int64_t *before_ns = match_data;
    return container->checked_ns < *before_ns;
}

static void handle_checked(struct pooled_container *container, int rc, const char *text)
{
    struct container_pool *pool = container->pool;
    container->checked_ns = loop_now_ns(pool->options.loop);
    if (rc == 0) {
        (void)pool_release(pool->pool, container->lease);
    } else {
        metric_add(&pool->died, 1);
        container_log(pool, "container %s is not well: %s", container->name, text);
        (void)pool_discard(pool->pool, container->lease);
    }
}

/* One at a time, so that the others can be taken. */
static void handle_check(struct loop_timer *timer, void *data)
{
    struct container_pool *pool = data;
    int64_t before_ns = loop_now_ns(pool->options.loop) - CHECK_NS;
    const struct pool_wish wish = {.holder = "check", .match = is_due, .match_data = &before_ns};
    struct pool_lease lease;
    if (pool->preset->ready != PRESET_READY_LOG &&
        pool_try_acquire(pool->pool, &wish, &lease) == 0) {
        struct pooled_container *container = lease.resource;
        container->lease = lease;
        container_ready_start(container, CHECK_TIMEOUT_NS, handle_checked);
    }
    loop_timer_arm(timer, CHECK_ROUND_NS);
}

void container_watch_start(struct container_pool *pool)
{
    loop_timer_init(pool->options.loop, &pool->events_timer, open_events, pool);
    loop_timer_init(pool->options.loop, &pool->check_timer, handle_check, pool);
    loop_timer_arm(&pool->check_timer, CHECK_ROUND_NS);
}

void container_watch_begin(struct container_pool *pool)
{
    if (!pool->closing && pool->events == NULL && !loop_timer_armed(&pool->events_timer)) {
        open_events(&pool->events_timer, pool);
    }
}

void container_watch_stop(struct container_pool *pool)
{
    loop_timer_disarm(&pool->events_timer);
    loop_timer_disarm(&pool->check_timer);
    docker_events_close(pool->events);
    pool->events = NULL;
}
