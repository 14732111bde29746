/* The table, and setting by it. Values are checked one by one here, and against each other in
 * config.c. */
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
     false, "What `run` writes to standard output for each line."},
    {"log.level", OPTION_CHOICE, AT(log_level), "info", "debug|info|warn|error", 0, 0, NULL, true,
     "The agent's own log, to standard error."},
    {"log.format", OPTION_CHOICE, AT(log_format), "text", "text|json", 0, 0, NULL, true,
     "Form of the agent's own log."},
    {.path = NULL}};

/* ---- look-ups ---- */

const struct option_row *option_find(const char *path)
{
    for (const struct option_row *row = option_rows; row->path != NULL; row++) {
        if (strcmp(row->path, path) == 0) {
            return row;
        }
    }
    return NULL;
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

/* ---- values ---- */

static void *field(struct config *config, const struct option_row *row)
{
    return (char *)config + row->offset;
}

static const void *const_field(const struct config *config, const struct option_row *row)
{
    return (const char *)config + row->offset;
}

static int set_text(char **at, const char *text)
{
    char *copy = strdup(text);
    if (copy == NULL) {
        return -ENOMEM;
    }
    free(*at);
    *at = copy;
    return 0;
}

static bool is_choice(const char *choices, const char *text)
{
    size_t size = strcspn(text, "|");
    for (const char *p = choices; size > 0 && text[size] == '\0' && p != NULL; p = strchr(p, '|')) {
        p += *p == '|';
        if (strncmp(p, text, size) == 0 && (p[size] == '|' || p[size] == '\0')) {
            return true;
        }
    }
    return false;
}

static int check_range(const struct option_row *row, uint64_t value, struct error *error)
{
    if (value >= row->least && (row->most == 0 || value <= row->most)) {
        return 0;
    }
    char least[32];
    char most[32];
    if (row->type == OPTION_SIZE) {
        str_format_size(row->least, least, sizeof(least));
        str_format_size(row->most, most, sizeof(most));
    } else if (row->type == OPTION_DURATION) {
        str_format_duration((int64_t)row->least, least, sizeof(least));
        str_format_duration((int64_t)row->most, most, sizeof(most));
    } else {
        (void)snprintf(least, sizeof(least), "%llu", (unsigned long long)row->least);
        (void)snprintf(most, sizeof(most), "%llu", (unsigned long long)row->most);
    }
    if (row->most == 0) {
        error_set(error, "%s: must be at least %s", row->path, least);
    } else {
        error_set(error, "%s: must be from %s to %s", row->path, least, most);
    }
    return -EINVAL;
}

static int set_number(struct config *config, const struct option_row *row, const char *text,
                      struct error *error)
{
    uint64_t value = 0;
    int64_t duration = 0;
    int rc;
    const char *expected;
    if (row->type == OPTION_DURATION) {
        rc = str_parse_duration(text, &duration);
        value = (uint64_t)duration;
        expected = "a duration such as 90s, 20ms, 7d";
    } else if (row->type == OPTION_SIZE) {
        rc = str_parse_size(text, &value);
        expected = "a size such as 2GiB, 512KiB";
    } else {
        rc = str_parse_u64(text, &value);
        expected = "a whole number";
    }
    if (rc != 0) {
        error_set(error, "%s: '%.80s' is not %s", row->path, text, expected);
        return -EINVAL;
    }
    rc = check_range(row, value, error);
    if (rc == 0) {
        memcpy(field(config, row), &value, sizeof(value)); /* uint64_t or int64_t */
    }
    return rc;
}

static int set_list(struct config *config, const struct option_row *row, const char *text)
{
    config_clear_list(config, row);
    while (*text != '\0') {
        size_t size = strcspn(text, ",");
        char *item = strndup(text, size);
        int rc = item == NULL ? -ENOMEM : size == 0 ? 0 : config_add(config, row, item);
        free(item);
        if (rc != 0) {
            return rc;
        }
        text += size + (text[size] == ',');
    }
    return 0;
}

int config_set(struct config *config, const struct option_row *row, const char *text,
               struct error *error)
{
    int rc;
    switch (row->type) {
    case OPTION_CHOICE:
        if (!is_choice(row->choices, text)) {
            error_set(error, "%s: '%.80s' is none of %s", row->path, text, row->choices);
            return -EINVAL;
        }
        rc = set_text(field(config, row), text);
        break;
    case OPTION_TEXT:
        rc = set_text(field(config, row), text);
        break;
    case OPTION_LIST:
        rc = set_list(config, row, text);
        break;
    default:
        return set_number(config, row, text, error);
    }
    if (rc != 0) {
        error_set(error, "out of memory");
    }
    return rc;
}

int config_add(struct config *config, const struct option_row *row, const char *item)
{
    struct text_list *list = field(config, row);
    char **items = realloc(list->items, (list->count + 1) * sizeof(char *));
    if (items == NULL) {
        return -ENOMEM;
    }
    list->items = items;
    items[list->count] = strdup(item);
    if (items[list->count] == NULL) {
        return -ENOMEM;
    }
    list->count++;
    return 0;
}

void config_clear_list(struct config *config, const struct option_row *row)
{
    struct text_list *list = field(config, row);
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i]);
    }
    free(list->items);
    *list = (struct text_list){0};
}

static int get_list(const struct text_list *list, char *ret_text, size_t text_bytes)
{
    size_t used = 0;
    ret_text[0] = '\0';
    for (size_t i = 0; i < list->count; i++) {
        int n = snprintf(ret_text + used, text_bytes - used, "%s%s", i > 0 ? "," : "",
                         list->items[i]);
        if (n < 0 || (size_t)n >= text_bytes - used) {
            return -E2BIG;
        }
        used += (size_t)n;
    }
    return 0;
}

int config_get(const struct config *config, const struct option_row *row, char *ret_text,
               size_t text_bytes)
{
    uint64_t value = 0;
    switch (row->type) {
    case OPTION_LIST:
        return get_list(const_field(config, row), ret_text, text_bytes);
    case OPTION_TEXT:
    case OPTION_CHOICE:
        (void)str_copy(ret_text, text_bytes, *(char *const *)const_field(config, row));
        return 0;
    default:
        memcpy(&value, const_field(config, row), sizeof(value));
    }
    if (row->type == OPTION_SIZE) {
        str_format_size(value, ret_text, text_bytes);
    } else if (row->type == OPTION_DURATION) {
        str_format_duration((int64_t)value, ret_text, text_bytes);
    } else {
        (void)snprintf(ret_text, text_bytes, "%llu", (unsigned long long)value);
    }
    return 0;
}

/* ---- life ---- */

int config_init(struct config *config)
{
    *config = (struct config){0};
    for (const struct option_row *row = option_rows; row->path != NULL; row++) {
        if (row->value != NULL && config_set(config, row, row->value, NULL) != 0) {
            config_finish(config);
            return -ENOMEM;
        }
    }
    return 0;
}

void config_finish(struct config *config)
{
    for (const struct option_row *row = option_rows; row->path != NULL; row++) {
        if (row->type == OPTION_LIST) {
            config_clear_list(config, row);
        } else if (row->type == OPTION_TEXT || row->type == OPTION_CHOICE) {
            free(*(char **)field(config, row));
        }
    }
    config_clear_daemons(config);
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
