/* Setters only; what makes sense is judged by the matcher. */
#include "agent/query_flags.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "agent/table.h"

void query_flags_init(struct query_flags *flags)
{
    *flags = (struct query_flags){.query = {.since_ns = INT64_MIN, .until_ns = INT64_MAX},
                                  .format = FORMAT_TEXT};
    flags->query.labels = flags->labels;
    flags->style = (struct format_text_style){.colour = tone_wanted(STDOUT_FILENO),
                                              .name_columns = 16,
                                              .escape = isatty(STDOUT_FILENO) == 1};
}

int query_set_container(void *target, const char *value)
{
    ((struct query_flags *)target)->query.container = value;
    return 0;
}

int query_set_label(void *target, const char *value)
{
    struct query_flags *flags = target;
    if (flags->query.label_count == QUERY_LABEL_LIMIT) {
        return -E2BIG;
    }
    flags->labels[flags->query.label_count++] = value;
    return 0;
}

int query_set_stream(void *target, const char *value)
{
    ((struct query_flags *)target)->query.stream = value;
    return 0;
}

int query_set_regex(void *target, const char *value)
{
    ((struct query_flags *)target)->query.regex = value;
    return 0;
}

int query_set_output(void *target, const char *value)
{
    return format_kind_parse(value, &((struct query_flags *)target)->format);
}

int query_set_text(struct query_flags *flags, const char *value)
{
    if (flags->query.text != NULL) {
        return -E2BIG;
    }
    flags->query.text = value;
    return 0;
}
