/* Making and ending containers: what is asked of the daemon, byte by byte, and what is made of its answers. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "docker/docker_images.h"
#include "docker/docker_lifecycle.h"

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define PATIENCE_NS (INT64_C(10) * 1000000000)

/* ---- a daemon of prepared answers ---- */

struct answer {
    const char *request; /* beginning of `METHOD path` */
    int status;          /* 0: the connection is closed without an answer */
    const char *body;
};

static struct daemon {
    pthread_t thread;
    int listen_fd;
    char path[64];
    const struct answer *answers; /* ends with a NULL request */
    pthread_mutex_t lock;
    char asked[4096]; /* each request line and body, in order */
} daemon_ = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void note(const char *line, const char *body)
{
    (void)pthread_mutex_lock(&daemon_.lock);
    size_t used = strlen(daemon_.asked);
    (void)snprintf(daemon_.asked + used, sizeof(daemon_.asked) - used, "%.200s%s%.1500s\n", line,
                   body[0] != '\0' ? " " : "", body);
    (void)pthread_mutex_unlock(&daemon_.lock);
}

static const struct answer *answer_to(const char *line)
{
    (void)pthread_mutex_lock(&daemon_.lock);
    const struct answer *answer = daemon_.answers;
    (void)pthread_mutex_unlock(&daemon_.lock);
    while (answer->request != NULL &&
           strncmp(line, answer->request, strlen(answer->request)) != 0) {
        answer++;
    }
    return answer;
}

/* The size of the whole request; 0: it is not all there. */
static size_t whole_request(const char *bytes, size_t *ret_body)
{
    const char *end = strstr(bytes, "\r\n\r\n");
    const char *length = strcasestr(bytes, "Content-Length: ");
    if (end == NULL) {
        return 0;
    }
    *ret_body = (size_t)(end + 4 - bytes);
    size_t size = *ret_body + (length != NULL && length < end ? strtoul(length + 16, NULL, 10) : 0);
    return size <= strlen(bytes) ? size : 0;
}

/* Whether the connection goes on. */
static bool answer_one(int fd, char *bytes, size_t body)
{
    char head[256];
    char *line_end = strstr(bytes, " HTTP/1.1\r\n");
    *line_end = '\0';
    static const struct answer ping = {"GET /_ping", 200, "OK"};
    bool is_ping = strncmp(bytes, ping.request, strlen(ping.request)) == 0;
    if (!is_ping) {
        note(bytes, bytes + body);
    }
    const struct answer *answer = is_ping ? &ping : answer_to(bytes);
    bool raw = strstr(bytes, "/start") != NULL && strstr(bytes, "/exec/") != NULL;
    if (answer->request == NULL || answer->status == 0) {
        return false;
    }
    const char *length = raw ? "X-Raw: 0" : "Content-Length: ";
    (void)snprintf(head, sizeof(head), "HTTP/1.1 %d x\r\nApi-Version: 1.43\r\n%s%zu\r\n\r\n",
                   answer->status, length, strlen(answer->body));
    (void)send(fd, head, strlen(head), MSG_NOSIGNAL);
    (void)send(fd, answer->body, strlen(answer->body), MSG_NOSIGNAL);
    return !raw;
}

static void *serve_connection(void *data)
{
    int fd = (int)(intptr_t)data;
    static _Thread_local char bytes[8192];
    size_t size = 0;
    size_t body;
    ssize_t n;
    bool goes_on = true;
    while (goes_on && (n = recv(fd, bytes + size, sizeof(bytes) - 1 - size, 0)) > 0) {
        size += (size_t)n;
        bytes[size] = '\0';
        if (whole_request(bytes, &body) > 0) {
            goes_on = answer_one(fd, bytes, body);
            size = 0;
        }
    }
    (void)close(fd);
    return NULL;
}

static void *serve(void *data)
{
    (void)data;
    int fd;
    while ((fd = accept(daemon_.listen_fd, NULL, NULL)) >= 0) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, serve_connection, (void *)(intptr_t)fd) == 0) {
            (void)pthread_detach(thread);
        }
    }
    return NULL;
}

/* ---- a client of it ---- */

static struct fixture {
    struct loop *loop;
    struct metrics *metrics;
    struct http_client *http;
    struct docker_client *client;
    unsigned done;
    enum docker_verdict verdict;
    int64_t number;
    char text[512], id[80];
} f;

static void until_done(void)
{
    int64_t limit_ns = loop_now_ns(f.loop) + PATIENCE_NS;
    while (f.done == 0) {
        assert_true(loop_now_ns(f.loop) < limit_ns);
        assert_int_equal(loop_iterate(f.loop, 100000000), 0);
    }
    assert_int_equal(f.done, 1);
    f.done = 0;
}

static void take(const struct docker_outcome *outcome)
{
    f.done++;
    f.verdict = outcome->verdict;
    (void)snprintf(f.text, sizeof(f.text), "%s", outcome->text != NULL ? outcome->text : "");
}

static void handle_done(const struct docker_outcome *outcome, void *data)
{
    (void)data;
    take(outcome);
}

static void begin(const struct answer *answers)
{
    char url[96];
    struct endpoint endpoint;
    struct error error = {""};
    (void)pthread_mutex_lock(&daemon_.lock);
    daemon_.answers = answers;
    daemon_.asked[0] = '\0';
    (void)pthread_mutex_unlock(&daemon_.lock);
    memset(&f, 0, sizeof(f));
    assert_int_equal(loop_create(clock_real(), &f.loop), 0);
    assert_int_equal(metrics_create(&f.metrics), 0);
    assert_int_equal(http_client_create(&(struct http_client_options){.loop = f.loop,
                                                                      .metrics = f.metrics,
                                                                      .idle_total = 4,
                                                                      .idle_per_host = 4,
                                                                      .opens_limit = 4},
                                        &f.http),
                     0);
    (void)snprintf(url, sizeof(url), "unix://%s", daemon_.path);
    assert_int_equal(endpoint_parse(url, NULL, &endpoint, &error), 0);
    assert_int_equal(docker_client_create(f.http, "test", &endpoint, &f.client), 0);
    assert_int_equal(docker_ping(f.client, handle_done, NULL), 0);
    until_done();
}

static void finish(void)
{
    http_client_shutdown(f.http);
    docker_client_destroy(f.client);
    http_client_destroy(f.http);
    metrics_destroy(f.metrics);
    loop_destroy(f.loop);
}

static void handle_created(const struct docker_outcome *outcome, const char *id, void *data)
{
    (void)data;
    take(outcome);
    (void)snprintf(f.id, sizeof(f.id), "%s", id != NULL ? id : "none");
}

static void handle_number(const struct docker_outcome *outcome, int64_t number, void *data)
{
    (void)data;
    take(outcome);
    f.number = number;
}

static void asked(const char *expected)
{
    (void)pthread_mutex_lock(&daemon_.lock);
    assert_string_equal(daemon_.asked, expected);
    daemon_.asked[0] = '\0';
    (void)pthread_mutex_unlock(&daemon_.lock);
}

/* ---- the tests ---- */

static const char *const command[] = {"serve", "--all", NULL};
static const char *const environment[] = {"A=b", NULL};
static const struct record_label label = {.key = "who", .value = "me"};
static const struct docker_port port = {"tcp", "127.0.0.1", 80, 49153};
static const struct docker_spec spec = {.name = "a b",
                                        .image = "some/image:1",
                                        .command = command,
                                        .environment = environment,
                                        .labels = &label,
                                        .label_count = 1,
                                        .ports = &port,
                                        .port_count = 1,
                                        .network = "net",
                                        .memory_bytes = 1024,
                                        .init = true};

static void a_container_is_created_as_the_spec_says(void **state)
{
    (void)state;
    static const struct answer answers[] = {{"POST /v1", 201, "{\"Id\":\"" ID "\"}"},
                                            {NULL, 0, ""}};
    begin(answers);
    assert_int_equal(docker_create(f.client, &spec, handle_created, NULL), 0);
    until_done();
    assert_int_equal(f.verdict, DOCKER_OK);
    assert_string_equal(f.id, ID);
    asked(
        "POST /v1.43/containers/create?name=a%20b {\"Image\":\"some/image:1\",\"Cmd\":[\"serve\","
        "\"--all\"],\"Env\":[\"A=b\"],\"Labels\":{\"who\":\"me\"},\"ExposedPorts\":{\"80/tcp\":{}},"
        "\"HostConfig\":{\"PortBindings\":{\"80/tcp\":[{\"HostIp\":\"127.0.0.1\",\"HostPort\":"
        "\"49153\"}]},\"Memory\":1024,\"Init\":true,\"NetworkMode\":\"net\"}}\n");
    finish();
}

static void what_is_wrong_with_a_creation_is_told(void **state)
{
    (void)state;
    static const struct {
        struct answer answers[2];
        enum docker_verdict verdict;
        const char *said;
    } rows[] = {
        {{{"POST", 404, "{\"message\":\"No such image: some/image:1\"}"}, {NULL, 0, ""}},
         DOCKER_NOT_FOUND,
         "No such image"},
        {{{"POST", 409, "{\"message\":\"in use\"}"}, {NULL, 0, ""}}, DOCKER_CONFLICT, "in use"},
        {{{"POST", 400, "{\"message\":\"no\"}"}, {NULL, 0, ""}}, DOCKER_REFUSED, "no"},
        {{{"POST", 500, "{\"message\":\"oh\"}"}, {NULL, 0, ""}}, DOCKER_UNAVAILABLE, "oh"},
        {{{"POST", 201, "{\"Id\":\"short\"}"}, {NULL, 0, ""}}, DOCKER_UNAVAILABLE, "no usable Id"},
        {{{"POST", 201, "{\"Id\":7}"}, {NULL, 0, ""}}, DOCKER_UNAVAILABLE, "no usable Id"},
        {{{"POST", 201, "[]"}, {NULL, 0, ""}}, DOCKER_UNAVAILABLE, "no usable Id"},
        {{{"POST", 201, "{"}, {NULL, 0, ""}}, DOCKER_UNAVAILABLE, "unix://"},
        {{{"POST", 0, ""}, {NULL, 0, ""}}, DOCKER_UNAVAILABLE, ""}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        begin(rows[i].answers);
        assert_int_equal(docker_create(f.client, &spec, handle_created, NULL), 0);
        until_done();
        assert_int_equal(f.verdict, rows[i].verdict);
        assert_string_equal(f.id, "none");
        if (strstr(f.text, rows[i].said) == NULL) {
            fail_msg("row %zu: %s", i, f.text);
        }
        finish();
    }
}

static void each_step_of_a_life_has_its_call(void **state)
{
    (void)state;
    static const struct answer answers[] = {
        {"POST /v1.43/containers/x/start", 204, ""},
        {"POST /v1.43/containers/x/stop", 304, ""},
        {"POST /v1.43/containers/x/restart", 204, ""},
        {"POST /v1.43/containers/x/kill", 204, ""},
        {"POST /v1.43/containers/x/wait", 200, "{\"StatusCode\":137}"},
        {"DELETE /v1.43/containers/x", 204, ""},
        {"GET /v1.43/images", 404, "{\"message\":\"none\"}"},
        {"POST /v1.43/images", 200, "{\"status\":\"Pulling\"}\r\n{\"status\":\"Done\"}\r\n"},
        {"POST /v1.43/networks/create", 201, "{\"Id\":\"n\"}"},
        {"DELETE /v1.43/networks", 204, ""},
        {NULL, 0, ""}};
    begin(answers);
    assert_int_equal(docker_start(f.client, "x", handle_done, NULL), 0);
    until_done();
    assert_int_equal(f.verdict, DOCKER_OK);
    asked("POST /v1.43/containers/x/start\n");
    assert_int_equal(docker_stop(f.client, "x", 7, handle_done, NULL), 0);
    until_done();
    assert_int_equal(f.verdict, DOCKER_OK); /* 304: it was stopped already */
    asked("POST /v1.43/containers/x/stop?t=7\n");
    assert_int_equal(docker_restart(f.client, "x", 1, handle_done, NULL), 0);
    until_done();
    asked("POST /v1.43/containers/x/restart?t=1\n");
    assert_int_equal(docker_kill(f.client, "x", "SIGUSR1", handle_done, NULL), 0);
    until_done();
    asked("POST /v1.43/containers/x/kill?signal=SIGUSR1\n");
    assert_int_equal(docker_wait(f.client, "x", handle_number, NULL), 0);
    until_done();
    assert_int_equal(f.number, 137);
    asked("POST /v1.43/containers/x/wait\n");
    assert_int_equal(docker_remove(f.client, "x", handle_done, NULL), 0);
    until_done();
    asked("DELETE /v1.43/containers/x?force=1&v=1\n");
    assert_int_equal(docker_image_look(f.client, "a/b:1", handle_done, NULL), 0);
    until_done();
    assert_int_equal(f.verdict, DOCKER_NOT_FOUND);
    assert_int_equal(docker_image_pull(f.client, "a/b:1", handle_done, NULL), 0);
    until_done();
    assert_int_equal(f.verdict, DOCKER_OK);
    assert_int_equal(
        docker_network_create(f.client, "n", &(struct record_label){"k", "v"}, handle_done, NULL),
        0);
    until_done();
    assert_int_equal(f.verdict, DOCKER_OK);
    assert_int_equal(docker_network_remove(f.client, "n", handle_done, NULL), 0);
    until_done();
    assert_int_equal(f.verdict, DOCKER_OK);
    finish();
}

static void a_pull_that_fails_on_the_way_has_failed(void **state)
{
    (void)state;
    static const struct answer answers[] = {
        {"POST", 200, "{\"status\":\"Pulling\"}\n{\"error\":\"manifest unknown\"}\n"},
        {NULL, 0, ""}};
    begin(answers);
    assert_int_equal(docker_image_pull(f.client, "a/b:1", handle_done, NULL), 0);
    until_done();
    assert_int_not_equal(f.verdict, DOCKER_OK);
    assert_non_null(strstr(f.text, "manifest unknown"));
    finish();
}

static void a_command_in_a_container_is_waited_for(void **state)
{
    (void)state;
    static const struct answer answers[] = {
        {"POST /v1.43/containers/x/exec", 201, "{\"Id\":\"e1\"}"},
        {"POST /v1.43/exec/e1/start", 200, "some output"},
        {"GET /v1.43/exec/e1/json", 200, "{\"Running\":false,\"ExitCode\":3}"},
        {NULL, 0, ""}};
    begin(answers);
    assert_int_equal(docker_exec(f.client, "x", command, handle_number, NULL), 0);
    until_done();
    assert_int_equal(f.verdict, DOCKER_OK);
    assert_int_equal(f.number, 3);
    asked("POST /v1.43/containers/x/exec {\"Cmd\":[\"serve\",\"--all\"],\"AttachStdout\":true,"
          "\"AttachStderr\":true}\n"
          "POST /v1.43/exec/e1/start {\"Detach\":false,\"Tty\":false}\n"
          "GET /v1.43/exec/e1/json\n");
    finish();
}

static void a_command_that_can_not_be_run_or_seen_is_a_failure(void **state)
{
    (void)state;
    static const struct answer rows[][4] = {
        {{"POST /v1.43/containers", 409, "{\"message\":\"not running\"}"}, {NULL, 0, ""}},
        {{"POST /v1.43/containers", 201, "{}"}, {NULL, 0, ""}},
        {{"POST /v1.43/containers", 201, "{\"Id\":\"e1\"}"},
         {"POST /v1.43/exec", 500, ""},
         {NULL, 0, ""}},
        {{"POST /v1.43/containers", 201, "{\"Id\":\"e1\"}"},
         {"POST /v1.43/exec", 200, ""},
         {"GET", 200, "{\"Running\":true,\"ExitCode\":null}"},
         {NULL, 0, ""}}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        begin(rows[i]);
        assert_int_equal(docker_exec(f.client, "x", command, handle_number, NULL), 0);
        until_done();
        assert_int_not_equal(f.verdict, DOCKER_OK);
        assert_string_not_equal(f.text, "");
        finish();
    }
}

/* ---- details ---- */

static void details_have_state_address_and_ports(void **state)
{
    (void)state;
    static const char text[] =
        "{\"Id\":\"" ID "\",\"Name\":\"/web\",\"Config\":{\"Image\":\"i\"},"
        "\"State\":{\"Status\":\"exited\",\"Running\":false,\"ExitCode\":137,\"OOMKilled\":true,"
        "\"Error\":\"oh\"},\"NetworkSettings\":{\"IPAddress\":\"\",\"Networks\":{\"n\":{\"IPAddress\":"
        "\"172.20.0.2\"}},\"Ports\":{\"80/tcp\":[{\"HostIp\":\"127.0.0.1\",\"HostPort\":\"49153\"}],"
        "\"53/udp\":null,\"x\":[{\"HostPort\":\"1\"}]}}}";
    struct json *root = NULL;
    struct docker_details details;
    struct error error = {""};
    assert_int_equal(json_parse(text, strlen(text), &root, &error), 0);
    assert_int_equal(docker_details_parse(root, &details, &error), 0);
    assert_string_equal(details.name, "web");
    assert_string_equal(details.ip, "172.20.0.2");
    assert_string_equal(details.error, "oh");
    assert_int_equal(details.state, DOCKER_STATE_EXITED);
    assert_false(details.running);
    assert_true(details.oom_killed);
    assert_int_equal(details.exit_code, 137);
    assert_int_equal(details.port_count, 1);
    assert_int_equal(details.ports[0].container_port, 80);
    assert_int_equal(details.ports[0].host_port, 49153);
    assert_string_equal(details.ports[0].protocol, "tcp");
    json_destroy(root);
}

static int start_daemon(void **state)
{
    (void)state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/test_lifecycle.%d",
                   (int)getpid());
    (void)snprintf(daemon_.path, sizeof(daemon_.path), "%.60s", address.sun_path);
    daemon_.listen_fd = socket(AF_UNIX, SOCK_STREAM, 0);
    return bind(daemon_.listen_fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
                   listen(daemon_.listen_fd, 16) == 0
               ? pthread_create(&daemon_.thread, NULL, serve, NULL)
               : -1;
}

static int stop_daemon(void **state)
{
    (void)state;
    (void)shutdown(daemon_.listen_fd, SHUT_RDWR);
    (void)pthread_join(daemon_.thread, NULL);
    (void)close(daemon_.listen_fd);
    return unlink(daemon_.path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_container_is_created_as_the_spec_says),
        cmocka_unit_test(what_is_wrong_with_a_creation_is_told),
        cmocka_unit_test(each_step_of_a_life_has_its_call),
        cmocka_unit_test(a_pull_that_fails_on_the_way_has_failed),
        cmocka_unit_test(a_command_in_a_container_is_waited_for),
        cmocka_unit_test(a_command_that_can_not_be_run_or_seen_is_a_failure),
        cmocka_unit_test(details_have_state_address_and_ports),
    };
    return cmocka_run_group_tests(tests, start_daemon, stop_daemon);
}
