/*
 * Takes the bytes of a daemon's log answer apart into pieces of lines.
 *
 * Two forms come over the wire (Docker Engine API, "ContainerAttach", stream format):
 *   multiplexed  [stream 1|2|3][0 0 0][length u32 big endian] then `length` bytes
 *   TTY          the bytes alone; everything counts as stdout
 * In both, the daemon puts `2026-11-21T04:41:00.123456789Z ` before each piece. A line longer than
 * 16,384 bytes comes in several pieces that share one timestamp (see lines.h). Stream 3 is text of
 * the daemon about an error of its own.
 *
 * Pure: no descriptors, no clock, no log. One thread at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

/* bytes end with '\n' when the piece ended its line. Views for the length of the call. */
typedef void (*frames_piece_fn)(uint8_t stream, int64_t time_ns, const char *bytes, size_t size,
                                void *data);
typedef void (*frames_error_fn)(const char *text, size_t size, void *data);

struct frames_options {
    bool tty;
    size_t limit_bytes; /* of one frame or TTY line; what is beyond is skipped */
    frames_piece_fn on_piece;
    frames_error_fn on_daemon_error;
    void *data;
};

struct frames {
    struct frames_options options;
    unsigned char header[8];
    size_t header_size;
    uint64_t left;   /* bytes of the present frame that have not come */
    struct buf body; /* collected of it; unused while frames lie whole in the input */
    /* the last whole second parsed, with its 19 bytes of text */
    char second_text[20];
    int64_t second_ns;
    int64_t last_time_ns[3]; /* by stream */
    uint64_t without_time;   /* pieces that had no timestamp */
};

void frames_init(struct frames *frames, const struct frames_options *options);
void frames_finish(struct frames *frames);
/* Calls back for each piece that is complete. -EPROTO with the reason when this can't be such an
 * answer, -ENOMEM; the object is of no use after either. */
int frames_feed(struct frames *frames, const char *bytes, size_t size, struct error *error)
    __attribute__((warn_unused_result));
/* The answer ended: gives out what a TTY wrote behind its last newline. */
void frames_end(struct frames *frames);
/* Whether the input ended within a frame. */
bool frames_is_inside(const struct frames *frames);
