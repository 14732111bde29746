/*
 * Moving bytes. Sockets are watched at their edges, so a side's `readable` and `writable` stay set until a
 * call says otherwise; a read that brings less than it could says so too, which saves the call that would
 * only return EAGAIN (epoll(7), question 9).
 *
 * Short messages go through the worker's buffer: read, written at once, nothing is allocated. What the
 * other side does not take is copied aside, and no more is read until it is gone. A read that fills
 * the buffer is part of a long transfer: from then on the bytes go from socket to pipe to socket. The pipe
 * is given back as soon as it is empty and the transfer pauses.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pools/relay_session.h"

#define BUDGET_BYTES ((size_t)1024 * 1024) /* of one flow, before others have their turn */
#define BUDGET_READS 16
#define PIPE_BYTES (256 * 1024)
#define SPLICE_BYTES ((size_t)PIPE_BYTES)
#define BULK_BYTES ((size_t)16 * 1024) /* a splice that brings less ends the long transfer */

/* ---- pipes ---- */

struct pipe_pair {
    int out, in; /* to be read from, to be written to */
};

static int create_pipe(void *data, void **ret_resource, struct error *error)
{
    (void)data;
    int fds[2];
    struct pipe_pair *pair = malloc(sizeof(*pair));
    if (pair == NULL || pipe2(fds, O_NONBLOCK | O_CLOEXEC) != 0) {
        int rc = pair == NULL ? -ENOMEM : -errno;
        free(pair);
        error_set(error, "pipe: %s", strerror(-rc));
        return rc;
    }
    (void)fcntl(fds[1], F_SETPIPE_SZ, PIPE_BYTES); /* where the user may; else 64 KiB will do */
    *pair = (struct pipe_pair){.out = fds[0], .in = fds[1]};
    *ret_resource = pair;
    return 0;
}

static void destroy_pipe(void *data, void *resource)
{
    (void)data;
    struct pipe_pair *pair = resource;
    (void)close(pair->out);
    (void)close(pair->in);
    free(pair);
}

const struct pool_type relay_pipe_type = {.create = create_pipe, .destroy = destroy_pipe};

static bool borrow_pipe(struct relay_session *session, struct relay_flow *flow)
{
    static const struct pool_wish wish = {.holder = "splice"};
    return flow->pipe.resource != NULL ||
           pool_acquire(session->worker->pipes, &wish, &flow->pipe, NULL) == 0;
}

static void return_pipe(struct relay_session *session, struct relay_flow *flow)
{
    if (flow->pipe.resource != NULL) {
        (void)(flow->in_pipe > 0 ? pool_discard(session->worker->pipes, flow->pipe)
                                 : pool_release(session->worker->pipes, flow->pipe));
        flow->pipe.resource = NULL;
        flow->in_pipe = 0;
    }
}

void relay_flow_finish(struct relay_session *session, struct relay_flow *flow)
{
    return_pipe(session, flow);
    free(flow->pending);
    flow->pending = NULL;
}

bool relay_flow_is_empty(const struct relay_flow *flow)
{
    return flow->pending == NULL && flow->in_pipe == 0;
}

/* ---- writing ---- */

static void count_moved(struct relay_session *session, int from, size_t bytes)
{
    relay_count(&session->worker->counters.bytes[from], bytes);
    session->answered = from == 1;
}

/* 0 when the side may take more; -EAGAIN; or its failure. */
static int note_write(struct relay_side *side, ssize_t n)
{
    if (n == -EAGAIN) {
        side->writable = false;
    }
    return n < 0 ? (int)n : 0;
}

static int keep_rest(struct relay_flow *flow, const char *bytes, size_t size)
{
    flow->pending = malloc(size);
    if (flow->pending == NULL) {
        return -ENOMEM;
    }
    memcpy(flow->pending, bytes, size);
    flow->pending_at = 0;
    flow->pending_size = size;
    return 0;
}

static int write_pending(struct relay_flow *flow, struct relay_side *to)
{
    while (flow->pending != NULL && to->writable) {
        ssize_t n = conn_write(&to->conn, flow->pending + flow->pending_at,
                               flow->pending_size - flow->pending_at);
        if (n < 0) {
            return note_write(to, n);
        }
        flow->pending_at += (size_t)n;
        if (flow->pending_at == flow->pending_size) {
            free(flow->pending);
            flow->pending = NULL;
        }
    }
    return flow->pending == NULL ? 0 : -EAGAIN;
}

/* What is not taken stays in the flow. */
static int write_through(struct relay_flow *flow, struct relay_side *to, const char *bytes,
                         size_t size)
{
    size_t done = 0;
    while (done < size) {
        ssize_t n = to->writable ? conn_write(&to->conn, bytes + done, size - done) : -EAGAIN;
        if (n == -EAGAIN) {
            to->writable = false;
            return keep_rest(flow, bytes + done, size - done);
        }
        if (n < 0) {
            return (int)n;
        }
        done += (size_t)n;
    }
    return 0;
}

static int empty_pipe(struct relay_session *session, struct relay_flow *flow, struct relay_side *to)
{
    struct pipe_pair *pair = flow->pipe.resource;
    while (flow->in_pipe > 0 && to->writable) {
        ssize_t n = splice(pair->out, NULL, to->conn.fd, NULL, flow->in_pipe,
                           SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (n <= 0) {
            return note_write(to, n < 0 ? -errno : -EPIPE);
        }
        flow->in_pipe -= (size_t)n;
        relay_count(&session->worker->counters.spliced, (uint64_t)n);
    }
    return flow->in_pipe == 0 ? 0 : -EAGAIN;
}

/* ---- reading ---- */

/* What a read of n bytes of `size` says about the side. The number of bytes, or a negative errno. */
static ssize_t note_read(struct relay_side *side, ssize_t n, size_t size)
{
    if (n == 0) {
        side->ended = true;
        side->readable = false;
    } else if (n == -EAGAIN) {
        side->readable = false;
        return 0;
    } else if (n > 0 && (size_t)n < size && !side->hung_up && !side->urgent &&
               side->conn.tls == NULL) {
        side->readable = false;
    }
    return n;
}

static ssize_t move_buffered(struct relay_session *session, int from)
{
    struct relay_side *source = &session->sides[from];
    struct relay_flow *flow = &session->flows[from];
    char *buffer = session->worker->buffer;
    ssize_t n = note_read(source, conn_read(&source->conn, buffer, RELAY_BUFFER_BYTES),
                          RELAY_BUFFER_BYTES);
    if (n <= 0) {
        return n;
    }
    count_moved(session, from, (size_t)n);
    flow->bulk = (size_t)n == RELAY_BUFFER_BYTES;
    int rc = write_through(flow, &session->sides[1 - from], buffer, (size_t)n);
    return rc != 0 ? rc : n;
}

static ssize_t move_spliced(struct relay_session *session, int from)
{
    struct relay_side *source = &session->sides[from];
    struct relay_flow *flow = &session->flows[from];
    struct pipe_pair *pair = flow->pipe.resource;
    ssize_t n = splice(source->conn.fd, NULL, pair->in, NULL, SPLICE_BYTES,
                       SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    flow->bulk = n >= (ssize_t)BULK_BYTES;
    if (n == 0) {
        return 0; /* the end, or an urgent mark: a plain read tells which */
    }
    /* A pipe holds a number of pieces, so a short splice does not say that the socket is empty. */
    n = note_read(source, n < 0 ? -errno : n, (size_t)(n > 0 ? n : 1));
    if (n > 0) {
        count_moved(session, from, (size_t)n);
        flow->in_pipe = (size_t)n;
    }
    int rc = n > 0 ? empty_pipe(session, flow, &session->sides[1 - from]) : 0;
    return rc != 0 && rc != -EAGAIN ? rc : n;
}

static bool may_splice(const struct relay_session *session, const struct relay_flow *flow)
{
    return flow->bulk && session->sides[0].conn.tls == NULL && session->sides[1].conn.tls == NULL;
}

/* ---- a flow ---- */

/* What is under way goes first. 0: nothing is; -EAGAIN; or a failure. */
static int flush(struct relay_session *session, int from)
{
    struct relay_flow *flow = &session->flows[from];
    int rc = write_pending(flow, &session->sides[1 - from]);
    return rc != 0 ? rc : empty_pipe(session, flow, &session->sides[1 - from]);
}

/* The source has ended and all of it was passed on: so the other side is told. */
static int pass_end_on(struct relay_session *session, int from)
{
    struct relay_side *to = &session->sides[1 - from];
    if (to->shut || session->sides[from].broken || (from == 0 && relay_session_is_clean(session))) {
        return 0; /* a reset is no end; a connection that goes on is not told of its client's */
    }
    if (to->ended && session->sides[from].shut && to->conn.tls == NULL) {
        to->shut = true; /* both have ended: it is closed at once, which says the same */
        return 0;
    }
    int rc = conn_close_write(&to->conn);
    if (rc == -EAGAIN) {
        to->writable = false;
        return 0;
    }
    to->shut = true;
    return rc;
}

static int move_flow(struct relay_session *session, int from)
{
    struct relay_side *source = &session->sides[from];
    struct relay_flow *flow = &session->flows[from];
    size_t bytes = 0;
    for (int reads = 0; reads < BUDGET_READS && bytes < BUDGET_BYTES; reads++) {
        int rc = flush(session, from);
        if (rc != 0) {
            return rc == -EAGAIN ? 0 : rc;
        }
        if (source->ended) {
            return_pipe(session, flow);
            return pass_end_on(session, from);
        }
        if (!source->readable) {
            return_pipe(session, flow);
            return 0;
        }
        ssize_t n = may_splice(session, flow) && borrow_pipe(session, flow)
                        ? move_spliced(session, from)
                        : move_buffered(session, from);
        if (n < 0) {
            return (int)n;
        }
        bytes += (size_t)n;
    }
    return 1;
}

int relay_move(struct relay_session *session)
{
    /* The server's first, so that what it says counts before its client's end; but nothing more can be said to
     * a client that is gone. */
    int first = session->sides[0].broken ? 0 : 1;
    int rc = move_flow(session, first);
    session->sides[1 - first].broken |= rc < 0; /* what came from it before is passed on still */
    int other = move_flow(session, 1 - first);
    return rc < 0 ? rc : other < 0 ? other : rc | other;
}
