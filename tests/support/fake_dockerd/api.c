/*
 * The endpoints of the Docker API that are one plain answer, and the way to the others.
 */
#include "fake_dockerd/api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_dockerd/control.h"
#include "fake_dockerd/events.h"
#include "fake_dockerd/logs.h"

#define CONTAINERS "/containers/"

static void answer_json(struct fake_connection *connection, struct fake_text *body)
{
    fake_text_put(body, "\n");
    fake_connection_answer(connection, 200, "application/json", body);
    fake_text_finish(body);
}

static void handle_ping(struct fake_connection *connection, const struct fake_request *request)
{
    struct fake_text body = {0};
    fake_text_put(&body, strcmp(request->method, "HEAD") == 0 ? "" : "OK");
    fake_connection_answer(connection, 200, "text/plain; charset=utf-8", &body);
    fake_text_finish(&body);
}

static void handle_version(struct fake_connection *connection)
{
    const struct fake_server *server = connection->server;
    struct fake_text body = {0};
    fake_text_printf(&body,
                     "{\"Platform\":{\"Name\":\"\"},\"Version\":\"%s\",\"ApiVersion\":\"1.%u\","
                     "\"MinAPIVersion\":\"1.%u\",\"GitCommit\":\"fake\",\"GoVersion\":\"none\","
                     "\"Os\":\"linux\",\"Arch\":\"amd64\",\"KernelVersion\":\"6.1.0\"}",
                     server->server_version, server->api_minor, server->min_api_minor);
    answer_json(connection, &body);
}

static void handle_info(struct fake_connection *connection)
{
    const struct fake_server *server = connection->server;
    const struct fake_world *world = &server->world;
    size_t counts[4] = {0};
    for (size_t i = 0; i < world->count; i++) {
        counts[world->containers[i]->state]++;
    }
    struct fake_text body = {0};
    fake_text_printf(&body,
                     "{\"ID\":\"%s\",\"Containers\":%zu,\"ContainersRunning\":%zu,"
                     "\"ContainersPaused\":%zu,\"ContainersStopped\":%zu,\"Images\":1,"
                     "\"Driver\":\"overlay2\",\"LoggingDriver\":\"json-file\",\"NCPU\":2,"
                     "\"Name\":\"fake\",\"OSType\":\"linux\",\"Architecture\":\"x86_64\","
                     "\"DockerRootDir\":\"/var/lib/docker\",\"ServerVersion\":\"%s\"}",
                     server->daemon_id, world->count, counts[FAKE_RUNNING], counts[FAKE_PAUSED],
                     counts[FAKE_EXITED] + counts[FAKE_CREATED], server->server_version);
    answer_json(connection, &body);
}

static void handle_list(struct fake_connection *connection, const struct fake_request *request)
{
    const struct fake_world *world = &connection->server->world;
    bool all = fake_query_bool(request->query, "all", false);
    struct fake_text body = {0};
    const char *comma = "";
    fake_text_put(&body, "[");
    for (size_t i = world->count; i > 0; i--) { /* newest first */
        const struct fake_container *container = world->containers[i - 1];
        if (all || fake_container_runs(container)) {
            fake_text_put(&body, comma);
            fake_container_list_json(container, &body);
            comma = ",";
        }
    }
    fake_text_put(&body, "]");
    answer_json(connection, &body);
}

static void handle_inspect(struct fake_connection *connection,
                           const struct fake_container *container)
{
    struct fake_text body = {0};
    fake_container_inspect_json(container, &body);
    answer_json(connection, &body);
}

/* "/containers/<reference>/json" or ".../logs"; ret_reference has FAKE_CONTAINER_NAME_MAX + 1. */
static enum fake_endpoint container_endpoint(const char *path, char *ret_reference)
{
    const char *reference = path + strlen(CONTAINERS);
    const char *slash = strchr(reference, '/');
    if (slash == NULL || slash == reference ||
        (size_t)(slash - reference) > FAKE_CONTAINER_NAME_MAX) {
        return FAKE_OTHER;
    }
    memcpy(ret_reference, reference, (size_t)(slash - reference));
    ret_reference[slash - reference] = '\0';
    if (strcmp(slash, "/json") == 0) {
        return FAKE_INSPECT;
    }
    return strcmp(slash, "/logs") == 0 ? FAKE_LOGS : FAKE_OTHER;
}

static enum fake_endpoint endpoint_of(const struct fake_request *request, char *ret_reference)
{
    static const struct {
        const char *path;
        enum fake_endpoint endpoint;
    } fixed[] = {
        {"/_ping", FAKE_PING},    {"/version", FAKE_VERSION},      {"/info", FAKE_INFO},
        {"/events", FAKE_EVENTS}, {"/containers/json", FAKE_LIST},
    };
    ret_reference[0] = '\0';
    if (strncmp(request->path, "/_fake/", 7) == 0) {
        return FAKE_CONTROL;
    }
    if (strcmp(request->method, "GET") != 0 &&
        !(strcmp(request->method, "HEAD") == 0 && strcmp(request->path, "/_ping") == 0)) {
        return FAKE_OTHER;
    }
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++) {
        if (strcmp(request->path, fixed[i].path) == 0) {
            return fixed[i].endpoint;
        }
    }
    bool container = strncmp(request->path, CONTAINERS, strlen(CONTAINERS)) == 0;
    return container ? container_endpoint(request->path, ret_reference) : FAKE_OTHER;
}

static bool version_refused(struct fake_connection *connection, const struct fake_request *request)
{
    const struct fake_server *server = connection->server;
    if (request->version > server->api_minor) {
        fake_connection_refuse(connection, 400,
                               "client version 1.%u is too new. Maximum supported API version is "
                               "1.%u",
                               request->version, server->api_minor);
        return true;
    }
    if (request->version > 0 && request->version < server->min_api_minor) {
        fake_connection_refuse(connection, 400,
                               "client version 1.%u is too old. Minimum supported API version is "
                               "1.%u, please upgrade your client to a newer version",
                               request->version, server->min_api_minor);
        return true;
    }
    return false;
}

static bool play_refusal(struct fake_connection *connection, struct fake_refusal *refusal)
{
    if (refusal->status == 0) {
        return false;
    }
    struct fake_text body = {0};
    int status = refusal->status;
    fake_text_put(&body, refusal->body);
    if (refusal->count > 0 && --refusal->count == 0) {
        refusal->status = 0;
    }
    fake_connection_answer(connection, status, "application/json", &body);
    fake_text_finish(&body);
    return true;
}

static void answer(struct fake_connection *connection, const struct fake_request *request,
                   enum fake_endpoint endpoint, const char *reference)
{
    struct fake_container *container = NULL;
    if (endpoint == FAKE_INSPECT || endpoint == FAKE_LOGS) {
        container = fake_world_find(&connection->server->world, reference);
        if (container == NULL) {
            fake_connection_refuse(connection, 404, "No such container: %s", reference);
            return;
        }
    }
    switch (endpoint) {
    case FAKE_PING:
        handle_ping(connection, request);
        break;
    case FAKE_VERSION:
        handle_version(connection);
        break;
    case FAKE_INFO:
        handle_info(connection);
        break;
    case FAKE_LIST:
        handle_list(connection, request);
        break;
    case FAKE_INSPECT:
        handle_inspect(connection, container);
        break;
    case FAKE_LOGS:
        fake_logs_handle(connection, request, container);
        break;
    case FAKE_EVENTS:
        fake_events_handle(connection, request);
        break;
    default:
        fake_connection_refuse(connection, 404, "page not found");
    }
}

void fake_api_handle(struct fake_connection *connection, const struct fake_request *request)
{
    struct fake_server *server = connection->server;
    char reference[FAKE_CONTAINER_NAME_MAX + 1];
    enum fake_endpoint endpoint = endpoint_of(request, reference);
    if (endpoint == FAKE_CONTROL) {
        fake_control_handle(connection, request);
        return;
    }
    server->requests[endpoint]++;
    if (server->hangs[endpoint]) {
        return;
    }
    if (!play_refusal(connection, &server->refusals[endpoint]) &&
        !version_refused(connection, request)) {
        answer(connection, request, endpoint, reference);
    }
}
