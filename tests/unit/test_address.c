/* Host and port, addresses, ranges, look-ups in a loop, dialing. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/timestamp.h"
#include "net/address.h"
#include "net/dial.h"
#include "net/resolver.h"

static void host_and_port_are_told_apart(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host;
        uint16_t port;
    } rows[] = {{"127.0.0.1:80", "127.0.0.1", 80},
                {"[::1]:65535", "::1", 65535},
                {":0", "", 0},
                {"[]:1", "", 1},
                {"name.test:8001", "name.test", 8001}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct hostport hostport;
        assert_int_equal(hostport_parse(rows[i].text, &hostport, NULL), 0);
        assert_string_equal(hostport.host, rows[i].host);
        assert_int_equal(hostport.port, rows[i].port);
    }
    static const char *const wrong[] = {
        "",       "80",      "host",    "host:", "host:x",  "h:65536",
        "::1:80", "[::1:80", "::1]:80", "a b:1", "[::1]80", "host:-1"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct hostport hostport;
        struct error error = {""};
        assert_int_equal(hostport_parse(wrong[i], &hostport, &error), -EINVAL);
        assert_non_null(strstr(error.text, "write host:port"));
    }
}

static void they_are_written_as_they_are_read(void **state)
{
    (void)state;
    static const char *const texts[] = {"127.0.0.1:80", "[::1]:443", ":8001", "name.test:1"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct hostport hostport;
        char text[HOSTPORT_TEXT_SIZE];
        assert_int_equal(hostport_parse(texts[i], &hostport, NULL), 0);
        hostport_format(&hostport, text);
        assert_string_equal(text, texts[i]);
    }
}

static struct address address_of(const char *host)
{
    struct hostport hostport = {.port = 1234};
    struct address address;
    (void)snprintf(hostport.host, sizeof(hostport.host), "%s", host);
    assert_int_equal(address_parse(&hostport, &address), 0);
    return address;
}

static void addresses_are_written(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"10.1.2.3", "10.1.2.3:1234"}, {"::1", "[::1]:1234"}, {"::ffff:10.1.2.3", "10.1.2.3:1234"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[ADDRESS_TEXT_SIZE];
        struct address address = address_of(rows[i][0]);
        address_format(&address, text);
        assert_string_equal(text, rows[i][1]);
    }
    struct hostport name = {"name.test", 1};
    struct address address;
    assert_int_equal(address_parse(&name, &address), -EINVAL); /* without asking anybody */
}

static void ranges_contain_what_they_should(void **state)
{
    (void)state;
    static const struct {
        const char *list, *address;
        bool inside;
    } rows[] = {{"", "1.2.3.4", true},
                {"10.0.0.0/8", "10.255.0.1", true},
                {"10.0.0.0/8", "11.0.0.1", false},
                {"192.168.1.10", "192.168.1.10", true},
                {"192.168.1.10", "192.168.1.11", false},
                {"192.168.1.10", "::ffff:192.168.1.10", true},
                {"10.0.0.0/9", "10.128.0.0", false},
                {"10.0.0.0/9", "10.127.255.255", true},
                {"0.0.0.0/0", "8.8.8.8", true},
                {"0.0.0.0/0", "2001:db8::1", false},
                {"::/0", "8.8.8.8", true},
                {"2001:db8::/33", "2001:db8:7fff::1", true},
                {"2001:db8::/33", "2001:db8:8000::1", false},
                {"1.1.1.1,2001:db8::/32,10.0.0.0/8", "2001:db8::5", true},
                {"1.1.1.1,2001:db8::/32,10.0.0.0/8", "1.1.1.2", false}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct cidr_list list;
        struct address address = address_of(rows[i].address);
        assert_int_equal(cidr_list_parse(rows[i].list, &list, NULL), 0);
        assert_int_equal(cidr_list_contains(&list, &address), rows[i].inside);
        cidr_list_finish(&list);
    }
    static const char *const wrong[] = {"10.0.0/8",         "10.0.0.0/33", "::/129",     "a",
                                        "1.1.1.1,,2.2.2.2", "10.0.0.0/",   "10.0.0.0/-1"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct cidr_list list;
        struct error error = {""};
        assert_int_equal(cidr_list_parse(wrong[i], &list, &error), -EINVAL);
        assert_non_null(strstr(error.text, "is no address or range"));
    }
}

/* ---- look-ups ---- */

struct answer {
    int calls, rc;
    struct address_list list;
};

static void handle_answer(int rc, const struct address_list *list, const char *text, void *data)
{
    struct answer *answer = data;
    answer->calls++;
    answer->rc = rc;
    if (rc == 0) {
        answer->list = *list;
    } else {
        assert_true(text[0] != '\0');
    }
}

static void a_loop_looks_names_up_on_a_thread(void **state)
{
    (void)state;
    struct loop *loop = NULL;
    struct resolver *resolver = NULL;
    struct resolver_query *query = NULL;
    struct hostport good = {"localhost", 77};
    struct hostport bad = {"no-such-name.invalid", 77};
    struct answer answers[3] = {{0}};
    assert_int_equal(loop_create(clock_real(), &loop), 0);
    assert_int_equal(resolver_create(loop, &resolver), 0);
    assert_int_equal(resolver_start(resolver, &good, handle_answer, &answers[0], &query), 0);
    assert_int_equal(resolver_start(resolver, &good, handle_answer, &answers[1], &query), 0);
    resolver_cancel(query);
    assert_int_equal(resolver_start(resolver, &bad, handle_answer, &answers[2], &query), 0);
    while (answers[2].calls == 0) {
        assert_int_equal(loop_iterate(loop, -1), 0);
    }
    assert_int_equal(answers[0].calls, 1);
    assert_int_equal(answers[0].rc, 0);
    assert_true(answers[0].list.count > 0);
    assert_int_equal(answers[1].calls, 0);
    assert_int_equal(answers[2].rc, -EHOSTUNREACH);
    assert_int_equal(resolver_start(resolver, &good, handle_answer, &answers[1], &query), 0);
    resolver_destroy(resolver); /* with one under way */
    loop_destroy(loop);
    assert_int_equal(answers[1].calls, 0);
}

/* ---- dialing ---- */

struct dialed {
    struct dial dial;
    int calls, rc;
    struct conn conn;
    char text[256];
};

static void handle_dialed(struct dial *dial, int rc, struct conn conn, const char *text, void *data)
{
    struct dialed *dialed = data;
    assert_ptr_equal(dial, &dialed->dial);
    dialed->calls++;
    dialed->rc = rc;
    dialed->conn = conn;
    (void)snprintf(dialed->text, sizeof(dialed->text), "%s", text);
}

/* Whether it is made at once or later; rc in dialed->rc. */
static void dial_now(struct loop *loop, struct dialed *dialed, const struct dial_target *target)
{
    *dialed = (struct dialed){.calls = 0};
    dial_init(&dialed->dial, loop, handle_dialed, dialed);
    dialed->rc = dial_start(&dialed->dial, target, &dialed->conn);
    if (dialed->rc != -EAGAIN) {
        (void)snprintf(dialed->text, sizeof(dialed->text), "%s", dial_error(&dialed->dial));
        return;
    }
    while (dialed->calls == 0) {
        assert_int_equal(loop_iterate(loop, -1), 0);
    }
}

static void a_dial_tries_each_address(void **state)
{
    (void)state;
    struct loop *loop = NULL;
    struct dialed dialed;
    struct error error = {""};
    struct conn conn;
    int listener = address_listen("127.0.0.1:0", 8, &error);
    int closed = address_listen("127.0.0.1:0", 8, &error);
    struct hostport hostports[2] = {{"127.0.0.1", address_port_of(closed)},
                                    {"127.0.0.1", address_port_of(listener)}};
    struct address_list list = {.count = 2};
    (void)close(closed);
    assert_int_equal(loop_create(clock_real(), &loop), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(address_parse(&hostports[i], &list.items[i]), 0);
    }
    struct dial_target target = {.addresses = &list, .timeout_ns = 60 * NS_PER_SECOND};
    dial_now(loop, &dialed, &target);
    assert_int_equal(dialed.rc, 0);
    conn_finish(&dialed.conn);
    assert_int_equal(dial_blocking(&target, -1, &conn, &error), 0);
    conn_finish(&conn);
    list.count = 1;
    dial_now(loop, &dialed, &target);
    assert_int_equal(dialed.rc, -ECONNREFUSED);
    assert_non_null(strstr(dialed.text, ": Connection refused"));
    assert_int_equal(dial_blocking(&target, -1, &conn, &error), -ECONNREFUSED);
    assert_non_null(strstr(error.text, ": Connection refused"));
    (void)close(listener);
    loop_destroy(loop);
}

static void a_dial_ends_in_time_or_when_it_is_stopped(void **state)
{
    (void)state;
    struct loop *loop = NULL;
    struct dialed dialed;
    struct error error = {""};
    struct conn conn;
    struct tls_context *tls = NULL;
    int stop[2];
    int listener = address_listen("127.0.0.1:0", 8, &error); /* accepts nobody: TLS never answers */
    struct hostport hostport = {"127.0.0.1", address_port_of(listener)};
    struct address_list list = {.count = 1};
    assert_int_equal(address_parse(&hostport, &list.items[0]), 0);
    assert_int_equal(loop_create(clock_real(), &loop), 0);
    assert_int_equal(tls_context_create(&(struct tls_options){.server = false}, &tls, &error), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stop), 0);
    struct dial_target target = {.addresses = &list, .tls = tls, .timeout_ns = 20 * NS_PER_MS};
    dial_now(loop, &dialed, &target);
    assert_int_equal(dialed.rc, -ETIMEDOUT);
    assert_non_null(strstr(dialed.text, "no answer in time"));
    assert_int_equal(dial_blocking(&target, stop[0], &conn, &error), -ETIMEDOUT);
    assert_int_equal(write(stop[1], "x", 1), 1);
    target.timeout_ns = 0;
    assert_int_equal(dial_blocking(&target, stop[0], &conn, &error), -ECANCELED);
    dial_init(&dialed.dial, loop, handle_dialed, &dialed);
    dialed.calls = 0;
    assert_int_equal(dial_start(&dialed.dial, &target, &conn), -EAGAIN);
    dial_cancel(&dialed.dial);
    dial_cancel(&dialed.dial);
    assert_int_equal(loop_iterate(loop, 0), 0);
    assert_int_equal(dialed.calls, 0);
    tls_context_destroy(tls);
    (void)close(stop[0]);
    (void)close(stop[1]);
    (void)close(listener);
    loop_destroy(loop);
}

static void a_port_in_use_is_told(void **state)
{
    (void)state;
    struct error error = {""};
    char text[64];
    int first = address_listen("127.0.0.1:0", 8, &error);
    assert_true(first >= 0);
    (void)snprintf(text, sizeof(text), "127.0.0.1:%u", address_port_of(first));
    assert_int_equal(address_listen(text, 8, &error), -EADDRINUSE);
    assert_non_null(strstr(error.text, "another program has this port"));
    assert_int_equal(address_listen("nonsense", 8, &error), -EINVAL);
    assert_non_null(strstr(error.text, "can't listen: 'nonsense' is no address"));
    (void)close(first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(host_and_port_are_told_apart),
        cmocka_unit_test(they_are_written_as_they_are_read),
        cmocka_unit_test(addresses_are_written),
        cmocka_unit_test(ranges_contain_what_they_should),
        cmocka_unit_test(a_loop_looks_names_up_on_a_thread),
        cmocka_unit_test(a_dial_tries_each_address),
        cmocka_unit_test(a_dial_ends_in_time_or_when_it_is_stopped),
        cmocka_unit_test(a_port_in_use_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
