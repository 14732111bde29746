#!/usr/bin/env bash
# Many containers (fake_dockerd): a start with 500 of them, their end, the limit of follows, and
# what of it is open at the same time.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
t_begin fake_scale
N=${N:-500}
ulimit -n "$(ulimit -H -n)"
fake_start --containers "$N" --lines 20

# ---- a start with N containers
expected=()
for ((i = 0; i < N; i++)); do
    expected+=(--expect "fake-$i:o:1-20")
done
agent_start --set connections.opens=8
worst=0
all_captured() {
    local now
    now=$(metric log_capturer_docker_http_connecting_connections) || return 1
    ((now <= worst)) || worst=$now
    [ "$(metric log_capturer_lines_captured_total)" = $((N * 20)) ]
}
wait_until 60 "all lines of $N containers" all_captured
wait_until 30 "all are followed" metric_eq log_capturer_streams_active "$N"
wait_until 10 "all is durable" captured_quietly "${expected[@]}"
echo "connecting at worst $worst, daemon: $(fake stats)"
[ "$worst" -le 20 ] || fail "$worst connections being made at the same time"
assert_eq "$(fake_stat .follows)" "$N" "follows at the daemon"
open_fds=$(agent_fds)
threads=$(agent_threads)
echo "with $N follows: fds $open_fds, threads $threads, rss $(agent_rss_kb) kB"
[ "$open_fds" -lt $((N + 60)) ] || fail "$open_fds open files for $N follows"
[ "$threads" -lt 12 ] || fail "$threads threads"

# ---- short calls share connections
short_reuse() {
    local all new
    new=$(metric 'log_capturer_docker_http_transfers_total{kind="call",connection="new"}') || new=0
    all=$(metric 'log_capturer_docker_http_transfers_total{kind="call"}')
    echo "short calls: $all, on new connections: $new"
    [ "$new" -le 12 ] && [ "$all" -gt "$N" ]
}
short_reuse || fail "more connections for short calls than may be idle (10), and that of the events"

# ---- all live, then all dead, then all gone
fake "emit?n=5" >/dev/null
for ((i = 0; i < N; i++)); do
    expected[i * 2 + 1]="fake-$i:o:1-25"
done
wait_until 30 "live lines of all" captured_quietly "${expected[@]}"
fake "die" >/dev/null
wait_until 30 "all have ended" metric_eq 'log_capturer_containers{state="waiting"}' "$N"
wait_until 10 "no stream" metric_eq log_capturer_streams_active 0
fake "destroy" >/dev/null
none_known() { [ "$(metric log_capturer_containers)" = 0 ]; }
wait_until 30 "none is known" none_known
few_fds() { [ "$(agent_fds)" -lt 60 ]; }
wait_until 120 "the open files are few again" few_fds
assert_eq "$(agent_http /metrics | grep -c '^log_capturer_container_lines_total{')" 0 \
    "series of containers that are gone"
wait_until 10 "still ready" agent_is_ready
captured "${expected[@]}" >/dev/null
agent_stop
fake_stop TERM

# ---- connections.follows
rm -rf "$T/data"
M=60 LIMIT=20
rm -f "$T/docker.sock" "$T/control.sock"
fake_start --containers $M --lines 20
agent_start --set connections.follows=$LIMIT
wait_until 20 "the limit is used" fake_stat_is .follows $LIMIT
waiting=$(metric 'log_capturer_docker_http_waiting')
assert_ge "$waiting" 1 "log_capturer_docker_http_waiting"
assert_eq "$(fake_stat .follows)" $LIMIT "follows over the limit"
# Those that end let others in, until all were read.
expected=()
for ((i = 0; i < M; i++)); do
    expected+=(--expect "fake-$i:o:1-20")
done
let_in() {
    fake show | jq -r '.list[] | select(.follows > 0).name' | while read -r name; do
        fake "die?container=$name" >/dev/null
    done
    captured_quietly "${expected[@]}"
}
wait_until 60 "all were let in" let_in
wait_until 20 "none waits" metric_eq log_capturer_docker_http_waiting 0
agent_stop
