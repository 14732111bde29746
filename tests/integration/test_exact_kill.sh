#!/usr/bin/env bash
# kill -9 of the agent at random moments under load, KILL_CYCLES times: each line is in the spool
# exactly once in the end. Then a stream that is rotated each second, under load too.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
t_begin exact_kill
t_image
: "${KILL_CYCLES:=20}"
ONLY=(--set "capture.include.label=$TEST_LABEL=$RUN_ID" --set spool.limit=16GiB)

run_gen load --lines 0 --rate 20000 --stderr-every 3
load=$GEN_NAME
seed=${SEED:-$RANDOM}
RANDOM=$seed
echo "seed $seed"
for ((cycle = 1; cycle <= KILL_CYCLES; cycle++)); do
    agent_spawn "${ONLY[@]}"
    sleep "$(printf '0.%03d' $((RANDOM % 800 + 200)))" # the random moment is the test
    ((RANDOM % 2)) || sleep "0.$((RANDOM % 5))"
    agent_kill
done
agent_start "${ONLY[@]}"
docker stop -t 10 "$load" >/dev/null
out=$(docker logs --tail 100 "$load" 2>/dev/null | tail -n 1 | cut -d ' ' -f 3)
err=$(docker logs --tail 100 "$load" 2>&1 >/dev/null | tail -n 1 | cut -d ' ' -f 3)
echo "$KILL_CYCLES cycles, lines: $out + $err"
assert_ge "$out" 1000 "lines written"
whole() { metric_eq log_capturer_containers'{state="waiting"}' 1; }
wait_until 120 "the log is read to its end" whole
wait_until 120 "all lines once" captured_quietly --expect "load:o:1-$out" --expect "load:e:1-$err"
captured --expect "load:o:1-$out" --expect "load:e:1-$err"
assert_eq "$(metric log_capturer_capture_gaps_total)" 0 gaps
assert_eq "$(metric log_capturer_spool_frames_damaged_total)" 0 "damaged frames"
agent_stop

# ---- stream.max_lifetime
rm -rf "$T/data"
docker rm -f "$load" >/dev/null
run_gen life --lines 80000 --rate 20000 --stderr-every 3
agent_start "${ONLY[@]}" --set stream.max_lifetime=1s
wait_exited "$GEN_NAME" 60
wait_until 60 "all lines once over rotated streams" captured_quietly --expect life:o:1-53334 \
    --expect life:e:1-26666
captured --expect life:o:1-53334 --expect life:e:1-26666
assert_ge "$(metric 'log_capturer_streams_ended_total{reason="rotated"}')" 2 "rotated streams"
assert_eq "$(metric log_capturer_capture_gaps_total)" 0 gaps
agent_stop
