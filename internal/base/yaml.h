/*
 * A YAML 1.1 document (libyaml) as a tree of json.h: for small files that people write. Plain scalars are
 * numbers, true, false or null where JSON has them so; all others are text. Aliases are refused. Any
 * thread.
 */
#pragma once

#include <stddef.h>

#include "base/error.h"
#include "base/json.h"

/* One document. Caller frees with json_destroy(). -EINVAL with line and column of what is wrong (a key
 * that is there twice included), -ENOMEM. Nesting is limited to 32. */
int yaml_parse(const char *bytes, size_t size, struct json **ret_root, struct error *error)
    __attribute__((warn_unused_result));
