/*
 * The settings of one sink: those that all have, those of the sinks that speak HTTP, and those of its
 * type. Each is declared as rows, so that the configuration, `check` and the reference page agree.
 */
#pragma once

#include "base/option.h"
#include "process/filter.h"

struct sink_type;

struct sink_rules {
    struct text_list container, label, stream;
};

struct sink_common {
    struct sink_rules include, exclude;
    char *start;
    uint64_t batch_bytes, batch_lines;
    int64_t batch_age_ns;
    uint64_t concurrency;
    int64_t retry_limit_ns;
};

struct sink_http {
    char *url, *username, *password_file, *bearer_token_file, *ca, *cert, *key;
    bool insecure;
    int64_t timeout_ns;
};

#define SINK_NAME_LIMIT 48

struct sink_settings {
    char name[SINK_NAME_LIMIT + 1];
    const struct sink_type *type;
    struct sink_common common;
    struct sink_http http; /* of types with uses_http */
    void *options;         /* the type's struct */
};

/* Both end with a NULL path. */
extern const struct option_row sink_common_options[];
extern const struct option_row sink_http_options[];

/* All defaults. -EINVAL: a name with other than letters, digits, '-' and '_', or too long; -ENOMEM. */
int sink_settings_create(const char *name, const struct sink_type *type,
                         struct sink_settings **ret_settings, struct error *error)
    __attribute__((warn_unused_result));
void sink_settings_destroy(struct sink_settings *settings);

/* The row of a path such as "tls.ca", and the object that it belongs to; NULL when there is none. */
const struct option_row *sink_settings_find(struct sink_settings *settings, const char *path,
                                            void **ret_object);
/* Whether there are options below this path. */
bool sink_settings_have_section(const struct sink_settings *settings, const char *path);
/* The nearest option; false when none is near. */
bool sink_settings_suggest(const struct sink_settings *settings, const char *path, char *ret_path,
                           size_t path_bytes);
/* The options against each other. -EINVAL with the reason. */
int sink_settings_check(const struct sink_settings *settings, struct error *error)
    __attribute__((warn_unused_result));
/* Two sinks of one configuration against each other. -EINVAL with the reason. */
int sink_settings_check_pair(const struct sink_settings *settings,
                             const struct sink_settings *other, struct error *error)
    __attribute__((warn_unused_result));
bool sink_settings_equal(const struct sink_settings *a, const struct sink_settings *b);
/* The settings as the transport takes them; texts are borrowed. */
struct http_sender_options;
void sink_settings_http(const struct sink_settings *settings,
                        struct http_sender_options *ret_options);
