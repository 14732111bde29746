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

has_no_colour() { # FILE
    if grep -q $'\033' "$1"; then
        fail "colour, which nobody asked for: $(head -c 300 "$1" | cat -v)"
    fi
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

# ---- status
wait_until 20 "lines" metric_ge log_capturer_lines_captured_total 300
expect 0 'at http://127.0.0.1:.*: ready' status --listen ":$PORT"
has_no_colour "$T/out"
grep -qE '^  streams +3 open; containers: 3 following$' "$T/out" || fail "streams: $(cat "$T/out")"
grep -qE '^  fake-1 +following +[1-9]' "$T/out" || fail "containers: $(cat "$T/out")"
grep -qE '^  local +connected +1\.43 ' "$T/out" || fail "daemons: $(cat "$T/out")"
expect 0 '"ready":true' status --listen ":$PORT" -o json
jq -e '.pool.requests > 0 and .pool.open >= 3 and .process.threads >= 2 and .process.open_fds > 5
    and .spool.limit_bytes == 2147483648' "$T/out" >/dev/null || fail "json: $(cat "$T/out")"
expect 1 'no agent' status --listen ":$(t_free_port)"
expect 2 'FORMAT' status -o xml
expect 2 'SECONDS' status --watch=never
"$AGENT" status --listen ":$PORT" --watch=1 >"$T/watch" 2>&1 &
watcher=$!
T_PIDS+=("$watcher")
wait_until 20 "rates" grep -qE '[1-9][0-9,.]* lines/s' "$T/watch"
kill -INT "$watcher"
status=0
wait "$watcher" || status=$?
assert_eq "$status" 0 "exit status of status --watch after SIGINT"
if command -v script >/dev/null; then
    timeout -s KILL 20 script -qec "stty rows 12 cols 60; timeout -s INT 3 '$AGENT' status --listen :$PORT --watch=1" \
        "$T/screen" >/dev/null </dev/null || true
    grep -q $'\033\[?1049h' "$T/screen" || fail "no second screen"
    grep -q $'\033\[?25h\033\[?1049l' "$T/screen" || fail "the screen is not given back"
    grep -q $'\033\[32m' "$T/screen" || fail "no colour on a terminal"
    NO_COLOR=1 script -qec "'$AGENT' status --listen :$PORT" "$T/screen" >/dev/null </dev/null
    has_no_colour "$T/screen"
fi

# ---- tail
numbers() { jq -r .line "$1" | awk '{ print $3 }'; } # of lines of loggen's form
is_gapless() { awk 'NR > 1 && $1 != last + 1 { exit 1 } { last = $1 }' <<<"$(numbers "$1")"; }
has_lines() { [ "$(wc -l <"$1")" -ge "$2" ]; }
expect 0 '^usage: log_capturer tail' tail --help
expect 1 'no agent' tail --listen ":$(t_free_port)"
expect 2 'stdout and stderr' tail --listen ":$PORT" --stream out
expect 2 'Unmatched' tail --listen ":$PORT" --regex '('
expect 2 'unknown flag' tail --since 1h
tail_start() { # NAME ARGS...: sets TAIL_PID; prints to $T/NAME and $T/NAME.err
    local name=$1
    shift
    "$AGENT" tail --listen ":$PORT" "$@" >"$T/$name" 2>"$T/$name.err" &
    TAIL_PID=$!
    T_PIDS+=("$TAIL_PID")
}
tail_end() {
    local status=0
    kill -INT "$TAIL_PID"
    wait "$TAIL_PID" || status=$?
    t_forget "$TAIL_PID"
    assert_eq "$status" 0 "exit status of tail after SIGINT"
}
tail_start text -n 3 --container fake-1 'fake-1 o'
wait_until 20 "lines of text" has_lines "$T/text" 20
tail_end
assert_eq "$(grep -cvE '^fake-1 +\| fake-1 o [0-9]+ ' "$T/text" || true)" 0 "other lines"
has_no_colour "$T/text"
"$AGENT" search --data-dir "$T/data" --container fake-1 >"$T/search"
grep -qF -- "$(tail -n 1 "$T/text")" "$T/search" || fail "tail prints otherwise than search"

# The agent is killed and comes back: no line twice, none missing.
tail_start json -o json --container fake-0 -n 5
wait_until 20 "lines" has_lines "$T/json" 10
agent_kill
wait_until 20 "the agent is missed" grep -q 'went away' "$T/json.err"
agent_start
wait_until 20 "the agent is back" grep -q 'is back' "$T/json.err"
before=$(wc -l <"$T/json")
wait_until 20 "more lines" has_lines "$T/json" $((before + 200))
tail_end
is_gapless "$T/json" || fail "lines twice or missing: $(numbers "$T/json" | tr '\n' ' ' | head -c 500)"
assert_eq "$(wc -l <"$T/json.err")" 2 "messages"

# The reader goes: tail ends by itself.
timeout 20 "$AGENT" tail --listen ":$PORT" -o logfmt | head -n 3 >"$T/head" || fail "EPIPE: $?"
has_lines "$T/head" 3 || fail "head got less"

# Many are opened and aborted, also over the API: no descriptor and no thread stays.
wait_until 20 "no tail" metric_eq log_capturer_tails 0
fds_before=$(agent_fds)
threads_before=$(agent_threads)
for ((i = 0; i < 60; i++)); do
    agent_http '/api/v1/tail?lines=50' -s -N --max-time 0.0$((i % 9 + 1)) -o /dev/null 2>/dev/null || true
done
wait_until 20 "all tails ended" metric_eq log_capturer_tails 0
fds_are() { [ "$(agent_fds)" -le "$1" ] && [ "$(agent_threads)" -le "$2" ]; }
wait_until 20 "descriptors and threads as before" fds_are "$fds_before" "$threads_before"

# SIGTERM with an open tail ends the agent as soon as without.
tail_start open
wait_until 20 "lines" has_lines "$T/open" 10
before=${EPOCHREALTIME/[.,]/}
agent_stop
assert_ge 4000000 $((${EPOCHREALTIME/[.,]/} - before)) "microseconds that SIGTERM took"
tail_end
