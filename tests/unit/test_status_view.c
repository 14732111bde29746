/* What `status` shows, from the JSON of two looks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "agent/status_view.h"
#include "agent/table.h"

static const char status_text[] =
    "{\"version\":\"1.2.3\",\"ready\":false,\"waiting_for\":[\"no per\\u001bmission\"],"
    "\"daemons\":[{\"name\":\"local\",\"url\":\"unix:///x\",\"connected\":true,\"server\":\"D/1\","
    "\"api_version\":\"1.41\",\"containers\":2,\"trouble\":null}],\"streams_active\":1,"
    "\"pool\":{\"open\":3,\"active\":2,\"idle\":1,\"waiting\":0,\"requests\":1200,\"errors\":0,"
    "\"calls\":1000,\"calls_reused\":995},"
    "\"spool\":{\"state\":\"writing\",\"bytes\":1536,\"limit_bytes\":2147483648,\"segments\":1,"
    "\"records\":%RECORDS%,\"oldest_record\":0,\"pending_bytes\":0,\"frames_damaged\":0},"
    "\"process\":{\"uptime_seconds\":90061,\"open_fds\":9,\"max_fds\":1024,\"threads\":3,"
    "\"resident_bytes\":1048576,\"cpu_ms\":1500},"
    "\"sinks\":[{\"name\":\"central\",\"type\":\"loki\",\"state\":\"denied\",\"lag_lines\":1234567,"
    "\"lag_bytes\":10485760,\"delivered_lines\":%RECORDS%,\"retries\":3,\"dead_letters\":1,"
    "\"problem\":\"401 no\"}]}";
static const char containers_text[] =
    "{\"containers\":[{\"id\":\"b\",\"name\":\"web\",\"image\":\"i\",\"log_driver\":\"json-file\","
    "\"state\":\"following\",\"lines\":%RECORDS%,\"gaps\":0,"
    "\"last_line_time\":\"1970-01-01T00:00:01.000000000Z\"},"
    "{\"id\":\"a\",\"name\":\"db\",\"image\":\"i\",\"log_driver\":\"none\",\"state\":\"unreadable\","
    "\"lines\":0,\"gaps\":2,\"last_line_time\":null}]}";

static struct json *parse_with(const char *text, const char *records)
{
    struct buf out;
    struct json *root = NULL;
    buf_init(&out, 0);
    for (const char *at; (at = strstr(text, "%RECORDS%")) != NULL; text = at + 9) {
        assert_int_equal(buf_append(&out, text, (size_t)(at - text)), 0);
        assert_int_equal(buf_append_str(&out, records), 0);
    }
    assert_int_equal(buf_append_str(&out, text), 0);
    assert_int_equal(json_parse(out.data, out.size, &root, NULL), 0);
    buf_finish(&out);
    return root;
}

static struct status_snapshot look(const char *records, int64_t at_ns)
{
    return (struct status_snapshot){.status = parse_with(status_text, records),
                                    .containers = parse_with(containers_text, records),
                                    .at_ns = at_ns};
}

static void assert_has(const char *text, const char *wanted)
{
    if (strstr(text, wanted) == NULL) {
        fail_msg("'%s' is not in:\n%s", wanted, text);
    }
}

static void shows_all_parts_aligned_and_without_rates_at_first(void **state)
{
    (void)state;
    struct status_snapshot now = look("1000", 0);
    struct status_view view = {.url = "http://h:1", .now_ns = INT64_C(91000000000)};
    struct buf out;
    buf_init(&out, 0);
    assert_int_equal(status_view_put(&view, &now, &out), 0);
    const char *text = buf_terminated(&out);
    assert_has(text, "log_capturer 1.2.3 at http://h:1: not ready, up 1d 1h\n  no per?mission\n");
    assert_has(text, "  local   connected  1.41  D/1              2  unix:///x\n");
    assert_has(text, "1 open; containers: 1 following, 1 unreadable\n");
    assert_has(text, "1,200 requests, 0 errors; 99.5 % of calls reused");
    assert_has(text, "1.5 KiB of 2.0 GiB in 1 segment; 1,000 lines; 0 B pending");
    assert_has(text, "9 of 1,024 files open, 3 threads, 1.0 MiB resident, 1.5s CPU\n");
    assert_has(text, "  central  loki  denied  1,234,567   10.0 MiB      1,000        -        3  "
                     "           1\n  central: 401 no\n");
    assert_has(text, "  db         unreadable      0        -     2          -  none       i\n"
                     "  web        following   1,000        -     0     1m 30s  json-file  i\n");
    assert_null(strchr(text, '\033'));
    buf_finish(&out);
    status_snapshot_finish(&now);
}

static void shows_rates_between_two_looks(void **state)
{
    (void)state;
    struct status_snapshot before = look("1000", 0);
    struct status_snapshot now = look("3000", INT64_C(2000000000));
    struct status_view view = {.url = "u", .colour = true, .before = &before};
    struct buf out;
    buf_init(&out, 0);
    assert_int_equal(status_view_put(&view, &now, &out), 0);
    const char *text = buf_terminated(&out);
    assert_has(text, "3,000 lines, 1,000 lines/s;");
    assert_has(text, "\033[32mfollowing\033[0m   3,000    1,000     0");
    assert_has(text, "3,000    1,000        3"); /* the sink */
    buf_finish(&out);
    status_snapshot_finish(&before);
    status_snapshot_finish(&now);
}

static void shows_what_it_can_of_a_strange_answer(void **state)
{
    (void)state;
    struct status_snapshot now = {0};
    struct status_view view = {.url = "u"};
    struct buf out;
    buf_init(&out, 0);
    assert_int_equal(json_parse("{\"daemons\":[3],\"sinks\":{\"a\":1}}", 31, &now.status, NULL), 0);
    assert_int_equal(json_parse("[]", 2, &now.containers, NULL), 0);
    assert_int_equal(status_view_put(&view, &now, &out), 0);
    buf_finish(&out);
    status_snapshot_finish(&now);
}

static void writes_values_for_people(void **state)
{
    (void)state;
    char text[TABLE_TEXT_SIZE];
    assert_string_equal(human_count(0, text), "0");
    assert_string_equal(human_count(-1234567, text), "-1,234,567");
    assert_string_equal(human_count(999, text), "999");
    assert_string_equal(human_bytes(1023, text), "1023 B");
    assert_string_equal(human_bytes(1048575, text), "1.0 MiB");
    assert_string_equal(human_duration(INT64_C(400000000), text), "0.4s");
    assert_string_equal(human_duration(INT64_C(3661000000000), text), "1h 1m");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shows_all_parts_aligned_and_without_rates_at_first),
        cmocka_unit_test(shows_rates_between_two_looks),
        cmocka_unit_test(shows_what_it_can_of_a_strange_answer),
        cmocka_unit_test(writes_values_for_people),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
