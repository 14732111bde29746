/*
 * Four workers share two libcurl handles, each with its own connection to an HTTP server that the example
 * starts in its process.
 *
 *   example_http_pool [ROUNDS]
 *
 * Each worker makes ROUNDS (5) requests. A handle keeps its connection alive, so the requests need two
 * connections, however many there are.
 */
#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/str.h"
#include "base/timestamp.h"
#include "loop/loop.h"
#include "loop/task.h"
#include "pools/pool.h"
#include "pools/pool_keeper.h"
#include "pools/pool_report.h"
#include "web/httpd.h"

#define HANDLES 2
#define WORKERS 4

/* ---- the server ---- */

struct site {
    struct loop *loop;
    struct metrics *metrics;
    struct httpd *httpd;
    struct loop_post stop;
    pthread_t thread;
    char url[64];
};

static int answer_hello(const struct httpd_request *request, struct httpd_response *response,
                        void *data)
{
    (void)request;
    (void)data;
    response->content_type = "text/plain";
    return buf_append_str(&response->body, "hello\n");
}

static const struct httpd_route routes[] = {{"/hello", "says hello", answer_hello, NULL},
                                            {.path = NULL}};

static void handle_stop(struct loop_post *post, void *data)
{
    (void)post;
    loop_stop(data);
}

static void *serve(void *data)
{
    struct site *site = data;
    int rc = loop_run(site->loop);
    (void)rc;
    return NULL;
}

static int site_start(struct site *site, struct error *error)
{
    int rc = loop_create(clock_real(), &site->loop);
    rc = rc != 0 ? rc : metrics_create(&site->metrics);
    if (rc != 0) {
        error_set(error, "out of memory");
        return rc;
    }
    loop_post_add(site->loop, &site->stop, handle_stop, site->loop);
    rc = httpd_create(&(struct httpd_options){.loop = site->loop,
                                              .metrics = site->metrics,
                                              .listen = "127.0.0.1:0",
                                              .routes = routes},
                      &site->httpd, error);
    if (rc == 0) {
        (void)snprintf(site->url, sizeof(site->url), "http://127.0.0.1:%u/hello",
                       httpd_port(site->httpd));
        rc = -pthread_create(&site->thread, NULL, serve, site);
    }
    return rc;
}

static void site_stop(struct site *site)
{
    loop_post_send(&site->stop);
    (void)pthread_join(site->thread, NULL);
    httpd_destroy(site->httpd);
    loop_post_remove(&site->stop);
    metrics_destroy(site->metrics);
    loop_destroy(site->loop);
}

/* ---- what a handle is to the pool ---- */

static size_t drop(char *bytes, size_t one, size_t size, void *data)
{
    (void)bytes;
    (void)one;
    (void)data;
    return size;
}

static int create(void *data, void **ret_resource, struct error *error)
{
    const struct site *site = data;
    CURL *handle = curl_easy_init();
    if (handle == NULL || curl_easy_setopt(handle, CURLOPT_URL, site->url) != CURLE_OK) {
        curl_easy_cleanup(handle);
        error_set(error, "libcurl has no memory");
        return -ENOMEM;
    }
    (void)curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, 3000L);
    (void)curl_easy_setopt(handle, CURLOPT_NOPROXY, "*");
    (void)curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, drop);
    *ret_resource = handle;
    return 0;
}

static void destroy(void *data, void *resource)
{
    (void)data;
    curl_easy_cleanup(resource);
}

static const struct pool_type handle_type = {.create = create, .destroy = destroy};

/* ---- the workers ---- */

struct worker {
    struct pool *pool;
    pthread_t thread;
    int number;
    uint64_t rounds, served;
    atomic_long *connects;
};

static bool request(struct worker *worker, CURL *handle)
{
    long status = 0;
    long connects = 0;
    CURLcode code = curl_easy_perform(handle);
    (void)curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(handle, CURLINFO_NUM_CONNECTS, &connects);
    (void)atomic_fetch_add(worker->connects, connects);
    (void)printf("worker %d: %s, on %s connection\n", worker->number,
                 code == CURLE_OK && status == 200 ? "hello" : curl_easy_strerror(code),
                 connects > 0 ? "a new" : "the kept");
    return code == CURLE_OK && status == 200;
}

static void *work(void *data)
{
    struct worker *worker = data;
    struct pool_wish wish = {.holder = "worker", .timeout_ns = 3 * NS_PER_SECOND};
    for (uint64_t i = 0; i < worker->rounds; i++) {
        struct pool_lease lease;
        struct error error = {""};
        if (pool_acquire(worker->pool, &wish, &lease, &error) != 0) {
            (void)printf("worker %d: %s\n", worker->number, error.text);
            return NULL;
        }
        bool good = request(worker, lease.resource);
        worker->served += good;
        (void)(good ? pool_release(worker->pool, lease) : pool_discard(worker->pool, lease));
    }
    return NULL;
}

static int run(struct site *site, uint64_t rounds, struct error *error)
{
    struct pool *pool = NULL;
    struct worker workers[WORKERS];
    struct pool_options options = {
        .name = "http", .type = &handle_type, .data = site, .min = HANDLES, .max = HANDLES};
    atomic_long connects = 0;
    uint64_t served = 0;
    int rc = pool_create(&options, &pool, error);
    rc = rc != 0 ? rc : pool_prefill(pool, HANDLES, error);
    for (int i = 0; rc == 0 && i < WORKERS; i++) {
        workers[i] = (struct worker){
            .pool = pool, .number = i + 1, .rounds = rounds, .connects = &connects};
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) {
            abort();
        }
    }
    for (int i = 0; rc == 0 && i < WORKERS; i++) {
        (void)pthread_join(workers[i].thread, NULL);
        served += workers[i].served;
    }
    if (rc == 0) {
        (void)printf("%llu requests by %d workers over %d handles, %ld connections made\n",
                     (unsigned long long)served, WORKERS, HANDLES, atomic_load(&connects));
        rc = served == rounds * WORKERS ? 0 : -EIO;
    }
    pool_destroy(pool);
    return rc;
}

int main(int argc, char **argv)
{
    struct site site = {.loop = NULL};
    struct error error = {""};
    uint64_t rounds = 5;
    if (argc > 2 || (argc == 2 && str_parse_u64(argv[1], &rounds) != 0)) {
        (void)fputs("usage: example_http_pool [ROUNDS]\n", stderr);
        return 2;
    }
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        return 1;
    }
    int rc = site_start(&site, &error);
    if (rc == 0) {
        rc = run(&site, rounds, &error);
        site_stop(&site);
    }
    curl_global_cleanup();
    if (rc != 0) {
        (void)fprintf(stderr, "example_http_pool: %s\n",
                      error.text[0] != '\0' ? error.text : "not all requests were answered");
    }
    return rc == 0 ? 0 : 1;
}
