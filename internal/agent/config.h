/*
 * Configuration: defaults, then the file, then LOG_CAPTURER_* of the environment, then flags.
 * Everything is checked before anything is used; every error is found, each with its place.
 */
#pragma once

#include "agent/options.h"

#define CONFIG_ERROR_LIMIT 32

struct config_errors {
    struct error errors[CONFIG_ERROR_LIMIT + 1]; /* `file:line:column: what; the remedy` */
    size_t count; /* may pass the limit: those beyond it are only counted */
};

struct config_flag {
    const char *path; /* of an option, or "docker" for a daemon's URL */
    const char *value;
};

struct config_sources {
    const char *file;               /* NULL: none */
    const char *const *environment; /* like environ(7) */
    const struct config_flag *flags;
    size_t flag_count;
};

/* Fills config (caller frees with config_finish()), or returns -EINVAL and at least one error; then
 * config is untouched. */
int config_load(const struct config_sources *sources, struct config *ret_config,
                struct config_errors *errors) __attribute__((warn_unused_result));

/* The file's part alone, over what config holds; shown for tests and fuzzing. */
void config_read_yaml(struct config *config, const char *name, const char *text, size_t size,
                      struct config_errors *errors);
