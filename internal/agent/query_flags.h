/*
 * The flags that say which lines are wanted and how they are shown; `search` and `tail` share them.
 */
#pragma once

#include "agent/flags.h"
#include "base/buf.h"
#include "process/format.h"
#include "spool/spool_search.h"

#define QUERY_LABEL_LIMIT 16

/* A member of what the flags of such a command are put into. */
struct query_flags {
    struct spool_query query; /* its labels are below */
    const char *labels[QUERY_LABEL_LIMIT];
    enum format_kind format;
    struct format_text_style style;
};

void query_flags_init(struct query_flags *flags);

int query_set_container(void *target, const char *value);
int query_set_label(void *target, const char *value);
int query_set_stream(void *target, const char *value);
int query_set_regex(void *target, const char *value);
int query_set_output(void *target, const char *value);
/* TEXT; -E2BIG for a second one. */
int query_set_text(struct query_flags *flags, const char *value);

/* Rows for a table; `at` is the offset of the struct query_flags. */
/* clang-format off */
#define QUERY_FLAG_ROWS(at)                                                                         \
    {.name = "output", .letter = 'o', .value = "FORMAT", .choices = "text|json|logfmt",             \
     .help = "text, json or logfmt (default: text)", .set = query_set_output, .offset = (at)},      \
    {.name = "container", .value = "NAME",                                                          \
     .help = "name (globs allowed), or the first 12 digits or more of an id",                       \
     .set = query_set_container, .offset = (at)},                                                   \
    {.name = "label", .value = "K=V",                                                               \
     .help = "container label; V may be a glob; K alone: has the label; may be repeated",           \
     .set = query_set_label, .offset = (at)},                                                       \
    {.name = "stream", .value = "stdout|stderr", .choices = "stdout|stderr",                        \
     .help = "one of the two only", .set = query_set_stream, .offset = (at)},                       \
    {.name = "regex", .value = "R",                                                                 \
     .help = "POSIX extended regular expression, anywhere in the line",                             \
     .set = query_set_regex, .offset = (at)}
/* clang-format on */

/* About the formats, for help. */
#define QUERY_FORMATS_HELP                                                                         \
    "json: one object a line: time, daemon, container {id, name, image}, stream, line. Bytes of "  \
    "a line that are not UTF-8 become U+FFFD in \"line\"; such an object also has "                \
    "\"line_base64\" with the exact bytes. \"truncated\": true marks a line cut at "               \
    "capture.max_line."
