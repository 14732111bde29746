/* What the test programs of the pool share: things to keep in it, a fixture with a clock that the test moves. */
#pragma once

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/timestamp.h"
#include "pools/pool.h"
#include "pools/pool_keeper.h"
#include "pools/pool_make.h"
#include "pools/pool_report.h"

/* A resource that knows what was done with it; `made` counts all that live. */
struct thing {
    int number;
    bool sick, stained;
};

struct maker {
    int made, alive, resets, checks;
    int fail; /* how many of the next creations fail */
};

static int create_thing(void *data, void **ret_resource, struct error *error)
{
    struct maker *maker = data;
    if (maker->fail > 0) {
        maker->fail--;
        error_set(error, "no things today");
        return -EIO;
    }
    struct thing *thing = calloc(1, sizeof(*thing));
    if (thing == NULL) {
        error_set(error, "out of memory");
        return -ENOMEM;
    }
    thing->number = ++maker->made;
    maker->alive++;
    *ret_resource = thing;
    return 0;
}

static void destroy_thing(void *data, void *resource)
{
    ((struct maker *)data)->alive--;
    free(resource);
}

static const struct pool_type plain_type = {.create = create_thing, .destroy = destroy_thing};
struct fixture {
    struct maker maker;
    struct clock_fake clock;
    struct pool *pool;
};

static void set_up(struct fixture *fixture, const struct pool_options *template)
{
    struct error error = {""};
    *fixture = (struct fixture){.pool = NULL};
    clock_fake_init(&fixture->clock, 0);
    struct pool_options options = *template;
    options.name = "things";
    options.type = options.type != NULL ? options.type : &plain_type;
    options.data = &fixture->maker;
    options.clock = &fixture->clock.base;
    assert_int_equal(pool_create(&options, &fixture->pool, &error), 0);
}

static void tear_down(struct fixture *fixture)
{
    pool_destroy(fixture->pool);
    assert_int_equal(fixture->maker.alive, 0);
}

static void advance(struct fixture *fixture, int64_t ns)
{
    clock_fake_advance(&fixture->clock, ns);
}

static const struct pool_wish at_once = {.holder = "test"};

static struct pool_lease take(struct fixture *fixture)
{
    struct pool_lease lease;
    struct error error = {""};
    assert_int_equal(pool_acquire(fixture->pool, &at_once, &lease, &error), 0);
    assert_non_null(lease.resource);
    return lease;
}

static void give(struct fixture *fixture, struct pool_lease lease)
{
    assert_int_equal(pool_release(fixture->pool, lease), 0);
}

static inline struct pool_stats stats_of(struct fixture *fixture)
{
    struct pool_stats stats;
    pool_report_stats(fixture->pool, &stats);
    return stats;
}

static inline bool has_number(const void *resource, const void *data)
{
    return ((const struct thing *)resource)->number == *(const int *)data;
}
