/* The whole file is read before anything is done with it. */
#include "backends_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/str.h"

#define BACKENDS_LIMIT 1000
#define FILE_LIMIT_BYTES ((size_t)1024 * 1024)
#define WEIGHT_PREFIX "weight="
#define BLANKS " \t\r"

struct specs {
    struct upstream_spec *items; /* the texts are parts of the file's */
    size_t count, capacity;
};

static int add_spec(struct specs *specs, const struct upstream_spec *spec)
{
    if (specs->count == specs->capacity) {
        size_t capacity = specs->capacity * 2 + 16;
        struct upstream_spec *items = realloc(specs->items, capacity * sizeof(*items));
        if (items == NULL) {
            return -ENOMEM;
        }
        specs->items = items;
        specs->capacity = capacity;
    }
    specs->items[specs->count++] = *spec;
    return 0;
}

/* Cuts the next word off; NULL when there is none. */
static char *next_word(char **text)
{
    char *word = *text + strspn(*text, BLANKS);
    size_t size = strcspn(word, BLANKS);
    *text = word + size;
    if (**text != '\0') {
        *(*text)++ = '\0';
    }
    return size > 0 ? word : NULL;
}

/* It can be connected to, and is not there yet. */
static int check_address(const struct hostport *hostport, const struct specs *specs,
                         struct error *error)
{
    struct hostport other;
    if (specs->count == BACKENDS_LIMIT) {
        error_set(error, "more than %d backends", BACKENDS_LIMIT);
        return -E2BIG;
    }
    if (hostport->host[0] == '\0' || hostport->port == 0) {
        error_set(error, "a backend is HOST:PORT, with a port from 1 to 65535");
        return -EINVAL;
    }
    for (size_t i = 0; i < specs->count; i++) {
        if (hostport_parse(specs->items[i].host_port, &other, NULL) == 0 &&
            other.port == hostport->port && strcmp(other.host, hostport->host) == 0) {
            error_set(error, "%s is there twice", specs->items[i].host_port);
            return -EINVAL;
        }
    }
    return 0;
}

static int parse_line(char *line, struct specs *specs, struct error *error)
{
    line[strcspn(line, "#")] = '\0';
    struct hostport hostport;
    struct upstream_spec spec = {.host_port = next_word(&line), .weight = 1};
    if (spec.host_port == NULL) {
        return 0;
    }
    int rc = hostport_parse(spec.host_port, &hostport, error);
    rc = rc != 0 ? rc : check_address(&hostport, specs, error);
    for (char *word; rc == 0 && (word = next_word(&line)) != NULL;) {
        uint64_t weight = 0;
        if (!str_starts_with(word, WEIGHT_PREFIX) ||
            str_parse_u64(word + strlen(WEIGHT_PREFIX), &weight) != 0 || weight == 0 ||
            weight > 1000) {
            error_set(error,
                      "'%.40s' is not understood; behind HOST:PORT may stand weight=1 to "
                      "weight=1000",
                      word);
            rc = -EINVAL;
        }
        spec.weight = (uint32_t)weight;
    }
    return rc != 0 ? rc : add_spec(specs, &spec);
}

static int parse(char *text, struct specs *specs, struct error *error)
{
    int rc = 0;
    for (unsigned number = 1; rc == 0 && text != NULL; number++) {
        char *line = strsep(&text, "\n");
        rc = parse_line(line, specs, error);
        if (rc != 0) {
            error_prefix(error, "line %u", number);
        }
    }
    return rc;
}

static int read_file(const char *path, struct buf *out)
{
    char block[4096];
    ssize_t n;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    int rc = 0;
    while (rc == 0 && (n = read(fd, block, sizeof(block))) != 0) {
        rc = n < 0 ? -errno : buf_append(out, block, (size_t)n);
    }
    (void)close(fd);
    return rc;
}

int backends_file_load(const char *path, struct upstream *upstream, struct error *error)
{
    struct buf text;
    struct specs specs = {.items = NULL};
    buf_init(&text, FILE_LIMIT_BYTES);
    int rc = read_file(path, &text);
    if (rc == 0 && buf_terminated(&text) == NULL) {
        rc = -ENOMEM;
    }
    if (rc != 0) {
        error_set(error, "%s", strerror(-rc));
    } else if (strlen(text.data) != text.size) {
        error_set(error, "it has a NUL byte; it must be text");
        rc = -EINVAL;
    }
    rc = rc != 0 ? rc : parse(text.data, &specs, error);
    if (rc == 0 && specs.count == 0) {
        error_set(error, "it names no backend");
        rc = -EINVAL;
    }
    rc = rc != 0 ? rc : upstream_set(upstream, specs.items, specs.count, error);
    if (rc != 0) {
        error_prefix(error, "%s", path);
    }
    free(specs.items);
    buf_finish(&text);
    return rc;
}

struct backends_file_stamp backends_file_look(const char *path)
{
    struct stat status;
    struct backends_file_stamp stamp = {0};
    if (stat(path, &status) == 0) {
        stamp.inode = status.st_ino;
        stamp.size = (uint64_t)status.st_size;
        stamp.changed_ns = (int64_t)status.st_mtim.tv_sec * 1000000000 + status.st_mtim.tv_nsec;
    }
    return stamp;
}

bool backends_file_same(const struct backends_file_stamp *a, const struct backends_file_stamp *b)
{
    return a->inode == b->inode && a->size == b->size && a->changed_ns == b->changed_ns;
}
