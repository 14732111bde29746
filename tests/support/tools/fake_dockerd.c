/*
 * fake_dockerd: a Docker API for tests, with thousands of containers that cost nothing and with
 * every fault on demand. See ../fake_dockerd/control.h for what can be done to it at run time.
 */
#include "fake_dockerd/server.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

struct setup {
    const char *socket_path;
    const char *control_path;
    long tcp_port; /* -1: none */
    uint64_t containers;
    uint64_t tty_every;
    struct fake_server server;
};

static void usage(FILE *to)
{
    fputs("usage: fake_dockerd --socket PATH | --tcp PORT [options]\n"
          "  --socket PATH           unix socket\n"
          "  --tcp PORT              on 127.0.0.1; 0 takes a free one, which is printed\n"
          "  --control PATH          one more unix socket, on which no fault is played\n"
          "  --containers N          running from the start (1)\n"
          "  --name-prefix TEXT      their names are TEXT0, TEXT1 ... (fake-)\n"
          "  --lines N               of history each (0)\n"
          "  --step-us N             between two lines of the history (1000)\n"
          "  --base-time SECONDS     when the history begins (so that it ends now)\n"
          "  --rate R                live lines a second each (0)\n"
          "  --size BYTES            of a line (100)\n"
          "  --stderr-every K        each K-th line goes to stderr (0)\n"
          "  --same-timestamp K      groups of K lines share a timestamp (0)\n"
          "  --tty-every K           each K-th container has a TTY (0)\n"
          "  --label K=V             of all containers; may be repeated\n"
          "  --image NAME            (fake/loggen:1)\n"
          "  --log-driver NAME       (json-file)\n"
          "  --api-version 1.N       (1.43)\n"
          "  --min-api-version 1.N   (1.12)\n"
          "  --server-version TEXT   (24.0.9)\n"
          "  --daemon-id TEXT        (FAKE:0001)\n"
          "  --stall-headers         no head of a log stream before its first line\n"
          "prints one line when it is ready: ready [socket=PATH] [tcp=PORT]\n",
          to);
}

static void bad_usage(const char *what, const char *value)
{
    fprintf(stderr, "fake_dockerd: %s: bad value: %s\n", what, value);
    exit(2);
}

static uint64_t parse_number(const char *option, const char *text)
{
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || text[0] < '0' || text[0] > '9' || *end != '\0' || value > INT32_MAX) {
        bad_usage(option, text);
    }
    return value;
}

static unsigned parse_version(const char *option, const char *text)
{
    unsigned minor = 0;
    int len = 0;
    if (sscanf(text, "1.%3u%n", &minor, &len) != 1 || text[len] != '\0') {
        bad_usage(option, text);
    }
    return minor;
}

static void add_label(struct fake_text *labels, const char *text)
{
    const char *equals = strchr(text, '=');
    if (equals == NULL || equals == text) {
        bad_usage("label", text);
        return;
    }
    fake_text_put(labels, labels->len > 0 ? "," : "");
    fake_text_json(labels, text, (size_t)(equals - text));
    fake_text_put(labels, ":");
    fake_text_json(labels, equals + 1, strlen(equals + 1));
}

static const struct option long_options[] = {
    {"socket", required_argument, NULL, 's'},
    {"tcp", required_argument, NULL, 't'},
    {"control", required_argument, NULL, 'c'},
    {"containers", required_argument, NULL, 'n'},
    {"name-prefix", required_argument, NULL, 'p'},
    {"lines", required_argument, NULL, 'l'},
    {"step-us", required_argument, NULL, 'u'},
    {"base-time", required_argument, NULL, 'b'},
    {"rate", required_argument, NULL, 'r'},
    {"size", required_argument, NULL, 'z'},
    {"stderr-every", required_argument, NULL, 'e'},
    {"same-timestamp", required_argument, NULL, 'g'},
    {"tty-every", required_argument, NULL, 'y'},
    {"label", required_argument, NULL, 'k'},
    {"image", required_argument, NULL, 'i'},
    {"log-driver", required_argument, NULL, 'd'},
    {"api-version", required_argument, NULL, 'a'},
    {"min-api-version", required_argument, NULL, 'm'},
    {"server-version", required_argument, NULL, 'v'},
    {"daemon-id", required_argument, NULL, 'D'},
    {"stall-headers", no_argument, NULL, 'H'},
    {"help", no_argument, NULL, '?'},
    {NULL, 0, NULL, 0},
};

static const char **text_option(struct setup *setup, int key)
{
    struct fake_server *server = &setup->server;
    switch (key) {
    case 's':
        return &setup->socket_path;
    case 'c':
        return &setup->control_path;
    case 'p':
        return &server->world.name_prefix;
    case 'i':
        return &server->world.defaults.image;
    case 'd':
        return &server->world.defaults.log_driver;
    case 'v':
        return &server->server_version;
    case 'D':
        return &server->daemon_id;
    default:
        return NULL;
    }
}

static uint64_t *number_option(struct setup *setup, int key)
{
    struct fake_container_options *defaults = &setup->server.world.defaults;
    switch (key) {
    case 'n':
        return &setup->containers;
    case 'l':
        return &defaults->lines;
    case 'r':
        return &defaults->rate;
    case 'z':
        return &defaults->size;
    case 'e':
        return &defaults->stderr_every;
    case 'g':
        return &defaults->group;
    case 'y':
        return &setup->tty_every;
    default:
        return NULL;
    }
}

static void other_option(struct setup *setup, int key, const char *name)
{
    struct fake_server *server = &setup->server;
    switch (key) {
    case 't':
        setup->tcp_port = (long)parse_number(name, optarg);
        break;
    case 'u':
        server->world.defaults.step_ns = (int64_t)parse_number(name, optarg) * 1000;
        break;
    case 'b':
        server->world.defaults.base_ns = (int64_t)parse_number(name, optarg) * 1000000000;
        break;
    case 'k':
        add_label(&server->world.defaults.labels, optarg);
        break;
    case 'a':
        server->api_minor = parse_version(name, optarg);
        break;
    case 'm':
        server->min_api_minor = parse_version(name, optarg);
        break;
    case 'H':
        server->world.defaults.stall_headers = true;
        break;
    default:
        usage(optind > 1 && strcmp(name, "help") == 0 ? stdout : stderr);
        exit(strcmp(name, "help") == 0 ? 0 : 2);
    }
}

static void parse_options(struct setup *setup, int argc, char **argv)
{
    int index = -1;
    int key;
    while ((key = getopt_long(argc, argv, "", long_options, &index)) != -1) {
        const char *name = index >= 0 ? long_options[index].name : "";
        const char **text = text_option(setup, key);
        uint64_t *number = number_option(setup, key);
        if (text != NULL) {
            *text = optarg;
        } else if (number != NULL) {
            *number = parse_number(name, optarg);
        } else {
            other_option(setup, key, name);
        }
        index = -1;
    }
    if (optind != argc || (setup->socket_path == NULL && setup->tcp_port < 0) ||
        setup->tcp_port > UINT16_MAX) {
        usage(stderr);
        exit(2);
    }
}

static void raise_fd_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void create_containers(struct setup *setup)
{
    struct fake_world *world = &setup->server.world;
    struct fake_container_options options = world->defaults;
    for (uint64_t i = 0; i < setup->containers; i++) {
        options.tty = setup->tty_every > 0 && (i + 1) % setup->tty_every == 0;
        fake_container_start(fake_world_create(world, NULL, &options));
    }
}

static int listen_all(struct setup *setup)
{
    struct fake_server *server = &setup->server;
    int rc = 0;
    if (setup->socket_path != NULL) {
        rc = fake_server_listen_unix(server, setup->socket_path, false);
    }
    if (rc == 0 && setup->tcp_port >= 0) {
        rc = fake_server_listen_tcp(server, (uint16_t)setup->tcp_port);
    }
    if (rc == 0 && setup->control_path != NULL) {
        rc = fake_server_listen_unix(server, setup->control_path, true);
    }
    return rc;
}

static void print_ready(const struct setup *setup)
{
    fputs("ready", stdout);
    for (size_t i = 0; i < FAKE_LISTENERS; i++) {
        const struct fake_listener *listener = &setup->server.listeners[i];
        if (listener->used && listener->path != NULL && !listener->control) {
            printf(" socket=%s", listener->path);
        } else if (listener->used && !listener->control) {
            printf(" tcp=%u", listener->port);
        }
    }
    putchar('\n');
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct setup setup = {
        .tcp_port = -1,
        .containers = 1,
        .server = {.api_minor = 43,
                   .min_api_minor = 12,
                   .server_version = "24.0.9",
                   .daemon_id = "FAKE:0001",
                   .world = {.name_prefix = "fake-",
                             .defaults = {.image = "fake/loggen:1",
                                          .log_driver = "json-file",
                                          .size = 100,
                                          .step_ns = 1000000}}},
    };
    parse_options(&setup, argc, argv);
    raise_fd_limit();
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    int stop_fd = signalfd(-1, &signals, SFD_CLOEXEC);
    int rc = fake_server_init(&setup.server);
    if (stop_fd < 0 || rc < 0) {
        perror("fake_dockerd");
        return 1;
    }
    create_containers(&setup);
    rc = listen_all(&setup);
    if (rc == 0) {
        print_ready(&setup);
        rc = fake_server_run(&setup.server, stop_fd);
    }
    if (rc < 0) {
        fprintf(stderr, "fake_dockerd: %s\n", strerror(-rc));
    }
    fake_server_finish(&setup.server);
    close(stop_fd);
    return rc < 0 ? 1 : 0;
}
