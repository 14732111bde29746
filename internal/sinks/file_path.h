/*
 * The path template of the file sink: text with {fields}. A container chooses its names and labels,
 * so values lose every byte that could lead elsewhere: what is not a letter, a digit or one of
 * `._-+@` becomes `_`, so does a leading dot, and an empty value is `none`. Pure.
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "base/record.h"

/*
 * Absolute, with known fields only, no empty component, no `.` or `..`, no control bytes. A name that
 * holds a field ends in an extension that begins with a letter and is not .gz or .tmp, so that no
 * container's file is taken for a rotated file of another's. -EINVAL with the reason.
 */
int file_path_check(const char *template, struct error *error) __attribute__((warn_unused_result));
#define FILE_PATH_NAME_LIMIT 230 /* leaves room for what rotation appends, of 255 */

/* Bytes of the part that no field is in: a folder, with its slash. */
size_t file_path_base(const char *template);
/* Whether stdout and stderr of a container may go to different files. */
bool file_path_has_stream(const char *template);
/* Appends the path of the record's file, relative to that folder. A component over
 * FILE_PATH_NAME_LIMIT is cut and ends in a hash of it. */
int file_path_expand(const char *template, const struct record_origin *origin,
                     enum record_stream stream, struct buf *out)
    __attribute__((warn_unused_result));
