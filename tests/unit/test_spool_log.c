/* What goes into the spool comes out of it: readers, cursors, origins, limits, positions. */
#include <pthread.h>
#include <sys/wait.h>

#include "test_spool_kit.h"

static void an_empty_spool_opens_closes_and_gives_nothing(void **state)
{
    (void)state;
    struct kit kit;
    kit_make_dir(&kit);
    for (int i = 0; i < 3; i++) {
        kit_open(&kit);
        struct kit_found found = kit_read_all(&kit);
        assert_int_equal(found.total, 0);
        kit_close(&kit);
    }
    kit_remove_dir(&kit);
}

static void what_was_appended_is_read_from_memory_and_from_disk(void **state)
{
    (void)state;
    for (int codec = SPOOL_CODEC_NONE; codec <= SPOOL_CODEC_ZSTD; codec++) {
        struct kit kit;
        kit_make_dir(&kit);
        kit.options.codec = (enum spool_codec)codec;
        kit_open(&kit);
        struct spool_reader *reader = kit_reader(&kit, NULL, true); /* goes by the ring */
        struct kit_found live = {.ordered = true};
        for (int i = 0; i < 200; i++) {
            kit_append(&kit, (unsigned)i % KIT_KEYS, (size_t)i * 10);
            if (i % 7 == 0) {
                kit_commit(&kit);
                kit_drain(reader, &live);
            }
        }
        kit_commit(&kit);
        kit_drain(reader, &live);
        assert_int_equal(live.total, 200);
        assert_true(live.ordered);
        assert_int_equal(kit_read_all(&kit).total, 200);
        assert_int_equal(kit_read_dir(&kit).total, 200);
        spool_reader_close(reader);
        kit_close(&kit);
        struct kit_found found = kit_reopen_exact(&kit);
        assert_int_equal(found.total, 200);
        kit_close(&kit);
        kit_remove_dir(&kit);
    }
}

static void readers_at_different_places_each_get_everything(void **state)
{
    (void)state;
    struct kit kit;
    kit_make_dir(&kit);
    kit.options.limit_bytes = 4 * KIT_MIB; /* segments of 256 KiB */
    kit_open(&kit);
    struct spool_reader *readers[5];
    struct kit_found found[5];
    for (int i = 0; i < 5; i++) {
        readers[i] = kit_reader(&kit, NULL, true);
        found[i] = (struct kit_found){.ordered = true};
    }
    for (unsigned i = 0; i < 300; i++) {
        kit_append(&kit, i % 3, 8000);
        if (i % 10 == 9) {
            kit_commit(&kit);
            for (unsigned k = 0; k < 5; k++) { /* the higher, the seldomer */
                if (i % (10 * (k * k * 5 + 1)) == 9) {
                    kit_drain(readers[k], &found[k]);
                }
            }
        }
    }
    kit_commit(&kit);
    for (int i = 0; i < 5; i++) {
        kit_drain(readers[i], &found[i]);
        assert_int_equal(found[i].total, 300);
        assert_true(found[i].ordered);
        spool_reader_close(readers[i]);
    }
    kit_close(&kit);
    kit_remove_dir(&kit);
}

static void a_reader_that_fell_out_of_the_ring_goes_on_on_disk(void **state)
{
    (void)state;
    struct kit kit;
    kit_make_dir(&kit);
    kit.options.codec = SPOOL_CODEC_NONE;
    kit_open(&kit);
    struct spool_reader *reader = kit_reader(&kit, NULL, true);
    struct kit_found found = {.ordered = true};
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 130; i++) { /* 13 MB; the ring has 8 MiB */
            kit_append(&kit, 0, 100000);
            if (i == 3) {
                kit_commit(&kit);
                kit_drain(reader, &found);
            }
            if (i % 30 == 0) {
                kit_commit(&kit);
            }
        }
        kit_commit(&kit);
        kit_drain(reader, &found);
    }
    assert_int_equal(found.total, 390);
    assert_true(found.ordered);
    spool_reader_close(reader);
    kit_close(&kit);
    kit_remove_dir(&kit);
}

static void any_bytes_flags_and_times_come_back_as_they_were(void **state)
{
    (void)state;
    static char huge[5 * 1024 * 1024];
    memset(huge, 'h', sizeof(huge));
    const struct record records[] = {
        {0, RECORD_STDOUT, 0, "", 0},
        {-1, RECORD_STDERR, RECORD_TRUNCATED, "a\0b\n\r\xff", 6},
        {INT64_MIN, RECORD_STDOUT, RECORD_NO_NEWLINE, "x", 1},
        {INT64_MAX, RECORD_STDOUT, 0xff, "LFRM", 4},
        {INT64_MIN, RECORD_STDERR, 0, "\0", 1},
        {1, RECORD_STDERR, 3, huge, sizeof(huge)},
        {0, RECORD_STDOUT, 0, "", 0},
    };
    const size_t count = sizeof(records) / sizeof(records[0]);
    struct kit kit;
    kit_make_dir(&kit);
    kit_open(&kit);
    struct kit_source *source = kit_source(&kit, 0);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(spool_append(kit.spool, &source->base, source->origin, &records[i]), 0);
        kit.appended++;
    }
    kit_commit(&kit);
    kit_close(&kit);
    kit_open(&kit);
    struct spool_reader *reader = kit_reader(&kit, NULL, true);
    struct spool_item item;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(spool_reader_next(reader, &item), 1);
        assert_int_equal(item.number, i);
        assert_true(item.record.time_ns == records[i].time_ns);
        assert_int_equal(item.record.stream, records[i].stream);
        assert_int_equal(item.record.flags, records[i].flags);
        assert_int_equal(item.record.line_bytes, records[i].line_bytes);
        assert_memory_equal(item.record.line, records[i].line, records[i].line_bytes);
    }
    assert_int_equal(spool_reader_next(reader, &item), 0);
    spool_reader_close(reader);
    kit_close(&kit);
    kit_remove_dir(&kit);
}

static void origins_are_known_in_each_segment(void **state)
{
    (void)state;
    struct kit kit;
    kit_make_dir(&kit);
    kit.options.limit_bytes = 16 * KIT_MIB; /* segments of 1 MiB */
    kit_open(&kit);
    for (unsigned i = 0; i < 400; i++) {
        kit_append(&kit, i % 5 == 0 ? (i / 5) % KIT_KEYS : 0, 20000);
    }
    kit_commit(&kit);
    assert_true(kit_segments(&kit, NULL) > 3);
    kit_close(&kit);
    (void)kit_reopen_exact(&kit); /* kit_take() looks at the origin */
    kit_close(&kit);
    kit_remove_dir(&kit);
}

static void the_limit_holds_and_what_it_costs_a_reader_is_counted_exactly(void **state)
{
    (void)state;
    struct kit kit;
    kit_make_dir(&kit);
    kit.options.limit_bytes = KIT_MIB;
    kit.options.codec = SPOOL_CODEC_NONE;
    kit_open(&kit);
    struct spool_reader *slow = kit_reader(&kit, "slow", true);
    struct kit_found found = {.ordered = true};
    struct spool_status status;
    for (int i = 0; i < 100; i++) {
        kit_append(&kit, 0, 30000);
        kit_commit(&kit);
        spool_status(kit.spool, &status);
        assert_true(status.stored_bytes <= KIT_MIB + 2 * KIT_MIB / 16 + 40000);
    }
    kit_drain(slow, &found);
    assert_true(found.ordered);
    assert_true(found.total < 60);
    assert_int_equal(found.next[0], 100);
    assert_int_equal(found.total + found.skipped, 100);
    spool_reader_close(slow);
    kit_close(&kit);
    kit_open(&kit);
    assert_int_equal(kit_position(&kit, 0), 100);
    slow = kit_reader(&kit, "slow", true); /* committed nothing, so it lost the same again */
    found = (struct kit_found){.ordered = true};
    kit_drain(slow, &found);
    assert_int_equal(found.next[0], 100);
    assert_int_equal(found.total + found.skipped, 100);
    spool_reader_close(slow);
    kit_close(&kit);
    kit_remove_dir(&kit);
}

static void a_segment_that_is_unlinked_while_it_is_read_is_read_to_its_end(void **state)
{
    (void)state;
    struct kit kit;
    kit_make_dir(&kit);
    kit.options.limit_bytes = KIT_MIB;
    kit.options.codec = SPOOL_CODEC_NONE;
    kit_open(&kit);
    kit_append(&kit, 0, 10);
    kit_append(&kit, 0, 10);
    kit_commit(&kit);
    kit_append(&kit, 0, 10);
    kit_commit(&kit);
    kit_close(&kit);
    kit_open(&kit);
    struct spool_reader *reader = kit_reader(&kit, NULL, true);
    struct spool_item item;
    struct kit_found found = {.ordered = true};
    assert_int_equal(spool_reader_next(reader, &item), 1);
    kit_take(&found, &item);
    for (int i = 0; i < 100; i++) {
        kit_append(&kit, 0, 30000);
        kit_commit(&kit);
    }
    kit_drain(reader, &found);
    assert_true(found.ordered);
    assert_int_equal(found.first[0], 0);
    assert_int_equal(found.next[0], 103);
    assert_int_equal(found.total + found.skipped, 103);
    spool_reader_close(reader);
    kit_close(&kit);
    kit_remove_dir(&kit);
}

static void make_old(struct kit *kit)
{
    const struct timespec times[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    uint64_t *numbers;
    size_t count;
    char path[128];
    int fd = open(kit->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(spool_segment_list(fd, &numbers, &count), 0);
    for (size_t i = 0; i < count; i++) {
        kit_segment_path(kit, numbers[i], path);
        assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    }
    free(numbers);
    (void)close(fd);
}

static void old_segments_go_once_no_cursor_needs_them(void **state)
{
    (void)state;
    struct kit kit;
    kit_make_dir(&kit);
    kit.options.age_ns = INT64_C(3600) * 1000000000;
    for (int i = 0; i < 3; i++) {
        kit_open(&kit);
        kit_append(&kit, 0, 0);
        kit_commit(&kit);
        kit_close(&kit);
    }
    make_old(&kit);
    kit_open(&kit);
    struct spool_reader *reader = kit_reader(&kit, "sink", true);
    kit_append(&kit, 0, 0);
    kit_commit(&kit);
    kit_append(&kit, 0, 0);
    kit_commit(&kit);
    struct kit_found found = {.ordered = true};
    kit_drain(reader, &found);
    assert_int_equal(found.total, 5);
    assert_int_equal(spool_reader_commit(reader, 5), 0);
    spool_reader_close(reader);
    kit_close(&kit);
    kit_open(&kit);
    reader = kit_reader(&kit, "sink", true);
    kit_append(&kit, 0, 0);
    kit_commit(&kit);
    kit_append(&kit, 0, 0);
    kit_commit(&kit);
    found = (struct kit_found){.ordered = true};
    kit_drain(reader, &found);
    assert_int_equal(found.total, 2);
    assert_int_equal(found.skipped, 0);
    assert_true(kit_segments(&kit, NULL) <= 2);
    spool_reader_close(reader);
    kit_close(&kit);
    kit_remove_dir(&kit);
}

static void a_cursor_stands_where_it_was_committed(void **state)
{
    (void)state;
    struct kit kit;
    kit_make_dir(&kit);
    kit_open(&kit);
    for (int i = 0; i < 20; i++) {
        kit_append(&kit, 0, 0);
    }
    kit_commit(&kit);
    for (uint64_t at = 0; at <= 20; at += 5) {
        struct spool_reader *reader = kit_reader(&kit, "sink-1", true);
        assert_int_equal(spool_reader_position(reader), at);
        assert_int_equal(spool_reader_commit(reader, at + 1), 0);
        assert_int_equal(spool_reader_commit(reader, at + 5), 0);
        spool_reader_close(reader);
        kit_close(&kit);
        kit_open(&kit);
    }
    kit_close(&kit);
    kit_remove_dir(&kit);
}

/* A sink is new, begins behind the newest record, and the agent dies before its first commit. */
static void a_new_cursor_keeps_its_place_before_its_first_commit(void **state)
{
    (void)state;
    struct kit kit;
    kit_make_dir(&kit);
    kit_open(&kit);
    kit_append(&kit, 0, 0);
    kit_commit(&kit);
    struct spool_reader *reader = kit_reader(&kit, "sink", false);
    assert_int_equal(spool_reader_position(reader), 1);
    kit_append(&kit, 0, 0);
    kit_append(&kit, 0, 0);
    kit_commit(&kit);
    spool_reader_close(reader);
    kit_close(&kit);
    kit_open(&kit);
    reader = kit_reader(&kit, "sink", false);
    assert_int_equal(spool_reader_position(reader), 1);
    spool_reader_close(reader);
    kit_close(&kit);
    kit_remove_dir(&kit);
}

static void names_that_would_leave_the_folder_are_no_cursors(void **state)
{
    (void)state;
    static const char *const names[] = {"",
                                        ".",
                                        "..",
                                        "../x",
                                        "a/b",
                                        ".hidden",
                                        "a b",
                                        ("01234567890123456789012345678901234567890123456789012345"
                                         "678901234")};
    struct kit kit;
    kit_make_dir(&kit);
    kit_open(&kit);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct spool_reader *reader = NULL;
        struct error error = {""};
        assert_int_equal(spool_reader_open(kit.spool, names[i], true, &reader, &error), -EINVAL);
        assert_true(error.text[0] != '\0');
    }
    kit_close(&kit);
    kit_remove_dir(&kit);
}

static void a_forgotten_position_is_gone_and_may_come_back(void **state)
{
    (void)state;
    struct kit kit;
    kit_make_dir(&kit);
    kit_open(&kit);
    kit_append(&kit, 0, 0);
    kit_append(&kit, 1, 0);
    kit_append(&kit, 2, 0);
    kit_commit(&kit);
    spool_source_remove(kit.spool, &kit.sources[0].base, true);
    assert_int_equal(kit_position(&kit, 0), 0);
    spool_source_remove(kit.spool, &kit.sources[1].base, true);
    kit_append(&kit, 1, 0); /* again, before the tombstone was written */
    kit_close(&kit);
    kit_open(&kit);
    assert_int_equal(kit_position(&kit, 0), 0);
    assert_int_equal(kit_position(&kit, 1), 1);
    assert_int_equal(kit_position(&kit, 2), 1);
    kit_close(&kit);
    kit_remove_dir(&kit);
}

static bool keeps_key2(const char *key, void *data)
{
    (*(int *)data)++;
    return strcmp(key, "key2") == 0;
}

static void pruning_drops_what_nobody_keeps_and_asks_not_for_those_in_use(void **state)
{
    (void)state;
    struct kit kit;
    int asked = 0;
    kit_make_dir(&kit);
    kit_open(&kit);
    for (unsigned i = 0; i < 4; i++) {
        kit_append(&kit, i, 0);
    }
    kit_close(&kit);
    kit_open(&kit);
    kit_append(&kit, 0, 0);
    spool_positions_prune(kit.spool, keeps_key2, &asked);
    assert_int_equal(asked, 3);
    assert_int_equal(kit_position(&kit, 1), 0);
    kit_close(&kit);
    for (int i = 0; i < 2; i++) {
        kit_open(&kit);
        assert_int_equal(kit_position(&kit, 0), 2);
        assert_int_equal(kit_position(&kit, 1), 0);
        assert_int_equal(kit_position(&kit, 2), 1);
        assert_int_equal(kit_position(&kit, 3), 0);
        kit_append(&kit, 0, 0);
        kit.sources[0].next = 2;
        kit_close(&kit);
    }
    kit_remove_dir(&kit);
}

static void a_touched_position_becomes_durable_without_a_record(void **state)
{
    (void)state;
    struct kit kit;
    kit_make_dir(&kit);
    kit_open(&kit);
    kit_source(&kit, 3)->next = 42;
    spool_source_touch(kit.spool, &kit.sources[3].base);
    kit_close(&kit);
    kit_open(&kit);
    assert_int_equal(kit_position(&kit, 3), 42);
    kit_close(&kit);
    kit_remove_dir(&kit);
}

static void a_second_process_is_refused(void **state)
{
    (void)state;
    struct kit kit;
    struct kit other;
    struct error error = {""};
    kit_make_dir(&kit);
    kit_open(&kit);
    other = kit;
    assert_int_equal(kit_try_open(&other, &error), -EWOULDBLOCK);
    assert_non_null(strstr(error.text, "in use"));
    kit_close(&kit);
    kit_open(&kit); /* the lock goes with its holder */
    kit_close(&kit);
    kit_remove_dir(&kit);
}

static void numbers_and_bytes_go_on_after_reopening(void **state)
{
    (void)state;
    struct kit kit;
    struct spool_status before;
    struct spool_status after;
    kit_make_dir(&kit);
    for (unsigned i = 0; i < 5; i++) {
        kit_open(&kit);
        kit_append(&kit, 0, 100);
        kit_commit(&kit);
        spool_status(kit.spool, &before);
        assert_int_equal(before.records, i + 1);
        assert_int_equal(before.line_bytes, 100 * (i + 1));
        kit_close(&kit);
        kit_open(&kit);
        spool_status(kit.spool, &after);
        assert_int_equal(after.records, before.records);
        assert_int_equal(after.line_bytes, before.line_bytes);
        assert_int_equal(after.frames_damaged, 0);
        kit_close(&kit);
    }
    kit_remove_dir(&kit);
}

/* ---- random operations against a model */

static uint32_t next_random(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*seed >> 33);
}

/* A life of a process, ended by _exit() without closing: says which records were durable. */
static void live_and_die(struct kit *kit, uint64_t seed, int pipe_fd)
{
    kit_open(kit);
    struct spool_reader *reader = kit_reader(kit, "sink", true);
    struct spool_item item;
    unsigned steps = 20 + next_random(&seed) % 200;
    for (unsigned i = 0; i < steps; i++) {
        unsigned dice = next_random(&seed) % 20;
        if (dice < 15) {
            kit_append(kit, next_random(&seed) % KIT_KEYS, next_random(&seed) % 3000);
        } else if (dice < 17) {
            spool_flush(kit->spool);
        } else if (dice == 17) {
            kit_commit(kit);
        } else if (dice == 18) {
            kit_turn(kit);
        } else {
            for (unsigned n = next_random(&seed) % 50;
                 n > 0 && spool_reader_next(reader, &item) == 1; n--) {
            }
            (void)!spool_reader_commit(reader, spool_reader_position(reader));
        }
    }
    uint64_t said[2] = {kit_durable(kit), spool_reader_position(reader)};
    (void)!spool_reader_commit(reader, said[1]);
    (void)!write(pipe_fd, said, sizeof(said));
    _exit(0);
}

static void any_life_and_sudden_death_keeps_what_was_durable_exactly(void **state)
{
    (void)state;
#ifdef __SANITIZE_THREAD__
    skip(); /* no threads behind a fork there */
#endif
    const char *given = getenv("SEED");
    uint64_t first = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)kit_now_ns() % 1000000;
    print_message("SEED=%" PRIu64 "\n", first);
    struct kit kit;
    kit_make_dir(&kit);
    int64_t end = kit_now_ns() + INT64_C(10000000000);
    uint64_t least = 0;
    for (uint64_t seed = first; kit_now_ns() < end; seed++) {
        int fds[2];
        uint64_t said[2] = {0, 0};
        kit.options.codec = seed % 2 == 0 ? SPOOL_CODEC_NONE : SPOOL_CODEC_ZSTD;
        assert_int_equal(pipe(fds), 0);
        pid_t child = fork();
        if (child == 0) {
            live_and_die(&kit, seed, fds[1]);
        }
        assert_true(child > 0);
        (void)close(fds[1]);
        assert_int_equal(read(fds[0], said, sizeof(said)), sizeof(said));
        (void)close(fds[0]);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(said[0] >= least);
        struct kit_found found = kit_reopen_exact(&kit);
        if (found.total < said[0] || found.skipped != 0 || found.damaged != 0) {
            fail_msg("seed %" PRIu64 ": %" PRIu64 " records of %" PRIu64, seed, found.total,
                     said[0]);
        }
        least = found.total;
        struct spool_reader *reader = kit_reader(&kit, "sink", true);
        assert_int_equal(spool_reader_position(reader), said[1]);
        struct kit_found rest = {.ordered = true};
        kit_drain(reader, &rest);
        assert_int_equal(rest.total, found.total - said[1]);
        spool_reader_close(reader);
        assert_int_equal(kit_read_dir(&kit).total, found.total);
        kit_close(&kit);
        if (found.total > 4000) {
            kit_remove_dir(&kit);
            least = 0;
        }
    }
    kit_remove_dir(&kit);
}

/* ---- threads: a reader of its own thread beside appending, segments switched all the time */

struct follower {
    struct spool_reader *reader;
    struct kit_found found;
    uint64_t wanted;
    unsigned pause_us;
};

static void *follow(void *data)
{
    struct follower *follower = data;
    int64_t end = kit_now_ns() + KIT_LIMIT_NS;
    while (follower->found.total < follower->wanted && kit_now_ns() < end) {
        struct spool_item item;
        int rc = spool_reader_next(follower->reader, &item);
        if (rc < 0) {
            break;
        }
        if (rc == 0) {
            spool_reader_wait(follower->reader, 100000000);
            continue;
        }
        kit_take(&follower->found, &item);
        if (item.number % 64 == 0) {
            (void)!spool_reader_commit(follower->reader, item.number);
            (void)usleep(follower->pause_us);
        }
    }
    return NULL;
}

static void threads_that_follow_get_every_record_over_many_segments(void **state)
{
    (void)state;
    struct kit kit;
    struct follower followers[3];
    pthread_t threads[3];
    static const char *const names[] = {"a", "b", NULL};
    kit_make_dir(&kit);
    kit.options.codec = SPOOL_CODEC_NONE;
    kit.options.limit_bytes = 64 * KIT_MIB;
    kit.options.age_ns = 8000000; /* a new segment each millisecond */
    kit_open(&kit);
    for (int i = 0; i < 3; i++) {
        followers[i] = (struct follower){.reader = kit_reader(&kit, names[i], true),
                                         .found = {.ordered = true},
                                         .wanted = 3000,
                                         .pause_us = (unsigned)i * 300};
        assert_int_equal(pthread_create(&threads[i], NULL, follow, &followers[i]), 0);
    }
    for (unsigned i = 0; i < 3000; i++) {
        kit_append(&kit, i % KIT_KEYS, 100);
        if (i % 3 == 0) {
            kit_turn(&kit);
        }
    }
    kit_commit(&kit);
    for (int i = 0; i < 3; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    for (int i = 0; i < 3; i++) {
        spool_reader_close(followers[i].reader);
        assert_true(followers[i].found.ordered);
        assert_int_equal(followers[i].found.total, 3000);
    }
    kit_close(&kit);
    kit_remove_dir(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_spool_opens_closes_and_gives_nothing),
        cmocka_unit_test(what_was_appended_is_read_from_memory_and_from_disk),
        cmocka_unit_test(readers_at_different_places_each_get_everything),
        cmocka_unit_test(a_reader_that_fell_out_of_the_ring_goes_on_on_disk),
        cmocka_unit_test(any_bytes_flags_and_times_come_back_as_they_were),
        cmocka_unit_test(origins_are_known_in_each_segment),
        cmocka_unit_test(the_limit_holds_and_what_it_costs_a_reader_is_counted_exactly),
        cmocka_unit_test(a_segment_that_is_unlinked_while_it_is_read_is_read_to_its_end),
        cmocka_unit_test(old_segments_go_once_no_cursor_needs_them),
        cmocka_unit_test(a_cursor_stands_where_it_was_committed),
        cmocka_unit_test(a_new_cursor_keeps_its_place_before_its_first_commit),
        cmocka_unit_test(names_that_would_leave_the_folder_are_no_cursors),
        cmocka_unit_test(a_forgotten_position_is_gone_and_may_come_back),
        cmocka_unit_test(pruning_drops_what_nobody_keeps_and_asks_not_for_those_in_use),
        cmocka_unit_test(a_touched_position_becomes_durable_without_a_record),
        cmocka_unit_test(a_second_process_is_refused),
        cmocka_unit_test(numbers_and_bytes_go_on_after_reopening),
        cmocka_unit_test(any_life_and_sudden_death_keeps_what_was_durable_exactly),
        cmocka_unit_test(threads_that_follow_get_every_record_over_many_segments),
    };
    return cmocka_run_group_tests_name("spool_log", tests, NULL, NULL);
}
