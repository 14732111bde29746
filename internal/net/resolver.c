/*
 * A query is in exactly one list: asked (the thread takes it from there), or answered (the loop does).
 * Between them it is the thread's alone. A cancelled one goes on its way and is freed at the end of it.
 */
#include "net/resolver.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "base/list.h"
#include "loop/task.h"

struct resolver {
    struct loop_post post;
    pthread_t thread;
    bool running;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t cond;
    struct list asked, answered;
    bool stopping;
};

struct resolver_query {
    struct list link;
    struct hostport hostport;
    resolver_fn on_done; /* loop thread only; NULL: cancelled */
    void *data;
    int rc;
    struct address_list found;
    struct error error;
};

static struct resolver_query *take_first(struct list *queue)
{
    struct resolver_query *query = NULL;
    if (!list_empty(queue)) {
        query = container_of(queue->next, struct resolver_query, link);
        list_remove(&query->link);
    }
    return query;
}

static void *look_up(void *data)
{
    struct resolver *resolver = data;
    (void)pthread_mutex_lock(&resolver->lock);
    while (!resolver->stopping) {
        struct resolver_query *query = take_first(&resolver->asked);
        if (query == NULL) {
            (void)pthread_cond_wait(&resolver->cond, &resolver->lock);
            continue;
        }
        (void)pthread_mutex_unlock(&resolver->lock);
        query->rc = address_resolve(&query->hostport, &query->found, &query->error);
        (void)pthread_mutex_lock(&resolver->lock);
        list_append(&resolver->answered, &query->link);
        loop_post_send(&resolver->post);
    }
    (void)pthread_mutex_unlock(&resolver->lock);
    return NULL;
}

static void handle_answers(struct loop_post *post, void *data)
{
    (void)post;
    struct resolver *resolver = data;
    for (;;) {
        (void)pthread_mutex_lock(&resolver->lock);
        struct resolver_query *query = take_first(&resolver->answered);
        (void)pthread_mutex_unlock(&resolver->lock);
        if (query == NULL) {
            return;
        }
        if (query->on_done != NULL) {
            query->on_done(query->rc, &query->found, query->error.text, query->data);
        }
        free(query);
    }
}

int resolver_create(struct loop *loop, struct resolver **ret_resolver)
{
    struct resolver *resolver = calloc(1, sizeof(*resolver));
    if (resolver == NULL) {
        return -ENOMEM;
    }
    (void)pthread_mutex_init(&resolver->lock, NULL);
    (void)pthread_cond_init(&resolver->cond, NULL);
    list_init(&resolver->asked);
    list_init(&resolver->answered);
    loop_post_add(loop, &resolver->post, handle_answers, resolver);
    *ret_resolver = resolver;
    return 0;
}

void resolver_destroy(struct resolver *resolver)
{
    if (resolver == NULL) {
        return;
    }
    struct resolver_query *query;
    (void)pthread_mutex_lock(&resolver->lock);
    resolver->stopping = true;
    (void)pthread_cond_signal(&resolver->cond);
    (void)pthread_mutex_unlock(&resolver->lock);
    if (resolver->running) {
        (void)pthread_join(resolver->thread, NULL);
    }
    loop_post_remove(&resolver->post);
    while ((query = take_first(&resolver->asked)) != NULL ||
           (query = take_first(&resolver->answered)) != NULL) {
        free(query);
    }
    (void)pthread_cond_destroy(&resolver->cond);
    (void)pthread_mutex_destroy(&resolver->lock);
    free(resolver);
}

static int start_thread(struct resolver *resolver)
{
    sigset_t all;
    sigset_t before;
    if (resolver->running) {
        return 0;
    }
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = -pthread_create(&resolver->thread, NULL, look_up, resolver);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    resolver->running = rc == 0;
    if (resolver->running) {
        (void)pthread_setname_np(resolver->thread, "resolver");
    }
    return rc;
}

int resolver_start(struct resolver *resolver, const struct hostport *hostport, resolver_fn on_done,
                   void *data, struct resolver_query **ret_query)
{
    int rc = start_thread(resolver);
    struct resolver_query *query = rc == 0 ? calloc(1, sizeof(*query)) : NULL;
    if (query == NULL) {
        return rc != 0 ? rc : -ENOMEM;
    }
    query->hostport = *hostport;
    query->on_done = on_done;
    query->data = data;
    (void)pthread_mutex_lock(&resolver->lock);
    list_append(&resolver->asked, &query->link);
    (void)pthread_cond_signal(&resolver->cond);
    (void)pthread_mutex_unlock(&resolver->lock);
    *ret_query = query;
    return 0;
}

void resolver_cancel(struct resolver_query *query)
{
    if (query != NULL) {
        query->on_done = NULL;
    }
}
