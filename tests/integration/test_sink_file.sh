#!/usr/bin/env bash
# The file sink in the agent: a file per container with the lines of `search -o json`, filters,
# SIGHUP, a reader of standard output that stands still, a full disk and a folder that refuses. Then
# two real containers.
# shellcheck disable=SC2016 # expanded by another shell
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
t_begin sink_file
ARCHIVE=$T/archive

sink() { # NAME FIELD
    agent_http /api/v1/status | jq -r --arg name "$1" ".sinks[] | select(.name == \$name) | .$2"
}
sink_is() { [ "$(sink "$1" "$2")" = "$3" ]; }
no_lag() { sink_is "$1" lag_lines 0; }

config() { # the sinks, as YAML
    printf 'sinks:\n%s\n' "$1" >"$T/config.yaml"
}
reload() {
    local before
    before=$(metric log_capturer_config_reloads_total || echo 0)
    kill -HUP "$AGENT_PID"
    wait_until 10 "the reload is done" metric_ge log_capturer_config_reloads_total $((before + 1))
}
# same_as_search FILE NAME: byte for byte
same_as_search() {
    search_json --container "$2" | cmp -s - "$1"
}
rotated_and_present() { # FILE
    local number
    for number in {300..1}; do
        [ ! -e "$1.$number.gz" ] || zcat "$1.$number.gz"
        [ ! -e "$1.$number" ] || cat "$1.$number"
    done
    cat "$1"
}
same_over_rotation() {
    search_json --container "$2" | cmp -s - <(rotated_and_present "$1")
}

# ---- a file per container
config "  archive: {type: file, path: \"$ARCHIVE/{container.name}.log\", format: json,
    rotate_size: 100MiB, keep: 5, exclude: {container: [\"fake-2\"]}}
  only: {type: file, path: \"$T/only.log\", format: raw, include: {container: [fake-0, fake-1],
    stream: [stderr]}}"
fake_start --containers 3 --lines 200 --stderr-every 3
agent_start -c "$T/config.yaml"
for name in fake-0 fake-1; do
    wait_until 20 "the lines of $name" same_as_search "$ARCHIVE/$name.log" "$name"
    assert_eq "$(wc -l <"$ARCHIVE/$name.log")" 200 "lines of $name"
done
printf 'h\303\244\377\001 \033[1mno text\n' >"$T/odd"
fake "emit?container=fake-0&stream=e" --data-binary "@$T/odd" >/dev/null
fake "emit?container=fake-1&n=50&size=3000" >/dev/null
fake "partial?container=fake-1&size=40000&interleave=1" >/dev/null
lines_are() { [ "$(wc -l <"$1")" = "$2" ]; }
wait_until 20 "the odd line" lines_are "$ARCHIVE/fake-0.log" 201
wait_until 20 "the long lines" lines_are "$ARCHIVE/fake-1.log" 252
wait_until 20 "fake-0 is as search shows it" same_as_search "$ARCHIVE/fake-0.log" fake-0
wait_until 20 "fake-1 is as search shows it" same_as_search "$ARCHIVE/fake-1.log" fake-1
assert_eq "$(cd "$ARCHIVE" && echo ./*)" "./fake-0.log ./fake-1.log" "files"
assert_eq "$(stat -c %a "$ARCHIVE/fake-0.log")" 640 "mode"
search_json --stream stderr --container fake-0 >"$T/stderr.lines"
search_json --stream stderr --container fake-1 >>"$T/stderr.lines"
wait_until 20 "stderr alone" lines_are "$T/only.log" "$(wc -l <"$T/stderr.lines")"
assert_eq "$(grep -c -a -F -f "$T/odd" "$T/only.log")" 1 "the exact bytes, with format raw"
wait_until 10 "all is delivered" no_lag archive
assert_eq "$(sink archive type)" file type
assert_eq "$(sink archive state)" running state
assert_eq "$(sink archive dead_letters)" 0 "dead letters"
assert_eq "$(sink archive lag_bytes)" 0 "lag"
assert_eq "$(sink archive delivered_lines)" "$((201 + 252))" "delivered lines"
metric_ge 'log_capturer_sink_lines_filtered_total{sink="archive"}' 200 || fail "filtered lines"

# ---- hostile names
fake "create?name=..%2F..%2F..%2Fevil&n=1&lines=3" >/dev/null
fake "create?name=..&n=1&lines=3" >/dev/null
fake "create?name=a%0Ab&n=1&lines=3" >/dev/null
some_files() { [ "$(find "$ARCHIVE" -type f | wc -l)" -ge 4 ]; }
wait_until 20 "files for hostile names" some_files
wait_until 10 "all is delivered" no_lag archive
assert_eq "$(find "$T" -name '*evil*' -not -path "$ARCHIVE/*")" '' "files elsewhere"
assert_eq "$(find "$ARCHIVE" -mindepth 1 -type d)" '' "folders"

# ---- SIGHUP: path, format, rotation, without losing or repeating a line
before=$(wc -l <"$ARCHIVE/fake-0.log")
fake "rate?container=fake-0&rate=2000" >/dev/null
config "  archive: {type: file, path: \"$T/second/{container.name}/{stream}.log\", format: logfmt,
    exclude: {container: [fake-1, fake-2]}}"
reload
moved() { [ -s "$T/second/fake-0/stderr.log" ] && [ -s "$T/second/fake-0/stdout.log" ]; }
wait_until 20 "files at the new path" moved
config "  archive: {type: file, path: \"$T/third/{container.name}.log\", format: json,
    rotate_size: 200KiB, keep: 0, compress: gzip, include: {container: [fake-0]}}"
reload
rotated() { [ "$(find "$T/third" -name 'fake-0.log.*.gz' | wc -l)" -ge 3 ]; }
wait_until 60 "rotated files" rotated
fake "rate?container=fake-0&rate=0" >/dev/null
sleep 0.3 # what the fake has written is captured, or the lag below shows it
wait_until 30 "all is delivered" no_lag archive
search_json --container fake-0 >"$T/fake-0.search"
{
    cat "$ARCHIVE/fake-0.log"
    cat "$T/second/fake-0/stdout.log" "$T/second/fake-0/stderr.log"
    rotated_and_present "$T/third/fake-0.log"
} >"$T/fake-0.files"
assert_ge "$(wc -l <"$ARCHIVE/fake-0.log")" "$before" "lines at the first path"
assert_eq "$(wc -l <"$T/fake-0.files")" "$(wc -l <"$T/fake-0.search")" "lines over three paths"
jq -r .time <"$T/fake-0.search" | sort >"$T/times.search"
sed -nE 's/^(\{"|)time[":=]*([^" ]*).*/\2/p' "$T/fake-0.files" | sort >"$T/times.files"
cmp "$T/times.search" "$T/times.files"
cmp <(head -n "$(wc -l <"$ARCHIVE/fake-0.log")" "$T/fake-0.search") "$ARCHIVE/fake-0.log"
# rotated_and_present is the end of what search shows
rotated_and_present "$T/third/fake-0.log" >"$T/third.all"
cmp <(tail -n "$(wc -l <"$T/third.all")" "$T/fake-0.search") "$T/third.all"
for file in "$T/third"/fake-0.log "$T/third"/fake-0.log.*[0-9]; do
    [ ! -e "$file" ] || [ "$(stat -c %s "$file")" -le 204800 ] || fail "$file is too large"
done
agent_stop
fake_stop TERM

# ---- standard output that nobody reads does not hold the files up
rm -rf "$T/data" "$ARCHIVE" "$T/docker.sock" "$T/control.sock"
fake_start --containers 2 --lines 100
mkfifo "$T/fifo"
exec 8<>"$T/fifo"
config "  archive: {type: file, path: \"$ARCHIVE/{container.name}.log\", format: json}
  out: {type: stdout, format: json}"
AGENT_WRAPPER=(bash -c 'exec "$@" >"$0"' "$T/fifo")
agent_start -c "$T/config.yaml"
AGENT_WRAPPER=()
fake "emit?container=fake-0&n=5000&size=500" >/dev/null
wait_until 30 "the file has all lines" lines_are "$ARCHIVE/fake-0.log" 5100
wait_until 10 "all is delivered" no_lag archive
assert_ge "$(sink out lag_lines)" 1000 "lag of standard output"
same_as_search "$ARCHIVE/fake-0.log" fake-0 || fail "fake-0.log is not what search shows"
# somebody reads after all: every line is there
wait_until 30 "the agent writes out" sink_is out state running
cat <&8 >"$T/fifo.out" &
reader=$!
T_PIDS+=("$reader")
wait_until 30 "standard output is up to date" no_lag out
fifo_whole() { [ "$(wc -l <"$T/fifo.out")" = 5200 ]; }
wait_until 10 "all lines came out of the fifo" fifo_whole
agent_stop
kill "$reader"
t_forget "$reader"
exec 8<&-
grep -F '"fake-0"' "$T/fifo.out" | cmp - "$ARCHIVE/fake-0.log"

# ---- the disk of the archive alone is full
mkdir "$T/disk"
if mount -t tmpfs -o size=1m tmpfs "$T/disk" 2>/dev/null; then
    unmount() {
        local rc=$?
        umount -l "$T/disk" 2>/dev/null || true
        t_end $rc
    }
    trap unmount EXIT
    rm -rf "$T/data"
    config "  archive: {type: file, path: \"$T/disk/{container.name}.log\", format: json}
  rotated: {type: file, path: \"$T/disk/r/{container.name}.log\", rotate_size: 64KiB, keep: 0,
    compress: gzip}
  other: {type: file, path: \"$T/other/{container.name}.log\", format: json}"
    head -c 900K /dev/zero >"$T/disk/ballast"
    agent_start -c "$T/config.yaml"
    fake "emit?container=fake-0&n=1500&size=300" >/dev/null
    full() { [[ $(sink "$1" state) =~ ^(retrying|open)$ ]]; }
    wait_until 30 "the archive is told to be full" full archive
    wait_until 30 "so are rotated files" full rotated
    wait_until 30 "the other sink goes on" same_as_search "$T/other/fake-0.log" fake-0
    no_lag other || fail "the other sink lags"
    captured_before=$(metric log_capturer_lines_captured_total)
    fake "emit?container=fake-1&n=500&size=200" >/dev/null
    wait_until 30 "capture goes on" metric_ge log_capturer_lines_captured_total \
        $((captured_before + 500))
    wait_until 30 "the other sink goes on still" same_as_search "$T/other/fake-1.log" fake-1
    agent_is_ready || fail "not ready because of a sink"
    agent_http /readyz | jq -e '.sink_problems | map(select(test("archive"))) | length == 1' \
        >/dev/null || fail "sink_problems does not name the archive: $(agent_http /readyz)"
    agent_kill # the half line is there
    agent_start -c "$T/config.yaml"
    wait_until 30 "the archive is told to be full again" full archive
    mount -o remount,size=32m "$T/disk"
    for name in fake-0 fake-1; do
        wait_until 60 "the archive of $name is whole" same_as_search "$T/disk/$name.log" "$name"
        wait_until 60 "the rotated files of $name are whole" same_over_rotation \
            "$T/disk/r/$name.log" "$name"
    done
    wait_until 10 "the archive runs" sink_is archive state running
    metric_ge 'log_capturer_sink_retries_total{sink="archive"}' 1 || fail "no retries counted"
    agent_stop

    # ---- a folder that may not be written
    rm -rf "$T/data" "$T/other"
    rm -rf "$T/disk/"*
    mount -o remount,ro "$T/disk"
    config "  archive: {type: file, path: \"$T/disk/{container.name}.log\", format: json}
  other: {type: file, path: \"$T/other/{container.name}.log\", format: json}"
    agent_start -c "$T/config.yaml"
    wait_until 30 "the archive is denied" sink_is archive state denied
    metric_eq 'log_capturer_sink_denied{sink="archive"}' 1 || fail "sink_denied"
    agent_http /readyz | jq -e '.sink_problems | map(select(test("archive"))) | length == 1' \
        >/dev/null || fail "sink_problems does not name the archive: $(agent_http /readyz)"
    wait_until 30 "the other sink goes on" same_as_search "$T/other/fake-0.log" fake-0
    mount -o remount,rw "$T/disk"
    wait_until 60 "the archive is whole" same_as_search "$T/disk/fake-0.log" fake-0
    wait_until 10 "the archive runs" sink_is archive state running
    metric_eq 'log_capturer_sink_denied{sink="archive"}' 0 || fail "sink_denied"
    agent_stop

    # the folder itself can't be made
    rm -rf "$T/data" "$T/other"
    mount -o remount,ro "$T/disk"
    config "  archive: {type: file, path: \"$T/disk/new/folder/{container.name}.log\"}
  other: {type: file, path: \"$T/other/{container.name}.log\", format: json}"
    agent_start -c "$T/config.yaml"
    wait_until 30 "the archive is denied" sink_is archive state denied
    wait_until 30 "the other sink goes on" same_as_search "$T/other/fake-0.log" fake-0
    mount -o remount,rw "$T/disk"
    wait_until 60 "the archive is whole" same_as_search "$T/disk/new/folder/fake-0.log" fake-0
    agent_stop
    umount "$T/disk"
else
    echo "no mount: the full disk and the folder that refuses are left out"
fi
fake_stop TERM

# ---- real containers
unset AGENT_DOCKER_HOST
rm -rf "$T/data" "$ARCHIVE"
t_image
config "  archive: {type: file, path: \"$ARCHIVE/{container.name}.log\", format: json,
    rotate_size: 100MiB, keep: 5}"
run_gen one --lines 3000 --stderr-every 4
one=$GEN_NAME
run_gen two --lines 2000 --big-every 100
two=$GEN_NAME
agent_start -c "$T/config.yaml" --set "capture.include.label=$TEST_LABEL=$RUN_ID"
wait_exited "$one"
wait_exited "$two"
wait_until 60 "all lines are captured" captured_quietly --expect one:o:1-2250 --expect one:e:1-750 \
    --expect two:o:1-2000
for name in "$one" "$two"; do
    wait_until 60 "the file of $name" same_as_search "$ARCHIVE/$name.log" "$name"
done
"$BIN/oracle" --expect one:o:1-2250 --expect one:e:1-750 <"$ARCHIVE/$one.log"
"$BIN/oracle" --expect two:o:1-2000 <"$ARCHIVE/$two.log"
agent_stop
