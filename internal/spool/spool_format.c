/* Encoders write whole entries or nothing. Fields are put byte by byte: no alignment, no layout of
 * the compiler's, and gcc makes single moves of it. */
#include "spool/spool_format.h"

#include <errno.h>
#include <string.h>

#include "base/crc32c.h"

#define TAG_ORIGIN 0x01
#define TAG_POSITION 0x02
#define TAG_RECORD 0x10

static const unsigned char segment_magic[8] = {'L', 'C', 'S', 'P', 'O', 'O', 'L', '\n'};
static const unsigned char frame_magic[4] = {'L', 'F', 'R', 'M'};

static void put_u32(unsigned char *at, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        at[i] = (unsigned char)(value >> (8 * i));
    }
}

static void put_u64(unsigned char *at, uint64_t value)
{
    for (int i = 0; i < 8; i++) {
        at[i] = (unsigned char)(value >> (8 * i));
    }
}

static uint32_t get_u32(const unsigned char *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint64_t get_u64(const unsigned char *at)
{
    return (uint64_t)get_u32(at) | (uint64_t)get_u32(at + 4) << 32;
}

void spool_segment_header_encode(const struct spool_segment_header *header,
                                 unsigned char ret_bytes[SPOOL_SEGMENT_HEADER_BYTES])
{
    memset(ret_bytes, 0, SPOOL_SEGMENT_HEADER_BYTES);
    memcpy(ret_bytes, segment_magic, sizeof(segment_magic));
    put_u32(ret_bytes + 8, SPOOL_FORMAT_VERSION);
    put_u32(ret_bytes + 12, SPOOL_SEGMENT_HEADER_BYTES);
    put_u64(ret_bytes + 16, header->first_frame);
    put_u64(ret_bytes + 24, header->first_record);
    put_u64(ret_bytes + 32, header->bytes_before);
    put_u64(ret_bytes + 40, (uint64_t)header->created_ns);
    put_u32(ret_bytes + 48, header->salt);
    put_u32(ret_bytes + 60, crc32c(0, ret_bytes, 60));
}

int spool_segment_header_decode(const unsigned char bytes[SPOOL_SEGMENT_HEADER_BYTES],
                                struct spool_segment_header *ret_header)
{
    if (memcmp(bytes, segment_magic, sizeof(segment_magic)) != 0 ||
        get_u32(bytes + 60) != crc32c(0, bytes, 60)) {
        return -EINVAL;
    }
    if (get_u32(bytes + 8) != SPOOL_FORMAT_VERSION ||
        get_u32(bytes + 12) != SPOOL_SEGMENT_HEADER_BYTES) {
        return -EPROTONOSUPPORT;
    }
    *ret_header = (struct spool_segment_header){.first_frame = get_u64(bytes + 16),
                                                .first_record = get_u64(bytes + 24),
                                                .bytes_before = get_u64(bytes + 32),
                                                .created_ns = (int64_t)get_u64(bytes + 40),
                                                .salt = get_u32(bytes + 48)};
    return 0;
}

void spool_frame_header_encode(const struct spool_frame_header *header,
                               unsigned char ret_bytes[SPOOL_FRAME_HEADER_BYTES])
{
    memset(ret_bytes, 0, SPOOL_FRAME_HEADER_BYTES);
    memcpy(ret_bytes, frame_magic, sizeof(frame_magic));
    ret_bytes[4] = header->codec;
    ret_bytes[5] = header->flags;
    put_u32(ret_bytes + 8, header->stored_bytes);
    put_u32(ret_bytes + 12, header->raw_bytes);
    put_u64(ret_bytes + 16, header->frame);
    put_u64(ret_bytes + 24, header->first_record);
    put_u64(ret_bytes + 32, header->durable_frame);
    put_u64(ret_bytes + 40, header->bytes_before);
    put_u64(ret_bytes + 48, (uint64_t)header->min_time_ns);
    put_u64(ret_bytes + 56, (uint64_t)header->max_time_ns);
    put_u32(ret_bytes + 64, header->records);
    put_u32(ret_bytes + 68, header->salt);
    put_u32(ret_bytes + 72, header->payload_crc);
    put_u32(ret_bytes + 76, crc32c(0, ret_bytes, 76));
}

int spool_frame_header_decode(const unsigned char bytes[SPOOL_FRAME_HEADER_BYTES],
                              struct spool_frame_header *ret_header)
{
    if (memcmp(bytes, frame_magic, sizeof(frame_magic)) != 0 ||
        get_u32(bytes + 76) != crc32c(0, bytes, 76)) {
        return -EINVAL;
    }
    struct spool_frame_header header = {.codec = bytes[4],
                                        .flags = bytes[5],
                                        .stored_bytes = get_u32(bytes + 8),
                                        .raw_bytes = get_u32(bytes + 12),
                                        .frame = get_u64(bytes + 16),
                                        .first_record = get_u64(bytes + 24),
                                        .durable_frame = get_u64(bytes + 32),
                                        .bytes_before = get_u64(bytes + 40),
                                        .min_time_ns = (int64_t)get_u64(bytes + 48),
                                        .max_time_ns = (int64_t)get_u64(bytes + 56),
                                        .records = get_u32(bytes + 64),
                                        .salt = get_u32(bytes + 68),
                                        .payload_crc = get_u32(bytes + 72)};
    if (header.codec > SPOOL_CODEC_ZSTD || header.stored_bytes > SPOOL_FRAME_LIMIT_BYTES ||
        header.raw_bytes > SPOOL_FRAME_LIMIT_BYTES ||
        (header.codec == SPOOL_CODEC_NONE && header.stored_bytes != header.raw_bytes)) {
        return -EINVAL;
    }
    *ret_header = header;
    return 0;
}

/* ---- entries ---- */

static unsigned char *put_varint(unsigned char *at, uint64_t value)
{
    while (value >= 0x80) {
        *at++ = (unsigned char)(value | 0x80);
        value >>= 7;
    }
    *at++ = (unsigned char)value;
    return at;
}

static unsigned char *put_string(unsigned char *at, const void *bytes, size_t size)
{
    at = put_varint(at, size);
    if (size > 0) {
        memcpy(at, bytes, size);
    }
    return at + size;
}

#define VARINT_LIMIT 10

/* Reserves room; NULL and *ret_rc without it. */
static unsigned char *begin(struct buf *out, size_t most, int *ret_rc)
{
    *ret_rc = buf_reserve(out, most);
    return *ret_rc == 0 ? (unsigned char *)out->data + out->size : NULL;
}

static void commit(struct buf *out, const unsigned char *end)
{
    out->size = (size_t)((const char *)end - out->data);
}

int spool_put_origin(struct buf *out, uint32_t id, const struct record_origin *origin)
{
    const char *const texts[] = {origin->daemon, origin->container_id, origin->name, origin->image};
    size_t most = 1 + 2 * VARINT_LIMIT;
    for (size_t i = 0; i < 4; i++) {
        most += VARINT_LIMIT + strlen(texts[i]);
    }
    for (size_t i = 0; i < origin->label_count; i++) {
        most += 2 * VARINT_LIMIT + strlen(origin->labels[i].key) + strlen(origin->labels[i].value);
    }
    int rc;
    unsigned char *at = begin(out, most, &rc);
    if (at == NULL) {
        return rc;
    }
    *at++ = TAG_ORIGIN;
    at = put_varint(at, id);
    for (size_t i = 0; i < 4; i++) {
        at = put_string(at, texts[i], strlen(texts[i]));
    }
    at = put_varint(at, origin->label_count);
    for (size_t i = 0; i < origin->label_count; i++) {
        at = put_string(at, origin->labels[i].key, strlen(origin->labels[i].key));
        at = put_string(at, origin->labels[i].value, strlen(origin->labels[i].value));
    }
    commit(out, at);
    return 0;
}

int spool_put_position(struct buf *out, const char *key, const void *position, size_t size)
{
    int rc;
    size_t key_bytes = strlen(key);
    unsigned char *at = begin(out, 1 + 2 * VARINT_LIMIT + key_bytes + size, &rc);
    if (at == NULL) {
        return rc;
    }
    *at++ = TAG_POSITION;
    at = put_string(at, key, key_bytes);
    at = put_string(at, position, size);
    commit(out, at);
    return 0;
}

int spool_put_record(struct buf *out, uint32_t origin_id, int64_t *last_time_ns,
                     const struct record *record)
{
    int rc;
    unsigned char *at = begin(out, 2 + 3 * VARINT_LIMIT + record->line_bytes, &rc);
    if (at == NULL) {
        return rc;
    }
    /* Wraps on purpose: any two times have a difference modulo 2^64. */
    uint64_t delta = (uint64_t)record->time_ns - (uint64_t)*last_time_ns;
    *at++ = (unsigned char)(TAG_RECORD + record->stream);
    at = put_varint(at, origin_id);
    at = put_varint(at, delta << 1 ^ (0U - (delta >> 63)));
    *at++ = record->flags;
    at = put_string(at, record->line, record->line_bytes);
    *last_time_ns = record->time_ns;
    commit(out, at);
    return 0;
}
