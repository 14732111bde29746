/*
 * The managed stream and its admission.
 *
 *   WAITING --slot--> OPEN --done, closed, failed--> ENDING --bottom of the iteration--> gone
 *      `-------------closed, client destroyed----------^
 *
 * Ending is possible anywhere, also within libcurl's callbacks, because it only marks and links;
 * the transfer is taken out of the multi when no libcurl function is on the stack. The write
 * callback of a stream that is not OPEN returns an error, so that libcurl stops as well.
 *
 * A follow has a connection of its own, made for it and closed after it: it neither takes a call's
 * idle connection for hours nor, where many end at once, drives those of the calls out of the pool.
 * Look-ups in the pool are linear in the connections of one host name, so follows over a unix
 * socket have another name than calls; dockerd accepts any Host.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "net/http_private.h"

#define STREAM_BUFFER_BYTES 4096L /* there may be thousands of idle follows */
#define STREAM_ROUND_SHARE_BYTES (64U * 1024U)
#define OPENING_LIMIT_NS INT64_C(1000000000)
#define CONNECT_LIMIT_MS 10000L

static const char *method_of(const struct http_stream *stream)
{
    return stream->method_and_path;
}

static const char *path_of(const struct http_stream *stream)
{
    return stream->method_and_path + strlen(stream->method_and_path) + 1;
}

/* ---- libcurl's callbacks ---- */

static size_t handle_write(char *bytes, size_t one, size_t size, void *data)
{
    (void)one;
    struct http_stream *stream = data;
    if (stream->state != HTTP_STREAM_OPEN) {
        return CURL_WRITEFUNC_ERROR;
    }
    if (stream->options.kind == HTTP_FOLLOW) {
        if (stream->round != stream->client->round) {
            stream->round = stream->client->round;
            stream->round_bytes = 0;
        }
        if (stream->round_bytes >= STREAM_ROUND_SHARE_BYTES || stream->client->follows_paused) {
            list_remove(&stream->throttled_link);
            list_append(&stream->client->throttled, &stream->throttled_link);
            if (!loop_timer_armed(&stream->client->paced_timer)) {
                loop_timer_arm(&stream->client->paced_timer, 0);
            }
            return CURL_WRITEFUNC_PAUSE;
        }
        stream->round_bytes += size;
        stream->client->round_bytes += size;
        if (stream->round_bytes > stream->client->largest_read) {
            stream->client->largest_read = stream->round_bytes;
        }
    }
    stream->options.on_data(stream, bytes, size, stream->options.data);
    return stream->state == HTTP_STREAM_OPEN ? size : CURL_WRITEFUNC_ERROR;
}

static void opening_is_over(struct http_stream *stream)
{
    if (stream->opening) {
        stream->opening = false;
        stream->client->follows_opening--;
        loop_timer_disarm(&stream->timer);
        http_client_admit(stream->client);
    }
}

static size_t handle_header(char *bytes, size_t one, size_t size, void *data)
{
    (void)one;
    struct http_stream *stream = data;
    size_t length = size;
    while (length > 0 && (bytes[length - 1] == '\n' || bytes[length - 1] == '\r')) {
        length--;
    }
    if (stream->state != HTTP_STREAM_OPEN) {
        return CURL_WRITEFUNC_ERROR;
    }
    if (length > 0) {
        if (stream->options.on_header != NULL) {
            stream->options.on_header(bytes, length, stream->options.data);
        }
        return size;
    }
    long status = 0;
    (void)curl_easy_getinfo(stream->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status >= 200 && !stream->head_done) {
        stream->head_done = true;
        opening_is_over(stream);
        if (stream->options.on_head != NULL) {
            stream->options.on_head(stream, (int)status, stream->options.data);
        }
    }
    return stream->state == HTTP_STREAM_OPEN ? size : CURL_WRITEFUNC_ERROR;
}

static curl_socket_t handle_open_socket(void *data, curlsocktype purpose,
                                        struct curl_sockaddr *address)
{
    (void)purpose;
    struct http_stream *stream = data;
    struct socket_kind kind = {address->family, address->socktype, address->protocol};
    int fd = sockets_open(&stream->client->sockets, &kind, &stream->options.target->open_sockets);
    if (fd < 0) {
        return CURL_SOCKET_BAD;
    }
    stream->sockets_opened++;
    stream->client->sockets_connecting++;
    return fd;
}

static int handle_close_socket(void *data, curl_socket_t fd)
{
    struct http_client *client = data;
    sockets_close(&client->sockets, fd);
    return 0;
}

static void connecting_is_over(struct http_stream *stream)
{
    stream->client->sockets_connecting -= stream->sockets_opened;
    stream->sockets_opened = 0;
}

static int handle_before_request(void *data, char *ip, char *local_ip, int port, int local_port)
{
    (void)ip;
    (void)local_ip;
    (void)port;
    (void)local_port;
    struct http_stream *stream = data;
    struct http_client *client = stream->client;
    bool reused = stream->sockets_opened == 0;
    connecting_is_over(stream);
    if (!stream->active) {
        stream->active = true;
        metric_add(&client->active, 1);
    }
    metric_add(&client->requests, 1);
    metric_add(&client->transfers_by[stream->options.kind][reused], 1);
    if (reused) {
        metric_add(&client->reused, 1);
    }
    return CURL_PREREQFUNC_OK;
}

/* ---- starting ---- */

static uint32_t idle_limit(const struct http_client *client)
{
    uint32_t per_host = client->options.idle_per_host;
    uint64_t sum = 0;
    for (const struct list *link = client->targets.next; link != &client->targets;
         link = link->next) {
        uint32_t open = container_of(link, const struct http_target, link)->open_sockets;
        sum += open < per_host ? open : per_host;
    }
    return sum < client->options.idle_total ? (uint32_t)sum : client->options.idle_total;
}

static void limit_idle_connections(struct http_client *client)
{
    uint64_t limit = (uint64_t)idle_limit(client) + client->transfers - client->completed;
    limit = limit > 1 ? limit - 1 : 1;
    (void)curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS,
                            limit > LONG_MAX ? LONG_MAX : (long)limit);
}

static CURLcode set_target(struct http_stream *stream)
{
    const struct endpoint *endpoint = &stream->options.target->endpoint;
    char url[2048];
    int n;
    CURL *easy = stream->easy;
    if (endpoint->unix_path[0] != '\0') {
        const char *host = stream->options.kind == HTTP_FOLLOW ? "logs" : "api";
        (void)curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, endpoint->unix_path);
        (void)curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
        n = snprintf(url, sizeof(url), "http://%s.docker%s", host, path_of(stream));
    } else {
        n = snprintf(url, sizeof(url), "%s%s", endpoint->base_url, path_of(stream));
        if (endpoint->direct) {
            (void)curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
        }
    }
    if (n < 0 || (size_t)n >= sizeof(url)) {
        return CURLE_URL_MALFORMAT;
    }
    if (endpoint->use_tls) {
        const struct endpoint_tls *tls = &endpoint->tls;
        (void)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, tls->insecure ? 0L : 1L);
        (void)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, tls->insecure ? 0L : 2L);
        if (tls->ca[0] != '\0') {
            (void)curl_easy_setopt(easy, CURLOPT_CAINFO, tls->ca);
            (void)curl_easy_setopt(easy, CURLOPT_CAPATH, NULL); /* instead of the system's */
        }
        if (tls->cert[0] != '\0') {
            (void)curl_easy_setopt(easy, CURLOPT_SSLCERT, tls->cert);
            (void)curl_easy_setopt(easy, CURLOPT_SSLKEY, tls->key);
        }
    }
    return curl_easy_setopt(easy, CURLOPT_URL, url);
}

static const char *json_of(const struct http_stream *stream)
{
    return stream->has_json ? path_of(stream) + strlen(path_of(stream)) + 1 : NULL;
}

/* The body lies in the stream, so libcurl may send it again. */
static CURLcode set_body(struct http_stream *stream)
{
    const char *json = json_of(stream);
    if (json == NULL) {
        return CURLE_OK;
    }
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    stream->headers = headers;
    headers = headers != NULL ? curl_slist_append(headers, "Expect:") : NULL;
    if (headers == NULL) {
        return CURLE_OUT_OF_MEMORY;
    }
    (void)curl_easy_setopt(stream->easy, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(stream->easy, CURLOPT_POSTFIELDSIZE, (long)strlen(json));
    return curl_easy_setopt(stream->easy, CURLOPT_POSTFIELDS, json);
}

static void set_connection_options(struct http_stream *stream)
{
    const struct http_client_options *options = &stream->client->options;
    CURL *easy = stream->easy;
    long idle_s = (long)(options->idle_timeout_ns / 1000000000);
    long keepalive_s = (long)(options->keepalive_ns / 1000000000);
    (void)curl_easy_setopt(easy, CURLOPT_SHARE, stream->client->share);
    (void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(easy, CURLOPT_USERAGENT, "log_capturer");
    (void)curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, STREAM_BUFFER_BYTES);
    (void)curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_LIMIT_MS);
    (void)curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, idle_s > 0 ? idle_s : 1L);
    if (stream->options.kind == HTTP_FOLLOW) {
        (void)curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
        (void)curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
    }
    if (keepalive_s > 0) {
        (void)curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
        (void)curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, keepalive_s);
        (void)curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, keepalive_s);
    }
    (void)curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, handle_open_socket);
    (void)curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, stream);
    (void)curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, handle_close_socket);
    (void)curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, stream->client);
}

static int start_transfer(struct http_stream *stream)
{
    struct http_client *client = stream->client;
    CURL *easy = curl_easy_init();
    if (easy == NULL) {
        return -ENOMEM;
    }
    stream->easy = easy;
    set_connection_options(stream);
    (void)curl_easy_setopt(easy, CURLOPT_PRIVATE, stream);
    if (stream->error_text != NULL) {
        (void)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, stream->error_text);
    }
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, handle_write);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, stream);
    (void)curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, handle_header);
    (void)curl_easy_setopt(easy, CURLOPT_HEADERDATA, stream);
    (void)curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, handle_before_request);
    (void)curl_easy_setopt(easy, CURLOPT_PREREQDATA, stream);
    if (strcmp(method_of(stream), "GET") != 0) {
        (void)curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method_of(stream));
    }
    if (set_target(stream) != CURLE_OK || set_body(stream) != CURLE_OK) {
        return -ENOMEM;
    }
    client->transfers++;
    stream->in_multi = true;
    limit_idle_connections(client);
    if (curl_multi_add_handle(client->multi, easy) != CURLM_OK) {
        client->transfers--;
        stream->in_multi = false;
        return -ENOMEM;
    }
    return 0;
}

static bool may_start(const struct http_stream *stream)
{
    const struct http_client *client = stream->client;
    switch (stream->options.kind) {
    case HTTP_CALL: {
        uint32_t slots = client->options.idle_per_host;
        return stream->options.target->calls_active < (slots > 2 ? slots : 2);
    }
    case HTTP_FOLLOW:
        return client->follows_active < client->follows_limit &&
               client->follows_opening < client->options.opens_limit;
    default:
        return true;
    }
}

static void admit(struct http_stream *stream)
{
    struct http_client *client = stream->client;
    list_remove(&stream->waiting_link);
    metric_add(&client->waiting_by[stream->options.kind], -1);
    stream->state = HTTP_STREAM_OPEN;
    stream->admitted = true;
    if (stream->options.kind == HTTP_CALL) {
        stream->options.target->calls_active++;
    } else if (stream->options.kind == HTTP_FOLLOW) {
        client->follows_active++;
        client->follows_opening++;
        stream->opening = true;
        loop_timer_arm(&stream->timer, OPENING_LIMIT_NS);
    }
    if (start_transfer(stream) != 0) {
        http_stream_end(stream, HTTP_NO_MEMORY);
    }
}

static void admit_waiting(struct http_client *client)
{
    struct list *link;
    struct list *next;
    for (int kind = 0; kind < HTTP_KINDS && !client->shutting_down; kind++) {
        list_for_each_safe(link, next, &client->waiting[kind])
        {
            struct http_stream *stream = container_of(link, struct http_stream, waiting_link);
            if (may_start(stream)) {
                admit(stream);
            } else if (kind == HTTP_FOLLOW) {
                break; /* its limits are the same for all */
            }
        }
    }
}

/* From the bottom of the iteration: libcurl takes no new transfer within its callbacks. */
void http_client_admit(struct http_client *client)
{
    loop_task_schedule(client->loop, &client->reap_task);
}

static void handle_timer(struct loop_timer *timer, void *data)
{
    (void)timer;
    struct http_stream *stream = data;
    if (stream->options.kind == HTTP_CALL) {
        http_stream_end(stream, HTTP_TIMED_OUT);
    } else {
        opening_is_over(stream);
    }
}

int http_stream_open(struct http_client *client, const struct http_stream_options *options,
                     struct http_stream **ret_stream)
{
    const char *method = options->method == NULL ? "GET" : options->method;
    size_t method_size = strlen(method) + 1;
    size_t path_size = strlen(options->path) + 1;
    size_t json_size = options->json != NULL ? strlen(options->json) + 1 : 0;
    size_t text_size = method_size + path_size + json_size;
    bool follow = options->kind == HTTP_FOLLOW; /* there may be thousands */
    size_t error_size = follow ? 0 : CURL_ERROR_SIZE;
    struct http_stream *stream = calloc(1, sizeof(*stream) + text_size + error_size);
    if (stream == NULL) {
        return -ENOMEM;
    }
    stream->client = client;
    stream->options = *options;
    stream->options.method = stream->options.path = stream->options.json = NULL;
    memcpy(stream->method_and_path, method, method_size);
    memcpy(stream->method_and_path + method_size, options->path, path_size);
    if (json_size > 0) {
        stream->has_json = true;
        memcpy(stream->method_and_path + method_size + path_size, options->json, json_size);
    }
    stream->error_text = follow ? NULL : stream->method_and_path + text_size;
    list_init(&stream->throttled_link);
    loop_timer_init(client->loop, &stream->timer, handle_timer, stream);
    if (options->kind == HTTP_CALL && options->timeout_ns > 0) {
        loop_timer_arm(&stream->timer, options->timeout_ns);
    }
    list_append(&client->streams, &stream->link);
    list_append(&client->waiting[options->kind], &stream->waiting_link);
    metric_add(&client->waiting_by[options->kind], 1);
    *ret_stream = stream;
    http_client_admit(client);
    return 0;
}

/* ---- ending ---- */

void http_stream_end(struct http_stream *stream, enum http_end end)
{
    struct http_client *client = stream->client;
    if (stream->state == HTTP_STREAM_ENDING) {
        return;
    }
    if (stream->state == HTTP_STREAM_WAITING) {
        list_remove(&stream->waiting_link);
        metric_add(&client->waiting_by[stream->options.kind], -1);
    }
    stream->state = HTTP_STREAM_ENDING;
    stream->end = end;
    if (end == HTTP_COMPLETE) { /* its connection is idle already */
        client->completed++;
        limit_idle_connections(client);
    }
    loop_timer_disarm(&stream->timer);
    list_remove(&stream->throttled_link);
    list_remove(&stream->link);
    list_append(&client->ending, &stream->link);
    loop_task_schedule(client->loop, &client->reap_task);
}

void http_stream_close(struct http_stream *stream)
{
    if (stream != NULL) {
        http_stream_end(stream, HTTP_CLOSED);
    }
}

static void release_slot(struct http_stream *stream)
{
    struct http_client *client = stream->client;
    if (!stream->admitted) {
        return;
    }
    if (stream->options.kind == HTTP_CALL) {
        stream->options.target->calls_active--;
    } else if (stream->options.kind == HTTP_FOLLOW) {
        client->follows_active--;
        client->follows_opening -= stream->opening;
    }
}

static bool counts_as_error(const struct http_stream *stream, long status)
{
    switch (stream->end) {
    case HTTP_COMPLETE:
        return status >= 500 && status != 501;
    case HTTP_CLOSED:
    case HTTP_SHUTDOWN:
        return false;
    default:
        return true;
    }
}

static bool has_error_text(const struct http_stream *stream)
{
    return stream->error_text != NULL && stream->error_text[0] != '\0';
}

static const char *text_of(const struct http_stream *stream)
{
    switch (stream->end) {
    case HTTP_CLOSED:
        return "closed";
    case HTTP_TIMED_OUT:
        return has_error_text(stream) ? stream->error_text : "no answer in time";
    case HTTP_NO_MEMORY:
        return "out of memory";
    case HTTP_SHUTDOWN:
        return "shutting down";
    default:
        return has_error_text(stream) ? stream->error_text : curl_easy_strerror(stream->code);
    }
}

static void reap(struct http_stream *stream)
{
    struct http_client *client = stream->client;
    long status = 0;
    if (stream->easy != NULL) {
        (void)curl_easy_getinfo(stream->easy, CURLINFO_RESPONSE_CODE, &status);
    }
    struct http_result result = {
        .end = stream->end, .status = (int)status, .text = text_of(stream)};
    if (counts_as_error(stream, status)) {
        metric_add(&client->errors, 1);
    }
    if (stream->in_multi) {
        (void)curl_multi_remove_handle(client->multi, stream->easy);
        client->transfers--;
        client->completed -= stream->end == HTTP_COMPLETE;
    }
    /* Only now: until here libcurl could call back with this stream. */
    curl_easy_cleanup(stream->easy);
    curl_slist_free_all(stream->headers);
    if (stream->sockets_opened > 0) { /* libcurl 7.88 can close these without a word */
        connecting_is_over(stream);
        sockets_reconcile(&client->sockets);
    }
    if (stream->active) {
        metric_add(&client->active, -1);
    }
    release_slot(stream);
    limit_idle_connections(client);
    stream->options.on_end(&result, stream->options.data);
    free(stream);
}

void http_client_reap(struct http_client *client)
{
    while (!list_empty(&client->ending)) {
        struct http_stream *stream = container_of(client->ending.next, struct http_stream, link);
        list_remove(&stream->link);
        reap(stream);
    }
    admit_waiting(client);
}
