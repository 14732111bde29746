#!/usr/bin/env bash
# The daemon ends, by SIGTERM and by SIGKILL, and comes back, RESTARTS times; its containers have a
# restart policy. Each line that it kept is in the spool exactly once; the agent only waits.
# shellcheck disable=SC2013,SC2016 # pids are words; expanded by another shell
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
t_begin exact_daemon_restart
: "${RESTARTS:=3}"
[ "$(id -u)" = 0 ] || t_skip "needs root for a dockerd of its own"
if ! command -v dockerd >/dev/null || ! command -v containerd >/dev/null; then
    t_skip "no dockerd"
fi
unshare --net true 2>/dev/null || t_skip "unshare --net is not allowed"

# The same dockerd as that under test, beside it: own folders, own network namespace.
DOCKERD=$(docker version -f '{{.Server.Version}}' 2>/dev/null || true)
D=$T/daemon
mkdir -p "$D"
export DOCKER_HOST=unix://$D/docker.sock
DOCKERD_PID=''
dockerd_start() {
    # shellcheck disable=SC2016 # expanded by the inner shell
    D=$D setsid unshare --net sh -c 'ip link set lo up
        exec dockerd --data-root "$D/data" --exec-root "$D/exec" --pidfile "$D/pid" \
            --host "unix://$D/docker.sock"' >>"$T/dockerd.log" 2>&1 9>&- &
    DOCKERD_PID=$!
    wait_until 60 "the daemon answers" docker info -f "{{.ID}}" >/dev/null
}
dockerd_end() { # SIGNAL
    local pid
    kill -"$1" "$DOCKERD_PID"
    wait_until 60 "the daemon has ended" t_has_ended "$DOCKERD_PID"
    { wait "$DOCKERD_PID" || true; } 2>/dev/null
    if [ "$1" = KILL ]; then # as a crash of the machine: its containerd goes too
        for pid in $(cat "$D/exec/containerd/containerd.pid" 2>/dev/null); do
            kill -KILL "$pid" 2>/dev/null || true
            wait_until 20 "containerd has ended" t_has_ended "$pid"
        done
        rm -f "$D/pid"
    fi
}
cleanup() {
    local rc=$? pid
    [ $rc -eq 0 ] || tail -n 20 "$T/dockerd.log" >&9
    set +e
    docker ps -aq 2>/dev/null | xargs -r docker rm -f -v >/dev/null 2>&1
    kill -TERM "$DOCKERD_PID" 2>/dev/null
    wait "$DOCKERD_PID" 2>/dev/null
    for pid in $(cat "$D/exec/containerd/containerd.pid" 2>/dev/null); do
        t_end_process "$pid"
    done
    for pid in $(pgrep -f -- "-address $D/exec/"); do # shims, and what they hold
        kill -KILL "$pid"
    done
    awk -v dir="$D/" 'index($2, dir) == 1 {print $2}' /proc/mounts | sort -r | xargs -r -n 1 umount -l
    T_USED_DOCKER=
    t_end $rc
}
trap cleanup EXIT

dockerd_start
echo "dockerd $(docker version -f '{{.Server.Version}}') (the one beside: ${DOCKERD:-none})"
t_image
ONLY=(--set "capture.include.label=$TEST_LABEL=$RUN_ID")
RUN_OPTIONS=(--restart always)
for i in 1 2; do
    RUN_OPTIONS+=() # --count-runs: each run counts from 1 again, under a name of its own
    run_gen "steady$i" --count-runs /tmp/runs --lines 0 --rate 1000 --stderr-every 3
done
RUN_OPTIONS=()
run_gen once --lines 3000 # ends at once, without a policy: nothing of it comes twice
agent_start "${ONLY[@]}"
is_down() { [ "$(agent_http /readyz -o "$T/readyz" -w '%{http_code}')" = 503 ]; }
runs_seen() { # RUN: of both
    local i
    for i in 1 2; do
        search_json --container "$(gen_name "steady$i")" "steady$i.r$1 " | grep -c . >/dev/null || return 1
    done
}
wait_until 30 "lines of the first run" runs_seen 1
for ((i = 1; i <= RESTARTS; i++)); do
    signal=TERM
    ((i % 2)) || signal=KILL
    echo "restart $i by SIG$signal"
    dockerd_end $signal
    wait_until 30 "not ready without a daemon" is_down
    grep -q local "$T/readyz" || fail "readyz does not name the daemon: $(cat "$T/readyz")"
    dockerd_start
    wait_until 60 "ready again" agent_is_ready
    wait_until 60 "lines of run $((i + 1))" runs_seen $((i + 1))
done
docker stop -t 10 "$(gen_name steady1)" "$(gen_name steady2)" >/dev/null
wait_until 60 "all is read" metric_eq 'log_capturer_containers{state="waiting"}' 3
# A SIGKILL may cut lines that were never in the log: the daemon's log is what counts.
for name in steady1 steady2 once; do
    for stream in stdout stderr; do
        { search_json --container "$(gen_name $name)" --stream $stream || true; } |
            jq -r '"\(.time) \(.line)"' >"$T/ours"
        if [ $stream = stdout ]; then
            docker logs -t "$(gen_name $name)" >"$T/theirs" 2>/dev/null
        else
            docker logs -t "$(gen_name $name)" 2>"$T/theirs" >/dev/null
        fi
        cmp "$T/theirs" "$T/ours" || {
            diff "$T/theirs" "$T/ours" | head -n 5
            fail "$name: $stream differs from the daemon's log"
        }
        [ $name = once ] || assert_ge "$(wc -l <"$T/ours")" 100 "lines of $name on $stream"
    done
done
assert_ge "$(metric log_capturer_daemon_connects_total)" $((RESTARTS + 1)) connects
agent_stop
