/*
 * The spool's format on disk, version 1. Numbers are little endian; `varint` is LEB128 of at most
 * 10 bytes (as in Protocol Buffers), `zigzag` a varint of (n << 1) ^ (n >> 63), `string` a varint
 * length and the bytes.
 *
 * A spool is a folder with
 *   <16 hex digits>.seg   segments, named by the number of their first frame
 *   cursors/<name>        see spool_cursor.h
 *   lock                  held with flock(2) by the one writer
 *
 * Segment: a header of 64 bytes, then frames without gaps.
 *    0  8  "LCSPOOL\n"
 *    8  4  format version: 1
 *   12  4  bytes of this header: 64
 *   16  8  number of the first frame
 *   24  8  number of the first record
 *   32  8  bytes of lines in all records before it
 *   40  8  created, nanoseconds since 1970 UTC
 *   48  4  salt: a random number, the same in the headers of the segment's frames, so that a line
 *          that holds the bytes of a frame is not taken for one when damage is searched through
 *   52  8  zero
 *   60  4  CRC-32C of bytes 0 to 59
 *
 * Frame: a header of 80 bytes, then the payload as stored.
 *    0  4  "LFRM"
 *    4  1  codec of the payload: 0 none, 1 zstd
 *    5  1  flags: 1 opens a segment and holds the whole table of positions; 2 declares origins
 *    6  2  zero
 *    8  4  bytes of the payload as stored
 *   12  4  bytes of the payload after decompression
 *   16  8  number of the frame; counts from 1 through all segments
 *   24  8  number of its first record; counts from 0 through all segments
 *   32  8  number of the last frame that was durable when this one was written; 0: none
 *   40  8  bytes of lines in all records before it
 *   48  8  earliest time of its records, nanoseconds since 1970 UTC
 *   56  8  latest
 *   64  4  number of records
 *   68  4  salt of the segment
 *   72  4  CRC-32C of the payload as stored
 *   76  4  CRC-32C of bytes 0 to 75
 *
 * Payload: entries one behind the other, each with a tag of one byte.
 *   0x01 origin    varint id, strings daemon, container id, name, image, varint count of labels,
 *                  then two strings for each. Ids count from 0 in each segment and are declared
 *                  there before they are used.
 *   0x02 position  string key of the source, string position. An empty position forgets the key.
 *   0x10 + stream  record: varint origin id, zigzag difference of its time to that of the record
 *                  before it in this frame (the first: to 0), flags byte, string line.
 *
 * Why the header says what was durable: after a power cut an unsynced frame may be missing while a
 * later one is there. A frame that was durable once and is damaged now is skipped; one that never
 * was ends the log, together with all behind it, because their positions would vouch for it.
 *
 * Pure functions; any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/record.h"

#define SPOOL_FORMAT_VERSION 1
#define SPOOL_SEGMENT_HEADER_BYTES 64
#define SPOOL_FRAME_HEADER_BYTES 80
#define SPOOL_FRAME_LIMIT_BYTES (256U * 1024U * 1024U) /* a header that says more is damaged */

enum spool_codec { SPOOL_CODEC_NONE = 0, SPOOL_CODEC_ZSTD = 1 };
enum { SPOOL_FRAME_TABLE = 1, SPOOL_FRAME_ORIGINS = 2 };

struct spool_segment_header {
    uint64_t first_frame, first_record, bytes_before;
    int64_t created_ns;
    uint32_t salt;
};

struct spool_frame_header {
    uint8_t codec, flags;
    uint32_t stored_bytes, raw_bytes;
    uint64_t frame, first_record, durable_frame, bytes_before;
    int64_t min_time_ns, max_time_ns;
    uint32_t records;
    uint32_t payload_crc;
    uint32_t salt;
};

void spool_segment_header_encode(const struct spool_segment_header *header,
                                 unsigned char ret_bytes[SPOOL_SEGMENT_HEADER_BYTES]);
/* -EINVAL: no such header or damaged; -EPROTONOSUPPORT: another format version. */
int spool_segment_header_decode(const unsigned char bytes[SPOOL_SEGMENT_HEADER_BYTES],
                                struct spool_segment_header *ret_header)
    __attribute__((warn_unused_result));
void spool_frame_header_encode(const struct spool_frame_header *header,
                               unsigned char ret_bytes[SPOOL_FRAME_HEADER_BYTES]);
int spool_frame_header_decode(const unsigned char bytes[SPOOL_FRAME_HEADER_BYTES],
                              struct spool_frame_header *ret_header)
    __attribute__((warn_unused_result));

int spool_put_origin(struct buf *out, uint32_t id, const struct record_origin *origin)
    __attribute__((warn_unused_result));
int spool_put_position(struct buf *out, const char *key, const void *position, size_t size)
    __attribute__((warn_unused_result));
/* *last_time_ns is 0 for a frame's first record, and carried along. */
int spool_put_record(struct buf *out, uint32_t origin_id, int64_t *last_time_ns,
                     const struct record *record) __attribute__((warn_unused_result));
