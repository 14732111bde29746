/* replay: dead letters of a sink, sent again. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "agent/config.h"
#include "agent/flags.h"
#include "base/buf.h"
#include "sinks/sink_replay.h"

static int set_sink(void *target, const char *operand)
{
    const char **name = target;
    if (*name != NULL) {
        return -EINVAL;
    }
    *name = operand;
    return 0;
}

static int run_replay(const struct command_line *line);

const struct command replay_command = {
    .name = "replay",
    .summary = "send a sink's dead letters again",
    .description =
        "Sends the lines that a sink's target rejected for good again, one by one, once the reason "
        "is mended. The agent may run or not. What is rejected again stays in "
        "<spool.dir>/sinks/NAME.dead.jsonl, a JSON object a line with the reason.",
    .operand = "SINK",
    .operand_help = "its name in the configuration",
    .settings = true,
    .set_operand = set_sink,
    .exit_status = "0 all were taken, 1 some were not, 2 usage",
    .run = run_replay,
};

static void show_progress(uint64_t done, void *data)
{
    (void)data;
    if (done % 100 == 0) {
        (void)fprintf(stderr, "\r%llu letters", (unsigned long long)done);
    }
}

static int replay(const struct config *config, const struct sink_settings *settings)
{
    struct buf state_dir;
    struct error error = {""};
    struct sink_replay_result result = {0};
    bool terminal = isatty(STDERR_FILENO) == 1;
    buf_init(&state_dir, 0);
    int rc = buf_printf(&state_dir, "%s/sinks", config->spool_dir);
    if (rc == 0 && buf_terminated(&state_dir) != NULL) {
        rc = sink_replay(
            &(struct sink_replay_options){.state_dir = state_dir.data,
                                          .settings = settings,
                                          .on_progress = terminal ? show_progress : NULL},
            &result, &error);
    }
    buf_finish(&state_dir);
    if (terminal) {
        (void)fprintf(stderr, "\r");
    }
    if (rc == 0 || rc == -EAGAIN) {
        (void)printf("delivered %llu, rejected again %llu, not sent %llu, damaged %llu\n",
                     (unsigned long long)result.delivered, (unsigned long long)result.rejected,
                     (unsigned long long)result.left, (unsigned long long)result.damaged);
    }
    if (rc != 0) {
        (void)fprintf(stderr, "log_capturer replay: %s: %s\n", settings->name, error.text);
    }
    return rc == 0 && result.rejected == 0 && result.damaged == 0 ? 0 : 1;
}

static int run_replay(const struct command_line *line)
{
    struct config_flag flags[COMMAND_FLAG_LIMIT];
    struct command_settings settings = {.flags = flags};
    struct config_sources sources;
    struct config config;
    const char *name = NULL;
    int status;
    if (!command_parse(&replay_command, line, &settings, &name, &status)) {
        return status;
    }
    if (name == NULL) {
        return commands_usage_error("replay", "SINK is missing: the name of a sink");
    }
    status = commands_load(&settings, line, &sources, &config);
    if (status != 0) {
        return status;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    const struct sink_settings *sink = config_find_sink(&config, name);
    if (sink == NULL) {
        (void)fprintf(stderr, "log_capturer replay: the configuration has no sink '%s'\n", name);
        status = 1;
    } else {
        status = replay(&config, sink);
    }
    config_finish(&config);
    return status;
}
