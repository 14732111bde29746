/*
 * Timers of a loop; monotonic, in nanoseconds. A timer is embedded in its owner, who disarms it
 * before it goes. Loop thread only.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "loop/loop.h"

struct loop_timer;
typedef void (*loop_timer_fn)(struct loop_timer *timer, void *data);

/* A node of an intrusive heap, so that arming takes no memory and can't fail. */
struct loop_timer {
    struct loop *loop;
    loop_timer_fn handle;
    void *data;
    int64_t due_ns;
    uint64_t armed_as; /* number of the arming: equal times run in this order */
    bool armed;
    struct loop_timer *child;   /* first one */
    struct loop_timer *sibling; /* to the right */
    struct loop_timer *back;    /* left sibling, or the parent of a first child */
};

void loop_timer_init(struct loop *loop, struct loop_timer *timer, loop_timer_fn handle, void *data);
/* One shot, delay_ns from now; arms again when armed already. */
void loop_timer_arm(struct loop_timer *timer, int64_t delay_ns);
void loop_timer_disarm(struct loop_timer *timer);
static inline bool loop_timer_armed(const struct loop_timer *timer)
{
    return timer->armed;
}
