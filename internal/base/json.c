/*
 * Reading is cJSON's; struct json is a cJSON under another name, so that no other file sees its
 * header. cJSON parses numbers with strtod under the C locale, which the agent never changes.
 * Depth is checked beforehand: cJSON recurses up to 1,000 levels, and musl's thread stacks or a
 * sanitizer's frames are too small for that.
 */
#include "base/json.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <string.h>

#include "base/str.h"

#define JSON_MAX_DEPTH 64

static const cJSON *as_cjson(const struct json *value)
{
    return (const cJSON *)(const void *)value;
}

static const struct json *as_json(const cJSON *value)
{
    return (const struct json *)(const void *)value;
}

static bool is_too_deep(const char *bytes, size_t size)
{
    int depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < size; i++) {
        char c = bytes[i];
        if (in_string) {
            if (c == '\\') {
                i++;
            } else if (c == '"') {
                in_string = false;
            }
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > JSON_MAX_DEPTH) {
                return true;
            }
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return false;
}

int json_parse(const char *bytes, size_t size, struct json **ret_root, struct error *error)
{
    if (is_too_deep(bytes, size)) {
        error_set(error, "JSON is nested deeper than %d levels", JSON_MAX_DEPTH);
        return -EINVAL;
    }
    const char *end = bytes;
    cJSON *root = cJSON_ParseWithLengthOpts(bytes, size, &end, 0);
    if (root == NULL) {
        error_set(error, "not valid JSON at byte %zu of %zu", (size_t)(end - bytes), size);
        return -EINVAL;
    }
    for (; end < bytes + size; end++) {
        if (strchr(" \t\r\n", *end) == NULL || *end == '\0') {
            error_set(error, "JSON is followed by other bytes at byte %zu of %zu",
                      (size_t)(end - bytes), size);
            cJSON_Delete(root);
            return -EINVAL;
        }
    }
    *ret_root = (struct json *)(void *)root;
    return 0;
}

void json_destroy(struct json *root)
{
    cJSON_Delete((cJSON *)(void *)root);
}

const struct json *json_get(const struct json *object, const char *key)
{
    return object == NULL ? NULL : as_json(cJSON_GetObjectItemCaseSensitive(as_cjson(object), key));
}

const char *json_string(const struct json *value)
{
    return value != NULL && cJSON_IsString(as_cjson(value)) ? as_cjson(value)->valuestring : NULL;
}

const char *json_get_string(const struct json *object, const char *key)
{
    return json_string(json_get(object, key));
}

bool json_bool(const struct json *value)
{
    return value != NULL && cJSON_IsTrue(as_cjson(value));
}

bool json_get_bool(const struct json *object, const char *key)
{
    return json_bool(json_get(object, key));
}

int64_t json_get_int(const struct json *object, const char *key)
{
    return json_int(json_get(object, key));
}

int64_t json_int(const struct json *value)
{
    const double limit = 9007199254740992.0;
    if (value == NULL || !cJSON_IsNumber(as_cjson(value))) {
        return 0;
    }
    double number = as_cjson(value)->valuedouble;
    if (!(number > -limit)) {
        return -(int64_t)limit;
    }
    return number < limit ? (int64_t)number : (int64_t)limit;
}

bool json_is_object(const struct json *value)
{
    return value != NULL && cJSON_IsObject(as_cjson(value));
}

bool json_is_array(const struct json *value)
{
    return value != NULL && cJSON_IsArray(as_cjson(value));
}

const struct json *json_first(const struct json *parent)
{
    return json_is_object(parent) || json_is_array(parent) ? as_json(as_cjson(parent)->child)
                                                           : NULL;
}

const struct json *json_next(const struct json *member)
{
    return member == NULL ? NULL : as_json(as_cjson(member)->next);
}

const char *json_name(const struct json *member)
{
    return member == NULL ? NULL : as_cjson(member)->string;
}

/* What a byte below 0x20, a quote or a backslash becomes. */
static int append_escape(struct buf *buf, unsigned char byte)
{
    switch (byte) {
    case '"':
        return buf_append(buf, "\\\"", 2);
    case '\\':
        return buf_append(buf, "\\\\", 2);
    case '\n':
        return buf_append(buf, "\\n", 2);
    case '\r':
        return buf_append(buf, "\\r", 2);
    case '\t':
        return buf_append(buf, "\\t", 2);
    default:
        return buf_printf(buf, "\\u%04x", byte);
    }
}

static bool is_plain(unsigned char byte)
{
    return byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
}

int json_append_string(struct buf *buf, const char *bytes, size_t size)
{
    size_t before = buf->size;
    int rc = buf_append(buf, "\"", 1);
    for (size_t i = 0; rc == 0 && i < size;) {
        size_t run = 0;
        while (i + run < size && is_plain((unsigned char)bytes[i + run])) {
            run++;
        }
        rc = buf_append(buf, bytes + i, run);
        i += run;
        if (rc != 0 || i == size) {
            continue;
        }
        size_t length = str_utf8_length(bytes + i, size - i);
        if (length == 0) {
            rc = buf_append(buf, "\xef\xbf\xbd", 3);
            length = 1;
        } else if (length == 1) {
            rc = append_escape(buf, (unsigned char)bytes[i]);
        } else {
            rc = buf_append(buf, bytes + i, length);
        }
        i += length;
    }
    if (rc == 0) {
        rc = buf_append(buf, "\"", 1);
    }
    if (rc != 0) {
        buf->size = before;
    }
    return rc;
}

void json_writer_init(struct json_writer *writer, struct buf *out)
{
    *writer = (struct json_writer){.out = out};
}

static void put_raw(struct json_writer *writer, const char *text)
{
    if (writer->rc == 0) {
        writer->rc = buf_append_str(writer->out, text);
    }
}

static void put_key(struct json_writer *writer, const char *key)
{
    if (writer->need_comma) {
        put_raw(writer, ",");
    }
    writer->need_comma = true;
    if (key != NULL && writer->rc == 0) {
        writer->rc = json_append_string(writer->out, key, strlen(key));
        put_raw(writer, ":");
    }
}

void json_open(struct json_writer *writer, const char *key, char bracket)
{
    put_key(writer, key);
    put_raw(writer, bracket == '{' ? "{" : "[");
    writer->need_comma = false;
}

void json_close(struct json_writer *writer, char bracket)
{
    put_raw(writer, bracket == '}' ? "}" : "]");
    writer->need_comma = true;
}

void json_put_string(struct json_writer *writer, const char *key, const char *text)
{
    put_key(writer, key);
    if (writer->rc == 0 && text != NULL) {
        writer->rc = json_append_string(writer->out, text, strlen(text));
    } else {
        put_raw(writer, "null");
    }
}

void json_put_int(struct json_writer *writer, const char *key, int64_t value)
{
    put_key(writer, key);
    if (writer->rc == 0) {
        writer->rc = buf_printf(writer->out, "%lld", (long long)value);
    }
}

void json_put_double(struct json_writer *writer, const char *key, double value)
{
    put_key(writer, key);
    if (writer->rc == 0) {
        writer->rc = buf_printf(writer->out, "%.15g", value);
    }
}

void json_put_bool(struct json_writer *writer, const char *key, bool value)
{
    put_key(writer, key);
    put_raw(writer, value ? "true" : "false");
}
