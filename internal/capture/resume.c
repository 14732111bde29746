/*
 * Verdicts in order: is the answer proved; is the stream still before its mark; is the line a
 * repetition. The memory of recent lines exists for API versions below 1.42 only, whose follows
 * repeat lines at rotations; it starts with 64 entries and doubles while it spans less than 10 s,
 * up to 32,768 (512 KiB), so that a quiet container costs 1 KiB.
 *
 * A line older than that memory, not later than the latest one, is a repetition, unless the
 * daemon's clock is behind the latest line: then the clock went back and the line is new.
 *
 * Position: byte 1 (version), byte flags (1, 2: line open in stdout, stderr; 4: the last line was
 * of stderr), then for each stream
 * time (8), count (4), high (8), then floor (8) and lines recorded (8); little endian.
 */
#include "capture/resume.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/timestamp.h"

#define POSITION_VERSION 1
#define WORTH_PARTIAL 1000
#define RECENT_FIRST 64
#define RECENT_LIMIT 32768
#define RECENT_SPAN_NS (10 * NS_PER_SECOND)
#define CLOCK_SLACK_NS (50 * NS_PER_MS)

struct recent_line {
    int64_t time_ns;
    uint32_t hash;
};

struct resume_recent {
    uint32_t capacity; /* a power of two */
    uint32_t count;
    uint32_t next;
    bool unsorted; /* by time */
    struct recent_line *lines;
};

static int stream_index(const struct record *record)
{
    return record->stream == RECORD_STDERR;
}

void resume_init(struct resume *resume)
{
    *resume = (struct resume){.first = true};
}

void resume_finish(struct resume *resume)
{
    for (int i = 0; i < 2; i++) {
        if (resume->recent[i] != NULL) {
            free(resume->recent[i]->lines);
            free(resume->recent[i]);
            resume->recent[i] = NULL;
        }
    }
}

bool resume_has_marks(const struct resume *resume)
{
    return resume->marks[0].count > 0 || resume->marks[1].count > 0;
}

bool resume_allows_partial(const struct resume *resume)
{
    return resume->recorded >= WORTH_PARTIAL && !resume->open[0] && !resume->open[1] &&
           !resume_is_strict(resume);
}

static bool mark_is_strict(const struct resume_mark *mark)
{
    return mark->count > 0 && mark->high_ns > mark->time_ns;
}

bool resume_is_strict(const struct resume *resume)
{
    return mark_is_strict(&resume->marks[0]) || mark_is_strict(&resume->marks[1]);
}

void resume_begin(struct resume *resume, bool partial)
{
    resume->partial = partial;
    resume->first = true;
    resume->overlapped = false;
    resume->gap = false;
    for (int i = 0; i < 2; i++) {
        resume->seeking[i] = resume->marks[i].count > 0 && !resume->accept_all;
        resume->seen[i] = 0;
        resume->met[i] = false;
    }
    resume->accept_all = false;
}

static uint32_t hash_line(const struct record *record)
{
    return crc32c(0, record->line, record->line_bytes);
}

/* ---- before the mark ---- */

static enum resume_verdict judge_seeking(struct resume *resume, int i, int64_t time_ns)
{
    const struct resume_mark *mark = &resume->marks[i];
    if (time_ns == mark->time_ns) {
        resume->overlapped = true;
        resume->seen[i]++;
        resume->seeking[i] = resume->seen[i] < mark->count;
        if (!resume->seeking[i] && i == resume->last) {
            resume->seeking[!i] = false; /* nothing was recorded behind this line */
        }
        return RESUME_SEEN;
    }
    if (time_ns < mark->time_ns) {
        resume->overlapped = true;
        return RESUME_SEEN;
    }
    return mark_is_strict(mark) && time_ns <= mark->high_ns ? RESUME_SEEN : RESUME_NEW;
}

/* ---- repetitions ---- */

static const struct recent_line *recent_at(const struct resume_recent *recent, uint32_t age)
{
    return &recent->lines[(recent->next - 1 - age) & (recent->capacity - 1)];
}

/* The highest age whose line is not earlier than time_ns; the count when all are. */
static uint32_t age_of_first(const struct resume_recent *recent, int64_t time_ns)
{
    uint32_t low = 0;
    uint32_t high = recent->count;
    while (low < high) { /* lines get earlier with age */
        uint32_t middle = low + (high - low) / 2;
        if (recent_at(recent, middle)->time_ns >= time_ns) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool recent_has(const struct resume_recent *recent, int64_t time_ns, uint32_t hash)
{
    uint32_t age = recent->unsorted ? recent->count : age_of_first(recent, time_ns);
    while (age > 0) {
        const struct recent_line *line = recent_at(recent, --age);
        if (line->time_ns == time_ns && line->hash == hash) {
            return true;
        }
        if (!recent->unsorted && line->time_ns > time_ns) {
            return false;
        }
    }
    return false;
}

static bool is_repeated(const struct resume *resume, int i, const struct record *record,
                        int64_t wall_ns)
{
    const struct resume_recent *recent = resume->recent[i];
    const struct resume_mark *mark = &resume->marks[i];
    if (recent == NULL || recent->count == 0 || record->time_ns > mark->high_ns) {
        return false;
    }
    if (recent_has(recent, record->time_ns, hash_line(record))) {
        return true;
    }
    bool remembered = record->time_ns >= recent_at(recent, recent->count - 1)->time_ns;
    bool clock_went_back = wall_ns + CLOCK_SLACK_NS < mark->high_ns;
    return !remembered && !clock_went_back;
}

static void grow_recent(struct resume_recent *recent)
{
    uint32_t capacity = recent->capacity * 2;
    struct recent_line *lines = calloc(capacity, sizeof(*lines));
    if (lines == NULL) {
        return; /* a shorter memory, nothing worse */
    }
    for (uint32_t i = 0; i < recent->count; i++) {
        lines[i] = *recent_at(recent, recent->count - 1 - i);
    }
    free(recent->lines);
    recent->lines = lines;
    recent->capacity = capacity;
    recent->next = recent->count;
}

static struct resume_recent *create_recent(void)
{
    struct resume_recent *recent = calloc(1, sizeof(*recent));
    if (recent == NULL) {
        return NULL;
    }
    recent->capacity = RECENT_FIRST;
    recent->lines = calloc(RECENT_FIRST, sizeof(*recent->lines));
    if (recent->lines == NULL) {
        free(recent);
        return NULL;
    }
    return recent;
}

static void remember(struct resume *resume, int i, const struct record *record)
{
    if (resume->recent[i] == NULL) {
        resume->recent[i] = create_recent();
    }
    struct resume_recent *recent = resume->recent[i];
    if (recent == NULL) {
        return;
    }
    if (recent->count == recent->capacity && recent->capacity < RECENT_LIMIT &&
        record->time_ns - recent_at(recent, recent->count - 1)->time_ns < RECENT_SPAN_NS) {
        grow_recent(recent);
    }
    if (recent->count > 0 && record->time_ns < recent_at(recent, 0)->time_ns) {
        recent->unsorted = true;
    }
    recent->lines[recent->next & (recent->capacity - 1)] = (struct recent_line){record->time_ns,
                                                                                hash_line(record)};
    recent->next++;
    recent->count += recent->count < recent->capacity;
}

/* ---- judging ---- */

/* Whether a partial answer that begins with this line has everything behind the mark. When the
 * daemon's clock is behind what was recorded, it went back, and an early time proves nothing. */
static bool proves(const struct resume *resume, int i, const struct record *record, int64_t wall_ns)
{
    const struct resume_mark *mark = &resume->marks[i];
    int64_t high = resume->marks[0].high_ns > resume->marks[1].high_ns ? resume->marks[0].high_ns
                                                                       : resume->marks[1].high_ns;
    return mark->count > 0 && record->time_ns < mark->time_ns && wall_ns >= high;
}

bool resume_needs_clock(const struct resume *resume, const struct record *record)
{
    return (resume->first && resume->partial) ||
           (resume->repeats && record->time_ns <= resume->marks[stream_index(record)].high_ns);
}

enum resume_verdict resume_judge(struct resume *resume, const struct record *record,
                                 int64_t wall_ns)
{
    int i = stream_index(record);
    if (resume->first && resume->partial && !proves(resume, i, record, wall_ns)) {
        return RESUME_NOT_PROVED;
    }
    /* The other stream's lines with its mark's time may lie before the answer's beginning. */
    if (resume->partial && !resume->met[i] && resume->seeking[i] && resume->marks[i].count > 1 &&
        record->time_ns == resume->marks[i].time_ns) {
        return RESUME_NOT_PROVED;
    }
    resume->first = false;
    resume->met[i] = true;
    if (record->time_ns <= resume->floor_ns) {
        return RESUME_SEEN;
    }
    if (resume->seeking[i]) {
        enum resume_verdict verdict = judge_seeking(resume, i, record->time_ns);
        if (verdict == RESUME_SEEN) {
            return verdict;
        }
    } else if (resume->repeats && is_repeated(resume, i, record, wall_ns)) {
        return RESUME_REPEATED;
    }
    if (!resume->overlapped && resume_has_marks(resume)) {
        resume->gap = true;
        resume->overlapped = true; /* said once per answer */
    }
    return RESUME_NEW;
}

void resume_record(struct resume *resume, const struct record *record)
{
    int i = stream_index(record);
    struct resume_mark *mark = &resume->marks[i];
    if (mark->count > 0 && mark->time_ns == record->time_ns) {
        mark->count++;
    } else {
        mark->high_ns = mark->count == 0 || record->time_ns > mark->high_ns ? record->time_ns
                                                                            : mark->high_ns;
        mark->time_ns = record->time_ns;
        mark->count = 1;
    }
    /* What was recorded is the beginning of the log: behind a new line all are, in both streams. */
    resume->last = i;
    resume->seeking[0] = resume->seeking[1] = false;
    resume->recorded++;
    if (resume->repeats) {
        remember(resume, i, record);
    }
    resume->overlapped = true;
}

/* ---- the position's bytes ---- */

static unsigned char *put(unsigned char *at, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) {
        at[i] = (unsigned char)(value >> (8 * i));
    }
    return at + bytes;
}

static uint64_t get(const unsigned char **at, int bytes)
{
    uint64_t value = 0;
    for (int i = bytes - 1; i >= 0; i--) {
        value = value << 8 | (*at)[i];
    }
    *at += bytes;
    return value;
}

size_t resume_encode(const struct resume *resume, unsigned char ret_bytes[RESUME_POSITION_BYTES])
{
    unsigned char *at = ret_bytes;
    *at++ = POSITION_VERSION;
    *at++ = (unsigned char)((resume->open[0] ? 1 : 0) | (resume->open[1] ? 2 : 0) |
                            (resume->last != 0 ? 4 : 0));
    for (int i = 0; i < 2; i++) {
        at = put(at, (uint64_t)resume->marks[i].time_ns, 8);
        at = put(at, resume->marks[i].count, 4);
        at = put(at, (uint64_t)resume->marks[i].high_ns, 8);
    }
    at = put(at, (uint64_t)resume->floor_ns, 8);
    at = put(at, resume->recorded, 8);
    return (size_t)(at - ret_bytes);
}

int resume_decode(struct resume *resume, const unsigned char *bytes, size_t size)
{
    if (size != RESUME_POSITION_BYTES || bytes[0] != POSITION_VERSION || bytes[1] > 7) {
        return -EINVAL;
    }
    const unsigned char *at = bytes + 2;
    resume->last = (bytes[1] & 4) != 0;
    resume->open[0] = (bytes[1] & 1) != 0;
    resume->open[1] = (bytes[1] & 2) != 0;
    for (int i = 0; i < 2; i++) {
        resume->marks[i].time_ns = (int64_t)get(&at, 8);
        resume->marks[i].count = (uint32_t)get(&at, 4);
        resume->marks[i].high_ns = (int64_t)get(&at, 8);
    }
    resume->floor_ns = (int64_t)get(&at, 8);
    resume->recorded = get(&at, 8);
    return 0;
}
