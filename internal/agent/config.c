/*
 * The YAML document is walked node by node; each mapping key extends a dotted path, which is looked
 * up in the option rows. libyaml's marks give line and column.
 */
#include "agent/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/buf.h"
#include "base/str.h"
#include "net/endpoint.h"
#include "sinks/sink_type.h"
#include "sinks/stdout_sink.h"

#define FILE_LIMIT_BYTES (1024U * 1024U)
#define PATH_LIMIT_BYTES 128
#define DEFAULT_URL "unix:///var/run/docker.sock"

struct reader {
    struct config *config;
    struct config_errors *errors;
    const char *name; /* of the file */
    yaml_document_t document;
};

static struct error *next_error(struct config_errors *errors)
{
    size_t index = errors->count++;
    return &errors->errors[index < CONFIG_ERROR_LIMIT ? index : CONFIG_ERROR_LIMIT];
}

static struct error *error_at(struct reader *reader, const yaml_node_t *node)
{
    struct error *error = next_error(reader->errors);
    error_set(error, "%s:%zu:%zu", reader->name, node->start_mark.line + 1,
              node->start_mark.column + 1);
    return error;
}

static void complain(struct reader *reader, const yaml_node_t *node, const char *text)
{
    struct error *error = error_at(reader, node);
    struct error place = *error;
    error_set(error, "%s", text);
    error_prefix(error, "%.200s", place.text);
}

/* ---- scalars ---- */

static const char *scalar(const yaml_node_t *node)
{
    return node != NULL && node->type == YAML_SCALAR_NODE ? (const char *)node->data.scalar.value
                                                          : NULL;
}

static void unknown_key(struct reader *reader, const yaml_node_t *key, const char *path)
{
    struct error text;
    char suggestion[PATH_LIMIT_BYTES];
    if (option_suggest(path, suggestion, sizeof(suggestion))) {
        error_set(&text, "unknown key '%s'; did you mean '%s'?", path, suggestion);
    } else {
        error_set(&text, "unknown key '%s'; `log_capturer options` lists all", path);
    }
    complain(reader, key, text.text);
}

static void set_value(struct reader *reader, void *object, const struct option_row *row,
                      const yaml_node_t *value)
{
    struct error text;
    const char *word = scalar(value);
    if (word == NULL) {
        error_set(&text, "%s: one value is expected here", row->path);
        complain(reader, value, text.text);
    } else if (option_set(object, row, word, &text) != 0) {
        complain(reader, value, text.text);
    }
}

static void set_list(struct reader *reader, void *object, const struct option_row *row,
                     const yaml_node_t *value)
{
    option_clear_list(object, row);
    for (yaml_node_item_t *item = value->data.sequence.items.start;
         item < value->data.sequence.items.top; item++) {
        const yaml_node_t *node = yaml_document_get_node(&reader->document, *item);
        const char *word = scalar(node);
        if (word == NULL || word[0] == '\0') {
            complain(reader, node == NULL ? value : node, "a pattern is expected here");
        } else if (option_add(object, row, word) != 0) {
            complain(reader, node, "out of memory");
        }
    }
}

static void set_option(struct reader *reader, void *object, const struct option_row *row,
                       const yaml_node_t *value)
{
    if (row->type == OPTION_LIST && value->type == YAML_SEQUENCE_NODE) {
        set_list(reader, object, row, value);
    } else {
        set_value(reader, object, row, value);
    }
}

static bool is_repeated(struct reader *reader, const yaml_node_t *mapping,
                        const yaml_node_pair_t *pair)
{
    const char *word = scalar(yaml_document_get_node(&reader->document, pair->key));
    for (yaml_node_pair_t *other = mapping->data.mapping.pairs.start; other < pair; other++) {
        const char *earlier = scalar(yaml_document_get_node(&reader->document, other->key));
        if (word != NULL && earlier != NULL && strcmp(word, earlier) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- daemons ---- */

struct daemon_row {
    const char *path;
    size_t offset;
};

static const struct daemon_row daemon_rows[] = {
    {"name", offsetof(struct config_daemon, name)},
    {"url", offsetof(struct config_daemon, url)},
    {"tls.ca", offsetof(struct config_daemon, ca)},
    {"tls.cert", offsetof(struct config_daemon, cert)},
    {"tls.key", offsetof(struct config_daemon, key)},
};

static void set_daemon_value(struct reader *reader, struct config_daemon *daemon, const char *path,
                             const yaml_node_t *key, const yaml_node_t *value)
{
    const char *word = scalar(value);
    if (strcmp(path, "tls.insecure") == 0 && word != NULL) {
        daemon->insecure = strcmp(word, "true") == 0;
        if (!daemon->insecure && strcmp(word, "false") != 0) {
            complain(reader, value, "docker.tls.insecure: true or false is expected");
        }
        return;
    }
    for (size_t i = 0; i < sizeof(daemon_rows) / sizeof(daemon_rows[0]); i++) {
        if (strcmp(daemon_rows[i].path, path) == 0 && word != NULL) {
            char **at = (char **)(void *)((char *)daemon + daemon_rows[i].offset);
            free(*at);
            *at = word[0] == '\0' ? NULL : strdup(word);
            if (*at == NULL && word[0] != '\0') {
                complain(reader, value, "out of memory");
            }
            return;
        }
    }
    struct error text;
    error_set(&text,
              "unknown key 'docker.%s'; a daemon has name, url and tls with ca, cert, key, "
              "insecure",
              path);
    complain(reader, key, text.text);
}

static void read_daemon(struct reader *reader, struct config_daemon *daemon, const char *prefix,
                        const yaml_node_t *mapping)
{
    for (yaml_node_pair_t *pair = mapping->data.mapping.pairs.start;
         pair < mapping->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = yaml_document_get_node(&reader->document, pair->key);
        const yaml_node_t *value = yaml_document_get_node(&reader->document, pair->value);
        const char *word = scalar(key);
        char path[PATH_LIMIT_BYTES];
        if (word == NULL || value == NULL || is_repeated(reader, mapping, pair)) {
            complain(reader, key == NULL ? mapping : key,
                     word == NULL ? "a key is expected here" : "this key is there twice");
            continue;
        }
        (void)snprintf(path, sizeof(path), "%s%s", prefix, word);
        if (strcmp(path, "tls") == 0 && value->type == YAML_MAPPING_NODE) {
            read_daemon(reader, daemon, "tls.", value);
        } else {
            set_daemon_value(reader, daemon, path, key, value);
        }
    }
}

static int check_daemon(const struct config_daemon *daemon, struct error *error)
{
    struct endpoint endpoint;
    struct endpoint_tls tls = {.insecure = daemon->insecure};
    if (daemon->name == NULL || daemon->url == NULL) {
        error_set(error, "docker: a daemon needs a name and a url");
        return -EINVAL;
    }
    if ((daemon->cert == NULL) != (daemon->key == NULL)) {
        error_set(error, "docker %s: tls.cert and tls.key belong together; one of them is missing",
                  daemon->name);
        return -EINVAL;
    }
    (void)str_copy(tls.ca, sizeof(tls.ca), daemon->ca != NULL ? daemon->ca : "");
    (void)str_copy(tls.cert, sizeof(tls.cert), daemon->cert != NULL ? daemon->cert : "");
    int rc = endpoint_parse(daemon->url, &tls, &endpoint, error);
    if (rc != 0) {
        error_prefix(error, "docker %s", daemon->name);
    }
    return rc;
}

static void read_daemons(struct reader *reader, const yaml_node_t *value)
{
    if (value->type != YAML_SEQUENCE_NODE) {
        complain(reader, value,
                 "docker: a list of daemons is expected, as in [{name: local, url: "
                 "\"" DEFAULT_URL "\"}]");
        return;
    }
    for (yaml_node_item_t *item = value->data.sequence.items.start;
         item < value->data.sequence.items.top; item++) {
        const yaml_node_t *node = yaml_document_get_node(&reader->document, *item);
        struct config_daemon *daemon = node != NULL && node->type == YAML_MAPPING_NODE
                                           ? config_add_daemon(reader->config)
                                           : NULL;
        if (daemon == NULL) {
            complain(reader, node == NULL ? value : node,
                     "docker: each daemon is written as {name: ..., url: ...}");
            continue;
        }
        read_daemon(reader, daemon, "", node);
        struct error text;
        if (check_daemon(daemon, &text) != 0) {
            complain(reader, node, text.text);
        }
    }
}

/* ---- sinks ---- */

static void unknown_sink_option(struct reader *reader, const struct sink_settings *settings,
                                const yaml_node_t *key, const char *path)
{
    struct error text;
    char near[PATH_LIMIT_BYTES];
    bool any = sink_settings_suggest(settings, path, near, sizeof(near));
    error_set(&text, "sinks.%s: a %s sink has no option '%s'%s%s%s", settings->name,
              settings->type->name, path, any ? "; did you mean '" : "", any ? near : "",
              any ? "'?" : "; `log_capturer options` lists all");
    complain(reader, key, text.text);
}

/* As deep as the deepest option, so the recursion is bounded by the tables. */
static void read_sink_options(struct reader *reader, struct sink_settings *settings,
                              const char *prefix, const yaml_node_t *mapping)
{
    for (yaml_node_pair_t *pair = mapping->data.mapping.pairs.start;
         pair < mapping->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = yaml_document_get_node(&reader->document, pair->key);
        const yaml_node_t *value = yaml_document_get_node(&reader->document, pair->value);
        const char *word = scalar(key);
        char path[PATH_LIMIT_BYTES];
        if (word == NULL || value == NULL || is_repeated(reader, mapping, pair)) {
            complain(reader, key == NULL ? mapping : key,
                     word == NULL ? "a key is expected here" : "this key is there twice");
            continue;
        }
        (void)snprintf(path, sizeof(path), "%s%s", prefix, word);
        void *object;
        const struct option_row *row = sink_settings_find(settings, path, &object);
        if (row != NULL) {
            set_option(reader, object, row, value);
        } else if (sink_settings_have_section(settings, path) && value->type == YAML_MAPPING_NODE) {
            (void)snprintf(path, sizeof(path), "%s%s.", prefix, word);
            read_sink_options(reader, settings, path, value);
        } else if (strcmp(path, "type") != 0) {
            unknown_sink_option(reader, settings, key, path);
        }
    }
}

static void list_sink_types(char *ret_text, size_t text_bytes)
{
    size_t used = 0;
    ret_text[0] = '\0';
    for (size_t i = 0; sink_types[i] != NULL && used < text_bytes; i++) {
        used += (size_t)snprintf(ret_text + used, text_bytes - used, "%s%s", i > 0 ? ", " : "",
                                 sink_types[i]->name);
    }
}

/* A sink of this type, put into the configuration; NULL with the reason. */
static struct sink_settings *make_sink(struct config *config, const char *name,
                                       const char *type_name, struct error *error)
{
    const struct sink_type *type = sink_type_find(type_name);
    struct sink_settings *settings;
    if (type == NULL) {
        char types[256];
        list_sink_types(types, sizeof(types));
        error_set(error, "sinks.%.80s: type '%.80s' is none of %s", name, type_name, types);
        return NULL;
    }
    if (sink_settings_create(name, type, &settings, error) != 0) {
        return NULL;
    }
    if (config_add_sink(config, settings) != 0) {
        error_set(error, "out of memory");
        return NULL;
    }
    return settings;
}

static void read_sink(struct reader *reader, const char *name, const yaml_node_t *key,
                      const yaml_node_t *mapping)
{
    struct error text;
    const char *type = NULL;
    for (yaml_node_pair_t *pair = mapping->data.mapping.pairs.start;
         mapping->type == YAML_MAPPING_NODE && pair < mapping->data.mapping.pairs.top; pair++) {
        const char *word = scalar(yaml_document_get_node(&reader->document, pair->key));
        if (word != NULL && strcmp(word, "type") == 0) {
            type = scalar(yaml_document_get_node(&reader->document, pair->value));
        }
    }
    if (type == NULL) {
        char types[256];
        list_sink_types(types, sizeof(types));
        error_set(&text, "sinks.%.80s: a sink is written as {type: ..., ...}; types are %s", name,
                  types);
        complain(reader, key, text.text);
        return;
    }
    struct sink_settings *settings = make_sink(reader->config, name, type, &text);
    if (settings == NULL) {
        complain(reader, key, text.text);
        return;
    }
    size_t errors = reader->errors->count;
    read_sink_options(reader, settings, "", mapping);
    if (reader->errors->count == errors && sink_settings_check(settings, &text) != 0) {
        complain(reader, key, text.text);
    }
}

static void read_sinks(struct reader *reader, const yaml_node_t *value)
{
    bool empty = value->type == YAML_SCALAR_NODE && scalar(value)[0] == '\0';
    if (value->type != YAML_MAPPING_NODE) {
        if (!empty) {
            complain(reader, value, "sinks: names with their options are expected below it");
        }
        return;
    }
    for (yaml_node_pair_t *pair = value->data.mapping.pairs.start;
         pair < value->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = yaml_document_get_node(&reader->document, pair->key);
        const yaml_node_t *mapping = yaml_document_get_node(&reader->document, pair->value);
        if (scalar(key) == NULL || mapping == NULL || is_repeated(reader, value, pair)) {
            complain(reader, key == NULL ? value : key,
                     scalar(key) == NULL ? "a name is expected here" : "this name is there twice");
        } else {
            read_sink(reader, scalar(key), key, mapping);
        }
    }
}

/* ---- mappings ---- */

static void read_mapping(struct reader *reader, const char *prefix, const yaml_node_t *mapping);

static void read_pair(struct reader *reader, const char *path, const yaml_node_t *key,
                      const yaml_node_t *value)
{
    const struct option_row *row = option_find(path);
    if (strcmp(path, "docker") == 0) {
        read_daemons(reader, value);
    } else if (strcmp(path, "sinks") == 0) {
        read_sinks(reader, value);
    } else if (row != NULL) {
        set_option(reader, reader->config, row, value);
    } else if (!options_have_section(option_rows, path)) {
        unknown_key(reader, key, path);
    } else if (value->type == YAML_MAPPING_NODE) {
        read_mapping(reader, path, value);
    } else if (value->type != YAML_SCALAR_NODE || scalar(value)[0] != '\0') {
        struct error text;
        error_set(&text, "%s: keys are expected below it", path);
        complain(reader, value, text.text);
    }
}

/* As deep as the deepest option, so the recursion is bounded by the table. */
static void read_mapping(struct reader *reader, const char *prefix, const yaml_node_t *mapping)
{
    for (yaml_node_pair_t *pair = mapping->data.mapping.pairs.start;
         pair < mapping->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = yaml_document_get_node(&reader->document, pair->key);
        const yaml_node_t *value = yaml_document_get_node(&reader->document, pair->value);
        const char *word = scalar(key);
        char path[PATH_LIMIT_BYTES];
        if (word == NULL || value == NULL) {
            complain(reader, mapping, "a key is expected here");
        } else if (is_repeated(reader, mapping, pair)) {
            complain(reader, key, "this key is there twice");
        } else {
            (void)snprintf(path, sizeof(path), "%s%s%s", prefix, prefix[0] != '\0' ? "." : "",
                           word);
            read_pair(reader, path, key, value);
        }
    }
}

void config_read_yaml(struct config *config, const char *name, const char *text, size_t size,
                      struct config_errors *errors)
{
    struct reader reader = {.config = config, .errors = errors, .name = name};
    yaml_parser_t parser;
    if (yaml_parser_initialize(&parser) == 0) {
        error_set(next_error(errors), "out of memory");
        return;
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    if (yaml_parser_load(&parser, &reader.document) == 0) {
        error_set(next_error(errors), "%s:%zu:%zu: %s", name, parser.problem_mark.line + 1,
                  parser.problem_mark.column + 1,
                  parser.problem != NULL ? parser.problem : "not YAML");
        yaml_parser_delete(&parser);
        return;
    }
    const yaml_node_t *root = yaml_document_get_root_node(&reader.document);
    if (root != NULL && root->type == YAML_MAPPING_NODE) {
        read_mapping(&reader, "", root);
    } else if (root != NULL && (root->type != YAML_SCALAR_NODE || scalar(root)[0] != '\0')) {
        complain(&reader, root, "the file must hold keys and values");
    }
    yaml_document_delete(&reader.document);
    yaml_parser_delete(&parser);
}

/* ---- sources ---- */

static int read_file(const char *path, struct buf *text, struct error *error)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        error_set(error, "%s: %s", path, strerror(errno));
        return -EINVAL;
    }
    int rc = 0;
    char block[4096];
    for (size_t n; rc == 0 && (n = fread(block, 1, sizeof(block), file)) > 0;) {
        rc = buf_append(text, block, n);
    }
    if (rc != 0 || ferror(file) != 0) {
        error_set(error, "%s: %s", path,
                  rc == -E2BIG ? "longer than 1 MiB" : "can't be read as a file");
        rc = -EINVAL;
    }
    (void)fclose(file);
    return rc;
}

static void read_config_file(struct config *config, const char *path, struct config_errors *errors)
{
    struct buf text;
    struct error error;
    buf_init(&text, FILE_LIMIT_BYTES);
    if (read_file(path, &text, &error) != 0) {
        *next_error(errors) = error;
    } else {
        config_read_yaml(config, path, text.data != NULL ? text.data : "", text.size, errors);
    }
    buf_finish(&text);
}

static const char *env_get(const char *const *environment, const char *name)
{
    size_t size = strlen(name);
    for (; environment != NULL && *environment != NULL; environment++) {
        if (strncmp(*environment, name, size) == 0 && (*environment)[size] == '=') {
            return *environment + size + 1;
        }
    }
    return NULL;
}

static const struct option_row *find_env_row(const char *name, size_t size)
{
    for (const struct option_row *row = option_rows; row->path != NULL; row++) {
        char known[PATH_LIMIT_BYTES];
        option_env_name(row, known, sizeof(known));
        if (strlen(known) == size && strncmp(known, name, size) == 0) {
            return row;
        }
    }
    return NULL;
}

static void read_environment(struct config *config, const char *const *environment,
                             struct config_errors *errors)
{
    for (; environment != NULL && *environment != NULL; environment++) {
        const char *entry = *environment;
        size_t size = strcspn(entry, "=");
        if (!str_starts_with(entry, "LOG_CAPTURER_") || entry[size] != '=' ||
            str_starts_with(entry, "LOG_CAPTURER_CONFIG=")) {
            continue;
        }
        const struct option_row *row = find_env_row(entry, size);
        struct error text;
        if (row == NULL) {
            error_set(next_error(errors),
                      "environment: %.*s names no option; `log_capturer options` lists all",
                      (int)size, entry);
        } else if (option_set(config, row, entry + size + 1, &text) != 0) {
            error_prefix(&text, "environment: %.*s", (int)size, entry);
            *next_error(errors) = text;
        }
    }
}

static int add_daemon(struct config *config, const char *name, const char *url)
{
    struct config_daemon *daemon = config_add_daemon(config);
    if (daemon == NULL) {
        return -ENOMEM;
    }
    daemon->name = strdup(name);
    daemon->url = strdup(url);
    return daemon->name == NULL || daemon->url == NULL ? -ENOMEM : 0;
}

static char *join_path(const char *folder, const char *file)
{
    char *path = NULL;
    return asprintf(&path, "%s/%s", folder, file) < 0 ? NULL : path;
}

/* What the docker CLI reads: DOCKER_HOST, DOCKER_TLS_VERIFY, DOCKER_CERT_PATH. */
static int apply_docker_environment(struct config *config, const char *const *environment)
{
    const char *certs = env_get(environment, "DOCKER_CERT_PATH");
    const char *verify = env_get(environment, "DOCKER_TLS_VERIFY");
    struct config_daemon *daemon = &config->daemons[config->daemon_count - 1];
    if (certs == NULL || certs[0] == '\0' || str_starts_with(daemon->url, "unix:")) {
        return 0;
    }
    daemon->ca = join_path(certs, "ca.pem");
    daemon->cert = join_path(certs, "cert.pem");
    daemon->key = join_path(certs, "key.pem");
    daemon->insecure = verify == NULL || verify[0] == '\0';
    return daemon->ca == NULL || daemon->cert == NULL || daemon->key == NULL ? -ENOMEM : 0;
}

/* A daemon of the command line or the environment; the first is named local. */
static void add_checked(struct config *config, const char *url,
                        const struct config_sources *sources, struct config_errors *errors)
{
    struct error text;
    char name[32] = "local";
    if (config->daemon_count > 0) {
        (void)snprintf(name, sizeof(name), "docker%zu", config->daemon_count + 1);
    }
    if (add_daemon(config, name, url) != 0 ||
        apply_docker_environment(config, sources->environment) != 0) {
        error_set(next_error(errors), "out of memory");
    } else if (check_daemon(&config->daemons[config->daemon_count - 1], &text) != 0) {
        *next_error(errors) = text;
    }
}

/* sinks.NAME.OPTION=VALUE; the sink is made by its type. */
static int set_sink_option(struct config *config, const struct config_flag *flag,
                           struct error *error)
{
    char name[SINK_NAME_LIMIT + 2];
    const char *begin = flag->path + strlen("sinks.");
    const char *dot = strchr(begin, '.');
    if (dot == NULL) {
        error_set(error, "'%s': sinks.NAME.OPTION is expected", flag->path);
        return -EINVAL;
    }
    (void)snprintf(name, sizeof(name), "%.*s", (int)(dot - begin), begin);
    struct sink_settings *settings = config_find_sink(config, name);
    if (settings == NULL) {
        if (strcmp(dot, ".type") != 0) {
            error_set(error, "'%s': there is no sink '%s'; set sinks.%s.type first", flag->path,
                      name, name);
            return -EINVAL;
        }
        return make_sink(config, name, flag->value, error) == NULL ? -EINVAL : 0;
    }
    void *object;
    const struct option_row *row = sink_settings_find(settings, dot + 1, &object);
    if (row == NULL) {
        error_set(error, "a %s sink has no option '%s'", settings->type->name, dot + 1);
        return -EINVAL;
    }
    return option_set(object, row, flag->value, error);
}

static void read_flags(struct config *config, const struct config_sources *sources,
                       struct config_errors *errors)
{
    bool replaced = false;
    for (size_t i = 0; i < sources->flag_count; i++) {
        const struct config_flag *flag = &sources->flags[i];
        const struct option_row *row = option_find(flag->path);
        struct error text;
        if (strcmp(flag->path, "docker") == 0) {
            if (!replaced) {
                config_clear_daemons(config);
                replaced = true;
            }
            add_checked(config, flag->value, sources, errors);
        } else if (str_starts_with(flag->path, "sinks.")) {
            if (set_sink_option(config, flag, &text) != 0) {
                error_prefix(&text, "--set");
                *next_error(errors) = text;
            }
        } else if (row == NULL) {
            char near[PATH_LIMIT_BYTES] = "";
            bool any = option_suggest(flag->path, near, sizeof(near));
            error_set(next_error(errors), "--set: unknown option '%s'%s%s%s", flag->path,
                      any ? "; did you mean '" : "", near, any ? "'?" : "");
        } else if (option_set(config, row, flag->value, &text) != 0) {
            error_prefix(&text, "command line");
            *next_error(errors) = text;
        }
    }
}

/* ---- checks of the whole ---- */

static void check_sinks(const struct config *config, struct config_errors *errors)
{
    struct error text;
    for (size_t i = 0; i < config->sink_count; i++) {
        if (sink_settings_check(config->sinks[i], &text) != 0) {
            *next_error(errors) = text;
            return;
        }
        for (size_t k = 0; k < i; k++) {
            if (sink_settings_check_pair(config->sinks[i], config->sinks[k], &text) != 0) {
                *next_error(errors) = text;
                return;
            }
        }
    }
}

static void check_whole(const struct config *config, struct config_errors *errors)
{
    for (size_t i = 0; i < config->daemon_count; i++) {
        for (size_t j = 0; j < i; j++) {
            const char *name = config->daemons[i].name;
            const char *other = config->daemons[j].name;
            if (name != NULL && other != NULL && strcmp(name, other) == 0) {
                error_set(next_error(errors), "docker: two daemons are named '%s'", name);
            }
        }
    }
    if (errors->count == 0) {
        check_sinks(config, errors);
    }
    if (strcmp(config->mode, "file") == 0) {
        error_set(next_error(errors), "capture.mode: this version reads the daemon's log API only; "
                                      "use api or auto");
    }
}

/* output.format is a stdout sink, where none is configured. */
static void add_output(struct config *config, struct config_errors *errors)
{
    struct error text;
    void *object;
    for (size_t i = 0; i < config->sink_count; i++) {
        if (config->sinks[i]->type == &stdout_sink) {
            return;
        }
    }
    if (strcmp(config->output, "none") == 0) {
        return;
    }
    if (config_find_sink(config, "stdout") != NULL) {
        error_set(next_error(errors),
                  "sinks.stdout: this is the name of the one that output.format "
                  "makes; choose another, or set output.format to none");
        return;
    }
    struct sink_settings *settings = make_sink(config, "stdout", "stdout", &text);
    const struct option_row *row = settings == NULL
                                       ? NULL
                                       : sink_settings_find(settings, "format", &object);
    if (row == NULL || option_set(object, row, config->output, &text) != 0) {
        *next_error(errors) = text;
    }
}

int config_load(const struct config_sources *sources, struct config *ret_config,
                struct config_errors *errors)
{
    struct config config;
    errors->count = 0;
    if (config_init(&config) != 0) {
        error_set(next_error(errors), "out of memory");
        return -EINVAL;
    }
    if (sources->file != NULL) {
        read_config_file(&config, sources->file, errors);
    }
    read_environment(&config, sources->environment, errors);
    read_flags(&config, sources, errors);
    if (config.daemon_count == 0) {
        const char *host = env_get(sources->environment, "DOCKER_HOST");
        const char *url = host != NULL && host[0] != '\0' ? host : DEFAULT_URL;
        add_checked(&config, url, sources, errors);
    }
    add_output(&config, errors);
    check_whole(&config, errors);
    if (errors->count > 0) {
        config_finish(&config);
        return -EINVAL;
    }
    *ret_config = config;
    return 0;
}
