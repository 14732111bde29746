#include "push_request/push_request.h"

#include <errno.h>
#include <string.h>

struct reader {
    const unsigned char *at;
    const unsigned char *end;
};

struct field {
    unsigned number;
    unsigned type;
    uint64_t value;       /* type 0 */
    struct reader inside; /* type 2 */
};

static int read_varint(struct reader *reader, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70 && reader->at < reader->end; shift += 7) {
        unsigned char byte = *reader->at++;
        if (shift == 63 && byte > 1) {
            return -EBADMSG;
        }
        value |= (uint64_t)(byte & 127U) << shift;
        if (byte < 128) {
            if (byte == 0 && shift > 0) {
                return -EBADMSG; /* longer than it need be */
            }
            *ret_value = value;
            return 0;
        }
    }
    return -EBADMSG;
}

/* 1: a field; 0: the end. */
static int read_field(struct reader *reader, struct field *ret_field)
{
    uint64_t key;
    if (reader->at == reader->end) {
        return 0;
    }
    if (read_varint(reader, &key) != 0 || key >> 3 == 0 || key >> 3 > 15) {
        return -EBADMSG;
    }
    ret_field->number = (unsigned)(key >> 3);
    ret_field->type = (unsigned)(key & 7U);
    if (read_varint(reader, &ret_field->value) != 0) {
        return -EBADMSG;
    }
    if (ret_field->type == 0) {
        return 1;
    }
    if (ret_field->type != 2 || ret_field->value > (size_t)(reader->end - reader->at)) {
        return -EBADMSG;
    }
    ret_field->inside = (struct reader){reader->at, reader->at + ret_field->value};
    reader->at += ret_field->value;
    return 1;
}

static struct push_text text_of(const struct reader *reader)
{
    return (struct push_text){(const char *)reader->at, (size_t)(reader->end - reader->at)};
}

/* Whether the field is this one and did not come before. */
static bool is_first(const struct field *field, unsigned number, unsigned type, unsigned *seen)
{
    if (field->number != number || field->type != type || (*seen & 1U << number) != 0) {
        return false;
    }
    *seen |= 1U << number;
    return true;
}

static int read_timestamp(struct reader reader, struct push_entry *entry)
{
    struct field field;
    unsigned seen = 0;
    int rc;
    while ((rc = read_field(&reader, &field)) == 1) {
        if (is_first(&field, 1, 0, &seen)) {
            entry->seconds = (int64_t)field.value;
        } else if (is_first(&field, 2, 0, &seen) && field.value < 1000000000) {
            entry->nanos = (int64_t)field.value;
        } else {
            return -EBADMSG;
        }
    }
    return rc;
}

static int read_pair(struct reader reader, struct push_entry *entry)
{
    struct field field;
    unsigned seen = 0;
    int rc;
    if (entry->metadata_count == PUSH_PAIRS_MAX) {
        return -EBADMSG;
    }
    struct push_pair *pair = &entry->metadata[entry->metadata_count++];
    *pair = (struct push_pair){0};
    while ((rc = read_field(&reader, &field)) == 1) {
        struct push_text text = text_of(&field.inside);
        if (field.type != 2 || !push_is_utf8(text.data, text.len)) {
            return -EBADMSG;
        }
        if (is_first(&field, 1, 2, &seen)) {
            pair->name = text;
        } else if (is_first(&field, 2, 2, &seen)) {
            pair->value = text;
        } else {
            return -EBADMSG;
        }
    }
    return rc == 0 && pair->name.len == 0 ? -EBADMSG : rc;
}

static int read_entry(struct reader reader, struct push_entry *entry)
{
    struct field field;
    unsigned seen = 0;
    int rc;
    entry->metadata_count = 0;
    entry->line = (struct push_text){"", 0};
    while ((rc = read_field(&reader, &field)) == 1) {
        if (is_first(&field, 1, 2, &seen)) {
            rc = read_timestamp(field.inside, entry);
        } else if (is_first(&field, 2, 2, &seen)) {
            entry->line = text_of(&field.inside);
            rc = 0;
        } else if (field.number == 3 && field.type == 2) {
            rc = read_pair(field.inside, entry);
        } else {
            rc = -EBADMSG;
        }
        if (rc != 0) {
            return rc;
        }
    }
    return rc == 0 && (seen & 1U << 1) == 0 ? -EBADMSG : rc;
}

static int read_stream(struct reader reader, struct push_entry *entry, push_entry_fn on_entry,
                       void *data)
{
    struct field field;
    unsigned seen = 0;
    size_t entries = 0;
    int rc;
    while ((rc = read_field(&reader, &field)) == 1) {
        if (is_first(&field, 1, 2, &seen)) {
            entry->labels = text_of(&field.inside);
            rc = push_is_utf8(entry->labels.data, entry->labels.len) ? 0 : -EBADMSG;
        } else if (field.number == 2 && field.type == 2 && seen != 0) { /* labels come first */
            entry->seconds = 0;
            entry->nanos = 0;
            rc = read_entry(field.inside, entry);
            rc = rc != 0 ? rc : on_entry(entry, data);
            entries++;
        } else {
            rc = -EBADMSG;
        }
        if (rc != 0) {
            return rc;
        }
    }
    return rc == 0 && (seen == 0 || entries == 0) ? -EBADMSG : rc;
}

int push_request_read(const void *bytes, size_t size, push_entry_fn on_entry, void *data)
{
    const unsigned char *begin = bytes;
    struct reader reader = {begin, begin == NULL ? NULL : begin + size};
    struct push_entry entry = {0};
    struct field field;
    int rc;
    while ((rc = read_field(&reader, &field)) == 1) {
        if (field.number != 1 || field.type != 2) {
            return -EBADMSG;
        }
        rc = read_stream(field.inside, &entry, on_entry, data);
        if (rc != 0) {
            return rc;
        }
        entry.stream++;
    }
    return rc;
}

/* ---- text */

/* Bytes of the character at data by its first byte; 0: none begins so. */
static size_t utf8_length(unsigned char first)
{
    return first < 0x80                     ? 1
           : first >= 0xc2 && first <= 0xdf ? 2
           : first >= 0xe0 && first <= 0xef ? 3
           : first >= 0xf0 && first <= 0xf4 ? 4
                                            : 0;
}

bool push_is_utf8(const char *data, size_t len)
{
    const unsigned char *bytes = (const unsigned char *)data;
    for (size_t i = 0; i < len;) {
        size_t n = utf8_length(bytes[i]);
        if (n == 0 || n > len - i) {
            return false;
        }
        uint32_t code = n == 1 ? bytes[i] : bytes[i] & (0xffU >> (n + 1));
        for (size_t k = 1; k < n; k++) {
            if ((bytes[i + k] & 0xc0U) != 0x80) {
                return false;
            }
            code = code << 6 | (bytes[i + k] & 0x3fU);
        }
        static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
        if (code < least[n] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) {
            return false;
        }
        i += n;
    }
    return true;
}

static bool is_name_letter(char c, bool first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           (!first && c >= '0' && c <= '9');
}

static bool take(struct push_text *text, const char *token)
{
    size_t len = strlen(token);
    if (text->len < len || memcmp(text->data, token, len) != 0) {
        return false;
    }
    text->data += len;
    text->len -= len;
    return true;
}

static int read_name(struct push_text *text, struct push_label *label)
{
    size_t n = 0;
    while (n < text->len && is_name_letter(text->data[n], n == 0)) {
        n++;
    }
    if (n == 0 || n >= sizeof(label->name)) {
        return -EBADMSG;
    }
    memcpy(label->name, text->data, n);
    label->name[n] = '\0';
    text->data += n;
    text->len -= n;
    return 0;
}

static int read_value(struct push_text *text, struct push_label *label)
{
    size_t n = 0;
    while (text->len > 0 && text->data[0] != '"') {
        char c = text->data[0];
        if (n + 1 >= sizeof(label->value) || c == '\n' || c == '\0') {
            return -EBADMSG;
        }
        if (c == '\\') {
            static const char letters[] = "\"\\ntr";
            static const char meanings[] = "\"\\\n\t\r";
            const char *at = text->len < 2 || text->data[1] == '\0'
                                 ? NULL
                                 : strchr(letters, text->data[1]);
            if (at == NULL) {
                return -EBADMSG;
            }
            c = meanings[at - letters];
            text->data++;
            text->len--;
        }
        label->value[n++] = c;
        text->data++;
        text->len--;
    }
    label->value[n] = '\0';
    return 0;
}

/* Whether a label of this name stands in the text that was read before. */
static bool came_before(struct push_text whole, const char *name, size_t count)
{
    struct push_label label;
    (void)take(&whole, "{");
    for (size_t i = 0; i < count; i++) {
        if (read_name(&whole, &label) != 0 || !take(&whole, "=\"") ||
            read_value(&whole, &label) != 0 || strcmp(label.name, name) == 0) {
            return true;
        }
        (void)(take(&whole, "\", ") || take(&whole, "\""));
    }
    return false;
}

int push_labels_read(struct push_text labels, push_label_fn on_label, void *data)
{
    struct push_text text = labels;
    struct push_label label;
    size_t count = 0;
    if (!take(&text, "{")) {
        return -EBADMSG;
    }
    for (;;) {
        if (read_name(&text, &label) != 0 || !take(&text, "=\"") ||
            read_value(&text, &label) != 0 || !take(&text, "\"") ||
            came_before(labels, label.name, count++)) {
            return -EBADMSG;
        }
        int rc = on_label == NULL ? 0 : on_label(&label, data);
        if (rc != 0) {
            return rc;
        }
        if (take(&text, "}")) {
            return text.len == 0 ? 0 : -EBADMSG;
        }
        if (!take(&text, ", ")) {
            return -EBADMSG;
        }
    }
}
