/*
 * Event times: int64_t nanoseconds since 1970 UTC (good to the year 2262), to and from RFC 3339
 * (https://www.rfc-editor.org/rfc/rfc3339). Pure functions, any thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define TIMESTAMP_TEXT_SIZE 40 /* longest text and its NUL */
#define NS_PER_SECOND INT64_C(1000000000)
#define NS_PER_MS INT64_C(1000000)

/* Writes `2026-11-21T04:41:00.123456789Z` with `digits` (0 to 9) of fraction. */
void timestamp_format(int64_t time_ns, int digits, char ret_text[TIMESTAMP_TEXT_SIZE]);

/*
 * Parses a time with 0 to 9 digits of fraction and `Z` or `+hh:mm`; more digits are cut.
 * Returns the number of bytes it took, or -EINVAL (not such a time), -ERANGE (outside 1678-2262).
 */
int timestamp_parse(const char *text, size_t size, int64_t *ret_time_ns)
    __attribute__((warn_unused_result));
