/* Lines for `grep "Pool Metrics"` and `grep "Manager Metrics"`. */
#include "base/log.h"
#include "base/timestamp.h"
#include "pools/upstream_claim.h"
#include "server.h"

struct totals {
    size_t backends, up;
    uint64_t least, most; /* connections, of one backend per its weight */
    uint64_t failures;
    uint32_t limit;
};

static double share(uint64_t part, uint64_t whole)
{
    return whole == 0 ? 0 : 100.0 * (double)part / (double)whole;
}

static void report_pool(const struct backend_status *status, void *data)
{
    struct totals *totals = data;
    uint64_t per_weight = status->chosen / status->weight;
    totals->least = totals->backends == 0 || per_weight < totals->least ? per_weight
                                                                        : totals->least;
    totals->most = per_weight > totals->most ? per_weight : totals->most;
    totals->backends++;
    totals->up += status->state[0] == 'u';
    totals->failures += status->failures;
    log_info("Pool Metrics backend=%s state=%s active=%u idle=%u utilization=%.1f%% chosen=%llu "
             "created=%llu reused=%.1f%% failures=%llu health_checks=%llu health_success=%.1f%% "
             "connect_ms=%.3f lifetime_s=%.1f",
             status->name, status->state, status->active, status->idle,
             share(status->active, totals->limit), (unsigned long long)status->chosen,
             (unsigned long long)status->created, share(status->reused, status->acquired),
             (unsigned long long)status->failures, (unsigned long long)status->checks,
             share(status->checks - status->check_failures, status->checks), status->connect_ms,
             status->lifetime_s);
}

static double per_second(uint64_t now, uint64_t before)
{
    return (double)(now - before) / 10.0;
}

void report_metrics(struct server *server)
{
    struct totals totals = {.limit = (uint32_t)server->options.max_connections};
    struct relay_stats now;
    const struct relay_stats *before = &server->reported;
    uint64_t refused = 0;
    relay_get_stats(server->relay, &now);
    upstream_status(server->upstream, report_pool, &totals);
    for (int why = 0; why < RELAY_REFUSALS; why++) {
        refused += now.refused[why];
    }
    double middle = (double)(totals.least + totals.most) / 2;
    log_info("Manager Metrics backends=%zu up=%zu strategy=%s clients=%u waiting=%u accepted=%llu "
             "accepted_per_s=%.1f relayed=%llu refused=%llu cut=%llu kept=%llu "
             "mb_per_s=%.2f spliced=%.1f%% spread=%.1f%% failures=%llu",
             totals.backends, totals.up, server->options.strategy, now.clients,
             upstream_waiting(server->upstream), (unsigned long long)now.accepted,
             per_second(now.accepted, before->accepted), (unsigned long long)now.relayed,
             (unsigned long long)refused, (unsigned long long)now.cut, (unsigned long long)now.kept,
             per_second(now.bytes[0] + now.bytes[1], before->bytes[0] + before->bytes[1]) / 1e6,
             share(now.spliced_bytes, now.bytes[0] + now.bytes[1]),
             middle > 0 ? 100 * ((double)totals.most - middle) / middle : 0,
             (unsigned long long)totals.failures);
    server->reported = now;
}
