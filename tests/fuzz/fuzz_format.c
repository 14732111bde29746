/* Any bytes as a line: the JSON form is JSON of one line, and holds the bytes exactly; on a terminal
 * nothing is shown that steers it but colours. Byte 0 chooses the flags. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "process/format.h"

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

static unsigned digit_of(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = strchr(digits, c);
    must(c != '\0' && at != NULL);
    return (unsigned)(at - digits);
}

/* text must be the base64 of exactly these bytes. */
static void check_base64(const char *text, const char *bytes, size_t size)
{
    must(strlen(text) == (size + 2) / 3 * 4);
    for (size_t i = 0; i < size; i++) {
        const char *quad = text + i / 3 * 4;
        unsigned high = digit_of(quad[i % 3]);
        unsigned low = digit_of(quad[i % 3 + 1]);
        unsigned shift = 2U * (unsigned)(i % 3) + 2U;
        unsigned byte = (high << shift | low >> (6U - shift)) & 0xffU;
        must(byte == (unsigned char)bytes[i]);
    }
}

static void check_json(const struct record_origin *origin, const struct record *record)
{
    struct buf out;
    struct json *root = NULL;
    buf_init(&out, 0);
    must(format_json(&out, origin, record) == 0);
    must(out.data[out.size - 1] == '\n' && memchr(out.data, '\n', out.size - 1) == NULL);
    must(str_is_utf8(out.data, out.size));
    must(json_parse(out.data, out.size, &root, NULL) == 0);
    const char *exact = json_get_string(root, "line_base64");
    if (str_is_utf8(record->line, record->line_bytes)) {
        must(exact == NULL);
        if (memchr(record->line, '\0', record->line_bytes) ==
            NULL) { /* cJSON's strings end there */
            const char *line = json_get_string(root, "line");
            must(strlen(line) == record->line_bytes);
            must(memcmp(line, record->line, record->line_bytes) == 0);
        }
    } else {
        must(exact != NULL);
        check_base64(exact, record->line, record->line_bytes);
    }
    must(json_get_bool(root, "truncated") == ((record->flags & RECORD_TRUNCATED) != 0));
    json_destroy(root);
    buf_finish(&out);
}

static void check_logfmt(const struct record_origin *origin, const struct record *record)
{
    struct buf out;
    buf_init(&out, 0);
    must(format_logfmt(&out, origin, record) == 0);
    must(out.data[out.size - 1] == '\n');
    must(str_is_utf8(out.data, out.size));
    for (size_t i = 0; i + 1 < out.size; i++) {
        must((unsigned char)out.data[i] >= 0x20 && out.data[i] != 0x7f);
    }
    buf_finish(&out);
}

static void check_terminal(const struct record_origin *origin, const struct record *record)
{
    struct buf out;
    buf_init(&out, 0);
    must(format_text(&out, origin, record,
                     &(struct format_text_style){.colour = true, .name_columns = 4}) == 0);
    must(buf_terminated(&out) != NULL); /* for strspn() */
    must(str_is_utf8(out.data, out.size));
    for (size_t i = 0; i + 1 < out.size; i++) {
        unsigned char c = (unsigned char)out.data[i];
        if (c == 0x1b) {
            size_t end = i + 2 + strspn(out.data + i + 2, "0123456789;");
            must(out.data[i + 1] == '[' && end < out.size && out.data[end] == 'm');
        } else {
            must((c >= 0x20 || c == '\t') && c != 0x7f);
            must(c != 0xc2 || (unsigned char)out.data[i + 1] >= 0xa0);
        }
    }
    buf_finish(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    struct record_origin origin = {
        .daemon = "local", .container_id = "0123", .name = "web", .image = "nginx"};
    struct record record = {.time_ns = 1795236060123456789,
                            .stream = (data[0] & 1) != 0 ? RECORD_STDERR : RECORD_STDOUT,
                            .flags = data[0] >> 1 & 3,
                            .line = (const char *)data + 1,
                            .line_bytes = size - 1};
    check_json(&origin, &record);
    check_logfmt(&origin, &record);
    check_terminal(&origin, &record);
    return 0;
}
