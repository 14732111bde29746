/* The thread runs a loop in which the container_pool lives; everybody else uses what is for any thread. */
#include "containers/containers.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/timestamp.h"
#include "loop/task.h"

#define GET_TIMEOUT_NS (30 * NS_PER_SECOND)
#define CLOSE_TIMEOUT_NS (30 * NS_PER_SECOND)
#define FILL_LOOK_NS (5 * NS_PER_MS)
#define DOCKER_URL "unix:///var/run/docker.sock"

struct containers {
    struct loop *loop;
    struct metrics *metrics;
    struct http_client *http;
    struct container_pool *pool;
    struct loop_post stop;
    pthread_t thread;
    bool running;
    size_t left;
    struct containers *next; /* of the shared ones */
    char *preset;
};

/* ---- the thread ---- */

static void handle_closed(size_t left, void *data)
{
    struct containers *containers = data;
    containers->left = left;
    loop_stop(containers->loop);
}

static void handle_stop(struct loop_post *post, void *data)
{
    struct containers *containers = data;
    (void)post;
    container_pool_close(containers->pool, CLOSE_TIMEOUT_NS, handle_closed, containers);
}

static void *run(void *data)
{
    struct containers *containers = data;
    (void)!loop_run(containers->loop);
    return NULL;
}

static int start_thread(struct containers *containers)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = -pthread_create(&containers->thread, NULL, run, containers);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc == 0) {
        containers->running = true;
        (void)pthread_setname_np(containers->thread, "containers");
    }
    return rc;
}

/* ---- opening and closing ---- */

static void finish(struct containers *containers)
{
    container_pool_destroy(containers->pool);
    if (containers->http != NULL) {
        http_client_shutdown(containers->http);
    }
    if (containers->pool != NULL) {
        loop_post_remove(&containers->stop);
    }
    http_client_destroy(containers->http);
    metrics_destroy(containers->metrics);
    loop_destroy(containers->loop);
    free(containers->preset);
    free(containers);
}

static const char *docker_url_of(const struct containers_options *options)
{
    const char *named = getenv("DOCKER_HOST");
    return options->docker_url != NULL         ? options->docker_url
           : named != NULL && named[0] != '\0' ? named
                                               : DOCKER_URL;
}

static int fill_in(struct containers *containers, const struct containers_options *options,
                   struct error *error)
{
    struct http_client_options http = {.idle_total = 64,
                                       .idle_per_host = 16,
                                       .idle_timeout_ns = 30 * NS_PER_SECOND,
                                       .opens_limit = 16};
    struct container_pool_options pool = {.docker_url = docker_url_of(options),
                                          .size = options->size,
                                          .min = options->min,
                                          .first_port = options->first_port,
                                          .host = options->host,
                                          .startup_timeout_ns = options->startup_timeout_ns,
                                          .reaper = options->reaper,
                                          .on_log = options->on_log,
                                          .data = options->data};
    int rc = loop_create(clock_real(), &containers->loop);
    rc = rc != 0 ? rc : metrics_create(&containers->metrics);
    http.loop = pool.loop = containers->loop;
    http.metrics = pool.metrics = containers->metrics;
    rc = rc != 0 ? rc : http_client_create(&http, &containers->http);
    pool.http = containers->http;
    containers->preset = strdup(options->preset);
    rc = rc == 0 && containers->preset == NULL ? -ENOMEM : rc;
    if (rc != 0) {
        error_set(error, "a pool of containers can't be set up: %s", strerror(-rc));
        return rc;
    }
    rc = preset_load(options->presets_file, options->preset, &pool.preset, error);
    return rc != 0 ? rc : container_pool_create(&pool, &containers->pool, error);
}

int containers_open(const struct containers_options *options, struct containers **ret_containers,
                    struct error *error)
{
    struct containers *containers = calloc(1, sizeof(*containers));
    if (containers == NULL) {
        error_set(error, "out of memory");
        return -ENOMEM;
    }
    int rc = fill_in(containers, options, error);
    if (rc == 0) {
        loop_post_add(containers->loop, &containers->stop, handle_stop, containers);
        rc = start_thread(containers);
        if (rc != 0) {
            error_set(error, "no thread for a pool of containers: %s", strerror(-rc));
        }
    }
    if (rc != 0) {
        finish(containers);
        return rc;
    }
    *ret_containers = containers;
    return 0;
}

size_t containers_close(struct containers *containers)
{
    if (containers == NULL) {
        return 0;
    }
    loop_post_send(&containers->stop);
    (void)pthread_join(containers->thread, NULL);
    size_t left = containers->left;
    finish(containers);
    return left;
}

/* ---- shared ---- */

static pthread_mutex_t shared_lock = PTHREAD_MUTEX_INITIALIZER;
static struct containers *shared;
static pid_t shared_process;

/* A forked child's exit is not ours. */
static void close_shared(void)
{
    while (shared != NULL && shared_process == getpid()) {
        struct containers *containers = shared;
        shared = containers->next;
        (void)containers_close(containers);
    }
}

int containers_shared(const char *preset, struct containers **ret_containers, struct error *error)
{
    (void)pthread_mutex_lock(&shared_lock);
    struct containers *containers = shared;
    while (containers != NULL && strcmp(containers->preset, preset) != 0) {
        containers = containers->next;
    }
    int rc = 0;
    if (containers == NULL) {
        rc = containers_open(&(struct containers_options){.preset = preset}, &containers, error);
        if (rc == 0) {
            if (shared_process == 0) {
                (void)atexit(close_shared);
                shared_process = getpid();
            }
            containers->next = shared;
            shared = containers;
        }
    }
    (void)pthread_mutex_unlock(&shared_lock);
    if (rc == 0) {
        *ret_containers = containers;
    }
    return rc;
}

/* ---- use ---- */

int containers_fill(struct containers *containers, int64_t timeout_ns, struct error *error)
{
    const struct timespec pause = {.tv_nsec = FILL_LOOK_NS};
    int64_t deadline_ns = clock_monotonic_ns(clock_real()) + timeout_ns;
    container_pool_begin(containers->pool);
    for (;;) {
        struct pool_stats stats;
        pool_report_stats(container_pool_pool(containers->pool), &stats);
        if (stats.idle + stats.in_use >= stats.target) {
            return 0;
        }
        if (stats.circuit_open) {
            container_pool_trouble(containers->pool, error);
            return -EHOSTDOWN;
        }
        if (clock_monotonic_ns(clock_real()) >= deadline_ns) {
            error_set(error, "%u of %u containers are ready, %u are being made",
                      stats.idle + stats.in_use, stats.target, stats.creating);
            return -ETIMEDOUT;
        }
        (void)nanosleep(&pause, NULL);
    }
}

int containers_get(struct containers *containers, const struct container **ret_container,
                   struct error *error)
{
    return container_pool_get(containers->pool, GET_TIMEOUT_NS, NULL, ret_container, error);
}

void containers_put(struct containers *containers, const struct container *container)
{
    container_pool_put(containers->pool, container, false);
}

void containers_put_broken(struct containers *containers, const struct container *container)
{
    container_pool_put(containers->pool, container, true);
}

void containers_get_stats(struct containers *containers, struct container_pool_stats *ret_stats)
{
    container_pool_get_stats(containers->pool, ret_stats);
}
