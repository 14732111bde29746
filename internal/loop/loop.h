/*
 * The event loop: one epoll set, timers, signals, deferred work, and posts from other threads.
 *
 * Everything here belongs to the thread that runs the loop, but loop_post_send(), which any
 * thread may call. Sources are embedded in their owners; an owner takes its sources out before it
 * goes. Taking out takes effect at once, also from within any callback: no callback of a source
 * comes after its removal.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/metrics.h"
#include "loop/clock.h"

struct loop;

/* clock is borrowed for the loop's life. Returns 0 or a negative errno. */
int loop_create(const struct clock *clock, struct loop **ret_loop)
    __attribute__((warn_unused_result));
/* All sources must have been taken out. NULL is ignored. */
void loop_destroy(struct loop *loop);
/* Registers tick durations (worst and histogram) and the number of sources. */
int loop_register_metrics(struct loop *loop, struct metrics *metrics)
    __attribute__((warn_unused_result));

/* Runs until loop_stop(). Returns 0, or a negative errno of epoll. */
int loop_run(struct loop *loop) __attribute__((warn_unused_result));
void loop_stop(struct loop *loop);
/* One iteration: waits at most timeout_ns (-1: until something happens) and dispatches. */
int loop_iterate(struct loop *loop, int64_t timeout_ns) __attribute__((warn_unused_result));

const struct clock *loop_clock(const struct loop *loop);
/* Monotonic time, read afresh. */
int64_t loop_now_ns(const struct loop *loop);

/* ---- file descriptors ---- */

enum {
    LOOP_READ = 1,
    LOOP_WRITE = 2,
    LOOP_ONE_SHOT = 4,   /* fires once, until loop_fd_modify() */
    LOOP_EDGE = 8,       /* fires when something became ready, not while it is (EPOLLET) */
    LOOP_HANGUP = 16,    /* tells the peer's end of writing too (EPOLLRDHUP) */
    LOOP_EXCLUSIVE = 32, /* of a descriptor that several loops watch, some are woken, not all */
    LOOP_URGENT = 64,    /* tells urgent data too (EPOLLPRI) */
    LOOP_ERROR = 128     /* reported only: the socket failed, as by a reset */
};

struct loop_fd;
/* events: LOOP_READ and LOOP_WRITE; an error or hang-up is reported as both. LOOP_HANGUP where it was
 * asked for, and LOOP_ERROR with it; LOOP_URGENT where it was. */
typedef void (*loop_fd_fn)(struct loop_fd *source, int events, void *data);

struct loop_fd {
    struct loop *loop; /* NULL while not in a loop */
    int fd;
    uint32_t slot;
    int events;
    loop_fd_fn handle;
    void *data;
};

void loop_fd_init(struct loop_fd *source, loop_fd_fn handle, void *data);
/* The fd stays the caller's. Returns 0 or a negative errno. */
int loop_fd_add(struct loop *loop, struct loop_fd *source, int fd, int events)
    __attribute__((warn_unused_result));
int loop_fd_modify(struct loop_fd *source, int events);
/* To be called before the fd is closed. */
void loop_fd_remove(struct loop_fd *source);
/* Takes it out where the caller closes the fd at once and nobody else has the same open file: closing
 * is what takes it out of the kernel's set, which saves a system call. */
void loop_fd_forget(struct loop_fd *source);

/* ---- signals ---- */

typedef void (*loop_signal_fn)(int signal, void *data);

/* Blocks these signals for the process (call it before threads start) and reports them here.
 * signals ends with 0. One call per loop. */
int loop_signals_add(struct loop *loop, const int *signals, loop_signal_fn handle, void *data)
    __attribute__((warn_unused_result));
