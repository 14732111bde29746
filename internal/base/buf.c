/* Doubling growth; sizes are checked before they are added. */
#include "base/buf.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_init(struct buf *buf, size_t limit_bytes)
{
    *buf = (struct buf){.limit_bytes = limit_bytes == 0 ? SIZE_MAX / 2 : limit_bytes};
}

void buf_init_fixed(struct buf *buf, char *storage, size_t storage_bytes)
{
    *buf = (struct buf){
        .data = storage, .capacity = storage_bytes, .limit_bytes = storage_bytes, .fixed = true};
}

void buf_finish(struct buf *buf)
{
    if (!buf->fixed) {
        free(buf->data);
        buf->data = NULL;
        buf->capacity = 0;
    }
    buf->size = 0;
}

int buf_reserve(struct buf *buf, size_t more)
{
    if (more > buf->limit_bytes || buf->size > buf->limit_bytes - more) {
        return -E2BIG;
    }
    size_t needed = buf->size + more;
    if (needed <= buf->capacity) {
        return 0;
    }
    size_t capacity = buf->capacity < 64 ? 64 : buf->capacity;
    while (capacity < needed) {
        capacity *= 2;
    }
    if (capacity > buf->limit_bytes) {
        capacity = buf->limit_bytes;
    }
    char *data = realloc(buf->data, capacity);
    if (data == NULL) {
        return -ENOMEM;
    }
    buf->data = data;
    buf->capacity = capacity;
    return 0;
}

int buf_append(struct buf *buf, const void *bytes, size_t size)
{
    if (size == 0) {
        return 0;
    }
    int rc = buf_reserve(buf, size);
    if (rc != 0) {
        return rc;
    }
    memcpy(buf->data + buf->size, bytes, size);
    buf->size += size;
    return 0;
}

int buf_append_str(struct buf *buf, const char *text)
{
    return buf_append(buf, text, strlen(text));
}

int buf_printf(struct buf *buf, const char *format, ...)
{
    char small[256];
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(small, sizeof(small), format, args);
    va_end(args);
    int rc = n < 0 ? -EINVAL : 0;
    if (rc == 0 && (size_t)n < sizeof(small)) {
        rc = buf_append(buf, small, (size_t)n);
    } else if (rc == 0) {
        char *text = malloc((size_t)n + 1);
        rc = text == NULL ? -ENOMEM : 0;
        if (rc == 0) {
            (void)vsnprintf(text, (size_t)n + 1, format, again);
            rc = buf_append(buf, text, (size_t)n);
        }
        free(text);
    }
    va_end(again);
    return rc;
}

const char *buf_terminated(struct buf *buf)
{
    if (buf_reserve(buf, 1) != 0) {
        return NULL;
    }
    buf->data[buf->size] = '\0';
    return buf->data;
}

void buf_consume(struct buf *buf, size_t count)
{
    assert(count <= buf->size);
    buf->size -= count;
    if (count > 0 && buf->size > 0) {
        memmove(buf->data, buf->data + count, buf->size);
    }
}

void buf_clear(struct buf *buf)
{
    buf->size = 0;
}
