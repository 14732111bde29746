/*
 * The header of the PROXY protocol, version 2, which tells a backend who its client is:
 * https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt section 2.2. Pure.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "net/address.h"

#define PROXY_HEADER_SIZE 52 /* of IPv6, the longest */
#define PROXY_HEADER_LOCAL_SIZE 16

/* Of a connection of the proxy's own, such as a health check: `LOCAL`. */
extern const uint8_t proxy_header_local[PROXY_HEADER_LOCAL_SIZE];

/* Of a connection from client to server, as the relay saw it. An IPv4 address within IPv6 is sent as IPv4;
 * other families as `LOCAL`, which has no addresses. Returns the number of bytes. */
size_t proxy_header_write(const struct address *client, const struct address *server,
                          uint8_t ret_header[PROXY_HEADER_SIZE]);
