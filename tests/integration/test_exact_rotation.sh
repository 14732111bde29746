#!/usr/bin/env bash
# dockerd rotates the log files (max-size, max-file) at a moderate rate: each line exactly once,
# though 20.10 sends some twice at each rotation. For json-file and local, with restarts of the agent.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
t_begin exact_rotation
t_image
ONLY=(--set "capture.include.label=$TEST_LABEL=$RUN_ID")
LINES_EACH=${LINES_EACH:-24000} # of 400 bytes: 9.6 MB, that is some 12 rotations of 1 MB

agent_start "${ONLY[@]}"
RUN_OPTIONS=(--log-opt max-size=1m --log-opt max-file=3)
run_gen rotated --lines "$LINES_EACH" --rate 2000 --size 400 --stderr-every 4
rotated=$GEN_NAME
RUN_OPTIONS=(--log-driver local --log-opt max-size=1m --log-opt max-file=3)
run_gen local --lines "$LINES_EACH" --rate 2000 --size 400 --stderr-every 4
local_driver=$GEN_NAME
RUN_OPTIONS=()
seen() { metric_ge "log_capturer_lines_captured_total" "$1"; }
wait_until 60 "a third of the lines" seen $((LINES_EACH * 2 / 3))
repeated=$(metric log_capturer_lines_repeated_total)
agent_kill # and on from there: nothing is lost while it is back within a rotation
agent_start "${ONLY[@]}"
wait_exited "$rotated" 60
wait_exited "$local_driver" 60
expected=()
for name in rotated local; do
    expected+=(--expect "$name:o:1-$((LINES_EACH * 3 / 4))" --expect "$name:e:1-$((LINES_EACH / 4))")
done
wait_until 30 "the end of both logs" metric_eq 'log_capturer_containers{state="waiting"}' 2
echo "repeats dropped: $repeated + $(metric log_capturer_lines_repeated_total)"
captured "${expected[@]}"
assert_eq "$(metric log_capturer_capture_gaps_total)" 0 gaps
agent_stop
