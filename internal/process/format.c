/*
 * The encoder is the boundary: a container chooses its lines, names and labels. JSON escapes by its
 * rules; logfmt quotes; text on a terminal escapes control bytes, so that a log can't steer it, but
 * lets SGR colour sequences (ESC [ ... m) through, which programs write on purpose.
 */
#include "process/format.h"

#include <errno.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "base/timestamp.h"

int format_kind_parse(const char *word, enum format_kind *ret_kind)
{
    static const char *const words[] = {"text", "json", "logfmt"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(word, words[i]) == 0) {
            *ret_kind = (enum format_kind)i;
            return 0;
        }
    }
    return -EINVAL;
}

static const char *stream_name(const struct record *record)
{
    return record->stream == RECORD_STDERR ? "stderr" : "stdout";
}

int format_base64(struct buf *out, const char *bytes, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    int rc = buf_reserve(out, (size + 2) / 3 * 4);
    for (size_t i = 0; rc == 0 && i < size; i += 3) {
        uint32_t word = (uint32_t)(unsigned char)bytes[i] << 16;
        word |= i + 1 < size ? (uint32_t)(unsigned char)bytes[i + 1] << 8 : 0;
        word |= i + 2 < size ? (uint32_t)(unsigned char)bytes[i + 2] : 0;
        char quad[4] = {digits[word >> 18], digits[word >> 12 & 63U],
                        i + 1 < size ? digits[word >> 6 & 63U] : '=',
                        i + 2 < size ? digits[word & 63U] : '='};
        rc = buf_append(out, quad, sizeof(quad));
    }
    return rc;
}

int format_json(struct buf *out, const struct record_origin *origin, const struct record *record)
{
    size_t before = out->size;
    char time_text[TIMESTAMP_TEXT_SIZE];
    timestamp_format(record->time_ns, 9, time_text);
    struct json_writer writer;
    json_writer_init(&writer, out);
    json_open(&writer, NULL, '{');
    json_put_string(&writer, "time", time_text);
    json_put_string(&writer, "daemon", origin->daemon);
    json_open(&writer, "container", '{');
    json_put_string(&writer, "id", origin->container_id);
    json_put_string(&writer, "name", origin->name);
    json_put_string(&writer, "image", origin->image);
    json_close(&writer, '}');
    json_put_string(&writer, "stream", stream_name(record));
    int rc = writer.rc != 0 ? writer.rc : buf_append_str(out, ",\"line\":");
    if (rc == 0) {
        rc = json_append_string(out, record->line, record->line_bytes);
    }
    if (rc == 0 && (record->flags & RECORD_TRUNCATED) != 0) {
        rc = buf_append_str(out, ",\"truncated\":true");
    }
    if (rc == 0 && !str_is_utf8(record->line, record->line_bytes)) {
        rc = buf_append_str(out, ",\"line_base64\":\"");
        rc = rc != 0 ? rc : format_base64(out, record->line, record->line_bytes);
        rc = rc != 0 ? rc : buf_append_str(out, "\"");
    }
    rc = rc != 0 ? rc : buf_append_str(out, "}\n");
    if (rc != 0) {
        out->size = before;
    }
    return rc;
}

static bool is_bare(const char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (c <= 0x20 || c >= 0x7f || c == '"' || c == '=' || c == '\\') {
            return false;
        }
    }
    return size > 0;
}

static int append_quoted(struct buf *out, const char *bytes, size_t size)
{
    int rc = buf_append(out, "\"", 1);
    for (size_t i = 0; rc == 0 && i < size;) {
        unsigned char c = (unsigned char)bytes[i];
        size_t length = str_utf8_length(bytes + i, size - i);
        if (c == '"' || c == '\\') {
            rc = buf_printf(out, "\\%c", c);
        } else if (c == '\n') {
            rc = buf_append(out, "\\n", 2);
        } else if (c == '\t') {
            rc = buf_append(out, "\\t", 2);
        } else if (length == 0 || c < 0x20 || c == 0x7f ||
                   (c == 0xc2 && (unsigned char)bytes[i + 1] < 0xa0)) {
            rc = buf_printf(out, "\\x%02x", c);
            rc = rc == 0 && length == 2 ? buf_printf(out, "\\x%02x", (unsigned char)bytes[i + 1])
                                        : rc;
            length = length == 0 ? 1 : length;
        } else {
            rc = buf_append(out, bytes + i, length);
        }
        i += length;
    }
    return rc != 0 ? rc : buf_append(out, "\"", 1);
}

static int append_pair(struct buf *out, const char *key, const char *bytes, size_t size)
{
    int rc = buf_printf(out, " %s=", key);
    if (rc != 0) {
        return rc;
    }
    return is_bare(bytes, size) ? buf_append(out, bytes, size) : append_quoted(out, bytes, size);
}

int format_logfmt(struct buf *out, const struct record_origin *origin, const struct record *record)
{
    size_t before = out->size;
    char time_text[TIMESTAMP_TEXT_SIZE];
    timestamp_format(record->time_ns, 9, time_text);
    const struct {
        const char *key;
        const char *text;
    } pairs[] = {{"daemon", origin->daemon},
                 {"container_id", origin->container_id},
                 {"container", origin->name},
                 {"image", origin->image},
                 {"stream", stream_name(record)}};
    int rc = buf_printf(out, "time=%s", time_text);
    for (size_t i = 0; rc == 0 && i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        rc = append_pair(out, pairs[i].key, pairs[i].text, strlen(pairs[i].text));
    }
    if (rc == 0 && (record->flags & RECORD_TRUNCATED) != 0) {
        rc = buf_append_str(out, " truncated=true");
    }
    rc = rc != 0 ? rc : append_pair(out, "line", record->line, record->line_bytes);
    rc = rc != 0 ? rc : buf_append(out, "\n", 1);
    if (rc != 0) {
        out->size = before;
    }
    return rc;
}

/* Bytes of a colour sequence (ESC [ digits ; m) at `bytes`, 0 when it is none. */
static size_t colour_sequence(const char *bytes, size_t size)
{
    if (size < 3 || bytes[0] != '\x1b' || bytes[1] != '[') {
        return 0;
    }
    size_t i = 2;
    while (i < size && ((bytes[i] >= '0' && bytes[i] <= '9') || bytes[i] == ';')) {
        i++;
    }
    return i < size && bytes[i] == 'm' ? i + 1 : 0;
}

static int append_for_terminal(struct buf *out, const char *bytes, size_t size)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < size;) {
        unsigned char c = (unsigned char)bytes[i];
        size_t length = str_utf8_length(bytes + i, size - i);
        size_t colour = colour_sequence(bytes + i, size - i);
        if (colour > 0) {
            length = colour;
            rc = buf_append(out, bytes + i, length);
        } else if (length == 0 || (c < 0x20 && c != '\t') || c == 0x7f ||
                   (c == 0xc2 && (unsigned char)bytes[i + 1] < 0xa0)) {
            length = length == 0 ? 1 : length;
            rc = buf_printf(out, "\\x%02x", (unsigned char)bytes[i + length - 1]);
        } else {
            rc = buf_append(out, bytes + i, length);
        }
        i += length;
    }
    return rc;
}

/* Without a colour of ours; one that the program wrote ends with the line. */
static int append_line(struct buf *out, const struct record *record,
                       const struct format_text_style *style)
{
    if (!style->escape) {
        return buf_append(out, record->line, record->line_bytes);
    }
    int rc = append_for_terminal(out, record->line, record->line_bytes);
    bool coded = memchr(record->line, '\x1b', record->line_bytes) != NULL;
    return rc == 0 && coded ? buf_append_str(out, "\x1b[0m") : rc;
}

int format_text(struct buf *out, const struct record_origin *origin, const struct record *record,
                const struct format_text_style *style)
{
    static const char *const colours[] = {"36", "33", "32", "35", "34",
                                          "96", "93", "92", "95", "94"};
    size_t before = out->size;
    size_t colour = (size_t)(str_hash(origin->name, strlen(origin->name)) %
                             (sizeof(colours) / sizeof(colours[0])));
    int rc;
    if (style->colour) {
        size_t name_bytes = strlen(origin->name);
        size_t padding = style->name_columns > name_bytes ? style->name_columns - name_bytes : 0;
        rc = buf_printf(out, "\x1b[%sm", colours[colour]);
        rc = rc != 0 ? rc : append_for_terminal(out, origin->name, name_bytes);
        rc = rc != 0 ? rc : buf_printf(out, "%*s |\x1b[0m ", (int)padding, "");
        rc = rc != 0 ? rc : append_for_terminal(out, record->line, record->line_bytes);
        rc = rc != 0 ? rc : buf_append_str(out, "\x1b[0m\n");
    } else {
        rc = buf_printf(out, "%-*s | ", (int)style->name_columns, origin->name);
        rc = rc != 0 ? rc : append_line(out, record, style);
        rc = rc != 0 ? rc : buf_append(out, "\n", 1);
    }
    if (rc != 0) {
        out->size = before;
    }
    return rc;
}

int format_record(struct buf *out, enum format_kind kind, const struct record_origin *origin,
                  const struct record *record, const struct format_text_style *style)
{
    switch (kind) {
    case FORMAT_JSON:
        return format_json(out, origin, record);
    case FORMAT_LOGFMT:
        return format_logfmt(out, origin, record);
    default:
        return format_text(out, origin, record, style);
    }
}
