/* Accepts what DOCKER_HOST accepts: unix, tcp, http and https; ssh and npipe are refused by name. */
#include "net/endpoint.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

static int parse_unix(const char *path, struct endpoint *endpoint, struct error *error)
{
    if (path[0] != '/' || strlen(path) >= sizeof(endpoint->unix_path)) {
        error_set(error,
                  "'%s': the socket's path must be absolute and shorter than %zu bytes, "
                  "as in unix:///var/run/docker.sock",
                  endpoint->url, sizeof(endpoint->unix_path));
        return -EINVAL;
    }
    (void)str_copy(endpoint->unix_path, sizeof(endpoint->unix_path), path);
    return 0;
}

static int refuse_tcp(const struct endpoint *endpoint, struct error *error)
{
    error_set(error, "'%s': expected host:port behind the scheme, as in tcp://10.0.0.5:2375",
              endpoint->url);
    return -EINVAL;
}

/* Splits `host`, `host:port`, `[v6]`, `[v6]:port`; the port's text is "" when there is none. */
static bool split_host(const char *text, size_t size, size_t *ret_host_size, const char **ret_port)
{
    const char *end = text + size;
    const char *after = memchr(text, ':', size);
    if (size > 0 && text[0] == '[') {
        const char *bracket = memchr(text, ']', size);
        if (bracket == NULL || bracket == text + 1) {
            return false;
        }
        after = bracket + 1;
    } else if (after != NULL && memchr(after + 1, ':', (size_t)(end - after) - 1) != NULL) {
        return false; /* an IPv6 address needs its brackets */
    }
    after = after == NULL ? end : after;
    *ret_host_size = (size_t)(after - text);
    *ret_port = after == end ? end : after + 1;
    return *ret_host_size > 0 && (after == end || (*after == ':' && after + 1 < end));
}

/* rest is `host[:port][/]`. */
static int parse_tcp(const char *rest, struct endpoint *endpoint, struct error *error)
{
    size_t size = strcspn(rest, "/");
    const char *tail = rest + size;
    size_t host_size;
    const char *port_text;
    char digits[8] = {0};
    uint64_t port = endpoint->use_tls ? 2376 : 2375;
    if (strpbrk(rest, "@?# ") != NULL || (tail[0] != '\0' && tail[1] != '\0') ||
        !split_host(rest, size, &host_size, &port_text)) {
        return refuse_tcp(endpoint, error);
    }
    size_t digit_count = (size_t)(rest + size - port_text);
    if (digit_count > 0) {
        memcpy(digits, port_text, digit_count < 6 ? digit_count : 6);
        if (digit_count > 5 || str_parse_u64(digits, &port) != 0 || port == 0 || port > 65535) {
            error_set(error, "'%s': the port must be a number from 1 to 65535", endpoint->url);
            return -EINVAL;
        }
    }
    (void)snprintf(endpoint->base_url, sizeof(endpoint->base_url), "%s://%.*s:%u",
                   endpoint->use_tls ? "https" : "http", (int)host_size, rest, (unsigned)port);
    return 0;
}

int endpoint_parse(const char *url, const struct endpoint_tls *tls, struct endpoint *ret_endpoint,
                   struct error *error)
{
    struct endpoint endpoint = {0};
    if (strlen(url) >= sizeof(endpoint.url)) {
        error_set(error, "the daemon's URL is longer than %zu bytes", sizeof(endpoint.url) - 1);
        return -EINVAL;
    }
    (void)str_copy(endpoint.url, sizeof(endpoint.url), url);
    if (tls != NULL) {
        endpoint.tls = *tls;
    }
    bool has_tls = tls != NULL && (tls->ca[0] != '\0' || tls->cert[0] != '\0' || tls->insecure);
    int rc;
    if (str_starts_with(url, "unix://")) {
        rc = parse_unix(url + 7, &endpoint, error);
    } else if (str_starts_with(url, "tcp://")) {
        endpoint.use_tls = has_tls;
        rc = parse_tcp(url + 6, &endpoint, error);
    } else if (str_starts_with(url, "http://")) {
        rc = parse_tcp(url + 7, &endpoint, error);
    } else if (str_starts_with(url, "https://")) {
        endpoint.use_tls = true;
        rc = parse_tcp(url + 8, &endpoint, error);
    } else {
        error_set(error,
                  "'%s': not a daemon URL that can be used here; use unix:///path, tcp://host:port "
                  "or https://host:port",
                  url);
        rc = -EINVAL;
    }
    if (rc == 0) {
        *ret_endpoint = endpoint;
    }
    return rc;
}
