/*
 * Writing. Lines are gathered per file, so that a batch of many containers costs one write for each
 * file. A file that was quiet for CLOSE_NS is closed; at most OPEN_LIMIT are open. One that was quiet for COLD_NS leaves the table and the journal; when it comes back it begins with
 * what it has then.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/timestamp.h"
#include "sinks/file_journal.h"
#include "sinks/file_private.h"

#define OPEN_LIMIT 128
#define CLOSE_NS (5 * NS_PER_SECOND)
#define COLD_NS (600 * NS_PER_SECOND)
#define COMPARE_BYTES 16384
#define TAKEN_KEPT_BYTES 32768
#define COLD_FILES 20000 /* beyond these rotate_age does not keep a quiet file in the table */
#define FILE_MODE 0640
#define FOLDER_MODE 0750

static int64_t monotonic_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

static int64_t wall_s(void)
{
    return (int64_t)time(NULL);
}

const char *file_name(const struct file *file)
{
    const char *slash = strrchr(file->path, '/');
    return slash == NULL ? file->path : slash + 1;
}

/* ---- the table ---- */

static struct file *add_file(struct file_store *store, const char *path)
{
    size_t size = strlen(path) + 1;
    struct file *file = calloc(1, sizeof(*file) + size);
    if (file != NULL) {
        memcpy(file->path, path, size);
        file->fd = -1;
        list_init(&file->used);
        list_init(&file->touched);
        list_init(&file->to_shrink);
        buf_init(&file->taken, 0);
        map_insert(&store->files, &file->node, file->path);
    }
    return file;
}

static void drop_file(struct file_store *store, struct file *file)
{
    file_close(store, file);
    map_remove(&store->files, &file->node);
    list_remove(&file->touched);
    list_remove(&file->to_shrink);
    buf_finish(&file->taken);
    free(file->lines);
    free(file);
}

/* ---- opening ---- */

/* Returns a descriptor or a negative errno. */
static int make_folder(const char *path)
{
    char part[4096];
    for (const char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        (void)snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
        if (mkdir(part, FOLDER_MODE) != 0 && errno != EEXIST) {
            return -errno;
        }
    }
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* The folder of the file, made where it is missing. Returns a descriptor or a negative errno. */
int file_open_folder(const struct file_store *store, const struct file *file)
{
    int fd = fcntl(store->folder_fd, F_DUPFD_CLOEXEC, 0);
    const char *part = file->path;
    for (const char *slash; fd >= 0 && (slash = strchr(part, '/')) != NULL; part = slash + 1) {
        char name[256];
        if (slash - part >= (int)sizeof(name)) {
            (void)close(fd);
            return -ENAMETOOLONG;
        }
        (void)snprintf(name, sizeof(name), "%.*s", (int)(slash - part), part);
        if (mkdirat(fd, name, FOLDER_MODE) != 0 && errno != EEXIST) {
            int rc = -errno;
            (void)close(fd);
            return rc;
        }
        int next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int saved = errno;
        (void)close(fd);
        errno = saved;
        fd = next;
    }
    return fd < 0 ? -errno : fd;
}

/* Bytes of somebody else are there: lines go behind them, on a line of their own. */
static void begin_behind(struct file *file, uint64_t end)
{
    char last = '\n';
    file->bytes = end;
    file->needs_newline = end > 0 && pread(file->fd, &last, 1, (off_t)end - 1) == 1 && last != '\n';
}

/*
 * What the descriptor shows, against what is known of the file. Another inode than the journal's, when
 * this process opens it first: it was begun after the journal was stored. Later, or a file that got
 * shorter: somebody else changed it, and the journal is stored before lines go there.
 */
static void reconcile(struct file_store *store, struct file *file, const struct stat *info)
{
    uint64_t end = (uint64_t)info->st_size;
    if (info->st_ino != file->inode) {
        bool begun_by_us = file->journaled && (!file->seen || file->rotated);
        file->inode = info->st_ino;
        file->begun_s = wall_s();
        file->journaled = begun_by_us;
        file->bytes = 0;
        if (!begun_by_us) {
            begin_behind(file, end);
        }
        store->changed = true;
    } else if (file->bytes > end) {
        begin_behind(file, end);
        file->journaled = false;
        store->changed = true;
    }
    file->end = end;
    file->seen = true;
    file->rotated = false;
}

/* Those that are not written any more; the number of open files follows the containers that write. */
static void close_idle(struct file_store *store)
{
    int64_t now_ns = monotonic_ns();
    while (!list_empty(&store->used)) {
        struct file *oldest = container_of(store->used.next, struct file, used);
        if (now_ns - oldest->used_ns < CLOSE_NS && store->open_count < OPEN_LIMIT) {
            return;
        }
        file_close(store, oldest);
    }
}

static int open_in(int dir_fd, struct file *file, struct stat *ret_info)
{
    file->fd = openat(dir_fd, file_name(file), O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC,
                      FILE_MODE);
    if (file->fd < 0) {
        return -errno;
    }
    int rc = fstat(file->fd, ret_info) != 0 ? -errno : S_ISREG(ret_info->st_mode) ? 0 : -EINVAL;
    if (rc != 0) {
        (void)close(file->fd);
        file->fd = -1;
    }
    return rc;
}

static int open_by_path(const struct file_store *store, struct file *file, struct stat *ret_info)
{
    int dir_fd = file_open_folder(store, file);
    if (dir_fd < 0) {
        return dir_fd;
    }
    int rc = open_in(dir_fd, file, ret_info);
    (void)close(dir_fd);
    return rc;
}

/* The folder was removed, or could not be made until now. */
static int renew_folder(struct file_store *store)
{
    int fd = make_folder(store->options.folder);
    if (fd < 0) {
        return fd;
    }
    if (store->folder_fd >= 0) {
        (void)close(store->folder_fd);
    }
    store->folder_fd = fd;
    return 0;
}

int file_open(struct file_store *store, struct file *file)
{
    struct stat info = {0};
    file->used_ns = monotonic_ns();
    if (file->fd >= 0) {
        /* Moved away or removed by somebody else: the path is begun again. */
        if (fstatat(store->folder_fd, file->path, &info, AT_SYMLINK_NOFOLLOW) == 0 &&
            info.st_ino == file->inode && (uint64_t)info.st_size >= file->bytes) {
            list_remove(&file->used);
            list_append(&store->used, &file->used);
            return 0;
        }
        file_close(store, file);
    }
    close_idle(store);
    int rc = store->folder_fd >= 0 ? open_by_path(store, file, &info) : -ENOENT;
    if (rc == -ENOENT) {
        rc = renew_folder(store);
        rc = rc != 0 ? rc : open_by_path(store, file, &info);
    }
    if (rc == 0) {
        reconcile(store, file, &info);
        list_append(&store->used, &file->used);
        store->open_count++;
    }
    return rc;
}

void file_close(struct file_store *store, struct file *file)
{
    if (file->fd >= 0) {
        if (file->dirty && fdatasync(file->fd) != 0) {
            log_warn("file sink: %s: %s", file->path, strerror(errno));
        }
        file->dirty = false;
        (void)close(file->fd);
        file->fd = -1;
        list_remove(&file->used);
        store->open_count--;
    }
}

/* ---- the journal ---- */

int file_store_journal(struct file_store *store)
{
    struct buf text;
    buf_init(&text, 0);
    int rc = file_journal_begin(&text, store->options.folder);
    for (struct map_node *node = map_next(&store->files, NULL); rc == 0 && node != NULL;
         node = map_next(&store->files, node)) {
        const struct file *file = container_of(node, struct file, node);
        if (file->inode != 0) {
            rc = file_journal_add(&text,
                                  &(struct file_journal_entry){.inode = file->inode,
                                                               .bytes = file->bytes,
                                                               .next_record = file->next_record,
                                                               .begun_s = file->begun_s,
                                                               .path = file->path});
        }
    }
    rc = rc != 0 ? rc : file_journal_store(&text, store->options.journal_path);
    buf_finish(&text);
    for (struct map_node *node = map_next(&store->files, NULL); rc == 0 && node != NULL;
         node = map_next(&store->files, node)) {
        struct file *file = container_of(node, struct file, node);
        file->journaled = file->inode != 0;
    }
    store->changed = store->changed && rc != 0;
    return rc;
}

static int take_entry(const struct file_journal_entry *entry, void *data)
{
    struct file_store *store = data;
    struct file *file = map_find(&store->files, entry->path) != NULL ? NULL
                                                                     : add_file(store, entry->path);
    if (file == NULL) {
        return -ENOMEM;
    }
    file->next_record = entry->next_record;
    file->used_ns = monotonic_ns();
    if (entry->same_folder) {
        file->inode = entry->inode;
        file->bytes = entry->bytes;
        file->end = entry->bytes;
        file->begun_s = entry->begun_s;
        file->journaled = true;
    }
    return 0;
}

/* ---- taking and writing ---- */

int file_store_add(struct file_store *store, const char *path, uint64_t number, const char *line,
                   size_t size)
{
    struct map_node *node = map_find(&store->files, path);
    struct file *file = node != NULL ? container_of(node, struct file, node)
                                     : add_file(store, path);
    if (file == NULL) {
        return -ENOMEM;
    }
    if (number < file->next_record) {
        return 0;
    }
    if (file->line_count == file->line_capacity) {
        size_t capacity = file->line_capacity == 0 ? 64 : file->line_capacity * 2;
        struct file_line *lines = realloc(file->lines, capacity * sizeof(*lines));
        if (lines == NULL) {
            return -ENOMEM;
        }
        file->lines = lines;
        file->line_capacity = capacity;
    }
    int rc = buf_append(&file->taken, line, size);
    if (rc == 0) {
        file->lines[file->line_count++] = (struct file_line){file->taken.size, number};
        list_remove(&file->touched);
        list_append(&store->touched, &file->touched);
    }
    return rc;
}

/* How many of these bytes the file has already behind what is accounted for; 0 where it has others, or
 * a negative errno. */
static int64_t bytes_there(const struct file *file, const char *bytes, size_t size)
{
    uint64_t more = file->end - file->bytes;
    size_t same = more < size ? (size_t)more : size;
    for (size_t at = 0; at < same;) {
        char block[COMPARE_BYTES];
        size_t part = same - at < sizeof(block) ? same - at : sizeof(block);
        ssize_t n = pread(file->fd, block, part, (off_t)(file->bytes + at));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : -EIO; /* it got shorter: the next attempt sees that */
        }
        if (memcmp(block, bytes + at, (size_t)n) != 0) {
            return 0;
        }
        at += (size_t)n;
    }
    return (int64_t)same;
}

static int write_out(struct file *file, const char *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = write(file->fd, bytes + done, size - done);
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        if (n > 0) {
            done += (size_t)n;
            file->end += (uint64_t)n;
            file->dirty = true;
        }
    }
    return 0;
}

static int append(struct file_store *store, struct file *file, const char *bytes, size_t size)
{
    int64_t there = 0;
    if (file->end > file->bytes) {
        there = bytes_there(file, bytes, size);
        if (there < 0) {
            return (int)there;
        }
        if (there == 0) {
            log_warn("file sink: %s ends in bytes of somebody else; lines are put behind them",
                     file->path);
            begin_behind(file, file->end);
            int rc = file_store_journal(
                store); /* so that a kill does not compare with them again */
            if (rc != 0) {
                return rc;
            }
        }
    }
    if (file->needs_newline) {
        int rc = write_out(file, "\n", 1);
        if (rc != 0) {
            return rc;
        }
        file->needs_newline = false;
        file->bytes = file->end;
    }
    int rc = write_out(file, bytes + there, size - (size_t)there);
    if (rc == 0) {
        file->bytes += size;
    }
    return rc;
}

static bool is_old(const struct file_store *store, const struct file *file)
{
    return store->options.rotate_age_ns > 0 && file->bytes > 0 &&
           wall_s() - file->begun_s >= store->options.rotate_age_ns / NS_PER_SECOND;
}

static int rotate_now(struct file_store *store, struct file *file)
{
    int rc = fdatasync(file->fd) != 0 ? -errno : 0;
    file->dirty = file->dirty && rc != 0;
    rc = rc != 0 ? rc : file_store_journal(store);
    return rc != 0 ? rc : file_rotate(store, file);
}

/* Lines from `from` that still fit, at least one; returns the index behind them. */
static size_t lines_that_fit(const struct file_store *store, const struct file *file, size_t from)
{
    size_t begin = from == 0 ? 0 : file->lines[from - 1].end;
    size_t to = from + 1;
    while (to < file->line_count &&
           (store->options.rotate_bytes == 0 ||
            file->bytes + (file->lines[to].end - begin) <= store->options.rotate_bytes)) {
        to++;
    }
    return to;
}

static int write_file(struct file_store *store, struct file *file)
{
    int rc = 0;
    for (size_t from = 0; rc == 0 && from < file->line_count;) {
        size_t begin = from == 0 ? 0 : file->lines[from - 1].end;
        size_t line = file->lines[from].end - begin;
        bool large = store->options.rotate_bytes > 0 && file->bytes > 0 &&
                     file->bytes + line > store->options.rotate_bytes;
        /* Not before what is there was compared: it belongs to this file. */
        if (file->end == file->bytes && (large || is_old(store, file))) {
            rc = rotate_now(store, file);
        }
        if (rc == 0) {
            size_t to = lines_that_fit(store, file, from);
            rc = append(store, file, file->taken.data + begin, file->lines[to - 1].end - begin);
            if (rc == 0) {
                file->next_record = file->lines[to - 1].number + 1;
                store->changed = true;
                from = to;
            }
        }
    }
    return rc;
}

/* Opens what is to be written; then all of it is in the stored journal. */
static int open_touched(struct file_store *store, struct file **ret_file)
{
    bool unknown = false;
    for (struct list *link = store->touched.next; link != &store->touched; link = link->next) {
        struct file *file = container_of(link, struct file, touched);
        *ret_file = file;
        int rc = file_open(store, file);
        if (rc != 0) {
            return rc;
        }
        unknown = unknown || !file->journaled;
    }
    return unknown ? file_store_journal(store) : 0;
}

/* The memory too, where it was much: there may be a file for each of a thousand containers. */
static void forget_taken(struct file *file)
{
    buf_clear(&file->taken);
    file->line_count = 0;
    if (file->taken.capacity > TAKEN_KEPT_BYTES) {
        buf_finish(&file->taken);
        free(file->lines);
        file->lines = NULL;
        file->line_capacity = 0;
    }
}

int file_store_write(struct file_store *store, struct error *error)
{
    struct file *file = NULL;
    int rc = open_touched(store, &file);
    while (!list_empty(&store->touched)) {
        struct file *next = container_of(store->touched.next, struct file, touched);
        if (rc == 0) {
            file = next;
            rc = file_open(store, file); /* the limit may have closed it meanwhile */
            rc = rc != 0 ? rc : write_file(store, file);
        }
        list_remove(&next->touched);
        forget_taken(next);
    }
    if (rc != 0) {
        error_set(error, "%s%s: %s", store->options.folder, file != NULL ? file->path : "",
                  strerror(-rc));
    }
    return rc;
}

/* The journal knows since when a file is written to, which rotate_age needs. */
static bool is_cold(const struct file_store *store, const struct file *file, uint64_t next_record,
                    int64_t now_ns)
{
    if (store->options.rotate_age_ns > 0 && store->files.size < COLD_FILES) {
        return false;
    }
    return !file->dirty && file->bytes == file->end && file->next_record <= next_record &&
           now_ns - file->used_ns > COLD_NS && list_empty(&file->to_shrink);
}

int file_store_settle(struct file_store *store, uint64_t next_record)
{
    int rc = 0;
    int64_t now_ns = monotonic_ns();
    for (struct map_node *node = map_next(&store->files, NULL); node != NULL;) {
        struct file *file = container_of(node, struct file, node);
        node = map_next(&store->files, node);
        if (file->dirty) {
            int failed = fdatasync(file->fd) != 0 ? -errno : 0;
            file->dirty = failed != 0;
            rc = rc != 0 ? rc : failed;
        } else if (is_cold(store, file, next_record, now_ns)) {
            drop_file(store, file);
            store->changed = true;
        }
    }
    return rc == 0 && store->changed ? file_store_journal(store) : rc;
}

bool file_store_work(struct file_store *store)
{
    close_idle(store);
    return file_shrink_step(store);
}

/* ---- life ---- */

/* A folder that can't be made now is tried again with the first line. */
static void begin_store(struct file_store *store)
{
    struct error damage;
    (void)renew_folder(store);
    int rc = file_journal_read(store->options.journal_path, store->options.folder, take_entry,
                               store, &damage);
    if (rc != 0 && rc != -ENOENT) {
        log_warn("file sink: %s; the lines of up to a second may be there twice", damage.text);
    }
    for (struct map_node *node = map_next(&store->files, NULL);
         node != NULL && store->folder_fd >= 0; node = map_next(&store->files, node)) {
        file_rotate_resume(store, container_of(node, struct file, node));
    }
}

int file_store_create(const struct file_store_options *options, struct file_store **ret_store,
                      struct error *error)
{
    struct file_store *store = calloc(1, sizeof(*store));
    if (store == NULL || map_init(&store->files) != 0) {
        free(store);
        error_set(error, "out of memory");
        return -ENOMEM;
    }
    store->options = *options;
    store->folder_fd = -1;
    list_init(&store->used);
    list_init(&store->touched);
    list_init(&store->to_shrink);
    begin_store(store);
    *ret_store = store;
    return 0;
}

void file_store_destroy(struct file_store *store)
{
    if (store == NULL) {
        return;
    }
    file_shrink_abort(store);
    for (struct map_node *node = map_next(&store->files, NULL); node != NULL;) {
        struct file *file = container_of(node, struct file, node);
        node = map_next(&store->files, node);
        drop_file(store, file);
    }
    map_finish(&store->files);
    if (store->folder_fd >= 0) {
        (void)close(store->folder_fd);
    }
    free(store);
}
