/*
 * Exact resume over the log API: where a container's log was read up to, and which lines of a new
 * answer are new.
 *
 * dockerd gives each line of a stream a later timestamp than the one before it, and repeats lines
 * only from older files. podman may give many lines one timestamp. So a position is, per stream,
 * the timestamp of the last line and the number of lines that had it. Across the two streams the
 * order of the log is not the order of times, hence one mark each.
 *
 * An answer may begin in the middle of the log (`tail`). It is good only when its first line is
 * earlier than the last recorded one of its stream: then all lines with that one's time, and
 * everything behind them, are in it.
 *
 * Pure but for the memory of recent lines. One thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/record.h"

#define RESUME_POSITION_BYTES 58

struct resume_mark {
    int64_t time_ns; /* of the last line recorded */
    uint32_t count;  /* lines recorded with that time; 0: nothing recorded */
    int64_t high_ns; /* latest time recorded; above time_ns after a clock went back */
};

struct resume_recent; /* times and hashes of the last lines, for the daemons that repeat some */

struct resume {
    struct resume_mark marks[2]; /* stdout, stderr */
    bool open[2];                /* a line had begun and not ended at the position */
    int last;                    /* stream of the last line recorded: 0 or 1 */
    uint64_t recorded;           /* lines, of both streams together */
    int64_t floor_ns;            /* lines up to this time are not wanted; 0: none */

    /* within the present answer */
    bool partial;    /* it began with the last lines only */
    bool first;      /* no line of it was looked at yet */
    bool overlapped; /* it holds lines that were recorded before */
    bool gap;        /* it does not, though it should */
    bool accept_all; /* the mark is known to be gone: everything is new */
    bool seeking[2];
    uint32_t seen[2]; /* lines at the mark's time met so far */
    bool met[2];      /* a line of this stream was looked at */

    bool repeats; /* drop what the daemon repeats while it follows (API below 1.42) */
    struct resume_recent *recent[2];
};

enum resume_verdict {
    RESUME_NEW,
    RESUME_SEEN,      /* recorded in an earlier answer */
    RESUME_REPEATED,  /* recorded in this one */
    RESUME_NOT_PROVED /* this answer may have left out lines: ask for more of the log */
};

void resume_init(struct resume *resume);
void resume_finish(struct resume *resume);
/* Whether anything was recorded. */
bool resume_has_marks(const struct resume *resume);
/* Whether a partial answer is worth asking for: not when a long line was open, which no later line
 * can vouch for, and not when little was recorded, since the whole log is then little more than
 * what is wanted. */
bool resume_allows_partial(const struct resume *resume);
/* Whether only the mark itself, not the order of times, says what is new (the clock went back). */
bool resume_is_strict(const struct resume *resume);

/* A new answer begins. */
void resume_begin(struct resume *resume, bool partial);
/* Whether the judgement of this line depends on wall_ns, which costs a look at the clock. */
bool resume_needs_clock(const struct resume *resume, const struct record *record);
/* Looks at one line of it. wall_ns: the daemon's clock now. */
enum resume_verdict resume_judge(struct resume *resume, const struct record *record,
                                 int64_t wall_ns);
/* The line was recorded: moves the mark. */
void resume_record(struct resume *resume, const struct record *record);

size_t resume_encode(const struct resume *resume, unsigned char ret_bytes[RESUME_POSITION_BYTES]);
/* -EINVAL: not such a position. */
int resume_decode(struct resume *resume, const unsigned char *bytes, size_t size)
    __attribute__((warn_unused_result));
