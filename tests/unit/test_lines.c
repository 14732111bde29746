/* Joining pieces: 16 KiB parts of both streams, the limit, and what ends a line. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "process/lines.h"

#define PIECE 16384

struct heard {
    size_t count;
    struct {
        int64_t time_ns;
        uint8_t stream;
        uint8_t flags;
        size_t size;
        char first, last;
    } records[32];
};

static void hear(const struct record *record, void *data)
{
    struct heard *heard = data;
    assert_true(heard->count < 32);
    size_t i = heard->count++;
    heard->records[i].time_ns = record->time_ns;
    heard->records[i].stream = record->stream;
    heard->records[i].flags = record->flags;
    heard->records[i].size = record->line_bytes;
    heard->records[i].first = record->line_bytes > 0 ? record->line[0] : '\0';
    heard->records[i].last = record->line_bytes > 0 ? record->line[record->line_bytes - 1] : '\0';
}

struct step {
    uint8_t stream;
    int64_t time_ns;
    char letter;
    size_t size; /* newline included */
    bool newline;
};

/* Plays the pieces, flushes, and ends; returns the first failure. */
static int play(size_t limit, const struct step *steps, size_t count, struct heard *ret)
{
    static char bytes[200000];
    struct lines lines;
    int rc = 0;
    *ret = (struct heard){0};
    lines_init(&lines, limit, hear, ret);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        memset(bytes, steps[i].letter, steps[i].size);
        if (steps[i].newline) {
            bytes[steps[i].size - 1] = '\n';
        }
        rc = lines_piece(&lines, steps[i].stream, steps[i].time_ns, bytes, steps[i].size);
    }
    if (rc == 0) {
        lines_flush(&lines);
    }
    lines_finish(&lines);
    return rc;
}

#define PLAY(limit, ret, ...)                                                                      \
    play((limit), (const struct step[]){__VA_ARGS__},                                              \
         sizeof((const struct step[]){__VA_ARGS__}) / sizeof(struct step), (ret))

static void check(const struct heard *heard, size_t i, uint8_t stream, size_t size, unsigned flags)
{
    assert_true(i < heard->count);
    assert_int_equal(heard->records[i].stream, stream);
    assert_int_equal(heard->records[i].size, size);
    assert_int_equal(heard->records[i].flags, flags);
}

static void whole_lines_are_records_without_their_newline(void **state)
{
    (void)state;
    struct heard heard;
    assert_int_equal(PLAY(1000, &heard, {1, 5, 'a', 4, true}, {2, 6, 'b', 1, true}), 0);
    assert_int_equal(heard.count, 2);
    check(&heard, 0, 1, 3, 0);
    check(&heard, 1, 2, 0, 0);
    assert_int_equal(heard.records[0].time_ns, 5);
    assert_int_equal(heard.records[1].time_ns, 6);
}

static void pieces_of_both_streams_are_joined_each_for_itself(void **state)
{
    (void)state;
    struct heard heard;
    assert_int_equal(PLAY(1 << 20, &heard, {1, 5, 'a', PIECE, false}, {2, 5, 'x', PIECE, false},
                          {1, 5, 'b', PIECE, false}, {2, 5, 'y', 10, true}, {1, 5, 'c', 3, true}),
                     0);
    assert_int_equal(heard.count, 2);
    check(&heard, 0, 2, PIECE + 9, 0);
    check(&heard, 1, 1, 2 * PIECE + 2, 0);
    assert_int_equal(heard.records[1].first, 'a');
    assert_int_equal(heard.records[1].last, 'c');
}

static void a_piece_with_another_time_begins_another_line(void **state)
{
    (void)state;
    struct heard heard;
    assert_int_equal(PLAY(1 << 20, &heard, {1, 5, 'a', PIECE, false}, {1, 6, 'b', PIECE, false},
                          {1, 6, 'c', 5, true}),
                     0);
    assert_int_equal(heard.count, 2);
    check(&heard, 0, 1, PIECE, RECORD_NO_NEWLINE);
    check(&heard, 1, 1, PIECE + 4, 0);
    assert_int_equal(heard.records[0].time_ns, 5);
    assert_int_equal(heard.records[1].time_ns, 6);
}

static void a_short_piece_is_complete_even_without_a_newline(void **state)
{
    (void)state;
    struct heard heard;
    assert_int_equal(PLAY(1 << 20, &heard, {1, 5, 'a', 8191, false}, {1, 5, 'b', 8192, false},
                          {1, 5, 'c', 7, false}),
                     0);
    assert_int_equal(heard.count, 2);
    check(&heard, 0, 1, 8191, RECORD_NO_NEWLINE);
    check(&heard, 1, 1, 8199, RECORD_NO_NEWLINE);
}

static void a_last_line_without_a_newline_comes_at_the_flush(void **state)
{
    (void)state;
    struct heard heard;
    assert_int_equal(PLAY(1 << 20, &heard, {2, 5, 'a', PIECE, false}, {1, 5, 'b', PIECE, false}),
                     0);
    assert_int_equal(heard.count, 2);
    check(&heard, 0, 1, PIECE, RECORD_NO_NEWLINE);
    check(&heard, 1, 2, PIECE, RECORD_NO_NEWLINE);
}

static void a_newline_of_its_own_ends_the_joined_line(void **state)
{
    (void)state;
    struct heard heard;
    assert_int_equal(PLAY(1 << 20, &heard, {1, 5, 'a', PIECE, false}, {1, 5, 'b', 1, true}), 0);
    assert_int_equal(heard.count, 1);
    check(&heard, 0, 1, PIECE, 0);
}

static void only_what_is_over_the_limit_is_cut_and_flagged(void **state)
{
    (void)state;
    struct heard heard;
    assert_int_equal(PLAY(100, &heard, {1, 5, 'a', 101, true}, {1, 6, 'b', 102, true},
                          {1, 7, 'c', 100, false}, {1, 8, 'd', 101, false}),
                     0);
    assert_int_equal(heard.count, 4);
    check(&heard, 0, 1, 100, 0);
    check(&heard, 1, 1, 100, RECORD_TRUNCATED);
    check(&heard, 2, 1, 100, RECORD_NO_NEWLINE);
    check(&heard, 3, 1, 100, RECORD_NO_NEWLINE | RECORD_TRUNCATED);
}

static void a_joined_line_is_cut_at_the_limit_too(void **state)
{
    (void)state;
    struct heard heard;
    assert_int_equal(PLAY(2 * PIECE, &heard, {1, 5, 'a', PIECE, false}, {1, 5, 'b', PIECE, false},
                          {1, 5, 'c', 1, true}, {1, 6, 'a', PIECE, false},
                          {1, 6, 'b', PIECE, false}, {1, 6, 'c', 2, true}, {1, 7, 'd', 2, true}),
                     0);
    assert_int_equal(heard.count, 3);
    check(&heard, 0, 1, 2 * PIECE, 0);
    check(&heard, 1, 1, 2 * PIECE, RECORD_TRUNCATED);
    assert_int_equal(heard.records[1].last, 'b');
    check(&heard, 2, 1, 1, 0);
}

static void a_cut_line_does_not_hold_more_than_the_limit(void **state)
{
    (void)state;
    static char bytes[PIECE];
    struct heard heard = {0};
    struct lines lines;
    int rc = 0;
    memset(bytes, 'x', sizeof(bytes));
    lines_init(&lines, 20000, hear, &heard);
    for (int i = 0; rc == 0 && i < 1000; i++) {
        rc = lines_piece(&lines, 1, 5, bytes, sizeof(bytes));
    }
    size_t capacity = lines.joins[0].text.capacity;
    bool open = lines_is_open(&lines, RECORD_STDOUT) && !lines_is_open(&lines, RECORD_STDERR);
    lines_flush(&lines);
    bool closed = !lines_is_open(&lines, RECORD_STDOUT);
    lines_finish(&lines);
    assert_int_equal(rc, 0);
    assert_true(capacity <= 65536);
    assert_true(open && closed);
    check(&heard, 0, 1, 20000, RECORD_NO_NEWLINE | RECORD_TRUNCATED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_lines_are_records_without_their_newline),
        cmocka_unit_test(pieces_of_both_streams_are_joined_each_for_itself),
        cmocka_unit_test(a_piece_with_another_time_begins_another_line),
        cmocka_unit_test(a_short_piece_is_complete_even_without_a_newline),
        cmocka_unit_test(a_last_line_without_a_newline_comes_at_the_flush),
        cmocka_unit_test(a_newline_of_its_own_ends_the_joined_line),
        cmocka_unit_test(only_what_is_over_the_limit_is_cut_and_flagged),
        cmocka_unit_test(a_joined_line_is_cut_at_the_limit_too),
        cmocka_unit_test(a_cut_line_does_not_hold_more_than_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
