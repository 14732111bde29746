/* The rows, and what they fall back to. */
#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "pools/pool.h"

#define AT(member) offsetof(struct options, member)
#define ROW(path, type, member, preset, least, most, help)                                         \
    {                                                                                              \
        path, type, AT(member), preset, NULL, least, most, NULL, false, help                       \
    }

static const char preset_help[] =
    "Name of the preset that says what the containers are; `container_pool presets` lists them.";
static const char presets_help[] = "YAML file of presets, instead of the built-in ones.";
static const char first_port_help[] = "Ports of the host from here on; 0: any that are free.";
static const char host_help[] =
    "Name or address of the host by which containers are reached, where it is not this one's "
    "127.0.0.1; ports are published on all its addresses then.";
static const char startup_help[] =
    "How long a container may take to be ready; 0: as the preset says.";
static const char docker_help[] =
    "The daemon, as in unix:///var/run/docker.sock; else DOCKER_HOST, or that socket.";
static const char listen_help[] =
    "HOST:PORT or unix:/PATH of `container_pool serve`; else container_pool.sock in "
    "XDG_RUNTIME_DIR, or /tmp/container_pool-UID.sock.";

#define DOCKER_ROW ROW("docker", OPTION_TEXT, docker, "", 0, 0, docker_help)
#define LISTEN_ROW ROW("listen", OPTION_TEXT, listen, "", 0, 0, listen_help)
#define POOL_ROWS                                                                                  \
    ROW("preset", OPTION_TEXT, preset, "", 0, 0, preset_help),                                     \
        ROW("presets", OPTION_TEXT, presets, "", 0, 0, presets_help),                              \
        ROW("size", OPTION_COUNT, size, "6", 1, 1000, "Containers, at most."),                     \
        ROW("first-port", OPTION_COUNT, first_port, "0", 0, 65535, first_port_help),               \
        ROW("host", OPTION_TEXT, host, "", 0, 0, host_help),                                       \
        ROW("startup-timeout", OPTION_DURATION, startup_timeout_ns, "0", 0, 0, startup_help),      \
        DOCKER_ROW

static const struct option_row run_rows[] = {
    POOL_ROWS,
    {"quiet", OPTION_BOOL, AT(quiet), "false", NULL, 0, 0, NULL, false, "Say only what is wrong."},
    {.path = NULL}};

static const struct option_row serve_rows[] = {
    POOL_ROWS,
    {"min", OPTION_COUNT, AT(min), "0", NULL, 0, 1000, NULL, false,
     "Containers kept ready; 0: all of --size. With less, their number follows demand."},
    LISTEN_ROW,
    {"log-format", OPTION_CHOICE, AT(log_format), "text", "text|json", 0, 0, NULL, false,
     "How the log is written."},
    {.path = NULL}};

static const struct option_row acquire_rows[] = {
    LISTEN_ROW,
    {"pid", OPTION_COUNT, AT(pid), "0", NULL, 0, 4194304, NULL, false,
     "The process that holds the container, in a shell $$; when it ends the container goes back."},
    {"ttl", OPTION_DURATION, AT(ttl_ns), "0", NULL, 0, 0, NULL, false,
     "It goes back after so long at the latest; 0: no limit."},
    {"timeout", OPTION_DURATION, AT(timeout_ns), "30s", NULL, 1000000, 0, NULL, false,
     "How long to wait for one."},
    {"output", OPTION_CHOICE, AT(output), "env", "env|json", 0, 0, NULL, false,
     "env: lines for eval."},
    {.path = NULL}};

static const struct option_row release_rows[] = {
    LISTEN_ROW,
    {"lease", OPTION_TEXT, AT(lease), "", NULL, 0, 0, NULL, false,
     "As acquire printed it; else CONTAINER_POOL_LEASE."},
    {"broken", OPTION_BOOL, AT(broken), "false", NULL, 0, 0, NULL, false,
     "Replace the container, whatever the preset says."},
    {.path = NULL}};

static const struct option_row stats_rows[] = {LISTEN_ROW,
                                               {"output", OPTION_CHOICE, AT(output), "text",
                                                "text|json", 0, 0, NULL, false,
                                                "How they are written."},
                                               {.path = NULL}};

static const struct option_row clean_rows[] = {
    DOCKER_ROW,
    {"all", OPTION_BOOL, AT(all), "false", NULL, 0, 0, NULL, false,
     "Also those of pools whose process runs, or of which that can't be told."},
    {.path = NULL}};

static const struct option_row reap_rows[] = {
    DOCKER_ROW,
    {"session", OPTION_TEXT, AT(session), "", NULL, 0, 0, NULL, false, "Whose containers."},
    {.path = NULL}};

static const struct option_row presets_rows[] = {{.path = NULL}};

const struct verb verbs[] = {
    {{.program = "container_pool run",
      .usage = "--preset NAME [FLAGS] -- COMMAND [ARGUMENT...]",
      .description =
          "Makes a pool of containers, runs the command, and removes them, whichever way it "
          "ends. The command finds in its environment CONTAINER_POOL_ADDRESSES (with commas), "
          "CONTAINER_POOL_SIZE, and for each container from 1 on CONTAINER_POOL_1_ADDRESS, "
          "CONTAINER_POOL_1_ID, CONTAINER_POOL_1_NAME, CONTAINER_POOL_1_PORT_6379 (HOST:PORT for "
          "each port of the preset).",
      .rows = run_rows,
      .after = "Exit status: the command's; 128 and the signal's number where one ended it; 125 no "
               "pool, 126 the command can't be run, 127 there is no such command.",
      .operands = true},
     "run",
     "run a command with a pool's addresses in its environment",
     run_command},
    {{.program = "container_pool serve",
      .usage = "--preset NAME [FLAGS]",
      .description =
          "Keeps a pool of containers for programs that take and give back over HTTP: POST "
          "/acquire, POST /release, GET /stats, GET /metrics. There is no authentication: a unix "
          "socket, which only its owner may use, or 127.0.0.1 is meant.",
      .rows = serve_rows,
      .after =
          "POST /acquire?pid=PID: the container goes back when that process ends. "
          "POST /acquire?hold=1: it goes back when the client closes the connection, which stays "
          "open behind the answer. POST /acquire?ttl=60s: it goes back after that. One of them "
          "must be given; timeout=30s is how long to wait. POST /release?lease=LEASE[&broken=1]. "
          "A container that goes back is reset or replaced as the preset says.\n\n"
          "Exit status: 0 ended by SIGTERM or SIGINT, 1 it could not start, or containers are "
          "left."},
     "serve",
     "keep a pool for programs that take and give back over HTTP",
     serve},
    {{.program = "container_pool acquire",
      .usage = "--pid PID | --ttl DURATION [FLAGS]",
      .description =
          "Takes a container from `container_pool serve` and prints lines for eval: eval "
          "\"$(container_pool acquire --pid $$)\". They set CONTAINER_POOL_LEASE, _ADDRESS, _ID, "
          "_NAME, _HOST, and _PORT_6379 (HOST:PORT for each port of the preset).",
      .rows = acquire_rows,
      .after = NULL},
     "acquire",
     "take a container of a pool that is served",
     ask_acquire},
    {{.program = "container_pool release",
      .usage = "[FLAGS]",
      .description = "Gives a container back to `container_pool serve`.",
      .rows = release_rows,
      .after = NULL},
     "release",
     "give it back",
     ask_release},
    {{.program = "container_pool stats",
      .usage = "[FLAGS]",
      .description = "What a pool that is served holds, who has what, and what has been done.",
      .rows = stats_rows,
      .after = NULL},
     "stats",
     "what a pool that is served holds",
     ask_stats},
    {{.program = "container_pool clean",
      .usage = "[FLAGS]",
      .description = "Removes the containers and networks that pools have left whose process is "
                     "gone.",
      .rows = clean_rows,
      .after = "Exit status: 0 nothing is left, 1 something is."},
     "clean",
     "remove what killed pools have left",
     clean},
    {{.program = "container_pool presets",
      .usage = "",
      .description = "Prints the file of presets, which is also the description of its format.",
      .rows = presets_rows,
      .after = NULL},
     "presets",
     "print the presets and their format",
     show_presets},
    {{.program = "container_pool reap",
      .usage = "--session SESSION",
      .description = "Waits for the end of its standard input, then removes the containers of a "
                     "session. Pools start it for themselves.",
      .rows = reap_rows,
      .after = NULL},
     "reap",
     NULL,
     reap},
    {.name = NULL}};

const char *options_docker(const struct options *options)
{
    const char *named = getenv("DOCKER_HOST");
    return options->docker[0] != '\0'          ? options->docker
           : named != NULL && named[0] != '\0' ? named
                                               : "unix:///var/run/docker.sock";
}

const char *options_listen(const struct options *options, char *storage, size_t storage_bytes)
{
    const char *directory = getenv("XDG_RUNTIME_DIR");
    if (options->listen[0] != '\0') {
        return options->listen;
    }
    if (directory != NULL && directory[0] == '/') {
        (void)snprintf(storage, storage_bytes, "unix:%s/container_pool.sock", directory);
    } else {
        (void)snprintf(storage, storage_bytes, "unix:/tmp/container_pool-%u.sock",
                       (unsigned)getuid());
    }
    return storage;
}
