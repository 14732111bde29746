#!/usr/bin/env bash
# kill -9 of the agent at random moments under load, KILL_CYCLES times, with three file sinks: a file
# per container, the same with rotation and compression, and one file for all with rotation. In
# the end the files of each, the rotated ones first, hold every line once and in order.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
t_begin sink_file_kill
t_image
: "${KILL_CYCLES:=15}"
ONLY=(--set "capture.include.label=$TEST_LABEL=$RUN_ID" --set spool.limit=16GiB)
cat >"$T/config.yaml" <<END
sinks:
  plain: {type: file, path: "$T/plain/{container.name}.log", format: json}
  gzip: {type: file, path: "$T/gzip/{container.name}/{stream}.log", format: json,
    rotate_size: 700KiB, keep: 0, compress: gzip}
  one: {type: file, path: "$T/one/all.log", format: json, rotate_size: 300KiB,
    keep: 0, compress: none}
END

# gather FILE: its rotated ones, the oldest first, and the file
gather() {
    local number newest=0 name
    for name in "$1".[0-9]*; do
        number=${name#"$1".}
        number=${number%%.*}
        [[ $number =~ ^[0-9]+$ ]] && ((number > newest)) && newest=$number
    done
    for ((number = newest; number > 0; number--)); do
        [ ! -e "$1.$number.gz" ] || zcat "$1.$number.gz"
        [ ! -e "$1.$number" ] || cat "$1.$number"
    done
    [ ! -e "$1" ] || cat "$1"
}
gather_all() { # SINK
    local file
    find "$T/$1" -name '*.log' -o -name '*.log.[0-9]*' | sed 's/\.log\..*/.log/' | sort -u |
        while read -r file; do gather "$file"; done
}

run_gen load --lines 0 --rate 12000 --stderr-every 3
load=$GEN_NAME
run_gen slow --lines 0 --rate 50
slow=$GEN_NAME
seed=${SEED:-$RANDOM}
RANDOM=$seed
echo "seed $seed"
for ((cycle = 1; cycle <= KILL_CYCLES; cycle++)); do
    agent_spawn -c "$T/config.yaml" "${ONLY[@]}"
    sleep "$(printf '0.%03d' $((RANDOM % 800 + 200)))" # the random moment is the test
    ((RANDOM % 2)) || sleep "$((RANDOM % 2)).$((RANDOM % 10))"
    agent_kill
done
docker stop -t 10 "$load" "$slow" >/dev/null
out=$(docker logs --tail 100 "$load" 2>/dev/null | tail -n 1 | cut -d ' ' -f 3)
err=$(docker logs --tail 100 "$load" 2>&1 >/dev/null | tail -n 1 | cut -d ' ' -f 3)
few=$(docker logs --tail 100 "$slow" 2>/dev/null | tail -n 1 | cut -d ' ' -f 3)
assert_ge "$out" 1000 "lines written"
EXPECT=(--expect "load:o:1-$out" --expect "load:e:1-$err" --expect "slow:o:1-$few")
agent_start -c "$T/config.yaml" "${ONLY[@]}"
wait_until 120 "all lines are captured" captured_quietly "${EXPECT[@]}"
no_lag() { [ "$(agent_http /api/v1/status | jq '[.sinks[].lag_lines] | add')" = 0 ]; }
wait_until 120 "all lines are delivered" no_lag
agent_stop

echo "$KILL_CYCLES cycles, lines: $out + $err + $few"
for sink in plain gzip one; do
    echo "$sink: $(find "$T/$sink" -type f | wc -l) files"
    gather_all "$sink" >"$T/$sink.all"
    assert_eq "$(tail -c 1 "$T/$sink.all" | od -An -c | tr -d ' ')" '\n' "the last byte"
    "$BIN/oracle" "${EXPECT[@]}" <"$T/$sink.all"
    assert_eq "$(wc -l <"$T/$sink.all")" "$((out + err + few))" "lines of $sink"
done
assert_ge "$(find "$T/gzip" -name '*.gz' | wc -l)" 2 "compressed files"
assert_ge "$(find "$T/one" -name 'all.log.*' | wc -l)" 5 "rotated files"
assert_eq "$(find "$T/gzip" -name '*.tmp')" '' "files left behind"
if grep -q 'bytes of somebody else' "$T/agent.log"; then
    fail "the end of a file was not known again"
fi
