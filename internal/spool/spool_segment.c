/*
 * Reading is pread() of header and payload; the page cache does the rest. Resynchronising looks for
 * the frame magic and believes a frame only with both CRCs and the segment's salt.
 */
#include "spool/spool_segment.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include "base/crc32c.h"
#include "base/str.h"

#define RESYNC_WINDOW_BYTES 65536

void spool_segment_name(uint64_t first_frame, char ret_name[SPOOL_SEGMENT_NAME_SIZE])
{
    (void)snprintf(ret_name, SPOOL_SEGMENT_NAME_SIZE, "%016" PRIx64 ".seg", first_frame);
}

static bool parse_name(const char *name, uint64_t *ret_number)
{
    if (strlen(name) != 20 || strcmp(name + 16, ".seg") != 0 ||
        strspn(name, "0123456789abcdef") != 16) {
        return false;
    }
    uint64_t number = 0;
    for (int i = 0; i < 16; i++) {
        unsigned digit = (unsigned)((unsigned char)name[i]);
        number = number << 4 | (digit <= '9' ? digit - '0' : digit - 'a' + 10);
    }
    *ret_number = number;
    return true;
}

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

int spool_segment_list(int dir_fd, uint64_t **ret_numbers, size_t *ret_count)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        int rc = -errno;
        (void)close(fd);
        return rc;
    }
    struct buf numbers;
    buf_init(&numbers, 0);
    int rc = buf_reserve(&numbers, sizeof(uint64_t));
    for (struct dirent *entry; rc == 0 && (entry = readdir(dir)) != NULL;) {
        uint64_t number;
        if (parse_name(entry->d_name, &number)) {
            rc = buf_append(&numbers, &number, sizeof(number));
        }
    }
    (void)closedir(dir);
    if (rc != 0) {
        buf_finish(&numbers);
        return rc;
    }
    *ret_count = numbers.size / sizeof(uint64_t);
    *ret_numbers = (uint64_t *)(void *)numbers.data;
    qsort(*ret_numbers, *ret_count, sizeof(uint64_t), compare_numbers);
    return 0;
}

/* Reads exactly size bytes: 1, 0 when the file is shorter, or a negative errno. */
static int read_at(int fd, void *bytes, size_t size, uint64_t offset)
{
    size_t done = 0;
    while (done < size) {
        ssize_t n = pread(fd, (char *)bytes + done, size - done, (off_t)(offset + done));
        if (n < 0 && errno != EINTR) {
            return errno == EIO ? -EINVAL : -errno; /* a bad sector is damage like any other */
        }
        if (n == 0) {
            return 0;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return 1;
}

/* Fills the header from the first good frame. */
static int make_up_header(struct spool_segment *segment, uint64_t first_frame)
{
    struct spool_frame_header header;
    const char *payload;
    int rc = spool_segment_read(segment, &header, &payload);
    if (rc == -EINVAL) {
        rc = spool_segment_resync(segment, first_frame - 1);
        rc = rc == 1 ? spool_segment_read(segment, &header, &payload) : rc;
    }
    segment->offset = SPOOL_SEGMENT_HEADER_BYTES;
    if (rc != 1) {
        return rc == 0 ? -EINVAL : rc;
    }
    segment->header = (struct spool_segment_header){.first_frame = first_frame,
                                                    .first_record = header.first_record,
                                                    .bytes_before = header.bytes_before,
                                                    .salt = header.salt};
    return 0;
}

int spool_segment_open(struct spool_segment *segment, int dir_fd, uint64_t first_frame)
{
    char name[SPOOL_SEGMENT_NAME_SIZE];
    unsigned char header[SPOOL_SEGMENT_HEADER_BYTES];
    spool_segment_name(first_frame, name);
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return -errno;
    }
    segment->fd = fd;
    segment->offset = SPOOL_SEGMENT_HEADER_BYTES;
    segment->zstd = NULL;
    buf_init(&segment->stored, 0);
    buf_init(&segment->raw, 0);
    int rc = read_at(fd, header, sizeof(header), 0);
    rc = rc == 1 ? spool_segment_header_decode(header, &segment->header) : rc == 0 ? -EINVAL : rc;
    if (rc == -EINVAL || (rc == 0 && segment->header.first_frame != first_frame)) {
        rc = make_up_header(segment, first_frame);
    }
    segment->salted = rc == 0;
    if (rc != 0) {
        spool_segment_close(segment);
    }
    return rc;
}

void spool_segment_close(struct spool_segment *segment)
{
    if (segment->fd > 0) {
        (void)close(segment->fd);
        buf_finish(&segment->stored);
        buf_finish(&segment->raw);
        (void)ZSTD_freeDCtx(segment->zstd);
    }
    *segment = (struct spool_segment){0};
}

static int decompress(struct spool_segment *segment, const struct spool_frame_header *header)
{
    if (segment->zstd == NULL) {
        segment->zstd = ZSTD_createDCtx();
    }
    buf_clear(&segment->raw);
    int rc = segment->zstd == NULL ? -ENOMEM
                                   : buf_reserve(&segment->raw, (size_t)header->raw_bytes + 1);
    if (rc != 0) {
        return rc;
    }
    size_t size = ZSTD_decompressDCtx(segment->zstd, segment->raw.data, header->raw_bytes,
                                      segment->stored.data, header->stored_bytes);
    if (ZSTD_isError(size) || size != header->raw_bytes) {
        return -EINVAL;
    }
    segment->raw.size = size;
    return 0;
}

static int read_payload(struct spool_segment *segment, const struct spool_frame_header *header,
                        const char **ret_payload)
{
    buf_clear(&segment->stored);
    int rc = buf_reserve(&segment->stored, (size_t)header->stored_bytes + 1);
    if (rc != 0) {
        return rc;
    }
    rc = read_at(segment->fd, segment->stored.data, header->stored_bytes,
                 segment->offset + SPOOL_FRAME_HEADER_BYTES);
    if (rc != 1) {
        return rc;
    }
    if (crc32c(0, segment->stored.data, header->stored_bytes) != header->payload_crc) {
        return -EINVAL;
    }
    *ret_payload = segment->stored.data;
    if (header->codec == SPOOL_CODEC_ZSTD) {
        rc = decompress(segment, header);
        *ret_payload = segment->raw.data;
        return rc == 0 ? 1 : rc;
    }
    return 1;
}

static uint64_t file_size(int fd)
{
    struct stat status;
    return fstat(fd, &status) == 0 ? (uint64_t)status.st_size : 0;
}

int spool_segment_read(struct spool_segment *segment, struct spool_frame_header *ret_header,
                       const char **ret_payload)
{
    unsigned char bytes[SPOOL_FRAME_HEADER_BYTES];
    int rc = read_at(segment->fd, bytes, sizeof(bytes), segment->offset);
    if (rc != 1) {
        return rc;
    }
    rc = spool_frame_header_decode(bytes, ret_header);
    if (rc == 0 && segment->salted && ret_header->salt != segment->header.salt) {
        rc = -EINVAL; /* a line that looks like a frame */
    }
    if (rc != 0) {
        return rc;
    }
    uint64_t end = segment->offset + SPOOL_FRAME_HEADER_BYTES + ret_header->stored_bytes;
    if (end > file_size(segment->fd)) {
        return 0;
    }
    rc = ret_payload != NULL ? read_payload(segment, ret_header, ret_payload) : 1;
    if (rc == 1) {
        segment->offset = end;
    }
    return rc;
}

/* Whether a good frame with a number above `after` is at `offset`. */
static bool is_good_frame(struct spool_segment *segment, uint64_t offset, uint64_t after)
{
    struct spool_frame_header header;
    const char *payload;
    uint64_t before = segment->offset;
    segment->offset = offset;
    bool good = spool_segment_read(segment, &header, &payload) == 1 && header.frame > after;
    segment->offset = before;
    return good;
}

int spool_segment_resync(struct spool_segment *segment, uint64_t after)
{
    char window[RESYNC_WINDOW_BYTES];
    unsigned char bytes[SPOOL_FRAME_HEADER_BYTES];
    struct spool_frame_header header;
    /* Where only the payload is damaged, the header says where the next frame is. */
    if (read_at(segment->fd, bytes, sizeof(bytes), segment->offset) == 1 &&
        spool_frame_header_decode(bytes, &header) == 0) {
        uint64_t end = segment->offset + SPOOL_FRAME_HEADER_BYTES + header.stored_bytes;
        if (is_good_frame(segment, end, after)) {
            segment->offset = end;
            return 1;
        }
    }
    uint64_t from = segment->offset + 1;
    for (;;) {
        ssize_t n = pread(segment->fd, window, sizeof(window), (off_t)from);
        if (n < 0 && errno != EIO) {
            return -errno;
        }
        if (n < SPOOL_FRAME_HEADER_BYTES) {
            return 0;
        }
        size_t searched = (size_t)n - SPOOL_FRAME_HEADER_BYTES + 1;
        const char *end = window + searched + 3;
        for (const char *p = window; (p = memmem(p, (size_t)(end - p), "LFRM", 4)) != NULL; p++) {
            uint64_t at = from + (uint64_t)(p - window);
            if (is_good_frame(segment, at, after)) {
                segment->offset = at;
                return 1;
            }
        }
        from += searched;
    }
}
