/* The three forms of a line, letter by letter. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "process/format.h"

static const struct record_origin origin = {
    .daemon = "local", .container_id = "0123", .name = "web-1", .image = "nginx:1"};

typedef int (*write_fn)(struct buf *out, const struct record_origin *from,
                        const struct record *record);

static int write_plain(struct buf *out, const struct record_origin *from,
                       const struct record *record)
{
    return format_text(out, from, record, &(struct format_text_style){.name_columns = 8});
}

static int write_coloured(struct buf *out, const struct record_origin *from,
                          const struct record *record)
{
    return format_text(out, from, record, &(struct format_text_style){.colour = true});
}

static struct record make_record(const char *line, size_t size, uint8_t stream, unsigned flags)
{
    return (struct record){.time_ns = 1795236060123456789,
                           .stream = stream,
                           .flags = (uint8_t)flags,
                           .line = line,
                           .line_bytes = size};
}

static void check(write_fn write, const struct record *record, const char *expected)
{
    char text[2048];
    struct buf out;
    buf_init(&out, 0);
    int rc = write(&out, &origin, record);
    size_t size = rc == 0 && out.size < sizeof(text) ? out.size : 0;
    if (size > 0) {
        memcpy(text, out.data, size);
    }
    text[size] = '\0';
    buf_finish(&out);
    assert_int_equal(rc, 0);
    assert_string_equal(text, expected);
}

#define CHECK(write, line, stream, flags, expected)                                                \
    do {                                                                                           \
        struct record record = make_record(line, sizeof(line) - 1, stream, flags);                 \
        check(write, &record, expected);                                                           \
    } while (0)

#define JSON_HEAD                                                                                  \
    "{\"time\":\"2026-11-21T04:41:00.123456789Z\",\"daemon\":\"local\",\"container\":{"            \
    "\"id\":\"0123\",\"name\":\"web-1\",\"image\":\"nginx:1\"},\"stream\":"
#define LOGFMT_HEAD                                                                                \
    "time=2026-11-21T04:41:00.123456789Z daemon=local container_id=0123 container=web-1 "          \
    "image=nginx:1 stream="

static void json_of_a_usual_line(void **state)
{
    (void)state;
    CHECK(format_json, "hello \"you\"", RECORD_STDOUT, 0,
          JSON_HEAD "\"stdout\",\"line\":\"hello \\\"you\\\"\"}\n");
    CHECK(format_json, "", RECORD_STDERR, RECORD_NO_NEWLINE,
          JSON_HEAD "\"stderr\",\"line\":\"\"}\n");
    CHECK(format_json, "a", RECORD_STDOUT, RECORD_TRUNCATED,
          JSON_HEAD "\"stdout\",\"line\":\"a\",\"truncated\":true}\n");
}

static void json_of_a_line_that_is_not_utf8_has_its_exact_bytes_in_base64(void **state)
{
    (void)state;
    CHECK(format_json, "\xff", RECORD_STDOUT, 0,
          JSON_HEAD "\"stdout\",\"line\":\"\xef\xbf\xbd\",\"line_base64\":\"/w==\"}\n");
    CHECK(format_json, "a\xfe", RECORD_STDOUT, 0,
          JSON_HEAD "\"stdout\",\"line\":\"a\xef\xbf\xbd\",\"line_base64\":\"Yf4=\"}\n");
    CHECK(format_json,
          "a\xfe"
          "b\0c\x80",
          RECORD_STDOUT, RECORD_TRUNCATED,
          JSON_HEAD "\"stdout\",\"line\":\"a\xef\xbf\xbd"
                    "b\\u0000c\xef\xbf\xbd\","
                    "\"truncated\":true,\"line_base64\":\"Yf5iAGOA\"}\n");
    CHECK(format_json, "gr\xc3\xbc\xc3\x9f", RECORD_STDOUT, 0,
          JSON_HEAD "\"stdout\",\"line\":\"gr\xc3\xbc\xc3\x9f\"}\n");
}

static void logfmt_quotes_what_needs_it(void **state)
{
    (void)state;
    CHECK(format_logfmt, "hello", RECORD_STDOUT, 0, LOGFMT_HEAD "stdout line=hello\n");
    CHECK(format_logfmt, "", RECORD_STDERR, 0, LOGFMT_HEAD "stderr line=\"\"\n");
    CHECK(format_logfmt, "a b=\"c\\\"", RECORD_STDOUT, RECORD_TRUNCATED,
          LOGFMT_HEAD "stdout truncated=true line=\"a b=\\\"c\\\\\\\"\"\n");
    CHECK(format_logfmt, "\x01\t\r\n\xff\x7f\xc3\xbc", RECORD_STDOUT, 0,
          LOGFMT_HEAD "stdout line=\"\\x01\\t\\x0d\\n\\xff\\x7f\xc3\xbc\"\n");
}

static void text_has_the_padded_name_and_the_bytes_as_they_are(void **state)
{
    (void)state;
    CHECK(write_plain, "a\x1b[2Jb\xff", RECORD_STDOUT, 0, "web-1    | a\x1b[2Jb\xff\n");
}

static void on_a_terminal_control_bytes_are_escaped_and_colours_are_not(void **state)
{
    (void)state;
    char text[512];
    struct buf out;
    struct record record = make_record(
        "\x1b[1;31mred\x1b[0m \x1b[2J\x1b]0;t\x07\r\x7f\xc2\x9b\xff\tz\x1b[31", 36, RECORD_STDOUT,
        0);
    record.line_bytes = strlen(record.line);
    buf_init_fixed(&out, text, sizeof(text));
    assert_int_equal(write_coloured(&out, &origin, &record), 0);
    const char *shown = strstr(buf_terminated(&out), " |\x1b[0m ");
    assert_non_null(shown);
    assert_string_equal(shown + 7,
                        "\x1b[1;31mred\x1b[0m \\x1b[2J\\x1b]0;t\\x07\\x0d\\x7f\\x9b\\xff\tz"
                        "\\x1b[31\x1b[0m\n");
}

static void what_does_not_fit_leaves_the_buffer_alone(void **state)
{
    (void)state;
    static const write_fn writes[] = {format_json, format_logfmt, write_plain, write_coloured};
    struct record record = make_record("a\xff b", 4, RECORD_STDERR, RECORD_TRUNCATED);
    for (size_t i = 0; i < sizeof(writes) / sizeof(writes[0]); i++) {
        char text[512];
        struct buf out;
        buf_init_fixed(&out, text, sizeof(text));
        assert_int_equal(writes[i](&out, &origin, &record), 0);
        size_t whole = out.size;
        for (size_t room = 2; room < whole + 2; room++) {
            buf_init_fixed(&out, text, room);
            assert_int_equal(buf_append_str(&out, "xy"), 0);
            assert_int_equal(writes[i](&out, &origin, &record), -E2BIG);
            assert_int_equal(out.size, 2);
        }
    }
}

static void kinds_are_parsed_from_their_words(void **state)
{
    (void)state;
    enum format_kind kind = FORMAT_TEXT;
    assert_int_equal(format_kind_parse("logfmt", &kind), 0);
    assert_int_equal(kind, FORMAT_LOGFMT);
    assert_int_equal(format_kind_parse("json", &kind), 0);
    assert_int_equal(kind, FORMAT_JSON);
    assert_int_equal(format_kind_parse("JSON", &kind), -EINVAL);
    assert_int_equal(format_kind_parse("", &kind), -EINVAL);
    assert_int_equal(kind, FORMAT_JSON);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_of_a_usual_line),
        cmocka_unit_test(json_of_a_line_that_is_not_utf8_has_its_exact_bytes_in_base64),
        cmocka_unit_test(logfmt_quotes_what_needs_it),
        cmocka_unit_test(text_has_the_padded_name_and_the_bytes_as_they_are),
        cmocka_unit_test(on_a_terminal_control_bytes_are_escaped_and_colours_are_not),
        cmocka_unit_test(what_does_not_fit_leaves_the_buffer_alone),
        cmocka_unit_test(kinds_are_parsed_from_their_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
