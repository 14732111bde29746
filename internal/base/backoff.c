/* random() is seeded once per process; the state is the C library's own and locked there. */
#include "base/backoff.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

static pthread_once_t seed_once = PTHREAD_ONCE_INIT;

static void seed(void)
{
    unsigned value = 0;
    if (getrandom(&value, sizeof(value), GRND_NONBLOCK) != (ssize_t)sizeof(value)) {
        value = (unsigned)time(NULL);
    }
    srandom(value);
}

int64_t jitter(int64_t bound)
{
    (void)pthread_once(&seed_once, seed);
    if (bound <= 0) {
        return 0;
    }
    int64_t wide = (int64_t)random() << 31 | random();
    return wide % bound;
}

int64_t backoff_next(struct backoff *backoff)
{
    unsigned shift = backoff->failures < 20 ? backoff->failures : 20;
    backoff->failures++;
    int64_t ceiling = backoff->first_ns << shift;
    if (ceiling > backoff->limit_ns || ceiling <= 0) {
        ceiling = backoff->limit_ns;
    }
    int64_t least = backoff->full_jitter ? 0 : ceiling / 2;
    return least + jitter(ceiling - least + 1);
}

void backoff_reset(struct backoff *backoff)
{
    backoff->failures = 0;
}
