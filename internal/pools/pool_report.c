/*
 * Statistics. What the fast way would have to count is kept per slot, by whoever has the slot, and
 * added up when somebody asks.
 */
#include "pools/pool_report.h"

#include <errno.h>

#include "base/timestamp.h"
#include "pools/pool_private.h"

static uint32_t used_slots(struct pool *pool)
{
    (void)pthread_mutex_lock(&pool->lock);
    uint32_t used = pool->used;
    (void)pthread_mutex_unlock(&pool->lock);
    return used;
}

static void count_states(struct pool *pool, uint32_t *ret_counts)
{
    uint32_t used = used_slots(pool);
    for (uint32_t i = 0; i < used; i++) {
        ret_counts[pool_slot_state(&pool->slots[i])]++;
    }
}

static uint64_t sum_acquired(struct pool *pool)
{
    uint32_t used = used_slots(pool);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < used; i++) {
        sum += atomic_load_explicit(&pool->slots[i].acquired, memory_order_relaxed);
    }
    return sum;
}

static uint64_t sum_reused(struct pool *pool)
{
    uint64_t first = atomic_load_explicit(&pool->first_uses, memory_order_relaxed);
    uint64_t all = sum_acquired(pool);
    return all > first ? all - first : 0;
}

void pool_report_stats(struct pool *pool, struct pool_stats *ret_stats)
{
    uint32_t counts[SLOT_DESTROYING + 1] = {0};
    count_states(pool, counts);
    *ret_stats = (struct pool_stats){
        .idle = counts[SLOT_IDLE],
        .in_use = counts[SLOT_IN_USE],
        .creating = counts[SLOT_CREATING],
        .checking = counts[SLOT_CHECKING],
        .max = atomic_load(&pool->max),
        .acquired = sum_acquired(pool),
        .reused = sum_reused(pool),
        .created = (uint64_t)metric_get(&pool->created),
        .create_failures = (uint64_t)metric_get(&pool->create_failures),
        .timeouts = (uint64_t)metric_get(&pool->timeouts),
    };
    uint64_t ended = 0;
    for (int i = 0; i < POOL_ENDS; i++) {
        ret_stats->ended[i] = (uint64_t)metric_get(&pool->ended[i]);
        ended += ret_stats->ended[i];
    }
    if (ended > 0) {
        ret_stats->mean_lifetime_ns = (double)atomic_load(&pool->lifetime_seconds.sum) /
                                      (double)ended;
    }
    (void)pthread_mutex_lock(&pool->lock);
    ret_stats->waiting = pool->waiting;
    ret_stats->min = pool->min;
    ret_stats->target = pool->target;
    ret_stats->circuit_open = pool->failures >= pool->options.break_after;
    (void)pthread_mutex_unlock(&pool->lock);
}

/* ---- what is out ---- */

/* False: it came back while it was being read. */
static bool read_holding(struct pool *pool, uint32_t index, struct pool_holding *ret_holding)
{
    const struct pool_slot *slot = &pool->slots[index];
    uint32_t before = atomic_load_explicit(&slot->word, memory_order_acquire);
    if ((before & 7U) != SLOT_IN_USE) {
        return false;
    }
    const char *holder = atomic_load_explicit(&slot->holder, memory_order_acquire);
    *ret_holding = (struct pool_holding){
        .holder = holder != NULL ? holder : "unnamed",
        .thread = atomic_load_explicit(&slot->thread, memory_order_acquire),
        .held_ns = pool_now_ns(pool) - atomic_load_explicit(&slot->since_ns, memory_order_acquire)};
    return atomic_load_explicit(&slot->word, memory_order_relaxed) == before;
}

size_t pool_report_holdings(struct pool *pool, int64_t least_ns, pool_holding_fn on_holding,
                            void *data)
{
    uint32_t used = used_slots(pool);
    size_t count = 0;
    for (uint32_t i = 0; i < used; i++) {
        struct pool_holding holding;
        if (read_holding(pool, i, &holding) && holding.held_ns >= least_ns) {
            count++;
            on_holding(&holding, data);
        }
    }
    return count;
}

struct text_report {
    const char *pool;
    struct buf *out;
    int rc;
};

static void add_line(const struct pool_holding *holding, void *data)
{
    struct text_report *report = data;
    if (report->rc == 0) {
        report->rc = buf_printf(report->out, "pool %s: held by %s (thread %d) for %.3f s\n",
                                report->pool, holding->holder, holding->thread,
                                (double)holding->held_ns / (double)NS_PER_SECOND);
    }
}

int pool_report_text(struct pool *pool, int64_t least_ns, struct buf *out)
{
    struct text_report report = {pool->name, out, 0};
    (void)pool_report_holdings(pool, least_ns, add_line, &report);
    return report.rc;
}

/* ---- metrics ---- */

static int64_t read_state(struct pool *pool, enum slot_state state)
{
    uint32_t counts[SLOT_DESTROYING + 1] = {0};
    count_states(pool, counts);
    return counts[state];
}

static int64_t read_idle(void *data)
{
    return pool_slots_idle(data);
}

static int64_t read_in_use(void *data)
{
    return read_state(data, SLOT_IN_USE);
}

static int64_t read_creating(void *data)
{
    return read_state(data, SLOT_CREATING);
}

static int64_t read_checking(void *data)
{
    return read_state(data, SLOT_CHECKING);
}

static int64_t read_acquired(void *data)
{
    return (int64_t)sum_acquired(data);
}

static int64_t read_reused(void *data)
{
    return (int64_t)sum_reused(data);
}

/* In millionths. */
static int64_t read_reuse_ratio(void *data)
{
    uint64_t acquired = sum_acquired(data);
    return acquired == 0 ? 0 : (int64_t)(sum_reused(data) * 1000000 / acquired);
}

static int64_t read_waiting(void *data)
{
    struct pool_stats stats;
    pool_report_stats(data, &stats);
    return stats.waiting;
}

static int64_t read_target(void *data)
{
    struct pool_stats stats;
    pool_report_stats(data, &stats);
    return stats.target;
}

static int64_t read_limit(void *data)
{
    return atomic_load(&((struct pool *)data)->max);
}

static int64_t read_circuit(void *data)
{
    struct pool_stats stats;
    pool_report_stats(data, &stats);
    return stats.circuit_open;
}

#define RESOURCES "log_capturer_pool_resources"
#define RESOURCES_HELP "Resources of a pool, by state."

/* One series of a pool; state_label is NULL where there is none. */
struct row {
    struct metric *metric;
    struct metric_desc desc;
    const char *label, *value; /* beside the pool's, or NULL */
};

static int add_row(struct pool *pool, struct metrics *metrics, const struct row *row)
{
    struct buf labels;
    struct metric_desc desc = row->desc;
    buf_init(&labels, 0);
    int rc = metrics_append_label(&labels, "pool", pool->name);
    if (rc == 0 && row->label != NULL) {
        rc = metrics_append_label(&labels, row->label, row->value);
    }
    desc.labels = rc == 0 ? buf_terminated(&labels) : NULL;
    desc.data = pool;
    rc = desc.labels == NULL ? -ENOMEM : metrics_add(metrics, row->metric, &desc);
    buf_finish(&labels);
    return rc;
}

static int add_counters(struct pool *pool, struct metrics *metrics)
{
    const struct row rows[] = {
        {&pool->created,
         {.name = "log_capturer_pool_created_total", .help = "Resources created."},
         NULL,
         NULL},
        {&pool->create_failures,
         {.name = "log_capturer_pool_create_failures_total",
          .help = "Attempts to create a resource that failed."},
         NULL,
         NULL},
        {&pool->timeouts,
         {.name = "log_capturer_pool_timeouts_total",
          .help = "Acquirers that got nothing in their time."},
         NULL,
         NULL},
        {&pool->acquired_now,
         {.name = "log_capturer_pool_acquired_total",
          .help = "Times that a resource was acquired.",
          .read = read_acquired},
         NULL,
         NULL},
        {&pool->reused_now,
         {.name = "log_capturer_pool_reused_total",
          .help = "Of these, times that the resource had been used before.",
          .read = read_reused},
         NULL,
         NULL},
    };
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof(rows) / sizeof(rows[0]); i++) {
        rc = add_row(pool, metrics, &rows[i]);
    }
    return rc;
}

static int add_gauges(struct pool *pool, struct metrics *metrics)
{
    const struct {
        struct metric *metric;
        const char *name, *help;
        int64_t (*read)(void *data);
        const char *state;
        double scale;
    } rows[] = {
        {&pool->idle_now, RESOURCES, RESOURCES_HELP, read_idle, "idle", 1},
        {&pool->in_use_now, RESOURCES, RESOURCES_HELP, read_in_use, "in_use", 1},
        {&pool->creating_now, RESOURCES, RESOURCES_HELP, read_creating, "creating", 1},
        {&pool->checking_now, RESOURCES, RESOURCES_HELP, read_checking, "checking", 1},
        {&pool->waiters_now, "log_capturer_pool_waiters", "Acquirers that wait.", read_waiting,
         NULL, 1},
        {&pool->reuse_ratio, "log_capturer_pool_reuse_ratio",
         "Share of the acquired that had been used before.", read_reuse_ratio, NULL, 1e-6},
        {&pool->target_now, "log_capturer_pool_target", "Resources that are kept.", read_target,
         NULL, 1},
        {&pool->limit_now, "log_capturer_pool_limit", "Resources that there may be.", read_limit,
         NULL, 1},
        {&pool->circuit_now, "log_capturer_pool_circuit_open",
         "1 after too many failures to create in a row, until one succeeds.", read_circuit, NULL,
         1},
    };
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof(rows) / sizeof(rows[0]); i++) {
        rc = add_row(pool, metrics,
                     &(struct row){rows[i].metric,
                                   {.type = METRIC_GAUGE,
                                    .name = rows[i].name,
                                    .help = rows[i].help,
                                    .read = rows[i].read,
                                    .scale = rows[i].scale},
                                   rows[i].state != NULL ? "state" : NULL,
                                   rows[i].state});
    }
    return rc;
}

static int add_ends(struct pool *pool, struct metrics *metrics)
{
    static const char *const reasons[POOL_ENDS] = {"idle",      "age",    "surplus",
                                                   "unhealthy", "reset",  "discarded",
                                                   "flushed",   "closed", "detached"};
    int rc = 0;
    for (int i = 0; rc == 0 && i < POOL_ENDS; i++) {
        rc = add_row(pool, metrics,
                     &(struct row){&pool->ended[i],
                                   {.name = "log_capturer_pool_destroyed_total",
                                    .help = "Resources that left the pool, by reason."},
                                   "reason",
                                   reasons[i]});
    }
    return rc;
}

static int add_histogram(struct pool *pool, struct metrics *metrics,
                         struct metric_histogram *histogram, const struct metric_desc *desc)
{
    struct buf labels;
    struct metric_desc labelled = *desc;
    buf_init(&labels, 0);
    int rc = metrics_append_label(&labels, "pool", pool->name);
    labelled.labels = rc == 0 ? buf_terminated(&labels) : NULL;
    labelled.scale = 1e-9;
    rc = labelled.labels == NULL
             ? -ENOMEM
             : metrics_add_histogram(metrics, histogram, &labelled,
                                     histogram == &pool->wait_seconds ? 16000 : NS_PER_SECOND / 4);
    buf_finish(&labels);
    return rc;
}

int pool_register_metrics(struct pool *pool, struct metrics *metrics)
{
    int rc = add_counters(pool, metrics);
    rc = rc != 0 ? rc : add_gauges(pool, metrics);
    rc = rc != 0 ? rc : add_ends(pool, metrics);
    rc = rc != 0 ? rc
                 : add_histogram(pool, metrics, &pool->wait_seconds,
                                 &(struct metric_desc){
                                     .name = "log_capturer_pool_wait_seconds",
                                     .help = "Time that acquirers waited who found none idle."});
    rc = rc != 0 ? rc
                 : add_histogram(
                       pool, metrics, &pool->lifetime_seconds,
                       &(struct metric_desc){.name = "log_capturer_pool_lifetime_seconds",
                                             .help = "Age of resources when they left the pool."});
    if (rc != 0) {
        pool_report_finish(pool);
    }
    return rc;
}

void pool_report_finish(struct pool *pool)
{
    struct metric *const all[] = {&pool->created,           &pool->create_failures,
                                  &pool->timeouts,          &pool->in_use_now,
                                  &pool->idle_now,          &pool->creating_now,
                                  &pool->checking_now,      &pool->waiters_now,
                                  &pool->acquired_now,      &pool->reused_now,
                                  &pool->reuse_ratio,       &pool->target_now,
                                  &pool->limit_now,         &pool->circuit_now,
                                  &pool->wait_seconds.base, &pool->lifetime_seconds.base};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        metric_finish(all[i]);
    }
    for (int i = 0; i < POOL_ENDS; i++) {
        metric_finish(&pool->ended[i]);
    }
}
