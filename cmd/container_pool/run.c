/* A command with a pool of its own. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/hostport.h"
#include "base/timestamp.h"
#include "containers/containers.h"
#include "options.h"

#define FILL_TIMEOUT_NS (15 * 60 * NS_PER_SECOND) /* an image may have to be pulled */
#define STATUS_NO_POOL 125                        /* as docker run has them */
#define STATUS_NOT_RUN 126
#define STATUS_NOT_FOUND 127

static struct error told; /* what was said last */

static void tell(const char *text)
{
    error_set(&told, "%s", text);
    (void)fprintf(stderr, "container_pool: %s\n", text);
}

/* On the pool's thread, while the main one waits for it. */
static void handle_log(const char *text, void *data)
{
    const struct options *options = data;
    if (!options->quiet) {
        tell(text);
    }
}

/* ---- the environment ---- */

static void put(unsigned number, const char *what, const char *value)
{
    char name[80];
    (void)snprintf(name, sizeof(name), "CONTAINER_POOL_%u_%s", number, what);
    (void)setenv(name, value, 1);
}

static void put_container(const struct container *container)
{
    unsigned number = container->number + 1;
    put(number, "ADDRESS", container->address);
    put(number, "ID", container->id);
    put(number, "NAME", container->name);
    for (size_t i = 0; i < container->port_count; i++) {
        struct hostport hostport = {.port = container->host_ports[i]};
        char what[32];
        char text[HOSTPORT_TEXT_SIZE];
        (void)snprintf(hostport.host, sizeof(hostport.host), "%s", container->host);
        (void)snprintf(what, sizeof(what), "PORT_%u", container->ports[i]);
        hostport_format(&hostport, text);
        put(number, what, text);
    }
}

static int by_number(const void *a, const void *b)
{
    const struct container *const *one = a;
    const struct container *const *other = b;
    return (int)(*one)->number - (int)(*other)->number;
}

static int put_all(const struct container **all, size_t count)
{
    struct buf addresses;
    char size[24];
    buf_init(&addresses, 0);
    int rc = 0;
    qsort(all, count, sizeof(struct container *), by_number);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        put_container(all[i]);
        rc = buf_printf(&addresses, "%s%s", i > 0 ? "," : "", all[i]->address);
    }
    (void)snprintf(size, sizeof(size), "%zu", count);
    (void)setenv("CONTAINER_POOL_SIZE", size, 1);
    const char *text = buf_terminated(&addresses);
    rc = rc != 0 || text == NULL ? -ENOMEM : setenv("CONTAINER_POOL_ADDRESSES", text, 1);
    buf_finish(&addresses);
    return rc;
}

/* ---- the command ---- */

static volatile sig_atomic_t child_pid;

static void pass_on(int number)
{
    if (child_pid > 0) {
        (void)kill((pid_t)child_pid, number);
    }
}

static _Noreturn void become(char **arguments, pid_t parent)
{
    (void)signal(SIGPIPE, SIG_DFL);
    (void)signal(SIGINT, SIG_DFL);
    (void)signal(SIGTERM, SIG_DFL);
    (void)signal(SIGHUP, SIG_DFL);
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM); /* the containers will be gone as well */
    if (getppid() == parent) {
        (void)execvp(arguments[0], arguments);
    }
    int problem = errno;
    (void)fprintf(stderr, "container_pool: %s: %s\n", arguments[0], strerror(problem));
    _exit(problem == ENOENT ? STATUS_NOT_FOUND : STATUS_NOT_RUN);
}

/* Its exit status. A terminal's SIGINT goes to it without us. */
static int run_and_wait(char **arguments)
{
    struct sigaction pass = {.sa_handler = pass_on};
    pid_t parent = getpid();
    int state = 0;
    (void)signal(SIGINT, SIG_IGN);
    pid_t pid = fork();
    if (pid == 0) {
        become(arguments, parent);
    }
    if (pid < 0) {
        (void)fprintf(stderr, "container_pool: no process for %s: %s\n", arguments[0],
                      strerror(errno));
        return STATUS_NOT_RUN;
    }
    child_pid = pid;
    (void)sigaction(SIGTERM, &pass, NULL);
    (void)sigaction(SIGHUP, &pass, NULL);
    while (waitpid(pid, &state, 0) < 0 && errno == EINTR) {
    }
    return WIFSIGNALED(state) ? 128 + WTERMSIG(state) : WEXITSTATUS(state);
}

/* ---- all of it ---- */

static int take_all(struct containers *pool, size_t count, const struct container **ret_all,
                    struct error *error)
{
    int rc = containers_fill(pool, FILL_TIMEOUT_NS, error);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = containers_get(pool, &ret_all[i], error);
    }
    return rc;
}

static int run_with(struct containers *pool, const struct options *options, char **arguments)
{
    size_t count = options->size;
    const struct container **all = calloc(count, sizeof(struct container *));
    struct error error = {.text = "out of memory"};
    int status = STATUS_NO_POOL;
    int rc = all == NULL ? -ENOMEM : take_all(pool, count, all, &error);
    rc = rc != 0 ? rc : put_all(all, count);
    if (rc != 0) {
        tell(strcmp(told.text, error.text) != 0 ? error.text : "so there is no pool");
    } else {
        status = run_and_wait(arguments);
    }
    free(all);
    return status;
}

int run_command(const struct verb *verb, const struct options *options, char **arguments)
{
    struct containers *pool = NULL;
    struct error error = {.text = ""};
    const struct containers_options wanted = {
        .preset = options->preset,
        .presets_file = options->presets[0] != '\0' ? options->presets : NULL,
        .docker_url = options_docker(options),
        .size = (uint32_t)options->size,
        .first_port = (uint16_t)options->first_port,
        .host = options->host[0] != '\0' ? options->host : NULL,
        .startup_timeout_ns = options->startup_timeout_ns,
        .reaper = "/proc/self/exe",
        .on_log = handle_log,
        .data = (void *)(uintptr_t)options};
    if (options->preset[0] == '\0') {
        return option_flags_complain(&verb->flags, "--preset is missing");
    }
    if (arguments[0] == NULL) {
        return option_flags_complain(&verb->flags, "the command is missing");
    }
    if (containers_open(&wanted, &pool, &error) != 0) {
        (void)fprintf(stderr, "container_pool: %s\n", error.text);
        return STATUS_NO_POOL;
    }
    int status = run_with(pool, options, arguments);
    size_t left = containers_close(pool);
    if (left > 0) {
        (void)fprintf(stderr,
                      "container_pool: %zu containers are left; `container_pool clean` removes "
                      "them\n",
                      left);
    }
    return status;
}
