/* The greeting: each end sends and receives the same bytes, the server first. */
#include "pools/netpool.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "loop/loop.h"

#define PREFIX "netpool/1 "
#define PREFIX_SIZE (sizeof(PREFIX) - 1)
#define ID_DIGITS (NETPOOL_ID_SIZE - 1)

_Static_assert(PREFIX_SIZE + ID_DIGITS + 1 == NETPOOL_GREETING_SIZE, "the greeting's parts");

static int make_id(char ret_id[NETPOOL_ID_SIZE])
{
    unsigned char bytes[ID_DIGITS / 2];
    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes)) {
        return -errno;
    }
    for (size_t i = 0; i < sizeof(bytes); i++) {
        (void)snprintf(ret_id + 2 * i, 3, "%02x", bytes[i]);
    }
    return 0;
}

void netpool_greeter_init(struct netpool_greeter *greeter, bool server)
{
    *greeter = (struct netpool_greeter){.server = server};
}

/* What was received so far can still become a greeting. */
static bool is_plausible(const struct netpool_greeter *greeter)
{
    if (greeter->server) {
        return memcmp(greeter->got, greeter->expected, greeter->received) == 0;
    }
    size_t prefix = greeter->received < PREFIX_SIZE ? greeter->received : PREFIX_SIZE;
    size_t digits = greeter->received > PREFIX_SIZE ? greeter->received - PREFIX_SIZE : 0;
    bool ended = digits > ID_DIGITS;
    digits = ended ? ID_DIGITS : digits;
    return memcmp(greeter->got, PREFIX, prefix) == 0 &&
           strspn(greeter->got + PREFIX_SIZE, "0123456789abcdef") >= digits &&
           (!ended || greeter->got[NETPOOL_GREETING_SIZE - 1] == '\n');
}

static int receive(struct netpool_greeter *greeter, struct conn *conn, int *ret_wants)
{
    while (greeter->received < NETPOOL_GREETING_SIZE) {
        ssize_t n = conn_read(conn, greeter->got + greeter->received,
                              NETPOOL_GREETING_SIZE - greeter->received);
        if (n == -EAGAIN) {
            *ret_wants = conn_wants(conn, LOOP_READ);
        }
        if (n <= 0) {
            return n == 0 ? -ECONNRESET : (int)n;
        }
        greeter->received += (size_t)n;
        if (!is_plausible(greeter)) {
            return -EBADMSG;
        }
    }
    return 0;
}

static int send_all(struct netpool_greeter *greeter, struct conn *conn, const char *bytes,
                    int *ret_wants)
{
    while (greeter->sent < NETPOOL_GREETING_SIZE) {
        ssize_t n = conn_write(conn, bytes + greeter->sent, NETPOOL_GREETING_SIZE - greeter->sent);
        if (n == -EAGAIN) {
            *ret_wants = conn_wants(conn, LOOP_WRITE);
        }
        if (n < 0) {
            return (int)n;
        }
        greeter->sent += (size_t)n;
    }
    return 0;
}

static int step_server(struct netpool_greeter *greeter, struct conn *conn, int *ret_wants)
{
    if (!greeter->begun) {
        char id[NETPOOL_ID_SIZE];
        int rc = make_id(id);
        if (rc != 0) {
            return rc;
        }
        (void)snprintf(greeter->expected, sizeof(greeter->expected), PREFIX "%s\n", id);
        greeter->begun = true;
    }
    int rc = send_all(greeter, conn, greeter->expected, ret_wants);
    return rc != 0 ? rc : receive(greeter, conn, ret_wants);
}

int netpool_greeter_step(struct netpool_greeter *greeter, struct conn *conn, int *ret_wants,
                         char ret_id[NETPOOL_ID_SIZE])
{
    int rc;
    if (greeter->server) {
        rc = step_server(greeter, conn, ret_wants);
    } else {
        rc = receive(greeter, conn, ret_wants);
        rc = rc != 0 ? rc : send_all(greeter, conn, greeter->got, ret_wants);
    }
    if (rc == 0) {
        memcpy(ret_id, greeter->got + PREFIX_SIZE, ID_DIGITS);
        ret_id[ID_DIGITS] = '\0';
    }
    return rc;
}
