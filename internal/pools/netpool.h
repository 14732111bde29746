/*
 * Connections that are ready before they are needed, at both ends. The client dials and keeps a number of
 * them; the server accepts, gives each an id that nobody can guess, and tells it to the client. So
 * the two can speak of one connection by its id, over whatever they use to speak with each other:
 * the server takes any that is ready, sends its id, and the client takes the one with that id.
 *
 * On the wire, after TLS where it is used, the server sends a greeting and the client answers with the
 * same bytes, which proves that it has the id; then the connection belongs to the application:
 *
 *   netpool/1 <32 hexadecimal digits>\n
 *
 * A connection that was taken is its taker's and never comes back.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "net/conn.h"

#define NETPOOL_ID_SIZE 33 /* 128 bits in hexadecimal digits, and a NUL */

struct netpool_conn {
    char id[NETPOOL_ID_SIZE];
    struct conn conn;
};

/* ---- the greeting, for both ends; shown for tests ---- */

#define NETPOOL_GREETING_SIZE 43

/* Goes through the exchange on a connection whose TLS is done. */
struct netpool_greeter {
    bool server;
    bool begun;
    size_t sent, received;
    char expected[NETPOOL_GREETING_SIZE + 1]; /* what the server sends */
    char got[NETPOOL_GREETING_SIZE + 1];
};

/* The id of a server's greeting is made here: random bytes of getrandom(2). */
void netpool_greeter_init(struct netpool_greeter *greeter, bool server);
/* 0: done, ret_id is set. -EAGAIN: the socket must become ready (*ret_wants: LOOP_READ or LOOP_WRITE).
 * -EBADMSG: the peer speaks something else; -ECONNRESET: it closed. Reads no byte too many. */
int netpool_greeter_step(struct netpool_greeter *greeter, struct conn *conn, int *ret_wants,
                         char ret_id[NETPOOL_ID_SIZE]) __attribute__((warn_unused_result));
