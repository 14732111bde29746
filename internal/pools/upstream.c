/*
 * The list of backends, the choice among them, and what is done each second: names are looked up again,
 * pools swept, removed backends freed.
 *
 * A choice is made under one lock, for the turns of round robin belong together; it takes a few
 * nanoseconds per backend.
 */
#include "pools/upstream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/str.h"
#include "base/timestamp.h"
#include "pools/upstream_private.h"

#define TEND_NS NS_PER_SECOND
#define RESOLVE_AGAIN_NS (30 * NS_PER_SECOND)
#define WEIGHT_SCALE 100U /* so that a slow start has steps */
#define WEIGHT_LIMIT 1000U
#define CONNECT_TIMEOUT_NS (5 * NS_PER_SECOND)
#define EJECT_FIRST_NS NS_PER_SECOND
#define EJECT_LIMIT_NS (60 * NS_PER_SECOND)

/* ---- the list ---- */

static struct backend *find_locked(const struct upstream *upstream, const char *name)
{
    for (size_t i = 0; i < upstream->count; i++) {
        if (strcmp(upstream->backends[i]->name, name) == 0) {
            return upstream->backends[i];
        }
    }
    return NULL;
}

/* The name as it is kept: `host:port` in one form. */
static int find(struct upstream *upstream, const char *host_port, struct backend **ret_backend,
                struct error *error)
{
    struct hostport hostport;
    char name[HOSTPORT_TEXT_SIZE];
    int rc = hostport_parse(host_port, &hostport, error);
    if (rc != 0) {
        return rc;
    }
    hostport_format(&hostport, name);
    (void)pthread_mutex_lock(&upstream->lock);
    *ret_backend = find_locked(upstream, name);
    (void)pthread_mutex_unlock(&upstream->lock);
    if (*ret_backend == NULL) {
        error_set(error, "there is no backend %s", name);
        return -ENOENT;
    }
    return 0;
}

static int append(struct upstream *upstream, struct backend *backend)
{
    size_t count = upstream->count + 1;
    struct backend **backends = realloc(upstream->backends, count * sizeof(struct backend *));
    if (backends == NULL) {
        return -ENOMEM;
    }
    upstream->backends = backends;
    struct balance_candidate *candidates = realloc(upstream->candidates,
                                                   count * sizeof(*candidates));
    if (candidates == NULL) {
        return -ENOMEM;
    }
    upstream->candidates = candidates;
    candidates[count - 1] = (struct balance_candidate){.weight = 0};
    backends[count - 1] = backend;
    upstream->count = count;
    return 0;
}

static void take_out_locked(struct upstream *upstream, const struct backend *backend)
{
    size_t at = 0;
    while (upstream->backends[at] != backend) {
        at++;
    }
    size_t behind = upstream->count - at - 1;
    memmove(&upstream->backends[at], &upstream->backends[at + 1],
            behind * sizeof(struct backend *));
    memmove(&upstream->candidates[at], &upstream->candidates[at + 1],
            behind * sizeof(upstream->candidates[0]));
    upstream->count--;
}

size_t upstream_count(struct upstream *upstream)
{
    (void)pthread_mutex_lock(&upstream->lock);
    size_t count = upstream->count;
    (void)pthread_mutex_unlock(&upstream->lock);
    return count;
}

/* ---- names ---- */

static void handle_resolved(int rc, const struct address_list *list, const char *text, void *data)
{
    struct backend *backend = data;
    struct upstream *upstream = backend->upstream;
    backend->query = NULL;
    if (rc == 0) {
        backend_set_addresses(backend, list);
    }
    (void)pthread_mutex_lock(&upstream->lock);
    bool unknown = backend->addresses == NULL;
    bool first = rc == 0 && !backend->up && backend->health.down_checks == 0;
    if (first) {
        backend->up = true;
        backend->reason[0] = '\0';
    } else if (rc != 0 && unknown) {
        (void)str_copy(backend->reason, sizeof(backend->reason), text);
    }
    (void)pthread_mutex_unlock(&upstream->lock);
    if (rc != 0) {
        backend_tell(backend, "%s%s", text, unknown ? "" : "; the old addresses are kept");
    } else if (first) {
        backend_health_start(backend);
        upstream_warm(upstream);
    }
}

static void resolve(struct backend *backend)
{
    struct upstream *upstream = backend->upstream;
    struct address address;
    int64_t now = loop_now_ns(upstream->options.loop);
    int64_t pause = backend->addresses == NULL ? TEND_NS : RESOLVE_AGAIN_NS;
    bool due = backend->resolved_ns == 0 || now - backend->resolved_ns >= pause;
    if (!due || backend->query != NULL || address_parse(&backend->hostport, &address) == 0) {
        return;
    }
    backend->resolved_ns = now;
    if (upstream->options.resolver == NULL ||
        resolver_start(upstream->options.resolver, &backend->hostport, handle_resolved, backend,
                       &backend->query) != 0) {
        handle_resolved(-EHOSTUNREACH, NULL, "the host name can't be looked up", backend);
    }
}

/* ---- adding, draining, removing ---- */

static int revive(struct upstream *upstream, struct backend *backend, uint32_t weight,
                  struct error *error)
{
    (void)pthread_mutex_lock(&upstream->lock);
    bool was_draining = backend->draining;
    backend->draining = false;
    backend->weight = weight;
    (void)pthread_mutex_unlock(&upstream->lock);
    if (!was_draining) {
        error_set(error, "%s is there already", backend->name);
        return -EEXIST;
    }
    backend_tell(backend, "takes connections again");
    return 0;
}

static int check_spec(const struct upstream_spec *spec, struct hostport *ret_hostport,
                      struct error *error)
{
    if (spec->weight == 0 || spec->weight > WEIGHT_LIMIT) {
        error_set(error, "%s: the weight must be 1 to %u", spec->host_port, WEIGHT_LIMIT);
        return -EINVAL;
    }
    int rc = hostport_parse(spec->host_port, ret_hostport, error);
    if (rc == 0 && (ret_hostport->host[0] == '\0' || ret_hostport->port == 0)) {
        error_set(error, "'%s' is no backend; write host:port", spec->host_port);
        rc = -EINVAL;
    }
    return rc;
}

int upstream_add(struct upstream *upstream, const char *host_port, uint32_t weight,
                 struct error *error)
{
    struct hostport hostport;
    struct backend *backend = NULL;
    int rc = check_spec(&(struct upstream_spec){host_port, weight}, &hostport, error);
    if (rc != 0) {
        return rc;
    }
    if (find(upstream, host_port, &backend, NULL) == 0) {
        return revive(upstream, backend, weight, error);
    }
    rc = backend_create(upstream, &hostport, weight, &backend, error);
    if (rc != 0) {
        return rc;
    }
    (void)pthread_mutex_lock(&upstream->lock);
    rc = append(upstream, backend);
    (void)pthread_mutex_unlock(&upstream->lock);
    if (rc != 0) {
        error_set(error, "out of memory");
        backend_destroy(backend);
        return rc;
    }
    resolve(backend);
    backend_health_start(backend);
    upstream_warm(upstream);
    return 0;
}

int upstream_drain(struct upstream *upstream, const char *host_port, struct error *error)
{
    struct backend *backend;
    int rc = find(upstream, host_port, &backend, error);
    if (rc == 0) {
        (void)pthread_mutex_lock(&upstream->lock);
        bool changes = !backend->draining;
        backend->draining = true;
        (void)pthread_mutex_unlock(&upstream->lock);
        if (changes) {
            backend_tell(backend, "draining: no new connections, %u in use",
                         atomic_load(&backend->active));
        }
    }
    return rc;
}

static void reap(struct upstream *upstream)
{
    struct list *link;
    struct list *next;
    list_for_each_safe(link, next, &upstream->leaving)
    {
        struct backend *backend = container_of(link, struct backend, link);
        (void)pthread_mutex_lock(&upstream->lock);
        bool unused = atomic_load(&backend->references) == 1;
        (void)pthread_mutex_unlock(&upstream->lock);
        if (unused) {
            list_remove(&backend->link);
            backend_tell(backend, "removed");
            upstream_warm_stop(upstream, backend);
            backend_destroy(backend);
        }
    }
}

int upstream_remove(struct upstream *upstream, const char *host_port, struct error *error)
{
    struct backend *backend;
    int rc = upstream_drain(upstream, host_port, error);
    rc = rc != 0 ? rc : find(upstream, host_port, &backend, error);
    if (rc == 0) {
        (void)pthread_mutex_lock(&upstream->lock);
        backend->removed = true;
        take_out_locked(upstream, backend);
        (void)pthread_mutex_unlock(&upstream->lock);
        backend_health_stop(backend);
        (void)pool_flush(backend->pool);
        list_append(&upstream->leaving, &backend->link);
        reap(upstream);
    }
    return rc;
}

/* ---- all at once ---- */

/* The name that a spec's backend has, or would have. */
static int name_of_spec(const struct upstream_spec *spec, char ret_name[HOSTPORT_TEXT_SIZE],
                        struct error *error)
{
    struct hostport hostport;
    int rc = check_spec(spec, &hostport, error);
    if (rc == 0) {
        hostport_format(&hostport, ret_name);
    }
    return rc;
}

static bool is_in_specs(const char *name, const struct upstream_spec *specs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char other[HOSTPORT_TEXT_SIZE];
        if (name_of_spec(&specs[i], other, NULL) == 0 && strcmp(name, other) == 0) {
            return true;
        }
    }
    return false;
}

static int check_specs(const struct upstream_spec *specs, size_t count, struct error *error)
{
    for (size_t i = 0; i < count; i++) {
        char name[HOSTPORT_TEXT_SIZE];
        int rc = name_of_spec(&specs[i], name, error);
        if (rc == 0 && is_in_specs(name, specs, i)) {
            error_set(error, "%s is there twice", name);
            rc = -EINVAL;
        }
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

/* Adds it, or changes its weight. */
static int apply_spec(struct upstream *upstream, const struct upstream_spec *spec,
                      struct error *error)
{
    int rc = upstream_add(upstream, spec->host_port, spec->weight, error);
    return rc == -EEXIST ? 0 : rc; /* it has its weight then */
}

int upstream_set(struct upstream *upstream, const struct upstream_spec *specs, size_t count,
                 struct error *error)
{
    int rc = check_specs(specs, count, error);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = apply_spec(upstream, &specs[i], error);
    }
    for (size_t i = upstream->count; rc == 0 && i > 0; i--) { /* the list is the loop's to change */
        struct backend *backend = upstream->backends[i - 1];
        if (!is_in_specs(backend->name, specs, count)) {
            rc = upstream_remove(upstream, backend->name, error);
        }
    }
    return rc;
}

/* ---- choosing ---- */

/* What a backend may be chosen for; each also where no better one is left. */
enum fitness { UNFIT, EJECTED, FULL, FIT };

static enum fitness fitness_locked(const struct backend *backend, int64_t now_ns)
{
    if (!backend->up || backend->draining) {
        return UNFIT;
    }
    if (backend_is_ejected_locked(backend, now_ns)) {
        return EJECTED;
    }
    return atomic_load(&backend->active) >= backend->upstream->options.connections ? FULL : FIT;
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

/* The weights of those that are as fit as the fittest; false when there is none. */
static bool prepare_locked(struct upstream *upstream, struct backend *const *tried,
                           size_t tried_count)
{
    int64_t now = loop_now_ns(upstream->options.loop);
    enum fitness best = UNFIT;
    for (size_t i = 0; i < upstream->count; i++) {
        struct backend *backend = upstream->backends[i];
        enum fitness fitness = is_among(backend, tried, tried_count) ? UNFIT
                                                                     : fitness_locked(backend, now);
        upstream->candidates[i].weight = (uint32_t)fitness;
        best = fitness > best ? fitness : best;
    }
    for (size_t i = 0; best != UNFIT && i < upstream->count; i++) {
        struct balance_candidate *candidate = &upstream->candidates[i];
        candidate->load = atomic_load(&upstream->backends[i]->active);
        candidate->busy = candidate->weight == FULL && best == FIT;
        candidate->weight = candidate->busy || candidate->weight == (uint32_t)best
                                ? present_weight_locked(upstream->backends[i], now)
                                : 0;
    }
    return best != UNFIT;
}

int upstream_choose(struct upstream *upstream, struct backend *const *tried, size_t tried_count,
                    struct backend **ret_backend)
{
    int rc = -EHOSTDOWN;
    (void)pthread_mutex_lock(&upstream->lock);
    if (prepare_locked(upstream, tried, tried_count)) {
        size_t at = balance_choose(&upstream->balance, upstream->candidates, upstream->count);
        struct backend *backend = upstream->backends[at];
        (void)atomic_fetch_add(&backend->references, 1);
        (void)atomic_fetch_add(&backend->active, 1);
        metric_add(&backend->chosen, 1);
        *ret_backend = backend;
        rc = 0;
    }
    (void)pthread_mutex_unlock(&upstream->lock);
    return rc;
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

/* ---- status ---- */

static const char *state_of(const struct backend *backend, int64_t now_ns)
{
    return backend->draining                            ? "draining"
           : backend->addresses == NULL                 ? "resolving"
           : !backend->up                               ? "down"
           : backend_is_ejected_locked(backend, now_ns) ? "ejected"
                                                        : "up";
}

void upstream_status(struct upstream *upstream, backend_status_fn on_backend, void *data)
{
    int64_t now = loop_now_ns(upstream->options.loop);
    (void)pthread_mutex_lock(&upstream->lock);
    for (size_t i = 0; i < upstream->count; i++) {
        struct backend *backend = upstream->backends[i];
        struct pool_stats stats;
        pool_report_stats(backend->pool, &stats);
        const char *state = state_of(backend, now);
        struct backend_status status = {
            .name = backend->name,
            .state = state,
            .reason = strcmp(state, "up") == 0 ? "" : backend->reason,
            .weight = backend->weight,
            .active = atomic_load(&backend->active),
            .idle = stats.idle,
            .created = stats.created,
            .acquired = stats.acquired,
            .reused = stats.reused,
            .lifetime_s = stats.mean_lifetime_ns / (double)NS_PER_SECOND,
            .chosen = (uint64_t)metric_get(&backend->chosen),
            .failures = (uint64_t)metric_get(&backend->failures),
            .checks = (uint64_t)metric_get(&backend->checks),
            .check_failures = (uint64_t)metric_get(&backend->check_failures),
            .connect_ms = backend->smooth_ns / (double)NS_PER_MS};
        on_backend(&status, data);
    }
    (void)pthread_mutex_unlock(&upstream->lock);
}

/* ---- life ---- */

static void handle_tend(struct loop_timer *timer, void *data)
{
    struct upstream *upstream = data;
    for (size_t i = 0; i < upstream->count; i++) { /* the list is the loop's to change */
        (void)pool_tend(upstream->backends[i]->pool);
        resolve(upstream->backends[i]);
    }
    upstream_warm(upstream);
    reap(upstream);
    loop_timer_arm(timer, TEND_NS);
}

/* Those who wait for a pool's next attempt get it when the pool is tended. */
static void tend_after(struct upstream *upstream, int64_t delay_ns)
{
    int64_t left = upstream->tend_timer.due_ns - loop_now_ns(upstream->options.loop);
    if (delay_ns > 0 && delay_ns < left) {
        loop_timer_arm(&upstream->tend_timer, delay_ns);
    }
}

static void handle_post(struct loop_post *post, void *data)
{
    (void)post;
    struct upstream *upstream = data;
    for (size_t i = 0; i < upstream->count; i++) {
        struct backend *backend = upstream->backends[i];
        (void)pthread_mutex_lock(&upstream->lock);
        bool suspect = backend->failures_in_row > 0 || backend->ejected_until_ns > 0;
        (void)pthread_mutex_unlock(&upstream->lock);
        if (suspect) {
            backend_health_hurry(backend);
        }
        tend_after(upstream, pool_retry_delay_ns(backend->pool));
    }
    upstream_warm(upstream);
    reap(upstream);
}

static void apply_defaults(struct upstream_options *options)
{
    struct upstream_health *health = &options->health;
    struct upstream_ejection *ejection = &options->ejection;
    options->connect_timeout_ns = options->connect_timeout_ns > 0 ? options->connect_timeout_ns
                                                                  : CONNECT_TIMEOUT_NS;
    health->timeout_ns = health->timeout_ns > 0 ? health->timeout_ns : options->connect_timeout_ns;
    health->rise = health->rise > 0 ? health->rise : 2;
    health->fall = health->fall > 0 ? health->fall : 2;
    ejection->first_ns = ejection->first_ns > 0 ? ejection->first_ns : EJECT_FIRST_NS;
    ejection->limit_ns = ejection->limit_ns > 0 ? ejection->limit_ns : EJECT_LIMIT_NS;
}

int upstream_create(const struct upstream_options *options, struct upstream **ret_upstream,
                    struct error *error)
{
    uint64_t seed = 1;
    if (options->connections == 0 || options->connections > POOL_SIZE_LIMIT) {
        error_set(error, "upstream %s: connections must be 1 to %u", options->name,
                  POOL_SIZE_LIMIT);
        return -EINVAL;
    }
    struct upstream *upstream = calloc(1, sizeof(*upstream));
    if (upstream == NULL) {
        error_set(error, "out of memory");
        return -ENOMEM;
    }
    upstream->options = *options;
    (void)str_copy(upstream->name, sizeof(upstream->name), options->name);
    apply_defaults(&upstream->options);
    list_init(&upstream->warming);
    list_init(&upstream->leaving);
    (void)pthread_mutex_init(&upstream->lock, NULL);
    (void)!getrandom(&seed, sizeof(seed), GRND_NONBLOCK);
    balance_init(&upstream->balance, options->strategy, seed);
    loop_timer_init(options->loop, &upstream->tend_timer, handle_tend, upstream);
    loop_post_add(options->loop, &upstream->post, handle_post, upstream);
    loop_timer_arm(&upstream->tend_timer, TEND_NS);
    *ret_upstream = upstream;
    return 0;
}

void upstream_destroy(struct upstream *upstream)
{
    if (upstream == NULL) {
        return;
    }
    upstream->stopping = true;
    loop_timer_disarm(&upstream->tend_timer);
    loop_post_remove(&upstream->post);
    upstream_warm_stop(upstream, NULL);
    while (!list_empty(&upstream->leaving)) {
        struct backend *backend = container_of(upstream->leaving.next, struct backend, link);
        list_remove(&backend->link);
        backend_destroy(backend);
    }
    for (size_t i = 0; i < upstream->count; i++) {
        backend_destroy(upstream->backends[i]);
    }
    (void)pthread_mutex_destroy(&upstream->lock);
    free(upstream->backends);
    free(upstream->candidates);
    free(upstream);
}
