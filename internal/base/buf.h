/*
 * The one byte buffer: grows on the heap up to a limit, or lives in fixed storage.
 * It belongs to whoever initialised it; one thread at a time.
 * The append functions are all or nothing: -ENOMEM (no memory) or -E2BIG (over the limit)
 * leave the contents as they were.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    char *data;
    size_t size;
    size_t capacity;
    size_t limit_bytes;
    bool fixed;
};

/* limit_bytes 0: no limit but memory. Allocates nothing yet. */
void buf_init(struct buf *buf, size_t limit_bytes);
/* Uses storage, which must outlive buf, and never the heap. */
void buf_init_fixed(struct buf *buf, char *storage, size_t storage_bytes);
/* Frees the heap part; buf may be used again as if just initialised. */
void buf_finish(struct buf *buf);

/* Makes room for `more` bytes behind the present ones. */
int buf_reserve(struct buf *buf, size_t more) __attribute__((warn_unused_result));
int buf_append(struct buf *buf, const void *bytes, size_t size) __attribute__((warn_unused_result));
int buf_append_str(struct buf *buf, const char *text) __attribute__((warn_unused_result));
int buf_printf(struct buf *buf, const char *format, ...)
    __attribute__((format(printf, 2, 3), warn_unused_result));
/* Puts a NUL behind the contents, not counted in size; returns data, or NULL without memory. */
const char *buf_terminated(struct buf *buf);

/* Drops the first `count` bytes (at most size). */
void buf_consume(struct buf *buf, size_t count);
/* Empties it and keeps the memory. */
void buf_clear(struct buf *buf);
