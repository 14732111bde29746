/* The agent's pages: /metrics, /healthz, /readyz, /api/v1/status, /api/v1/containers,
 * /api/v1/tail. */
#pragma once

#include "capture/capture.h"
#include "net/http.h"
#include "sinks/sinks.h"
#include "spool/spool.h"
#include "web/exporter.h"
#include "web/httpd.h"
#include "web/live_tail.h"

struct pages {
    struct exporter *exporter; /* all borrowed */
    struct capture *capture;
    struct spool *spool;
    struct sinks *sinks;
    struct http_client *http;
    struct live_tail *live_tail;
    const char *version;
};

/* Their `data` is a struct pages. */
const struct httpd_route *pages_routes(void);
