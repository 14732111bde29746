/*
 * fake_request: one HTTP/1.1 request, read out of what has come in so far. Borrows from that
 * buffer until it is altered. Pure functions.
 */
#ifndef FAKE_HTTP_H
#define FAKE_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fake_request {
    char method[16];
    char path[512];   /* decoded is nothing; without version and query */
    char query[4096]; /* as it came */
    unsigned version; /* minor number of /v1.xx; 0 without */
    bool keep_alive;
    bool expects_continue;
    const char *body;
    size_t body_len;
    size_t total_len; /* head and body */
};

/* 1: a whole request; 0: more is needed (and head_done says if the head is there);
 * -EBADMSG, -EMSGSIZE. */
int fake_request_parse(const char *data, size_t len, struct fake_request *ret_request,
                       bool *ret_head_done);

/* The decoded value of a query parameter, cut to size; false when it is absent. */
bool fake_query_get(const char *query, const char *name, char *out, size_t size);
/* The parameter n-th (from 0) of that name. */
bool fake_query_get_nth(const char *query, const char *name, size_t nth, char *out, size_t size);
uint64_t fake_query_number(const char *query, const char *name, uint64_t otherwise);
int64_t fake_query_signed(const char *query, const char *name, int64_t otherwise);
/* 1, true, True and nothing at all ("name=", "name") are true. */
bool fake_query_bool(const char *query, const char *name, bool otherwise);
/* "seconds" or "seconds.nanoseconds", as `since` and `until` have it; false if it is neither. */
bool fake_parse_time(const char *text, int64_t *ret_ns);

#endif
