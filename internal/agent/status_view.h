/*
 * What the agent's pages say, as text for people. Pure: JSON in, text out. One thread.
 */
#pragma once

#include "base/buf.h"
#include "base/json.h"

/* One look at the agent. */
struct status_snapshot {
    struct json *status;     /* /api/v1/status */
    struct json *containers; /* /api/v1/containers */
    int64_t at_ns;           /* monotonic */
};

void status_snapshot_finish(struct status_snapshot *snapshot);

struct status_view {
    const char *url;
    bool colour;
    int64_t now_ns; /* wall clock, for ages */
    /* The look before this one, for rates; NULL: none. */
    const struct status_snapshot *before;
};

/* 0 or what buf returned. */
int status_view_put(const struct status_view *view, const struct status_snapshot *snapshot,
                    struct buf *out) __attribute__((warn_unused_result));
