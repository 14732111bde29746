/* Socket addresses: from text, to text, and in ranges. Values; any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/hostport.h"

struct address {
    struct sockaddr_storage storage;
    socklen_t size;
};

#define ADDRESS_TEXT_SIZE 64 /* of `[IPv6]:port` */
#define ADDRESS_LIMIT 8      /* addresses of one name that are tried */

struct address_list {
    struct address items[ADDRESS_LIMIT];
    size_t count;
};

/* Looks the name up, which blocks unless it is an address. host "": all addresses of this machine
 * (for listening). -EINVAL, -EHOSTUNREACH with the reason. */
int address_resolve(const struct hostport *hostport, struct address_list *ret_list,
                    struct error *error) __attribute__((warn_unused_result));
/* Only where the host is an IP address already; -EINVAL else. Never blocks. */
int address_parse(const struct hostport *hostport, struct address *ret_address)
    __attribute__((warn_unused_result));
/* `1.2.3.4:80`, `[::1]:80`; an IPv4 address within IPv6 is written as IPv4. */
void address_format(const struct address *address, char ret_text[ADDRESS_TEXT_SIZE]);

/* Opens a listening TCP socket, non-blocking, close-on-exec, with TCP_NODELAY, which its connections
 * inherit; or, for `unix:/path`, a unix socket that only its owner may use (a left-over one that nobody
 * listens on is replaced). A descriptor, or a negative errno with the reason and the remedy. */
int address_listen(const char *host_port, int backlog, struct error *error)
    __attribute__((warn_unused_result));
/* The port a socket is bound to; 0 when it is none. */
uint16_t address_port_of(int fd);

/* ---- ranges (CIDR, RFC 4632) ---- */

struct cidr {
    uint8_t bytes[16]; /* IPv4 as ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2) */
    unsigned bits;     /* of 128 */
};

struct cidr_list {
    struct cidr *items;
    size_t count;
};

/* `10.0.0.0/8,192.168.1.10,2001:db8::/32`; "" or NULL: an empty list. -EINVAL with the item that can't be
 * read, -ENOMEM. Caller frees with cidr_list_finish(). */
int cidr_list_parse(const char *text, struct cidr_list *ret_list, struct error *error)
    __attribute__((warn_unused_result));
void cidr_list_finish(struct cidr_list *list);
/* An empty list contains everything. */
bool cidr_list_contains(const struct cidr_list *list, const struct address *address);
