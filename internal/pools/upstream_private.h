/* What the upstream's own files share. Nobody else includes this. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "loop/task.h"
#include "loop/timer.h"
#include "pools/pool_report.h"
#include "pools/upstream.h"
#include "pools/upstream_conn.h"

struct upstream {
    struct upstream_options options;
    struct loop_timer tend_timer;
    struct loop_post post; /* a pool wants connections, or a backend may be freed */
    struct list warming;   /* dials for pools */
    struct list leaving;   /* removed backends that are in use still */
    bool warm_pauses;      /* for lack of descriptors or memory */
    bool stopping;

    pthread_mutex_t lock; /* of what follows, and of `shared` parts of backends */
    struct balance balance;
    struct backend **backends;
    struct balance_candidate *candidates; /* one for each backend, with its turn */
    size_t count;
    struct list waiters; /* in turn, for a place at any backend */
    uint32_t waiting;    /* of them */
    uint32_t promised;   /* woken, and not claimed yet */
    struct metric waiting_now;
    struct metric_histogram wait_seconds;
    char name[HOSTPORT_TEXT_SIZE];
};

/* A check under way, and the verdict it leads to. Loop thread. */
struct backend_health {
    struct loop_timer timer;
    struct dial dial;
    struct conn conn;
    struct loop_fd source;
    int64_t begun_ns;
    size_t sent;
    char answer[256];
    size_t answered;
    unsigned passed, failed; /* in a row */
    unsigned down_checks;
    bool checking;
    struct addresses *addresses;
};

struct backend {
    struct list link; /* in upstream->leaving */
    struct upstream *upstream;
    struct hostport hostport;
    struct pool *pool;
    struct backend_health health;
    struct resolver_query *query;
    int64_t resolved_ns;
    _Atomic unsigned references;
    _Atomic uint32_t active;

    /* shared, under the upstream's lock */
    struct addresses *addresses;
    uint32_t weight;
    bool up, draining, removed;
    int64_t up_since_ns; /* for slow start; 0: from the beginning */
    int64_t ejected_until_ns;
    unsigned failures_in_row, ejections_in_row;
    double smooth_ns, deviation_ns; /* of dials, RFC 6298 */
    char reason[128];

    struct metric chosen, failures, ejections, checks, check_failures, active_now, up_now;
    struct metric_histogram connect_seconds, check_seconds;
    char name[HOSTPORT_TEXT_SIZE];
};

/* ---- upstream_backend.c ---- */
int backend_create(struct upstream *upstream, const struct hostport *hostport, uint32_t weight,
                   struct backend **ret_backend, struct error *error);
void backend_destroy(struct backend *backend);
/* Its series end, for another may come that has its name. */
void backend_finish_metrics(struct backend *backend);
void backend_set_addresses(struct backend *backend, const struct address_list *list);
/* For the log. Not under the lock. */
void backend_tell(const struct backend *backend, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
bool backend_is_ejected_locked(const struct backend *backend, int64_t now_ns);

/* ---- upstream_choose.c ---- */
/* Wakes up to `most` of those who wait, as far as places are free; all when no backend is well. */
void upstream_wake_locked(struct upstream *upstream, size_t most);
void upstream_wake(struct upstream *upstream);
/* Whether another one takes connections. */
bool upstream_has_alternative_locked(const struct upstream *upstream,
                                     const struct backend *backend);

/* ---- upstream_health.c ---- */
void backend_health_init(struct backend *backend);
void backend_health_start(struct backend *backend);
/* A check now: its users report trouble. */
void backend_health_hurry(struct backend *backend);
void backend_health_stop(struct backend *backend);

/* ---- upstream_warm.c ---- */
void upstream_warm(struct upstream *upstream);
void upstream_warm_stop(struct upstream *upstream, const struct backend *backend);
