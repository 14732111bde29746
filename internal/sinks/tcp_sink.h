/*
 * Lines to a TCP port, one after the other: what anything takes that listens (a socket input of a collector,
 * socat). Several addresses are one target: connections are pooled, checked and shared out by
 * pools/upstream.h.
 *
 * Such a target says nothing back. A batch counts as delivered once its TCP has acknowledged all of it; what
 * a target loses behind that, nobody can tell.
 */
#pragma once

#include "sinks/sink_type.h"

extern const struct sink_type tcp_sink;
