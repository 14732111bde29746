#!/usr/bin/env bash
# Include and exclude rules, their reload by SIGHUP, and capture.since=now.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
t_begin filters
t_image

# The rules concern six containers; all write one line a tick for ever.
start() { # NAME OPTIONS...
    local name=$1
    shift
    RUN_OPTIONS=("$@")
    run_gen "$name" --lines 0 --rate 50
    RUN_OPTIONS=()
}
docker image inspect "log_capturer-test/other:1" >/dev/null 2>&1 ||
    docker tag $TEST_IMAGE log_capturer-test/other:1
start web1 --label tier=front --label com.docker.compose.project=shop
start web2 --label tier=back --label com.docker.compose.project=shop
start db --label tier=back --label com.docker.compose.project=bank
start quiet --label nolog
start local --log-driver local
TEST_IMAGE=log_capturer-test/other:1 start other
NAMES=(web1 web2 db quiet local other)

config() { cat >"$T/config.yaml"; }
state_of() {
    agent_http /api/v1/containers | jq -r --arg name "$(gen_name "$1")" \
        '.containers[] | select(.name == $name).state'
}
captured_now() { # those of NAMES that are followed
    local name
    for name in "${NAMES[@]}"; do
        [ "$(state_of "$name")" = following ] && echo "$name"
    done | tr '\n' ' '
    return 0
}
captures() { [ "$(captured_now)" = "$1" ]; }
reloads() { metric log_capturer_config_reloads_total; }
reload() { # expects it to be taken
    local before
    before=$(reloads)
    kill -HUP "$AGENT_PID"
    wait_until 10 "the reload" metric_eq log_capturer_config_reloads_total $((before + 1))
}
OURS="label: [$TEST_LABEL=$RUN_ID]"

config <<<"capture: {include: {$OURS, name: ['*-web*', '*-db']}}"
agent_start -c "$T/config.yaml"
wait_until 10 "include.name" captures "web1 web2 db "
lines_of() { search_json --container "$(gen_name "$1")" | wc -l; }
has_lines() { [ "$(lines_of "$1")" -gt "$2" ]; }
wait_until 10 "lines of web1" has_lines web1 0
assert_eq "$(lines_of quiet)" 0 "lines of a container that is not included"

try() { # EXPECTED YAML
    config <<<"$2"
    reload
    wait_until 10 "$2" captures "$1"
}
try "web1 web2 db quiet local other " "capture: {include: {$OURS}}"
try "web2 db quiet local other " "capture: {include: {$OURS}, exclude: {name: ['*-web1']}}"
try "web1 web2 db local other " "capture: {include: {$OURS}, exclude: {label: [nolog]}}"
try "web1 quiet local other " "capture: {include: {$OURS}, exclude: {label: ['tier=b*']}}"
try "other " "capture: {include: {$OURS, image: ['*/other*']}}"
try "web1 web2 db quiet local " "capture: {include: {$OURS}, exclude: {image: ['*/other*']}}"
try "web1 web2 " "capture: {include: {$OURS, project: [sh?p]}}"
try "db quiet local other " "capture: {include: {$OURS}, exclude: {project: [shop]}}"
try "local " "capture: {include: {$OURS, driver: [local]}}"
try "web1 web2 db quiet other " "capture: {include: {$OURS}, exclude: {driver: [loc*]}}"
try "web1 " "capture: {include: {$OURS, project: [shop]}, exclude: {label: [tier=back]}}"

# ---- a bad file changes nothing and is counted
failures=$(metric log_capturer_config_reload_failures_total)
config <<<"capture: {inclde: {name: ['*']}}"
kill -HUP "$AGENT_PID"
wait_until 10 "the refused reload is counted" metric_eq log_capturer_config_reload_failures_total \
    $((failures + 1))
captures "web1 " || fail "a refused configuration changed what is captured"
grep -q "config.yaml:1:" "$T/agent.log" || fail "no line and column in the log"
rm "$T/config.yaml"
kill -HUP "$AGENT_PID"
wait_until 10 "a missing file is counted too" metric_eq log_capturer_config_reload_failures_total \
    $((failures + 2))
captures "web1 " || fail "a missing file changed what is captured"

# ---- what a filter let out in between is there when it is let in again: nothing twice, no gap
try "web1 web2 db quiet local other " "capture: {include: {$OURS}}"
for name in web1 web2 db local; do
    last=$(docker logs --tail 1 "$(gen_name $name)" | cut -d ' ' -f 3)
    SEARCH_ARGS=(--container "$(gen_name $name)")
    wait_until 20 "all lines of $name, once" captured_quietly --expect "$name:o:1-$last"
    SEARCH_ARGS=()
done
captured >"$T/summary" || { cat "$T/summary"; fail "missing or doubled lines"; }
# The agent's own log is live as well.
config <<<"{log: {format: json}, capture: {include: {$OURS}}}"
reload
agent_stop
tail -n 1 "$T/agent.log" | jq -e .level >/dev/null || fail "log.format was not reloaded"

# ---- since: now
rm -rf "$T/data"
n=$(docker logs --tail 1 "$(gen_name web1)" | cut -d ' ' -f 3)
agent_start --set "capture.include.name=$(gen_name web1),$(gen_name fresh)" --set capture.since=now
wait_until 10 "lines of now" has_lines web1 20
first=$(search_json --container "$(gen_name web1)" | head -n 1 | jq -r .line | cut -d ' ' -f 3)
assert_ge "$first" "$n" "the first line with since=now"
run_gen fresh --lines 300
SEARCH_ARGS=(--container "$(gen_name fresh)")
wait_until 20 "a container made later is read from its beginning" captured_quietly --expect fresh:o:1-300
# Over a restart nothing is skipped.
agent_kill
agent_start --set "capture.include.name=$(gen_name web1),$(gen_name fresh)" --set capture.since=now
last=$(docker logs --tail 1 "$(gen_name web1)" | cut -d ' ' -f 3)
SEARCH_ARGS=(--container "$(gen_name web1)")
wait_until 20 "lines over a restart with since=now" captured_quietly --expect "web1:o:$first-$last"
agent_stop
