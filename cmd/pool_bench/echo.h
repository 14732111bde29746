/* An echo backend: sends back what it is sent, on threads of its own. */
#pragma once

#include <stdint.h>

#include "base/error.h"

struct echo;

/* Listens when it returns 0, on all addresses. */
int echo_start(uint16_t port, unsigned threads, struct echo **ret_echo, struct error *error)
    __attribute__((warn_unused_result));
/* Connections accepted so far. Any thread. */
uint64_t echo_accepted(const struct echo *echo);
/* Cuts all connections. NULL is ignored. */
void echo_stop(struct echo *echo);
