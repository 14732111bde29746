/*
 * fake_api_handle: which answer a request gets.
 */
#ifndef FAKE_API_H
#define FAKE_API_H

#include "fake_dockerd/http.h"
#include "fake_dockerd/server.h"

/* The connection is busy; it is answered now, or becomes a stream, or (`hang`) is never. */
void fake_api_handle(struct fake_connection *connection, const struct fake_request *request);

#endif
