/*
 * A scan: frames out of the time range are not decompressed, and what an origin decides is decided
 * once per origin and frame. Regular expressions are the C library's, with REG_STARTEND, which
 * takes NUL bytes in a line.
 */
#include "spool/spool_search.h"

#include <errno.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

struct spool_matcher {
    const struct spool_query *query;
    regex_t regex;
    bool has_regex;
    uint8_t stream; /* 0: any */
    uint64_t last_segment;
    uint32_t last_origin_id;
    bool last_matches;
};

static bool label_matches(const struct record_origin *origin, const char *wanted)
{
    const char *equals = strchr(wanted, '=');
    size_t key_size = equals == NULL ? strlen(wanted) : (size_t)(equals - wanted);
    for (size_t i = 0; i < origin->label_count; i++) {
        const struct record_label *label = &origin->labels[i];
        if (strlen(label->key) == key_size && memcmp(label->key, wanted, key_size) == 0 &&
            (equals == NULL || str_glob_match(equals + 1, label->value))) {
            return true;
        }
    }
    return false;
}

static bool origin_matches(const struct spool_query *query, const struct record_origin *origin)
{
    if (query->container != NULL && !str_glob_match(query->container, origin->name) &&
        !(strlen(query->container) >= 12 &&
          str_starts_with(origin->container_id, query->container))) {
        return false;
    }
    for (size_t i = 0; i < query->label_count; i++) {
        if (!label_matches(origin, query->labels[i])) {
            return false;
        }
    }
    return true;
}

bool spool_matcher_matches(struct spool_matcher *matcher, const struct spool_item *item)
{
    const struct spool_query *query = matcher->query;
    const struct record *record = &item->record;
    if (record->time_ns < query->since_ns || record->time_ns > query->until_ns ||
        (matcher->stream != 0 && record->stream != matcher->stream)) {
        return false;
    }
    if (item->segment != matcher->last_segment || item->origin_id != matcher->last_origin_id) {
        matcher->last_segment = item->segment;
        matcher->last_origin_id = item->origin_id;
        matcher->last_matches = origin_matches(query, item->origin);
    }
    if (!matcher->last_matches) {
        return false;
    }
    if (query->text != NULL &&
        memmem(record->line, record->line_bytes, query->text, strlen(query->text)) == NULL) {
        return false;
    }
    if (query->regex == NULL) {
        return true;
    }
    regmatch_t range = {.rm_so = 0, .rm_eo = (regoff_t)record->line_bytes};
    return regexec(&matcher->regex, record->line, 1, &range, REG_STARTEND) == 0;
}

static int prepare(struct spool_matcher *matcher, struct error *error)
{
    const struct spool_query *query = matcher->query;
    if (query->stream != NULL) {
        matcher->stream = strcmp(query->stream, "stdout") == 0   ? RECORD_STDOUT
                          : strcmp(query->stream, "stderr") == 0 ? RECORD_STDERR
                                                                 : 0;
        if (matcher->stream == 0) {
            error_set(error, "stream '%s': there are stdout and stderr", query->stream);
            return -EINVAL;
        }
    }
    if (query->regex != NULL) {
        int code = regcomp(&matcher->regex, query->regex, REG_EXTENDED);
        if (code != 0) {
            char text[256];
            (void)regerror(code, &matcher->regex, text, sizeof(text));
            error_set(error, "regex '%s': %s", query->regex, text);
            return -EINVAL;
        }
        matcher->has_regex = true;
    }
    return 0;
}

int spool_matcher_create(const struct spool_query *query, struct spool_matcher **ret_matcher,
                         struct error *error)
{
    struct spool_matcher *matcher = calloc(1, sizeof(*matcher));
    if (matcher == NULL) {
        error_set(error, "out of memory");
        return -ENOMEM;
    }
    matcher->query = query;
    int rc = prepare(matcher, error);
    if (rc != 0) {
        spool_matcher_destroy(matcher);
        return rc;
    }
    *ret_matcher = matcher;
    return 0;
}

void spool_matcher_destroy(struct spool_matcher *matcher)
{
    if (matcher != NULL && matcher->has_regex) {
        regfree(&matcher->regex);
    }
    free(matcher);
}

static int scan(struct spool_matcher *matcher, struct spool_reader *reader,
                spool_search_fn on_match, void *data)
{
    struct spool_item item;
    int rc;
    spool_reader_limit_times(reader, matcher->query->since_ns, matcher->query->until_ns);
    while ((rc = spool_reader_next(reader, &item)) == 1) {
        if (spool_matcher_matches(matcher, &item) && (rc = on_match(&item, data)) != 0) {
            return rc;
        }
    }
    return rc;
}

int spool_search(const char *dir, const struct spool_query *query, spool_search_fn on_match,
                 void *data, struct error *error)
{
    struct spool_matcher *matcher = NULL;
    struct spool_reader *reader = NULL;
    int rc = spool_matcher_create(query, &matcher, error);
    if (rc != 0) {
        return rc;
    }
    rc = spool_reader_open_dir(dir, &reader, error);
    if (rc == 0) {
        rc = scan(matcher, reader, on_match, data);
        if (rc < 0) {
            error_set(error, "reading the spool in %s: %s", dir, strerror(-rc));
        }
    }
    spool_reader_close(reader);
    spool_matcher_destroy(matcher);
    return rc;
}
