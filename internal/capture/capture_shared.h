/* What all containers and monitors of a capture share: options and counters. Private to this room. */
#pragma once

#include "base/metrics.h"
#include "capture/capture.h"
#include "capture/container.h"

struct capture_shared {
    struct capture_options options;
    bool stopping;
    bool paused; /* the streams are closed because the spool takes nothing */

    struct metric lines, bytes, truncated, gaps, repeated, daemon_errors;
    struct metric opened, active;
    struct metric ended[STREAM_END_COUNT];
    struct metric states[CONTAINER_STATE_COUNT];
    struct metric probes, events, bad_events, listings, connects;
    struct metric_histogram delay;
};
