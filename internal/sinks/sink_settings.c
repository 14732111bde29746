/* Three tables, looked up one after the other; defaults of a type replace those of the common rows. */
#include "sinks/sink_settings.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "net/http_sender.h"
#include "sinks/sink_type.h"

#define COMMON(member) offsetof(struct sink_common, member)
#define HTTP(member) offsetof(struct sink_http, member)
#define KIB UINT64_C(1024)
#define SECOND_NS UINT64_C(1000000000)

const struct option_row sink_common_options[] = {
    {"include.container", OPTION_LIST, COMMON(include.container), NULL, NULL, 0, 0, NULL, true,
     "Globs; only lines of containers with a matching name are delivered."},
    {"include.label", OPTION_LIST, COMMON(include.label), NULL, NULL, 0, 0, NULL, true,
     "`key` or `key=glob`; only lines of containers with such a label are delivered."},
    {"include.stream", OPTION_LIST, COMMON(include.stream), NULL, NULL, 0, 0, NULL, true,
     "`stdout`, `stderr`; only lines of these streams are delivered."},
    {"exclude.container", OPTION_LIST, COMMON(exclude.container), NULL, NULL, 0, 0, NULL, true,
     "Globs; lines of containers with a matching name are not delivered."},
    {"exclude.label", OPTION_LIST, COMMON(exclude.label), NULL, NULL, 0, 0, NULL, true,
     "`key` or `key=glob`; lines of containers with such a label are not delivered."},
    {"exclude.stream", OPTION_LIST, COMMON(exclude.stream), NULL, NULL, 0, 0, NULL, true,
     "`stdout`, `stderr`; lines of these streams are not delivered."},
    {"start", OPTION_CHOICE, COMMON(start), "beginning", "beginning|now", 0, 0, NULL, true,
     "Where a sink begins that the spool sees for the first time."},
    {"batch_size", OPTION_SIZE, COMMON(batch_bytes), "1MiB", NULL, KIB, 64 * KIB *KIB, NULL, true,
     "Bytes of lines after which a batch is sent."},
    {"batch_lines", OPTION_COUNT, COMMON(batch_lines), "10000", NULL, 1, 1000000, NULL, true,
     "Lines after which a batch is sent."},
    {"batch_age", OPTION_DURATION, COMMON(batch_age_ns), "0", NULL, 0, 600 * SECOND_NS, NULL, true,
     "The longest that the first line of a batch waits for others."},
    {"concurrency", OPTION_COUNT, COMMON(concurrency), "1", NULL, 1, 64, NULL, true,
     "Batches under way at a time. Lines of one stream stay in order: they never travel in two "
     "batches at a time. Above 1, a sink that is changed or ended while its target fails repeats "
     "what its other batches delivered meanwhile."},
    {"retry_limit", OPTION_DURATION, COMMON(retry_limit_ns), "30s", NULL, SECOND_NS / 10,
     3600 * SECOND_NS, NULL, true,
     "The longest pause between two attempts. They begin at 250ms and double; there is no last "
     "one."},
    {.path = NULL}};

const struct option_row sink_http_options[] = {
    {"url", OPTION_TEXT, HTTP(url), "", NULL, 0, 0, NULL, true, "Where to; http or https."},
    {"timeout", OPTION_DURATION, HTTP(timeout_ns), "30s", NULL, SECOND_NS / 10, 3600 * SECOND_NS,
     NULL, true, "The longest that one request may take."},
    {"username", OPTION_TEXT, HTTP(username), "", NULL, 0, 0, NULL, true,
     "Basic authentication, with password_file."},
    {"password_file", OPTION_TEXT, HTTP(password_file), "", NULL, 0, 0, NULL, true,
     "File with the password, read for each request; refused when everybody may read it."},
    {"bearer_token_file", OPTION_TEXT, HTTP(bearer_token_file), "", NULL, 0, 0, NULL, true,
     "File with a bearer token, read for each request; refused when everybody may read it."},
    {"tls.ca", OPTION_TEXT, HTTP(ca), "", NULL, 0, 0, NULL, true,
     "Certificates that the server's is checked against; empty: the system's."},
    {"tls.cert", OPTION_TEXT, HTTP(cert), "", NULL, 0, 0, NULL, true, "Client certificate."},
    {"tls.key", OPTION_TEXT, HTTP(key), "", NULL, 0, 0, NULL, true, "Its key."},
    {"tls.insecure", OPTION_BOOL, HTTP(insecure), "false", NULL, 0, 0, NULL, true,
     "The server's certificate is not checked."},
    {.path = NULL}};

static bool is_name(const char *name)
{
    size_t size = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_");
    return size > 0 && size <= SINK_NAME_LIMIT && name[size] == '\0';
}

static int set_default(struct sink_settings *settings, const char *path, const char *value)
{
    const struct option_row *row = options_find(sink_common_options, path);
    return value == NULL ? 0 : option_set(&settings->common, row, value, NULL);
}

int sink_settings_create(const char *name, const struct sink_type *type,
                         struct sink_settings **ret_settings, struct error *error)
{
    if (!is_name(name)) {
        error_set(
            error,
            "sinks: '%.80s' is no name for a sink; letters, digits, '-' and '_' are, up to %d",
            name, SINK_NAME_LIMIT);
        return -EINVAL;
    }
    error_set(error, "out of memory");
    struct sink_settings *settings = calloc(1, sizeof(*settings));
    if (settings == NULL) {
        return -ENOMEM;
    }
    (void)str_copy(settings->name, sizeof(settings->name), name);
    settings->type = type;
    settings->options = calloc(1, type->options_bytes);
    int rc = settings->options == NULL ? -ENOMEM : options_init(settings->options, type->options);
    rc = rc != 0 ? rc : options_init(&settings->common, sink_common_options);
    rc = rc != 0 ? rc : options_init(&settings->http, sink_http_options);
    rc = rc != 0 ? rc : set_default(settings, "batch_size", type->defaults.batch_bytes);
    rc = rc != 0 ? rc : set_default(settings, "batch_age", type->defaults.batch_age);
    rc = rc != 0 ? rc : set_default(settings, "concurrency", type->defaults.concurrency);
    if (rc != 0) {
        sink_settings_destroy(settings);
        return rc;
    }
    *ret_settings = settings;
    return 0;
}

void sink_settings_destroy(struct sink_settings *settings)
{
    if (settings == NULL) {
        return;
    }
    if (settings->options != NULL) {
        options_finish(settings->options, settings->type->options);
        free(settings->options);
    }
    options_finish(&settings->common, sink_common_options);
    options_finish(&settings->http, sink_http_options);
    free(settings);
}

const struct option_row *sink_settings_find(struct sink_settings *settings, const char *path,
                                            void **ret_object)
{
    const struct option_row *row = options_find(settings->type->options, path);
    *ret_object = settings->options;
    if (row == NULL) {
        row = options_find(sink_common_options, path);
        *ret_object = &settings->common;
    }
    if (row == NULL && settings->type->uses_http) {
        row = options_find(sink_http_options, path);
        *ret_object = &settings->http;
    }
    return row;
}

bool sink_settings_have_section(const struct sink_settings *settings, const char *path)
{
    return options_have_section(settings->type->options, path) ||
           options_have_section(sink_common_options, path) ||
           (settings->type->uses_http && options_have_section(sink_http_options, path));
}

static unsigned nearest(const struct option_row *rows, const char *path, unsigned best,
                        const char **near)
{
    for (const struct option_row *row = rows; row->path != NULL; row++) {
        unsigned distance = str_distance(row->path, path);
        if (distance < best) {
            best = distance;
            *near = row->path;
        }
    }
    return best;
}

bool sink_settings_suggest(const struct sink_settings *settings, const char *path, char *ret_path,
                           size_t path_bytes)
{
    const char *near = NULL;
    unsigned best = nearest(settings->type->options, path, 4, &near);
    best = nearest(sink_common_options, path, best, &near);
    if (settings->type->uses_http) {
        (void)nearest(sink_http_options, path, best, &near);
    }
    if (near != NULL) {
        (void)str_copy(ret_path, path_bytes, near);
    }
    return near != NULL;
}

static int check_streams(const struct text_list *list, struct error *error)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->items[i], "stdout") != 0 && strcmp(list->items[i], "stderr") != 0) {
            error_set(error, "stream: '%.80s' is neither stdout nor stderr", list->items[i]);
            return -EINVAL;
        }
    }
    return 0;
}

int sink_settings_check(const struct sink_settings *settings, struct error *error)
{
    int rc = check_streams(&settings->common.include.stream, error);
    rc = rc != 0 ? rc : check_streams(&settings->common.exclude.stream, error);
    if (rc == 0 && settings->type->uses_http) {
        struct http_sender_options http;
        sink_settings_http(settings, &http);
        rc = http_sender_check(&http, error);
    }
    if (rc == 0 && settings->type->one_batch && settings->common.concurrency != 1) {
        error_set(error, "concurrency: a %s sink writes one batch after the other; leave it at 1",
                  settings->type->name);
        rc = -EINVAL;
    }
    if (rc == 0 && settings->type->check != NULL) {
        rc = settings->type->check(settings, error);
    }
    if (rc != 0) {
        error_prefix(error, "sinks.%s", settings->name);
    }
    return rc;
}

int sink_settings_check_pair(const struct sink_settings *settings,
                             const struct sink_settings *other, struct error *error)
{
    const struct sink_type *type = settings->type;
    int rc = type == other->type && type->check_pair != NULL
                 ? type->check_pair(settings, other, error)
                 : 0;
    if (rc != 0) {
        error_prefix(error, "sinks.%s", settings->name);
    }
    return rc;
}

bool sink_settings_equal(const struct sink_settings *a, const struct sink_settings *b)
{
    return a->type == b->type && strcmp(a->name, b->name) == 0 &&
           options_equal(&a->common, &b->common, sink_common_options) &&
           options_equal(&a->http, &b->http, sink_http_options) &&
           options_equal(a->options, b->options, a->type->options);
}

void sink_settings_http(const struct sink_settings *settings,
                        struct http_sender_options *ret_options)
{
    const struct sink_http *http = &settings->http;
    *ret_options = (struct http_sender_options){.url = http->url,
                                                .username = http->username,
                                                .password_file = http->password_file,
                                                .bearer_token_file = http->bearer_token_file,
                                                .ca = http->ca,
                                                .cert = http->cert,
                                                .key = http->key,
                                                .insecure = http->insecure,
                                                .timeout_ns = http->timeout_ns};
}
