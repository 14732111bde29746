#!/usr/bin/env bash
# The Loki sink against fake_loki: each answer judged, the target down, killed agents, reloads,
# filters. Every line arrives once; it comes twice only where the target took a batch and its answer
# never arrived (mode lost, a timeout, an agent killed in between), as at-least-once allows.
# LINES: of each of two containers, stdout and stderr.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/integration/sinks.sh
. "$(dirname "$0")/sinks.sh"
t_begin sink_loki_faults
: "${LINES_EACH:=20000}"
loki_start
URL=http://127.0.0.1:$LOKI_PORT

no_surprises() {
    assert_eq "$(loki_stat .unreadable)" 0 "pushes that fake_loki could not read"
    assert_eq "$(metric log_capturer_sink_dead_letters_total)" "${1:-0}" "dead letters"
    assert_eq "$(metric log_capturer_capture_gaps_total)" 0 gaps
}

fake_start --containers 2 --lines "$LINES_EACH" --stderr-every 3

# ---- every answer, under load
config <<EOF
output: {format: none}
sinks:
  central: {type: loki, url: "$URL/a", labels: [container, stream], timeout: 2s, retry_limit: 500ms,
            batch_lines: 500, batch_age: 100ms, concurrency: 4}
  file: {type: file, path: "$T/files/all.log", rotate_size: 0}
EOF
agent_start -c "$T/config.yaml"
arrived /a
fake "rate?rate=2000" >/dev/null

sends() { metric "log_capturer_sink_sends_total{sink=\"central\",verdict=\"$1\"}"; }
# What the file sink is behind: nothing, whatever the other does.
file_is_up_to_date() {
    local captured
    captured=$(metric log_capturer_lines_captured_total)
    wait_until 5 "the file has the $captured lines of now" metric_ge \
        'log_capturer_sink_lines_delivered_total{sink="file"}' "$captured"
}
answered() { # VERDICT COUNT STATUS-QUERY
    local before
    before=$(sends "$1")
    loki "$3" >/dev/null
    wait_until 20 "$3 is judged $1" metric_ge \
        "log_capturer_sink_sends_total{sink=\"central\",verdict=\"$1\"}" $((before + $2))
    file_is_up_to_date
    loki "answer" >/dev/null
    loki "mode?name=normal" >/dev/null
    wait_until 20 "it delivers again after $3" sink_is central running
}
answered retry 3 "answer?status=429"
answered retry 3 "answer?status=500&body=trouble"
answered retry 2 "answer?status=503"
answered unreachable 3 "mode?name=reset"
answered unreachable 1 "mode?name=hang"
answered denied 3 "answer?status=401"
answered denied 2 "answer?status=403"
answered denied 2 "answer?status=404"
loki "mode?name=bytes" >/dev/null
arrived /a
loki "mode?name=slow&ms=200" >/dev/null
arrived /a
loki "mode?name=normal" >/dev/null
arrived /a
no_surprises
echo "answers: $(loki_stat .answers -c), $(agent_http /metrics | grep -c '^log_capturer_sink_') series"
[ "$(loki_stat .max_open)" -le 6 ] || fail "$(loki_stat .max_open) connections of 4 lanes"

# ---- Retry-After is respected
before=$(loki_stat '.answers["429"]')
loki "answer?status=429&retry_after=4" >/dev/null
seen_429() { [ "$(loki_stat '.answers["429"]')" -gt "$before" ]; }
wait_until 10 "a 429" seen_429
started_us=${EPOCHREALTIME/[.,]/}
at=$(loki_stat '.answers["429"]')
more_429() { [ "$(loki_stat '.answers["429"]')" -gt "$at" ]; }
wait_until 20 "the next attempt" more_429
passed_ms=$(((${EPOCHREALTIME/[.,]/} - started_us) / 1000))
echo "Retry-After 4: the next attempt after $passed_ms ms"
# Lanes that were under way with the first one are answered 429 too; but none asks again before.
assert_ge "$passed_ms" 3000 "ms until the next attempt"
loki "answer" >/dev/null
arrived /a

# ---- denied: held, said, and the agent stays ready
loki "answer?status=401&body=no+org+id" >/dev/null
wait_until 10 "denied" sink_is central denied
assert_eq "$(agent_http /readyz -o "$T/ready.json" -w '%{http_code}')" 200 "/readyz while denied"
jq -e '.sink_problems | length == 1 and (.[0] | contains("central") and contains("401"))' \
    "$T/ready.json" >/dev/null || fail "sink_problems: $(cat "$T/ready.json")"
assert_eq "$(metric 'log_capturer_sink_denied{sink="central"}')" 1 log_capturer_sink_denied
wait_until 10 "lines wait" sink_lag_ge central 1000
file_is_up_to_date
loki "answer" >/dev/null
arrived /a
assert_eq "$(metric 'log_capturer_sink_denied{sink="central"}')" 0 log_capturer_sink_denied
agent_http /readyz | jq -e '(.sink_problems // []) == []' >/dev/null || fail "a problem stays"

# ---- the target is down under load, and back
loki_stop
wait_until 20 "the circuit is open" sink_is central open
assert_eq "$(metric 'log_capturer_sink_circuit_open{sink="central"}')" 1 circuit_open
wait_until 20 "lines wait" sink_lag_ge central 5000
file_is_up_to_date
assert_eq "$(agent_http /readyz -o /dev/null -w '%{http_code}')" 200 "/readyz while it is down"
for ((i = 0; i < 3; i++)); do # up and down again in the middle of catching up
    loki_start
    wait_until 20 "some lines arrive" loki_stat_ge .kept 1
    loki_stop
done
loki_start
fake "rate?rate=0" >/dev/null
arrived /a
wait_until 10 "no lag" sink_lag_is central 0
no_surprises
want_all
"$BIN/oracle" --quiet "${WANTED[@]}" <"$T/files/all.log"

# ---- one bad line among 10,000
printf 'this line is poison\n' >"$T/poison"
fake "emit?container=fake-0&n=5000" >/dev/null
fake "emit?container=fake-0" --data-binary "@$T/poison" >/dev/null
loki "reject?text=is+poison" >/dev/null
fake "emit?container=fake-0&n=5000" >/dev/null
wait_until 30 "the bad line is put aside" metric_eq \
    'log_capturer_sink_dead_letters_total{sink="central"}' 1
arrived /a
dead_letters central | jq -e '.record.line == "this line is poison" and .status == 400 and
    (.reason | contains("not acceptable")) and .record.container.name == "fake-0"' >/dev/null ||
    fail "dead letters: $(dead_letters central)"
assert_eq "$(dead_letters central | wc -l)" 1 "dead letters in the file"
grep -q "is poison" "$T/taken.jsonl" && fail "the bad line arrived"
no_surprises 1
loki reject >/dev/null
agent_stop

# ---- an answer that gets lost: the batch comes again, nothing is missing
agent_start -c "$T/config.yaml"
loki "mode?name=lost" >/dev/null
fake "emit?n=200" >/dev/null
wait_until 20 "unreachable" metric_ge \
    'log_capturer_sink_sends_total{sink="central",verdict="unreachable"}' 1
loki "mode?name=normal" >/dev/null
want_all
wait_until 20 "no lag" sink_lag_is central 0
taken /a "${WANTED[@]}" --allow-doubled --quiet

# ---- kill -9 in the middle: nothing missing; what comes twice was sent in the last second
fake "rate?rate=5000" >/dev/null
for ((cycle = 0; cycle < 5; cycle++)); do
    sleep "0.$((RANDOM % 9 + 1))" # the random moment is the test
    agent_kill
    agent_start -c "$T/config.yaml"
done
fake "rate?rate=0" >/dev/null
want_all
caught_up() {
    [ "$(metric log_capturer_lines_captured_total)" -ge 1 ] && sink_lag_is central 0 &&
        captured_quietly "${WANTED[@]}"
}
wait_until 60 "all is captured and delivered" caught_up
taken /a "${WANTED[@]}" --allow-doubled --quiet
# The file has each line once, whatever was killed.
file_is_whole() { "$BIN/oracle" --quiet "${WANTED[@]}" <"$T/files/all.log" >/dev/null; }
wait_until 10 "each line once in the file" file_is_whole
agent_stop
