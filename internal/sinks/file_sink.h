/*
 * The file sink: a file per container, or one for all, with rotation. Each line is in the files
 * exactly once, also across kill -9 (file_store.h); a power loss may repeat those of a second.
 */
#pragma once

#include "sinks/sink_type.h"

extern const struct sink_type file_sink;
