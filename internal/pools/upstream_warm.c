/* Dialing in the upstream's loop for pools that have fewer connections than they should. */
#include <errno.h>
#include <stdlib.h>

#include "base/timestamp.h"
#include "pools/upstream_private.h"

#define WARMING_LIMIT 64 /* dials at a time, of each backend */

struct warming {
    struct list link;
    struct backend *backend;
    struct pool_lease lease;
    struct dial dial;
    struct addresses *addresses;
    int64_t begun_ns;
};

static void warming_free(struct warming *warming)
{
    list_remove(&warming->link);
    addresses_unref(warming->addresses);
    free(warming);
}

static void finish(struct warming *warming, int rc, struct conn conn, const char *text)
{
    struct backend *backend = warming->backend;
    struct upstream_conn *made = NULL;
    if (rc == 0) {
        int64_t elapsed = loop_now_ns(backend->upstream->options.loop) - warming->begun_ns;
        backend_report_success(backend, elapsed);
        upstream_keep_alive(backend->upstream, &conn);
        rc = upstream_conn_create(conn, &made);
        text = "out of memory";
    }
    if (rc == 0) {
        pool_add(backend->pool, warming->lease, made);
    } else {
        bool own = dial_is_own_fault(rc);
        backend->upstream->warm_pauses |= own; /* until the next second: it would fail again */
        pool_abandon(backend->pool, warming->lease, own ? 0 : rc, text);
        if (!own) {
            backend_report_failure(backend, text);
        }
    }
    warming_free(warming);
}

static void handle_dialed(struct dial *dial, int rc, struct conn conn, const char *text, void *data)
{
    (void)dial;
    finish(data, rc, conn, text);
}

/* False: no more now. */
static bool warm_one(struct backend *backend)
{
    static const struct pool_wish wish = {.holder = "warm", .priority = POOL_HIGH};
    struct conn conn = {.fd = -1};
    struct warming *warming = calloc(1, sizeof(*warming));
    if (warming == NULL || pool_reserve(backend->pool, &wish, &warming->lease) != 0) {
        free(warming);
        return false;
    }
    struct upstream *upstream = backend->upstream;
    warming->backend = backend;
    warming->addresses = backend_addresses(backend);
    warming->begun_ns = loop_now_ns(upstream->options.loop);
    list_append(&upstream->warming, &warming->link);
    dial_init(&warming->dial, upstream->options.loop, handle_dialed, warming);
    struct dial_target target = backend_dial_target(backend, warming->addresses);
    int rc = dial_start(&warming->dial, &target, &conn);
    if (rc != -EAGAIN) {
        finish(warming, rc, conn, dial_error(&warming->dial));
    }
    return rc == 0 || rc == -EAGAIN;
}

static bool wants_more(struct backend *backend)
{
    (void)pthread_mutex_lock(&backend->upstream->lock);
    bool ready = backend->up && !backend->draining && backend->addresses != NULL;
    (void)pthread_mutex_unlock(&backend->upstream->lock);
    return ready && pool_missing(backend->pool) > 0;
}

void upstream_warm(struct upstream *upstream)
{
    for (size_t i = 0; i < upstream->count && upstream->options.warm > 0; i++) {
        int started = 0;
        while (started < WARMING_LIMIT && !upstream->warm_pauses &&
               wants_more(upstream->backends[i]) && warm_one(upstream->backends[i])) {
            started++;
        }
    }
}

void upstream_warm_stop(struct upstream *upstream, const struct backend *backend)
{
    struct list *link;
    struct list *next;
    list_for_each_safe(link, next, &upstream->warming)
    {
        struct warming *warming = container_of(link, struct warming, link);
        if (backend == NULL || warming->backend == backend) {
            dial_cancel(&warming->dial);
            pool_abandon(warming->backend->pool, warming->lease, 0, "");
            warming_free(warming);
        }
    }
}
