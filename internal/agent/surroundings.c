/* Docker and podman mount resolv.conf and hostname from a folder named by the container's id; that
 * also holds where cgroup namespaces hide the path. */
#include "agent/surroundings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/str.h"

#define ID_DIGITS 64

bool surroundings_find_id(const char *text, char *ret_id, size_t id_bytes)
{
    static const char *const before[] = {"containers/", "/docker/", "docker-", "libpod-"};
    for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++) {
        for (const char *p = text; (p = strstr(p, before[i])) != NULL;) {
            p += strlen(before[i]);
            if (strspn(p, "0123456789abcdef") == ID_DIGITS && id_bytes > ID_DIGITS) {
                memcpy(ret_id, p, ID_DIGITS);
                ret_id[ID_DIGITS] = '\0';
                return true;
            }
        }
    }
    return false;
}

/* Calls `look` with each line until it returns true. */
static bool any_line(const char *path, bool (*look)(const char *line, void *data), void *data)
{
    FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t capacity = 0;
    bool found = false;
    while (file != NULL && !found && getline(&line, &capacity, file) > 0) {
        found = look(line, data);
    }
    free(line);
    if (file != NULL) {
        (void)fclose(file);
    }
    return found;
}

/* Engines mount these over the image's; a folder of the host with all containers is not meant. */
static bool is_own_mount(const char *line, void *data)
{
    (void)data;
    return strstr(line, " /etc/resolv.conf ") != NULL || strstr(line, " /etc/hostname ") != NULL;
}

bool surroundings_in_container(void)
{
    /* The marker alone says little: images of virtual machines made from containers have it too. */
    bool marked = access("/.dockerenv", F_OK) == 0 || access("/run/.containerenv", F_OK) == 0;
    return marked && any_line("/proc/self/mountinfo", is_own_mount, NULL);
}

struct wanted_id {
    char *text;
    size_t bytes;
};

static bool take_id(const char *line, void *data)
{
    struct wanted_id *id = data;
    return surroundings_find_id(line, id->text, id->bytes);
}

static bool take_id_of_own_mount(const char *line, void *data)
{
    return is_own_mount(line, NULL) && take_id(line, data);
}

void surroundings_own_id(char *ret_id, size_t id_bytes)
{
    struct wanted_id id = {ret_id, id_bytes};
    if (id_bytes > 0) {
        ret_id[0] = '\0';
    }
    if (surroundings_in_container() &&
        !any_line("/proc/self/mountinfo", take_id_of_own_mount, &id)) {
        (void)any_line("/proc/self/cgroup", take_id, &id);
    }
}

void surroundings_raise_fd_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}
