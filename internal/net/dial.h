/*
 * Making a connection: the addresses of a target one after the other, then TLS where it is wanted.
 * struct dial works in a loop (loop thread only); dial_blocking() in any thread.
 */
#pragma once

#include "loop/loop.h"
#include "loop/timer.h"
#include "net/address.h"
#include "net/conn.h"

struct dial_target {
    const struct address_list *addresses; /* at least one; borrowed while dialing */
    struct tls_context *tls;              /* NULL: plain */
    const char *host;                     /* for the certificate and SNI; borrowed */
    int64_t timeout_ns;                   /* for all of it; 0: none */
    const void *preface; /* sent as it is before anything else, TLS included; borrowed */
    size_t preface_size; /* a few hundred bytes at most; 0: none */
    /*
     * In a loop: watches the socket with this source of the caller's, for these events besides, and leaves
     * it so: the caller sets its handler and data when the connection is his, and saves taking it out
     * and putting it in. NULL: the dial's own, which is taken out.
     */
    struct loop_fd *source;
    int events;
};

/* Whether it failed for lack of our own: descriptors, memory, ports. Another target would not help. */
bool dial_is_own_fault(int rc);

struct dial;
/* rc 0: conn is the callee's. Else text says what failed, and at which address. */
typedef void (*dial_fn)(struct dial *dial, int rc, struct conn conn, const char *text, void *data);

/* Embedded in its owner. */
struct dial {
    struct loop_fd own_source, *source;
    int last_events; /* that came with the connection, where the source is the caller's */
    struct loop_timer timer;
    struct loop *loop;
    struct dial_target target;
    struct conn conn;
    size_t next; /* address */
    bool active, connected;
    int rc; /* why the last address failed */
    dial_fn on_done;
    void *data;
    struct error error;
};

void dial_init(struct dial *dial, struct loop *loop, dial_fn on_done, void *data);
/* 0: connected at once, *ret_conn is the caller's. -EAGAIN: under way, on_done comes exactly once, from
 * the loop. Else why it failed at once (dial_error()); on_done does not come. */
int dial_start(struct dial *dial, const struct dial_target *target, struct conn *ret_conn)
    __attribute__((warn_unused_result));
/* Of the last failure, for people; valid until the next start. */
const char *dial_error(const struct dial *dial);
/* on_done will not come. Also when it is not under way. */
void dial_cancel(struct dial *dial);

/* The same at once, until it is done, timeout_ns are over (-ETIMEDOUT), or stop_fd (-1: none) is
 * readable (-ECANCELED). */
int dial_blocking(const struct dial_target *target, int stop_fd, struct conn *ret_conn,
                  struct error *error) __attribute__((warn_unused_result));
