#!/usr/bin/env bash
# What containers write is what is captured: streams, empty and unfinished lines, odd bytes, long
# lines, TTY, timestamps. Then what `search` finds of it and what `run` prints of it.
# shellcheck disable=SC2016 # expanded by another shell
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
t_begin basics
t_image
ONLY=(--set "capture.include.label=$TEST_LABEL=$RUN_ID")
MAX=204800
agent_start "${ONLY[@]}" --set capture.max_line=$MAX

lines_of() { # NAME STREAM: the lines as JSON strings
    search_json --container "$(gen_name "$1")" --stream "$2" | jq -c .line
}
lines_are() { # NAME STREAM TEXT
    [ "$(lines_of "$1" "$2")" = "$3" ]
}
expect_lines() { # NAME STREAM JSON-STRINGS...
    local name=$1 stream=$2 text
    shift 2
    text=$(printf '%s\n' "$@")
    wait_until 20 "lines of $name on $stream" lines_are "$name" "$stream" "$text"
}

# ---- both streams; empty lines; the last line has no newline
mixed='echo out1; echo err1 >&2; echo; echo "  two words  "; echo >&2; printf last; printf lasterr >&2'
run_sh mixed "$mixed"
RUN_OPTIONS=(-t)
run_sh tty 'echo out1; echo err1 >&2; echo; echo out2; printf last'
RUN_OPTIONS=()
run_sh bytes 'printf "a\000b\nx\377y\n\303\251\n\tt\r\n"; printf "\"q\\\\\n" >&2'
expect_lines mixed stdout '"out1"' '""' '"  two words  "' '"last"'
expect_lines mixed stderr '"err1"' '""' '"lasterr"'
expect_lines tty stdout '"out1"' '"err1"' '""' '"out2"' '"last"'
# json-file itself makes U+FFFD of what is not UTF-8; a carriage return is part of the line.
expect_lines bytes stdout '"a\u0000b"' '"x�y"' '"é"' '"\tt\r"'
expect_lines bytes stderr '"\"q\\"'

# ---- long lines: pieces of 16 KiB become one line again
run_gen long --lines 20 --size 100 --big-every 2 --big-size 100000 --stderr-every 3
RUN_OPTIONS=(-t)
run_gen longtty --lines 10 --size 100 --big-every 2 --big-size 100000
RUN_OPTIONS=()
# Exactly one and two pieces, one byte more and less.
run_sh edges 'for n in 16383 16384 16385 32767 32768 32769; do
    head -c $n /dev/zero | tr "\000" p; echo; echo between; done'
# Both streams have an open line of several pieces at the same time.
run_sh interleaved 'for i in 1 2 3 4 5; do head -c 20000 /dev/zero | tr "\000" a
    head -c 20000 /dev/zero | tr "\000" b >&2; echo; echo c >&2; done'
run_sh between 'head -c 20000 /dev/zero | tr "\000" a; echo err >&2; sleep 0.2
    head -c 20000 /dev/zero | tr "\000" a; echo'
run_sh toolong 'echo before; head -c 300000 /dev/zero | tr "\000" z; echo; echo after'
RUN_OPTIONS=(-t)
run_sh toolongtty 'echo before; head -c 300000 /dev/zero | tr "\000" z; echo; echo after'
RUN_OPTIONS=()

SEARCH_ARGS=(--container "$(gen_name long)")
wait_until 20 "long lines" captured_quietly --expect long:o:1-14 --expect long:e:1-6
SEARCH_ARGS=(--container "$(gen_name longtty)")
wait_until 20 "long lines of a TTY" captured_quietly --expect longtty:o:1-10
SEARCH_ARGS=()

lengths_of() { # NAME STREAM: "length truncated?" each
    search_json --container "$(gen_name "$1")" --stream "$2" |
        jq -r '"\(.line | length) \(.truncated // false)"' | tr '\n' ';'
}
lengths_are() {
    [ "$(lengths_of "$1" "$2")" = "$3" ]
}
wait_until 20 "lines that fill pieces" lengths_are edges stdout \
    '16383 false;7 false;16384 false;7 false;16385 false;7 false;32767 false;7 false;32768 false;7 false;32769 false;7 false;'
wait_until 20 "open lines of both streams (stdout)" lengths_are interleaved stdout \
    '20000 false;20000 false;20000 false;20000 false;20000 false;'
wait_until 20 "open lines of both streams (stderr)" lengths_are interleaved stderr \
    '20001 false;20001 false;20001 false;20001 false;20001 false;'
wait_until 20 "a line around another stream's" lengths_are between stdout '40000 false;'
wait_until 20 "the other stream's line" lengths_are between stderr '3 false;'
for name in toolong toolongtty; do
    wait_until 20 "a line over capture.max_line ($name)" lengths_are $name stdout \
        "6 false;$MAX true;5 false;"
done
assert_eq "$(metric log_capturer_lines_truncated_total)" 2 lines_truncated_total

# ---- the time of a line is dockerd's, to the nanosecond
run_gen times --lines 300 --rate 3000 --stderr-every 3
wait_exited "$GEN_NAME"
SEARCH_ARGS=(--container "$GEN_NAME")
wait_until 20 "all lines" captured_quietly --expect times:o:1-200 --expect times:e:1-100
SEARCH_ARGS=()
docker logs -t "$GEN_NAME" >"$T/docker.stdout" 2>"$T/docker.stderr"
for stream in stdout stderr; do
    search_json --container "$GEN_NAME" --stream $stream | jq -r '"\(.time) \(.line)"' >"$T/our.$stream"
    cmp "$T/docker.$stream" "$T/our.$stream" || fail "times or lines of $stream differ"
done

# ---- accounting: as many lines captured as are found
total=$(search_json | wc -l)
assert_eq "$(metric log_capturer_lines_captured_total)" "$total" lines_captured_total
assert_eq "$(metric log_capturer_capture_gaps_total)" 0 gaps

# ---- search
RUN_OPTIONS=(--label "fruit=red apple" --label empty=)
run_sh needle 'echo "alpha=1 beta"; echo "gamma (delta)" >&2; echo "alpha=22 end"; sleep 600'
RUN_OPTIONS=()
NEEDLE=$GEN_NAME NEEDLE_ID=$GEN_ID
expect_lines needle stdout '"alpha=1 beta"' '"alpha=22 end"'
expect_lines needle stderr '"gamma (delta)"'
search() { "$BIN/log_capturer" search --data-dir "$T/data" "$@"; }
count() { # EXPECTED SEARCH-ARGS...
    local expected=$1 found status=0
    shift
    found=$(search -o json "$@") || status=$?
    assert_eq "$(grep -c . <<<"$found")" "$expected" "number of lines of search $*"
    assert_eq "$status" $((expected == 0)) "exit status of search $*"
}
count 3 --container "$NEEDLE"
count 3 --container "${NEEDLE_ID:0:12}"
count 3 --container "$NEEDLE_ID"
count 3 --container "$RUN_ID-need*"
count 0 --container "$RUN_ID-nee"
count 3 --label "fruit=red apple"
count 3 --label "fruit=red*" --label empty
count 0 --label "fruit=blue*"
count 0 --label "fruit=red*" --label other
count 2 --container "$NEEDLE" --stream stdout
count 1 --container "$NEEDLE" --stream stderr
count 2 --container "$NEEDLE" alpha
count 1 --container "$NEEDLE" "gamma (delta)"
count 2 --container "$NEEDLE" --regex 'alpha=[0-9]+ (beta|end)$'
count 1 --container "$NEEDLE" --regex '^alpha=[0-9]{2}'
count 1 --container "$NEEDLE" --regex alpha end
count 0 --container "$NEEDLE" --regex '^beta'
second=$(search -o json --container "$NEEDLE" "gamma" | jq -r .time)
third=$(search -o json --container "$NEEDLE" "end" | jq -r .time)
count 1 --container "$NEEDLE" --stream stdout --since "$third"
count 2 --container "$NEEDLE" --stream stdout --until "$third" --since 1h
first=$(search -o json --container "$NEEDLE" "alpha=1 " | jq -r .time)
count 1 --container "$NEEDLE" --stream stdout --until "$first"
count 0 --container "$NEEDLE" --until 1h
count 3 --container "$NEEDLE" --since 2021-11-21T04:41:00Z
for bad in '--since yesterday' '--stream other' '-o yaml' '--regex (' '--nonsense 1' '--container'; do
    status=0
    # shellcheck disable=SC2086 # a flag and its value
    search $bad >/dev/null 2>"$T/err" || status=$?
    assert_eq "$status" 2 "exit status of search $bad"
    [ -s "$T/err" ] || fail "search $bad says nothing"
done
status=0
"$BIN/log_capturer" search --data-dir "$T/nowhere" >/dev/null 2>"$T/err" || status=$?
assert_eq "$status" 2 "exit status of search in a folder that is not there"

# ---- forms
search --container "$NEEDLE" alpha=1 | grep -qx "$NEEDLE *| alpha=1 beta" || fail "text form"
search -o logfmt --container "$NEEDLE" gamma >"$T/logfmt"
grep -q "^time=$second " "$T/logfmt" || fail "logfmt: time"
for part in "container_id=$NEEDLE_ID" "container=$NEEDLE" "image=$TEST_IMAGE" stream=stderr \
    'line="gamma (delta)"'; do
    grep -qF " $part" "$T/logfmt" || fail "logfmt has no $part"
done
search -o json --container "$NEEDLE" gamma | jq -e --arg id "$NEEDLE_ID" --arg name "$NEEDLE" \
    --arg image "$TEST_IMAGE" '.container == {id: $id, name: $name, image: $image}
    and .stream == "stderr" and (.daemon | length > 0)' >/dev/null || fail "json form"
search -o json >"$T/running.json"
agent_stop
search -o json >"$T/stopped.json"
cmp "$T/running.json" "$T/stopped.json" || fail "search finds other lines without the agent"

# ---- run prints what search prints
for format in json logfmt text; do
    rm -rf "$T/data"
    AGENT_WRAPPER=(bash -c 'exec "$@" >"$0"' "$T/stdout")
    agent_start "${ONLY[@]}" --output $format
    AGENT_WRAPPER=()
    printed() { [ "$(grep -c . "$T/stdout")" -ge $((total + 3)) ]; }
    wait_until 20 "run --output $format prints all lines" printed
    agent_stop
    # The columns of text depend on the names seen till then.
    search -o $format | LC_ALL=C sed 's/^\([^ ]*\) *| /\1 | /' | LC_ALL=C sort >"$T/expected"
    LC_ALL=C sed 's/^\([^ ]*\) *| /\1 | /' "$T/stdout" | LC_ALL=C sort | cmp - "$T/expected" || fail "run --output $format prints other lines"
    [ $format != json ] || jq -s length "$T/stdout" >/dev/null || fail "no JSON lines"
done
