/* What sinks may call a line by: fields of a record's origin, for labels and paths. Pure. */
#pragma once

#include "base/record.h"

enum sink_field {
    SINK_FIELD_CONTAINER, /* its name */
    SINK_FIELD_CONTAINER_ID,
    SINK_FIELD_IMAGE,
    SINK_FIELD_DAEMON,
    SINK_FIELD_HOST, /* of the agent; sink_field_value() does not know it */
    SINK_FIELD_STREAM,
    SINK_FIELD_COMPOSE_PROJECT, /* label com.docker.compose.project */
    SINK_FIELD_COMPOSE_SERVICE, /* label com.docker.compose.service */
};

/* NULL where the origin has none. */
const char *sink_field_value(enum sink_field field, const struct record_origin *origin,
                             enum record_stream stream);
/* The value of a container label; NULL when it has none of this key. */
const char *sink_field_label(const struct record_origin *origin, const char *key);
