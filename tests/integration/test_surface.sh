#!/usr/bin/env bash
# What a user and a monitor meet: pages, metrics' form, signals, messages and exit codes.
# shellcheck disable=SC2016,SC2119 # patterns; no arguments are wanted
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
t_begin surface
AGENT=$BIN/log_capturer
fake_start --containers 3 --lines 100 --rate 100 --stderr-every 4

# run_fails STATUS PATTERN ARGS...: the command ends so and says so
run_fails() {
    local expected=$1 pattern=$2 status=0
    shift 2
    timeout 20 "$@" >"$T/out" 2>&1 || status=$?
    assert_eq "$status" "$expected" "exit status of '${*##*/}' ($(head -c 300 "$T/out"))"
    grep -qE -- "$pattern" "$T/out" || fail "'${*##*/}' says: $(head -c 500 "$T/out"); not: $pattern"
}

# ---- commands without an agent
run_fails 0 '^log_capturer [0-9]+\.[0-9]+\.[0-9]+' "$AGENT" version
run_fails 0 '^log_capturer [0-9]+\.[0-9]+\.[0-9]+' "$AGENT" --version
run_fails 0 '^usage: ' "$AGENT" --help
for command in run search tail status doctor health check options man completion version; do
    run_fails 0 "^usage: log_capturer $command" "$AGENT" $command --help
done
run_fails 2 "no command 'rnu'" "$AGENT" rnu
run_fails 2 "unknown flag '--nonsense'" "$AGENT" run --nonsense
run_fails 2 "unknown flag '--nonsense'" "$AGENT" --nonsense
run_fails 2 '--data-dir needs a value' "$AGENT" run --data-dir
run_fails 2 'OPTION=VALUE' "$AGENT" run --set spool.limit
run_fails 1 "unknown.*spool.limt.*spool.limit" "$AGENT" run --data-dir "$T/x" --set spool.limt=1GiB
run_fails 1 "spool.limit" "$AGENT" run --data-dir "$T/x" --set spool.limit=many
run_fails 1 "LOG_CAPTURER_SPOOL_LIMIT" env LOG_CAPTURER_SPOOL_LIMIT=many "$AGENT" check
run_fails 1 "capture.mode" "$AGENT" run --data-dir "$T/x" --listen 127.0.0.1:0 --capture file

# ---- check: line, column, suggestion
check() { # STATUS PATTERN YAML
    printf '%s\n' "$3" >"$T/c.yaml"
    run_fails "$1" "$2" "$AGENT" check -c "$T/c.yaml"
}
check 0 'fine' 'spool: {limit: 4GiB}'
check 1 'c\.yaml:2:3: .*spool\.limti.*spool\.limit' $'spool:\n  limti: 4GiB'
check 1 'c\.yaml:1:16: .*spool\.limit' 'spool: {limit: lots}'
check 1 'c\.yaml:1:1: .*spol' 'spol: {limit: 4GiB}'
check 1 'c\.yaml:3:' $'capture:\n  include:\n    nmae: ["*"]'
check 1 'c\.yaml:1:[0-9]+: .*(text|json|logfmt)' 'output: {format: xml}'
check 1 'c\.yaml:2:' $'spool: {limit: 1GiB\nlog: }'
check 1 'c\.yaml:' $'spool: [1, 2]'
check 1 'c\.yaml:1:' 'docker: [{nam: a, url: unix:///x}]'
check 1 'ftp://x' 'docker: [{name: a, url: "ftp://x"}]'
check 1 'c\.yaml:1:' 'spool: {commit_interval: 5 parsecs}'
printf 'spool: {limt: 1}\nlog: {levle: info}\n' >"$T/c.yaml"
run_fails 1 'spool.limt' "$AGENT" check -c "$T/c.yaml"
assert_eq "$(grep -c 'c.yaml:' "$T/out")" 2 "errors told at once"
run_fails 1 'No such file' "$AGENT" check -c "$T/absent.yaml"
# Flags override the environment, and both the file.
printf 'http: {listen: "127.0.0.1:1"}\nlog: {level: wrong}\n' >"$T/c.yaml"
run_fails 1 'c.yaml:2' "$AGENT" check -c "$T/c.yaml" --set log.level=info

# ---- every option is in `options`, and its environment variable is read
"$AGENT" options >"$T/options"
names=$(sed '/^# Sinks/,$d' "$T/options" | sed -n 's/^| `\([a-z_.]*\)`.*/\1/p')
assert_ge "$(wc -l <<<"$names")" 30 "number of options"
while read -r name; do
    variable=LOG_CAPTURER_$(tr 'a-z.' 'A-Z_' <<<"$name")
    grep -q "\`$variable\`\|\`$variable, " "$T/options" || grep -q "\`$variable\`" "$T/options" ||
        fail "options does not name $variable"
    case $name in
    capture.*clude.* | spool.dir | http.listen) ;; # takes any text
    *) run_fails 1 "$variable" env "$variable=?" "$AGENT" check ;;
    esac
done <<<"$names"

# ---- a daemon that can't be reached is waited for, and why is told
PORT=$(t_free_port)
AGENT_DOCKER_HOST=unix://$T/absent.sock
agent_spawn
readyz_says() { # PATTERN
    [ "$(agent_http /readyz -o "$T/readyz" -w '%{http_code}')" = 503 ] && grep -qE "$1" "$T/readyz"
}
wait_until 20 "the absent socket is told" readyz_says 'absent.sock.*(No such file|no such file)'
grep -q "absent.sock" "$T/agent.log" || fail "the log does not name the absent socket"
assert_eq "$(agent_http /healthz -o /dev/null -w '%{http_code}')" 200 /healthz
agent_stop
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null && getent group daemon >/dev/null; then
    chgrp daemon "$FAKE_SOCKET"
    chmod 660 "$FAKE_SOCKET"
    chmod 711 "$T"
    mkdir "$T/nobody"
    chown nobody "$T/nobody"
    cp "$AGENT" "$T/agent"
    AGENT_DOCKER_HOST=unix://$FAKE_SOCKET
    AGENT_WRAPPER=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    : >"$T/agent.log"
    BIN_KEPT=$BIN
    ln -s agent "$T/log_capturer"
    BIN=$T
    agent_spawn --data-dir "$T/nobody"
    BIN=$BIN_KEPT
    wait_until 20 "the missing permission is told" readyz_says '[Pp]ermission'
    wait_until 5 "the group is told" grep -qE 'group.*daemon|daemon.*group' "$T/agent.log"
    agent_stop
    AGENT_WRAPPER=()
else
    echo "not root: the message of a missing permission was not looked at"
fi
AGENT_DOCKER_HOST=unix://$FAKE_SOCKET

# ---- two agents
agent_start
run_fails 1 "(in use|another|already).*" "$AGENT" run --data-dir "$T/data" --listen 127.0.0.1:0 \
    --docker "$AGENT_DOCKER_HOST" --output none
grep -q "$T/data" "$T/out" || fail "the message does not name the folder: $(cat "$T/out")"
run_fails 1 "$PORT.*in use" "$AGENT" run --data-dir "$T/other" --listen "127.0.0.1:$PORT" \
    --docker "$AGENT_DOCKER_HOST" --output none
run_fails 1 "/proc/nowhere" "$AGENT" run --data-dir /proc/nowhere --listen 127.0.0.1:0 \
    --docker "$AGENT_DOCKER_HOST" --output none
agent_is_ready || fail "the first agent suffered"

# ---- pages
wait_until 20 "lines" metric_ge log_capturer_lines_captured_total 400
code() { agent_http "$1" -o "$T/body" -w '%{http_code} %{content_type}' "${@:2}"; }
[[ $(code /healthz) == "200 application/json"* ]] || fail "/healthz"
jq -e '.status == "ok"' "$T/body" >/dev/null
[[ $(code /readyz) == "200 application/json"* ]] || fail "/readyz"
jq -e '.ready == true and .waiting_for == []' "$T/body" >/dev/null
[[ $(code /api/v1/status) == "200 application/json"* ]] || fail "/api/v1/status"
jq -e --arg url "$AGENT_DOCKER_HOST" '(.version | length > 0) and .ready and .streams_active == 3
    and .spool.state == "writing" and .spool.records > 0 and .spool.bytes > 0
    and (.daemons | length == 1) and .daemons[0].connected and .daemons[0].url == $url
    and .daemons[0].api_version == "1.43" and .daemons[0].containers == 3' "$T/body" >/dev/null ||
    { cat "$T/body"; fail "status"; }
[[ $(code /api/v1/containers) == "200 application/json"* ]] || fail "/api/v1/containers"
jq -e '(.containers | length == 3) and ([.containers[].name] | sort == ["fake-0", "fake-1", "fake-2"])
    and all(.containers[]; .state == "following" and .running and .lines >= 100 and .gaps == 0
        and (.id | length == 64) and .image == "fake/loggen:1" and .log_driver == "json-file"
        and (.last_line_time | test("Z$")))' "$T/body" >/dev/null || { cat "$T/body"; fail "containers"; }
[[ $(code /nowhere) == 404* ]] || fail "/nowhere is not 404"
[[ $(code /metrics -X POST) == 405* ]] || fail "POST is not 405: $(code /metrics -X POST)"
[[ $(code /) == 200* ]] || fail "/ does not answer"
agent_http /metrics -I >/dev/null
timeout 10 bash -c "exec 3<>/dev/tcp/127.0.0.1/$PORT; printf 'GET / HTTP/9.9\r\n\r\n' >&3; cat <&3" \
    >"$T/raw" || true
grep -qE '^HTTP/1.1 (400|505)' "$T/raw" || fail "HTTP/9.9 is answered: $(head -c 100 "$T/raw")"
agent_is_ready || fail "a broken request did harm"

# ---- metrics
agent_http /metrics >"$T/metrics"
[[ $(code /metrics) == "200 text/plain; version=0.0.4"* ]] || fail "type of /metrics"
if command -v promtool >/dev/null; then
    promtool check metrics <"$T/metrics" >"$T/promtool" 2>&1 || { cat "$T/promtool"; fail "promtool"; }
    [ ! -s "$T/promtool" ] || { cat "$T/promtool"; fail "promtool complains"; }
else
    echo "no promtool: the form was not checked"
fi
# shellcheck disable=SC2016 # the backticks are Markdown's
undocumented=$(sed -n 's/^# TYPE \([a-z0-9_]*\) .*/\1/p' "$T/metrics" | while read -r name; do
    grep -qF '`'"$name"'`' "${SOURCE_DIR:-.}/docs/metrics.md" || echo "$name"
done)
assert_eq "$undocumented" "" "metrics that docs/metrics.md lacks"
accept='application/openmetrics-text; version=1.0.0'
[[ $(code /metrics -H "Accept: $accept") == "200 application/openmetrics-text"* ]] ||
    fail "no OpenMetrics"
[ "$(tail -n 1 "$T/body")" = '# EOF' ] || fail "OpenMetrics without # EOF"
grep -q '^# TYPE log_capturer_lines_captured counter' "$T/body" || fail "OpenMetrics names counters otherwise"

# ---- SIGTERM: ends soon, 0, and everything that was counted is on disk
counted=$(metric log_capturer_lines_captured_total)
before=${EPOCHREALTIME/[.,]/}
kill -TERM "$AGENT_PID"
agent_wait 20
assert_eq "$AGENT_STATUS" 0 "exit status after SIGTERM"
echo "SIGTERM took $(((${EPOCHREALTIME/[.,]/} - before) / 1000)) ms"
assert_ge "$(search_json | wc -l)" "$counted" "lines on disk"
captured >/dev/null || fail "missing or doubled lines after SIGTERM"
agent_start
kill -INT "$AGENT_PID"
agent_wait 20
assert_eq "$AGENT_STATUS" 0 "exit status after SIGINT"
# also while the daemon does not answer
fake "hang?endpoint=all&on=1" >/dev/null
agent_spawn
wait_until 20 "not ready with a daemon that hangs" readyz_says .
agent_stop
