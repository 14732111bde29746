/* The table of types: a new one gets a row here. */
#include <string.h>

#include "sinks/file_sink.h"
#include "sinks/loki_sink.h"
#include "sinks/sink_type.h"
#include "sinks/stdout_sink.h"
#include "sinks/tcp_sink.h"

const struct sink_type *const sink_types[] = {&stdout_sink, &file_sink, &loki_sink, &tcp_sink,
                                              NULL};

const struct sink_type *sink_type_find(const char *name)
{
    for (size_t i = 0; sink_types[i] != NULL; i++) {
        if (strcmp(sink_types[i]->name, name) == 0) {
            return sink_types[i];
        }
    }
    return NULL;
}
