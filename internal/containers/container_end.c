/* Resetting, removing, and the last words of one that failed. */
#include "containers/container_steps.h"

#include <errno.h>
#include <stdlib.h>

#include "base/timestamp.h"

#define REMOVE_AGAIN_NS (200 * NS_PER_MS)
#define RESTART_STOP_S 1 /* until SIGKILL */
#define LAST_LINES 5
#define LAST_BYTES 2048

static void handle_retry(struct loop_timer *timer, void *data);

/* ---- resetting ---- */

static void finish_reset(struct pooled_container *container, int rc, const char *text)
{
    struct container_pool *pool = container->pool;
    if (container->step != CONTAINER_RESETTING) { /* the pool is being closed */
        return;
    }
    (void)atomic_fetch_sub(&pool->resetting, 1);
    container->step = CONTAINER_READY;
    container->checked_ns = loop_now_ns(pool->options.loop);
    metric_observe(&pool->reset_seconds, container->checked_ns - container->begun_ns);
    if (rc == 0) {
        (void)pool_release(pool->pool, container->lease);
    } else {
        container_log(pool, "container %s could not be reset: %s", container->name, text);
        (void)pool_discard(pool->pool, container->lease);
    }
}

static void handle_reset_exec(const struct docker_outcome *outcome, int64_t exit_code, void *data)
{
    struct pooled_container *container = data;
    struct error text;
    container_call_over(container);
    bool well = outcome->verdict == DOCKER_OK && exit_code == 0;
    if (outcome->verdict != DOCKER_OK) {
        error_set(&text, "%s", outcome->text);
    } else {
        error_set(&text, "%.100s ended with %lld", container->pool->preset->reset_command.items[0],
                  (long long)exit_code);
    }
    finish_reset(container, well ? 0 : -EIO, text.text);
    container_release(container);
}

static void handle_restarted(const struct docker_outcome *outcome, void *data)
{
    struct pooled_container *container = data;
    container_call_over(container);
    if (outcome->verdict != DOCKER_OK) {
        finish_reset(container, -EIO, outcome->text);
    } else if (container->step == CONTAINER_RESETTING) {
        container_ready_start(container, container->pool->preset->startup_timeout_ns, finish_reset);
    }
    container_release(container);
}

static void handle_reset_talk(struct container_talk *talk, int rc, const char *text)
{
    finish_reset(container_of(talk, struct pooled_container, reset_talk), rc, text);
}

void container_end_init(struct pooled_container *container)
{
    struct loop *loop = container->pool->options.loop;
    buf_init(&container->log_text, 0);
    loop_timer_init(loop, &container->retry_timer, handle_retry, container);
    container_talk_init(&container->reset_talk, loop, handle_reset_talk);
}

/* Restarts it, or runs the command in it. */
static int call_for_reset(struct pooled_container *container)
{
    struct container_pool *pool = container->pool;
    int rc = pool->preset->reset == PRESET_RESET_RESTART
                 ? docker_restart(pool->docker, container->id, RESTART_STOP_S, handle_restarted,
                                  container)
                 : docker_exec(pool->docker, container->id,
                               (const char *const *)pool->preset->reset_command.items,
                               handle_reset_exec, container);
    return container_call(container, rc);
}

void container_reset(struct pooled_container *container)
{
    struct container_pool *pool = container->pool;
    if (container->step != CONTAINER_READY) { /* given back while the pool is closed */
        (void)atomic_fetch_sub(&pool->resetting, 1);
        (void)pool_discard(pool->pool, container->lease);
        return;
    }
    container->step = CONTAINER_RESETTING;
    container->begun_ns = loop_now_ns(pool->options.loop);
    if (pool->preset->reset == PRESET_RESET_SEND) {
        container_talk_start(&container->reset_talk, &container->view, &pool->preset->reset_talk);
    } else if (call_for_reset(container) != 0) {
        finish_reset(container, -ENOMEM, "out of memory");
    }
}

/* ---- removing ---- */

void container_release(struct pooled_container *container)
{
    struct container_pool *pool = container->pool;
    (void)pthread_mutex_lock(&pool->lock);
    bool over = container->step == CONTAINER_GONE && container->calls == 0 &&
                (container->given_back || !container->resource || pool->destroyed);
    if (over) {
        list_remove(&container->queue);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    if (over) {
        list_remove(&container->link);
        buf_finish(&container->log_text);
        free(container);
    }
    container_pool_release(pool);
}

static void handle_removed(const struct docker_outcome *outcome, void *data)
{
    struct pooled_container *container = data;
    struct container_pool *pool = container->pool;
    bool destroyed = pool->destroyed;
    container_call_over(container);
    if (destroyed) { /* it was given up */
    } else if (outcome->verdict == DOCKER_OK || outcome->verdict == DOCKER_NOT_FOUND) {
        metric_add(&pool->removed, 1);
        container->step = CONTAINER_GONE;
    } else { /* or somebody else is removing it: again, until it is not found */
        loop_timer_arm(&container->retry_timer, REMOVE_AGAIN_NS);
    }
    container_release(container);
    if (!destroyed) {
        container_pool_go_on(pool);
    }
}

static void remove_now(struct pooled_container *container)
{
    int rc = container_call(container, docker_remove(container->pool->docker, container->id,
                                                     handle_removed, container));
    if (rc != 0) {
        loop_timer_arm(&container->retry_timer, REMOVE_AGAIN_NS);
    }
}

static void handle_retry(struct loop_timer *timer, void *data)
{
    (void)timer;
    remove_now(data);
}

void container_remove(struct pooled_container *container)
{
    container_ready_stop(container);
    container_talk_stop(&container->reset_talk);
    if (container->step == CONTAINER_GONE) {
        container_release(container);
    } else if (container->step != CONTAINER_REMOVING) {
        if (container->step == CONTAINER_RESETTING) {
            (void)atomic_fetch_sub(&container->pool->resetting, 1);
        }
        if (container->reserved) {
            container->reserved = false;
            pool_abandon(container->pool->pool, container->lease, 0, "");
        }
        container->step = CONTAINER_REMOVING;
        remove_now(container);
    }
}

/* ---- last words ---- */

struct reading {
    struct pooled_container *container;
    struct frames frames;
    void (*on_read)(struct pooled_container *container);
};

static void handle_piece(uint8_t stream, int64_t time_ns, const char *bytes, size_t size,
                         void *data)
{
    struct reading *reading = data;
    struct buf *text = &reading->container->log_text;
    (void)stream;
    (void)time_ns;
    (void)!buf_append(text, bytes, size < LAST_BYTES ? size : LAST_BYTES);
    if (text->size > LAST_BYTES) {
        buf_consume(text, text->size - LAST_BYTES);
    }
}

static void handle_log_data(const char *bytes, size_t size, void *data)
{
    struct reading *reading = data;
    (void)!frames_feed(&reading->frames, bytes, size, NULL);
}

static void handle_log_end(const struct docker_outcome *outcome, void *data)
{
    struct reading *reading = data;
    struct pooled_container *container = reading->container;
    (void)outcome; /* there may be none to read */
    container_call_over(container);
    frames_finish(&reading->frames);
    if (!container->pool->destroyed) {
        reading->on_read(container);
    }
    free(reading);
    container_release(container);
}

void container_read_logs(struct pooled_container *container,
                         void (*on_read)(struct pooled_container *container))
{
    struct reading *reading = calloc(1, sizeof(*reading));
    struct docker_logs *logs;
    const struct docker_logs_options options = {.id = container->id,
                                                .probe = true,
                                                .tail = LAST_LINES,
                                                .on_data = handle_log_data,
                                                .on_end = handle_log_end,
                                                .data = reading};
    buf_clear(&container->log_text);
    int rc = reading == NULL ? -ENOMEM : 0;
    if (rc == 0) {
        reading->container = container;
        reading->on_read = on_read;
        frames_init(&reading->frames, &(struct frames_options){.limit_bytes = LAST_BYTES,
                                                               .on_piece = handle_piece,
                                                               .data = reading});
        rc = container_call(container, docker_logs_open(container->pool->docker, &options, &logs));
    }
    if (rc != 0) {
        if (reading != NULL) {
            frames_finish(&reading->frames);
        }
        free(reading);
        on_read(container);
    }
}
