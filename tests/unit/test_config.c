/* Options and configuration: every row by every way in, and every mistake with its place. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/config.h"
#include "agent/surroundings.h"

static struct config_errors errors;

/* A value of the row that is not its default. */
static const char *other_value(const struct option_row *row)
{
    switch (row->type) {
    case OPTION_TEXT:
        return "other";
    case OPTION_CHOICE:
        return strcmp(row->path, "capture.mode") == 0 ? "api" : strrchr(row->choices, '|') + 1;
    case OPTION_COUNT:
        return "77";
    case OPTION_SIZE:
        return "3MiB";
    case OPTION_DURATION:
        return "7s";
    case OPTION_BOOL:
        return "true";
    case OPTION_LIST:
        return "a*,b";
    }
    return "";
}

/* The value that the sources give to the row. */
static void load_and_get(const struct config_sources *sources, const struct option_row *row,
                         char *ret_text, size_t text_bytes)
{
    struct config config;
    int rc = config_load(sources, &config, &errors);
    if (rc != 0) {
        fail_msg("%s: %s", row->path, errors.errors[0].text);
    }
    int got = option_get(&config, row, ret_text, text_bytes);
    config_finish(&config);
    assert_int_equal(got, 0);
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* "a.b.c" and a value as nested YAML. */
static void make_yaml(const struct option_row *row, char *ret_yaml, size_t yaml_bytes)
{
    size_t used = 0;
    int depth = 0;
    for (const char *word = row->path; *word != '\0';) {
        size_t size = strcspn(word, ".");
        used += (size_t)snprintf(ret_yaml + used, yaml_bytes - used,
                                 "%s%*s%.*s:", depth > 0 ? "\n" : "", depth * 2, "", (int)size,
                                 word);
        word += size + (word[size] == '.');
        depth++;
    }
    (void)snprintf(ret_yaml + used, yaml_bytes - used, " %s\n",
                   row->type == OPTION_LIST ? "[a*, b]" : other_value(row));
}

static void every_option_can_be_set_by_file_environment_and_flag(void **state)
{
    (void)state;
    char path[] = "/tmp/test_config_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    for (const struct option_row *row = option_rows; row->path != NULL; row++) {
        char yaml[256];
        char text[256];
        char name[128];
        char entry[256];
        char by_default[256];
        const char *expected = other_value(row);
        load_and_get(&(struct config_sources){0}, row, by_default, sizeof(by_default));
        if (row->type == OPTION_TEXT || row->type == OPTION_CHOICE) { /* 60s is shown as 1m */
            assert_string_equal(by_default, row->value);
        }
        assert_string_not_equal(by_default, expected);
        make_yaml(row, yaml, sizeof(yaml));
        write_file(path, yaml);
        load_and_get(&(struct config_sources){.file = path}, row, text, sizeof(text));
        assert_string_equal(text, expected);
        option_env_name(row, name, sizeof(name));
        (void)snprintf(entry, sizeof(entry), "%s=%s", name, expected);
        const char *const environment[] = {"HOME=/", entry, NULL};
        load_and_get(&(struct config_sources){.environment = environment}, row, text, sizeof(text));
        assert_string_equal(text, expected);
        const struct config_flag flag = {row->path, expected};
        load_and_get(&(struct config_sources){.flags = &flag, .flag_count = 1}, row, text,
                     sizeof(text));
        assert_string_equal(text, expected);
        assert_ptr_equal(option_find(row->path), row);
        assert_true(row->flag == NULL || option_find_flag(row->flag) == row);
    }
    (void)unlink(path);
}

static void a_flag_wins_over_the_environment_and_that_over_the_file(void **state)
{
    (void)state;
    char path[] = "/tmp/test_config_XXXXXX";
    char text[64];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    write_file(path, "log: {level: debug}\n");
    const struct option_row *row = option_find("log.level");
    const char *const environment[] = {"LOG_CAPTURER_LOG_LEVEL=warn", "LOG_CAPTURER_CONFIG=/x",
                                       NULL};
    const struct config_flag flag = {"log.level", "error"};
    struct config_sources sources = {.file = path, .environment = environment};
    load_and_get(&sources, row, text, sizeof(text));
    assert_string_equal(text, "warn");
    sources.flags = &flag;
    sources.flag_count = 1;
    load_and_get(&sources, row, text, sizeof(text));
    assert_string_equal(text, "error");
    (void)unlink(path);
}

/* Reads YAML over the defaults; the errors are in `errors`. */
static void read_yaml(const char *text)
{
    struct config config;
    errors.count = 0;
    assert_int_equal(config_init(&config), 0);
    config_read_yaml(&config, "f.yaml", text, strlen(text), &errors);
    config_finish(&config);
}

static void check_error(size_t i, const char *place, const char *piece)
{
    assert_true(i < errors.count);
    if (strncmp(errors.errors[i].text, place, strlen(place)) != 0 ||
        strstr(errors.errors[i].text, piece) == NULL) {
        fail_msg("expected %s ... %s, got: %s", place, piece, errors.errors[i].text);
    }
}

static void an_unknown_key_has_its_place_and_a_suggestion(void **state)
{
    (void)state;
    read_yaml("spool:\n  limt: 1GiB\n");
    assert_int_equal(errors.count, 1);
    check_error(0, "f.yaml:2:3: ", "did you mean 'spool.limit'?");
    read_yaml("commit_interval: 5ms\n");
    check_error(0, "f.yaml:1:1: ", "unknown key 'commit_interval'");
    read_yaml("capture:\n  commit_interval: 5ms\n");
    check_error(0, "f.yaml:2:3: ", "did you mean 'spool.commit_interval'?");
    read_yaml("wholly_different_thing: 5\n");
    check_error(0, "f.yaml:1:1: ", "`log_capturer options`");
}

static void two_errors_are_both_reported(void **state)
{
    (void)state;
    read_yaml("spool:\n  limit: 5x\n  age: never\nlog:\n  level: loud\n");
    assert_int_equal(errors.count, 3);
    check_error(0, "f.yaml:2:10: ", "'5x' is not a size");
    check_error(1, "f.yaml:3:8: ", "'never' is not a duration");
    check_error(2, "f.yaml:5:10: ", "'loud' is none of debug|info|warn|error");
}

static void a_key_that_is_there_twice_is_an_error(void **state)
{
    (void)state;
    read_yaml("spool:\n  dir: /a\n  dir: /b\n");
    assert_int_equal(errors.count, 1);
    check_error(0, "f.yaml:3:3: ", "twice");
    read_yaml("log: {level: info}\nlog: {format: json}\n");
    check_error(0, "f.yaml:2:1: ", "twice");
}

static void a_key_of_a_daemon_that_is_there_twice_is_an_error(void **state)
{
    (void)state;
    read_yaml("docker:\n  - name: a\n    url: unix:///x\n    name: b\n");
    assert_int_equal(errors.count, 1);
    check_error(0, "f.yaml:4:5: ", "twice");
}

static void values_of_the_wrong_type_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *yaml, *place, *piece;
    } rows[] = {
        {"spool:\n  limit: [1]\n", "f.yaml:2:10: ", "one value"},
        {"spool: 5\n", "f.yaml:1:8: ", "keys are expected"},
        {"[1, 2]\n", "f.yaml:1:1: ", "keys and values"},
        {"docker: unix:///x\n", "f.yaml:1:9: ", "list of daemons"},
        {"docker: [unix:///x]\n", "f.yaml:1:10: ", "{name: ..., url: ...}"},
        {"docker: [{name: a}]\n", "f.yaml:1:10: ", "a name and a url"},
        {"docker: [{name: a, url: unix:///b, tls: {insecure: maybe}}]\n",
         "f.yaml:1:52: ", "true or false"},
        {"docker: [{name: a, url: unix:///b, colour: red}]\n",
         "f.yaml:1:36: ", "unknown key 'docker.colour'"},
        {"capture: {include: {name: [[a]]}}\n", "f.yaml:1:28: ", "pattern"},
        {"connections: {idle_total: -1}\n", "f.yaml:1:27: ", "whole number"},
        {"connections: {idle_total: 0}\n", "f.yaml:1:27: ", "from 1 to 100000"},
        {"spool: {commit_interval: 2m}\n", "f.yaml:1:26: ", "from 1ms to 1m"},
        {"spool: {limit: 5KiB}\n", "f.yaml:1:16: ", "at least 1MiB"},
        {"a: [b\nc: }\n", "f.yaml:2:", ""},
        {"a: \"\xff\"\n", "f.yaml:", ""},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        read_yaml(rows[i].yaml);
        assert_int_equal(errors.count, 1);
        check_error(0, rows[i].place, rows[i].piece);
    }
}

static void files_without_content_change_nothing(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "# nothing\n", "---\n", "spool:\n", "~"};
    for (size_t i = 0; i < 4; i++) {
        read_yaml(texts[i]);
        if (errors.count != 0) {
            fail_msg("'%s': %s", texts[i], errors.errors[0].text);
        }
    }
}

static void a_choice_is_one_of_its_words(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "ap", "apis", "api|file", "auto|api", "|", "API"};
    struct config config;
    const struct option_row *row = option_find("capture.mode");
    assert_int_equal(config_init(&config), 0);
    const char *accepted = NULL;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (option_set(&config, row, bad[i], NULL) == 0) {
            accepted = bad[i];
        }
    }
    int good = option_set(&config, row, "file", NULL);
    config_finish(&config);
    if (accepted != NULL) {
        fail_msg("'%s' was taken", accepted);
    }
    assert_int_equal(good, 0);
}

static void a_list_of_daemons_with_tls_is_read(void **state)
{
    (void)state;
    static const char text[] =
        "docker:\n"
        "  - {name: local, url: 'unix:///var/run/docker.sock'}\n"
        "  - name: far\n"
        "    url: tcp://h:2376\n"
        "    tls: {ca: /ca.pem, cert: /c.pem, key: /k.pem, insecure: true}\n";
    struct config config;
    errors.count = 0;
    assert_int_equal(config_init(&config), 0);
    config_read_yaml(&config, "f.yaml", text, strlen(text), &errors);
    bool right = errors.count == 0 && config.daemon_count == 2;
    const struct config_daemon *far = right ? &config.daemons[1] : NULL;
    right = right && strcmp(far->name, "far") == 0 && strcmp(far->url, "tcp://h:2376") == 0 &&
            far->ca != NULL && strcmp(far->ca, "/ca.pem") == 0 && far->cert != NULL &&
            strcmp(far->cert, "/c.pem") == 0 && far->key != NULL &&
            strcmp(far->key, "/k.pem") == 0 && far->insecure && !config.daemons[0].insecure;
    config_finish(&config);
    assert_true(right);
}

/* The first daemon's URL and whether it has certificates and is insecure, as text. */
static void first_daemon(const struct config_sources *sources, char *ret_text, size_t text_bytes)
{
    struct config config;
    if (config_load(sources, &config, &errors) != 0) {
        fail_msg("%s", errors.errors[0].text);
    }
    const struct config_daemon *d = &config.daemons[0];
    (void)snprintf(ret_text, text_bytes, "%zu %s %s %s %d", config.daemon_count, d->name, d->url,
                   d->ca != NULL ? d->ca : "-", d->insecure);
    config_finish(&config);
}

static void the_environment_of_docker_names_the_daemon(void **state)
{
    (void)state;
    char text[256];
    first_daemon(&(struct config_sources){0}, text, sizeof(text));
    assert_string_equal(text, "1 local unix:///var/run/docker.sock - 0");
    const char *const host[] = {"DOCKER_HOST=tcp://h:1", NULL};
    first_daemon(&(struct config_sources){.environment = host}, text, sizeof(text));
    assert_string_equal(text, "1 local tcp://h:1 - 0");
    const char *const tls[] = {"DOCKER_HOST=tcp://h:1", "DOCKER_CERT_PATH=/c",
                               "DOCKER_TLS_VERIFY=1", NULL};
    first_daemon(&(struct config_sources){.environment = tls}, text, sizeof(text));
    assert_string_equal(text, "1 local tcp://h:1 /c/ca.pem 0");
    const char *const lax[] = {"DOCKER_HOST=tcp://h:1", "DOCKER_CERT_PATH=/c", NULL};
    first_daemon(&(struct config_sources){.environment = lax}, text, sizeof(text));
    assert_string_equal(text, "1 local tcp://h:1 /c/ca.pem 1");
    const struct config_flag flags[] = {{"docker", "unix:///x"}, {"docker", "tcp://y"}};
    first_daemon(&(struct config_sources){.environment = tls, .flags = flags, .flag_count = 2},
                 text, sizeof(text));
    assert_string_equal(text, "2 local unix:///x - 0");
}

static void check_load_error(const struct config_sources *sources, const char *piece)
{
    struct config config;
    memset(&config, 0x55, sizeof(config));
    struct config before = config;
    int rc = config_load(sources, &config, &errors);
    assert_int_equal(rc, -EINVAL);
    assert_memory_equal(&config, &before, sizeof(config));
    assert_true(errors.count >= 1);
    check_error(0, "", piece);
}

static void what_can_not_be_used_is_refused_before_anything_is(void **state)
{
    (void)state;
    const char *const unknown[] = {"LOG_CAPTURER_SPOOL_LIMT=1", NULL};
    check_load_error(&(struct config_sources){.environment = unknown}, "LOG_CAPTURER_SPOOL_LIMT");
    const char *const bad[] = {"LOG_CAPTURER_SPOOL_LIMIT=x", NULL};
    check_load_error(&(struct config_sources){.environment = bad}, "LOG_CAPTURER_SPOOL_LIMIT: ");
    const char *const host[] = {"DOCKER_HOST=ssh://h", NULL};
    check_load_error(&(struct config_sources){.environment = host}, "docker local");
    const struct config_flag flag = {"spool.limt", "1"};
    check_load_error(&(struct config_sources){.flags = &flag, .flag_count = 1}, "'spool.limit'");
    const struct config_flag mode = {"capture.mode", "file"};
    check_load_error(&(struct config_sources){.flags = &mode, .flag_count = 1}, "capture.mode");
    check_load_error(&(struct config_sources){.file = "/does/not/exist"}, "/does/not/exist: ");
    check_load_error(&(struct config_sources){.file = "/tmp"}, "/tmp: ");
}

static void more_errors_than_there_is_room_for_are_counted(void **state)
{
    (void)state;
    char text[2000];
    size_t used = 0;
    for (int i = 0; i < 100; i++) {
        used += (size_t)snprintf(text + used, sizeof(text) - used, "zzzzzz%d: 1\n", i);
    }
    read_yaml(text);
    assert_int_equal(errors.count, 100);
}

static void anchors_that_hold_themselves_end(void **state)
{
    (void)state;
    read_yaml("capture: &a\n  include: *a\ndocker: [&d {name: x, url: y, tls: *d}]\n");
    assert_true(errors.count > 0);
}

static void a_containers_own_id_is_found_in_the_files_of_proc(void **state)
{
    (void)state;
#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    static const char *const texts[] = {"1 2 8:1 /var/lib/docker/containers/" ID
                                        "/resolv.conf /etc/resolv.conf rw - ext4 /dev/sda1 rw",
                                        "0::/docker/" ID, "0::/system.slice/docker-" ID ".scope",
                                        "12:pids:/docker/short\n0::/docker/" ID "\n"};
    char id[65];
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        memset(id, 0, sizeof(id));
        assert_true(surroundings_find_id(texts[i], id, sizeof(id)));
        assert_string_equal(id, ID);
    }
    static const char *const without[] = {"", "0::/", "0::/docker/abc", "0::/docker/" ID "0", ID};
    for (size_t i = 0; i < sizeof(without) / sizeof(without[0]); i++) {
        assert_false(surroundings_find_id(without[i], id, sizeof(id)));
    }
    assert_false(surroundings_find_id(texts[0], id, 64));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_option_can_be_set_by_file_environment_and_flag),
        cmocka_unit_test(a_flag_wins_over_the_environment_and_that_over_the_file),
        cmocka_unit_test(an_unknown_key_has_its_place_and_a_suggestion),
        cmocka_unit_test(two_errors_are_both_reported),
        cmocka_unit_test(a_key_that_is_there_twice_is_an_error),
        cmocka_unit_test(a_key_of_a_daemon_that_is_there_twice_is_an_error),
        cmocka_unit_test(values_of_the_wrong_type_are_refused),
        cmocka_unit_test(files_without_content_change_nothing),
        cmocka_unit_test(a_choice_is_one_of_its_words),
        cmocka_unit_test(a_list_of_daemons_with_tls_is_read),
        cmocka_unit_test(the_environment_of_docker_names_the_daemon),
        cmocka_unit_test(what_can_not_be_used_is_refused_before_anything_is),
        cmocka_unit_test(more_errors_than_there_is_room_for_are_counted),
        cmocka_unit_test(anchors_that_hold_themselves_end),
        cmocka_unit_test(a_containers_own_id_is_found_in_the_files_of_proc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
