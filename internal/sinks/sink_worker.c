/*
 * The thread of a sink. One turn: read records into lanes, begin what is due, store the cursor, wait.
 *
 * A lane holds one batch. Which lane a record goes to is decided by its container and stream, so
 * lines of one stream never overtake each other. Where a record's lane has no room, reading
 * stops with that record in hand; the cursor is at the oldest record that is not done with.
 *
 *   lane: empty --record--> filling --full, old enough--> begun: ranges left to send
 *           ^                                               |  delivered: the range is done with
 *           `---------------- all ranges done --------------|  rejected: the range is halved; one
 *                                                           |    record alone becomes a dead letter
 *                                                           `  else: the same range again, later
 *
 * The circuit breaker. After a failure one lane alone tries again, each time after a longer pause
 * (full jitter, Retry-After respected). After five failures in a row the circuit is called open, which
 * is told; the trying stays the same. A denied sink goes on trying too: the mend may be on the
 * other side.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/timestamp.h"
#include "sinks/sink_dead_letters.h"
#include "sinks/sink_private.h"
#include "sinks/sink_scratch.h"

#define READ_BUDGET 20000 /* records of one turn */
#define STORE_INTERVAL_NS NS_PER_SECOND
#define LOOK_INTERVAL_NS (20 * NS_PER_MS) /* for new records, while something is under way */
#define IDLE_NS (60 * NS_PER_SECOND)
#define RELEASE_NS (5 * NS_PER_SECOND) /* the buffers of an idle sink are freed after so long */
#define TELL_INTERVAL_NS (60 * NS_PER_SECOND) /* a target that throttles fails again and again */
#define THROTTLED_LIMIT 3                     /* 429 in a row: the batch is halved */

static int64_t monotonic_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

static bool is_stopping(const struct sink *sink)
{
    return atomic_load(&sink->stopping);
}

static bool may_read(const struct sink *sink)
{
    return !is_stopping(sink) || atomic_load(&sink->draining);
}

/* ---- origins ---- */

static bool wants_stream(const struct sink *sink, const char *stream)
{
    const struct sink_common *common = &sink->settings->common;
    bool wanted = common->include.stream.count == 0;
    for (size_t i = 0; i < common->include.stream.count; i++) {
        wanted = wanted || strcmp(common->include.stream.items[i], stream) == 0;
    }
    for (size_t i = 0; i < common->exclude.stream.count; i++) {
        wanted = wanted && strcmp(common->exclude.stream.items[i], stream) != 0;
    }
    return wanted;
}

static void select_origin(const struct sink *sink, struct sink_origin *origin)
{
    struct filter_subject subject = {.name = origin->view.name,
                                     .image = origin->view.image,
                                     .labels = origin->view.labels,
                                     .label_count = origin->view.label_count};
    bool selected = filter_selects(&sink->filter, &subject);
    origin->wanted[RECORD_STDOUT] = selected && wants_stream(sink, "stdout");
    origin->wanted[RECORD_STDERR] = selected && wants_stream(sink, "stderr");
}

static void forget_segment(struct sink *sink)
{
    for (size_t i = 0; i < sink->by_id_count; i++) {
        sink_origin_unref(sink->by_id[i]);
        sink->by_id[i] = NULL;
    }
    sink->segment = sink->item.segment;
}

static int make_room_for_id(struct sink *sink, uint32_t id)
{
    if (id < sink->by_id_count) {
        return 0;
    }
    size_t count = ((size_t)id + 1) * 2;
    struct sink_origin **table = realloc(sink->by_id, count * sizeof(struct sink_origin *));
    if (table == NULL) {
        return -ENOMEM;
    }
    memset(table + sink->by_id_count, 0,
           (count - sink->by_id_count) * sizeof(struct sink_origin *));
    sink->by_id = table;
    sink->by_id_count = count;
    return 0;
}

/* The item's origin; NULL without memory. */
static struct sink_origin *origin_of_item(struct sink *sink)
{
    const struct spool_item *item = &sink->item;
    if (item->segment != sink->segment) {
        forget_segment(sink);
    }
    if (make_room_for_id(sink, item->origin_id) != 0) {
        return NULL;
    }
    struct sink_origin **slot = &sink->by_id[item->origin_id];
    if (*slot == NULL) {
        bool fresh;
        *slot = sink_origins_get(&sink->origins, item->origin, &fresh);
        if (*slot != NULL && fresh) {
            select_origin(sink, *slot);
        }
    }
    return *slot;
}

/* ---- reading ---- */

static bool is_full(const struct sink *sink, const struct sink_lane *lane)
{
    return lane->batch.lines.size >= sink->settings->common.batch_bytes ||
           lane->batch.count >= sink->settings->common.batch_lines;
}

static struct sink_lane *lane_of(const struct sink *sink, const struct sink_origin *origin,
                                 const struct record *record)
{
    return &sink->lanes[(origin->hash + record->stream) % sink->lane_count];
}

static bool is_busy(const struct sink_lane *lane)
{
    return lane->range_count > 0 || lane->full;
}

static int prepare_stream(const struct sink *sink, struct sink_origin *origin,
                          enum record_stream stream)
{
    return sink->type->prepare == NULL || origin->prepared[stream] != NULL
               ? 0
               : sink->type->prepare(sink->state, origin, stream);
}

/* Puts the item where it belongs; false when there is no room for it now. */
static bool place_item(struct sink *sink)
{
    const struct spool_item *item = &sink->item;
    struct sink_origin *origin = origin_of_item(sink);
    if (origin == NULL) {
        return false;
    }
    enum record_stream stream = item->record.stream == RECORD_STDERR ? RECORD_STDERR
                                                                     : RECORD_STDOUT;
    if (!origin->wanted[stream]) {
        metric_add(&sink->filtered, 1);
        return true;
    }
    struct sink_lane *lane = lane_of(sink, origin, &item->record);
    if (is_busy(lane) || prepare_stream(sink, origin, stream) != 0 ||
        sink_batch_add(&lane->batch, &(struct sink_record){.number = item->number,
                                                           .line_bytes_end = item->line_bytes,
                                                           .origin = origin,
                                                           .record = item->record}) != 0) {
        return false;
    }
    if (lane->batch.count == 1) {
        lane->begun_ns = monotonic_ns();
    }
    lane->full = is_full(sink, lane);
    return true;
}

static void read_records(struct sink *sink)
{
    sink->caught_up = false;
    for (int i = 0; i < READ_BUDGET; i++) {
        if (!sink->item_waits) {
            int rc = may_read(sink) ? spool_reader_next(sink->reader, &sink->item) : 0;
            if (rc != 1) {
                sink->caught_up = rc == 0;
                sink->reader_errno = rc;
                return;
            }
            sink->item_waits = true;
        }
        if (!place_item(sink)) {
            return;
        }
        sink->item_waits = false;
    }
}

/* ---- sending ---- */

static bool has_batch(const struct sink_lane *lane)
{
    return lane->batch.count > 0;
}

static int64_t due_ns(const struct sink *sink, const struct sink_lane *lane)
{
    bool now = lane->full || lane->range_count > 0 || is_stopping(sink);
    return now ? 0 : lane->begun_ns + sink->settings->common.batch_age_ns;
}

static bool may_send(const struct sink *sink, int64_t now_ns)
{
    return sink->failures == 0 || (sink->in_flight == 0 && now_ns >= sink->next_try_ns);
}

static int encode_compressed(struct sink *sink, struct sink_lane *lane)
{
    static const struct pool_wish wish = {.holder = "encoder", .timeout_ns = -1};
    struct pool_lease lease;
    int rc = pool_acquire(sink->scratch, &wish, &lease, NULL);
    if (rc != 0) {
        return rc;
    }
    struct buf *plain = lease.resource;
    rc = sink->type->encode(sink->state, &lane->delivery.slice, plain);
    rc = rc != 0 ? rc : sink->type->compress(plain, &lane->payload);
    (void)pool_release(sink->scratch, lease);
    return rc;
}

/* Encodes the lane's present range. Without memory it is as if the target did not answer. */
static int encode_range(struct sink *sink, struct sink_lane *lane)
{
    struct sink_range range = lane->ranges[lane->range_count - 1];
    lane->delivery = (struct sink_delivery){
        .slice = sink_batch_slice(&lane->batch, range.from, range.to), .payload = &lane->payload};
    buf_clear(&lane->payload);
    return sink->type->compress != NULL
               ? encode_compressed(sink, lane)
               : sink->type->encode(sink->state, &lane->delivery.slice, &lane->payload);
}

static void send_range(struct sink *sink, struct sink_lane *lane, int64_t now_ns)
{
    if (lane->range_count == 0) {
        lane->ranges[lane->range_count++] = (struct sink_range){0, lane->batch.count};
        lane->done = 0;
    }
    lane->sending = true;
    lane->sent_ns = now_ns;
    sink->in_flight++;
    int rc = encode_range(sink, lane);
    if (rc != 0) {
        sink_handle_answer(&lane->delivery,
                           &(struct sink_response){.rc = rc, .text = strerror(-rc)}, sink);
        return;
    }
    metric_add(&sink->retries, lane->tried);
    metric_add(&sink->sent_bytes, (int64_t)lane->payload.size);
    lane->tried = true;
    sink->type->send(sink->state, &lane->delivery);
}

static void send_due(struct sink *sink)
{
    for (size_t i = 0; i < sink->lane_count; i++) {
        struct sink_lane *lane = &sink->lanes[i];
        while (has_batch(lane) && !lane->sending && !atomic_load(&sink->aborted)) {
            int64_t now_ns = monotonic_ns();
            if (now_ns < due_ns(sink, lane) || !may_send(sink, now_ns)) {
                break;
            }
            send_range(sink, lane, now_ns);
        }
    }
}

/* ---- answers ---- */

static void range_is_done(struct sink_lane *lane)
{
    lane->done = lane->ranges[--lane->range_count].to;
    lane->tried = false;
    lane->throttled = 0;
    if (lane->range_count == 0) {
        sink_batch_clear(&lane->batch);
        lane->full = false;
        lane->done = 0;
    }
}

static void halve_range(struct sink_lane *lane)
{
    struct sink_range range = lane->ranges[--lane->range_count];
    size_t middle = range.from + (range.to - range.from) / 2;
    lane->ranges[lane->range_count++] = (struct sink_range){middle, range.to};
    lane->ranges[lane->range_count++] = (struct sink_range){range.from, middle};
    lane->tried = false;
    lane->throttled = 0;
}

static void handle_success(struct sink *sink)
{
    if (sink->failures > 0) {
        if (sink->told) {
            log_info("sink %s: delivers again after %u failures", sink->settings->name,
                     sink->failures);
            sink->told = false;
        }
        sink->failures = 0;
        sink->denied = false;
        backoff_reset(&sink->backoff);
        sink_set_problem(sink, SINK_RUNNING, NULL, 0);
    }
}

static void handle_delivered(struct sink *sink, struct sink_lane *lane)
{
    int64_t bytes = 0;
    for (size_t i = 0; i < lane->delivery.slice.count; i++) {
        bytes += (int64_t)lane->delivery.slice.records[i].record.line_bytes;
    }
    metric_add(&sink->delivered, (int64_t)lane->delivery.slice.count);
    metric_add(&sink->delivered_bytes, bytes);
    range_is_done(lane);
}

static void describe(const struct sink_response *response, struct error *ret_text)
{
    size_t size = response->body_bytes < 200 ? response->body_bytes : 200;
    if (response->rc != 0) {
        error_set(ret_text, "%s", response->text != NULL ? response->text : "no answer");
    } else {
        error_set(ret_text, "status %d%s%.*s", response->status, size > 0 ? ": " : "", (int)size,
                  response->body != NULL ? response->body : "");
    }
}

static void handle_failure(struct sink *sink, struct sink_lane *lane, enum sink_verdict verdict,
                           const struct sink_response *response)
{
    struct error text;
    int64_t pause_ns = backoff_next(&sink->backoff);
    pause_ns = pause_ns > response->retry_after_ns ? pause_ns : response->retry_after_ns;
    describe(response, &text);
    int64_t now_ns = monotonic_ns();
    bool changed = sink->denied != (verdict == SINK_DENIED);
    if (changed || (sink->failures == 0 && now_ns - sink->told_ns > TELL_INTERVAL_NS)) {
        sink->told = true;
        sink->told_ns = now_ns;
        log_warn("sink %s: %s: %s; it goes on trying, nothing is dropped", sink->settings->name,
                 sink_verdict_name(verdict), text.text);
    }
    sink->failures++;
    sink->denied = verdict == SINK_DENIED;
    sink->next_try_ns = now_ns + pause_ns;
    sink_set_problem(sink,
                     sink->denied                        ? SINK_HELD
                     : sink->failures >= SINK_OPEN_AFTER ? SINK_OPEN
                                                         : SINK_RETRYING,
                     text.text, strlen(text.text));
    lane->throttled = response->status == 429 ? lane->throttled + 1 : 0;
    if (lane->throttled >= THROTTLED_LIMIT && lane->delivery.slice.count > 1 &&
        lane->range_count + 1 < SINK_RANGES_LIMIT) {
        halve_range(lane); /* a burst limit below the size of the batch would never let it pass */
    }
}

/* One record that will never be taken: kept aside, then it is done with. */
static void handle_dead_letter(struct sink *sink, struct sink_lane *lane,
                               const struct sink_response *response)
{
    struct error text;
    struct sink_dead_letter letter = {.sink = sink->settings->name,
                                      .status = response->status,
                                      .reason = response->body,
                                      .reason_bytes = response->body_bytes,
                                      .record = &lane->delivery.slice.records[0]};
    if (response->rc != 0 || response->body_bytes == 0) {
        describe(response, &text);
        letter.reason = text.text;
        letter.reason_bytes = strlen(text.text);
    }
    int rc = sink_dead_letters_append(sink->dead_letters_path, &letter);
    if (rc != 0) {
        error_set(&text, "%s: %s", sink->dead_letters_path, strerror(-rc));
        handle_failure(sink, lane, SINK_RETRY,
                       &(struct sink_response){.rc = rc, .text = text.text});
        return;
    }
    metric_add(&sink->dead_letters, 1);
    handle_success(sink);
    range_is_done(lane);
}

void sink_handle_answer(struct sink_delivery *delivery, const struct sink_response *response,
                        void *data)
{
    struct sink *sink = data;
    struct sink_lane *lane = container_of(delivery, struct sink_lane, delivery);
    enum sink_verdict verdict = sink->type->judge(sink->state, response);
    metric_add(&sink->sends[verdict], 1);
    metric_observe(&sink->send_seconds, monotonic_ns() - lane->sent_ns);
    sink->in_flight--;
    lane->sending = false;
    if (verdict == SINK_DELIVERED) {
        handle_success(sink);
        handle_delivered(sink, lane);
    } else if (verdict != SINK_REJECTED) {
        handle_failure(sink, lane, verdict, response);
    } else if (delivery->slice.count == 1) {
        handle_dead_letter(sink, lane, response);
    } else {
        handle_success(sink); /* it answers; one record of the batch is the matter */
        halve_range(lane);
    }
}

/* ---- the cursor ---- */

struct place {
    uint64_t record, line_bytes;
    int64_t time_ns; /* of the oldest that waits; 0: none does */
};

static void take_older(struct place *place, uint64_t number, uint64_t bytes_end,
                       const struct record *record)
{
    if (number < place->record || place->time_ns == 0) {
        *place = (struct place){number, bytes_end - record->line_bytes,
                                record->time_ns != 0 ? record->time_ns : 1};
    }
}

/* The first record that is not done with. */
static struct place find_place(const struct sink *sink)
{
    struct place place = {spool_reader_position(sink->reader),
                          spool_reader_line_bytes(sink->reader), 0};
    if (sink->item_waits) {
        take_older(&place, sink->item.number, sink->item.line_bytes, &sink->item.record);
    }
    for (size_t i = 0; i < sink->lane_count; i++) {
        const struct sink_lane *lane = &sink->lanes[i];
        if (has_batch(lane)) {
            const struct sink_record *record = &lane->batch.records[lane->done];
            take_older(&place, record->number, record->line_bytes_end, &record->record);
        }
    }
    return place;
}

static void store_cursor(struct sink *sink, bool now)
{
    struct place place = find_place(sink);
    int64_t now_ns = monotonic_ns();
    spool_reader_advance(sink->reader, place.record, place.line_bytes);
    atomic_store(&sink->oldest_ns, place.time_ns);
    if (place.record == sink->stored_record ||
        (!now && now_ns - sink->stored_ns < STORE_INTERVAL_NS)) {
        return;
    }
    sink->stored_ns = now_ns;
    int rc = sink->type->settle == NULL ? 0 : sink->type->settle(sink->state, place.record);
    rc = rc != 0 ? rc : spool_reader_commit(sink->reader, place.record);
    if (rc == 0) {
        sink->stored_record = place.record;
    } else {
        log_debug("sink %s: its cursor can't be stored: %s", sink->settings->name, strerror(-rc));
    }
}

/* ---- the thread ---- */

static bool holds_something(const struct sink *sink)
{
    for (size_t i = 0; i < sink->lane_count; i++) {
        if (has_batch(&sink->lanes[i])) {
            return true;
        }
    }
    return sink->item_waits;
}

static bool is_over(const struct sink *sink)
{
    if (atomic_load(&sink->aborted)) {
        return true;
    }
    return is_stopping(sink) && sink->in_flight == 0 &&
           (sink->failures > 0 || sink->reader_errno != 0 ||
            (sink->caught_up && !holds_something(sink)));
}

/* Whether the item in hand could be placed now. */
static bool has_room_for_item(const struct sink *sink)
{
    const struct spool_item *item = &sink->item;
    const struct sink_origin *origin = sink->item_waits && item->segment == sink->segment &&
                                               item->origin_id < sink->by_id_count
                                           ? sink->by_id[item->origin_id]
                                           : NULL;
    return origin != NULL && !is_busy(lane_of(sink, origin, &item->record));
}

/* How long nothing will be due; at most `most`. */
static int64_t time_left(const struct sink *sink, int64_t most)
{
    bool reads_on = !sink->caught_up && !sink->item_waits && sink->reader_errno == 0;
    if (reads_on || has_room_for_item(sink)) {
        return 0;
    }
    int64_t now_ns = monotonic_ns();
    int64_t left = most;
    bool one_tries = sink->failures > 0 && sink->in_flight > 0; /* the others wait for its answer */
    for (size_t i = 0; i < sink->lane_count; i++) {
        const struct sink_lane *lane = &sink->lanes[i];
        if (has_batch(lane) && !lane->sending && !one_tries) {
            int64_t due = due_ns(sink, lane);
            due = sink->failures > 0 && sink->next_try_ns > due ? sink->next_try_ns : due;
            left = due - now_ns < left ? due - now_ns : left;
        }
    }
    if (spool_reader_position(sink->reader) != sink->stored_record) {
        int64_t store = sink->stored_ns + STORE_INTERVAL_NS - now_ns;
        store = store > 0 ? store : STORE_INTERVAL_NS; /* it failed, or nothing moved */
        left = store < left ? store : left;
    }
    return left > 0 ? left : 0;
}

static void release_buffers(struct sink *sink)
{
    for (size_t i = 0; i < sink->lane_count; i++) {
        sink_batch_finish(&sink->lanes[i].batch);
        buf_finish(&sink->lanes[i].payload);
    }
    sink_scratch_tend(sink->scratch);
    if (sink->type->release != NULL) {
        sink->type->release(sink->state);
    }
    sink->busy_ns = 0;
}

static void wait_for_wake(const struct sink *sink, int64_t timeout_ns)
{
    struct pollfd fds[] = {{.fd = sink->stop_fd, .events = POLLIN},
                           {.fd = sink->wake_fd, .events = POLLIN}};
    int64_t timeout_ms = (timeout_ns + NS_PER_MS - 1) / NS_PER_MS;
    (void)poll(fds, is_stopping(sink) ? 1 : 2, (int)timeout_ms); /* it was woken to stop */
}

static void wait_for_work(struct sink *sink)
{
    if (holds_something(sink)) {
        sink->busy_ns = monotonic_ns();
    } else if (sink->busy_ns != 0 && monotonic_ns() - sink->busy_ns > RELEASE_NS) {
        release_buffers(sink);
    }
    int64_t most = sink->reader_errno != 0 ? NS_PER_SECOND
                   : sink->busy_ns != 0    ? RELEASE_NS
                                           : IDLE_NS;
    if (sink->in_flight > 0) {
        http_sender_poll(sink->http, time_left(sink, sink->caught_up ? LOOK_INTERVAL_NS : most),
                         is_stopping(sink) ? sink->stop_fd : sink->wake_fd);
    } else if (sink->type->work != NULL && !is_stopping(sink) && sink->type->work(sink->state)) {
        return;
    } else if (sink->caught_up && !is_stopping(sink)) {
        spool_reader_wait(sink->reader, time_left(sink, most));
    } else {
        wait_for_wake(sink, time_left(sink, most));
    }
}

void *sink_thread(void *data)
{
    struct sink *sink = data;
    sink->stored_record = spool_reader_position(sink->reader);
    while (!is_over(sink)) {
        read_records(sink);
        send_due(sink);
        store_cursor(sink, false);
        if (!is_over(sink)) {
            wait_for_work(sink);
        }
    }
    store_cursor(sink, true);
    sink_set_problem(sink, SINK_STOPPED, NULL, 0);
    atomic_store(&sink->ended, true);
    if (sink->options.on_ended != NULL) {
        sink->options.on_ended(sink->options.data);
    }
    return NULL;
}
