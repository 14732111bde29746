/*
 * fake_history: what a container has written, as a function instead of as bytes.
 *
 * The lines are kept as spans of lines alike; text, stream, sequence number and timestamp of each
 * follow from its place. What is stored by a real dockerd, and counted by `tail`, are records: a
 * line is one, a long line one for each 16 KiB. Records are numbered from 0 through all time;
 * rotation and truncation move the begin only. Single thread.
 */
#ifndef FAKE_HISTORY_H
#define FAKE_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAKE_PIECE_BYTES 16384

/* Lines to be added. All lines of a span have these in common. */
struct fake_span_options {
    int64_t base_ns; /* of the first line */
    int64_t step_ns;
    uint64_t group;        /* so many lines in a row share a timestamp; 0 and 1: none do */
    uint64_t stderr_every; /* 0 = all to stdout */
    uint64_t size;         /* of a line without newline */
    bool no_newline;
    bool interleave;  /* two lines: one on stdout, and one on stderr between its pieces */
    const char *text; /* this instead of the generated line; copied; size is its length */
    char text_stream; /* 'o' or 'e' */
};

struct fake_span {
    struct fake_span_options options;
    char *text;
    uint64_t first_record;
    uint64_t line_records;
    uint64_t lines;
    uint64_t first_out_seq;
    uint64_t first_err_seq;
};

struct fake_history {
    const char *name; /* borrowed until finish */
    bool tty;
    struct fake_span *spans;
    size_t span_count;
    uint64_t begin;
    int64_t last_ns; /* greatest timestamp since the clock was last set back */
    char *line;      /* the line rendered last, since its other pieces are likely to come next */
    size_t line_len;
    uint64_t line_of; /* its first record + 1 */
};

struct fake_record {
    char stream; /* 'o' or 'e' */
    int64_t time_ns;
    const char *data; /* with its newline, if it has one; until the next call */
    size_t len;
};

/* name is borrowed until finish. */
void fake_history_init(struct fake_history *history, const char *name, bool tty);
void fake_history_finish(struct fake_history *history);

/* The first record that is still there, and the one after the last. */
uint64_t fake_history_begin(const struct fake_history *history);
uint64_t fake_history_end(const struct fake_history *history);
/* The sequence number that the next line of that stream gets; the first is 1. */
uint64_t fake_history_next_seq(const struct fake_history *history, char stream);

void fake_history_add(struct fake_history *history, const struct fake_span_options *options,
                      uint64_t lines);
/* More lines of the last span, which must be there and of plain lines. */
void fake_history_extend(struct fake_history *history, uint64_t lines);
/* Only the last `keep` records remain. */
void fake_history_rotate(struct fake_history *history, uint64_t keep);
/* The next lines may be older than the last. */
void fake_history_clock_stepped(struct fake_history *history);

struct fake_record fake_history_record(struct fake_history *history, uint64_t record);
/* The first record from `from` on that is not older than since_ns; the end if there is none. */
uint64_t fake_history_seek(struct fake_history *history, uint64_t from, int64_t since_ns);

#endif
