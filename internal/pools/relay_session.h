/* One client of a relay and its server; for the relay's own files. Its worker's thread only. */
#pragma once

#include "pools/proxy_header.h"
#include "pools/relay_private.h"
#include "pools/upstream_claim.h"
#include "pools/upstream_conn.h"

#define RELAY_TRIES 8 /* backends, for one client */
#define RELAY_WATCHED (LOOP_READ | LOOP_WRITE | LOOP_EDGE | LOOP_HANGUP | LOOP_URGENT)

/* One end of a session. */
struct relay_side {
    struct loop_fd source;
    struct conn conn;
    bool readable, writable; /* as the last event or call said */
    bool hung_up;            /* its end of writing came; there may be bytes before it */
    bool broken;             /* it was reset; there may be bytes before that */
    bool urgent;             /* urgent data came: reads stop at its mark, and say nothing then */
    bool ended;              /* ... and was read */
    bool shut;               /* our end of writing was sent to it */
};

/* Bytes on their way from one side to the other: at most in one of the two places. */
struct relay_flow {
    char *pending; /* read, and not taken by the other side; NULL: none */
    size_t pending_at, pending_size;
    struct pool_lease pipe; /* resource NULL: none is borrowed */
    size_t in_pipe;
    bool bulk; /* long transfers go through a pipe */
};

struct relay_opening;

struct relay_session {
    struct list link;
    struct relay_worker *worker;
    struct relay_side sides[2];    /* client, server */
    struct relay_flow flows[2];    /* from client, from server */
    struct relay_opening *opening; /* while it has no server */
    struct backend *backend;
    struct pool_lease lease;
    struct loop_timer timer;
    struct loop_task task; /* goes on after others had their turn */
    int64_t moved_ns;      /* when bytes moved last, where there is an idle time-out */
    unsigned seconds;      /* that it has lasted, until its server's keep-alive was set */
    bool answered;         /* the last bytes that moved were the server's, or none did */
};

/* A server is being found for it. */
struct relay_opening {
    struct relay_session *session;
    struct pool_request request;
    struct dial dial;
    struct addresses *addresses;
    struct backend *tried[RELAY_TRIES];
    size_t tried_count;
    struct upstream_waiter waiter; /* for a place */
    struct list placed_link;       /* in worker->placed_list */
    int64_t begun_ns, deadline_ns;
    struct address peer;
    uint8_t header[PROXY_HEADER_SIZE];
    size_t header_size;
    bool securing; /* the client's TLS handshake is under way */
};

/* ---- relay_open.c: from accept to a server ---- */
void relay_accept(struct relay_worker *worker, int fd, const struct address *peer);
void relay_opening_destroy(struct relay_opening *opening);
void relay_opening_handle_client(struct relay_session *session);
void relay_refuse(struct relay_session *session, enum relay_refusal why);

/* ---- relay_session.c: life of a session ---- */
/* It has its server: bytes move from now on, the opening's header first. */
void relay_session_begin(struct relay_session *session);
/* The server's connection can serve another client (see RELAY_REUSE_CLEAN). */
bool relay_session_is_clean(const struct relay_session *session);
/* Once a second: a server's connection that lasts has TCP keep-alive, a short one does not pay for it. */
void relay_session_tend(struct relay_session *session);
int relay_session_watch_client(struct relay_session *session);
enum relay_end { RELAY_END_DONE, RELAY_END_CUT, RELAY_END_STOPPED };
void relay_session_end(struct relay_session *session, enum relay_end end);

/* ---- relay_move.c: bytes ---- */
/* Moves what can be moved, both ways. 0: nothing more now; 1: there is more, after others; negative: a
 * side failed. */
int relay_move(struct relay_session *session);
void relay_flow_finish(struct relay_session *session, struct relay_flow *flow);
/* Whether nothing is under way in it. */
bool relay_flow_is_empty(const struct relay_flow *flow);
extern const struct pool_type relay_pipe_type;
