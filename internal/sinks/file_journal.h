/*
 * The journal of a file sink: what each of its files held when the cursor was last stored. With it
 * the tails of the files and the cursor are reconciled after a kill.
 *
 *   log_capturer file sink 1
 *   folder <path>
 *   <inode> <bytes> <next record> <begun, s since 1970> <path>
 *   ...
 *   crc32c <of all before, 8 hexadecimal digits>
 *
 * It is replaced as a whole (a new file, synced, renamed). One thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

struct file_journal_entry {
    uint64_t inode;
    uint64_t bytes;       /* of the file that are from records before next_record */
    uint64_t next_record; /* the first that is not in it */
    int64_t begun_s;      /* when the file was begun */
    const char *path;     /* relative; of letters that file_path_expand() gives */
    bool same_folder;     /* reading: inode and bytes are of a file in the folder asked for */
};

typedef int (*file_journal_fn)(const struct file_journal_entry *entry, void *data);

/* Calls on_entry for each. -ENOENT: there is none; -EINVAL: damaged, with the reason. */
int file_journal_read(const char *path, const char *folder, file_journal_fn on_entry, void *data,
                      struct error *error) __attribute__((warn_unused_result));
/* Text for writing: begin, then any number of entries, then store. */
int file_journal_begin(struct buf *text, const char *folder) __attribute__((warn_unused_result));
int file_journal_add(struct buf *text, const struct file_journal_entry *entry)
    __attribute__((warn_unused_result));
/* Durable when it returns 0. */
int file_journal_store(struct buf *text, const char *path) __attribute__((warn_unused_result));
