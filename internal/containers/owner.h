/*
 * Who made a container, as its labels say: enough to tell whether that process is still there, so that
 * what a killed one left can be removed by the next. Any thread.
 */
#pragma once

#include <stdbool.h>

#define OWNER_SIZE 160
#define OWNER_SESSION_SIZE 17

#define OWNER_LABEL_SESSION "log_capturer.container_pool"
#define OWNER_LABEL_OWNER "log_capturer.container_pool.owner"

struct owner {
    char session[OWNER_SESSION_SIZE]; /* random hexadecimal digits */
    char text[OWNER_SIZE];            /* machine, boot, pid namespace, pid, start time */
};

/* This process, and a new session. */
void owner_make(struct owner *ret_owner);

enum owner_state {
    OWNER_ALIVE,
    OWNER_GONE,
    OWNER_UNKNOWN /* of another machine or pid namespace, or no such text */
};
enum owner_state owner_look(const char *text);
