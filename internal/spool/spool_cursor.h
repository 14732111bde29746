/*
 * A cursor: the named, durable place of one reader. It says which record comes next.
 *
 * File cursors/<name>: two slots of 32 bytes, written in turn, each
 *   0 8 sequence number of this write, little endian; the higher valid one counts
 *   8 8 number of the next record to read
 *  16 8 zero
 *  24 4 zero
 *  28 4 CRC-32C of bytes 0 to 27
 * A torn write leaves the other slot. One thread at a time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct spool_cursor_file {
    int fd;
    uint64_t sequence;
};

/* Opens or makes it; *record becomes where it stands, and stays for a new or unreadable one.
 * name: letters, digits, '-', '_', '.'; at most 64. -EINVAL otherwise. */
int spool_cursor_open(struct spool_cursor_file *cursor, int dir_fd, const char *name,
                      uint64_t *record, struct error *error) __attribute__((warn_unused_result));
/* Durable when it returns 0. */
int spool_cursor_store(struct spool_cursor_file *cursor, uint64_t record)
    __attribute__((warn_unused_result));
void spool_cursor_close(struct spool_cursor_file *cursor);
