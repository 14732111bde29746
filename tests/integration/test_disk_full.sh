#!/usr/bin/env bash
# The spool's disk is full: the agent stays, says so, loses nothing, and goes on when there is room.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
t_begin disk_full
t_image
mkdir "$T/data"
mount -t tmpfs -o size=64m tmpfs "$T/data" 2>/dev/null || t_skip "mount is not allowed"
unmount() {
    local rc=$?
    umount -l "$T/data" 2>/dev/null || true
    t_end $rc
}
trap unmount EXIT
ONLY=(--set "capture.include.label=$TEST_LABEL=$RUN_ID")

agent_start "${ONLY[@]}"
run_gen full --lines 0 --rate 500 --size 4000 --stderr-every 3 # 8 MiB wait in memory, then reading stops
wait_until 20 "lines" metric_ge log_capturer_lines_captured_total 1000
fill() { head -c 96M /dev/urandom >"$T/data/ballast" || true; }
fill 2>/dev/null
readyz_is() { [ "$(agent_http /readyz -o "$T/readyz" -w '%{http_code}')" = "$1" ]; }
stalled() {
    fill
    readyz_is 503 && metric_eq log_capturer_spool_stalled 1
}
wait_until 60 "the full disk is told" stalled
jq -e '.ready == false and any(.waiting_for[]; test("No space left"))' "$T/readyz" >/dev/null ||
    fail "no reason: $(cat "$T/readyz")"
assert_eq "$(agent_http /healthz -o /dev/null -w '%{http_code}')" 200 "/healthz while the disk is full"
assert_ge "$(metric log_capturer_spool_write_errors_total)" 1 "write errors"
agent_http /api/v1/status | jq -e '.spool.state == "stalled"' >/dev/null || fail "status"
# Reading stops: dockerd must not hold lines for a reader that does not read.
wait_until 30 "the streams are closed" metric_eq log_capturer_streams_active 0
assert_ge "$(metric 'log_capturer_streams_ended_total{reason="paused"}')" 1 "paused streams"
container_is "$GEN_NAME" running || fail "the container does not run on"
rss=$(agent_rss_kb)
kill -0 "$AGENT_PID"

# ---- room again
rm "$T/data/ballast"
wait_until 60 "ready again" readyz_is 200
assert_eq "$(metric log_capturer_spool_stalled)" 0 spool_stalled
before=$(metric log_capturer_lines_captured_total)
wait_until 60 "it goes on" metric_ge log_capturer_lines_captured_total $((before + 1000))

# ---- full again, and killed so
fill 2>/dev/null
wait_until 60 "full again" stalled
agent_kill
agent_spawn "${ONLY[@]}"
alive_or_told() { readyz_is 503 || readyz_is 200; }
wait_until 30 "it starts with a full disk" alive_or_told
rm -f "$T/data/ballast"
wait_until 60 "ready after the second time" readyz_is 200
docker stop -t 10 "$GEN_NAME" >/dev/null
out=$(docker logs --tail 100 "$GEN_NAME" 2>/dev/null | tail -n 1 | cut -d ' ' -f 3)
err=$(docker logs --tail 100 "$GEN_NAME" 2>&1 >/dev/null | tail -n 1 | cut -d ' ' -f 3)
wait_until 60 "all lines once" captured_quietly --expect "full:o:1-$out" --expect "full:e:1-$err"
captured --expect "full:o:1-$out" --expect "full:e:1-$err"
assert_eq "$(metric log_capturer_capture_gaps_total)" 0 gaps
echo "rss while full: $rss kB"
agent_stop
