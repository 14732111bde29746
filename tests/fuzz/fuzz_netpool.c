/*
 * The greeting against a peer that sends anything, in chunks: it ends well only with the bytes of a
 * greeting, and leaves what comes behind them. Byte 0: which end it is, and the size of the chunks.
 */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "pools/netpool.h"

static void check_end(const struct netpool_greeter *greeter, const uint8_t *data, const char *id)
{
    const char *expected = greeter->server ? greeter->expected : (const char *)data;
    if (memcmp(data, expected, NETPOOL_GREETING_SIZE) != 0 || strlen(id) != 32 ||
        strspn(id, "0123456789abcdef") != 32 || data[NETPOOL_GREETING_SIZE - 1] != '\n' ||
        memcmp(data, "netpool/1 ", 10) != 0) {
        abort();
    }
}

static void check_rest(struct conn *conn, const uint8_t *data, size_t size)
{
    uint8_t rest[4096];
    ssize_t n = size > 0 ? conn_read(conn, rest, sizeof(rest)) : 0;
    if (n != (ssize_t)size || memcmp(rest, data, size) != 0) {
        abort();
    }
}

static void play(const uint8_t *data, size_t size, size_t chunk, struct conn ends[2], bool server)
{
    struct netpool_greeter greeter;
    char id[NETPOOL_ID_SIZE];
    int wants;
    int rc = -EAGAIN;
    size_t done = 0;
    netpool_greeter_init(&greeter, server);
    while (rc == -EAGAIN && done < size) {
        size_t part = size - done < chunk ? size - done : chunk;
        if (conn_write(&ends[1], data + done, part) != (ssize_t)part) {
            abort();
        }
        done += part;
        rc = netpool_greeter_step(&greeter, &ends[0], &wants, id);
    }
    if (rc == 0) {
        check_end(&greeter, data, id);
        check_rest(&ends[0], data + NETPOOL_GREETING_SIZE, done - NETPOOL_GREETING_SIZE);
    } else if (rc != -EAGAIN && rc != -EBADMSG) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct conn ends[2];
    int fds[2];
    if (size < 1 || size > 4096 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) {
        return 0;
    }
    conn_init(&ends[0], fds[0]);
    conn_init(&ends[1], fds[1]);
    play(data + 1, size - 1, (size_t)(data[0] >> 1) + 1, ends, (data[0] & 1) != 0);
    conn_finish(&ends[0]);
    conn_finish(&ends[1]);
    return 0;
}
