/*
 * Filters are not looked at: all events here are of containers. From API 1.52 on the old members
 * status, id and from are gone. Dropped events are not in the ring either, as after a restart
 * of the daemon, so that only a new list can find out what has happened.
 */
#include "fake_dockerd/events.h"

#include <string.h>

#define SECOND_NS 1000000000

void fake_events_emit(struct fake_server *server, const struct fake_container *container,
                      const char *action, const char *extra)
{
    if (server->drop_events) {
        return;
    }
    struct fake_event *event = &server->events[server->event_count++ % FAKE_EVENT_RING];
    struct fake_text *out = &event->json;
    size_t image_len = strlen(container->image);
    event->time_ns = fake_now_ns() + server->clock_offset_ns;
    out->len = 0;
    fake_text_put(out, "{");
    if (server->api_minor < 52) {
        fake_text_printf(out, "\"status\":\"%s\",\"id\":\"%s\",\"from\":", action, container->id);
        fake_text_json(out, container->image, image_len);
        fake_text_put(out, ",");
    }
    fake_text_printf(out,
                     "\"Type\":\"container\",\"Action\":\"%s\",\"Actor\":{\"ID\":\"%s\","
                     "\"Attributes\":{%s%s%s\"image\":",
                     action, container->id, container->labels,
                     container->labels[0] != '\0' ? "," : "", extra);
    fake_text_json(out, container->image, image_len);
    fake_text_put(out, ",\"name\":");
    fake_text_json(out, container->name, strlen(container->name));
    fake_text_printf(out, "}},\"scope\":\"local\",\"time\":%lld,\"timeNano\":%lld}\n",
                     (long long)(event->time_ns / SECOND_NS), (long long)event->time_ns);
    fake_events_raw(server, out->data, out->len);
}

void fake_events_raw(struct fake_server *server, const void *data, size_t len)
{
    struct fake_connection *next;
    for (struct fake_connection *connection = LIST_FIRST(&server->event_listeners);
         connection != NULL; connection = next) {
        next = LIST_NEXT(connection, listener_link);
        fake_connection_chunk(connection, data, len);
        fake_connection_flush(connection);
    }
}

static void replay(struct fake_connection *connection, int64_t since_ns, int64_t until_ns)
{
    struct fake_server *server = connection->server;
    uint64_t count = server->event_count;
    uint64_t first = count > FAKE_EVENT_RING ? count - FAKE_EVENT_RING : 0;
    for (uint64_t i = first; i < count; i++) {
        const struct fake_event *event = &server->events[i % FAKE_EVENT_RING];
        if (event->time_ns >= since_ns && event->time_ns <= until_ns) {
            fake_connection_chunk(connection, event->json.data, event->json.len);
        }
    }
}

/* An `until` that is still to come is waited for only by the client. */
void fake_events_handle(struct fake_connection *connection, const struct fake_request *request)
{
    char text[64];
    int64_t since_ns = INT64_MAX;
    int64_t until_ns = INT64_MAX;
    if ((fake_query_get(request->query, "since", text, sizeof text) && text[0] != '\0' &&
         !fake_parse_time(text, &since_ns)) ||
        (fake_query_get(request->query, "until", text, sizeof text) && text[0] != '\0' &&
         !fake_parse_time(text, &until_ns))) {
        fake_connection_refuse(connection, 400, "invalid time: %s", text);
        return;
    }
    fake_connection_begin(connection, "application/json");
    replay(connection, since_ns, until_ns);
    if (until_ns <= fake_now_ns() + connection->server->clock_offset_ns) {
        fake_connection_end(connection);
        return;
    }
    connection->listens = true;
    LIST_INSERT_HEAD(&connection->server->event_listeners, connection, listener_link);
}

void fake_events_cut(struct fake_server *server, enum fake_cut how)
{
    struct fake_connection *next;
    for (struct fake_connection *connection = LIST_FIRST(&server->event_listeners);
         connection != NULL; connection = next) {
        next = LIST_NEXT(connection, listener_link);
        fake_connection_cut(connection, how);
    }
}

size_t fake_events_listeners(const struct fake_server *server)
{
    size_t count = 0;
    const struct fake_connection *connection;
    LIST_FOREACH(connection, &server->event_listeners, listener_link)
    {
        count++;
    }
    return count;
}

void fake_events_finish(struct fake_server *server)
{
    for (size_t i = 0; i < FAKE_EVENT_RING; i++) {
        fake_text_finish(&server->events[i].json);
    }
}
