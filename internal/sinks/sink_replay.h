/*
 * Sends a sink's dead letters again, one by one, without an agent or beside a running one. Used by
 * a command, in its only thread.
 *
 * The file is moved aside first, so that an agent that runs goes on with a new one. What is rejected
 * again goes back, and so does all that is left when the target can't be reached. A replay that was
 * killed goes on with the file it had moved aside, and may repeat letters then.
 */
#pragma once

#include "base/error.h"
#include "sinks/sink_settings.h"

struct sink_replay_options {
    const char *state_dir;
    const struct sink_settings *settings;
    /* After each letter. Optional. */
    void (*on_progress)(uint64_t done, void *data);
    void *data;
};

struct sink_replay_result {
    uint64_t delivered;
    uint64_t rejected; /* again; they are in the file again */
    uint64_t left;     /* not sent, in the file again */
    uint64_t damaged;  /* lines that are no dead letters, in the file again */
};

/* Returns 0 when all letters were sent; -ENOENT when there are none; -EBUSY when another replay
 * runs; else why it ended before, with the reason. */
int sink_replay(const struct sink_replay_options *options, struct sink_replay_result *ret_result,
                struct error *error) __attribute__((warn_unused_result));
