/*
 * The command line of a program whose flags are option rows (option.h): `-name VALUE`, `--name VALUE`,
 * `--name=VALUE`, where the name is the row's path. A row of OPTION_BOOL is a switch, one of
 * OPTION_LIST may be repeated. One thread.
 */
#pragma once

#include "base/option.h"

struct option_flags {
    const char *program;           /* as it is called */
    const char *usage;             /* behind the name: "[FLAGS]" */
    const char *description;       /* paragraphs, with an empty line between */
    const struct option_row *rows; /* in the order of help; ends with a NULL path */
    const char *after;             /* paragraphs behind the flags, or NULL */
    bool operands;                 /* what comes behind the flags is the caller's */
};

enum option_flags_result {
    OPTION_FLAGS_RUN,  /* go on; *ret_next is the first argument that is no flag */
    OPTION_FLAGS_DONE, /* --help or --version was printed */
    OPTION_FLAGS_BAD   /* it was told to standard error: end with status 2 */
};
/* Sets what the line says in the object, which has its defaults. argv[0] is skipped; `--` ends the
 * flags. */
enum option_flags_result option_flags_parse(const struct option_flags *flags, int argc, char **argv,
                                            void *object, int *ret_next)
    __attribute__((warn_unused_result));
/* One line for a mistake that only the program can see, and where help is; returns 2. */
int option_flags_complain(const struct option_flags *flags, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
