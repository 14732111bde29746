/* Both addresses must be of one family: an IPv4 one is mapped into IPv6 where the other is no IPv4. */
#include "pools/proxy_header.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>

#define COMMAND_LOCAL 0x20
#define COMMAND_PROXY 0x21
#define FAMILY_TCP4 0x11
#define FAMILY_TCP6 0x21

const uint8_t proxy_header_local[PROXY_HEADER_LOCAL_SIZE] = {
    0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a, COMMAND_LOCAL};

struct endpoint_bytes {
    uint8_t address[16]; /* IPv4 mapped */
    uint8_t port[2];     /* as on the wire */
};

static bool read_address(const struct address *address, struct endpoint_bytes *ret_bytes)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (address->storage.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)&address->storage;
        memcpy(ret_bytes->address, mapped, sizeof(mapped));
        memcpy(ret_bytes->address + 12, &in->sin_addr, 4);
        memcpy(ret_bytes->port, &in->sin_port, 2);
        return true;
    }
    if (address->storage.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)&address->storage;
        memcpy(ret_bytes->address, &in6->sin6_addr, 16);
        memcpy(ret_bytes->port, &in6->sin6_port, 2);
        return true;
    }
    return false;
}

static bool is_v4(const struct endpoint_bytes *bytes)
{
    return IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)(const void *)bytes->address) != 0;
}

size_t proxy_header_write(const struct address *client, const struct address *server,
                          uint8_t ret_header[PROXY_HEADER_SIZE])
{
    struct endpoint_bytes from;
    struct endpoint_bytes to;
    bool known = read_address(client, &from) && read_address(server, &to);
    bool v4 = known && is_v4(&from) && is_v4(&to);
    size_t skip = v4 ? 12 : 0;
    size_t width = 16 - skip;
    size_t length = known ? 2 * width + 4 : 0;
    memcpy(ret_header, proxy_header_local, PROXY_HEADER_LOCAL_SIZE);
    if (known) {
        uint8_t *at = ret_header + PROXY_HEADER_LOCAL_SIZE;
        ret_header[12] = COMMAND_PROXY;
        ret_header[13] = v4 ? FAMILY_TCP4 : FAMILY_TCP6;
        ret_header[15] = (uint8_t)length;
        memcpy(at, from.address + skip, width);
        memcpy(at + width, to.address + skip, width);
        memcpy(at + 2 * width, from.port, 2);
        memcpy(at + 2 * width + 2, to.port, 2);
    }
    return PROXY_HEADER_LOCAL_SIZE + length;
}
