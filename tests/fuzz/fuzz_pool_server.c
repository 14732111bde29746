/*
 * What people give a running pool_server: its file of backends, and bytes to its admin API. The first byte
 * says which. Whatever comes, it goes on answering.
 */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "server.h"

/* Turns of the loop for an answer: to what may be no request, and to one that is. */
#define SOME_TURNS 8
#define MANY_TURNS 1000

static struct server server;
static char socket_path[64];

static void want(int truth)
{
    if (!truth) {
        abort();
    }
}

static void end(void)
{
    server_finish(&server);
    options_finish(&server.options, options_flags.rows);
    (void)unlink(socket_path);
}

static void begin_once(void)
{
    static bool begun;
    char listen[80];
    struct error error = {""};
    int next;
    if (begun) {
        return;
    }
    begun = true;
    log_configure(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    (void)snprintf(socket_path, sizeof(socket_path), "/tmp/fuzz_pool_server.%d", (int)getpid());
    (void)snprintf(listen, sizeof(listen), "--metrics=unix:%s", socket_path);
    char program[] = "pool_server";
    char port[] = "--listen=127.0.0.1:0";
    char backend[] = "--backend=127.0.0.1:1";
    char checks[] = "--health-interval=0";
    char workers[] = "--workers=1";
    char clients[] = "--max-clients=1";
    char *arguments[] = {program, port, backend, checks, workers, clients, listen, NULL};
    want(options_init(&server.options, options_flags.rows) == 0);
    want(option_flags_parse(&options_flags, 7, arguments, &server.options, &next) ==
         OPTION_FLAGS_RUN);
    want(server_start(&server, &error) == 0);
    (void)atexit(end);
}

/* Back to what it began with. */
static void restore(void)
{
    static const struct upstream_spec spec = {"127.0.0.1:1", 1};
    want(upstream_set(server.upstream, &spec, 1, NULL) == 0);
}

static void try_file(const uint8_t *data, size_t size)
{
    char path[64];
    struct error error = {""};
    int fd = memfd_create("backends", MFD_CLOEXEC);
    want(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    size_t before = upstream_count(server.upstream);
    int rc = backends_file_load(path, server.upstream, &error);
    want(rc == 0 || (error.text[0] != '\0' && upstream_count(server.upstream) == before));
    (void)close(fd);
}

static int connect_admin(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    want(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    return fd;
}

/* The end of the answer; its beginning in ret_head. */
static void read_answer(int fd, int turns, char *ret_head, size_t head_bytes)
{
    char block[4096];
    ssize_t n = -1;
    size_t used = 0;
    for (int i = 0; i < turns && n != 0; i++) {
        want(loop_iterate(server.loop, turns == SOME_TURNS ? 0 : 1000000) == 0);
        while ((n = recv(fd, block, sizeof(block), 0)) > 0) {
            size_t part = (size_t)n < head_bytes - 1 - used ? (size_t)n : head_bytes - 1 - used;
            memcpy(ret_head + used, block, part);
            used += part;
        }
        if (n < 0 && errno != EAGAIN) {
            break;
        }
        if (used > 0) {
            break; /* keep-alive: it is all there, as answers are small */
        }
    }
    ret_head[used] = '\0';
}

static void try_api(const uint8_t *data, size_t size)
{
    char head[256];
    int fd = connect_admin();
    (void)!send(fd, data, size, MSG_NOSIGNAL);
    (void)shutdown(fd, SHUT_WR);
    read_answer(fd, SOME_TURNS, head, sizeof(head));
    (void)close(fd);
}

/* It still answers others. */
static void check_health(void)
{
    static const char request[] = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    char head[256];
    int fd = connect_admin();
    want(send(fd, request, strlen(request), MSG_NOSIGNAL) == (ssize_t)strlen(request));
    read_answer(fd, MANY_TURNS, head, sizeof(head));
    want(strncmp(head, "HTTP/1.1 200", 12) == 0);
    (void)close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    begin_once();
    if (size == 0) {
        return 0;
    }
    if (data[0] == 'f') {
        try_file(data + 1, size - 1);
    } else {
        try_api(data + 1, size - 1);
        check_health();
    }
    restore();
    return 0;
}
