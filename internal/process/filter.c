/* Within one kind any pattern will do; between the kinds all must. */
#include "process/filter.h"

#include <string.h>

#include "base/str.h"

static bool any_matches(const struct filter_list *list, const char *text)
{
    for (size_t i = 0; i < list->count; i++) {
        if (str_glob_match(list->patterns[i], text)) {
            return true;
        }
    }
    return false;
}

static bool label_matches(const char *pattern, const struct filter_subject *subject)
{
    const char *equals = strchr(pattern, '=');
    size_t key_size = equals == NULL ? strlen(pattern) : (size_t)(equals - pattern);
    for (size_t i = 0; i < subject->label_count; i++) {
        const struct record_label *label = &subject->labels[i];
        if (strlen(label->key) == key_size && memcmp(label->key, pattern, key_size) == 0 &&
            (equals == NULL || str_glob_match(equals + 1, label->value))) {
            return true;
        }
    }
    return false;
}

static bool any_label_matches(const struct filter_list *list, const struct filter_subject *subject)
{
    for (size_t i = 0; i < list->count; i++) {
        if (label_matches(list->patterns[i], subject)) {
            return true;
        }
    }
    return false;
}

static const char *project_of(const struct filter_subject *subject)
{
    for (size_t i = 0; i < subject->label_count; i++) {
        if (strcmp(subject->labels[i].key, "com.docker.compose.project") == 0) {
            return subject->labels[i].value;
        }
    }
    return "";
}

bool filter_selects(const struct filter *filter, const struct filter_subject *subject)
{
    const struct filter_rules *in = &filter->include;
    const struct filter_rules *out = &filter->exclude;
    const char *project = project_of(subject);
    if ((in->name.count > 0 && !any_matches(&in->name, subject->name)) ||
        (in->image.count > 0 && !any_matches(&in->image, subject->image)) ||
        (in->project.count > 0 && !any_matches(&in->project, project)) ||
        (in->label.count > 0 && !any_label_matches(&in->label, subject)) ||
        any_matches(&out->name, subject->name) || any_matches(&out->image, subject->image) ||
        (project[0] != '\0' && any_matches(&out->project, project)) ||
        any_label_matches(&out->label, subject)) {
        return false;
    }
    if (subject->driver == NULL) {
        return true;
    }
    return (in->driver.count == 0 || any_matches(&in->driver, subject->driver)) &&
           !any_matches(&out->driver, subject->driver);
}
