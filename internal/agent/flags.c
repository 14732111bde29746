/* One way through a command line, and one form of help, for all commands. */
#include "agent/flags.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/config.h"
#include "base/help.h"
#include "base/str.h"

/* ---- the configuration's flags ---- */

static int add_setting(struct command_settings *settings, const char *path, const char *value)
{
    if (settings->flag_count == COMMAND_FLAG_LIMIT) {
        return -E2BIG;
    }
    settings->flags[settings->flag_count++] = (struct config_flag){path, value};
    return 0;
}

static int set_file(void *target, const char *value)
{
    struct command_settings *settings = target;
    settings->file = value;
    return 0;
}

static int set_docker(void *target, const char *value)
{
    return add_setting(target, "docker", value);
}

/* OPTION=VALUE becomes two strings where it stands. */
static int set_any_option(void *target, const char *value)
{
    char *equals = strchr(value, '=');
    if (equals == NULL) {
        return -EINVAL;
    }
    *equals = '\0';
    return add_setting(target, value, equals + 1);
}

const struct flag_row settings_flags[] = {
    {.name = "config",
     .letter = 'c',
     .value = "FILE",
     .completes = FLAG_FILE,
     .help = "configuration in YAML",
     .set = set_file},
    {.name = "docker",
     .value = "URL",
     .help = "daemon: unix:///path, tcp://host:port, https://host:port; may be repeated",
     .set = set_docker},
    {.name = "set",
     .value = "OPTION=VALUE",
     .completes = FLAG_OPTION_PATH,
     .help = "any option, as in --set spool.limit=4GiB",
     .set = set_any_option},
    {.name = NULL}};

static void read_config_variable(const struct command_line *line, struct command_settings *settings)
{
    static const char variable[] = "LOG_CAPTURER_CONFIG=";
    for (const char *const *entry = line->environment; entry != NULL && *entry != NULL; entry++) {
        if (str_starts_with(*entry, variable) && settings->file == NULL) {
            settings->file = *entry + sizeof(variable) - 1;
        }
    }
}

/* ---- parsing ---- */

struct parser {
    const struct command *command;
    const struct command_line *line;
    struct command_settings *settings;
    void *target;
    int at;
};

/* An argument taken apart. */
struct argument {
    char name[64];     /* as written: "--container", "-o" */
    const char *value; /* behind '=' or the letter; NULL: none there */
};

static bool matches(const struct flag_row *row, const char *name)
{
    return name[1] == '-' ? strcmp(row->name, name + 2) == 0
                          : row->letter != 0 && name[1] == row->letter;
}

static const struct flag_row *find_row(const struct flag_row *rows, const char *name)
{
    for (; rows != NULL && rows->name != NULL; rows++) {
        if (matches(rows, name)) {
            return rows;
        }
    }
    return NULL;
}

bool command_has_flag(const struct command *command, const char *name)
{
    char flag[64];
    (void)snprintf(flag, sizeof(flag), "--%s", name);
    return find_row(command->flags, flag) != NULL;
}

static void split(const char *text, struct argument *ret_argument)
{
    bool is_long = text[1] == '-';
    size_t size = is_long ? strcspn(text, "=") : 2;
    (void)snprintf(ret_argument->name, sizeof(ret_argument->name), "%.*s", (int)size, text);
    ret_argument->value = text[size] == '\0' ? NULL : text + size + (is_long ? 1 : 0);
}

/* The value that the row wants; 0, or 2 after the complaint. */
static int find_value(struct parser *parser, const struct argument *argument,
                      const struct flag_row *row, const char **ret_value)
{
    bool wanted = row == NULL || row->value != NULL; /* NULL: an option row's flag */
    *ret_value = argument->value;
    if (!wanted && argument->value != NULL) {
        return commands_usage_error(parser->command->name, "%s takes no value", argument->name);
    }
    if (!wanted || argument->value != NULL || (row != NULL && row->optional)) {
        return 0;
    }
    if (parser->at + 1 >= parser->line->argc) {
        return commands_usage_error(parser->command->name, "%s needs a value", argument->name);
    }
    *ret_value = parser->line->argv[++parser->at];
    return 0;
}

static int take_flag(struct parser *parser, const char *text)
{
    const char *command = parser->command->name;
    struct argument argument;
    const char *value;
    split(text, &argument);
    const struct flag_row *row = find_row(parser->command->flags, argument.name);
    const struct option_row *option = NULL;
    void *target = parser->target;
    if (row == NULL && parser->settings != NULL) {
        row = find_row(settings_flags, argument.name);
        target = parser->settings;
        option = row == NULL && argument.name[1] == '-' ? option_find_flag(argument.name + 2)
                                                        : NULL;
    }
    if (row == NULL && option == NULL) {
        return commands_usage_error(command, "unknown flag '%s'", text);
    }
    int status = find_value(parser, &argument, row, &value);
    if (status != 0) {
        return status;
    }
    int rc = row != NULL ? row->set((char *)target + row->offset, value)
                         : add_setting(parser->settings, option->path, value);
    if (rc == -E2BIG) {
        return commands_usage_error(command, "%s is there too often", argument.name);
    }
    return rc == 0 ? 0
                   : commands_usage_error(command, "%s takes %s, not '%s'", argument.name,
                                          row != NULL && row->value != NULL ? row->value : "VALUE",
                                          value != NULL ? value : "");
}

static int take_operand(struct parser *parser, const char *text)
{
    const struct command *command = parser->command;
    if (command->operand == NULL) {
        return commands_usage_error(command->name, "'%s' is no flag; it takes nothing else", text);
    }
    int rc = command->set_operand(parser->target, text);
    if (rc == -E2BIG) {
        return commands_usage_error(command->name, "one %s only; quote it if it has spaces",
                                    command->operand);
    }
    return rc == 0
               ? 0
               : commands_usage_error(command->name, "%s can't be '%s'", command->operand, text);
}

static bool asks_for_help(const struct command_line *line)
{
    for (int i = 1; i < line->argc && strcmp(line->argv[i], "--") != 0; i++) {
        if (strcmp(line->argv[i], "--help") == 0 || strcmp(line->argv[i], "-h") == 0) {
            return true;
        }
    }
    return false;
}

bool command_parse(const struct command *command, const struct command_line *line,
                   struct command_settings *settings, void *target, int *ret_status)
{
    struct parser parser = {command, line, settings, target, 1};
    bool only_operands = false;
    *ret_status = 0;
    if (asks_for_help(line)) {
        command_put_help(command);
        return false;
    }
    if (settings != NULL) {
        read_config_variable(line, settings);
    }
    for (; parser.at < line->argc && *ret_status == 0; parser.at++) {
        const char *text = line->argv[parser.at];
        if (!only_operands && strcmp(text, "--") == 0) {
            only_operands = true;
        } else if (!only_operands && text[0] == '-' && text[1] != '\0') {
            *ret_status = take_flag(&parser, text);
        } else {
            *ret_status = take_operand(&parser, text);
        }
    }
    return *ret_status == 0;
}

/* ---- help ---- */

static void put_flags(const struct flag_row *rows)
{
    for (; rows != NULL && rows->name != NULL; rows++) {
        char left[96];
        char letter[8] = "";
        if (rows->letter != 0) {
            (void)snprintf(letter, sizeof(letter), "-%c, ", rows->letter);
        }
        (void)snprintf(left, sizeof(left), "%s--%s%s%s%s", letter, rows->name,
                       rows->value == NULL ? ""
                       : rows->optional    ? "[="
                                           : " ",
                       rows->value == NULL ? "" : rows->value, rows->optional ? "]" : "");
        help_put_row(left, rows->help);
    }
}

void command_put_settings(const struct command *command)
{
    put_flags(settings_flags);
    for (const struct option_row *row = option_rows; row->path != NULL; row++) {
        char left[96];
        char help[512];
        if (row->flag != NULL && !command_has_flag(command, row->flag)) {
            (void)snprintf(left, sizeof(left), "--%s %s", row->flag,
                           row->choices != NULL ? row->choices : "VALUE");
            (void)snprintf(help, sizeof(help), "%s (default: %s)", row->help,
                           row->value != NULL && row->value[0] != '\0' ? row->value : "see there");
            help_put_row(left, help);
        }
    }
    (void)printf("\n");
    help_put_wrapped(
        "The environment overrides the file and flags override both: "
        "LOG_CAPTURER_SPOOL_LIMIT sets spool.limit, LOG_CAPTURER_CONFIG names the file. "
        "Without daemons in the file, DOCKER_HOST, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH "
        "are read. `log_capturer options` lists every option.",
        0, 0);
}

void command_put_help(const struct command *command)
{
    bool has_flags = command->settings || (command->flags != NULL && command->flags->name != NULL);
    (void)printf("usage: log_capturer %s%s", command->name, has_flags ? " [FLAGS]" : "");
    if (command->operand != NULL) {
        (void)printf(command->operand_needed ? " %s" : " [%s]", command->operand);
    }
    (void)printf("\n\n");
    help_put_wrapped(command->description, 0, 0);
    (void)printf("%s", has_flags || command->operand != NULL ? "\n" : "");
    put_flags(command->flags);
    if (command->operand != NULL) {
        help_put_row(command->operand, command->operand_help);
    }
    if (command->settings) {
        command_put_settings(command);
    }
    if (command->after != NULL) {
        (void)printf("\n");
        help_put_wrapped(command->after, 0, 0);
    }
    if (command->exit_status != NULL) {
        (void)printf("\nExit status: %s.\n", command->exit_status);
    }
}
