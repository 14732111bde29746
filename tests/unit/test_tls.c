/* TLS and plain connections, both ends in one thread over a socket pair; certificates of openssl(1). */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "loop/loop.h"
#include "net/conn.h"
#include "net/dial.h"
#include "net/tls.h"

static char dir[64];

static const char *file(const char *name)
{
    static char paths[32][128];
    static unsigned next;
    char *path = paths[next++ % 32];
    (void)snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
    return path;
}

/* An authority; a server certificate for server.test and 127.0.0.1; one for a client; one of a stranger. */
static int make_certificates(void **state)
{
    (void)state;
    char command[2048];
    (void)snprintf(dir, sizeof(dir), "/tmp/test_tls.XXXXXX");
    assert_non_null(mkdtemp(dir));
    (void)snprintf(
        command, sizeof(command),
        "cd %s && exec >log 2>&1 && set -e\n"
        "new='openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2'\n"
        "$new -subj /CN=authority -keyout ca.key -out ca.pem\n"
        "$new -subj /CN=stranger -keyout stranger.key -out stranger.pem\n"
        "leaf='-CA ca.pem -CAkey ca.key'\n"
        "$new $leaf -subj /CN=server.test -addext subjectAltName=DNS:server.test,IP:127.0.0.1 "
        "-keyout server.key -out server.pem\n"
        "$new $leaf -subj /CN=client -keyout client.key -out client.pem\n"
        "echo broken >broken.pem\n",
        dir);
    return system(command) == 0 ? 0 : -1;
}

static int remove_certificates(void **state)
{
    (void)state;
    char command[128];
    (void)snprintf(command, sizeof(command), "rm -rf %s", dir);
    return system(command) == 0 ? 0 : -1;
}

/* ---- a pair ---- */

struct pair {
    struct tls_context *contexts[2];
    struct conn ends[2]; /* client, server */
    int rc[2];
    struct error errors[2];
};

static struct tls_context *context_of(const struct tls_options *options)
{
    struct tls_context *context = NULL;
    struct error error = {""};
    if (tls_context_create(options, &context, &error) != 0) {
        fail_msg("%s", error.text);
    }
    return context;
}

static void open_pair(struct pair *pair, const struct tls_options *client,
                      const struct tls_options *server, const char *host)
{
    int fds[2];
    *pair = (struct pair){.rc = {-EAGAIN, -EAGAIN}};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    conn_init(&pair->ends[0], fds[0]);
    conn_init(&pair->ends[1], fds[1]);
    pair->contexts[0] = context_of(client);
    pair->contexts[1] = context_of(server);
    assert_int_equal(conn_start_tls(&pair->ends[0], pair->contexts[0], host), 0);
    assert_int_equal(conn_start_tls(&pair->ends[1], pair->contexts[1], NULL), 0);
}

/* Both go on until neither waits for the other any more. One that fails closes, as its owner would. */
static void shake_hands(struct pair *pair)
{
    for (int i = 0; i < 20; i++) {
        int at = i % 2;
        if (pair->rc[at] != -EAGAIN) {
            continue;
        }
        pair->rc[at] = conn_handshake(&pair->ends[at], &pair->errors[at]);
        if (pair->rc[at] != 0 && pair->rc[at] != -EAGAIN) {
            conn_finish(&pair->ends[at]);
        }
    }
}

static void close_pair(struct pair *pair)
{
    for (int i = 0; i < 2; i++) {
        conn_finish(&pair->ends[i]);
        tls_context_destroy(pair->contexts[i]);
    }
}

static void assert_talks(struct pair *pair)
{
    char bytes[16];
    for (int from = 0; from < 2; from++) {
        assert_int_equal(conn_activity(&pair->ends[1 - from]), CONN_SILENT);
        assert_int_equal(conn_write(&pair->ends[from], "hello", 5), 5);
        assert_int_equal(conn_activity(&pair->ends[1 - from]), CONN_TALKS);
        assert_int_equal(conn_activity(&pair->ends[1 - from]), CONN_TALKS); /* it took nothing */
        assert_int_equal(conn_read(&pair->ends[1 - from], bytes, sizeof(bytes)), 5);
        assert_memory_equal(bytes, "hello", 5);
        assert_int_equal(conn_read(&pair->ends[1 - from], bytes, sizeof(bytes)), -EAGAIN);
        assert_int_equal(conn_wants(&pair->ends[1 - from], 0), LOOP_READ);
    }
}

/* ---- modes ---- */

static void unverified_is_encrypted_with_any_certificate(void **state)
{
    (void)state;
    struct pair pair;
    open_pair(&pair, &(struct tls_options){.server = false}, &(struct tls_options){.server = true},
              "whatever.test");
    shake_hands(&pair);
    assert_int_equal(pair.rc[0], 0);
    assert_int_equal(pair.rc[1], 0);
    assert_talks(&pair);
    close_pair(&pair);
}

static void verified_accepts_the_right_name_and_address(void **state)
{
    (void)state;
    static const char *const names[] = {"server.test", "127.0.0.1"};
    for (size_t i = 0; i < 2; i++) {
        struct pair pair;
        open_pair(&pair, &(struct tls_options){.verify = true, .ca = file("ca.pem")},
                  &(struct tls_options){
                      .server = true, .cert = file("server.pem"), .key = file("server.key")},
                  names[i]);
        shake_hands(&pair);
        assert_int_equal(pair.rc[0], 0);
        assert_int_equal(pair.rc[1], 0);
        assert_talks(&pair);
        close_pair(&pair);
    }
}

static void verified_refuses_other_names_and_authorities(void **state)
{
    (void)state;
    const struct {
        const char *name, *cert, *key, *text;
    } rows[] = {{"other.test", "server.pem", "server.key", "hostname mismatch"},
                {"127.0.0.2", "server.pem", "server.key", "IP address mismatch"},
                {"stranger", "stranger.pem", "stranger.key", "self-signed certificate"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct pair pair;
        open_pair(&pair, &(struct tls_options){.verify = true, .ca = file("ca.pem")},
                  &(struct tls_options){
                      .server = true, .cert = file(rows[i].cert), .key = file(rows[i].key)},
                  rows[i].name);
        shake_hands(&pair);
        assert_int_equal(pair.rc[0], -EPROTO);
        assert_non_null(strstr(pair.errors[0].text, rows[i].text));
        assert_true(pair.rc[1] != 0);
        close_pair(&pair);
    }
}

static void a_server_may_demand_a_client_certificate(void **state)
{
    (void)state;
    const struct tls_options server = {.server = true,
                                       .verify = true,
                                       .ca = file("ca.pem"),
                                       .cert = file("server.pem"),
                                       .key = file("server.key")};
    const struct {
        const char *cert, *key;
        int rc;
    } rows[] = {{"client.pem", "client.key", 0},
                {"stranger.pem", "stranger.key", -EPROTO},
                {NULL, NULL, -EPROTO}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct pair pair;
        const struct tls_options client = {.verify = true,
                                           .ca = file("ca.pem"),
                                           .cert = rows[i].cert != NULL ? file(rows[i].cert) : NULL,
                                           .key = rows[i].key != NULL ? file(rows[i].key) : NULL};
        open_pair(&pair, &client, &server, "server.test");
        shake_hands(&pair);
        assert_int_equal(pair.rc[1], rows[i].rc);
        close_pair(&pair);
    }
}

static void version_1_2_is_refused_unless_allowed(void **state)
{
    (void)state;
    char command[512];
    int port_fd = -1;
    struct error error = {""};
    struct address_list list = {.count = 1};
    struct conn conn;
    port_fd = address_listen("127.0.0.1:0", 1, &error);
    assert_true(port_fd >= 0);
    struct hostport hostport = {"127.0.0.1", address_port_of(port_fd)};
    (void)close(port_fd);
    assert_int_equal(address_parse(&hostport, &list.items[0]), 0);
    (void)snprintf(
        command, sizeof(command),
        "cd %s && { openssl s_server -quiet -tls1_2 -accept 127.0.0.1:%u -cert server.pem "
        "-key server.key </dev/null >/dev/null 2>&1 & echo $! >server.pid; }",
        dir, hostport.port);
    assert_int_equal(system(command), 0);
    for (int allowed = 0; allowed <= 1; allowed++) {
        struct tls_context *context = context_of(&(struct tls_options){.allow_12 = allowed == 1});
        int rc;
        do { /* until it listens */
            rc = dial_blocking(&(struct dial_target){.addresses = &list, .tls = context}, -1, &conn,
                               &error);
        } while (rc == -ECONNREFUSED);
        assert_int_equal(rc, allowed == 1 ? 0 : -EPROTO);
        if (rc == 0) {
            conn_finish(&conn);
        } else {
            assert_non_null(strstr(error.text, "protocol version"));
        }
        tls_context_destroy(context);
    }
    (void)snprintf(command, sizeof(command), "kill $(cat %s/server.pid)", dir);
    assert_int_equal(system(command), 0);
}

static void files_that_are_no_certificates_are_named(void **state)
{
    (void)state;
    const struct tls_options rows[] = {{.cert = file("broken.pem"), .key = file("server.key")},
                                       {.cert = file("server.pem"), .key = file("client.key")},
                                       {.verify = true, .ca = file("absent.pem")}};
    static const char *const names[] = {"broken.pem", "client.key", "absent.pem"};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tls_context *context = NULL;
        struct error error = {""};
        assert_int_equal(tls_context_create(&rows[i], &context, &error), -EINVAL);
        assert_non_null(strstr(error.text, names[i]));
        assert_null(context);
    }
}

/* ---- endings ---- */

static void an_end_is_told_apart_from_a_cut(void **state)
{
    (void)state;
    struct pair pair;
    char byte;
    open_pair(&pair, &(struct tls_options){.server = false}, &(struct tls_options){.server = true},
              NULL);
    shake_hands(&pair);
    assert_int_equal(conn_close_write(&pair.ends[0]), 0);
    assert_int_equal(conn_activity(&pair.ends[1]), CONN_OVER);
    assert_int_equal(conn_read(&pair.ends[1], &byte, 1), 0);
    assert_int_equal(conn_write(&pair.ends[1], "still", 5), 5); /* the other direction lives */
    assert_int_equal(conn_activity(&pair.ends[0]), CONN_TALKS);
    close_pair(&pair);
    open_pair(&pair, &(struct tls_options){.server = false}, &(struct tls_options){.server = true},
              NULL);
    shake_hands(&pair);
    conn_finish(&pair.ends[0]); /* no word */
    assert_int_equal(conn_activity(&pair.ends[1]), CONN_OVER);
    assert_int_equal(conn_read(&pair.ends[1], &byte, 1), -ECONNABORTED);
    close_pair(&pair);
}

static void much_goes_through_in_pieces(void **state)
{
    (void)state;
    enum { SIZE = 1 << 20 };
    struct pair pair;
    char *out = malloc(SIZE);
    char *in = malloc(SIZE);
    size_t sent = 0;
    size_t got = 0;
    assert_non_null(out);
    assert_non_null(in);
    for (size_t i = 0; i < SIZE; i++) {
        out[i] = (char)(i * 31 + i / 257);
    }
    open_pair(&pair, &(struct tls_options){.server = false}, &(struct tls_options){.server = true},
              NULL);
    shake_hands(&pair);
    while (got < SIZE) {
        ssize_t n = sent < SIZE ? conn_write(&pair.ends[0], out + sent, SIZE - sent) : -EAGAIN;
        assert_true(n > 0 || n == -EAGAIN);
        sent += n > 0 ? (size_t)n : 0;
        n = conn_read(&pair.ends[1], in + got, SIZE - got < 1000 ? SIZE - got : 1000);
        assert_true(n > 0 || n == -EAGAIN);
        got += n > 0 ? (size_t)n : 0;
    }
    assert_memory_equal(in, out, SIZE);
    close_pair(&pair);
    free(out);
    free(in);
}

static void a_plain_connection_does_the_same(void **state)
{
    (void)state;
    struct pair pair = {.rc = {0, 0}};
    int fds[2];
    char byte;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    conn_init(&pair.ends[0], fds[0]);
    conn_init(&pair.ends[1], fds[1]);
    assert_int_equal(conn_handshake(&pair.ends[0], NULL), 0);
    assert_int_equal(conn_activity(&pair.ends[0]), CONN_SILENT);
    assert_int_equal(conn_write(&pair.ends[1], "x", 1), 1);
    assert_int_equal(conn_activity(&pair.ends[0]), CONN_TALKS);
    assert_int_equal(conn_read(&pair.ends[0], &byte, 1), 1);
    assert_int_equal(conn_read(&pair.ends[0], &byte, 1), -EAGAIN);
    assert_int_equal(conn_wants(&pair.ends[0], LOOP_READ), LOOP_READ);
    assert_int_equal(conn_close_write(&pair.ends[1]), 0);
    assert_int_equal(conn_read(&pair.ends[0], &byte, 1), 0);
    assert_int_equal(conn_activity(&pair.ends[0]), CONN_OVER);
    conn_finish(&pair.ends[1]);
    assert_int_equal(conn_write(&pair.ends[0], "x", 1), -EPIPE); /* and no signal */
    conn_finish(&pair.ends[0]);
    conn_finish(&pair.ends[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unverified_is_encrypted_with_any_certificate),
        cmocka_unit_test(verified_accepts_the_right_name_and_address),
        cmocka_unit_test(verified_refuses_other_names_and_authorities),
        cmocka_unit_test(a_server_may_demand_a_client_certificate),
        cmocka_unit_test(version_1_2_is_refused_unless_allowed),
        cmocka_unit_test(files_that_are_no_certificates_are_named),
        cmocka_unit_test(an_end_is_told_apart_from_a_cut),
        cmocka_unit_test(much_goes_through_in_pieces),
        cmocka_unit_test(a_plain_connection_does_the_same),
    };
    return cmocka_run_group_tests(tests, make_certificates, remove_certificates);
}
