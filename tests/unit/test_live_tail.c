/* The live tail over loopback: clients are sockets of the test, the test iterates the loop. */
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>

#include "test_spool_kit.h"

#include "spool/spool_search.h"
#include "web/httpd.h"
#include "web/live_tail.h"

#define CLIENTS (TAIL_LIMIT + 1)

struct client {
    int fd;
    char answer[1 << 20];
    size_t size;
    bool ended;
};

struct fixture {
    struct kit kit;
    struct live_tail *live_tail;
    struct httpd *httpd;
    struct client *clients[CLIENTS];
};

static int answer_tail(const struct httpd_request *request, struct httpd_response *response,
                       void *data)
{
    return live_tail_answer(((struct fixture *)data)->live_tail, request, response);
}

static const struct httpd_route routes[] = {{"/tail", "", answer_tail, NULL}, {.path = NULL}};

static void begin(struct fixture *f)
{
    struct error error = {""};
    kit_open(&f->kit);
    assert_int_equal(live_tail_create(&(struct live_tail_options){.loop = f->kit.loop,
                                                                  .metrics = f->kit.metrics,
                                                                  .spool = f->kit.spool},
                                      &f->live_tail),
                     0);
    assert_int_equal(httpd_create(&(struct httpd_options){.loop = f->kit.loop,
                                                          .metrics = f->kit.metrics,
                                                          .listen = "127.0.0.1:0",
                                                          .routes = routes,
                                                          .data = f},
                                  &f->httpd, &error),
                     0);
}

static void close_client(struct fixture *f, size_t index)
{
    if (f->clients[index] != NULL) {
        close(f->clients[index]->fd);
        free(f->clients[index]);
        f->clients[index] = NULL;
    }
}

static void finish(struct fixture *f)
{
    httpd_destroy(f->httpd);
    live_tail_destroy(f->live_tail);
    for (size_t i = 0; i < CLIENTS; i++) {
        close_client(f, i);
    }
    kit_close(&f->kit);
}

static void send_request(struct fixture *f, size_t index, const char *request)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(httpd_port(f->httpd)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct client *client = calloc(1, sizeof(*client));
    size_t size = strlen(request);
    assert_non_null(client);
    client->fd = socket(AF_INET, SOCK_STREAM, 0);
    f->clients[index] = client;
    assert_int_equal(connect(client->fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(send(client->fd, request, size, MSG_NOSIGNAL), (ssize_t)size);
}

/* Sends GET /tail?query. */
static void ask(struct fixture *f, size_t index, const char *query)
{
    char request[1024];
    (void)snprintf(request, sizeof(request), "GET /tail?%s HTTP/1.1\r\nHost: x\r\n\r\n", query);
    send_request(f, index, request);
}

static void receive(struct client *client)
{
    while (!client->ended && client->size + 1 < sizeof(client->answer)) {
        ssize_t n = recv(client->fd, client->answer + client->size,
                         sizeof(client->answer) - 1 - client->size, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        client->ended = n <= 0;
        client->size += n > 0 ? (size_t)n : 0;
        client->answer[client->size] = '\0';
    }
}

/* Until the answer has the text. */
static void expect(struct fixture *f, size_t index, const char *text)
{
    struct client *client = f->clients[index];
    int64_t end = kit_now_ns() + KIT_LIMIT_NS;
    for (;;) {
        receive(client);
        if (strstr(client->answer, text) != NULL) {
            return;
        }
        if (client->ended || kit_now_ns() > end) {
            fail_msg("no '%s' in: %.2000s", text, client->answer);
        }
        kit_turn(&f->kit);
    }
}

static void assert_lacks(struct fixture *f, size_t index, const char *text)
{
    assert_null(strstr(f->clients[index]->answer, text));
}

static int64_t metric_value(struct fixture *f, const char *name)
{
    struct buf out;
    char wanted[128];
    buf_init(&out, 0);
    assert_int_equal(metrics_render(f->kit.metrics, METRICS_PROMETHEUS, &out), 0);
    (void)snprintf(wanted, sizeof(wanted), "\n%s ", name);
    const char *at = strstr(buf_terminated(&out), wanted);
    assert_non_null(at);
    int64_t value = strtoll(at + strlen(wanted), NULL, 10);
    buf_finish(&out);
    return value;
}

static void wait_for_tails(struct fixture *f, int64_t count)
{
    int64_t end = kit_now_ns() + KIT_LIMIT_NS;
    while (metric_value(f, "log_capturer_tails") != count) {
        assert_true(kit_now_ns() < end);
        kit_turn(&f->kit);
    }
}

static void append_some(struct fixture *f, unsigned key, int count)
{
    for (int i = 0; i < count; i++) {
        kit_append(&f->kit, key, 0);
    }
    kit_commit(&f->kit);
}

static size_t open_fds(void)
{
    size_t count = 0;
    for (int fd = 0; fd < 1024; fd++) {
        count += fcntl(fd, F_GETFD) >= 0;
    }
    return count;
}

/* ---- tests ---- */

static void begins_with_the_last_matching_lines_and_goes_on(void **state)
{
    struct fixture *f = *state;
    begin(f);
    append_some(f, 0, 50);
    append_some(f, 1, 50);
    append_some(f, 0, 3);
    append_some(f, 1, 50);
    ask(f, 0, "container=key0&lines=5&format=logfmt");
    expect(f, 0, "key0 52 ");
    for (int i = 48; i < 53; i++) {
        char line[32];
        (void)snprintf(line, sizeof(line), "\"key0 %d ", i);
        expect(f, 0, line);
    }
    assert_lacks(f, 0, "key0 47 ");
    assert_lacks(f, 0, "key1");
    append_some(f, 1, 1);
    append_some(f, 0, 1);
    expect(f, 0, "key0 53 ");
    assert_lacks(f, 0, "key1");
    finish(f);
}

static void the_last_lines_are_found_in_earlier_segments(void **state)
{
    struct fixture *f = *state;
    f->kit.options.limit_bytes = 8 * KIT_MIB;
    begin(f);
    append_some(f, 2, 4);
    for (int i = 0; i < 40; i++) { /* segments are 1 MiB at most here */
        kit_append(&f->kit, 0, 65536);
        kit_commit(&f->kit);
    }
    struct spool_status status;
    spool_status(f->kit.spool, &status);
    assert_true(status.segments > 2);
    append_some(f, 2, 1);
    ask(f, 0, "container=key2&lines=3&format=json");
    expect(f, 0, "key2 4 ");
    expect(f, 0, "key2 2 ");
    expect(f, 0, "key2 3 ");
    assert_lacks(f, 0, "key2 1 ");
    finish(f);
}

static void takes_all_kinds_of_filters(void **state)
{
    struct fixture *f = *state;
    begin(f);
    append_some(f, 0, 20);
    append_some(f, 1, 20);
    ask(f, 0, "label=index%3Dkey1&stream=stderr&regex=%5Ekey1%201%5B0-9%5D%20&format=text&lines=9");
    ask(f, 1, "text=key0%2013%20&format=text");
    expect(f, 0, "key1 19 ");
    expect(f, 0, "key1 11 ");
    assert_lacks(f, 0, "key1 12 ");
    assert_lacks(f, 0, "key1 9 ");
    expect(f, 1, "key0 13 ");
    assert_lacks(f, 1, "key0 14 ");
    finish(f);
}

static void says_what_is_wrong_with_the_arguments(void **state)
{
    static const char *const wrong[][2] = {{"stream=out", "stdout and stderr"},
                                           {"regex=(", "regex"},
                                           {"lines=many", "lines"},
                                           {"lines=10001", "10000"},
                                           {"limes=1", "no such argument"},
                                           {"format=xml", "format"},
                                           {"marks=1", "true or false"},
                                           {"text=a&text=b", "twice"}};
    struct fixture *f = *state;
    begin(f);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        ask(f, 0, wrong[i][0]);
        expect(f, 0, wrong[i][1]);
        expect(f, 0, "HTTP/1.1 400 ");
        close_client(f, 0);
    }
    wait_for_tails(f, 0);
    finish(f);
}

static void the_ninth_is_refused_and_a_place_becomes_free_again(void **state)
{
    struct fixture *f = *state;
    begin(f);
    append_some(f, 0, 1);
    for (size_t i = 0; i < TAIL_LIMIT; i++) {
        ask(f, i, "format=logfmt");
        expect(f, i, "key0 0 ");
    }
    wait_for_tails(f, TAIL_LIMIT);
    ask(f, TAIL_LIMIT, "format=logfmt");
    expect(f, TAIL_LIMIT, "HTTP/1.1 503 ");
    close_client(f, TAIL_LIMIT);
    close_client(f, 3); /* nothing is sent meanwhile: only the socket tells */
    wait_for_tails(f, TAIL_LIMIT - 1);
    ask(f, 3, "format=logfmt");
    expect(f, 3, "key0 0 ");
    assert_int_equal(metric_value(f, "log_capturer_tails_refused_total"), 1);
    finish(f);
}

static void many_that_are_aborted_leave_nothing_open(void **state)
{
    struct fixture *f = *state;
    begin(f);
    append_some(f, 0, 100);
    ask(f, 0, "");
    expect(f, 0, "key0 99 ");
    close_client(f, 0);
    wait_for_tails(f, 0);
    size_t before = open_fds();
    for (int round = 0; round < 50; round++) {
        for (size_t i = 0; i < 4; i++) {
            ask(f, i, round % 2 == 0 ? "lines=100" : "regex=nothing&lines=100");
        }
        if (round % 3 != 0) {
            expect(f, 0, "HTTP/1.1 200 ");
        }
        for (size_t i = 0; i < 4; i++) {
            close_client(f, i);
        }
        wait_for_tails(f, 0);
    }
    for (int i = 0; i < 100; i++) {
        kit_turn(&f->kit);
    }
    assert_int_equal(open_fds(), before);
    finish(f);
}

static void marks_say_where_to_go_on(void **state)
{
    struct fixture *f = *state;
    begin(f);
    append_some(f, 0, 20);
    ask(f, 0, "marks=true&lines=1");
    expect(f, 0, "\036next 20\n");
    append_some(f, 0, 2);
    expect(f, 0, "\036next 22\n");
    ask(f, 1, "from=20&format=text");
    expect(f, 1, "key0 21 ");
    expect(f, 1, "key0 20 ");
    assert_lacks(f, 1, "key0 19 ");
    ask(f, 2, "from=999999&format=text"); /* of another spool: from now on */
    expect(f, 2, "HTTP/1.1 200 ");
    append_some(f, 0, 1);
    expect(f, 2, "key0 22 ");
    finish(f);
}

/* Takes the whole lines of an answer without chunks: counts records, adds up what was missed. */
static void take_lines(struct client *client, uint64_t *records, uint64_t *missed, uint64_t *next)
{
    char *line = client->answer;
    for (char *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        *end = '\0';
        if (line[0] != '\036') {
            *records += 1;
        } else if (sscanf(line, "\036next %" SCNu64, next) != 1) {
            uint64_t count = 0;
            assert_int_equal(sscanf(line, "\036missed %" SCNu64, &count), 1);
            *missed += count;
        }
    }
    client->size -= (size_t)(line - client->answer);
    memmove(client->answer, line, client->size + 1);
}

/* A client that reads nothing while far more goes through than sockets, tail and spool hold: what it
 * gets and what it is told to have missed is all there was. */
static void a_client_that_does_not_read_is_told_what_it_missed(void **state)
{
    enum { LINES = 3000 };
    struct fixture *f = *state;
    f->kit.options.limit_bytes = 8 * KIT_MIB;
    begin(f);
    append_some(f, 0, 1);
    send_request(f, 0, "GET /tail?marks=true&format=text HTTP/1.0\r\n\r\n");
    ask(f, 1, "format=json");
    expect(f, 0, "key0 0 ");
    expect(f, 1, "key0 0 ");
    for (int i = 0; i < LINES; i++) {
        kit_append(&f->kit, 0, 16384);
        if (i % 16 == 0) {
            kit_commit(&f->kit);
        }
    }
    kit_commit(&f->kit);
    struct client *client = f->clients[0];
    char *body = strstr(client->answer, "\r\n\r\n");
    assert_non_null(body);
    client->size -= (size_t)(body + 4 - client->answer);
    memmove(client->answer, body + 4, client->size + 1);
    uint64_t records = 0;
    uint64_t missed = 0;
    uint64_t next = 0;
    for (int64_t end = kit_now_ns() + KIT_LIMIT_NS; next < LINES + 1;) {
        assert_true(kit_now_ns() < end && !client->ended);
        receive(client);
        take_lines(client, &records, &missed, &next);
        kit_turn(&f->kit);
    }
    assert_true(missed > LINES / 3);
    assert_int_equal(records + missed, LINES + 1);
    assert_true(metric_value(f, "log_capturer_tail_lines_missed_total") >= (int64_t)missed);
    finish(f);
}

static void an_old_request_form_and_head_do_no_harm(void **state)
{
    static const char *const requests[] = {"HEAD /tail HTTP/1.1\r\nHost: x\r\n\r\n",
                                           "GET /tail?lines=1 HTTP/1.0\r\n\r\n"};
    struct fixture *f = *state;
    begin(f);
    append_some(f, 0, 2);
    for (size_t i = 0; i < 2; i++) {
        ask(f, i, "");
        expect(f, i, "key0 1 ");
        close_client(f, i);
        send_request(f, i, requests[i]);
        expect(f, i, i == 0 ? "\r\n\r\n" : "key0 1 ");
        close_client(f, i);
    }
    wait_for_tails(f, 0);
    finish(f);
}

static int make(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    kit_make_dir(&f->kit);
    *state = f;
    return 0;
}

static int remove_all(void **state)
{
    struct fixture *f = *state;
    kit_remove_dir(&f->kit);
    free(f);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, remove_all)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(begins_with_the_last_matching_lines_and_goes_on),
        TEST(the_last_lines_are_found_in_earlier_segments),
        TEST(takes_all_kinds_of_filters),
        TEST(says_what_is_wrong_with_the_arguments),
        TEST(the_ninth_is_refused_and_a_place_becomes_free_again),
        TEST(many_that_are_aborted_leave_nothing_open),
        TEST(marks_say_where_to_go_on),
        TEST(a_client_that_does_not_read_is_told_what_it_missed),
        TEST(an_old_request_form_and_head_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
