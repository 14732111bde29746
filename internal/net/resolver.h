/*
 * Names to addresses without stopping a loop: a thread that calls getaddrinfo(3), which follows the
 * system's own rules (/etc/hosts, nsswitch, a container's DNS). One look-up at a time; the thread is
 * started by the first one. Loop thread only.
 */
#pragma once

#include "loop/loop.h"
#include "net/address.h"

struct resolver;
struct resolver_query;

/* rc as of address_resolve(); list and text are views that end with the call, like the query. */
typedef void (*resolver_fn)(int rc, const struct address_list *list, const char *text, void *data);

int resolver_create(struct loop *loop, struct resolver **ret_resolver)
    __attribute__((warn_unused_result));
/* Queries under way end without on_done. Waits for the look-up of the moment. NULL is ignored. */
void resolver_destroy(struct resolver *resolver);
/* on_done comes exactly once, from the loop. -ENOMEM, -EAGAIN (no thread can be had). */
int resolver_start(struct resolver *resolver, const struct hostport *hostport, resolver_fn on_done,
                   void *data, struct resolver_query **ret_query)
    __attribute__((warn_unused_result));
/* on_done will not come. NULL is ignored. */
void resolver_cancel(struct resolver_query *query);
