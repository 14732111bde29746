/* What daemons say: containers in the shapes of several versions, events in any chunks, URLs. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "docker/docker_containers.h"
#include "docker/docker_events.h"
#include "net/endpoint.h"

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* ---- containers ---- */

struct expected {
    const char *name, *image, *driver, *label_key, *label_value;
    enum docker_state state;
    size_t labels;
    bool tty;
};

static bool same(const char *a, const char *b)
{
    return a != NULL && strcmp(a, b) == 0;
}

static void check_container(const char *text, const struct expected *expected)
{
    struct json *root = NULL;
    struct record_label labels[4];
    struct docker_container container;
    struct error error = {""};
    int rc = json_parse(text, strlen(text), &root, &error);
    rc = rc != 0 ? rc : docker_container_parse(root, labels, 4, &container, &error);
    bool right = rc == 0 && same(container.id, ID) && same(container.name, expected->name) &&
                 same(container.image, expected->image) &&
                 same(container.log_driver, expected->driver) &&
                 container.state == expected->state && container.tty == expected->tty &&
                 container.label_count == expected->labels &&
                 (expected->labels == 0 || (same(labels[0].key, expected->label_key) &&
                                            same(labels[0].value, expected->label_value)));
    if (!right && rc == 0) {
        print_error("name '%s' image '%s' driver '%s' state %d tty %d labels %zu\n", container.name,
                    container.image, container.log_driver, container.state, container.tty,
                    container.label_count);
    }
    json_destroy(root);
    if (rc != 0) {
        fail_msg("%s", error.text);
    }
    assert_true(right);
}

static void a_list_of_20_10_is_read(void **state)
{
    (void)state;
    check_container(
        "{\"Id\":\"" ID "\",\"Names\":[\"/web\"],\"Image\":\"nginx:1\",\"ImageID\":\"sha256:1\","
        "\"Labels\":{\"com.docker.compose.project\":\"shop\",\"b\":\"2\"},"
        "\"State\":\"running\",\"Status\":\"Up 2 hours\",\"HostConfig\":{\"NetworkMode\":"
        "\"default\"},\"Mounts\":[]}",
        &(struct expected){"web", "nginx:1", "", "com.docker.compose.project", "shop",
                           DOCKER_STATE_RUNNING, 2, false});
}

static void a_list_of_29_with_what_was_added_is_read(void **state)
{
    (void)state;
    check_container(
        "{\"Id\":\"" ID "\",\"Names\":[\"/web\"],\"Image\":\"nginx:1\",\"ImageManifestDescriptor\":"
        "{\"digest\":\"sha256:1\",\"platform\":{\"os\":\"linux\"}},\"Labels\":{},\"State\":"
        "\"exited\",\"HostConfig\":{\"NetworkMode\":\"bridge\",\"Annotations\":{\"a\":\"b\"}},"
        "\"Health\":{\"Status\":\"none\"}}",
        &(struct expected){"web", "nginx:1", "", NULL, NULL, DOCKER_STATE_EXITED, 0, false});
}

static void an_inspection_has_terminal_and_driver(void **state)
{
    (void)state;
    check_container(
        "{\"Id\":\"" ID
        "\",\"Name\":\"/web\",\"Image\":\"sha256:1\",\"State\":{\"Status\":\"paused\","
        "\"Running\":true,\"Paused\":true},\"HostConfig\":{\"LogConfig\":{\"Type\":\"local\","
        "\"Config\":{}}},\"Config\":{\"Tty\":true,\"Image\":\"nginx:1\",\"Labels\":{\"a\":\"\"}}}",
        &(struct expected){"web", "nginx:1", "local", "a", "", DOCKER_STATE_RUNNING, 1, true});
}

/* Podman's list has the fields of a create request too, empty. */
static void a_list_of_podman_is_read(void **state)
{
    (void)state;
    check_container("{\"Id\":\"" ID
                    "\",\"Names\":[\"/web\"],\"Image\":\"docker.io/library/nginx:1\","
                    "\"Labels\":{\"a\":\"b\"},\"State\":\"stopped\",\"NetworkSettings\":null,"
                    "\"Mounts\":[],\"Name\":\"\",\"Config\":null,\"NetworkingConfig\":null,"
                    "\"Platform\":null,\"AdjustCPUShares\":false}",
                    &(struct expected){"web", "docker.io/library/nginx:1", "", "a", "b",
                                       DOCKER_STATE_EXITED, 1, false});
}

/* `docker run --link db:alias`: the linked container has the alias among its names, first. */
static void a_linked_container_has_its_own_name(void **state)
{
    (void)state;
    check_container("{\"Id\":\"" ID
                    "\",\"Names\":[\"/app/alias\",\"/db\"],\"Image\":\"x\",\"State\":\"created\"}",
                    &(struct expected){"db", "x", "", NULL, NULL, DOCKER_STATE_CREATED, 0, false});
}

static void labels_that_are_no_texts_with_names_are_left_out(void **state)
{
    (void)state;
    check_container("{\"Id\":\"" ID "\",\"Names\":[],\"Labels\":{\"n\":1,\"a\":\"b\",\"x\":null}}",
                    &(struct expected){"", "", "", "a", "b", DOCKER_STATE_UNKNOWN, 1, false});
    check_container("{\"Id\":\"" ID "\",\"Labels\":[\"a\",\"b\"]}",
                    &(struct expected){"", "", "", NULL, NULL, DOCKER_STATE_UNKNOWN, 0, false});
}

static void labels_beyond_the_room_are_left_out(void **state)
{
    (void)state;
    check_container("{\"Id\":\"" ID
                    "\",\"Labels\":{\"a\":\"1\",\"b\":\"2\",\"c\":\"3\",\"d\":\"4\",\"e\":\"5\"}}",
                    &(struct expected){"", "", "", "a", "1", DOCKER_STATE_UNKNOWN, 4, false});
}

static void a_container_without_a_usable_id_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "{}",
        "[]",
        "null",
        "{\"Id\":5}",
        "{\"Id\":\"abc\"}",
        "{\"Id\":\"" ID "0\"}",
        "{\"Id\":\"../3456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"}"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct json *root = NULL;
        struct docker_container container;
        struct error error = {""};
        assert_int_equal(json_parse(bad[i], strlen(bad[i]), &root, &error), 0);
        int rc = docker_container_parse(root, NULL, 0, &container, &error);
        json_destroy(root);
        assert_int_equal(rc, -EINVAL);
        assert_non_null(strstr(error.text, "Id"));
    }
}

/* ---- events ---- */

#define EVENT(type, action)                                                                        \
    "{\"status\":\"x\",\"Type\":\"" type "\",\"Action\":\"" action "\",\"Actor\":{\"ID\":\"" ID    \
    "\",\"Attributes\":{\"image\":\"nginx\",\"name\":\"web\"}},\"scope\":\"local\",\"time\":"      \
    "1795236060,\"timeNano\":1795236060123456789}"

struct told {
    char text[4096];
    struct buf buf;
    int bad;
    int events;
};

static void take_event(const struct docker_event *event, void *data)
{
    struct told *told = data;
    told->events++;
    assert_string_equal(event->id, ID);
    assert_int_equal(
        buf_printf(&told->buf, "%d %s %lld;", event->action, event->name, (long long)event->time_s),
        0);
}

static void take_bad(const char *text, void *data)
{
    struct told *told = data;
    told->bad++;
    assert_true(text[0] != '\0');
}

/* Feeds in chunks of `step`. */
static void read_events(struct told *told, const char *bytes, size_t size, size_t step)
{
    struct docker_event_reader reader;
    docker_event_reader_init(&reader);
    buf_init_fixed(&told->buf, told->text, sizeof(told->text));
    told->bad = told->events = 0;
    reader.on_event = take_event;
    reader.on_bad_event = take_bad;
    reader.data = told;
    for (size_t at = 0; at < size; at += step) {
        docker_event_reader_feed(&reader, bytes + at, step < size - at ? step : size - at);
    }
    docker_event_reader_finish(&reader);
}

static void events_in_chunks_of_any_size_are_the_same(void **state)
{
    (void)state;
    static const char text[] = EVENT("container", "start") "\n" EVENT(
        "container",
        "exec_start: ls") "\r\n"
                          "\n" EVENT("network", "connect") "\n{not json}\n" EVENT(
                              "container",
                              "rename") "\n[]\n" EVENT("container",
                                                       "remove") "\n" EVENT("container",
                                                                            "die") "\n" EVENT("container",
                                                                                              "die");
    struct told told;
    for (size_t step = sizeof(text); step > 0; step--) {
        read_events(&told, text, sizeof(text) - 1, step);
        assert_int_equal(told.bad, 1);
        assert_int_equal(told.events, 4);
        assert_string_equal(buf_terminated(&told.buf),
                            "2 web 1795236060;6 web 1795236060;7 web 1795236060;3 web 1795236060;");
    }
}

static void an_event_over_a_mebibyte_is_told_and_skipped_in_chunks_of_any_size(void **state)
{
    (void)state;
    static const char next[] = "\n" EVENT("container", "start") "\n";
    static const char event[] = EVENT("container", "start");
    size_t size = 1100000 + sizeof(next) - 1;
    char *bytes = malloc(size);
    struct told told;
    assert_non_null(bytes);
    memset(bytes, ' ', size);
    memcpy(bytes, event, sizeof(event) - 1);
    memcpy(bytes + 1100000, next, sizeof(next) - 1);
    int in_chunks[2];
    int whole[2];
    read_events(&told, bytes, size, 16384);
    in_chunks[0] = told.bad;
    in_chunks[1] = told.events;
    read_events(&told, bytes, size, size);
    whole[0] = told.bad;
    whole[1] = told.events;
    free(bytes);
    assert_int_equal(in_chunks[0], 1);
    assert_int_equal(in_chunks[1], 1);
    assert_int_equal(whole[0], 1);
    assert_int_equal(whole[1], 1);
}

static void an_event_whose_id_is_none_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "{}", "{\"Type\":\"container\",\"Action\":\"start\",\"Actor\":{\"ID\":\"abc\"}}",
        ("{\"Type\":\"container\",\"Action\":\"start\",\"Actor\":{\"ID\":"
         "\"../json?x=6789abcdef0123456789abcdef0123456789abcdef0123456789ab\"}}")};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct json *root = NULL;
        struct docker_event event;
        struct error error = {""};
        assert_int_equal(json_parse(bad[i], strlen(bad[i]), &root, &error), 0);
        int rc = docker_event_parse(root, &event, &error);
        json_destroy(root);
        assert_int_equal(rc, -EINVAL);
    }
}

/* ---- endpoints ---- */

static void endpoints_are_those_of_docker_host(void **state)
{
    (void)state;
    static const struct {
        const char *url, *unix_path, *base_url;
        bool use_tls;
    } rows[] = {
        {"unix:///var/run/docker.sock", "/var/run/docker.sock", "", false},
        {"tcp://10.0.0.5:2375", "", "http://10.0.0.5:2375", false},
        {"tcp://10.0.0.5", "", "http://10.0.0.5:2375", false},
        {"http://h:80/", "", "http://h:80", false},
        {"https://h", "", "https://h:2376", true},
        {"https://h:443", "", "https://h:443", true},
        {"tcp://[::1]:2377", "", "http://[::1]:2377", false},
        {"https://[fe80::1]", "", "https://[fe80::1]:2376", true},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct endpoint endpoint;
        struct error error = {""};
        assert_int_equal(endpoint_parse(rows[i].url, NULL, &endpoint, &error), 0);
        assert_string_equal(endpoint.url, rows[i].url);
        assert_string_equal(endpoint.unix_path, rows[i].unix_path);
        assert_string_equal(endpoint.base_url, rows[i].base_url);
        assert_int_equal(endpoint.use_tls, rows[i].use_tls);
    }
}

static void tcp_with_tls_is_https(void **state)
{
    (void)state;
    struct endpoint endpoint;
    struct endpoint_tls tls = {.ca = "/ca.pem"};
    assert_int_equal(endpoint_parse("tcp://h", &tls, &endpoint, NULL), 0);
    assert_string_equal(endpoint.base_url, "https://h:2376");
    assert_string_equal(endpoint.tls.ca, "/ca.pem");
    tls = (struct endpoint_tls){.insecure = true};
    assert_int_equal(endpoint_parse("tcp://h:1", &tls, &endpoint, NULL), 0);
    assert_true(endpoint.use_tls);
}

static void what_is_no_endpoint_is_refused_with_the_remedy(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "docker.sock",
                                      "/var/run/docker.sock",
                                      "unix://run/x",
                                      "unix://",
                                      "tcp://",
                                      "tcp:///x",
                                      "tcp://h:0",
                                      "tcp://h:65536",
                                      "tcp://h:x",
                                      "tcp://h:",
                                      "tcp://h:1/path",
                                      "tcp://u@h:1",
                                      "tcp://h h:1",
                                      "ssh://h",
                                      "npipe:////./pipe/x",
                                      "tcp://::1",
                                      "tcp://:2375",
                                      "tcp://h:00023759",
                                      "tcp://[::1]x:1"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct endpoint endpoint = {.url = "untouched"};
        struct error error = {""};
        int rc = endpoint_parse(bad[i], NULL, &endpoint, &error);
        if (rc == 0) {
            print_error("'%s' became '%s'\n", bad[i], endpoint.base_url);
        }
        assert_int_equal(rc, -EINVAL);
        assert_string_equal(endpoint.url, "untouched");
        assert_true(strlen(error.text) > 10);
    }
}

static void a_url_or_path_that_is_too_long_is_refused(void **state)
{
    (void)state;
    char url[400];
    struct endpoint endpoint;
    struct error error = {""};
    memset(url, 'a', sizeof(url));
    memcpy(url, "unix:///", 8);
    url[399] = '\0';
    assert_int_equal(endpoint_parse(url, NULL, &endpoint, &error), -EINVAL);
    url[7 + 108] = '\0';
    assert_int_equal(endpoint_parse(url, NULL, &endpoint, &error), -EINVAL);
    url[7 + 107] = '\0';
    assert_int_equal(endpoint_parse(url, NULL, &endpoint, &error), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_of_20_10_is_read),
        cmocka_unit_test(a_list_of_29_with_what_was_added_is_read),
        cmocka_unit_test(an_inspection_has_terminal_and_driver),
        cmocka_unit_test(a_list_of_podman_is_read),
        cmocka_unit_test(a_linked_container_has_its_own_name),
        cmocka_unit_test(labels_that_are_no_texts_with_names_are_left_out),
        cmocka_unit_test(labels_beyond_the_room_are_left_out),
        cmocka_unit_test(a_container_without_a_usable_id_is_refused),
        cmocka_unit_test(events_in_chunks_of_any_size_are_the_same),
        cmocka_unit_test(an_event_over_a_mebibyte_is_told_and_skipped_in_chunks_of_any_size),
        cmocka_unit_test(an_event_whose_id_is_none_is_refused),
        cmocka_unit_test(endpoints_are_those_of_docker_host),
        cmocka_unit_test(tcp_with_tls_is_https),
        cmocka_unit_test(what_is_no_endpoint_is_refused_with_the_remedy),
        cmocka_unit_test(a_url_or_path_that_is_too_long_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
