/*
 * Finds records in a spool, running or not, by what they are and what they say. One thread.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "spool/spool_reader.h"

struct spool_query {
    const char *container; /* glob over the name, or the beginning of an id (12 digits or more) */
    const char *const *labels; /* "key=value", value a glob, or "key" */
    size_t label_count;
    const char *stream; /* "stdout" or "stderr" */
    int64_t since_ns;   /* inclusive; INT64_MIN: none */
    int64_t until_ns;   /* inclusive; INT64_MAX: none */
    const char *regex;  /* POSIX extended, anywhere in the line */
    const char *text;   /* these bytes anywhere in the line; all of these may be NULL */
};

/* Called for each match, in the order of capture; a result other than 0 ends the search. */
typedef int (*spool_search_fn)(const struct spool_item *item, void *data);

/* Returns 0, what on_match returned, -EINVAL for a query that makes no sense, or a negative errno
 * with the reason. */
int spool_search(const char *dir, const struct spool_query *query, spool_search_fn on_match,
                 void *data, struct error *error) __attribute__((warn_unused_result));
