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

/* The query, ready to be asked about records. One thread at a time. */
struct spool_matcher;
/* The query is borrowed for the matcher's life. -EINVAL for one that makes no sense. */
int spool_matcher_create(const struct spool_query *query, struct spool_matcher **ret_matcher,
                         struct error *error) __attribute__((warn_unused_result));
void spool_matcher_destroy(struct spool_matcher *matcher);
bool spool_matcher_matches(struct spool_matcher *matcher, const struct spool_item *item);

/* The number of the record with which the last `count` matches begin; the next record to come for
 * none. At most the newest 256 MiB are looked through, and no more once *stop is set. Any thread. */
uint64_t spool_search_recent(struct spool *spool, struct spool_matcher *matcher, size_t count,
                             const _Atomic bool *stop);

/* Called for each match, in the order of capture; a result other than 0 ends the search. */
typedef int (*spool_search_fn)(const struct spool_item *item, void *data);

/* Returns 0, what on_match returned, -EINVAL for a query that makes no sense, or a negative errno
 * with the reason. */
int spool_search(const char *dir, const struct spool_query *query, spool_search_fn on_match,
                 void *data, struct error *error) __attribute__((warn_unused_result));
