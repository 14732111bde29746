/* The files of the file sink: appending, rotation, and what others do to them meanwhile. */
#include "test_file_kit.h"

static void path_in(const struct kit *kit, const char *name, char path[256])
{
    (void)snprintf(path, 256, "%s%s", kit->folder, name);
}

static void shell(const struct kit *kit, const char *script)
{
    char command[512];
    (void)snprintf(command, sizeof(command), "cd '%s' && %s", kit->folder, script);
    assert_int_equal(system(command), 0); // NOLINT(cert-env33-c)
}

static void finish_work(const struct kit *kit)
{
    for (int i = 0; file_store_work(kit->store); i++) {
        assert_true(i < 10000);
    }
}

/* ---- the plain course ---- */

static void lines_go_to_their_files_in_order(void **state)
{
    (void)state;
    struct kit kit;
    kit_make(&kit);
    kit_open(&kit);
    for (int i = 0; i < 10; i++) {
        kit_append(&kit, KIT_FILES, 7);
        kit_settle(&kit);
    }
    kit_check(&kit, KIT_FILES);
    kit_remove(&kit);
}

static void a_store_opened_again_goes_on_behind(void **state)
{
    (void)state;
    struct kit kit;
    kit_make(&kit);
    for (int i = 0; i < 5; i++) {
        kit_open(&kit);
        kit_append(&kit, 5, 9);
        kit_settle(&kit);
        kit_drop(&kit);
    }
    kit_check(&kit, 5);
    kit_remove(&kit);
}

static void what_a_file_had_before_it_was_ours_stays(void **state)
{
    (void)state;
    struct kit kit;
    struct buf text;
    kit_make(&kit);
    kit_open(&kit);
    shell(&kit, "echo old > a.log");
    kit_append(&kit, 1, 3);
    kit_settle(&kit);
    kit_drop(&kit);
    kit_open(&kit);
    kit_append(&kit, 1, 3);
    buf_init(&text, 0);
    (void)kit_gather(&kit, "a.log", &text);
    assert_memory_equal(text.data, "old\n", 4);
    struct buf rest = {.data = text.data + 4, .size = text.size - 4};
    assert_null(kit_fault_of(&rest, 0, 0, 6));
    buf_finish(&text);
    kit_remove(&kit);
}

/* The cursor is behind the journal: the process was killed between the two. */
static void lines_that_the_journal_has_are_left_out(void **state)
{
    (void)state;
    struct kit kit;
    kit_make(&kit);
    kit_open(&kit);
    kit_append(&kit, 3, 5);
    struct kit earlier = kit;
    kit_append(&kit, 3, 5);
    kit_settle(&kit);
    kit_drop(&kit);
    kit_rewind(&kit, &earlier);
    kit_open(&kit);
    kit_append(&kit, 3, 9);
    kit_check(&kit, 3);
    kit_remove(&kit);
}

/* As above, with lines that the journal does not have; the batches are others. */
static void lines_that_the_files_have_are_not_written_again(void **state)
{
    (void)state;
    struct kit kit;
    kit_make(&kit);
    kit_open(&kit);
    kit_append(&kit, 4, 5);
    kit_settle(&kit);
    struct kit earlier = kit;
    kit_append(&kit, 4, 6);
    kit_append(&kit, 4, 6);
    kit_drop(&kit);
    kit_rewind(&kit, &earlier);
    kit_open(&kit);
    kit_append(&kit, 4, 1);
    kit_append(&kit, 4, 8);
    kit_append(&kit, 4, 8);
    kit_check(&kit, 4);
    kit_remove(&kit);
}

static void a_torn_last_line_is_completed(void **state)
{
    (void)state;
    for (int cut = 1; cut < 40; cut++) {
        struct kit kit;
        char path[256];
        struct stat info;
        kit_make(&kit);
        kit_open(&kit);
        kit_append(&kit, 1, 2);
        kit_settle(&kit);
        struct kit earlier = kit;
        kit_append(&kit, 1, 3);
        kit_drop(&kit);
        path_in(&kit, "a.log", path);
        assert_int_equal(stat(path, &info), 0);
        assert_int_equal(truncate(path, info.st_size - cut), 0);
        kit_rewind(&kit, &earlier);
        kit_open(&kit);
        kit_append(&kit, 1, 5);
        kit_check(&kit, 1);
        kit_remove(&kit);
    }
}

/* ---- rotation ---- */

static void check_sizes(const struct kit *kit, const char *name, int rotated)
{
    for (int number = 0; number <= rotated; number++) {
        char path[256];
        struct stat info;
        int size = snprintf(path, sizeof(path), "%s%s.%d", kit->folder, name, number);
        path[number == 0 ? size - 2 : size] = '\0';
        assert_int_equal(stat(path, &info), 0);
        assert_true(info.st_size > 0 && (uint64_t)info.st_size <= kit->options.rotate_bytes);
    }
}

static void files_are_rotated_before_they_grow_beyond_the_limit(void **state)
{
    (void)state;
    struct kit kit;
    kit_make(&kit);
    kit.options.rotate_bytes = 1000;
    kit_open(&kit);
    for (int i = 0; i < 8; i++) {
        kit_append(&kit, 2, 11);
    }
    struct buf text;
    buf_init(&text, 0);
    int rotated = kit_gather(&kit, "a.log", &text);
    assert_int_equal(rotated, (int)((text.size - 1) / 1000));
    buf_finish(&text);
    check_sizes(&kit, "a.log", rotated);
    kit_check(&kit, 2);
    kit_remove(&kit);
}

static void a_line_longer_than_the_limit_has_a_file_of_its_own(void **state)
{
    (void)state;
    struct kit kit;
    kit_make(&kit);
    kit.options.rotate_bytes = 10;
    kit_open(&kit);
    kit_append(&kit, 1, 5);
    struct buf text;
    buf_init(&text, 0);
    assert_int_equal(kit_gather(&kit, "a.log", &text), 4);
    buf_finish(&text);
    kit_check(&kit, 1);
    kit_remove(&kit);
}

/* Those that are kept are the newest, without a hole. */
static void check_kept(const struct kit *kit, int keep)
{
    struct buf text;
    uint64_t first = 0;
    buf_init(&text, 0);
    assert_int_equal(kit_gather(kit, "a.log", &text), keep);
    assert_int_equal(sscanf(text.data, "a.log %" SCNu64, &first), 1); // NOLINT(cert-err34-c)
    assert_true(first > 0);
    const char *fault = kit_fault_of(&text, 0, first, kit->lines[0]);
    if (fault != NULL) {
        fail_msg("%s", fault);
    }
    buf_finish(&text);
}

static void only_so_many_rotated_files_are_kept(void **state)
{
    (void)state;
    for (uint64_t keep = 1; keep <= 4; keep++) {
        for (int gzip = 0; gzip < 2; gzip++) {
            struct kit kit;
            kit_make(&kit);
            kit.options.rotate_bytes = 300;
            kit.options.keep = keep;
            kit.options.gzip = gzip != 0;
            kit_open(&kit);
            for (int i = 0; i < 20; i++) {
                kit_append(&kit, 1, 5);
                finish_work(&kit);
            }
            check_kept(&kit, (int)keep);
            kit_remove(&kit);
        }
    }
}

static void rotated_files_are_compressed_and_hold_the_same(void **state)
{
    (void)state;
    struct kit kit;
    char path[256];
    kit_make(&kit);
    kit.options.rotate_bytes = 3000;
    kit.options.gzip = true;
    kit_open(&kit);
    for (int i = 0; i < 12; i++) {
        kit_append(&kit, 3, 20);
        finish_work(&kit);
    }
    for (int number = 1; number < 4; number++) {
        (void)snprintf(path, sizeof(path), "%sx/c.log.%d", kit.folder, number);
        assert_false(kit_exists(path));
        (void)snprintf(path, sizeof(path), "%sx/c.log.%d.gz", kit.folder, number);
        assert_true(kit_exists(path));
    }
    kit_check(&kit, 3);
    shell(&kit, "! find . -name '*.tmp' | grep -q .");
    shell(&kit, "gzip -t $(find . -name '*.gz')");
    kit_remove(&kit);
}

static void a_rotation_meanwhile_does_not_disturb_compression(void **state)
{
    (void)state;
    struct kit kit;
    kit_make(&kit);
    kit.options.rotate_bytes = 3000;
    kit.options.gzip = true;
    kit_open(&kit);
    for (int i = 0; i < 12; i++) {
        kit_append(&kit, 3, 50);
        if (i % 3 == 0) {
            (void)file_store_work(kit.store);
        }
    }
    finish_work(&kit);
    kit_check(&kit, 3);
    kit_remove(&kit);
}

static void compression_that_fails_leaves_the_file_as_it_is(void **state)
{
    (void)state;
    for (int call = 0; call < KIT_CALLS; call++) {
        for (int at = 1; at < 6; at++) {
            struct kit kit;
            kit_make(&kit);
            kit.options.rotate_bytes = 2000;
            kit.options.gzip = true;
            kit_open(&kit);
            kit_append(&kit, 1, 60);
            kit_faults.fail_errno = ENOSPC;
            kit_faults.fail_at[call] = kit_faults.calls[call] + at;
            finish_work(&kit);
            kit_faults.fail_at[call] = 0;
            kit_append(&kit, 1, 60);
            finish_work(&kit);
            kit_check(&kit, 1);
            kit_remove(&kit);
        }
    }
}

static void a_file_is_rotated_by_its_age(void **state)
{
    (void)state;
    struct kit kit;
    struct buf text;
    kit_make(&kit);
    kit.options.rotate_age_ns = INT64_C(3600) * 1000000000;
    kit_open(&kit);
    for (int i = 0; i < 5; i++) {
        kit_append(&kit, 1, 1);
        kit_settle(&kit);
        kit_faults.clock_s += 1000;
    } /* at 0, 1000, 2000, 3000, 4000 s */
    buf_init(&text, 0);
    assert_int_equal(kit_gather(&kit, "a.log", &text), 1);
    buf_finish(&text);
    kit_check(&kit, 1);
    kit_remove(&kit);
}

/* Quieter than what the store remembers: a line each 20 minutes. */
static void the_age_of_a_quiet_file_is_known(void **state)
{
    (void)state;
    struct kit kit;
    struct buf text;
    kit_make(&kit);
    kit.options.rotate_age_ns = INT64_C(3600) * 1000000000;
    kit_open(&kit);
    for (int i = 0; i < 8; i++) {
        kit_append(&kit, 1, 1);
        for (int minute = 0; minute < 20; minute++) {
            kit_faults.clock_s += 60;
            kit_settle(&kit);
        }
    }
    buf_init(&text, 0);
    assert_true(kit_gather(&kit, "a.log", &text) >= 1);
    buf_finish(&text);
    kit_check(&kit, 1);
    kit_remove(&kit);
}

/* The file's age is over, and its end is of lines that come again. */
static void an_old_file_is_not_rotated_before_its_end_is_accounted_for(void **state)
{
    (void)state;
    struct kit kit;
    kit_make(&kit);
    kit.options.rotate_age_ns = INT64_C(3600) * 1000000000;
    kit_open(&kit);
    kit_append(&kit, 2, 3);
    kit_settle(&kit);
    struct kit earlier = kit;
    kit_append(&kit, 2, 3);
    kit_drop(&kit);
    kit_rewind(&kit, &earlier);
    kit_faults.clock_s += 7200;
    kit_open(&kit);
    kit_append(&kit, 2, 6);
    kit_check(&kit, 2);
    kit_remove(&kit);
}

static void a_smaller_limit_does_not_rotate_before_the_end_is_accounted_for(void **state)
{
    (void)state;
    struct kit kit;
    kit_make(&kit);
    kit.options.rotate_bytes = 100000;
    kit_open(&kit);
    kit_append(&kit, 1, 30);
    kit_settle(&kit);
    struct kit earlier = kit;
    kit_append(&kit, 1, 10);
    kit_drop(&kit);
    kit_rewind(&kit, &earlier);
    kit.options.rotate_bytes = 500;
    kit_open(&kit);
    kit_append(&kit, 1, 20);
    kit_check(&kit, 1);
    kit_remove(&kit);
}

static void rotated_files_that_are_too_old_are_removed(void **state)
{
    (void)state;
    struct kit kit;
    char path[256];
    kit_make(&kit);
    kit.options.rotate_bytes = 300;
    kit.options.keep_age_ns = INT64_C(86400) * 1000000000;
    kit_open(&kit);
    kit_append(&kit, 1, 20);
    path_in(&kit, "a.log.2", path);
    assert_true(kit_exists(path));
    kit_faults.clock_s += 200000;
    kit_append(&kit, 1, 1);
    shell(&kit, "touch a.log");
    kit_append(&kit, 1, 9);
    struct buf text;
    buf_init(&text, 0);
    int rotated = kit_gather(&kit, "a.log", &text);
    buf_finish(&text);
    assert_true(rotated <= 3); /* those of the last lines; files of now are old by this clock */
    kit_remove(&kit);
}

/* Killed while it was compressed, or only stopped. */
static void compression_is_taken_up_by_the_next_store(void **state)
{
    (void)state;
    for (int steps = 0; steps < 2; steps++) {
        struct kit kit;
        char path[256];
        kit_make(&kit);
        kit.options.rotate_bytes = UINT64_C(3) << 20;
        kit.options.gzip = true;
        kit_open(&kit);
        for (int i = 0; i < 30; i++) {
            kit_append(&kit, 1, 2000);
        }
        kit_settle(&kit);
        assert_true(steps == 0 || file_store_work(kit.store));
        kit_drop(&kit);
        kit_open(&kit);
        kit_append(&kit, 1, 1);
        finish_work(&kit);
        kit_check(&kit, 1);
        path_in(&kit, "a.log.1", path);
        bool left = kit_exists(path);
        kit_remove(&kit);
        assert_false(left);
    }
}

/* Killed when the compressed file was there and the plain one was not yet removed. */
static void a_rotated_file_is_not_there_twice_after_a_restart(void **state)
{
    (void)state;
    struct kit kit;
    kit_make(&kit);
    kit.options.rotate_bytes = 2000;
    kit.options.gzip = true;
    kit_open(&kit);
    kit_append(&kit, 1, 60);
    kit_settle(&kit);
    kit_drop(&kit);
    shell(&kit, "gzip -k a.log.1 && : > a.log.1.gz.tmp");
    kit_open(&kit);
    kit_append(&kit, 1, 1);
    finish_work(&kit);
    kit_check(&kit, 1);
    kit_remove(&kit);
}

/* ---- what others do ---- */

static void a_file_that_was_renamed_is_begun_again(void **state)
{
    (void)state;
    struct kit kit;
    kit_make(&kit);
    kit_open(&kit);
    kit_append(&kit, 2, 5);
    shell(&kit, "mv a.log a.log.1");
    kit_append(&kit, 2, 5);
    kit_check(&kit, 2);
    kit_settle(&kit);
    shell(&kit, "mv a.log.1 a.log.2 && mv a.log a.log.1 && : > a.log");
    kit_append(&kit, 2, 5);
    kit_check(&kit, 2);
    kit_remove(&kit);
}

/* The same, and a kill before the journal is stored by the clock. */
static void a_kill_behind_a_rename_repeats_nothing(void **state)
{
    (void)state;
    struct kit kit;
    kit_make(&kit);
    kit_open(&kit);
    kit_append(&kit, 2, 5);
    kit_settle(&kit);
    struct kit earlier = kit;
    kit_append(&kit, 2, 5);
    shell(&kit, "mv a.log a.log.1");
    kit_append(&kit, 2, 5);
    kit_drop(&kit);
    kit_rewind(&kit, &earlier);
    kit_open(&kit);
    kit_append(&kit, 2, 12);
    kit_check(&kit, 2);
    kit_remove(&kit);
}

static void a_kill_behind_a_truncation_repeats_nothing(void **state)
{
    (void)state;
    struct kit kit;
    kit_make(&kit);
    kit_open(&kit);
    kit_append(&kit, 1, 5);
    kit_settle(&kit);
    struct kit earlier = kit;
    kit_append(&kit, 1, 5);
    shell(&kit, "cp a.log a.log.1 && : > a.log"); /* copytruncate */
    kit_append(&kit, 1, 30);
    kit_drop(&kit);
    kit_rewind(&kit, &earlier);
    kit_open(&kit);
    kit_append(&kit, 1, 40);
    kit_check(&kit, 1);
    kit_remove(&kit);
}

static void a_truncated_file_goes_on_at_its_new_end(void **state)
{
    (void)state;
    struct kit kit;
    kit_make(&kit);
    kit_open(&kit);
    kit_append(&kit, 1, 5);
    shell(&kit, "cp a.log a.log.1 && : > a.log");
    kit_append(&kit, 1, 5);
    kit_append(&kit, 1, 5);
    kit_check(&kit, 1);
    kit_settle(&kit);
    kit_drop(&kit);
    kit_open(&kit);
    kit_append(&kit, 1, 5);
    kit_check(&kit, 1);
    kit_remove(&kit);
}

static void a_removed_file_is_begun_again(void **state)
{
    (void)state;
    struct kit kit;
    struct buf text;
    kit_make(&kit);
    kit_open(&kit);
    kit_append(&kit, 1, 5);
    shell(&kit, "rm a.log");
    kit_append(&kit, 1, 5);
    buf_init(&text, 0);
    (void)kit_gather(&kit, "a.log", &text);
    assert_null(kit_fault_of(&text, 0, 5, 10));
    buf_finish(&text);
    kit_remove(&kit);
}

static void a_removed_folder_is_made_again(void **state)
{
    (void)state;
    struct kit kit;
    kit_make(&kit);
    kit_open(&kit);
    kit_append(&kit, 4, 5);
    shell(&kit, "rm -rf x");
    kit_append(&kit, 4, 1);
    char path[256];
    path_in(&kit, "x/c.log", path);
    assert_true(kit_exists(path));
    shell(&kit, "cd .. && rm -rf out");
    kit_append(&kit, 4, 1);
    assert_true(kit_exists(path));
    kit_remove(&kit);
}

/* A torn line that nobody will complete: the journal is lost, or the format is another. */
static void a_line_behind_foreign_bytes_begins_on_a_line_of_its_own(void **state)
{
    (void)state;
    struct kit kit;
    struct buf text;
    kit_make(&kit);
    kit_open(&kit);
    shell(&kit, "printf 'half a li' > a.log");
    kit_append(&kit, 1, 3);
    buf_init(&text, 0);
    (void)kit_gather(&kit, "a.log", &text);
    assert_memory_equal(text.data, "half a li\n", 10);
    struct buf rest = {.data = text.data + 10, .size = text.size - 10};
    assert_null(kit_fault_of(&rest, 0, 0, 3));
    buf_finish(&text);
    kit_remove(&kit);
}

static void a_damaged_journal_loses_nothing(void **state)
{
    (void)state;
    struct kit kit;
    kit_make(&kit);
    kit_open(&kit);
    kit_append(&kit, 3, 5);
    kit_settle(&kit);
    kit_drop(&kit);
    shell(&kit, "echo x >> ../journal");
    kit_open(&kit);
    kit_append(&kit, 3, 5);
    kit_check(&kit, 3);
    kit_remove(&kit);
}

/* The path of the sink was changed to a folder where a file of this name is, with equal lines. */
static void old_lines_in_another_folder_do_not_count_as_written(void **state)
{
    (void)state;
    struct kit kit;
    struct buf text;
    kit_make(&kit);
    kit_open(&kit);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(file_store_add(kit.store, "a.log", kit.number++, "tick\n", 5), 0);
    }
    kit_write(&kit);
    kit_settle(&kit);
    kit_drop(&kit);
    shell(&kit, "mkdir ../out2 && cp a.log ../out2/a.log");
    (void)snprintf(kit.folder, sizeof(kit.folder), "%s/out2/", kit.dir);
    kit_open(&kit);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(file_store_add(kit.store, "a.log", kit.number++, "tick\n", 5), 0);
    }
    kit_write(&kit);
    buf_init(&text, 0);
    (void)kit_gather(&kit, "a.log", &text);
    size_t size = text.size;
    buf_finish(&text);
    kit_remove(&kit);
    assert_int_equal(size, 6 * 5);
}

/* ---- refusals ---- */

static void expect_refused(const char *script, int code)
{
    struct kit kit;
    kit_make(&kit);
    kit_open(&kit);
    shell(&kit, "mkdir ../target && echo secret > ../target/c.log");
    shell(&kit, script);
    for (int file = 0; file < 3; file++) {
        kit_add(&kit, file);
    }
    assert_int_equal(kit_try_write(&kit), code);
    assert_true(kit.error.text[0] != '\0');
    shell(&kit, "[ \"$(cat ../target/c.log)\" = secret ] && [ \"$(ls ../target)\" = c.log ]");
    shell(&kit, "rm -rf x");
    kit_rewind(&kit, &(struct kit){.number = 0});
    kit_append(&kit, 3, 2);
    kit_check(&kit, 3);
    kit_remove(&kit);
}

static void links_are_never_followed(void **state)
{
    (void)state;
    expect_refused("mkdir x && ln -s ../../target/c.log x/c.log", -ELOOP);
    expect_refused("mkdir x && ln -s ../../target/new.log x/c.log", -ELOOP);
    expect_refused("ln -s ../target x", -ENOTDIR);
    expect_refused("mkdir -p x/c.log", -EISDIR);
    expect_refused("mkdir x && mkfifo x/c.log", -EINVAL);
}

static void a_link_in_the_way_of_rotation_is_not_followed(void **state)
{
    (void)state;
    struct kit kit;
    kit_make(&kit);
    kit.options.rotate_bytes = 300;
    kit.options.gzip = true;
    kit_open(&kit);
    shell(&kit, "echo secret > ../target && ln -s ../target a.log.1 && ln -s ../target a.log.1.gz"
                " && ln -s ../target a.log.1.gz.tmp");
    kit_append(&kit, 1, 20);
    finish_work(&kit);
    shell(&kit, "[ \"$(cat ../target)\" = secret ]");
    kit_remove(&kit);
}

static int open_files(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int count = 0;
    assert_non_null(dir);
    while (readdir(dir) != NULL) {
        count++;
    }
    (void)closedir(dir);
    return count;
}

static void any_number_of_files_needs_few_descriptors(void **state)
{
    (void)state;
    struct kit kit;
    kit_make(&kit);
    kit_open(&kit);
    int before = open_files();
    int most = 0;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 900; i++) {
            char name[32];
            char line[32];
            (void)snprintf(name, sizeof(name), "%d/%d.log", i % 300 % 40, i % 300);
            int size = snprintf(line, sizeof(line), "%d %d %d\n", i % 300, round, i / 300);
            assert_int_equal(file_store_add(kit.store, name, kit.number++, line, (size_t)size), 0);
        }
        kit_write(&kit);
        int now = open_files() - before;
        most = now > most ? now : most;
        assert_int_equal(file_store_settle(kit.store, kit.number), 0);
    }
    assert_true(most <= 2 * 128);
    shell(&kit, "for i in $(seq 0 299); do for j in 0 1 2; do for k in 0 1 2; do"
                " echo $i $j $k; done; done; done > ../expected"
                " && for i in $(seq 0 299); do cat */$i.log; done | cmp - ../expected");
    kit_remove(&kit);
}

static void containers_of_one_name_share_a_file_in_order(void **state)
{
    (void)state;
    struct kit kit;
    kit_make(&kit);
    kit_open(&kit);
    for (int i = 0; i < 50; i++) { /* as the sink does it: the path is all that counts */
        kit_add(&kit, 0);
        if (i % 7 == 0) {
            kit_write(&kit);
        }
    }
    kit_write(&kit);
    kit_check(&kit, 1);
    kit_remove(&kit);
}

static void a_folder_that_cannot_be_made_is_told_by_each_write(void **state)
{
    (void)state;
    struct kit kit;
    kit_make(&kit);
    (void)snprintf(kit.folder, sizeof(kit.folder), "/proc/none/x/");
    assert_int_equal(kit_try_open(&kit), 0);
    for (uint64_t number = 0; number < 2; number++) {
        struct error error = {""};
        assert_int_equal(file_store_add(kit.store, "a.log", number, "line\n", 5), 0);
        assert_true(file_store_write(kit.store, &error) < 0);
        assert_non_null(strstr(error.text, kit.folder));
    }
    kit_remove(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_go_to_their_files_in_order),
        cmocka_unit_test(a_store_opened_again_goes_on_behind),
        cmocka_unit_test(what_a_file_had_before_it_was_ours_stays),
        cmocka_unit_test(lines_that_the_journal_has_are_left_out),
        cmocka_unit_test(lines_that_the_files_have_are_not_written_again),
        cmocka_unit_test(a_torn_last_line_is_completed),
        cmocka_unit_test(files_are_rotated_before_they_grow_beyond_the_limit),
        cmocka_unit_test(a_line_longer_than_the_limit_has_a_file_of_its_own),
        cmocka_unit_test(only_so_many_rotated_files_are_kept),
        cmocka_unit_test(rotated_files_are_compressed_and_hold_the_same),
        cmocka_unit_test(a_rotation_meanwhile_does_not_disturb_compression),
        cmocka_unit_test(compression_that_fails_leaves_the_file_as_it_is),
        cmocka_unit_test(a_file_is_rotated_by_its_age),
        cmocka_unit_test(the_age_of_a_quiet_file_is_known),
        cmocka_unit_test(an_old_file_is_not_rotated_before_its_end_is_accounted_for),
        cmocka_unit_test(a_smaller_limit_does_not_rotate_before_the_end_is_accounted_for),
        cmocka_unit_test(rotated_files_that_are_too_old_are_removed),
        cmocka_unit_test(compression_is_taken_up_by_the_next_store),
        cmocka_unit_test(a_rotated_file_is_not_there_twice_after_a_restart),
        cmocka_unit_test(a_file_that_was_renamed_is_begun_again),
        cmocka_unit_test(a_kill_behind_a_rename_repeats_nothing),
        cmocka_unit_test(a_kill_behind_a_truncation_repeats_nothing),
        cmocka_unit_test(a_truncated_file_goes_on_at_its_new_end),
        cmocka_unit_test(a_removed_file_is_begun_again),
        cmocka_unit_test(a_removed_folder_is_made_again),
        cmocka_unit_test(a_line_behind_foreign_bytes_begins_on_a_line_of_its_own),
        cmocka_unit_test(a_damaged_journal_loses_nothing),
        cmocka_unit_test(old_lines_in_another_folder_do_not_count_as_written),
        cmocka_unit_test(links_are_never_followed),
        cmocka_unit_test(a_link_in_the_way_of_rotation_is_not_followed),
        cmocka_unit_test(any_number_of_files_needs_few_descriptors),
        cmocka_unit_test(containers_of_one_name_share_a_file_in_order),
        cmocka_unit_test(a_folder_that_cannot_be_made_is_told_by_each_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
