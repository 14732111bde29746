/* Plain or TLS decided per call: two branches cost less than a table of functions, and there is no third kind. */
#include "net/conn.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/sockios.h>

#define KEEP_ALIVE_PROBES 3

void conn_init(struct conn *conn, int fd)
{
    *conn = (struct conn){.fd = fd};
}

int conn_start_tls(struct conn *conn, struct tls_context *context, const char *host)
{
    return tls_open(context, conn->fd, host, &conn->tls);
}

int conn_handshake(struct conn *conn, struct error *error)
{
    return conn->tls == NULL ? 0 : tls_handshake(conn->tls, error);
}

void conn_finish(struct conn *conn)
{
    tls_destroy(conn->tls);
    if (conn->fd >= 0) {
        (void)close(conn->fd);
    }
    *conn = (struct conn){.fd = -1};
}

void conn_abort_when_finished(const struct conn *conn)
{
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    if (conn->fd >= 0) {
        (void)setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    }
}

void conn_abort(struct conn *conn)
{
    conn_abort_when_finished(conn);
    conn_finish(conn);
}

ssize_t conn_read(struct conn *conn, void *ret_bytes, size_t size)
{
    if (conn->tls != NULL) {
        return tls_read(conn->tls, ret_bytes, size);
    }
    ssize_t n;
    do {
        n = recv(conn->fd, ret_bytes, size, 0);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

ssize_t conn_write(struct conn *conn, const void *bytes, size_t size)
{
    if (conn->tls != NULL) {
        return tls_write(conn->tls, bytes, size);
    }
    ssize_t n;
    do {
        n = send(conn->fd, bytes, size, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

int conn_close_write(struct conn *conn)
{
    int rc = conn->tls != NULL ? tls_close_write(conn->tls) : 0;
    if (rc == -EAGAIN) {
        return rc;
    }
    return shutdown(conn->fd, SHUT_WR) == 0 || errno == ENOTCONN ? 0 : -errno;
}

int conn_wants(const struct conn *conn, int otherwise)
{
    return conn->tls != NULL ? tls_wants(conn->tls) : otherwise;
}

enum conn_activity conn_activity(struct conn *conn)
{
    char byte;
    if (conn->tls != NULL) {
        int n = tls_peek(conn->tls);
        return n > 0 ? CONN_TALKS : n == 0 ? CONN_SILENT : CONN_OVER;
    }
    ssize_t n = recv(conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (n > 0) {
        return CONN_TALKS;
    }
    return n < 0 && (errno == EAGAIN || errno == EINTR) ? CONN_SILENT : CONN_OVER;
}

bool conn_has_ended(const struct conn *conn)
{
    struct pollfd look = {.fd = conn->fd, .events = POLLRDHUP};
    return poll(&look, 1, 0) > 0; /* POLLERR and POLLHUP come unasked */
}

int conn_unacknowledged(const struct conn *conn)
{
    int bytes = 0;
    return ioctl(conn->fd, SIOCOUTQ, &bytes) == 0 ? bytes : -errno;
}

void conn_keep_alive(const struct conn *conn, int64_t idle_ns)
{
    int on = idle_ns > 0;
    int seconds = (int)((idle_ns + 999999999) / 1000000000);
    int probes = KEEP_ALIVE_PROBES;
    (void)setsockopt(conn->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    if (on) {
        (void)setsockopt(conn->fd, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof(seconds));
        (void)setsockopt(conn->fd, IPPROTO_TCP, TCP_KEEPINTVL, &seconds, sizeof(seconds));
        (void)setsockopt(conn->fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
    }
}
