/*
 * The files of a file sink: appending, rotation, and what makes each line arrive exactly once.
 *
 * A file is known by its path below the store's folder, and has: the bytes that are accounted for
 * (from records before next_record) and the bytes that it has. Where it has more, they were written
 * before a kill or by a write that broke off; what is appended then is compared with them, and
 * only what is missing is written. Before a file is used that the journal does not have, and before
 * a rotation, the journal is stored; so a file of another inode than the journal's was begun
 * since, with nothing accounted for.
 *
 * Folders are walked component by component without following links. One thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct file_store;

struct file_store_options {
    const char *folder;       /* with its slash; made where it is missing; all borrowed */
    const char *journal_path; /* outside of it */
    uint64_t rotate_bytes;    /* 0: never by size */
    int64_t rotate_age_ns;    /* 0: never by age */
    uint64_t keep;            /* rotated files kept of each; 0: all */
    int64_t keep_age_ns;      /* rotated files older than this go at a rotation; 0: never */
    bool gzip;                /* rotated files are compressed */
};

/* -ENOMEM. A folder that can't be made is no error here, but of file_store_write(). */
int file_store_create(const struct file_store_options *options, struct file_store **ret_store,
                      struct error *error) __attribute__((warn_unused_result));
/* Stores nothing; NULL is ignored. */
void file_store_destroy(struct file_store *store);

/* Takes one line (with its newline) for a file; it is written by file_store_write(). A line that
 * the file has already (by its number) is left out. -ENOMEM. */
int file_store_add(struct file_store *store, const char *path, uint64_t number, const char *line,
                   size_t size) __attribute__((warn_unused_result));
/* Writes all that was taken. After an error (ENOSPC, EACCES ...) the same lines may be added again, and
 * what of them was written is not written twice. Clears what was taken in any case. */
int file_store_write(struct file_store *store, struct error *error)
    __attribute__((warn_unused_result));
/* Syncs what was written and stores the journal, for a cursor that will stand at next_record. */
int file_store_settle(struct file_store *store, uint64_t next_record)
    __attribute__((warn_unused_result));
/* A step of compressing rotated files; true when there is more to do. */
bool file_store_work(struct file_store *store);
