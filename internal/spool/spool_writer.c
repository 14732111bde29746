/*
 * The writer thread: compresses, writes, syncs, and removes old segments.
 *
 * Blocks stay in the queue until they are durable, so a refusal of the disk loses nothing: a failed
 * write is tried again at the same offset every 250 ms. After a failed sync the kernel may have
 * dropped the pages and call them clean, so everything since the last good sync is written anew
 * before the next one. All unsynced blocks are of one segment: a segment is synced before the next
 * one begins.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

#include "base/backoff.h"
#include "base/crc32c.h"
#include "spool/spool_private.h"
#include "spool/spool_segment.h"

#define RING_LIMIT_BYTES (8U * 1024U * 1024U)
#define RETRY_NS (250 * INT64_C(1000000))
#define RING_AGE_NS (10 * INT64_C(1000000000))
#define SWEEP_NS (30 * INT64_C(1000000000))
#define ZSTD_LEVEL 1 /* chosen by measurement: docs/benchmarks.md */

struct segment_file {
    uint64_t number; /* of its first frame */
    uint64_t first_record;
    uint64_t bytes;
    time_t changed; /* wall clock, seconds */
};

struct spool_writer {
    struct spool *spool;
    int fd;                                           /* the present segment, or -1 */
    uint64_t offset;                                  /* behind the last block written */
    uint64_t synced_offset;                           /* behind the last durable one */
    uint64_t unsynced_bytes;                          /* of payload */
    struct list written;                              /* blocks that wait for the sync */
    unsigned char header[SPOOL_SEGMENT_HEADER_BYTES]; /* of the present segment */
    uint32_t salt;
    struct buf out;
    ZSTD_CCtx *zstd;
    struct segment_file *files; /* ascending; the last is the present one */
    size_t file_count, file_capacity;
};

static int64_t monotonic_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ---- segments ---- */

static int add_file(struct spool_writer *writer, const struct segment_file *file)
{
    if (writer->file_count == writer->file_capacity) {
        size_t capacity = writer->file_capacity == 0 ? 32 : writer->file_capacity * 2;
        struct segment_file *files = realloc(writer->files, capacity * sizeof(*files));
        if (files == NULL) {
            return -ENOMEM;
        }
        writer->files = files;
        writer->file_capacity = capacity;
    }
    writer->files[writer->file_count++] = *file;
    return 0;
}

static void publish_files(struct spool_writer *writer)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < writer->file_count; i++) {
        bytes += writer->files[i].bytes;
    }
    atomic_store(&writer->spool->stored_bytes, bytes);
    atomic_store(&writer->spool->segments, writer->file_count);
    if (writer->file_count > 0) {
        atomic_store(&writer->spool->oldest_record, writer->files[0].first_record);
    }
}

/* First record and size of a segment; false where its records can't be told. */
static bool look_at_file(const struct spool *spool, struct segment_file *file)
{
    struct spool_segment segment = {0};
    struct stat status;
    char name[SPOOL_SEGMENT_NAME_SIZE];
    spool_segment_name(file->number, name);
    if (fstatat(spool->dir_fd, name, &status, 0) == 0) {
        file->bytes = (uint64_t)status.st_size;
        file->changed = status.st_mtime;
    }
    if (spool_segment_open(&segment, spool->dir_fd, file->number) != 0) {
        return false;
    }
    file->first_record = segment.header.first_record;
    spool_segment_close(&segment);
    return true;
}

static int load_files(struct spool_writer *writer)
{
    uint64_t *numbers;
    size_t count;
    int rc = spool_segment_list(writer->spool->dir_fd, &numbers, &count);
    if (rc != 0) {
        return rc;
    }
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = add_file(writer, &(struct segment_file){.number = numbers[i]});
    }
    free(numbers);
    /* From the newest back: one that can't be read holds no record of its own. */
    uint64_t next = writer->spool->next_record;
    for (size_t i = writer->file_count; i > 0; i--) {
        struct segment_file *file = &writer->files[i - 1];
        if (!look_at_file(writer->spool, file)) {
            file->first_record = next;
        }
        next = file->first_record;
    }
    publish_files(writer);
    return rc;
}

static uint64_t slowest_cursor(struct spool *spool)
{
    uint64_t record = UINT64_MAX;
    struct list *link;
    struct list *next;
    (void)pthread_mutex_lock(&spool->lock);
    list_for_each_safe(link, next, &spool->cursors)
    {
        struct spool_cursor_state *cursor = container_of(link, struct spool_cursor_state, link);
        uint64_t at = atomic_load(&cursor->record);
        record = at < record ? at : record;
    }
    (void)pthread_mutex_unlock(&spool->lock);
    return record;
}

static bool may_unlink_first(struct spool_writer *writer)
{
    const struct spool_options *options = &writer->spool->options;
    uint64_t behind = writer->files[1].first_record;
    if (writer->files[0].first_record == behind) {
        return true; /* it holds no record */
    }
    if (atomic_load(&writer->spool->stored_bytes) > options->limit_bytes) {
        return true;
    }
    time_t age_s = (time_t)(options->age_ns / 1000000000);
    return age_s > 0 && time(NULL) - writer->files[0].changed > age_s &&
           slowest_cursor(writer->spool) >= behind;
}

/* The present segment always stays. */
static void sweep(struct spool_writer *writer)
{
    while (writer->file_count > 1 && may_unlink_first(writer)) {
        char name[SPOOL_SEGMENT_NAME_SIZE];
        spool_segment_name(writer->files[0].number, name);
        if (unlinkat(writer->spool->dir_fd, name, 0) != 0 && errno != ENOENT) {
            metric_add(&writer->spool->write_errors, 1);
            return;
        }
        metric_add(&writer->spool->unlinked, 1);
        writer->file_count--;
        memmove(writer->files, writer->files + 1, writer->file_count * sizeof(*writer->files));
        publish_files(writer);
    }
}

/* ---- writing ---- */

static int write_all(int fd, const void *bytes, size_t size, uint64_t offset)
{
    size_t done = 0;
    while (done < size) {
        ssize_t n = pwrite(fd, (const char *)bytes + done, size - done, (off_t)(offset + done));
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int begin_segment(struct spool_writer *writer, const struct spool_block *block)
{
    struct spool *spool = writer->spool;
    char name[SPOOL_SEGMENT_NAME_SIZE];
    unsigned char *header = writer->header;
    struct spool_segment_header fields = {
        .first_frame = block->header.frame,
        .first_record = block->header.first_record,
        .bytes_before = block->header.bytes_before,
        .created_ns = clock_wall_ns(loop_clock(spool->options.loop)),
        .salt = (uint32_t)jitter(INT64_C(1) << 32)};
    writer->salt = fields.salt;
    spool_segment_name(fields.first_frame, name);
    spool_segment_header_encode(&fields, header);
    int fd = openat(spool->dir_fd, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return -errno;
    }
    int rc = fsync(spool->dir_fd) != 0 ? -errno : 0;
    struct segment_file file = {.number = fields.first_frame,
                                .first_record = fields.first_record,
                                .bytes = SPOOL_SEGMENT_HEADER_BYTES,
                                .changed = time(NULL)};
    rc = rc != 0 ? rc : add_file(writer, &file);
    if (rc != 0) {
        (void)close(fd);
        return rc;
    }
    if (writer->fd >= 0) {
        (void)close(writer->fd);
    }
    writer->fd = fd;
    writer->offset = writer->synced_offset = SPOOL_SEGMENT_HEADER_BYTES;
    publish_files(writer);
    return 0;
}

/* Compresses into out; a payload that does not shrink is stored as it is. */
static int encode_block(struct spool_writer *writer, struct spool_block *block)
{
    struct buf *out = &writer->out;
    struct spool_frame_header *header = &block->header;
    buf_clear(out);
    int rc = buf_reserve(out, SPOOL_FRAME_HEADER_BYTES + ZSTD_compressBound(block->size));
    if (rc != 0) {
        return rc;
    }
    char *at = out->data + SPOOL_FRAME_HEADER_BYTES;
    header->codec = SPOOL_CODEC_NONE;
    size_t size = 0;
    if (writer->spool->options.codec == SPOOL_CODEC_ZSTD) {
        size = ZSTD_compressCCtx(writer->zstd, at, ZSTD_compressBound(block->size), block->payload,
                                 block->size, ZSTD_LEVEL);
        if (!ZSTD_isError(size) && size < block->size) {
            header->codec = SPOOL_CODEC_ZSTD;
        }
    }
    if (header->codec == SPOOL_CODEC_NONE) {
        size = block->size;
        memcpy(at, block->payload, size);
    }
    header->stored_bytes = (uint32_t)size;
    header->payload_crc = crc32c(0, at, size);
    header->salt = writer->salt;
    header->durable_frame = atomic_load(&writer->spool->durable_frame);
    spool_frame_header_encode(header, (unsigned char *)out->data);
    out->size = SPOOL_FRAME_HEADER_BYTES + size;
    return 0;
}

static int sync_segment(struct spool_writer *writer);

static int write_block(struct spool_writer *writer, struct spool_block *block)
{
    struct spool *spool = writer->spool;
    int rc = 0;
    if (block->begins_segment && block->segment == 0) {
        rc = writer->unsynced_bytes > 0 ? sync_segment(writer) : 0;
        rc = rc != 0 ? rc : begin_segment(writer, block);
        if (rc == 0) {
            block->segment = block->header.frame; /* not again when the rest must be retried */
        }
    }
    rc = rc != 0 ? rc : encode_block(writer, block);
    if (rc == 0 && writer->offset == SPOOL_SEGMENT_HEADER_BYTES) { /* again after a failed sync */
        rc = write_all(writer->fd, writer->header, SPOOL_SEGMENT_HEADER_BYTES, 0);
    }
    rc = rc != 0 ? rc : write_all(writer->fd, writer->out.data, writer->out.size, writer->offset);
    if (rc != 0) {
        return rc;
    }
    struct segment_file *file = &writer->files[writer->file_count - 1];
    writer->offset += writer->out.size;
    file->bytes = writer->offset;
    file->changed = time(NULL);
    block->segment = file->number;
    block->offset = writer->offset;
    writer->unsynced_bytes += block->size + 1;
    metric_add(&spool->raw_bytes, (int64_t)block->size);
    metric_add(&spool->written_bytes, (int64_t)writer->out.size);
    return 0;
}

/* ---- committing ---- */

/* Under the lock. Who is further behind than this reads the file. */
static void trim_ring(struct spool *spool)
{
    int64_t too_old_ns = monotonic_ns() - RING_AGE_NS;
    while (!list_empty(&spool->ring)) {
        struct spool_block *oldest = container_of(spool->ring.next, struct spool_block, link);
        if (spool->ring_bytes <= RING_LIMIT_BYTES && oldest->sealed_ns > too_old_ns) {
            return;
        }
        list_remove(&oldest->link);
        spool->ring_bytes -= oldest->size + sizeof(*oldest);
        spool_block_unref(oldest);
    }
}

/* Under the lock. */
static void keep_in_ring(struct spool *spool, struct spool_block *block)
{
    list_append(&spool->ring, &block->link);
    spool->ring_bytes += block->size + sizeof(*block);
    trim_ring(spool);
}

/* Under the lock: once the spool is abandoned, the loop may be gone. */
static void tell_loop(struct spool *spool)
{
    if (!spool->abandoned) {
        loop_post_send(&spool->durable_post);
    }
}

static void publish_durable(struct spool_writer *writer)
{
    struct spool *spool = writer->spool;
    int64_t now = monotonic_ns();
    (void)pthread_mutex_lock(&spool->lock);
    while (!list_empty(&writer->written)) {
        struct spool_block *block = container_of(writer->written.next, struct spool_block, link);
        list_remove(&block->link);
        spool->unfinished--;
        (void)atomic_fetch_sub(&spool->pending_bytes, block->size);
        atomic_store(&spool->durable_line_bytes, block->header.bytes_before + block->line_bytes);
        atomic_store(&spool->durable_record, block->header.first_record + block->header.records);
        atomic_store(&spool->durable_frame, block->header.frame);
        metric_observe(&spool->commit_seconds, now - block->sealed_ns);
        keep_in_ring(spool, block);
    }
    (void)pthread_cond_broadcast(&spool->durable);
    tell_loop(spool);
    (void)pthread_mutex_unlock(&spool->lock);
    publish_files(writer);
}

/* Puts what was written since the last sync back before the queue. */
static void take_back(struct spool_writer *writer)
{
    struct spool *spool = writer->spool;
    (void)pthread_mutex_lock(&spool->lock);
    while (!list_empty(&writer->written)) {
        struct list *last = writer->written.prev;
        list_remove(last);
        list_append(spool->queue.next, last); /* before the first one */
    }
    (void)pthread_mutex_unlock(&spool->lock);
    writer->offset = writer->synced_offset;
    writer->unsynced_bytes = 0;
}

static int sync_segment(struct spool_writer *writer)
{
    if (list_empty(&writer->written)) {
        return 0;
    }
    if (fdatasync(writer->fd) != 0) {
        int rc = -errno;
        take_back(writer);
        return rc;
    }
    metric_add(&writer->spool->commits, 1);
    writer->synced_offset = writer->offset;
    writer->unsynced_bytes = 0;
    publish_durable(writer);
    return 0;
}

/* ---- the thread ---- */

/* Under the lock. */
static void wait_for_work(struct spool *spool, int64_t timeout_ns)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t ns = now.tv_nsec + timeout_ns % 1000000000;
    struct timespec until = {now.tv_sec + timeout_ns / 1000000000 + ns / 1000000000,
                             ns % 1000000000};
    (void)pthread_cond_timedwait(&spool->work, &spool->lock, &until);
}

struct work {
    struct spool_block *block; /* to be written; NULL: none */
    bool sync;
    bool stop;
};

/* Waits until there is something to do. */
static struct work next_work(struct spool_writer *writer)
{
    struct spool *spool = writer->spool;
    struct work work = {0};
    (void)pthread_mutex_lock(&spool->lock);
    if (list_empty(&spool->queue) && !spool->sync_wanted && !spool->stopping) {
        wait_for_work(spool, list_empty(&spool->ring) ? SWEEP_NS : RING_AGE_NS);
        trim_ring(spool);
    }
    if (!list_empty(&spool->queue)) {
        work.block = container_of(spool->queue.next, struct spool_block, link);
    } else {
        work.sync = spool->sync_wanted || spool->stopping;
        spool->sync_wanted = false;
    }
    work.sync = work.sync || writer->unsynced_bytes >= spool->options.commit_bytes;
    work.stop = spool->abandoned || (spool->stopping && spool->unfinished == 0);
    (void)pthread_mutex_unlock(&spool->lock);
    return work;
}

static int do_work(struct spool_writer *writer, const struct work *work)
{
    struct spool *spool = writer->spool;
    int rc = work->sync ? sync_segment(writer) : 0;
    if (rc != 0 || work->block == NULL) {
        return rc;
    }
    rc = write_block(writer, work->block);
    if (rc == 0) {
        (void)pthread_mutex_lock(&spool->lock);
        list_remove(&work->block->link);
        (void)pthread_mutex_unlock(&spool->lock);
        list_append(&writer->written, &work->block->link);
    }
    return rc;
}

/* The disk refused: says so and waits a little. */
static void stall(struct spool *spool, int rc)
{
    atomic_store(&spool->stall_errno, -rc);
    metric_add(&spool->write_errors, 1);
    (void)pthread_mutex_lock(&spool->lock);
    tell_loop(spool);
    spool->sync_wanted = true;
    if (!spool->abandoned) {
        wait_for_work(spool, RETRY_NS);
    }
    (void)pthread_mutex_unlock(&spool->lock);
}

static void work_until_told(struct spool_writer *writer)
{
    struct spool *spool = writer->spool;
    int64_t swept_ns = 0;
    size_t swept_files = 0;
    for (;;) {
        struct work work = next_work(writer);
        if (work.stop) {
            return;
        }
        int rc = do_work(writer, &work);
        if (rc != 0) {
            sweep(writer); /* the limit may have been lowered to make room */
            stall(spool, rc);
            continue;
        }
        if (work.block != NULL || work.sync) {
            atomic_store(&spool->stall_errno, 0);
        }
        int64_t now = monotonic_ns();
        /* Only once the present segment's table of positions is durable. */
        bool due = writer->file_count != swept_files || now - swept_ns > SWEEP_NS;
        if (due && list_empty(&writer->written)) {
            swept_ns = now;
            sweep(writer);
            swept_files = writer->file_count;
        }
    }
}

static void destroy(struct spool_writer *writer)
{
    if (writer == NULL) {
        return;
    }
    while (!list_empty(&writer->written)) {
        struct spool_block *block = container_of(writer->written.next, struct spool_block, link);
        list_remove(&block->link);
        spool_block_unref(block);
    }
    if (writer->fd >= 0) {
        (void)close(writer->fd);
    }
    (void)ZSTD_freeCCtx(writer->zstd);
    buf_finish(&writer->out);
    free(writer->files);
    free(writer);
}

static void *run(void *data)
{
    struct spool_writer *writer = data;
    struct spool *spool = writer->spool;
    work_until_told(writer);
    (void)pthread_mutex_lock(&spool->lock);
    spool->writer_done = true;
    (void)pthread_cond_broadcast(&spool->durable);
    bool orphaned = spool->orphaned;
    (void)pthread_mutex_unlock(&spool->lock);
    if (orphaned) {
        destroy(writer);
        spool_free(spool);
    }
    return NULL;
}

int spool_writer_start(struct spool *spool)
{
    struct spool_writer *writer = calloc(1, sizeof(*writer));
    if (writer == NULL) {
        return -ENOMEM;
    }
    writer->spool = spool;
    writer->fd = -1;
    list_init(&writer->written);
    buf_init(&writer->out, 0);
    writer->zstd = ZSTD_createCCtx();
    int rc = writer->zstd == NULL ? -ENOMEM : load_files(writer);
    if (rc == 0) {
        /* Signals are the loop's. */
        sigset_t all;
        sigset_t before;
        (void)sigfillset(&all);
        (void)pthread_sigmask(SIG_SETMASK, &all, &before);
        rc = -pthread_create(&spool->writer, NULL, run, writer);
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    if (rc != 0) {
        destroy(writer);
        return rc;
    }
    (void)pthread_setname_np(spool->writer, "spool");
    spool->writer_state = writer;
    return 0;
}

bool spool_writer_join(struct spool *spool, const struct timespec *deadline)
{
    if (spool->writer_state == NULL) {
        return true;
    }
    (void)pthread_mutex_lock(&spool->lock);
    int rc = 0;
    while (!spool->writer_done && rc == 0) {
        rc = pthread_cond_timedwait(&spool->durable, &spool->lock, deadline);
    }
    spool->orphaned = !spool->writer_done;
    bool orphaned = spool->orphaned;
    pthread_t thread = spool->writer;
    (void)pthread_mutex_unlock(&spool->lock);
    if (orphaned) {
        (void)pthread_detach(thread);
        return false;
    }
    (void)pthread_join(thread, NULL);
    destroy(spool->writer_state);
    spool->writer_state = NULL;
    return true;
}
