/* The rows, and how they go together. */
#include "options.h"

#include <errno.h>

#define AT(member) offsetof(struct options, member)

static const struct option_row rows[] = {
    {"server", OPTION_TEXT, AT(server), "127.0.0.1:8080", NULL, 0, 0, NULL, false,
     "HOST:PORT of the relay; what is behind it must echo."},
    {"clients", OPTION_COUNT, AT(clients), "50", NULL, 1, 60000, NULL, false, "Clients at a time."},
    {"requests", OPTION_COUNT, AT(requests), "1000", NULL, 0, 0, NULL, false,
     "Requests of each client; 0: until --duration is over. --load-test, --spike and --failover "
     "go by time alone."},
    {"duration", OPTION_DURATION, AT(duration_ns), "30s", NULL, 1000000, 0, NULL, false,
     "At most."},
    {"reuse", OPTION_BOOL, AT(reuse), "false", NULL, 0, 0, NULL, false,
     "A client keeps its connection for all its requests; else each request has its own."},
    {"size", OPTION_SIZE, AT(size_bytes), "64", NULL, 16, 1073741824, NULL, false,
     "Bytes of a request, and of its answer."},
    {"rate", OPTION_COUNT, AT(rate), "0", NULL, 0, 10000000, NULL, false,
     "Requests per second, all clients together, on a schedule: the latency counts from when a "
     "request was due. 0: each as soon as the last was answered."},
    {"pause", OPTION_DURATION, AT(pause_ns), "0", NULL, 0, 0, NULL, false,
     "Of a client between two requests."},
    {"timeout", OPTION_DURATION, AT(timeout_ns), "10s", NULL, 1000000, 0, NULL, false,
     "A request that takes longer is an error."},
    {"threads", OPTION_COUNT, AT(threads), "1", NULL, 1, 64, NULL, false, "Threads of clients."},
    {"load-test", OPTION_BOOL, AT(load_test), "false", NULL, 0, 0, NULL, false,
     "From none to --max-clients during --ramp-up, all for --test, down during --ramp-down."},
    {"max-clients", OPTION_COUNT, AT(max_clients), "200", NULL, 1, 60000, NULL, false,
     "Of --load-test and --spike."},
    {"ramp-up", OPTION_DURATION, AT(ramp_up_ns), "10s", NULL, 0, 0, NULL, false,
     "Of --load-test: the time in which clients come."},
    {"test", OPTION_DURATION, AT(test_ns), "60s", NULL, 1000000, 0, NULL, false,
     "Of --load-test: the time with all of them."},
    {"ramp-down", OPTION_DURATION, AT(ramp_down_ns), "10s", NULL, 0, 0, NULL, false,
     "Of --load-test: the time in which they leave."},
    {"spike", OPTION_BOOL, AT(spike), "false", NULL, 0, 0, NULL, false,
     "--clients, but --max-clients at once during the middle third of --duration."},
    {"failover", OPTION_COUNT, AT(failover), "0", NULL, 0, 65535, NULL, false,
     "Be one of the backends: an echo on this port that ends after a third of --duration and is "
     "there again after two thirds. It begins when the relay has checked it twice. Errors are told "
     "for each third."},
    {"echo", OPTION_COUNT, AT(echo), "0", NULL, 0, 65535, NULL, false,
     "Be an echo backend on this port of all addresses, and nothing else, until a signal."},
    {"echo-threads", OPTION_COUNT, AT(echo_threads), "1", NULL, 1, 64, NULL, false, "Of --echo."},
    {"json", OPTION_TEXT, AT(json), "", NULL, 0, 0, NULL, false,
     "Write everything to this file; `-` is standard output, instead of the table."},
    {"plot", OPTION_TEXT, AT(plot), "", NULL, 0, 0, NULL, false,
     "Draw latency, requests, clients and errors over time into this SVG file."},
    {"quiet", OPTION_BOOL, AT(quiet), "false", NULL, 0, 0, NULL, false,
     "No line of progress on a terminal."},
    {.path = NULL}};

const struct option_flags options_flags = {
    .program = "pool_bench",
    .usage = "[FLAGS]",
    .description =
        "Loads a TCP relay with clients that send a request, wait for its echo and check each byte, "
        "and shows latency, throughput and errors.",
    .rows = rows,
    .after =
        "Latency is shown as it was measured, and corrected for coordinated omission: while a client waits it "
        "sends nothing, so one slow answer hides the requests that would have met the same "
        "delay. With --rate these are known from the schedule; without it they are added at the "
        "client's median (HdrHistogram's method).\n\nExit status: 0 no errors, 1 some, 2 the "
        "command line is wrong."};

int options_check(struct options *options, struct error *error)
{
    if ((options->load_test ? 1 : 0) + (options->spike ? 1 : 0) + (options->failover > 0 ? 1 : 0) >
        1) {
        error_set(error, "one of --load-test, --spike and --failover only");
        return -EINVAL;
    }
    if (options->spike && options->max_clients < options->clients) {
        error_set(error, "--spike goes from --clients up to --max-clients, which is less");
        return -EINVAL;
    }
    if (options->load_test || options->spike || options->failover > 0) {
        options->requests = 0;
    }
    return 0;
}
