/*
 * One backend: its addresses, its pool, what its users report.
 *
 * The list holds one reference, each user another. A removed backend leaves the list, and the loop frees
 * it when the last user has gone; so no connection is cut.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/timestamp.h"
#include "pools/upstream_private.h"

#define CONNECT_FLOOR_NS (250 * NS_PER_MS)
#define CHECK_IDLE_NS 0 /* looked at before each use: one system call */
#define DIAL_RETRY_FIRST_NS (50 * NS_PER_MS)
#define DIAL_RETRY_LIMIT_NS (2 * NS_PER_SECOND)

/* ---- connections as resources ---- */

static int create_conn(void *data, void **ret_resource, struct error *error)
{
    struct backend *backend = data;
    struct addresses *addresses = backend_addresses(backend);
    if (addresses == NULL) {
        error_set(error, "%s: the name is not looked up yet", backend->name);
        return -EHOSTUNREACH;
    }
    struct dial_target target = backend_dial_target(backend, addresses);
    struct conn conn;
    struct upstream_conn *made = NULL;
    int64_t begun = clock_monotonic_ns(clock_real());
    int rc = dial_blocking(&target, backend->upstream->options.stop_fd, &conn, error);
    addresses_unref(addresses);
    if (rc == 0) {
        backend_report_success(backend, clock_monotonic_ns(clock_real()) - begun);
        upstream_keep_alive(backend->upstream, &conn);
        rc = upstream_conn_create(conn, &made);
        *ret_resource = made;
    } else if (rc != -ECANCELED) {
        backend_report_failure(backend, error != NULL ? error->text : "");
    }
    return rc;
}

static void destroy_conn(void *data, void *resource)
{
    (void)data;
    struct upstream_conn *conn = resource;
    conn_finish(&conn->conn);
    free(conn);
}

/* What a new one has to say is its next user's; what a used one says now would be an answer to the last
 * one's question. */
static bool is_usable(void *data, void *resource)
{
    (void)data;
    struct upstream_conn *conn = resource;
    enum conn_activity activity = conn_activity(&conn->conn);
    return activity == CONN_SILENT ||
           (activity == CONN_TALKS && !conn->used && !conn_has_ended(&conn->conn));
}

static const struct pool_type conn_type = {
    .create = create_conn, .destroy = destroy_conn, .is_healthy = is_usable};

void upstream_keep_alive(const struct upstream *upstream, const struct conn *conn)
{
    conn_keep_alive(conn, upstream->options.keep_alive_ns);
}

int upstream_conn_create(struct conn conn, struct upstream_conn **ret_conn)
{
    struct upstream_conn *made = malloc(sizeof(*made));
    if (made == NULL) {
        conn_finish(&conn);
        return -ENOMEM;
    }
    *made = (struct upstream_conn){.conn = conn};
    *ret_conn = made;
    return 0;
}

/* ---- addresses ---- */

struct addresses *backend_addresses(struct backend *backend)
{
    (void)pthread_mutex_lock(&backend->upstream->lock);
    struct addresses *addresses = backend->addresses;
    if (addresses != NULL) {
        (void)atomic_fetch_add(&addresses->references, 1);
    }
    (void)pthread_mutex_unlock(&backend->upstream->lock);
    return addresses;
}

void addresses_unref(struct addresses *addresses)
{
    if (addresses != NULL && atomic_fetch_sub(&addresses->references, 1) == 1) {
        free(addresses);
    }
}

void backend_set_addresses(struct backend *backend, const struct address_list *list)
{
    struct addresses *addresses = malloc(sizeof(*addresses));
    if (addresses == NULL) {
        return; /* the old ones stay */
    }
    atomic_init(&addresses->references, 1);
    addresses->list = *list;
    (void)pthread_mutex_lock(&backend->upstream->lock);
    struct addresses *old = backend->addresses;
    backend->addresses = addresses;
    (void)pthread_mutex_unlock(&backend->upstream->lock);
    addresses_unref(old);
}

struct dial_target backend_dial_target(struct backend *backend, const struct addresses *addresses)
{
    struct upstream *upstream = backend->upstream;
    int64_t timeout = upstream->options.connect_timeout_ns;
    (void)pthread_mutex_lock(&upstream->lock);
    /* Where there is no other, one lost packet (which comes again after a second, RFC 6298 section 2.1) is no
     * reason to give up. */
    if (backend->smooth_ns > 0 && upstream_has_alternative_locked(upstream, backend)) {
        int64_t usual = (int64_t)(4 * (backend->smooth_ns + 4 * backend->deviation_ns));
        usual = usual > CONNECT_FLOOR_NS ? usual : CONNECT_FLOOR_NS;
        timeout = usual < timeout ? usual : timeout;
    }
    (void)pthread_mutex_unlock(&upstream->lock);
    return (struct dial_target){.addresses = &addresses->list,
                                .tls = upstream->options.tls,
                                .host = backend->hostport.host,
                                .timeout_ns = timeout};
}

/* ---- reports ---- */

void backend_tell(const struct backend *backend, const char *format, ...)
{
    const struct upstream_options *options = &backend->upstream->options;
    char text[256];
    va_list arguments;
    if (options->on_change == NULL) {
        return;
    }
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    options->on_change(backend->name, text, options->data);
}

bool backend_is_ejected_locked(const struct backend *backend, int64_t now_ns)
{
    return now_ns < backend->ejected_until_ns;
}

void backend_report_success(struct backend *backend, int64_t elapsed_ns)
{
    double sample = (double)elapsed_ns;
    metric_observe(&backend->connect_seconds, elapsed_ns);
    (void)pthread_mutex_lock(&backend->upstream->lock);
    if (backend->smooth_ns <= 0) { /* RFC 6298 section 2.2 and 2.3 */
        backend->smooth_ns = sample;
        backend->deviation_ns = sample / 2;
    } else {
        double error = backend->smooth_ns > sample ? backend->smooth_ns - sample
                                                   : sample - backend->smooth_ns;
        backend->deviation_ns += (error - backend->deviation_ns) / 4;
        backend->smooth_ns += (sample - backend->smooth_ns) / 8;
    }
    backend->failures_in_row = 0;
    backend->ejections_in_row = 0;
    (void)pthread_mutex_unlock(&backend->upstream->lock);
}

/* How long it is ejected for this failure; 0: not yet. */
static int64_t count_failure_locked(struct backend *backend, int64_t now_ns)
{
    const struct upstream_ejection *ejection = &backend->upstream->options.ejection;
    backend->failures_in_row++;
    if (ejection->failures == 0 || backend->failures_in_row < ejection->failures ||
        backend_is_ejected_locked(backend, now_ns)) {
        return 0;
    }
    unsigned shift = backend->ejections_in_row < 20 ? backend->ejections_in_row : 20;
    int64_t duration = ejection->first_ns << shift;
    duration = duration > ejection->limit_ns ? ejection->limit_ns : duration;
    backend->ejections_in_row++;
    backend->failures_in_row = 0;
    backend->ejected_until_ns = now_ns + duration;
    return duration;
}

void backend_report_failure(struct backend *backend, const char *text)
{
    struct upstream *upstream = backend->upstream;
    metric_add(&backend->failures, 1);
    (void)pthread_mutex_lock(&upstream->lock);
    int64_t duration = count_failure_locked(backend, loop_now_ns(upstream->options.loop));
    if (duration > 0) {
        (void)snprintf(backend->reason, sizeof(backend->reason), "%s", text);
    }
    (void)pthread_mutex_unlock(&upstream->lock);
    if (duration > 0) {
        metric_add(&backend->ejections, 1);
        backend_tell(backend, "ejected for %.1f s: %s", (double)duration / (double)NS_PER_SECOND,
                     text);
    }
    loop_post_send(&upstream->post); /* the loop checks it */
}

/* ---- users ---- */

void backend_leave(struct backend *backend)
{
    struct upstream *upstream = backend->upstream;
    (void)pthread_mutex_lock(&upstream->lock);
    (void)atomic_fetch_sub(&backend->active, 1);
    bool removed = backend->removed;
    (void)atomic_fetch_sub(&backend->references, 1);
    upstream_wake_locked(upstream, 1);
    if (removed) { /* the loop frees it; so this is the last touch */
        loop_post_send(&upstream->post);
    }
    (void)pthread_mutex_unlock(&upstream->lock);
}

const char *backend_name(const struct backend *backend)
{
    return backend->name;
}

struct pool *backend_pool(struct backend *backend)
{
    return backend->pool;
}

/* ---- metrics ---- */

static int64_t read_active(void *data)
{
    return atomic_load(&((struct backend *)data)->active);
}

static int64_t read_up(void *data)
{
    struct backend *backend = data;
    int64_t now = loop_now_ns(backend->upstream->options.loop);
    (void)pthread_mutex_lock(&backend->upstream->lock);
    bool up = backend->up && !backend->draining && !backend_is_ejected_locked(backend, now);
    (void)pthread_mutex_unlock(&backend->upstream->lock);
    return up;
}

static int add_metrics(struct backend *backend, const char *labels)
{
    struct metrics *metrics = backend->upstream->options.metrics;
    const struct {
        struct metric *metric;
        struct metric_desc desc;
    } rows[] = {
        {&backend->chosen,
         {.name = "log_capturer_upstream_chosen_total",
          .help = "Connections for which the backend was chosen."}},
        {&backend->failures,
         {.name = "log_capturer_upstream_failures_total",
          .help = "Failures that the backend's users reported."}},
        {&backend->ejections,
         {.name = "log_capturer_upstream_ejections_total",
          .help = "Times that reported failures took the backend out."}},
        {&backend->checks,
         {.name = "log_capturer_upstream_checks_total", .help = "Health checks."}},
        {&backend->check_failures,
         {.name = "log_capturer_upstream_check_failures_total",
          .help = "Health checks that failed."}},
        {&backend->active_now,
         {.type = METRIC_GAUGE,
          .name = "log_capturer_upstream_active",
          .help = "Connections that use the backend.",
          .read = read_active,
          .data = backend}},
        {&backend->up_now,
         {.type = METRIC_GAUGE,
          .name = "log_capturer_upstream_up",
          .help = "1 while the backend takes new connections.",
          .read = read_up,
          .data = backend}},
    };
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct metric_desc desc = rows[i].desc;
        desc.labels = labels;
        rc = metrics_add(metrics, rows[i].metric, &desc);
    }
    rc = rc != 0 ? rc
                 : metrics_add_histogram(
                       metrics, &backend->connect_seconds,
                       &(struct metric_desc){.name = "log_capturer_upstream_connect_seconds",
                                             .help = "Time until a connection was made.",
                                             .labels = labels,
                                             .scale = 1e-9},
                       16000);
    return rc != 0 ? rc
                   : metrics_add_histogram(
                         metrics, &backend->check_seconds,
                         &(struct metric_desc){.name = "log_capturer_upstream_check_seconds",
                                               .help = "Time of a health check.",
                                               .labels = labels,
                                               .scale = 1e-9},
                         16000);
}

static int register_metrics(struct backend *backend)
{
    struct buf labels;
    buf_init(&labels, 0);
    int rc = metrics_append_label(&labels, "upstream", backend->upstream->name);
    rc = rc != 0 ? rc : metrics_append_label(&labels, "backend", backend->name);
    const char *text = buf_terminated(&labels);
    rc = rc != 0 || text == NULL ? -ENOMEM : add_metrics(backend, text);
    rc = rc != 0 ? rc : pool_register_metrics(backend->pool, backend->upstream->options.metrics);
    buf_finish(&labels);
    return rc;
}

void backend_finish_metrics(struct backend *backend)
{
    struct metric *const all[] = {&backend->chosen,
                                  &backend->failures,
                                  &backend->ejections,
                                  &backend->checks,
                                  &backend->check_failures,
                                  &backend->active_now,
                                  &backend->up_now,
                                  &backend->connect_seconds.base,
                                  &backend->check_seconds.base};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        metric_finish(all[i]);
    }
    if (backend->pool != NULL) {
        pool_report_finish(backend->pool);
    }
}

/* ---- life ---- */

static void handle_wanted(void *data)
{
    loop_post_send(&((struct backend *)data)->upstream->post);
}

static int create_pool(struct backend *backend, struct error *error)
{
    const struct upstream_options *options = &backend->upstream->options;
    uint32_t most = options->connections;
    char name[HOSTPORT_TEXT_SIZE * 2];
    (void)snprintf(name, sizeof(name), "%s/%s", backend->upstream->name, backend->name);
    struct pool_options pool = {.name = name,
                                .type = &conn_type,
                                .data = backend,
                                .min = options->warm < most ? options->warm : most,
                                .max = most,
                                .idle_limit_ns = options->idle_limit_ns,
                                .check_idle_ns = CHECK_IDLE_NS,
                                .retry_first_ns = DIAL_RETRY_FIRST_NS,
                                .retry_limit_ns = DIAL_RETRY_LIMIT_NS,
                                .break_after = 1,
                                .on_wanted = handle_wanted};
    return pool_create(&pool, &backend->pool, error);
}

int backend_create(struct upstream *upstream, const struct hostport *hostport, uint32_t weight,
                   struct backend **ret_backend, struct error *error)
{
    struct address_list list = {.count = 1};
    struct backend *backend = calloc(1, sizeof(*backend));
    if (backend == NULL) {
        error_set(error, "out of memory");
        return -ENOMEM;
    }
    backend->upstream = upstream;
    backend->hostport = *hostport;
    backend->weight = weight;
    hostport_format(hostport, backend->name);
    atomic_init(&backend->references, 1);
    backend_health_init(backend);
    int rc = create_pool(backend, error);
    if (rc == 0 && upstream->options.metrics != NULL) {
        rc = register_metrics(backend);
        error_set(rc != 0 ? error : NULL, "out of memory");
    }
    if (rc != 0) {
        backend_destroy(backend);
        return rc;
    }
    if (address_parse(hostport, &list.items[0]) == 0) {
        backend_set_addresses(backend, &list);
        backend->up = true;
    } else {
        (void)snprintf(backend->reason, sizeof(backend->reason), "its name is being looked up");
    }
    *ret_backend = backend;
    return 0;
}

void backend_destroy(struct backend *backend)
{
    backend_health_stop(backend);
    resolver_cancel(backend->query);
    backend_finish_metrics(backend);
    pool_destroy(backend->pool);
    addresses_unref(backend->addresses);
    free(backend);
}
