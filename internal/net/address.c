/* IPv4 addresses are compared as IPv6 ones, so that a dual-stack listener and a plain one agree. */
#include "net/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/str.h"

/* ---- names ---- */

static int look_up(const struct hostport *hostport, int flags, struct addrinfo **ret_found)
{
    char port[8];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};
    (void)snprintf(port, sizeof(port), "%u", hostport->port);
    return getaddrinfo(hostport->host[0] == '\0' ? NULL : hostport->host, port, &hints, ret_found);
}

static struct address address_of(const struct addrinfo *found)
{
    struct address address = {.size = found->ai_addrlen};
    memcpy(&address.storage, found->ai_addr, found->ai_addrlen);
    return address;
}

int address_resolve(const struct hostport *hostport, struct address_list *ret_list,
                    struct error *error)
{
    struct addrinfo *found = NULL;
    int code = look_up(hostport, hostport->host[0] == '\0' ? AI_PASSIVE : AI_ADDRCONFIG, &found);
    if (code != 0) { /* a machine without a network has no address family but loopback's */
        code = look_up(hostport, 0, &found);
    }
    if (code != 0) {
        error_set(error, "the host name %s: %s", hostport->host, gai_strerror(code));
        return -EHOSTUNREACH;
    }
    ret_list->count = 0;
    for (const struct addrinfo *at = found; at != NULL && ret_list->count < ADDRESS_LIMIT;
         at = at->ai_next) {
        ret_list->items[ret_list->count++] = address_of(at);
    }
    freeaddrinfo(found);
    return 0;
}

int address_parse(const struct hostport *hostport, struct address *ret_address)
{
    struct addrinfo *found = NULL;
    if (hostport->host[0] == '\0' || look_up(hostport, AI_NUMERICHOST, &found) != 0) {
        return -EINVAL;
    }
    *ret_address = address_of(found);
    freeaddrinfo(found);
    return 0;
}

/* ---- bytes ---- */

/* As 16 bytes; false for other families. */
static bool bytes_of(const struct address *address, uint8_t ret_bytes[16])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (address->storage.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)&address->storage;
        memcpy(ret_bytes, &in6->sin6_addr, 16);
        return true;
    }
    if (address->storage.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)&address->storage;
        memcpy(ret_bytes, mapped, sizeof(mapped));
        memcpy(ret_bytes + 12, &in->sin_addr, 4);
        return true;
    }
    return false;
}

static uint16_t port_of(const struct address *address)
{
    const struct sockaddr_in *in = (const void *)&address->storage;
    const struct sockaddr_in6 *in6 = (const void *)&address->storage;
    return ntohs(address->storage.ss_family == AF_INET6 ? in6->sin6_port : in->sin_port);
}

void address_format(const struct address *address, char ret_text[ADDRESS_TEXT_SIZE])
{
    uint8_t bytes[16];
    char text[INET6_ADDRSTRLEN];
    if (!bytes_of(address, bytes)) {
        (void)str_copy(ret_text, ADDRESS_TEXT_SIZE, "(unknown)");
        return;
    }
    bool is_v4 = IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)(const void *)bytes) != 0;
    const void *at = is_v4 ? bytes + 12 : bytes;
    (void)inet_ntop(is_v4 ? AF_INET : AF_INET6, at, text, sizeof(text));
    (void)snprintf(ret_text, ADDRESS_TEXT_SIZE, is_v4 ? "%s:%u" : "[%s]:%u", text,
                   port_of(address));
}

/* ---- listening ---- */

static int listen_on(const struct address *address, int backlog)
{
    int one = 1;
    int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -errno;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (bind(fd, (const struct sockaddr *)&address->storage, address->size) != 0 ||
        listen(fd, backlog) != 0) {
        int rc = -errno;
        (void)close(fd);
        return rc;
    }
    return fd;
}

/* Whether somebody accepts connections there. */
static bool is_served(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool served = fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0;
    if (fd >= 0) {
        (void)close(fd);
    }
    return served;
}

static int bind_unix(const struct sockaddr_un *address, int backlog)
{
    struct stat status;
    if (lstat(address->sun_path, &status) == 0 && S_ISSOCK(status.st_mode) && !is_served(address)) {
        (void)unlink(address->sun_path);
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -errno;
    }
    mode_t before = umask(0177);
    int rc = bind(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 ? 0 : -errno;
    (void)umask(before);
    rc = rc == 0 && listen(fd, backlog) != 0 ? -errno : rc;
    if (rc != 0) {
        (void)close(fd);
        return rc;
    }
    return fd;
}

static int listen_unix(const char *path, int backlog, struct error *error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = strlen(path) < sizeof(address.sun_path) ? 0 : -ENAMETOOLONG;
    if (fd == 0) {
        (void)str_copy(address.sun_path, sizeof(address.sun_path), path);
        fd = bind_unix(&address, backlog);
    }
    if (fd < 0) {
        error_set(error, "can't listen on unix:%s: %s%s", path, strerror(-fd),
                  fd == -EADDRINUSE ? "; another program has it" : "");
    }
    return fd;
}

/* IPv6 and IPv4 in one socket (bindv6only is 0 unless somebody changed it, which is left so). */
static int listen_everywhere(uint16_t port, int backlog)
{
    struct address address = {.size = sizeof(struct sockaddr_in6)};
    struct sockaddr_in6 *in6 = (void *)&address.storage;
    in6->sin6_family = AF_INET6;
    in6->sin6_addr = in6addr_any;
    in6->sin6_port = htons(port);
    return listen_on(&address, backlog);
}

int address_listen(const char *host_port, int backlog, struct error *error)
{
    if (str_starts_with(host_port, "unix:")) {
        return listen_unix(host_port + 5, backlog, error);
    }
    struct hostport hostport;
    struct address_list list;
    int rc = hostport_parse(host_port, &hostport, error);
    rc = rc != 0 ? rc : address_resolve(&hostport, &list, error);
    if (rc != 0) {
        error_prefix(error, "can't listen");
        return rc;
    }
    int fd = hostport.host[0] == '\0' ? listen_everywhere(hostport.port, backlog) : -EADDRNOTAVAIL;
    for (size_t i = 0; fd < 0 && i < list.count; i++) {
        fd = listen_on(&list.items[i], backlog);
    }
    if (fd < 0) {
        error_set(error, "can't listen on %s: %s%s", host_port, strerror(-fd),
                  fd == -EADDRINUSE ? "; another program has this port"
                  : fd == -EACCES   ? "; ports below 1024 need root or CAP_NET_BIND_SERVICE"
                                    : "");
    }
    return fd;
}

uint16_t address_port_of(int fd)
{
    struct address address = {.size = sizeof(address.storage)};
    if (getsockname(fd, (struct sockaddr *)&address.storage, &address.size) != 0) {
        return 0;
    }
    return port_of(&address);
}

/* ---- ranges ---- */

static int parse_item(const char *text, size_t size, struct cidr *ret_cidr)
{
    char item[64] = "";
    uint8_t v4[4];
    uint64_t bits;
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (size == 0 || size >= sizeof(item)) {
        return -EINVAL;
    }
    memcpy(item, text, size);
    char *slash = strchr(item, '/');
    if (slash != NULL) {
        *slash = '\0';
    }
    bool is_v4 = inet_pton(AF_INET, item, v4) == 1;
    if (is_v4) {
        memcpy(ret_cidr->bytes, mapped, sizeof(mapped));
        memcpy(ret_cidr->bytes + 12, v4, sizeof(v4));
    } else if (inet_pton(AF_INET6, item, ret_cidr->bytes) != 1) {
        return -EINVAL;
    }
    uint64_t most = is_v4 ? 32 : 128;
    bits = most;
    if (slash != NULL && (str_parse_u64(slash + 1, &bits) != 0 || bits > most)) {
        return -EINVAL;
    }
    ret_cidr->bits = (unsigned)(bits + 128 - most);
    return 0;
}

int cidr_list_parse(const char *text, struct cidr_list *ret_list, struct error *error)
{
    struct cidr_list list = {.items = NULL};
    size_t room = 1;
    for (const char *at = text; at != NULL && *at != '\0'; at++) {
        room += *at == ',';
    }
    list.items = calloc(room, sizeof(*list.items));
    if (list.items == NULL) {
        error_set(error, "out of memory");
        return -ENOMEM;
    }
    while (text != NULL && *text != '\0') {
        size_t size = strcspn(text, ",");
        if (parse_item(text, size, &list.items[list.count]) != 0) {
            error_set(error,
                      "'%.*s' is no address or range; write them as in 10.0.0.0/8,192.168.1.10",
                      (int)(size < 80 ? size : 80), text);
            cidr_list_finish(&list);
            return -EINVAL;
        }
        list.count++;
        text += size + (text[size] == ',' ? 1 : 0);
    }
    *ret_list = list;
    return 0;
}

void cidr_list_finish(struct cidr_list *list)
{
    free(list->items);
    *list = (struct cidr_list){.items = NULL};
}

static bool cidr_contains(const struct cidr *cidr, const uint8_t bytes[16])
{
    size_t whole = cidr->bits / 8;
    unsigned rest = cidr->bits % 8;
    return memcmp(cidr->bytes, bytes, whole) == 0 &&
           (rest == 0 || ((cidr->bytes[whole] ^ bytes[whole]) >> (8 - rest)) == 0);
}

bool cidr_list_contains(const struct cidr_list *list, const struct address *address)
{
    uint8_t bytes[16];
    if (list->count == 0) {
        return true;
    }
    if (!bytes_of(address, bytes)) {
        return false;
    }
    for (size_t i = 0; i < list->count; i++) {
        if (cidr_contains(&list->items[i], bytes)) {
            return true;
        }
    }
    return false;
}
