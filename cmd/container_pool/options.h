/* The command lines of container_pool: one object, a table of flags for each verb. */
#pragma once

#include "base/option_flags.h"

struct options {
    char *preset, *presets, *docker, *host, *listen, *log_format, *session, *lease, *output;
    uint64_t size, min, first_port, pid;
    int64_t startup_timeout_ns, timeout_ns, ttl_ns;
    bool all, broken, quiet;
};

struct verb {
    struct option_flags flags;
    const char *name;
    const char *help; /* one line; NULL: for the program's own use, not shown */
    /* The exit status. arguments: what stands behind the flags, ends with NULL. */
    int (*run)(const struct verb *verb, const struct options *options, char **arguments);
};

/* ---- one file each ---- */
int run_command(const struct verb *verb, const struct options *options, char **arguments);
int serve(const struct verb *verb, const struct options *options, char **arguments);
int ask_acquire(const struct verb *verb, const struct options *options, char **arguments);
int ask_release(const struct verb *verb, const struct options *options, char **arguments);
int ask_stats(const struct verb *verb, const struct options *options, char **arguments);
int clean(const struct verb *verb, const struct options *options, char **arguments);
int reap(const struct verb *verb, const struct options *options, char **arguments);
int show_presets(const struct verb *verb, const struct options *options, char **arguments);

/* ---- options.c ---- */

/* Ends with a name of NULL. */
extern const struct verb verbs[];
/* Where the daemon is: --docker, DOCKER_HOST, or the usual socket. */
const char *options_docker(const struct options *options);
/* Where serve listens and others ask: --listen, or a socket of this user's. */
const char *options_listen(const struct options *options, char *storage, size_t storage_bytes);
