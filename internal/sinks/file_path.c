#include "sinks/file_path.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/str.h"
#include "sinks/sink_field.h"

#define VALUE_LIMIT_BYTES 100

static const enum sink_field fields[] = {
    SINK_FIELD_CONTAINER, SINK_FIELD_CONTAINER_ID,    SINK_FIELD_IMAGE,          SINK_FIELD_DAEMON,
    SINK_FIELD_STREAM,    SINK_FIELD_COMPOSE_PROJECT, SINK_FIELD_COMPOSE_SERVICE};
static const char *const names[] = {"container.name", "container.id", "container.image",
                                    "daemon",         "stream",       "compose_project",
                                    "compose_service"};
#define FIELD_COUNT (sizeof(fields) / sizeof(fields[0]))

/* The index of the field that `{...}` at text names; -1 when none. *ret_size covers the braces. */
static int find_field(const char *text, size_t *ret_size)
{
    const char *end = strchr(text, '}');
    if (end == NULL) {
        return -1;
    }
    size_t size = (size_t)(end - text) - 1;
    *ret_size = size + 2;
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        if (strlen(names[i]) == size && memcmp(names[i], text + 1, size) == 0) {
            return (int)i;
        }
    }
    return -1;
}

static bool has_bad_component(const char *template)
{
    for (const char *p = template + 1; *p != '\0';) {
        size_t size = strcspn(p, "/");
        if (size == 0 || (size == 1 && p[0] == '.') || (size == 2 && memcmp(p, "..", 2) == 0)) {
            return true;
        }
        p += size + (p[size] == '/');
    }
    return false;
}

static bool has_control_byte(const char *template)
{
    for (const char *p = template; *p != '\0'; p++) {
        if ((unsigned char)*p < ' ' || *p == 0x7f) {
            return true;
        }
    }
    return false;
}

/* The text behind the last field of the name. */
static bool has_good_extension(const char *template)
{
    const char *name = strrchr(template, '/');
    const char *brace = strrchr(name, '}');
    const char *dot = strrchr(name, '.');
    if (brace == NULL) {
        return true;
    }
    bool letter = dot != NULL && dot > brace &&
                  ((dot[1] >= 'a' && dot[1] <= 'z') || (dot[1] >= 'A' && dot[1] <= 'Z'));
    return letter && strcmp(dot, ".gz") != 0 && strcmp(dot, ".tmp") != 0;
}

int file_path_check(const char *template, struct error *error)
{
    size_t length = strlen(template);
    if (template[0] != '/' || length < 2 || template[length - 1] == '/') {
        error_set(error, "path: '%.200s' is not an absolute path of a file", template);
        return -EINVAL;
    }
    if (has_bad_component(template) || has_control_byte(template)) {
        error_set(error, "path: '%.200s' has an empty component, '.', '..' or a control byte",
                  template);
        return -EINVAL;
    }
    for (const char *p = template; (p = strchr(p, '{')) != NULL;) {
        size_t size = 0;
        if (find_field(p, &size) < 0) {
            error_set(error,
                      "path: '%.40s' begins with no known field; these are: {container.name} "
                      "{container.id} {container.image} {daemon} {stream} {compose_project} "
                      "{compose_service}",
                      p);
            return -EINVAL;
        }
        p += size;
    }
    if (!has_good_extension(template)) {
        error_set(error,
                  "path: '%.200s' must end in an extension such as .log, so that it can't be taken "
                  "for a rotated file",
                  template);
        return -EINVAL;
    }
    return 0;
}

size_t file_path_base(const char *template)
{
    size_t size = strcspn(template, "{");
    while (size > 0 && template[size - 1] != '/') {
        size--;
    }
    return size;
}

bool file_path_has_stream(const char *template)
{
    return strstr(template, "{stream}") != NULL;
}

static bool is_safe(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("._-+@", c) != NULL);
}

static int append_value(struct buf *out, const char *value)
{
    value = value == NULL || value[0] == '\0' ? "none" : value;
    int rc = 0;
    for (size_t i = 0; rc == 0 && value[i] != '\0' && i < VALUE_LIMIT_BYTES; i++) {
        char c = is_safe(value[i]) && !(i == 0 && value[i] == '.') ? value[i] : '_';
        rc = buf_append(out, &c, 1);
    }
    return rc;
}

static int expand(const char *template, const struct record_origin *origin,
                  enum record_stream stream, struct buf *out)
{
    int rc = 0;
    for (const char *p = template + file_path_base(template); rc == 0 && *p != '\0';) {
        size_t size = strcspn(p, "{");
        rc = buf_append(out, p, size);
        p += size;
        if (rc == 0 && *p == '{') {
            int field = find_field(p, &size);
            rc = field < 0 ? -EINVAL
                           : append_value(out, sink_field_value(fields[field], origin, stream));
            p += size;
        }
    }
    return rc;
}

/* The end of a long name stays, with its extension. */
static int append_component(struct buf *out, const char *name, size_t size)
{
    size_t tail = 24;
    if (size <= FILE_PATH_NAME_LIMIT) {
        return buf_append(out, name, size);
    }
    int rc = buf_append(out, name, FILE_PATH_NAME_LIMIT - tail - 18);
    rc = rc != 0 ? rc : buf_printf(out, "-%016" PRIx64 "-", str_hash(name, size));
    return rc != 0 ? rc : buf_append(out, name + size - tail, tail);
}

int file_path_expand(const char *template, const struct record_origin *origin,
                     enum record_stream stream, struct buf *out)
{
    struct buf whole;
    buf_init(&whole, 0);
    int rc = expand(template, origin, stream, &whole);
    for (size_t at = 0; rc == 0 && at < whole.size;) {
        const char *slash = memchr(whole.data + at, '/', whole.size - at);
        size_t size = slash == NULL ? whole.size - at : (size_t)(slash - whole.data) - at;
        rc = append_component(out, whole.data + at, size);
        if (rc == 0 && slash != NULL) {
            rc = buf_append(out, "/", 1);
        }
        at += size + (slash != NULL);
    }
    buf_finish(&whole);
    return rc;
}
