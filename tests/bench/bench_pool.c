/*
 * bench_pool: what a pool costs beside a queue with a mutex and a condition, in one run.
 *
 *   bench_pool [SECONDS] [THREADS] [RESOURCES]
 *
 * One thread: acquire and release of a pool, and of the queue; the allocations meanwhile. Then
 * THREADS (8) at once, with as many resources and with RESOURCES (4), for SECONDS (1) each.
 *
 * Two queues. The fair one keeps the pool's promise, first come first served: who finds none queues
 * with a condition of his own, and a return hands over to the first and wakes him. The unfair one
 * signals a condition at each return, and whoever runs takes what is there. Prints JSON.
 */
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "pools/pool.h"
#include "pools/pool_keeper.h"

#define RESOURCE_LIMIT 64
#define THREAD_LIMIT 64
#define SINGLE_ROUNDS 5000000
#define CHECK_EVERY 256 /* uses between two looks at the clock */

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* ---- the queue ---- */

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    void *items[RESOURCE_LIMIT];
    size_t count;
    bool fair;
    struct queued *first, **last; /* who waits, of the fair one */
};

struct queued {
    struct queued *next;
    pthread_cond_t cond;
    void *item;
};

static void *queue_take(struct queue *queue)
{
    struct queued self = {.cond = PTHREAD_COND_INITIALIZER};
    pthread_mutex_lock(&queue->lock);
    if (queue->fair && (queue->first != NULL || queue->count == 0)) {
        *queue->last = &self;
        queue->last = &self.next;
        while (self.item == NULL) {
            pthread_cond_wait(&self.cond, &queue->lock);
        }
        pthread_mutex_unlock(&queue->lock);
        return self.item;
    }
    while (queue->count == 0) {
        pthread_cond_wait(&queue->cond, &queue->lock);
    }
    void *item = queue->items[--queue->count];
    pthread_mutex_unlock(&queue->lock);
    return item;
}

static void queue_put(struct queue *queue, void *item)
{
    pthread_mutex_lock(&queue->lock);
    struct queued *first = queue->first;
    if (first != NULL) {
        queue->first = first->next;
        queue->last = queue->first == NULL ? &queue->first : queue->last;
        first->item = item;
        pthread_cond_signal(&first->cond);
    } else {
        queue->items[queue->count++] = item;
        pthread_cond_signal(&queue->cond);
    }
    pthread_mutex_unlock(&queue->lock);
}

/* ---- the pool ---- */

static int create(void *data, void **ret_resource, struct error *error)
{
    (void)data;
    *ret_resource = calloc(1, 64);
    if (*ret_resource == NULL) {
        error_set(error, "out of memory");
        return -1;
    }
    return 0;
}

static void destroy(void *data, void *resource)
{
    (void)data;
    free(resource);
}

static const struct pool_type type = {.create = create, .destroy = destroy};

/* ---- both ---- */

struct subject {
    struct pool *pool; /* or NULL */
    struct queue queue;
};

static void use(struct subject *subject)
{
    static const struct pool_wish wish = {.holder = "bench", .timeout_ns = -1};
    if (subject->pool == NULL) {
        atomic_int *item = queue_take(&subject->queue);
        atomic_fetch_add_explicit(item, 1, memory_order_relaxed);
        queue_put(&subject->queue, item);
        return;
    }
    struct pool_lease lease;
    if (pool_acquire(subject->pool, &wish, &lease, NULL) != 0) {
        abort();
    }
    atomic_fetch_add_explicit((atomic_int *)lease.resource, 1, memory_order_relaxed);
    pool_release(subject->pool, lease);
}

enum kind { POOL, FAIR_QUEUE, UNFAIR_QUEUE };

static void subject_init(struct subject *subject, enum kind kind, uint32_t resources)
{
    struct error error = {""};
    *subject = (struct subject){.queue = {.lock = PTHREAD_MUTEX_INITIALIZER,
                                          .cond = PTHREAD_COND_INITIALIZER,
                                          .fair = kind == FAIR_QUEUE}};
    subject->queue.last = &subject->queue.first;
    if (kind != POOL) {
        for (uint32_t i = 0; i < resources; i++) {
            queue_put(&subject->queue, calloc(1, 64));
        }
        return;
    }
    struct pool_options options = {
        .name = "bench", .type = &type, .min = resources, .max = resources};
    if (pool_create(&options, &subject->pool, &error) != 0 ||
        pool_prefill(subject->pool, 1, &error) != 0) {
        fprintf(stderr, "bench_pool: %s\n", error.text);
        exit(1);
    }
}

static void subject_finish(struct subject *subject)
{
    pool_destroy(subject->pool);
    while (subject->queue.count > 0) {
        free(queue_take(&subject->queue));
    }
}

/* ---- one thread ---- */

static double single_ns(enum kind kind, size_t *ret_allocated)
{
    struct subject subject;
    subject_init(&subject, kind, 8);
    use(&subject);
    size_t before = mallinfo2().uordblks;
    double start = now_s();
    for (int i = 0; i < SINGLE_ROUNDS; i++) {
        use(&subject);
    }
    double ns = (now_s() - start) / SINGLE_ROUNDS * 1e9;
    *ret_allocated = mallinfo2().uordblks - before;
    subject_finish(&subject);
    return ns;
}

/* ---- many ---- */

struct crowd {
    struct subject subject;
    double end_s;
    atomic_ulong uses;
};

static void *work(void *data)
{
    struct crowd *crowd = data;
    unsigned long uses = 0;
    while (now_s() < crowd->end_s) {
        for (int i = 0; i < CHECK_EVERY; i++) {
            use(&crowd->subject);
        }
        uses += CHECK_EVERY;
    }
    atomic_fetch_add(&crowd->uses, uses);
    return NULL;
}

/* Uses per second; *ret_switches: voluntary context switches per use. */
static double crowd_rate(enum kind kind, uint32_t resources, int threads, double seconds,
                         double *ret_switches)
{
    static struct crowd crowd;
    pthread_t ids[THREAD_LIMIT];
    struct rusage before;
    struct rusage after;
    subject_init(&crowd.subject, kind, resources);
    atomic_store(&crowd.uses, 0);
    getrusage(RUSAGE_SELF, &before);
    double start = now_s();
    crowd.end_s = start + seconds;
    for (int i = 0; i < threads; i++) {
        if (pthread_create(&ids[i], NULL, work, &crowd) != 0) {
            abort();
        }
    }
    for (int i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
    }
    double elapsed = now_s() - start;
    getrusage(RUSAGE_SELF, &after);
    double uses = (double)atomic_load(&crowd.uses);
    *ret_switches = (double)(after.ru_nvcsw - before.ru_nvcsw) / uses;
    subject_finish(&crowd.subject);
    return uses / elapsed;
}

static void compare_crowds(uint32_t resources, int threads, double seconds, const char *end)
{
    static const char *const names[] = {"pool", "fair", "unfair"};
    double rate[3];
    printf("  {\"threads\": %d, \"resources\": %u", threads, resources);
    for (int kind = POOL; kind <= UNFAIR_QUEUE; kind++) {
        double switches;
        rate[kind] = crowd_rate((enum kind)kind, resources, threads, seconds, &switches);
        printf(", \"%s_per_s\": %.0f, \"%s_switches_per_use\": %.5f", names[kind], rate[kind],
               names[kind], switches);
    }
    printf(", \"ratio_fair\": %.2f, \"ratio_unfair\": %.2f}%s\n", rate[POOL] / rate[FAIR_QUEUE],
           rate[POOL] / rate[UNFAIR_QUEUE], end);
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? strtod(argv[1], NULL) : 1;
    int threads = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 8;
    uint32_t resources = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 4;
    size_t pool_bytes;
    size_t queue_bytes;
    if (threads < 1 || threads > THREAD_LIMIT || resources < 1 || resources > RESOURCE_LIMIT) {
        fputs("usage: bench_pool [SECONDS] [THREADS up to 64] [RESOURCES up to 64]\n", stderr);
        return 2;
    }
    double pool_ns = single_ns(POOL, &pool_bytes);
    double queue_ns = single_ns(UNFAIR_QUEUE, &queue_bytes);
    printf("{\"pool_ns\": %.1f, \"queue_ns\": %.1f, \"allocated_bytes\": %zu, \"crowds\": [\n",
           pool_ns, queue_ns, pool_bytes);
    compare_crowds((uint32_t)threads, threads, seconds, ",");
    compare_crowds(resources, threads, seconds, "]}");
    return 0;
}
