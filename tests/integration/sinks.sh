# shellcheck shell=bash
# Helpers of the tests of sinks, on top of lib.sh: a fake Loki, the sinks' status, what arrived.

LOKI_PORT=''
LOKI_PID=''

loki_is_ready() {
    kill -0 "$LOKI_PID" || fail "fake_loki has ended by itself"
    grep -q '^ready' "$T/fake_loki.log"
}

# loki_start [ARGS...]: fake_loki on LOKI_PORT; without ARGS what it takes is appended to
# $T/taken.jsonl. LOKI_WRAPPER=(taskset ...) is put before the command.
loki_start() {
    [ $# -gt 0 ] || set -- --out "$T/taken.jsonl"
    [ -n "$LOKI_PORT" ] || LOKI_PORT=$(t_free_port)
    touch "$T/taken.jsonl"
    : >"$T/fake_loki.log"
    ${LOKI_WRAPPER[@]+"${LOKI_WRAPPER[@]}"} "$BIN/fake_loki" --port "$LOKI_PORT" "$@" \
        >>"$T/fake_loki.log" 2>&1 9>&- &
    LOKI_PID=$!
    T_PIDS+=("$LOKI_PID")
    wait_until 10 "fake_loki is ready" loki_is_ready
}

loki_stop() {
    kill -TERM "$LOKI_PID" || fail "fake_loki has ended by itself"
    wait_until 10 "fake_loki has ended" t_has_ended "$LOKI_PID"
    { wait "$LOKI_PID" || true; } 2>/dev/null
    t_forget "$LOKI_PID"
}

# loki 'VERB?PARAMETERS': as in tests/support/tools/fake_loki.c.
loki() {
    curl -sS -f --max-time 10 -X POST "http://127.0.0.1:$LOKI_PORT/_fake/$1"
}

loki_stat() {
    loki stats | jq "$1"
}

# loki_stat_ge NAME NUMBER: a condition for wait_until.
loki_stat_ge() {
    local value
    value=$(loki_stat "$1") && [ "$value" -ge "$2" ]
}

# sink_status NAME MEMBER
sink_status() {
    agent_http /api/v1/status | jq -r --arg name "$1" ".sinks[] | select(.name == \$name).$2"
}

# sink_is NAME STATE, sink_lag_is NAME LINES, sink_lag_ge NAME LINES: conditions for wait_until.
sink_is() {
    [ "$(sink_status "$1" state)" = "$2" ]
}

sink_lag_is() {
    [ "$(sink_status "$1" lag_lines)" = "$2" ]
}

sink_lag_ge() {
    [ "$(sink_status "$1" lag_lines)" -ge "$2" ]
}

# taken PATH ORACLE-ARGS...: what fake_loki took at this path, judged.
taken() {
    local path=$1
    shift
    grep -F "{\"path\":\"$path/loki/api/v1/push\"" "$T/taken.jsonl" | "$BIN/oracle" "$@"
}

taken_quietly() {
    taken "$@" --quiet >/dev/null
}

# dead_letters NAME: its dead letters, one a line; nothing when there are none.
dead_letters() {
    cat "$T/data/sinks/$1.dead.jsonl" 2>/dev/null || true
}

# config <<EOF: the file that agents are started with (-c "$T/config.yaml").
config() {
    cat >"$T/config.new"
    mv "$T/config.new" "$T/config.yaml" # an agent never reads half of it
}

# reload: SIGHUP, and waits until it is taken.
reload() {
    local before
    before=$(metric log_capturer_config_reloads_total)
    kill -HUP "$AGENT_PID"
    wait_until 10 "the reload" metric_eq log_capturer_config_reloads_total $((before + 1))
}

# want_all: what the fake containers have written until now, as --expect arguments in WANTED.
want_all() {
    local name out err
    WANTED=()
    while read -r name out err; do
        [ "$out" -eq 0 ] || WANTED+=(--expect "$name:o:1-$out")
        [ "$err" -eq 0 ] || WANTED+=(--expect "$name:e:1-$err")
    done < <(fake show | jq -r '.list[] | "\(.name) \(.out) \(.err)"')
    [ ${#WANTED[@]} -gt 0 ]
}

# arrived PATH ORACLE-ARGS...: waits until all that the containers have written is at PATH; prints
# the oracle's total.
arrived() {
    local path=$1
    shift
    want_all || fail "the fake containers have written nothing"
    wait_until 60 "all lines at $path" taken_quietly "$path" "${WANTED[@]}" "$@"
    taken "$path" "${WANTED[@]}" "$@" --quiet
}
