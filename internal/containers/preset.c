/*
 * The file is read as a tree and each key is looked at: one that is not known is refused with the key that
 * is most like it, so that a slip of the pen does not become a default.
 */
#include "containers/preset.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/str.h"
#include "base/timestamp.h"
#include "base/yaml.h"

#define FILE_LIMIT_BYTES ((size_t)1024 * 1024)
#define STARTUP_TIMEOUT_NS (30 * NS_PER_SECOND)

/* ---- values ---- */

/* The text of a scalar; numbers and words are text here as well. */
static const char *scalar_text(const struct json *value, char *storage, size_t storage_bytes)
{
    const char *text = json_string(value);
    if (text != NULL || json_is_object(value) || json_is_array(value)) {
        return text;
    }
    (void)snprintf(storage, storage_bytes, "%lld", (long long)json_int(value));
    return storage;
}

static int append_text(struct text_list *list, const char *text)
{
    char **items = realloc(list->items, (list->count + 2) * sizeof(char *));
    if (items == NULL) {
        return -ENOMEM;
    }
    list->items = items;
    items[list->count] = strdup(text);
    if (items[list->count] == NULL) {
        return -ENOMEM;
    }
    items[++list->count] = NULL;
    return 0;
}

static int refuse(struct error *error, const char *key, const char *what)
{
    error_set(error, "%s: %s", key, what);
    return -EINVAL;
}

static int take_list(const struct json *value, const char *key, struct text_list *list,
                     struct error *error)
{
    if (!json_is_array(value)) {
        return refuse(error, key, "a list is expected, as in [one, two]");
    }
    int rc = 0;
    for (const struct json *item = json_first(value); rc == 0 && item != NULL;
         item = json_next(item)) {
        char storage[32];
        const char *text = scalar_text(item, storage, sizeof(storage));
        rc = text == NULL ? refuse(error, key, "its items must be text") : append_text(list, text);
    }
    return rc;
}

static int take_text(const struct json *value, const char *key, char **ret_text,
                     struct error *error)
{
    char storage[32];
    const char *text = scalar_text(value, storage, sizeof(storage));
    if (text == NULL || text[0] == '\0') {
        return refuse(error, key, "a text is expected");
    }
    free(*ret_text);
    *ret_text = strdup(text);
    return *ret_text == NULL ? -ENOMEM : 0;
}

static int take_port(const struct json *value, const char *key, uint16_t *ret_port,
                     struct error *error)
{
    char storage[32];
    uint64_t port;
    const char *text = scalar_text(value, storage, sizeof(storage));
    if (text == NULL || str_parse_u64(text, &port) != 0 || port == 0 || port > 65535) {
        return refuse(error, key, "a port is expected, from 1 to 65535");
    }
    *ret_port = (uint16_t)port;
    return 0;
}

/* ---- keys ---- */

static int take_image(struct preset *preset, const struct json *value, struct error *error)
{
    return take_text(value, "image", &preset->image, error);
}

static int take_command(struct preset *preset, const struct json *value, struct error *error)
{
    return take_list(value, "command", &preset->command, error);
}

static int take_environment(struct preset *preset, const struct json *value, struct error *error)
{
    int rc = take_list(value, "environment", &preset->environment, error);
    for (size_t i = 0; rc == 0 && i < preset->environment.count; i++) {
        if (strchr(preset->environment.items[i], '=') == NULL) {
            rc = refuse(error, "environment", "its items read NAME=VALUE");
        }
    }
    return rc;
}

static int take_ports(struct preset *preset, const struct json *value, struct error *error)
{
    if (!json_is_array(value)) {
        return refuse(error, "ports", "a list is expected, as in [9092, 9644]");
    }
    int rc = 0;
    for (const struct json *item = json_first(value); rc == 0 && item != NULL;
         item = json_next(item)) {
        if (preset->port_count == PRESET_PORTS_LIMIT) {
            return refuse(error, "ports", "too many");
        }
        rc = take_port(item, "ports", &preset->ports[preset->port_count++], error);
    }
    return rc;
}

static int take_memory(struct preset *preset, const struct json *value, struct error *error)
{
    char storage[32];
    const char *text = scalar_text(value, storage, sizeof(storage));
    return text != NULL && str_parse_size(text, &preset->memory_bytes) == 0
               ? 0
               : refuse(error, "memory", "a size is expected, such as 256MiB");
}

static int take_startup_timeout(struct preset *preset, const struct json *value,
                                struct error *error)
{
    char storage[32];
    const char *text = scalar_text(value, storage, sizeof(storage));
    return text != NULL && str_parse_duration(text, &preset->startup_timeout_ns) == 0 &&
                   preset->startup_timeout_ns > 0
               ? 0
               : refuse(error, "startup_timeout", "a duration is expected, such as 30s");
}

static int take_network(struct preset *preset, const struct json *value, struct error *error)
{
    (void)error;
    preset->network = json_bool(value);
    return 0;
}

/* A member of `ready` or `reset`: port, send, expect. 1: it is none of them. */
static int take_talk(const struct json *member, const char *name, struct preset_talk *talk,
                     struct error *error)
{
    const char *key = json_name(member) != NULL ? json_name(member) : "";
    char path[48];
    (void)snprintf(path, sizeof(path), "%s.%.20s", name, key);
    if (strcmp(key, "port") == 0) {
        return take_port(member, path, &talk->port, error);
    }
    if (strcmp(key, "send") == 0) {
        return take_text(member, path, &talk->send, error);
    }
    return strcmp(key, "expect") == 0 ? take_text(member, path, &talk->expect, error) : 1;
}

static int take_ready_member(struct preset *preset, const struct json *member, struct error *error)
{
    const char *key = json_name(member) != NULL ? json_name(member) : "";
    int rc = take_talk(member, "ready", &preset->ready_talk, error);
    if (rc != 1) {
        return rc;
    }
    if (strcmp(key, "log") == 0) {
        preset->ready = PRESET_READY_LOG;
        return take_text(member, "ready.log", &preset->ready_text, error);
    }
    if (strcmp(key, "http") == 0) {
        preset->ready = PRESET_READY_HTTP;
        return take_text(member, "ready.http", &preset->ready_text, error);
    }
    if (strcmp(key, "exec") == 0) {
        preset->ready = PRESET_READY_EXEC;
        return take_list(member, "ready.exec", &preset->ready_command, error);
    }
    return refuse(error, "ready", "there are port (with send and expect), log, http and exec");
}

static int take_ready(struct preset *preset, const struct json *value, struct error *error)
{
    int rc = 0;
    if (!json_is_object(value) || json_first(value) == NULL) {
        return refuse(error, "ready",
                      "one of {port: PORT}, {log: TEXT}, {http: PATH, port: PORT} and "
                      "{exec: [WORD, ...]} is expected");
    }
    for (const struct json *member = json_first(value); rc == 0 && member != NULL;
         member = json_next(member)) {
        rc = take_ready_member(preset, member, error);
    }
    return rc;
}

static int take_reset_members(struct preset *preset, const struct json *value, struct error *error)
{
    int rc = 0;
    preset->reset = PRESET_RESET_SEND;
    for (const struct json *member = json_first(value); rc == 0 && member != NULL;
         member = json_next(member)) {
        rc = take_talk(member, "reset", &preset->reset_talk, error);
        if (rc == 1 && json_name(member) != NULL && strcmp(json_name(member), "exec") == 0) {
            preset->reset = PRESET_RESET_EXEC;
            rc = take_list(member, "reset.exec", &preset->reset_command, error);
        }
    }
    return rc == 1 ? refuse(error, "reset", "there are send (with expect and port) and exec") : rc;
}

static int take_reset(struct preset *preset, const struct json *value, struct error *error)
{
    static const struct {
        const char *word;
        enum preset_reset reset;
    } words[] = {{"none", PRESET_RESET_NONE},
                 {"restart", PRESET_RESET_RESTART},
                 {"replace", PRESET_RESET_REPLACE}};
    const char *word = json_string(value);
    if (json_is_object(value)) {
        return take_reset_members(preset, value, error);
    }
    for (size_t i = 0; word != NULL && i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(word, words[i].word) == 0) {
            preset->reset = words[i].reset;
            return 0;
        }
    }
    return refuse(error, "reset",
                  "there are none, restart, replace, {send: TEXT, expect: TEXT} and "
                  "{exec: [WORD, ...]}");
}

static const struct {
    const char *name;
    int (*take)(struct preset *preset, const struct json *value, struct error *error);
} keys[] = {{"image", take_image},
            {"command", take_command},
            {"environment", take_environment},
            {"ports", take_ports},
            {"memory", take_memory},
            {"ready", take_ready},
            {"startup_timeout", take_startup_timeout},
            {"reset", take_reset},
            {"network", take_network}};
#define KEY_COUNT (sizeof(keys) / sizeof(keys[0]))

static int take_key(struct preset *preset, const struct json *member, struct error *error)
{
    const char *name = json_name(member);
    const char *like = keys[0].name;
    for (size_t i = 0; i < KEY_COUNT; i++) {
        if (strcmp(keys[i].name, name) == 0) {
            return keys[i].take(preset, member, error);
        }
        like = str_distance(name, keys[i].name) < str_distance(name, like) ? keys[i].name : like;
    }
    error_set(error, "%s: unknown; did you mean %s?", name, like);
    return -EINVAL;
}

/* ---- how they go together ---- */

static bool has_port(const struct preset *preset, uint16_t port)
{
    for (size_t i = 0; i < preset->port_count; i++) {
        if (preset->ports[i] == port) {
            return true;
        }
    }
    return false;
}

static int check_braces(const struct preset *preset, const struct text_list *list,
                        struct error *error)
{
    static const uint16_t ports[PRESET_PORTS_LIMIT];
    const struct preset_values values = {.host = "", .host_ports = ports};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < list->count; i++) {
        char *text = NULL;
        rc = preset_expand(preset, list->items[i], &values, &text, error);
        free(text);
    }
    return rc;
}

/* The first port where none was named. */
static int check_talk(const struct preset *preset, struct preset_talk *talk, const char *name,
                      bool needed, struct error *error)
{
    if (talk->port == 0 && preset->port_count > 0) {
        talk->port = preset->ports[0];
    }
    if (needed && !has_port(preset, talk->port)) {
        error_set(error, "%s.port: it must be one of `ports`", name);
        return -EINVAL;
    }
    return 0;
}

static int check(struct preset *preset, struct error *error)
{
    if (preset->image == NULL) {
        return refuse(error, "image", "it is missing");
    }
    int rc = check_talk(preset, &preset->ready_talk, "ready",
                        preset->ready == PRESET_READY_PORT || preset->ready == PRESET_READY_HTTP,
                        error);
    rc = rc != 0 ? rc
                 : check_talk(preset, &preset->reset_talk, "reset",
                              preset->reset == PRESET_RESET_SEND, error);
    if (rc != 0) {
        return rc;
    }
    if (preset->reset == PRESET_RESET_SEND && preset->reset_talk.send == NULL) {
        return refuse(error, "reset.send", "it is missing");
    }
    if ((preset->ready == PRESET_READY_EXEC && preset->ready_command.count == 0) ||
        (preset->reset == PRESET_RESET_EXEC && preset->reset_command.count == 0)) {
        return refuse(error, "exec", "the command is missing");
    }
    if (preset->ready == PRESET_READY_LOG && preset->reset == PRESET_RESET_RESTART) {
        return refuse(error, "reset",
                      "restart needs another `ready` than log: the text is there from before");
    }
    rc = check_braces(preset, &preset->command, error);
    return rc != 0 ? rc : check_braces(preset, &preset->environment, error);
}

/* ---- files ---- */

static int find(const struct json *root, const char *name, const struct json **ret_object,
                struct error *error)
{
    char names[256] = "";
    *ret_object = json_get(root, name);
    if (json_is_object(*ret_object)) {
        return 0;
    }
    for (const struct json *at = json_first(root); at != NULL; at = json_next(at)) {
        size_t used = strlen(names);
        (void)snprintf(names + used, sizeof(names) - used, "%s%s", used > 0 ? ", " : "",
                       json_name(at) != NULL ? json_name(at) : "?");
    }
    error_set(error, "there is no preset '%.40s'; there are: %s", name, names);
    return -ENOENT;
}

static int fill(struct preset *preset, const struct json *object, struct error *error)
{
    int rc = 0;
    preset->startup_timeout_ns = STARTUP_TIMEOUT_NS;
    preset->reset = PRESET_RESET_REPLACE;
    for (const struct json *member = json_first(object); rc == 0 && member != NULL;
         member = json_next(member)) {
        rc = take_key(preset, member, error);
    }
    return rc != 0 ? rc : check(preset, error);
}

int preset_parse(const char *text, size_t size, const char *name, struct preset **ret_preset,
                 struct error *error)
{
    struct json *root = NULL;
    const struct json *object = NULL;
    int rc = yaml_parse(text, size, &root, error);
    rc = rc != 0 ? rc : find(root, name, &object, error);
    struct preset *preset = rc == 0 ? calloc(1, sizeof(*preset)) : NULL;
    if (rc == 0 && preset != NULL) {
        preset->name = strdup(name);
        rc = preset->name == NULL ? -ENOMEM : fill(preset, object, error);
        if (rc == -EINVAL) {
            error_prefix(error, "preset %s", name);
        }
    } else if (rc == 0) {
        rc = -ENOMEM;
    }
    json_destroy(root);
    if (rc == -ENOMEM) {
        error_set(error, "out of memory");
    }
    if (rc != 0) {
        preset_destroy(preset);
        return rc;
    }
    *ret_preset = preset;
    return 0;
}

static int read_file(const char *path, struct buf *out)
{
    char block[4096];
    ssize_t n = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int rc = fd < 0 ? -errno : 0;
    while (rc == 0 && (n = read(fd, block, sizeof(block))) != 0) {
        rc = n < 0 ? -errno : buf_append(out, block, (size_t)n);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return rc;
}

int preset_load(const char *file, const char *name, struct preset **ret_preset, struct error *error)
{
    struct buf text;
    if (file == NULL) {
        return preset_parse(preset_builtin, strlen(preset_builtin), name, ret_preset, error);
    }
    buf_init(&text, FILE_LIMIT_BYTES);
    int rc = read_file(file, &text);
    if (rc != 0) {
        error_set(error, "%s: %s", file, strerror(-rc));
    } else {
        rc = preset_parse(text.data != NULL ? text.data : "", text.size, name, ret_preset, error);
        if (rc != 0) {
            error_prefix(error, "%s", file);
        }
    }
    buf_finish(&text);
    return rc;
}

static void free_list(struct text_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i]);
    }
    free(list->items);
}

void preset_destroy(struct preset *preset)
{
    if (preset == NULL) {
        return;
    }
    free(preset->name);
    free(preset->image);
    free(preset->ready_text);
    free(preset->ready_talk.send);
    free(preset->ready_talk.expect);
    free(preset->reset_talk.send);
    free(preset->reset_talk.expect);
    free_list(&preset->command);
    free_list(&preset->environment);
    free_list(&preset->ready_command);
    free_list(&preset->reset_command);
    free(preset);
}

/* ---- braces ---- */

static int put_host_port(const struct preset *preset, const char *word, size_t size,
                         const struct preset_values *values, struct buf *out)
{
    char number[8] = "";
    uint64_t port;
    if (size >= sizeof(number)) {
        return -EINVAL;
    }
    memcpy(number, word, size);
    if (str_parse_u64(number, &port) != 0) {
        return -EINVAL;
    }
    for (size_t i = 0; i < preset->port_count; i++) {
        if (preset->ports[i] == port) {
            return buf_printf(out, "%u", values->host_ports[i]);
        }
    }
    return -EINVAL;
}

/* `size` bytes between the braces. */
static int put_value(const struct preset *preset, const char *word, size_t size,
                     const struct preset_values *values, struct buf *out)
{
    static const char port_prefix[] = "host_port:";
    size_t prefix = sizeof(port_prefix) - 1;
    if (size == 4 && memcmp(word, "host", 4) == 0) {
        return buf_append_str(out, values->host);
    }
    if (size == 6 && memcmp(word, "number", 6) == 0) {
        return buf_printf(out, "%u", values->number);
    }
    return size > prefix && memcmp(word, port_prefix, prefix) == 0
               ? put_host_port(preset, word + prefix, size - prefix, values, out)
               : -EINVAL;
}

int preset_expand(const struct preset *preset, const char *text, const struct preset_values *values,
                  char **ret_text, struct error *error)
{
    struct buf out;
    int rc = 0;
    buf_init(&out, 0);
    while (rc == 0 && *text != '\0') {
        size_t plain = strcspn(text, "{");
        rc = buf_append(&out, text, plain);
        text += plain;
        if (rc == 0 && text[0] == '{' && text[1] == '{') {
            rc = buf_append(&out, text, 1);
            text += 2;
            continue;
        }
        const char *end = *text == '{' ? strchr(text, '}') : NULL;
        if (rc == 0 && *text == '{') {
            size_t size = end != NULL ? (size_t)(end - text) - 1 : 0;
            rc = end == NULL ? -EINVAL : put_value(preset, text + 1, size, values, &out);
            if (rc == -EINVAL) {
                error_set(error,
                          "'%.60s': there are {host}, {number}, {host_port:N} with one of "
                          "`ports`, and {{ for a brace",
                          text);
            }
            text = end != NULL ? end + 1 : text;
        }
    }
    if (rc == 0 && buf_terminated(&out) == NULL) {
        rc = -ENOMEM;
    }
    if (rc != 0) {
        buf_finish(&out);
        return rc;
    }
    *ret_text = out.data;
    return 0;
}
