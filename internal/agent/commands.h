/* The command line: finds the command and runs it; what commands share. flags.h has their tables. */
#pragma once

#include <stdbool.h>

struct command_line {
    int argc;
    char **argv; /* argv[0] is the command's name */
    const char *const *environment;
};

/* Finds the command (the default is run) and runs it. */
int commands_main(int argc, char **argv, const char *const *environment);

/* ---- shared by them ---- */

#define COMMAND_FLAG_LIMIT 64

struct buf;
struct config;
struct config_sources;
struct config_flag;

struct command_settings {
    const char *file;
    struct config_flag *flags; /* COMMAND_FLAG_LIMIT of them */
    unsigned long flag_count;
};

/* Loads the configuration, or prints every error; returns the exit status (0 or 1). */
int commands_load(const struct command_settings *settings, const struct command_line *line,
                  struct config_sources *ret_sources, struct config *ret_config);
/* Writes what out holds to standard output and empties it. 0 or a negative errno. */
int command_write(struct buf *out);
/* Prints what is wrong with the command line and where help is; returns 2. */
int commands_usage_error(const char *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
