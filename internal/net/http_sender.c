/*
 * A multi of its own, since libcurl's connections can't be shared between threads, polled by the
 * thread that uses it. Each request is one easy handle, freed when it has ended; connections stay in
 * the multi. Answers of transfers that were never begun (a secret is gone) wait in a list for
 * the next poll, so that on_end never comes from within http_sender_start().
 */
#include "net/http_sender.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/str.h"

#define CONNECT_LIMIT_MS 10000L
#define SECRET_LIMIT_BYTES 4096
#define NS_PER_MILLI INT64_C(1000000)

struct http_sender {
    struct http_sender_options options;
    CURLM *multi;
    bool global_init;
    struct list requests; /* under way */
    struct list failed;   /* never begun */
    _Atomic size_t sockets;
};

struct request {
    struct list link;
    struct http_sender *sender;
    struct http_sender_request asked;
    CURL *easy;
    struct curl_slist *headers;
    struct buf body; /* of the answer */
    char error_text[CURL_ERROR_SIZE];
    struct error failure;
};

/* ---- secrets ---- */

static int read_secret(const char *path, char *ret_text, size_t text_bytes, struct error *error)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* it may be a pipe */
    if (fd < 0 || fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        error_set(error, "%s: %s", path, fd < 0 ? strerror(errno) : "not a file");
        if (fd >= 0) {
            (void)close(fd);
        }
        return -EINVAL;
    }
    ssize_t n = read(fd, ret_text, text_bytes - 1);
    (void)close(fd);
    if (n == (ssize_t)text_bytes - 1) {
        error_set(error, "%s: longer than %zu bytes", path, text_bytes - 2);
        return -EINVAL;
    }
    if ((info.st_mode & S_IROTH) != 0) {
        error_set(error, "%s: everybody may read this secret; chmod o-r it", path);
        return -EINVAL;
    }
    while (n > 0 && (ret_text[n - 1] == '\n' || ret_text[n - 1] == '\r')) {
        n--;
    }
    if (n <= 0 || memchr(ret_text, '\n', (size_t)n) != NULL) {
        error_set(error, "%s: one line with the secret is expected", path);
        return -EINVAL;
    }
    ret_text[n] = '\0';
    return 0;
}

static bool is_given(const char *text)
{
    return text != NULL && text[0] != '\0';
}

static int set_secrets(const struct http_sender *sender, CURL *easy, struct error *error)
{
    const struct http_sender_options *options = &sender->options;
    char secret[SECRET_LIMIT_BYTES] = "";
    int rc = 0;
    if (is_given(options->bearer_token_file)) {
        rc = read_secret(options->bearer_token_file, secret, sizeof(secret), error);
        if (rc == 0 && easy != NULL) {
            (void)curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
            (void)curl_easy_setopt(easy, CURLOPT_XOAUTH2_BEARER, secret);
        }
    } else if (is_given(options->username)) {
        if (is_given(options->password_file)) {
            rc = read_secret(options->password_file, secret, sizeof(secret), error);
        }
        if (rc == 0 && easy != NULL) {
            (void)curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
            (void)curl_easy_setopt(easy, CURLOPT_USERNAME, options->username);
            (void)curl_easy_setopt(easy, CURLOPT_PASSWORD, secret);
        }
    }
    explicit_bzero(secret, sizeof(secret));
    return rc;
}

/* ---- libcurl's callbacks ---- */

static size_t handle_body(char *bytes, size_t one, size_t size, void *data)
{
    (void)one;
    struct request *request = data;
    size_t room = HTTP_SENDER_BODY_LIMIT - request->body.size;
    int rc = buf_append(&request->body, bytes, size < room ? size : room);
    return rc == 0 ? size : CURL_WRITEFUNC_ERROR;
}

static curl_socket_t handle_open_socket(void *data, curlsocktype purpose,
                                        struct curl_sockaddr *address)
{
    (void)purpose;
    struct http_sender *sender = data;
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    if (fd >= 0) {
        atomic_fetch_add(&sender->sockets, 1);
    }
    return fd < 0 ? CURL_SOCKET_BAD : fd;
}

static int handle_close_socket(void *data, curl_socket_t fd)
{
    struct http_sender *sender = data;
    atomic_fetch_sub(&sender->sockets, 1);
    return close(fd);
}

/* ---- requests ---- */

static void free_request(struct request *request)
{
    list_remove(&request->link);
    if (request->easy != NULL) {
        (void)curl_multi_remove_handle(request->sender->multi, request->easy);
        curl_easy_cleanup(request->easy);
    }
    curl_slist_free_all(request->headers);
    buf_finish(&request->body);
    free(request);
}

static int errno_of(CURLcode code)
{
    switch (code) {
    case CURLE_OK:
        return 0;
    case CURLE_OPERATION_TIMEDOUT:
        return -ETIMEDOUT;
    case CURLE_OUT_OF_MEMORY:
        return -ENOMEM;
    case CURLE_COULDNT_RESOLVE_HOST:
        return -EHOSTUNREACH;
    case CURLE_COULDNT_CONNECT:
        return -ECONNREFUSED;
    default:
        return -EIO;
    }
}

static void answer(struct request *request, const struct http_sender_answer *result)
{
    request->asked.on_end(result, request->asked.data);
    free_request(request);
}

/* What OpenSSL says then does not say whose certificate. */
static bool wants_certificate(const struct request *request)
{
    return !is_given(request->sender->options.cert) &&
           (strstr(request->error_text, "certificate required") != NULL ||
            strstr(request->error_text, "handshake failure") != NULL);
}

static void finish(struct request *request, CURLcode code)
{
    struct http_sender_answer result = {.rc = errno_of(code),
                                        .body = request->body.data,
                                        .body_bytes = request->body.size,
                                        .text = request->error_text};
    long status = 0;
    curl_off_t retry_after_s = 0;
    (void)curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(request->easy, CURLINFO_RETRY_AFTER, &retry_after_s);
    result.status = (int)status;
    if (retry_after_s > 0 && retry_after_s < 86400) {
        result.retry_after_ns = (int64_t)retry_after_s * 1000 * NS_PER_MILLI;
    }
    if (code != CURLE_OK && request->error_text[0] == '\0') {
        result.text = curl_easy_strerror(code);
    } else if (code != CURLE_OK && wants_certificate(request)) {
        error_set(&request->failure, "%s; it may want a client certificate: tls.cert and tls.key",
                  request->error_text);
        result.text = request->failure.text;
    }
    answer(request, &result);
}

static void set_options(struct request *request, const char *url)
{
    struct http_sender *sender = request->sender;
    const struct http_sender_options *options = &sender->options;
    CURL *easy = request->easy;
    (void)curl_easy_setopt(easy, CURLOPT_URL, url);
    (void)curl_easy_setopt(easy, CURLOPT_PRIVATE, request);
    (void)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, request->error_text);
    (void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(easy, CURLOPT_USERAGENT, "log_capturer");
    (void)curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_LIMIT_MS);
    (void)curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)(options->timeout_ns / NS_PER_MILLI));
    (void)curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_POST, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
                           (curl_off_t)request->asked.body_bytes);
    (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->asked.body);
    (void)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, request->headers);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, handle_body);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, request);
    (void)curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, handle_open_socket);
    (void)curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, sender);
    (void)curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, handle_close_socket);
    (void)curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, sender);
    (void)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, options->insecure ? 0L : 1L);
    (void)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, options->insecure ? 0L : 2L);
    if (is_given(options->ca)) {
        (void)curl_easy_setopt(easy, CURLOPT_CAINFO, options->ca);
        (void)curl_easy_setopt(easy, CURLOPT_CAPATH, NULL); /* instead of the system's */
    }
    if (is_given(options->cert)) {
        (void)curl_easy_setopt(easy, CURLOPT_SSLCERT, options->cert);
        (void)curl_easy_setopt(easy, CURLOPT_SSLKEY, options->key);
    }
}

static int add_header(struct request *request, const char *line)
{
    struct curl_slist *headers = curl_slist_append(request->headers, line);
    if (headers == NULL) {
        return -ENOMEM;
    }
    request->headers = headers;
    return 0;
}

static int prepare(struct request *request)
{
    struct buf url;
    int rc = add_header(request, "Expect:"); /* no wait for 100 Continue */
    for (size_t i = 0; rc == 0 && request->asked.headers[i] != NULL; i++) {
        rc = add_header(request, request->asked.headers[i]);
    }
    buf_init(&url, 0);
    rc = rc != 0 ? rc : buf_append_str(&url, request->sender->options.url);
    rc = rc != 0 ? rc : buf_append_str(&url, request->asked.path);
    if (rc == 0 && buf_terminated(&url) != NULL) {
        set_options(request, url.data); /* copies it */
    } else {
        rc = -ENOMEM;
    }
    buf_finish(&url);
    request->asked.headers = NULL;
    request->asked.path = NULL;
    return rc;
}

int http_sender_start(struct http_sender *sender, const struct http_sender_request *asked)
{
    struct request *request = calloc(1, sizeof(*request));
    if (request == NULL) {
        return -ENOMEM;
    }
    request->sender = sender;
    request->asked = *asked;
    buf_init(&request->body, 0);
    list_init(&request->link);
    request->easy = curl_easy_init();
    int rc = request->easy == NULL ? -ENOMEM : prepare(request);
    if (rc != 0) {
        free_request(request);
        return rc;
    }
    if (set_secrets(sender, request->easy, &request->failure) != 0) {
        list_append(&sender->failed, &request->link);
        return 0;
    }
    if (curl_multi_add_handle(sender->multi, request->easy) != CURLM_OK) {
        free_request(request);
        return -ENOMEM;
    }
    list_append(&sender->requests, &request->link);
    return 0;
}

/* Whether anything has ended. */
static bool drain(struct http_sender *sender)
{
    bool ended = false;
    int left;
    for (CURLMsg *message; (message = curl_multi_info_read(sender->multi, &left)) != NULL;) {
        struct request *request = NULL;
        (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&request);
        if (message->msg == CURLMSG_DONE && request != NULL) {
            finish(request, message->data.result);
            ended = true;
        }
    }
    return ended;
}

void http_sender_poll(struct http_sender *sender, int64_t timeout_ns, int wake_fd)
{
    while (!list_empty(&sender->failed)) {
        struct request *request = container_of(sender->failed.next, struct request, link);
        struct error failure = request->failure;
        answer(request, &(struct http_sender_answer){.rc = -EACCES, .text = failure.text});
        timeout_ns = 0;
    }
    int running = 0;
    struct curl_waitfd extra = {.fd = wake_fd, .events = CURL_WAIT_POLLIN};
    int64_t timeout_ms = (timeout_ns + NS_PER_MILLI - 1) / NS_PER_MILLI;
    (void)curl_multi_perform(sender->multi, &running);
    if (!drain(sender) && running > 0 && timeout_ms > 0) {
        (void)curl_multi_poll(sender->multi, &extra, wake_fd >= 0 ? 1 : 0,
                              timeout_ms > 60000 ? 60000 : (int)timeout_ms, NULL);
        (void)curl_multi_perform(sender->multi, &running);
        (void)drain(sender);
    }
}

/* ---- life ---- */

static int check_url(const char *url, struct error *error)
{
    CURLU *parsed = curl_url();
    char *scheme = NULL;
    char *user = NULL;
    int rc = -EINVAL;
    if (parsed == NULL) {
        error_set(error, "out of memory");
        return -ENOMEM;
    }
    if (curl_url_set(parsed, CURLUPART_URL, url, 0) != CURLUE_OK ||
        curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0)) {
        error_set(error, "url: '%.200s' is not a URL such as http://host:3100", url);
    } else if (curl_url_get(parsed, CURLUPART_USER, &user, 0) == CURLUE_OK) {
        error_set(error, "url: no user and password in here; use username and password_file");
    } else {
        rc = 0;
    }
    curl_free(scheme);
    curl_free(user);
    curl_url_cleanup(parsed);
    return rc;
}

int http_sender_check(const struct http_sender_options *options, struct error *error)
{
    if (is_given(options->cert) != is_given(options->key)) {
        error_set(error, "tls.cert and tls.key belong together; one of them is missing");
        return -EINVAL;
    }
    if (is_given(options->username) && is_given(options->bearer_token_file)) {
        error_set(error, "username and bearer_token_file exclude each other");
        return -EINVAL;
    }
    if (is_given(options->password_file) && !is_given(options->username)) {
        error_set(error, "password_file needs a username");
        return -EINVAL;
    }
    return check_url(options->url, error);
}

int http_sender_create(const struct http_sender_options *options, struct http_sender **ret_sender,
                       struct error *error)
{
    int rc = http_sender_check(options, error);
    if (rc != 0) {
        return rc;
    }
    struct http_sender *sender = calloc(1, sizeof(*sender));
    if (sender == NULL) {
        error_set(error, "out of memory");
        return -ENOMEM;
    }
    sender->options = *options;
    list_init(&sender->requests);
    list_init(&sender->failed);
    sender->global_init = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
    sender->multi = sender->global_init ? curl_multi_init() : NULL;
    if (sender->multi == NULL) {
        error_set(error, "out of memory");
        rc = -ENOMEM;
    } else {
        rc = set_secrets(sender, NULL, error);
    }
    if (rc != 0) {
        http_sender_destroy(sender);
        return rc;
    }
    *ret_sender = sender;
    return 0;
}

static void free_all(struct list *requests)
{
    while (!list_empty(requests)) {
        free_request(container_of(requests->next, struct request, link));
    }
}

void http_sender_destroy(struct http_sender *sender)
{
    if (sender == NULL) {
        return;
    }
    free_all(&sender->requests);
    free_all(&sender->failed);
    if (sender->multi != NULL) {
        (void)curl_multi_cleanup(sender->multi);
    }
    if (sender->global_init) {
        curl_global_cleanup();
    }
    free(sender);
}

size_t http_sender_sockets(const struct http_sender *sender)
{
    return atomic_load(&sender->sockets);
}
