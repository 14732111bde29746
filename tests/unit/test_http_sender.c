/* The sender against a server on threads of this process; the path says how the server behaves. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/http_sender.h"

#define SECOND_NS INT64_C(1000000000)
#define BIG_BYTES 1000000

/* ---- the server ---- */

static int server_port;

static bool send_text(int fd, const char *text, size_t size)
{
    while (size > 0) {
        ssize_t n = send(fd, text, size, MSG_NOSIGNAL);
        if (n <= 0) {
            return false;
        }
        text += n;
        size -= (size_t)n;
    }
    return true;
}

/* The head, terminated; the body is read and counted. */
static bool read_request(int fd, char head[4096], size_t *ret_body)
{
    size_t used = 0;
    const char *end = NULL;
    while (end == NULL) {
        ssize_t n = recv(fd, head + used, 4095 - used, 0);
        if (n <= 0) {
            return false;
        }
        used += (size_t)n;
        head[used] = '\0';
        end = strstr(head, "\r\n\r\n");
    }
    const char *length = strstr(head, "Content-Length: ");
    size_t wanted = length == NULL ? 0 : strtoul(length + 16, NULL, 10);
    size_t there = used - (size_t)(end + 4 - head);
    *ret_body = wanted;
    head[end - head] = '\0';
    while (there < wanted) {
        static _Thread_local char rest[65536];
        ssize_t n = recv(fd, rest, sizeof(rest), 0);
        if (n <= 0) {
            return false;
        }
        there += (size_t)n;
    }
    return true;
}

static bool answer_body(int fd, int status, const char *headers, const char *body, size_t size)
{
    char head[512];
    int n = snprintf(head, sizeof(head), "HTTP/1.1 %d X\r\n%sContent-Length: %zu\r\n\r\n", status,
                     headers, size);
    return send_text(fd, head, (size_t)n) && send_text(fd, body, size);
}

static bool answer_big(int fd)
{
    char *body = malloc(BIG_BYTES);
    memset(body, 'b', BIG_BYTES);
    bool good = answer_body(fd, 500, "", body, BIG_BYTES);
    free(body);
    return good;
}

static void wait_for_close(int fd)
{
    char byte;
    while (recv(fd, &byte, 1, 0) > 0) {
    }
}

/* Whether the connection goes on. */
static bool answer(int fd, const char *head, size_t body_bytes)
{
    char path[64] = "";
    char text[64];
    (void)sscanf(head, "POST %63s", path);
    if (strcmp(path, "/ok") == 0) {
        return send_text(fd, "HTTP/1.1 204 X\r\n\r\n", 18);
    }
    if (strcmp(path, "/head") == 0) {
        return answer_body(fd, 200, "", head, strlen(head));
    }
    if (strcmp(path, "/count") == 0) {
        int n = snprintf(text, sizeof(text), "%zu", body_bytes);
        return answer_body(fd, 200, "", text, (size_t)n);
    }
    if (strcmp(path, "/retry") == 0) {
        return answer_body(fd, 429, "Retry-After: 7\r\n", "slow down", 9);
    }
    if (strcmp(path, "/retry-wrong") == 0) {
        return answer_body(fd, 429, "Retry-After: -3\r\n", "", 0);
    }
    if (strcmp(path, "/retry-long") == 0) {
        return answer_body(fd, 429, "Retry-After: 99999999\r\n", "", 0);
    }
    if (strcmp(path, "/redirect") == 0) {
        return answer_body(fd, 302, "Location: /ok\r\n", "", 0);
    }
    if (strcmp(path, "/big") == 0) {
        return answer_big(fd);
    }
    if (strcmp(path, "/half") == 0) {
        (void)send_text(fd, "HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\nhalf", 41);
        return false;
    }
    if (strcmp(path, "/garbage") == 0) {
        (void)send_text(fd, "\x01\x02 what is this\r\n\r\n", 20);
        return false;
    }
    if (strcmp(path, "/hang") == 0) {
        wait_for_close(fd);
    }
    return false; /* /close */
}

static void *serve(void *data)
{
    int fd = (int)(intptr_t)data;
    char head[4096];
    size_t body_bytes;
    while (read_request(fd, head, &body_bytes) && answer(fd, head, body_bytes)) {
    }
    (void)close(fd);
    return NULL;
}

static void *run_server(void *data)
{
    int listener = (int)(intptr_t)data;
    for (;;) {
        pthread_t thread;
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0 && pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd) == 0) {
            (void)pthread_detach(thread);
        }
    }
    return NULL;
}

static int start_server(void **state)
{
    (void)state;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    pthread_t thread;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(fd, (const struct sockaddr *)&address, size) != 0 || listen(fd, 64) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) != 0) {
        return -1;
    }
    server_port = ntohs(address.sin_port);
    return pthread_create(&thread, NULL, run_server, (void *)(intptr_t)fd) == 0 &&
                   pthread_detach(thread) == 0
               ? 0
               : -1;
}

/* ---- the client's side ---- */

struct got {
    int64_t retry_after_ns;
    size_t body_bytes;
    int rc, status;
    unsigned order;
    bool ended;
    char body[512];
    char text[512];
};

static char url[64];
static unsigned ends;

static struct http_sender *create(struct http_sender_options *options)
{
    struct http_sender *sender = NULL;
    struct error error = {""};
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%d", server_port);
    options->url = options->url == NULL ? url : options->url;
    options->timeout_ns = options->timeout_ns == 0 ? 10 * SECOND_NS : options->timeout_ns;
    int rc = http_sender_create(options, &sender, &error);
    if (rc != 0) {
        fail_msg("http_sender_create: %s", error.text);
    }
    return sender;
}

static void copy(char *ret_text, size_t room, const char *text, size_t size)
{
    size = size < room - 1 ? size : room - 1;
    if (size > 0) {
        memcpy(ret_text, text, size);
    }
    ret_text[size] = '\0';
}

static void handle_end(const struct http_sender_answer *answer, void *data)
{
    struct got *got = data;
    assert_false(got->ended);
    *got = (struct got){.ended = true,
                        .rc = answer->rc,
                        .status = answer->status,
                        .retry_after_ns = answer->retry_after_ns,
                        .body_bytes = answer->body_bytes,
                        .order = ++ends};
    copy(got->body, sizeof(got->body), answer->body, answer->body_bytes);
    copy(got->text, sizeof(got->text), answer->text,
         answer->text == NULL ? 0 : strlen(answer->text));
}

static void start(struct http_sender *sender, const char *path, const char *body, struct got *got)
{
    static const char *const headers[] = {"X-One: 1", "Content-Type: text/test", NULL};
    *got = (struct got){0};
    assert_int_equal(
        http_sender_start(sender, &(struct http_sender_request){.path = path,
                                                                .headers = headers,
                                                                .body = body,
                                                                .body_bytes = strlen(body),
                                                                .on_end = handle_end,
                                                                .data = got}),
        0);
    assert_false(got->ended); /* never from within */
}

static int64_t now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * SECOND_NS + now.tv_nsec;
}

static void finish(struct http_sender *sender, const struct got *got)
{
    int64_t end = now_ns() + 30 * SECOND_NS;
    while (!got->ended && now_ns() < end) {
        http_sender_poll(sender, SECOND_NS, -1);
    }
    assert_true(got->ended);
}

static struct got ask(struct http_sender *sender, const char *path, const char *body)
{
    struct got got;
    start(sender, path, body, &got);
    finish(sender, &got);
    return got;
}

/* ---- tests ---- */

static void requests_carry_body_and_headers(void **state)
{
    (void)state;
    struct http_sender *sender = create(&(struct http_sender_options){0});
    struct got got = ask(sender, "/head", "hello");
    assert_int_equal(got.rc, 0);
    assert_int_equal(got.status, 200);
    assert_non_null(strstr(got.body, "\r\nX-One: 1"));
    assert_non_null(strstr(got.body, "\r\nContent-Type: text/test"));
    assert_non_null(strstr(got.body, "\r\nContent-Length: 5"));
    assert_null(strstr(got.body, "Expect:"));
    assert_null(strstr(got.body, "Authorization"));
    assert_string_equal(ask(sender, "/count", "").body, "0");
    char *big = malloc(3 * BIG_BYTES + 1);
    assert_non_null(big);
    memset(big, 'x', 3 * BIG_BYTES);
    big[3 * BIG_BYTES] = '\0';
    assert_string_equal(ask(sender, "/count", big).body, "3000000");
    free(big);
    assert_int_equal(http_sender_sockets(sender), 1); /* kept alive */
    http_sender_destroy(sender);
}

static void answers_say_how_it_went(void **state)
{
    (void)state;
    struct http_sender *sender = create(&(struct http_sender_options){0});
    assert_int_equal(ask(sender, "/ok", "x").status, 204);
    struct got got = ask(sender, "/retry", "x");
    assert_int_equal(got.status, 429);
    assert_int_equal(got.retry_after_ns, 7 * SECOND_NS);
    assert_string_equal(got.body, "slow down");
    assert_int_equal(ask(sender, "/retry-wrong", "x").retry_after_ns, 0);
    assert_int_equal(ask(sender, "/retry-long", "x").retry_after_ns, 0);
    assert_int_equal(ask(sender, "/redirect", "x").status, 302); /* not followed */
    got = ask(sender, "/big", "x");
    assert_int_equal(got.rc, 0);
    assert_int_equal(got.status, 500);
    assert_int_equal(got.body_bytes, HTTP_SENDER_BODY_LIMIT);
    static const char *const broken[] = {"/close", "/half", "/garbage"};
    for (size_t i = 0; i < 3; i++) {
        got = ask(sender, broken[i], "x");
        assert_true(got.rc < 0);
        assert_string_not_equal(got.text, "");
    }
    assert_int_equal(ask(sender, "/ok", "x").status, 204);
    http_sender_destroy(sender);
    sender = create(&(struct http_sender_options){.url = "http://127.0.0.1:1"});
    assert_int_equal(ask(sender, "/ok", "x").rc, -ECONNREFUSED);
    assert_int_equal(http_sender_sockets(sender), 0);
    http_sender_destroy(sender);
}

static void a_request_takes_no_longer_than_its_timeout(void **state)
{
    (void)state;
    struct http_sender *sender = create(&(struct http_sender_options){.timeout_ns = SECOND_NS / 2});
    int64_t from = now_ns();
    struct got got = ask(sender, "/hang", "x");
    assert_int_equal(got.rc, -ETIMEDOUT);
    assert_true(now_ns() - from >= SECOND_NS * 4 / 10 && now_ns() - from < 5 * SECOND_NS);
    assert_int_equal(http_sender_sockets(sender), 0);
    http_sender_destroy(sender);
}

static void many_requests_are_under_way_at_a_time(void **state)
{
    (void)state;
    enum { COUNT = 20 };
    struct http_sender *sender = create(
        &(struct http_sender_options){.timeout_ns = 20 * SECOND_NS});
    struct got hanging;
    struct got got[COUNT];
    start(sender, "/hang", "x", &hanging);
    for (size_t i = 0; i < COUNT; i++) {
        start(sender, "/ok", "x", &got[i]);
    }
    int64_t from = now_ns();
    for (size_t i = 0; i < COUNT; i++) {
        finish(sender, &got[i]);
        assert_int_equal(got[i].status, 204);
    }
    assert_true(now_ns() - from < 5 * SECOND_NS); /* nobody waits for the one that hangs */
    assert_false(hanging.ended);
    assert_true(http_sender_sockets(sender) <= COUNT + 1);
    http_sender_destroy(sender); /* it ends without its callback */
    assert_false(hanging.ended);
}

static void polling_ends_by_the_wake_fd_and_by_time(void **state)
{
    (void)state;
    struct http_sender *sender = create(&(struct http_sender_options){0});
    struct got got;
    int fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    start(sender, "/hang", "x", &got);
    int64_t from = now_ns();
    while (now_ns() - from < SECOND_NS / 5) { /* until it is on its way */
        http_sender_poll(sender, SECOND_NS / 100, -1);
    }
    from = now_ns();
    http_sender_poll(sender, 20 * SECOND_NS, fd);
    assert_true(now_ns() - from < 5 * SECOND_NS);
    (void)close(fd);
    from = now_ns();
    http_sender_poll(sender, SECOND_NS / 5, -1);
    assert_true(now_ns() - from < 5 * SECOND_NS);
    assert_false(got.ended);
    http_sender_destroy(sender);
}

static void sockets_are_counted_back_to_none(void **state)
{
    (void)state;
    static const char *const paths[] = {"/ok", "/close", "/half", "/garbage", "/hang"};
    struct http_sender *sender = create(&(struct http_sender_options){.timeout_ns = SECOND_NS / 2});
    struct got got[15];
    for (size_t i = 0; i < 15; i++) {
        start(sender, paths[i % 5], "x", &got[i]);
    }
    for (size_t i = 0; i < 15; i++) {
        finish(sender, &got[i]);
    }
    size_t left = http_sender_sockets(sender);
    assert_true(left <= 3); /* idle ones of /ok */
    assert_int_equal(ask(sender, "/close", "x").rc < 0, true);
    assert_int_equal(ask(sender, "/ok", "x").status, 204);
    assert_true(http_sender_sockets(sender) <= 3 && http_sender_sockets(sender) >= 1);
    http_sender_destroy(sender);
}

/* ---- secrets ---- */

static char secret_path[] = "/tmp/test_secret.XXXXXX";

static void write_secret(const char *text, mode_t mode)
{
    int fd = open(secret_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    (void)close(fd);
}

static int make_secret(void **state)
{
    (void)state;
    memcpy(secret_path + sizeof(secret_path) - 7, "XXXXXX", 6);
    int fd = mkstemp(secret_path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_secret(void **state)
{
    (void)state;
    (void)unlink(secret_path);
    return 0;
}

static void secrets_are_read_for_each_request(void **state)
{
    (void)state;
    write_secret("first\n", 0600);
    struct http_sender *sender = create(
        &(struct http_sender_options){.bearer_token_file = secret_path});
    assert_non_null(strstr(ask(sender, "/head", "x").body, "\r\nAuthorization: Bearer first"));
    write_secret("second", 0640);
    assert_non_null(strstr(ask(sender, "/head", "x").body, "\r\nAuthorization: Bearer second"));
    write_secret("third", 0644);
    struct got got = ask(sender, "/head", "x");
    assert_int_equal(got.rc, -EACCES);
    assert_non_null(strstr(got.text, secret_path));
    (void)unlink(secret_path);
    got = ask(sender, "/head", "x");
    assert_int_equal(got.rc, -EACCES);
    assert_non_null(strstr(got.text, secret_path));
    write_secret("fourth\r\n", 0400);
    assert_non_null(strstr(ask(sender, "/head", "x").body, "\r\nAuthorization: Bearer fourth"));
    http_sender_destroy(sender);
}

static void a_password_may_be_any_text(void **state)
{
    (void)state;
    write_secret("pa:ss wo\xc3\xb6rd\n", 0600);
    struct http_sender *sender = create(
        &(struct http_sender_options){.username = "me", .password_file = secret_path});
    assert_non_null(
        strstr(ask(sender, "/head", "x").body, "\r\nAuthorization: Basic bWU6cGE6c3Mgd2/DtnJk"));
    http_sender_destroy(sender);
}

static void bad_secrets_are_refused_at_once(void **state)
{
    (void)state;
    static const char *const contents[] = {"", "\n", "two\nlines", "\r\n"};
    struct http_sender *sender = NULL;
    struct http_sender_options options = {
        .url = "http://127.0.0.1:1", .bearer_token_file = secret_path, .timeout_ns = SECOND_NS};
    for (size_t i = 0; i < sizeof(contents) / sizeof(contents[0]); i++) {
        struct error error = {""};
        write_secret(contents[i], 0600);
        assert_int_equal(http_sender_create(&options, &sender, &error), -EINVAL);
        assert_non_null(strstr(error.text, secret_path));
    }
    write_secret("good", 0604);
    assert_int_equal(http_sender_create(&options, &sender, NULL), -EINVAL);
    (void)unlink(secret_path);
    assert_int_equal(http_sender_create(&options, &sender, NULL), -EINVAL);
    options.bearer_token_file = "/tmp";
    assert_int_equal(http_sender_create(&options, &sender, NULL), -EINVAL);
}

/* A secret longer than there is room for is refused, not cut. */
static void a_secret_is_never_cut(void **state)
{
    (void)state;
    char *text = malloc(20001);
    assert_non_null(text);
    memset(text, 's', 20000);
    text[20000] = '\0';
    write_secret(text, 0600);
    free(text);
    struct http_sender *sender = NULL;
    struct http_sender_options options = {
        .url = "http://127.0.0.1:1", .bearer_token_file = secret_path, .timeout_ns = SECOND_NS};
    assert_int_equal(http_sender_create(&options, &sender, NULL), -EINVAL);
}

/* Nobody writes to it: reading it would block the agent for ever. */
static void a_pipe_is_no_secret(void **state)
{
    (void)state;
    (void)unlink(secret_path);
    assert_int_equal(mkfifo(secret_path, 0600), 0);
    struct http_sender *sender = NULL;
    struct http_sender_options options = {
        .url = "http://127.0.0.1:1", .bearer_token_file = secret_path, .timeout_ns = SECOND_NS};
    (void)alarm(20);
    assert_int_equal(http_sender_create(&options, &sender, NULL), -EINVAL);
    (void)alarm(0);
}

int main(void)
{
#define SECRET(test) cmocka_unit_test_setup_teardown(test, make_secret, remove_secret)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_carry_body_and_headers),
        cmocka_unit_test(answers_say_how_it_went),
        cmocka_unit_test(a_request_takes_no_longer_than_its_timeout),
        cmocka_unit_test(many_requests_are_under_way_at_a_time),
        cmocka_unit_test(polling_ends_by_the_wake_fd_and_by_time),
        cmocka_unit_test(sockets_are_counted_back_to_none),
        SECRET(secrets_are_read_for_each_request),
        SECRET(a_password_may_be_any_text),
        SECRET(bad_secrets_are_refused_at_once),
        SECRET(a_secret_is_never_cut),
        SECRET(a_pipe_is_no_secret),
    };
    return cmocka_run_group_tests(tests, start_server, NULL);
}
