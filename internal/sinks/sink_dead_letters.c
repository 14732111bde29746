/* One write per letter, so that two processes (the agent and a replay) never mix theirs. */
#include "sinks/sink_dead_letters.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "base/timestamp.h"
#include "process/format.h"

#define REASON_LIMIT_BYTES 2048

int sink_dead_letters_path(const char *state_dir, const char *sink, struct buf *ret_path)
{
    int rc = buf_printf(ret_path, "%s/%s.dead.jsonl", state_dir, sink);
    return rc != 0 ? rc : buf_terminated(ret_path) == NULL ? -ENOMEM : 0;
}

static int put_labels(struct json_writer *writer, const struct record_origin *origin)
{
    json_open(writer, "labels", '{');
    for (size_t i = 0; i < origin->label_count; i++) {
        json_put_string(writer, origin->labels[i].key, origin->labels[i].value);
    }
    json_close(writer, '}');
    return writer->rc;
}

/* JSON readers in C end a text at NUL; the exact bytes of such a line go beside it. */
static int put_exact_line(struct buf *out, const struct record *record)
{
    if (memchr(record->line, '\0', record->line_bytes) == NULL) {
        return 0;
    }
    int rc = buf_append_str(out, ",\"line_base64\":\"");
    rc = rc != 0 ? rc : format_base64(out, record->line, record->line_bytes);
    return rc != 0 ? rc : buf_append_str(out, "\"");
}

static int write_letter(struct buf *out, const struct sink_dead_letter *letter)
{
    char time_text[TIMESTAMP_TEXT_SIZE];
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    timestamp_format((int64_t)now.tv_sec * NS_PER_SECOND + now.tv_nsec, 3, time_text);
    size_t reason_bytes = letter->reason_bytes < REASON_LIMIT_BYTES ? letter->reason_bytes
                                                                    : REASON_LIMIT_BYTES;
    struct json_writer writer;
    json_writer_init(&writer, out);
    json_open(&writer, NULL, '{');
    json_put_string(&writer, "time", time_text);
    json_put_string(&writer, "sink", letter->sink);
    json_put_int(&writer, "status", letter->status);
    json_put_int(&writer, "number", (int64_t)letter->record->number);
    int rc = put_labels(&writer, &letter->record->origin->view);
    rc = rc != 0 ? rc : buf_append_str(out, ",\"reason\":");
    rc = rc != 0 ? rc : json_append_string(out, letter->reason, reason_bytes);
    rc = rc != 0 ? rc : put_exact_line(out, &letter->record->record);
    rc = rc != 0 ? rc : buf_append_str(out, ",\"record\":");
    rc = rc != 0 ? rc : format_json(out, &letter->record->origin->view, &letter->record->record);
    if (rc == 0) {
        out->size--; /* its newline */
        rc = buf_append_str(out, "}\n");
    }
    return rc;
}

static int append_to_file(const char *path, const struct buf *bytes)
{
    int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -errno;
    }
    off_t before = lseek(fd, 0, SEEK_END);
    char last = '\n';
    bool torn = before > 0 && pread(fd, &last, 1, before - 1) == 1 && last != '\n';
    ssize_t n = torn ? write(fd, "\n", 1) : 0; /* a kill broke off the last one */
    n = n < 0 ? n : write(fd, bytes->data, bytes->size);
    int rc = n < 0 ? -errno : (size_t)n < bytes->size ? -ENOSPC : 0;
    if (n > 0 && rc != 0 && ftruncate(fd, before) != 0) {
        rc = -errno;
    }
    if (rc == 0 && fdatasync(fd) != 0) {
        rc = -errno;
    }
    (void)close(fd);
    return rc;
}

int sink_dead_letters_append(const char *path, const struct sink_dead_letter *letter)
{
    struct buf out;
    buf_init(&out, 0);
    int rc = write_letter(&out, letter);
    rc = rc != 0 ? rc : append_to_file(path, &out);
    buf_finish(&out);
    return rc;
}

/* ---- reading ---- */

struct sink_dead_letter_storage {
    struct json *root;
    struct record_label *labels;
    char *line; /* decoded from base64, or NULL */
};

static void free_storage(struct sink_dead_letter_storage *storage)
{
    if (storage != NULL) {
        json_destroy(storage->root);
        free(storage->labels);
        free(storage->line);
        free(storage);
    }
}

static int base64_digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c == '\0' ? NULL : strchr(digits, c);
    return at == NULL ? -1 : (int)(at - digits);
}

/* The bytes of a text as format_json() writes it; NULL when it is none, or without memory. */
static char *decode_base64(const char *text, size_t *ret_bytes)
{
    size_t size = strlen(text);
    char *bytes = size % 4 != 0 ? NULL : malloc(size / 4 * 3 + 1);
    size_t n = 0;
    for (size_t i = 0; bytes != NULL && i < size; i += 4) {
        uint32_t word = 0;
        unsigned pads = 0;
        for (size_t k = 0; k < 4; k++) {
            int digit = base64_digit(text[i + k]);
            bool pad = text[i + k] == '=' && i + 4 == size && k >= 2;
            if ((digit < 0 && !pad) || (pads > 0 && !pad)) {
                free(bytes);
                return NULL;
            }
            pads += pad;
            word = word << 6 | (pad ? 0U : (uint32_t)digit);
        }
        for (unsigned k = 0; k < 3 - pads; k++) {
            bytes[n++] = (char)(word >> (16 - 8 * k) & 255U);
        }
    }
    *ret_bytes = n;
    return bytes;
}

static int take_line(const struct json *root, struct sink_dead_letter_storage *storage,
                     struct record *ret_record)
{
    const struct json *record = json_get(root, "record");
    const char *base64 = json_get_string(record, "line_base64");
    base64 = base64 != NULL ? base64 : json_get_string(root, "line_base64");
    const char *text = json_get_string(record, "line");
    if (base64 != NULL) {
        storage->line = decode_base64(base64, &ret_record->line_bytes);
        ret_record->line = storage->line;
    } else if (text != NULL) {
        ret_record->line = text;
        ret_record->line_bytes = strlen(text);
    }
    return ret_record->line == NULL ? -EINVAL : 0;
}

static int take_labels(const struct json *labels, struct sink_dead_letter_storage *storage,
                       struct record_origin *ret_origin)
{
    size_t count = 0;
    for (const struct json *label = json_first(labels); label != NULL; label = json_next(label)) {
        count++;
    }
    storage->labels = calloc(count + 1, sizeof(*storage->labels));
    if (storage->labels == NULL) {
        return -ENOMEM;
    }
    for (const struct json *label = json_first(labels); label != NULL; label = json_next(label)) {
        const char *value = json_string(label);
        storage->labels[ret_origin->label_count++] = (struct record_label){
            json_name(label), value != NULL ? value : ""};
    }
    ret_origin->labels = storage->labels;
    return 0;
}

static int take_record(const struct json *root, struct sink_dead_letter_storage *storage,
                       struct record *ret_record, struct record_origin *ret_origin)
{
    const struct json *record = json_get(root, "record");
    const struct json *container = json_get(record, "container");
    const char *time_text = json_get_string(record, "time");
    const char *stream = json_get_string(record, "stream");
    *ret_record = (struct record){0};
    *ret_origin = (struct record_origin){.daemon = json_get_string(record, "daemon"),
                                         .container_id = json_get_string(container, "id"),
                                         .name = json_get_string(container, "name"),
                                         .image = json_get_string(container, "image")};
    if (time_text == NULL || stream == NULL || ret_origin->daemon == NULL ||
        ret_origin->container_id == NULL || ret_origin->name == NULL || ret_origin->image == NULL ||
        timestamp_parse(time_text, strlen(time_text), &ret_record->time_ns) !=
            (int)strlen(time_text)) {
        return -EINVAL;
    }
    ret_record->stream = strcmp(stream, "stderr") == 0 ? RECORD_STDERR : RECORD_STDOUT;
    ret_record->flags = json_get_bool(record, "truncated") ? RECORD_TRUNCATED : 0;
    int rc = take_line(root, storage, ret_record);
    return rc != 0 ? rc : take_labels(json_get(root, "labels"), storage, ret_origin);
}

int sink_dead_letter_parse(const char *line, size_t size,
                           struct sink_dead_letter_record *ret_record, struct error *error)
{
    struct sink_dead_letter_storage *storage = calloc(1, sizeof(*storage));
    if (storage == NULL) {
        error_set(error, "out of memory");
        return -ENOMEM;
    }
    struct sink_dead_letter_record record = {.storage = storage};
    int rc = json_parse(line, size, &storage->root, error);
    if (rc == 0) {
        rc = take_record(storage->root, storage, &record.record, &record.origin);
        error_set(error,
                  rc == -ENOMEM ? "out of memory" : "not a dead letter: a member is missing");
    }
    if (rc != 0) {
        free_storage(storage);
        return rc;
    }
    *ret_record = record;
    return 0;
}

void sink_dead_letter_free(struct sink_dead_letter_record *record)
{
    free_storage(record->storage);
    record->storage = NULL;
}
