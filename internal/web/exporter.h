/*
 * The exporter: /metrics, in the Prometheus text format or OpenMetrics as Accept asks, and the
 * process's own metrics. Loop thread only.
 */
#pragma once

#include "base/json.h"
#include "base/metrics.h"
#include "web/httpd.h"

struct exporter;

/* version goes into log_capturer_build_info. Registers what Prometheus clients call process_*. */
int exporter_create(struct metrics *metrics, const char *version, struct exporter **ret_exporter)
    __attribute__((warn_unused_result));
void exporter_destroy(struct exporter *exporter);
int exporter_answer(struct exporter *exporter, const struct httpd_request *request,
                    struct httpd_response *response);
/* Members of an open JSON object: what the process uses. */
void exporter_put_process(const struct exporter *exporter, struct json_writer *writer);
