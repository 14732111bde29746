#!/usr/bin/env bash
# test_smoke_can_fail.sh: the smoke test fails where it should, by the criteria that it should, and by no other.
# The faults: an agent stopped for a minute; killed for good; killed and started again by dockerd; a build that
# leaks one file for each stream rotated; one that drops one line in 100,000 (tests/load/faults).
# Takes 6 minutes; BIN is the folder of the programs, SINK as in smoke_test_simple.sh.
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export BIN=${BIN:-$HERE/../../build/release/bin}
# shellcheck source=tests/integration/lib.sh
. "$HERE/../integration/lib.sh"
t_begin smoke_can_fail
trap 'faults_end $?' EXIT

faults_end() {
    set +e
    [ "$1" -eq 0 ] || jobs -p | xargs -r kill -TERM 2>/dev/null
    wait # each removes its containers
    t_end "$1"
}

# smoke NAME VARIABLE=VALUE...: in the background; its OUT is $T/NAME, its output $T/NAME.txt
smoke() {
    local name=$1
    shift
    mkdir "$T/$name"
    env AGENT=program WARMUP=30s OUT="$T/$name" "$@" "$HERE/smoke_test_simple.sh" >"$T/$name.txt" 2>&1 9>&- &
}

# smoke_checkpoint NAME N: has it come to checkpoint N?
smoke_checkpoint() { grep -q "^\[$2/" "$T/$1.txt"; }

smoke_failed() { grep -q '^FAILED: ' "$T/$1/report.txt" || grep -q '^passed: ' "$T/$1/report.txt"; }

# expect_failed NAME SECONDS REQUIRED ALLOWED: criteria that must have failed, and ones that may have.
expect_failed() {
    local name=$1 failed criterion
    wait_until "$2" "the smoke test '$name' ends" smoke_failed "$name"
    echo "---- $name"
    grep -E '^(\[|FAIL|passed|the agent)' "$T/$name/report.txt"
    failed=$(sed -n 's/^FAILED: .* criteria: //p' "$T/$name/report.txt")
    for criterion in $3; do
        [[ " $failed " == *" $criterion "* ]] || fail "$name: $criterion did not fail"
    done
    for criterion in $failed; do
        [[ " $3 $4 " == *" $criterion "* ]] || fail "$name: $criterion failed, which has no reason here"
    done
}

t_need_docker

smoke stopped DURATION=120s CHECKPOINTS=4
smoke leaking DURATION=90s CHECKPOINTS=3 PROGRAM="$BIN/log_capturer_with_stream_close"
wait_until 120 "the first checkpoint" smoke_checkpoint stopped 1
container=$(cat "$T/stopped/container")
docker pause "$container" >/dev/null
sleep 60 # the minute is the fault itself
docker unpause "$container" >/dev/null
expect_failed leaking 120 "fd_slope fd_slope_host" ""
smoke dropping DURATION=90s CHECKPOINTS=3 RATE=150 PROGRAM="$BIN/log_capturer_with_spool_append"
smoke killed DURATION=90s CHECKPOINTS=3
wait_until 120 "the first checkpoint" smoke_checkpoint killed 1
docker kill "$(cat "$T/killed/container")" >/dev/null
expect_failed killed 120 "silent_samples restarts ready throughput spool_lost exit_code" \
    "archive_lost rotations churn inspects"
# Behind the minute calls have piled up, and connections with them.
expect_failed stopped 180 "silent_samples ready throughput spool_lost" \
    "archive_lost gaps rotations reuse fd_slope fd_slope_host fd_agree connection_slope churn"
smoke restarted DURATION=60s CHECKPOINTS=3
wait_until 120 "the first checkpoint" smoke_checkpoint restarted 1
kill -KILL "$(docker inspect -f '{{.State.Pid}}' "$(cat "$T/restarted/container")")"
expect_failed dropping 120 "spool_lost" "archive_lost"
expect_failed restarted 120 "restarts" "silent_samples rotations"
