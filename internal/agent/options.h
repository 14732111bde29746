/*
 * Every option, declared once as a row: the parser, `check`, environment, flags, help, the reference
 * page and the unknown-key error all read this table.
 * A config belongs to one thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/option.h"
#include "sinks/sink_settings.h"

struct config_rules {
    struct text_list name, label, image, project, driver;
};

struct config_daemon {
    char *name, *url, *ca, *cert, *key;
    bool insecure;
};

struct config {
    struct config_daemon *daemons;
    size_t daemon_count;
    uint64_t idle_total, idle_per_host, follows, opens;
    int64_t idle_timeout_ns, keepalive_ns;
    char *mode, *since;
    uint64_t max_line_bytes;
    struct config_rules include, exclude;
    int64_t relist_interval_ns, idle_probe_ns, stream_max_lifetime_ns;
    char *spool_dir, *compression;
    uint64_t limit_bytes, commit_bytes;
    int64_t age_ns, commit_interval_ns;
    char *listen, *output, *log_level, *log_format;
    struct sink_settings **sinks;
    size_t sink_count;
};

extern const struct option_row option_rows[];

/* The row of a path, or of a flag; NULL when there is none. */
const struct option_row *option_find(const char *path);
const struct option_row *option_find_flag(const char *flag);
/* The known path or section nearest to this one; false when none is near. */
bool option_suggest(const char *path, char *ret_path, size_t path_bytes);
/* LOG_CAPTURER_SPOOL_LIMIT from spool.limit. */
void option_env_name(const struct option_row *row, char *ret_name, size_t name_bytes);

/* All defaults. -ENOMEM. */
int config_init(struct config *config) __attribute__((warn_unused_result));
void config_finish(struct config *config);
/* Appends an empty daemon; NULL without memory. */
struct config_daemon *config_add_daemon(struct config *config);
void config_clear_daemons(struct config *config);
/* Takes over the settings. -ENOMEM: they are destroyed. */
int config_add_sink(struct config *config, struct sink_settings *settings)
    __attribute__((warn_unused_result));
/* NULL when there is none of this name. */
struct sink_settings *config_find_sink(const struct config *config, const char *name);
