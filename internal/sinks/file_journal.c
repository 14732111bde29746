/* A damaged journal is as good as none: then a kill may have repeated the lines of a second. */
#include "sinks/file_journal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/str.h"

#define HEAD "log_capturer file sink 1\n"
#define FOLDER_WORD "folder "
#define CRC_WORD "crc32c "
#define CRC_LINE_BYTES (sizeof(CRC_WORD) - 1 + 8 + 1)
#define LIMIT_BYTES (64U * 1024U * 1024U)

int file_journal_begin(struct buf *text, const char *folder)
{
    buf_clear(text);
    return buf_printf(text, HEAD FOLDER_WORD "%s\n", folder);
}

int file_journal_add(struct buf *text, const struct file_journal_entry *entry)
{
    return buf_printf(text, "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRId64 " %s\n", entry->inode,
                      entry->bytes, entry->next_record, entry->begun_s, entry->path);
}

static int write_all(int fd, const char *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = write(fd, bytes + done, size - done);
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char folder[4096];
    (void)snprintf(folder, sizeof(folder), "%.*s", slash == NULL ? 1 : (int)(slash - path + 1),
                   slash == NULL ? "." : path);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd) != 0 ? -errno : 0;
    if (fd >= 0) {
        (void)close(fd);
    }
    return rc;
}

int file_journal_store(struct buf *text, const char *path)
{
    char new_path[4096];
    int rc = buf_printf(text, CRC_WORD "%08" PRIx32 "\n", crc32c(0, text->data, text->size));
    (void)snprintf(new_path, sizeof(new_path), "%s.new", path);
    int fd = rc != 0 ? -1 : open(new_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        return rc != 0 ? rc : -errno;
    }
    rc = write_all(fd, text->data, text->size);
    if (rc == 0 && fdatasync(fd) != 0) {
        rc = -errno;
    }
    (void)close(fd);
    if (rc == 0 && rename(new_path, path) != 0) {
        rc = -errno;
    }
    return rc != 0 ? rc : sync_folder(path);
}

static int read_file(const char *path, struct buf *text)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    int rc = 0;
    for (ssize_t n = 1; rc == 0 && n > 0;) {
        char block[16384];
        n = read(fd, block, sizeof(block));
        rc = n < 0 ? -errno : buf_append(text, block, (size_t)n);
    }
    (void)close(fd);
    return rc;
}

static bool take_number(char **at, uint64_t *ret_value)
{
    char *space = strchr(*at, ' ');
    if (space == NULL) {
        return false;
    }
    *space = '\0';
    bool good = str_parse_u64(*at, ret_value) == 0;
    *at = space + 1;
    return good;
}

/* line is terminated and may be cut up. */
static int take_entry(char *line, bool same_folder, file_journal_fn on_entry, void *data)
{
    struct file_journal_entry entry = {.same_folder = same_folder};
    uint64_t begun = 0;
    if (!take_number(&line, &entry.inode) || !take_number(&line, &entry.bytes) ||
        !take_number(&line, &entry.next_record) || !take_number(&line, &begun) || line[0] == '\0') {
        return -EINVAL;
    }
    entry.begun_s = (int64_t)begun;
    entry.path = line;
    return on_entry(&entry, data);
}

static bool checksum_is_right(const struct buf *text)
{
    char expected[CRC_LINE_BYTES + 1];
    if (text->size < sizeof(HEAD) - 1 + CRC_LINE_BYTES ||
        memcmp(text->data, HEAD, sizeof(HEAD) - 1) != 0) {
        return false;
    }
    size_t size = text->size - CRC_LINE_BYTES;
    (void)snprintf(expected, sizeof(expected), CRC_WORD "%08" PRIx32 "\n",
                   crc32c(0, text->data, size));
    return memcmp(text->data + size, expected, CRC_LINE_BYTES) == 0;
}

static int parse(struct buf *text, const char *folder, file_journal_fn on_entry, void *data)
{
    if (!checksum_is_right(text)) {
        return -EINVAL;
    }
    char *end = text->data + text->size - CRC_LINE_BYTES;
    bool same_folder = false;
    bool has_folder = false;
    int rc = 0;
    for (char *line = text->data + sizeof(HEAD) - 1; rc == 0 && line < end;) {
        char *newline = memchr(line, '\n', (size_t)(end - line));
        if (newline == NULL) {
            return -EINVAL;
        }
        *newline = '\0';
        if (has_folder) {
            rc = take_entry(line, same_folder, on_entry, data);
        } else if (str_starts_with(line, FOLDER_WORD)) {
            same_folder = strcmp(line + strlen(FOLDER_WORD), folder) == 0;
            has_folder = true;
        } else {
            return -EINVAL;
        }
        line = newline + 1;
    }
    return rc;
}

int file_journal_read(const char *path, const char *folder, file_journal_fn on_entry, void *data,
                      struct error *error)
{
    struct buf text;
    buf_init(&text, LIMIT_BYTES);
    int rc = read_file(path, &text);
    rc = rc != 0 ? rc : parse(&text, folder, on_entry, data);
    if (rc != 0) {
        error_set(error, "%s: %s", path, rc == -EINVAL ? "damaged" : strerror(-rc));
    }
    buf_finish(&text);
    return rc;
}
