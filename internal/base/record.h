/*
 * A record is one captured line; an origin is the container that wrote it. Plain views: they own
 * nothing, and the bytes live as long as the call that hands them over says.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum record_stream { RECORD_STDOUT = 1, RECORD_STDERR = 2 };

enum record_flags {
    RECORD_TRUNCATED = 1U << 0,  /* longer than capture.max_line; the rest was dropped */
    RECORD_NO_NEWLINE = 1U << 1, /* the container ended it without a newline */
};

struct record {
    int64_t time_ns;  /* the daemon's timestamp, nanoseconds since 1970 UTC */
    uint8_t stream;   /* enum record_stream; a TTY's output is stdout */
    uint8_t flags;    /* enum record_flags */
    const char *line; /* without its newline; any bytes */
    size_t line_bytes;
};

struct record_label {
    const char *key;
    const char *value;
};

struct record_origin {
    const char *daemon;       /* configured name */
    const char *container_id; /* 64 hexadecimal digits */
    const char *name;         /* without the leading slash */
    const char *image;
    const struct record_label *labels;
    size_t label_count;
};
