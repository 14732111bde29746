#!/usr/bin/env bash
# The tcp sink: lines over two targets, one that goes away and comes back, one that stops reading, TLS, a kill.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
t_begin sink_tcp
command -v socat >/dev/null || t_skip "no socat"

FIRST=$(t_free_port)
SECOND=$(t_free_port)

sink_out() {
    agent_http /api/v1/status | jq -r '.sinks[] | select(.name == "out") | .'"$1"
}
out_is() { [ "$(sink_out "$1")" = "$2" ]; }
port_listens() { ! t_port_is_free "$1"; }

# target NAME PORT [OPTIONS]: appends what comes to $T/NAME
target() {
    socat -u "${3:-TCP-LISTEN}:$2,bind=127.0.0.1,reuseaddr,fork${4:+,$4}" "OPEN:$T/$1,creat,append" 2>>"$T/socat.log" 9>&- &
    TARGET_PID=$!
    T_PIDS+=("$TARGET_PID")
    wait_until 10 "a target listens on $2" port_listens "$2"
}
end_target() { # PID: with its connections
    pkill -KILL -P "$1" || true
    kill -KILL "$1"
    wait_until 10 "the target is gone" t_has_ended "$1"
    t_forget "$1"
}

# lines NAME...: how many different lines of the containers came to these targets, whole.
lines() {
    local name
    for name in "$@"; do cat "$T/$name"; done | jq -Rr 'fromjson? | .container.name + " " + .line' | sort -u | wc -l
}
lines_are() { # NUMBER NAME...
    local number=$1
    shift
    [ "$(lines "$@")" -eq "$number" ]
}
emit() { # NUMBER
    fake "emit?container=fake-0&n=$1" >/dev/null
}

fake_start --containers 2 --lines 300
target first "$FIRST"
first=$TARGET_PID
target second "$SECOND"
second=$TARGET_PID

# ---- both get their share, in whole lines
agent_start --set sinks.out.type=tcp --set "sinks.out.addresses=127.0.0.1:$FIRST,localhost:$SECOND" \
    --set sinks.out.batch_lines=20
wait_until 20 "all lines" lines_are 600 first second
assert_eq "$(cat "$T/first" "$T/second" | wc -l)" 600 "lines, none twice"
assert_ge "$(lines first)" 100 "lines of the first"
assert_ge "$(lines second)" 100 "lines of the second"
for name in fake-0 fake-1; do
    cat "$T/first" "$T/second" | grep -F "\"$name\"" | sort | cmp - <(search_json --container "$name" | sort)
done
metric_ge 'log_capturer_sink_connections{sink="out"}' 1 || fail "no open connection is counted"
metric_ge 'log_capturer_pool_reused_total{pool="out/127.0.0.1:'"$FIRST"'"}' 1 ||
    metric_ge 'log_capturer_upstream_chosen_total' 2 || fail "the pools count nothing: $(agent_http /metrics | grep -E 'upstream|pool_' | head -20)"

# ---- one is killed: the other gets all; it comes back and has its share again
end_target "$second"
emit 400
wait_until 30 "the lines of one target" lines_are 1000 first second
out_is state running || fail "state $(sink_out state)"
target second "$SECOND"
second=$TARGET_PID
before=$(lines second)
gets_more() { emit 20 && [ "$(lines second)" -gt "$before" ]; }
wait_until 60 "the second target gets lines again" gets_more

# ---- both are gone: nothing is lost
end_target "$first"
end_target "$second"
emit 500
retries() { ! out_is state running && [ "$(sink_out lag_lines)" -ge 500 ]; }
wait_until 30 "it retries" retries
agent_http /readyz | grep -q 127.0.0.1 || fail "the reason is not told: $(agent_http /readyz)"
target first "$FIRST"
first=$TARGET_PID
waited_came() { lines_are "$(search_json | wc -l)" first second; }
wait_until 60 "the lines that waited" waited_came
out_is state running || fail "state $(sink_out state)"

# ---- a target that stops reading: not delivered, nothing lost, and the agent ends in time
pkill -STOP -P "$first" || fail "no connection to stop"
kill -STOP "$first"
before=$(search_json | wc -l)
fake "emit?container=fake-1&n=5000&size=4000" >/dev/null
lags() { [ "$(sink_out lag_lines)" -ge 1000 ]; }
wait_until 30 "it lags" lags
agent_kill
pkill -CONT -P "$first" || true
kill -CONT "$first"
agent_start --set sinks.out.type=tcp --set "sinks.out.addresses=127.0.0.1:$FIRST" --set sinks.out.batch_lines=1000
all_came() { [ "$(search_json | wc -l)" -eq "$((before + 5000))" ] && lines_are "$((before + 5000))" first second; }
wait_until 60 "all lines" all_came
agent_stop
end_target "$first"

# ---- TLS: verified by name, and refused where it is another's
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost -keyout "$T/key.pem" -out "$T/cert.pem" 2>/dev/null
cat "$T/key.pem" "$T/cert.pem" >"$T/both.pem"
target third "$FIRST" OPENSSL-LISTEN "cert=$T/both.pem,verify=0"
rm -rf "$T/data"
tls=(--set sinks.out.type=tcp --set sinks.out.tls.mode=verified --set "sinks.out.tls.ca=$T/cert.pem")
agent_start "${tls[@]}" --set "sinks.out.addresses=127.0.0.1:$FIRST"
refused() { sink_out problem | grep -qi 'certificate'; }
wait_until 20 "a certificate of another name is refused" refused
agent_stop
agent_start "${tls[@]}" --set "sinks.out.addresses=localhost:$FIRST"
over_tls() { [ "$(lines third)" -ge 600 ] && lines_are "$(search_json | wc -l)" third; }
wait_until 60 "lines over TLS" over_tls
agent_stop

# ---- what is wrong in the settings is said
complains() { # PATTERN ARGS...
    local pattern=$1 status=0
    shift
    "$BIN/log_capturer" run --data-dir "$T/none" --set sinks.out.type=tcp "$@" >"$T/out" 2>&1 || status=$?
    assert_eq "$status" 1 "exit status of $*: $(cat "$T/out")"
    grep -qE "$pattern" "$T/out" || fail "not '$pattern': $(cat "$T/out")"
}
complains 'sinks.out.*addresses: 1 to 64'
complains "'nowhere' is no HOST:PORT" --set sinks.out.addresses=nowhere
complains 'is there twice' --set sinks.out.addresses=a:1,a:1
complains 'tls.mode verified' --set sinks.out.addresses=a:1 --set sinks.out.tls.ca=/x
