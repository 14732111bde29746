/*
 * The loop's side: records are encoded into one scratch buffer; a full or due frame is sealed into
 * a block of its exact size and queued for the writer.
 *
 *   append -> scratch --256 KiB or 20 ms--> block in `queue` --written, synced--> `ring` --8 MiB, 10 s--> gone
 *
 * A frame that begins a segment is preceded by a frame with the whole table of positions, taken at
 * that moment: all of them stand behind records of earlier frames.
 *
 * Back-pressure: when 8 MiB wait for the disk, on_pressure tells capture to stop reading; nothing
 * is refused here. Rejected: blocking the loop, and dropping.
 */
#include "spool/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "spool/spool_private.h"

#define FRAME_BYTES (256U * 1024U)
#define PRESSURE_ON_BYTES (8U * 1024U * 1024U)
#define PRESSURE_OFF_BYTES (2U * 1024U * 1024U)
#define SEGMENTS_PER_AGE 8
#define SEGMENT_MAX_BYTES (UINT64_C(32) * 1024 * 1024)
#define SEGMENT_MIN_BYTES (UINT64_C(64) * 1024)
#define SEGMENTS_PER_LIMIT 16

uint64_t spool_segment_limit(const struct spool *spool)
{
    uint64_t bytes = spool->options.limit_bytes / SEGMENTS_PER_LIMIT;
    bytes = bytes > SEGMENT_MAX_BYTES ? SEGMENT_MAX_BYTES : bytes;
    return bytes < SEGMENT_MIN_BYTES ? SEGMENT_MIN_BYTES : bytes;
}

void spool_block_unref(struct spool_block *block)
{
    if (block != NULL && atomic_fetch_sub(&block->references, 1) == 1) {
        free(block);
    }
}

/* ---- sealing ---- */

static void queue_block(struct spool *spool, struct spool_block *block)
{
    (void)atomic_fetch_add(&spool->pending_bytes, block->size);
    (void)pthread_mutex_lock(&spool->lock);
    list_append(&spool->queue, &block->link);
    spool->unfinished++;
    (void)pthread_cond_signal(&spool->work);
    (void)pthread_mutex_unlock(&spool->lock);
}

static struct spool_block *make_block(const struct spool *spool, const struct buf *payload)
{
    struct spool_block *block = malloc(sizeof(*block) + payload->size);
    if (block != NULL) {
        *block = (struct spool_block){.size = payload->size};
        atomic_init(&block->references, 1);
        list_init(&block->link);
        block->sealed_ns = loop_now_ns(spool->options.loop);
        memcpy(block->payload, payload->data, payload->size);
    }
    return block;
}

/* Tombstones first: a key may have been forgotten and taken up again. */
static int put_dirty_positions(struct spool *spool)
{
    unsigned char bytes[SPOOL_POSITION_LIMIT_BYTES];
    int rc = 0;
    for (struct spool_position *position = spool->forgotten; rc == 0 && position != NULL;
         position = position->next_forgotten) {
        rc = spool_put_position(&spool->scratch, position->key, "", 0);
    }
    for (struct spool_source *source = spool->dirty; rc == 0 && source != NULL;
         source = source->next_dirty) {
        size_t size = source->encode(source, bytes);
        rc = spool_put_position(&spool->scratch, source->position->key, bytes, size);
    }
    return rc;
}

static void clear_dirty(struct spool *spool)
{
    while (spool->dirty != NULL) {
        struct spool_source *source = spool->dirty;
        spool->dirty = source->next_dirty;
        source->next_dirty = NULL;
        source->dirty = false;
    }
    while (spool->forgotten != NULL) {
        struct spool_position *position = spool->forgotten;
        spool->forgotten = position->next_forgotten;
        if (position->source != NULL) {
            position->forgotten = false; /* somebody came back to it meanwhile */
        } else {
            map_remove(&spool->positions, &position->node);
            free(position);
        }
    }
}

/* Ends the frame being built. -ENOMEM leaves it open, to be tried again. */
static int seal(struct spool *spool)
{
    size_t before = spool->scratch.size;
    int rc = put_dirty_positions(spool);
    struct spool_block *block = rc == 0 ? make_block(spool, &spool->scratch) : NULL;
    if (block == NULL) {
        spool->scratch.size = before;
        return -ENOMEM;
    }
    block->header = spool->building;
    block->header.raw_bytes = (uint32_t)block->size;
    block->begins_segment = spool->begins_segment;
    spool->segment_raw_bytes += block->size;
    block->line_bytes = spool->line_bytes - block->header.bytes_before;
    clear_dirty(spool);
    spool->open = false;
    spool->begins_segment = false;
    buf_clear(&spool->scratch);
    if (spool->scratch.capacity > FRAME_BYTES * 4) {
        buf_finish(&spool->scratch); /* one huge line does not keep its memory */
    }
    queue_block(spool, block);
    return 0;
}

static void begin_frame(struct spool *spool, uint8_t flags)
{
    spool->building = (struct spool_frame_header){.frame = spool->next_frame++,
                                                  .flags = flags,
                                                  .first_record = spool->next_record,
                                                  .bytes_before = spool->line_bytes,
                                                  .min_time_ns = INT64_MAX,
                                                  .max_time_ns = INT64_MIN};
    spool->last_time_ns = 0;
    spool->open = true;
}

static int put_table(struct spool *spool)
{
    unsigned char bytes[SPOOL_POSITION_LIMIT_BYTES];
    for (struct map_node *node = map_next(&spool->positions, NULL); node != NULL;
         node = map_next(&spool->positions, node)) {
        const struct spool_position *position = container_of(node, struct spool_position, node);
        int rc = 0;
        if (position->source != NULL) {
            size_t size = position->source->encode(position->source, bytes);
            rc = size == 0 ? 0 : spool_put_position(&spool->scratch, position->key, bytes, size);
        } else if (!position->forgotten) {
            rc = spool_put_position(&spool->scratch, position->key, position->bytes,
                                    position->size);
        }
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

/* Begins a segment: queues its table. */
static int begin_segment(struct spool *spool)
{
    int rc = put_table(spool);
    struct spool_block *block = rc == 0 ? make_block(spool, &spool->scratch) : NULL;
    buf_clear(&spool->scratch);
    if (block == NULL) {
        return -ENOMEM;
    }
    begin_frame(spool, SPOOL_FRAME_TABLE);
    spool->open = false;
    block->header = spool->building;
    block->header.raw_bytes = (uint32_t)block->size;
    block->begins_segment = true;
    spool->segment_count++;
    spool->segment_begun_ns = loop_now_ns(spool->options.loop);
    spool->next_origin = 0;
    spool->segment_raw_bytes = block->size;
    queue_block(spool, block);
    return 0;
}

/* Bytes on disk that the present segment will have, by what compression made of others so far. The
 * loop decides where a segment ends, so it can't wait for what the writer finds. */
static uint64_t stored_estimate(const struct spool *spool)
{
    double raw = (double)metric_get(&spool->raw_bytes);
    double written = (double)metric_get(&spool->written_bytes);
    double ratio = raw > 0 && written < raw ? written / raw : 1;
    return (uint64_t)((double)spool->segment_raw_bytes * ratio);
}

static int ensure_open(struct spool *spool)
{
    if (spool->open) {
        return 0;
    }
    int64_t age_ns = loop_now_ns(spool->options.loop) - spool->segment_begun_ns;
    bool old = spool->options.age_ns > 0 && age_ns > spool->options.age_ns / SEGMENTS_PER_AGE;
    if (spool->segment_count == 0 || stored_estimate(spool) >= spool_segment_limit(spool) || old) {
        int rc = begin_segment(spool);
        if (rc != 0) {
            return rc;
        }
    }
    begin_frame(spool, 0);
    if (!loop_timer_armed(&spool->commit_timer)) {
        loop_timer_arm(&spool->commit_timer, spool->options.commit_interval_ns);
    }
    return 0;
}

static void tell_pressure(struct spool *spool)
{
    uint64_t pending = atomic_load(&spool->pending_bytes);
    bool pressure = spool->pressure ? pending > PRESSURE_OFF_BYTES : pending > PRESSURE_ON_BYTES;
    if (pressure != spool->pressure) {
        spool->pressure = pressure;
        if (spool->options.on_pressure != NULL) {
            spool->options.on_pressure(pressure, spool->options.data);
        }
    }
}

static void handle_commit(struct loop_timer *timer, void *data)
{
    struct spool *spool = data;
    if (spool->open && seal(spool) != 0) {
        loop_timer_arm(timer, spool->options.commit_interval_ns);
        return;
    }
    (void)pthread_mutex_lock(&spool->lock);
    spool->sync_wanted = true;
    (void)pthread_cond_signal(&spool->work);
    (void)pthread_mutex_unlock(&spool->lock);
    tell_pressure(spool);
}

void spool_flush(struct spool *spool)
{
    loop_timer_disarm(&spool->commit_timer);
    if (!spool->open && (spool->dirty != NULL || spool->forgotten != NULL) &&
        ensure_open(spool) != 0) {
        return;
    }
    handle_commit(&spool->commit_timer, spool);
}

static void handle_durable(struct loop_post *post, void *data)
{
    (void)post;
    tell_pressure(data);
}

/* ---- appending ---- */

static int declare_origin(struct spool *spool, struct spool_origin *origin)
{
    if (origin->declared_in == spool->segment_count) {
        return 0;
    }
    int rc = spool_put_origin(&spool->scratch, spool->next_origin, &origin->view);
    if (rc == 0) {
        origin->declared_in = spool->segment_count;
        origin->id = spool->next_origin++;
        spool->building.flags |= SPOOL_FRAME_ORIGINS;
    }
    return rc;
}

static void mark_dirty(struct spool *spool, struct spool_source *source)
{
    if (!source->dirty) {
        source->dirty = true;
        source->next_dirty = spool->dirty;
        spool->dirty = source;
    }
}

int spool_append(struct spool *spool, struct spool_source *source, struct spool_origin *origin,
                 const struct record *record)
{
    if (spool->open && spool->scratch.size + record->line_bytes > FRAME_BYTES &&
        spool->scratch.size > 0) {
        int rc = seal(spool);
        if (rc != 0) {
            return rc;
        }
        tell_pressure(spool);
    }
    int rc = ensure_open(spool);
    rc = rc != 0 ? rc : declare_origin(spool, origin);
    rc = rc != 0 ? rc : spool_put_record(&spool->scratch, origin->id, &spool->last_time_ns, record);
    if (rc != 0) {
        return -ENOMEM;
    }
    struct spool_frame_header *building = &spool->building;
    building->records++;
    if (record->time_ns < building->min_time_ns) {
        building->min_time_ns = record->time_ns;
    }
    if (record->time_ns > building->max_time_ns) {
        building->max_time_ns = record->time_ns;
    }
    spool->next_record++;
    spool->line_bytes += record->line_bytes;
    mark_dirty(spool, source);
    return 0;
}

static size_t text_size(const struct record_origin *origin)
{
    size_t size = strlen(origin->daemon) + strlen(origin->container_id) + strlen(origin->name) +
                  strlen(origin->image) + 4;
    for (size_t i = 0; i < origin->label_count; i++) {
        size += strlen(origin->labels[i].key) + strlen(origin->labels[i].value) + 2;
    }
    return size;
}

static const char *copy_text(char **at, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = *at;
    memcpy(copy, text, size);
    *at += size;
    return copy;
}

int spool_origin_create(struct spool *spool, const struct record_origin *origin,
                        struct spool_origin **ret_origin)
{
    (void)spool;
    size_t labels_size = origin->label_count * sizeof(struct record_label);
    struct spool_origin *made = malloc(sizeof(*made) + labels_size + text_size(origin));
    if (made == NULL) {
        return -ENOMEM;
    }
    struct record_label *labels = (struct record_label *)(void *)made->storage;
    char *at = made->storage + labels_size;
    made->declared_in = 0;
    made->id = 0;
    made->view = (struct record_origin){.daemon = copy_text(&at, origin->daemon),
                                        .container_id = copy_text(&at, origin->container_id),
                                        .name = copy_text(&at, origin->name),
                                        .image = copy_text(&at, origin->image),
                                        .labels = labels,
                                        .label_count = origin->label_count};
    for (size_t i = 0; i < origin->label_count; i++) {
        labels[i].key = copy_text(&at, origin->labels[i].key);
        labels[i].value = copy_text(&at, origin->labels[i].value);
    }
    *ret_origin = made;
    return 0;
}

void spool_origin_destroy(struct spool_origin *origin)
{
    free(origin);
}

/* ---- sources ---- */

static struct spool_position *find_position(const struct spool *spool, const char *key)
{
    struct map_node *node = map_find(&spool->positions, key);
    return node == NULL ? NULL : container_of(node, struct spool_position, node);
}

static struct spool_position *create_position(struct spool *spool, const char *key)
{
    size_t key_size = strlen(key) + 1;
    struct spool_position *position = calloc(1, sizeof(*position) + key_size);
    if (position != NULL) {
        memcpy(position->key, key, key_size);
        map_insert(&spool->positions, &position->node, position->key);
    }
    return position;
}

int spool_position_store(struct spool *spool, const char *key, size_t key_bytes, const void *bytes,
                         size_t size)
{
    char text[128];
    if (key_bytes >= sizeof(text) || size > SPOOL_POSITION_LIMIT_BYTES) {
        return -EINVAL;
    }
    memcpy(text, key, key_bytes);
    text[key_bytes] = '\0';
    struct spool_position *position = find_position(spool, text);
    if (size == 0) {
        if (position != NULL) {
            map_remove(&spool->positions, &position->node);
            free(position);
        }
        return 0;
    }
    if (position == NULL) {
        position = create_position(spool, text);
    }
    if (position == NULL) {
        return -ENOMEM;
    }
    position->size = (uint8_t)size;
    memcpy(position->bytes, bytes, size);
    return 0; /* NOLINT(clang-analyzer-unix.Malloc): the map holds it */
}

const unsigned char *spool_position_find(const struct spool *spool, const char *key,
                                         size_t *ret_bytes)
{
    const struct spool_position *position = find_position(spool, key);
    if (position == NULL || position->size == 0 || position->forgotten) {
        return NULL;
    }
    *ret_bytes = position->size;
    return position->bytes;
}

int spool_source_add(struct spool *spool, struct spool_source *source, const char *key)
{
    struct spool_position *position = find_position(spool, key);
    if (position != NULL && position->source != NULL) {
        return -EEXIST;
    }
    if (position == NULL) {
        position = create_position(spool, key);
    }
    if (position == NULL) {
        return -ENOMEM;
    }
    position->source = source;
    source->position = position;
    source->dirty = false;
    return 0;
}

static void unlink_dirty(struct spool *spool, struct spool_source *source)
{
    for (struct spool_source **at = &spool->dirty; *at != NULL; at = &(*at)->next_dirty) {
        if (*at == source) {
            *at = source->next_dirty;
            break;
        }
    }
    source->dirty = false;
}

static void forget(struct spool *spool, struct spool_position *position)
{
    position->size = 0;
    if (!position->forgotten) {
        position->forgotten = true;
        position->next_forgotten = spool->forgotten;
        spool->forgotten = position;
    }
}

void spool_source_remove(struct spool *spool, struct spool_source *source, bool forget_it)
{
    struct spool_position *position = source->position;
    if (position == NULL) {
        return;
    }
    if (source->dirty && (ensure_open(spool) != 0 || seal(spool) != 0)) {
        unlink_dirty(spool, source); /* without memory: its last records may come twice */
    }
    position->source = NULL;
    source->position = NULL;
    if (forget_it) {
        forget(spool, position);
    } else {
        position->size = (uint8_t)source->encode(source, position->bytes);
    }
}

void spool_positions_prune(struct spool *spool, bool (*keep)(const char *key, void *data),
                           void *data)
{
    for (struct map_node *node = map_next(&spool->positions, NULL); node != NULL;
         node = map_next(&spool->positions, node)) {
        struct spool_position *position = container_of(node, struct spool_position, node);
        if (position->source == NULL && !position->forgotten && !keep(position->key, data)) {
            forget(spool, position);
        }
    }
}

void spool_source_touch(struct spool *spool, struct spool_source *source)
{
    mark_dirty(spool, source);
}

/* ---- state ---- */

enum spool_state spool_state(struct spool *spool)
{
    return atomic_load(&spool->stall_errno) == 0 ? SPOOL_WRITING : SPOOL_STALLED;
}

int spool_stall_errno(struct spool *spool)
{
    return atomic_load(&spool->stall_errno);
}

void spool_status(struct spool *spool, struct spool_status *ret_status)
{
    *ret_status = (struct spool_status){.records = atomic_load(&spool->durable_record),
                                        .oldest_record = atomic_load(&spool->oldest_record),
                                        .line_bytes = atomic_load(&spool->durable_line_bytes),
                                        .stored_bytes = atomic_load(&spool->stored_bytes),
                                        .limit_bytes = spool->options.limit_bytes,
                                        .segments = atomic_load(&spool->segments),
                                        .pending_bytes = atomic_load(&spool->pending_bytes) +
                                                         spool->scratch.size,
                                        .frames_damaged = (uint64_t)metric_get(&spool->damaged)};
}

static int64_t read_atomic(void *data)
{
    return (int64_t)atomic_load((_Atomic uint64_t *)data);
}

static int64_t read_stalled(void *data)
{
    return spool_state(data) == SPOOL_STALLED;
}

static int register_metrics(struct spool *spool, struct metrics *metrics)
{
    const struct {
        struct metric *metric;
        struct metric_desc desc;
    } rows[] = {
        {&spool->bytes_metric,
         {METRIC_GAUGE, "log_capturer_spool_bytes", "Bytes of all segments on disk.", NULL, 1,
          read_atomic, &spool->stored_bytes}},
        {&spool->limit_metric,
         {METRIC_GAUGE, "log_capturer_spool_limit_bytes", "Limit of the bytes on disk.", NULL, 1,
          NULL, NULL}},
        {&spool->segments_metric,
         {METRIC_GAUGE, "log_capturer_spool_segments", "Segments on disk.", NULL, 1, read_atomic,
          &spool->segments}},
        {&spool->records_metric,
         {METRIC_COUNTER, "log_capturer_spool_records_total",
          "Records made durable since the spool was made.", NULL, 1, read_atomic,
          &spool->durable_record}},
        {&spool->pending_metric,
         {METRIC_GAUGE, "log_capturer_spool_pending_bytes",
          "Bytes handed to the writer that are not durable yet.", NULL, 1, read_atomic,
          &spool->pending_bytes}},
        {&spool->stalled_metric,
         {METRIC_GAUGE, "log_capturer_spool_stalled",
          "1 while the disk refuses what is written to the spool.", NULL, 1, read_stalled, spool}},
        {&spool->damaged,
         {METRIC_COUNTER, "log_capturer_spool_frames_damaged_total",
          "Frames that were durable once and could not be read.", NULL, 1, NULL, NULL}},
        {&spool->lost,
         {METRIC_COUNTER, "log_capturer_lines_dropped_total", "Lines lost to a reader, by reason.",
          "reason=\"damaged\",cursor=\"\"", 1, NULL, NULL}},
        {&spool->torn_bytes,
         {METRIC_COUNTER, "log_capturer_spool_torn_bytes_total",
          "Bytes behind the last whole frame, cut off at the start; never acknowledged.", NULL, 1,
          NULL, NULL}},
        {&spool->commits,
         {METRIC_COUNTER, "log_capturer_spool_commits_total", "Syncs of the newest segment.", NULL,
          1, NULL, NULL}},
        {&spool->write_errors,
         {METRIC_COUNTER, "log_capturer_spool_write_errors_total",
          "Writes and syncs that the disk refused; each was retried.", NULL, 1, NULL, NULL}},
        {&spool->raw_bytes,
         {METRIC_COUNTER, "log_capturer_spool_payload_bytes_total",
          "Bytes of frames before compression.", NULL, 1, NULL, NULL}},
        {&spool->written_bytes,
         {METRIC_COUNTER, "log_capturer_spool_written_bytes_total", "Bytes written to segments.",
          NULL, 1, NULL, NULL}},
        {&spool->unlinked,
         {METRIC_COUNTER, "log_capturer_spool_segments_unlinked_total",
          "Segments removed by the limit or by age.", NULL, 1, NULL, NULL}},
    };
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof(rows) / sizeof(rows[0]); i++) {
        rc = metrics_add(metrics, rows[i].metric, &rows[i].desc);
    }
    metric_set(&spool->limit_metric, (int64_t)spool->options.limit_bytes);
    if (rc == 0) {
        rc = metrics_add_histogram(
            metrics, &spool->commit_seconds,
            &(struct metric_desc){.name = "log_capturer_spool_commit_seconds",
                                  .help = "Time from the end of a frame until it was durable.",
                                  .scale = 1e-9},
            500000);
    }
    return rc;
}

static void finish_metrics(struct spool *spool)
{
    struct metric *const all[] = {
        &spool->bytes_metric,   &spool->limit_metric,   &spool->segments_metric,
        &spool->records_metric, &spool->pending_metric, &spool->stalled_metric,
        &spool->damaged,        &spool->torn_bytes,     &spool->commits,
        &spool->write_errors,   &spool->raw_bytes,      &spool->written_bytes,
        &spool->unlinked,       &spool->lost,           &spool->commit_seconds.base};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        metric_finish(all[i]);
    }
}

/* ---- life ---- */

static int open_dir(struct spool *spool, struct error *error)
{
    const char *dir = spool->options.dir;
    if (mkdir(dir, 0700) != 0 && errno != EEXIST) {
        int rc = -errno;
        error_set(error, "can't make the folder %s: %s", dir, strerror(-rc));
        return rc;
    }
    spool->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (spool->dir_fd < 0) {
        int rc = -errno;
        error_set(error, "can't open the folder %s: %s", dir, strerror(-rc));
        return rc;
    }
    spool->lock_fd = openat(spool->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (spool->lock_fd < 0 || flock(spool->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        int rc = -errno;
        if (rc == -EWOULDBLOCK) {
            error_set(error,
                      "%s is in use by another log_capturer; give this one a --data-dir of "
                      "its own",
                      dir);
        } else {
            error_set(error, "can't lock %s/lock: %s", dir, strerror(-rc));
        }
        return rc;
    }
    return 0;
}

static void free_blocks(struct list *blocks)
{
    while (!list_empty(blocks)) {
        struct spool_block *block = container_of(blocks->next, struct spool_block, link);
        list_remove(&block->link);
        spool_block_unref(block);
    }
}

/* What the loop and the metrics know of it. */
static void detach(struct spool *spool)
{
    loop_timer_disarm(&spool->commit_timer);
    loop_post_remove(&spool->durable_post);
    finish_metrics(spool);
}

void spool_free(struct spool *spool)
{
    free_blocks(&spool->queue);
    free_blocks(&spool->ring);
    for (struct map_node *node = map_next(&spool->positions, NULL); node != NULL;
         node = map_next(&spool->positions, NULL)) {
        map_remove(&spool->positions, node);
        free(container_of(node, struct spool_position, node));
    }
    map_finish(&spool->positions);
    buf_finish(&spool->scratch);
    if (spool->lock_fd >= 0) {
        (void)close(spool->lock_fd);
    }
    if (spool->dir_fd >= 0) {
        (void)close(spool->dir_fd);
    }
    (void)pthread_cond_destroy(&spool->work);
    (void)pthread_cond_destroy(&spool->durable);
    (void)pthread_mutex_destroy(&spool->lock);
    free(spool);
}

static void init(struct spool *spool, const struct spool_options *options)
{
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&spool->lock, NULL);
    (void)pthread_cond_init(&spool->work, &monotonic);
    (void)pthread_cond_init(&spool->durable, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    spool->options = *options;
    spool->dir_fd = spool->lock_fd = -1;
    spool->next_frame = 1;
    list_init(&spool->queue);
    list_init(&spool->ring);
    list_init(&spool->cursors);
    buf_init(&spool->scratch, SPOOL_FRAME_LIMIT_BYTES);
    loop_timer_init(options->loop, &spool->commit_timer, handle_commit, spool);
    loop_post_add(options->loop, &spool->durable_post, handle_durable, spool);
}

int spool_open(const struct spool_options *options, struct spool **ret_spool, struct error *error)
{
    struct spool *spool = calloc(1, sizeof(*spool));
    if (spool == NULL) {
        error_set(error, "out of memory");
        return -ENOMEM;
    }
    init(spool, options);
    int rc = map_init(&spool->positions);
    if (rc == 0) {
        rc = register_metrics(spool, options->metrics);
    }
    if (rc != 0) {
        error_set(error, "out of memory");
    }
    rc = rc != 0 ? rc : open_dir(spool, error);
    rc = rc != 0 ? rc : spool_recover(spool, error);
    if (rc == 0) {
        rc = spool_writer_start(spool);
        if (rc != 0) {
            error_set(error, "can't start the spool's writer: %s", strerror(-rc));
        }
    }
    if (rc != 0) {
        detach(spool);
        spool_free(spool);
        return rc;
    }
    *ret_spool = spool;
    return 0;
}

static struct timespec deadline_in(int64_t timeout_ns)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t ns = now.tv_nsec + timeout_ns % 1000000000;
    return (struct timespec){now.tv_sec + timeout_ns / 1000000000 + ns / 1000000000,
                             ns % 1000000000};
}

int spool_close(struct spool *spool, int64_t timeout_ns)
{
    if (spool == NULL) {
        return 0;
    }
    spool_flush(spool);
    struct timespec deadline = deadline_in(timeout_ns);
    int rc = 0;
    (void)pthread_mutex_lock(&spool->lock);
    spool->stopping = true;
    (void)pthread_cond_signal(&spool->work);
    while (spool->unfinished > 0 && rc == 0) {
        rc = pthread_cond_timedwait(&spool->durable, &spool->lock, &deadline);
    }
    bool left = spool->unfinished > 0 || spool->open;
    spool->abandoned = true;
    (void)pthread_cond_signal(&spool->work);
    (void)pthread_mutex_unlock(&spool->lock);
    detach(spool);
    deadline = deadline_in(timeout_ns / 2);
    if (!spool_writer_join(spool, &deadline)) {
        return -ETIMEDOUT;
    }
    spool_free(spool);
    return left ? -ETIMEDOUT : 0;
}
