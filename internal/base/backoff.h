/*
 * Exponential backoff with jitter (as in "Exponential Backoff And Jitter", AWS Architecture Blog,
 * 2015): the next delay is uniform between half of the present ceiling and the ceiling ("equal
 * jitter"), or between 0 and the ceiling ("full jitter").
 * One owner, one thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct backoff {
    int64_t first_ns;
    int64_t limit_ns;
    unsigned failures;
    bool full_jitter;
};

/* The delay before the next attempt; each call counts one failure. */
int64_t backoff_next(struct backoff *backoff);
/* After a success. */
void backoff_reset(struct backoff *backoff);
/* Uniform in [0, bound); 0 when bound is 0 or less. Not for secrets. */
int64_t jitter(int64_t bound);
