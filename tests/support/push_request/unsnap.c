/* https://github.com/google/snappy/blob/main/format_description.txt */
#include <stdlib.h>
#include <string.h>

#include "push_request/push_request.h"

struct unsnap {
    const unsigned char *in, *end;
    char *out;
    size_t size, room;
};

static bool read_size(struct unsnap *unsnap)
{
    for (unsigned shift = 0; shift < 35 && unsnap->in < unsnap->end; shift += 7) {
        unsigned char byte = *unsnap->in++;
        unsnap->room |= (size_t)(byte & 127U) << shift;
        if (byte < 128) {
            return true;
        }
    }
    return false;
}

/* A little-endian number of n bytes. */
static bool read_number(struct unsnap *unsnap, size_t n, size_t *ret_number)
{
    if ((size_t)(unsnap->end - unsnap->in) < n) {
        return false;
    }
    *ret_number = 0;
    for (size_t i = 0; i < n; i++) {
        *ret_number |= (size_t)unsnap->in[i] << (8 * i);
    }
    unsnap->in += n;
    return true;
}

static bool put_literal(struct unsnap *unsnap, unsigned tag)
{
    size_t len = tag >> 2;
    if (len >= 60 && !read_number(unsnap, len - 59, &len)) {
        return false;
    }
    len++;
    if (len > (size_t)(unsnap->end - unsnap->in) || len > unsnap->room - unsnap->size) {
        return false;
    }
    memcpy(unsnap->out + unsnap->size, unsnap->in, len);
    unsnap->in += len;
    unsnap->size += len;
    return true;
}

static bool put_copy(struct unsnap *unsnap, unsigned tag)
{
    size_t offset;
    size_t len = (tag >> 2) + 1;
    if ((tag & 3U) == 1) {
        len = (tag >> 2 & 7U) + 4;
        if (!read_number(unsnap, 1, &offset)) {
            return false;
        }
        offset |= (size_t)(tag >> 5) << 8;
    } else if (!read_number(unsnap, (tag & 3U) == 2 ? 2 : 4, &offset)) {
        return false;
    }
    if (offset == 0 || offset > unsnap->size || len > unsnap->room - unsnap->size) {
        return false;
    }
    for (size_t i = 0; i < len; i++, unsnap->size++) { /* the two may overlap */
        unsnap->out[unsnap->size] = unsnap->out[unsnap->size - offset];
    }
    return true;
}

char *push_unsnap(const void *bytes, size_t size, size_t limit, size_t *ret_size)
{
    struct unsnap unsnap = {.in = bytes};
    unsnap.end = unsnap.in + size;
    if (!read_size(&unsnap) || unsnap.room > limit) {
        return NULL;
    }
    unsnap.out = malloc(unsnap.room + 1);
    bool good = unsnap.out != NULL;
    while (good && unsnap.in < unsnap.end) {
        unsigned tag = *unsnap.in++;
        good = (tag & 3U) == 0 ? put_literal(&unsnap, tag) : put_copy(&unsnap, tag);
    }
    if (!good || unsnap.size != unsnap.room) {
        free(unsnap.out);
        return NULL;
    }
    unsnap.out[unsnap.size] = '\0';
    *ret_size = unsnap.size;
    return unsnap.out;
}
