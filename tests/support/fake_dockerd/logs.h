/*
 * The log streams: GET /containers/<id>/logs. A stream is a place in the container's history and
 * a connection; it is produced when there is something new and room in the connection's buffer.
 */
#ifndef FAKE_LOGS_H
#define FAKE_LOGS_H

#include "fake_dockerd/http.h"
#include "fake_dockerd/server.h"

struct fake_follow {
    LIST_ENTRY(fake_follow) link; /* in the container's list */
    struct fake_connection *connection;
    struct fake_container *container;
    uint64_t next;  /* record */
    uint64_t limit; /* nothing from this record on is delivered */
    bool live;      /* waits for more; false also after the container's end */
    bool out;
    bool err;
    bool timestamps;
    bool filters_since;  /* what is older than since_ns is left out */
    bool filters_always; /* ... also after the first that was not: 23.0 and before */
    bool has_head;
    int64_t since_ns;
};

/* Answers the request, and becomes a stream of the connection. */
void fake_logs_handle(struct fake_connection *connection, const struct fake_request *request,
                      struct fake_container *container);
/* Puts as much as there is, and as fits, into the connection's output; ends what is at its end.
 * Called by fake_connection_flush, which is the thing to call. */
void fake_logs_pump(struct fake_connection *connection);
/* The connection has no stream any more. */
void fake_logs_forget(struct fake_connection *connection);

/* For all streams of the container: */
void fake_logs_flush(struct fake_container *container);
/* It has stopped: they end after the last record; with lose after what was delivered till now. */
void fake_logs_stopped(struct fake_container *container, bool lose);
void fake_logs_set_silent(struct fake_container *container, bool silent);
void fake_logs_raw(struct fake_container *container, const void *data, size_t len);
/* An error frame, as dockerd sends it, and then the end if asked for. */
void fake_logs_error(struct fake_container *container, const char *text, bool end);
void fake_logs_cut(struct fake_container *container, enum fake_cut how);

#endif
