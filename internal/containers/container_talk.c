/*
 * The daemon's proxy on the host accepts before anything listens within the container, and then closes. So
 * a connection on which nothing is said counts when it is still open after PROXY_NS.
 */
#include "containers/container_private.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "base/timestamp.h"

#define PROXY_NS (50 * NS_PER_MS)
#define TIMEOUT_NS (2 * NS_PER_SECOND)
#define ANSWER_LIMIT_BYTES ((size_t)64 * 1024)

uint16_t container_host_port(const struct container *container, uint16_t port)
{
    for (size_t i = 0; i < container->port_count; i++) {
        if (container->ports[i] == port) {
            return container->host_ports[i];
        }
    }
    return 0;
}

void container_talk_stop(struct container_talk *talk)
{
    loop_timer_disarm(&talk->timer);
    dial_cancel(&talk->dial);
    loop_fd_remove(&talk->source);
    conn_finish(&talk->conn);
    buf_finish(&talk->answer);
}

static void finish(struct container_talk *talk, int rc, const char *text)
{
    container_talk_stop(talk);
    talk->on_done(talk, rc, text);
}

static void finish_silent(struct container_talk *talk, int rc, const char *what)
{
    char text[80];
    (void)snprintf(text, sizeof(text), "%s its port %u", what, talk->what->port);
    finish(talk, rc, text);
}

/* The first line of what it says instead, as far as that can be shown. */
static void finish_other(struct container_talk *talk)
{
    char said[41];
    size_t size = 0;
    for (; size < talk->answer.size && size < sizeof(said) - 1 && talk->answer.data[size] != '\r' &&
           talk->answer.data[size] != '\n';
         size++) {
        said[size] = isprint((unsigned char)talk->answer.data[size]) ? talk->answer.data[size]
                                                                     : '.';
    }
    said[size] = '\0';
    char text[160];
    const char *expect = talk->what->expect;
    (void)snprintf(text, sizeof(text), "its port %u answers '%s', not '%.40s'", talk->what->port,
                   said, expect != NULL ? expect : "");
    finish(talk, -EBADMSG, text);
}

/* Whether the answer has what it should. */
static bool is_answered(struct container_talk *talk)
{
    const char *expected = talk->what->expect;
    return talk->answer.size > 0 &&
           (expected == NULL ||
            memmem(talk->answer.data, talk->answer.size, expected, strlen(expected)) != NULL);
}

static void read_answer(struct container_talk *talk)
{
    char block[1024];
    ssize_t n;
    while ((n = conn_read(&talk->conn, block, sizeof(block))) > 0) {
        if (buf_append(&talk->answer, block, (size_t)n) != 0) {
            finish_silent(talk, -EMSGSIZE, "an answer that is too long came from");
            return;
        }
    }
    if (is_answered(talk)) {
        finish(talk, 0, "");
    } else if (n != -EAGAIN && talk->answer.size > 0) {
        finish_other(talk);
    } else if (n != -EAGAIN) {
        finish_silent(talk, -ECONNRESET, "nothing answers on");
    }
}

static void handle_socket(struct loop_fd *source, int events, void *data)
{
    struct container_talk *talk = data;
    const char *text = talk->what->send;
    size_t left = strlen(text) - talk->sent;
    (void)events;
    if (left > 0) {
        ssize_t n = conn_write(&talk->conn, text + talk->sent, left);
        talk->sent += n > 0 ? (size_t)n : 0;
        if (n < 0 && n != -EAGAIN) {
            finish_silent(talk, (int)n, "nothing listens on");
        } else if (talk->sent == strlen(text)) {
            (void)loop_fd_modify(source, LOOP_READ);
        }
    } else {
        read_answer(talk);
    }
}

static void handle_dialed(struct dial *dial, int rc, struct conn conn, const char *text, void *data)
{
    struct container_talk *talk = data;
    (void)dial;
    if (rc != 0) {
        finish(talk, rc, text);
        return;
    }
    talk->conn = conn;
    if (talk->what->send == NULL) {
        loop_timer_arm(&talk->timer, PROXY_NS);
        return;
    }
    loop_timer_arm(&talk->timer, TIMEOUT_NS);
    rc = loop_fd_add(talk->timer.loop, &talk->source, conn.fd, LOOP_WRITE);
    if (rc != 0) {
        finish_silent(talk, rc, "no memory to watch");
    }
}

static void handle_timer(struct loop_timer *timer, void *data)
{
    struct container_talk *talk = data;
    (void)timer;
    if (talk->what->send != NULL && talk->answer.size > 0) {
        finish_other(talk);
    } else if (talk->what->send != NULL) {
        finish_silent(talk, -ETIMEDOUT, "no answer in time from");
    } else if (conn_activity(&talk->conn) == CONN_OVER) {
        finish_silent(talk, -ECONNREFUSED, "nothing listens on");
    } else {
        finish(talk, 0, "");
    }
}

void container_talk_init(struct container_talk *talk, struct loop *loop,
                         void (*on_done)(struct container_talk *talk, int rc, const char *text))
{
    talk->on_done = on_done;
    loop_timer_init(loop, &talk->timer, handle_timer, talk);
    loop_fd_init(&talk->source, handle_socket, talk);
    dial_init(&talk->dial, loop, handle_dialed, talk);
    conn_init(&talk->conn, -1);
    buf_init(&talk->answer, ANSWER_LIMIT_BYTES);
}

void container_talk_start(struct container_talk *talk, const struct container *container,
                          const struct preset_talk *what)
{
    const struct dial_target target = {.addresses = &talk->addresses, .timeout_ns = TIMEOUT_NS};
    struct hostport hostport = {.port = container_host_port(container, what->port)};
    struct error error = {.text = ""};
    struct conn conn;
    talk->what = what;
    talk->sent = 0;
    (void)str_copy(hostport.host, sizeof(hostport.host), container->host);
    int rc = address_resolve(&hostport, &talk->addresses, &error);
    if (rc != 0) {
        finish(talk, rc, error.text);
        return;
    }
    rc = dial_start(&talk->dial, &target, &conn);
    if (rc != -EAGAIN) {
        handle_dialed(&talk->dial, rc, conn, rc != 0 ? dial_error(&talk->dial) : "", talk);
    }
}
