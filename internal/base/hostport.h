/* `host:port` as people write it. Pure, any thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define HOSTPORT_HOST_SIZE 256
#define HOSTPORT_TEXT_SIZE 272 /* longest text and its NUL */

struct hostport {
    char host[HOSTPORT_HOST_SIZE]; /* without brackets; "" where none was written */
    uint16_t port;
};

/* Takes `host:port`, `1.2.3.4:port`, `[::1]:port`, `:port`. -EINVAL with what would be right. */
int hostport_parse(const char *text, struct hostport *ret_hostport, struct error *error)
    __attribute__((warn_unused_result));
/* With brackets around a host that has colons. */
void hostport_format(const struct hostport *hostport, char ret_text[HOSTPORT_TEXT_SIZE]);
