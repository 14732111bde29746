/*
 * The list of backends, and what is done each second: names are looked up again,
 * pools swept, removed backends freed.
 *
 */
#include "pools/upstream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/str.h"
#include "base/timestamp.h"
#include "pools/upstream_claim.h"
#include "pools/upstream_private.h"

#define TEND_NS NS_PER_SECOND
#define TEND_LEAST_NS NS_PER_MS
#define RESOLVE_AGAIN_NS (30 * NS_PER_SECOND)
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
    bool told = rc != 0 && unknown && strcmp(backend->reason, text) == 0; /* each second the same */
    bool first = rc == 0 && !backend->up && backend->health.down_checks == 0;
    if (first) {
        backend->up = true;
        backend->reason[0] = '\0';
        upstream_wake_locked(upstream, SIZE_MAX);
    } else if (rc != 0 && unknown) {
        (void)str_copy(backend->reason, sizeof(backend->reason), text);
    }
    (void)pthread_mutex_unlock(&upstream->lock);
    if (told) {
        return;
    }
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
    if (was_draining) {
        backend->draining = false;
        backend->weight = weight;
        upstream_wake_locked(upstream, SIZE_MAX);
    }
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
    upstream_wake_locked(upstream, SIZE_MAX);
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
        upstream_wake_locked(upstream, SIZE_MAX); /* they learn that none is left, if so */
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
        backend_finish_metrics(backend);
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
    struct backend *backend;
    int rc = upstream_add(upstream, spec->host_port, spec->weight, error);
    if (rc == -EEXIST && find(upstream, spec->host_port, &backend, error) == 0) {
        (void)pthread_mutex_lock(&upstream->lock);
        backend->weight = spec->weight;
        (void)pthread_mutex_unlock(&upstream->lock);
        rc = 0;
    }
    return rc;
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

/* Tends its pool; the end of its pause after a failure, where that is sooner than next_ns. */
static int64_t tend_pool(struct backend *backend, int64_t next_ns)
{
    (void)pool_tend(backend->pool);
    int64_t delay = pool_retry_delay_ns(backend->pool);
    if (delay == 0 || delay >= next_ns) {
        return next_ns;
    }
    return delay > TEND_LEAST_NS ? delay : TEND_LEAST_NS; /* the pool's clock may be behind */
}

static void handle_tend(struct loop_timer *timer, void *data)
{
    struct upstream *upstream = data;
    struct list *link;
    struct list *behind;
    int64_t next = TEND_NS;
    upstream->warm_pauses = false;
    for (size_t i = 0; i < upstream->count; i++) { /* the list is the loop's to change */
        next = tend_pool(upstream->backends[i], next);
        resolve(upstream->backends[i]);
    }
    list_for_each_safe(link, behind, &upstream->leaving)
    {
        next = tend_pool(container_of(link, struct backend, link), next);
    }
    upstream_warm(upstream);
    upstream_wake(upstream); /* ejections end, pauses of circuits too */
    reap(upstream);
    loop_timer_arm(timer, next);
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

static int64_t read_waiting(void *data)
{
    return upstream_waiting(data);
}

static int register_metrics(struct upstream *upstream)
{
    struct buf labels;
    buf_init(&labels, 0);
    int rc = metrics_append_label(&labels, "upstream", upstream->name);
    const char *text = buf_terminated(&labels);
    rc = rc != 0 || text == NULL
             ? -ENOMEM
             : metrics_add(
                   upstream->options.metrics, &upstream->waiting_now,
                   &(struct metric_desc){.type = METRIC_GAUGE,
                                         .name = "log_capturer_upstream_waiting",
                                         .help = "Clients that wait for a place at any backend.",
                                         .labels = text,
                                         .read = read_waiting,
                                         .data = upstream});
    rc = rc != 0 ? rc
                 : metrics_add_histogram(
                       upstream->options.metrics, &upstream->wait_seconds,
                       &(struct metric_desc){.name = "log_capturer_upstream_wait_seconds",
                                             .help = "Time that clients waited for their place.",
                                             .labels = text,
                                             .scale = 1e-9},
                       16000);
    buf_finish(&labels);
    return rc;
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
    list_init(&upstream->waiters);
    (void)pthread_mutex_init(&upstream->lock, NULL);
    (void)!getrandom(&seed, sizeof(seed), GRND_NONBLOCK);
    balance_init(&upstream->balance, options->strategy, seed);
    loop_timer_init(options->loop, &upstream->tend_timer, handle_tend, upstream);
    loop_post_add(options->loop, &upstream->post, handle_post, upstream);
    loop_timer_arm(&upstream->tend_timer, TEND_NS);
    int rc = options->metrics != NULL ? register_metrics(upstream) : 0;
    if (rc != 0) {
        error_set(error, "out of memory");
        upstream_destroy(upstream);
        return rc;
    }
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
    metric_finish(&upstream->waiting_now);
    metric_finish(&upstream->wait_seconds.base);
    (void)pthread_mutex_destroy(&upstream->lock);
    free(upstream->backends);
    free(upstream->candidates);
    free(upstream);
}
