/*
 * bench_raw_reader: reads one answer of a daemon's unix socket and looks at none of it.
 *
 *   bench_raw_reader SOCKET PATH PACE-US   reads the answer to GET PATH until its end; after each
 *                                          readable event it waits PACE-US microseconds before it
 *                                          reads. Prints bytes, reads, seconds and CPU seconds.
 *   bench_raw_reader --peer SOCKET         prints the process id of who listens there.
 *
 * What it reads a second is what the daemon can deliver to any reader of that pace.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define READ_BYTES ((size_t)1024 * 1024)

static void die(const char *what)
{
    fprintf(stderr, "bench_raw_reader: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int connect_unix(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t size = strlen(path);
    if (size >= sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        die(path);
    }
    memcpy(address.sun_path, path, size);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
        die(path);
    }
    return fd;
}

static int print_peer(const char *path)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);
    int fd = connect_unix(path);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
        die("SO_PEERCRED");
    }
    printf("%d\n", (int)peer.pid);
    close(fd);
    return 0;
}

static void send_request(int fd, const char *path)
{
    char request[1024];
    int size = snprintf(request, sizeof(request),
                        "GET %s HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n", path);
    if (size < 0 || (size_t)size >= sizeof(request) ||
        send(fd, request, (size_t)size, MSG_NOSIGNAL) != (ssize_t)size) {
        die("request");
    }
}

static double seconds_of(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int read_answer(const char *socket_path, const char *path, long pace_us)
{
    double start = seconds_of(CLOCK_MONOTONIC);
    int fd = connect_unix(socket_path);
    char *data = malloc(READ_BYTES);
    if (data == NULL) {
        die("memory");
    }
    send_request(fd, path);
    struct timespec pace = {.tv_sec = pace_us / 1000000, .tv_nsec = pace_us % 1000000 * 1000};
    unsigned long long bytes = 0;
    unsigned long long reads = 0;
    for (;;) {
        struct pollfd readable = {.fd = fd, .events = POLLIN};
        if (poll(&readable, 1, -1) < 0) {
            die("poll");
        }
        if (pace_us > 0) {
            nanosleep(&pace, NULL);
        }
        ssize_t count = read(fd, data, READ_BYTES);
        if (count < 0) {
            die("read");
        }
        if (count == 0) {
            break;
        }
        if (reads == 0 && (count < 12 || memcmp(data + 8, " 200", 4) != 0)) {
            fprintf(stderr, "bench_raw_reader: not a 200: %.*s\n", (int)count, data);
            return 1;
        }
        bytes += (unsigned long long)count;
        reads++;
    }
    printf("{\"bytes\":%llu,\"reads\":%llu,\"seconds\":%.4f,\"cpu_seconds\":%.4f}\n", bytes, reads,
           seconds_of(CLOCK_MONOTONIC) - start, seconds_of(CLOCK_PROCESS_CPUTIME_ID));
    free(data);
    close(fd);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--peer") == 0) {
        return print_peer(argv[2]);
    }
    if (argc != 4) {
        fputs("usage: bench_raw_reader SOCKET PATH PACE-US | --peer SOCKET\n", stderr);
        return 2;
    }
    return read_answer(argv[1], argv[2], strtol(argv[3], NULL, 10));
}
