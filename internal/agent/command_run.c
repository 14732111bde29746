/* run, check, options, version: the commands around the configuration. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/config.h"
#include "agent/flags.h"
#include "sinks/sink_type.h"

#ifndef LOG_CAPTURER_VERSION
#define LOG_CAPTURER_VERSION "0.0.0"
#endif

int commands_load(const struct command_settings *settings, const struct command_line *line,
                  struct config_sources *ret_sources, struct config *ret_config)
{
    struct config_errors *errors = calloc(1, sizeof(*errors));
    if (errors == NULL) {
        return 1;
    }
    *ret_sources = (struct config_sources){.file = settings->file,
                                           .environment = line->environment,
                                           .flags = settings->flags,
                                           .flag_count = settings->flag_count};
    int rc = config_load(ret_sources, ret_config, errors) == 0 ? 0 : 1;
    for (size_t i = 0; i < errors->count && i < CONFIG_ERROR_LIMIT; i++) {
        (void)fprintf(stderr, "%s\n", errors->errors[i].text);
    }
    if (errors->count > CONFIG_ERROR_LIMIT) {
        (void)fprintf(stderr, "... and %zu more\n", errors->count - CONFIG_ERROR_LIMIT);
    }
    free(errors);
    return rc;
}

/* ---- run ---- */

static int run_agent(const struct command_line *line)
{
    struct config_flag flags[COMMAND_FLAG_LIMIT];
    struct command_settings settings = {.flags = flags};
    struct config config;
    struct agent_options options = {.config = &config, .version = LOG_CAPTURER_VERSION};
    int status;
    if (!command_parse(&run_command, line, &settings, NULL, &status)) {
        return status;
    }
    status = commands_load(&settings, line, &options.sources, &config);
    return status != 0 ? status : agent_run(&options);
}

const struct command run_command = {
    .name = "run",
    .summary = "capture every container (the default)",
    .description = "Captures every container of the local daemon, or of those configured, into the "
                   "spool, prints the lines, and serves /metrics. SIGHUP reads the configuration "
                   "again, SIGTERM ends it. The word run may be left out.",
    .settings = true,
    .exit_status = "0 ended by a signal and everything captured is durable, 1 trouble, 2 usage",
    .run = run_agent,
};

/* ---- check ---- */

static int run_check(const struct command_line *line)
{
    struct config_flag flags[COMMAND_FLAG_LIMIT];
    struct command_settings settings = {.flags = flags};
    struct config_sources sources;
    struct config config;
    int status;
    if (!command_parse(&check_command, line, &settings, NULL, &status)) {
        return status;
    }
    status = commands_load(&settings, line, &sources, &config);
    if (status == 0) {
        (void)printf("%s: fine\n", settings.file != NULL ? settings.file : "defaults");
        config_finish(&config);
    }
    return status;
}

const struct command check_command = {
    .name = "check",
    .summary = "check a configuration file",
    .description = "Reads the configuration as run would, and prints every error with its line and "
                   "column.",
    .settings = true,
    .exit_status = "0 fine, 1 errors, 2 usage",
    .run = run_check,
};

/* ---- options ---- */

/* "a|b" as words: a bar would end the table's cell. */
static void put_choices(const char *choices)
{
    for (const char *p = choices; p != NULL && *p != '\0';) {
        size_t size = strcspn(p, "|");
        (void)printf("%s`%.*s`", p == choices ? " One of " : ", ", (int)size, p);
        p += size + (p[size] == '|');
    }
    if (choices != NULL) {
        (void)printf(".");
    }
}

static void put_sink_rows(const struct option_row *rows)
{
    (void)printf("| option | default | what |\n|---|---|---|\n");
    for (const struct option_row *row = rows; row->path != NULL; row++) {
        bool has_default = row->value != NULL && row->value[0] != '\0';
        (void)printf("| `%s` | %s%s%s | %s", row->path, has_default ? "`" : "",
                     has_default ? row->value : "", has_default ? "`" : "", row->help);
        put_choices(row->choices);
        (void)printf(" |\n");
    }
}

static void put_type_defaults(const struct sink_defaults *defaults)
{
    const struct {
        const char *path, *value;
    } rows[] = {{"batch_size", defaults->batch_bytes},
                {"batch_age", defaults->batch_age},
                {"concurrency", defaults->concurrency}};
    const char *lead = "Its own defaults:";
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].value != NULL) {
            (void)printf("%s `%s` `%s`", lead, rows[i].path, rows[i].value);
            lead = ",";
        }
    }
    (void)printf("%s", lead[0] == ',' ? ".\n\n" : "");
}

static void put_sinks(void)
{
    (void)printf(
        "\n# Sinks\n\n`sinks` has a name and options for each: `sinks: {central: {type: loki, "
        "url: \"http://loki:3100\"}}`.\nA dot is a level: `tls.ca` is `tls: {ca: ...}`. On "
        "the command line: `--set sinks.central.type=loki --set "
        "sinks.central.url=...`.\nSIGHUP applies all of them. A sink that is renamed begins "
        "anew; the name is that of its cursor.\n\n## All sinks\n\n");
    put_sink_rows(sink_common_options);
    (void)printf("\n## Sinks that speak HTTP\n\n");
    put_sink_rows(sink_http_options);
    for (size_t i = 0; sink_types[i] != NULL; i++) {
        (void)printf("\n## type: %s\n\n%s%s\n\n", sink_types[i]->name, sink_types[i]->help,
                     sink_types[i]->uses_http ? " Speaks HTTP." : "");
        put_type_defaults(&sink_types[i]->defaults);
        put_sink_rows(sink_types[i]->options);
    }
}

static int run_options(const struct command_line *line)
{
    int status;
    if (!command_parse(&options_command, line, NULL, NULL, &status)) {
        return status;
    }
    (void)printf("# Options\n\nPrinted by `log_capturer options`. The file is YAML: `spool.limit` "
                 "is `spool: {limit: 2GiB}`.\nDurations are written `90s`, `20ms`, `7d`; sizes "
                 "`2GiB`, `512KiB`. *live*: SIGHUP applies it.\n\n"
                 "| option | default | environment, flag | what |\n|---|---|---|---|\n");
    for (const struct option_row *row = option_rows; row->path != NULL; row++) {
        char name[128];
        option_env_name(row, name, sizeof(name));
        (void)printf("| `%s`%s | %s%s%s | `%s`%s%s%s |", row->path, row->live ? " *live*" : "",
                     row->value != NULL && row->value[0] != '\0' ? "`" : "",
                     row->value != NULL ? row->value : "",
                     row->value != NULL && row->value[0] != '\0' ? "`" : "", name,
                     row->flag != NULL ? ", `--" : "", row->flag != NULL ? row->flag : "",
                     row->flag != NULL ? "`" : "");
        (void)printf(" %s", row->help);
        put_choices(row->choices);
        (void)printf(" |\n");
    }
    (void)printf("\n`docker` is a list of daemons, each `{name: ..., url: ..., tls: {ca: FILE, "
                 "cert: FILE, key: FILE, insecure: false}}`.\nDefault: one named `local` at "
                 "`DOCKER_HOST` (with `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH`), else "
                 "`unix:///var/run/docker.sock`.\n");
    put_sinks();
    return 0;
}

const struct command options_command = {
    .name = "options",
    .summary = "list every option as a page of Markdown",
    .description = "Prints every option, its default and what it does, as Markdown.",
    .run = run_options,
};

/* ---- version ---- */

static int run_version(const struct command_line *line)
{
    int status;
    if (!command_parse(&version_command, line, NULL, NULL, &status)) {
        return status;
    }
    (void)printf("log_capturer %s\n", LOG_CAPTURER_VERSION);
    return 0;
}

const struct command version_command = {
    .name = "version",
    .summary = "print the version",
    .description = "Prints the version.",
    .run = run_version,
};
