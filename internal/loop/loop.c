/*
 * Order within one iteration: file descriptors, posts, timers, tasks. Tasks run last, so that what
 * callbacks close is freed where nobody looks at it any more.
 *
 * The number in an epoll event is generation << 32 | slot, never a pointer: an event of a source
 * that an earlier callback of the same batch took out finds another generation and is dropped.
 *
 * Timers are an intrusive heap: 5,000 idle clocks cost nothing until they are due, and arming one
 * can't fail. The wait is epoll_pwait2 with nanoseconds (Linux 5.11); paced reads need 100 us. Where the kernel
 * lacks it, epoll_wait with the time rounded up.
 */
#include "loop/loop.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "loop/task.h"
#include "loop/timer.h"

#define LOOP_BATCH 256

struct slot {
    struct loop_fd *source; /* NULL: free */
    uint32_t generation;
    uint32_t next_free;
};

struct loop {
    const struct clock *clock;
    int epoll_fd;
    bool stopped;
    bool no_pwait2;
    struct slot *slots;
    uint32_t slot_count;
    uint32_t first_free;       /* index + 1; 0: none */
    struct loop_timer *timers; /* root of the heap */
    uint64_t armings;
    struct list tasks;
    struct list posts;
    struct loop_fd wake;
    struct loop_fd signals;
    loop_signal_fn handle_signal;
    void *signal_data;
    struct metric worst_tick;
    struct metric_histogram ticks;
    struct metric source_count;
};

static void handle_wake(struct loop_fd *source, int events, void *data)
{
    (void)events;
    struct loop *loop = data;
    uint64_t count;
    if (read(source->fd, &count, sizeof(count)) < 0) {
        return;
    }
    /* Any handler may remove any post, so none is remembered over a call. */
    struct list batch;
    list_init(&batch);
    list_splice(&batch, &loop->posts);
    while (!list_empty(&batch)) {
        struct loop_post *post = container_of(batch.next, struct loop_post, link);
        list_remove(&post->link);
        list_append(&loop->posts, &post->link);
        if (atomic_exchange(&post->pending, false)) {
            post->handle(post, post->data);
        }
    }
}

static void handle_signal_fd(struct loop_fd *source, int events, void *data)
{
    (void)events;
    struct loop *loop = data;
    struct signalfd_siginfo info;
    while (read(source->fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        loop->handle_signal((int)info.ssi_signo, loop->signal_data);
    }
}

int loop_create(const struct clock *clock, struct loop **ret_loop)
{
    struct loop *loop = calloc(1, sizeof(*loop));
    if (loop == NULL) {
        return -ENOMEM;
    }
    loop->clock = clock;
    list_init(&loop->tasks);
    list_init(&loop->posts);
    list_init(&loop->worst_tick.link);
    list_init(&loop->ticks.base.link);
    list_init(&loop->source_count.link);
    loop_fd_init(&loop->wake, handle_wake, loop);
    loop_fd_init(&loop->signals, handle_signal_fd, loop);
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int rc = -errno;
    if (loop->epoll_fd < 0) {
        goto fail;
    }
    int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    rc = -errno;
    if (wake_fd < 0) {
        goto fail;
    }
    rc = loop_fd_add(loop, &loop->wake, wake_fd, LOOP_READ);
    if (rc != 0) {
        (void)close(wake_fd);
        goto fail;
    }
    *ret_loop = loop;
    return 0;
fail:
    loop_destroy(loop);
    return rc;
}

static void remove_and_close(struct loop_fd *source)
{
    if (source->loop != NULL) {
        int fd = source->fd;
        loop_fd_remove(source);
        (void)close(fd);
    }
}

void loop_destroy(struct loop *loop)
{
    if (loop == NULL) {
        return;
    }
    metric_finish(&loop->worst_tick);
    metric_finish(&loop->ticks.base);
    metric_finish(&loop->source_count);
    remove_and_close(&loop->wake);
    remove_and_close(&loop->signals);
    if (loop->epoll_fd >= 0) {
        (void)close(loop->epoll_fd);
    }
    free(loop->slots);
    free(loop);
}

int loop_register_metrics(struct loop *loop, struct metrics *metrics)
{
    int rc = metrics_add(
        metrics, &loop->worst_tick,
        &(struct metric_desc){.type = METRIC_GAUGE,
                              .name = "log_capturer_loop_tick_worst_seconds",
                              .help = "Longest time one loop iteration worked since the start.",
                              .scale = 1e-9});
    if (rc == 0) {
        rc = metrics_add_histogram(
            metrics, &loop->ticks,
            &(struct metric_desc){.name = "log_capturer_loop_tick_seconds",
                                  .help = "Time that loop iterations worked, waiting excluded.",
                                  .scale = 1e-9},
            16000);
    }
    if (rc == 0) {
        rc = metrics_add(metrics, &loop->source_count,
                         &(struct metric_desc){.type = METRIC_GAUGE,
                                               .name = "log_capturer_loop_sources",
                                               .help = "File descriptors that the loop watches."});
    }
    return rc;
}

const struct clock *loop_clock(const struct loop *loop)
{
    return loop->clock;
}

int64_t loop_now_ns(const struct loop *loop)
{
    return clock_monotonic_ns(loop->clock);
}

/* ---- file descriptors ---- */

static int add_slots(struct loop *loop)
{
    uint32_t count = loop->slot_count == 0 ? 32 : loop->slot_count * 2;
    struct slot *slots = realloc(loop->slots, count * sizeof(*slots));
    if (slots == NULL) {
        return -ENOMEM;
    }
    for (uint32_t i = loop->slot_count; i < count; i++) {
        slots[i] = (struct slot){.next_free = loop->first_free};
        loop->first_free = i + 1;
    }
    loop->slots = slots;
    loop->slot_count = count;
    return 0;
}

static int control(struct loop_fd *source, int operation, int events)
{
    struct loop *loop = source->loop;
    struct epoll_event event = {0};
    event.events = ((events & LOOP_READ) != 0 ? (uint32_t)EPOLLIN : 0U) |
                   ((events & LOOP_WRITE) != 0 ? (uint32_t)EPOLLOUT : 0U) |
                   ((events & LOOP_ONE_SHOT) != 0 ? (uint32_t)EPOLLONESHOT : 0U) |
                   ((events & LOOP_EDGE) != 0 ? (uint32_t)EPOLLET : 0U) |
                   ((events & LOOP_HANGUP) != 0 ? (uint32_t)EPOLLRDHUP : 0U) |
                   ((events & LOOP_EXCLUSIVE) != 0 ? (uint32_t)EPOLLEXCLUSIVE : 0U) |
                   ((events & LOOP_URGENT) != 0 ? (uint32_t)EPOLLPRI : 0U);
    event.data.u64 = (uint64_t)loop->slots[source->slot].generation << 32 | source->slot;
    if (epoll_ctl(loop->epoll_fd, operation, source->fd, &event) == 0) {
        return 0;
    }
    /* A library closed its fd and the kernel gave the number to another one (see curl.md). */
    if (operation == EPOLL_CTL_MOD && errno == ENOENT) {
        return epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, source->fd, &event) == 0 ? 0 : -errno;
    }
    if (operation == EPOLL_CTL_ADD && errno == EEXIST) {
        return epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, source->fd, &event) == 0 ? 0 : -errno;
    }
    return -errno;
}

void loop_fd_init(struct loop_fd *source, loop_fd_fn handle, void *data)
{
    *source = (struct loop_fd){.fd = -1, .handle = handle, .data = data};
}

int loop_fd_add(struct loop *loop, struct loop_fd *source, int fd, int events)
{
    assert(source->loop == NULL);
    if (loop->first_free == 0) {
        int rc = add_slots(loop);
        if (rc != 0) {
            return rc;
        }
    }
    uint32_t slot = loop->first_free - 1;
    source->loop = loop;
    source->fd = fd;
    source->slot = slot;
    source->events = events;
    int rc = control(source, EPOLL_CTL_ADD, events);
    if (rc != 0) {
        source->loop = NULL;
        return rc;
    }
    loop->first_free = loop->slots[slot].next_free;
    loop->slots[slot].source = source;
    metric_add(&loop->source_count, 1);
    return 0;
}

int loop_fd_modify(struct loop_fd *source, int events)
{
    if (source->events == events && (events & LOOP_ONE_SHOT) == 0) {
        return 0;
    }
    int rc = control(source, EPOLL_CTL_MOD, events);
    if (rc == 0) {
        source->events = events;
    }
    return rc;
}

void loop_fd_remove(struct loop_fd *source)
{
    struct loop *loop = source->loop;
    if (loop == NULL) {
        return;
    }
    /* Fails harmlessly where the fd was closed first. */
    (void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
    loop_fd_forget(source);
}

void loop_fd_forget(struct loop_fd *source)
{
    struct loop *loop = source->loop;
    if (loop == NULL) {
        return;
    }
    struct slot *slot = &loop->slots[source->slot];
    slot->source = NULL;
    slot->generation++;
    slot->next_free = loop->first_free;
    loop->first_free = source->slot + 1;
    source->loop = NULL;
    metric_add(&loop->source_count, -1);
}

/* ---- timers: a pairing heap (Fredman et al., Algorithmica 1, 1986) ---- */

void loop_timer_init(struct loop *loop, struct loop_timer *timer, loop_timer_fn handle, void *data)
{
    *timer = (struct loop_timer){.loop = loop, .handle = handle, .data = data};
}

/* Makes the later of two roots the first child of the other. */
static struct loop_timer *heap_meld(struct loop_timer *a, struct loop_timer *b)
{
    if (a == NULL || b == NULL) {
        return a == NULL ? b : a;
    }
    if (b->due_ns < a->due_ns || (b->due_ns == a->due_ns && b->armed_as < a->armed_as)) {
        struct loop_timer *swap = a;
        a = b;
        b = swap;
    }
    b->back = a;
    b->sibling = a->child;
    if (b->sibling != NULL) {
        b->sibling->back = b;
    }
    a->child = b;
    return a;
}

/* Melds a list of siblings: in pairs from the left, then the pairs from the right. */
static struct loop_timer *heap_combine(struct loop_timer *first)
{
    struct loop_timer *pairs = NULL;
    while (first != NULL) {
        struct loop_timer *a = first;
        struct loop_timer *b = a->sibling;
        first = b != NULL ? b->sibling : NULL;
        a->sibling = a->back = NULL;
        if (b != NULL) {
            b->sibling = b->back = NULL;
        }
        struct loop_timer *pair = heap_meld(a, b);
        pair->sibling = pairs;
        pairs = pair;
    }
    struct loop_timer *root = NULL;
    while (pairs != NULL) {
        struct loop_timer *next = pairs->sibling;
        pairs->sibling = NULL;
        root = heap_meld(root, pairs);
        pairs = next;
    }
    return root;
}

void loop_timer_arm(struct loop_timer *timer, int64_t delay_ns)
{
    struct loop *loop = timer->loop;
    loop_timer_disarm(timer);
    timer->due_ns = loop_now_ns(loop) + (delay_ns > 0 ? delay_ns : 0);
    timer->armed_as = loop->armings++;
    timer->armed = true;
    loop->timers = heap_meld(loop->timers, timer);
}

void loop_timer_disarm(struct loop_timer *timer)
{
    if (!timer->armed) {
        return;
    }
    struct loop *loop = timer->loop;
    if (timer == loop->timers) {
        loop->timers = heap_combine(timer->child);
    } else {
        if (timer->back->child == timer) {
            timer->back->child = timer->sibling;
        } else {
            timer->back->sibling = timer->sibling;
        }
        if (timer->sibling != NULL) {
            timer->sibling->back = timer->back;
        }
        loop->timers = heap_meld(loop->timers, heap_combine(timer->child));
    }
    timer->armed = false;
    timer->child = timer->sibling = timer->back = NULL;
}

/* Those armed meanwhile wait for the next iteration. */
static void run_timers(struct loop *loop)
{
    int64_t now = loop_now_ns(loop);
    uint64_t before = loop->armings;
    while (loop->timers != NULL && loop->timers->due_ns <= now && loop->timers->armed_as < before) {
        struct loop_timer *timer = loop->timers;
        loop_timer_disarm(timer);
        timer->handle(timer, timer->data);
    }
}

/* ---- tasks and posts ---- */

void loop_task_init(struct loop_task *task, loop_task_fn run, void *data)
{
    *task = (struct loop_task){.run = run, .data = data};
    list_init(&task->link);
}

void loop_task_schedule(struct loop *loop, struct loop_task *task)
{
    if (list_empty(&task->link)) {
        list_append(&loop->tasks, &task->link);
    }
}

void loop_task_cancel(struct loop_task *task)
{
    list_remove(&task->link);
}

/* Those scheduled meanwhile wait for the next iteration, so that nothing starves. */
static void run_tasks(struct loop *loop)
{
    struct list batch;
    list_init(&batch);
    list_splice(&batch, &loop->tasks);
    while (!list_empty(&batch)) {
        struct loop_task *task = container_of(batch.next, struct loop_task, link);
        list_remove(&task->link);
        task->run(task, task->data);
    }
}

void loop_post_add(struct loop *loop, struct loop_post *post, loop_post_fn handle, void *data)
{
    *post = (struct loop_post){.loop = loop, .handle = handle, .data = data};
    list_append(&loop->posts, &post->link);
}

void loop_post_remove(struct loop_post *post)
{
    list_remove(&post->link);
}

void loop_post_send(struct loop_post *post)
{
    if (!atomic_exchange(&post->pending, true)) {
        uint64_t one = 1;
        if (write(post->loop->wake.fd, &one, sizeof(one)) < 0) {
            return; /* EAGAIN: the counter is full, so a wake-up is under way */
        }
    }
}

/* ---- signals ---- */

int loop_signals_add(struct loop *loop, const int *signals, loop_signal_fn handle, void *data)
{
    sigset_t set;
    (void)sigemptyset(&set);
    for (; *signals != 0; signals++) {
        (void)sigaddset(&set, *signals);
    }
    int rc = pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (rc != 0) {
        return -rc;
    }
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0) {
        return -errno;
    }
    loop->handle_signal = handle;
    loop->signal_data = data;
    rc = loop_fd_add(loop, &loop->signals, fd, LOOP_READ);
    if (rc != 0) {
        (void)close(fd);
    }
    return rc;
}

/* ---- running ---- */

static int wait_events(struct loop *loop, struct epoll_event *events, int64_t timeout_ns)
{
    if (!loop->no_pwait2) {
        struct timespec timeout = {timeout_ns / 1000000000, timeout_ns % 1000000000};
        int n = epoll_pwait2(loop->epoll_fd, events, LOOP_BATCH, timeout_ns < 0 ? NULL : &timeout,
                             NULL);
        if (n >= 0 || errno != ENOSYS) {
            return n;
        }
        loop->no_pwait2 = true;
    }
    int64_t ms = timeout_ns < 0 ? -1 : (timeout_ns + 999999) / 1000000;
    return epoll_wait(loop->epoll_fd, events, LOOP_BATCH, ms > 60000 ? 60000 : (int)ms);
}

static void dispatch(struct loop *loop, const struct epoll_event *event)
{
    uint32_t index = (uint32_t)event->data.u64;
    struct slot *slot = &loop->slots[index];
    if (slot->source == NULL || slot->generation != (uint32_t)(event->data.u64 >> 32)) {
        return;
    }
    int events = 0;
    if ((event->events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0) {
        events |= LOOP_READ;
    }
    if ((event->events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) {
        events |= LOOP_WRITE;
    }
    if ((event->events & (EPOLLRDHUP | EPOLLERR | EPOLLHUP)) != 0) {
        events |= slot->source->events & LOOP_HANGUP;
    }
    if ((event->events & EPOLLERR) != 0 && (slot->source->events & LOOP_HANGUP) != 0) {
        events |= LOOP_ERROR;
    }
    if ((event->events & EPOLLPRI) != 0) {
        events |= slot->source->events & LOOP_URGENT;
    }
    slot->source->handle(slot->source, events, slot->source->data);
}

int loop_iterate(struct loop *loop, int64_t timeout_ns)
{
    struct epoll_event events[LOOP_BATCH];
    if (loop->timers != NULL) {
        int64_t left = loop->timers->due_ns - loop_now_ns(loop);
        left = left < 0 ? 0 : left;
        timeout_ns = timeout_ns < 0 || left < timeout_ns ? left : timeout_ns;
    }
    if (!list_empty(&loop->tasks)) {
        timeout_ns = 0;
    }
    int n = wait_events(loop, events, timeout_ns);
    if (n < 0 && errno != EINTR) {
        return -errno;
    }
    int64_t start = loop_now_ns(loop);
    for (int i = 0; i < n; i++) {
        dispatch(loop, &events[i]);
    }
    run_timers(loop);
    run_tasks(loop);
    int64_t worked = loop_now_ns(loop) - start;
    metric_observe(&loop->ticks, worked);
    if (worked > metric_get(&loop->worst_tick)) {
        metric_set(&loop->worst_tick, worked);
    }
    return 0;
}

int loop_run(struct loop *loop)
{
    int rc = 0;
    while (rc == 0 && !loop->stopped) {
        rc = loop_iterate(loop, -1);
    }
    return rc;
}

void loop_stop(struct loop *loop)
{
    loop->stopped = true;
}
