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

bool surroundings_in_container(void)
{
    return access("/.dockerenv", F_OK) == 0 || access("/run/.containerenv", F_OK) == 0;
}

bool surroundings_find_id(const char *text, char *ret_id, size_t id_bytes)
{
    static const char *const before[] = {"/containers/", "/docker/", "docker-", "libpod-"};
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

static bool find_in_file(const char *path, char *ret_id, size_t id_bytes)
{
    FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t capacity = 0;
    bool found = false;
    while (file != NULL && !found && getline(&line, &capacity, file) > 0) {
        /* Of mounts, only those of a container's own files: a mounted /var/lib/docker names all. */
        bool own = strstr(line, "/resolv.conf") != NULL || strstr(line, "/hostname") != NULL ||
                   strstr(path, "cgroup") != NULL;
        found = own && surroundings_find_id(line, ret_id, id_bytes);
    }
    free(line);
    if (file != NULL) {
        (void)fclose(file);
    }
    return found;
}

void surroundings_own_id(char *ret_id, size_t id_bytes)
{
    if (id_bytes > 0) {
        ret_id[0] = '\0';
    }
    if (surroundings_in_container() && !find_in_file("/proc/self/mountinfo", ret_id, id_bytes)) {
        (void)find_in_file("/proc/self/cgroup", ret_id, id_bytes);
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
