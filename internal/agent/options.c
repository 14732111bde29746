/* The table, and look-ups in it. */
#include "agent/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/timestamp.h"

#define AT(member) offsetof(struct config, member)
#define KIB UINT64_C(1024)
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)

const struct option_row option_rows[] = {
    {"connections.idle_total", OPTION_COUNT, AT(idle_total), "100", NULL, 1, 100000, NULL, false,
     "Idle connections kept to all daemons together."},
    {"connections.idle_per_host", OPTION_COUNT, AT(idle_per_host), "10", NULL, 1, 10000, NULL,
     false, "Idle connections kept per daemon, and its concurrent control calls."},
    {"connections.idle_timeout", OPTION_DURATION, AT(idle_timeout_ns), "90s", NULL, 1000000000, 0,
     NULL, false, "An idle connection older than this is closed instead of used again."},
    {"connections.keepalive", OPTION_DURATION, AT(keepalive_ns), "30s", NULL, 0, 0, NULL, false,
     "TCP keep-alive of connections to remote daemons; 0 switches it off."},
    {"connections.follows", OPTION_COUNT, AT(follows), "0", NULL, 0, 1000000, NULL, false,
     "Containers followed at the same time; 0: as many as the limit of open files allows."},
    {"connections.opens", OPTION_COUNT, AT(opens), "16", NULL, 1, 10000, NULL, false,
     "Follows that may wait for a daemon's answer at the same time, so that a start with many "
     "containers does not storm it."},
    {"capture.mode", OPTION_CHOICE, AT(mode), "auto", "auto|api|file", 0, 0, "capture", false,
     "Where lines are read: api, the daemon's log API. auto takes the API; reading files is not "
     "part of this version, and file says so."},
    {"capture.since", OPTION_CHOICE, AT(since), "beginning", "beginning|now", 0, 0, NULL, false,
     "Where a container is begun that exists when the agent first sees its daemon. Containers "
     "made later are always read from their beginning."},
    {"capture.max_line", OPTION_SIZE, AT(max_line_bytes), "1MiB", NULL, KIB, 64 * MIB, NULL, false,
     "Longer lines are cut there, flagged and counted."},
    {"capture.include.name", OPTION_LIST, AT(include.name), NULL, NULL, 0, 0, NULL, true,
     "Globs; only containers with a matching name are captured."},
    {"capture.include.label", OPTION_LIST, AT(include.label), NULL, NULL, 0, 0, NULL, true,
     "`key` or `key=glob`; only containers with such a label are captured."},
    {"capture.include.image", OPTION_LIST, AT(include.image), NULL, NULL, 0, 0, NULL, true,
     "Globs; only containers of a matching image are captured."},
    {"capture.include.project", OPTION_LIST, AT(include.project), NULL, NULL, 0, 0, NULL, true,
     "Globs; only containers of a matching compose project are captured."},
    {"capture.include.driver", OPTION_LIST, AT(include.driver), NULL, NULL, 0, 0, NULL, true,
     "Globs; only containers with a matching log driver are captured."},
    {"capture.exclude.name", OPTION_LIST, AT(exclude.name), NULL, NULL, 0, 0, NULL, true,
     "Globs; containers with a matching name are not captured."},
    {"capture.exclude.label", OPTION_LIST, AT(exclude.label), NULL, NULL, 0, 0, NULL, true,
     "`key` or `key=glob`; containers with such a label are not captured."},
    {"capture.exclude.image", OPTION_LIST, AT(exclude.image), NULL, NULL, 0, 0, NULL, true,
     "Globs; containers of a matching image are not captured."},
    {"capture.exclude.project", OPTION_LIST, AT(exclude.project), NULL, NULL, 0, 0, NULL, true,
     "Globs; containers of a matching compose project are not captured."},
    {"capture.exclude.driver", OPTION_LIST, AT(exclude.driver), NULL, NULL, 0, 0, NULL, true,
     "Globs; containers with a matching log driver are not captured."},
    {"capture.relist_interval", OPTION_DURATION, AT(relist_interval_ns), "60s", NULL, 1000000000, 0,
     NULL, false, "All containers are listed again so often, in case events were lost."},
    {"capture.idle_probe", OPTION_DURATION, AT(idle_probe_ns), "45s", NULL, 0, 0, NULL, false,
     "A follow that was silent for so long is checked; 0 switches that off."},
    {"stream.max_lifetime", OPTION_DURATION, AT(stream_max_lifetime_ns), "0", NULL, 0, 0, NULL,
     false, "A follow is closed and resumed after so long; 0: never."},
    {"spool.dir", OPTION_TEXT, AT(spool_dir), "/var/lib/log_capturer", NULL, 0, 0, "data-dir",
     false, "Folder of the spool."},
    {"spool.limit", OPTION_SIZE, AT(limit_bytes), "2GiB", NULL, MIB, 0, NULL, false,
     "Bytes on disk; the oldest segment is removed when they are passed."},
    {"spool.age", OPTION_DURATION, AT(age_ns), "7d", NULL, 0, 0, NULL, false,
     "Segments older than this are removed once no cursor needs them; 0: never."},
    {"spool.commit_interval", OPTION_DURATION, AT(commit_interval_ns), "20ms", NULL, 1000000,
     60000000000, NULL, false, "The longest that a captured line waits before it goes to disk."},
    {"spool.commit_size", OPTION_SIZE, AT(commit_bytes), "1MiB", NULL, 4 * KIB, GIB, NULL, false,
     "Bytes after which the disk is synced before the interval is over."},
    {"spool.compression", OPTION_CHOICE, AT(compression), "zstd", "zstd|none", 0, 0, NULL, false,
     "Codec of the frames on disk."},
    {"http.listen", OPTION_TEXT, AT(listen), "", NULL, 0, 0, "listen", false,
     "host:port of the HTTP server. Empty: 127.0.0.1:8001, within a container :8001."},
    {"output.format", OPTION_CHOICE, AT(output), "text", "text|json|logfmt|none", 0, 0, "output",
     true,
     "What `run` writes to standard output for each line; a sink of type stdout takes its place."},
    {"log.level", OPTION_CHOICE, AT(log_level), "info", "debug|info|warn|error", 0, 0, NULL, true,
     "The agent's own log, to standard error."},
    {"log.format", OPTION_CHOICE, AT(log_format), "text", "text|json", 0, 0, NULL, true,
     "Form of the agent's own log."},
    {.path = NULL}};

/* ---- look-ups ---- */

const struct option_row *option_find(const char *path)
{
    return options_find(option_rows, path);
}

const struct option_row *option_find_flag(const char *flag)
{
    for (const struct option_row *row = option_rows; row->path != NULL; row++) {
        if (row->flag != NULL && strcmp(row->flag, flag) == 0) {
            return row;
        }
    }
    return NULL;
}

static unsigned path_distance(const char *known, const char *path)
{
    const char *known_last = strrchr(known, '.');
    const char *last = strrchr(path, '.');
    unsigned distance = str_distance(known, path);
    bool misplaced = last != NULL && known_last != NULL && strcmp(last, known_last) == 0;
    return misplaced && distance > 3 ? 3 : distance; /* the right key in the wrong place */
}

bool option_suggest(const char *path, char *ret_path, size_t path_bytes)
{
    unsigned best = 4;
    for (const struct option_row *row = option_rows; row->path != NULL; row++) {
        for (size_t size = strcspn(row->path, "."); best > 0;
             size += 1 + strcspn(row->path + size + 1, ".")) {
            char known[64];
            (void)snprintf(known, sizeof(known), "%.*s", (int)size, row->path);
            unsigned distance = path_distance(known, path);
            if (distance < best) {
                best = distance;
                (void)str_copy(ret_path, path_bytes, known);
            }
            if (row->path[size] == '\0') {
                break;
            }
        }
    }
    return best < 4;
}

void option_env_name(const struct option_row *row, char *ret_name, size_t name_bytes)
{
    (void)snprintf(ret_name, name_bytes, "LOG_CAPTURER_%s", row->path);
    for (char *p = ret_name; *p != '\0'; p++) {
        if (*p == '.') {
            *p = '_';
        } else if (*p >= 'a' && *p <= 'z') {
            *p = (char)(*p - 'a' + 'A');
        }
    }
}

/* ---- life ---- */

int config_init(struct config *config)
{
    *config = (struct config){0};
    return options_init(config, option_rows);
}

void config_finish(struct config *config)
{
    options_finish(config, option_rows);
    config_clear_daemons(config);
    for (size_t i = 0; i < config->sink_count; i++) {
        sink_settings_destroy(config->sinks[i]);
    }
    free(config->sinks);
    *config = (struct config){0};
}

struct config_daemon *config_add_daemon(struct config *config)
{
    struct config_daemon *daemons = realloc(config->daemons,
                                            (config->daemon_count + 1) * sizeof(*daemons));
    if (daemons == NULL) {
        return NULL;
    }
    config->daemons = daemons;
    daemons[config->daemon_count] = (struct config_daemon){0};
    return &daemons[config->daemon_count++];
}

void config_clear_daemons(struct config *config)
{
    for (size_t i = 0; i < config->daemon_count; i++) {
        struct config_daemon *daemon = &config->daemons[i];
        free(daemon->name);
        free(daemon->url);
        free(daemon->ca);
        free(daemon->cert);
        free(daemon->key);
    }
    free(config->daemons);
    config->daemons = NULL;
    config->daemon_count = 0;
}

int config_add_sink(struct config *config, struct sink_settings *settings)
{
    struct sink_settings **sinks = realloc(config->sinks, (config->sink_count + 1) *
                                                              sizeof(struct sink_settings *));
    if (sinks == NULL) {
        sink_settings_destroy(settings);
        return -ENOMEM;
    }
    config->sinks = sinks;
    sinks[config->sink_count++] = settings;
    return 0;
}

struct sink_settings *config_find_sink(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->sink_count; i++) {
        if (strcmp(config->sinks[i]->name, name) == 0) {
            return config->sinks[i];
        }
    }
    return NULL;
}
