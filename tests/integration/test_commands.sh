#!/usr/bin/env bash
# The commands that look at a running agent.
# shellcheck disable=SC2119 # no arguments are wanted
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
t_begin commands
AGENT=$BIN/log_capturer

# expect STATUS PATTERN ARGS...: the command ends so, and what it prints matches
expect() {
    local expected=$1 pattern=$2 status=0
    shift 2
    timeout 20 "$AGENT" "$@" >"$T/out" 2>"$T/err" || status=$?
    assert_eq "$status" "$expected" "exit status of '$*' ($(head -c 300 "$T/out" "$T/err"))"
    cat "$T/out" "$T/err" | grep -qE -- "$pattern" ||
        fail "'$*' prints: $(head -c 500 "$T/out" "$T/err"); not: $pattern"
}

fake_start --containers 3 --lines 100 --rate 100
PORT=$(t_free_port)

# ---- health
expect 0 '^usage: log_capturer health' health --help
expect 1 "no agent at http://127.0.0.1:$PORT" health --listen ":$PORT"
expect 2 'http://HOST:PORT' health --url nonsense
expect 1 'names no port' health --listen :0
expect 1 'spool.limit' health --set spool.limit=many
agent_start
expect 0 '^ok$' health --listen "127.0.0.1:$PORT"
[ ! -s "$T/err" ] || fail "health says more than ok: $(cat "$T/err")"
expect 0 '^ok$' health --listen ":$PORT"
expect 0 '^ok$' health --listen "0.0.0.0:$PORT"
expect 0 '^ok$' health --url "http://127.0.0.1:$PORT"
printf 'http: {listen: "127.0.0.1:%s"}\n' "$PORT" >"$T/c.yaml"
expect 0 '^ok$' health -c "$T/c.yaml"
LOG_CAPTURER_HTTP_LISTEN=:$PORT http_proxy=http://127.0.0.1:1 expect 0 '^ok$' health
kill -STOP "$AGENT_PID"
before=${EPOCHREALTIME/[.,]/}
expect 1 'did not answer in time' health --listen ":$PORT"
assert_ge 5000000 $((${EPOCHREALTIME/[.,]/} - before)) "microseconds that health waited"
kill -CONT "$AGENT_PID"
expect 0 '^ok$' health --listen ":$PORT"
