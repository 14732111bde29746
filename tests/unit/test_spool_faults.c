/*
 * Faults of the disk. This program has its own pwrite, fdatasync, fsync, openat, ftruncate and
 * unlinkat, which win over libc's, and can make each refuse, fall short, lose pages or wait.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#include "test_spool_kit.h"

enum { CALL_PWRITE, CALL_FDATASYNC, CALL_FSYNC, CALL_OPENAT, CALLS };

static struct {
    _Atomic int calls[CALLS];    /* made so far, on anything */
    _Atomic int fail_at[CALLS];  /* that call fails; 0: none */
    _Atomic int fail_errno;      /* what it fails with */
    _Atomic bool fail_all;       /* pwrite fails, or fdatasync */
    _Atomic bool sync_fails_all; /* each fdatasync fails */
    _Atomic bool short_writes;   /* at most 100 bytes each */
    _Atomic bool drop_pages;     /* a failing fdatasync loses what was written since the last one */
    _Atomic bool block_sync;     /* fdatasync waits */
    _Atomic bool until_unlink;   /* pwrite fails until something was unlinked */
    _Atomic int truncated_fd;    /* cut and not synced since; -1: none */
    _Atomic bool unsynced_cut;   /* a segment was made while one was cut and not synced */
    _Atomic bool cursors_synced; /* the folder of the cursors was synced */
    void (*_Atomic on_list)(void);
} faults;

/* Not yet synced: per file descriptor the first byte written since its last sync. */
static _Atomic int64_t dirty_from[1024];

static void reset_faults(void)
{
    memset(&faults, 0, sizeof(faults));
    faults.truncated_fd = -1;
    for (int i = 0; i < 1024; i++) {
        dirty_from[i] = -1;
    }
}

static bool fails(int call)
{
    int number = atomic_fetch_add(&faults.calls[call], 1) + 1;
    if (number == faults.fail_at[call]) {
        errno = faults.fail_errno;
        return true;
    }
    return false;
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    if (fails(CALL_PWRITE)) {
        return -1;
    }
    if (faults.fail_all || faults.until_unlink) {
        errno = ENOSPC;
        return -1;
    }
    size = faults.short_writes && size > 100 ? 100 : size;
    if (fd < 1024 && (dirty_from[fd] < 0 || dirty_from[fd] > offset)) {
        dirty_from[fd] = offset;
    }
    return syscall(SYS_pwrite64, fd, bytes, size, offset);
}

static void lose_pages(int fd)
{
    static const char zeros[4096];
    struct stat status;
    off_t at = fd < 1024 ? dirty_from[fd] : -1;
    if (at < 0 || fstat(fd, &status) != 0) {
        return;
    }
    while (at < status.st_size) {
        size_t size = status.st_size - at < 4096 ? (size_t)(status.st_size - at) : 4096;
        (void)syscall(SYS_pwrite64, fd, zeros, size, at);
        at += (off_t)size;
    }
    dirty_from[fd] = -1; /* the kernel calls them clean now */
}

int fdatasync(int fd)
{
    while (faults.block_sync) {
        (void)usleep(1000);
    }
    if (fails(CALL_FDATASYNC) || faults.sync_fails_all) {
        if (faults.drop_pages) {
            lose_pages(fd);
        }
        errno = EIO;
        return -1;
    }
    if (fd == faults.truncated_fd) {
        faults.truncated_fd = -1;
    }
    if (fd < 1024) {
        dirty_from[fd] = -1;
    }
    return 0;
}

int fsync(int fd)
{
    char link[64];
    char path[256];
    if (fails(CALL_FSYNC)) {
        return -1;
    }
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof(path) - 1);
    path[n > 0 ? n : 0] = '\0';
    if (n > 8 && strcmp(path + n - 8, "/cursors") == 0) {
        faults.cursors_synced = true;
    }
    if (fd == faults.truncated_fd) {
        faults.truncated_fd = -1;
    }
    return 0;
}

int ftruncate(int fd, off_t size)
{
    faults.truncated_fd = fd;
    return (int)syscall(SYS_ftruncate, fd, size);
}

int unlinkat(int dir, const char *name, int flags)
{
    faults.until_unlink = false;
    return (int)syscall(SYS_unlinkat, dir, name, flags);
}

int openat(int dir, const char *name, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(list, mode_t) : 0;
    va_end(list);
    if (fails(CALL_OPENAT)) {
        return -1;
    }
    if ((flags & O_TRUNC) != 0 && strstr(name, ".seg") != NULL && faults.truncated_fd >= 0) {
        faults.unsynced_cut = true;
    }
    void (*hook)(void) = faults.on_list;
    if (hook != NULL && strcmp(name, ".") == 0) {
        faults.on_list = NULL;
        hook();
    }
    return (int)syscall(SYS_openat, dir, name, flags, mode);
}

/* ---- one refusal at every point */

static void commit_some(struct kit *kit, int frames)
{
    for (int i = 0; i < frames; i++) {
        kit_append(kit, (unsigned)i % 3, 200);
        kit_append(kit, 0, 3000);
        kit_commit(kit);
    }
}

static void fail_each(int call, int code)
{
    for (int at = 1; at <= 14; at++) {
        struct kit kit;
        reset_faults();
        kit_make_dir(&kit);
        kit_open(&kit);
        faults.drop_pages = true;
        faults.fail_errno = code;
        faults.fail_at[call] = faults.calls[call] + at;
        commit_some(&kit, 6);
        faults.fail_at[call] = 0;
        assert_int_equal(spool_state(kit.spool), SPOOL_WRITING);
        struct kit_found found = kit_read_all(&kit);
        if (found.total != 12 || !found.ordered || found.damaged != 0) {
            fail_msg("call %d failed: %" PRIu64 " of 12 records, %" PRIu64 " damaged", at,
                     found.total, found.damaged);
        }
        kit_close(&kit);
        found = kit_reopen_exact(&kit);
        assert_int_equal(found.total, 12);
        kit_close(&kit);
        kit_remove_dir(&kit);
    }
}

static void a_write_that_fails_once_with_a_full_disk_is_made_again(void **state)
{
    (void)state;
    fail_each(CALL_PWRITE, ENOSPC);
}

static void a_write_that_fails_once_with_an_error_is_made_again(void **state)
{
    (void)state;
    fail_each(CALL_PWRITE, EIO);
}

/* The kernel drops the pages of a failed sync and calls them clean: header of the file included. */
static void what_a_failed_sync_lost_is_written_again(void **state)
{
    (void)state;
    fail_each(CALL_FDATASYNC, EIO);
}

static void a_folder_that_cannot_be_synced_once_is_synced_again(void **state)
{
    (void)state;
    fail_each(CALL_FSYNC, EIO);
}

static void a_segment_that_cannot_be_made_once_is_made_later(void **state)
{
    (void)state;
    fail_each(CALL_OPENAT, ENOSPC);
}

static void short_writes_are_completed(void **state)
{
    (void)state;
    struct kit kit;
    reset_faults();
    kit_make_dir(&kit);
    kit_open(&kit);
    faults.short_writes = true;
    commit_some(&kit, 10);
    kit_close(&kit);
    reset_faults();
    struct kit_found found = kit_reopen_exact(&kit);
    assert_int_equal(found.total, 20);
    kit_close(&kit);
    kit_remove_dir(&kit);
}

/* ---- a refusal that lasts */

static void wait_state(struct kit *kit, enum spool_state wanted, int64_t limit_ns)
{
    int64_t end = kit_now_ns() + limit_ns;
    while (spool_state(kit->spool) != wanted) {
        assert_true(kit_now_ns() < end);
        kit_turn(kit);
    }
}

static _Atomic int pressed;

static void handle_pressure(bool pressure, void *data)
{
    (void)data;
    pressed = pressure;
}

static void a_full_disk_stalls_and_goes_on_within_two_seconds_of_room(void **state)
{
    (void)state;
    struct kit kit;
    reset_faults();
    kit_make_dir(&kit);
    kit.options.on_pressure = handle_pressure;
    kit_open(&kit);
    commit_some(&kit, 2);
    faults.fail_all = true;
    while (!pressed) { /* 8 MiB wait for the disk */
        kit_append(&kit, 1, 100000);
    }
    wait_state(&kit, SPOOL_STALLED, KIT_LIMIT_NS);
    assert_int_equal(spool_stall_errno(kit.spool), ENOSPC);
    assert_int_equal(kit_durable(&kit), 4);
    struct kit_found found = kit_read_all(&kit);
    assert_int_equal(found.total, 4);
    spool_flush(kit.spool);
    faults.fail_all = false;
    wait_state(&kit, SPOOL_WRITING, INT64_C(2000000000));
    kit_wait_durable(&kit);
    int64_t end = kit_now_ns() + KIT_LIMIT_NS;
    while (pressed) {
        assert_true(kit_now_ns() < end);
        kit_turn(&kit);
    }
    kit_close(&kit);
    (void)kit_reopen_exact(&kit);
    kit_close(&kit);
    kit_remove_dir(&kit);
}

static void closing_with_a_full_disk_takes_no_longer_than_its_limit(void **state)
{
    (void)state;
    struct kit kit;
    reset_faults();
    kit_make_dir(&kit);
    kit_open(&kit);
    commit_some(&kit, 2);
    faults.fail_all = true;
    kit_append(&kit, 0, 0);
    int64_t before = kit_now_ns();
    assert_int_equal(kit_try_close(&kit, 300000000), -ETIMEDOUT);
    assert_true(kit_now_ns() - before < 1500000000);
    reset_faults();
    struct kit_found found = kit_reopen_exact(&kit);
    assert_int_equal(found.total, 4);
    kit_close(&kit);
    kit_remove_dir(&kit);
}

static void *unblock(void *data)
{
    (void)data;
    for (int i = 0; i < 4000 && faults.block_sync; i++) {
        (void)usleep(1000);
    }
    faults.block_sync = false;
    return NULL;
}

/* A dead network disk: fdatasync() does not return. Here it does after 4 s. */
static void closing_with_a_hanging_disk_takes_no_longer_than_its_limit(void **state)
{
    (void)state;
    struct kit kit;
    pthread_t thread;
    reset_faults();
    kit_make_dir(&kit);
    kit_open(&kit);
    commit_some(&kit, 1);
    faults.block_sync = true;
    assert_int_equal(pthread_create(&thread, NULL, unblock, NULL), 0);
    kit_append(&kit, 0, 0);
    int64_t before = kit_now_ns();
    (void)kit_try_close(&kit, 300000000);
    int64_t took = kit_now_ns() - before;
    faults.block_sync = false;
    (void)pthread_join(thread, NULL);
    kit_remove_dir(&kit);
    assert_true(took < 2500000000);
}

/* The operator lowers the limit because the disk is full. */
static void a_lowered_limit_makes_room_on_a_full_disk(void **state)
{
    (void)state;
    struct kit kit;
    reset_faults();
    kit_make_dir(&kit);
    for (int i = 0; i < 5; i++) {
        kit_open(&kit);
        for (int n = 0; n < 6; n++) {
            kit_append(&kit, 0, 60000);
        }
        kit_commit(&kit);
        kit_close(&kit);
    }
    kit.options.limit_bytes = KIT_MIB;
    kit_open(&kit);
    faults.until_unlink = true;
    kit_append(&kit, 0, 0);
    spool_flush(kit.spool);
    int64_t end = kit_now_ns() + INT64_C(3000000000);
    while (kit_durable(&kit) < kit.appended && kit_now_ns() < end) {
        kit_turn(&kit);
    }
    bool made_room = kit_durable(&kit) == kit.appended;
    faults.until_unlink = false;
    kit_close(&kit);
    kit_remove_dir(&kit);
    assert_true(made_room);
}

static void segments_keep_their_size_while_the_disk_stalls(void **state)
{
    (void)state;
    struct kit kit;
    reset_faults();
    kit_make_dir(&kit);
    kit.options.limit_bytes = 16 * KIT_MIB; /* segments of 1 MiB */
    kit.options.codec = SPOOL_CODEC_NONE;
    kit_open(&kit);
    commit_some(&kit, 1);
    faults.fail_all = true;
    for (int i = 0; i < 60; i++) {
        kit_append(&kit, 0, 100000);
    }
    faults.fail_all = false;
    kit_commit(&kit);
    size_t segments = kit_segments(&kit, NULL);
    kit_close(&kit);
    kit_remove_dir(&kit);
    if (segments > 12) {
        fail_msg("%zu segments for 6 MB, with segments of 1 MiB", segments);
    }
}

/* ---- power loss */

static void a_cut_tail_is_synced_before_the_next_segment_takes_its_numbers(void **state)
{
    (void)state;
    struct kit kit;
    char path[128];
    uint64_t newest;
    reset_faults();
    kit_make_dir(&kit);
    kit_open(&kit);
    commit_some(&kit, 3);
    kit_close(&kit);
    (void)kit_segments(&kit, &newest);
    kit_segment_path(&kit, newest, path);
    struct kit_bytes bytes = kit_load(path);
    kit_save(path, bytes.data, bytes.size - 5);
    free(bytes.data);
    reset_faults();
    kit_open(&kit);
    commit_some(&kit, 1);
    kit_close(&kit);
    kit_remove_dir(&kit);
    assert_false(faults.unsynced_cut);
}

static void the_file_of_a_new_cursor_is_durable_with_its_first_place(void **state)
{
    (void)state;
    struct kit kit;
    reset_faults();
    kit_make_dir(&kit);
    kit_open(&kit);
    commit_some(&kit, 1);
    struct spool_reader *reader = kit_reader(&kit, "sink", true);
    assert_int_equal(spool_reader_commit(reader, 1), 0);
    spool_reader_close(reader);
    kit_close(&kit);
    kit_remove_dir(&kit);
    assert_true(faults.cursors_synced);
}

static void a_cursor_that_could_not_be_stored_is_stored_by_the_next_commit(void **state)
{
    (void)state;
    struct kit kit;
    reset_faults();
    kit_make_dir(&kit);
    kit_open(&kit);
    commit_some(&kit, 3);
    struct spool_reader *reader = kit_reader(&kit, "sink", true);
    assert_int_equal(spool_reader_commit(reader, 1), 0);
    faults.fail_errno = EIO;
    faults.fail_at[CALL_FDATASYNC] = faults.calls[CALL_FDATASYNC] + 1;
    assert_int_equal(spool_reader_commit(reader, 2), -EIO);
    assert_int_equal(spool_reader_commit(reader, 3), 0);
    spool_reader_close(reader);
    reader = kit_reader(&kit, "sink", true);
    assert_int_equal(spool_reader_position(reader), 3);
    spool_reader_close(reader);
    kit_close(&kit);
    kit_remove_dir(&kit);
}

/* A sink was added, and the disk is full at the start. */
static void a_new_cursor_opens_on_a_full_disk(void **state)
{
    (void)state;
    struct kit kit;
    struct spool_reader *reader = NULL;
    struct error error = {""};
    reset_faults();
    kit_make_dir(&kit);
    kit_open(&kit);
    commit_some(&kit, 1);
    faults.fail_all = true;
    int rc = spool_reader_open(kit.spool, "new", true, &reader, &error);
    faults.fail_all = false;
    if (rc == 0) {
        spool_reader_close(reader);
    }
    kit_close(&kit);
    kit_remove_dir(&kit);
    assert_int_equal(rc, 0);
}

/* ---- a race, made certain */

static struct kit *racing;

/* The reader saw the end of what is durable and now looks for the next segment. Before it does, the
 * present one gets its last frame and the next one begins. */
static void write_on(void)
{
    kit_append(racing, 0, 0);
    kit_commit(racing);
    for (int i = 0; i < 3; i++) { /* segments are of 64 KiB */
        kit_append(racing, 0, 100000);
        kit_commit(racing);
    }
}

static void race_with_switch(bool in_folder)
{
    struct kit kit;
    struct kit_found found = {.ordered = true};
    struct spool_reader *reader = NULL;
    reset_faults();
    kit_make_dir(&kit);
    kit.options.limit_bytes = KIT_MIB;
    kit.options.codec = SPOOL_CODEC_NONE;
    kit_open(&kit);
    kit_append(&kit, 0, 0);
    kit_commit(&kit);
    if (in_folder) {
        struct error error;
        assert_int_equal(spool_reader_open_dir(kit.dir, &reader, &error), 0);
        struct spool_item item;
        assert_int_equal(spool_reader_next(reader, &item), 1);
        kit_take(&found, &item);
    } else {
        reader = kit_reader(&kit, NULL, true);
        kit_drain(reader, &found);
    }
    assert_int_equal(found.total, 1);
    racing = &kit;
    faults.on_list = write_on;
    kit_drain(reader, &found);
    kit_drain(reader, &found);
    assert_int_equal(found.total, 5);
    assert_int_equal(found.skipped, 0);
    spool_reader_close(reader);
    kit_close(&kit);
    kit_remove_dir(&kit);
}

static void a_segment_that_is_switched_while_a_reader_looks_loses_nothing(void **state)
{
    (void)state;
    race_with_switch(false);
}

static void a_segment_that_is_switched_while_another_process_looks_loses_nothing(void **state)
{
    (void)state;
    race_with_switch(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_write_that_fails_once_with_a_full_disk_is_made_again),
        cmocka_unit_test(a_write_that_fails_once_with_an_error_is_made_again),
        cmocka_unit_test(what_a_failed_sync_lost_is_written_again),
        cmocka_unit_test(a_folder_that_cannot_be_synced_once_is_synced_again),
        cmocka_unit_test(a_segment_that_cannot_be_made_once_is_made_later),
        cmocka_unit_test(short_writes_are_completed),
        cmocka_unit_test(a_full_disk_stalls_and_goes_on_within_two_seconds_of_room),
        cmocka_unit_test(closing_with_a_full_disk_takes_no_longer_than_its_limit),
        cmocka_unit_test(closing_with_a_hanging_disk_takes_no_longer_than_its_limit),
        cmocka_unit_test(a_lowered_limit_makes_room_on_a_full_disk),
        cmocka_unit_test(segments_keep_their_size_while_the_disk_stalls),
        cmocka_unit_test(a_cut_tail_is_synced_before_the_next_segment_takes_its_numbers),
        cmocka_unit_test(the_file_of_a_new_cursor_is_durable_with_its_first_place),
        cmocka_unit_test(a_cursor_that_could_not_be_stored_is_stored_by_the_next_commit),
        cmocka_unit_test(a_new_cursor_opens_on_a_full_disk),
        cmocka_unit_test(a_segment_that_is_switched_while_a_reader_looks_loses_nothing),
        cmocka_unit_test(a_segment_that_is_switched_while_another_process_looks_loses_nothing),
    };
    return cmocka_run_group_tests_name("spool_faults", tests, NULL, NULL);
}
