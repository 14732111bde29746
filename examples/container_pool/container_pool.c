/*
 * A test suite over a pool of Redis containers: threads take the cases one after the other; each case takes a
 * container, sees that it is empty, writes to it and reads it back, and gives it back.
 *
 *   example_container_pool --presets FILE [--preset redis] [--size 6] [--threads 8] [--cases 200]
 *   example_container_pool ... --alone         each case starts a container of its own, and removes it
 *
 * Who kills containers meanwhile makes cases fail at the connection; those are run again with another one.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/histogram.h"
#include "base/json.h"
#include "base/option_flags.h"
#include "base/timestamp.h"
#include "containers/containers.h"
#include "net/dial.h"

#define TIMEOUT_NS (10 * NS_PER_SECOND)
#define FILL_TIMEOUT_NS (60 * NS_PER_SECOND)
#define TRIES 20 /* with containers that were killed */

struct options {
    char *presets, *preset;
    uint64_t size, threads, cases;
    bool alone;
};

#define AT(member) offsetof(struct options, member)
static const struct option_row rows[] = {
    {"presets", OPTION_TEXT, AT(presets), "", NULL, 0, 0, NULL, false,
     "File of presets; else the built-in ones."},
    {"preset", OPTION_TEXT, AT(preset), "redis", NULL, 0, 0, NULL, false,
     "What the containers are; they must speak Redis' protocol."},
    {"size", OPTION_COUNT, AT(size), "6", NULL, 1, 100, NULL, false, "Containers."},
    {"threads", OPTION_COUNT, AT(threads), "8", NULL, 1, 100, NULL, false, "That run cases."},
    {"cases", OPTION_COUNT, AT(cases), "200", NULL, 1, 1000000, NULL, false, "To run."},
    {"alone", OPTION_BOOL, AT(alone), "false", NULL, 0, 0, NULL, false,
     "No pool: each case starts a container of its own, and removes it."},
    {.path = NULL}};
static const struct option_flags flags = {
    .program = "example_container_pool",
    .usage = "[FLAGS]",
    .description = "Runs test cases that need a Redis server each, over a pool of containers.",
    .rows = rows,
    .after = "Prints its result as JSON. Exit status: 0 all cases passed, 1 not."};

struct suite {
    const struct options *options;
    struct containers *pool; /* NULL: none */
    atomic_uint_fast64_t next, passed, wrong, broken;
    pthread_mutex_t lock;         /* of what follows */
    struct histogram waits, warm; /* warm: with nobody else about */
    struct error error;
};

/* ---- a case ---- */

/* Sends a command and compares the answer. -ECONNRESET: the connection is of no use. */
static int ask(struct conn *conn, const char *command, const char *expected)
{
    char answer[64];
    size_t size = 0;
    struct pollfd waiting = {.fd = conn->fd, .events = POLLIN};
    if (conn_write(conn, command, strlen(command)) != (ssize_t)strlen(command)) {
        return -ECONNRESET;
    }
    while (size < strlen(expected)) {
        if (poll(&waiting, 1, (int)(TIMEOUT_NS / NS_PER_MS)) <= 0) {
            return -ECONNRESET;
        }
        ssize_t n = conn_read(conn, answer + size, sizeof(answer) - size);
        if (n <= 0 && n != -EAGAIN) {
            return -ECONNRESET;
        }
        size += n > 0 ? (size_t)n : 0;
    }
    return size == strlen(expected) && memcmp(answer, expected, size) == 0 ? 0 : -EBADMSG;
}

static int connect_to(const struct container *container, struct conn *ret_conn)
{
    struct hostport hostport;
    struct address_list addresses;
    int rc = hostport_parse(container->address, &hostport, NULL);
    rc = rc != 0 ? rc : address_resolve(&hostport, &addresses, NULL);
    return rc != 0 ? rc
                   : dial_blocking(
                         &(struct dial_target){.addresses = &addresses, .timeout_ns = TIMEOUT_NS},
                         -1, ret_conn, NULL);
}

/* 0: passed; -EBADMSG: it was not empty, or wrong; else the container is of no use. */
static int try_case(const struct container *container)
{
    struct conn conn;
    int rc = connect_to(container, &conn);
    if (rc != 0) {
        return rc;
    }
    rc = ask(&conn, "DBSIZE\r\n", ":0\r\n");
    rc = rc != 0 ? rc : ask(&conn, "SET case here\r\n", "+OK\r\n");
    rc = rc != 0 ? rc : ask(&conn, "GET case\r\n", "$4\r\nhere\r\n");
    conn_finish(&conn);
    return rc;
}

static int take(struct suite *suite, struct containers *pool, struct histogram *waits,
                const struct container **ret_container)
{
    struct error error;
    int64_t begun_ns = clock_monotonic_ns(clock_real());
    int rc = containers_get(pool, ret_container, &error);
    (void)pthread_mutex_lock(&suite->lock);
    histogram_record(waits, (uint64_t)(clock_monotonic_ns(clock_real()) - begun_ns), 1);
    if (rc != 0) {
        suite->error = error;
    }
    (void)pthread_mutex_unlock(&suite->lock);
    return rc;
}

/* With a container of the pool, or of a pool of one that is made for this case. */
static int run_case(struct suite *suite, struct containers *pool)
{
    const struct container *container;
    int rc = -ECONNRESET;
    for (int i = 0; i < TRIES && rc != 0 && rc != -EBADMSG; i++) {
        rc = take(suite, pool, &suite->waits, &container);
        if (rc != 0) {
            return rc;
        }
        rc = try_case(container);
        if (rc == 0 || rc == -EBADMSG) {
            containers_put(pool, container);
        } else {
            (void)atomic_fetch_add(&suite->broken, 1);
            containers_put_broken(pool, container);
        }
    }
    return rc;
}

static int open_pool(const struct options *options, uint32_t size, struct containers **ret_pool,
                     struct error *error)
{
    const struct containers_options wanted = {
        .preset = options->preset,
        .presets_file = options->presets[0] != '\0' ? options->presets : NULL,
        .size = size};
    return containers_open(&wanted, ret_pool, error);
}

static int run_alone(struct suite *suite)
{
    struct containers *own = NULL;
    int rc = open_pool(suite->options, 1, &own, &suite->error);
    rc = rc != 0 ? rc : run_case(suite, own);
    return containers_close(own) > 0 ? -EBUSY : rc;
}

static void *run_cases(void *data)
{
    struct suite *suite = data;
    while (atomic_fetch_add(&suite->next, 1) < suite->options->cases) {
        int rc = suite->pool != NULL ? run_case(suite, suite->pool) : run_alone(suite);
        (void)atomic_fetch_add(rc == 0 ? &suite->passed : &suite->wrong, 1);
    }
    return NULL;
}

/* ---- the suite ---- */

/* Takes all there are. */
static void measure_warm(struct suite *suite)
{
    size_t size = suite->options->size;
    const struct container **all = calloc(size, sizeof(struct container *));
    size_t taken = 0;
    while (all != NULL && taken < size &&
           take(suite, suite->pool, &suite->warm, &all[taken]) == 0) {
        taken++;
    }
    for (size_t i = 0; i < taken; i++) {
        containers_put(suite->pool, all[i]);
    }
    free(all);
}

static void run_threads(struct suite *suite)
{
    size_t count = suite->options->threads;
    pthread_t threads[100];
    size_t started = 0;
    while (started < count && pthread_create(&threads[started], NULL, run_cases, suite) == 0) {
        started++;
    }
    for (size_t i = 0; i < started; i++) {
        (void)pthread_join(threads[i], NULL);
    }
}

static void print_result(const struct suite *suite, int64_t took_ns, size_t left)
{
    struct json_writer writer;
    struct buf out;
    buf_init(&out, 0);
    json_writer_init(&writer, &out);
    json_open(&writer, NULL, '{');
    json_put_int(&writer, "cases", (int64_t)suite->options->cases);
    json_put_int(&writer, "passed", (int64_t)atomic_load(&suite->passed));
    json_put_int(&writer, "wrong", (int64_t)atomic_load(&suite->wrong));
    json_put_int(&writer, "broken_containers", (int64_t)atomic_load(&suite->broken));
    json_put_int(&writer, "containers_left", (int64_t)left);
    json_put_int(&writer, "took_ms", took_ns / NS_PER_MS);
    json_put_int(&writer, "warm_acquire_us",
                 (int64_t)histogram_percentile(&suite->warm, 100) / 1000);
    json_put_int(&writer, "acquire_p50_us",
                 (int64_t)histogram_percentile(&suite->waits, 50) / 1000);
    json_put_int(&writer, "acquire_p99_us",
                 (int64_t)histogram_percentile(&suite->waits, 99) / 1000);
    json_put_string(&writer, "error", suite->error.text);
    json_close(&writer, '}');
    (void)fprintf(stdout, "%.*s\n", (int)out.size, out.data);
    buf_finish(&out);
}

static int run_suite(const struct options *options)
{
    static struct suite suite;
    int rc = 0;
    suite.options = options;
    (void)pthread_mutex_init(&suite.lock, NULL);
    int64_t begun_ns = clock_monotonic_ns(clock_real());
    if (!options->alone) {
        rc = open_pool(options, (uint32_t)options->size, &suite.pool, &suite.error);
        rc = rc != 0 ? rc : containers_fill(suite.pool, FILL_TIMEOUT_NS, &suite.error);
        if (rc == 0) {
            measure_warm(&suite);
        }
    }
    if (rc == 0) {
        run_threads(&suite);
    }
    size_t left = containers_close(suite.pool);
    print_result(&suite, clock_monotonic_ns(clock_real()) - begun_ns, left);
    (void)pthread_mutex_destroy(&suite.lock);
    return rc == 0 && atomic_load(&suite.passed) == options->cases && left == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct options options = {.presets = NULL};
    int next;
    if (options_init(&options, rows) != 0) {
        return 1;
    }
    enum option_flags_result parsed = option_flags_parse(&flags, argc, argv, &options, &next);
    int status = parsed == OPTION_FLAGS_BAD   ? 2
                 : parsed == OPTION_FLAGS_RUN ? run_suite(&options)
                                              : 0;
    options_finish(&options, rows);
    return status;
}
