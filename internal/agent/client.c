/*
 * The transport is the one that speaks to daemons, so that there is one way to send a request. No
 * proxy of the environment comes between: the agent is on this machine, or was named.
 */
#include "agent/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/config.h"
#include "base/str.h"
#include "base/timestamp.h"
#include "net/http_call.h"

#define ANSWER_LIMIT_BYTES (64U * 1024U * 1024U)

int client_url_of(const char *listen_on, char ret_url[CLIENT_URL_SIZE], struct error *error)
{
    const char *given = listen_on[0] == '\0' ? ":8001" : listen_on;
    const char *port = strrchr(given, ':');
    uint64_t number = 0;
    if (port == NULL || str_parse_u64(port + 1, &number) != 0 || number == 0 || number > 65535) {
        error_set(error, "http.listen is '%s', which names no port to ask; --url names the agent",
                  given);
        return -EINVAL;
    }
    size_t size = (size_t)(port - given);
    const char *host = given;
    if (size == 0 || (size == 1 && *host == '*') || strncmp(given, "0.0.0.0:", 8) == 0) {
        host = "127.0.0.1";
        size = strlen(host);
    } else if (strncmp(given, "[::]:", 5) == 0) {
        host = "[::1]";
        size = strlen(host);
    }
    int n = snprintf(ret_url, CLIENT_URL_SIZE, "http://%.*s:%u", (int)size, host, (unsigned)number);
    return n < CLIENT_URL_SIZE ? 0 : -ENAMETOOLONG;
}

int client_set_url(void *target, const char *value)
{
    struct client_flags *flags = target;
    if (!str_starts_with(value, "http://") && !str_starts_with(value, "https://")) {
        return -EINVAL;
    }
    flags->url = value;
    return 0;
}

/* Exit status. */
static int find_url(const struct command_settings *settings, const struct command_line *line,
                    char ret_url[CLIENT_URL_SIZE])
{
    struct config_sources sources;
    struct config config;
    struct error error;
    int status = commands_load(settings, line, &sources, &config);
    if (status != 0) {
        return status;
    }
    if (client_url_of(config.listen, ret_url, &error) != 0) {
        (void)fprintf(stderr, "log_capturer %s: %s\n", line->argv[0], error.text);
        status = 1;
    }
    config_finish(&config);
    return status;
}

bool client_parse(const struct command *command, const struct command_line *line,
                  struct client_flags *target, char ret_url[CLIENT_URL_SIZE], int *ret_status)
{
    struct config_flag flags[COMMAND_FLAG_LIMIT];
    struct command_settings settings = {.flags = flags};
    if (!command_parse(command, line, &settings, target, ret_status)) {
        return false;
    }
    if (target->url != NULL) {
        (void)str_copy(ret_url, CLIENT_URL_SIZE, target->url);
    } else {
        *ret_status = find_url(&settings, line, ret_url);
    }
    return *ret_status == 0;
}

int client_init_endpoint(struct client *client, const struct endpoint *endpoint,
                         struct error *error)
{
    (void)str_copy(client->url, sizeof(client->url), endpoint->url);
    error_set(error, "out of memory");
    int rc = metrics_create(&client->metrics);
    rc = rc != 0 ? rc : loop_create(clock_real(), &client->loop);
    rc = rc != 0 ? rc
                 : http_client_create(
                       &(struct http_client_options){.loop = client->loop,
                                                     .metrics = client->metrics,
                                                     .idle_total = 1,
                                                     .idle_per_host = 1,
                                                     .idle_timeout_ns = 10 * NS_PER_SECOND,
                                                     .opens_limit = 1},
                       &client->http);
    return rc != 0 ? rc : http_target_create(client->http, endpoint, &client->target);
}

int client_init(struct client *client, const char *url, struct error *error)
{
    struct endpoint endpoint;
    int rc = endpoint_parse(url, NULL, &endpoint, error);
    endpoint.direct = true;
    return rc != 0 ? rc : client_init_endpoint(client, &endpoint, error);
}

void client_finish(struct client *client)
{
    if (client->http != NULL) {
        http_client_shutdown(client->http);
    }
    http_target_destroy(client->target);
    http_client_destroy(client->http);
    loop_destroy(client->loop);
    metrics_destroy(client->metrics);
    *client = (struct client){0};
}

int client_explain(const struct client *client, const struct http_result *result,
                   struct error *error)
{
    switch (result->end) {
    case HTTP_REFUSED:
        error_set(error, "no agent at %s (%s): it does not run, or listens elsewhere (--url)",
                  client->url, result->text);
        return -ECONNREFUSED;
    case HTTP_TIMED_OUT:
        error_set(error,
                  "%s takes connections and did not answer in time: its loop hangs, or it "
                  "is no agent",
                  client->url);
        return -ETIMEDOUT;
    case HTTP_NO_MEMORY:
        error_set(error, "out of memory");
        return -ENOMEM;
    default:
        error_set(error, "%s: the answer broke off: %s", client->url, result->text);
        return -EPROTO;
    }
}

struct wait {
    struct client_answer *answer;
    bool done;
};

static void handle_answer(const struct http_answer *answer, void *data)
{
    struct wait *wait = data;
    struct client_answer *kept = wait->answer;
    wait->done = true;
    kept->end = answer->end;
    kept->status = answer->status;
    (void)str_copy(kept->text, sizeof(kept->text), answer->text != NULL ? answer->text : "");
    (void)str_copy(kept->server, sizeof(kept->server), answer->server);
    (void)str_copy(kept->via, sizeof(kept->via), answer->via);
    (void)str_copy(kept->api_version, sizeof(kept->api_version), answer->api_version);
    kept->body = malloc(answer->body_bytes + 1);
    if (kept->body == NULL) {
        kept->end = HTTP_NO_MEMORY;
        return;
    }
    memcpy(kept->body, answer->body, answer->body_bytes);
    kept->body[answer->body_bytes] = '\0';
    kept->body_bytes = answer->body_bytes;
}

int client_call(struct client *client, const struct client_request *request,
                struct client_answer *ret_answer)
{
    struct wait wait = {.answer = ret_answer};
    struct http_call *call;
    *ret_answer = (struct client_answer){.end = HTTP_NO_MEMORY};
    int rc = http_call_start(client->http,
                             &(struct http_call_options){.target = client->target,
                                                         .path = request->path,
                                                         .timeout_ns = request->timeout_ns,
                                                         .limit_bytes = request->limit_bytes,
                                                         .on_answer = handle_answer,
                                                         .data = &wait},
                             &call);
    while (rc == 0 && !wait.done) {
        rc = loop_iterate(client->loop, -1);
    }
    return rc != 0 ? rc : ret_answer->end == HTTP_COMPLETE ? 0 : -EIO;
}

int client_get(struct client *client, const char *path, int64_t timeout_ns,
               struct client_answer *ret_answer, struct error *error)
{
    struct client_request request = {path, timeout_ns, ANSWER_LIMIT_BYTES};
    int rc = client_call(client, &request, ret_answer);
    if (rc != 0) {
        struct http_result result = {ret_answer->end, ret_answer->status, ret_answer->text};
        rc = client_explain(client, &result, error);
        free(ret_answer->body);
        ret_answer->body = NULL;
    }
    return rc;
}
