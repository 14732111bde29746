/* Doubling buffer; nothing else to know. */
#include "fake_dockerd/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *checked(void *memory)
{
    if (memory == NULL) {
        fputs("fake_dockerd: out of memory\n", stderr);
        exit(3);
    }
    return memory;
}

void *fake_allocate(size_t count, size_t size)
{
    return checked(calloc(count, size));
}

void *fake_resize(void *memory, size_t count, size_t size)
{
    return checked(reallocarray(memory, count, size));
}

char *fake_copy(const char *text)
{
    return checked(strdup(text));
}

char *fake_text_reserve(struct fake_text *text, size_t count)
{
    if (text->room - text->len < count) {
        size_t room = text->room < 256 ? 256 : text->room * 2;
        while (room - text->len < count) {
            room *= 2;
        }
        text->data = fake_resize(text->data, room, 1);
        text->room = room;
    }
    return text->data + text->len;
}

void fake_text_add(struct fake_text *text, const void *data, size_t len)
{
    if (len > 0) {
        memcpy(fake_text_reserve(text, len), data, len);
        text->len += len;
    }
}

void fake_text_put(struct fake_text *text, const char *string)
{
    fake_text_add(text, string, strlen(string));
}

void fake_text_printf(struct fake_text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (len > 0) {
        char *at = fake_text_reserve(text, (size_t)len + 1);
        va_start(args, format);
        vsnprintf(at, (size_t)len + 1, format, args);
        va_end(args);
        text->len += (size_t)len;
    }
}

void fake_text_json(struct fake_text *text, const char *data, size_t len)
{
    fake_text_put(text, "\"");
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)data[i];
        if (c < 0x20) {
            fake_text_printf(text, "\\u%04x", c);
        } else {
            if (c == '"' || c == '\\') {
                fake_text_put(text, "\\");
            }
            fake_text_add(text, &data[i], 1);
        }
    }
    fake_text_put(text, "\"");
}

void fake_text_drop_front(struct fake_text *text, size_t count)
{
    memmove(text->data, text->data + count, text->len - count);
    text->len -= count;
}

void fake_text_finish(struct fake_text *text)
{
    free(text->data);
    memset(text, 0, sizeof *text);
}
