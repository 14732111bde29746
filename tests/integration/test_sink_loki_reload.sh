#!/usr/bin/env bash
# SIGHUP changes, adds, removes and renames sinks under load: each name takes each line once. Filters
# of sinks by container, label and stream. Secrets that change while the agent runs.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/integration/sinks.sh
. "$(dirname "$0")/sinks.sh"
t_begin sink_loki_reload
loki_start
URL=http://127.0.0.1:$LOKI_PORT
fake_start --containers 2 --lines 5000 --stderr-every 3
LOKI="type: loki, labels: [container, stream], retry_limit: 500ms, timeout: 2s"

# sinks YAML...: one of each argument, below `sinks`.
sinks() {
    local sink
    {
        echo "output: {format: none}"
        echo "sinks:"
        for sink in "$@"; do
            echo "  $sink"
        done
    } | config
}
no_surprises() {
    assert_eq "$(loki_stat .unreadable)" 0 "pushes that fake_loki could not read"
    assert_eq "$(cat "$T"/data/sinks/*.dead.jsonl 2>/dev/null | wc -l)" 0 "dead letters"
    assert_eq "$(metric log_capturer_capture_gaps_total)" 0 gaps
}
A="a: {$LOKI, url: '$URL/a'"

sinks "$A}"
agent_start -c "$T/config.yaml"
arrived /a
fake "rate?rate=2000" >/dev/null

# ---- changed again and again
for options in "batch_lines: 100" "batch_lines: 100, concurrency: 8" "batch_age: 5s" \
    "batch_age: 0s, batch_size: 4KiB" "concurrency: 1"; do
    sinks "$A, $options}"
    reload
    wait_until 10 "a runs again with $options" sink_is a running
done
arrived /a

# ---- another beside it: it takes all from the beginning; a goes on undisturbed
sinks "$A, concurrency: 1}" "b: {$LOKI, url: '$URL/b'}"
reload
arrived /b
arrived /a
# ---- it goes, lines come, it is back where it was
sinks "$A, concurrency: 1}"
reload
no_b() { [ -z "$(sink_status b state)" ]; }
wait_until 10 "b is gone" no_b
[ -z "$(metric 'log_capturer_sink_lines_delivered_total{sink="b"}' || true)" ] ||
    fail "series of a sink that is gone"
arrived /a
sinks "$A}" "b: {$LOKI, url: '$URL/b', concurrency: 3}"
reload
arrived /b
# ---- renamed: the new name begins at the beginning, what the old one had stays whole
sinks "$A}" "c: {$LOKI, url: '$URL/c'}"
reload
wait_until 10 "b is gone" no_b
arrived /c
taken /b --quiet # without a hole
# ---- two changes at once, faster than the first is done with
for ((i = 0; i < 10; i++)); do
    sinks "$A, batch_lines: $((i + 50))}" "c: {$LOKI, url: '$URL/c', batch_lines: $((i + 60))}"
    kill -HUP "$AGENT_PID"
done
arrived /a
arrived /c

# ---- a file that is refused changes nothing
before=$(metric log_capturer_config_reload_failures_total)
sinks "$A}" "c: {type: loki, url: 'no-url'}"
kill -HUP "$AGENT_PID"
wait_until 10 "it is refused" metric_eq log_capturer_config_reload_failures_total $((before + 1))
arrived /c

# ---- changed and removed while the target hangs: nothing missing, nothing twice
sinks "$A, concurrency: 1}"
reload
wait_until 10 "a runs" sink_is a running
loki "mode?name=hang" >/dev/null
sinks "$A, concurrency: 1, batch_lines: 33}"
reload
wait_until 10 "lines wait" sink_lag_ge a 1000
sinks "$A, concurrency: 1, batch_lines: 44}"
reload
loki "mode?name=normal" >/dev/null
wait_until 20 "a runs" sink_is a running
arrived /a
no_surprises

# ---- changed while the target is not there
loki "answer?status=404" >/dev/null
wait_until 10 "denied" sink_is a denied
sinks "$A, concurrency: 1, batch_lines: 55}"
reload
wait_until 10 "still denied" sink_is a denied
loki answer >/dev/null
arrived /a

fake "rate?rate=0" >/dev/null
arrived /a
no_surprises

# ---- secrets: a token that changes, tenants, basic authentication
umask 077
echo "first-token" >"$T/token"
loki "require?header=Authorization&value=Bearer+first-token" >/dev/null
sinks "$A, bearer_token_file: '$T/token'}"
reload
wait_until 10 "it runs" sink_is a running
fake "emit?n=10" >/dev/null
arrived /a
loki "require?header=Authorization&value=Bearer+second-token" >/dev/null
fake "emit?n=10" >/dev/null
wait_until 10 "the first token is refused" sink_is a denied
echo "second-token" >"$T/token"
arrived /a
rm "$T/token"
fake "emit?n=10" >/dev/null
wait_until 10 "a missing token is denied" sink_is a denied
sink_status a problem | grep -q "$T/token" || fail "problem: $(sink_status a problem)"
echo "second-token" >"$T/token"
chmod 644 "$T/token"
fake "emit?n=10" >/dev/null
readable() { sink_status a problem | grep -q chmod; }
wait_until 10 "a token that everybody may read is denied" readable
chmod 600 "$T/token"
arrived /a
printf 'pass:word' >"$T/password"
loki "require?header=Authorization&value=Basic+$(printf 'me:pass:word' | base64)" >/dev/null
sinks "$A, username: me, password_file: '$T/password'}"
reload
fake "emit?n=10" >/dev/null
arrived /a
loki "require?header=X-Scope-OrgID&value=tenant-1" >/dev/null
fake "emit?n=10" >/dev/null
wait_until 10 "without a tenant it is denied" sink_is a denied
sinks "$A, tenant: tenant-1}"
reload
arrived /a
loki require >/dev/null
no_surprises
agent_stop

# ---- filters
rm -rf "$T/data" "$T/taken.jsonl"
loki_stop
loki_start
fake destroy >/dev/null
fake "create?name=web-1&lines=300&stderr-every=3&label=tier=front" >/dev/null
fake "create?name=web-2&lines=300&stderr-every=3&label=tier=back" >/dev/null
fake "create?name=noisy-1&lines=300&stderr-every=3&label=tier=back&label=nolog=1" >/dev/null
sinks "all: {$LOKI, url: '$URL/all'}" \
    "byname: {$LOKI, url: '$URL/byname', include: {container: ['web-*', 'x']}}" \
    "notname: {$LOKI, url: '$URL/notname', exclude: {container: ['noisy-*']}}" \
    "bylabel: {$LOKI, url: '$URL/bylabel', include: {label: ['tier=b*']}}" \
    "notlabel: {$LOKI, url: '$URL/notlabel', exclude: {label: [nolog]}}" \
    "out: {$LOKI, url: '$URL/out', include: {stream: [stdout]}}" \
    "err: {$LOKI, url: '$URL/err', exclude: {stream: [stdout]}}" \
    "mixed: {$LOKI, url: '$URL/mixed', include: {label: [tier], stream: [stderr]}, exclude: {container: ['*-1']}}"
agent_start -c "$T/config.yaml"
arrived /all
# has PATH CONTAINERS STREAMS: those and no others, whole.
has() {
    local name wanted=() got
    for name in $2; do
        [[ $3 != *out* ]] || wanted+=(--expect "$name:o:1-200")
        [[ $3 != *err* ]] || wanted+=(--expect "$name:e:1-100")
    done
    wait_until 20 "no lag of ${1#/}" sink_lag_is "${1#/}" 0
    wait_until 20 "$1 has $2" taken_quietly "$1" "${wanted[@]}"
    got=$(grep -F "{\"path\":\"$1/" "$T/taken.jsonl" | jq -r .labels.container | sort -u | tr '\n' ' ')
    assert_eq "$got" "$2 " "containers at $1"
    got=$(grep -F "{\"path\":\"$1/" "$T/taken.jsonl" | jq -r .labels.stream | sort -u | tr '\n' ' ')
    assert_eq "$got" "$3 " "streams at $1"
}
has /all "noisy-1 web-1 web-2" "stderr stdout"
has /byname "web-1 web-2" "stderr stdout"
has /notname "web-1 web-2" "stderr stdout"
has /bylabel "noisy-1 web-2" "stderr stdout"
has /notlabel "web-1 web-2" "stderr stdout"
has /out "noisy-1 web-1 web-2" stdout
has /err "noisy-1 web-1 web-2" stderr
has /mixed web-2 stderr
assert_eq "$(metric 'log_capturer_sink_lines_filtered_total{sink="byname"}')" 300 "lines filtered out"
assert_eq "$(metric 'log_capturer_sink_lines_filtered_total{sink="mixed"}')" 800 "lines filtered out"
no_surprises
agent_stop
