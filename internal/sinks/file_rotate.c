/*
 * Rotation: `name` becomes `name.1`, what was `.1` becomes `.2`, and so on; compressed ones end in
 * `.gz`. The renames go from the last to the first, so a kill leaves a hole and never two files of one
 * number; a hole ends the next shift.
 *
 * Compression runs in steps between batches: `name.1` is read, `name.1.gz.tmp` is written, synced
 * and renamed, then `name.1` is removed. What a kill or a stop breaks off is taken up at the next start.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include "base/log.h"
#include "base/timestamp.h"
#include "sinks/file_private.h"

#define NAME_BYTES 320
#define NUMBER_LIMIT 100000U
#define BLOCK_BYTES 65536
#define STEP_BLOCKS 16 /* 1 MiB at a time */
#define GZIP_WINDOW_BITS (15 + 16)

struct rotated {
    char plain[NAME_BYTES];
    char gzip[NAME_BYTES];
};

static void make_names(const struct file *file, unsigned number, struct rotated *ret_names)
{
    (void)snprintf(ret_names->plain, NAME_BYTES, "%.255s.%u", file_name(file), number);
    (void)snprintf(ret_names->gzip, NAME_BYTES, "%.255s.%u.gz", file_name(file), number);
}

static bool exists(int dir_fd, const char *name, struct stat *ret_info)
{
    return fstatat(dir_fd, name, ret_info, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool number_exists(int dir_fd, const struct file *file, unsigned number)
{
    struct rotated names = {"", ""};
    struct stat info;
    make_names(file, number, &names);
    return exists(dir_fd, names.plain, &info) || exists(dir_fd, names.gzip, &info);
}

static void remove_number(int dir_fd, const struct file *file, unsigned number)
{
    struct rotated names = {"", ""};
    make_names(file, number, &names);
    (void)unlinkat(dir_fd, names.plain, 0);
    (void)unlinkat(dir_fd, names.gzip, 0);
}

static int move_number(int dir_fd, const struct file *file, unsigned number)
{
    struct rotated from;
    struct rotated to;
    struct stat info;
    make_names(file, number, &from);
    make_names(file, number + 1, &to);
    if (exists(dir_fd, from.gzip, &info)) {
        (void)unlinkat(dir_fd, from.plain, 0); /* compressed whole before the kill */
        return renameat(dir_fd, from.gzip, dir_fd, to.gzip) != 0 ? -errno : 0;
    }
    return renameat(dir_fd, from.plain, dir_fd, to.plain) != 0 ? -errno : 0;
}

static bool is_too_old(const struct file_store *store, int dir_fd, const struct file *file,
                       unsigned number)
{
    struct rotated names = {"", ""};
    struct stat info;
    make_names(file, number, &names);
    return store->options.keep_age_ns > 0 &&
           (exists(dir_fd, names.plain, &info) || exists(dir_fd, names.gzip, &info)) &&
           time(NULL) - info.st_mtime > store->options.keep_age_ns / NS_PER_SECOND;
}

/* Makes room for a new `.1`. */
static int shift(const struct file_store *store, int dir_fd, const struct file *file)
{
    uint64_t keep = store->options.keep;
    unsigned count = 0;
    while (count < NUMBER_LIMIT && number_exists(dir_fd, file, count + 1)) {
        count++;
    }
    while (count > 0 && ((keep > 0 && count >= keep) || is_too_old(store, dir_fd, file, count))) {
        remove_number(dir_fd, file, count--);
    }
    int rc = 0;
    for (unsigned number = count; rc == 0 && number > 0; number--) {
        rc = move_number(dir_fd, file, number);
    }
    return rc;
}

static int move_aside(const struct file_store *store, int dir_fd, const struct file *file)
{
    struct rotated first = {"", ""};
    int rc = shift(store, dir_fd, file);
    make_names(file, 1, &first);
    if (rc == 0 && renameat(dir_fd, file_name(file), dir_fd, first.plain) != 0) {
        rc = -errno;
    }
    return rc == 0 && fsync(dir_fd) != 0 ? -errno : rc;
}

int file_rotate(struct file_store *store, struct file *file)
{
    file_shrink_finish(store, file);
    int dir_fd = file_open_folder(store, file);
    if (dir_fd < 0) {
        return dir_fd;
    }
    int rc = move_aside(store, dir_fd, file);
    (void)close(dir_fd);
    if (rc != 0) {
        return rc;
    }
    if (store->options.gzip) {
        list_append(&store->to_shrink, &file->to_shrink);
    }
    file_close(store, file);
    file->rotated = true;
    return file_open(store, file);
}

void file_rotate_resume(struct file_store *store, struct file *file)
{
    struct rotated first = {"", ""};
    struct stat info;
    char temporary[NAME_BYTES + 8];
    int dir_fd = store->options.gzip && file->journaled ? file_open_folder(store, file) : -1;
    if (dir_fd < 0) {
        return;
    }
    make_names(file, 1, &first);
    (void)snprintf(temporary, sizeof(temporary), "%s.tmp", first.gzip);
    (void)unlinkat(dir_fd, temporary, 0);
    if (exists(dir_fd, first.gzip, &info)) {
        (void)unlinkat(dir_fd, first.plain, 0); /* compressed whole */
    } else if (exists(dir_fd, first.plain, &info)) {
        list_append(&store->to_shrink, &file->to_shrink);
    }
    (void)close(dir_fd);
}

/* ---- compression ---- */

struct shrinking {
    struct file *file;
    struct rotated names;
    char temporary[NAME_BYTES + 8];
    int dir_fd, in_fd, out_fd;
    struct stat info;
    z_stream deflate;
    bool deflating;
    unsigned char in[BLOCK_BYTES];
    unsigned char out[BLOCK_BYTES];
};

static void end_shrinking(struct file_store *store, bool complete)
{
    struct shrinking *job = store->shrinking;
    if (job == NULL) {
        return;
    }
    if (job->deflating) {
        (void)deflateEnd(&job->deflate);
    }
    if (!complete && job->dir_fd >= 0) {
        (void)unlinkat(job->dir_fd, job->temporary, 0);
    }
    int fds[] = {job->in_fd, job->out_fd, job->dir_fd};
    for (size_t i = 0; i < 3; i++) {
        if (fds[i] >= 0) {
            (void)close(fds[i]);
        }
    }
    list_remove(&job->file->to_shrink);
    free(job);
    store->shrinking = NULL;
}

static int begin_files(struct file_store *store, struct shrinking *job)
{
    job->dir_fd = file_open_folder(store, job->file);
    if (job->dir_fd < 0) {
        return job->dir_fd;
    }
    job->in_fd = openat(job->dir_fd, job->names.plain, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (job->in_fd < 0 || fstat(job->in_fd, &job->info) != 0) {
        return -errno;
    }
    job->out_fd = openat(job->dir_fd, job->temporary,
                         O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
                         job->info.st_mode & 0777U);
    if (job->out_fd < 0) {
        return -errno;
    }
    job->deflating = deflateInit2(&job->deflate, Z_DEFAULT_COMPRESSION, Z_DEFLATED,
                                  GZIP_WINDOW_BITS, 8, Z_DEFAULT_STRATEGY) == Z_OK;
    return job->deflating ? 0 : -ENOMEM;
}

static int begin_shrinking(struct file_store *store, struct file *file)
{
    struct shrinking *job = calloc(1, sizeof(*job));
    if (job == NULL) {
        return -ENOMEM;
    }
    job->file = file;
    job->dir_fd = -1;
    job->in_fd = -1;
    job->out_fd = -1;
    store->shrinking = job;
    make_names(file, 1, &job->names);
    (void)snprintf(job->temporary, sizeof(job->temporary), "%s.tmp", job->names.gzip);
    return begin_files(store, job);
}

static int write_all(int fd, const unsigned char *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = write(fd, bytes + done, size - done);
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

/* One block; 1 when the end is written. */
static int shrink_block(struct shrinking *job)
{
    ssize_t n = read(job->in_fd, job->in, sizeof(job->in));
    if (n < 0) {
        return errno == EINTR ? 0 : -errno;
    }
    job->deflate.next_in = job->in;
    job->deflate.avail_in = (unsigned)n;
    int state;
    do {
        job->deflate.next_out = job->out;
        job->deflate.avail_out = sizeof(job->out);
        state = deflate(&job->deflate, n == 0 ? Z_FINISH : Z_NO_FLUSH);
        int rc = write_all(job->out_fd, job->out, sizeof(job->out) - job->deflate.avail_out);
        if (rc != 0) {
            return rc;
        }
    } while (state != Z_STREAM_END && (job->deflate.avail_out == 0 || job->deflate.avail_in > 0));
    return state == Z_STREAM_END ? 1 : 0;
}

static int complete(struct shrinking *job)
{
    const struct timespec times[] = {job->info.st_atim, job->info.st_mtim};
    (void)futimens(job->out_fd, times);
    if (fsync(job->out_fd) != 0 ||
        renameat(job->dir_fd, job->temporary, job->dir_fd, job->names.gzip) != 0 ||
        unlinkat(job->dir_fd, job->names.plain, 0) != 0) {
        return -errno;
    }
    return 0;
}

bool file_shrink_step(struct file_store *store)
{
    if (store->shrinking == NULL && list_empty(&store->to_shrink)) {
        return false;
    }
    int rc = 0;
    if (store->shrinking == NULL) {
        rc = begin_shrinking(store, container_of(store->to_shrink.next, struct file, to_shrink));
    }
    for (int i = 0; rc == 0 && i < STEP_BLOCKS; i++) {
        rc = shrink_block(store->shrinking);
    }
    if (rc == 1) {
        rc = complete(store->shrinking);
        rc = rc == 0 ? 1 : rc;
    }
    if (rc < 0) {
        log_warn("file sink: %s.1 stays uncompressed: %s",
                 container_of(store->to_shrink.next, struct file, to_shrink)->path, strerror(-rc));
    }
    if (rc != 0) {
        if (store->shrinking == NULL) { /* without memory */
            list_remove(store->to_shrink.next);
        }
        end_shrinking(store, rc == 1);
    }
    return store->shrinking != NULL || !list_empty(&store->to_shrink);
}

void file_shrink_finish(struct file_store *store, struct file *file)
{
    if (list_empty(&file->to_shrink)) {
        return;
    }
    if (store->shrinking == NULL || store->shrinking->file != file) { /* begins with this one */
        file_shrink_abort(store);
        list_remove(&file->to_shrink);
        struct list rest = {&rest, &rest};
        list_splice(&rest, &store->to_shrink);
        list_append(&store->to_shrink, &file->to_shrink);
        list_splice(&store->to_shrink, &rest);
    }
    while (!list_empty(&file->to_shrink)) {
        (void)file_shrink_step(store);
    }
}

void file_shrink_abort(struct file_store *store)
{
    struct shrinking *job = store->shrinking;
    if (job != NULL) {
        struct file *file = job->file;
        end_shrinking(store, false);
        list_append(&store->to_shrink, &file->to_shrink); /* from its beginning, later */
    }
}
