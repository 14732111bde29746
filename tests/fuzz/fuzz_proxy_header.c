/* The PROXY header of any two addresses, read back by a reader of its own. */
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "pools/proxy_header.h"

#define SIDE_BYTES 19 /* family, port, address */

/* The address that these bytes stand for, and as it must come back: IPv4 mapped, then the port. */
static struct address side(const uint8_t *data, uint8_t ret_expected[18])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    struct address address = {.size = 0};
    memcpy(ret_expected + 16, data + 1, 2);
    if (data[0] % 3 == 0) {
        struct sockaddr_in *in = (void *)&address.storage;
        in->sin_family = AF_INET;
        memcpy(&in->sin_port, data + 1, 2);
        memcpy(&in->sin_addr, data + 3, 4);
        address.size = sizeof(*in);
        memcpy(ret_expected, mapped, 12);
        memcpy(ret_expected + 12, data + 3, 4);
    } else if (data[0] % 3 == 1) {
        struct sockaddr_in6 *in6 = (void *)&address.storage;
        in6->sin6_family = AF_INET6;
        memcpy(&in6->sin6_port, data + 1, 2);
        memcpy(&in6->sin6_addr, data + 3, 16);
        address.size = sizeof(*in6);
        memcpy(ret_expected, data + 3, 16);
    } else {
        address.storage.ss_family = AF_UNIX;
        address.size = sizeof(sa_family_t);
    }
    return address;
}

static void want(int truth)
{
    if (!truth) {
        abort();
    }
}

static void read_back(const uint8_t *header, size_t size, const uint8_t *from, const uint8_t *to)
{
    size_t length = (size_t)header[14] << 8 | header[15];
    want(size == 16 + length);
    if (header[12] == 0x20) {
        want(length == 0 && header[13] == 0);
        return;
    }
    bool v4 = header[13] == 0x11;
    size_t width = v4 ? 4 : 16;
    want(header[12] == 0x21 && (v4 || header[13] == 0x21) && length == 2 * width + 4);
    want(memcmp(header + 16, from + 16 - width, width) == 0);
    want(memcmp(header + 16 + width, to + 16 - width, width) == 0);
    want(memcmp(header + 16 + 2 * width, from + 16, 2) == 0);
    want(memcmp(header + 18 + 2 * width, to + 16, 2) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t signature[12] = "\r\n\r\n\0\r\nQUIT\n";
    uint8_t header[PROXY_HEADER_SIZE];
    uint8_t from[18] = {0};
    uint8_t to[18] = {0};
    if (size < (size_t)2 * SIDE_BYTES) {
        return 0;
    }
    struct address client = side(data, from);
    struct address server = side(data + SIDE_BYTES, to);
    size_t written = proxy_header_write(&client, &server, header);
    want(memcmp(header, signature, sizeof(signature)) == 0);
    bool known = data[0] % 3 != 2 && data[SIDE_BYTES] % 3 != 2;
    want(known == (header[12] == 0x21));
    read_back(header, written, from, to);
    return 0;
}
