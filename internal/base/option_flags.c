/* One pass over the line. The first repetition of a list replaces its default. */
#include "base/option_flags.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/help.h"
#include "base/str.h"

#define ROW_LIMIT 64

static const char *value_name(const struct option_row *row)
{
    static const char *const names[] = {"TEXT", "WORD", "NUMBER", "SIZE", "DURATION", "TEXT", ""};
    return row->choices != NULL ? row->choices : names[row->type];
}

static void put_help(const struct option_flags *flags)
{
    (void)printf("usage: %s%s%s\n\n", flags->program, flags->usage[0] != '\0' ? " " : "",
                 flags->usage);
    help_put_wrapped(flags->description, 0, 0);
    (void)printf("\n");
    for (const struct option_row *row = flags->rows; row->path != NULL; row++) {
        char left[128];
        char help[512];
        bool shown = row->value != NULL && row->value[0] != '\0' && row->type != OPTION_BOOL;
        (void)snprintf(left, sizeof(left), "--%s%s%s", row->path,
                       row->type == OPTION_BOOL ? "" : " ",
                       row->type == OPTION_BOOL ? "" : value_name(row));
        (void)snprintf(help, sizeof(help), "%s%s%s%s", row->help, shown ? " (default: " : "",
                       shown ? row->value : "", shown ? ")" : "");
        help_put_row(left, help);
    }
    help_put_row("--help, --version", "this text; the version");
    if (flags->rows->path != NULL) {
        (void)printf("\nOne dash will do: -%s is --%s.\n", flags->rows->path, flags->rows->path);
    }
    if (flags->after != NULL) {
        (void)printf("\n");
        help_put_wrapped(flags->after, 0, 0);
    }
}

int option_flags_complain(const struct option_flags *flags, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)fprintf(stderr, "%s: ", flags->program);
    (void)vfprintf(stderr, format, args);
    (void)fprintf(stderr, "\n`%s --help` shows what it takes.\n", flags->program);
    va_end(args);
    return 2;
}

/* The name that is most like it, for "did you mean". */
static const char *most_like(const struct option_flags *flags, const char *name)
{
    const char *best = NULL;
    unsigned least = 4;
    for (const struct option_row *row = flags->rows; row->path != NULL; row++) {
        unsigned distance = str_distance(name, row->path);
        if (distance < least) {
            least = distance;
            best = row->path;
        }
    }
    return best;
}

static int complain_unknown(const struct option_flags *flags, const char *text, const char *name)
{
    const char *like = most_like(flags, name);
    return like != NULL
               ? option_flags_complain(flags, "unknown flag '%s'; did you mean --%s?", text, like)
               : option_flags_complain(flags, "unknown flag '%s'", text);
}

/* A flag taken apart. */
struct flag {
    char name[64];
    const char *value; /* behind '='; NULL: none there */
};

static void split(const char *text, struct flag *ret_flag)
{
    const char *name = text + (text[1] == '-' ? 2 : 1);
    size_t size = strcspn(name, "=");
    (void)snprintf(ret_flag->name, sizeof(ret_flag->name), "%.*s", (int)size, name);
    ret_flag->value = name[size] == '=' ? name + size + 1 : NULL;
}

struct line {
    const struct option_flags *flags;
    int argc;
    char **argv;
    int at;
    void *object;
    bool given[ROW_LIMIT]; /* lists that the line has begun */
};

static int set(struct line *line, const struct option_row *row, const char *value)
{
    struct error error = {""};
    size_t index = (size_t)(row - line->flags->rows);
    int rc;
    if (row->type == OPTION_LIST) {
        if (!line->given[index]) {
            option_clear_list(line->object, row);
        }
        rc = option_add(line->object, row, value);
        error_set(&error, "out of memory");
    } else {
        rc = option_set(line->object, row, value, &error);
    }
    line->given[index] = true;
    return rc == 0 ? 0 : option_flags_complain(line->flags, "--%s", error.text);
}

static int take_flag(struct line *line, const char *text)
{
    struct flag flag;
    split(text, &flag);
    const struct option_row *row = options_find(line->flags->rows, flag.name);
    if (row == NULL) {
        return complain_unknown(line->flags, text, flag.name);
    }
    if (row->type == OPTION_BOOL) {
        return set(line, row, flag.value != NULL ? flag.value : "true");
    }
    if (flag.value == NULL && line->at + 1 < line->argc) {
        flag.value = line->argv[++line->at];
    }
    return flag.value != NULL ? set(line, row, flag.value)
                              : option_flags_complain(line->flags, "--%s needs a value: %s",
                                                      row->path, value_name(row));
}

static bool is_either(const char *text, const char *name)
{
    return text[0] == '-' &&
           (strcmp(text + 1, name) == 0 || (text[1] == '-' && strcmp(text + 2, name) == 0));
}

static enum option_flags_result take(struct line *line, const char *text)
{
    if (is_either(text, "help") || strcmp(text, "-h") == 0) {
        put_help(line->flags);
        return OPTION_FLAGS_DONE;
    }
    if (is_either(text, "version")) {
        (void)printf("%s %s\n", line->flags->program, LOG_CAPTURER_VERSION);
        return OPTION_FLAGS_DONE;
    }
    return take_flag(line, text) == 0 ? OPTION_FLAGS_RUN : OPTION_FLAGS_BAD;
}

enum option_flags_result option_flags_parse(const struct option_flags *flags, int argc, char **argv,
                                            void *object, int *ret_next)
{
    struct line line = {.flags = flags, .argc = argc, .argv = argv, .object = object};
    enum option_flags_result result = OPTION_FLAGS_RUN;
    for (line.at = 1; line.at < argc && result == OPTION_FLAGS_RUN; line.at++) {
        const char *text = argv[line.at];
        if (strcmp(text, "--") == 0) {
            line.at++;
            break;
        }
        if (text[0] != '-' || text[1] == '\0') {
            break;
        }
        result = take(&line, text);
    }
    *ret_next = line.at;
    if (result == OPTION_FLAGS_RUN && line.at < argc && !flags->operands) {
        (void)option_flags_complain(flags, "'%s' is no flag; it takes nothing else", argv[line.at]);
        return OPTION_FLAGS_BAD;
    }
    return result;
}
