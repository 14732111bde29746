/* Damaged, torn, foreign and hand-made segments: the spool always starts, loses no more than the
 * damage, and positions never vouch for records that are gone. */
#include "test_spool_kit.h"

#include "spool/spool_cursor.h"

/* Three sources, five frames after the table; the last two in one sync or not. Closed. */
static void write_small(struct kit *kit, enum spool_codec codec)
{
    kit->options.codec = codec;
    kit_open(kit);
    for (unsigned frame = 0; frame < 5; frame++) {
        for (unsigned i = 0; i < 3; i++) {
            kit_append(kit, i, 0);
            kit_append(kit, i, 40);
        }
        kit_commit(kit);
    }
    kit_close(kit);
}

static void truncate_everywhere(enum spool_codec codec)
{
    struct kit kit;
    kit_make_dir(&kit);
    write_small(&kit, codec);
    char path[128];
    uint64_t newest;
    size_t offsets[32];
    (void)kit_segments(&kit, &newest);
    kit_segment_path(&kit, newest, path);
    struct kit_bytes bytes = kit_load(path);
    size_t count = kit_frames(&bytes, offsets, 32);
    assert_int_equal(count, 6);
    assert_int_equal(offsets[count], bytes.size);
    for (size_t size = offsets[count - 2]; size <= bytes.size; size++) {
        kit_remove_dir(&kit);
        assert_int_equal(mkdir(kit.dir, 0700), 0);
        kit_save(path, bytes.data, size);
        struct kit_found found = kit_reopen_exact(&kit);
        uint64_t frames = size == bytes.size ? 5 : size >= offsets[count - 1] ? 4 : 3;
        assert_int_equal(found.total, 6 * frames);
        kit_append(&kit, 0, 0); /* goes on */
        kit_commit(&kit);
        kit_close(&kit);
        struct kit_found again = kit_reopen_exact(&kit);
        assert_int_equal(again.total, 6 * frames + 1);
        assert_int_equal(again.damaged, 0);
        kit_close(&kit);
    }
    free(bytes.data);
    kit_remove_dir(&kit);
}

static void any_cut_through_the_last_two_frames_leaves_positions_that_match_the_records(
    void **state)
{
    (void)state;
    truncate_everywhere(SPOOL_CODEC_NONE);
}

static void the_same_with_compressed_frames(void **state)
{
    (void)state;
    truncate_everywhere(SPOOL_CODEC_ZSTD);
}

static void a_cut_through_header_or_table_of_the_newest_segment_keeps_the_older_ones(void **state)
{
    (void)state;
    struct kit kit;
    kit_make_dir(&kit);
    write_small(&kit, SPOOL_CODEC_ZSTD);
    uint64_t first;
    (void)kit_segments(&kit, &first);
    kit_open(&kit);
    kit_append(&kit, 1, 0);
    kit_commit(&kit);
    kit_close(&kit);
    char paths[2][128];
    uint64_t newest;
    assert_int_equal(kit_segments(&kit, &newest), 2);
    kit_segment_path(&kit, first, paths[0]);
    kit_segment_path(&kit, newest, paths[1]);
    struct kit_bytes old = kit_load(paths[0]);
    struct kit_bytes bytes = kit_load(paths[1]);
    size_t offsets[8];
    (void)kit_frames(&bytes, offsets, 8);
    for (size_t size = 0; size <= offsets[1]; size++) {
        kit_remove_dir(&kit);
        assert_int_equal(mkdir(kit.dir, 0700), 0);
        kit_save(paths[0], old.data, old.size);
        kit_save(paths[1], bytes.data, size);
        for (int round = 0; round < 3; round++) { /* also after new segments and their sweep */
            struct kit_found found = kit_reopen_exact(&kit);
            if (found.total != 30U + (unsigned)round) {
                fail_msg("%zu bytes, start %d: %" PRIu64 " records of %d", size, round, found.total,
                         30 + round);
            }
            kit_append(&kit, 2, 0);
            kit_commit(&kit);
            kit_close(&kit);
        }
    }
    free(old.data);
    free(bytes.data);
    kit_remove_dir(&kit);
}

/* After a kill between creating a segment's file and writing its header. */
static void an_empty_newest_segment_does_not_cost_the_one_before_it(void **state)
{
    (void)state;
    struct kit kit;
    kit_make_dir(&kit);
    write_small(&kit, SPOOL_CODEC_ZSTD);
    char path[128];
    kit_segment_path(&kit, 100, path);
    kit_save(path, "", 0);
    kit_open(&kit);
    kit_append(&kit, 0, 0);
    kit_commit(&kit);
    kit_append(&kit, 0, 0); /* the sweep came with the first frame */
    kit_commit(&kit);
    kit_close(&kit);
    struct kit_found found = kit_reopen_exact(&kit);
    assert_int_equal(found.total, 32);
    kit_close(&kit);
    kit_remove_dir(&kit);
}

/* Never before what was captured. */
static void assert_positions_stay(const struct kit *kit, bool sealed)
{
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(kit_position(kit, i), 10 + (sealed && i == 0));
    }
}

/* `sealed`: an undamaged segment is behind the damaged one. */
/* NOLINTNEXTLINE(readability-function-size): one story, byte by byte */
static void flip_everywhere(bool sealed)
{
    struct kit kit;
    kit_make_dir(&kit);
    write_small(&kit, SPOOL_CODEC_NONE);
    uint64_t first;
    (void)kit_segments(&kit, &first);
    char path[128];
    char second[128] = "";
    kit_segment_path(&kit, first, path);
    struct kit_bytes later = {0};
    uint64_t total = 30;
    if (sealed) {
        kit_open(&kit);
        kit_append(&kit, 0, 0);
        kit_commit(&kit);
        kit_close(&kit);
        uint64_t newest;
        assert_int_equal(kit_segments(&kit, &newest), 2);
        kit_segment_path(&kit, newest, second);
        later = kit_load(second);
        total++;
    }
    struct kit_bytes bytes = kit_load(path);
    size_t offsets[32];
    size_t count = kit_frames(&bytes, offsets, 32);
    unsigned wrong = 0;
    unsigned limit = getenv("ALL") != NULL ? 10000 : 6; /* of messages */
    for (size_t at = 0; at < bytes.size; at++) {
        kit_remove_dir(&kit);
        assert_int_equal(mkdir(kit.dir, 0700), 0);
        bytes.data[at] ^= 0x55;
        kit_save(path, bytes.data, bytes.size);
        bytes.data[at] ^= 0x55;
        if (sealed) {
            kit_save(second, later.data, later.size);
        }
        struct kit_found in_dir = kit_read_dir(&kit);
        assert_true(in_dir.ordered);
        kit_open(&kit);
        struct kit_found found = kit_read_all(&kit);
        assert_true(found.ordered);
        size_t frame = 0; /* the damaged one; 0: the segment's header */
        while (frame < count && at >= offsets[frame]) {
            frame++;
        }
        /* Frame 1 is the table; each later one has 6 records, and 2 has the origins. The last
         * frame of the newest segment is a torn one. */
        bool last = !sealed && frame == count;
        uint64_t expected = frame <= 1 ? total : total - 6;
        if (frame == 2) {
            expected = total - 30; /* without their origins none of the segment's can be shown */
        }
        if (found.total != expected) {
            if (wrong++ < limit) {
                print_message("byte %zu (frame %zu): %" PRIu64 " records, not %" PRIu64 "\n", at,
                              frame, found.total, expected);
            }
        } else if (frame > 1 && !last && found.skipped != total - expected) {
            if (wrong++ < limit) {
                print_message("byte %zu (frame %zu): %" PRIu64 " counted as lost, not %" PRIu64
                              "\n",
                              at, frame, found.skipped, total - expected);
            }
        }
        struct spool_status status;
        spool_status(kit.spool, &status);
        if (frame > 1 && !last && found.damaged == 0 && status.frames_damaged == 0 &&
            wrong++ < limit) {
            print_message("byte %zu (frame %zu): not counted\n", at, frame);
        }
        if (last) {
            kit_assert_exact(&kit, &found);
        } else if (expected == found.total) {
            assert_positions_stay(&kit, sealed);
        }
        kit_close(&kit);
    }
    free(bytes.data);
    free(later.data);
    kit_remove_dir(&kit);
    assert_int_equal(wrong, 0);
}

static void any_flipped_byte_of_the_newest_segment_costs_its_own_frame_only(void **state)
{
    (void)state;
    flip_everywhere(false);
}

static void any_flipped_byte_of_an_older_segment_costs_its_own_frame_only(void **state)
{
    (void)state;
    flip_everywhere(true);
}

/* ---- the rule about durable_frame */

/* A table and `frames` frames of two records each; durable[i] is what frame 2 + i says. */
static void craft(struct kit *kit, uint64_t from, const uint64_t *durable, unsigned frames,
                  struct buf *out)
{
    uint64_t bytes = 0;
    buf_init(out, 0);
    kit_put_segment(out, from, 0);
    (void)kit_put_frame(out, &(struct kit_frame){.frame = from, .flags = SPOOL_FRAME_TABLE});
    for (unsigned i = 0; i < frames; i++) {
        bytes += kit_put_frame(out, &(struct kit_frame){.frame = from + 1 + i,
                                                        .first_record = 2 * (uint64_t)i,
                                                        .durable_frame = durable[i],
                                                        .bytes_before = bytes,
                                                        .flags = i == 0 ? SPOOL_FRAME_ORIGINS : 0,
                                                        .first_sequence = 2 * (uint64_t)i,
                                                        .records = 2});
    }
    (void)kit;
}

static void save_damaged(struct kit *kit, struct buf *segment, uint64_t number, size_t damaged)
{
    char path[128];
    size_t offsets[64] = {0};
    struct kit_bytes bytes = {(unsigned char *)segment->data, segment->size};
    size_t count = kit_frames(&bytes, offsets, 64);
    assert_true(damaged < count);
    segment->data[offsets[damaged + 1] - 3] ^= 0x20; /* in the payload */
    kit_segment_path(kit, number, path);
    kit_save(path, segment->data, segment->size);
    segment->data[offsets[damaged + 1] - 3] ^= 0x20;
}

static void a_torn_frame_that_never_was_durable_ends_the_log_with_all_behind_it(void **state)
{
    (void)state;
    struct kit kit;
    struct buf out;
    kit_make_dir(&kit);
    craft(&kit, 1, (const uint64_t[]){1, 2, 3, 3, 3}, 5, &out); /* 4, 5 and 6 in one sync */
    save_damaged(&kit, &out, 1, 3);
    struct kit_found found = kit_reopen_exact(&kit);
    assert_int_equal(found.total, 4);
    assert_int_equal(kit_position(&kit, 0), 4);
    kit_append(&kit, 0, 0);
    kit_append(&kit, 0, 0);
    kit_commit(&kit);
    kit_close(&kit);
    found = kit_reopen_exact(&kit);
    assert_int_equal(found.total, 6);
    kit_close(&kit);
    buf_finish(&out);
    kit_remove_dir(&kit);
}

static void a_damaged_frame_that_was_durable_is_passed_over(void **state)
{
    (void)state;
    struct kit kit;
    struct buf out;
    kit_make_dir(&kit);
    craft(&kit, 1, (const uint64_t[]){1, 2, 3, 4, 5}, 5, &out);
    save_damaged(&kit, &out, 1, 3);
    kit_open(&kit);
    struct kit_found found = kit_read_all(&kit);
    assert_int_equal(found.total, 8);
    assert_int_equal(found.skipped, 2);
    assert_int_equal(kit_position(&kit, 0), 10);
    kit_close(&kit);
    buf_finish(&out);
    kit_remove_dir(&kit);
}

/* Frames 4, 5 and 6 went with one sync; 7 came later and says that 6 was durable. */
static void a_later_frame_vouches_for_a_damaged_one_across_others_of_its_sync(void **state)
{
    (void)state;
    struct kit kit;
    struct buf out;
    kit_make_dir(&kit);
    craft(&kit, 1, (const uint64_t[]){1, 2, 3, 3, 3, 6}, 6, &out);
    save_damaged(&kit, &out, 1, 3);
    kit_open(&kit);
    struct kit_found found = kit_read_all(&kit);
    assert_int_equal(kit_position(&kit, 0), 12);
    assert_int_equal(found.total, 10);
    assert_int_equal(found.skipped, 2);
    kit_close(&kit);
    buf_finish(&out);
    kit_remove_dir(&kit);
}

static void a_good_frame_between_two_damaged_ones_is_read(void **state)
{
    (void)state;
    struct kit kit;
    struct buf out;
    char path[128];
    size_t offsets[16];
    kit_make_dir(&kit);
    craft(&kit, 1, (const uint64_t[]){1, 2, 3, 4, 5, 6}, 6, &out);
    struct kit_bytes bytes = {(unsigned char *)out.data, out.size};
    assert_int_equal(kit_frames(&bytes, offsets, 16), 7);
    out.data[offsets[4] - 3] ^= 0x20; /* payload of frame 4 */
    out.data[offsets[5] + 9] ^= 0x20; /* header of frame 6; 5 and 7 are good */
    kit_segment_path(&kit, 1, path);
    kit_save(path, out.data, out.size);
    buf_finish(&out);
    kit_open(&kit);
    struct kit_found found = kit_read_all(&kit);
    uint64_t position = kit_position(&kit, 0);
    kit_close(&kit);
    kit_remove_dir(&kit);
    assert_int_equal(position, 12);
    assert_int_equal(found.total, 8);
    assert_int_equal(found.skipped, 4);
}

/* Frame 4 is damaged, 6 was being written when the process was killed. */
static void a_good_frame_between_a_damaged_one_and_a_torn_tail_is_kept(void **state)
{
    (void)state;
    for (size_t left = 1; left < 100; left++) {
        struct kit kit;
        struct buf out;
        char path[128];
        size_t offsets[16];
        kit_make_dir(&kit);
        craft(&kit, 1, (const uint64_t[]){1, 2, 3, 4, 5}, 5, &out);
        struct kit_bytes bytes = {(unsigned char *)out.data, out.size};
        assert_int_equal(kit_frames(&bytes, offsets, 16), 6);
        out.data[offsets[4] - 3] ^= 0x20; /* payload of frame 4 */
        kit_segment_path(&kit, 1, path);
        kit_save(path, out.data, offsets[5] + left);
        buf_finish(&out);
        kit_open(&kit);
        struct kit_found found = kit_read_all(&kit);
        uint64_t position = kit_position(&kit, 0);
        kit_close(&kit);
        kit_remove_dir(&kit);
        if (found.total != 6 || position != 8) {
            fail_msg("%zu bytes of the torn frame: %" PRIu64 " records, position %" PRIu64, left,
                     found.total, position);
        }
    }
}

/* ---- forgery: a container chooses its lines */

static void a_frame_inside_a_line_is_not_taken_for_a_frame(void **state)
{
    (void)state;
    struct kit kit;
    struct buf forged;
    kit_make_dir(&kit);
    kit.options.codec = SPOOL_CODEC_NONE;
    kit_open(&kit);
    kit_append(&kit, 0, 0);
    kit_append(&kit, 1, 0);
    kit_commit(&kit);
    buf_init(&forged, 0);
    (void)kit_put_frame(&forged, &(struct kit_frame){.frame = 1000,
                                                     .first_record = 5000,
                                                     .durable_frame = 999,
                                                     .index = 0,
                                                     .first_sequence = 5000,
                                                     .records = 0});
    struct kit_source *source = kit_source(&kit, 1);
    struct record record = {1, RECORD_STDOUT, 0, forged.data, forged.size};
    assert_int_equal(spool_append(kit.spool, &source->base, source->origin, &record), 0);
    kit.appended++;
    source->next++;
    kit_commit(&kit);
    kit_close(&kit);
    uint64_t newest;
    char path[128];
    size_t offsets[16];
    (void)kit_segments(&kit, &newest);
    kit_segment_path(&kit, newest, path);
    struct kit_bytes bytes = kit_load(path);
    size_t count = kit_frames(&bytes, offsets, 16);
    bytes.data[offsets[count] - 1] ^= 0x20; /* behind the line: in the position */
    kit_save(path, bytes.data, bytes.size);
    free(bytes.data);
    buf_finish(&forged);
    kit_open(&kit);
    assert_int_equal(kit_position(&kit, 0), 1);
    assert_int_equal(kit_durable(&kit), 2);
    kit_close(&kit);
    kit_remove_dir(&kit);
}

/* ---- versions, numbers */

static void another_format_version_is_refused_with_a_clear_message(void **state)
{
    (void)state;
    struct kit kit;
    kit_make_dir(&kit);
    write_small(&kit, SPOOL_CODEC_NONE);
    uint64_t newest;
    char path[128];
    (void)kit_segments(&kit, &newest);
    kit_segment_path(&kit, newest, path);
    struct kit_bytes bytes = kit_load(path);
    bytes.data[8] = SPOOL_FORMAT_VERSION + 1;
    uint32_t crc = crc32c(0, bytes.data, 60);
    memcpy(bytes.data + 60, &crc, 4);
    kit_save(path, bytes.data, bytes.size);
    struct error error = {""};
    assert_int_equal(kit_try_open(&kit, &error), -EPROTONOSUPPORT);
    assert_non_null(strstr(error.text, "format version"));
    struct kit_bytes after = kit_load(path);
    assert_int_equal(after.size, bytes.size);
    assert_memory_equal(after.data, bytes.data, bytes.size);
    free(after.data);
    free(bytes.data);
    kit_remove_dir(&kit);
}

static void frame_numbers_near_two_to_the_63_work_like_small_ones(void **state)
{
    (void)state;
    struct kit kit;
    struct buf out;
    char path[128];
    const uint64_t from = (UINT64_C(1) << 63) - 3;
    kit_make_dir(&kit);
    craft(&kit, from, (const uint64_t[]){from, from + 1, from + 2}, 3, &out);
    kit_segment_path(&kit, from, path);
    kit_save(path, out.data, out.size);
    buf_finish(&out);
    for (unsigned round = 0; round < 4; round++) {
        struct kit_found found = kit_reopen_exact(&kit);
        assert_int_equal(found.total, 6 + 2 * round);
        kit_append(&kit, 0, 0);
        kit_commit(&kit);
        kit_append(&kit, 0, 0);
        kit_commit(&kit);
        found = kit_read_all(&kit);
        assert_int_equal(found.total, 8 + 2 * round);
        kit_close(&kit);
    }
    kit_remove_dir(&kit);
}

static void a_damaged_last_durable_frame_is_counted_once_however_often_one_looks(void **state)
{
    (void)state;
    struct kit kit;
    struct buf out;
    kit_make_dir(&kit);
    craft(&kit, 1, (const uint64_t[]){1, 2, 3}, 3, &out);
    save_damaged(&kit, &out, 1, 3);
    struct spool_reader *reader = NULL;
    struct error error = {""};
    assert_int_equal(spool_reader_open_dir(kit.dir, &reader, &error), 0);
    struct kit_found found = {.ordered = true};
    for (int i = 0; i < 5; i++) {
        kit_drain(reader, &found);
    }
    assert_int_equal(found.total, 4);
    assert_int_equal(found.damaged, 1);
    spool_reader_close(reader);
    buf_finish(&out);
    kit_remove_dir(&kit);
}

/* ---- numbers that went back, cursors */

/* The newest segment is lost; a cursor stands in it; the agent is killed before it commits. */
static void a_cursor_beyond_the_head_misses_nothing_of_what_comes(void **state)
{
    (void)state;
    struct kit kit;
    kit_make_dir(&kit);
    write_small(&kit, SPOOL_CODEC_NONE);
    kit_open(&kit);
    struct spool_reader *reader = kit_reader(&kit, "sink", true);
    assert_int_equal(spool_reader_commit(reader, 45), 0);
    spool_reader_close(reader);
    kit_close(&kit);
    kit_open(&kit); /* head 30 */
    reader = kit_reader(&kit, "sink", true);
    assert_int_equal(spool_reader_position(reader), 30);
    for (int i = 0; i < 30; i++) {
        kit_append(&kit, 0, 0);
    }
    kit_commit(&kit);
    spool_reader_close(reader);
    kit_close(&kit);
    kit_open(&kit); /* head 60; nothing behind 30 was committed */
    reader = kit_reader(&kit, "sink", true);
    assert_int_equal(spool_reader_position(reader), 30);
    spool_reader_close(reader);
    kit_close(&kit);
    kit_remove_dir(&kit);
}

static void either_torn_slot_of_a_cursor_leaves_the_other_one(void **state)
{
    (void)state;
    struct kit kit;
    kit_make_dir(&kit);
    write_small(&kit, SPOOL_CODEC_NONE);
    char path[128];
    (void)kit_path(&kit, path, sizeof(path), "cursors/sink");
    kit_open(&kit);
    struct spool_reader *reader = kit_reader(&kit, "sink", true);
    assert_int_equal(spool_reader_commit(reader, 7), 0);
    assert_int_equal(spool_reader_commit(reader, 9), 0);
    spool_reader_close(reader);
    struct kit_bytes bytes = kit_load(path);
    assert_int_equal(bytes.size, 64);
    for (size_t at = 0; at < 64; at++) {
        bytes.data[at] ^= 0x10;
        kit_save(path, bytes.data, 64);
        bytes.data[at] ^= 0x10;
        reader = kit_reader(&kit, "sink", true);
        uint64_t stands = spool_reader_position(reader);
        assert_true(stands == 7 || stands == 9);
        spool_reader_close(reader);
    }
    for (size_t size = 0; size < 64; size++) {
        kit_save(path, bytes.data, size);
        reader = kit_reader(&kit, "sink", true);
        uint64_t stands = spool_reader_position(reader);
        assert_true(stands == 0 || stands == 7 || stands == 9);
        spool_reader_close(reader);
    }
    free(bytes.data);
    kit_close(&kit);
    kit_remove_dir(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            any_cut_through_the_last_two_frames_leaves_positions_that_match_the_records),
        cmocka_unit_test(the_same_with_compressed_frames),
        cmocka_unit_test(a_cut_through_header_or_table_of_the_newest_segment_keeps_the_older_ones),
        cmocka_unit_test(an_empty_newest_segment_does_not_cost_the_one_before_it),
        cmocka_unit_test(any_flipped_byte_of_the_newest_segment_costs_its_own_frame_only),
        cmocka_unit_test(any_flipped_byte_of_an_older_segment_costs_its_own_frame_only),
        cmocka_unit_test(a_torn_frame_that_never_was_durable_ends_the_log_with_all_behind_it),
        cmocka_unit_test(a_damaged_frame_that_was_durable_is_passed_over),
        cmocka_unit_test(a_later_frame_vouches_for_a_damaged_one_across_others_of_its_sync),
        cmocka_unit_test(a_good_frame_between_two_damaged_ones_is_read),
        cmocka_unit_test(a_good_frame_between_a_damaged_one_and_a_torn_tail_is_kept),
        cmocka_unit_test(a_frame_inside_a_line_is_not_taken_for_a_frame),
        cmocka_unit_test(another_format_version_is_refused_with_a_clear_message),
        cmocka_unit_test(frame_numbers_near_two_to_the_63_work_like_small_ones),
        cmocka_unit_test(a_damaged_last_durable_frame_is_counted_once_however_often_one_looks),
        cmocka_unit_test(a_cursor_beyond_the_head_misses_nothing_of_what_comes),
        cmocka_unit_test(either_torn_slot_of_a_cursor_leaves_the_other_one),
    };
    return cmocka_run_group_tests_name("spool_damage", tests, NULL, NULL);
}
