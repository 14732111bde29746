/* Values are checked one by one here, and against each other by the objects' owners. */
#include "base/option.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

static void *field(void *object, const struct option_row *row)
{
    return (char *)object + row->offset;
}

static const void *const_field(const void *object, const struct option_row *row)
{
    return (const char *)object + row->offset;
}

static int set_text(char **at, const char *text)
{
    char *copy = strdup(text);
    if (copy == NULL) {
        return -ENOMEM;
    }
    free(*at);
    *at = copy;
    return 0;
}

static bool is_choice(const char *choices, const char *text)
{
    size_t size = strcspn(text, "|");
    for (const char *p = choices; size > 0 && text[size] == '\0' && p != NULL; p = strchr(p, '|')) {
        p += *p == '|';
        if (strncmp(p, text, size) == 0 && (p[size] == '|' || p[size] == '\0')) {
            return true;
        }
    }
    return false;
}

static int check_range(const struct option_row *row, uint64_t value, struct error *error)
{
    if (value >= row->least && (row->most == 0 || value <= row->most)) {
        return 0;
    }
    char least[32];
    char most[32];
    if (row->type == OPTION_SIZE) {
        str_format_size(row->least, least, sizeof(least));
        str_format_size(row->most, most, sizeof(most));
    } else if (row->type == OPTION_DURATION) {
        str_format_duration((int64_t)row->least, least, sizeof(least));
        str_format_duration((int64_t)row->most, most, sizeof(most));
    } else {
        (void)snprintf(least, sizeof(least), "%llu", (unsigned long long)row->least);
        (void)snprintf(most, sizeof(most), "%llu", (unsigned long long)row->most);
    }
    if (row->most == 0) {
        error_set(error, "%s: must be at least %s", row->path, least);
    } else {
        error_set(error, "%s: must be from %s to %s", row->path, least, most);
    }
    return -EINVAL;
}

static int set_number(void *object, const struct option_row *row, const char *text,
                      struct error *error)
{
    uint64_t value = 0;
    int64_t duration = 0;
    int rc;
    const char *expected;
    if (row->type == OPTION_DURATION) {
        rc = str_parse_duration(text, &duration);
        value = (uint64_t)duration;
        expected = "a duration such as 90s, 20ms, 7d";
    } else if (row->type == OPTION_SIZE) {
        rc = str_parse_size(text, &value);
        expected = "a size such as 2GiB, 512KiB";
    } else {
        rc = str_parse_u64(text, &value);
        expected = "a whole number";
    }
    if (rc != 0) {
        error_set(error, "%s: '%.80s' is not %s", row->path, text, expected);
        return -EINVAL;
    }
    rc = check_range(row, value, error);
    if (rc == 0) {
        memcpy(field(object, row), &value, sizeof(value)); /* uint64_t or int64_t */
    }
    return rc;
}

static int set_list(void *object, const struct option_row *row, const char *text)
{
    option_clear_list(object, row);
    while (*text != '\0') {
        size_t size = strcspn(text, ",");
        char *item = strndup(text, size);
        int rc = item == NULL ? -ENOMEM : size == 0 ? 0 : option_add(object, row, item);
        free(item);
        if (rc != 0) {
            return rc;
        }
        text += size + (text[size] == ',');
    }
    return 0;
}

int option_set(void *object, const struct option_row *row, const char *text, struct error *error)
{
    int rc;
    switch (row->type) {
    case OPTION_CHOICE:
        if (!is_choice(row->choices, text)) {
            error_set(error, "%s: '%.80s' is none of %s", row->path, text, row->choices);
            return -EINVAL;
        }
        rc = set_text(field(object, row), text);
        break;
    case OPTION_TEXT:
        rc = set_text(field(object, row), text);
        break;
    case OPTION_LIST:
        rc = set_list(object, row, text);
        break;
    case OPTION_BOOL:
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0) {
            error_set(error, "%s: true or false is expected, not '%.80s'", row->path, text);
            return -EINVAL;
        }
        *(bool *)field(object, row) = text[0] == 't';
        return 0;
    default:
        return set_number(object, row, text, error);
    }
    if (rc != 0) {
        error_set(error, "out of memory");
    }
    return rc;
}

int option_add(void *object, const struct option_row *row, const char *item)
{
    struct text_list *list = field(object, row);
    char **items = realloc(list->items, (list->count + 1) * sizeof(char *));
    if (items == NULL) {
        return -ENOMEM;
    }
    list->items = items;
    items[list->count] = strdup(item);
    if (items[list->count] == NULL) {
        return -ENOMEM;
    }
    list->count++;
    return 0;
}

void option_clear_list(void *object, const struct option_row *row)
{
    struct text_list *list = field(object, row);
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i]);
    }
    free(list->items);
    *list = (struct text_list){0};
}

static int get_list(const struct text_list *list, char *ret_text, size_t text_bytes)
{
    size_t used = 0;
    ret_text[0] = '\0';
    for (size_t i = 0; i < list->count; i++) {
        int n = snprintf(ret_text + used, text_bytes - used, "%s%s", i > 0 ? "," : "",
                         list->items[i]);
        if (n < 0 || (size_t)n >= text_bytes - used) {
            return -E2BIG;
        }
        used += (size_t)n;
    }
    return 0;
}

int option_get(const void *object, const struct option_row *row, char *ret_text, size_t text_bytes)
{
    uint64_t value = 0;
    switch (row->type) {
    case OPTION_LIST:
        return get_list(const_field(object, row), ret_text, text_bytes);
    case OPTION_TEXT:
    case OPTION_CHOICE:
        (void)str_copy(ret_text, text_bytes, *(char *const *)const_field(object, row));
        return 0;
    case OPTION_BOOL:
        (void)str_copy(ret_text, text_bytes,
                       *(const bool *)const_field(object, row) ? "true" : "false");
        return 0;
    default:
        memcpy(&value, const_field(object, row), sizeof(value));
    }
    if (row->type == OPTION_SIZE) {
        str_format_size(value, ret_text, text_bytes);
    } else if (row->type == OPTION_DURATION) {
        str_format_duration((int64_t)value, ret_text, text_bytes);
    } else {
        (void)snprintf(ret_text, text_bytes, "%llu", (unsigned long long)value);
    }
    return 0;
}

/* ---- tables ---- */

int options_init(void *object, const struct option_row *rows)
{
    for (const struct option_row *row = rows; row->path != NULL; row++) {
        if (row->value != NULL && option_set(object, row, row->value, NULL) != 0) {
            options_finish(object, rows);
            return -ENOMEM;
        }
    }
    return 0;
}

void options_finish(void *object, const struct option_row *rows)
{
    for (const struct option_row *row = rows; row->path != NULL; row++) {
        if (row->type == OPTION_LIST) {
            option_clear_list(object, row);
        } else if (row->type == OPTION_TEXT || row->type == OPTION_CHOICE) {
            free(*(char **)field(object, row));
            *(char **)field(object, row) = NULL;
        }
    }
}

const struct option_row *options_find(const struct option_row *rows, const char *path)
{
    for (const struct option_row *row = rows; row->path != NULL; row++) {
        if (strcmp(row->path, path) == 0) {
            return row;
        }
    }
    return NULL;
}

bool options_have_section(const struct option_row *rows, const char *path)
{
    size_t size = strlen(path);
    for (const struct option_row *row = rows; row->path != NULL; row++) {
        if (strncmp(row->path, path, size) == 0 && row->path[size] == '.') {
            return true;
        }
    }
    return false;
}

static bool same_value(const void *a, const void *b, const struct option_row *row)
{
    if (row->type == OPTION_LIST) {
        const struct text_list *left = const_field(a, row);
        const struct text_list *right = const_field(b, row);
        bool same = left->count == right->count;
        for (size_t i = 0; same && i < left->count; i++) {
            same = strcmp(left->items[i], right->items[i]) == 0;
        }
        return same;
    }
    if (row->type == OPTION_TEXT || row->type == OPTION_CHOICE) {
        return strcmp(*(char *const *)const_field(a, row), *(char *const *)const_field(b, row)) ==
               0;
    }
    if (row->type == OPTION_BOOL) {
        return *(const bool *)const_field(a, row) == *(const bool *)const_field(b, row);
    }
    return memcmp(const_field(a, row), const_field(b, row), sizeof(uint64_t)) == 0;
}

bool options_equal(const void *a, const void *b, const struct option_row *rows)
{
    for (const struct option_row *row = rows; row->path != NULL; row++) {
        if (!same_value(a, b, row)) {
            return false;
        }
    }
    return true;
}
