/* Each connection belongs to the thread that accepted it. What can't be written yet is kept, and nothing is
 * read meanwhile. */
#include "echo.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/list.h"
#include "loop/loop.h"
#include "loop/task.h"
#include "net/address.h"

#define BUFFER_BYTES ((size_t)128 * 1024)
#define BACKLOG 4096
#define ACCEPT_BUDGET 16
#define READ_BUDGET 16

struct echo_thread {
    struct echo *echo;
    struct loop *loop;
    struct loop_fd listener;
    struct loop_post stop;
    struct list guests;
    pthread_t thread;
    bool running;
    char *buffer;
};

struct echo {
    int fd;
    _Atomic uint64_t accepted;
    unsigned thread_count;
    struct echo_thread threads[];
};

struct guest {
    struct list link;
    struct echo_thread *thread;
    struct loop_fd source;
    int fd;
    char *rest; /* not written yet; NULL: none */
    size_t rest_at, rest_size;
};

static void guest_end(struct guest *guest)
{
    loop_fd_forget(&guest->source);
    list_remove(&guest->link);
    (void)close(guest->fd);
    free(guest->rest);
    free(guest);
}

/* False: it is blocked, and what is left was kept; or it is broken. */
static bool write_all(struct guest *guest, const char *bytes, size_t size)
{
    size_t done = 0;
    while (done < size) {
        ssize_t n = send(guest->fd, bytes + done, size - done, MSG_NOSIGNAL);
        if (n < 0) {
            break;
        }
        done += (size_t)n;
    }
    if (done == size) {
        return true;
    }
    char *rest = malloc(size - done);
    if (rest != NULL) {
        memcpy(rest, bytes + done, size - done);
    }
    free(guest->rest);
    guest->rest = rest;
    guest->rest_at = 0;
    guest->rest_size = size - done;
    return false;
}

static bool write_rest(struct guest *guest)
{
    while (guest->rest != NULL) {
        ssize_t n = send(guest->fd, guest->rest + guest->rest_at, guest->rest_size - guest->rest_at,
                         MSG_NOSIGNAL);
        if (n < 0) {
            return false;
        }
        guest->rest_at += (size_t)n;
        if (guest->rest_at == guest->rest_size) {
            free(guest->rest);
            guest->rest = NULL;
        }
    }
    return true;
}

/* 1: there may be more; 0: not now; negative: it is over. */
static int echo_once(struct guest *guest)
{
    if (!write_rest(guest)) {
        return errno == EAGAIN ? 0 : -errno;
    }
    ssize_t n = recv(guest->fd, guest->thread->buffer, BUFFER_BYTES, 0);
    if (n <= 0) {
        return n < 0 && errno == EAGAIN ? 0 : -1;
    }
    return write_all(guest, guest->thread->buffer, (size_t)n) && (size_t)n == BUFFER_BYTES;
}

static void handle_guest(struct loop_fd *source, int events, void *data)
{
    (void)source;
    (void)events;
    struct guest *guest = data;
    int rc = 1;
    for (int i = 0; rc > 0 && i < READ_BUDGET; i++) {
        rc = echo_once(guest);
    }
    if (rc < 0) {
        guest_end(guest);
        return;
    }
    int wants = guest->rest != NULL ? LOOP_WRITE : LOOP_READ;
    (void)loop_fd_modify(&guest->source, wants);
}

static void handle_connections(struct loop_fd *source, int events, void *data)
{
    (void)events;
    struct echo_thread *thread = data;
    for (int i = 0; i < ACCEPT_BUDGET; i++) {
        int fd = accept4(source->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        struct guest *guest = fd >= 0 ? calloc(1, sizeof(*guest)) : NULL;
        if (guest == NULL) {
            if (fd >= 0) {
                (void)close(fd);
            }
            return;
        }
        (void)atomic_fetch_add(&thread->echo->accepted, 1);
        guest->thread = thread;
        guest->fd = fd;
        list_append(&thread->guests, &guest->link);
        loop_fd_init(&guest->source, handle_guest, guest);
        if (loop_fd_add(thread->loop, &guest->source, fd, LOOP_READ) != 0) {
            guest_end(guest);
        }
    }
}

static void handle_stop(struct loop_post *post, void *data)
{
    (void)post;
    struct echo_thread *thread = data;
    loop_fd_remove(&thread->listener);
    while (!list_empty(&thread->guests)) {
        guest_end(container_of(thread->guests.next, struct guest, link));
    }
    loop_stop(thread->loop);
}

static void *run(void *data)
{
    int rc = loop_run(((struct echo_thread *)data)->loop);
    (void)rc;
    return NULL;
}

static int start_thread(struct echo *echo, struct echo_thread *thread)
{
    thread->echo = echo;
    list_init(&thread->guests);
    thread->buffer = malloc(BUFFER_BYTES);
    int rc = thread->buffer == NULL ? -ENOMEM : loop_create(clock_real(), &thread->loop);
    if (rc != 0) {
        return rc;
    }
    loop_fd_init(&thread->listener, handle_connections, thread);
    loop_post_add(thread->loop, &thread->stop, handle_stop, thread);
    rc = loop_fd_add(thread->loop, &thread->listener, echo->fd, LOOP_READ | LOOP_EXCLUSIVE);
    rc = rc != 0 ? rc : -pthread_create(&thread->thread, NULL, run, thread);
    thread->running = rc == 0;
    return rc;
}

int echo_start(uint16_t port, unsigned threads, struct echo **ret_echo, struct error *error)
{
    char listen[16];
    struct echo *echo = calloc(1, sizeof(*echo) + threads * sizeof(echo->threads[0]));
    if (echo == NULL) {
        error_set(error, "out of memory");
        return -ENOMEM;
    }
    (void)snprintf(listen, sizeof(listen), ":%u", port);
    echo->fd = address_listen(listen, BACKLOG, error);
    int rc = echo->fd < 0 ? echo->fd : 0;
    for (unsigned i = 0; rc == 0 && i < threads; i++) {
        echo->thread_count++;
        rc = start_thread(echo, &echo->threads[i]);
        error_set(rc != 0 ? error : NULL, "no thread for the echo: %s", strerror(-rc));
    }
    if (rc != 0) {
        echo_stop(echo);
        return rc;
    }
    *ret_echo = echo;
    return 0;
}

uint64_t echo_accepted(const struct echo *echo)
{
    return atomic_load(&echo->accepted);
}

void echo_stop(struct echo *echo)
{
    if (echo == NULL) {
        return;
    }
    for (unsigned i = 0; i < echo->thread_count; i++) {
        struct echo_thread *thread = &echo->threads[i];
        if (thread->running) {
            loop_post_send(&thread->stop);
            (void)pthread_join(thread->thread, NULL);
        } else if (thread->loop != NULL) {
            loop_fd_remove(&thread->listener);
        }
        loop_destroy(thread->loop);
        free(thread->buffer);
    }
    if (echo->fd >= 0) {
        (void)close(echo->fd);
    }
    free(echo);
}
