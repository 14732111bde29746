/* Creating in parallel, and the thread that tends. */
#include "pools/pool_keeper.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "base/timestamp.h"
#include "pools/pool_private.h"

#define PARALLEL_LIMIT 64U

/* ---- creating what is missing ---- */

struct filling {
    struct pool *pool;
    pthread_mutex_t lock; /* of what follows */
    int rc;
    struct error error;
};

static void note_failure(struct filling *filling, int rc, const char *reason)
{
    (void)pthread_mutex_lock(&filling->lock);
    if (filling->rc == 0) {
        filling->rc = rc;
        error_set(&filling->error, "pool %s: %s", filling->pool->name, reason);
    }
    (void)pthread_mutex_unlock(&filling->lock);
}

static bool has_failed(struct filling *filling)
{
    (void)pthread_mutex_lock(&filling->lock);
    bool failed = filling->rc != 0;
    (void)pthread_mutex_unlock(&filling->lock);
    return failed;
}

static void *fill_some(void *data)
{
    static const struct pool_wish wish = {.holder = "prefill", .priority = POOL_HIGH};
    struct filling *filling = data;
    struct pool *pool = filling->pool;
    struct pool_lease lease;
    while (!has_failed(filling) && pool_missing(pool) > 0 &&
           pool_reserve(pool, &wish, &lease) == 0) {
        struct error reason = {""};
        void *resource = NULL;
        int rc = pool->options.type->create(pool->options.data, &resource, &reason);
        if (rc == 0) {
            pool_add(pool, lease, resource);
        } else {
            note_failure(filling, rc, reason.text);
            pool_abandon(pool, lease, rc, reason.text);
        }
    }
    return NULL;
}

static int start_thread(pthread_t *ret_thread, void *(*run)(void *data), void *data)
{
    /* Signals are for the program's own threads. */
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(ret_thread, NULL, run, data);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -rc;
}

/* Nothing failed, but nothing may have been tried. */
static int judge_filling(struct pool *pool, struct error *error)
{
    (void)pthread_mutex_lock(&pool->lock);
    int rc = pool->closed ? -ESHUTDOWN : atomic_load(&pool->live) < pool->min ? -EHOSTDOWN : 0;
    if (rc != 0) {
        error_set(error, "pool %s: %s%s", pool->name,
                  pool->closed ? "it is closed" : "no attempt is made yet; the last failed: ",
                  pool->closed ? "" : pool->failed.text);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return rc;
}

int pool_prefill(struct pool *pool, unsigned parallel, struct error *error)
{
    pthread_t threads[PARALLEL_LIMIT];
    unsigned started = 0;
    struct filling filling = {.pool = pool};
    if (pool->options.type->create == NULL) {
        error_set(error, "pool %s: its type creates nothing", pool->name);
        return -EINVAL;
    }
    uint32_t missing = pool_missing(pool);
    parallel = parallel < missing ? parallel : missing;
    (void)pthread_mutex_init(&filling.lock, NULL);
    while (started + 1 < parallel && started < PARALLEL_LIMIT &&
           start_thread(&threads[started], fill_some, &filling) == 0) {
        started++;
    }
    (void)fill_some(&filling); /* this thread is one of them */
    for (unsigned i = 0; i < started; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    (void)pthread_mutex_destroy(&filling.lock);
    if (filling.rc != 0) {
        error_set(error, "%s", filling.error.text);
    }
    return filling.rc != 0 ? filling.rc : judge_filling(pool, error);
}

/* ---- the thread ---- */

struct pool_keeper {
    struct pool *pool;
    unsigned parallel;
    pthread_t thread;
    bool running;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool stopping, wanted;
};

static void handle_wanted(void *data)
{
    struct pool_keeper *keeper = data;
    (void)pthread_mutex_lock(&keeper->lock);
    keeper->wanted = true;
    (void)pthread_cond_signal(&keeper->cond);
    (void)pthread_mutex_unlock(&keeper->lock);
}

/* Until something is wanted, or timeout_ns are over; false when it is to end. */
static bool rest(struct pool_keeper *keeper, int64_t timeout_ns)
{
    struct timespec at;
    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    int64_t ns = at.tv_nsec + timeout_ns;
    at.tv_sec += ns / NS_PER_SECOND;
    at.tv_nsec = ns % NS_PER_SECOND;
    (void)pthread_mutex_lock(&keeper->lock);
    int rc = 0;
    while (!keeper->stopping && !keeper->wanted && rc == 0) {
        rc = pthread_cond_timedwait(&keeper->cond, &keeper->lock, &at);
    }
    keeper->wanted = false;
    bool goes_on = !keeper->stopping;
    (void)pthread_mutex_unlock(&keeper->lock);
    return goes_on;
}

static void *keep(void *data)
{
    struct pool_keeper *keeper = data;
    int64_t timeout_ns = 0;
    while (rest(keeper, timeout_ns)) {
        timeout_ns = pool_tend(keeper->pool);
        if (pool_missing(keeper->pool) > 0) {
            int rc = pool_prefill(keeper->pool, keeper->parallel, NULL);
            (void)rc; /* the circuit counts it */
        }
    }
    return NULL;
}

int pool_keeper_start(struct pool *pool, unsigned parallel, struct pool_keeper **ret_keeper,
                      struct error *error)
{
    if (pool->options.type->create == NULL) {
        error_set(error, "pool %s: its type creates nothing", pool->name);
        return -EINVAL;
    }
    struct pool_keeper *keeper = calloc(1, sizeof(*keeper));
    if (keeper == NULL) {
        error_set(error, "pool %s: out of memory", pool->name);
        return -ENOMEM;
    }
    keeper->pool = pool;
    keeper->parallel = parallel > 0 ? parallel : 1;
    (void)pthread_mutex_init(&keeper->lock, NULL);
    (void)pthread_cond_init(&keeper->cond, &pool->monotonic);
    pool_set_wanted(pool, handle_wanted, keeper);
    int rc = start_thread(&keeper->thread, keep, keeper);
    if (rc != 0) {
        error_set(error, "pool %s: no thread", pool->name);
        pool_keeper_stop(keeper);
        return rc;
    }
    keeper->running = true;
    (void)pthread_setname_np(keeper->thread, "pool-keeper");
    *ret_keeper = keeper;
    return 0;
}

void pool_keeper_stop(struct pool_keeper *keeper)
{
    if (keeper == NULL) {
        return;
    }
    pool_set_wanted(keeper->pool, keeper->pool->options.on_wanted, keeper->pool->options.data);
    (void)pthread_mutex_lock(&keeper->lock);
    keeper->stopping = true;
    (void)pthread_cond_signal(&keeper->cond);
    (void)pthread_mutex_unlock(&keeper->lock);
    if (keeper->running) {
        (void)pthread_join(keeper->thread, NULL);
    }
    (void)pthread_cond_destroy(&keeper->cond);
    (void)pthread_mutex_destroy(&keeper->lock);
    free(keeper);
}
