/* The file of backends: one a line, `HOST:PORT [weight=N]`; # begins a comment. Loop thread only. */
#pragma once

#include "pools/upstream.h"

/* Reads it and makes its backends the upstream's. -ENOENT and the like, -EINVAL with file, line and
 * reason: nothing is changed then. */
int backends_file_load(const char *path, struct upstream *upstream, struct error *error)
    __attribute__((warn_unused_result));

/* What tells that the file was changed: inode, size, time. */
struct backends_file_stamp {
    uint64_t inode, size;
    int64_t changed_ns;
};
/* Zero where there is no file. */
struct backends_file_stamp backends_file_look(const char *path);
bool backends_file_same(const struct backends_file_stamp *a, const struct backends_file_stamp *b);
