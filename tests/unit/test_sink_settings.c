/* Settings of sinks, and dead letters: written, read again, damaged. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/json.h"
#include "sinks/file_sink.h"
#include "sinks/loki_sink.h"
#include "sinks/sink_dead_letters.h"
#include "sinks/sink_settings.h"
#include "sinks/sink_type.h"
#include "sinks/stdout_sink.h"

#define MIB ((size_t)1024 * 1024)

/* ---- settings ---- */

static struct sink_settings *make(const struct sink_type *type)
{
    struct sink_settings *settings = NULL;
    assert_int_equal(sink_settings_create("name", type, &settings, NULL), 0);
    return settings;
}

/* 0, -ENOENT for an unknown path, or what option_set() says. */
static int try_set(struct sink_settings *settings, const char *path, const char *value)
{
    struct error error = {""};
    void *object;
    const struct option_row *row = sink_settings_find(settings, path, &object);
    int rc = row == NULL ? -ENOENT : option_set(object, row, value, &error);
    if (rc == -EINVAL) {
        assert_string_not_equal(error.text, "");
    }
    return rc;
}

static int check(struct sink_settings *settings)
{
    struct error error = {""};
    int rc = sink_settings_check(settings, &error);
    if (rc != 0) {
        assert_non_null(strstr(error.text, "sinks.name"));
        assert_true(strlen(error.text) > strlen("sinks.name: "));
    }
    return rc;
}

static void no_two_sinks_write_to_one_place(void **state)
{
    (void)state;
    static const struct sink_type *const types[] = {&file_sink, &stdout_sink};
    struct error error = {""};
    for (size_t i = 0; i < 2; i++) {
        struct sink_settings *a = make(types[i]);
        struct sink_settings *b = make(types[i]);
        struct sink_settings *loki = make(&loki_sink);
        (void)try_set(a, "path", "/var/log/{stream}.log");
        (void)try_set(b, "path", "/var/log/{stream}.log");
        assert_int_equal(sink_settings_check_pair(a, b, &error), -EINVAL);
        assert_non_null(strstr(error.text, "sinks.name"));
        assert_int_equal(sink_settings_check_pair(a, loki, &error), 0);
        assert_int_equal(try_set(a, "concurrency", "2"), 0);
        assert_int_equal(check(a), -EINVAL);
        (void)try_set(b, "path", "/var/log/other/{stream}.log");
        assert_int_equal(sink_settings_check_pair(a, b, &error), i == 0 ? 0 : -EINVAL);
        sink_settings_destroy(a);
        sink_settings_destroy(b);
        sink_settings_destroy(loki);
    }
}

static void names_of_sinks_are_names_of_files(void **state)
{
    (void)state;
    static const char *const good[] = {"a", "central-1", "A_b", "0"};
    static const char *const bad[] = {"",         ".",    "..",   "a/b", "a.b", "a b",
                                      "\xc3\xa4", "a\nb", "a\"b", "a{b", "/",   "~"};
    struct sink_settings *settings = NULL;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(sink_settings_create(good[i], &loki_sink, &settings, NULL), 0);
        assert_string_equal(settings->name, good[i]);
        sink_settings_destroy(settings);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error error = {""};
        assert_int_equal(sink_settings_create(bad[i], &loki_sink, &settings, &error), -EINVAL);
        assert_string_not_equal(error.text, "");
    }
    char name[SINK_NAME_LIMIT + 2];
    memset(name, 'a', sizeof(name));
    name[SINK_NAME_LIMIT + 1] = '\0';
    assert_int_equal(sink_settings_create(name, &loki_sink, &settings, NULL), -EINVAL);
    name[SINK_NAME_LIMIT] = '\0';
    assert_int_equal(sink_settings_create(name, &loki_sink, &settings, NULL), 0);
    sink_settings_destroy(settings);
    sink_settings_destroy(NULL);
}

static void types_have_defaults_of_their_own(void **state)
{
    (void)state;
    struct sink_settings *loki = make(&loki_sink);
    struct sink_settings *file = make(&file_sink);
    struct sink_settings *out = make(&stdout_sink);
    assert_int_equal(loki->common.batch_bytes, MIB);
    assert_int_equal(loki->common.batch_age_ns, 1000000000);
    assert_int_equal(loki->common.concurrency, 1);
    assert_int_equal(file->common.batch_bytes, 256 * 1024);
    assert_int_equal(file->common.batch_age_ns, 0);
    assert_int_equal(file->common.concurrency, 1);
    assert_int_equal(out->common.batch_bytes, 64 * 1024);
    assert_int_equal(out->common.batch_lines, 10000);
    assert_int_equal(out->common.retry_limit_ns, INT64_C(30000000000));
    assert_string_equal(out->common.start, "beginning");
    sink_settings_destroy(loki);
    sink_settings_destroy(file);
    sink_settings_destroy(out);
}

static void unknown_and_wrong_settings_are_refused(void **state)
{
    (void)state;
    struct sink_settings *loki = make(&loki_sink);
    struct sink_settings *file = make(&file_sink);
    char near[64] = "";
    assert_int_equal(try_set(loki, "batch_sizes", "1MiB"), -ENOENT);
    assert_int_equal(try_set(loki, "path", "/x"), -ENOENT);
    assert_int_equal(try_set(file, "url", "http://x"), -ENOENT);
    assert_int_equal(try_set(file, "tls.ca", "/x"), -ENOENT);
    assert_int_equal(try_set(loki, "include", "x"), -ENOENT);
    assert_true(sink_settings_suggest(loki, "batchsize", near, sizeof(near)));
    assert_string_equal(near, "batch_size");
    assert_true(sink_settings_suggest(loki, "tls.key_", near, sizeof(near)));
    assert_string_equal(near, "tls.key");
    assert_false(sink_settings_suggest(loki, "nothing_like_it", near, sizeof(near)));
    assert_true(sink_settings_have_section(loki, "tls"));
    assert_true(sink_settings_have_section(loki, "include"));
    assert_false(sink_settings_have_section(file, "tls"));
    static const char *const wrong[][2] = {
        {"batch_size", "1023"},     {"batch_size", "65MiB"},   {"batch_size", "-1"},
        {"batch_size", "x"},        {"batch_lines", "0"},      {"batch_lines", "1000001"},
        {"batch_age", "601s"},      {"concurrency", "0"},      {"concurrency", "65"},
        {"retry_limit", "99ms"},    {"retry_limit", "3601s"},  {"start", "middle"},
        {"timeout", "99ms"},        {"tls.insecure", "maybe"}, {"stream_limit", "0"},
        {"stream_limit", "1000001"}};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        if (try_set(loki, wrong[i][0], wrong[i][1]) != -EINVAL) {
            fail_msg("%s: %s was taken", wrong[i][0], wrong[i][1]);
        }
    }
    sink_settings_destroy(loki);
    sink_settings_destroy(file);
}

/* One setting that check() refuses, on top of a good Loki sink. */
static void refuses(const char *path, const char *value)
{
    struct sink_settings *settings = make(&loki_sink);
    assert_int_equal(try_set(settings, "url", "http://127.0.0.1:3100"), 0);
    assert_int_equal(check(settings), 0);
    assert_int_equal(try_set(settings, path, value), 0);
    if (check(settings) != -EINVAL) {
        fail_msg("%s: '%s' was taken", path, value);
    }
    sink_settings_destroy(settings);
}

static void settings_are_checked_against_each_other(void **state)
{
    (void)state;
    refuses("url", "");
    refuses("url", "127.0.0.1:3100");
    refuses("url", "ftp://127.0.0.1");
    refuses("url", "http://user:password@127.0.0.1:3100");
    refuses("url", "http://");
    refuses("tls.cert", "/cert");
    refuses("tls.key", "/key");
    refuses("password_file", "/password");
    refuses("labels", "container,colour");
    refuses("labels", "label.");
    refuses("tenant", "a\r\nX-Other: b");
    refuses("include.stream", "stdin");
    refuses("exclude.stream", "stdout,stdin");
    struct sink_settings *settings = make(&loki_sink);
    assert_int_equal(try_set(settings, "url", "http://127.0.0.1:3100"), 0);
    assert_int_equal(try_set(settings, "username", "me"), 0);
    assert_int_equal(check(settings), 0);
    assert_int_equal(try_set(settings, "bearer_token_file", "/token"), 0);
    assert_int_equal(check(settings), -EINVAL);
    sink_settings_destroy(settings);
}

static void equal_means_each_setting(void **state)
{
    (void)state;
    static const char *const changes[][2] = {{"include.container", "a"},
                                             {"exclude.label", "a=b"},
                                             {"start", "now"},
                                             {"batch_lines", "7"},
                                             {"retry_limit", "7s"},
                                             {"url", "http://other"},
                                             {"timeout", "7s"},
                                             {"password_file", "/p"},
                                             {"tls.insecure", "true"},
                                             {"labels", "container"},
                                             {"tenant", "t"},
                                             {"stream_limit", "7"},
                                             {"structured_metadata", "false"}};
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        struct sink_settings *a = make(&loki_sink);
        struct sink_settings *b = make(&loki_sink);
        assert_true(sink_settings_equal(a, b));
        assert_int_equal(try_set(b, changes[i][0], changes[i][1]), 0);
        if (sink_settings_equal(a, b) || sink_settings_equal(b, a)) {
            fail_msg("a change of %s is not seen", changes[i][0]);
        }
        assert_int_equal(try_set(a, changes[i][0], changes[i][1]), 0);
        assert_true(sink_settings_equal(a, b));
        sink_settings_destroy(a);
        sink_settings_destroy(b);
    }
    struct sink_settings *a = make(&file_sink);
    struct sink_settings *b = make(&stdout_sink);
    assert_false(sink_settings_equal(a, b));
    sink_settings_destroy(a);
    sink_settings_destroy(b);
}

/* ---- dead letters ---- */

static char folder[] = "/tmp/test_dead.XXXXXX";
static char path[128];

static int make_folder(void **state)
{
    (void)state;
    struct buf text;
    memcpy(folder + sizeof(folder) - 7, "XXXXXX", 6);
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    buf_init(&text, 0);
    int rc = sink_dead_letters_path(folder, "central", &text);
    (void)snprintf(path, sizeof(path), "%s", rc == 0 ? text.data : "");
    buf_finish(&text);
    return rc;
}

static int remove_folder(void **state)
{
    (void)state;
    (void)unlink(path);
    return rmdir(folder);
}

static const struct record_label dead_labels[] = {
    {"k", "v"}, {"", "no key"}, {"quote\"", "a\nb\\"}};
static struct sink_origin dead_origin = {.view = {.daemon = "local",
                                                  .container_id = "0123abcd",
                                                  .name = "web-1",
                                                  .image = "nginx:1",
                                                  .labels = dead_labels,
                                                  .label_count = 3}};

static int append(const struct record *record, const char *reason, size_t reason_bytes)
{
    struct sink_record kept = {.number = 42, .origin = &dead_origin, .record = *record};
    return sink_dead_letters_append(path, &(struct sink_dead_letter){.sink = "central",
                                                                     .status = 400,
                                                                     .reason = reason,
                                                                     .reason_bytes = reason_bytes,
                                                                     .record = &kept});
}

/* The whole file, terminated; its size in *ret_size. */
static char *load(size_t *ret_size)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    *ret_size = (size_t)info.st_size;
    char *bytes = malloc(*ret_size + 1);
    assert_non_null(bytes);
    assert_int_equal(read(fd, bytes, *ret_size), *ret_size);
    bytes[*ret_size] = '\0';
    (void)close(fd);
    return bytes;
}

static void compare(const char *line, size_t size, const struct record *wanted)
{
    struct sink_dead_letter_record got;
    struct error error = {""};
    if (sink_dead_letter_parse(line, size, &got, &error) != 0) {
        fail_msg("%s: %.200s", error.text, line);
    }
    assert_int_equal(got.record.time_ns, wanted->time_ns);
    assert_int_equal(got.record.stream, wanted->stream);
    assert_int_equal(got.record.flags & RECORD_TRUNCATED, wanted->flags & RECORD_TRUNCATED);
    assert_int_equal(got.record.line_bytes, wanted->line_bytes);
    if (wanted->line_bytes > 0) {
        assert_memory_equal(got.record.line, wanted->line, wanted->line_bytes);
    }
    assert_string_equal(got.origin.daemon, "local");
    assert_string_equal(got.origin.container_id, "0123abcd");
    assert_string_equal(got.origin.name, "web-1");
    assert_string_equal(got.origin.image, "nginx:1");
    assert_int_equal(got.origin.label_count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(got.origin.labels[i].key, dead_labels[i].key);
        assert_string_equal(got.origin.labels[i].value, dead_labels[i].value);
    }
    sink_dead_letter_free(&got);
}

static void dead_letters_come_back_exactly(void **state)
{
    (void)state;
    char all[256];
    char *big = malloc(MIB);
    assert_non_null(big);
    for (size_t i = 0; i < sizeof(all); i++) {
        all[i] = (char)i;
    }
    for (size_t i = 0; i < MIB; i++) {
        big[i] = (char)(i * 31 + i / 253);
    }
    const struct record records[] = {
        {0, RECORD_STDOUT, 0, "plain", 5},
        {1, RECORD_STDERR, RECORD_TRUNCATED, "", 0},
        {-1, RECORD_STDOUT, 0, "\0", 1},
        {INT64_C(1790000000123456789), RECORD_STDOUT, 0, "a\0b\0", 4},
        {INT64_C(9214646399999999999), RECORD_STDERR, 0, all, 256},
        {INT64_C(-9214560000000000000), RECORD_STDOUT, 0, "\xff", 1},
        {2, RECORD_STDOUT, 0, "\xff\0", 2},
        {3, RECORD_STDOUT, 0, "\xff\0\xfe", 3},
        {4, RECORD_STDOUT, 0, "{\"line\":\"x\"}\n\t\"\\\x1b\x7f", 17},
        {5, RECORD_STDOUT, 0, "\xc3\xa4\xf0\x9f\x90\xb3\xe2\x80\xa8", 9},
        {6, RECORD_STDERR, 0, big, MIB},
        {7, RECORD_STDOUT, 0, "last", 4},
    };
    const size_t count = sizeof(records) / sizeof(records[0]);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(append(&records[i], "why\n\"\xff", 6), 0);
    }
    size_t size;
    char *bytes = load(&size);
    const char *line = bytes;
    for (size_t i = 0; i < count; i++) {
        const char *end = memchr(line, '\n', size - (size_t)(line - bytes));
        assert_non_null(end);
        compare(line, (size_t)(end - line), &records[i]);
        line = end + 1;
    }
    assert_ptr_equal(line, bytes + size);
    free(bytes);
    free(big);
}

static void a_dead_letter_says_why(void **state)
{
    (void)state;
    const struct record record = {0, RECORD_STDOUT, 0, "x", 1};
    char *reason = malloc(MIB);
    assert_non_null(reason);
    memset(reason, 'r', MIB);
    assert_int_equal(append(&record, reason, MIB), 0);
    assert_int_equal(append(&record, NULL, 0), 0);
    size_t size;
    char *bytes = load(&size);
    assert_true(size < 8192); /* the reason is cut */
    char *end = strchr(bytes, '\n');
    assert_non_null(end);
    struct json *root = NULL;
    assert_int_equal(json_parse(bytes, (size_t)(end - bytes), &root, NULL), 0);
    assert_string_equal(json_get_string(root, "sink"), "central");
    assert_int_equal(json_get_int(root, "status"), 400);
    assert_int_equal(json_get_int(root, "number"), 42);
    assert_non_null(json_get_string(root, "time"));
    assert_memory_equal(json_get_string(root, "reason"), "rrrr", 4);
    json_destroy(root);
    free(bytes);
    free(reason);
}

/* A kill in the midst of a write leaves a torn line; what comes later must not suffer from it. */
static void a_torn_letter_takes_no_other_with_it(void **state)
{
    (void)state;
    const struct record record = {8, RECORD_STDOUT, 0, "whole", 5};
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "{\"time\":\"20", 11), 11);
    (void)close(fd);
    assert_int_equal(append(&record, "why", 3), 0);
    size_t size;
    char *bytes = load(&size);
    assert_int_equal(bytes[size - 1], '\n');
    bytes[size - 1] = '\0';
    char *line = strrchr(bytes, '\n');
    line = line == NULL ? bytes : line + 1;
    compare(line, strlen(line), &record);
    free(bytes);
}

static void damaged_letters_are_refused(void **state)
{
    (void)state;
    const struct record record = {0, RECORD_STDOUT, 0, "a\0\xff", 3};
    assert_int_equal(append(&record, "why", 3), 0);
    size_t size;
    char *bytes = load(&size);
    for (size_t i = 0; i + 2 < size; i++) { /* cut anywhere */
        struct sink_dead_letter_record got;
        struct error error = {""};
        char *cut = malloc(i + 1); /* so that a byte too far is seen */
        assert_non_null(cut);
        memcpy(cut, bytes, i);
        assert_int_equal(sink_dead_letter_parse(cut, i, &got, &error), -EINVAL);
        assert_string_not_equal(error.text, "");
        free(cut);
    }
    for (size_t i = 0; i + 1 < size; i++) { /* any byte altered: refused or read, never worse */
        struct sink_dead_letter_record got;
        char before = bytes[i];
        for (int flip = 1; flip < 256; flip *= 2) {
            bytes[i] = (char)(before ^ flip);
            if (sink_dead_letter_parse(bytes, size, &got, NULL) == 0) {
                sink_dead_letter_free(&got);
            }
        }
        bytes[i] = before;
    }
    free(bytes);
    static const char *const wrong[] = {
        "",
        "{}",
        "[]",
        "null",
        "{\"record\":[]}",
        "{\"record\":{\"line\":\"x\"}}",
        "{\"record\":{\"time\":\"x\",\"daemon\":\"d\",\"container\":{\"id\":\"1\",\"name\":\"n\","
        "\"image\":\"i\"},\"stream\":\"stdout\",\"line\":\"x\"}}",
        "{\"record\":{\"time\":\"2026-01-01T00:00:00Z\",\"daemon\":\"d\",\"container\":{\"id\":\"1\","
        "\"name\":\"n\",\"image\":\"i\"},\"stream\":\"stdout\",\"line_base64\":\"abc\"}}",
        "{\"record\":{\"time\":\"2026-01-01T00:00:00Z\",\"daemon\":\"d\",\"container\":{\"id\":\"1\","
        "\"name\":\"n\",\"image\":\"i\"},\"stream\":\"stdout\",\"line_base64\":\"ab=c\"}}"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct sink_dead_letter_record got;
        assert_int_equal(sink_dead_letter_parse(wrong[i], strlen(wrong[i]), &got, NULL), -EINVAL);
    }
}

static void a_letter_that_can_not_be_kept_is_an_error(void **state)
{
    (void)state;
    const struct record record = {0, RECORD_STDOUT, 0, "x", 1};
    assert_int_equal(mkdir(path, 0700), 0);
    assert_true(append(&record, "why", 3) < 0);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(symlink("/dev/full", path), 0);
    assert_int_equal(append(&record, "why", 3), -ENOSPC);
}

int main(void)
{
#define DEAD(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_of_sinks_are_names_of_files),
        cmocka_unit_test(no_two_sinks_write_to_one_place),
        cmocka_unit_test(types_have_defaults_of_their_own),
        cmocka_unit_test(unknown_and_wrong_settings_are_refused),
        cmocka_unit_test(settings_are_checked_against_each_other),
        cmocka_unit_test(equal_means_each_setting),
        DEAD(dead_letters_come_back_exactly),
        DEAD(a_dead_letter_says_why),
        DEAD(a_torn_letter_takes_no_other_with_it),
        DEAD(damaged_letters_are_refused),
        DEAD(a_letter_that_can_not_be_kept_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
