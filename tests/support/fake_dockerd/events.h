/*
 * The event stream: GET /events, and a ring of the last 256 for `since`, as dockerd keeps it.
 */
#ifndef FAKE_EVENTS_H
#define FAKE_EVENTS_H

#include "fake_dockerd/http.h"
#include "fake_dockerd/server.h"

void fake_events_handle(struct fake_connection *connection, const struct fake_request *request);
/* extra: further attributes, as members of a JSON object with a comma after each; or "". */
void fake_events_emit(struct fake_server *server, const struct fake_container *container,
                      const char *action, const char *extra);
/* Sent to all listeners as it is; not kept. */
void fake_events_raw(struct fake_server *server, const void *data, size_t len);
void fake_events_cut(struct fake_server *server, enum fake_cut how);
size_t fake_events_listeners(const struct fake_server *server);
void fake_events_finish(struct fake_server *server);

#endif
