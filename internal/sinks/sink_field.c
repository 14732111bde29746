#include "sinks/sink_field.h"

#include <string.h>

const char *sink_field_label(const struct record_origin *origin, const char *key)
{
    for (size_t i = 0; i < origin->label_count; i++) {
        if (strcmp(origin->labels[i].key, key) == 0) {
            return origin->labels[i].value;
        }
    }
    return NULL;
}

const char *sink_field_value(enum sink_field field, const struct record_origin *origin,
                             enum record_stream stream)
{
    switch (field) {
    case SINK_FIELD_CONTAINER:
        return origin->name;
    case SINK_FIELD_CONTAINER_ID:
        return origin->container_id;
    case SINK_FIELD_IMAGE:
        return origin->image;
    case SINK_FIELD_DAEMON:
        return origin->daemon;
    case SINK_FIELD_STREAM:
        return stream == RECORD_STDERR ? "stderr" : "stdout";
    case SINK_FIELD_COMPOSE_PROJECT:
        return sink_field_label(origin, "com.docker.compose.project");
    case SINK_FIELD_COMPOSE_SERVICE:
        return sink_field_label(origin, "com.docker.compose.service");
    default:
        return NULL;
    }
}
