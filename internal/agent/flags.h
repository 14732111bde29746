/*
 * Commands and their flags, each declared once as a row: parsing, --help, shell completion and the
 * man page read these tables.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/commands.h"

/* What a flag's value is, for completion. */
enum flag_completes { FLAG_ANYTHING, FLAG_FILE, FLAG_FOLDER, FLAG_OPTION_PATH };

struct flag_row {
    const char *name;    /* without its dashes: "container" */
    const char *value;   /* what stands for the value in help: "NAME"; NULL: a switch */
    const char *choices; /* words with '|' between, or NULL */
    const char *help;
    /* Takes the value (NULL for a switch, or where it was left out); a negative errno refuses it. */
    int (*set)(void *target, const char *value);
    size_t offset; /* of what `set` gets, within the command's target */
    enum flag_completes completes;
    char letter;   /* 'o' where there is -o as well, or 0 */
    bool optional; /* the value may be left out, and else stands behind '=' */
};

/* One command. The tables end with a row without name. */
struct command {
    const char *name;
    const char *summary;     /* half a sentence, for the list of commands */
    const char *description; /* paragraphs, with an empty line between */
    const char *operand;     /* "TEXT", or NULL when it takes none */
    const char *operand_help;
    const char *operand_choices; /* words with '|' between, or NULL */
    bool operand_needed;
    const struct flag_row *flags; /* or NULL */
    bool settings;                /* takes the configuration's flags as well */
    const char *after;            /* paragraphs behind the flags, or NULL */
    const char *exit_status;      /* "0 something matched, 1 nothing did, 2 trouble" */
    int (*set_operand)(void *target, const char *operand);
    int (*run)(const struct command_line *line);
};

/* The flags of the configuration that are not option rows: -c, --docker, --set. */
extern const struct flag_row settings_flags[];

/*
 * Goes through the line: flags to their `set`, the configuration's flags to settings (NULL where the
 * command takes none). --help prints help. false: the command is over, with *ret_status.
 */
bool command_parse(const struct command *command, const struct command_line *line,
                   struct command_settings *settings, void *target, int *ret_status);
void command_put_help(const struct command *command);
/* Whether the command has this flag of its own; it then hides one of the configuration's. */
bool command_has_flag(const struct command *command, const char *name);
/* The part about the configuration's flags, as the command takes them. */
void command_put_settings(const struct command *command);

/* Every command, in the order of help; ends with NULL. */
extern const struct command *const commands_all[];

extern const struct command run_command, search_command, tail_command, status_command,
    doctor_command, health_command, replay_command, check_command, options_command, man_command,
    completion_command, version_command;
