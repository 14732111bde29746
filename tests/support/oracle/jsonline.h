/*
 * jsonline: reads the few strings that the oracle needs out of one line of
 * `log_capturer search -o json`. It keeps to the structure (a member named "line" inside of
 * something else is not taken for the line) but is no validator: what cannot be read is -EBADMSG.
 */
#ifndef JSONLINE_H
#define JSONLINE_H

#include <stddef.h>

struct jsonline_text {
    char *data; /* not terminated; within the caller's buffer */
    size_t len;
};

/* An absent member has data NULL. */
struct jsonline {
    struct jsonline_text container_id;
    struct jsonline_text stream;
    struct jsonline_text line;
};

/* Escapes of the found strings are resolved in place, so the buffer is altered. */
int jsonline_parse(char *data, size_t len, struct jsonline *ret_line);

#endif
