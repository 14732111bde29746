/* What `container_pool serve` is made of. Loop thread only. */
#pragma once

#include "containers/container_pool.h"
#include "options.h"
#include "pools/pool_request.h"
#include "web/exporter.h"
#include "web/httpd.h"

#define LEASE_SIZE 17 /* 16 hexadecimal digits of chance, and a NUL */

struct server {
    const struct options *options;
    struct loop *loop;
    struct metrics *metrics;
    struct exporter *exporter;
    struct http_client *http;
    struct container_pool *pool;
    struct pool_mailbox *mailbox;
    struct httpd *httpd;
    struct list acquisitions; /* that wait, and that hold */
    bool closing;
    size_t left; /* containers, at the end */
};

extern const struct httpd_route api_routes[];
/* All containers that are held go back, and who waits is told so. */
void api_finish(struct server *server);
