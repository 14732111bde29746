/* What the process finds around itself: whether it runs in a container, and which one. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

bool surroundings_in_container(void);
/* The id of the container we run in, 64 digits, or "" when there is none or it can't be told. */
void surroundings_own_id(char *ret_id, size_t id_bytes);
/* Finds `containers/<64 digits>`, `/docker/<64 digits>`, `docker-<64 digits>` or `libpod-<64 digits>`
 * in a line of /proc/self/mountinfo or cgroup; shown for tests. */
bool surroundings_find_id(const char *text, char *ret_id, size_t id_bytes);
/* Raises the soft limit of open files to the hard one. */
void surroundings_raise_fd_limit(void);
