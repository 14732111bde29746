/*
 * bench_watch: when did an agent come so far?
 *
 *   bench_watch PORT LIMIT-S INTERVAL-MS CONDITION...
 *
 * A condition is `ready` (/readyz answers 200) or NAME=NUMBER (the series of that name together
 * have at least that value). They are awaited one after the other; for each the wall clock in
 * microseconds is printed when it was first seen. A refused connection is tried again after 1 ms.
 * Exit code 1 when LIMIT-S are over before all came true.
 */
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_BYTES ((size_t)4 * 1024 * 1024)

struct watch {
    uint16_t port;
    double limit_s;
    long interval_ms;
    char *answer; /* terminated */
};

static double seconds_of(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void pause_ms(long ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* Reads the whole answer; false when there was none. */
static bool read_answer(struct watch *watch, int fd)
{
    size_t size = 0;
    ssize_t count;
    do {
        count = read(fd, watch->answer + size, ANSWER_BYTES - 1 - size);
        size += count > 0 ? (size_t)count : 0;
    } while (count > 0 && size < ANSWER_BYTES - 1);
    watch->answer[size] = '\0';
    return size > 12;
}

static bool get(struct watch *watch, const char *path)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(watch->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char request[256];
    int size = snprintf(request, sizeof(request),
                        "GET %s HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n", path);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    bool done = connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 &&
                send(fd, request, (size_t)size, MSG_NOSIGNAL) == (ssize_t)size &&
                read_answer(watch, fd);
    close(fd);
    return done;
}

static const char *next_line(const char *line)
{
    const char *end = line + strcspn(line, "\n");
    return *end == '\n' ? end + 1 : end;
}

/* The sum of the series of that name; their values are behind the last blank. */
static double metric_sum(const char *text, const char *name, size_t name_len)
{
    double sum = 0;
    for (const char *line = text; *line != '\0'; line = next_line(line)) {
        if (strncmp(line, name, name_len) == 0 &&
            (line[name_len] == ' ' || line[name_len] == '{')) {
            const char *value = line + strcspn(line, "\n");
            while (value[-1] != ' ') {
                value--;
            }
            sum += strtod(value, NULL);
        }
    }
    return sum;
}

static bool is_true(const struct watch *watch, const char *condition)
{
    if (strcmp(condition, "ready") == 0) {
        return strncmp(watch->answer + 8, " 200", 4) == 0;
    }
    size_t name_len = strcspn(condition, "=");
    return metric_sum(watch->answer, condition, name_len) >= strtod(condition + name_len + 1, NULL);
}

static bool await(struct watch *watch, const char *condition)
{
    const char *path = strcmp(condition, "ready") == 0 ? "/readyz" : "/metrics";
    while (seconds_of(CLOCK_MONOTONIC) < watch->limit_s) {
        bool answered = get(watch, path);
        if (answered && is_true(watch, condition)) {
            printf("%.0f\n", seconds_of(CLOCK_REALTIME) * 1e6);
            return true;
        }
        pause_ms(answered ? watch->interval_ms : 1);
    }
    fprintf(stderr, "bench_watch: not in time: %s\n", condition);
    return false;
}

int main(int argc, char **argv)
{
    if (argc < 5) {
        fputs("usage: bench_watch PORT LIMIT-S INTERVAL-MS CONDITION...\n", stderr);
        return 2;
    }
    struct watch watch = {.port = (uint16_t)strtoul(argv[1], NULL, 10),
                          .limit_s = seconds_of(CLOCK_MONOTONIC) + strtod(argv[2], NULL),
                          .interval_ms = strtol(argv[3], NULL, 10),
                          .answer = malloc(ANSWER_BYTES)};
    bool done = watch.answer != NULL;
    for (int i = 4; done && i < argc; i++) {
        done = await(&watch, argv[i]);
    }
    free(watch.answer);
    return done ? 0 : 1;
}
