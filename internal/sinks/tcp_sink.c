/*
 * A send takes a connection from the upstream, writes the batch, and looks at what the kernel still holds
 * of it (SIOCOUTQ) until that is nothing. A batch that could not be written whole is written whole again,
 * over another connection.
 */
#include "sinks/tcp_sink.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/str.h"
#include "base/timestamp.h"
#include "pools/upstream.h"
#include "pools/upstream_conn.h"
#include "process/format.h"

#define ADDRESS_COUNT_LIMIT 64
#define CONNECTIONS                                                                                \
    2 /* of each address: one batch is under way, another connection may be ending */
#define IDLE_LIMIT_NS (60 * NS_PER_SECOND)
#define KEEP_ALIVE_NS (30 * NS_PER_SECOND)
#define HEALTH_NS (2 * NS_PER_SECOND)
#define LOOK_FIRST_NS (100 * INT64_C(1000)) /* at what is not acknowledged; doubles */
#define LOOK_LIMIT_NS (20 * NS_PER_MS)

struct options {
    struct text_list addresses;
    char *format, *strategy, *tls_mode, *ca, *cert, *key;
    int64_t timeout_ns;
};

#define AT(member) offsetof(struct options, member)
static const struct option_row rows[] = {
    {"addresses", OPTION_LIST, AT(addresses), NULL, NULL, 0, 0, NULL, true,
     "HOST:PORT of each target; batches are shared out among those that are well."},
    {"format", OPTION_CHOICE, AT(format), "json", "json|text|logfmt", 0, 0, NULL, true,
     "What is written for each line; json is the object of `search -o json`."},
    {"strategy", OPTION_CHOICE, AT(strategy), "round-robin",
     "round-robin|least-connections|random|p2c", 0, 0, NULL, true,
     "Which address the next batch goes to."},
    {"timeout", OPTION_DURATION, AT(timeout_ns), "30s", NULL, NS_PER_SECOND / 10,
     3600 * NS_PER_SECOND, NULL, true, "To connect, and until a batch is acknowledged."},
    {"tls.mode", OPTION_CHOICE, AT(tls_mode), "none", "none|verified|unverified", 0, 0, NULL, true,
     "verified checks the server's certificate and name; TLS 1.3."},
    {"tls.ca", OPTION_TEXT, AT(ca), "", NULL, 0, 0, NULL, true,
     "Certificates that the server's is checked against; empty: the system's."},
    {"tls.cert", OPTION_TEXT, AT(cert), "", NULL, 0, 0, NULL, true, "Client certificate."},
    {"tls.key", OPTION_TEXT, AT(key), "", NULL, 0, 0, NULL, true, "Its key."},
    {.path = NULL}};

struct state {
    struct sink_context context;
    const struct options *options;
    enum format_kind format;
    struct resolver *resolver;
    struct tls_context *tls;
    struct upstream *upstream;
    struct error text; /* of the last failure */
};

/* ---- settings ---- */

static int check(const struct sink_settings *settings, struct error *error)
{
    const struct options *options = settings->options;
    struct hostport hostport;
    struct error reason = {""};
    if (options->addresses.count == 0 || options->addresses.count > ADDRESS_COUNT_LIMIT) {
        error_set(error, "addresses: 1 to %d of HOST:PORT are expected", ADDRESS_COUNT_LIMIT);
        return -EINVAL;
    }
    for (size_t i = 0; i < options->addresses.count; i++) {
        const char *item = options->addresses.items[i];
        if (hostport_parse(item, &hostport, &reason) != 0 || hostport.host[0] == '\0' ||
            hostport.port == 0) {
            error_set(error, "addresses: '%.80s' is no HOST:PORT", item);
            return -EINVAL;
        }
        for (size_t j = 0; j < i; j++) {
            if (strcmp(item, options->addresses.items[j]) == 0) {
                error_set(error, "addresses: '%.80s' is there twice", item);
                return -EINVAL;
            }
        }
    }
    bool has_files = options->ca[0] != '\0' || options->cert[0] != '\0' || options->key[0] != '\0';
    if (strcmp(options->tls_mode, "none") == 0 && has_files) {
        error_set(error, "tls.ca, tls.cert and tls.key need tls.mode verified or unverified");
        return -EINVAL;
    }
    if ((options->cert[0] == '\0') != (options->key[0] == '\0')) {
        error_set(error, "tls.cert and tls.key go together");
        return -EINVAL;
    }
    return 0;
}

/* ---- life ---- */

static void handle_change(const char *backend, const char *text, void *data)
{
    const struct state *state = data;
    log_info("sink %s: %s: %s", state->context.name, backend, text);
}

static int create_tls(struct state *state, struct error *error)
{
    const struct options *options = state->options;
    if (strcmp(options->tls_mode, "none") == 0) {
        return 0;
    }
    return tls_context_create(
        &(struct tls_options){.verify = strcmp(options->tls_mode, "verified") == 0,
                              .ca = options->ca,
                              .cert = options->cert,
                              .key = options->key},
        &state->tls, error);
}

static int create_upstream(struct state *state, struct error *error)
{
    const struct options *options = state->options;
    struct upstream_options upstream = {
        .name = state->context.name,
        .loop = state->context.loop,
        .metrics = state->context.metrics,
        .resolver = state->resolver,
        .tls = state->tls,
        .connections = CONNECTIONS,
        .idle_limit_ns = IDLE_LIMIT_NS,
        .keep_alive_ns = KEEP_ALIVE_NS,
        .connect_timeout_ns = options->timeout_ns < 5 * NS_PER_SECOND ? options->timeout_ns : 0,
        .health = {.interval_ns = options->addresses.count > 1 ? HEALTH_NS : 0},
        .ejection = {.failures = options->addresses.count > 1 ? 1 : 0},
        .stop_fd = state->context.stop_fd,
        .on_change = handle_change,
        .data = state};
    int rc = balance_strategy_parse(options->strategy, &upstream.strategy, error);
    rc = rc != 0 ? rc : upstream_create(&upstream, &state->upstream, error);
    for (size_t i = 0; rc == 0 && i < options->addresses.count; i++) {
        rc = upstream_add(state->upstream, options->addresses.items[i], 1, error);
    }
    return rc;
}

static void destroy(void *sink)
{
    struct state *state = sink;
    upstream_destroy(state->upstream);
    resolver_destroy(state->resolver);
    tls_context_destroy(state->tls);
    free(state);
}

static int create(const struct sink_context *context, const struct sink_settings *settings,
                  void **ret_sink, struct error *error)
{
    struct state *state = calloc(1, sizeof(*state));
    if (state == NULL) {
        error_set(error, "out of memory");
        return -ENOMEM;
    }
    state->context = *context;
    state->options = settings->options;
    int rc = format_kind_parse(state->options->format, &state->format);
    rc = rc != 0 ? rc : resolver_create(context->loop, &state->resolver);
    rc = rc != 0 ? rc : create_tls(state, error);
    rc = rc != 0 ? rc : create_upstream(state, error);
    if (rc != 0) {
        destroy(state);
        return rc;
    }
    *ret_sink = state;
    return 0;
}

static void count_connections(const struct backend_status *status, void *data)
{
    *(int64_t *)data += (int64_t)status->active + status->idle;
}

static int64_t connections(void *sink)
{
    struct state *state = sink;
    int64_t count = 0;
    upstream_status(state->upstream, count_connections, &count);
    return count;
}

/* ---- sending ---- */

static int encode(void *sink, const struct sink_slice *slice, struct buf *out)
{
    const struct state *state = sink;
    static const struct format_text_style plain;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < slice->count; i++) {
        const struct sink_record *record = &slice->records[i];
        rc = format_record(out, state->format, &record->origin->view, &record->record, &plain);
    }
    return rc;
}

static int64_t monotonic_ns(void)
{
    return clock_monotonic_ns(clock_real());
}

/* Until the socket is ready, the time is over, or the sink must end. */
static int wait_for(const struct state *state, int fd, int wants, int64_t deadline_ns)
{
    struct pollfd fds[2] = {{.fd = fd, .events = wants == LOOP_READ ? POLLIN : POLLOUT},
                            {.fd = state->context.stop_fd, .events = POLLIN}};
    int64_t left_ns = deadline_ns - monotonic_ns();
    if (left_ns <= 0) {
        return -ETIMEDOUT;
    }
    int n = poll(fds, 2, (int)(left_ns / NS_PER_MS) + 1);
    return n < 0 && errno != EINTR ? -errno : fds[1].revents != 0 ? -ECANCELED : 0;
}

static int write_all(const struct state *state, struct conn *conn, const struct buf *bytes,
                     int64_t deadline_ns)
{
    size_t done = 0;
    int rc = 0;
    while (rc == 0 && done < bytes->size) {
        ssize_t n = conn_write(conn, bytes->data + done, bytes->size - done);
        if (n >= 0) {
            done += (size_t)n;
        } else {
            rc = n == -EAGAIN ? wait_for(state, conn->fd, conn_wants(conn, LOOP_WRITE), deadline_ns)
                              : (int)n;
        }
    }
    return rc;
}

/* Until the target's TCP has all of it. */
static int wait_for_acknowledgement(const struct state *state, struct conn *conn,
                                    int64_t deadline_ns)
{
    int64_t pause_ns = LOOK_FIRST_NS;
    for (;;) {
        int left = conn_unacknowledged(conn);
        if (left < 0) {
            return left;
        }
        if (conn_activity(conn) == CONN_OVER) {
            return -ECONNRESET;
        }
        if (left == 0) {
            return 0;
        }
        struct pollfd stop = {.fd = state->context.stop_fd, .events = POLLIN};
        const struct timespec pause = {.tv_nsec = pause_ns};
        if (monotonic_ns() >= deadline_ns) {
            return -ETIMEDOUT;
        }
        if (ppoll(&stop, 1, &pause, NULL) > 0) {
            return -ECANCELED;
        }
        pause_ns = 2 * pause_ns < LOOK_LIMIT_NS ? 2 * pause_ns : LOOK_LIMIT_NS;
    }
}

static int deliver(struct state *state, const struct buf *bytes)
{
    struct upstream_lease lease;
    int64_t deadline_ns = monotonic_ns() + state->options->timeout_ns;
    int rc = upstream_acquire(state->upstream, state->options->timeout_ns, &lease, &state->text);
    if (rc != 0) {
        return rc;
    }
    rc = write_all(state, lease.conn, bytes, deadline_ns);
    rc = rc != 0 ? rc : wait_for_acknowledgement(state, lease.conn, deadline_ns);
    if (rc != 0) {
        error_set(&state->text, "%s: %s", backend_name(lease.backend),
                  rc == -ETIMEDOUT ? "it takes nothing, or does not acknowledge it"
                                   : strerror(-rc));
        if (rc != -ECANCELED) {
            backend_report_failure(lease.backend, state->text.text);
        }
    }
    upstream_release(&lease, rc != 0);
    return rc;
}

static void send_batch(void *sink, struct sink_delivery *delivery)
{
    struct state *state = sink;
    int rc = deliver(state, delivery->payload);
    state->context.answer(
        delivery, &(struct sink_response){.rc = rc, .text = rc != 0 ? state->text.text : NULL},
        state->context.data);
}

static enum sink_verdict judge(void *sink, const struct sink_response *response)
{
    (void)sink;
    return response->rc == 0 ? SINK_DELIVERED : SINK_UNREACHABLE;
}

const struct sink_type tcp_sink = {
    .name = "tcp",
    .help = "A TCP port that takes lines, or several; with TLS or without. Delivered is what the "
            "target's TCP has acknowledged: a target that dies then may lose it.",
    .options = rows,
    .options_bytes = sizeof(struct options),
    .defaults = {.batch_bytes = "256KiB"},
    .one_batch = true,
    .check = check,
    .create = create,
    .destroy = destroy,
    .encode = encode,
    .send = send_batch,
    .judge = judge,
    .connections = connections,
};
