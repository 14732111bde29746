/* An array of pointers by fd. An inode tells whether a number still names the counted socket. */
#include "net/sockets.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

void sockets_init(struct sockets *sockets)
{
    *sockets = (struct sockets){0};
    list_init(&sockets->opened.link);
    list_init(&sockets->closed.link);
    list_init(&sockets->repaired.link);
}

int sockets_register_metrics(struct sockets *sockets, struct metrics *metrics)
{
    int rc = metrics_add(
        metrics, &sockets->opened,
        &(struct metric_desc){.name = "log_capturer_docker_http_connections_opened_total",
                              .help = "Sockets opened to daemons."});
    if (rc == 0) {
        rc = metrics_add(
            metrics, &sockets->closed,
            &(struct metric_desc){.name = "log_capturer_docker_http_connections_closed_total",
                                  .help = "Sockets to daemons closed."});
    }
    if (rc == 0) {
        rc = metrics_add(
            metrics, &sockets->repaired,
            &(struct metric_desc){.name = "log_capturer_docker_http_connections_repaired_total",
                                  .help = "Sockets found closed without having been counted."});
    }
    return rc;
}

void sockets_finish(struct sockets *sockets)
{
    metric_finish(&sockets->opened);
    metric_finish(&sockets->closed);
    metric_finish(&sockets->repaired);
    for (size_t i = 0; i < sockets->capacity; i++) {
        if (sockets->entries[i] != NULL) {
            loop_fd_remove(&sockets->entries[i]->source);
            free(sockets->entries[i]);
        }
    }
    free(sockets->entries);
    *sockets = (struct sockets){0};
}

static int make_room(struct sockets *sockets, size_t index)
{
    if (index < sockets->capacity) {
        return 0;
    }
    size_t capacity = sockets->capacity == 0 ? 64 : sockets->capacity;
    while (capacity <= index) {
        capacity *= 2;
    }
    struct socket_entry **entries = realloc(sockets->entries,
                                            capacity * sizeof(struct socket_entry *));
    if (entries == NULL) {
        return -ENOMEM;
    }
    for (size_t i = sockets->capacity; i < capacity; i++) {
        entries[i] = NULL;
    }
    sockets->entries = entries;
    sockets->capacity = capacity;
    return 0;
}

struct socket_entry *sockets_entry(struct sockets *sockets, int fd)
{
    size_t index = (size_t)fd;
    if (fd < 0 || make_room(sockets, index) != 0) {
        return NULL;
    }
    if (sockets->entries[index] == NULL) {
        sockets->entries[index] = calloc(1, sizeof(struct socket_entry));
    }
    return sockets->entries[index];
}

static ino_t inode_of(int fd)
{
    struct stat status;
    return fstat(fd, &status) == 0 ? status.st_ino : 0;
}

static void count_closed(struct sockets *sockets, struct socket_entry *entry)
{
    entry->open = false;
    (*entry->owned)--;
    sockets->open_count--;
    metric_add(&sockets->closed, 1);
}

int sockets_open(struct sockets *sockets, const struct socket_kind *kind, uint32_t *owned)
{
    int fd = socket(kind->family, kind->type | SOCK_CLOEXEC, kind->protocol);
    if (fd < 0) {
        return -1;
    }
    struct socket_entry *entry = sockets_entry(sockets, fd);
    if (entry == NULL) {
        (void)close(fd);
        errno = ENOMEM;
        return -1;
    }
    if (entry->open) { /* its close was missed, and the kernel gave the number again */
        count_closed(sockets, entry);
        metric_add(&sockets->repaired, 1);
    }
    entry->open = true;
    entry->owned = owned;
    (*owned)++;
    entry->inode = inode_of(fd);
    sockets->open_count++;
    metric_add(&sockets->opened, 1);
    return fd;
}

void sockets_disown(struct sockets *sockets, const uint32_t *owned)
{
    for (size_t fd = 0; fd < sockets->capacity; fd++) {
        struct socket_entry *entry = sockets->entries[fd];
        if (entry != NULL && entry->open && entry->owned == owned) {
            entry->owned = &sockets->nobodys;
            sockets->nobodys++;
        }
    }
}

void sockets_close(struct sockets *sockets, int fd)
{
    if (fd >= 0 && (size_t)fd < sockets->capacity && sockets->entries[fd] != NULL) {
        struct socket_entry *entry = sockets->entries[fd];
        loop_fd_remove(&entry->source);
        entry->paced = false; /* close() takes it out of the epoll set */
        entry->want = 0;
        if (entry->open) {
            count_closed(sockets, entry);
        }
    }
    (void)close(fd);
}

void sockets_reconcile(struct sockets *sockets)
{
    for (size_t fd = 0; fd < sockets->capacity; fd++) {
        struct socket_entry *entry = sockets->entries[fd];
        if (entry != NULL && entry->open && inode_of((int)fd) != entry->inode) {
            count_closed(sockets, entry);
            metric_add(&sockets->repaired, 1);
        }
    }
}
