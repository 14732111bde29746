/*
 * A request's waiter is notified by whatever thread hands something over. That thread puts the
 * request into the loop's mailbox and rings; the loop's thread then calls on_done. A time-out is
 * the loop's own timer: whoever takes the waiter out of the pool's queue first decides.
 */
#include "pools/pool_request.h"

#include <errno.h>
#include <stdlib.h>

#include "loop/task.h"
#include "pools/pool_private.h"

struct pool_mailbox {
    struct loop_post post;
    pthread_mutex_t lock;
    struct list ready;
    size_t count; /* of them */
};

/* ---- mailbox ---- */

/* Into the queue, and what is there is handed out at once. The request holds the pool until it is
 * answered. */
static void enqueue(struct pool_request *request, bool first)
{
    struct pool *pool = request->pool;
    request->waiter.done = false;
    pool_lock(pool);
    pool->inside += !first;
    pool_queue_locked(pool, &request->waiter, first);
    if (pool->closed) {
        pool_fail_waiters_locked(pool, -ESHUTDOWN);
    } else {
        pool_settle_waiters_locked(pool);
    }
    if (!request->waiter.done && request->queued_ns == 0) {
        request->queued_ns = clock_monotonic_ns(clock_real());
    }
    pool_unlock(pool);
}

static void answer(struct pool_request *request, int rc, struct pool_lease lease)
{
    struct pool *pool = request->pool;
    request->active = false;
    loop_timer_disarm(&request->timer);
    if (rc == 0 && request->queued_ns != 0) {
        metric_observe(&pool->wait_seconds, clock_monotonic_ns(clock_real()) - request->queued_ns);
    }
    pool_leave(pool);
    request->on_done(request, rc, lease, request->data);
}

static void deliver(struct pool_request *request)
{
    static const struct pool_lease none;
    struct pool_lease lease = request->waiter.lease;
    if (request->waiter.rc != 0 || pool_stands_check(request->pool, &lease)) {
        answer(request, request->waiter.rc, request->waiter.rc == 0 ? lease : none);
    } else if (request->waiter.wish.timeout_ns < 0 || loop_timer_armed(&request->timer)) {
        enqueue(request, true); /* its turn is not over */
    } else {
        answer(request, -ETIMEDOUT, none);
    }
}

/* One at a time, for a callback may cancel any other. */
static struct pool_request *take_ready(struct pool_mailbox *mailbox)
{
    struct pool_request *request = NULL;
    (void)pthread_mutex_lock(&mailbox->lock);
    if (!list_empty(&mailbox->ready)) {
        request = container_of(mailbox->ready.next, struct pool_request, ready_link);
        list_remove(&request->ready_link);
        mailbox->count--;
    }
    (void)pthread_mutex_unlock(&mailbox->lock);
    return request;
}

/* What comes while it delivers waits for the next iteration, so that the loop's others have their turn. */
static void handle_post(struct loop_post *post, void *data)
{
    struct pool_mailbox *mailbox = data;
    struct pool_request *request;
    (void)pthread_mutex_lock(&mailbox->lock);
    size_t count = mailbox->count;
    (void)pthread_mutex_unlock(&mailbox->lock);
    for (size_t i = 0; i < count && (request = take_ready(mailbox)) != NULL; i++) {
        deliver(request);
    }
    (void)pthread_mutex_lock(&mailbox->lock);
    if (mailbox->count > 0) {
        loop_post_send(post);
    }
    (void)pthread_mutex_unlock(&mailbox->lock);
}

int pool_mailbox_create(struct loop *loop, struct pool_mailbox **ret_mailbox)
{
    struct pool_mailbox *mailbox = calloc(1, sizeof(*mailbox));
    if (mailbox == NULL) {
        return -ENOMEM;
    }
    (void)pthread_mutex_init(&mailbox->lock, NULL);
    list_init(&mailbox->ready);
    loop_post_add(loop, &mailbox->post, handle_post, mailbox);
    *ret_mailbox = mailbox;
    return 0;
}

void pool_mailbox_destroy(struct pool_mailbox *mailbox)
{
    if (mailbox == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&mailbox->lock); /* whoever rang last is through with it then */
    loop_post_remove(&mailbox->post);
    (void)pthread_mutex_unlock(&mailbox->lock);
    (void)pthread_mutex_destroy(&mailbox->lock);
    free(mailbox);
}

/* ---- requests ---- */

static void notify_request(struct pool_waiter *waiter)
{
    struct pool_request *request = container_of(waiter, struct pool_request, waiter);
    struct pool_mailbox *mailbox = request->mailbox;
    if (!waiter->done) {
        return; /* a nudge: whoever tends the pool sees to the next attempt */
    }
    (void)pthread_mutex_lock(&mailbox->lock);
    list_append(&mailbox->ready, &request->ready_link);
    mailbox->count++;
    loop_post_send(&mailbox->post); /* under the lock: see pool_mailbox_destroy() */
    (void)pthread_mutex_unlock(&mailbox->lock);
}

/* Takes it out of the queue; false: it has been answered. */
static bool withdraw(struct pool_request *request)
{
    struct pool *pool = request->pool;
    pool_lock(pool);
    bool waits = !request->waiter.done;
    if (waits) {
        pool_unqueue_locked(pool, &request->waiter);
    }
    pool_unlock(pool);
    return waits;
}

static void handle_timeout(struct loop_timer *timer, void *data)
{
    (void)timer;
    struct pool_request *request = data;
    if (withdraw(request)) {
        metric_add(&request->pool->timeouts, 1);
        answer(request, -ETIMEDOUT, (struct pool_lease){.resource = NULL});
    }
}

void pool_request_init(struct pool_request *request, struct loop *loop, pool_request_fn on_done,
                       void *data)
{
    *request = (struct pool_request){.on_done = on_done, .data = data};
    list_init(&request->ready_link);
    loop_timer_init(loop, &request->timer, handle_timeout, request);
}

void pool_request_start(struct pool_request *request, struct pool *pool,
                        struct pool_mailbox *mailbox, const struct pool_wish *wish, bool creates)
{
    request->waiter = (struct pool_waiter){
        .wish = *wish, .creates = creates, .thread = pool_thread_id(), .notify = notify_request};
    request->pool = pool;
    request->mailbox = mailbox;
    request->active = true;
    request->queued_ns = 0;
    if (wish->timeout_ns >= 0) {
        loop_timer_arm(&request->timer, wish->timeout_ns);
    }
    enqueue(request, false);
}

/* It was answered, but not told: what it was given goes back. */
static void return_grant(struct pool_request *request)
{
    struct pool_mailbox *mailbox = request->mailbox;
    (void)pthread_mutex_lock(&mailbox->lock);
    list_remove(&request->ready_link);
    mailbox->count--;
    (void)pthread_mutex_unlock(&mailbox->lock);
    if (request->waiter.rc == 0 && request->waiter.lease.resource != NULL) {
        (void)pool_release(request->pool, request->waiter.lease);
    } else if (request->waiter.rc == 0) {
        pool_abandon(request->pool, request->waiter.lease, 0, "");
    }
}

void pool_request_cancel(struct pool_request *request)
{
    if (!request->active) {
        return;
    }
    request->active = false;
    loop_timer_disarm(&request->timer);
    if (!withdraw(request)) {
        return_grant(request);
    }
    pool_leave(request->pool);
}
