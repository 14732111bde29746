/*
 * fake_loki: takes what a loki sink pushes, keeps every line, and answers as it is told to.
 *
 * Each entry becomes one line of JSON in --out, appended before the answer, in the order of arrival,
 * in a form that oracle reads:
 *   {"path":..,"tenant":..,"time_ns":..,"container":{"id":..},"stream":..,"labels":{..},
 *    "metadata":{..},"line":..}     and "line_hex" where the line is not UTF-8
 * container.id is the label or the metadata container_id, else container. A batch is kept whole and
 * answered, or not kept: SIGTERM ends the program between the two never.
 *
 * POST /_fake/<verb>?... tells it what to do:
 *   answer   status=CODE count=N (0: until the next) retry_after=S body=TEXT: pushes are not kept
 *   mode     name=normal|hang|reset|lost|slow|bytes ms=MS
 *              hang: no answer; reset: not kept, RST; lost: kept, then RST; slow: kept and
 *              answered after MS; bytes: the answer goes out byte by byte
 *   reject   text=TEXT status=400: batches with a line that has TEXT are not kept; no text: no more
 *   require  header=NAME value=VALUE: 401 to pushes without; no header: no more
 *   stats    {"requests","kept","lines","unreadable","open","max_open","answers":{"204":..}}
 *   head     the head of the last push
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "fake_dockerd/text.h"
#include "push_request/push_request.h"

#define HEAD_MAX 16384
#define BODY_MAX ((size_t)256 * 1024 * 1024)
#define VALUE_MAX 512

enum mode { MODE_NORMAL, MODE_HANG, MODE_RESET, MODE_LOST, MODE_SLOW, MODE_BYTES };
static const char *const mode_names[] = {"normal", "hang", "reset", "lost", "slow", "bytes"};

struct connection {
    int fd;
    char head[HEAD_MAX + 1];
    size_t used; /* bytes read, the head first */
    size_t head_size;
    char target[VALUE_MAX];
    char *body;
    size_t body_size;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    FILE *out;
    bool discard;
    enum mode mode;
    unsigned mode_number; /* counts changes */
    long mode_ms;
    int status; /* 0: none set */
    long status_count, retry_after;
    char status_body[VALUE_MAX];
    char reject[VALUE_MAX];
    int reject_status;
    char require_header[VALUE_MAX], require_value[VALUE_MAX];
    uint64_t requests, kept, lines, unreadable, open, max_open;
    uint64_t answers[600];
    char last_head[HEAD_MAX + 1];
} fake = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void die(const char *what)
{
    fprintf(stderr, "fake_loki: %s: %s\n", what, strerror(errno));
    exit(3);
}

/* ---- text */

static void text_hex(struct fake_text *text, const char *data, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < size; i++) {
        unsigned byte = (unsigned char)data[i];
        fake_text_add(text, &digits[byte >> 4], 1);
        fake_text_add(text, &digits[byte & 15U], 1);
    }
}

/* ---- what a push becomes */

struct push {
    struct fake_text text;
    const struct connection *connection;
    char tenant[VALUE_MAX];
    char id[256], stream[16]; /* of the labels of the present stream */
    struct fake_text labels;
    size_t labels_stream;
    bool begun;
    uint64_t lines;
    bool rejected;
};

static void copy(char *ret_text, size_t room, const char *data, size_t size)
{
    size = size < room - 1 ? size : room - 1;
    memcpy(ret_text, data, size);
    ret_text[size] = '\0';
}

static int take_label(const struct push_label *label, void *data)
{
    struct push *push = data;
    size_t size = strlen(label->value);
    fake_text_put(&push->labels, push->labels.len > 1 ? "," : "");
    fake_text_json(&push->labels, label->name, strlen(label->name));
    fake_text_put(&push->labels, ":");
    fake_text_json(&push->labels, label->value, size);
    if (strcmp(label->name, "stream") == 0) {
        copy(push->stream, sizeof push->stream, label->value, size);
    }
    if (strcmp(label->name, "container_id") == 0 ||
        (strcmp(label->name, "container") == 0 && push->id[0] == '\0')) {
        copy(push->id, sizeof push->id, label->value, size);
    }
    return 0;
}

static int take_labels(struct push *push, const struct push_entry *entry)
{
    if (push->begun && push->labels_stream == entry->stream) {
        return 0;
    }
    push->begun = true;
    push->labels_stream = entry->stream;
    push->labels.len = 0;
    push->id[0] = '\0';
    push->stream[0] = '\0';
    fake_text_put(&push->labels, "{");
    int rc = push_labels_read(entry->labels, take_label, push);
    fake_text_put(&push->labels, "}");
    return rc;
}

/* The members that the metadata decides: container and stream where they are no labels. */
static void put_metadata(struct push *push, const struct push_entry *entry)
{
    char id[sizeof push->id];
    char stream[sizeof push->stream];
    struct fake_text *text = &push->text;
    copy(id, sizeof id, push->id, strlen(push->id));
    copy(stream, sizeof stream, push->stream, strlen(push->stream));
    fake_text_put(text, ",\"metadata\":{");
    for (size_t i = 0; i < entry->metadata_count; i++) {
        struct push_text name = entry->metadata[i].name;
        struct push_text value = entry->metadata[i].value;
        fake_text_put(text, i > 0 ? "," : "");
        fake_text_json(text, name.data, name.len);
        fake_text_put(text, ":");
        fake_text_json(text, value.data, value.len);
        if (name.len == 12 && memcmp(name.data, "container_id", 12) == 0) {
            copy(id, sizeof id, value.data, value.len);
        } else if (name.len == 6 && memcmp(name.data, "stream", 6) == 0) {
            copy(stream, sizeof stream, value.data, value.len);
        }
    }
    fake_text_put(text, "},\"container\":{\"id\":");
    fake_text_json(text, id, strlen(id));
    fake_text_put(text, "},\"stream\":");
    fake_text_json(text, stream, strlen(stream));
}

static int take_entry(const struct push_entry *entry, void *data)
{
    struct push *push = data;
    struct fake_text *text = &push->text;
    if (take_labels(push, entry) != 0) {
        return -EBADMSG;
    }
    fake_text_put(text, "{\"path\":");
    fake_text_json(text, push->connection->target, strlen(push->connection->target));
    fake_text_put(text, ",\"tenant\":");
    fake_text_json(text, push->tenant, strlen(push->tenant));
    fake_text_printf(text, ",\"time_ns\":\"%" PRId64 "%09" PRId64 "\",\"labels\":", entry->seconds,
                     entry->nanos);
    fake_text_add(text, push->labels.data, push->labels.len);
    put_metadata(push, entry);
    fake_text_put(text, ",\"line\":");
    bool plain = push_is_utf8(entry->line.data, entry->line.len);
    fake_text_json(text, entry->line.data, plain ? entry->line.len : 0);
    if (!plain) {
        fake_text_put(text, ",\"line_hex\":\"");
        text_hex(text, entry->line.data, entry->line.len);
        fake_text_put(text, "\"");
    }
    fake_text_put(text, "}\n");
    push->lines++;
    push->rejected = push->rejected ||
                     (fake.reject[0] != '\0' && memmem(entry->line.data, entry->line.len,
                                                       fake.reject, strlen(fake.reject)) != NULL);
    return 0;
}

/* ---- HTTP */

static bool write_all(int fd, const char *data, size_t size, bool bytewise)
{
    while (size > 0) {
        ssize_t n = send(fd, data, bytewise ? 1 : size, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR) {
            return false;
        }
        data += n > 0 ? n : 0;
        size -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

static bool reply(const struct connection *connection, int status, const char *headers,
                  const char *body)
{
    struct fake_text text = {0};
    fake_text_printf(&text, "HTTP/1.1 %d Fake\r\n%s", status, headers);
    if (status != 204) {
        fake_text_printf(&text, "Content-Length: %zu\r\n", strlen(body));
    }
    fake_text_put(&text, "\r\n");
    fake_text_put(&text, status != 204 ? body : "");
    fake.answers[status % 600]++;
    bool good = write_all(connection->fd, text.data, text.len, fake.mode == MODE_BYTES);
    fake_text_finish(&text);
    return good;
}

/* The value of a header, "" without it. */
static void header_of(const struct connection *connection, const char *name, char *ret_value)
{
    size_t size = strlen(name);
    ret_value[0] = '\0';
    for (const char *line = strstr(connection->head, "\r\n"); line != NULL && line[2] != '\r';
         line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, size) == 0 && line[2 + size] == ':') {
            const char *value = line + 3 + size;
            value += strspn(value, " ");
            copy(ret_value, VALUE_MAX, value, strcspn(value, "\r"));
            return;
        }
    }
}

static bool read_head(struct connection *connection)
{
    const char *end;
    while ((end = memmem(connection->head, connection->used, "\r\n\r\n", 4)) == NULL) {
        ssize_t n = connection->used == HEAD_MAX
                        ? 0
                        : recv(connection->fd, connection->head + connection->used,
                               HEAD_MAX - connection->used, 0);
        if (n <= 0) {
            return false;
        }
        connection->used += (size_t)n;
    }
    connection->head_size = (size_t)(end - connection->head) + 4;
    return true;
}

static bool read_body(struct connection *connection, size_t size)
{
    size_t there = connection->used - connection->head_size;
    there = there < size ? there : size;
    connection->body = malloc(size + 1);
    if (connection->body == NULL) {
        die("memory");
    }
    memcpy(connection->body, connection->head + connection->head_size, there);
    connection->body_size = size;
    while (there < size) {
        ssize_t n = recv(connection->fd, connection->body + there, size - there, 0);
        if (n <= 0) {
            return false;
        }
        there += (size_t)n;
    }
    return true;
}

/* Requests are not pipelined: what follows the body is none of ours. */
static bool read_request(struct connection *connection)
{
    char value[VALUE_MAX];
    connection->used = 0;
    connection->body = NULL;
    if (!read_head(connection)) {
        return false;
    }
    char first = connection->head[connection->head_size];
    connection->head[connection->head_size] = '\0';
    header_of(connection, "Content-Length", value);
    const char *target = strchr(connection->head, ' ');
    if (target == NULL) {
        return false;
    }
    copy(connection->target, sizeof connection->target, target + 1, strcspn(target + 1, " "));
    size_t size = strtoul(value, NULL, 10);
    connection->head[connection->head_size] = first;
    bool good = size <= BODY_MAX && read_body(connection, size);
    connection->head[connection->head_size] = '\0';
    return good;
}

static void send_rst(const struct connection *connection)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
}

/* ---- pushes; all with the lock held */

static bool reply_status(const struct connection *connection)
{
    char headers[64] = "";
    char body[VALUE_MAX];
    int status = fake.status;
    copy(body, sizeof body, fake.status_body, strlen(fake.status_body));
    if (fake.retry_after > 0) {
        (void)snprintf(headers, sizeof headers, "Retry-After: %ld\r\n", fake.retry_after);
    }
    if (fake.status_count > 0 && --fake.status_count == 0) {
        fake.status = 0;
    }
    return reply(connection, status, headers, body);
}

static bool is_allowed(const struct connection *connection)
{
    char value[VALUE_MAX];
    if (fake.require_header[0] == '\0') {
        return true;
    }
    header_of(connection, fake.require_header, value);
    return strcmp(value, fake.require_value) == 0;
}

/* 0, or what is wrong with it. */
static int read_push(const struct connection *connection, struct push *push)
{
    char type[VALUE_MAX];
    char encoding[VALUE_MAX];
    header_of(connection, "Content-Type", type);
    header_of(connection, "Content-Encoding", encoding);
    header_of(connection, "X-Scope-OrgID", push->tenant);
    if (strcmp(type, "application/x-protobuf") != 0 || strcmp(encoding, "snappy") != 0) {
        return -EBADMSG;
    }
    size_t size = 0;
    char *bytes = push_unsnap(connection->body, connection->body_size, BODY_MAX, &size);
    int rc = bytes == NULL ? -EBADMSG : push_request_read(bytes, size, take_entry, push);
    free(bytes);
    return rc != 0 || push->lines > 0 ? rc : -EBADMSG;
}

static bool keep_push(const struct connection *connection)
{
    struct push push = {.connection = connection};
    bool good = true;
    if (read_push(connection, &push) != 0) {
        fake.unreadable++;
        good = reply(connection, 400, "", "fake_loki can't read this\n");
    } else if (push.rejected) {
        good = reply(connection, fake.reject_status, "", "a line in it is not acceptable\n");
    } else {
        fake.kept++;
        fake.lines += push.lines;
        if (fwrite(push.text.data, 1, push.text.len, fake.out) != push.text.len ||
            fflush(fake.out) != 0) {
            die("--out");
        }
        good = fake.mode != MODE_LOST;
        if (good) {
            good = reply(connection, 204, "", "");
        } else {
            send_rst(connection);
        }
    }
    fake_text_finish(&push.text);
    fake_text_finish(&push.labels);
    return good;
}

static void sleep_ms(long ms)
{
    struct timespec pause = {ms / 1000, ms % 1000 * 1000000};
    (void)nanosleep(&pause, NULL);
}

/* Waits while the mode says so; false when there will be no answer. */
static bool wait_for_mode(const struct connection *connection)
{
    if (fake.mode == MODE_SLOW) {
        long ms = fake.mode_ms;
        (void)pthread_mutex_unlock(&fake.lock);
        sleep_ms(ms);
        (void)pthread_mutex_lock(&fake.lock);
    } else if (fake.mode == MODE_HANG) {
        unsigned number = fake.mode_number;
        while (number == fake.mode_number) {
            (void)pthread_cond_wait(&fake.changed, &fake.lock);
        }
        return false;
    } else if (fake.mode == MODE_RESET) {
        send_rst(connection);
        return false;
    }
    return true;
}

static bool handle_push(const struct connection *connection)
{
    if (fake.discard) {
        fake.requests++;
        return reply(connection, 204, "", "");
    }
    fake.requests++;
    copy(fake.last_head, sizeof fake.last_head, connection->head, connection->head_size);
    if (!wait_for_mode(connection)) {
        return false;
    }
    if (fake.status != 0) {
        return reply_status(connection);
    }
    return is_allowed(connection) ? keep_push(connection)
                                  : reply(connection, 401, "", "who are you\n");
}

/* ---- control */

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 87 : 0;
}

/* A parameter of the target, decoded; "" without it. */
static const char *parameter(const struct connection *connection, const char *name, char *ret_value)
{
    size_t size = strlen(name);
    size_t n = 0;
    const char *at = strchr(connection->target, '?');
    while (at != NULL && !(strncmp(at + 1, name, size) == 0 && at[1 + size] == '=')) {
        at = strchr(at + 1, '&');
    }
    for (at = at == NULL ? "" : at + 2 + size; *at != '\0' && *at != '&'; at++) {
        bool escaped = *at == '%' && at[1] != '\0' && at[2] != '\0';
        ret_value[n++] = (char)(escaped      ? hex_digit(at[1]) * 16 + hex_digit(at[2])
                                : *at == '+' ? ' '
                                             : *at);
        at += escaped ? 2 : 0;
    }
    ret_value[n] = '\0';
    return ret_value;
}

static long number_of(const struct connection *connection, const char *name, long missing)
{
    char value[VALUE_MAX];
    return parameter(connection, name, value)[0] == '\0' ? missing : strtol(value, NULL, 10);
}

static bool set_mode(const struct connection *connection)
{
    char name[VALUE_MAX];
    (void)parameter(connection, "name", name);
    for (size_t i = 0; i < sizeof mode_names / sizeof mode_names[0]; i++) {
        if (strcmp(mode_names[i], name) == 0) {
            fake.mode = (enum mode)i;
            fake.mode_ms = number_of(connection, "ms", 100);
            fake.mode_number++;
            (void)pthread_cond_broadcast(&fake.changed);
            return true;
        }
    }
    return false;
}

static void put_stats(struct fake_text *text)
{
    fake_text_printf(
        text,
        "{\"requests\":%" PRIu64 ",\"kept\":%" PRIu64 ",\"lines\":%" PRIu64
        ",\"unreadable\":%" PRIu64 ",\"open\":%" PRIu64 ",\"max_open\":%" PRIu64 ",\"answers\":{",
        fake.requests, fake.kept, fake.lines, fake.unreadable, fake.open, fake.max_open);
    const char *comma = "";
    for (int i = 0; i < 600; i++) {
        if (fake.answers[i] > 0) {
            fake_text_printf(text, "%s\"%d\":%" PRIu64, comma, i, fake.answers[i]);
            comma = ",";
        }
    }
    fake_text_put(text, "}}\n");
}

static bool handle_control(const struct connection *connection)
{
    struct fake_text text = {0};
    const char *verb = connection->target + strlen("/_fake/");
    size_t size = strcspn(verb, "?");
    bool known = true;
    if (strncmp(verb, "answer", size) == 0) {
        fake.status = (int)number_of(connection, "status", 0);
        fake.status_count = number_of(connection, "count", 0);
        fake.retry_after = number_of(connection, "retry_after", 0);
        (void)parameter(connection, "body", fake.status_body);
    } else if (strncmp(verb, "mode", size) == 0) {
        known = set_mode(connection);
    } else if (strncmp(verb, "reject", size) == 0) {
        (void)parameter(connection, "text", fake.reject);
        fake.reject_status = (int)number_of(connection, "status", 400);
    } else if (strncmp(verb, "require", size) == 0) {
        (void)parameter(connection, "header", fake.require_header);
        (void)parameter(connection, "value", fake.require_value);
    } else if (strncmp(verb, "stats", size) == 0) {
        put_stats(&text);
    } else if (strncmp(verb, "head", size) == 0) {
        fake_text_put(&text, fake.last_head);
    } else {
        known = false;
    }
    fake_text_add(&text, "", 1); /* its end */
    uint64_t answers = fake.answers[200];
    enum mode mode = fake.mode;
    fake.mode = MODE_NORMAL; /* for this answer */
    bool good = reply(connection, known ? 200 : 404, "", text.data);
    fake.mode = mode;
    fake.answers[200] = answers;
    fake_text_finish(&text);
    return good;
}

/* ---- connections */

static void *serve(void *data)
{
    struct connection *connection = data;
    bool good = true;
    while (good && read_request(connection)) {
        (void)pthread_mutex_lock(&fake.lock);
        good = strncmp(connection->target, "/_fake/", 7) == 0 ? handle_control(connection)
                                                              : handle_push(connection);
        (void)pthread_mutex_unlock(&fake.lock);
        free(connection->body);
        connection->body = NULL;
    }
    free(connection->body);
    (void)pthread_mutex_lock(&fake.lock);
    fake.open--;
    (void)pthread_mutex_unlock(&fake.lock);
    (void)close(connection->fd);
    free(connection);
    return NULL;
}

static void begin_connection(int fd)
{
    int one = 1;
    pthread_t thread;
    struct connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL) {
        die("memory");
    }
    connection->fd = fd;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    (void)pthread_mutex_lock(&fake.lock);
    fake.open++;
    fake.max_open = fake.open > fake.max_open ? fake.open : fake.max_open;
    (void)pthread_mutex_unlock(&fake.lock);
    if (pthread_create(&thread, NULL, serve, connection) != 0) {
        die("thread");
    }
    (void)pthread_detach(thread);
}

/* SIGTERM is for this thread alone: it ends the program while nothing is half done. */
static void *wait_for_end(void *data)
{
    int number;
    (void)sigwait(data, &number);
    (void)pthread_mutex_lock(&fake.lock);
    _exit(0);
}

static int listen_at(int port)
{
    int one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        bind(fd, (const struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 128) != 0) {
        die("--port");
    }
    return fd;
}

static int read_options(int argc, char **argv)
{
    static const struct option options[] = {{"port", required_argument, NULL, 'p'},
                                            {"out", required_argument, NULL, 'o'},
                                            {"discard", no_argument, NULL, 'd'},
                                            {NULL, 0, NULL, 0}};
    int port = 0;
    int key;
    while ((key = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (key == 'p') {
            port = (int)strtol(optarg, NULL, 10);
        } else if (key == 'o') {
            fake.out = fopen(optarg, "ae");
        } else if (key == 'd') {
            fake.discard = true;
        }
    }
    if (port <= 0 || port > 65535 || (fake.out == NULL && !fake.discard) || optind != argc) {
        fputs("usage: fake_loki --port PORT (--out FILE | --discard)\n"
              "  --out FILE   entries are appended, one JSON object a line\n"
              "  --discard    every push is answered 204 unread: a target for measurements\n",
              stderr);
        exit(2);
    }
    return port;
}

int main(int argc, char **argv)
{
    static sigset_t set;
    pthread_t thread;
    int listener = listen_at(read_options(argc, argv));
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (pthread_create(&thread, NULL, wait_for_end, &set) != 0) {
        die("thread");
    }
    puts("ready");
    (void)fflush(stdout);
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
            begin_connection(fd);
        } else if (errno != EINTR && errno != ECONNABORTED) {
            die("accept");
        }
    }
}
