/* What http_client.c and http_stream.c share. Nobody else includes this. */
#pragma once

#include <curl/curl.h>

#include "base/list.h"
#include "loop/task.h"
#include "loop/timer.h"
#include "net/http.h"
#include "net/sockets.h"

#define HTTP_KINDS 3

struct http_client {
    struct loop *loop;
    struct http_client_options options;
    CURLM *multi;
    CURLSH *share;
    struct sockets sockets;
    bool global_init;
    bool shutting_down;

    /* libcurl's one timer, and the reaping of ended streams */
    struct loop_timer curl_timer;
    struct loop_task reap_task;
    struct list ending;
    struct list streams; /* waiting and open ones */

    /* paced reading of follows */
    int paced_fd; /* an epoll set of their sockets */
    struct loop_fd paced_source;
    struct loop_timer paced_timer;
    int64_t tick_ns;
    uint64_t round;      /* number of the present or last one */
    size_t largest_read; /* of one stream in the present round */
    size_t round_bytes;
    struct list throttled; /* streams that used up their share of a round */
    bool follows_paused;

    /* admission */
    struct list waiting[HTTP_KINDS];
    uint32_t follows_active;
    uint32_t follows_opening;
    uint32_t follows_limit;
    uint32_t transfers; /* in the multi */
    uint32_t completed; /* of these, those whose connection is idle again */
    uint32_t sockets_connecting;
    struct list targets;

    struct loop_timer reconcile_timer;
    struct metric idle, active, connecting, open;
    struct metric requests, errors, reused;
    struct metric transfers_by[HTTP_KINDS][2]; /* [kind][reused] */
    struct metric waiting_by[HTTP_KINDS];
    struct metric paced_tick, paced_rounds;
};

struct http_target {
    struct http_client *client;
    struct list link; /* in client->targets */
    struct endpoint endpoint;
    uint32_t calls_active;
    uint32_t open_sockets;
};

enum http_stream_state { HTTP_STREAM_WAITING, HTTP_STREAM_OPEN, HTTP_STREAM_ENDING };

struct http_stream {
    struct list link;           /* client->streams or ->ending */
    struct list waiting_link;   /* client->waiting[kind] */
    struct list throttled_link; /* client->throttled */
    struct http_client *client;
    struct http_stream_options options;
    enum http_stream_state state;
    enum http_end end;
    CURL *easy;
    CURLcode code;
    bool in_multi;
    bool admitted; /* holds a slot */
    bool opening;  /* a follow without an answer */
    bool active;   /* on a connection */
    bool head_done;
    bool has_json;
    uint32_t sockets_opened; /* for this transfer, until it is on a connection */
    uint64_t round;          /* the one in which round_bytes were read */
    size_t round_bytes;
    struct loop_timer timer;
    struct curl_slist *headers; /* of a request with a body */
    char *error_text;           /* of CURL_ERROR_SIZE, behind the strings; a follow has none */
    char method_and_path[];     /* two strings, and the body behind them */
};

/* Ends with `end`; the first call decides. */
void http_stream_end(struct http_stream *stream, enum http_end end);
/* Hands finished transfers to their streams; after every call into the multi. */
void http_client_drain_messages(struct http_client *client);
/* Starts what waits, as slots allow, at the bottom of the iteration. */
void http_client_admit(struct http_client *client);
/* Frees ended streams, then starts waiting ones. No libcurl function may be on the stack. */
void http_client_reap(struct http_client *client);
