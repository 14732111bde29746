/* The verbs that ask a pool that is served. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "base/timestamp.h"
#include "net/http_call.h"
#include "options.h"

#define MARGIN_NS (10 * NS_PER_SECOND) /* beyond what the server was asked to wait */
#define ANSWER_LIMIT_BYTES ((size_t)16 * 1024 * 1024)

struct question {
    const char *listen;
    struct loop *loop;
    struct metrics *metrics;
    struct http_client *http;
    struct http_target *target;
    struct json *answer;
    char *body;
    bool done;
    int rc;
    struct error error;
};

static void handle_answer(const struct http_answer *answer, void *data)
{
    struct question *question = data;
    struct error parse = {.text = ""};
    question->done = true;
    if (answer->end != HTTP_COMPLETE) {
        question->rc = -ECONNREFUSED;
        error_set(&question->error, "%s: %s; is `container_pool serve` running there?",
                  question->listen, answer->text);
        return;
    }
    question->body = strdup(answer->body);
    question->rc = json_parse(answer->body, answer->body_bytes, &question->answer, &parse);
    if (question->rc != 0) {
        error_set(&question->error, "%s: what answers is no `container_pool serve`: %s",
                  question->listen, parse.text);
    } else if (answer->status != 200) {
        const char *text = json_string(json_get(question->answer, "error"));
        question->rc = -EPROTO;
        error_set(&question->error, "%s", text != NULL ? text : "it was refused");
    }
}

static int prepare(struct question *question)
{
    char url[300];
    struct endpoint endpoint;
    struct http_client_options options = {.idle_total = 1, .idle_per_host = 1, .opens_limit = 1};
    const char *path = question->listen;
    bool local = str_starts_with(path, "unix:");
    (void)snprintf(url, sizeof(url), "%s%s", local ? "unix://" : "tcp://",
                   local ? path + strlen("unix:") : path);
    int rc = endpoint_parse(url, NULL, &endpoint, &question->error);
    endpoint.direct = true;
    rc = rc != 0 ? rc : loop_create(clock_real(), &question->loop);
    rc = rc != 0 ? rc : metrics_create(&question->metrics);
    options.loop = question->loop;
    options.metrics = question->metrics;
    rc = rc != 0 ? rc : http_client_create(&options, &question->http);
    rc = rc != 0 ? rc : http_target_create(question->http, &endpoint, &question->target);
    return rc;
}

static void finish(struct question *question)
{
    if (question->http != NULL) {
        http_client_shutdown(question->http);
    }
    http_target_destroy(question->target);
    http_client_destroy(question->http);
    metrics_destroy(question->metrics);
    loop_destroy(question->loop);
    json_destroy(question->answer);
    free(question->body);
}

/* Asks and waits. */
static int ask(struct question *question, const char *method, const char *path, int64_t timeout_ns)
{
    struct http_call *call;
    int rc = prepare(question);
    rc = rc != 0 ? rc
                 : http_call_start(question->http,
                                   &(struct http_call_options){.target = question->target,
                                                               .method = method,
                                                               .path = path,
                                                               .timeout_ns = timeout_ns,
                                                               .limit_bytes = ANSWER_LIMIT_BYTES,
                                                               .on_answer = handle_answer,
                                                               .data = question},
                                   &call);
    while (rc == 0 && !question->done) {
        rc = loop_iterate(question->loop, -1);
    }
    rc = rc != 0 ? rc : question->rc;
    if (rc != 0) {
        (void)fprintf(stderr, "container_pool: %s\n",
                      question->error.text[0] != '\0' ? question->error.text : strerror(-rc));
    }
    return rc;
}

/* ---- acquire ---- */

static void print_environment(const struct json *answer)
{
    static const char *const rows[][2] = {{"LEASE", "lease"},
                                          {"ADDRESS", "address"},
                                          {"ID", "id"},
                                          {"NAME", "name"},
                                          {"HOST", "host"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *value = json_string(json_get(answer, rows[i][1]));
        (void)printf("export CONTAINER_POOL_%s=%s\n", rows[i][0], value != NULL ? value : "");
    }
    const struct json *ports = json_get(answer, "ports");
    const char *named = json_string(json_get(answer, "host"));
    const char *host = named != NULL ? named : "";
    for (const struct json *port = json_first(ports); port != NULL; port = json_next(port)) {
        (void)printf("export CONTAINER_POOL_PORT_%s=%s:%lld\n", json_name(port), host,
                     (long long)json_int(port));
    }
}

int ask_acquire(const struct verb *verb, const struct options *options, char **arguments)
{
    char storage[256];
    char path[160];
    char timeout[32];
    char ttl[48] = "";
    struct question question = {.listen = options_listen(options, storage, sizeof(storage))};
    (void)arguments;
    if (options->pid == 0 && options->ttl_ns == 0) {
        return option_flags_complain(&verb->flags,
                                     "--pid or --ttl is missing: say when the container goes back "
                                     "where nobody releases it");
    }
    str_format_duration(options->timeout_ns, timeout, sizeof(timeout));
    if (options->ttl_ns > 0) {
        (void)snprintf(ttl, sizeof(ttl), "&ttl=");
        str_format_duration(options->ttl_ns, ttl + 5, sizeof(ttl) - 5);
    }
    (void)snprintf(path, sizeof(path), "/acquire?pid=%llu&timeout=%s%s",
                   (unsigned long long)options->pid, timeout, ttl);
    int rc = ask(&question, "POST", path, options->timeout_ns + MARGIN_NS);
    if (rc == 0 && strcmp(options->output, "json") == 0) {
        (void)fputs(question.body, stdout);
    } else if (rc == 0) {
        print_environment(question.answer);
    }
    finish(&question);
    return rc == 0 ? 0 : 1;
}

/* ---- release ---- */

int ask_release(const struct verb *verb, const struct options *options, char **arguments)
{
    char storage[256];
    char path[128];
    const char *named = getenv("CONTAINER_POOL_LEASE");
    const char *lease = options->lease[0] != '\0' ? options->lease : named;
    struct question question = {.listen = options_listen(options, storage, sizeof(storage))};
    (void)arguments;
    if (lease == NULL || lease[0] == '\0') {
        return option_flags_complain(&verb->flags, "--lease is missing");
    }
    if (strspn(lease, "0123456789abcdef") != strlen(lease) || strlen(lease) > 64) {
        return option_flags_complain(&verb->flags, "--lease: '%.40s' is none", lease);
    }
    (void)snprintf(path, sizeof(path), "/release?lease=%s%s", lease,
                   options->broken ? "&broken=1" : "");
    int rc = ask(&question, "POST", path, MARGIN_NS);
    finish(&question);
    return rc == 0 ? 0 : 1;
}

/* ---- stats ---- */

static long long number_of(const struct json *object, const char *key)
{
    return (long long)json_int(json_get(object, key));
}

static const char *text_of(const struct json *object, const char *key)
{
    const char *text = json_string(json_get(object, key));
    return text != NULL ? text : "";
}

static void print_stats(const struct json *stats)
{
    (void)printf(
        "%s (%s): %lld of %lld available, %lld taken, %lld resetting, %lld in the making\n",
        text_of(stats, "preset"), text_of(stats, "image"), number_of(stats, "available"),
        number_of(stats, "total"), number_of(stats, "taken"), number_of(stats, "resetting"),
        number_of(stats, "making"));
    (void)printf("so far: %lld made, %lld attempts failed, %lld died, %lld removed\n",
                 number_of(stats, "made"), number_of(stats, "failed"), number_of(stats, "died"),
                 number_of(stats, "removed"));
    if (text_of(stats, "trouble")[0] != '\0') {
        (void)printf("the last failure: %s\n", text_of(stats, "trouble"));
    }
    const struct json *held = json_get(stats, "held");
    for (const struct json *one = json_first(held); one != NULL; one = json_next(one)) {
        (void)printf("%-28s %-21s %s, for %.1f s\n", text_of(one, "name"), text_of(one, "address"),
                     text_of(one, "holder"), (double)number_of(one, "held_ms") / 1000);
    }
}

int ask_stats(const struct verb *verb, const struct options *options, char **arguments)
{
    char storage[256];
    struct question question = {.listen = options_listen(options, storage, sizeof(storage))};
    (void)verb;
    (void)arguments;
    int rc = ask(&question, NULL, "/stats", MARGIN_NS);
    if (rc == 0 && strcmp(options->output, "json") == 0) {
        (void)fputs(question.body, stdout);
    } else if (rc == 0) {
        print_stats(question.answer);
    }
    finish(&question);
    return rc == 0 ? 0 : 1;
}
