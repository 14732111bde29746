/* Removing what pools have left: by hand, or by the process that every pool starts for its own end. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/timestamp.h"
#include "containers/preset.h"
#include "containers/reaper.h"
#include "options.h"

#define TIMEOUT_NS (30 * NS_PER_SECOND)

struct work {
    struct loop *loop;
    struct metrics *metrics;
    struct http_client *http;
    struct reaping *reaping;
    size_t removed, left;
    bool done, speaks;
    struct error text;
};

static void handle_removed(const char *name, void *data)
{
    const struct work *work = data;
    if (work->speaks) {
        (void)printf("removed %s\n", name);
    }
}

static void handle_trouble(const char *text, void *data)
{
    const struct work *work = data;
    if (work->speaks) {
        (void)fprintf(stderr, "container_pool: %s; trying again for %d s\n", text,
                      (int)(TIMEOUT_NS / NS_PER_SECOND));
    }
}

static void handle_done(size_t removed, size_t left, const char *text, void *data)
{
    struct work *work = data;
    work->removed = removed;
    work->left = left;
    work->done = true;
    error_set(&work->text, "%s", text);
}

static int prepare(struct work *work, struct reaping_options *options, struct error *error)
{
    struct http_client_options http = {.idle_total = 8, .idle_per_host = 8, .opens_limit = 1};
    int rc = loop_create(clock_real(), &work->loop);
    rc = rc != 0 ? rc : metrics_create(&work->metrics);
    http.loop = work->loop;
    http.metrics = work->metrics;
    rc = rc != 0 ? rc : http_client_create(&http, &work->http);
    if (rc != 0) {
        error_set(error, "it can't be set up: %s", strerror(-rc));
        return rc;
    }
    options->loop = work->loop;
    options->http = work->http;
    return reaping_start(options, &work->reaping, error);
}

/* The exit status. */
static int run(struct work *work, const struct options *options, const char *session)
{
    struct error error = {.text = ""};
    struct reaping_options reaping = {.docker_url = options_docker(options),
                                      .session = session,
                                      .all = options->all,
                                      .timeout_ns = TIMEOUT_NS,
                                      .on_removed = handle_removed,
                                      .on_trouble = handle_trouble,
                                      .on_done = handle_done,
                                      .data = work};
    int rc = prepare(work, &reaping, &error);
    while (rc == 0 && !work->done) {
        rc = loop_iterate(work->loop, -1);
    }
    reaping_destroy(work->reaping);
    if (work->http != NULL) {
        http_client_shutdown(work->http);
        http_client_destroy(work->http);
    }
    metrics_destroy(work->metrics);
    loop_destroy(work->loop);
    if (rc != 0) {
        (void)fprintf(stderr, "container_pool: %s\n", error.text);
    } else if (work->left > 0) {
        (void)fprintf(stderr, "container_pool: not all could be removed: %s\n", work->text.text);
    }
    return rc != 0 || work->left > 0 ? 1 : 0;
}

int clean(const struct verb *verb, const struct options *options, char **arguments)
{
    struct work work = {.speaks = true};
    (void)verb;
    (void)arguments;
    int status = run(&work, options, NULL);
    if (status == 0) {
        (void)printf("%zu removed, nothing is left\n", work.removed);
    }
    return status;
}

int reap(const struct verb *verb, const struct options *options, char **arguments)
{
    struct work work = {.speaks = false};
    char byte;
    ssize_t n;
    (void)arguments;
    if (options->session[0] == '\0') {
        return option_flags_complain(&verb->flags, "--session is missing");
    }
    (void)close_range(STDERR_FILENO + 1, ~0U, 0); /* what the parent left open is not ours */
    do {
        n = read(STDIN_FILENO, &byte, 1);
    } while (n > 0 || (n < 0 && errno == EINTR));
    return run(&work, options, options->session);
}

int show_presets(const struct verb *verb, const struct options *options, char **arguments)
{
    (void)verb;
    (void)options;
    (void)arguments;
    (void)fputs(preset_builtin, stdout);
    return 0;
}
