#!/usr/bin/env bash
# Every query of the dashboard, of panels and of variables, gives a number from a real Prometheus that scrapes an
# agent at work.
# shellcheck disable=SC2016 # $instance and the like are the dashboard's
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
t_begin dashboard
DASHBOARD=${SOURCE_DIR:-$(dirname "$0")/../..}/docker/grafana/dashboards/log_capturer.json
command -v prometheus >/dev/null || t_skip "no prometheus (prometheus)"

# ---- an agent at work
cat >"$T/config.yaml" <<END
sinks:
  archive: {type: file, path: "$T/archive/{container.name}.log", format: json}
  central: {type: loki, url: "http://127.0.0.1:1"} # nobody is there
END
fake_start --containers 5 --lines 100 --rate 50 --stderr-every 4
agent_start -c "$T/config.yaml"

# ---- Prometheus
PROMETHEUS=http://127.0.0.1:$(t_free_port)
cat >"$T/prometheus.yml" <<END
global: {scrape_interval: 1s}
scrape_configs: [{job_name: log_capturer, static_configs: [{targets: ["127.0.0.1:$PORT"]}]}]
END
prometheus --config.file="$T/prometheus.yml" --storage.tsdb.path="$T/tsdb" --log.level=warn \
    --web.listen-address="${PROMETHEUS#http://}" >"$T/prometheus.log" 2>&1 9>&- &
T_PIDS+=("$!")
wait_until 30 "Prometheus is ready" curl -sf --max-time 5 "$PROMETHEUS/-/ready" -o /dev/null

# prometheus_get PATH NAME=VALUE...
prometheus_get() {
    local path=$1 arguments=() argument
    shift
    for argument in "$@"; do
        arguments+=(--data-urlencode "$argument")
    done
    curl -sS --max-time 10 -G "$PROMETHEUS$path" "${arguments[@]}"
}

# filled QUERY: as Grafana fills it in
filled() {
    local query=$1
    query=${query//'$__rate_interval'/10s}
    query=${query//'$__range'/1m}
    query=${query//'$instance'/.*}
    query=${query//'$container'/.*}
    [[ $query != *'$'* ]] || fail "a variable is not known here: $query"
    printf '%s' "$query"
}

# gives_numbers EXPRESSION: at least one series, and not only NaN
gives_numbers() {
    prometheus_get /api/v1/query "query=$(filled "$1")" >"$T/answer"
    jq -e '.status == "success" and any(.data.result[]; .value[1] != "NaN")' "$T/answer" >/dev/null
}

# gives_values 'label_values(SELECTOR, LABEL)'
gives_values() {
    local selector label
    [[ $1 =~ ^label_values\((.*),\ *([a-z_]+)\)$ ]] || fail "not understood: $1"
    selector=${BASH_REMATCH[1]} label=${BASH_REMATCH[2]}
    prometheus_get "/api/v1/label/$label/values" "match[]=$(filled "$selector")" >"$T/answer"
    jq -e '.status == "success" and (.data | length > 0)' "$T/answer" >/dev/null
}

# ---- the queries: "panel|variable TAB title TAB query"
jq -r '.. | objects | select(has("targets")) | .title as $title | .targets[]
    | ["panel", $title, .expr] | @tsv' "$DASHBOARD" >"$T/queries"
jq -r '.templating.list[] | select(.type == "query") | ["variable", .name, .definition] | @tsv' \
    "$DASHBOARD" >>"$T/queries"
panels=$(jq '[.. | objects | select(has("gridPos") and .type != "row")] | length' "$DASHBOARD")
assert_eq "$(jq '[.. | objects | select(has("gridPos") and .type != "row")
    | select((.targets // []) | length > 0)] | length' "$DASHBOARD")" "$panels" "panels with a query"
assert_ge "$panels" 30 "number of panels"
grep -q '^variable' "$T/queries" || fail "no variable has a query"

# What has no data is told from what has.
! gives_numbers 'log_capturer_no_such_metric' || fail "a query without data passes"
! gives_numbers 'log_capturer_loop_sources * NaN' || fail "a query of NaN passes"
wait_until 30 "the agent is scraped" gives_numbers 'rate(log_capturer_lines_captured_total[10s]) > 0'

# all_give_something: what gives nothing stays in $T/empty, and only that is asked for again
all_give_something() {
    local kind title query
    mv "$T/empty" "$T/asked"
    : >"$T/empty"
    while IFS=$'\t' read -r kind title query; do
        query=${query//\\\\/\\}
        if [ "$kind" = panel ]; then
            gives_numbers "$query"
        else
            gives_values "$query"
        fi || printf '%s\t%s\t%s\n' "$kind" "$title" "$query" >>"$T/empty"
    done <"$T/asked"
    [ ! -s "$T/empty" ]
}
cp "$T/queries" "$T/empty"
deadline=$((SECONDS + 30 * LIMIT_SCALE)) # some rates need a second sample of something rare
until all_give_something || [ $SECONDS -ge $deadline ]; do
    sleep 0.5
done
if [ -s "$T/empty" ]; then
    cat "$T/empty"
    fail "$(wc -l <"$T/empty") of $(wc -l <"$T/queries") queries are empty"
fi
echo "$panels panels, $(wc -l <"$T/queries") queries"
agent_stop
