/* Frames: every way of cutting an answer into chunks gives the same pieces. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/record.h"
#include "base/timestamp.h"
#include "process/frames.h"

#define T1 "2026-11-21T04:41:00.123456789Z "
#define T2 "2026-11-21T04:41:00.123456790Z "
#define T1_NS INT64_C(1795236060123456789)

/* What came out, one text: `stream time_ns size:bytes;`. */
struct heard {
    char text[65536];
    struct buf buf;
    size_t pieces;
    uint8_t stream;
    int64_t time_ns;
    size_t size;
    char first[64];
};

static struct heard heard;

static void hear_piece(uint8_t stream, int64_t time_ns, const char *bytes, size_t size, void *data)
{
    struct heard *h = data;
    h->pieces++;
    h->stream = stream;
    h->time_ns = time_ns;
    h->size = size;
    size_t kept = size < sizeof(h->first) - 1 ? size : sizeof(h->first) - 1;
    memcpy(h->first, bytes, kept);
    h->first[kept] = '\0';
    if (buf_printf(&h->buf, "%u %lld %zu:", stream, (long long)time_ns, size) != 0 ||
        buf_append(&h->buf, bytes, size) != 0 || buf_append_str(&h->buf, ";") != 0) {
        fail_msg("the test's own buffer is full");
    }
}

static void hear_error(const char *text, size_t size, void *data)
{
    struct heard *h = data;
    if (buf_printf(&h->buf, "error %zu:", size) != 0 || buf_append(&h->buf, text, size) != 0) {
        fail_msg("the test's own buffer is full");
    }
}

static void begin(struct frames *frames, bool tty, size_t limit_bytes)
{
    buf_init_fixed(&heard.buf, heard.text, sizeof(heard.text));
    heard.pieces = 0;
    frames_init(frames, &(struct frames_options){.tty = tty,
                                                 .limit_bytes = limit_bytes,
                                                 .on_piece = hear_piece,
                                                 .on_daemon_error = hear_error,
                                                 .data = &heard});
}

/* Feeds in chunks of `step` bytes after a first one of `first`; what came is in `heard`. */
static void feed(bool tty, size_t limit_bytes, const struct buf *input, size_t first, size_t step)
{
    struct frames frames;
    struct error error = {""};
    int rc = 0;
    begin(&frames, tty, limit_bytes);
    for (size_t at = 0; rc == 0 && at < input->size;) {
        size_t take = at == 0 ? first : step;
        take = take < input->size - at ? take : input->size - at;
        rc = frames_feed(&frames, input->data + at, take, &error);
        at += take;
    }
    frames_end(&frames);
    frames_finish(&frames);
    if (rc != 0) {
        fail_msg("%d: %s", rc, error.text);
    }
}

static void put_frame(struct buf *input, uint8_t stream, const char *bytes, size_t size)
{
    const unsigned char header[8] = {stream,
                                     0,
                                     0,
                                     0,
                                     0,
                                     (unsigned char)(size >> 16),
                                     (unsigned char)(size >> 8),
                                     (unsigned char)size};
    assert_int_equal(buf_append(input, header, sizeof(header)), 0);
    assert_int_equal(buf_append(input, bytes, size), 0);
}

static void put_text(struct buf *input, uint8_t stream, const char *text)
{
    put_frame(input, stream, text, strlen(text));
}

static char input_storage[65536];

static void multiplexed_input(struct buf *input)
{
    buf_init_fixed(input, input_storage, sizeof(input_storage));
    put_text(input, 1, T1 "first\n");
    put_text(input, 2, T2 "\n");
    put_text(input, 1, "");
    put_text(input, 3, "error from daemon in stream: it broke\n");
    put_text(input, 0, "2026-11-21T04:41:01.5Z stdin counts as stdout\n");
    put_text(input, 1, "no time at all\n");
    put_frame(input, 2, T1 "nul\0and \xff\n", sizeof(T1 "nul\0and \xff\n") - 1);
    put_text(input, 1, T1 "a line longer than the limit of the second run is cut there\n");
    put_text(input, 1, T1);
}

static void check_all_splits(bool tty, size_t limit_bytes, const struct buf *input)
{
    static char whole[65536];
    feed(tty, limit_bytes, input, input->size, input->size);
    size_t size = heard.buf.size;
    memcpy(whole, heard.text, size);
    for (size_t first = 1; first < input->size; first++) {
        feed(tty, limit_bytes, input, first, input->size);
        if (heard.buf.size != size || memcmp(heard.text, whole, size) != 0) {
            fail_msg("another result when split at %zu", first);
        }
    }
    for (size_t step = 1; step < 40; step++) {
        feed(tty, limit_bytes, input, step, step);
        if (heard.buf.size != size || memcmp(heard.text, whole, size) != 0) {
            fail_msg("another result in chunks of %zu", step);
        }
    }
}

static void a_frame_split_at_every_byte_gives_the_same_pieces(void **state)
{
    (void)state;
    struct buf input;
    multiplexed_input(&input);
    check_all_splits(false, 1 << 20, &input);
    check_all_splits(false, 50, &input);
    check_all_splits(false, 5, &input);
}

static void tty_output_split_at_every_byte_gives_the_same_pieces(void **state)
{
    (void)state;
    static const char text[] = T1 "one\r\n" T2 "two\n\n" T1 "\r\n"
                                  "without a time\r\n" T2 "a\rb\r\r\n" T1 "last";
    struct buf input;
    buf_init_fixed(&input, input_storage, sizeof(input_storage));
    assert_int_equal(buf_append(&input, text, sizeof(text) - 1), 0);
    check_all_splits(true, 1 << 20, &input);
    check_all_splits(true, 40, &input);
    check_all_splits(true, 1, &input);
}

static void the_pieces_are_those_that_were_sent(void **state)
{
    (void)state;
    struct buf input;
    buf_init_fixed(&input, input_storage, sizeof(input_storage));
    put_text(&input, 1, T1 "first\n");
    put_text(&input, 2, T2 "\n");
    put_text(&input, 3, "it broke");
    feed(false, 1 << 20, &input, input.size, input.size);
    assert_string_equal(buf_terminated(&heard.buf), "1 1795236060123456789 6:first\n;"
                                                    "2 1795236060123456790 1:\n;"
                                                    "error 8:it broke");
}

static void tty_lines_lose_the_carriage_return_of_the_terminal(void **state)
{
    (void)state;
    static const char text[] = T1 "one\r\n" T2 "a\rb\r\n" T1 "last";
    struct buf input;
    buf_init_fixed(&input, input_storage, sizeof(input_storage));
    assert_int_equal(buf_append(&input, text, sizeof(text) - 1), 0);
    feed(true, 1 << 20, &input, input.size, input.size);
    assert_string_equal(buf_terminated(&heard.buf), "1 1795236060123456789 4:one\n;"
                                                    "1 1795236060123456790 4:a\rb\n;"
                                                    "1 1795236060123456789 4:last;");
}

static void a_long_tty_line_is_given_in_the_pieces_that_the_daemon_cut(void **state)
{
    (void)state;
    struct buf input;
    buf_init_fixed(&input, input_storage, sizeof(input_storage));
    static char body[16384];
    memset(body, 'x', sizeof(body));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(buf_append_str(&input, T1), 0);
        assert_int_equal(buf_append(&input, body, sizeof(body)), 0);
    }
    assert_int_equal(buf_append_str(&input, T1 "end\r\n" T2 "next\r\n"), 0);
    feed(true, 1 << 20, &input, 1000, 1000);
    assert_int_equal(heard.pieces, 4);
    assert_int_equal(heard.time_ns, T1_NS + 1);
    assert_string_equal(heard.first, "next\n");
}

static void check_one(const char *text, int64_t time_ns, const char *rest)
{
    struct buf input;
    buf_init_fixed(&input, input_storage, sizeof(input_storage));
    put_text(&input, 1, text);
    feed(false, 1 << 20, &input, input.size, input.size);
    assert_int_equal(heard.pieces, 1);
    assert_true(heard.time_ns == time_ns);
    assert_string_equal(heard.first, rest);
}

static void a_timestamp_may_be_written_in_any_form_of_rfc_3339(void **state)
{
    (void)state;
    const int64_t second = T1_NS / NS_PER_SECOND * NS_PER_SECOND;
    check_one("2026-11-21T04:41:00.123456789Z a", T1_NS, "a");
    check_one("2026-11-21T04:41:00Z a", second, "a");
    check_one("2026-11-21T04:41:00.5Z  a", second + 500000000, " a");
    check_one("2026-11-21T04:41:00.123Z a", second + 123000000, "a");
    check_one("2026-11-21T06:41:00.123456789+02:00 a", T1_NS, "a");
    check_one("1969-12-31T23:59:59.250000000Z a", -750000000, "a");
}

static void what_is_no_timestamp_stays_in_the_line(void **state)
{
    (void)state;
    static const char *const texts[] = {"hello world\n",
                                        "2026-11-21T04:41:00.123456789Z",
                                        "2026-11-21T04:41:00.12x456789Z a",
                                        "2026-11-21T04:41:00.123456789Zx a",
                                        " ",
                                        "2026-11-21 04:41:00Z a"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        check_one(texts[i], 0, texts[i]);
    }
    /* Not even where the text of the last second is still empty. */
    struct buf input;
    char zeros[] = "0000000000000000000.123456789Z a";
    memset(zeros, 0, 19);
    buf_init_fixed(&input, input_storage, sizeof(input_storage));
    put_frame(&input, 1, zeros, sizeof(zeros) - 1);
    feed(false, 1 << 20, &input, input.size, input.size);
    assert_int_equal(heard.size, sizeof(zeros) - 1);
}

static void a_piece_without_a_time_has_that_of_the_one_before_it(void **state)
{
    (void)state;
    struct buf input;
    struct frames frames;
    buf_init_fixed(&input, input_storage, sizeof(input_storage));
    put_text(&input, 1, T1 "a\n");
    put_text(&input, 1, "b\n");
    begin(&frames, false, 1000);
    int rc = frames_feed(&frames, input.data, input.size, NULL);
    uint64_t without = frames.without_time;
    frames_finish(&frames);
    assert_int_equal(rc, 0);
    assert_int_equal(without, 1);
    assert_true(heard.time_ns == T1_NS);
}

/* Two lines within one second, where the second was read by the fast way, and the next second. */
static void each_of_many_lines_has_its_own_time(void **state)
{
    (void)state;
    struct frames frames;
    begin(&frames, false, 1000);
    for (int64_t i = -3000; i < 3000; i++) {
        int64_t time_ns = i * 333333333;
        char stamp[TIMESTAMP_TEXT_SIZE];
        char text[64];
        struct buf input;
        timestamp_format(time_ns, 9, stamp);
        (void)snprintf(text, sizeof(text), "%s x\n", stamp);
        buf_init_fixed(&input, input_storage, sizeof(input_storage));
        put_text(&input, 1, text);
        buf_clear(&heard.buf);
        assert_int_equal(frames_feed(&frames, input.data, input.size, NULL), 0);
        if (heard.time_ns != time_ns || strcmp(heard.first, "x\n") != 0) {
            fail_msg("%s: %lld", text, (long long)heard.time_ns);
        }
    }
    frames_finish(&frames);
}

static void a_header_that_docker_does_not_write_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"\4\0\0\0\0\0\0\1", "\1\1\0\0\0\0\0\1", "\1\0\1\0\0\0\0\1",
                                      "\1\0\0\1\0\0\0\1", "2026-11-"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct frames frames;
        struct error error = {""};
        begin(&frames, false, 1000);
        int rc = frames_feed(&frames, bad[i], 8, &error);
        frames_finish(&frames);
        assert_int_equal(rc, -EPROTO);
        assert_non_null(strstr(error.text, "multiplexed"));
        assert_int_equal(heard.pieces, 0);
    }
}

static void a_frame_over_the_limit_is_cut_and_the_next_one_is_whole(void **state)
{
    (void)state;
    struct buf input;
    buf_init_fixed(&input, input_storage, sizeof(input_storage));
    put_text(&input, 1, T1 "0123456789\n");
    put_text(&input, 1, T2 "next\n");
    feed(false, 36, &input, 7, 3);
    assert_string_equal(buf_terminated(&heard.buf), "1 1795236060123456789 5:01234;"
                                                    "1 1795236060123456790 5:next\n;");
}

static void an_enormous_frame_takes_no_enormous_memory(void **state)
{
    (void)state;
    struct frames frames;
    static char chunk[4096];
    begin(&frames, false, 1000);
    int rc = frames_feed(&frames, "\1\0\0\0\xff\xff\xff\xff", 8, NULL);
    for (int i = 0; rc == 0 && i < 1000; i++) {
        rc = frames_feed(&frames, chunk, sizeof(chunk), NULL);
    }
    bool inside = frames_is_inside(&frames);
    size_t capacity = frames.body.capacity;
    frames_finish(&frames);
    assert_int_equal(rc, 0);
    assert_true(inside);
    assert_true(capacity <= 2048);
}

static void between_frames_it_is_not_inside_one(void **state)
{
    (void)state;
    struct frames frames;
    struct buf input;
    buf_init_fixed(&input, input_storage, sizeof(input_storage));
    put_text(&input, 1, T1 "a\n");
    begin(&frames, false, 1000);
    assert_false(frames_is_inside(&frames));
    for (size_t i = 0; i < input.size; i++) {
        int rc = frames_feed(&frames, input.data + i, 1, NULL);
        bool inside = frames_is_inside(&frames);
        if (rc != 0 || inside != (i + 1 < input.size)) {
            frames_finish(&frames);
            fail_msg("byte %zu: %d, inside %d", i, rc, inside);
        }
    }
    frames_finish(&frames);
}

static void behind_an_empty_frame_it_is_not_inside_one(void **state)
{
    (void)state;
    struct frames frames;
    begin(&frames, false, 1000);
    int rc = frames_feed(&frames, "\1\0\0\0\0\0\0\0", 8, NULL);
    bool inside = frames_is_inside(&frames);
    frames_finish(&frames);
    assert_int_equal(rc, 0);
    assert_false(inside);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_split_at_every_byte_gives_the_same_pieces),
        cmocka_unit_test(tty_output_split_at_every_byte_gives_the_same_pieces),
        cmocka_unit_test(the_pieces_are_those_that_were_sent),
        cmocka_unit_test(tty_lines_lose_the_carriage_return_of_the_terminal),
        cmocka_unit_test(a_long_tty_line_is_given_in_the_pieces_that_the_daemon_cut),
        cmocka_unit_test(a_timestamp_may_be_written_in_any_form_of_rfc_3339),
        cmocka_unit_test(what_is_no_timestamp_stays_in_the_line),
        cmocka_unit_test(a_piece_without_a_time_has_that_of_the_one_before_it),
        cmocka_unit_test(each_of_many_lines_has_its_own_time),
        cmocka_unit_test(a_header_that_docker_does_not_write_is_refused),
        cmocka_unit_test(a_frame_over_the_limit_is_cut_and_the_next_one_is_whole),
        cmocka_unit_test(an_enormous_frame_takes_no_enormous_memory),
        cmocka_unit_test(between_frames_it_is_not_inside_one),
        cmocka_unit_test(behind_an_empty_frame_it_is_not_inside_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
