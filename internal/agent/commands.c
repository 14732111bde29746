/* Dispatch, help, and the flags that run and check share. */
#include "agent/commands.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent/config.h"
#include "base/str.h"

struct command {
    const char *name;
    const char *help;
    int (*run)(const struct command_line *line);
};

static const struct command commands[] = {
    {"run", "capture every container (the default)", command_run},
    {"search", "find captured lines, agent running or not", command_search},
    {"tail", "follow captured lines from the running agent", command_tail},
    {"status", "show what the running agent does", command_status},
    {"doctor", "look for what keeps lines from being captured", command_doctor},
    {"health", "ask the running agent whether its loop answers", command_health},
    {"check", "check a configuration file", command_check},
    {"options", "list every option as a page of Markdown", command_options},
    {"version", "print the version", command_version},
};
#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static void put_help(void)
{
    (void)printf("log_capturer captures the logs of all Docker containers into a durable local "
                 "log.\n\nusage: log_capturer [COMMAND] [FLAGS]\n\ncommands:\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        (void)printf("  %-10s %s\n", commands[i].name, commands[i].help);
    }
    (void)printf("\n`log_capturer COMMAND --help` shows the flags of a command.\n\nrun:\n");
    commands_put_settings_help();
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

void commands_put_settings_help(void)
{
    (void)printf("  -c, --config FILE      configuration in YAML\n"
                 "  --docker URL           daemon: unix:///path, tcp://host:port, "
                 "https://host:port; may be repeated\n");
    for (const struct option_row *row = option_rows; row->path != NULL; row++) {
        if (row->flag != NULL) {
            char flag[64];
            (void)snprintf(flag, sizeof(flag), "--%s %s", row->flag,
                           row->choices != NULL ? row->choices : "VALUE");
            (void)printf("  %-22s %s", flag, row->help);
            (void)printf(" (default: %s)\n",
                         row->value != NULL && row->value[0] != '\0' ? row->value : "see there");
        }
    }
    (void)printf(
        "  --set OPTION=VALUE     any option, as in --set spool.limit=4GiB\n"
        "\nThe environment overrides the file and flags override both: LOG_CAPTURER_SPOOL_LIMIT "
        "sets spool.limit,\nLOG_CAPTURER_CONFIG names the file. Without daemons in the file, "
        "DOCKER_HOST, DOCKER_TLS_VERIFY and\nDOCKER_CERT_PATH are read. `log_capturer options` "
        "lists every option.\n");
}

/* Splits `--flag=value`, or takes the next argument. NULL when there is none. */
static const char *take_value(const struct command_line *line, int *at, const char *equals)
{
    if (equals != NULL) {
        return equals + 1;
    }
    return *at + 1 < line->argc ? line->argv[++*at] : NULL;
}

static int add_flag(struct command_settings *settings, const char *path, const char *value)
{
    if (settings->flag_count == COMMAND_FLAG_LIMIT) {
        return commands_usage_error("run", "more than %d flags", COMMAND_FLAG_LIMIT);
    }
    settings->flags[settings->flag_count++] = (struct config_flag){path, value};
    return 0;
}

static int take_set(struct command_settings *settings, char *pair, const char *command)
{
    char *equals = strchr(pair, '=');
    if (equals == NULL) {
        return commands_usage_error(command, "--set takes OPTION=VALUE, not '%s'", pair);
    }
    *equals = '\0';
    return add_flag(settings, pair, equals + 1);
}

static int take_flag(const struct command_line *line, int *at, struct command_settings *settings)
{
    const char *command = line->argv[0];
    char *argument = line->argv[*at];
    char name[64];
    char *equals = strchr(argument, '=');
    (void)snprintf(name, sizeof(name), "%.*s",
                   (int)(equals != NULL ? equals - argument : (long)strlen(argument)), argument);
    bool is_config = strcmp(name, "-c") == 0 || strcmp(name, "--config") == 0;
    bool is_set = strcmp(name, "--set") == 0;
    bool is_docker = strcmp(name, "--docker") == 0;
    const struct option_row *row = str_starts_with(name, "--") ? option_find_flag(name + 2) : NULL;
    if (!is_config && !is_set && !is_docker && row == NULL) {
        return commands_usage_error(command, "unknown flag '%s'", argument);
    }
    const char *value = take_value(line, at, equals);
    if (value == NULL) {
        return commands_usage_error(command, "%s needs a value", name);
    }
    if (is_config) {
        settings->file = value;
        return 0;
    }
    if (is_set) {
        return take_set(settings, equals != NULL ? equals + 1 : line->argv[*at], command);
    }
    return add_flag(settings, is_docker ? "docker" : row->path, value);
}

int commands_parse_settings(const struct command_line *line, struct command_settings *settings)
{
    for (const char *const *entry = line->environment; entry != NULL && *entry != NULL; entry++) {
        if (str_starts_with(*entry, "LOG_CAPTURER_CONFIG=") && settings->file == NULL) {
            settings->file = strchr(*entry, '=') + 1;
        }
    }
    for (int i = 1; i < line->argc; i++) {
        int rc = take_flag(line, &i, settings);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static bool asks_for_help(const char *argument)
{
    return strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0 ||
           strcmp(argument, "help") == 0;
}

int commands_main(int argc, char **argv, const char *const *environment)
{
    static char run_name[] = "run";
    char *default_argv[COMMAND_FLAG_LIMIT * 2] = {run_name};
    if (argc > 1 && asks_for_help(argv[1])) {
        put_help();
        return 0;
    }
    for (size_t i = 0; argc > 1 && i < COMMAND_COUNT; i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            struct command_line line = {argc - 1, argv + 1, environment};
            return commands[i].run(&line);
        }
    }
    if (argc > 1 && argv[1][0] == '-' && strcmp(argv[1], "--version") == 0) {
        struct command_line line = {1, argv, environment};
        return command_version(&line);
    }
    if (argc > 1 && argv[1][0] != '-') {
        (void)fprintf(stderr, "log_capturer: no command '%s'; `log_capturer --help` lists them\n",
                      argv[1]);
        return 2;
    }
    if (argc >= COMMAND_FLAG_LIMIT * 2) {
        return commands_usage_error("run", "too many arguments");
    }
    for (int i = 1; i < argc; i++) {
        default_argv[i] = argv[i];
    }
    struct command_line line = {argc == 0 ? 1 : argc, default_argv, environment};
    return command_run(&line);
}
