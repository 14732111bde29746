/*
 * Version negotiation. dockerd answers /_ping with its highest API version; newer daemons refuse
 * versions below their minimum with 400 and name it in the same header. Ours is the highest that
 * this code was tested with; a daemon whose minimum is above that is spoken to in its own version.
 */
#include "docker/docker_client.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "base/str.h"

#define HIGHEST_MAJOR 1
#define HIGHEST_MINOR 52
#define PING_TIMEOUT_NS (10 * INT64_C(1000000000))

struct docker_client {
    struct http_client *http;
    struct http_target *target;
    struct endpoint endpoint;
    char *name;
    char api_version[16];
    char server[64];
    unsigned major, minor;
    bool refused; /* the daemon refused our version: use its own */
};

int docker_client_create(struct http_client *http, const char *name,
                         const struct endpoint *endpoint, struct docker_client **ret_client)
{
    struct docker_client *client = calloc(1, sizeof(*client));
    if (client == NULL) {
        return -ENOMEM;
    }
    client->http = http;
    client->endpoint = *endpoint;
    client->name = strdup(name);
    int rc = client->name == NULL ? -ENOMEM : http_target_create(http, endpoint, &client->target);
    if (rc != 0) {
        docker_client_destroy(client);
        return rc;
    }
    *ret_client = client;
    return 0;
}

void docker_client_destroy(struct docker_client *client)
{
    if (client != NULL) {
        http_target_destroy(client->target);
        free(client->name);
        free(client);
    }
}

const char *docker_client_name(const struct docker_client *client)
{
    return client->name;
}

const char *docker_client_url(const struct docker_client *client)
{
    return client->endpoint.url;
}

const char *docker_client_server(const struct docker_client *client)
{
    return client->server;
}

const char *docker_client_api_version(const struct docker_client *client)
{
    return client->api_version;
}

bool docker_client_api_at_least(const struct docker_client *client, unsigned major, unsigned minor)
{
    return client->major > major || (client->major == major && client->minor >= minor);
}

bool docker_client_is_podman(const struct docker_client *client)
{
    return str_starts_with(client->server, "Libpod");
}

struct loop *docker_client_loop(const struct docker_client *client)
{
    return http_client_loop(client->http);
}

struct http_client *docker_client_http(const struct docker_client *client)
{
    return client->http;
}

struct http_target *docker_client_target(const struct docker_client *client)
{
    return client->target;
}

void docker_client_path(const struct docker_client *client, const char *rest, char *ret_path,
                        size_t path_bytes)
{
    if (client->api_version[0] == '\0') {
        (void)snprintf(ret_path, path_bytes, "%s", rest);
    } else {
        (void)snprintf(ret_path, path_bytes, "/v%s%s", client->api_version, rest);
    }
}

/* Why a unix socket can't be reached, and what helps. */
static void explain_unix(const char *path, const char *text, struct error *ret)
{
    struct stat status;
    if (stat(path, &status) != 0) {
        error_set(ret, "%s: %s; is dockerd running, and is its socket mounted here?", path,
                  strerror(errno));
        return;
    }
    if (!S_ISSOCK(status.st_mode)) {
        error_set(ret, "%s is not a socket", path);
        return;
    }
    if (access(path, W_OK) != 0) {
        char name[64] = "?";
        struct group entry;
        struct group *found = NULL;
        char storage[1024];
        if (getgrgid_r(status.st_gid, &entry, storage, sizeof(storage), &found) == 0 &&
            found != NULL) {
            (void)str_copy(name, sizeof(name), found->gr_name);
        }
        error_set(ret,
                  "no permission for %s: it needs group %s (gid %u); add the user to it, or give "
                  "the container `--group-add %u`",
                  path, name, (unsigned)status.st_gid, (unsigned)status.st_gid);
        return;
    }
    error_set(ret, "%s: %s; is dockerd running?", path, text);
}

struct docker_outcome docker_outcome_make(const struct docker_client *client, enum http_end end,
                                          int status, const char *message, struct error *storage)
{
    struct docker_outcome outcome = {.status = status, .text = storage->text};
    if (end == HTTP_CLOSED || end == HTTP_SHUTDOWN) {
        outcome.verdict = DOCKER_CLOSED;
        error_set(storage, "closed");
        return outcome;
    }
    if (end != HTTP_COMPLETE) {
        outcome.verdict = DOCKER_UNAVAILABLE;
        if (end == HTTP_REFUSED && client->endpoint.unix_path[0] != '\0') {
            explain_unix(client->endpoint.unix_path, message, storage);
        } else {
            error_set(storage, "%s: %s", client->endpoint.url, message);
        }
        return outcome;
    }
    if (status >= 200 && status < 300) {
        outcome.verdict = DOCKER_OK;
        error_set(storage, "ok");
        return outcome;
    }
    outcome.verdict = status == 404   ? DOCKER_NOT_FOUND
                      : status == 409 ? DOCKER_CONFLICT
                      : status == 501 ? DOCKER_NOT_SUPPORTED
                      : status >= 400 && status < 500 && status != 408 && status != 429
                          ? DOCKER_REFUSED
                          : DOCKER_UNAVAILABLE;
    error_set(storage, "%s answered %d: %s", client->endpoint.url, status,
              message != NULL ? message : "(no message)");
    return outcome;
}

/* ---- ping ---- */

struct ping {
    struct docker_client *client;
    docker_done_fn on_done;
    void *data;
};

/* "1.41"; more behind it is ignored. */
static bool parse_version(const char *text, unsigned *ret_major, unsigned *ret_minor)
{
    const char *dot = strchr(text, '.');
    uint64_t major;
    uint64_t minor;
    char word[8] = {0};
    if (dot == NULL || (size_t)(dot - text) >= sizeof(word)) {
        return false;
    }
    memcpy(word, text, (size_t)(dot - text));
    if (str_parse_u64(word, &major) != 0 || str_parse_u64(dot + 1, &minor) != 0 || major > 99 ||
        minor > 999) {
        return false;
    }
    *ret_major = (unsigned)major;
    *ret_minor = (unsigned)minor;
    return true;
}

static void negotiate(struct docker_client *client, const char *daemon_version, bool refused)
{
    unsigned major;
    unsigned minor;
    if (!parse_version(daemon_version, &major, &minor)) {
        return;
    }
    client->refused = client->refused || refused;
    bool above = major > HIGHEST_MAJOR || (major == HIGHEST_MAJOR && minor > HIGHEST_MINOR);
    client->major = above && !client->refused ? HIGHEST_MAJOR : major;
    client->minor = above && !client->refused ? HIGHEST_MINOR : minor;
    (void)snprintf(client->api_version, sizeof(client->api_version), "%u.%u", client->major,
                   client->minor);
}

static void handle_ping(const struct http_answer *answer, void *data)
{
    struct ping *ping = data;
    struct docker_client *client = ping->client;
    struct error text = {""};
    struct docker_outcome outcome = docker_outcome_make(
        client, answer->end, answer->status, answer->end == HTTP_COMPLETE ? NULL : answer->text,
        &text);
    if (outcome.verdict == DOCKER_OK) {
        (void)str_copy(client->server, sizeof(client->server), answer->server);
    }
    if (outcome.verdict == DOCKER_OK || outcome.verdict == DOCKER_REFUSED) {
        negotiate(client, answer->api_version, outcome.verdict == DOCKER_REFUSED);
    }
    ping->on_done(&outcome, ping->data);
    free(ping);
}

int docker_ping(struct docker_client *client, docker_done_fn on_done, void *data)
{
    struct ping *ping = calloc(1, sizeof(*ping));
    if (ping == NULL) {
        return -ENOMEM;
    }
    *ping = (struct ping){.client = client, .on_done = on_done, .data = data};
    struct http_call *call;
    int rc = http_call_start(client->http,
                             &(struct http_call_options){.target = client->target,
                                                         .path = "/_ping",
                                                         .timeout_ns = PING_TIMEOUT_NS,
                                                         .limit_bytes = 4096,
                                                         .on_answer = handle_ping,
                                                         .data = ping},
                             &call);
    if (rc != 0) {
        free(ping);
    }
    return rc;
}
