/* The agent's own log, read back from a pipe in place of standard error; and messages of errors. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"

struct capture {
    int old_fd;
    int read_fd;
};

static void begin(struct capture *capture)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    capture->read_fd = fds[0];
    capture->old_fd = dup(STDERR_FILENO);
    assert_true(dup2(fds[1], STDERR_FILENO) >= 0);
    close(fds[1]);
}

/* What was written since begin(), terminated. */
static void end(struct capture *capture, char *ret_text, size_t text_bytes)
{
    assert_true(dup2(capture->old_fd, STDERR_FILENO) >= 0);
    close(capture->old_fd);
    size_t size = 0;
    ssize_t n;
    while (size + 1 < text_bytes &&
           (n = read(capture->read_fd, ret_text + size, text_bytes - 1 - size)) > 0) {
        size += (size_t)n;
    }
    ret_text[size] = '\0';
    close(capture->read_fd);
}

static void a_line_has_time_level_and_message(void **state)
{
    (void)state;
    struct capture capture;
    char text[512];
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    begin(&capture);
    log_info("hello %s", "world");
    log_debug("not this");
    end(&capture, text, sizeof(text));
    assert_int_equal(strlen(text), 24 + 1 + 5 + 1 + 11 + 1);
    assert_string_equal(text + 23, "Z info  hello world\n");
}

static void control_bytes_are_escaped(void **state)
{
    (void)state;
    struct capture capture;
    char text[512];
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    begin(&capture);
    log_error("a\x1b[2Jb\nc\rd\x7f"
              "e\tf");
    end(&capture, text, sizeof(text));
    assert_string_equal(text + 23, "Z error a\\x1b[2Jb\\x0ac\\x0dd\\x7fe\\x09f\n");
}

/* U+009B is CSI, which some terminals obey like ESC [. */
static void control_characters_of_two_bytes_are_escaped_too(void **state)
{
    (void)state;
    struct capture capture;
    char text[512];
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    begin(&capture);
    log_error("a\xc2\x9b"
              "2Jb");
    end(&capture, text, sizeof(text));
    assert_null(strstr(text, "\x9b"));
}

static void a_json_line_is_json_whatever_it_says(void **state)
{
    (void)state;
    struct capture capture;
    char text[9000];
    char message[2000];
    memset(message, '\x01', sizeof(message));
    message[sizeof(message) - 1] = '\0';
    message[0] = '"';
    message[1] = '\xff';
    log_configure(LOG_LEVEL_DEBUG, LOG_FORMAT_JSON);
    begin(&capture);
    log_debug("%s", message);
    end(&capture, text, sizeof(text));
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    struct json *root = NULL;
    struct error error = {""};
    size_t size = strlen(text);
    assert_true(size > 1000 && text[size - 1] == '\n');
    assert_int_equal(json_parse(text, size, &root, &error), 0);
    assert_string_equal(json_get_string(root, "level"), "debug");
    assert_int_equal(strncmp(json_get_string(root, "message"), "\"\xef\xbf\xbd\x01", 5), 0);
    json_destroy(root);
}

static void a_long_message_is_one_cut_line(void **state)
{
    (void)state;
    struct capture capture;
    char text[9000];
    char message[3000];
    memset(message, '\x02', sizeof(message));
    message[sizeof(message) - 1] = '\0';
    begin(&capture);
    log_warn("%s", message);
    end(&capture, text, sizeof(text));
    size_t size = strlen(text);
    assert_true(size > 4000 && size < 4200);
    assert_ptr_equal(strchr(text, '\n'), text + size - 1);
}

static void levels_below_the_set_one_are_silent(void **state)
{
    (void)state;
    log_configure(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    assert_false(log_enabled(LOG_LEVEL_WARN));
    assert_true(log_enabled(LOG_LEVEL_ERROR));
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    assert_true(log_enabled(LOG_LEVEL_INFO));
    assert_false(log_enabled(LOG_LEVEL_DEBUG));
}

static void an_error_is_cut_where_it_is_too_long(void **state)
{
    (void)state;
    struct error error;
    char text[1000];
    memset(text, 'e', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    error_set(&error, "%s", text);
    assert_int_equal(strlen(error.text), sizeof(error.text) - 1);
    error_prefix(&error, "%s", "place");
    assert_int_equal(strlen(error.text), sizeof(error.text) - 1);
    assert_int_equal(strncmp(error.text, "place: eee", 10), 0);
    error_prefix(&error, "%s", text);
    assert_int_equal(strlen(error.text), sizeof(error.text) - 1);
}

static void a_prefix_stands_before_the_text(void **state)
{
    (void)state;
    struct error error;
    error_set(&error, "line %d", 5);
    error_prefix(&error, "file %s", "a");
    assert_string_equal(error.text, "file a: line 5");
    error_set(NULL, "nobody");
    error_prefix(NULL, "nobody");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_has_time_level_and_message),
        cmocka_unit_test(control_bytes_are_escaped),
        cmocka_unit_test(control_characters_of_two_bytes_are_escaped_too),
        cmocka_unit_test(a_json_line_is_json_whatever_it_says),
        cmocka_unit_test(a_long_message_is_one_cut_line),
        cmocka_unit_test(levels_below_the_set_one_are_silent),
        cmocka_unit_test(an_error_is_cut_where_it_is_too_long),
        cmocka_unit_test(a_prefix_stands_before_the_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
