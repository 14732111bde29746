/*
 * The dialing end: keeps `capacity` connections ready. A round of dials is made each `interval`.
 *
 * Capacity, from min to max: after a round in which connections were replaced that had been taken
 * or lost, it grows by a quarter where more than 80 % of the dials succeeded, and shrinks by a
 * quarter where less than 20 % did; ready ones are not closed for that. Interval, from min to max:
 * it shrinks by a quarter where less than 20 % of the capacity is ready when a round begins, and
 * grows by a quarter where more than 80 % is. After a failure one dial at a time is made, with
 * exponential backoff, until one succeeds.
 *
 * Loop thread, but for what is marked "any thread".
 */
#pragma once

#include "base/metrics.h"
#include "loop/loop.h"
#include "net/address.h"
#include "net/resolver.h"
#include "net/tls.h"
#include "pools/netpool.h"
#include "pools/pool_report.h"
#include "pools/pool_request.h"

struct netpool_client;

struct netpool_client_options {
    const char *name;          /* in metrics and messages; copied */
    struct loop *loop;         /* borrowed, like the three below */
    struct metrics *metrics;   /* or NULL */
    struct resolver *resolver; /* or NULL where the host is an IP address */
    struct tls_context *tls;   /* NULL: plain; unverified or verified as the context says */
    struct hostport server;    /* the host is also the name that the certificate must have */
    uint32_t min_capacity, max_capacity;
    int64_t min_interval_ns, max_interval_ns;
    int64_t dial_timeout_ns; /* connecting, TLS and greeting together; 0: 5 s */
    int64_t retry_limit_ns;  /* longest pause after failures; 0: 30 s */
    void (*on_error)(const char *text, void *data); /* a dial failed; optional */
    void *data;
};

int netpool_client_create(const struct netpool_client_options *options,
                          struct netpool_client **ret_client, struct error *error)
    __attribute__((warn_unused_result));
/* Requests must have ended. NULL is ignored. */
void netpool_client_destroy(struct netpool_client *client);

/* Takes the one with this id, or any (id NULL); waits up to timeout_ns for it to be ready (negative:
 * for ever). What it was sent by the peer meanwhile is still to be read. -ETIMEDOUT, -ESHUTDOWN. Any
 * thread but the loop's. */
int netpool_client_get(struct netpool_client *client, const char *id, int64_t timeout_ns,
                       struct netpool_conn *ret_conn, struct error *error)
    __attribute__((warn_unused_result));
/* The same for a loop, which may be another one: see netpool_get_start(). */
struct pool *netpool_client_pool(struct netpool_client *client);

/* Dials no more and wakes all who wait with -ESHUTDOWN. Any thread. */
void netpool_client_cancel(struct netpool_client *client);
/* Closes all that are ready. Any thread. */
void netpool_client_flush(struct netpool_client *client);
/* Whether one is ready; how many are; the present settings. Any thread. */
bool netpool_client_ready(struct netpool_client *client);
uint32_t netpool_client_active(struct netpool_client *client);
uint32_t netpool_client_capacity(const struct netpool_client *client);
int64_t netpool_client_interval_ns(const struct netpool_client *client);
