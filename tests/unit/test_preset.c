/* Presets of containers: the built-in file, every key, what is refused, braces; and whose containers are. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/timestamp.h"
#include "containers/owner.h"
#include "containers/preset.h"

static void each_built_in_preset_can_be_read(void **state)
{
    (void)state;
    static const char *const names[] = {"redpanda", "kafka", "postgres", "redis", "nginx"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct preset *preset = NULL;
        struct error error = {""};
        int rc = preset_load(NULL, names[i], &preset, &error);
        if (rc == -ENOMEM) {
            continue;
        }
        assert_string_equal(error.text, "");
        assert_int_equal(rc, 0);
        assert_string_equal(preset->name, names[i]);
        assert_non_null(preset->image);
        assert_true(preset->port_count > 0);
        preset_destroy(preset);
    }
}

static void redpanda_is_as_the_document_has_it(void **state)
{
    (void)state;
    struct preset *preset = NULL;
    int rc = preset_load(NULL, "redpanda", &preset, NULL);
    if (rc == -ENOMEM) {
        return;
    }
    assert_int_equal(rc, 0);
    assert_string_equal(preset->image, "redpandadata/redpanda:v24.3.7");
    assert_int_equal(preset->port_count, 2);
    assert_int_equal(preset->ports[0], 9092);
    assert_int_equal(preset->ports[1], 9644);
    assert_int_equal(preset->startup_timeout_ns, 30 * NS_PER_SECOND);
    const uint16_t host_ports[PRESET_PORTS_LIMIT] = {19095, 19644};
    const struct preset_values values = {"10.0.0.9", 3, host_ports};
    char *whole = NULL;
    bool advertised = false;
    for (size_t i = 0; i < preset->command.count; i++) {
        if (preset_expand(preset, preset->command.items[i], &values, &whole, NULL) == 0) {
            advertised = advertised || strcmp(whole, "PLAINTEXT://10.0.0.9:19095") == 0;
            free(whole);
        }
    }
    assert_true(advertised || rc == -ENOMEM);
    assert_null(preset->command.items[preset->command.count]);
    preset_destroy(preset);
}

static void every_key_is_read(void **state)
{
    (void)state;
    static const char text[] = "all:\n"
                               "  image: some/image:1\n"
                               "  command: [run, 7, \"{number}\"]\n"
                               "  environment: [A=b, \"URL=http://{host}:{host_port:81}/\"]\n"
                               "  ports: [80, 81]\n"
                               "  memory: 256MiB\n"
                               "  ready: {port: 81, send: \"hello\\r\\n\", expect: there}\n"
                               "  startup_timeout: 90s\n"
                               "  reset: {send: BYE, expect: OK}\n"
                               "  network: true\n";
    struct preset *preset = NULL;
    struct error error = {""};
    int rc = preset_parse(text, strlen(text), "all", &preset, &error);
    if (rc == -ENOMEM) {
        return;
    }
    assert_string_equal(error.text, "");
    assert_string_equal(preset->image, "some/image:1");
    assert_int_equal(preset->command.count, 3);
    assert_string_equal(preset->command.items[1], "7");
    assert_int_equal(preset->environment.count, 2);
    assert_int_equal(preset->memory_bytes, 256 * 1024 * 1024);
    assert_int_equal(preset->ready, PRESET_READY_PORT);
    assert_int_equal(preset->ready_talk.port, 81);
    assert_string_equal(preset->ready_talk.send, "hello\r\n");
    assert_string_equal(preset->ready_talk.expect, "there");
    assert_int_equal(preset->startup_timeout_ns, 90 * NS_PER_SECOND);
    assert_int_equal(preset->reset, PRESET_RESET_SEND);
    assert_int_equal(preset->reset_talk.port, 80);
    assert_string_equal(preset->reset_talk.send, "BYE");
    assert_true(preset->network);
    preset_destroy(preset);
}

static void two_braces_are_one(void **state)
{
    (void)state;
    static const char text[] = "it: {image: x, ports: [1], command: [\"a${{HOME}b{{\"]}\n";
    static const uint16_t ports[PRESET_PORTS_LIMIT];
    struct preset *preset = NULL;
    char *whole = NULL;
    const struct preset_values values = {.host = "h", .host_ports = ports};
    if (preset_parse(text, strlen(text), "it", &preset, NULL) != 0) {
        return; /* without memory */
    }
    if (preset_expand(preset, preset->command.items[0], &values, &whole, NULL) == 0) {
        assert_string_equal(whole, "a${HOME}b{");
    }
    free(whole);
    preset_destroy(preset);
}

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *body, *said;
    } rows[] = {{"image: x\n  port: [1]\n", "port: unknown; did you mean ports?"},
                {"ports: [1]\n", "image: it is missing"},
                {"image: x\n", "ready.port: it must be one of `ports`"},
                {"image: x\n  ports: [0]\n", "a port is expected"},
                {"image: x\n  ports: [1,2,3,4,5,6,7,8,9]\n", "ports: too many"},
                {"image: x\n  ports: 80\n", "a list is expected"},
                {"image: [x]\n", "a text is expected"},
                {"image: x\n  ports: [1]\n  environment: [A]\n", "NAME=VALUE"},
                {"image: x\n  ports: [1]\n  memory: lots\n", "a size is expected"},
                {"image: x\n  ports: [1]\n  startup_timeout: 0\n", "a duration is expected"},
                {"image: x\n  ports: [1]\n  ready: {port: 2}\n", "ready.port"},
                {"image: x\n  ports: [1]\n  ready: {sometime: 2}\n", "there are port"},
                {"image: x\n  ports: [1]\n  ready: soon\n", "one of {port: PORT}"},
                {"image: x\n  ports: [1]\n  ready: {exec: []}\n", "the command is missing"},
                {"image: x\n  ports: [1]\n  reset: maybe\n", "there are none, restart"},
                {"image: x\n  ports: [1]\n  reset: {port: 1}\n", "reset.send: it is missing"},
                {"image: x\n  ports: [1]\n  ready: {log: up}\n  reset: restart\n", "restart needs"},
                {"image: x\n  ports: [1]\n  command: [\"{what}\"]\n", "'{what}': there are {host}"},
                {"image: x\n  ports: [1]\n  command: [\"{host_port:2}\"]\n", "one of `ports`"},
                {"image: x\n  ports: [1]\n  command: [\"{host\"]\n", "'{host'"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[512];
        struct preset *preset = NULL;
        struct error error = {""};
        (void)snprintf(text, sizeof(text), "it:\n  %s", rows[i].body);
        int rc = preset_parse(text, strlen(text), "it", &preset, &error);
        if (rc == -ENOMEM) {
            continue;
        }
        assert_int_equal(rc, -EINVAL);
        assert_non_null(strstr(error.text, "preset it: "));
        if (strstr(error.text, rows[i].said) == NULL) {
            fail_msg("'%s': %s", rows[i].body, error.text);
        }
    }
}

static void a_name_that_is_not_there_names_those_that_are(void **state)
{
    (void)state;
    struct preset *preset = NULL;
    struct error error = {""};
    int rc = preset_load(NULL, "mysql", &preset, &error);
    if (rc != -ENOMEM) {
        assert_int_equal(rc, -ENOENT);
        assert_non_null(strstr(error.text, "redpanda, kafka, postgres, redis, nginx"));
    }
    rc = preset_load("/there/is/no/such/file", "mysql", &preset, &error);
    assert_int_equal(rc, -ENOENT);
    assert_non_null(strstr(error.text, "/there/is/no/such/file"));
}

/* ---- owners ---- */

static void this_process_is_alive_and_a_dead_one_is_gone(void **state)
{
    (void)state;
    struct owner own;
    struct owner other = {.text = ""};
    int fds[2];
    owner_make(&own);
    assert_int_equal(strlen(own.session), OWNER_SESSION_SIZE - 1);
    assert_int_equal(owner_look(own.text), OWNER_ALIVE);
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        owner_make(&other);
        _exit(write(fds[1], &other, sizeof(other)) == (ssize_t)sizeof(other) ? 0 : 1);
    }
    assert_int_equal(read(fds[0], &other, sizeof(other)), sizeof(other));
    (void)waitpid(pid, NULL, 0);
    (void)close(fds[0]);
    (void)close(fds[1]);
    assert_int_equal(owner_look(other.text), OWNER_GONE);
    assert_string_not_equal(own.session, other.session);
}

/* The text of this process with one of its parts changed. */
static enum owner_state look_at_changed(const char *text, int part, const char *value)
{
    char copy[OWNER_SIZE];
    char changed[2 * OWNER_SIZE];
    const char *parts[5];
    (void)snprintf(copy, sizeof(copy), "%s", text);
    char *at = copy;
    for (int i = 0; i < 5; i++) {
        parts[i] = strsep(&at, "/");
        assert_non_null(parts[i]);
    }
    parts[part] = value;
    (void)snprintf(changed, sizeof(changed), "%s/%s/%s/%s/%s", parts[0], parts[1], parts[2],
                   parts[3], parts[4]);
    return owner_look(changed);
}

static void who_can_not_be_looked_at_is_left_alone(void **state)
{
    (void)state;
    struct owner own;
    owner_make(&own);
    assert_int_equal(look_at_changed(own.text, 4, "1"), OWNER_GONE); /* its number is another's */
    assert_int_equal(look_at_changed(own.text, 1, "an-earlier-boot"), OWNER_GONE);
    assert_int_equal(look_at_changed(own.text, 0, "another-machine"), OWNER_UNKNOWN);
    assert_int_equal(look_at_changed(own.text, 2, "4026531000"), OWNER_UNKNOWN);
    assert_int_equal(look_at_changed(own.text, 3, "pid"), OWNER_UNKNOWN);
    static const char *const senseless[] = {"", "/", "////", "a/b/c", "a/b/c/1/", "a/b/c//2"};
    for (size_t i = 0; i < sizeof(senseless) / sizeof(senseless[0]); i++) {
        assert_int_equal(owner_look(senseless[i]), OWNER_UNKNOWN);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_built_in_preset_can_be_read),
        cmocka_unit_test(redpanda_is_as_the_document_has_it),
        cmocka_unit_test(every_key_is_read),
        cmocka_unit_test(two_braces_are_one),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(a_name_that_is_not_there_names_those_that_are),
        cmocka_unit_test(this_process_is_alive_and_a_dead_one_is_gone),
        cmocka_unit_test(who_can_not_be_looked_at_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
