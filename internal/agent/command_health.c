/* health: one GET, for the HEALTHCHECK of a container without a shell. */
#include <stdio.h>
#include <stdlib.h>

#include "agent/client.h"
#include "agent/flags.h"
#include "base/timestamp.h"

#define HEALTH_LIMIT_NS (2 * NS_PER_SECOND)

static const struct flag_row health_flags[] = {CLIENT_URL_FLAG, {.name = NULL}};

static int run_health(const struct command_line *line);

const struct command health_command = {
    .name = "health",
    .summary = "ask the running agent whether its loop answers",
    .description = "Asks /healthz of the agent that a `run` with the same configuration, "
                   "environment and flags would be, and prints ok. It waits 2 seconds at most. "
                   "Made for a container's HEALTHCHECK: [\"CMD\", \"/log_capturer\", \"health\"].",
    .flags = health_flags,
    .settings = true,
    .exit_status = "0 the agent answers, 1 it does not, 2 usage",
    .run = run_health,
};

static int ask(const char *url, struct error *error)
{
    struct client client = {0};
    struct client_answer answer = {0};
    int rc = client_init(&client, url, error);
    rc = rc != 0 ? rc : client_get(&client, "/healthz", HEALTH_LIMIT_NS, &answer, error);
    if (rc == 0 && answer.status != 200) {
        error_set(error, "%s/healthz answers %d: no agent listens there, or it is not well", url,
                  answer.status);
        rc = -1;
    }
    free(answer.body);
    client_finish(&client);
    return rc;
}

static int run_health(const struct command_line *line)
{
    char url[CLIENT_URL_SIZE];
    struct client_flags flags = {NULL};
    struct error error = {""};
    int status;
    if (!client_parse(&health_command, line, &flags, url, &status)) {
        return status;
    }
    if (ask(url, &error) != 0) {
        (void)fprintf(stderr, "log_capturer health: %s\n", error.text);
        return 1;
    }
    (void)printf("ok\n");
    return 0;
}
