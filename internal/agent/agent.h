/*
 * The agent: builds all parts from the configuration, owns every lifetime, runs the loop.
 */
#pragma once

#include "agent/config.h"

struct agent_options {
    struct config *config;         /* taken over when agent_run() begins */
    struct config_sources sources; /* for SIGHUP; borrowed */
    const char *version;
};

/* Runs until SIGTERM or SIGINT. Returns the exit status: 0 when everything captured is durable, 1
 * with the reason logged otherwise. */
int agent_run(const struct agent_options *options);
