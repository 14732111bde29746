/*
 * The pooled transport against a server in a process of its own, so that /proc/self/fd shows the
 * client's sockets only. The path says how the server behaves.
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/http.h"
#include "net/http_call.h"

#define MS INT64_C(1000000)
#define PATIENCE_NS (INT64_C(10000) * MS)
#define HEAD "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

/* ---- the server ---- */

static char socket_path[64];
static pid_t server_pid;

static void say(int fd, const char *text)
{
    (void)send(fd, text, strlen(text), MSG_NOSIGNAL);
}

/* Until the client closes. */
static void hold(int fd)
{
    char byte;
    while (recv(fd, &byte, 1, 0) > 0) {
    }
}

static void flood(int fd)
{
    static char chunk[4 + 2 + 4096 + 2 + 1];
    (void)snprintf(chunk, sizeof(chunk), "1000\r\n%04096d\r\n", 0);
    say(fd, HEAD);
    while (send(fd, chunk, 6 + 4096 + 2, MSG_NOSIGNAL) > 0) {
    }
}

/* Whether the connection may go on. */
static bool answer(int fd, const char *request)
{
    if (strstr(request, "/ok") != NULL) {
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nApi-Version: 1.43\r\n\r\nok");
        return true;
    }
    if (strstr(request, "/chunks") != NULL) {
        say(fd, HEAD "3\r\nabc\r\n0\r\n\r\n");
        return true;
    }
    if (strstr(request, "/500") != NULL) {
        say(fd, "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n");
        return true;
    }
    if (strstr(request, "/hold") != NULL) {
        say(fd, HEAD "3\r\nabc\r\n");
        hold(fd);
    } else if (strstr(request, "/never") != NULL) {
        hold(fd);
    } else if (strstr(request, "/flood") != NULL) {
        flood(fd);
    } else if (strstr(request, "/cut") != NULL) {
        say(fd, HEAD "3\r\nabc\r\n"); /* no last chunk */
    } else if (strstr(request, "/bad") != NULL) {
        say(fd, HEAD "3\r\nabc\r\nzz\r\n");
        hold(fd);
    }
    return false;
}

static void *serve(void *data)
{
    int fd = (int)(intptr_t)data;
    char request[4096];
    size_t size = 0;
    ssize_t n;
    while ((n = recv(fd, request + size, sizeof(request) - 1 - size, 0)) > 0) {
        size += (size_t)n;
        request[size] = '\0';
        if (strstr(request, "\r\n\r\n") != NULL) {
            size = 0;
            if (!answer(fd, request)) {
                break;
            }
        }
    }
    close(fd);
    return NULL;
}

static void run_server(int listen_fd)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        pthread_t thread;
        int fd = accept(listen_fd, NULL, NULL);
        if (fd >= 0 && pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd) == 0) {
            (void)pthread_detach(thread);
        }
    }
}

static int start_server(void **state)
{
    (void)state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(socket_path, sizeof(socket_path), "/tmp/test_http_%d.sock", (int)getpid());
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, 1000) != 0) {
        return -1;
    }
    server_pid = fork();
    if (server_pid == 0) {
        run_server(fd);
    }
    close(fd);
    return server_pid > 0 ? 0 : -1;
}

static int stop_server(void **state)
{
    (void)state;
    (void)kill(server_pid, SIGKILL);
    (void)waitpid(server_pid, NULL, 0);
    (void)unlink(socket_path);
    return 0;
}

/* ---- the client ---- */

struct fixture {
    struct loop *loop;
    struct metrics *metrics;
    struct http_client *client;
    struct http_target *target;
    struct http_target *other;  /* the same server by another target */
    struct http_target *nobody; /* where nobody listens */
};

struct request {
    struct http_stream *stream;
    struct http_stream *closes; /* closed when the moment comes */
    char moment;                /* 'h'ead, 'd'ata, 'e'nd */
    int ends, heads;
    size_t bytes;
    enum http_end end;
    int status;
};

static size_t earlier_sockets; /* those that a failed test left behind */
static size_t own_sockets;     /* and two, through which libcurl wakes itself */

static size_t all_sockets(void)
{
    size_t count = 0;
    DIR *folder = opendir("/proc/self/fd");
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        struct stat status;
        if (fstatat(dirfd(folder), entry->d_name, &status, 0) == 0 && S_ISSOCK(status.st_mode)) {
            count++;
        }
    }
    (void)closedir(folder);
    return count;
}

static size_t sockets_in_proc(void)
{
    return all_sockets() - own_sockets;
}

static struct http_target *make_target(struct http_client *client, const char *path)
{
    char url[128];
    struct endpoint endpoint;
    struct http_target *target = NULL;
    (void)snprintf(url, sizeof(url), "unix://%s", path);
    assert_int_equal(endpoint_parse(url, NULL, &endpoint, NULL), 0);
    assert_int_equal(http_target_create(client, &endpoint, &target), 0);
    return target;
}

static void begin(struct fixture *f, uint32_t idle, uint32_t follows)
{
    *f = (struct fixture){0};
    earlier_sockets = all_sockets();
    assert_int_equal(loop_create(clock_real(), &f->loop), 0);
    assert_int_equal(metrics_create(&f->metrics), 0);
    assert_int_equal(http_client_create(&(struct http_client_options){.loop = f->loop,
                                                                      .metrics = f->metrics,
                                                                      .idle_total = 100,
                                                                      .idle_per_host = idle,
                                                                      .idle_timeout_ns = 90000 * MS,
                                                                      .follows_limit = follows,
                                                                      .opens_limit = 16},
                                        &f->client),
                     0);
    own_sockets = all_sockets();
    f->target = make_target(f->client, socket_path);
}

static void finish(struct fixture *f)
{
    http_client_shutdown(f->client);
    http_target_destroy(f->target);
    http_target_destroy(f->other);
    http_target_destroy(f->nobody);
    http_client_destroy(f->client);
    metrics_destroy(f->metrics);
    loop_destroy(f->loop);
    assert_int_equal(all_sockets(), earlier_sockets);
}

static void iterate(struct fixture *f)
{
    assert_int_equal(loop_iterate(f->loop, 20 * MS), 0);
    assert_int_equal(http_client_open_sockets(f->client), sockets_in_proc());
}

static void close_other(struct request *request, char moment)
{
    if (request->closes != NULL && request->moment == moment) {
        http_stream_close(request->closes);
        http_stream_close(request->closes); /* twice is harmless */
    }
}

static void handle_head(struct http_stream *stream, int status, void *data)
{
    struct request *request = data;
    assert_ptr_equal(stream, request->stream);
    assert_int_equal(request->ends, 0);
    request->heads++;
    request->status = status;
    close_other(request, 'h');
}

static void handle_data(struct http_stream *stream, const char *bytes, size_t size, void *data)
{
    struct request *request = data;
    (void)bytes;
    assert_ptr_equal(stream, request->stream);
    assert_int_equal(request->ends, 0);
    request->bytes += size;
    close_other(request, 'd');
}

static void handle_end(const struct http_result *result, void *data)
{
    struct request *request = data;
    request->ends++;
    assert_int_equal(request->ends, 1);
    assert_non_null(result->text);
    request->end = result->end;
    close_other(request, 'e');
}

static void start_on(struct fixture *f, struct http_target *target, struct request *request,
                     enum http_kind kind, const char *path, int64_t timeout_ns)
{
    *request = (struct request){0};
    assert_int_equal(http_stream_open(f->client,
                                      &(struct http_stream_options){.target = target,
                                                                    .kind = kind,
                                                                    .path = path,
                                                                    .timeout_ns = timeout_ns,
                                                                    .on_head = handle_head,
                                                                    .on_data = handle_data,
                                                                    .on_end = handle_end,
                                                                    .data = request},
                                      &request->stream),
                     0);
    assert_int_equal(request->ends, 0);
}

static void start(struct fixture *f, struct request *request, enum http_kind kind, const char *path)
{
    start_on(f, f->target, request, kind, path, 0);
}

static void until_ended(struct fixture *f, const struct request *request)
{
    int64_t limit = loop_now_ns(f->loop) + PATIENCE_NS;
    while (request->ends == 0 && loop_now_ns(f->loop) < limit) {
        iterate(f);
    }
    assert_int_equal(request->ends, 1);
}

static void until_bytes(struct fixture *f, const struct request *request, size_t bytes)
{
    int64_t limit = loop_now_ns(f->loop) + PATIENCE_NS;
    while (request->bytes < bytes && loop_now_ns(f->loop) < limit) {
        iterate(f);
    }
    assert_true(request->bytes >= bytes);
}

static bool metric_is(struct fixture *f, const char *line)
{
    struct buf out;
    buf_init(&out, 0);
    assert_int_equal(metrics_render(f->metrics, METRICS_PROMETHEUS, &out), 0);
    bool found = strstr(buf_terminated(&out), line) != NULL;
    if (!found) {
        print_error("no '%s' in\n%s", line, out.data);
    }
    buf_finish(&out);
    return found;
}

/* ---- tests ---- */

static void calls_one_after_the_other_share_a_socket(void **state)
{
    (void)state;
    struct fixture f;
    struct request request;
    begin(&f, 10, 0);
    for (int i = 0; i < 30; i++) {
        start(&f, &request, HTTP_CALL, i % 2 == 0 ? "/ok" : "/chunks");
        until_ended(&f, &request);
        assert_int_equal(request.end, HTTP_COMPLETE);
        assert_int_equal(request.status, 200);
        assert_int_equal(request.bytes, 2 + i % 2);
        assert_int_equal(http_client_open_sockets(f.client), 1);
    }
    assert_true(metric_is(&f, "\nlog_capturer_docker_http_connections_opened_total 1\n"));
    assert_true(metric_is(&f, "\nlog_capturer_docker_http_connections_reused_total 29\n"));
    assert_true(metric_is(&f, "\nlog_capturer_docker_http_idle_connections 1\n"));
    assert_true(metric_is(&f, "\nlog_capturer_docker_http_active_connections 0\n"));
    finish(&f);
}

static void each_way_of_ending_is_told_once_and_by_its_name(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        enum http_end end;
        size_t bytes;
    } rows[] = {{"/ok", HTTP_COMPLETE, 2},   {"/500", HTTP_COMPLETE, 0},
                {"/cut", HTTP_BROKEN, 3},    {"/bad", HTTP_BROKEN, 3},
                {"/none", HTTP_BROKEN, 0},   {"/never", HTTP_TIMED_OUT, 0},
                {"/hold", HTTP_TIMED_OUT, 3}};
    struct fixture f;
    struct request request;
    begin(&f, 10, 0);
    f.nobody = make_target(f.client, "/tmp/nobody.listens.here");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (int kind = HTTP_CALL; kind <= HTTP_EVENTS; kind++) {
            if (kind != HTTP_CALL && rows[i].end == HTTP_TIMED_OUT) {
                continue;
            }
            bool times_out = rows[i].end == HTTP_TIMED_OUT;
            start_on(&f, f.target, &request, (enum http_kind)kind, rows[i].path,
                     times_out ? 100 * MS : PATIENCE_NS);
            until_ended(&f, &request);
            if (request.end != rows[i].end || request.bytes != rows[i].bytes) {
                fail_msg("%s: %d, %zu bytes", rows[i].path, request.end, request.bytes);
            }
        }
    }
    start_on(&f, f.nobody, &request, HTTP_CALL, "/ok", PATIENCE_NS);
    until_ended(&f, &request);
    assert_int_equal(request.end, HTTP_REFUSED);
    start(&f, &request, HTTP_FOLLOW, "/hold");
    until_bytes(&f, &request, 3);
    http_stream_close(request.stream);
    http_stream_close(request.stream);
    assert_int_equal(request.ends, 0);
    until_ended(&f, &request);
    assert_int_equal(request.end, HTTP_CLOSED);
    finish(&f);
}

static void a_shutdown_ends_what_is_open_and_what_waits(void **state)
{
    (void)state;
    struct fixture f;
    struct request requests[5];
    begin(&f, 10, 2);
    for (int i = 0; i < 5; i++) {
        start(&f, &requests[i], HTTP_FOLLOW, "/hold");
    }
    until_bytes(&f, &requests[1], 3);
    http_client_shutdown(f.client);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(requests[i].ends, 1);
        assert_int_equal(requests[i].end, HTTP_SHUTDOWN);
    }
    finish(&f);
}

static void a_stream_may_be_closed_from_within_any_callback_of_another(void **state)
{
    (void)state;
    static const char moments[] = "hde";
    for (int self = 0; self < 2; self++) {
        for (size_t i = 0; i < 3; i++) {
            struct fixture f;
            struct request held;
            struct request closer;
            begin(&f, 10, 0);
            start(&f, &held, HTTP_FOLLOW, "/flood");
            until_bytes(&f, &held, 100000);
            start(&f, &closer, HTTP_EVENTS, "/chunks");
            closer.closes = self != 0 && moments[i] != 'e' ? closer.stream : held.stream;
            closer.moment = moments[i];
            until_ended(&f, &closer);
            if (closer.closes == held.stream) {
                size_t bytes = held.bytes;
                until_ended(&f, &held);
                assert_int_equal(held.end, HTTP_CLOSED);
                assert_int_equal(held.bytes, bytes);
                assert_int_equal(closer.end, HTTP_COMPLETE);
            } else {
                assert_int_equal(closer.end, HTTP_CLOSED);
            }
            finish(&f);
        }
    }
}

static void follows_over_the_limit_wait_for_a_slot_and_can_be_closed_there(void **state)
{
    (void)state;
    struct fixture f;
    struct request requests[4];
    begin(&f, 10, 2);
    for (int i = 0; i < 4; i++) {
        start(&f, &requests[i], HTTP_FOLLOW, "/hold");
    }
    until_bytes(&f, &requests[0], 3);
    until_bytes(&f, &requests[1], 3);
    iterate(&f);
    assert_int_equal(http_client_open_sockets(f.client), 2);
    assert_true(metric_is(&f, "\nlog_capturer_docker_http_waiting{kind=\"follow\"} 2\n"));
    http_stream_close(requests[2].stream);
    until_ended(&f, &requests[2]);
    assert_int_equal(requests[2].end, HTTP_CLOSED);
    assert_int_equal(requests[3].heads, 0);
    http_stream_close(requests[0].stream);
    until_bytes(&f, &requests[3], 3);
    assert_int_equal(http_client_open_sockets(f.client), 2);
    finish(&f);
}

/* Many at a time, all completed, and that some times; the most that stayed open idle. */
static size_t idle_after_many(struct fixture *f, struct http_target *target, enum http_kind kind)
{
    static struct request requests[16];
    size_t most = 0;
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 16; i++) {
            start_on(f, target, &requests[i], kind, "/chunks", 0);
        }
        for (int i = 0; i < 16; i++) {
            until_ended(f, &requests[i]);
        }
        iterate(f);
        size_t idle = http_client_open_sockets(f->client);
        most = idle > most ? idle : most;
    }
    return most;
}

static void no_more_connections_than_allowed_stay_idle(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, 3, 0);
    size_t idle = idle_after_many(&f, f.target, HTTP_EVENTS);
    finish(&f);
    assert_in_range(idle, 1, 3);
}

static void a_follow_has_a_connection_of_its_own(void **state)
{
    (void)state;
    struct fixture f;
    struct request call;
    begin(&f, 3, 0);
    start(&f, &call, HTTP_CALL, "/ok");
    until_ended(&f, &call);
    assert_int_equal(idle_after_many(&f, f.target, HTTP_FOLLOW), 1);
    start(&f, &call, HTTP_CALL, "/ok");
    until_ended(&f, &call);
    assert_true(metric_is(&f, "{kind=\"call\",connection=\"new\"} 1\n"));
    assert_true(metric_is(&f, "{kind=\"call\",connection=\"reused\"} 1\n"));
    assert_true(metric_is(&f, "{kind=\"follow\",connection=\"reused\"} 0\n"));
    finish(&f);
}

static void the_idle_limit_of_a_host_holds_also_when_there_is_another_host(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, 3, 0);
    f.other = make_target(f.client, "/tmp/nobody.listens.here");
    size_t idle = idle_after_many(&f, f.target, HTTP_EVENTS);
    finish(&f);
    assert_in_range(idle, 1, 3);
}

static void paused_follows_read_nothing_until_they_go_on(void **state)
{
    (void)state;
    struct fixture f;
    struct request request;
    struct request call;
    begin(&f, 10, 0);
    start(&f, &request, HTTP_FOLLOW, "/flood");
    until_bytes(&f, &request, 1 << 20);
    http_client_pause_follows(f.client, true);
    size_t bytes = request.bytes;
    for (int i = 0; i < 20; i++) {
        iterate(&f);
        assert_int_equal(request.bytes, bytes);
    }
    start(&f, &call, HTTP_CALL, "/ok");
    until_ended(&f, &call);
    assert_int_equal(call.end, HTTP_COMPLETE);
    assert_int_equal(request.bytes, bytes);
    http_client_pause_follows(f.client, false);
    until_bytes(&f, &request, bytes + (1 << 20));
    finish(&f);
}

static void handle_answer(const struct http_answer *answer, void *data)
{
    struct http_answer *kept = data;
    *kept = *answer;
    assert_true(strcmp(answer->body, "ok") == 0 || answer->end != HTTP_COMPLETE);
    assert_true(strcmp(answer->api_version, "1.43") == 0);
}

static void a_call_collects_its_answer_up_to_the_limit(void **state)
{
    (void)state;
    static const size_t limits[] = {100, 2, 1};
    enum http_end ends[3];
    struct fixture f;
    begin(&f, 10, 0);
    for (size_t i = 0; i < 3; i++) {
        struct http_answer kept = {.text = NULL, .status = -1};
        struct http_call *call = NULL;
        assert_int_equal(http_call_start(f.client,
                                         &(struct http_call_options){.target = f.target,
                                                                     .path = "/ok",
                                                                     .timeout_ns = PATIENCE_NS,
                                                                     .limit_bytes = limits[i],
                                                                     .on_answer = handle_answer,
                                                                     .data = &kept},
                                         &call),
                         0);
        while (kept.status == -1) {
            iterate(&f);
        }
        ends[i] = kept.end;
    }
    finish(&f);
    assert_int_equal(ends[0], HTTP_COMPLETE);
    assert_int_equal(ends[1], HTTP_COMPLETE);
    assert_int_equal(ends[2], HTTP_BROKEN);
}

static void ten_thousand_streams_of_every_kind_leave_nothing_behind(void **state)
{
    (void)state;
    enum { AT_A_TIME = 16, TOTAL = 10000 };
    static const char *const paths[] = {"/ok",   "/chunks", "/cut",   "/bad",
                                        "/hold", "/500",    "/never", "/none"};
    static struct request requests[AT_A_TIME];
    struct fixture f;
    uint32_t random = 7;
    int ended = 0;
    begin(&f, 8, 12);
    for (int i = 0; i < AT_A_TIME; i++) {
        requests[i].ends = 1;
    }
    int64_t limit = loop_now_ns(f.loop) + 90000 * MS;
    for (int opened = 0; ended < TOTAL && loop_now_ns(f.loop) < limit;) {
        for (int i = 0; i < AT_A_TIME; i++) {
            random = random * 1664525 + 1013904223;
            struct request *request = &requests[i];
            if (request->ends == 1 && request->stream != NULL) {
                request->stream = NULL;
                ended++;
            }
            if (request->stream == NULL && opened < TOTAL) {
                start_on(&f, f.target, request, (enum http_kind)(random >> 20) % 3,
                         paths[random >> 28 & 7], 30 * MS);
                opened++;
            } else if (request->stream != NULL && random >> 30 == 0) {
                http_stream_close(request->stream);
            }
        }
        assert_int_equal(loop_iterate(f.loop, 1 * MS), 0);
        assert_true(http_client_open_sockets(f.client) <= AT_A_TIME + 8);
        if (opened % 100 == 0 && http_client_open_sockets(f.client) != sockets_in_proc()) {
            fail_msg("counted %zu, there are %zu; after %d", http_client_open_sockets(f.client),
                     sockets_in_proc(), opened);
        }
    }
    assert_int_equal(ended, TOTAL);
    for (int i = 0; i < 5; i++) {
        iterate(&f);
    }
    assert_true(http_client_open_sockets(f.client) <= 8);
    assert_true(metric_is(&f, "\nlog_capturer_docker_http_active_connections 0\n"));
    assert_true(metric_is(&f, "\nlog_capturer_docker_http_connecting_connections 0\n"));
    finish(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_one_after_the_other_share_a_socket),
        cmocka_unit_test(each_way_of_ending_is_told_once_and_by_its_name),
        cmocka_unit_test(a_shutdown_ends_what_is_open_and_what_waits),
        cmocka_unit_test(a_stream_may_be_closed_from_within_any_callback_of_another),
        cmocka_unit_test(follows_over_the_limit_wait_for_a_slot_and_can_be_closed_there),
        cmocka_unit_test(no_more_connections_than_allowed_stay_idle),
        cmocka_unit_test(a_follow_has_a_connection_of_its_own),
        cmocka_unit_test(the_idle_limit_of_a_host_holds_also_when_there_is_another_host),
        cmocka_unit_test(paused_follows_read_nothing_until_they_go_on),
        cmocka_unit_test(a_call_collects_its_answer_up_to_the_limit),
        cmocka_unit_test(ten_thousand_streams_of_every_kind_leave_nothing_behind),
    };
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
