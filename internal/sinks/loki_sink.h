/*
 * The Loki sink: Grafana Loki's push API, which VictoriaLogs and others take too, in protobuf and
 * snappy. The labels that make a stream come from the operator's list; all else that is known of a
 * line goes into its structured metadata. Timestamps are the daemon's, never altered.
 *
 * At least once: a kill repeats what was sent since the cursor was last stored (up to a second). Loki
 * leaves out a line that it has with the same labels, timestamp and text.
 */
#pragma once

#include "sinks/sink_type.h"

extern const struct sink_type loki_sink;
