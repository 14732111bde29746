/*
 * Segments as files: listing, opening, and reading frames one behind the other. Used by recovery,
 * readers and search. One thread per object; the writer may append meanwhile.
 */
#pragma once

#include "base/error.h"
#include "spool/spool_format.h"

#define SPOOL_SEGMENT_NAME_SIZE 24

void spool_segment_name(uint64_t first_frame, char ret_name[SPOOL_SEGMENT_NAME_SIZE]);
/* Numbers of the first frames of all segments, ascending. Caller frees with free(). */
int spool_segment_list(int dir_fd, uint64_t **ret_numbers, size_t *ret_count)
    __attribute__((warn_unused_result));

struct spool_segment {
    int fd;
    uint64_t offset; /* of the next frame */
    struct spool_segment_header header;
    bool salted; /* header.salt is known; frames with another one are none */
    struct buf stored;
    struct buf raw;
    void *zstd;
};

/* The segment must be zeroed. A damaged header is made up for by the name and the first good frame.
 * Returns 0, or a negative errno: -ENOENT when it was unlinked, -EINVAL when there is no good frame
 * either, -EPROTONOSUPPORT for another version. */
int spool_segment_open(struct spool_segment *segment, int dir_fd, uint64_t first_frame)
    __attribute__((warn_unused_result));
void spool_segment_close(struct spool_segment *segment);

/*
 * Reads the frame at `offset` and moves behind it. header->raw_bytes of payload are at *ret_payload
 * until the next call. With ret_payload NULL only the header is read and the payload passed over.
 * Returns 1; 0 at the end of the file (also within a frame that is not all there yet); -EINVAL when
 * what is there is no frame or damaged (offset stays); another negative errno on I/O trouble.
 */
int spool_segment_read(struct spool_segment *segment, struct spool_frame_header *ret_header,
                       const char **ret_payload) __attribute__((warn_unused_result));
/* After -EINVAL: moves to the next good frame with a number above `after`. Returns 1, 0 when there is
 * none, or a negative errno. */
int spool_segment_resync(struct spool_segment *segment, uint64_t after)
    __attribute__((warn_unused_result));
