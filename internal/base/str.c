/* Small text functions; each is a loop over bytes, none looks at the locale. */
#include "base/str.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/timestamp.h"

struct unit {
    const char *name;
    uint64_t scale;
};

static const struct unit duration_units[] = {
    {"d", 86400000000000U}, {"h", 3600000000000U}, {"m", 60000000000U}, {"s", 1000000000U},
    {"ms", 1000000U},       {"us", 1000U},         {"ns", 1U},
};

static const struct unit size_units[] = {
    {"TiB", UINT64_C(1) << 40},
    {"GiB", UINT64_C(1) << 30},
    {"MiB", UINT64_C(1) << 20},
    {"KiB", UINT64_C(1) << 10},
    {"TB", 1000000000000U},
    {"GB", 1000000000U},
    {"MB", 1000000U},
    {"kB", 1000U},
    {"B", 1U},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Reads a run of digits at *text and moves it on. */
static int take_u64(const char **text, uint64_t *ret_value)
{
    const char *p = *text;
    uint64_t value = 0;
    for (; *p >= '0' && *p <= '9'; p++) {
        if (__builtin_mul_overflow(value, 10U, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value)) {
            return -ERANGE;
        }
    }
    if (p == *text) {
        return -EINVAL;
    }
    *text = p;
    *ret_value = value;
    return 0;
}

/* Reads a run of letters at *text, looks it up and moves on. */
static const struct unit *take_unit(const char **text, const struct unit *units, size_t count)
{
    size_t length = 0;
    while (((*text)[length] >= 'a' && (*text)[length] <= 'z') ||
           ((*text)[length] >= 'A' && (*text)[length] <= 'Z')) {
        length++;
    }
    for (size_t i = 0; i < count; i++) {
        if (strlen(units[i].name) == length && strncmp(units[i].name, *text, length) == 0) {
            *text += length;
            return &units[i];
        }
    }
    return NULL;
}

int str_parse_u64(const char *text, uint64_t *ret_value)
{
    uint64_t value;
    int rc = take_u64(&text, &value);
    if (rc != 0 || *text != '\0') {
        return rc != 0 ? rc : -EINVAL;
    }
    *ret_value = value;
    return 0;
}

int str_parse_duration(const char *text, int64_t *ret_ns)
{
    uint64_t total = 0;
    if (strcmp(text, "0") == 0) {
        *ret_ns = 0;
        return 0;
    }
    do {
        uint64_t value;
        int rc = take_u64(&text, &value);
        if (rc != 0) {
            return rc;
        }
        const struct unit *unit = take_unit(&text, duration_units, COUNT(duration_units));
        if (unit == NULL) {
            return -EINVAL;
        }
        if (__builtin_mul_overflow(value, unit->scale, &value) ||
            __builtin_add_overflow(total, value, &total) || total > INT64_MAX) {
            return -ERANGE;
        }
    } while (*text != '\0');
    *ret_ns = (int64_t)total;
    return 0;
}

int str_parse_size(const char *text, uint64_t *ret_bytes)
{
    uint64_t value;
    int rc = take_u64(&text, &value);
    if (rc != 0) {
        return rc;
    }
    if (*text != '\0') {
        const struct unit *unit = take_unit(&text, size_units, COUNT(size_units));
        if (unit == NULL || *text != '\0') {
            return -EINVAL;
        }
        if (__builtin_mul_overflow(value, unit->scale, &value)) {
            return -ERANGE;
        }
    }
    *ret_bytes = value;
    return 0;
}

static void format_in_units(uint64_t value, const struct unit *units, size_t count, char *ret_text,
                            size_t text_bytes)
{
    size_t i = 0;
    while (i + 1 < count && (value == 0 || value % units[i].scale != 0)) {
        i++;
    }
    (void)snprintf(ret_text, text_bytes, "%llu%s", (unsigned long long)(value / units[i].scale),
                   units[i].name);
}

void str_format_duration(int64_t ns, char *ret_text, size_t text_bytes)
{
    if (ns <= 0) {
        (void)snprintf(ret_text, text_bytes, "0");
        return;
    }
    format_in_units((uint64_t)ns, duration_units, COUNT(duration_units), ret_text, text_bytes);
}

void str_format_size(uint64_t bytes, char *ret_text, size_t text_bytes)
{
    format_in_units(bytes, size_units, COUNT(size_units), ret_text, text_bytes);
}

bool str_glob_match(const char *pattern, const char *text)
{
    const char *star = NULL;
    const char *retry = NULL;
    while (*text != '\0') {
        if (*pattern == '*') {
            star = pattern++;
            retry = text;
        } else if (*pattern == '?' || *pattern == *text) {
            pattern++;
            text++;
        } else if (star != NULL) {
            pattern = star + 1;
            text = ++retry;
        } else {
            return false;
        }
    }
    while (*pattern == '*') {
        pattern++;
    }
    return *pattern == '\0';
}

bool str_starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

unsigned str_distance(const char *a, const char *b)
{
    size_t a_size = strlen(a);
    size_t b_size = strlen(b);
    unsigned row[64];
    if (a_size >= COUNT(row) || b_size >= COUNT(row)) {
        return UINT32_MAX;
    }
    for (unsigned j = 0; j <= b_size; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= a_size; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_size; j++) {
            unsigned best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best) {
                best = row[j] + 1;
            }
            if (row[j - 1] + 1 < best) {
                best = row[j - 1] + 1;
            }
            row[j] = best;
        }
    }
    return row[b_size];
}

char *str_copy(char *ret_text, size_t text_bytes, const char *from)
{
    size_t size = strnlen(from, text_bytes - 1);
    memcpy(ret_text, from, size);
    ret_text[size] = '\0';
    return ret_text;
}

uint64_t str_hash(const void *bytes, size_t size)
{
    const unsigned char *p = bytes;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ p[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

static bool is_continuation(char byte)
{
    return ((unsigned char)byte & 0xc0U) == 0x80U;
}

size_t str_utf8_length(const char *bytes, size_t size)
{
    unsigned char lead = size > 0 ? (unsigned char)bytes[0] : 0xff;
    if (lead < 0x80) {
        return 1;
    }
    if (lead >= 0xc2 && lead <= 0xdf) {
        return size >= 2 && is_continuation(bytes[1]) ? 2 : 0;
    }
    unsigned char second = size >= 2 ? (unsigned char)bytes[1] : 0;
    if (lead >= 0xe0 && lead <= 0xef) {
        bool range = !(lead == 0xe0 && second < 0xa0) && !(lead == 0xed && second > 0x9f);
        return size >= 3 && range && is_continuation(bytes[1]) && is_continuation(bytes[2]) ? 3 : 0;
    }
    if (lead >= 0xf0 && lead <= 0xf4) {
        bool range = !(lead == 0xf0 && second < 0x90) && !(lead == 0xf4 && second > 0x8f);
        return size >= 4 && range && is_continuation(bytes[1]) && is_continuation(bytes[2]) &&
                       is_continuation(bytes[3])
                   ? 4
                   : 0;
    }
    return 0;
}

bool str_is_utf8(const char *bytes, size_t size)
{
    for (size_t i = 0; i < size;) {
        if ((unsigned char)bytes[i] < 0x80) {
            i++;
            continue;
        }
        size_t length = str_utf8_length(bytes + i, size - i);
        if (length == 0) {
            return false;
        }
        i += length;
    }
    return true;
}
