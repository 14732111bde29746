/*
 * One pass over the bytes with a pointer. Only the strings that are wanted are unescaped;
 * others, and numbers, arrays and objects that do not matter, are skipped. Nesting is bounded.
 */
#include "oracle/jsonline.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define DEPTH_LIMIT 32

struct reader {
    char *at;
    char *end;
};

static bool take(struct reader *reader, char wanted)
{
    while (reader->at < reader->end && (*reader->at == ' ' || *reader->at == '\t')) {
        reader->at++;
    }
    if (reader->at < reader->end && *reader->at == wanted) {
        reader->at++;
        return true;
    }
    return false;
}

/* After the opening quote: the raw text up to the closing one, which is passed. */
static int take_string(struct reader *reader, struct jsonline_text *ret_text, bool *ret_escaped)
{
    char *start = reader->at;
    *ret_escaped = false;
    while (reader->at < reader->end && *reader->at != '"') {
        if (*reader->at == '\\') {
            *ret_escaped = true;
            reader->at++;
        }
        reader->at++;
    }
    if (reader->at >= reader->end) {
        return -EBADMSG;
    }
    ret_text->data = start;
    ret_text->len = (size_t)(reader->at - start);
    reader->at++;
    return 0;
}

static int hex4(const char *p, uint32_t *ret_code)
{
    uint32_t code = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        char lower = (char)(c | 0x20);
        if (c >= '0' && c <= '9') {
            code = code << 4 | (uint32_t)(c - '0');
        } else if (lower >= 'a' && lower <= 'f') {
            code = code << 4 | (uint32_t)(lower - 'a' + 10);
        } else {
            return -EBADMSG;
        }
    }
    *ret_code = code;
    return 0;
}

static char *put_utf8(char *out, uint32_t code)
{
    if (code < 0x80) {
        *out++ = (char)code;
    } else if (code < 0x800) {
        *out++ = (char)(0xc0 | code >> 6);
        *out++ = (char)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        *out++ = (char)(0xe0 | code >> 12);
        *out++ = (char)(0x80 | (code >> 6 & 0x3f));
        *out++ = (char)(0x80 | (code & 0x3f));
    } else {
        *out++ = (char)(0xf0 | code >> 18);
        *out++ = (char)(0x80 | (code >> 12 & 0x3f));
        *out++ = (char)(0x80 | (code >> 6 & 0x3f));
        *out++ = (char)(0x80 | (code & 0x3f));
    }
    return out;
}

/* At "uXXXX", perhaps with the second half of a pair behind it; *in is set past it. */
static int unescape_unicode(const char **in, const char *end, char **out)
{
    uint32_t code;
    if (end - *in < 5 || hex4(*in + 1, &code) < 0) {
        return -EBADMSG;
    }
    *in += 5;
    uint32_t low;
    if (code >> 10 == 0x36 && end - *in >= 6 && (*in)[0] == '\\' && (*in)[1] == 'u' &&
        hex4(*in + 2, &low) == 0 && low >> 10 == 0x37) {
        code = 0x10000 + ((code & 0x3ff) << 10 | (low & 0x3ff));
        *in += 6;
    }
    *out = put_utf8(*out, code);
    return 0;
}

static int unescape(struct jsonline_text *text)
{
    static const char from[] = "\"\\/bfnrt";
    static const char to[] = "\"\\/\b\f\n\r\t";
    const char *in = text->data;
    const char *end = in + text->len;
    char *out = text->data;
    while (in < end) {
        if (*in != '\\') {
            *out++ = *in++;
            continue;
        }
        in++;
        const char *found = in < end ? memchr(from, *in, sizeof from - 1) : NULL;
        if (found != NULL) {
            *out++ = to[found - from];
            in++;
        } else if (in >= end || *in != 'u' || unescape_unicode(&in, end, &out) < 0) {
            return -EBADMSG;
        }
    }
    text->len = (size_t)(out - text->data);
    return 0;
}

/* A number, true, false or null. */
static int skip_scalar(struct reader *reader)
{
    char *start = reader->at;
    while (reader->at < reader->end && strchr(",]} \t", *reader->at) == NULL) {
        reader->at++;
    }
    return reader->at > start ? 0 : -EBADMSG;
}

static int skip_value(struct reader *reader)
{
    int depth = 0;
    do {
        struct jsonline_text text;
        bool escaped;
        if (take(reader, '{') || take(reader, '[')) {
            if (++depth > DEPTH_LIMIT) {
                return -EBADMSG;
            }
        } else if (take(reader, '}') || take(reader, ']')) {
            depth--;
        } else if (take(reader, '"')) {
            if (take_string(reader, &text, &escaped) < 0) {
                return -EBADMSG;
            }
        } else if (!take(reader, ',') && !take(reader, ':') && skip_scalar(reader) < 0) {
            return -EBADMSG;
        }
    } while (depth > 0);
    return depth == 0 ? 0 : -EBADMSG;
}

static bool is_key(const struct jsonline_text *key, const char *name)
{
    return key->len == strlen(name) && memcmp(key->data, name, key->len) == 0;
}

/* The text that a member of the outer object (or of `container`) goes to; NULL: not wanted. */
static struct jsonline_text *wanted(struct jsonline *line, const struct jsonline_text *key,
                                    bool inside_container)
{
    if (inside_container) {
        return is_key(key, "id") ? &line->container_id : NULL;
    }
    if (is_key(key, "line")) {
        return &line->line;
    }
    return is_key(key, "stream") ? &line->stream : NULL;
}

static int take_value(struct reader *reader, struct jsonline_text *text)
{
    bool escaped;
    if (text == NULL || !take(reader, '"')) {
        return skip_value(reader);
    }
    int rc = take_string(reader, text, &escaped);
    return rc < 0 || !escaped ? rc : unescape(text);
}

/* The members of the outer object and, at its place, of the object `container` in it. */
int jsonline_parse(char *data, size_t len, struct jsonline *ret_line)
{
    struct reader reader = {.at = data, .end = data + len};
    struct jsonline line = {0};
    int depth = take(&reader, '{') ? 1 : 0;
    while (depth > 0) {
        struct jsonline_text key;
        bool escaped;
        (void)take(&reader, ',');
        if (take(&reader, '}')) {
            depth--;
            continue;
        }
        if (!take(&reader, '"') || take_string(&reader, &key, &escaped) < 0 ||
            !take(&reader, ':')) {
            return -EBADMSG;
        }
        if (depth == 1 && is_key(&key, "container") && take(&reader, '{')) {
            depth = 2;
        } else if (take_value(&reader, wanted(&line, &key, depth == 2)) < 0) {
            return -EBADMSG;
        }
    }
    if (reader.at == data) {
        return -EBADMSG;
    }
    *ret_line = line;
    return 0;
}
