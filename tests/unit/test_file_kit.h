/*
 * What the tests of the file sink's files share: a store in a folder of its own; this program's own
 * system calls, which win over libc's, and can fail, fall short or kill; and a check that reads
 * the rotated files and the present one in their order.
 *
 * Line n of a file is "<file> <n> <padding>"; `raw` tests write their own.
 */
#pragma once

#undef _FORTIFY_SOURCE /* it has a pread() of its own */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

#include "base/buf.h"
#include "sinks/file_store.h"

#define KIT_FILES 8

/* ---- system calls ---- */

enum kit_call {
    KIT_WRITE,
    KIT_OPEN,
    KIT_OPENAT,
    KIT_RENAME,
    KIT_RENAMEAT,
    KIT_UNLINKAT,
    KIT_MKDIRAT,
    KIT_FSYNC,
    KIT_FDATASYNC,
    KIT_PREAD,
    KIT_CALLS
};

static struct {
    int calls[KIT_CALLS];   /* made so far */
    int fail_at[KIT_CALLS]; /* that call fails; 0: none */
    int fail_errno;
    int all_calls;    /* of any kind that changes the disk */
    int kill_at;      /* at that one the process is killed; 0: never */
    bool kill_behind; /* once it is made; a write: once half of it is made */
    int64_t room;     /* bytes that write() still takes; -1: any number */
    bool dribble;     /* write() takes 7 bytes at most */
    int64_t clock_s;  /* put on top of all clocks */
} kit_faults;

static void kit_reset_faults(void)
{
    memset(&kit_faults, 0, sizeof(kit_faults));
    kit_faults.room = -1;
}

static bool kit_fails(enum kit_call call)
{
    if (++kit_faults.calls[call] == kit_faults.fail_at[call]) {
        errno = kit_faults.fail_errno;
        return true;
    }
    return false;
}

static bool kit_dies_here(void)
{
    return ++kit_faults.all_calls == kit_faults.kill_at;
}

static void kit_die(void)
{
    (void)kill(getpid(), SIGKILL);
}

static int kit_change(enum kit_call call, long number, const long arguments[4])
{
    bool dies = kit_dies_here();
    if (dies && !kit_faults.kill_behind) {
        kit_die();
    }
    if (kit_fails(call)) {
        return -1;
    }
    int rc = (int)syscall(number, arguments[0], arguments[1], arguments[2], arguments[3]);
    if (dies) {
        kit_die();
    }
    return rc;
}

ssize_t write(int fd, const void *bytes, size_t size)
{
    bool dies = kit_dies_here();
    if (dies) {
        if (kit_faults.kill_behind) {
            (void)syscall(SYS_write, fd, bytes, (size + 1) / 2);
        }
        kit_die();
    }
    if (kit_fails(KIT_WRITE)) {
        return -1;
    }
    if (kit_faults.room == 0 && size > 0) {
        errno = ENOSPC;
        return -1;
    }
    size = kit_faults.dribble && size > 7 ? 7 : size;
    size = kit_faults.room > 0 && size > (size_t)kit_faults.room ? (size_t)kit_faults.room : size;
    ssize_t n = syscall(SYS_write, fd, bytes, size);
    kit_faults.room -= kit_faults.room > 0 && n > 0 ? n : 0;
    return n;
}

int open(const char *path, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(list, mode_t) : 0;
    va_end(list);
    return kit_change(KIT_OPEN, SYS_openat, (long[4]){AT_FDCWD, (long)path, flags, (long)mode});
}

int openat(int dir, const char *name, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(list, mode_t) : 0;
    va_end(list);
    return kit_change(KIT_OPENAT, SYS_openat, (long[4]){dir, (long)name, flags, (long)mode});
}

int rename(const char *from, const char *to)
{
    return kit_change(KIT_RENAME, SYS_renameat,
                      (long[4]){AT_FDCWD, (long)from, AT_FDCWD, (long)to});
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    return kit_change(KIT_RENAMEAT, SYS_renameat,
                      (long[4]){from_dir, (long)from, to_dir, (long)to});
}

int unlinkat(int dir, const char *name, int flags)
{
    return kit_change(KIT_UNLINKAT, SYS_unlinkat, (long[4]){dir, (long)name, flags, 0});
}

int mkdirat(int dir, const char *name, mode_t mode)
{
    return kit_change(KIT_MKDIRAT, SYS_mkdirat, (long[4]){dir, (long)name, (long)mode, 0});
}

/* Nothing here outlives the machine. */
int fsync(int fd)
{
    return kit_change(KIT_FSYNC, SYS_fcntl, (long[4]){fd, F_GETFD, 0, 0}) < 0 ? -1 : 0;
}

int fdatasync(int fd)
{
    return kit_change(KIT_FDATASYNC, SYS_fcntl, (long[4]){fd, F_GETFD, 0, 0}) < 0 ? -1 : 0;
}

ssize_t pread(int fd, void *bytes, size_t size, off_t offset)
{
    return kit_fails(KIT_PREAD) ? -1 : syscall(SYS_pread64, fd, bytes, size, offset);
}

time_t time(time_t *ret_time)
{
    struct timespec now;
    (void)syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
    time_t value = now.tv_sec + kit_faults.clock_s;
    if (ret_time != NULL) {
        *ret_time = value;
    }
    return value;
}

int clock_gettime(clockid_t clock, struct timespec *ret_time)
{
    int rc = (int)syscall(SYS_clock_gettime, clock, ret_time);
    ret_time->tv_sec += kit_faults.clock_s;
    return rc;
}

/* ---- a store ---- */

struct kit {
    char dir[64];
    char folder[80];
    char journal[80];
    struct file_store_options options;
    struct file_store *store;
    uint64_t number;           /* of the next record */
    uint64_t lines[KIT_FILES]; /* of each file so far */
    struct error error;
};

static void kit_make(struct kit *kit)
{
    *kit = (struct kit){.dir = "/tmp/test_file.XXXXXX"};
    kit_reset_faults();
    assert_non_null(mkdtemp(kit->dir));
    (void)snprintf(kit->folder, sizeof(kit->folder), "%s/out/", kit->dir);
    (void)snprintf(kit->journal, sizeof(kit->journal), "%s/journal", kit->dir);
}

/* options point into the kit, so they are set again each time. */
static int kit_try_open(struct kit *kit)
{
    kit->options.folder = kit->folder;
    kit->options.journal_path = kit->journal;
    return file_store_create(&kit->options, &kit->store, &kit->error);
}

static void kit_open(struct kit *kit)
{
    if (kit_try_open(kit) != 0) {
        fail_msg("%s", kit->error.text);
    }
}

/* As a kill leaves it: nothing is stored. */
static void kit_drop(struct kit *kit)
{
    file_store_destroy(kit->store);
    kit->store = NULL;
}

static int kit_remove_one(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

static void kit_remove(struct kit *kit)
{
    kit_reset_faults();
    kit_drop(kit);
    assert_int_equal(nftw(kit->dir, kit_remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static const char *kit_path_of(int file)
{
    static const char *const paths[KIT_FILES] = {"a.log",     "b.log",     "x/c.log", "x/d.log",
                                                 "x/y/e.log", "x/z/f.log", "g.log",   "h.log"};
    return paths[file];
}

static size_t kit_line(int file, uint64_t n, char line[256])
{
    int padding = (int)((n * 37 + (uint64_t)file * 11) % 90);
    return (size_t)snprintf(line, 256, "%s %" PRIu64 " %.*s\n", kit_path_of(file), n, padding,
                            "::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::"
                            "::::::::::::::::::::::::::::::");
}

static void kit_add(struct kit *kit, int file)
{
    char line[256];
    size_t size = kit_line(file, kit->lines[file]++, line);
    assert_int_equal(file_store_add(kit->store, kit_path_of(file), kit->number++, line, size), 0);
}

static int kit_try_write(struct kit *kit)
{
    return file_store_write(kit->store, &kit->error);
}

static void kit_write(struct kit *kit)
{
    int rc = kit_try_write(kit);
    if (rc != 0) {
        fail_msg("%d: %s", rc, kit->error.text);
    }
}

/* So many lines for each of the first files, in turn, as one batch. */
static void kit_append(struct kit *kit, int files, int lines)
{
    for (int i = 0; i < lines; i++) {
        for (int file = 0; file < files; file++) {
            kit_add(kit, file);
        }
    }
    kit_write(kit);
}

static void kit_settle(struct kit *kit)
{
    assert_int_equal(file_store_settle(kit->store, kit->number), 0);
}

/* The records from `number` on come again: their lines have the same numbers. */
static void kit_rewind(struct kit *kit, const struct kit *earlier)
{
    kit->number = earlier->number;
    memcpy(kit->lines, earlier->lines, sizeof(kit->lines));
}

/* ---- reading back ---- */

static bool kit_read(const char *path, struct buf *out)
{
    gzFile file = gzopen(path, "rb"); /* reads plain files as they are */
    char block[4096];
    int n;
    if (file == NULL) {
        return false;
    }
    while ((n = gzread(file, block, sizeof(block))) > 0) {
        assert_int_equal(buf_append(out, block, (size_t)n), 0);
    }
    assert_int_equal(n, 0);
    assert_int_equal(gzclose(file), Z_OK);
    return true;
}

static bool kit_exists(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0;
}

/* All of a file, its rotated ones first, whether compressed or not; as a reader of the folder sees
 * it. Returns how many rotated files there are. */
static int kit_gather(const struct kit *kit, const char *path, struct buf *out)
{
    char name[256];
    int rotated = 0;
    for (int number = 40; number > 0; number--) {
        (void)snprintf(name, sizeof(name), "%s%s.%d", kit->folder, path, number);
        bool found = kit_exists(name) && kit_read(name, out);
        (void)snprintf(name, sizeof(name), "%s%s.%d.gz", kit->folder, path, number);
        found = (kit_exists(name) && kit_read(name, out)) || found;
        rotated += found;
    }
    (void)snprintf(name, sizeof(name), "%s%s", kit->folder, path);
    (void)kit_read(name, out);
    return rotated;
}

/* The text from line `first` to the last one; NULL when it is exactly this, else what is wrong. */
static const char *kit_fault_of(const struct buf *text, int file, uint64_t first, uint64_t end)
{
    static char fault[200];
    char line[256];
    size_t at = 0;
    for (uint64_t n = first; n < end; n++) {
        size_t size = kit_line(file, n, line);
        if (text->size - at < size || memcmp(text->data + at, line, size) != 0) {
            size_t left = text->size - at;
            (void)snprintf(fault, sizeof(fault), "%s: line %" PRIu64 " of %" PRIu64 " is '%.*s'",
                           kit_path_of(file), n, end, left < 60 ? (int)left : 60,
                           left > 0 ? text->data + at : "");
            return fault;
        }
        at += size;
    }
    if (at != text->size) {
        (void)snprintf(fault, sizeof(fault), "%s: %zu bytes too many: '%.60s'", kit_path_of(file),
                       text->size - at, text->data + at);
        return fault;
    }
    return NULL;
}

static const char *kit_fault(const struct kit *kit, int files)
{
    const char *fault = NULL;
    for (int file = 0; fault == NULL && file < files; file++) {
        struct buf text;
        buf_init(&text, 0);
        (void)kit_gather(kit, kit_path_of(file), &text);
        assert_non_null(buf_terminated(&text));
        fault = kit_fault_of(&text, file, 0, kit->lines[file]);
        buf_finish(&text);
    }
    return fault;
}

/* Each line once, in order. */
static void kit_check(const struct kit *kit, int files)
{
    const char *fault = kit_fault(kit, files);
    if (fault != NULL) {
        fail_msg("%s", fault);
    }
}
