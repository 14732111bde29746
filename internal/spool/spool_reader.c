/*
 * A reader goes from frame to frame by number. The next frame is taken from the memory ring when it
 * is there, else from the segment file at the place where the last one ended; a block in the ring
 * knows its place in the file too, so that a reader can fall behind and go on on disk.
 *
 * Origins are declared once in each segment, so a reader that begins in the middle of a segment
 * goes through that segment's frames that declare any.
 */
#include "spool/spool_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "spool/spool_cursor.h"
#include "spool/spool_entries.h"
#include "spool/spool_private.h"
#include "spool/spool_segment.h"

struct spool_reader {
    struct spool *spool; /* NULL: of a folder */
    int dir_fd;
    bool owns_dir;
    struct spool_segment segment; /* open when fd > 0 */
    uint64_t segment_number;      /* where we stand: 0 before the first one */
    uint64_t offset;
    uint64_t last_frame; /* the last one taken */
    uint64_t next_record;
    uint64_t line_bytes; /* of records before next_record */
    int64_t since_ns, until_ns;
    uint64_t skipped, damaged;

    /* the present frame */
    struct spool_block *block; /* referenced while it is from memory */
    struct spool_frame_header header;
    struct spool_entries entries;
    bool in_frame;
    uint64_t frame_record; /* number of the record that `entries` gives next */
    struct spool_origins origins;

    struct spool_cursor_state state;
    _Atomic uint64_t done_record, done_line_bytes; /* for the lag */
    struct spool_cursor_file file;
    bool has_cursor;
    bool woken;                               /* under spool->lock */
    bool damage_passed;                       /* since the last good frame */
    uint64_t damaged_segment, damaged_offset; /* of the last damage */
    struct metric lag_records, lag_bytes, dropped_limit, dropped_damaged;
};

/* ---- frames ---- */

static void drop_block(struct spool_reader *reader)
{
    spool_block_unref(reader->block);
    reader->block = NULL;
}

static void enter_segment(struct spool_reader *reader, uint64_t number, uint64_t offset)
{
    if (number != reader->segment_number) {
        spool_origins_clear(&reader->origins);
        spool_segment_close(&reader->segment);
    }
    reader->segment_number = number;
    reader->offset = offset;
}

/* Takes the frame behind the last one from the ring; false when it is not there. */
static bool take_from_ring(struct spool_reader *reader)
{
    struct spool *spool = reader->spool;
    if (spool == NULL || reader->last_frame == 0 ||
        atomic_load(&spool->durable_frame) == reader->last_frame) {
        return false;
    }
    struct spool_block *found = NULL;
    struct list *link;
    struct list *next;
    (void)pthread_mutex_lock(&spool->lock);
    list_for_each_safe(link, next, &spool->ring)
    {
        struct spool_block *block = container_of(link, struct spool_block, link);
        if (block->header.frame > reader->last_frame) {
            if (block->header.frame == reader->last_frame + 1) {
                found = block;
                (void)atomic_fetch_add(&found->references, 1);
            }
            break;
        }
    }
    (void)pthread_mutex_unlock(&spool->lock);
    if (found == NULL) {
        return false;
    }
    drop_block(reader);
    reader->block = found;
    reader->header = found->header;
    enter_segment(reader, found->segment, found->offset);
    spool_entries_init(&reader->entries, found->payload, found->size);
    return true;
}

/* The number of the segment behind the present one: 1, 0 when there is none, or an errno. */
static int find_next_segment(const struct spool_reader *reader, uint64_t *ret_number)
{
    uint64_t *numbers;
    size_t count;
    int rc = spool_segment_list(reader->dir_fd, &numbers, &count);
    if (rc != 0) {
        return rc;
    }
    for (size_t i = 0; rc == 0 && i < count; i++) {
        bool durable = reader->spool == NULL ||
                       numbers[i] <= atomic_load(&reader->spool->durable_frame);
        if (numbers[i] > reader->segment_number && durable) {
            *ret_number = numbers[i];
            rc = 1;
        }
    }
    free(numbers);
    return rc;
}

static int open_present_segment(struct spool_reader *reader)
{
    if (reader->segment.fd > 0) {
        return 0;
    }
    return spool_segment_open(&reader->segment, reader->dir_fd, reader->segment_number);
}

static bool is_in_time(const struct spool_reader *reader, const struct spool_frame_header *header)
{
    return header->records > 0 && header->max_time_ns >= reader->since_ns &&
           header->min_time_ns <= reader->until_ns;
}

/* What should have come between the last frame and this one is gone. */
static void count_jump(struct spool_reader *reader, const struct spool_frame_header *header)
{
    if (header->first_record > reader->next_record) {
        uint64_t gone = header->first_record - reader->next_record;
        reader->skipped += gone;
        metric_add(reader->damage_passed ? &reader->dropped_damaged : &reader->dropped_limit,
                   (int64_t)gone);
        reader->next_record = header->first_record;
    }
    reader->damage_passed = false;
}

/* Reads the frame at the present place: 1 when it holds something for us, 2 when it was passed
 * over, 0 at the end of the segment or of what is durable, -EINVAL damaged, or an errno. */
static int read_frame(struct spool_reader *reader)
{
    struct spool_segment *segment = &reader->segment;
    struct spool_frame_header header;
    segment->offset = reader->offset;
    int rc = spool_segment_read(segment, &header, NULL);
    if (rc != 1) {
        return rc;
    }
    if (reader->spool != NULL && header.frame > atomic_load(&reader->spool->durable_frame)) {
        return 0;
    }
    bool done = header.first_record + header.records <= reader->next_record;
    bool needed = (header.flags & SPOOL_FRAME_ORIGINS) != 0 ||
                  (!done && is_in_time(reader, &header));
    if (!needed) {
        reader->offset = segment->offset;
        reader->last_frame = header.frame;
        count_jump(reader, &header);
        if (!done) {
            reader->next_record = header.first_record + header.records;
        }
        return 2;
    }
    const char *payload;
    segment->offset = reader->offset;
    rc = spool_segment_read(segment, &header, &payload);
    if (rc == 1) {
        drop_block(reader);
        reader->offset = segment->offset;
        reader->header = header;
        spool_entries_init(&reader->entries, payload, header.raw_bytes);
    }
    return rc;
}

/* Passes over damage: 1 when there is something behind it in this segment. */
static int pass_damage(struct spool_reader *reader)
{
    reader->segment.offset = reader->offset;
    int rc = spool_segment_resync(&reader->segment, reader->last_frame);
    if (reader->damaged_segment != reader->segment_number ||
        reader->damaged_offset != reader->offset) { /* counted once, however often one looks */
        reader->damaged_segment = reader->segment_number;
        reader->damaged_offset = reader->offset;
        reader->damaged++;
        if (reader->spool != NULL) {
            metric_add(&reader->spool->damaged, 1);
        }
    }
    reader->damage_passed = true;
    if (rc == 1) {
        reader->offset = reader->segment.offset;
    }
    return rc;
}

/* One step within the present segment: as read_frame(), damage passed over (then 2); 0 also where
 * the segment is gone or unreadable. */
static int step_in_segment(struct spool_reader *reader)
{
    int rc = open_present_segment(reader);
    if (rc == 0) {
        rc = read_frame(reader);
        if (rc == -EINVAL) {
            rc = pass_damage(reader);
            rc = rc == 1 ? 2 : rc;
        }
    }
    return rc == -ENOENT || rc == -EINVAL ? 0 : rc;
}

/* 1 when a frame with entries is there, 0 when there is none now, or an errno. */
static int take_from_disk(struct spool_reader *reader)
{
    uint64_t next = 0; /* the segment to go on with, once the present one is read to its end */
    for (;;) {
        int rc = reader->segment_number == 0 ? 0 : step_in_segment(reader);
        if (rc == 2) {
            continue;
        }
        if (rc != 0) {
            return rc;
        }
        if (next != 0) {
            enter_segment(reader, next, SPOOL_SEGMENT_HEADER_BYTES);
            next = 0;
            continue;
        }
        /* Once there is a later segment, this one is complete; it may have grown since we looked. */
        rc = find_next_segment(reader, &next);
        if (rc != 1) {
            return rc;
        }
    }
}

static int next_frame(struct spool_reader *reader)
{
    if (!take_from_ring(reader)) {
        int rc = take_from_disk(reader);
        if (rc != 1) {
            return rc;
        }
    }
    reader->last_frame = reader->header.frame;
    reader->frame_record = reader->header.first_record;
    reader->line_bytes = reader->header.bytes_before;
    count_jump(reader, &reader->header);
    reader->in_frame = true;
    return 1;
}

int spool_reader_next(struct spool_reader *reader, struct spool_item *ret_item)
{
    for (;;) {
        if (!reader->in_frame) {
            int rc = next_frame(reader);
            if (rc != 1) {
                return rc;
            }
        }
        struct spool_entry entry;
        struct spool_entries before = reader->entries;
        int rc = spool_entries_next(&reader->entries, &entry);
        if (rc != 0 || entry.kind == SPOOL_ENTRY_END) {
            reader->in_frame = false;
            reader->damaged += rc != 0;
        } else if (entry.kind == SPOOL_ENTRY_ORIGIN) {
            rc = spool_origins_take(&reader->origins, &entry);
            if (rc == -ENOMEM) {
                reader->entries = before; /* to be tried again */
                return rc;
            }
        } else if (entry.kind == SPOOL_ENTRY_RECORD) {
            uint64_t number = reader->frame_record++;
            reader->line_bytes += entry.record.line_bytes;
            if (number < reader->next_record) {
                continue;
            }
            reader->next_record = number + 1;
            const struct record_origin *origin = spool_origins_find(&reader->origins,
                                                                    entry.origin_id);
            if (origin == NULL) {
                reader->skipped++; /* its declaration was in a damaged frame */
                metric_add(&reader->dropped_damaged, 1);
                continue;
            }
            *ret_item = (struct spool_item){number,          entry.record,
                                            origin,          reader->segment_number,
                                            entry.origin_id, reader->line_bytes};
            return 1;
        }
    }
}

void spool_reader_limit_times(struct spool_reader *reader, int64_t since_ns, int64_t until_ns)
{
    reader->since_ns = since_ns;
    reader->until_ns = until_ns;
}

/* ---- waiting ---- */

void spool_reader_wait(struct spool_reader *reader, int64_t timeout_ns)
{
    struct spool *spool = reader->spool;
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t ns = now.tv_nsec + timeout_ns % 1000000000;
    struct timespec until = {now.tv_sec + timeout_ns / 1000000000 + ns / 1000000000,
                             ns % 1000000000};
    (void)pthread_mutex_lock(&spool->lock);
    int rc = 0;
    while (!reader->woken && rc == 0 &&
           atomic_load(&spool->durable_record) <= reader->next_record) {
        rc = pthread_cond_timedwait(&spool->durable, &spool->lock, &until);
    }
    reader->woken = false;
    (void)pthread_mutex_unlock(&spool->lock);
}

void spool_reader_wake(struct spool_reader *reader)
{
    (void)pthread_mutex_lock(&reader->spool->lock);
    reader->woken = true;
    (void)pthread_cond_broadcast(&reader->spool->durable);
    (void)pthread_mutex_unlock(&reader->spool->lock);
}

/* ---- the cursor ---- */

void spool_reader_advance(struct spool_reader *reader, uint64_t record, uint64_t line_bytes)
{
    atomic_store(&reader->done_record, record);
    atomic_store(&reader->done_line_bytes, line_bytes);
}

uint64_t spool_reader_line_bytes(const struct spool_reader *reader)
{
    return reader->line_bytes;
}

int spool_reader_commit(struct spool_reader *reader, uint64_t record)
{
    atomic_store(&reader->state.record, record);
    return reader->has_cursor ? spool_cursor_store(&reader->file, record) : 0;
}

uint64_t spool_reader_position(const struct spool_reader *reader)
{
    return reader->next_record;
}

uint64_t spool_reader_skipped(const struct spool_reader *reader)
{
    return reader->skipped;
}

uint64_t spool_reader_damaged(const struct spool_reader *reader)
{
    return reader->damaged;
}

static uint64_t difference(uint64_t head, uint64_t at)
{
    return head > at ? head - at : 0;
}

void spool_reader_lag(const struct spool_reader *reader, uint64_t *ret_records, uint64_t *ret_bytes)
{
    *ret_records = difference(atomic_load(&reader->spool->durable_record),
                              atomic_load(&reader->done_record));
    *ret_bytes = difference(atomic_load(&reader->spool->durable_line_bytes),
                            atomic_load(&reader->done_line_bytes));
}

static int64_t read_lag_records(void *data)
{
    uint64_t records;
    uint64_t bytes;
    spool_reader_lag(data, &records, &bytes);
    return (int64_t)records;
}

static int64_t read_lag_bytes(void *data)
{
    uint64_t records;
    uint64_t bytes;
    spool_reader_lag(data, &records, &bytes);
    return (int64_t)bytes;
}

static int register_dropped(struct spool_reader *reader, struct metrics *metrics,
                            const char *cursor_name)
{
    struct metric *const counters[] = {&reader->dropped_limit, &reader->dropped_damaged};
    static const char *const reasons[] = {"spool_limit", "damaged"};
    int rc = 0;
    for (int i = 0; rc == 0 && i < 2; i++) {
        char storage[160];
        struct buf labels;
        buf_init_fixed(&labels, storage, sizeof(storage));
        rc = metrics_append_label(&labels, "reason", reasons[i]);
        rc = rc != 0 ? rc : metrics_append_label(&labels, "cursor", cursor_name);
        const char *text = buf_terminated(&labels);
        if (rc == 0 && text != NULL) {
            rc = metrics_add(metrics, counters[i],
                             &(struct metric_desc){.name = "log_capturer_lines_dropped_total",
                                                   .help = "Lines lost to a reader, by reason.",
                                                   .labels = text});
        }
    }
    return rc;
}

static int register_metrics(struct spool_reader *reader, const char *cursor_name)
{
    struct metrics *metrics = reader->spool->options.metrics;
    char storage[128];
    struct buf labels;
    buf_init_fixed(&labels, storage, sizeof(storage));
    int rc = metrics_append_label(&labels, "cursor", cursor_name);
    const char *text = buf_terminated(&labels);
    if (rc != 0 || text == NULL) {
        return -ENOMEM;
    }
    rc = metrics_add(metrics, &reader->lag_records,
                     &(struct metric_desc){METRIC_GAUGE, "log_capturer_cursor_lag_records",
                                           "Durable records that the cursor has not passed.", text,
                                           1, read_lag_records, reader});
    rc = rc != 0 ? rc
                 : metrics_add(metrics, &reader->lag_bytes,
                               &(struct metric_desc){METRIC_GAUGE, "log_capturer_cursor_lag_bytes",
                                                     "Bytes of their lines.", text, 1,
                                                     read_lag_bytes, reader});
    return rc != 0 ? rc : register_dropped(reader, metrics, cursor_name);
}

/* Goes to where next_record is, taking up the origins on the way. */
static int seek(struct spool_reader *reader)
{
    uint64_t *numbers;
    size_t count;
    int rc = spool_segment_list(reader->dir_fd, &numbers, &count);
    if (rc != 0) {
        return rc;
    }
    for (size_t i = count; i > 0 && reader->segment_number == 0; i--) {
        struct spool_segment segment = {0};
        if (spool_segment_open(&segment, reader->dir_fd, numbers[i - 1]) == 0) {
            if (segment.header.first_record <= reader->next_record || i == 1) {
                enter_segment(reader, numbers[i - 1], SPOOL_SEGMENT_HEADER_BYTES);
                reader->line_bytes = segment.header.bytes_before;
            }
            spool_segment_close(&segment);
        }
    }
    free(numbers);
    return 0;
}

static int open_cursor(struct spool_reader *reader, const char *cursor_name, bool from_start,
                       struct error *error)
{
    struct spool *spool = reader->spool;
    uint64_t head = atomic_load(&spool->durable_record);
    uint64_t record = from_start ? atomic_load(&spool->oldest_record) : head;
    if (cursor_name != NULL) {
        int rc = spool_cursor_open(&reader->file, spool->dir_fd, cursor_name, &record, error);
        if (rc != 0) {
            return rc;
        }
        reader->has_cursor = true;
        if (register_metrics(reader, cursor_name) != 0) {
            error_set(error, "out of memory");
            return -ENOMEM;
        }
    }
    if (record > head) { /* the newest segment was lost */
        record = head;
        int rc = reader->has_cursor ? spool_cursor_store(&reader->file, record) : 0;
        (void)rc; /* where the disk is full, the next commit stores it */
    }
    reader->next_record = record;
    return 0;
}

static struct spool_reader *make_reader(struct error *error)
{
    struct spool_reader *reader = calloc(1, sizeof(*reader));
    if (reader == NULL) {
        error_set(error, "out of memory");
        return NULL;
    }
    reader->dir_fd = -1;
    reader->since_ns = INT64_MIN;
    reader->until_ns = INT64_MAX;
    return reader;
}

int spool_reader_open(struct spool *spool, const char *cursor_name, bool from_start,
                      struct spool_reader **ret_reader, struct error *error)
{
    struct spool_reader *reader = make_reader(error);
    if (reader == NULL) {
        return -ENOMEM;
    }
    reader->spool = spool;
    reader->dir_fd = spool->dir_fd;
    int rc = open_cursor(reader, cursor_name, from_start, error);
    if (rc == 0) {
        rc = seek(reader);
        if (rc != 0) {
            error_set(error, "can't read the spool: %s", strerror(-rc));
        }
    }
    if (rc != 0) {
        spool_reader_close(reader);
        return rc;
    }
    atomic_store(&reader->state.record, reader->next_record);
    spool_reader_advance(reader, reader->next_record, reader->line_bytes);
    (void)pthread_mutex_lock(&spool->lock);
    list_append(&spool->cursors, &reader->state.link);
    (void)pthread_mutex_unlock(&spool->lock);
    *ret_reader = reader;
    return 0;
}

int spool_reader_open_at(struct spool *spool, uint64_t record, struct spool_reader **ret_reader,
                         struct error *error)
{
    struct spool_reader *reader = make_reader(error);
    if (reader == NULL) {
        return -ENOMEM;
    }
    uint64_t head = atomic_load(&spool->durable_record);
    reader->spool = spool;
    reader->dir_fd = spool->dir_fd;
    reader->next_record = record < head ? record : head;
    int rc = seek(reader);
    if (rc != 0) {
        error_set(error, "can't read the spool: %s", strerror(-rc));
        spool_reader_close(reader);
        return rc;
    }
    *ret_reader = reader;
    return 0;
}

int spool_reader_open_dir(const char *dir, struct spool_reader **ret_reader, struct error *error)
{
    struct spool_reader *reader = make_reader(error);
    if (reader == NULL) {
        return -ENOMEM;
    }
    reader->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    reader->owns_dir = true;
    uint64_t *numbers = NULL;
    size_t count = 0;
    int rc = reader->dir_fd < 0 ? -errno : spool_segment_list(reader->dir_fd, &numbers, &count);
    struct spool_segment segment = {0};
    if (rc == 0 && count > 0 && spool_segment_open(&segment, reader->dir_fd, numbers[0]) == 0) {
        reader->next_record = segment.header.first_record;
        spool_segment_close(&segment);
    }
    free(numbers);
    if (rc != 0) {
        error_set(error, "can't read the spool in %s: %s", dir, strerror(-rc));
        spool_reader_close(reader);
        return rc;
    }
    *ret_reader = reader;
    return 0;
}

void spool_reader_close(struct spool_reader *reader)
{
    if (reader == NULL) {
        return;
    }
    if (reader->spool != NULL) {
        (void)pthread_mutex_lock(&reader->spool->lock);
        list_remove(&reader->state.link);
        (void)pthread_mutex_unlock(&reader->spool->lock);
        metric_finish(&reader->lag_records);
        metric_finish(&reader->lag_bytes);
        metric_finish(&reader->dropped_limit);
        metric_finish(&reader->dropped_damaged);
    }
    drop_block(reader);
    spool_segment_close(&reader->segment);
    spool_origins_finish(&reader->origins);
    spool_cursor_close(&reader->file);
    if (reader->owns_dir && reader->dir_fd >= 0) {
        (void)close(reader->dir_fd);
    }
    free(reader);
}
