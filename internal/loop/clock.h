/*
 * Where time comes from. Timers use the monotonic clock; the wall clock is data only.
 * The real clock may be read from any thread; the fake one belongs to one test thread.
 */
#pragma once

#include <stdint.h>

struct clock {
    int64_t (*monotonic_ns)(const struct clock *clock);
    int64_t (*wall_ns)(const struct clock *clock);
};

/* CLOCK_MONOTONIC and CLOCK_REALTIME. */
const struct clock *clock_real(void);

/* The same as of the last tick of the kernel (CLOCK_MONOTONIC_COARSE: up to 4 ms late), which costs a
 * fifth of the time. */
const struct clock *clock_coarse(void);

/* A clock that stands still until a test moves it. The caller keeps it in place. */
struct clock_fake {
    struct clock base;
    int64_t monotonic;
    int64_t wall;
};
void clock_fake_init(struct clock_fake *fake, int64_t wall_ns);
void clock_fake_advance(struct clock_fake *fake, int64_t ns);

static inline int64_t clock_monotonic_ns(const struct clock *clock)
{
    return clock->monotonic_ns(clock);
}

static inline int64_t clock_wall_ns(const struct clock *clock)
{
    return clock->wall_ns(clock);
}
