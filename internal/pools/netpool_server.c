/*
 * A connection that was accepted is a `guest` until TLS and greeting are through; guests are in a
 * list, the oldest first, whose number and time are bounded. Where one more comes, the oldest goes: those
 * who are honest are through in milliseconds, so whoever is oldest is most likely one who stalls.
 */
#include "pools/netpool_server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/list.h"
#include "base/log.h"
#include "base/timestamp.h"
#include "loop/task.h"
#include "loop/timer.h"
#include "pools/netpool_get.h"
#include "pools/pool_make.h"
#include "pools/pool_report.h"

#define MAX_READY 1024
#define MAX_HANDSHAKES 64
#define HANDSHAKE_TIMEOUT_NS (5 * NS_PER_SECOND)
#define ACCEPT_BUDGET 64 /* of one wake-up */
#define TEND_NS NS_PER_SECOND
#define FULL_TABLE_PAUSE_NS (100 * NS_PER_MS) /* when there is no descriptor for an accept */

struct netpool_server {
    struct netpool_server_options options;
    struct cidr_list allow;
    struct pool *pool;
    struct loop_fd listener;
    struct loop_timer tend_timer, pause_timer;
    struct loop_post wake;
    struct list guests; /* the oldest first */
    uint32_t guest_count;
    struct metric accepted, refused[NETPOOL_REFUSALS], guests_now;
};

struct guest {
    struct list link;
    struct netpool_server *server;
    struct loop_fd source;
    struct loop_timer timer;
    struct netpool_conn conn;
    struct netpool_greeter greeter;
    bool secured; /* TLS is through, or there is none */
    struct address peer;
};

const char *netpool_refusal_name(enum netpool_refusal why)
{
    static const char *const names[NETPOOL_REFUSALS] = {"address", "full",    "tls",  "greeting",
                                                        "timeout", "crowded", "fault"};
    return names[why];
}

/* ---- guests ---- */

static void refuse(struct netpool_server *server, const struct address *peer,
                   enum netpool_refusal why, const char *text)
{
    metric_add(&server->refused[why], 1);
    if (server->options.on_refused != NULL) {
        char name[ADDRESS_TEXT_SIZE];
        address_format(peer, name);
        server->options.on_refused(name, why, text, server->options.data);
    }
}

static void guest_leave(struct guest *guest)
{
    loop_fd_remove(&guest->source);
    loop_timer_disarm(&guest->timer);
    list_remove(&guest->link);
    guest->server->guest_count--;
}

static void guest_refuse(struct guest *guest, enum netpool_refusal why, const char *text)
{
    guest_leave(guest);
    conn_finish(&guest->conn.conn);
    refuse(guest->server, &guest->peer, why, text);
    free(guest);
}

static void guest_admit(struct guest *guest)
{
    static const struct pool_wish wish = {.holder = "netpool", .priority = POOL_HIGH};
    struct netpool_server *server = guest->server;
    struct pool_lease lease;
    if (pool_reserve(server->pool, &wish, &lease) != 0) {
        guest_refuse(guest, NETPOOL_REFUSED_FULL, "enough are ready");
        return;
    }
    guest_leave(guest);
    metric_add(&server->accepted, 1);
    netpool_put(server->pool, lease, &guest->conn);
    free(guest);
}

/* 0: through; -EAGAIN: *ret_wants; else it is refused, and gone. */
static int guest_step(struct guest *guest, int *ret_wants)
{
    struct error error = {""};
    if (!guest->secured) {
        int rc = conn_handshake(&guest->conn.conn, &error);
        if (rc != 0) {
            *ret_wants = conn_wants(&guest->conn.conn, LOOP_READ);
            return rc;
        }
        guest->secured = true;
    }
    return netpool_greeter_step(&guest->greeter, &guest->conn.conn, ret_wants, guest->conn.id);
}

static void guest_go_on(struct guest *guest)
{
    int wants = 0;
    int rc = guest_step(guest, &wants);
    if (rc == -EAGAIN) {
        rc = guest->source.loop == NULL ? loop_fd_add(guest->server->options.loop, &guest->source,
                                                      guest->conn.conn.fd, wants)
                                        : loop_fd_modify(&guest->source, wants);
        if (rc == 0) {
            return;
        }
        guest_refuse(guest, NETPOOL_REFUSED_FAULT, strerror(-rc));
    } else if (rc == 0) {
        guest_admit(guest);
    } else {
        guest_refuse(guest, guest->secured ? NETPOOL_REFUSED_GREETING : NETPOOL_REFUSED_TLS,
                     rc == -EBADMSG ? "it does not repeat the greeting" : strerror(-rc));
    }
}

static void handle_guest(struct loop_fd *source, int events, void *data)
{
    (void)source;
    (void)events;
    guest_go_on(data);
}

static void handle_guest_timeout(struct loop_timer *timer, void *data)
{
    (void)timer;
    guest_refuse(data, NETPOOL_REFUSED_TIMEOUT, "not through in time");
}

static void guest_welcome(struct netpool_server *server, int fd, const struct address *peer)
{
    struct guest *guest = calloc(1, sizeof(*guest));
    if (guest == NULL) {
        (void)close(fd);
        refuse(server, peer, NETPOOL_REFUSED_FAULT, "out of memory");
        return;
    }
    guest->server = server;
    guest->peer = *peer;
    guest->secured = server->options.tls == NULL;
    conn_init(&guest->conn.conn, fd);
    loop_fd_init(&guest->source, handle_guest, guest);
    loop_timer_init(server->options.loop, &guest->timer, handle_guest_timeout, guest);
    netpool_greeter_init(&guest->greeter, true);
    if (server->guest_count >= server->options.max_handshakes) {
        guest_refuse(container_of(server->guests.next, struct guest, link), NETPOOL_REFUSED_CROWDED,
                     "too many are in the handshake");
    }
    list_append(&server->guests, &guest->link);
    server->guest_count++;
    loop_timer_arm(&guest->timer, server->options.handshake_timeout_ns);
    if (!guest->secured && conn_start_tls(&guest->conn.conn, server->options.tls, NULL) != 0) {
        guest_refuse(guest, NETPOOL_REFUSED_FAULT, "out of memory");
        return;
    }
    guest_go_on(guest);
}

/* ---- accepting ---- */

static void handle_connections(struct loop_fd *source, int events, void *data)
{
    (void)events;
    struct netpool_server *server = data;
    for (int i = 0; i < ACCEPT_BUDGET; i++) {
        struct address peer = {.size = sizeof(peer.storage)};
        int fd = accept4(source->fd, (struct sockaddr *)&peer.storage, &peer.size,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
            refuse(server, &peer, NETPOOL_REFUSED_FAULT, strerror(errno));
            (void)loop_fd_modify(&server->listener, 0); /* it stays readable */
            loop_timer_arm(&server->pause_timer, FULL_TABLE_PAUSE_NS);
            return;
        }
        if (fd < 0) {
            return;
        }
        if (!cidr_list_contains(&server->allow, &peer)) {
            (void)close(fd);
            refuse(server, &peer, NETPOOL_REFUSED_ADDRESS, "its address is not allowed");
            continue;
        }
        guest_welcome(server, fd, &peer);
    }
}

static void handle_pause(struct loop_timer *timer, void *data)
{
    (void)timer;
    struct netpool_server *server = data;
    if (server->listener.loop != NULL) {
        (void)loop_fd_modify(&server->listener, LOOP_READ);
    }
}

static void handle_tend(struct loop_timer *timer, void *data)
{
    struct netpool_server *server = data;
    (void)pool_tend(server->pool);
    loop_timer_arm(timer, TEND_NS);
}

static void stop(struct netpool_server *server)
{
    loop_fd_remove(&server->listener);
    loop_timer_disarm(&server->pause_timer);
    loop_timer_disarm(&server->tend_timer);
    while (!list_empty(&server->guests)) {
        struct guest *guest = container_of(server->guests.next, struct guest, link);
        guest_leave(guest);
        conn_finish(&guest->conn.conn);
        free(guest);
    }
}

static void handle_wake(struct loop_post *post, void *data)
{
    (void)post;
    stop(data);
}

/* ---- metrics ---- */

static int64_t read_guests(void *data)
{
    return ((struct netpool_server *)data)->guest_count;
}

static int add_refusals(struct netpool_server *server, struct buf *labels)
{
    size_t size = labels->size;
    int rc = 0;
    for (int i = 0; rc == 0 && i < NETPOOL_REFUSALS; i++) {
        labels->size = size;
        rc = metrics_append_label(labels, "reason", netpool_refusal_name((enum netpool_refusal)i));
        const char *text = buf_terminated(labels);
        rc = rc != 0 || text == NULL
                 ? -ENOMEM
                 : metrics_add(server->options.metrics, &server->refused[i],
                               &(struct metric_desc){.name = "log_capturer_netpool_refused_total",
                                                     .help = "Connections refused, by reason.",
                                                     .labels = text});
    }
    return rc;
}

static int register_metrics(struct netpool_server *server)
{
    struct metrics *metrics = server->options.metrics;
    struct buf labels;
    buf_init(&labels, 0);
    int rc = metrics_append_label(&labels, "pool", server->options.name);
    const char *text = buf_terminated(&labels);
    rc = rc != 0 || text == NULL ? -ENOMEM : pool_register_metrics(server->pool, metrics);
    rc = rc != 0 ? rc
                 : metrics_add(
                       metrics, &server->accepted,
                       &(struct metric_desc){.name = "log_capturer_netpool_accepted_total",
                                             .help = "Connections that became ready to be taken.",
                                             .labels = text});
    rc = rc != 0 ? rc
                 : metrics_add(metrics, &server->guests_now,
                               &(struct metric_desc){.type = METRIC_GAUGE,
                                                     .name = "log_capturer_netpool_handshakes",
                                                     .help = "Connections in the handshake.",
                                                     .labels = text,
                                                     .read = read_guests,
                                                     .data = server});
    rc = rc != 0 ? rc : add_refusals(server, &labels);
    buf_finish(&labels);
    return rc;
}

static void finish_metrics(struct netpool_server *server)
{
    metric_finish(&server->accepted);
    metric_finish(&server->guests_now);
    for (int i = 0; i < NETPOOL_REFUSALS; i++) {
        metric_finish(&server->refused[i]);
    }
}

/* ---- life ---- */

static void apply_defaults(struct netpool_server_options *options)
{
    options->max_ready = options->max_ready > 0 ? options->max_ready : MAX_READY;
    options->max_handshakes = options->max_handshakes > 0 ? options->max_handshakes
                                                          : MAX_HANDSHAKES;
    options->handshake_timeout_ns = options->handshake_timeout_ns > 0
                                        ? options->handshake_timeout_ns
                                        : HANDSHAKE_TIMEOUT_NS;
}

static int set_up(struct netpool_server *server, struct error *error)
{
    const struct netpool_server_options *options = &server->options;
    struct pool_options pool = {.name = options->name,
                                .type = &netpool_type,
                                .data = server,
                                .clock = loop_clock(options->loop),
                                .max = options->max_ready,
                                .check_idle_ns = 0};
    int rc = cidr_list_parse(options->allow, &server->allow, error);
    rc = rc != 0 ? rc : pool_create(&pool, &server->pool, error);
    if (rc == 0 && options->metrics != NULL) {
        rc = register_metrics(server);
        error_set(rc != 0 ? error : NULL, "out of memory");
    }
    if (rc == 0) {
        rc = loop_fd_add(options->loop, &server->listener, options->listen_fd, LOOP_READ);
        error_set(rc != 0 ? error : NULL, "the listening socket can't be watched: %s",
                  strerror(-rc));
    }
    return rc;
}

int netpool_server_create(const struct netpool_server_options *options,
                          struct netpool_server **ret_server, struct error *error)
{
    struct netpool_server *server = calloc(1, sizeof(*server));
    if (server == NULL) {
        error_set(error, "out of memory");
        return -ENOMEM;
    }
    server->options = *options;
    apply_defaults(&server->options);
    list_init(&server->guests);
    loop_fd_init(&server->listener, handle_connections, server);
    loop_timer_init(options->loop, &server->tend_timer, handle_tend, server);
    loop_timer_init(options->loop, &server->pause_timer, handle_pause, server);
    loop_post_add(options->loop, &server->wake, handle_wake, server);
    int rc = set_up(server, error);
    if (rc != 0) {
        error_prefix(error, "netpool %s", options->name);
        netpool_server_destroy(server);
        return rc;
    }
    loop_timer_arm(&server->tend_timer, TEND_NS);
    *ret_server = server;
    return 0;
}

void netpool_server_destroy(struct netpool_server *server)
{
    if (server == NULL) {
        return;
    }
    stop(server);
    finish_metrics(server);
    pool_destroy(server->pool);
    loop_post_remove(&server->wake);
    cidr_list_finish(&server->allow);
    free(server);
}

/* ---- any thread ---- */

int netpool_server_get(struct netpool_server *server, int64_t timeout_ns,
                       struct netpool_conn *ret_conn, struct error *error)
{
    return netpool_take(server->pool, NULL, timeout_ns, ret_conn, error);
}

struct pool *netpool_server_pool(struct netpool_server *server)
{
    return server->pool;
}

void netpool_server_cancel(struct netpool_server *server)
{
    (void)pool_close(server->pool, 0);
    loop_post_send(&server->wake);
}

uint32_t netpool_server_active(struct netpool_server *server)
{
    struct pool_stats stats;
    pool_report_stats(server->pool, &stats);
    return stats.idle;
}

uint64_t netpool_server_refused(const struct netpool_server *server, enum netpool_refusal why)
{
    return (uint64_t)metric_get(&server->refused[why]);
}
