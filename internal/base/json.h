/*
 * JSON (RFC 8259): the one door to cJSON for reading, and a writer into a buf.
 * Values belong to the tree that json_parse() gave; one thread at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

struct json; /* a value within a tree, or the tree's root */

/* Parses one value; what follows it but white space is an error. Caller frees with json_destroy().
 * Returns -EINVAL with the byte offset in error. Nesting is limited to 64 here. */
int json_parse(const char *bytes, size_t size, struct json **ret_root, struct error *error)
    __attribute__((warn_unused_result));
void json_destroy(struct json *root);

/* All of these take a NULL value and give the default: NULL, 0, false. */
const struct json *json_get(const struct json *object, const char *key);
const char *json_get_string(const struct json *object, const char *key);
bool json_get_bool(const struct json *object, const char *key);
/* A whole number within +-2^53; others are cut towards zero. */
int64_t json_get_int(const struct json *object, const char *key);
bool json_is_object(const struct json *value);
bool json_is_array(const struct json *value);
const char *json_string(const struct json *value);
bool json_bool(const struct json *value);
int64_t json_int(const struct json *value);
/* First member of an object or array, the next one behind it, the name of a member. */
const struct json *json_first(const struct json *parent);
const struct json *json_next(const struct json *member);
const char *json_name(const struct json *member);

/* Appends a quoted string. Bytes that are not UTF-8 become U+FFFD, each one of them. */
int json_append_string(struct buf *buf, const char *bytes, size_t size)
    __attribute__((warn_unused_result));

/*
 * The writer puts commas itself. Its first failure stays in `rc`; the calls after it do nothing.
 * `key` is NULL within arrays and for the root.
 */
struct json_writer {
    struct buf *out; /* borrowed until the last call */
    bool need_comma;
    int rc;
};

void json_writer_init(struct json_writer *writer, struct buf *out);
void json_open(struct json_writer *writer, const char *key, char bracket); /* '{' or '[' */
void json_close(struct json_writer *writer, char bracket);                 /* '}' or ']' */
void json_put_string(struct json_writer *writer, const char *key, const char *text);
void json_put_int(struct json_writer *writer, const char *key, int64_t value);
void json_put_double(struct json_writer *writer, const char *key, double value);
void json_put_bool(struct json_writer *writer, const char *key, bool value);
