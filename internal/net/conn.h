/*
 * A connection of bytes: a socket, with TLS or without. It owns the socket. One thread at a time; it
 * may be handed from one to another while nothing of it is watched.
 *
 * Everything here is non-blocking; -EAGAIN says that the socket must become ready first (conn_wants()).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"
#include "net/tls.h"

struct conn {
    int fd;          /* -1: none */
    struct tls *tls; /* NULL: plain */
};

/* Takes over the socket, which must be non-blocking. */
void conn_init(struct conn *conn, int fd);
/* Begins TLS on it; conn_handshake() goes on. host as in tls_open(). */
int conn_start_tls(struct conn *conn, struct tls_context *context, const char *host)
    __attribute__((warn_unused_result));
/* 0: done, or there is no TLS. */
int conn_handshake(struct conn *conn, struct error *error) __attribute__((warn_unused_result));
/* Closes it; harmless when it is closed. */
void conn_finish(struct conn *conn);
/* The same by RST, so that the peer sees at once that it is over; nothing stays in TIME_WAIT. */
void conn_abort(struct conn *conn);
/* What conn_finish() will be then, whoever calls it. */
void conn_abort_when_finished(const struct conn *conn);

/* Bytes; 0 at the peer's proper end. */
ssize_t conn_read(struct conn *conn, void *ret_bytes, size_t size)
    __attribute__((warn_unused_result));
ssize_t conn_write(struct conn *conn, const void *bytes, size_t size)
    __attribute__((warn_unused_result));
/* Nothing more will be written. 0, -EAGAIN, or why not. */
int conn_close_write(struct conn *conn);
/* What to wait for after -EAGAIN: LOOP_READ or LOOP_WRITE; `otherwise` where there is no TLS. */
int conn_wants(const struct conn *conn, int otherwise);

enum conn_activity {
    CONN_SILENT, /* open, nothing waits */
    CONN_TALKS,  /* open, bytes wait, or the peer ended behind some */
    CONN_OVER    /* closed by the peer, or broken */
};
/* Looks without taking a byte: one system call. */
enum conn_activity conn_activity(struct conn *conn);
/* Whether the peer has ended, perhaps behind bytes that wait: one system call. */
bool conn_has_ended(const struct conn *conn);
/* Bytes that the peer's TCP has not acknowledged yet; negative errno. */
int conn_unacknowledged(const struct conn *conn);

/* TCP keep-alive after `idle_ns` of silence, the same again between three probes; 0: off. */
void conn_keep_alive(const struct conn *conn, int64_t idle_ns);
