/*
 * The live tail behind /api/v1/tail: captured lines that match, as they become durable, in chunks
 * for as long as the client stays. Each tail has a thread that reads the spool, so that neither a
 * regular expression nor a disk holds up the loop. The spool is its buffer: a client that is slow
 * falls behind there, holding no more than TAIL_BUFFER_BYTES and the longest line of memory, and is
 * told when lines went before it came to them.
 *
 * Loop thread only.
 *
 * Arguments: container, label (may be repeated), stream, regex, text: as in struct spool_query.
 *   lines=N       so many matching lines of before at first (10; at most 10000)
 *   from=RECORD   instead of lines: from this record of the spool on
 *   format        json, logfmt or text (json); for a text on a terminal colour=true, escape=true
 *   marks=true    lines that begin with the byte 0x1e (RS) and a word say more:
 *                 `next RECORD`: all before this record was sent; `missed N`: see below
 * Without marks, lines that went unread are told in the format: {"missed":N}, missed=N, or
 * `log_capturer: missed N lines`. They are counted whether they would have matched or not.
 */
#pragma once

#include "base/metrics.h"
#include "spool/spool.h"
#include "web/httpd.h"

#define TAIL_LIMIT 8
#define TAIL_BUFFER_BYTES (256U * 1024U)

struct live_tail;

struct live_tail_options {
    struct loop *loop; /* all borrowed */
    struct metrics *metrics;
    struct spool *spool;
};

int live_tail_create(const struct live_tail_options *options, struct live_tail **ret_live_tail)
    __attribute__((warn_unused_result));
/* After the server, which ends all answers. Waits for the threads. NULL is ignored. */
void live_tail_destroy(struct live_tail *live_tail);

/* The page: an open answer; 400 for arguments that make no sense, 503 when TAIL_LIMIT are there. */
int live_tail_answer(struct live_tail *live_tail, const struct httpd_request *request,
                     struct httpd_response *response);
