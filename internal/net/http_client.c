/*
 * The client: the multi's sockets and timer within the loop, paced reading, the idle pool.
 *
 * Paced reading. dockerd writes each line as a chunk of its own; a reader that answers at once is
 * woken for each line, and dockerd pays for each wake-up. So the sockets of follows live in an
 * epoll set of their own, which the loop watches one-shot. When it fires, a timer of one tick
 * starts; when that is over, all ready follows are read in one round. The tick adapts: half after
 * a round whose largest read was over 20 KiB, a quarter longer after one under 8 KiB, 0.1 to 10 ms.
 *
 * Fairness. One socket_action() reads up to 100 buffers of a stream. A stream that has had its
 * share of a round is paused and goes on in the next one; a round ends at its own limit, and the
 * loop looks at everything else in between.
 *
 * The idle pool. libcurl counts CURLMOPT_MAXCONNECTS against all connections of the share, those in
 * use included, and looks at it when a transfer gives its connection back. So the option follows
 * the number of transfers: transfers + idle limit - 1. libcurl chooses the oldest idle connection
 * whoever it goes to, so with several targets the limits of those in use are one sum.
 *
 * Rejected: CURLMOPT_MAX_TOTAL_CONNECTIONS (hangs with a shared pool on 7.88, ignored by 8.x), and
 * a share between threads (not supported by libcurl for connections).
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "net/http_private.h"

#define TICK_MIN_NS (100 * INT64_C(1000))
#define TICK_MAX_NS (10 * INT64_C(1000000))
#define READ_LARGE_BYTES 20480
#define READ_SMALL_BYTES 8192
#define ROUND_LIMIT_BYTES (1024U * 1024U)
#define ROUND_BATCH 16
#define RECONCILE_NS (10 * INT64_C(1000000000))
#define FDS_KEPT_FREE 128 /* for segments, sinks, the HTTP server and control calls */

static void run_socket(struct http_client *client, int fd, int curl_events)
{
    int running;
    (void)curl_multi_socket_action(client->multi, fd, curl_events, &running);
    http_client_drain_messages(client);
}

static int to_curl_events(int events)
{
    return ((events & LOOP_READ) != 0 ? CURL_CSELECT_IN : 0) |
           ((events & LOOP_WRITE) != 0 ? CURL_CSELECT_OUT : 0);
}

static void handle_socket_event(struct loop_fd *source, int events, void *data)
{
    run_socket(data, source->fd, to_curl_events(events & source->events));
}

/* ---- paced reading ---- */

static void watch_paced(struct http_client *client)
{
    if (!client->follows_paused && !loop_timer_armed(&client->paced_timer)) {
        loop_fd_modify(&client->paced_source, LOOP_READ | LOOP_ONE_SHOT);
    }
}

static void handle_paced_ready(struct loop_fd *source, int events, void *data)
{
    (void)source;
    (void)events;
    struct http_client *client = data;
    loop_timer_arm(&client->paced_timer, client->tick_ns);
}

static void resume_throttled(struct http_client *client)
{
    struct list batch;
    list_init(&batch);
    while (!list_empty(&client->throttled)) {
        struct list *link = client->throttled.next;
        list_remove(link);
        list_append(&batch, link);
    }
    while (!list_empty(&batch)) {
        struct http_stream *stream = container_of(batch.next, struct http_stream, throttled_link);
        list_remove(&stream->throttled_link);
        /* Calls the write callback at once; an error there gives no message on 7.88. */
        if (curl_easy_pause(stream->easy, CURLPAUSE_CONT) != CURLE_OK) {
            http_stream_end(stream, HTTP_BROKEN);
        }
    }
    http_client_drain_messages(client);
}

static void adapt_tick(struct http_client *client)
{
    if (client->largest_read > READ_LARGE_BYTES) {
        client->tick_ns /= 2;
    } else if (client->largest_read < READ_SMALL_BYTES) {
        client->tick_ns += client->tick_ns / 4;
    }
    if (client->tick_ns < TICK_MIN_NS) {
        client->tick_ns = TICK_MIN_NS;
    } else if (client->tick_ns > TICK_MAX_NS) {
        client->tick_ns = TICK_MAX_NS;
    }
    metric_set(&client->paced_tick, client->tick_ns);
}

static void handle_round(struct loop_timer *timer, void *data)
{
    (void)timer;
    struct http_client *client = data;
    if (client->follows_paused) {
        return;
    }
    client->round++;
    client->largest_read = 0;
    client->round_bytes = 0;
    resume_throttled(client);
    bool more = true;
    while (more && client->round_bytes < ROUND_LIMIT_BYTES) {
        struct epoll_event events[ROUND_BATCH];
        int n = epoll_wait(client->paced_fd, events, ROUND_BATCH, 0);
        for (int i = 0; i < n; i++) {
            uint32_t ready = events[i].events;
            int fd = events[i].data.fd;
            bool in = (ready & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0;
            bool out = (ready & EPOLLOUT) != 0;
            if (client->sockets.entries[fd]->paced) {
                run_socket(client, fd, (in ? CURL_CSELECT_IN : 0) | (out ? CURL_CSELECT_OUT : 0));
            }
        }
        more = n == ROUND_BATCH;
    }
    metric_add(&client->paced_rounds, 1);
    adapt_tick(client);
    if (!list_empty(&client->throttled) || client->round_bytes >= ROUND_LIMIT_BYTES) {
        loop_timer_arm(&client->paced_timer, 0);
    } else {
        watch_paced(client);
    }
}

void http_client_pause_follows(struct http_client *client, bool paused)
{
    client->follows_paused = paused;
    if (paused) {
        loop_timer_disarm(&client->paced_timer);
    } else {
        loop_timer_arm(&client->paced_timer, 0);
    }
}

/* ---- libcurl's callbacks ---- */

static void forget_paced(struct http_client *client, struct socket_entry *entry, int fd)
{
    if (entry->paced) {
        (void)epoll_ctl(client->paced_fd, EPOLL_CTL_DEL, fd, NULL);
        entry->paced = false;
    }
}

static void watch_as_paced(struct http_client *client, struct socket_entry *entry, int fd, int want)
{
    struct epoll_event event = {.data.fd = fd};
    event.events = ((want & LOOP_READ) != 0 ? (uint32_t)EPOLLIN : 0U) |
                   ((want & LOOP_WRITE) != 0 ? (uint32_t)EPOLLOUT : 0U);
    loop_fd_remove(&entry->source);
    if (epoll_ctl(client->paced_fd, EPOLL_CTL_ADD, fd, &event) != 0 && errno == EEXIST) {
        (void)epoll_ctl(client->paced_fd, EPOLL_CTL_MOD, fd, &event);
    }
    entry->paced = true;
    watch_paced(client);
}

static void watch_in_loop(struct http_client *client, struct socket_entry *entry, int fd, int want)
{
    forget_paced(client, entry, fd);
    entry->source.handle = handle_socket_event;
    entry->source.data = client;
    int rc = entry->source.loop != NULL ? loop_fd_modify(&entry->source, want)
                                        : loop_fd_add(client->loop, &entry->source, fd, want);
    (void)rc; /* without memory the transfer's time limit ends it */
}

static int handle_curl_socket(CURL *easy, curl_socket_t fd, int what, void *data, void *socket_data)
{
    (void)socket_data;
    struct http_client *client = data;
    struct socket_entry *entry = sockets_entry(&client->sockets, fd);
    if (entry == NULL) {
        return 0;
    }
    struct http_stream *stream = NULL;
    (void)curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&stream);
    if (what == CURL_POLL_REMOVE) {
        forget_paced(client, entry, fd);
        loop_fd_remove(&entry->source);
        entry->want = 0;
        return 0;
    }
    entry->want = ((what & CURL_POLL_IN) != 0 ? LOOP_READ : 0) |
                  ((what & CURL_POLL_OUT) != 0 ? LOOP_WRITE : 0);
    /* Paced once the answer flows; connecting and asking go at full speed. */
    if (stream != NULL && stream->options.kind == HTTP_FOLLOW && entry->want == LOOP_READ) {
        watch_as_paced(client, entry, fd, entry->want);
    } else {
        watch_in_loop(client, entry, fd, entry->want);
    }
    return 0;
}

static void handle_curl_timeout(struct loop_timer *timer, void *data)
{
    (void)timer;
    run_socket(data, CURL_SOCKET_TIMEOUT, 0);
}

static int handle_curl_timer(CURLM *multi, long timeout_ms, void *data)
{
    (void)multi;
    struct http_client *client = data;
    if (timeout_ms < 0) {
        loop_timer_disarm(&client->curl_timer);
    } else {
        loop_timer_arm(&client->curl_timer, (int64_t)timeout_ms * 1000000);
    }
    return 0;
}

void http_client_drain_messages(struct http_client *client)
{
    int left;
    for (CURLMsg *message; (message = curl_multi_info_read(client->multi, &left)) != NULL;) {
        struct http_stream *stream = NULL;
        (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&stream);
        if (message->msg != CURLMSG_DONE || stream == NULL) {
            continue;
        }
        stream->code = message->data.result;
        switch (stream->code) {
        case CURLE_OK:
            http_stream_end(stream, HTTP_COMPLETE);
            break;
        case CURLE_COULDNT_CONNECT:
        case CURLE_COULDNT_RESOLVE_HOST:
            http_stream_end(stream, HTTP_REFUSED);
            break;
        case CURLE_OPERATION_TIMEDOUT:
            http_stream_end(stream, HTTP_TIMED_OUT);
            break;
        case CURLE_OUT_OF_MEMORY:
            http_stream_end(stream, HTTP_NO_MEMORY);
            break;
        default:
            http_stream_end(stream, HTTP_BROKEN);
        }
    }
}

/* ---- life ---- */

static int64_t count_idle(const struct http_client *client)
{
    int64_t idle = (int64_t)client->sockets.open_count - metric_get(&client->active) -
                   (int64_t)client->sockets_connecting;
    return idle > 0 ? idle : 0;
}

static int64_t read_idle(void *data)
{
    return count_idle(data);
}

static int64_t read_open(void *data)
{
    return (int64_t)((const struct http_client *)data)->sockets.open_count;
}

static int64_t read_connecting(void *data)
{
    return (int64_t)((const struct http_client *)data)->sockets_connecting;
}

static int register_by_kind(struct http_client *client, struct metrics *metrics)
{
    static const char *const transfer_labels[HTTP_KINDS][2] = {
        {"kind=\"call\",connection=\"new\"", "kind=\"call\",connection=\"reused\""},
        {"kind=\"follow\",connection=\"new\"", "kind=\"follow\",connection=\"reused\""},
        {"kind=\"events\",connection=\"new\"", "kind=\"events\",connection=\"reused\""}};
    static const char *const kind_labels[HTTP_KINDS] = {"kind=\"call\"", "kind=\"follow\"",
                                                        "kind=\"events\""};
    int rc = 0;
    for (int i = 0; rc == 0 && i < HTTP_KINDS * 2; i++) {
        rc = metrics_add(
            metrics, &client->transfers_by[i / 2][i % 2],
            &(struct metric_desc){.name = "log_capturer_docker_http_transfers_total",
                                  .help = "Requests by kind and by whether their connection was "
                                          "taken from the pool.",
                                  .labels = transfer_labels[i / 2][i % 2]});
    }
    for (int i = 0; rc == 0 && i < HTTP_KINDS; i++) {
        rc = metrics_add(metrics, &client->waiting_by[i],
                         &(struct metric_desc){.type = METRIC_GAUGE,
                                               .name = "log_capturer_docker_http_waiting",
                                               .help = "Requests that wait for a slot.",
                                               .labels = kind_labels[i]});
    }
    return rc;
}

static int register_metrics(struct http_client *client, struct metrics *metrics)
{
    const struct {
        struct metric *metric;
        struct metric_desc desc;
    } rows[] = {
        {&client->idle,
         {.type = METRIC_GAUGE,
          .name = "log_capturer_docker_http_idle_connections",
          .help = "Connections that wait in the pool.",
          .read = read_idle,
          .data = client}},
        {&client->active,
         {.type = METRIC_GAUGE,
          .name = "log_capturer_docker_http_active_connections",
          .help = "Connections that carry a request."}},
        {&client->connecting,
         {.type = METRIC_GAUGE,
          .name = "log_capturer_docker_http_connecting_connections",
          .help = "Connections being made.",
          .read = read_connecting,
          .data = client}},
        {&client->open,
         {.type = METRIC_GAUGE,
          .name = "log_capturer_docker_http_open_connections",
          .help = "Open sockets to daemons.",
          .read = read_open,
          .data = client}},
        {&client->requests,
         {.name = "log_capturer_docker_http_requests_total", .help = "Requests sent to daemons."}},
        {&client->errors,
         {.name = "log_capturer_docker_http_errors_total",
          .help = "Requests that failed in transport, timed out or were answered with 5xx (501 "
                  "excepted)."}},
        {&client->reused,
         {.name = "log_capturer_docker_http_connections_reused_total",
          .help = "Requests that went over a connection from the pool."}},
        {&client->paced_tick,
         {.type = METRIC_GAUGE,
          .name = "log_capturer_docker_http_read_tick_seconds",
          .help = "Present pace of reading follows.",
          .scale = 1e-9}},
        {&client->paced_rounds,
         {.name = "log_capturer_docker_http_read_rounds_total",
          .help = "Rounds of reading follows."}},
    };
    int rc = sockets_register_metrics(&client->sockets, metrics);
    for (size_t i = 0; rc == 0 && i < sizeof(rows) / sizeof(rows[0]); i++) {
        rc = metrics_add(metrics, rows[i].metric, &rows[i].desc);
    }
    return rc != 0 ? rc : register_by_kind(client, metrics);
}

void http_client_status(const struct http_client *client, struct http_client_status *ret_status)
{
    const struct metric *calls = client->transfers_by[HTTP_CALL];
    *ret_status = (struct http_client_status){.open = (int64_t)client->sockets.open_count,
                                              .active = metric_get(&client->active),
                                              .idle = count_idle(client),
                                              .requests = metric_get(&client->requests),
                                              .errors = metric_get(&client->errors),
                                              .calls = metric_get(&calls[0]) +
                                                       metric_get(&calls[1]),
                                              .calls_reused = metric_get(&calls[1])};
    for (int i = 0; i < HTTP_KINDS; i++) {
        ret_status->waiting += metric_get(&client->waiting_by[i]);
    }
}

static void finish_metrics(struct http_client *client)
{
    struct metric *const all[] = {&client->idle,   &client->active,     &client->connecting,
                                  &client->open,   &client->requests,   &client->errors,
                                  &client->reused, &client->paced_tick, &client->paced_rounds};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        metric_finish(all[i]);
    }
    for (int i = 0; i < HTTP_KINDS; i++) {
        metric_finish(&client->transfers_by[i][0]);
        metric_finish(&client->transfers_by[i][1]);
        metric_finish(&client->waiting_by[i]);
    }
}

static void handle_reconcile(struct loop_timer *timer, void *data)
{
    struct http_client *client = data;
    sockets_reconcile(&client->sockets);
    loop_timer_arm(timer, RECONCILE_NS);
}

static void handle_reap(struct loop_task *task, void *data)
{
    (void)task;
    http_client_reap(data);
}

static int set_up_curl(struct http_client *client)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        return -ENOMEM;
    }
    client->global_init = true;
    client->share = curl_share_init();
    client->multi = curl_multi_init();
    if (client->share == NULL || client->multi == NULL) {
        return -ENOMEM;
    }
    (void)curl_share_setopt(client->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_CONNECT);
    (void)curl_share_setopt(client->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
    (void)curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, handle_curl_socket);
    (void)curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
    (void)curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, handle_curl_timer);
    (void)curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
    return 0;
}

static uint32_t follows_within_fd_limit(uint32_t asked)
{
    struct rlimit limit;
    uint32_t room = UINT32_MAX;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < UINT32_MAX) {
        uint32_t fds = (uint32_t)limit.rlim_cur;
        room = fds > FDS_KEPT_FREE * 2 ? fds - FDS_KEPT_FREE : fds / 2;
    }
    return asked == 0 || asked > room ? room : asked;
}

int http_client_create(const struct http_client_options *options, struct http_client **ret_client)
{
    struct http_client *client = calloc(1, sizeof(*client));
    if (client == NULL) {
        return -ENOMEM;
    }
    client->loop = options->loop;
    client->options = *options;
    client->tick_ns = TICK_MIN_NS;
    client->paced_fd = -1;
    client->follows_limit = follows_within_fd_limit(options->follows_limit);
    list_init(&client->ending);
    list_init(&client->streams);
    list_init(&client->targets);
    list_init(&client->throttled);
    for (int i = 0; i < HTTP_KINDS; i++) {
        list_init(&client->waiting[i]);
    }
    sockets_init(&client->sockets);
    loop_timer_init(client->loop, &client->curl_timer, handle_curl_timeout, client);
    loop_timer_init(client->loop, &client->paced_timer, handle_round, client);
    loop_timer_init(client->loop, &client->reconcile_timer, handle_reconcile, client);
    loop_task_init(&client->reap_task, handle_reap, client);

    int rc = set_up_curl(client);
    if (rc == 0) {
        client->paced_fd = epoll_create1(EPOLL_CLOEXEC);
        rc = client->paced_fd < 0 ? -errno : 0;
    }
    if (rc == 0) {
        loop_fd_init(&client->paced_source, handle_paced_ready, client);
        rc = loop_fd_add(client->loop, &client->paced_source, client->paced_fd,
                         LOOP_READ | LOOP_ONE_SHOT);
    }
    if (rc == 0) {
        rc = register_metrics(client, options->metrics);
    }
    if (rc != 0) {
        http_client_destroy(client);
        return rc;
    }
    loop_timer_arm(&client->reconcile_timer, RECONCILE_NS);
    *ret_client = client;
    return 0;
}

void http_client_shutdown(struct http_client *client)
{
    client->shutting_down = true;
    while (!list_empty(&client->streams) || !list_empty(&client->ending)) {
        struct list *link;
        struct list *next;
        list_for_each_safe(link, next, &client->streams)
        {
            http_stream_end(container_of(link, struct http_stream, link), HTTP_SHUTDOWN);
        }
        http_client_reap(client);
    }
}

void http_client_destroy(struct http_client *client)
{
    if (client == NULL) {
        return;
    }
    http_client_shutdown(client);
    loop_task_cancel(&client->reap_task);
    if (client->multi != NULL) {
        (void)curl_multi_cleanup(client->multi);
    }
    if (client->share != NULL) {
        CURLSHcode code = curl_share_cleanup(client->share);
        assert(code == CURLSHE_OK);
        (void)code;
    }
    loop_timer_disarm(&client->curl_timer);
    loop_timer_disarm(&client->paced_timer);
    loop_timer_disarm(&client->reconcile_timer);
    loop_fd_remove(&client->paced_source);
    if (client->paced_fd >= 0) {
        (void)close(client->paced_fd);
    }
    sockets_finish(&client->sockets);
    finish_metrics(client);
    if (client->global_init) {
        curl_global_cleanup();
    }
    free(client);
}

struct loop *http_client_loop(const struct http_client *client)
{
    return client->loop;
}

size_t http_client_open_sockets(const struct http_client *client)
{
    return client->sockets.open_count;
}

int http_target_create(struct http_client *client, const struct endpoint *endpoint,
                       struct http_target **ret_target)
{
    struct http_target *target = calloc(1, sizeof(*target));
    if (target == NULL) {
        return -ENOMEM;
    }
    *target = (struct http_target){.client = client, .endpoint = *endpoint};
    list_append(&client->targets, &target->link);
    *ret_target = target;
    return 0;
}

void http_target_destroy(struct http_target *target)
{
    if (target != NULL) {
        list_remove(&target->link);
        sockets_disown(&target->client->sockets, &target->open_sockets);
        free(target);
    }
}
