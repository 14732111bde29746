/* The agent's pages: /metrics, /healthz, /readyz, /api/v1/status, /api/v1/containers. */
#pragma once

#include "capture/capture.h"
#include "sinks/sinks.h"
#include "net/http.h"
#include "spool/spool.h"
#include "web/exporter.h"
#include "web/httpd.h"

struct pages {
    struct exporter *exporter; /* all borrowed */
    struct capture *capture;
    struct spool *spool;
    struct sinks *sinks;
    struct http_client *http;
    const char *version;
};

/* Their `data` is a struct pages. */
const struct httpd_route *pages_routes(void);
