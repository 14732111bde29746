/* The table of commands, their dispatch, and what all of them share. */
#include "agent/commands.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/flags.h"
#include "base/buf.h"

const struct command *const commands_all[] = {&run_command,
                                              &search_command,
                                              &tail_command,
                                              &status_command,
                                              &replay_command,
                                              &doctor_command,
                                              &health_command,
                                              &check_command,
                                              &options_command,
                                              &man_command,
                                              &completion_command,
                                              &version_command,
                                              NULL};

static void put_help(void)
{
    (void)printf("log_capturer captures the logs of all Docker containers into a durable local "
                 "log.\n\nusage: log_capturer [COMMAND] [FLAGS]\n\ncommands:\n");
    for (const struct command *const *at = commands_all; *at != NULL; at++) {
        (void)printf("  %-10s %s\n", (*at)->name, (*at)->summary);
    }
    (void)printf("\n`log_capturer COMMAND --help` shows the flags of a command.\n\nrun:\n");
    command_put_settings(&run_command);
}

int commands_usage_error(const char *command, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)fprintf(stderr, "log_capturer %s: ", command);
    (void)vfprintf(stderr, format, args);
    (void)fprintf(stderr, "\n`log_capturer %s --help` shows what it takes.\n", command);
    va_end(args);
    return 2;
}

int command_write(struct buf *out)
{
    size_t done = 0;
    while (done < out->size) {
        ssize_t n = write(STDOUT_FILENO, out->data + done, out->size - done);
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    buf_clear(out);
    return 0;
}

static bool asks_for_help(const char *argument)
{
    return strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0 ||
           strcmp(argument, "help") == 0;
}

static const struct command *find_command(const char *name)
{
    for (const struct command *const *at = commands_all; *at != NULL; at++) {
        if (strcmp((*at)->name, name) == 0) {
            return *at;
        }
    }
    return NULL;
}

/* Flags alone: they are those of run. */
static int run_default(int argc, char **argv, const char *const *environment)
{
    static char run_name[] = "run";
    char *default_argv[COMMAND_FLAG_LIMIT * 2] = {run_name};
    if (argc >= COMMAND_FLAG_LIMIT * 2) {
        return commands_usage_error("run", "too many arguments");
    }
    for (int i = 1; i < argc; i++) {
        default_argv[i] = argv[i];
    }
    struct command_line line = {argc == 0 ? 1 : argc, default_argv, environment};
    return run_command.run(&line);
}

int commands_main(int argc, char **argv, const char *const *environment)
{
    const char *first = argc > 1 ? argv[1] : "";
    if (asks_for_help(first)) {
        put_help();
        return 0;
    }
    const struct command *command = strcmp(first, "--version") == 0 ? &version_command
                                                                    : find_command(first);
    if (command != NULL) {
        struct command_line line = {argc - 1, argv + 1, environment};
        return command->run(&line);
    }
    if (first[0] != '\0' && first[0] != '-') {
        (void)fprintf(stderr, "log_capturer: no command '%s'; `log_capturer --help` lists them\n",
                      first);
        return 2;
    }
    return run_default(argc, argv, environment);
}
