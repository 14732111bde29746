/*
 * The start: finds the newest segment that opens with a whole table of positions, replays positions
 * from there, and cuts off a tail that never was durable (see the end of spool_format.h's opening).
 * Damage is counted and passed over; only a newer format and trouble of the folder stop the start.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "spool/spool_entries.h"
#include "spool/spool_private.h"
#include "spool/spool_segment.h"

struct recovery {
    struct spool *spool;
    uint64_t *numbers;
    size_t count;
    uint64_t last_frame; /* last good one */
    struct error *error;
};

/* Whether the segment can be opened and its first frame is a good table; 1, 0 or an errno. */
static int opens_with_table(struct recovery *recovery, size_t index)
{
    struct spool_segment segment = {0};
    int rc = spool_segment_open(&segment, recovery->spool->dir_fd, recovery->numbers[index]);
    if (rc == -EPROTONOSUPPORT) {
        error_set(recovery->error,
                  "the spool's segment %016" PRIx64 " has another format version than %d; use the "
                  "log_capturer that wrote it, or another --data-dir",
                  recovery->numbers[index], SPOOL_FORMAT_VERSION);
        return rc;
    }
    if (rc != 0) {
        return 0;
    }
    struct spool_frame_header header;
    const char *payload;
    bool table = spool_segment_read(&segment, &header, &payload) == 1 &&
                 (header.flags & SPOOL_FRAME_TABLE) != 0;
    spool_segment_close(&segment);
    return table;
}

static int apply_frame(struct recovery *recovery, const struct spool_frame_header *header,
                       const char *payload)
{
    struct spool *spool = recovery->spool;
    struct spool_entries entries;
    struct spool_entry entry;
    uint64_t line_bytes = header->bytes_before;
    spool_entries_init(&entries, payload, header->raw_bytes);
    for (;;) {
        int rc = spool_entries_next(&entries, &entry);
        if (rc != 0) {
            return rc;
        }
        if (entry.kind == SPOOL_ENTRY_END) {
            break;
        }
        if (entry.kind == SPOOL_ENTRY_RECORD) {
            line_bytes += entry.record.line_bytes;
        } else if (entry.kind == SPOOL_ENTRY_POSITION) {
            rc = spool_position_store(spool, entry.key, entry.key_bytes, entry.position,
                                      entry.position_bytes);
            if (rc == -ENOMEM) {
                return rc;
            }
        }
    }
    if (header->first_record > spool->next_record && recovery->last_frame > 0) {
        metric_add(&spool->lost, (int64_t)(header->first_record - spool->next_record));
    }
    recovery->last_frame = header->frame;
    spool->next_frame = header->frame + 1;
    spool->next_record = header->first_record + header->records;
    spool->line_bytes = line_bytes;
    return 0;
}

static int truncate_tail(struct recovery *recovery, uint64_t number, uint64_t offset)
{
    struct spool *spool = recovery->spool;
    char name[SPOOL_SEGMENT_NAME_SIZE];
    struct stat status;
    spool_segment_name(number, name);
    int fd = openat(spool->dir_fd, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &status) != 0) {
        int rc = -errno;
        if (fd >= 0) {
            (void)close(fd);
        }
        return rc;
    }
    int rc = 0;
    if ((uint64_t)status.st_size > offset) {
        metric_add(&spool->torn_bytes, (int64_t)((uint64_t)status.st_size - offset));
        /* Durable, before new frames take the numbers of those cut off. */
        rc = ftruncate(fd, (off_t)offset) == 0 && fsync(fd) == 0 ? 0 : -errno;
    }
    (void)close(fd);
    return rc;
}

/* Whether any frame from `offset` on says that frame `missing` was durable. */
static bool was_durable(struct spool_segment *segment, uint64_t missing)
{
    uint64_t here = segment->offset;
    uint64_t last = missing;
    bool durable = false;
    for (int rc = 1; rc == 1 && !durable;) {
        struct spool_frame_header header;
        rc = spool_segment_read(segment, &header, NULL);
        if (rc == 1) {
            durable = header.durable_frame >= missing;
            last = header.frame;
        } else if (rc == -EINVAL) {
            rc = spool_segment_resync(segment, last);
        }
    }
    segment->offset = here;
    return durable;
}

/* What is at the segment's place is no good frame. Returns 1 to go on behind it, 0 when the segment
 * ends there. */
static int pass_damage(struct recovery *recovery, struct spool_segment *segment, bool newest)
{
    struct spool *spool = recovery->spool;
    uint64_t bad_offset = segment->offset;
    uint64_t missing = recovery->last_frame + 1;
    int found = spool_segment_resync(segment, recovery->last_frame);
    if (found == 1 && (!newest || was_durable(segment, missing))) {
        metric_add(&spool->damaged, 1);
        return 1;
    }
    if (newest) {
        return truncate_tail(recovery, segment->header.first_frame, bad_offset);
    }
    metric_add(&spool->damaged, 1); /* segments are synced before the next one begins */
    return found < 0 ? found : 0;
}

static int replay_segment(struct recovery *recovery, size_t index)
{
    struct spool_segment segment = {0};
    struct spool *spool = recovery->spool;
    bool newest = index + 1 == recovery->count;
    int rc = spool_segment_open(&segment, spool->dir_fd, recovery->numbers[index]);
    if (rc == -EINVAL || rc == -ENOENT) {
        metric_add(&spool->damaged, newest ? 0 : 1);
        return 0;
    }
    if (rc != 0) {
        return rc;
    }
    if (segment.header.first_frame > spool->next_frame) {
        recovery->last_frame = segment.header.first_frame - 1;
        spool->next_frame = segment.header.first_frame;
        spool->next_record = segment.header.first_record;
        spool->line_bytes = segment.header.bytes_before;
    }
    for (rc = 1; rc == 1;) {
        struct spool_frame_header header;
        const char *payload;
        rc = spool_segment_read(&segment, &header, &payload);
        if (rc == 1) {
            int applied = apply_frame(recovery, &header, payload);
            rc = applied == 0 || applied == -EINVAL ? 1 : applied;
            metric_add(&spool->damaged, applied == -EINVAL);
        } else if (rc == -EINVAL) {
            rc = pass_damage(recovery, &segment, newest);
        } else if (rc == 0) {
            rc = newest ? truncate_tail(recovery, segment.header.first_frame, segment.offset) : 0;
        }
    }
    spool_segment_close(&segment);
    return rc;
}

/* Numbers never go back, also where the newest segment could not be read at all. */
static void skip_used_numbers(struct recovery *recovery)
{
    struct spool *spool = recovery->spool;
    if (recovery->count > 0 && spool->next_frame <= recovery->numbers[recovery->count - 1]) {
        spool->next_frame = recovery->numbers[recovery->count - 1] + 1;
    }
}

int spool_recover(struct spool *spool, struct error *error)
{
    struct recovery recovery = {.spool = spool, .error = error};
    int rc = spool_segment_list(spool->dir_fd, &recovery.numbers, &recovery.count);
    size_t first = recovery.count;
    while (rc == 0 && first > 0) {
        int table = opens_with_table(&recovery, first - 1);
        if (table < 0) {
            rc = table;
        }
        first--;
        if (table == 1) {
            break;
        }
    }
    for (size_t i = first; rc == 0 && i < recovery.count; i++) {
        rc = replay_segment(&recovery, i);
    }
    if (rc == 0) {
        skip_used_numbers(&recovery);
        atomic_store(&spool->durable_frame, spool->next_frame - 1);
        atomic_store(&spool->durable_record, spool->next_record);
        atomic_store(&spool->durable_line_bytes, spool->line_bytes);
    } else if (rc != -EPROTONOSUPPORT) {
        error_set(error, "can't read the spool in %s: %s", spool->options.dir, strerror(-rc));
    }
    free(recovery.numbers);
    return rc;
}
