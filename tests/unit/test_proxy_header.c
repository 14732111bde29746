/* The PROXY header, byte by byte as the specification has it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "pools/proxy_header.h"

#define SIGNATURE "\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a"

static struct address address_of(const char *host, uint16_t port)
{
    struct hostport hostport = {.port = port};
    struct address address;
    (void)snprintf(hostport.host, sizeof(hostport.host), "%s", host);
    assert_int_equal(address_parse(&hostport, &address), 0);
    return address;
}

static void check(const struct address *client, const struct address *server, const char *expected,
                  size_t size)
{
    uint8_t header[PROXY_HEADER_SIZE];
    assert_int_equal(proxy_header_write(client, server, header), size);
    assert_memory_equal(header, expected, size);
}

static void two_ipv4_addresses_are_28_bytes(void **state)
{
    (void)state;
    struct address client = address_of("192.0.2.1", 258);
    struct address server = address_of("198.51.100.7", 80);
    check(&client, &server,
          SIGNATURE "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x07\x01\x02\x00\x50", 28);
}

static void two_ipv6_addresses_are_52_bytes(void **state)
{
    (void)state;
    struct address client = address_of("2001:db8::1", 65535);
    struct address server = address_of("2001:db8::2", 443);
    check(&client, &server,
          SIGNATURE
          "\x21\x21\x00\x24\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"
          "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\xff\xff\x01\xbb",
          52);
}

static void an_ipv4_address_within_ipv6_is_sent_as_ipv4(void **state)
{
    (void)state;
    struct address client = address_of("::ffff:192.0.2.1", 258);
    struct address server = address_of("::ffff:198.51.100.7", 80);
    check(&client, &server,
          SIGNATURE "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x07\x01\x02\x00\x50", 28);
}

static void of_two_families_the_ipv4_one_is_mapped(void **state)
{
    (void)state;
    struct address client = address_of("192.0.2.1", 1);
    struct address server = address_of("2001:db8::2", 2);
    check(&client, &server,
          SIGNATURE
          "\x21\x21\x00\x24\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc0\x00\x02\x01"
          "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01\x00\x02",
          52);
}

static void other_families_are_local(void **state)
{
    (void)state;
    struct address client = {.storage = {.ss_family = AF_UNIX}, .size = sizeof(sa_family_t)};
    struct address server = address_of("192.0.2.1", 1);
    check(&client, &server, SIGNATURE "\x20\x00\x00\x00", 16);
    check(&server, &client, SIGNATURE "\x20\x00\x00\x00", 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_ipv4_addresses_are_28_bytes),
        cmocka_unit_test(two_ipv6_addresses_are_52_bytes),
        cmocka_unit_test(an_ipv4_address_within_ipv6_is_sent_as_ipv4),
        cmocka_unit_test(of_two_families_the_ipv4_one_is_mapped),
        cmocka_unit_test(other_families_are_local),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
