/*
 * One client: connect, send a request, read its echo, check it; then again, on the same connection or a
 * new one. It reads while it writes, so that large requests do not stop each other.
 *
 * A request's bytes follow from the client's number and the request's, so an answer that belongs to somebody
 * else, or comes late, does not pass.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/backoff.h"
#include "bench.h"

#define READ_BYTES ((size_t)256 * 1024)
#define WRITE_BYTES ((size_t)64 * 1024) /* at a time */
#define ERROR_PAUSE_NS INT64_C(10000000)

struct client {
    struct list link;
    struct bench_thread *thread;
    struct loop_fd source;
    struct loop_timer timer; /* time-out of a request; pause before the next */
    uint32_t number;
    int fd; /* -1: none */
    bool connected, waiting, retiring, first_answer;
    uint64_t request; /* number of the present or next one */
    uint64_t seed;    /* of its bytes */
    size_t sent, got, size;
    int64_t due_ns;   /* when it was to begin */
    int64_t begun_ns; /* of the request */
    int64_t dialed_ns;
    int64_t interval_ns; /* of the schedule; 0: none */
};

static void begin_request(struct client *client);

static int64_t now_ns(const struct client *client)
{
    return loop_now_ns(client->thread->loop);
}

/* ---- counting ---- */

static void lock(struct client *client)
{
    (void)pthread_mutex_lock(&client->thread->lock);
}

static void unlock(struct client *client)
{
    (void)pthread_mutex_unlock(&client->thread->lock);
}

static void count_error(struct client *client, enum bench_error error)
{
    lock(client);
    client->thread->total.errors[error]++;
    client->thread->interval.errors[error]++;
    unlock(client);
}

static void count_answer(struct client *client, int64_t now)
{
    uint64_t latency = (uint64_t)(now - client->due_ns);
    struct bench_counts *const counts[] = {&client->thread->total, &client->thread->interval};
    lock(client);
    for (int i = 0; i < 2; i++) {
        counts[i]->requests++;
        counts[i]->bytes += 2 * client->size;
        histogram_record(&counts[i]->latency, latency, 1);
    }
    if (client->first_answer) {
        histogram_record(&counts[0]->first, (uint64_t)(now - client->dialed_ns), 1);
    }
    unlock(client);
    client->first_answer = false;
}

static void count_connection(struct client *client, int64_t now)
{
    lock(client);
    client->thread->total.connections++;
    histogram_record(&client->thread->total.connect, (uint64_t)(now - client->dialed_ns), 1);
    unlock(client);
}

/* ---- ends ---- */

static void disconnect(struct client *client)
{
    if (client->fd >= 0) {
        loop_fd_forget(&client->source);
        (void)close(client->fd);
        client->fd = -1;
    }
    client->connected = false;
}

static void park(struct client *client)
{
    disconnect(client);
    loop_timer_disarm(&client->timer);
    list_remove(&client->link);
    list_append(&client->thread->parked, &client->link);
    client->thread->active_count--;
    client->retiring = false;
}

static bool has_requests_left(const struct client *client)
{
    uint64_t limit = client->thread->bench->options->requests;
    return limit == 0 || client->request < limit;
}

/* The next request, when it is due. */
static void go_on(struct client *client)
{
    const struct options *options = client->thread->bench->options;
    client->waiting = false;
    if (!options->reuse) {
        disconnect(client);
    }
    client->request++;
    if (!has_requests_left(client)) {
        (void)atomic_fetch_sub(&client->thread->bench->left, 1);
        park(client);
    } else if (client->retiring) {
        park(client);
    } else {
        int64_t now = now_ns(client);
        int64_t pause = options->pause_ns;
        client->due_ns = client->interval_ns > 0 ? client->due_ns + client->interval_ns
                                                 : now + pause;
        if (client->due_ns > now) {
            loop_timer_arm(&client->timer, client->due_ns - now);
        } else {
            begin_request(client);
        }
    }
}

static void fail(struct client *client, enum bench_error error)
{
    count_error(client, error);
    disconnect(client);
    client->waiting = false;
    if (client->retiring) {
        park(client);
        return;
    }
    /* The same request again, a little later. */
    client->due_ns = now_ns(client) + ERROR_PAUSE_NS;
    loop_timer_arm(&client->timer, ERROR_PAUSE_NS);
}

/* ---- bytes ---- */

static unsigned char byte_at(const struct client *client, size_t at)
{
    uint64_t word = (client->seed + at / 8) * UINT64_C(0x9e3779b97f4a7c15);
    return (unsigned char)(word >> (8 * (at % 8)));
}

static void fill(const struct client *client, char *bytes, size_t from, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (char)byte_at(client, from + i);
    }
}

static bool is_right(const struct client *client, const char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if ((unsigned char)bytes[i] != byte_at(client, client->got + i)) {
            return false;
        }
    }
    return true;
}

/* 0, -EAGAIN, or broken. */
static int send_some(struct client *client)
{
    char bytes[WRITE_BYTES];
    while (client->sent < client->size) {
        size_t size = client->size - client->sent;
        size = size < WRITE_BYTES ? size : WRITE_BYTES;
        fill(client, bytes, client->sent, size);
        ssize_t n = send(client->fd, bytes, size, MSG_NOSIGNAL);
        if (n < 0) {
            return -errno;
        }
        client->sent += (size_t)n;
    }
    return 0;
}

/* 1: the whole answer is there; 0: not yet; negative: an enum bench_error, less one. */
static int receive_some(struct client *client)
{
    char *bytes = client->thread->buffer;
    for (;;) {
        ssize_t n = recv(client->fd, bytes, READ_BYTES, 0);
        if (n < 0 && errno == EAGAIN) {
            return 0;
        }
        if (n <= 0) {
            return -1 - (client->got == 0 ? (int)BENCH_ERROR_REFUSED : (int)BENCH_ERROR_BROKEN);
        }
        if ((size_t)n > client->size - client->got || !is_right(client, bytes, (size_t)n)) {
            return -1 - (int)BENCH_ERROR_MISMATCH;
        }
        client->got += (size_t)n;
        if (client->got == client->size) {
            return 1;
        }
        if ((size_t)n < READ_BYTES) {
            return 0;
        }
    }
}

static void exchange(struct client *client)
{
    int rc = send_some(client);
    int got = receive_some(client);
    if (got > 0) {
        loop_timer_disarm(&client->timer);
        count_answer(client, now_ns(client));
        go_on(client);
    } else if (got < 0) {
        fail(client, (enum bench_error)(-1 - got));
    } else if (rc != 0 && rc != -EAGAIN) {
        fail(client, client->got == 0 ? BENCH_ERROR_REFUSED : BENCH_ERROR_BROKEN);
    }
}

/* ---- connecting ---- */

static void connected(struct client *client)
{
    client->connected = true;
    client->first_answer = true;
    count_connection(client, now_ns(client));
    exchange(client);
}

static void fail_to_connect(struct client *client, int code)
{
    int none = 0;
    (void)atomic_compare_exchange_strong(&client->thread->bench->connect_errno, &none, code);
    fail(client, BENCH_ERROR_CONNECT);
}

/* It was ended, or says what nobody asked for. */
static bool is_over(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n >= 0 || (errno != EAGAIN && errno != EINTR);
}

static void handle_ready(struct loop_fd *source, int events, void *data)
{
    struct client *client = data;
    if (!client->connected) {
        int code = 0;
        socklen_t size = sizeof(code);
        (void)getsockopt(source->fd, SOL_SOCKET, SO_ERROR, &code, &size);
        if (code == ECONNRESET) { /* it was accepted, and turned away before this event */
            fail(client, BENCH_ERROR_REFUSED);
        } else if (code != 0) {
            fail_to_connect(client, code);
        } else if ((events & LOOP_WRITE) != 0) {
            connected(client);
        }
    } else if (client->waiting) {
        exchange(client);
    } else if (is_over(
                   source
                       ->fd)) { /* nothing was asked; the event of the last answer may come late */
        fail(client, BENCH_ERROR_REFUSED);
    }
}

static void dial(struct client *client)
{
    const struct address_list *list = &client->thread->bench->addresses;
    const struct address *address = &list->items[client->number % list->count];
    int one = 1;
    client->dialed_ns = now_ns(client);
    client->fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->fd < 0) {
        fail_to_connect(client, errno);
        return;
    }
    (void)setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    loop_fd_init(&client->source, handle_ready, client);
    int rc = connect(client->fd, (const struct sockaddr *)&address->storage, address->size);
    if ((rc != 0 && errno != EINPROGRESS) ||
        loop_fd_add(client->thread->loop, &client->source, client->fd,
                    LOOP_READ | LOOP_WRITE | LOOP_EDGE) != 0) {
        fail_to_connect(client, errno);
    }
}

static void begin_request(struct client *client)
{
    const struct options *options = client->thread->bench->options;
    client->seed = ((uint64_t)client->number << 32) + client->request * 1000003;
    client->size = (size_t)options->size_bytes;
    client->sent = client->got = 0;
    client->begun_ns = now_ns(client);
    client->waiting = true;
    loop_timer_arm(&client->timer, options->timeout_ns);
    if (client->fd < 0) {
        dial(client);
        return;
    }
    int rc = send_some(client); /* the answer comes with an event */
    if (rc != 0 && rc != -EAGAIN) {
        fail(client, BENCH_ERROR_REFUSED);
    }
}

static void handle_timer(struct loop_timer *timer, void *data)
{
    (void)timer;
    struct client *client = data;
    if (client->waiting) {
        fail(client, BENCH_ERROR_TIMEOUT);
    } else {
        begin_request(client);
    }
}

/* ---- life ---- */

struct client *client_create(struct bench_thread *thread, uint32_t number)
{
    struct client *client = calloc(1, sizeof(*client));
    if (client == NULL) {
        return NULL;
    }
    client->thread = thread;
    client->number = number;
    client->fd = -1;
    loop_timer_init(thread->loop, &client->timer, handle_timer, client);
    list_append(&thread->parked, &client->link);
    return client;
}

struct client *client_of_link(struct list *link)
{
    return container_of(link, struct client, link);
}

void client_start(struct client *client)
{
    const struct options *options = client->thread->bench->options;
    uint64_t most = options->load_test || options->spike ? options->max_clients : options->clients;
    list_remove(&client->link);
    list_append(&client->thread->active, &client->link);
    client->thread->active_count++;
    client->retiring = false;
    client->due_ns = now_ns(client);
    if (options->rate > 0) { /* each begins somewhere in its interval */
        client->interval_ns = (int64_t)(most * 1000000000 / options->rate);
        client->due_ns += jitter(client->interval_ns);
    } else if (options->pause_ns > 0) {
        client->due_ns += jitter(options->pause_ns);
    }
    if (client->due_ns > now_ns(client)) {
        loop_timer_arm(&client->timer, client->due_ns - now_ns(client));
    } else {
        begin_request(client);
    }
}

/* After its request; at once where it has none under way. */
void client_retire(struct client *client)
{
    client->retiring = true;
    if (!client->waiting) {
        park(client);
    }
}

void client_destroy(struct client *client)
{
    disconnect(client);
    loop_timer_disarm(&client->timer);
    list_remove(&client->link);
    free(client);
}
