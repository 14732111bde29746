/*
 * genline: the one line format of loggen, fake_dockerd and oracle.
 *
 *     <name> <o|e> <seq> <crc32> <filler...>
 *
 * seq counts per stream. The CRC (zlib's polynomial, 8 hex digits) covers every other byte of
 * the line: the head up to and with the blank before it, then all that follows it. So a line
 * that was cut, joined wrongly or altered anywhere does not pass. The filler is log-like words
 * and numbers, a function of stream and seq alone. A size too small for a filler gives the bare
 * head. Pure functions; any thread may call them.
 */
#ifndef GENLINE_H
#define GENLINE_H

#include <stddef.h>
#include <stdint.h>

#define GENLINE_NAME_MAX 128
/* What a line may be longer than its size, when that is smaller than the head, and what
 * genline_format may write beyond the line's end. */
#define GENLINE_SLACK 256

struct genline {
    const char *name; /* not terminated; borrowed from the line */
    size_t name_len;
    char stream; /* 'o' or 'e' */
    uint64_t seq;
};

enum genline_verdict {
    GENLINE_OK,
    GENLINE_FOREIGN, /* not of this format */
    GENLINE_CORRUPT, /* of this format, but the CRC denies it */
};

uint32_t genline_crc32(uint32_t crc, const char *data, size_t len);

/* Writes one line without newline, returns its length: size, or the head's length when that is
 * more. buf must hold size + GENLINE_SLACK bytes; name_len is at most GENLINE_NAME_MAX. */
size_t genline_format(char *buf, const struct genline *line, size_t size);

/* Fills ret_line unless the line is foreign; it borrows from data. */
enum genline_verdict genline_parse(const char *data, size_t len, struct genline *ret_line);

#endif
