#!/usr/bin/env bash
# A daemon that misbehaves, one fault after another (fake_dockerd): the log is resumed exactly.
# Each part has a container of its own, its lines begin with the container's name.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
t_begin fake_faults
fake_start --containers 0 --stderr-every 3
OPTIONS=(--set capture.relist_interval=1s --set capture.idle_probe=1s)

# made NAME PARAMETERS
made() { fake "create?name=$1${2:+&$2}" >/dev/null; }
fake_show() { fake "show?container=$1" | jq ".list[0].$2"; }
# complete NAME: all lines that the daemon has made till now are there, once.
complete() {
    local out err
    out=$(fake_show "$1" out)
    err=$(fake_show "$1" err)
    SEARCH_ARGS=(--container "$1")
    EXPECTED=()
    [ "$out" = 0 ] || EXPECTED+=(--expect "$1:o:1-$out")
    [ "$err" = 0 ] || EXPECTED+=(--expect "$1:e:1-$err")
    wait_until 30 "all lines of $1, once" captured_quietly "${EXPECTED[@]}"
    SEARCH_ARGS=()
}
followed() { [ "$(fake_show "$1" follows)" -ge 1 ]; }
state_is() {
    [ "$(agent_http /api/v1/containers | jq -r --arg name "$1" \
        '.containers[] | select(.name == $name).state')" = "$2" ]
}
moves() { # METRIC COMMAND...: it is higher after the command
    local name=$1 before
    before=$(metric "$name")
    shift
    "$@" >/dev/null
    wait_until 20 "$name moves by $*" metric_ge "$name" $((before + 1))
}
part() { echo "-- $*"; }

agent_start "${OPTIONS[@]}"

part "the connection breaks, each way"
made broken 'lines=2000&rate=500'
complete broken
for mode in fin-no-last-chunk rst bad-chunk mid-frame clean; do
    wait_until 10 "a follow before $mode" followed broken
    fake "emit?container=broken&n=50" >/dev/null
    fake "cut?container=broken&mode=$mode" >/dev/null
    fake "emit?container=broken&n=50" >/dev/null
    wait_until 20 "a follow after $mode" followed broken
    complete broken
done
assert_eq "$(metric log_capturer_capture_gaps_total)" 0 gaps

part "many lines of one timestamp, the agent killed between and within them"
made same 'lines=0'
fake "same-timestamp?container=same&k=40" >/dev/null
for _ in 1 2 3 4; do
    fake "emit?container=same&n=30" >/dev/null
    complete same
    agent_kill
    fake "emit?container=same&n=25" >/dev/null
    agent_start "${OPTIONS[@]}"
    complete same
done

part "the clock goes back, then a cut and a restart of the agent"
made clock 'lines=300'
complete clock
fake "clock-step?container=clock&ms=-3600000" >/dev/null
fake "emit?container=clock&n=100" >/dev/null
complete clock
fake "cut?container=clock&mode=rst" >/dev/null
fake "emit?container=clock&n=100" >/dev/null
complete clock
agent_kill
fake "emit?container=clock&n=100" >/dev/null
agent_start "${OPTIONS[@]}"
complete clock
fake "clock-step?container=clock&ms=7200000" >/dev/null
fake "emit?container=clock&n=50" >/dev/null
fake "cut?container=clock&mode=clean" >/dev/null
fake "emit?container=clock&n=50" >/dev/null
complete clock
assert_eq "$(metric log_capturer_capture_gaps_total)" 0 gaps

part "a silent follow is found by the idle probe"
made silent 'lines=100'
complete silent
fake "silence?container=silent" >/dev/null
fake "emit?container=silent&n=20" >/dev/null
complete silent
assert_ge "$(metric log_capturer_idle_probes_total)" 1 "idle probes"
assert_ge "$(metric 'log_capturer_streams_ended_total{reason="silent"}')" 1 "silent streams"
fake "silence?container=silent&on=0" >/dev/null
fake "emit?container=silent&n=20" >/dev/null
complete silent

part "truncated from outside"
made cutoff 'lines=100'
complete cutoff
fake "truncate?container=cutoff" >/dev/null
wait_until 30 "the truncation is noticed" grep -q 'container cutoff: .*truncated' "$T/agent.log"
fake "emit?container=cutoff&n=20" >/dev/null
complete cutoff

part "no head before the first line"
made stalled 'lines=0'
fake "stall-headers?container=stalled" >/dev/null
fake "cut?container=stalled&mode=rst" >/dev/null
fake "emit?container=stalled&n=20" >/dev/null
complete stalled
fake "die?container=stalled" >/dev/null
fake "start?container=stalled" >/dev/null
fake "emit?container=stalled&n=20" >/dev/null
complete stalled

part "refused requests of logs"
for status in 500 503 400; do
    made "refused$status" 'lines=20&start=0'
    fake "status?container=refused$status&status=$status&count=1&body=%7B%22message%22%3A%22no%22%7D" >/dev/null
    fake "start?container=refused$status" >/dev/null
    [ $status = 400 ] || complete "refused$status"
done
wait_until 10 "a status that says nothing to us is told" grep -q 'container refused400: ' "$T/agent.log"
assert_ge "$(metric log_capturer_docker_http_errors_total)" 2 "errors of requests"
made refused409 'lines=20&start=0'
fake 'status?container=refused409&status=409&count=2&body=%7B%7D' >/dev/null
fake "start?container=refused409" >/dev/null
complete refused409
made refused501 'lines=20&start=0'
fake 'status?container=refused501&status=501&body=%7B%7D' >/dev/null
fake "start?container=refused501" >/dev/null
wait_until 10 "501 is unreadable" state_is refused501 unreadable
made refused404 'lines=20&start=0'
fake 'status?container=refused404&status=404&count=1&body=%7B%7D' >/dev/null
fake "start?container=refused404" >/dev/null
complete refused404 # it still exists: the next listing finds it
requests=$(fake_stat .requests.logs)
wait_until 10 "four more listings" metric_ge log_capturer_daemon_listings_total \
    $(($(metric log_capturer_daemon_listings_total) + 4))
# 501 is not asked again and again; the others may be probed.
logs_of_unreadable=$(($(fake_stat .requests.logs) - requests))
[ "$logs_of_unreadable" -lt 60 ] || fail "$logs_of_unreadable requests of logs in 4 s"

part "an error frame is counted and is no line"
made frames 'lines=50'
complete frames
moves log_capturer_daemon_log_errors_total fake "frame3?container=frames&end=1"
fake "emit?container=frames&n=20" >/dev/null
complete frames
search_json --container frames "Error grabbing" >/dev/null && fail "an error frame became a line"

part "bytes that are no frames"
made nonsense 'lines=50'
complete nonsense
moves 'log_capturer_streams_ended_total{reason="protocol"}' fake "raw?container=nonsense" \
    --data-binary 'HTTP is not this'
fake "emit?container=nonsense&n=20" >/dev/null
complete nonsense

part "lines in pieces, broken within"
made pieces 'lines=10'
complete pieces
for size in 16384 40000 100000; do
    fake "partial?container=pieces&size=$size&interleave=1" >/dev/null
done
complete pieces
fake "partial?container=pieces&size=40000&no-newline=1" >/dev/null
fake "cut?container=pieces&mode=rst" >/dev/null
wait_until 20 "a follow after a cut within a line" followed pieces
fake "emit?container=pieces&n=4" >/dev/null
complete pieces
agent_kill
fake "partial?container=pieces&size=40000" >/dev/null
agent_start "${OPTIONS[@]}"
complete pieces

part "answers byte by byte"
fake "split?size=1" >/dev/null
made bytes 'lines=100'
fake "emit?container=bytes&n=100" >/dev/null
complete bytes
fake "cut?container=bytes&mode=mid-frame" >/dev/null
fake "emit?container=bytes&n=50" >/dev/null
complete bytes
fake "split?size=0" >/dev/null

part "events are lost: the next listing finds what happened"
fake "drop-events?on=1" >/dev/null
made unseen 'lines=30'
complete unseen
fake "die?container=unseen&lose=0" >/dev/null
fake "start?container=unseen" >/dev/null
fake "emit?container=unseen&n=30" >/dev/null
complete unseen
fake "rename?container=unseen&name=seen" >/dev/null
wait_until 10 "a rename without an event" state_is seen following
fake "destroy?container=seen" >/dev/null
is_unknown() { ! agent_http /api/v1/containers | grep -qF "\"$1\""; }
wait_until 10 "a destruction without an event" is_unknown seen
fake "drop-events?on=0" >/dev/null
for mode in clean fin-no-last-chunk rst bad-chunk; do
    moves log_capturer_daemon_connects_total fake "close-events?mode=$mode"
    wait_until 20 "ready after the events ended by $mode" agent_is_ready
    made "after-$mode" 'lines=10'
    complete "after-$mode"
done
moves log_capturer_daemon_events_unreadable_total fake event --data-binary $'{"Type":"container",,}\n'
made after-bad-event 'lines=10'
complete after-bad-event

part "a container that exits while its history is replayed"
made replay 'lines=20000&start=0'
fake "start?container=replay" >/dev/null
fake "emit?container=replay&n=1000" >/dev/null
fake "die?container=replay&lose=1" >/dev/null
complete replay
fake "restart?container=replay&policy=1" >/dev/null
fake "emit?container=replay&n=100" >/dev/null
complete replay

part "the daemon is away"
readyz_is() { [ "$(agent_http /readyz -o "$T/readyz" -w '%{http_code}')" = "$1" ]; }
fake "refuse?ms=1500&cut=1" >/dev/null
wait_until 10 "not ready while the daemon is away" readyz_is 503
jq -e '.ready == false and (.waiting_for[0] | test("local"))' "$T/readyz" >/dev/null ||
    fail "no reason: $(cat "$T/readyz")"
assert_eq "$(metric log_capturer_daemon_up)" 0 daemon_up
assert_eq "$(agent_http /healthz -o /dev/null -w '%{http_code}')" 200 "/healthz without a daemon"
fake "emit?container=bytes&n=20" >/dev/null
wait_until 30 "ready again" readyz_is 200
assert_eq "$(metric log_capturer_daemon_up)" 1 daemon_up
complete bytes

part "the log was rotated beyond the last captured line"
made gap 'lines=500'
complete gap
agent_kill
fake "emit?container=gap&n=300" >/dev/null
fake "rotate?container=gap&keep=100" >/dev/null
agent_start "${OPTIONS[@]}"
wait_until 20 "a gap is counted" metric_eq log_capturer_capture_gaps_total 1
grep -q 'warn.*container gap: .*may be lost' "$T/agent.log" || fail "no warning of the gap"
agent_http /api/v1/containers | jq -e '.containers[] | select(.name == "gap").gaps == 1' >/dev/null ||
    fail "the container's gaps"
lines_of() { search_json --container "$1" | wc -l; }
gap_lines() { [ "$(lines_of gap)" = 600 ]; }
wait_until 20 "what is still there is read" gap_lines
agent_stop

part "nothing twice, nothing broken, in all of them"
search_json | "$BIN/oracle" --quiet >"$T/total" || true
grep -q ' doubled=0 .* corrupt=0 ' "$T/total" || { cat "$T/total"; fail "doubled or corrupt lines"; }

part "API versions"
for case in '1.43 1.12 1.43' '1.52 1.40 ' '1.51 1.44 ' '1.24 1.12 '; do
    read -r max min _ <<<"$case"
    fake_stop TERM
    rm -rf "$T/data" "$T/docker.sock" "$T/control.sock"
    fake_start --containers 1 --lines 100 --api-version "$max" --min-api-version "$min"
    agent_start "${OPTIONS[@]}"
    wait_until 10 "API $min to $max" captured_quietly --expect fake-0:o:1-100
    fake "emit?n=20" >/dev/null
    fake "cut?mode=rst" >/dev/null
    fake "emit?n=20" >/dev/null
    wait_until 10 "API $min to $max, resumed" captured_quietly --expect fake-0:o:1-140
    agent_stop
done
