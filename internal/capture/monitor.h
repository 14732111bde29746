/*
 * One daemon's monitor: keeps the set of its containers right.
 *
 *   ping -> open events, wait for the head -> list all -> connected; then events, a listing on a
 *   timer, a ping on a timer. When the events end: everything from the ping on again, with backoff.
 *
 * Between events and listing there is no gap: what happens before the listing is in it, what
 * happens after the head is told. Loop thread only. Private to this room.
 */
#pragma once

#include "capture/capture_shared.h"

struct monitor;

/* client is borrowed. */
int monitor_create(struct capture_shared *shared, struct docker_client *client,
                   struct monitor **ret_monitor) __attribute__((warn_unused_result));
/* Begins to connect. */
void monitor_start(struct monitor *monitor);
void monitor_stop(struct monitor *monitor);
/* After its calls have ended. NULL is ignored. */
void monitor_destroy(struct monitor *monitor);

/* Closes the streams of all containers, or lets them go on. */
void monitor_pause(struct monitor *monitor, bool paused);
void monitor_reinspect(struct monitor *monitor);
bool monitor_is_ready(const struct monitor *monitor, struct error *reason);
void monitor_put(const struct monitor *monitor, struct json_writer *writer);
/* One series per container, at most `limit`; returns what is left of the limit. */
size_t monitor_put_series(const struct monitor *monitor, struct metrics_writer *writer,
                          double (*value)(const struct container *container), size_t limit);
void monitor_put_containers(const struct monitor *monitor, struct json_writer *writer);
