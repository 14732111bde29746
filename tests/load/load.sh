# shellcheck shell=bash
# The load of the smoke test: containers with numbered lines, ones that come and go, a monitor that
# inspects them. What each container writes is known beforehand: $T/expected has a row "NAME LINES"
# for each; every fourth line goes to stderr. Sourced by smoke_test_simple.sh.
LOAD_MARGIN=10 # seconds that the steady ones write longer than the test takes
LOAD_STDERR=4
LOAD_JOBS=()
CHURN_RATE=50

load_prepare() {
    TEST_IMAGE=log_capturer-test/smoke-loggen:1 # not the one of the integration tests: they may run meanwhile
    t_image
    : >"$T/expected"
    : >"$T/inspects"
    : >"$T/trouble"
}

# load_container NAME LINES RATE: sets GEN_ID, notes what is expected.
load_container() {
    run_gen "$1" --lines "$2" --rate "$3" --stderr-every $LOAD_STDERR
    echo "$1 $2" >>"$T/expected"
}

load_start() {
    local n
    for ((n = 1; n <= CONTAINERS; n++)); do
        load_container "load$n" $((RATE * (WARMUP + DURATION + LOAD_MARGIN))) "$RATE"
    done
    for ((n = 1; n <= CHURN; n++)); do
        load_churn "$n" &
        LOAD_JOBS+=($!)
    done
    load_inspect &
    LOAD_JOBS+=($!)
}

load_may_go_on() { [ ! -e "$T/stop" ]; }

# load_churn SLOT: one container after another. Each is removed when the one behind it has exited,
# that is 2 s or more behind its own exit.
load_churn() {
    local lives=(2 6 3 5) n life before=''
    trap - EXIT ERR
    for ((n = 1; ; n++)); do
        load_may_go_on || return 0
        life=${lives[(n + $1) % 4]}
        if ! load_container "churn$1.$n" $((CHURN_RATE * life)) "$CHURN_RATE" ||
            ! docker wait "$GEN_ID" >/dev/null; then
            echo "container churn$1.$n did not run" >>"$T/trouble"
            return 0
        fi
        [ -z "$before" ] || docker rm -v "$before" >/dev/null || echo "rm failed" >>"$T/trouble"
        before=$GEN_ID
    done 2>>"$T/trouble"
}

# Asks the daemon about each container of the test, as a monitoring does.
load_inspect() {
    local ids next=$((SECONDS + INSPECT_EVERY))
    trap - EXIT ERR
    while load_may_go_on; do
        if ((SECONDS < next)); then
            sleep 0.2
            continue
        fi
        next=$((next + INSPECT_EVERY))
        mapfile -t ids < <(docker ps -q --filter "label=$TEST_LABEL=$RUN_ID")
        docker inspect "${ids[@]}" 2>/dev/null | grep -c '^        "Id"' >>"$T/inspects" || true
    done
}

load_job_has_ended() { ! kill -0 "$1"; }

# load_stop: no new containers; waits for the jobs.
load_stop() {
    local job
    [ -n "$T" ] || return 0
    touch "$T/stop"
    for job in ${LOAD_JOBS[@]+"${LOAD_JOBS[@]}"}; do
        wait_until 60 "a job of the load has ended" load_job_has_ended "$job"
    done
    LOAD_JOBS=()
}

load_none_runs() {
    [ -z "$(docker ps -q --filter "label=$TEST_LABEL=$RUN_ID" --filter "ancestor=$TEST_IMAGE")" ]
}

load_lines() { awk '{ sum += $2 } END { print sum + 0 }' "$T/expected"; }

# load_is_taken: all lines are in the spool, or no more have come for 10 s.
load_is_taken() {
    local records
    records=$(metric log_capturer_spool_records_total) || records=-1
    if [ "$records" -ge "$(load_lines)" ]; then
        return 0
    fi
    if [ "$records" != "${LOAD_TAKEN:-}" ]; then
        LOAD_TAKEN=$records
        LOAD_TAKEN_AT=$SECONDS
    fi
    ((SECONDS - LOAD_TAKEN_AT >= 10))
}

# load_stop_steady: before their time; then what they wrote is what the daemon has of them.
load_stop_steady() {
    local n names
    mapfile -t names < <(for ((n = 1; n <= CONTAINERS; n++)); do gen_name "load$n" && echo; done)
    docker stop "${names[@]}" >/dev/null
    for ((n = 1; n <= CONTAINERS; n++)); do
        echo "load$n $(docker logs "$(gen_name "load$n")" 2>&1 | wc -l)"
    done >"$T/expected.steady"
    grep -v '^load' "$T/expected" >>"$T/expected.steady"
    mv "$T/expected.steady" "$T/expected"
}

# load_finish: until all have written what they should and the agent has had the time to take it;
# whether it did is for the judge to say. Without an agent there is nothing to wait for.
load_finish() {
    load_stop
    if [ -n "$GONE" ]; then
        load_stop_steady
        return
    fi
    wait_until $((LOAD_MARGIN + 60)) "the load has ended" load_none_runs
    wait_until 600 "no more lines come" load_is_taken
}

# load_expectations: options for the oracle, one a line.
load_expectations() {
    awk -v every=$LOAD_STDERR '{
        e = int($2 / every)
        printf "--expect\n%s:o:1-%d\n--expect\n%s:e:1-%d\n", $1, $2 - e, $1, e
    }' "$T/expected"
}
