/*
 * fake_text: a growing run of bytes. Single thread; ends the program when memory ends, as all of
 * fake_dockerd does. All zero is empty.
 */
#ifndef FAKE_TEXT_H
#define FAKE_TEXT_H

#include <stddef.h>
#include <stdint.h>

struct fake_text {
    char *data;
    size_t len;
    size_t room;
};

/* malloc and friends that do not fail. The caller frees. */
void *fake_allocate(size_t count, size_t size);
void *fake_resize(void *memory, size_t count, size_t size);
char *fake_copy(const char *text);

/* Room for count bytes at the end; the caller writes there and adds to len. */
char *fake_text_reserve(struct fake_text *text, size_t count);
void fake_text_add(struct fake_text *text, const void *data, size_t len);
void fake_text_put(struct fake_text *text, const char *string);
void fake_text_printf(struct fake_text *text, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A JSON string with its quotes. Bytes that are no ASCII go as they are. */
void fake_text_json(struct fake_text *text, const char *data, size_t len);
void fake_text_drop_front(struct fake_text *text, size_t count);
void fake_text_finish(struct fake_text *text);

#endif
