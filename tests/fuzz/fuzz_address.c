/* Host and port, and ranges of addresses, from any text; what was read is written and read the same again. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "net/address.h"

static void check_hostport(const char *text)
{
    struct hostport first;
    struct hostport again;
    struct error error;
    char written[HOSTPORT_TEXT_SIZE];
    struct address address;
    char name[ADDRESS_TEXT_SIZE];
    if (hostport_parse(text, &first, &error) != 0) {
        return;
    }
    hostport_format(&first, written);
    if (hostport_parse(written, &again, &error) != 0 || strcmp(first.host, again.host) != 0 ||
        first.port != again.port) {
        abort();
    }
    if (address_parse(&first, &address) == 0) {
        address_format(&address, name);
    }
}

static void check_ranges(const char *text)
{
    struct cidr_list list;
    struct error error;
    struct hostport hostport = {"10.1.2.3", 1};
    struct address address;
    if (cidr_list_parse(text, &list, &error) == 0) {
        if (address_parse(&hostport, &address) != 0) {
            abort();
        }
        (void)cidr_list_contains(&list, &address);
        cidr_list_finish(&list);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    if (text == NULL) {
        return 0;
    }
    memcpy(text, data, size);
    text[size] = '\0';
    check_hostport(text);
    check_ranges(text);
    free(text);
    return 0;
}
