/*
 * Options declared once, as rows: what parses, checks, prints and documents them reads the same
 * table. An object is any struct whose members the rows' offsets name; it belongs to one thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct text_list {
    char **items;
    size_t count;
};

enum option_type {
    OPTION_TEXT,     /* char * */
    OPTION_CHOICE,   /* char *: one of the words in choices */
    OPTION_COUNT,    /* uint64_t */
    OPTION_SIZE,     /* uint64_t, bytes */
    OPTION_DURATION, /* int64_t, ns */
    OPTION_LIST,     /* struct text_list */
    OPTION_BOOL      /* bool; `true` or `false` */
};

/* Ordered as the rows of the tables read. NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding) */
struct option_row {
    const char *path; /* "spool.limit"; NULL ends a table */
    enum option_type type;
    size_t offset;        /* in the object */
    const char *value;    /* the default, as it would be written; NULL: empty list */
    const char *choices;  /* OPTION_CHOICE: words with '|' between */
    uint64_t least, most; /* of numbers, sizes (bytes) and durations (ns); most 0: no limit */
    const char *flag;     /* "data-dir", or NULL */
    bool live;            /* SIGHUP applies it */
    const char *help;
};

/* Sets all defaults; the rows' members must be zero. -ENOMEM: finished again. */
int options_init(void *object, const struct option_row *rows) __attribute__((warn_unused_result));
/* Frees what the rows' members hold. */
void options_finish(void *object, const struct option_row *rows);
/* NULL when there is none. */
const struct option_row *options_find(const struct option_row *rows, const char *path);
/* Whether any row's path begins with `path.`. */
bool options_have_section(const struct option_row *rows, const char *path);
/* Whether both objects would be written the same way. */
bool options_equal(const void *a, const void *b, const struct option_row *rows);

/* Sets from text; a list gets the words between commas. -EINVAL with what would be right. */
int option_set(void *object, const struct option_row *row, const char *text, struct error *error)
    __attribute__((warn_unused_result));
/* Appends one item to a list. */
int option_add(void *object, const struct option_row *row, const char *item)
    __attribute__((warn_unused_result));
void option_clear_list(void *object, const struct option_row *row);
/* The present value as it would be written in a file; lists with commas. -E2BIG. */
int option_get(const void *object, const struct option_row *row, char *ret_text, size_t text_bytes);
