/* No more of HTTP than docker clients use: Content-Length bodies only, no chunked requests. */
#include "fake_dockerd/http.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HEAD_LIMIT ((size_t)64 * 1024)
#define BODY_LIMIT ((size_t)64 * 1024 * 1024)

static bool copy_part(char *out, size_t size, const char *from, const char *to)
{
    size_t len = (size_t)(to - from);
    if (len >= size) {
        return false;
    }
    memcpy(out, from, len);
    out[len] = '\0';
    return true;
}

/* Takes "/v1.xx" off the front of the path. */
static void strip_version(struct fake_request *request)
{
    unsigned minor;
    int len = 0;
    if (sscanf(request->path, "/v1.%3u%n", &minor, &len) == 1 && request->path[len] == '/') {
        request->version = minor;
        memmove(request->path, request->path + len, strlen(request->path + len) + 1);
    }
}

static bool parse_request_line(struct fake_request *request, const char *line, const char *end)
{
    const char *blank = memchr(line, ' ', (size_t)(end - line));
    if (blank == NULL || !copy_part(request->method, sizeof request->method, line, blank)) {
        return false;
    }
    const char *target = blank + 1;
    blank = memchr(target, ' ', (size_t)(end - target));
    if (blank == NULL || end - blank < 9 || memcmp(blank + 1, "HTTP/1.", 7) != 0) {
        return false;
    }
    request->keep_alive = blank[8] == '1';
    const char *mark = memchr(target, '?', (size_t)(blank - target));
    const char *path_end = mark != NULL ? mark : blank;
    if (!copy_part(request->path, sizeof request->path, target, path_end) ||
        (mark != NULL && !copy_part(request->query, sizeof request->query, mark + 1, blank))) {
        return false;
    }
    strip_version(request);
    return true;
}

static bool header_is(const char *line, const char *end, const char *name, const char **ret_value)
{
    size_t len = strlen(name);
    if ((size_t)(end - line) <= len || strncasecmp(line, name, len) != 0 || line[len] != ':') {
        return false;
    }
    *ret_value = line + len + 1;
    while (*ret_value < end && **ret_value == ' ') {
        (*ret_value)++;
    }
    return true;
}

static void parse_header(struct fake_request *request, const char *line, const char *end)
{
    const char *value;
    if (header_is(line, end, "Content-Length", &value)) {
        request->body_len = (size_t)strtoull(value, NULL, 10);
    } else if (header_is(line, end, "Connection", &value)) {
        if (strncasecmp(value, "close", 5) == 0) {
            request->keep_alive = false;
        } else if (strncasecmp(value, "keep-alive", 10) == 0) {
            request->keep_alive = true;
        }
    } else if (header_is(line, end, "Expect", &value)) {
        request->expects_continue = true;
    }
}

int fake_request_parse(const char *data, size_t len, struct fake_request *ret_request,
                       bool *ret_head_done)
{
    *ret_head_done = false;
    const char *head_end = len > 0 ? memmem(data, len, "\r\n\r\n", 4) : NULL;
    if (head_end == NULL) {
        return len > HEAD_LIMIT ? -EMSGSIZE : 0;
    }
    const char *end = memmem(data, len, "\r\n", 2);
    memset(ret_request, 0, sizeof *ret_request);
    if (!parse_request_line(ret_request, data, end)) {
        return -EBADMSG;
    }
    while (end < head_end) {
        const char *line = end + 2;
        end = memmem(line, (size_t)(head_end + 2 - line), "\r\n", 2);
        parse_header(ret_request, line, end);
    }
    *ret_head_done = true;
    if (ret_request->body_len > BODY_LIMIT) {
        return -EMSGSIZE;
    }
    ret_request->body = head_end + 4;
    ret_request->total_len = (size_t)(head_end + 4 - data) + ret_request->body_len;
    return ret_request->total_len <= len ? 1 : 0;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

static void decode(const char *from, const char *end, char *out, size_t size)
{
    size_t used = 0;
    while (from < end && used + 1 < size) {
        char c = *from++;
        if (c == '%' && end - from >= 2 && hex_value(from[0]) >= 0 && hex_value(from[1]) >= 0) {
            c = (char)(hex_value(from[0]) * 16 + hex_value(from[1]));
            from += 2;
        } else if (c == '+') {
            c = ' ';
        }
        out[used++] = c;
    }
    out[used] = '\0';
}

bool fake_query_get_nth(const char *query, const char *name, size_t nth, char *out, size_t size)
{
    size_t name_len = strlen(name);
    while (*query != '\0') {
        const char *end = strchrnul(query, '&');
        const char *equals = memchr(query, '=', (size_t)(end - query));
        const char *key_end = equals != NULL ? equals : end;
        if ((size_t)(key_end - query) == name_len && memcmp(query, name, name_len) == 0 &&
            nth-- == 0) {
            decode(equals != NULL ? equals + 1 : end, end, out, size);
            return true;
        }
        query = *end == '&' ? end + 1 : end;
    }
    return false;
}

bool fake_query_get(const char *query, const char *name, char *out, size_t size)
{
    return fake_query_get_nth(query, name, 0, out, size);
}

uint64_t fake_query_number(const char *query, const char *name, uint64_t otherwise)
{
    char text[32];
    if (!fake_query_get(query, name, text, sizeof text) || text[0] < '0' || text[0] > '9') {
        return otherwise;
    }
    return strtoull(text, NULL, 10);
}

int64_t fake_query_signed(const char *query, const char *name, int64_t otherwise)
{
    char text[32];
    return fake_query_get(query, name, text, sizeof text) ? strtoll(text, NULL, 10) : otherwise;
}

bool fake_query_bool(const char *query, const char *name, bool otherwise)
{
    char text[16];
    if (!fake_query_get(query, name, text, sizeof text)) {
        return otherwise;
    }
    return text[0] == '\0' || strcmp(text, "1") == 0 || strcasecmp(text, "true") == 0;
}

bool fake_parse_time(const char *text, int64_t *ret_ns)
{
    char *end = NULL;
    long long seconds = strtoll(text, &end, 10);
    if (end == text || seconds < 0 || seconds > INT64_MAX / 1000000000 - 1) {
        return false;
    }
    int64_t nanoseconds = 0;
    if (*end == '.') {
        int64_t scale = 100000000;
        for (end++; *end >= '0' && *end <= '9'; end++, scale /= 10) {
            nanoseconds += (*end - '0') * scale;
        }
    }
    *ret_ns = seconds * 1000000000 + nanoseconds;
    return *end == '\0';
}
