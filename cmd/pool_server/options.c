/* The rows, and how they go together. */
#include "options.h"

#include <errno.h>
#include <string.h>

#include "pools/pool.h"

#define AT(member) offsetof(struct options, member)
#define SECOND_NS 1000000000

static const struct option_row rows[] = {
    {"port", OPTION_COUNT, AT(port), "8080", NULL, 0, 65535, NULL, false,
     "Port of all addresses that clients connect to; 0: any, and the log says which."},
    {"listen", OPTION_TEXT, AT(listen), "", NULL, 0, 0, NULL, false,
     "HOST:PORT to listen on, instead of --port."},
    {"backend", OPTION_LIST, AT(backend), NULL, NULL, 0, 0, NULL, false,
     "HOST:PORT of a backend; may be repeated. Not with --backends."},
    {"backends", OPTION_TEXT, AT(backends), "", NULL, 0, 0, NULL, false,
     "File of backends, one a line: HOST:PORT [weight=N]. Read again when it changes, and on "
     "SIGHUP; what is wrong in it is logged, and the old ones stay."},
    {"strategy", OPTION_CHOICE, AT(strategy), "round-robin",
     "round-robin|least-connections|random|p2c", 0, 0, NULL, false,
     "Which backend a client is given; p2c is the less loaded of two by chance."},
    {"max-connections", OPTION_COUNT, AT(max_connections), "50", NULL, 1, POOL_SIZE_LIMIT, NULL,
     false, "Connections to each backend, in use and idle together."},
    {"queue-timeout", OPTION_DURATION, AT(queue_timeout_ns), "5s", NULL, 1000000, 0, NULL, false,
     "How long a client waits for a place when all backends are full; then it is turned away."},
    {"max-clients", OPTION_COUNT, AT(max_clients), "0", NULL, 0, 1000000, NULL, false,
     "More clients are turned away; 0: what the limit of open files allows."},
    {"workers", OPTION_COUNT, AT(workers), "4", NULL, 1, 64, NULL, false, "Threads that relay."},
    {"warm", OPTION_COUNT, AT(warm), "0", NULL, 0, POOL_SIZE_LIMIT, NULL, false,
     "Connections kept ready to each backend, so that a client need not wait for one to be made."},
    {"reuse", OPTION_CHOICE, AT(reuse), "never", "never|clean", 0, 0, NULL, false,
     "clean: a backend connection serves another client when its client has left in order: all it "
     "sent was passed on, and the last bytes were the backend's answer. Only for protocols in "
     "which each request is answered and nothing outlives the answer: no login, no transaction, "
     "no subscription."},
    {"idle-timeout", OPTION_DURATION, AT(idle_timeout_ns), "30s", NULL, 0, 0, NULL, false,
     "An idle backend connection is closed after so long, but for the last --warm; 0: never."},
    {"session-timeout", OPTION_DURATION, AT(session_timeout_ns), "0", NULL, 0, 0, NULL, false,
     "A client without a byte either way for so long is cut; 0: never."},
    {"connect-timeout", OPTION_DURATION, AT(connect_timeout_ns), "5s", NULL, 1000000, 0, NULL,
     false,
     "To connect to a backend, at most; less where it has been quick and there is another one: four "
     "times its smoothed time and deviation, but 250 ms."},
    {"keep-alive", OPTION_DURATION, AT(keep_alive_ns), "60s", NULL, 0, 0, NULL, false,
     "TCP keep-alive of backend connections that last; 0: off."},
    {"health-interval", OPTION_DURATION, AT(health_interval_ns), "5s", NULL, 0, 0, NULL, false,
     "Pause between health checks of a backend: a quarter of it while a verdict is forming, up to "
     "four times it while it stays down. 0: no checks."},
    {"health-timeout", OPTION_DURATION, AT(health_timeout_ns), "2s", NULL, 1000000, 0, NULL, false,
     "Of one check."},
    {"health-send", OPTION_TEXT, AT(health_send), "", NULL, 0, 0, NULL, false,
     "Sent after connecting; \\r and \\n are understood."},
    {"health-expect", OPTION_TEXT, AT(health_expect), "", NULL, 0, 0, NULL, false,
     "The answer must contain it."},
    {"eject-failures", OPTION_COUNT, AT(eject_failures), "1", NULL, 0, 1000000, NULL, false,
     "Failed connections in a row after which a backend is left out; 0: never."},
    {"eject-time", OPTION_DURATION, AT(eject_time_ns), "1s", NULL, 1000000, 0, NULL, false,
     "For how long at first; doubles up to a minute. A passed health check ends it."},
    {"slow-start", OPTION_DURATION, AT(slow_start_ns), "0", NULL, 0, 0, NULL, false,
     "A backend that came back gets from a tenth to its full share during this time."},
    {"proxy-header", OPTION_BOOL, AT(proxy_header), "false", NULL, 0, 0, NULL, false,
     "Begin each backend connection with a PROXY protocol header, version 2, before TLS; health checks too."},
    {"tls-cert", OPTION_TEXT, AT(tls_cert), "", NULL, 0, 0, NULL, false,
     "PEM file: clients speak TLS, and this is the certificate; `self-signed` makes one."},
    {"tls-key", OPTION_TEXT, AT(tls_key), "", NULL, 0, 0, NULL, false,
     "PEM file of its key; where it is missing, the key is in --tls-cert."},
    {"tls-client-ca", OPTION_TEXT, AT(tls_client_ca), "", NULL, 0, 0, NULL, false,
     "PEM file: clients must have a certificate of these authorities."},
    {"backend-tls", OPTION_CHOICE, AT(backend_tls), "none", "none|unverified|verified", 0, 0, NULL,
     false, "TLS to backends; verified checks their certificate and name."},
    {"backend-ca", OPTION_TEXT, AT(backend_ca), "", NULL, 0, 0, NULL, false,
     "PEM file of authorities, instead of the system's."},
    {"backend-cert", OPTION_TEXT, AT(backend_cert), "", NULL, 0, 0, NULL, false,
     "PEM file: our certificate for backends."},
    {"backend-key", OPTION_TEXT, AT(backend_key), "", NULL, 0, 0, NULL, false,
     "PEM file of its key."},
    {"tls-1.2", OPTION_BOOL, AT(tls_12), "false", NULL, 0, 0, NULL, false,
     "Allow TLS 1.2 too, on both sides."},
    {"drain-timeout", OPTION_DURATION, AT(drain_timeout_ns), "30s", NULL, 0, 0, NULL, false,
     "After SIGTERM clients have so long to finish; a second signal ends it at once."},
    {"metrics", OPTION_TEXT, AT(metrics), "127.0.0.1:8002", NULL, 0, 0, NULL, false,
     "HOST:PORT of metrics and the admin API, which has no authentication; empty: neither."},
    {"log-format", OPTION_CHOICE, AT(log_format), "text", "text|json", 0, 0, NULL, false,
     "How the log is written."},
    {"debug", OPTION_BOOL, AT(debug), "false", NULL, 0, 0, NULL, false, "Log more."},
    {.path = NULL}};

const struct option_flags options_flags = {
    .program = "pool_server",
    .usage = "[FLAGS]",
    .description =
        "A TCP relay: gives each client a connection to one of several backends, out of a pool for "
        "each, and moves bytes both ways.",
    .rows = rows,
    .after =
        "Admin API, at --metrics: GET /api/v1/status; GET /api/v1/backends; "
        "POST /api/v1/backends?address=HOST:PORT&weight=N adds; "
        "POST /api/v1/backends/drain?address=HOST:PORT; DELETE /api/v1/backends?address=HOST:PORT.\n\n"
        "SIGTERM, SIGINT: no new clients, ends with the last one or after --drain-timeout. SIGHUP: "
        "reads --backends again. Every 10 s a line of metrics for each pool and one for all.\n\n"
        "Exit status: 0 ended by a signal, 1 it could not start, 2 the command line is wrong."};

static bool is_set(const char *text)
{
    return text[0] != '\0';
}

int options_check(const struct options *options, struct error *error)
{
    if (options->backend.count == 0 && !is_set(options->backends)) {
        error_set(error, "no backend: give --backend HOST:PORT, or --backends FILE");
        return -EINVAL;
    }
    if (options->backend.count > 0 && is_set(options->backends)) {
        error_set(error, "--backend and --backends exclude each other");
        return -EINVAL;
    }
    if (options->proxy_header && strcmp(options->reuse, "clean") == 0) {
        error_set(error,
                  "--proxy-header and --reuse clean exclude each other: a connection that is "
                  "used again can't name each of its clients");
        return -EINVAL;
    }
    bool tls = strcmp(options->backend_tls, "none") != 0;
    if (options->proxy_header && tls && options->warm > 0) {
        error_set(error,
                  "--proxy-header, --backend-tls and --warm exclude each other: the header comes "
                  "before TLS, and a connection that is ready has no client yet");
        return -EINVAL;
    }
    if (!is_set(options->tls_cert) &&
        (is_set(options->tls_key) || is_set(options->tls_client_ca))) {
        error_set(error, "--tls-key and --tls-client-ca need --tls-cert");
        return -EINVAL;
    }
    bool makes_one = strcmp(options->tls_cert, "self-signed") == 0;
    if (makes_one && is_set(options->tls_key)) {
        error_set(error, "--tls-cert self-signed makes its own key: leave --tls-key out");
        return -EINVAL;
    }
    if (is_set(options->backend_key) && !is_set(options->backend_cert)) {
        error_set(error, "--backend-key needs --backend-cert");
        return -EINVAL;
    }
    if (strcmp(options->backend_tls, "unverified") == 0 && is_set(options->backend_ca)) {
        error_set(error, "--backend-ca needs --backend-tls verified");
        return -EINVAL;
    }
    if (options->health_interval_ns == 0 &&
        (is_set(options->health_send) || is_set(options->health_expect))) {
        error_set(error, "--health-send and --health-expect need a --health-interval");
        return -EINVAL;
    }
    if (options->warm > options->max_connections) {
        error_set(error, "--warm %llu is more than --max-connections %llu",
                  (unsigned long long)options->warm, (unsigned long long)options->max_connections);
        return -EINVAL;
    }
    if (!tls && (is_set(options->backend_ca) || is_set(options->backend_cert) ||
                 is_set(options->backend_key))) {
        error_set(error, "--backend-ca, --backend-cert and --backend-key need --backend-tls");
        return -EINVAL;
    }
    return 0;
}
