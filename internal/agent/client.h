/*
 * Speaks to a running agent's HTTP server, blocking: a loop and a transport of its own, iterated
 * until the answer is there. For commands; one thread.
 */
#pragma once

#include <stdint.h>

#include "agent/flags.h"
#include "base/error.h"
#include "loop/loop.h"
#include "net/http.h"

#define CLIENT_URL_SIZE 256

struct client {
    struct loop *loop;
    struct metrics *metrics;
    struct http_client *http;
    struct http_target *target;
    char url[CLIENT_URL_SIZE]; /* "http://127.0.0.1:8001" */
};

struct client_answer {
    enum http_end end;
    int status;                                /* 0: none came */
    char text[256];                            /* for people, when end is not HTTP_COMPLETE */
    char server[64], via[64], api_version[16]; /* headers, or "" */
    char *body; /* terminated by a NUL that is not counted; caller frees with free() */
    size_t body_bytes;
};

/* The first member of what the flags of such a command are put into. */
struct client_flags {
    const char *url; /* --url, or NULL */
};
int client_set_url(void *target, const char *value);
#define CLIENT_URL_FLAG                                                                            \
    {                                                                                              \
        .name = "url", .value = "http://HOST:PORT",                                                \
        .help = "the agent, as in http://10.0.0.5:8001 (default: where http.listen says)",         \
        .set = client_set_url                                                                      \
    }

/* command_parse(), then the agent's URL from --url or from the configuration. false: the command is
 * over, with *ret_status. */
bool client_parse(const struct command *command, const struct command_line *line,
                  struct client_flags *target, char ret_url[CLIENT_URL_SIZE], int *ret_status);

/* Where an agent with this http.listen is reached from its own machine. -EINVAL for port 0. */
int client_url_of(const char *listen_on, char ret_url[CLIENT_URL_SIZE], struct error *error)
    __attribute__((warn_unused_result));

/* The client must be zeroed; client_finish() is due also after a failure. */
int client_init(struct client *client, const char *url, struct error *error)
    __attribute__((warn_unused_result));
/* The same with a daemon or another server, over a socket, TLS, or a proxy of the environment. */
int client_init_endpoint(struct client *client, const struct endpoint *endpoint,
                         struct error *error) __attribute__((warn_unused_result));
void client_finish(struct client *client);

struct client_request {
    const char *path;
    int64_t timeout_ns;
    size_t limit_bytes; /* of the body */
};
/* GET. ret_answer is filled in every case; its body is to be freed. Returns 0 when an answer came
 * whole, with any status, else a negative errno. */
int client_call(struct client *client, const struct client_request *request,
                struct client_answer *ret_answer) __attribute__((warn_unused_result));

/* GET of an agent. Returns 0 with any HTTP status, or a negative errno and what to look at: nobody listens, no
 * answer in time, no HTTP. */
int client_get(struct client *client, const char *path, int64_t timeout_ns,
               struct client_answer *ret_answer, struct error *error)
    __attribute__((warn_unused_result));
/* What is wrong when a request got no answer. */
int client_explain(const struct client *client, const struct http_result *result,
                   struct error *error);
