/* Exact resume: each line of a daemon's log is recorded once, over crashes, rotation and clocks. */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "capture/resume.h"

#define PARTIAL_FROM 1000   /* lines from which a partial answer is worth asking for */
#define FAR (INT64_MAX / 2) /* a wall clock that never went back */

struct line {
    int64_t time_ns;
    uint8_t stream;
    unsigned recorded;
    char text[24];
};

struct log {
    struct line *lines;
    size_t count, first; /* those before `first` were rotated away */
};

static struct record view(const struct line *line)
{
    return (struct record){line->time_ns, line->stream, 0, line->text, strlen(line->text)};
}

static enum resume_verdict judge(struct resume *resume, int64_t time_ns, uint8_t stream,
                                 const char *text)
{
    struct record record = {time_ns, stream, 0, text, strlen(text)};
    enum resume_verdict verdict = resume_judge(resume, &record, FAR);
    if (verdict == RESUME_NEW) {
        resume_record(resume, &record);
    }
    return verdict;
}

static enum resume_verdict out(struct resume *resume, int64_t time_ns)
{
    return judge(resume, time_ns, RECORD_STDOUT, "x");
}

static enum resume_verdict err(struct resume *resume, int64_t time_ns)
{
    return judge(resume, time_ns, RECORD_STDERR, "x");
}

/* The process ends and starts: only the position stays. */
static void restart(struct resume *resume)
{
    unsigned char bytes[RESUME_POSITION_BYTES];
    bool repeats = resume->repeats;
    assert_int_equal(resume_encode(resume, bytes), RESUME_POSITION_BYTES);
    resume_finish(resume);
    resume_init(resume);
    resume->repeats = repeats;
    assert_int_equal(resume_decode(resume, bytes, sizeof(bytes)), 0);
}

static void everything_is_new_where_nothing_was_recorded(void **state)
{
    (void)state;
    struct resume resume;
    resume_init(&resume);
    assert_false(resume_has_marks(&resume));
    assert_false(resume_allows_partial(&resume));
    resume_begin(&resume, false);
    assert_int_equal(out(&resume, 5), RESUME_NEW);
    assert_int_equal(err(&resume, 4), RESUME_NEW);
    assert_false(resume.gap);
    assert_true(resume_has_marks(&resume));
    resume_finish(&resume);
}

static void what_was_recorded_is_seen_and_what_came_later_is_new(void **state)
{
    (void)state;
    struct resume resume;
    resume_init(&resume);
    resume_begin(&resume, false);
    for (int i = 1; i <= 5; i++) {
        assert_int_equal(out(&resume, i), RESUME_NEW);
    }
    restart(&resume);
    resume_begin(&resume, true);
    assert_int_equal(out(&resume, 4), RESUME_SEEN);
    assert_int_equal(out(&resume, 5), RESUME_SEEN);
    assert_int_equal(out(&resume, 6), RESUME_NEW);
    assert_false(resume.gap);
    resume_finish(&resume);
}

static void lines_that_share_a_time_are_counted(void **state)
{
    (void)state;
    struct resume resume;
    resume_init(&resume);
    resume_begin(&resume, false);
    assert_int_equal(out(&resume, 7), RESUME_NEW);
    assert_int_equal(out(&resume, 7), RESUME_NEW);
    assert_int_equal(out(&resume, 7), RESUME_NEW);
    for (unsigned round = 3; round < 6; round++) {
        restart(&resume);
        resume_begin(&resume, false);
        for (unsigned i = 0; i < round; i++) {
            assert_int_equal(out(&resume, 7), RESUME_SEEN);
        }
        assert_int_equal(out(&resume, 7), RESUME_NEW);
    }
    restart(&resume);
    resume_begin(&resume, false);
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(out(&resume, 7), RESUME_SEEN);
    }
    assert_int_equal(out(&resume, 8), RESUME_NEW);
    resume_finish(&resume);
}

static void each_stream_has_its_own_mark(void **state)
{
    (void)state;
    struct resume resume;
    resume_init(&resume);
    resume_begin(&resume, false);
    assert_int_equal(out(&resume, 10), RESUME_NEW);
    assert_int_equal(err(&resume, 6), RESUME_NEW); /* out of order across the streams */
    restart(&resume);
    resume_begin(&resume, false);
    assert_int_equal(out(&resume, 10), RESUME_SEEN);
    assert_int_equal(err(&resume, 6), RESUME_SEEN);
    assert_int_equal(err(&resume, 8), RESUME_NEW); /* earlier than what stdout has */
    assert_int_equal(out(&resume, 11), RESUME_NEW);
    resume_finish(&resume);
}

static void a_partial_answer_must_begin_with_something_recorded(void **state)
{
    (void)state;
    struct resume resume;
    resume_init(&resume);
    resume_begin(&resume, false);
    assert_int_equal(out(&resume, 10), RESUME_NEW);
    assert_false(resume_allows_partial(&resume)); /* little more than the whole log */
    resume.recorded = PARTIAL_FROM;
    restart(&resume);
    assert_true(resume_allows_partial(&resume));
    resume_begin(&resume, true);
    assert_int_equal(out(&resume, 12), RESUME_NOT_PROVED);
    resume_begin(&resume, true);
    assert_int_equal(err(&resume, 3), RESUME_NOT_PROVED); /* nothing of stderr was recorded */
    resume_begin(&resume, true);
    assert_int_equal(out(&resume, 10), RESUME_NOT_PROVED); /* others may share its time */
    resume_begin(&resume, true);
    assert_int_equal(out(&resume, 9), RESUME_SEEN);
    assert_int_equal(out(&resume, 10), RESUME_SEEN);
    assert_int_equal(err(&resume, 3), RESUME_NEW);
    assert_int_equal(out(&resume, 12), RESUME_NEW);
    assert_false(resume.gap);
    resume_finish(&resume);
}

static void a_line_that_was_open_forbids_a_partial_answer(void **state)
{
    (void)state;
    struct resume resume;
    resume_init(&resume);
    resume_begin(&resume, false);
    assert_int_equal(out(&resume, 10), RESUME_NEW);
    resume.open[1] = true;
    resume.recorded = PARTIAL_FROM;
    restart(&resume);
    assert_true(resume.open[1]);
    assert_false(resume_allows_partial(&resume));
    resume_finish(&resume);
}

static void a_mark_that_is_gone_is_a_gap_and_costs_no_line(void **state)
{
    (void)state;
    struct resume resume;
    resume_init(&resume);
    resume_begin(&resume, false);
    assert_int_equal(out(&resume, 10), RESUME_NEW);
    restart(&resume);
    resume_begin(&resume, false);
    assert_int_equal(out(&resume, 20), RESUME_NEW);
    assert_true(resume.gap);
    assert_int_equal(out(&resume, 21), RESUME_NEW);
    resume_finish(&resume);
}

static void nothing_up_to_the_floor_is_wanted(void **state)
{
    (void)state;
    struct resume resume;
    resume_init(&resume);
    resume.floor_ns = 10;
    restart(&resume);
    assert_int_equal(resume.floor_ns, 10);
    resume_begin(&resume, false);
    assert_int_equal(out(&resume, 9), RESUME_SEEN);
    assert_int_equal(out(&resume, 10), RESUME_SEEN);
    assert_int_equal(out(&resume, 11), RESUME_NEW);
    resume_finish(&resume);
}

/* ---- a clock that was set back */

static void record_step_back(struct resume *resume)
{
    resume_init(resume);
    resume_begin(resume, false);
    assert_int_equal(out(resume, 100), RESUME_NEW);
    assert_int_equal(out(resume, 101), RESUME_NEW);
    assert_int_equal(out(resume, 50), RESUME_NEW);
    restart(resume);
}

static void after_a_step_back_only_the_mark_itself_says_what_is_new(void **state)
{
    (void)state;
    struct resume resume;
    record_step_back(&resume);
    assert_true(resume_is_strict(&resume));
    assert_false(resume_allows_partial(&resume));
    resume_begin(&resume, false);
    assert_int_equal(out(&resume, 100), RESUME_SEEN);
    assert_int_equal(out(&resume, 101), RESUME_SEEN);
    assert_int_equal(out(&resume, 50), RESUME_SEEN);
    assert_int_equal(out(&resume, 51), RESUME_NEW);
    assert_int_equal(out(&resume, 102), RESUME_NEW);
    assert_false(resume_is_strict(&resume));
    resume_finish(&resume);
}

static void a_lost_mark_after_a_step_back_is_looked_for_and_then_all_is_accepted(void **state)
{
    (void)state;
    struct resume resume;
    record_step_back(&resume);
    resume_begin(&resume, false);
    assert_int_equal(out(&resume, 51), RESUME_SEEN);
    assert_int_equal(out(&resume, 52), RESUME_SEEN);
    assert_true(resume.seeking[0]);
    resume.accept_all = true; /* as stream_api.c does at the end of such an answer */
    resume_begin(&resume, false);
    assert_int_equal(out(&resume, 51), RESUME_NEW);
    assert_true(resume.gap);
    assert_int_equal(out(&resume, 52), RESUME_NEW);
    resume_begin(&resume, false);
    assert_true(resume.seeking[0]); /* for one answer only */
    resume_finish(&resume);
}

/* A follow has no end at which the mark could be called gone. */
static void lines_later_than_any_recorded_are_new_though_the_mark_is_gone(void **state)
{
    (void)state;
    struct resume resume;
    record_step_back(&resume);
    resume_begin(&resume, false);
    assert_int_equal(out(&resume, 60), RESUME_SEEN);
    assert_int_equal(out(&resume, 102), RESUME_NEW);
    resume_finish(&resume);
}

/* While we were away the clock went back and more lines came than the tail holds. */
static void a_tail_from_behind_an_unseen_step_back_proves_nothing(void **state)
{
    (void)state;
    struct resume resume;
    resume_init(&resume);
    resume_begin(&resume, false);
    assert_int_equal(out(&resume, 100), RESUME_NEW);
    restart(&resume);
    resume_begin(&resume, true);
    struct record record = {60, RECORD_STDOUT, 0, "x", 1};
    enum resume_verdict verdict = resume_judge(&resume, &record, 95); /* the daemon's clock */
    assert_int_not_equal(verdict, RESUME_SEEN);
    resume_finish(&resume);
}

/* The tail holds recorded lines of stdout only; then the clock goes back while we follow. */
static void a_stream_without_lines_in_the_tail_loses_none_to_a_step_back(void **state)
{
    (void)state;
    struct resume resume;
    resume_init(&resume);
    resume_begin(&resume, false);
    assert_int_equal(err(&resume, 90), RESUME_NEW);
    assert_int_equal(out(&resume, 100), RESUME_NEW);
    assert_int_equal(out(&resume, 101), RESUME_NEW);
    restart(&resume);
    resume_begin(&resume, true);
    assert_int_equal(out(&resume, 100), RESUME_SEEN);
    assert_int_equal(out(&resume, 101), RESUME_SEEN);
    assert_int_equal(out(&resume, 102), RESUME_NEW); /* all that follows is new */
    assert_int_equal(out(&resume, 70), RESUME_NEW);
    assert_int_equal(err(&resume, 71), RESUME_NEW);
    resume_finish(&resume);
}

/* podman: seconds only, so more lines share the mark's time than the tail holds. */
static void a_tail_that_begins_among_lines_of_the_marks_time_proves_nothing(void **state)
{
    (void)state;
    struct resume resume;
    resume_init(&resume);
    resume_begin(&resume, false);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(out(&resume, 7), RESUME_NEW);
    }
    resume.recorded = PARTIAL_FROM;
    restart(&resume);
    if (resume_allows_partial(&resume)) {
        resume_begin(&resume, true); /* the last 3 of 6 */
        if (out(&resume, 7) != RESUME_NOT_PROVED) {
            assert_int_equal(out(&resume, 7), RESUME_SEEN);
            assert_int_equal(out(&resume, 7), RESUME_NEW);
        }
    }
    resume_finish(&resume);
}

/* The first line of the tail vouches for its own stream; lines of the other one that share its
 * mark's time may lie before the tail. */
static void a_tail_that_cuts_lines_of_one_time_of_the_other_stream_proves_nothing(void **state)
{
    (void)state;
    struct resume resume;
    resume_init(&resume);
    resume_begin(&resume, false);
    assert_int_equal(err(&resume, 7), RESUME_NEW);
    assert_int_equal(err(&resume, 7), RESUME_NEW);
    assert_int_equal(out(&resume, 7), RESUME_NEW);
    assert_int_equal(err(&resume, 7), RESUME_NEW);
    assert_int_equal(out(&resume, 8), RESUME_NEW);
    resume.recorded = PARTIAL_FROM;
    restart(&resume);
    resume_begin(&resume, true);
    assert_int_equal(out(&resume, 7), RESUME_SEEN);
    if (err(&resume, 7) == RESUME_SEEN) { /* or it asks for more */
        assert_int_equal(out(&resume, 8), RESUME_SEEN);
        assert_int_equal(err(&resume, 7), RESUME_NEW);
    }
    resume_finish(&resume);
}

/* ---- daemons that repeat lines */

static void a_repeated_line_is_recognised_however_much_came_since(void **state)
{
    (void)state;
    static const int counts[] = {1, 63, 64, 65, 1000, 32767, 32768, 32769, 70000};
    for (size_t n = 0; n < sizeof(counts) / sizeof(counts[0]); n++) {
        struct resume resume;
        resume_init(&resume);
        resume.repeats = true;
        resume_begin(&resume, false);
        for (int i = 1; i <= counts[n]; i++) {
            char text[24];
            (void)snprintf(text, sizeof(text), "%d", i);
            assert_int_equal(judge(&resume, i, RECORD_STDOUT, text), RESUME_NEW);
        }
        for (int i = 1; i <= counts[n]; i++) {
            char text[24];
            (void)snprintf(text, sizeof(text), "%d", i);
            if (judge(&resume, i, RECORD_STDOUT, text) != RESUME_REPEATED) {
                fail_msg("line %d of %d", i, counts[n]);
            }
        }
        assert_int_equal(judge(&resume, counts[n] + 1, RECORD_STDOUT, "new"), RESUME_NEW);
        resume_finish(&resume);
    }
}

static void a_late_line_among_remembered_ones_is_new(void **state)
{
    (void)state;
    struct resume resume;
    resume_init(&resume);
    resume.repeats = true;
    resume_begin(&resume, false);
    for (int i = 1; i <= 100; i++) {
        assert_int_equal(out(&resume, 10 * i), RESUME_NEW);
    }
    assert_int_equal(out(&resume, 995), RESUME_NEW);
    assert_int_equal(out(&resume, 995), RESUME_REPEATED);
    assert_int_equal(judge(&resume, 995, RECORD_STDOUT, "other"), RESUME_NEW);
    assert_int_equal(out(&resume, 500), RESUME_REPEATED);
    resume_finish(&resume);
}

static void lines_of_a_clock_that_went_back_are_no_repetitions(void **state)
{
    (void)state;
    struct resume resume;
    const int64_t second = 1000000000;
    resume_init(&resume);
    resume.repeats = true;
    resume_begin(&resume, false);
    for (int i = 1000; i < 1100; i++) {
        assert_int_equal(out(&resume, i * second), RESUME_NEW);
    }
    for (int i = 0; i < 200; i++) {
        struct record record = {(500 + i) * second, RECORD_STDOUT, 0, "x", 1};
        assert_true(resume_needs_clock(&resume, &record));
        assert_int_equal(resume_judge(&resume, &record, record.time_ns), RESUME_NEW);
        resume_record(&resume, &record);
    }
    resume_finish(&resume);
}

/* ---- the position's bytes */

static void a_position_survives_encoding(void **state)
{
    (void)state;
    struct resume from;
    struct resume to;
    unsigned char bytes[RESUME_POSITION_BYTES];
    resume_init(&from);
    from.marks[0] = (struct resume_mark){
        .time_ns = INT64_MIN, .count = UINT32_MAX, .high_ns = INT64_MAX};
    from.marks[1] = (struct resume_mark){.time_ns = -1, .count = 1, .high_ns = 12};
    from.open[1] = true;
    from.floor_ns = INT64_MAX - 5;
    assert_int_equal(resume_encode(&from, bytes), RESUME_POSITION_BYTES);
    resume_init(&to);
    assert_int_equal(resume_decode(&to, bytes, sizeof(bytes)), 0);
    for (int i = 0; i < 2; i++) {
        assert_true(to.marks[i].time_ns == from.marks[i].time_ns);
        assert_int_equal(to.marks[i].count, from.marks[i].count);
        assert_true(to.marks[i].high_ns == from.marks[i].high_ns);
        assert_int_equal(to.open[i], from.open[i]);
    }
    assert_true(to.floor_ns == from.floor_ns);
}

static void other_bytes_are_no_position(void **state)
{
    (void)state;
    struct resume resume;
    unsigned char bytes[RESUME_POSITION_BYTES + 1] = {0};
    resume_init(&resume);
    (void)resume_encode(&resume, bytes);
    for (size_t size = 0; size <= sizeof(bytes); size++) {
        assert_int_equal(resume_decode(&resume, bytes, size),
                         size == RESUME_POSITION_BYTES ? 0 : -EINVAL);
    }
    bytes[0] = 2;
    assert_int_equal(resume_decode(&resume, bytes, RESUME_POSITION_BYTES), -EINVAL);
    bytes[0] = 1;
    bytes[1] = 0x80;
    assert_int_equal(resume_decode(&resume, bytes, RESUME_POSITION_BYTES), -EINVAL);
}

/* ---- random logs */

static uint32_t next_random(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*seed >> 33);
}

/* Times rise within a stream, may be equal (podman) and may step back once, seen or not. */
static void make_log(struct log *log, size_t count, uint64_t *seed, bool equal, size_t step_at)
{
    int64_t base = 1000000;
    int64_t last[2] = {0, 0};
    log->lines = calloc(count, sizeof(*log->lines));
    log->count = count;
    log->first = 0;
    assert_non_null(log->lines);
    for (size_t i = 0; i < count; i++) {
        struct line *line = &log->lines[i];
        int stream = next_random(seed) % 3 == 0;
        if (i == step_at) {
            base -= 400000;
            last[0] = last[1] = 0;
        }
        base += 1 + next_random(seed) % 100;
        int64_t time_ns = base - (int64_t)(stream == 1 ? next_random(seed) % 500 : 0);
        if (time_ns <= last[stream]) {
            time_ns = last[stream] + 1;
        }
        if (equal && last[stream] > 0 && next_random(seed) % 4 == 0) {
            time_ns = last[stream];
        }
        last[stream] = time_ns;
        line->time_ns = time_ns;
        line->stream = stream == 1 ? RECORD_STDERR : RECORD_STDOUT;
        (void)snprintf(line->text, sizeof(line->text), "%zu", i);
    }
}

/* One answer over the lines [first, visible) as stream_api.c takes it: tails that grow. It is cut
 * off after `most` lines looked at. */
static void take_answer(struct resume *resume, struct log *log, size_t visible, size_t most)
{
    static const size_t tails[] = {3, 12, 50, SIZE_MAX};
    if (resume_has_marks(resume) && resume->recorded < PARTIAL_FROM) {
        resume->recorded += PARTIAL_FROM; /* or these short logs would be read whole each time */
    }
    for (size_t step = 0; step < 4; step++) {
        bool partial = resume_allows_partial(resume) && tails[step] != SIZE_MAX;
        size_t from = log->first;
        if (partial && visible - from > tails[step]) {
            from = visible - tails[step];
        }
        bool strict = resume_is_strict(resume) && !resume->accept_all;
        bool again = false;
        resume_begin(resume, partial);
        for (size_t i = from; i < visible && !again; i++) {
            if (most-- == 0) {
                return;
            }
            struct record record = view(&log->lines[i]);
            enum resume_verdict verdict = resume_judge(resume, &record, FAR);
            again = verdict == RESUME_NOT_PROVED;
            if (verdict == RESUME_NEW) {
                log->lines[i].recorded++;
                resume_record(resume, &record);
            }
        }
        if (!again && strict && (resume->seeking[0] || resume->seeking[1])) {
            resume->accept_all = true;
            again = true;
            step = step == 3 ? 2 : step; /* asks for the whole log again */
        }
        if (!again) {
            return;
        }
    }
}

static void run_property(uint64_t start_seed, bool equal, bool steps, bool rotates)
{
    uint64_t seed = start_seed;
    struct log log;
    struct resume resume;
    size_t count = 50 + next_random(&seed) % 300;
    size_t step_at = steps ? 10 + next_random(&seed) % (count - 10) : SIZE_MAX;
    make_log(&log, count, &seed, equal, step_at);
    resume_init(&resume);
    size_t visible = 0;
    while (visible < count) {
        size_t more = 1 + next_random(&seed) % 60;
        bool cut = next_random(&seed) % 3 == 0;
        bool reaches_step = visible <= step_at && visible + more > step_at;
        visible = visible + more < count ? visible + more : count;
        if (reaches_step) { /* a follow sees the step as it happens */
            visible = step_at;
            take_answer(&resume, &log, visible, SIZE_MAX);
            visible++;
            cut = false;
        }
        take_answer(&resume, &log, visible, cut ? next_random(&seed) % 100 : SIZE_MAX);
        if (next_random(&seed) % 2 == 0) {
            restart(&resume);
        }
        if (rotates && !cut && visible > 40) {
            size_t before = log.first;
            log.first = visible - 20 > before ? visible - 20 : before;
            bool has[2] = {false, false};
            for (size_t i = log.first; i < visible; i++) { /* one earlier than the mark */
                const struct line *line = &log.lines[i];
                int stream = line->stream == RECORD_STDERR;
                has[stream] = has[stream] || line->time_ns < resume.marks[stream].time_ns;
            }
            log.first = has[0] && has[1] ? log.first : before;
        }
    }
    take_answer(&resume, &log, count, SIZE_MAX);
    for (size_t i = 0; i < count; i++) {
        if (log.lines[i].recorded != 1) {
            fail_msg("seed %" PRIu64 "%s%s%s: line %zu of %zu was recorded %u times", start_seed,
                     equal ? " equal" : "", steps ? " steps" : "", rotates ? " rotates" : "", i,
                     count, log.lines[i].recorded);
        }
    }
    free(log.lines);
    resume_finish(&resume);
}

static void any_log_is_recorded_once_over_any_crashes(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        run_property(seed, false, false, false);
    }
}

static void any_log_with_equal_times_is_recorded_once(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        run_property(seed, true, false, false);
    }
}

static void any_rotated_log_that_keeps_the_marks_is_recorded_once(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        run_property(seed, seed % 2 == 0, false, true);
    }
}

static void any_log_with_a_clock_step_that_was_seen_is_recorded_once(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        run_property(seed, false, true, false);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_is_new_where_nothing_was_recorded),
        cmocka_unit_test(what_was_recorded_is_seen_and_what_came_later_is_new),
        cmocka_unit_test(lines_that_share_a_time_are_counted),
        cmocka_unit_test(each_stream_has_its_own_mark),
        cmocka_unit_test(a_partial_answer_must_begin_with_something_recorded),
        cmocka_unit_test(a_line_that_was_open_forbids_a_partial_answer),
        cmocka_unit_test(a_mark_that_is_gone_is_a_gap_and_costs_no_line),
        cmocka_unit_test(nothing_up_to_the_floor_is_wanted),
        cmocka_unit_test(after_a_step_back_only_the_mark_itself_says_what_is_new),
        cmocka_unit_test(a_lost_mark_after_a_step_back_is_looked_for_and_then_all_is_accepted),
        cmocka_unit_test(lines_later_than_any_recorded_are_new_though_the_mark_is_gone),
        cmocka_unit_test(a_tail_from_behind_an_unseen_step_back_proves_nothing),
        cmocka_unit_test(a_stream_without_lines_in_the_tail_loses_none_to_a_step_back),
        cmocka_unit_test(a_tail_that_begins_among_lines_of_the_marks_time_proves_nothing),
        cmocka_unit_test(a_tail_that_cuts_lines_of_one_time_of_the_other_stream_proves_nothing),
        cmocka_unit_test(a_repeated_line_is_recognised_however_much_came_since),
        cmocka_unit_test(a_late_line_among_remembered_ones_is_new),
        cmocka_unit_test(lines_of_a_clock_that_went_back_are_no_repetitions),
        cmocka_unit_test(a_position_survives_encoding),
        cmocka_unit_test(other_bytes_are_no_position),
        cmocka_unit_test(any_log_is_recorded_once_over_any_crashes),
        cmocka_unit_test(any_log_with_equal_times_is_recorded_once),
        cmocka_unit_test(any_rotated_log_that_keeps_the_marks_is_recorded_once),
        cmocka_unit_test(any_log_with_a_clock_step_that_was_seen_is_recorded_once),
    };
    return cmocka_run_group_tests_name("resume", tests, NULL, NULL);
}
