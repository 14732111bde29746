/* See the header for the file's form. */
#include "spool/spool_cursor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32c.h"

#define SLOT_BYTES 32

static void put_u64(unsigned char *at, uint64_t value)
{
    for (int i = 0; i < 8; i++) {
        at[i] = (unsigned char)(value >> (8 * i));
    }
}

static uint64_t get_u64(const unsigned char *at)
{
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--) {
        value = value << 8 | at[i];
    }
    return value;
}

static void encode(uint64_t sequence, uint64_t record, unsigned char ret_slot[SLOT_BYTES])
{
    memset(ret_slot, 0, SLOT_BYTES);
    put_u64(ret_slot, sequence);
    put_u64(ret_slot + 8, record);
    uint32_t crc = crc32c(0, ret_slot, 28);
    for (int i = 0; i < 4; i++) {
        ret_slot[28 + i] = (unsigned char)(crc >> (8 * i));
    }
}

static int check_name(const char *name, struct error *error)
{
    size_t size = strlen(name);
    if (size == 0 || size > 64 || name[0] == '.' ||
        strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != size) {
        error_set(error, "'%.80s' can't name a cursor: use letters, digits, '-', '_' and '.'",
                  name);
        return -EINVAL;
    }
    return 0;
}

/* A new cursor's first place, its file and the folders they are in. */
static bool make_durable(struct spool_cursor_file *cursor, int dir_fd, uint64_t record)
{
    bool stored = spool_cursor_store(cursor, record) == 0;
    int folder = openat(dir_fd, "cursors", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) {
        return false;
    }
    stored = stored && fsync(folder) == 0 && fsync(dir_fd) == 0;
    (void)close(folder);
    return stored;
}

int spool_cursor_open(struct spool_cursor_file *cursor, int dir_fd, const char *name,
                      uint64_t *record, struct error *error)
{
    char path[80];
    unsigned char slots[2][SLOT_BYTES] = {{0}};
    int rc = check_name(name, error);
    if (rc != 0) {
        return rc;
    }
    (void)mkdirat(dir_fd, "cursors", 0700);
    (void)snprintf(path, sizeof(path), "cursors/%s", name);
    int fd = openat(dir_fd, path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        rc = -errno;
        error_set(error, "cursor %s: %s", path, strerror(-rc));
        return rc;
    }
    *cursor = (struct spool_cursor_file){.fd = fd};
    ssize_t n = pread(fd, slots, sizeof(slots), 0);
    if (n < 0) {
        rc = -errno;
        error_set(error, "cursor %s: %s", path, strerror(-rc));
        spool_cursor_close(cursor);
        return rc;
    }
    for (int i = 0; i < 2 && n >= (i + 1) * SLOT_BYTES; i++) {
        unsigned char check[SLOT_BYTES];
        uint64_t sequence = get_u64(slots[i]);
        encode(sequence, get_u64(slots[i] + 8), check);
        if (memcmp(check, slots[i], SLOT_BYTES) == 0 && sequence > cursor->sequence) {
            cursor->sequence = sequence;
            *record = get_u64(slots[i] + 8);
        }
    }
    if (cursor->sequence == 0) {
        /* On a full disk its first place is stored with the first commit that finds room. */
        (void)make_durable(cursor, dir_fd, *record);
    }
    return 0;
}

int spool_cursor_store(struct spool_cursor_file *cursor, uint64_t record)
{
    unsigned char slot[SLOT_BYTES];
    uint64_t sequence = cursor->sequence + 1;
    encode(sequence, record, slot);
    ssize_t n = pwrite(cursor->fd, slot, sizeof(slot), (off_t)(sequence % 2 * SLOT_BYTES));
    if (n != (ssize_t)sizeof(slot)) {
        return n < 0 ? -errno : -ENOSPC;
    }
    if (fdatasync(cursor->fd) != 0) {
        return -errno;
    }
    cursor->sequence = sequence;
    return 0;
}

void spool_cursor_close(struct spool_cursor_file *cursor)
{
    if (cursor->fd > 0) {
        (void)close(cursor->fd);
    }
    *cursor = (struct spool_cursor_file){0};
}
