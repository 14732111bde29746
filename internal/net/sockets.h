/*
 * The ledger of the transport's sockets: each is counted when it is opened and when it is closed,
 * and compared with the kernel's view, because libcurl 7.88 can miss a close on a connect
 * time-out (see docs/findings.md). It also knows who watches a socket.
 *
 * It lives as long as the client: libcurl stores its callbacks per connection and calls them long
 * after the transfer that opened it is gone. Loop thread only.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/metrics.h"
#include "loop/loop.h"

struct socket_entry {
    bool open;             /* counted */
    bool paced;            /* in the set of follows */
    ino_t inode;           /* of the socket that was counted */
    uint32_t *owned;       /* its owner\'s own count of open sockets */
    int want;              /* LOOP_READ and LOOP_WRITE asked for by libcurl */
    struct loop_fd source; /* when it is watched by the loop itself */
};

struct sockets {
    struct socket_entry **entries; /* by fd; grows only */
    size_t capacity;
    size_t open_count;
    uint32_t nobodys;
    struct metric opened;
    struct metric closed;
    struct metric repaired;
};

void sockets_init(struct sockets *sockets);
int sockets_register_metrics(struct sockets *sockets, struct metrics *metrics)
    __attribute__((warn_unused_result));
void sockets_finish(struct sockets *sockets);

struct socket_kind {
    int family, type, protocol; /* as for socket(2) */
};
/* Opens a close-on-exec socket and counts it, also in *owned, which must stay in place while the
 * socket is open; -1 with errno as socket(2). */
int sockets_open(struct sockets *sockets, const struct socket_kind *kind, uint32_t *owned);
/* The owner of this count goes: its sockets stay open and are nobody's. */
void sockets_disown(struct sockets *sockets, const uint32_t *owned);
/* Counts and closes; also one that was never counted. */
void sockets_close(struct sockets *sockets, int fd);
/* The entry of an fd, created when missing; NULL without memory. It stays at its address. */
struct socket_entry *sockets_entry(struct sockets *sockets, int fd);
/* Looks at every counted socket with fstat and counts those as closed which are gone. */
void sockets_reconcile(struct sockets *sockets);
