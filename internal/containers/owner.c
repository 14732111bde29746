/* A pid alone may be another process's by now; with its start time (field 22 of /proc/PID/stat) it is not. */
#include "containers/owner.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"

static void read_word(const char *path, char *ret_word, size_t word_bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, ret_word, word_bytes - 1) : -1;
    ret_word[n > 0 ? n : 0] = '\0';
    ret_word[strcspn(ret_word, " \n")] = '\0';
    if (fd >= 0) {
        (void)close(fd);
    }
}

/* 0 where there is no such process. */
static uint64_t start_time_of(int pid)
{
    char path[32];
    char text[1024];
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
    if (fd >= 0) {
        (void)close(fd);
    }
    text[n > 0 ? n : 0] = '\0';
    char *at = strrchr(text, ')'); /* the name may hold blanks and brackets */
    for (int field = 2; at != NULL && field < 22; field++) {
        at = strchr(at + 1, ' ');
    }
    uint64_t value = 0;
    if (at == NULL) {
        return 0;
    }
    at++;
    at[strcspn(at, " ")] = '\0';
    return str_parse_u64(at, &value) == 0 ? value : 0;
}

/* The part of the text that says where its pid means something. */
static void describe_place(char *ret_text, size_t text_bytes)
{
    char machine[64];
    char boot[64];
    struct stat namespace = {0};
    read_word("/etc/machine-id", machine, sizeof(machine));
    read_word("/proc/sys/kernel/random/boot_id", boot, sizeof(boot));
    (void)stat("/proc/self/ns/pid", &namespace);
    (void)snprintf(ret_text, text_bytes, "%s/%s/%llu", machine, boot,
                   (unsigned long long)namespace.st_ino);
}

void owner_make(struct owner *ret_owner)
{
    unsigned char bytes[(OWNER_SESSION_SIZE - 1) / 2] = {0};
    char place[OWNER_SIZE - 48];
    (void)!getrandom(bytes, sizeof(bytes), 0);
    for (size_t i = 0; i < sizeof(bytes); i++) {
        (void)snprintf(ret_owner->session + 2 * i, 3, "%02x", bytes[i]);
    }
    describe_place(place, sizeof(place));
    (void)snprintf(ret_owner->text, sizeof(ret_owner->text), "%s/%d/%llu", place, (int)getpid(),
                   (unsigned long long)start_time_of(getpid()));
}

/* Splits "place/pid/time" at its last two slashes. */
static bool split(const char *text, char *place, size_t place_bytes, uint64_t *ret_pid,
                  uint64_t *ret_time)
{
    char pid[24] = "";
    const char *last = strrchr(text, '/');
    const char *before = last != NULL ? memrchr(text, '/', (size_t)(last - text)) : NULL;
    if (before == NULL || (size_t)(before - text) >= place_bytes ||
        (size_t)(last - before - 1) >= sizeof(pid)) {
        return false;
    }
    memcpy(place, text, (size_t)(before - text));
    place[before - text] = '\0';
    memcpy(pid, before + 1, (size_t)(last - before - 1));
    return str_parse_u64(pid, ret_pid) == 0 && str_parse_u64(last + 1, ret_time) == 0;
}

enum owner_state owner_look(const char *text)
{
    char own[OWNER_SIZE];
    char place[OWNER_SIZE];
    uint64_t pid;
    uint64_t time;
    describe_place(own, sizeof(own));
    if (!split(text, place, sizeof(place), &pid, &time) || pid > INT32_MAX) {
        return OWNER_UNKNOWN;
    }
    size_t machine = strcspn(own, "/") + 1;
    if (machine < 8 || strncmp(own, place, machine) != 0) {
        return OWNER_UNKNOWN;
    }
    size_t boot = machine + strcspn(own + machine, "/") + 1;
    if (strncmp(own, place, boot) != 0) {
        return OWNER_GONE; /* before the machine was started anew */
    }
    if (strcmp(own, place) != 0) {
        return OWNER_UNKNOWN;
    }
    return start_time_of((int)pid) == time ? OWNER_ALIVE : OWNER_GONE;
}
