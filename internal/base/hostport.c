/* The last colon is the port's, so an IPv6 address without brackets is refused: it could be read in two ways. */
#include "base/hostport.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

static int refuse(const char *text, struct error *error)
{
    error_set(error, "'%.80s' is no address; write host:port, as in 127.0.0.1:8001 or [::1]:8001",
              text);
    return -EINVAL;
}

int hostport_parse(const char *text, struct hostport *ret_hostport, struct error *error)
{
    const char *colon = strrchr(text, ':');
    uint64_t port;
    if (colon == NULL || str_parse_u64(colon + 1, &port) != 0 || port > 65535) {
        return refuse(text, error);
    }
    const char *host = text;
    size_t size = (size_t)(colon - text);
    if (size >= 2 && host[0] == '[' && host[size - 1] == ']') {
        host++;
        size -= 2;
    } else if (memchr(host, ':', size) != NULL) {
        return refuse(text, error);
    }
    if (size >= HOSTPORT_HOST_SIZE || memchr(host, '[', size) != NULL ||
        memchr(host, ']', size) != NULL || memchr(host, ' ', size) != NULL) {
        return refuse(text, error);
    }
    memcpy(ret_hostport->host, host, size);
    ret_hostport->host[size] = '\0';
    ret_hostport->port = (uint16_t)port;
    return 0;
}

void hostport_format(const struct hostport *hostport, char ret_text[HOSTPORT_TEXT_SIZE])
{
    bool brackets = strchr(hostport->host, ':') != NULL;
    (void)snprintf(ret_text, HOSTPORT_TEXT_SIZE, "%s%s%s:%u", brackets ? "[" : "", hostport->host,
                   brackets ? "]" : "", hostport->port);
}
