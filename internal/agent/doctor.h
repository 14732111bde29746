/*
 * The checks of `doctor`: each adds findings. They look and change nothing. One thread.
 */
#pragma once

#include "agent/client.h"
#include "agent/config.h"
#include "base/json.h"

enum doctor_verdict { DOCTOR_OK, DOCTOR_WARN, DOCTOR_BAD };

struct doctor_finding {
    enum doctor_verdict verdict;
    char check[24];    /* "socket", "log drivers" */
    char subject[64];  /* "local"; "" for the machine */
    struct error text; /* what was found */
    struct error mend; /* what helps; "" for what is fine */
};

struct doctor {
    const struct config *config;
    const char *url; /* of the agent */
    struct doctor_finding *findings;
    size_t count;
    size_t streams; /* running containers of all daemons */
    bool agent_runs;
    int64_t agent_max_fds;
    bool no_memory;
};

struct doctor_topic {
    const char *check;
    const char *subject;
};

/* Adds a finding with its text; doctor_mend() says what helps. */
void doctor_add(struct doctor *doctor, enum doctor_verdict verdict,
                const struct doctor_topic *topic, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Of the finding added last. */
void doctor_mend(struct doctor *doctor, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A GET of a daemon, parsed; NULL where it failed, and then why in the answer. */
struct json *doctor_get(struct client *client, const char *path, struct client_answer *ret_answer);

/* doctor_daemon.c: socket, answer, API version, clock, proxy. Goes on to its containers. */
void doctor_check_daemon(struct doctor *doctor, const struct config_daemon *daemon);
/* doctor_containers.c: log drivers and rotation, of the array of /containers/json. */
void doctor_check_containers(struct doctor *doctor, struct client *client, const char *daemon,
                             const struct json *list);
/* doctor_machine.c: is there an agent, the port, the spool's folder, open files (after the
 * daemons). */
void doctor_check_agent(struct doctor *doctor);
void doctor_check_spool(struct doctor *doctor);
void doctor_check_files(struct doctor *doctor);
