#!/usr/bin/env bash
# The Loki sink against Grafana Loki and VictoriaLogs themselves: every line once by query, with its
# time to the nanosecond and its metadata; down under load, too long a line, rate limits, tenants.
#
# DOWN_S: how long Loki is down under load (10). SERVERS_CACHE: where builds are kept. SHARED_DIR: the
# recipes (servers/loki.sh, servers/victorialogs.sh). Loki takes minutes to build, so it must be in the
# cache; VictoriaLogs is built where it is not.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/integration/sinks.sh
. "$(dirname "$0")/sinks.sh"
t_begin sink_loki_real
: "${DOWN_S:=10}"
: "${SERVERS_CACHE:=/var/cache/log_capturer-servers}"
SHARED=$(cd "$(dirname "$0")/../.." && cd "${SHARED_DIR:-../shared}" 2>/dev/null && pwd) || SHARED=/nonexistent
LOKI_BUILD=$SERVERS_CACHE/loki-v3.5.0
LOGS_BUILD=$SERVERS_CACHE/victorialogs-v1.110.0
[ -x "$SHARED/servers/loki.sh" ] || t_skip "no recipe servers/loki.sh in SHARED_DIR (${SHARED_DIR:-../shared})"
[ -x "$LOKI_BUILD/loki" ] || t_skip "no Loki in $LOKI_BUILD; $SHARED/servers/loki.sh install $LOKI_BUILD builds it"
if [ ! -x "$LOGS_BUILD/victoria-logs" ]; then
    building=$(mktemp -d "$LOGS_BUILD.XXXXXX") || t_skip "no place for VictoriaLogs in $SERVERS_CACHE"
    "$SHARED/servers/victorialogs.sh" install "$building" ||
        { rm -rf "$building"; t_skip "VictoriaLogs can't be built"; }
    rm -rf "$LOGS_BUILD"
    mv "$building" "$LOGS_BUILD"
fi

# A port whose neighbour is free too.
two_ports() {
    local port
    while port=$(t_free_port); do
        ! t_port_is_free $((port + 1)) || break
    done
    echo "$port"
}
REAL_PORT=$(two_ports)
REAL=http://127.0.0.1:$REAL_PORT
mkdir "$T/loki" "$T/logs"
ln -s "$LOKI_BUILD/loki" "$T/loki/loki"
ln -s "$LOGS_BUILD/victoria-logs" "$T/logs/victoria-logs"

# real_start [VARIABLE=VALUE...]: Loki with these variables of its recipe; its data stay over restarts.
real_start() {
    env "$@" "$SHARED/servers/loki.sh" start "$T/loki" "$REAL_PORT" >>"$T/loki.log" 2>&1 9>&- &
    REAL_PID=$!
    T_PIDS+=("$REAL_PID")
    wait_until 60 "Loki is ready" "$SHARED/servers/loki.sh" ready "$REAL_PORT"
}
real_stop() {
    kill -TERM "$REAL_PID"
    wait_until 60 "Loki has ended" t_has_ended "$REAL_PID"
    { wait "$REAL_PID" || true; } 2>/dev/null
    t_forget "$REAL_PID"
}

# all_of TENANT SELECTOR: every entry that Loki gives for it, page by page in time order, as objects
# that oracle reads. Entries of one page's last nanosecond come again on the next; they are told
# apart by what they say.
all_of() {
    local from=$1 tenant=$2 selector=$3 page=$T/page.json count
    : >"$T/all.jsonl"
    while :; do
        curl -sS -f --max-time 60 -G "$REAL/loki/api/v1/query_range" -H "X-Scope-OrgID: $tenant" \
            --data-urlencode "query=$selector" --data-urlencode "start=$from" \
            --data-urlencode "end=$END_NS" --data-urlencode limit=5000 \
            --data-urlencode direction=forward >"$page" || return 1
        jq -c '.data.result[] | .stream as $s | .values[] | {time_ns: .[0],
            container: {id: $s.container_id}, stream: $s.stream, name: $s.container,
            image: $s.image, line: .[1]}' "$page" | sort -u >"$T/page.jsonl"
        count=$(wc -l <"$T/page.jsonl")
        [ "$count" -gt 0 ] || break
        cat "$T/page.jsonl" >>"$T/all.jsonl"
        from=$(jq -r .time_ns "$T/page.jsonl" | sort -n | tail -n 1)
        [ "$count" -ge 5000 ] || break
    done
}
# Pages overlap in one nanosecond; this tells what Loki itself has twice.
counted() { # SELECTOR
    curl -sS -f --max-time 60 -G "$REAL/loki/api/v1/query" -H "X-Scope-OrgID: ${TENANT:-fake}" \
        --data-urlencode "query=sum(count_over_time($1[24h]))" \
        --data-urlencode "time=$END_NS" | jq -r '.data.result[0].value[1] // "0"'
}
counted_is() { [ "$(END_NS=$(date +%s%N) && counted "$1")" = "$2" ]; }
# stored SELECTOR: all captured lines are there, once each, with time, metadata and stream.
stored() {
    END_NS=$(($(date +%s%N) + 1000000000))
    all_of $((END_NS - 24 * 3600 * 1000000000)) "${TENANT:-fake}" "$1"
    jq -c '{time_ns, c: .container.id, s: .stream, n: .name, i: .image, l: .line}' "$T/all.jsonl" |
        sort -u >"$T/there.jsonl"
    search_json | jq -c 'def ns: capture("^(?<s>[^.]*)\\.(?<f>[0-9]*)Z$") |
            ((.s + "Z" | fromdate | tostring) + .f);
        {time_ns: (.time | ns), c: .container.id, s: .stream, n: .container.name,
         i: .container.image, l: .line}' | grep -v "$TOO_LONG" | sort -u >"$T/wanted.jsonl"
    assert_ge "$(wc -l <"$T/wanted.jsonl")" 1000 "lines to compare"
    cmp "$T/wanted.jsonl" "$T/there.jsonl" || {
        diff "$T/wanted.jsonl" "$T/there.jsonl" | cut -c 1-200 | head -n 5
        fail "what Loki has is not what was captured"
    }
    assert_eq "$(counted "$1")" "$(wc -l <"$T/wanted.jsonl")" "entries that Loki counts"
}
TOO_LONG=tooooooooooooooooooooolong

# ---- both, under load; Loki down and back
fake_start --containers 3 --lines 2000 --stderr-every 3
real_start "LOKI_LIMITS=max_line_size: 20KB, max_entries_limit_per_query: 5000, ingestion_rate_mb: 100, ingestion_burst_size_mb: 100, per_stream_rate_limit: 100MB, per_stream_rate_limit_burst: 100MB"
LOGS_PORT=$(two_ports)
"$SHARED/servers/victorialogs.sh" start "$T/logs" "$LOGS_PORT" >"$T/logs.log" 2>&1 9>&- &
T_PIDS+=($!)
wait_until 30 "VictoriaLogs is ready" "$SHARED/servers/victorialogs.sh" ready "$LOGS_PORT"
cat >"$T/config.yaml" <<EOF
output: {format: none}
sinks:
  loki: {type: loki, url: "$REAL", labels: [container, stream], retry_limit: 1s, batch_age: 200ms}
  logs: {type: loki, url: "http://127.0.0.1:$LOGS_PORT/insert/loki/api/v1/push", batch_age: 200ms}
EOF
agent_start -c "$T/config.yaml"
fake "rate?rate=1000" >/dev/null
wait_until 20 "lines in Loki" metric_ge 'log_capturer_sink_lines_delivered_total{sink="loki"}' 6000
real_stop
wait_until 20 "Loki is missed" sink_is loki open
sleep "$DOWN_S" # under load, as long as asked for
wait_until 20 "lines wait" sink_lag_ge loki 3000
assert_eq "$(sink_status logs state)" running "VictoriaLogs' sink"
real_start "LOKI_LIMITS=max_line_size: 20KB, max_entries_limit_per_query: 5000, ingestion_rate_mb: 100, ingestion_burst_size_mb: 100, per_stream_rate_limit: 100MB, per_stream_rate_limit_burst: 100MB"
wait_until 30 "it delivers again" sink_is loki running
fake "rate?rate=0" >/dev/null
settled() {
    agent_http /api/v1/status | jq -e 'all(.sinks[]; .lag_lines == 0)' >/dev/null &&
        want_all && captured_quietly "${WANTED[@]}"
}
wait_until 60 "all is delivered" settled
stored '{container=~".+"}'
echo "Loki: $(wc -l <"$T/there.jsonl") lines, down for $DOWN_S s"

# ---- lines that nobody has to like: one too long for this Loki, NUL, not UTF-8, empty
{
    printf 'before\n'
    printf '%s' "$TOO_LONG"
    head -c 30000 /dev/zero | tr '\0' x
    printf '\nafter\n'
} >"$T/odd"
fake "emit?container=fake-0" --data-binary "@$T/odd" >/dev/null
wait_until 30 "the long line is put aside" metric_eq \
    'log_capturer_sink_dead_letters_total{sink="loki"}' 1
dead_letters loki | jq -e --arg text "$TOO_LONG" '(.record.line | startswith($text)) and
    .status == 400 and (.reason | test("max entry size"; "i"))' >/dev/null || fail "$(dead_letters loki | cut -c 1-300)"
wait_until 60 "all is delivered" settled
stored '{container=~".+"}'

# ---- VictoriaLogs has the same
logs_query() {
    curl -sS -f --max-time 60 "http://127.0.0.1:$LOGS_PORT/select/logsql/query" \
        --data-urlencode "query=$1" --data-urlencode limit="${2:-1000000}"
}
logs_compare() {
    logs_query '*' | jq -c '{t: ._time, c: .container_id, s: .stream, n: .container, i: .image,
        l: ._msg}' | sort >"$T/logs.there"
    search_json | jq -c '{t: .time, c: .container.id, s: .stream, n: .container.name,
        i: .container.image, l: .line}' | sort >"$T/logs.wanted"
    [ "$(wc -l <"$T/logs.there")" = "$(wc -l <"$T/logs.wanted")" ]
}
wait_until 30 "VictoriaLogs has as many lines" logs_compare
# It writes times without the zeros at their end.
trim() { sed -E 's/("t":"[^"]*\.[0-9]*[1-9])0+Z"/\1Z"/; s/("t":"[^".]*)\.0+Z"/\1Z"/' "$1" | sort; }
cmp <(trim "$T/logs.wanted") <(trim "$T/logs.there") || {
    diff <(trim "$T/logs.wanted") <(trim "$T/logs.there") | cut -c 1-200 | head -n 5
    fail "what VictoriaLogs has is not what was captured"
}
echo "VictoriaLogs: $(wc -l <"$T/logs.there") lines"
agent_stop
real_stop

# ---- a rate limit far below the load: nothing is dropped, no dead letter
rm -rf "$T/data" "$T/loki/data"
fake destroy >/dev/null
fake "create?name=limited&lines=6000&stderr-every=3" >/dev/null
real_start "LOKI_LIMITS=ingestion_rate_mb: 0.2, ingestion_burst_size_mb: 0.1, max_entries_limit_per_query: 5000"
cat >"$T/config.yaml" <<EOF
output: {format: none}
sinks: {loki: {type: loki, url: "$REAL", labels: [container, stream], retry_limit: 1s, batch_age: 200ms}}
EOF
agent_start -c "$T/config.yaml"
wait_until 60 "the limit is felt" metric_ge \
    'log_capturer_sink_sends_total{sink="loki",verdict="retry"}' 3
wait_until 90 "all is delivered" settled
stored '{container=~".+"}'
assert_eq "$(metric log_capturer_sink_dead_letters_total)" 0 "dead letters"
echo "rate limit: $(metric 'log_capturer_sink_sends_total{sink="loki",verdict="retry"}') answers 429"
agent_stop
real_stop

# ---- tenants: without one held, mended by SIGHUP
rm -rf "$T/data" "$T/loki/data"
real_start LOKI_AUTH=true "LOKI_LIMITS=max_entries_limit_per_query: 5000"
agent_start -c "$T/config.yaml"
wait_until 20 "denied without a tenant" sink_is loki denied
assert_eq "$(agent_http /readyz -o "$T/ready.json" -w '%{http_code}')" 200 "/readyz while denied"
jq -e '.sink_problems[0] | contains("401")' "$T/ready.json" >/dev/null || fail "$(cat "$T/ready.json")"
sed -i 's/type: loki,/type: loki, tenant: team-7,/' "$T/config.yaml"
reload
wait_until 60 "all is delivered" settled
TENANT=team-7 stored '{container=~".+"}'
assert_eq "$(TENANT=team-8 counted '{container=~".+"}')" 0 "lines at another tenant"
agent_stop
