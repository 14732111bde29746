/*
 * Looks for the last matches from the newest frame backwards. Origins are declared once in a
 * segment, so a segment is gone through forwards first: headers, and the payload of the frames that
 * declare any. Damage ends the look into a segment.
 */
#include <errno.h>
#include <stdlib.h>

#include "spool/spool_entries.h"
#include "spool/spool_private.h"
#include "spool/spool_search.h"
#include "spool/spool_segment.h"

#define LOOK_LIMIT_BYTES (256U * 1024U * 1024U)

struct recent {
    struct spool_matcher *matcher;
    const _Atomic bool *stop;
    uint64_t segment_number;
    struct spool_segment segment;
    struct spool_origins origins;
    uint64_t *offsets; /* of the segment's frames */
    size_t frame_count, frame_capacity;
    uint64_t *matches; /* numbers of matching records of one frame */
    size_t match_capacity;
    uint64_t head;   /* records from here on are not durable */
    size_t wanted;   /* matches still to be found */
    uint64_t begin;  /* the earliest one found */
    uint64_t looked; /* bytes of payload */
};

/* Room for one more; -ENOMEM. */
static int reserve(uint64_t **array, size_t *capacity, size_t count)
{
    if (count < *capacity) {
        return 0;
    }
    size_t larger = *capacity == 0 ? 256 : *capacity * 2;
    uint64_t *moved = realloc(*array, larger * sizeof(uint64_t));
    if (moved == NULL) {
        return -ENOMEM;
    }
    *array = moved;
    *capacity = larger;
    return 0;
}

/* The payload of the frame at offset; 1, or what spool_segment_read() returned. */
static int read_payload(struct recent *recent, uint64_t offset, struct spool_frame_header *header,
                        struct spool_entries *ret_entries)
{
    const char *payload;
    recent->segment.offset = offset;
    int rc = spool_segment_read(&recent->segment, header, &payload);
    if (rc == 1) {
        spool_entries_init(ret_entries, payload, header->raw_bytes);
    }
    return rc;
}

static int take_origins(struct recent *recent, uint64_t offset)
{
    struct spool_frame_header header;
    struct spool_entries entries;
    struct spool_entry entry = {.kind = SPOOL_ENTRY_POSITION};
    int rc = read_payload(recent, offset, &header, &entries);
    rc = rc == 1 ? 0 : -EINVAL;
    while (rc == 0 && entry.kind != SPOOL_ENTRY_END) {
        rc = spool_entries_next(&entries, &entry);
        if (rc == 0 && entry.kind == SPOOL_ENTRY_ORIGIN) {
            rc = spool_origins_take(&recent->origins, &entry);
        }
    }
    return rc;
}

/* Forwards: where the frames are, and who is in them. */
static void survey(struct recent *recent)
{
    struct spool_segment *segment = &recent->segment;
    struct spool_frame_header header;
    recent->frame_count = 0;
    while (!atomic_load(recent->stop)) {
        uint64_t offset = segment->offset;
        if (reserve(&recent->offsets, &recent->frame_capacity, recent->frame_count) != 0 ||
            spool_segment_read(segment, &header, NULL) != 1) {
            return;
        }
        uint64_t behind = segment->offset;
        if ((header.flags & SPOOL_FRAME_ORIGINS) != 0 && take_origins(recent, offset) != 0) {
            return;
        }
        segment->offset = behind;
        recent->offsets[recent->frame_count++] = offset;
    }
}

static bool is_match(struct recent *recent, const struct spool_entry *entry, uint64_t number)
{
    const struct record_origin *origin = spool_origins_find(&recent->origins, entry->origin_id);
    struct spool_item item = {.number = number,
                              .record = entry->record,
                              .origin = origin,
                              .segment = recent->segment_number,
                              .origin_id = entry->origin_id};
    return number < recent->head && origin != NULL && spool_matcher_matches(recent->matcher, &item);
}

static void look_into_frame(struct recent *recent, uint64_t offset)
{
    struct spool_frame_header header;
    struct spool_entries entries;
    struct spool_entry entry = {.kind = SPOOL_ENTRY_POSITION};
    size_t count = 0;
    if (read_payload(recent, offset, &header, &entries) != 1) {
        return;
    }
    uint64_t number = header.first_record;
    recent->looked += header.raw_bytes;
    while (spool_entries_next(&entries, &entry) == 0 && entry.kind != SPOOL_ENTRY_END) {
        if (entry.kind == SPOOL_ENTRY_RECORD && is_match(recent, &entry, number++) &&
            reserve(&recent->matches, &recent->match_capacity, count) == 0) {
            recent->matches[count++] = number - 1;
        }
    }
    size_t taken = count < recent->wanted ? count : recent->wanted;
    recent->wanted -= taken;
    if (taken > 0) {
        recent->begin = recent->matches[count - taken];
    }
}

static bool goes_on(const struct recent *recent)
{
    return recent->wanted > 0 && recent->looked < LOOK_LIMIT_BYTES && !atomic_load(recent->stop);
}

static void look_into_segment(struct recent *recent, int dir_fd, uint64_t number)
{
    recent->segment = (struct spool_segment){0};
    recent->segment_number = number;
    if (spool_segment_open(&recent->segment, dir_fd, number) == 0) {
        survey(recent);
        for (size_t i = recent->frame_count; i > 0 && goes_on(recent); i--) {
            look_into_frame(recent, recent->offsets[i - 1]);
        }
    }
    spool_segment_close(&recent->segment);
    spool_origins_clear(&recent->origins);
}

uint64_t spool_search_recent(struct spool *spool, struct spool_matcher *matcher, size_t count,
                             const _Atomic bool *stop)
{
    uint64_t head = atomic_load(&spool->durable_record);
    struct recent recent = {
        .matcher = matcher, .stop = stop, .head = head, .wanted = count, .begin = head};
    uint64_t *numbers = NULL;
    size_t segments = 0;
    if (spool_segment_list(spool->dir_fd, &numbers, &segments) == 0) {
        for (size_t i = segments; i > 0 && goes_on(&recent); i--) {
            look_into_segment(&recent, spool->dir_fd, numbers[i - 1]);
        }
    }
    spool_origins_finish(&recent.origins);
    free(numbers);
    free(recent.offsets);
    free(recent.matches);
    return recent.begin;
}
