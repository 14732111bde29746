/*
 * A service behind several backends: each has a pool of connections, and each new connection goes to one
 * that is well, by a strategy. Backends are added, drained and removed at run time; a connection in use is
 * never cut for that.
 *
 * A backend takes new connections while it is up (health checks say so), not ejected (its users
 * report failures) and not draining. After it came back it is given its full share slowly.
 *
 * Loop thread, but for what is marked "any thread".
 */
#pragma once

#include "base/metrics.h"
#include "loop/loop.h"
#include "net/conn.h"
#include "net/resolver.h"
#include "pools/balance.h"
#include "pools/pool.h"
#include "pools/upstream_status.h"

struct upstream;
struct backend;

struct upstream_health {
    int64_t interval_ns; /* 0: no checks. A quarter of it while a verdict is forming, up to four
                           * times while it stays down */
    int64_t timeout_ns;  /* of one check; 0: the connect time-out */
    unsigned rise, fall; /* checks in a row that change the verdict; 0: 2 and 2. A refused
                           * connection is a verdict at once */
    const char *send;    /* sent after connecting; NULL: connecting is enough */
    const char *expect;  /* the answer must contain it; NULL: any answer, where something is sent */
};

struct upstream_ejection {
    unsigned failures; /* reported in a row; 0: never ejected */
    int64_t first_ns;  /* the first ejection; doubles each time; 0: 1 s */
    int64_t limit_ns;  /* 0: 60 s */
};

struct upstream_options {
    const char *name;          /* in metrics and messages; copied */
    struct loop *loop;         /* borrowed, like the three below */
    struct metrics *metrics;   /* or NULL */
    struct resolver *resolver; /* or NULL where all hosts are IP addresses */
    struct tls_context *tls;   /* or NULL: plain */
    enum balance_strategy strategy;
    uint32_t connections;       /* most of each backend, in use and idle together */
    uint32_t warm;              /* kept ready, of each backend */
    int64_t idle_limit_ns;      /* of idle ones; 0: none */
    int64_t keep_alive_ns;      /* TCP keep-alive; 0: off */
    int64_t connect_timeout_ns; /* at most; it adapts to what a backend takes; 0: 5 s */
    int64_t slow_start_ns;      /* from a tenth to the full share; 0: at once */
    bool proxy_header;          /* checks begin with a PROXY header of their own (`LOCAL`) */
    struct upstream_health health;
    struct upstream_ejection ejection;
    int stop_fd; /* readable: blocking dials end; -1: none */
    /* A backend came, went, or changed its state; for the log. Optional. */
    void (*on_change)(const char *backend, const char *text, void *data);
    void *data;
};

int upstream_create(const struct upstream_options *options, struct upstream **ret_upstream,
                    struct error *error) __attribute__((warn_unused_result));
/* Nothing may be in use. NULL is ignored. */
void upstream_destroy(struct upstream *upstream);

/* host_port is its name; weight 1 to 1000. -EEXIST, -EINVAL, -ENOMEM. One that drains comes back. */
int upstream_add(struct upstream *upstream, const char *host_port, uint32_t weight,
                 struct error *error) __attribute__((warn_unused_result));
/* No new connections; those in use go on. -ENOENT. */
int upstream_drain(struct upstream *upstream, const char *host_port, struct error *error)
    __attribute__((warn_unused_result));
/* The same, and it is gone with its last connection. -ENOENT. */
int upstream_remove(struct upstream *upstream, const char *host_port, struct error *error)
    __attribute__((warn_unused_result));
struct upstream_spec {
    const char *host_port;
    uint32_t weight;
};
/* Makes these the backends: adds, removes, changes weights. All are looked at before anything is
 * changed: -EINVAL (which one, and why), -ENOMEM. */
int upstream_set(struct upstream *upstream, const struct upstream_spec *specs, size_t count,
                 struct error *error) __attribute__((warn_unused_result));
/* Backends, those that drain included. Any thread. */
size_t upstream_count(struct upstream *upstream);

/* ---- choosing; any thread ---- */

/* The strategy's choice among those that are well and not `tried`; one that is full only where all
 * are. It is held until backend_leave(). -EHOSTDOWN: none is left. */
int upstream_choose(struct upstream *upstream, struct backend *const *tried, size_t tried_count,
                    struct backend **ret_backend) __attribute__((warn_unused_result));
void backend_leave(struct backend *backend);
const char *backend_name(const struct backend *backend);
/* Its connections; the resources are struct upstream_conn (upstream_conn.h). */
struct pool *backend_pool(struct backend *backend);
/* What came of a dial: the time it took, or why it failed. */
void backend_report_success(struct backend *backend, int64_t elapsed_ns);
void backend_report_failure(struct backend *backend, const char *text);

/* ---- for threads: choosing and connecting in one; not the loop's thread ---- */

struct upstream_lease {
    struct backend *backend;
    struct pool_lease lease;
    struct conn *conn;
};
/* Waits up to timeout_ns in all, and tries every backend that is well. -EHOSTDOWN, -ETIMEDOUT,
 * -ECANCELED (stop_fd), or why the last one could not be reached. */
int upstream_acquire(struct upstream *upstream, int64_t timeout_ns,
                     struct upstream_lease *ret_lease, struct error *error)
    __attribute__((warn_unused_result));
/* broken: it is closed; else it is kept for the next. */
void upstream_release(const struct upstream_lease *lease, bool broken);
