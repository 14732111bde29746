/* Both clocks behind one table of two functions. */
#include "loop/clock.h"

#include <time.h>

static int64_t read_clock(clockid_t id)
{
    struct timespec now = {0};
    (void)clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int64_t real_monotonic(const struct clock *clock)
{
    (void)clock;
    return read_clock(CLOCK_MONOTONIC);
}

static int64_t real_wall(const struct clock *clock)
{
    (void)clock;
    return read_clock(CLOCK_REALTIME);
}

const struct clock *clock_real(void)
{
    static const struct clock real = {real_monotonic, real_wall};
    return &real;
}

static int64_t coarse_monotonic(const struct clock *clock)
{
    (void)clock;
    return read_clock(CLOCK_MONOTONIC_COARSE);
}

static int64_t coarse_wall(const struct clock *clock)
{
    (void)clock;
    return read_clock(CLOCK_REALTIME_COARSE);
}

const struct clock *clock_coarse(void)
{
    static const struct clock coarse = {coarse_monotonic, coarse_wall};
    return &coarse;
}

static int64_t fake_monotonic(const struct clock *clock)
{
    return ((const struct clock_fake *)(const void *)clock)->monotonic;
}

static int64_t fake_wall(const struct clock *clock)
{
    return ((const struct clock_fake *)(const void *)clock)->wall;
}

void clock_fake_init(struct clock_fake *fake, int64_t wall_ns)
{
    *fake = (struct clock_fake){
        .base = {fake_monotonic, fake_wall}, .monotonic = 1000000000, .wall = wall_ns};
}

void clock_fake_advance(struct clock_fake *fake, int64_t ns)
{
    fake->monotonic += ns;
    fake->wall += ns;
}
