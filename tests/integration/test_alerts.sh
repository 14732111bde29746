#!/usr/bin/env bash
# The alert rules do what alerts_test.yml says, each is tested both ways and has its runbook, and
# rules and dashboard name metrics that docs/metrics.md has.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
t_begin alerts
cd "${SOURCE_DIR:-$(dirname "$0")/../..}"
RULES=docker/prometheus/alerts.yml
TESTS=docker/prometheus/alerts_test.yml
DASHBOARD=docker/grafana/dashboards/log_capturer.json
command -v promtool >/dev/null || t_skip "no promtool (prometheus)"

promtool check config docker/prometheus/prometheus.yml >"$T/out" 2>&1 || { cat "$T/out"; fail "configuration"; }
promtool test rules $TESTS >"$T/out" 2>&1 || { cat "$T/out"; fail "rules"; }

# A rule that never fires does not pass.
mkdir "$T/broken"
sed -E 's/^( +expr: log_capturer_sink_denied == )1/\12/' $RULES >"$T/broken/alerts.yml"
cp $TESTS "$T/broken"
! cmp -s $RULES "$T/broken/alerts.yml" || fail "the planted fault is none"
if promtool test rules "$T/broken/alerts_test.yml" >/dev/null 2>&1; then
    fail "a rule that never fires passes"
fi

# tested ALERT FIRES(0|1): there is such a case
tested() {
    awk -v alert="$1" -v fires="$2" '
        $1 == "-" && $2 == "alertname:" { this = $3 == alert }
        this && /exp_alerts:$/ { found[1] = 1 }
        this && /exp_alerts: \[\]$/ { found[0] = 1 }
        END { exit !found[fires] }' $TESTS
}
alerts=$(sed -n 's/^ *- alert: //p' $RULES)
assert_ge "$(wc -l <<<"$alerts")" 10 "number of alerts"
while read -r alert; do
    tested "$alert" 1 || fail "no case in which $alert fires"
    tested "$alert" 0 || fail "no case in which $alert does not fire"
    grep -qF "runbook: docs/runbooks.md#${alert,,}" $RULES || fail "$alert names no runbook"
    grep -qx "## $alert" docs/runbooks.md || fail "docs/runbooks.md has no section $alert"
done <<<"$alerts"
while read -r section; do
    grep -qx "$section" <<<"$alerts" || fail "docs/runbooks.md: no alert is called $section"
done < <(sed -n 's/^## //p' docs/runbooks.md)

# documented NAME: in docs/metrics.md, as it is or as the histogram that it is a part of
documented() {
    local name
    for name in "$1" "${1%_bucket}" "${1%_sum}" "${1%_count}"; do
        grep -qE "^\| \`$name\` \|" docs/metrics.md && return
    done
    return 1
}
count=0
while read -r name; do
    documented "$name" || fail "docs/metrics.md has no $name"
    count=$((count + 1))
done < <(cat $RULES <(jq -r '.. | .expr?, .definition? | strings' $DASHBOARD) |
    grep -oE '\b(log_capturer|process)_[a-z0-9_]+' | sort -u)
echo "$(wc -l <<<"$alerts") alerts; $count metrics, all documented"
assert_ge "$count" 40 "number of metrics"
