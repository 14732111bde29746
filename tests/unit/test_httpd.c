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
#include <sys/stat.h>
#include <sys/un.h>
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

static int handle_change(const struct httpd_request *request, struct httpd_response *response,
                         void *data)
{
    (void)data;
    return buf_printf(&response->body, "%s\n", request->method);
}

/* ---- an answer that comes later ---- */

static struct httpd_later later;
static atomic_int later_asked;
static int later_gone;

static void note_gone(struct httpd_later *gone)
{
    assert_ptr_equal(gone, &later);
    later_gone++;
}

static int handle_later(const struct httpd_request *request, struct httpd_response *response,
                        void *data)
{
    (void)request;
    (void)data;
    later = (struct httpd_later){.on_gone = note_gone};
    response->later = &later;
    atomic_fetch_add(&later_asked, 1);
    return 0;
}

static const struct httpd_route routes[] = {{"/hello", "Says hello.", handle_hello, NULL},
                                            {"/fails", "Fails.", handle_failure, NULL},
                                            {"/metrics", "Metrics.", handle_metrics, NULL},
                                            {"/things", "Adds.", handle_change, "POST"},
                                            {"/things", "Removes.", handle_change, "DELETE"},
                                            {"/later", "Answers later.", handle_later, "POST"},
                                            {.path = NULL}};

struct talk {
    uint16_t port;
    const char *request;
    size_t request_bytes;
    char answer[65536];
    _Atomic bool done;
    bool leaves; /* closes as soon as it has sent */
    bool stays;  /* closes nothing before the answer */
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
        if (!talk->stays) {
            (void)shutdown(fd, SHUT_WR);
        }
        while (talk->leaves && atomic_load(&later_asked) == 0) {
            usleep(100);
        }
        ssize_t n;
        while (!talk->leaves && size + 1 < sizeof(talk->answer) &&
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

static void a_route_has_its_method(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    const char *text = ask(&f, "POST /things HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                               "Content-Length: 3\r\n\r\nabc");
    assert_begins(text, "HTTP/1.1 200 ");
    assert_body(text, "POST\n");
    text = ask(&f, "DELETE /things HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_body(text, "DELETE\n");
    text = ask(&f, "GET /things HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_begins(text, "HTTP/1.1 405 ");
    finish(&f);
}

static void a_page_of_another_site_changes_nothing(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    const char *text = ask(&f, "POST /things HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                               "Origin: http://evil.example\r\nContent-Length: 0\r\n\r\n");
    assert_begins(text, "HTTP/1.1 403 ");
    text = ask(&f, "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                   "Origin: http://grafana.example\r\n\r\n");
    assert_begins(text, "HTTP/1.1 200 ");
    finish(&f);
}

static const char later_request[] =
    "POST /later HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

static void start_talk(struct fixture *f, pthread_t *thread)
{
    later_gone = 0;
    atomic_store(&later_asked, 0);
    talk.port = httpd_port(f->httpd);
    talk.request = later_request;
    talk.request_bytes = strlen(later_request);
    atomic_store(&talk.done, false);
    assert_int_equal(pthread_create(thread, NULL, talk_to_server, &talk), 0);
    while (atomic_load(&later_asked) == 0) {
        assert_int_equal(loop_iterate(f->loop, 5000000), 0);
    }
}

static void an_answer_may_come_later(void **state)
{
    (void)state;
    struct fixture f;
    pthread_t thread;
    struct buf body;
    begin(&f);
    buf_init(&body, 0);
    assert_int_equal(buf_append_str(&body, "at last\n"), 0);
    talk.stays = true;
    start_talk(&f, &thread);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(loop_iterate(f.loop, 1000000), 0);
    }
    assert_false(atomic_load(&talk.done));
    httpd_later_answer(&later, 201, &body);
    buf_finish(&body);
    while (!atomic_load(&talk.done)) {
        assert_int_equal(loop_iterate(f.loop, 5000000), 0);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    talk.stays = false;
    assert_begins(talk.answer, "HTTP/1.1 201 ");
    assert_body(talk.answer, "at last\n");
    assert_int_equal(later_gone, 0);
    finish(&f);
}

static void a_client_that_leaves_or_a_server_that_stops_ends_the_wait(void **state)
{
    (void)state;
    struct fixture f;
    pthread_t thread;
    begin(&f);
    talk.stays = talk.leaves = true;
    start_talk(&f, &thread);
    while (later_gone == 0) {
        assert_int_equal(loop_iterate(f.loop, 5000000), 0);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    talk.leaves = false;
    start_talk(&f, &thread);
    finish(&f);
    assert_int_equal(later_gone, 1);
    assert_int_equal(pthread_join(thread, NULL), 0);
    talk.stays = false;
}

static void it_listens_on_a_unix_socket_of_its_owner(void **state)
{
    (void)state;
    struct fixture f;
    struct httpd *other = NULL;
    struct error error = {""};
    struct stat status;
    char path[64];
    char listen[80];
    begin(&f);
    (void)snprintf(path, sizeof(path), "/tmp/test_httpd.%d", (int)getpid());
    (void)snprintf(listen, sizeof(listen), "unix:%s", path);
    struct httpd_options options = {
        .loop = f.loop, .metrics = f.metrics, .listen = listen, .routes = routes};
    for (int round = 0; round < 2; round++) {
        struct httpd *httpd = NULL;
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        char answer[64] = "";
        assert_int_equal(httpd_create(&options, &httpd, &error), 0);
        assert_int_equal(stat(path, &status), 0);
        assert_int_equal(status.st_mode & 0777, 0600);
        assert_int_equal(httpd_create(&options, &other, &error), -EADDRINUSE);
        (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        assert_int_equal(send(fd, "GET / HTTP/1.0\r\n\r\n", 18, 0), 18);
        while (recv(fd, answer, sizeof(answer) - 1, 0) <= 0) {
            assert_int_equal(loop_iterate(f.loop, 1000000), 0);
        }
        assert_memory_equal(answer, "HTTP/1.", 7);
        close(fd);
        httpd_destroy(httpd);
        assert_int_equal(stat(path, &status), -1);
        if (round == 0) { /* one that a crash left over is replaced */
            fd = socket(AF_UNIX, SOCK_STREAM, 0);
            assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
            close(fd);
        }
    }
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
    assert_non_null(strstr(error.text, "another program has this port"));
    finish(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_route_has_its_method),
        cmocka_unit_test(a_page_of_another_site_changes_nothing),
        cmocka_unit_test(an_answer_may_come_later),
        cmocka_unit_test(a_client_that_leaves_or_a_server_that_stops_ends_the_wait),
        cmocka_unit_test(it_listens_on_a_unix_socket_of_its_owner),
        cmocka_unit_test(pages_are_answered_by_their_routes),
        cmocka_unit_test(head_has_no_body_and_post_is_not_allowed),
        cmocka_unit_test(metrics_come_in_the_form_that_accept_asks_for),
        cmocka_unit_test(garbage_does_no_harm),
        cmocka_unit_test(an_address_that_can_not_be_listened_on_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
