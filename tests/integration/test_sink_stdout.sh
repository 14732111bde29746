#!/usr/bin/env bash
# The stdout sink: its formats, a pipe that takes little by little, a kill in the middle of a line, a
# reader that goes away.
# shellcheck disable=SC2016 # expanded by another shell
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
t_begin sink_stdout

sink_out() {
    agent_http /api/v1/status | jq -r '.sinks[] | select(.name == "out") | .'"$1"
}
out_is() { [ "$(sink_out "$1")" = "$2" ]; }
lines_are() { [ "$(wc -l <"$1")" = "$2" ]; }
begin_agent() { # FORMAT TARGET
    AGENT_WRAPPER=(bash -c 'exec "$@" >"$0" 9>&- 8>&-' "$2")
    agent_start --set sinks.out.type=stdout --set "sinks.out.format=$1"
    AGENT_WRAPPER=()
}

fake_start --containers 2 --lines 300 --stderr-every 3

# ---- formats
begin_agent json "$T/json"
wait_until 20 "all lines" lines_are "$T/json" 600
agent_stop
for name in fake-0 fake-1; do
    grep -F "\"$name\"" "$T/json" | cmp - <(search_json --container "$name")
done
for format in text logfmt; do
    rm -rf "$T/data"
    begin_agent $format "$T/$format"
    wait_until 20 "all lines as $format" lines_are "$T/$format" 600
    agent_stop
    "$BIN/log_capturer" search --data-dir "$T/data" -o $format --container fake-0 >"$T/search"
    grep -E '^fake-0 |container=fake-0|name=fake-0|"?fake-0"?' "$T/$format" | sort >"$T/here"
    assert_eq "$(wc -l <"$T/here")" 300 "lines of fake-0 as $format"
    jq -r .line < <(search_json --container fake-0) | while read -r line; do
        grep -qF -- "$line" "$T/here" || fail "as $format this line is missing: $line"
    done
done
assert_eq "$(grep -c $'\033' "$T/text" || true)" 0 "colours outside of a terminal"

# ---- a pipe that takes 1,000 bytes at a time: no line is torn, doubled or lost
rm -rf "$T/data"
mkfifo "$T/fifo"
exec 8<>"$T/fifo"
begin_agent json "$T/fifo"
fake "emit?container=fake-0&n=3000&size=700" >/dev/null
dd bs=1000 status=none <&8 >"$T/slow" &
reader=$!
T_PIDS+=("$reader")
wait_until 60 "all lines came out" lines_are "$T/slow" 3600
assert_eq "$(jq -r .line <"$T/slow" | wc -l)" 3600 "whole lines"
grep -F '"fake-0"' "$T/slow" | cmp - <(search_json --container fake-0)

# ---- a kill while the pipe is full: nothing is lost; the lines of the last second may come again
kill "$reader"
t_forget "$reader"
fake "emit?container=fake-1&n=3000&size=700" >/dev/null
lags() { [ "$(sink_out lag_lines)" -ge 1000 ]; }
wait_until 30 "standard output lags" lags
agent_kill
cat <&8 >"$T/first" &
reader=$!
T_PIDS+=("$reader")
begin_agent json "$T/second"
caught_up() { out_is lag_lines 0; }
wait_until 30 "the second agent is up to date" caught_up
agent_stop
kill "$reader"
t_forget "$reader"
exec 8<&-
{ grep -F '"fake-1"' "$T/slow" || true; cat "$T/first"; echo; grep -F '"fake-1"' "$T/second"; } |
    grep -F '"fake-1"' | jq -cR 'fromjson? | select(.container.name == "fake-1")' | sort -u |
    wc -l >"$T/count"
assert_eq "$(<"$T/count")" 3300 "lines of fake-1 over both agents"
tail -n 2500 "$T/second" | cmp - <(search_json --container fake-1 | tail -n 2500)

# ---- the reader goes away: told, not fatal, and the rest goes on
rm -rf "$T/data" "$T/fifo"
mkfifo "$T/fifo"
exec 8<>"$T/fifo"
AGENT_WRAPPER=(bash -c 'exec "$@" >"$0" 8>&-' "$T/fifo")
agent_start --set sinks.out.type=stdout --set sinks.out.format=json \
    --set sinks.file.type=file --set "sinks.file.path=$T/files/{container.name}.log"
AGENT_WRAPPER=()
exec 8<&-
fake "emit?container=fake-0&n=500" >/dev/null
failing() { [[ $(sink_out state) =~ ^(retrying|open)$ ]]; }
wait_until 30 "the sink is told to fail" failing
file_is_whole() { search_json --container fake-0 | cmp -s - "$T/files/fake-0.log"; }
wait_until 30 "the file goes on" file_is_whole
agent_http /readyz | jq -e '.sink_problems | map(select(test("out"))) | length == 1' >/dev/null ||
    fail "sink_problems does not name it: $(agent_http /readyz)"
# another reader of the fifo gets all that waited
cat "$T/fifo" >"$T/late" &
reader=$!
T_PIDS+=("$reader")
wait_until 60 "it delivers again" out_is lag_lines 0
agent_stop
wait_until 10 "the reader has ended" t_has_ended "$reader"
t_forget "$reader"
grep -F '"fake-0"' "$T/late" | tail -n 500 | cmp - <(search_json --container fake-0 | tail -n 500)
