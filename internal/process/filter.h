/*
 * Which containers are captured: globs over name, label, image, compose project and log driver.
 * Pure. The lists are borrowed from the configuration.
 */
#pragma once

#include <stdbool.h>

#include "base/record.h"

struct filter_list {
    const char *const *patterns;
    size_t count;
};

struct filter_rules {
    struct filter_list name;
    struct filter_list label; /* "key=value" with globs in the value, or "key" */
    struct filter_list image;
    struct filter_list project; /* label com.docker.compose.project */
    struct filter_list driver;
};

struct filter {
    struct filter_rules include;
    struct filter_rules exclude;
};

struct filter_subject {
    const char *name;
    const char *image;
    const char *driver; /* NULL while it is not known: the driver's rules are left out */
    const struct record_label *labels;
    size_t label_count;
};

/* Every kind of include rule that is given must match; no exclude rule may. */
bool filter_selects(const struct filter *filter, const struct filter_subject *subject);
