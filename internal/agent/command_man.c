/* man: pages in roff (man(7)) from the tables: log_capturer(1) from those of commands and flags,
 * log_capturer.yaml(5) from those of options. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/flags.h"
#include "agent/options.h"
#include "sinks/sink_type.h"

#ifndef LOG_CAPTURER_VERSION
#define LOG_CAPTURER_VERSION "0.0.0"
#endif

/* ---- roff ---- */

static void put_byte(char c)
{
    switch (c) {
    case '\\':
        (void)printf("\\e");
        break;
    case '-':
        (void)printf("\\-");
        break;
    case '\'':
        (void)printf("\\(aq");
        break;
    case '"':
        (void)printf("\\(dq");
        break;
    case '^':
        (void)printf("\\(ha");
        break;
    case '~':
        (void)printf("\\(ti");
        break;
    default:
        (void)putchar(c);
    }
}

/* `words` between backticks become bold; an empty line begins a paragraph. */
static void put_text(const char *text)
{
    bool bold = false;
    size_t column = 0;
    (void)printf("%s", *text == '.' ? "\\&" : "");
    for (const char *p = text; *p != '\0'; p++, column++) {
        if (*p == '`') {
            bold = !bold;
            (void)printf("%s", bold ? "\\fB" : "\\fR");
        } else if (*p == ' ' && column > 55 && p[1] != '.' && p[1] != '\'') {
            (void)putchar('\n');
            column = 0;
        } else if (p[0] == '\n' && p[1] == '\n') {
            (void)printf("\n.PP\n");
            p++;
        } else {
            put_byte(*p);
        }
    }
    (void)printf("\n");
}

static void put_bold(const char *text)
{
    (void)printf("\\fB");
    for (; *text != '\0'; text++) {
        put_byte(*text);
    }
    (void)printf("\\fR");
}

static void put_italic(const char *text)
{
    (void)printf("\\fI");
    for (; *text != '\0'; text++) {
        put_byte(*text);
    }
    (void)printf("\\fR");
}

static void put_title(const char *name, int section, const char *manual)
{
    (void)printf(".\\\" printed by `log_capturer man`\n"
                 ".TH %s %d \"\" \"log_capturer %s\" \"%s\"\n",
                 name, section, LOG_CAPTURER_VERSION, manual);
}

/* ---- log_capturer(1) ---- */

static void put_flag(const struct flag_row *row)
{
    (void)printf(".TP\n");
    if (row->letter != 0) {
        char letter[3] = {'-', row->letter, '\0'};
        put_bold(letter);
        (void)printf(", ");
    }
    put_bold("--");
    put_bold(row->name);
    if (row->value != NULL) {
        (void)printf("%s", row->optional ? "[=" : " ");
        put_italic(row->value);
        (void)printf("%s", row->optional ? "]" : "");
    }
    (void)printf("\n");
    put_text(row->help);
}

static void put_flags(const struct flag_row *rows)
{
    for (; rows != NULL && rows->name != NULL; rows++) {
        put_flag(rows);
    }
}

static void put_command(const struct command *command)
{
    (void)printf(".SS \"log_capturer %s%s", command->name,
                 command->settings || command->flags != NULL ? " [FLAGS]" : "");
    if (command->operand != NULL) {
        (void)printf(command->operand_needed ? " %s" : " [%s]", command->operand);
    }
    (void)printf("\"\n");
    put_text(command->description);
    if (command->settings) {
        (void)printf(".PP\nTakes the flags of the configuration");
        (void)printf("%s", command->flags != NULL ? ", and:\n" : ".\n");
    }
    put_flags(command->flags);
    if (command->operand != NULL) {
        (void)printf(".TP\n");
        put_italic(command->operand);
        (void)printf("\n");
        put_text(command->operand_help);
    }
    if (command->after != NULL) {
        (void)printf(".PP\n");
        put_text(command->after);
    }
    if (command->exit_status != NULL) {
        (void)printf(".PP\nExit status: ");
        put_text(command->exit_status);
    }
}

static void put_settings(void)
{
    (void)printf(".SH FLAGS OF THE CONFIGURATION\n");
    put_flags(settings_flags);
    for (const struct option_row *row = option_rows; row->path != NULL; row++) {
        if (row->flag != NULL) {
            (void)printf(".TP\n");
            put_bold("--");
            put_bold(row->flag);
            (void)printf(" ");
            put_italic(row->choices != NULL ? row->choices : "VALUE");
            (void)printf("\nThe option ");
            put_bold(row->path);
            (void)printf(". ");
            put_text(row->help);
        }
    }
}

static void put_page_of_commands(void)
{
    put_title("LOG_CAPTURER", 1, "User Commands");
    (void)printf(".SH NAME\nlog_capturer \\- capture the logs of all Docker containers\n"
                 ".SH SYNOPSIS\n.B log_capturer\n[\\fICOMMAND\\fR] [\\fIFLAGS\\fR]\n"
                 ".SH DESCRIPTION\n"
                 "Follows each container of one or more Docker daemons and keeps every line once, "
                 "in a durable local log, the spool.\n"
                 "Sinks deliver from there; \\fBsearch\\fR and \\fBtail\\fR read it.\n"
                 "\\fBlog_capturer COMMAND \\-\\-help\\fR shows the flags of a command.\n"
                 ".SH COMMANDS\n");
    for (const struct command *const *at = commands_all; *at != NULL; at++) {
        put_command(*at);
    }
    put_settings();
    (void)printf(".SH ENVIRONMENT\n.TP\n.B LOG_CAPTURER_CONFIG\nThe configuration file.\n"
                 ".TP\n.B LOG_CAPTURER_SPOOL_LIMIT\nSets the option \\fBspool.limit\\fR, and so on "
                 "for every option; overrides the file.\n"
                 ".TP\n.BR DOCKER_HOST \", \" DOCKER_TLS_VERIFY \", \" DOCKER_CERT_PATH\n"
                 "The daemon, where neither the file nor a flag names any.\n"
                 ".TP\n.B NO_COLOR\nNo colour on a terminal.\n"
                 ".SH FILES\n.TP\n.I /var/lib/log_capturer\nThe spool.\n"
                 ".SH SEE ALSO\n.BR log_capturer.yaml (5),\n.BR docker (1)\n");
}

/* ---- log_capturer.yaml(5) ---- */

static const char *type_name(const struct option_row *row)
{
    static const char *const names[] = {
        [OPTION_TEXT] = "text",         [OPTION_CHOICE] = "one of",
        [OPTION_COUNT] = "number",      [OPTION_SIZE] = "size",
        [OPTION_DURATION] = "duration", [OPTION_LIST] = "list of text",
        [OPTION_BOOL] = "true or false"};
    return names[row->type];
}

static void put_option(const struct option_row *row)
{
    (void)printf(".TP\n");
    put_bold(row->path);
    (void)printf(" (%s", type_name(row));
    if (row->choices != NULL) {
        (void)printf(" ");
        put_italic(row->choices);
    }
    if (row->value != NULL && row->value[0] != '\0') {
        (void)printf("; default ");
        put_italic(row->value);
    }
    (void)printf("%s)\n", row->live ? "; SIGHUP applies it" : "");
    put_text(row->help);
}

static void put_options(const struct option_row *rows)
{
    for (; rows->path != NULL; rows++) {
        put_option(rows);
    }
}

static void put_sinks(void)
{
    (void)printf(".SH SINKS\n"
                 "\\fBsinks\\fR has a name and options for each, as in \\fBsinks: {central: {type: "
                 "loki, url: \\(dqhttp://loki:3100\\(dq}}\\fR.\nSIGHUP applies all of them.\n"
                 ".SS All sinks\n");
    put_options(sink_common_options);
    (void)printf(".SS Sinks that speak HTTP\n");
    put_options(sink_http_options);
    for (size_t i = 0; sink_types[i] != NULL; i++) {
        (void)printf(".SS \"type: %s\"\n", sink_types[i]->name);
        put_text(sink_types[i]->help);
        put_options(sink_types[i]->options);
    }
}

static void put_page_of_options(void)
{
    put_title("LOG_CAPTURER.YAML", 5, "File Formats");
    (void)printf(".SH NAME\nlog_capturer.yaml \\- configuration of log_capturer\n"
                 ".SH DESCRIPTION\n"
                 "YAML, given to \\fBlog_capturer\\fR(1) by \\fB\\-c\\fR or "
                 "\\fBLOG_CAPTURER_CONFIG\\fR. Everything is optional.\n"
                 "A dot is a level: \\fBspool.limit\\fR is written\n.PP\n.EX\n"
                 "spool:\n  limit: 2GiB\n.EE\n.PP\n"
                 "Durations are written 90s, 20ms, 7d; sizes 2GiB, 512KiB.\n"
                 "\\fBlog_capturer check \\-c\\fR \\fIFILE\\fR tells every error.\n"
                 ".SH OPTIONS\n.TP\n\\fBdocker\\fR (list of daemons)\n"
                 "Each is {name: ..., url: ..., tls: {ca: FILE, cert: FILE, key: FILE, insecure: "
                 "false}}. Default: one named local at DOCKER_HOST, else "
                 "unix:///var/run/docker.sock.\n");
    put_options(option_rows);
    put_sinks();
    (void)printf(".SH SEE ALSO\n.BR log_capturer (1)\n");
}

/* ---- the command ---- */

static int set_section(void *target, const char *operand)
{
    int *section = target;
    if (*section != 0) {
        return -E2BIG;
    }
    *section = strcmp(operand, "1") == 0 ? 1 : strcmp(operand, "5") == 0 ? 5 : 0;
    return *section != 0 ? 0 : -EINVAL;
}

static int run_man(const struct command_line *line)
{
    int section = 0;
    int status;
    if (!command_parse(&man_command, line, NULL, &section, &status)) {
        return status;
    }
    if (section == 5) {
        put_page_of_options();
    } else {
        put_page_of_commands();
    }
    return 0;
}

const struct command man_command = {
    .name = "man",
    .summary = "print the manual page, `man 5` that of the configuration",
    .description = "Prints log_capturer(1), or log_capturer.yaml(5), in roff: log_capturer man | "
                   "man -l -",
    .operand = "SECTION",
    .operand_help = "1 for the commands (the default), 5 for the configuration file",
    .operand_choices = "1|5",
    .set_operand = set_section,
    .run = run_man,
};
