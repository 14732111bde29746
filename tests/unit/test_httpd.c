/* The HTTP server over loopback: a client thread talks, the test iterates the loop. */
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "web/exporter.h"
#include "web/httpd.h"

static char seen_accept[256];

static int handle_hello(const struct httpd_request *request, struct httpd_response *response,
                        void *data)
{
    assert_ptr_equal(data, seen_accept);
    (void)snprintf(seen_accept, sizeof(seen_accept), "%s", request->accept);
    return buf_append_str(&response->body, "{\"hello\":1}\n");
}

static int handle_failure(const struct httpd_request *request, struct httpd_response *response,
                          void *data)
{
    (void)request;
    (void)response;
    (void)data;
    return -EIO;
}

static struct exporter *exporter;

static int handle_metrics(const struct httpd_request *request, struct httpd_response *response,
                          void *data)
{
    (void)data;
    return exporter_answer(exporter, request, response);
}

static const struct httpd_route routes[] = {{"/hello", "Says hello.", handle_hello},
                                            {"/fails", "Fails.", handle_failure},
                                            {"/metrics", "Metrics.", handle_metrics},
                                            {NULL, NULL, NULL}};

struct talk {
    uint16_t port;
    const char *request;
    size_t request_bytes;
    char answer[65536];
    _Atomic bool done;
};

/* Sends, half-closes nothing, and reads until the server closes. */
static void *talk_to_server(void *data)
{
    struct talk *talk = data;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(talk->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    size_t size = 0;
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
        send(fd, talk->request, talk->request_bytes, MSG_NOSIGNAL) >= 0) {
        (void)shutdown(fd, SHUT_WR);
        ssize_t n;
        while (size + 1 < sizeof(talk->answer) &&
               (n = recv(fd, talk->answer + size, sizeof(talk->answer) - 1 - size, 0)) > 0) {
            size += (size_t)n;
        }
    }
    talk->answer[size] = '\0';
    close(fd);
    atomic_store(&talk->done, true);
    return NULL;
}

struct fixture {
    struct loop *loop;
    struct metrics *metrics;
    struct httpd *httpd;
};

static struct talk talk;

static void begin(struct fixture *f)
{
    struct error error = {""};
    assert_int_equal(loop_create(clock_real(), &f->loop), 0);
    assert_int_equal(metrics_create(&f->metrics), 0);
    assert_int_equal(exporter_create(f->metrics, "1.2.3", &exporter), 0);
    assert_int_equal(httpd_create(&(struct httpd_options){.loop = f->loop,
                                                          .metrics = f->metrics,
                                                          .listen = "127.0.0.1:0",
                                                          .routes = routes,
                                                          .data = seen_accept},
                                  &f->httpd, &error),
                     0);
    assert_int_not_equal(httpd_port(f->httpd), 0);
}

static void finish(struct fixture *f)
{
    httpd_destroy(f->httpd);
    exporter_destroy(exporter);
    metrics_destroy(f->metrics);
    loop_destroy(f->loop);
}

static const char *ask_bytes(struct fixture *f, const char *request, size_t size)
{
    pthread_t thread;
    talk.port = httpd_port(f->httpd);
    talk.request = request;
    talk.request_bytes = size;
    atomic_store(&talk.done, false);
    assert_int_equal(pthread_create(&thread, NULL, talk_to_server, &talk), 0);
    while (!atomic_load(&talk.done)) {
        assert_int_equal(loop_iterate(f->loop, 5000000), 0);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    return talk.answer;
}

static const char *ask(struct fixture *f, const char *request)
{
    return ask_bytes(f, request, strlen(request));
}

static void assert_begins(const char *text, const char *with)
{
    if (strncmp(text, with, strlen(with)) != 0) {
        fail_msg("not '%s' but: %.200s", with, text);
    }
}

static void assert_body(const char *text, const char *body)
{
    const char *at = strstr(text, "\r\n\r\n");
    assert_non_null(at);
    assert_string_equal(at + 4, body);
}

static void pages_are_answered_by_their_routes(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    const char *text = ask(&f, "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                               "Accept: a/b;q=1\r\n\r\n");
    assert_begins(text, "HTTP/1.1 200 ");
    assert_body(text, "{\"hello\":1}\n");
    assert_string_equal(seen_accept, "a/b;q=1");
    text = ask(&f, "GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_begins(text, "HTTP/1.1 404 ");
    text = ask(&f, "GET /fails HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_begins(text, "HTTP/1.1 500 ");
    text = ask(&f, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_non_null(strstr(text, "/hello"));
    finish(&f);
}

static void head_has_no_body_and_post_is_not_allowed(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    const char *text = ask(&f, "HEAD /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_begins(text, "HTTP/1.1 200 ");
    assert_body(text, "");
    text = ask(&f,
               "POST /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\n"
               "abc");
    assert_begins(text, "HTTP/1.1 405 ");
    text = ask(&f, "DELETE /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_begins(text, "HTTP/1.1 405 ");
    finish(&f);
}

static void metrics_come_in_the_form_that_accept_asks_for(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    const char *text = ask(&f, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_non_null(strstr(text, "text/plain; version=0.0.4"));
    assert_non_null(strstr(text, "log_capturer_build_info"));
    assert_null(strstr(text, "# EOF"));
    text = ask(&f, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: "
                   "application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n\r\n");
    assert_non_null(strstr(text, "application/openmetrics-text"));
    assert_non_null(strstr(text, "# EOF\n"));
    finish(&f);
}

static void garbage_does_no_harm(void **state)
{
    (void)state;
    static const char *const requests[] = {
        "\r\n\r\n",
        "GET",
        "\x16\x03\x01\x02",
        "GET /hello\r\n\r\n",
        "A B C D E\r\n\r\n",
        "GET /\x01\xff HTTP/9.9\r\n:\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"};
    static char long_request[50000];
    struct fixture f;
    begin(&f);
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        (void)ask(&f, requests[i]);
    }
    memset(long_request, 'a', sizeof(long_request));
    (void)ask_bytes(&f, long_request, sizeof(long_request));
    memset(long_request, 0, sizeof(long_request));
    (void)ask_bytes(&f, long_request, sizeof(long_request));
    const char *text = ask(&f, "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_begins(text, "HTTP/1.1 200 ");
    finish(&f);
}

static void an_address_that_can_not_be_listened_on_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "localhost", "127.0.0.1:", "127.0.0.1:x",
                                      "127.0.0.1:70000"};
    struct fixture f;
    struct httpd *httpd = NULL;
    struct error error = {""};
    begin(&f);
    struct httpd_options options = {.loop = f.loop, .metrics = f.metrics, .routes = routes};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        options.listen = bad[i];
        assert_int_equal(httpd_create(&options, &httpd, &error), -EINVAL);
        assert_non_null(strstr(error.text, "host:port"));
    }
    char taken[32];
    (void)snprintf(taken, sizeof(taken), "127.0.0.1:%u", httpd_port(f.httpd));
    options.listen = taken;
    assert_int_equal(httpd_create(&options, &httpd, &error), -EADDRINUSE);
    assert_non_null(strstr(error.text, "another log_capturer"));
    finish(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_are_answered_by_their_routes),
        cmocka_unit_test(head_has_no_body_and_post_is_not_allowed),
        cmocka_unit_test(metrics_come_in_the_form_that_accept_asks_for),
        cmocka_unit_test(garbage_does_no_harm),
        cmocka_unit_test(an_address_that_can_not_be_listened_on_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
