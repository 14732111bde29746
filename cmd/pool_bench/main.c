/* The load generator of pool_server; --help says what it takes. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "echo.h"
#include "report.h"

/* Until SIGTERM or SIGINT, which are blocked. */
static int run_echo(const struct options *options, struct error *error)
{
    struct echo *echo = NULL;
    sigset_t signals;
    int number;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &signals, NULL);
    int rc = echo_start((uint16_t)options->echo, (unsigned)options->echo_threads, &echo, error);
    if (rc == 0) {
        (void)fprintf(stderr, "pool_bench: echoes on port %llu\n",
                      (unsigned long long)options->echo);
        (void)sigwait(&signals, &number);
        echo_stop(echo);
    }
    return rc;
}

static int write_results(const struct bench *bench, struct error *error)
{
    const struct options *options = bench->options;
    bool table = strcmp(options->json, "-") != 0;
    if (table) {
        report_table(bench);
    }
    int rc = options->json[0] != '\0' ? report_json(bench, options->json) : 0;
    if (rc != 0) {
        error_set(error, "%s: %s", options->json, strerror(-rc));
        return rc;
    }
    rc = options->plot[0] != '\0' ? report_plot(bench, options->plot) : 0;
    if (rc != 0) {
        error_set(error, "%s: %s", options->plot, strerror(-rc));
    }
    return rc;
}

/* The exit status. */
static int run_bench(const struct options *options, struct error *error)
{
    static struct bench bench;
    bench.options = options;
    int rc = bench_run(&bench, error);
    rc = rc != 0 ? rc : write_results(&bench, error);
    int status = rc != 0 || bench_errors(&bench.total) > 0 ? 1 : 0;
    bench_finish(&bench);
    return status;
}

int main(int argc, char **argv)
{
    struct options options = {.server = NULL};
    struct error error = {""};
    int next;
    if (options_init(&options, options_flags.rows) != 0) {
        return 1;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    enum option_flags_result parsed = option_flags_parse(&options_flags, argc, argv, &options,
                                                         &next);
    int status = parsed == OPTION_FLAGS_BAD ? 2 : 0;
    if (parsed == OPTION_FLAGS_RUN && options_check(&options, &error) != 0) {
        status = option_flags_complain(&options_flags, "%s", error.text);
    } else if (parsed == OPTION_FLAGS_RUN) {
        status = options.echo > 0 ? (run_echo(&options, &error) != 0 ? 1 : 0)
                                  : run_bench(&options, &error);
        if (error.text[0] != '\0') {
            (void)fprintf(stderr, "pool_bench: %s\n", error.text);
        }
    }
    options_finish(&options, options_flags.rows);
    return status;
}
