#!/usr/bin/env bash
# Which containers are found, when, and under which name: every way in which a container begins,
# changes and ends. Each line exactly once.
# shellcheck disable=SC2016 # expanded by the shell in the container
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
t_begin discovery
t_image
SCOPE="capture.include.label=$TEST_LABEL=$RUN_ID"

state_is() { # NAME STATE: as the agent sees it
    [ "$(agent_http /api/v1/containers | jq -r --arg name "$1" \
        '.containers[] | select(.name == $name).state')" = "$2" ]
}
expect_gen() { # WHAT NAME ORACLE-ARGS...
    local what=$1
    SEARCH_ARGS=(--container "$(gen_name "$2")")
    shift 2
    wait_until 30 "$what" captured_quietly "$@"
    SEARCH_ARGS=()
}

# ---- what is there before the agent
run_gen before --lines 0 --rate 200 --stderr-every 2
before=$GEN_NAME
run_gen ended --lines 2000 --stderr-every 4
wait_exited "$GEN_NAME"
t_image
docker create --network none --label "$TEST_LABEL=$RUN_ID" --name "$(gen_name created)" \
    $TEST_IMAGE /loggen --name created --lines 50 >/dev/null
RUN_OPTIONS=(--log-driver none)
run_gen none --lines 10 --hold 600
none=$GEN_NAME
RUN_OPTIONS=()
agent_start --set "$SCOPE"
expect_gen "a container that ended before" ended --expect ended:o:1-1500 --expect ended:e:1-500
expect_gen "a container that runs" before --expect before:o:1-100 --expect before:e:1-100
wait_until 10 "the driver none is unreadable" metric_ge 'log_capturer_containers{state="unreadable"}' 1
state_is "$none" unreadable || fail "state of a container with driver none"
wait_until 10 "a created container waits" state_is "$(gen_name created)" waiting

# ---- later ones
docker start "$(gen_name created)" >/dev/null
run_gen later --lines 500
expect_gen "a container that was created before" created --expect created:o:1-50
expect_gen "a container that began later" later --expect later:o:1-500

# ---- short-lived ones that remove themselves
# dockerd 20.10 removes some before it answers the request of logs that was sent at the `start` event
# (500 or an error frame: no such file; some 2 of 100). That can't be helped, but it has to be told.
RUN_OPTIONS=(--rm)
SHORT=${SHORT:-40}
for ((i = 0; i < SHORT; i++)); do
    run_sh "short$i" "echo the only line of $i"
done
RUN_OPTIONS=()
short_settled() { # all are captured, or lost and told
    local i
    search_json --container "$RUN_ID-short*" | jq -r .line | sort >"$T/short" || true
    lost=0
    for ((i = 0; i < SHORT; i++)); do
        grep -qx "the only line of $i" "$T/short" && continue
        grep -q " warn .*$RUN_ID-short$i\b" "$T/agent.log" || return 1
        lost=$((lost + 1))
    done
}
wait_until 20 "all $SHORT short-lived containers are captured, or their loss is told" short_settled
assert_eq "$(uniq -d "$T/short")" "" "doubled lines of short-lived containers"
echo "short-lived containers lost by the daemon: $lost of $SHORT"
[ $((lost * 5)) -le "$SHORT" ] || fail "more than a fifth of the short-lived containers is lost"

# ---- restarts with the same id
docker run -d --network none --label "$TEST_LABEL=$RUN_ID" --name "$(gen_name again)" \
    $TEST_IMAGE /loggen --name again --count-runs /tmp/runs --lines 300 --hold 600 >/dev/null
expect_gen "the first run" again --expect again.r1:o:1-300
for run in 2 3 4; do
    docker restart -t 5 "$(gen_name again)" >/dev/null
    expect_gen "run $run" again --expect "again.r$run:o:1-300"
done
docker stop -t 5 "$(gen_name again)" >/dev/null
docker start "$(gen_name again)" >/dev/null
docker kill "$(gen_name again)" >/dev/null # at once: the run may be short
docker start "$(gen_name again)" >/dev/null
expect_gen "all runs" again --expect again.r1:o:1-300 --expect again.r4:o:1-300 --expect again.r6:o:1-300

# ---- a restart policy: back-off between the runs must not be a storm of requests
RUN_OPTIONS=(--restart always)
run_sh policy 'echo run; exit 1'
RUN_OPTIONS=()
policy_ran() { [ "$(search_json --container "$(gen_name policy)" | grep -c '"run"')" -ge "$1" ]; }
wait_until 30 "runs by a restart policy" policy_ran 5
requests=$(metric log_capturer_docker_http_requests_total)
policy_ran 5
runs=$(search_json --container "$(gen_name policy)" | grep -c '"run"')
wait_until 30 "one more run" policy_ran $((runs + 1))
more=$(($(metric log_capturer_docker_http_requests_total) - requests))
[ "$more" -lt 200 ] || fail "$more requests for one container in restart back-off"
docker stop -t 1 "$(gen_name policy)" >/dev/null
policy_all() {
    [ "$(search_json --container "$(gen_name policy)" | grep -c .)" = \
        "$(docker logs "$(gen_name policy)" 2>&1 | grep -c .)" ]
}
wait_until 20 "as many lines as the daemon has" policy_all

# ---- rename: new lines carry the new name, old ones the old
run_sh oldname 'n=0; while :; do n=$((n + 1)); echo line $n; sleep 0.1; done'
id=$GEN_ID
named() { search_json --container "$(gen_name "$1")" | grep -c . >/dev/null; }
wait_until 20 "lines under the first name" named oldname
docker rename "$(gen_name oldname)" "$(gen_name newname)"
wait_until 20 "lines under the new name" named newname
state_is "$(gen_name newname)" following || fail "the renamed container is not followed"
docker kill "$id" >/dev/null
same_as_docker() { # ID
    [ "$(search_json --container "$1" | jq -r .line)" = "$(docker logs "$1" 2>/dev/null)" ]
}
wait_until 20 "each line once over the rename" same_as_docker "$id"

# ---- pause
docker pause "$before" >/dev/null
docker unpause "$before" >/dev/null
last=$(search_json --container "$before" | wc -l)
expect_gen "lines after a pause" before --expect "before:o:1-$((last / 2 + 100))" \
    --expect "before:e:1-$((last / 2 + 100))"

# ---- destroyed: what was captured stays, the container goes
docker rm -f "$before" >/dev/null
is_unknown() { ! agent_http /api/v1/containers | grep -qF "\"$1\""; }
wait_until 20 "a destroyed container is forgotten" is_unknown "$before"
expect_gen "lines of a destroyed container" before --expect before:o:1-100

# ---- everything there is, exactly once
captured >"$T/summary" || { cat "$T/summary"; fail "missing or doubled lines"; }
gaps=$(metric log_capturer_capture_gaps_total)
[ "$gaps" -le "$lost" ] || fail "$gaps gaps counted, but $lost containers were lost"
agent_stop
