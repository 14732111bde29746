/*
 * completion: scripts for three shells from the tables of commands, flags and options. Words of the
 * tables are plain (letters, digits, - . / | = :), so that quoting is needed for help texts only.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/flags.h"
#include "agent/options.h"

/* ---- walking the tables ---- */

/* One flag of a command, from wherever it is declared. */
struct flag_view {
    const char *name;
    char letter;
    bool optional;
    const char *value;   /* NULL: a switch */
    const char *choices; /* or NULL */
    enum flag_completes completes;
    const char *help;
};

typedef void (*flag_fn)(const struct command *command, const struct flag_view *flag);

static void walk_rows(const struct command *command, const struct flag_row *rows, flag_fn put)
{
    for (; rows != NULL && rows->name != NULL; rows++) {
        struct flag_view view = {rows->name,    rows->letter,    rows->optional, rows->value,
                                 rows->choices, rows->completes, rows->help};
        put(command, &view);
    }
}

static void walk_flags(const struct command *command, flag_fn put)
{
    static const struct flag_view help = {.name = "help", .letter = 'h', .help = "show help"};
    walk_rows(command, command->flags, put);
    if (command->settings) {
        walk_rows(command, settings_flags, put);
        for (const struct option_row *row = option_rows; row->path != NULL; row++) {
            if (row->flag != NULL && !command_has_flag(command, row->flag)) {
                struct flag_view view = {
                    .name = row->flag,
                    .value = "VALUE",
                    .choices = row->choices,
                    .completes = strcmp(row->flag, "data-dir") == 0 ? FLAG_FOLDER : FLAG_ANYTHING,
                    .help = row->help};
                put(command, &view);
            }
        }
    }
    put(command, &help);
}

/* "a|b" as "a b". */
static void put_words(const char *choices)
{
    for (const char *p = choices; *p != '\0'; p++) {
        (void)putchar(*p == '|' ? ' ' : *p);
    }
}

static void put_option_paths(const char *between)
{
    for (const struct option_row *row = option_rows; row->path != NULL; row++) {
        (void)printf("%s%s=", row == option_rows ? "" : between, row->path);
    }
}

static void put_commands(const char *between)
{
    for (const struct command *const *at = commands_all; *at != NULL; at++) {
        (void)printf("%s%s", at == commands_all ? "" : between, (*at)->name);
    }
}

/* ---- bash ---- */

static void put_bash_names(const struct command *command, const struct flag_view *flag)
{
    (void)command;
    (void)printf(" --%s", flag->name);
    if (flag->letter != 0) {
        (void)printf(" -%c", flag->letter);
    }
}

/* What completes the value, as a case of "command flag". */
static void put_bash_value(const struct command *command, const struct flag_view *flag)
{
    if (flag->value == NULL) {
        return;
    }
    (void)printf("    '%s --%s'", command->name, flag->name);
    if (flag->letter != 0) {
        (void)printf(" | '%s -%c'", command->name, flag->letter);
    }
    (void)printf(")\n");
    if (flag->optional) {
        (void)printf("        [ -n \"$equals\" ] || found=''\n");
    } else if (flag->choices != NULL) {
        (void)printf("        words='");
        put_words(flag->choices);
        (void)printf("'\n");
    } else if (flag->completes == FLAG_OPTION_PATH) {
        (void)printf("        words=$options\n        compopt -o nospace\n");
    } else if (flag->completes == FLAG_FILE) {
        (void)printf("        action='file'\n");
    } else if (flag->completes == FLAG_FOLDER) {
        (void)printf("        action='directory'\n");
    }
    (void)printf("        ;;\n");
}

static void put_bash_flags(const struct command *command)
{
    (void)printf("    %s)\n        words='", command->name);
    if (command->operand_choices != NULL) {
        put_words(command->operand_choices);
    }
    (void)printf("'\n        flags='");
    walk_flags(command, put_bash_names);
    (void)printf("'\n        ;;\n");
}

static void put_bash(void)
{
    (void)printf(
        "# bash completion of log_capturer, printed by `log_capturer completion bash`\n"
        "_log_capturer() {\n"
        "    local cur=${COMP_WORDS[COMP_CWORD]} flag=${COMP_WORDS[COMP_CWORD - 1]}\n"
        "    local command=${COMP_WORDS[1]} words='' flags='' action='' equals='' found=1\n"
        "    local commands='");
    put_commands(" ");
    (void)printf("'\n    local options='");
    put_option_paths(" ");
    (void)printf("'\n"
                 "    COMPREPLY=()\n"
                 "    if [ \"$cur\" = = ]; then\n"
                 "        cur='' equals=1\n"
                 "    elif [ \"$flag\" = = ]; then\n"
                 "        flag=${COMP_WORDS[COMP_CWORD - 2]} equals=1\n"
                 "    fi\n"
                 "    case \" $commands \" in\n"
                 "    *\" $command \"*) [ \"$COMP_CWORD\" -gt 1 ] || command='' ;;\n"
                 "    *) command=run ;;\n"
                 "    esac\n"
                 "    if [ \"$COMP_CWORD\" -eq 1 ] && [[ $cur != -* ]]; then\n"
                 "        mapfile -t COMPREPLY < <(compgen -W \"$commands\" -- \"$cur\")\n"
                 "        return\n"
                 "    fi\n"
                 "    case \"${command:-run} $flag\" in\n");
    for (const struct command *const *at = commands_all; *at != NULL; at++) {
        walk_flags(*at, put_bash_value);
    }
    (void)printf(
        "    *) found='' ;;\n"
        "    esac\n"
        "    if [ -n \"$found\" ]; then\n"
        "        mapfile -t COMPREPLY < <(compgen ${action:+-A \"$action\"} -W \"$words\" -- "
        "\"$cur\")\n"
        "        [ -z \"$action\" ] || compopt -o filenames\n"
        "        return\n"
        "    fi\n"
        "    case \"${command:-run}\" in\n");
    for (const struct command *const *at = commands_all; *at != NULL; at++) {
        put_bash_flags(*at);
    }
    (void)printf("    esac\n"
                 "    [[ $cur != -* ]] || words=$flags\n"
                 "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
                 "}\n"
                 "complete -F _log_capturer log_capturer\n");
}

/* ---- zsh ---- */

/* Within single quotes; brackets and colons mean something to _arguments. */
static void put_zsh_text(const char *text)
{
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '\'') {
            (void)printf("'\\''");
        } else {
            (void)printf("%s%c", strchr("[]:\\", *p) != NULL ? "\\" : "", *p);
        }
    }
}

static void put_zsh_value(const struct flag_view *flag)
{
    if (flag->value == NULL) {
        return;
    }
    (void)printf("%s", flag->optional ? "::" : ":");
    put_zsh_text(flag->choices != NULL ? "one of" : flag->value);
    if (flag->choices != NULL) {
        (void)printf(":(");
        put_words(flag->choices);
        (void)printf(")");
    } else if (flag->completes == FLAG_OPTION_PATH) {
        (void)printf(":_log_capturer_options");
    } else {
        (void)printf("%s", flag->completes == FLAG_FILE     ? ":_files"
                           : flag->completes == FLAG_FOLDER ? ":_files -/"
                                                            : ": ");
    }
}

static void put_zsh_flag(const struct command *command, const struct flag_view *flag)
{
    (void)command;
    (void)printf(" \\\n            '*--%s%s[", flag->name,
                 flag->value == NULL ? ""
                 : flag->optional    ? "=-"
                                     : "=");
    put_zsh_text(flag->help);
    (void)printf("]");
    put_zsh_value(flag);
    (void)printf("'");
    if (flag->letter != 0) {
        (void)printf(" \\\n            '*-%c[", flag->letter);
        put_zsh_text(flag->help);
        (void)printf("]");
        put_zsh_value(flag);
        (void)printf("'");
    }
}

static void put_zsh(void)
{
    (void)printf("#compdef log_capturer\n"
                 "# zsh completion of log_capturer, printed by `log_capturer completion zsh`\n"
                 "_log_capturer_options() {\n    local -a paths=(");
    put_option_paths(" ");
    (void)printf(")\n    compadd -S '' -a paths\n}\n"
                 "_log_capturer() {\n    local -a commands=(\n");
    for (const struct command *const *at = commands_all; *at != NULL; at++) {
        (void)printf("        '%s:", (*at)->name);
        put_zsh_text((*at)->summary);
        (void)printf("'\n");
    }
    (void)printf("    )\n"
                 "    if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then\n"
                 "        _describe command commands\n"
                 "        return\n"
                 "    fi\n"
                 "    local command=$words[2]\n"
                 "    if [[ $command == -* ]]; then\n"
                 "        command=run\n"
                 "    else\n"
                 "        shift words\n"
                 "        (( CURRENT-- ))\n"
                 "    fi\n"
                 "    case $command in\n");
    for (const struct command *const *at = commands_all; *at != NULL; at++) {
        (void)printf("    %s)\n        _arguments", (*at)->name);
        walk_flags(*at, put_zsh_flag);
        if ((*at)->operand != NULL) {
            (void)printf(" \\\n            ':%s:", (*at)->operand);
            if ((*at)->operand_choices != NULL) {
                (void)printf("(");
                put_words((*at)->operand_choices);
                (void)printf(")");
            }
            (void)printf("'");
        }
        (void)printf("\n        ;;\n");
    }
    (void)printf("    esac\n}\n_log_capturer \"$@\"\n");
}

/* ---- fish ---- */

static void put_fish_text(const char *text)
{
    for (const char *p = text; *p != '\0'; p++) {
        (void)printf("%s%c", strchr("'\\", *p) != NULL ? "\\" : "", *p);
    }
}

static void put_fish_line(const struct flag_view *flag, const char *condition)
{
    (void)printf("complete -c log_capturer -n '%s' -l %s", condition, flag->name);
    if (flag->letter != 0) {
        (void)printf(" -s %c", flag->letter);
    }
    if (flag->value != NULL && !flag->optional) {
        (void)printf("%s", flag->completes == FLAG_FILE ? " -r" : " -x");
    }
    if (flag->choices != NULL) {
        (void)printf(" -a '");
        put_words(flag->choices);
        (void)printf("'");
    } else if (flag->completes == FLAG_OPTION_PATH) {
        (void)printf(" -a '");
        put_option_paths(" ");
        (void)printf("'");
    } else if (flag->completes == FLAG_FOLDER) {
        (void)printf(" -a '(__fish_complete_directories)'");
    } else if (flag->completes == FLAG_FILE) {
        (void)printf(" -F");
    }
    (void)printf(" -d '");
    put_fish_text(flag->help);
    (void)printf("'\n");
}

static void put_fish_flag(const struct command *command, const struct flag_view *flag)
{
    char condition[96];
    (void)snprintf(condition, sizeof(condition), "__fish_seen_subcommand_from %s", command->name);
    put_fish_line(flag, condition);
    if (command == &run_command) { /* its name may be left out */
        put_fish_line(flag, "__log_capturer_without_command");
    }
}

static void put_fish(void)
{
    (void)printf("# fish completion of log_capturer, printed by `log_capturer completion fish`\n"
                 "function __log_capturer_without_command\n    not __fish_seen_subcommand_from ");
    put_commands(" ");
    (void)printf("\nend\ncomplete -c log_capturer -f\n");
    for (const struct command *const *at = commands_all; *at != NULL; at++) {
        (void)printf("complete -c log_capturer -n __log_capturer_without_command -a %s -d '",
                     (*at)->name);
        put_fish_text((*at)->summary);
        (void)printf("'\n");
        walk_flags(*at, put_fish_flag);
        if ((*at)->operand_choices != NULL) {
            (void)printf("complete -c log_capturer -n '__fish_seen_subcommand_from %s' -a '",
                         (*at)->name);
            put_words((*at)->operand_choices);
            (void)printf("'\n");
        }
    }
}

/* ---- the command ---- */

static const struct {
    const char *name;
    void (*put)(void);
} shells[] = {{"bash", put_bash}, {"zsh", put_zsh}, {"fish", put_fish}};

static int set_shell(void *target, const char *operand)
{
    int *shell = target;
    if (*shell >= 0) {
        return -E2BIG;
    }
    for (int i = 0; i < 3; i++) {
        if (strcmp(shells[i].name, operand) == 0) {
            *shell = i;
        }
    }
    return *shell >= 0 ? 0 : -EINVAL;
}

static int run_completion(const struct command_line *line)
{
    int shell = -1;
    int status;
    if (!command_parse(&completion_command, line, NULL, &shell, &status)) {
        return status;
    }
    if (shell < 0) {
        return commands_usage_error("completion", "it needs a shell: bash, zsh or fish");
    }
    shells[shell].put();
    return 0;
}

const struct command completion_command = {
    .name = "completion",
    .summary = "print a script that completes commands in a shell",
    .description =
        "Prints the script. bash: source <(log_capturer completion bash), or into "
        "/etc/bash_completion.d/log_capturer. zsh: into a file _log_capturer within $fpath. fish: "
        "into ~/.config/fish/completions/log_capturer.fish.",
    .operand = "SHELL",
    .operand_help = "bash, zsh or fish",
    .operand_choices = "bash|zsh|fish",
    .operand_needed = true,
    .set_operand = set_shell,
    .run = run_completion,
};
