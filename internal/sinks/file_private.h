/* What file_store.c (writing) and file_rotate.c (rotation, compression) share. */
#pragma once

#include "base/buf.h"
#include "base/list.h"
#include "base/map.h"
#include "sinks/file_store.h"

struct file_line {
    size_t end; /* in file->taken */
    uint64_t number;
};

struct file {
    struct map_node node; /* in store->files, by path */
    struct list used;     /* in store->used, the most recent last, while it is open */
    struct list touched;  /* in store->touched, while it has lines to write */
    struct list
        to_shrink; /* in store->to_shrink, while its newest rotated file is to be compressed */
    int fd;        /* -1: not open */
    uint64_t inode;
    uint64_t bytes; /* accounted for */
    uint64_t end;   /* of the file */
    uint64_t next_record;
    int64_t begun_s;
    int64_t used_ns; /* monotonic */
    bool dirty;      /* written, not synced */
    bool journaled;  /* the stored journal has it, with this inode or the one before a rotation */
    bool seen;       /* opened by this process */
    bool rotated;    /* by this process, and not opened since */
    bool needs_newline; /* what is there does not end a line */
    struct buf taken;
    struct file_line *lines;
    size_t line_count, line_capacity;
    char path[]; /* its last component is at name */
};

struct shrinking;

struct file_store {
    struct file_store_options options;
    int folder_fd;
    struct map files;
    struct list used, touched, to_shrink;
    size_t open_count;
    bool changed; /* the journal is not what is stored */
    struct shrinking *shrinking;
};

/* The last component of the file's path. */
const char *file_name(const struct file *file);
/* Opens it for appending; 0 when it is open. */
int file_open(struct file_store *store, struct file *file);
void file_close(struct file_store *store, struct file *file);
/* Its folder, made where it is missing: a descriptor or a negative errno. */
int file_open_folder(const struct file_store *store, const struct file *file);
int file_store_journal(struct file_store *store);

/* Moves the file aside and begins a new one. The journal must be stored. */
int file_rotate(struct file_store *store, struct file *file);
/* Takes up what a kill or a stop broke off. */
void file_rotate_resume(struct file_store *store, struct file *file);
/* Compresses to the end what concerns this file. */
void file_shrink_finish(struct file_store *store, struct file *file);
/* A step of the first in store->to_shrink; true when there is more. */
bool file_shrink_step(struct file_store *store);
void file_shrink_abort(struct file_store *store);
