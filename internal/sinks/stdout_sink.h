/* The stdout sink: each line to standard output. At least once: a kill may repeat up to a second of
 * output. When the reader of standard output goes away it goes on trying; capture is not concerned.
 */
#pragma once

#include "sinks/sink_type.h"

extern const struct sink_type stdout_sink;
