/*
 * Choosing a backend: for threads, which then wait for its pool; and for loops, which wait here.
 *
 * A choice is made under one lock, for the turns of round robin belong together; it takes a few
 * nanoseconds per backend.
 *
 * Who waits is woken when a place is free: one for each place, in the order they came. Between being woken
 * and claiming it the place is promised (`promised`): a newcomer gets one only where more are free.
 */
#include <errno.h>

#include "base/timestamp.h"
#include "pools/upstream_claim.h"
#include "pools/upstream_private.h"

#define WEIGHT_SCALE 100U /* so that a slow start has steps */

/* ---- fitness ---- */

/* What a backend may be chosen for; each also where no better one is left. One whose pool pauses after a
 * failure is as one that is ejected: a new connection can't be made now. */
enum fitness { UNFIT, EJECTED_FULL, EJECTED, FULL, FIT };

static enum fitness fitness_locked(const struct backend *backend, int64_t now_ns)
{
    if (!backend->up || backend->draining) {
        return UNFIT;
    }
    bool full = atomic_load(&backend->active) >= backend->upstream->options.connections;
    if (backend_is_ejected_locked(backend, now_ns) || pool_retry_delay_ns(backend->pool) > 0) {
        return full ? EJECTED_FULL : EJECTED;
    }
    return full ? FULL : FIT;
}

static bool has_place(enum fitness fitness)
{
    return fitness == FIT || fitness == EJECTED;
}

/* The weight, less while it starts slowly. */
static uint32_t present_weight_locked(const struct backend *backend, int64_t now_ns)
{
    uint32_t full = backend->weight * WEIGHT_SCALE;
    int64_t slow_ns = backend->upstream->options.slow_start_ns;
    int64_t up_ns = now_ns - backend->up_since_ns;
    if (slow_ns <= 0 || backend->up_since_ns == 0 || up_ns >= slow_ns) {
        return full;
    }
    uint64_t part = (uint64_t)full * (uint64_t)up_ns / (uint64_t)slow_ns;
    return part > full / 10 ? (uint32_t)part : full / 10;
}

static bool is_among(const struct backend *backend, struct backend *const *tried, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (tried[i] == backend) {
            return true;
        }
    }
    return false;
}

/* Notes each one's fitness in its candidate's weight; the best of them. */
static enum fitness note_fitness_locked(struct upstream *upstream, struct backend *const *tried,
                                        size_t tried_count, int64_t now_ns)
{
    enum fitness best = UNFIT;
    for (size_t i = 0; i < upstream->count; i++) {
        struct backend *backend = upstream->backends[i];
        enum fitness fitness = is_among(backend, tried, tried_count)
                                   ? UNFIT
                                   : fitness_locked(backend, now_ns);
        upstream->candidates[i].weight = (uint32_t)fitness;
        best = fitness > best ? fitness : best;
    }
    return best;
}

/* The strategy's choice among those that are as fit as the fittest. */
static struct backend *choose_locked(struct upstream *upstream, enum fitness best, int64_t now_ns)
{
    for (size_t i = 0; i < upstream->count; i++) {
        struct balance_candidate *candidate = &upstream->candidates[i];
        candidate->load = atomic_load(&upstream->backends[i]->active);
        candidate->busy = candidate->weight == FULL && best == FIT;
        candidate->weight = candidate->busy || candidate->weight == (uint32_t)best
                                ? present_weight_locked(upstream->backends[i], now_ns)
                                : 0;
    }
    size_t at = balance_choose(&upstream->balance, upstream->candidates, upstream->count);
    struct backend *backend = upstream->backends[at];
    (void)atomic_fetch_add(&backend->references, 1);
    (void)atomic_fetch_add(&backend->active, 1);
    metric_add(&backend->chosen, 1);
    return backend;
}

int upstream_choose(struct upstream *upstream, struct backend *const *tried, size_t tried_count,
                    struct backend **ret_backend)
{
    int64_t now = loop_now_ns(upstream->options.loop);
    int rc = -EHOSTDOWN;
    (void)pthread_mutex_lock(&upstream->lock);
    enum fitness best = note_fitness_locked(upstream, tried, tried_count, now);
    if (best != UNFIT) {
        *ret_backend = choose_locked(upstream, best, now);
        rc = 0;
    }
    (void)pthread_mutex_unlock(&upstream->lock);
    return rc;
}

bool upstream_has_place(struct upstream *upstream, struct backend *const *tried, size_t tried_count)
{
    int64_t now = loop_now_ns(upstream->options.loop);
    (void)pthread_mutex_lock(&upstream->lock);
    bool has = has_place(note_fitness_locked(upstream, tried, tried_count, now));
    (void)pthread_mutex_unlock(&upstream->lock);
    return has;
}

bool upstream_has_alternative_locked(const struct upstream *upstream, const struct backend *backend)
{
    for (size_t i = 0; i < upstream->count; i++) {
        const struct backend *other = upstream->backends[i];
        if (other != backend && other->up && !other->draining) {
            return true;
        }
    }
    return false;
}

/* ---- waiting for a place ---- */

/* Where those who wait may go: to the fittest, as in a choice. SIZE_MAX when no backend is well, for then
 * nobody need wait. */
static size_t free_places_locked(const struct upstream *upstream, int64_t now_ns)
{
    enum fitness best = UNFIT;
    size_t places = 0;
    for (size_t i = 0; i < upstream->count; i++) {
        const struct backend *backend = upstream->backends[i];
        enum fitness fitness = fitness_locked(backend, now_ns);
        if (fitness > best) {
            best = fitness;
            places = 0;
        }
        if (fitness == best && has_place(fitness)) {
            places += upstream->options.connections - atomic_load(&backend->active);
        }
    }
    return best == UNFIT ? SIZE_MAX : places;
}

void upstream_wake_locked(struct upstream *upstream, size_t most)
{
    if (list_empty(&upstream->waiters)) {
        return;
    }
    size_t places = free_places_locked(upstream, loop_now_ns(upstream->options.loop));
    for (size_t i = 0; i < most && upstream->promised < places && !list_empty(&upstream->waiters);
         i++) {
        struct upstream_waiter *waiter = container_of(upstream->waiters.next,
                                                      struct upstream_waiter, link);
        list_remove(&waiter->link);
        waiter->state = UPSTREAM_PROMISED;
        upstream->waiting--;
        upstream->promised++;
        waiter->on_place(waiter);
    }
}

void upstream_wake(struct upstream *upstream)
{
    (void)pthread_mutex_lock(&upstream->lock);
    upstream_wake_locked(upstream, SIZE_MAX);
    (void)pthread_mutex_unlock(&upstream->lock);
}

/* The promise is over; says whether there was one. */
static bool redeem_locked(struct upstream *upstream, struct upstream_waiter *waiter)
{
    bool promised = waiter->state == UPSTREAM_PROMISED;
    upstream->promised -= promised;
    waiter->state = UPSTREAM_IDLE;
    return promised;
}

/* Behind those who have waited longer: one that comes again has its old place. */
static void queue_locked(struct upstream *upstream, struct upstream_waiter *waiter)
{
    struct list *before = &upstream->waiters;
    if (waiter->since_ns == 0) {
        waiter->since_ns = clock_monotonic_ns(clock_real());
    } else {
        before = upstream->waiters.next;
        while (before != &upstream->waiters &&
               container_of(before, struct upstream_waiter, link)->since_ns <= waiter->since_ns) {
            before = before->next;
        }
    }
    list_append(before, &waiter->link);
    waiter->state = UPSTREAM_WAITS;
    upstream->waiting++;
}

int upstream_claim(struct upstream *upstream, struct backend *const *tried, size_t tried_count,
                   struct upstream_waiter *waiter, struct backend **ret_backend)
{
    int64_t now = loop_now_ns(upstream->options.loop);
    int rc = 0;
    (void)pthread_mutex_lock(&upstream->lock);
    bool promised = redeem_locked(upstream, waiter);
    enum fitness best = note_fitness_locked(upstream, tried, tried_count, now);
    bool others = upstream->promised > 0 || !list_empty(&upstream->waiters);
    bool passes_by = !promised && others && free_places_locked(upstream, now) <= upstream->promised;
    if (best == UNFIT) {
        rc = -EHOSTDOWN;
    } else if (!has_place(best) || passes_by) {
        queue_locked(upstream, waiter);
        rc = -EAGAIN;
    } else {
        *ret_backend = choose_locked(upstream, best, now);
    }
    (void)pthread_mutex_unlock(&upstream->lock);
    if (rc == 0 && waiter->since_ns != 0) {
        metric_observe(&upstream->wait_seconds,
                       clock_monotonic_ns(clock_real()) - waiter->since_ns);
        waiter->since_ns = 0;
    }
    return rc;
}

void upstream_claim_cancel(struct upstream *upstream, struct upstream_waiter *waiter)
{
    if (waiter->since_ns == 0) {
        return;
    }
    waiter->since_ns = 0;
    (void)pthread_mutex_lock(&upstream->lock);
    if (waiter->state == UPSTREAM_WAITS) {
        list_remove(&waiter->link);
        upstream->waiting--;
    }
    if (redeem_locked(upstream, waiter)) {
        upstream_wake_locked(upstream, 1);
    }
    (void)pthread_mutex_unlock(&upstream->lock);
}

uint32_t upstream_waiting(struct upstream *upstream)
{
    (void)pthread_mutex_lock(&upstream->lock);
    uint32_t waiting = upstream->waiting;
    (void)pthread_mutex_unlock(&upstream->lock);
    return waiting;
}

/* ---- choosing and connecting, for threads ---- */

#define TRIES 8

static int try_backend(struct backend *backend, int64_t timeout_ns,
                       struct upstream_lease *ret_lease, struct error *error)
{
    struct pool_wish wish = {.holder = "upstream", .timeout_ns = timeout_ns};
    int rc = pool_acquire(backend->pool, &wish, &ret_lease->lease, error);
    if (rc == 0) {
        ret_lease->backend = backend;
        ret_lease->conn = &((struct upstream_conn *)ret_lease->lease.resource)->conn;
    }
    return rc;
}

int upstream_acquire(struct upstream *upstream, int64_t timeout_ns,
                     struct upstream_lease *ret_lease, struct error *error)
{
    struct backend *tried[TRIES];
    size_t count = 0;
    int64_t begun = clock_monotonic_ns(clock_real());
    int rc = -EHOSTDOWN;
    error_set(error, "no backend of %s is up", upstream->name);
    while (count < TRIES && upstream_choose(upstream, tried, count, &tried[count]) == 0) {
        int64_t left = timeout_ns - (clock_monotonic_ns(clock_real()) - begun);
        rc = try_backend(tried[count], left > 0 ? left : 0, ret_lease, error);
        if (rc == 0 || rc == -ECANCELED) {
            break;
        }
        count++;
    }
    for (size_t i = 0; i < count; i++) { /* the last is kept where it was had */
        backend_leave(tried[i]);
    }
    if (rc == -ECANCELED) {
        backend_leave(tried[count]);
    }
    return rc;
}

void upstream_release(const struct upstream_lease *lease, bool broken)
{
    struct upstream_conn *conn = lease->lease.resource;
    conn->used = true;
    (void)(broken ? pool_discard(lease->backend->pool, lease->lease)
                  : pool_release(lease->backend->pool, lease->lease));
    backend_leave(lease->backend);
}
