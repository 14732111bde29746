/*
 * fake_connection: one accepted socket: requests in, answers out.
 *
 * A connection is closed at once when asked to, and its memory freed at the end of the loop's
 * turn, so that pointers to it stay good within a turn (look at `dead`). It answers one request
 * at a time: from request to end it is `busy`, and what comes in meanwhile waits. A request on
 * /_fake/ makes it a control connection; such are not in the statistics, and no fault is played
 * on them.
 */
#ifndef FAKE_CONNECTION_H
#define FAKE_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "fake_dockerd/text.h"

/* Above this a stream is not produced any further until the client has read. */
#define FAKE_OUTPUT_LIMIT ((size_t)256 * 1024)

struct fake_server;
struct fake_follow;

enum fake_cut {
    FAKE_CUT_CLEAN,
    FAKE_CUT_FIN,
    FAKE_CUT_RST,
    FAKE_CUT_BAD_CHUNK,
    FAKE_CUT_MID_FRAME
};

struct fake_connection {
    LIST_ENTRY(fake_connection) link;
    LIST_ENTRY(fake_connection) listener_link; /* while it listens to events */
    struct fake_server *server;
    int fd; /* -1 when dead */
    struct fake_text in;
    struct fake_text out;
    size_t out_at; /* so much of out has been sent */
    unsigned version;
    bool dead;
    bool control;
    bool used; /* has made a request that is no control one */
    bool busy;
    bool chunked;
    bool close_after;
    bool processing;
    bool waits_writable;
    bool listens;
    struct fake_follow *follow; /* see logs.h */
};

void fake_connection_create(struct fake_server *server, int fd, bool control);
void fake_connection_close(struct fake_connection *connection);
void fake_connection_ready(struct fake_connection *connection, uint32_t events);
/* Sends what there is; then goes on with what waits for room, or with the next request. */
void fake_connection_flush(struct fake_connection *connection);
size_t fake_connection_pending(const struct fake_connection *connection);

/* A whole answer: of known length, or in chunks if it is long. type may be NULL. */
void fake_connection_answer(struct fake_connection *connection, int status, const char *type,
                            const struct fake_text *body);
/* {"message":...} */
void fake_connection_refuse(struct fake_connection *connection, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* An answer in chunks, to be ended by fake_connection_end. Nothing is sent before a flush. */
void fake_connection_begin(struct fake_connection *connection, const char *type);
void fake_connection_chunk(struct fake_connection *connection, const void *data, size_t len);
void fake_connection_end(struct fake_connection *connection);
/* Ends a stream in the way asked for. An RST is a plain end on a unix socket. */
void fake_connection_cut(struct fake_connection *connection, enum fake_cut how);

#endif
