/* The command line: one function per command. Each returns the exit status. */
#pragma once

#include <stdbool.h>

struct command_line {
    int argc;
    char **argv; /* argv[0] is the command's name */
    const char *const *environment;
};

/* Finds the command (the default is run) and runs it. */
int commands_main(int argc, char **argv, const char *const *environment);

int command_run(const struct command_line *line);
int command_check(const struct command_line *line);
int command_search(const struct command_line *line);
int command_health(const struct command_line *line);
int command_status(const struct command_line *line);
int command_tail(const struct command_line *line);
int command_doctor(const struct command_line *line);
int command_options(const struct command_line *line);
int command_version(const struct command_line *line);

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

/* Takes -c, --set and the flags of the option rows. 0, or a usage error that was printed (2). */
int commands_parse_settings(const struct command_line *line, struct command_settings *settings);
/* Loads the configuration, or prints every error; returns the exit status (0 or 1). */
int commands_load(const struct command_settings *settings, const struct command_line *line,
                  struct config_sources *ret_sources, struct config *ret_config);
/* Writes what out holds to standard output and empties it. 0 or a negative errno. */
int command_write(struct buf *out);
/* Prints what is wrong with the command line and where help is; returns 2. */
int commands_usage_error(const char *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void commands_put_settings_help(void);
