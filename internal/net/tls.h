/*
 * TLS over a non-blocking socket, by OpenSSL; 1.3 unless 1.2 is allowed. A context holds the settings and
 * may be shared by any number of connections and threads; a connection belongs to one thread at
 * a time and does not own its socket.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

struct tls_context;
struct tls;

struct tls_options {
    bool server;
    bool verify;    /* client: the server's certificate and its name; server: a client certificate
                      * is demanded and checked */
    const char *ca; /* PEM file of authorities; NULL or "": the system's */
    const char *cert,
        *key;      /* PEM files; NULL or "": none; a server makes a self-signed one for this
                             * process then */
    bool allow_12; /* TLS 1.2 too */
};

/* -EINVAL with the file and what is wrong with it, -ENOMEM. Reads the files once. */
int tls_context_create(const struct tls_options *options, struct tls_context **ret_context,
                       struct error *error) __attribute__((warn_unused_result));
/* Its connections may go on. NULL is ignored. */
void tls_context_destroy(struct tls_context *context);

/* host: the name or address that the server's certificate must have, and for SNI; a client's only. */
int tls_open(struct tls_context *context, int fd, const char *host, struct tls **ret_tls)
    __attribute__((warn_unused_result));
/* Without a word to the peer. NULL is ignored. */
void tls_destroy(struct tls *tls);

/*
 * Each returns -EAGAIN when the socket must become ready first; tls_wants() says for what. Other negative
 * errnos are final; -EPROTO is TLS's own, and error tells it.
 */
int tls_handshake(struct tls *tls, struct error *error) __attribute__((warn_unused_result));
/* 0: the peer ended it properly. An end without close_notify is -ECONNABORTED. */
ssize_t tls_read(struct tls *tls, void *ret_bytes, size_t size) __attribute__((warn_unused_result));
/* The same bytes again after -EAGAIN; they may have moved. */
ssize_t tls_write(struct tls *tls, const void *bytes, size_t size)
    __attribute__((warn_unused_result));
/* Tells the peer that nothing more comes. */
int tls_close_write(struct tls *tls);
/* 1: bytes wait; 0: alive and silent; negative: it is over. Takes nothing. */
int tls_peek(struct tls *tls);
/* LOOP_READ or LOOP_WRITE as values 1 and 2, after -EAGAIN. */
int tls_wants(const struct tls *tls);
/* Whether bytes were decrypted that no socket event will announce. */
bool tls_has_pending(const struct tls *tls);
