/*
 * The walk of a container:
 *
 *   container_pool_begin()  the loop reserves a place in the pool for each container that is missing
 *   container_make.c        creates and starts one for each, at the same time
 *   container_ready.c       looks until it is ready; then it is a resource of the pool
 *   container_pool_get()    somebody has it
 *   container_pool_put()    it is released, or discarded, or goes through container_end.c, which resets it
 *                           and gives it to the pool
 *   container_end.c         removes what the pool has destroyed
 *
 * The pool (struct pool) knows who has what, who waits, and when making may be tried again. Threads touch
 * only it and the queues under the lock; everything that speaks to the daemon is done by the loop.
 */
#include "containers/container_steps.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/timestamp.h"
#include "docker/docker_images.h"

#define ATTEMPTS 3 /* that fail before who waits is told */
#define ADAPT_NS (5 * NS_PER_SECOND)
#define RETRY_FIRST_NS (200 * NS_PER_MS)
#define RETRY_LIMIT_NS (5 * NS_PER_SECOND)

static struct pooled_container *pooled(const struct container *container)
{
    return (struct pooled_container *)(uintptr_t)container;
}

void container_log(const struct container_pool *pool, const char *format, ...)
{
    struct error text;
    va_list arguments;
    if (pool->options.on_log != NULL) {
        va_start(arguments, format);
        (void)vsnprintf(text.text, sizeof(text.text), format, arguments);
        va_end(arguments);
        pool->options.on_log(text.text, pool->options.data);
    }
}

/* ---- calls that are under way ---- */

static void free_pool(struct container_pool *pool)
{
    docker_client_destroy(pool->docker);
    preset_destroy(pool->preset);
    (void)pthread_mutex_destroy(&pool->lock);
    free(pool->docker_url);
    free(pool);
}

int container_pool_call(struct container_pool *pool, int rc)
{
    pool->calls += rc == 0;
    return rc;
}

void container_pool_call_over(struct container_pool *pool)
{
    pool->calls--;
    container_pool_release(pool);
}

void container_pool_release(struct container_pool *pool)
{
    if (pool->destroyed && pool->calls == 0) {
        free_pool(pool);
    }
}

int container_call(struct pooled_container *container, int rc)
{
    container->calls += rc == 0;
    return container_pool_call(container->pool, rc);
}

void container_call_over(struct pooled_container *container)
{
    container->calls--;
    container->pool->calls--;
}

/* ---- the pool's resources ---- */

/* Any thread: the pool has no use for it any more. */
static void handle_destroy(void *data, void *resource)
{
    struct container_pool *pool = data;
    struct pooled_container *container = resource;
    (void)pthread_mutex_lock(&pool->lock);
    container->given_back = true;
    list_append(&pool->to_remove, &container->queue);
    (void)pthread_mutex_unlock(&pool->lock);
    loop_post_send(&pool->post);
}

static bool handle_is_healthy(void *data, void *resource)
{
    (void)data;
    struct pooled_container *container = resource;
    return !atomic_load(&container->dead);
}

static void handle_wanted(void *data)
{
    struct container_pool *pool = data;
    loop_post_send(&pool->post);
}

static const struct pool_type container_type = {.destroy = handle_destroy,
                                                .is_healthy = handle_is_healthy};

/* ---- the loop's part ---- */

void container_give_up(struct container_pool *pool, struct pool_lease lease, int rc,
                       const char *text)
{
    if (rc != 0) {
        metric_add(&pool->failed, 1);
        (void)pthread_mutex_lock(&pool->lock);
        bool is_new = strcmp(pool->trouble.text, text) != 0;
        error_set(&pool->trouble, "%s", text);
        (void)pthread_mutex_unlock(&pool->lock);
        if (is_new) {
            container_log(pool, "%s", text);
        }
    }
    pool_abandon(pool->pool, lease, rc, text);
}

static bool has_begun(struct container_pool *pool)
{
    (void)pthread_mutex_lock(&pool->lock);
    bool begun = pool->begun;
    (void)pthread_mutex_unlock(&pool->lock);
    return begun;
}

static void make_missing(struct container_pool *pool)
{
    static const struct pool_wish maker = {.holder = "maker"};
    struct pool_lease lease;
    while (!pool->preparing && pool_missing(pool->pool) > 0 &&
           pool_reserve(pool->pool, &maker, &lease) == 0) {
        if (pool->prepared) {
            container_make(pool, lease);
        } else {
            container_prepare(pool, lease);
        }
    }
}

static struct pooled_container *next_of(struct container_pool *pool, struct list *queue)
{
    struct pooled_container *container = NULL;
    (void)pthread_mutex_lock(&pool->lock);
    if (!list_empty(queue)) {
        container = container_of(queue->next, struct pooled_container, queue);
        list_remove(&container->queue);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return container;
}

static void finish_closing(struct container_pool *pool, size_t left)
{
    void (*on_closed)(size_t, void *) = pool->on_closed;
    loop_timer_disarm(&pool->close_timer);
    pool->nothing_left = left == 0;
    pool->on_closed = NULL;
    if (on_closed != NULL) {
        on_closed(left, pool->closed_data);
    }
}

static void handle_network_removed(const struct docker_outcome *outcome, void *data)
{
    struct container_pool *pool = data;
    if (outcome->verdict != DOCKER_OK && outcome->verdict != DOCKER_NOT_FOUND) {
        container_log(pool, "network %s is left: %s", pool->network, outcome->text);
    }
    finish_closing(pool, 0);
    pool->nothing_left = outcome->verdict == DOCKER_OK || outcome->verdict == DOCKER_NOT_FOUND;
    container_pool_call_over(pool);
}

/* All containers that were made are gone; those whose memory somebody still has may be there. */
static bool all_gone(const struct container_pool *pool)
{
    const struct list *link;
    for (link = pool->containers.next; link != &pool->containers; link = link->next) {
        if (container_of(link, struct pooled_container, link)->step != CONTAINER_GONE) {
            return false;
        }
    }
    return true;
}

static void go_on_closing(struct container_pool *pool)
{
    if (pool->on_closed == NULL || pool->preparing || !all_gone(pool)) {
        return;
    }
    if (pool->network[0] == '\0') {
        finish_closing(pool, 0);
    } else if (pool->prepared) {
        pool->prepared = false;
        if (container_pool_call(pool, docker_network_remove(pool->docker, pool->network,
                                                            handle_network_removed, pool)) != 0) {
            finish_closing(pool, 0);
        }
    }
}

void container_pool_go_on(struct container_pool *pool)
{
    struct pooled_container *container;
    while ((container = next_of(pool, &pool->to_reset)) != NULL) {
        container_reset(container);
    }
    while ((container = next_of(pool, &pool->to_remove)) != NULL) {
        container_remove(container);
    }
    if (pool->closing) {
        go_on_closing(pool);
    } else if (has_begun(pool)) {
        make_missing(pool);
    }
}

static void handle_post(struct loop_post *post, void *data)
{
    (void)post;
    container_pool_go_on(data);
}

static void handle_tend(struct loop_timer *timer, void *data)
{
    struct container_pool *pool = data;
    int64_t next_ns = pool_tend(pool->pool);
    container_pool_go_on(pool);
    loop_timer_arm(timer, next_ns > NS_PER_MS ? next_ns : NS_PER_MS);
}

static void handle_close_timer(struct loop_timer *timer, void *data)
{
    (void)timer;
    struct container_pool *pool = data;
    size_t left = 0;
    for (struct list *link = pool->containers.next; link != &pool->containers; link = link->next) {
        left += container_of(link, struct pooled_container, link)->step != CONTAINER_GONE;
    }
    finish_closing(pool, left);
}

/* ---- making and ending the pool ---- */

static int register_counters(struct container_pool *pool, struct metrics *metrics,
                             const char *labels)
{
    const struct {
        struct metric *metric;
        const char *name, *help;
    } rows[] = {
        {&pool->made, "log_capturer_containers_made_total", "Containers that became ready."},
        {&pool->failed, "log_capturer_containers_failed_total",
         "Attempts to make a container that failed."},
        {&pool->died, "log_capturer_containers_died_total",
         "Containers that ended, or were not well, before they were removed."},
        {&pool->removed, "log_capturer_containers_removed_total", "Containers that were removed."}};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof(rows) / sizeof(rows[0]); i++) {
        rc = metrics_add(metrics, rows[i].metric,
                         &(struct metric_desc){.type = METRIC_COUNTER,
                                               .name = rows[i].name,
                                               .help = rows[i].help,
                                               .labels = labels});
    }
    return rc;
}

static int register_metrics(struct container_pool *pool, struct metrics *metrics)
{
    struct buf labels;
    buf_init(&labels, 0);
    int rc = metrics_append_label(&labels, "pool", pool->preset->name);
    const char *text = buf_terminated(&labels);
    rc = rc != 0 || text == NULL ? -ENOMEM : register_counters(pool, metrics, text);
    struct metric_desc desc = {.type = METRIC_HISTOGRAM,
                               .name = "log_capturer_containers_make_seconds",
                               .help = "From the request to create a container until it is ready.",
                               .labels = text,
                               .scale = 1e-9};
    rc = rc != 0 ? rc : metrics_add_histogram(metrics, &pool->make_seconds, &desc, 50 * NS_PER_MS);
    desc.name = "log_capturer_containers_reset_seconds";
    desc.help = "What it takes to reset a container.";
    rc = rc != 0 ? rc : metrics_add_histogram(metrics, &pool->reset_seconds, &desc, 5 * NS_PER_MS);
    buf_finish(&labels);
    return rc != 0 ? rc : pool_register_metrics(pool->pool, metrics);
}

/* Where ports are reached, from the option or the daemon's address. */
static int find_host(struct container_pool *pool, const struct endpoint *endpoint,
                     struct error *error)
{
    const char *named = pool->options.host;
    if (named == NULL && endpoint->unix_path[0] == '\0') {
        const char *begin = strstr(endpoint->base_url, "://");
        struct hostport hostport;
        int rc = hostport_parse(begin != NULL ? begin + 3 : "", &hostport, error);
        if (rc != 0) {
            return rc;
        }
        (void)str_copy(pool->host, sizeof(pool->host), hostport.host);
        pool->far = strcmp(pool->host, "127.0.0.1") != 0 && strcmp(pool->host, "localhost") != 0;
    } else {
        (void)str_copy(pool->host, sizeof(pool->host), named != NULL ? named : "127.0.0.1");
        pool->far = named != NULL;
    }
    pool->everywhere = pool->far;
    return 0;
}

static int create_pool(struct container_pool *pool, struct error *error)
{
    const struct container_pool_options *options = &pool->options;
    uint32_t size = options->size > 0 ? options->size : CONTAINER_POOL_SIZE;
    uint32_t min = options->min > 0 && options->min < size ? options->min : size;
    return pool_create(&(struct pool_options){.name = pool->preset->name,
                                              .type = &container_type,
                                              .data = pool,
                                              .min = min,
                                              .max = size,
                                              .check_idle_ns = 0,
                                              .adapt_interval_ns = min < size ? ADAPT_NS : 0,
                                              .break_after = ATTEMPTS,
                                              .retry_first_ns = RETRY_FIRST_NS,
                                              .retry_limit_ns = RETRY_LIMIT_NS,
                                              .on_wanted = handle_wanted},
                       &pool->pool, error);
}

static int fill(struct container_pool *pool, struct error *error)
{
    const struct container_pool_options *options = &pool->options;
    struct endpoint endpoint;
    int rc = endpoint_parse(options->docker_url, NULL, &endpoint, error);
    rc = rc != 0 ? rc : find_host(pool, &endpoint, error);
    if (rc == 0 && options->first_port > 0 &&
        options->first_port + (options->size > 0 ? options->size : CONTAINER_POOL_SIZE) *
                                  pool->preset->port_count >
            65536) {
        error_set(error, "there are not enough ports from %u on", options->first_port);
        rc = -EINVAL;
    }
    rc = rc != 0 ? rc : docker_client_create(options->http, "containers", &endpoint, &pool->docker);
    pool->docker_url = strdup(options->docker_url);
    rc = rc == 0 && pool->docker_url == NULL ? -ENOMEM : rc;
    rc = rc != 0 ? rc : create_pool(pool, error);
    rc = rc != 0 || options->metrics == NULL ? rc : register_metrics(pool, options->metrics);
    if (rc == 0 && (options->reaper == NULL || options->reaper[0] != '\0')) {
        rc = reaper_start(options->reaper, pool->owner.session, pool->docker_url, &pool->reaper,
                          error);
    }
    return rc;
}

static void finish_metrics(struct container_pool *pool)
{
    struct metric *all[] = {&pool->made,
                            &pool->failed,
                            &pool->died,
                            &pool->removed,
                            &pool->make_seconds.base,
                            &pool->reset_seconds.base};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        metric_finish(all[i]);
    }
}

int container_pool_create(const struct container_pool_options *options,
                          struct container_pool **ret_pool, struct error *error)
{
    struct container_pool *pool = calloc(1, sizeof(*pool));
    if (pool == NULL) {
        preset_destroy(options->preset);
        error_set(error, "out of memory");
        return -ENOMEM;
    }
    pool->options = *options;
    pool->preset = options->preset;
    list_init(&pool->containers);
    list_init(&pool->to_reset);
    list_init(&pool->to_remove);
    (void)pthread_mutex_init(&pool->lock, NULL);
    owner_make(&pool->owner);
    loop_post_add(options->loop, &pool->post, handle_post, pool);
    loop_timer_init(options->loop, &pool->tend_timer, handle_tend, pool);
    loop_timer_init(options->loop, &pool->close_timer, handle_close_timer, pool);
    int rc = fill(pool, error);
    if (rc != 0) {
        if (rc == -ENOMEM) {
            error_set(error, "out of memory");
        }
        pool_destroy(pool->pool);
        finish_metrics(pool);
        loop_post_remove(&pool->post);
        free_pool(pool);
        return rc;
    }
    container_watch_start(pool);
    loop_timer_arm(&pool->tend_timer, NS_PER_SECOND);
    *ret_pool = pool;
    return 0;
}

void container_pool_close(struct container_pool *pool, int64_t timeout_ns,
                          void (*on_closed)(size_t left, void *data), void *data)
{
    struct list *link;
    struct list *next;
    pool->closing = true;
    pool->on_closed = on_closed;
    pool->closed_data = data;
    loop_timer_arm(&pool->close_timer, timeout_ns);
    loop_timer_disarm(&pool->tend_timer);
    container_watch_stop(pool);
    (void)pool_close(pool->pool, 0);
    list_for_each_safe(link, next, &pool->containers)
    {
        struct pooled_container *container = container_of(link, struct pooled_container, link);
        if (container->step != CONTAINER_CREATING) {
            container_remove(container);
        }
    }
    loop_post_send(&pool->post);
}

void container_pool_destroy(struct container_pool *pool)
{
    struct list *link;
    struct list *next;
    if (pool == NULL) {
        return;
    }
    container_watch_stop(pool);
    reaping_destroy(pool->reaping);
    loop_timer_disarm(&pool->tend_timer);
    loop_timer_disarm(&pool->close_timer);
    list_for_each_safe(link, next, &pool->containers)
    {
        struct pooled_container *container = container_of(link, struct pooled_container, link);
        container_ready_stop(container);
        container_talk_stop(&container->reset_talk);
        loop_timer_disarm(&container->retry_timer);
        if (container->resource && !container->given_back) {
            (void)pool_discard(pool->pool, container->lease);
        } else if (container->reserved) {
            pool_abandon(pool->pool, container->lease, 0, "");
        }
        container->step = CONTAINER_GONE;
        container_release(container);
    }
    pool_destroy(pool->pool);
    reaper_stop(pool->reaper, pool->nothing_left);
    finish_metrics(pool);
    loop_post_remove(&pool->post);
    pool->destroyed = true;
    container_pool_release(pool);
}

/* ---- any thread ---- */

void container_pool_begin(struct container_pool *pool)
{
    (void)pthread_mutex_lock(&pool->lock);
    bool begun = pool->begun;
    pool->begun = true;
    (void)pthread_mutex_unlock(&pool->lock);
    if (!begun) {
        loop_post_send(&pool->post);
    }
}

int container_pool_get(struct container_pool *pool, int64_t timeout_ns, const char *holder,
                       const struct container **ret_container, struct error *error)
{
    const struct pool_wish wish = {.holder = holder, .timeout_ns = timeout_ns};
    struct pool_lease lease;
    container_pool_begin(pool);
    int rc = pool_acquire(pool->pool, &wish, &lease, error);
    if (rc == 0) {
        *ret_container = container_pool_taken(lease);
    }
    return rc;
}

const struct container *container_pool_taken(struct pool_lease lease)
{
    struct pooled_container *container = lease.resource;
    container->lease = lease;
    return &container->view;
}

void container_pool_put(struct container_pool *pool, const struct container *view, bool broken)
{
    struct pooled_container *container = pooled(view);
    enum preset_reset reset = pool->preset->reset;
    if (broken || reset == PRESET_RESET_REPLACE || atomic_load(&container->dead)) {
        (void)pool_discard(pool->pool, container->lease);
    } else if (reset == PRESET_RESET_NONE) {
        (void)pool_release(pool->pool, container->lease);
    } else {
        (void)atomic_fetch_add(&pool->resetting, 1);
        (void)pthread_mutex_lock(&pool->lock);
        list_append(&pool->to_reset, &container->queue);
        (void)pthread_mutex_unlock(&pool->lock);
        loop_post_send(&pool->post);
    }
}

struct pool *container_pool_pool(struct container_pool *pool)
{
    return pool->pool;
}

const struct preset *container_pool_preset(const struct container_pool *pool)
{
    return pool->preset;
}

void container_pool_get_stats(struct container_pool *pool, struct container_pool_stats *ret_stats)
{
    struct pool_stats stats;
    pool_report_stats(pool->pool, &stats);
    uint32_t resetting = atomic_load(&pool->resetting);
    *ret_stats = (struct container_pool_stats){
        .available = stats.idle,
        .resetting = resetting,
        .taken = stats.in_use > resetting ? stats.in_use - resetting : 0,
        .making = stats.creating,
        .total = stats.max,
        .made = (uint64_t)metric_get(&pool->made),
        .failed = (uint64_t)metric_get(&pool->failed),
        .died = (uint64_t)metric_get(&pool->died),
        .removed = (uint64_t)metric_get(&pool->removed)};
}

void container_pool_trouble(struct container_pool *pool, struct error *ret_text)
{
    (void)pthread_mutex_lock(&pool->lock);
    *ret_text = pool->trouble;
    (void)pthread_mutex_unlock(&pool->lock);
}
