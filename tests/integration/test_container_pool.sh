#!/usr/bin/env bash
# container_pool on a real dockerd: made in parallel, taken, reset, replaced, killed under the users' feet, removed
# whichever way the process ends; and what it says when something is wrong.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/integration/pools.sh
. "$(dirname "$0")/pools.sh"
t_begin container_pool
redis_image
"$CONTAINER_POOL" clean --all >/dev/null
SOCKET=unix:$T/pool.sock

redis() { # ADDRESS COMMAND...
    local address=$1
    shift
    redis-cli -h "${address%:*}" -p "${address##*:}" "$@"
}

# ---- run: six at the same time, each ready and on a port of its own
cat >"$T/six.sh" <<'END'
set -eu
[ "$CONTAINER_POOL_SIZE" = 6 ]
for i in 1 2 3 4 5 6; do
    eval "address=\$CONTAINER_POOL_${i}_ADDRESS id=\$CONTAINER_POOL_${i}_ID port=\$CONTAINER_POOL_${i}_PORT_6379"
    [ "$address" = "$port" ]
    [ "$(redis-cli -p "${address##*:}" set me "$i")" = OK ]
    [ "$(docker inspect -f '{{.State.Running}}' "$id")" = true ]
done
for address in $(echo "$CONTAINER_POOL_ADDRESSES" | tr , ' '); do
    redis-cli -p "${address##*:}" get me
done | sort -u | wc -l
END
run_pool() {
    "$CONTAINER_POOL" run --presets "$PRESETS" "$@" 2>"$T/err"
}
assert_eq "$(run_pool --preset redis -- sh "$T/six.sh")" 6 "containers of their own"
no_pool_containers || fail "left: $(pool_containers)"
status=0
run_pool --preset redis --size 1 -- sh -c 'exit 3' || status=$?
assert_eq "$status" 3 "exit status of the command"
run_pool --preset redis --size 1 -- sh -c 'kill -9 $$' || status=$?
assert_eq "$status" 137 "exit status of a killed command"
run_pool --preset redis --size 1 -- "$T/there-is-none" || status=$?
assert_eq "$status" 127 "exit status where there is no command"
no_pool_containers || fail "left: $(pool_containers)"

# ---- what is wrong is said
refuses() { # PATTERN ARGS...
    local pattern=$1 status=0
    shift
    "$CONTAINER_POOL" run --size 2 "$@" -- true 2>"$T/err" || status=$?
    assert_eq "$status" 125 "exit status of $*"
    tr '\n' ' ' <"$T/err" | grep -qE "$pattern" || fail "not '$pattern' of $*: $(cat "$T/err")"
}
refuses 'image log_capturer-test/there-is-no-such-image:1 is not there and can.t be pulled' \
    --presets "$PRESETS" --preset absent
refuses 'not ready within 500ms: nothing listens on its port 6379; its last lines: starting up the disk is on fire' \
    --presets "$PRESETS" --preset silent
refuses 'ended with 3 before it was ready; its last lines: no configuration' --presets "$PRESETS" --preset crashing
refuses "there is no preset 'mysql'; there are: redpanda, kafka, postgres, redis, nginx" --preset mysql
refuses "socket|no such file|daemon" --presets "$PRESETS" --preset redis --docker "unix://$T/no-daemon.sock"
port=$(t_free_port)
socat "TCP-LISTEN:$port,bind=127.0.0.1,fork" - </dev/null >/dev/null 2>&1 &
T_PIDS+=($!)
port_is_taken() { ! t_port_is_free "$1"; }
wait_until 10 "port $port is taken" port_is_taken "$port"
refuses "port $port of the host, for container 0, is taken" --presets "$PRESETS" --preset redis --first-port "$port"
no_pool_containers || fail "left: $(pool_containers)"
port=$(t_free_port)
# shellcheck disable=SC2016 # the command expands it
assert_eq "$(run_pool --preset redis --size 2 --first-port "$port" -- sh -c 'echo $CONTAINER_POOL_ADDRESSES')" \
    "127.0.0.1:$port,127.0.0.1:$((port + 1))" "addresses from the first port on"

# ---- serve
serve_answers() {
    curl -sS --max-time 5 --unix-socket "$T/pool.sock" -f http://pool/healthz >/dev/null
}
serve() {
    "$CONTAINER_POOL" serve --presets "$PRESETS" --listen "$SOCKET" "$@" >>"$T/serve.log" 2>&1 9>&- &
    SERVE_PID=$!
    T_PIDS+=("$SERVE_PID")
    wait_until 20 "serve answers" serve_answers
}
end_serve() {
    kill -TERM "$SERVE_PID"
    wait_until 40 "serve has ended" t_has_ended "$SERVE_PID"
    wait "$SERVE_PID" || fail "serve ended with $?: $(tail -5 "$T/serve.log")"
    t_forget "$SERVE_PID"
    no_pool_containers || fail "left: $(pool_containers)"
}
ask() { # PATH [CURL-ARGS...]: prints the body and the status
    local path=$1
    shift
    curl -sS --max-time 60 --unix-socket "$T/pool.sock" -w '%{http_code}' "$@" "http://pool$path"
}
stat_of() {
    "$CONTAINER_POOL" stats --listen "$SOCKET" --output json | jq -r ".$1"
}
stat_is() {
    [ "$(stat_of "$1")" = "$2" ]
}

# Each way to reset: what one user wrote the next one does not see, unless nothing is reset.
for kind in redis cleared restarted fresh logged; do
    serve --preset "$kind" --size 1
    for i in 1 2; do
        eval "$("$CONTAINER_POOL" acquire --pid $$ --listen "$SOCKET")"
        expected=0
        [ "$kind" != logged ] || expected=$((i - 1))
        assert_eq "$(redis "$CONTAINER_POOL_ADDRESS" dbsize)" "$expected" "keys that user $i of $kind sees"
        redis "$CONTAINER_POOL_ADDRESS" set "key$i" value >/dev/null
        first=${first:-$CONTAINER_POOL_ID}
        "$CONTAINER_POOL" release --listen "$SOCKET"
    done
    if [ "$kind" = fresh ]; then
        [ "$first" != "$CONTAINER_POOL_ID" ] || fail "$kind: the same container twice"
    else
        assert_eq "$CONTAINER_POOL_ID" "$first" "$kind: the container"
    fi
    first=
    if [ "$kind" = logged ]; then
        assert_eq "$(docker network ls -q --filter label=log_capturer.container_pool | wc -l)" 1 "networks"
    fi
    end_serve
done
assert_eq "$(docker network ls -q --filter label=log_capturer.container_pool | wc -l)" 0 "networks left"

# Who dies, or goes, gives back.
serve --preset redis --size 2
sleep 1000 &
holder=$!
ask "/acquire?pid=$holder" -X POST >"$T/one"
curl -sSN --unix-socket "$T/pool.sock" -X POST "http://pool/acquire?hold=1" >"$T/two" &
connection=$!
is_taken() { stat_is taken "$1"; }
wait_until 20 "two are taken" is_taken 2
jq -e .address "$T/two" >/dev/null
assert_eq "$(stat_of held | jq length)" 2 "held containers"
status=$(ask "/acquire?ttl=60s&timeout=200ms" -X POST -o "$T/answer")
assert_eq "$status" 504 "status where none is free"
grep -q 'no container became free in time: 2 are taken' "$T/answer" || fail "$(cat "$T/answer")"
curl -sS --max-time 30 --unix-socket "$T/pool.sock" -X POST "http://pool/acquire?hold=1" -N >"$T/three" &
waiting=$!
kill "$holder"
got_third() { jq -e .address "$T/three" >/dev/null; }
wait_until 20 "who waits gets what the dead one held" got_third
kill "$connection" "$waiting"
wait_until 20 "closed connections give back" is_taken 0
ask "/acquire?ttl=200ms" -X POST -o /dev/null >/dev/null
wait_until 20 "time gives back" is_taken 0
for bad in '/acquire' '/acquire?pid=abc' '/acquire?pid=999999999' '/acquire?who=me' '/release?lease=' '/release?x=1'; do
    status=$(ask "$bad" -X POST -o "$T/answer")
    [[ $status == 40[04] ]] || fail "$bad: status $status"
    jq -e '.error | length > 20' "$T/answer" >/dev/null || fail "$bad: $(cat "$T/answer")"
done
status=$(ask /acquire?ttl=1s -X POST -H 'Origin: http://evil.example' -o /dev/null)
assert_eq "$status" 403 "status for another site's page"

# One that dies while nobody has it is replaced.
made=$(stat_of made)
docker kill "$(docker ps -q --filter label=log_capturer.container_pool | head -1)" >/dev/null
replaced() { [ "$(stat_of made)" -gt "$made" ] && stat_is available 2; }
wait_until 30 "a killed one is replaced" replaced
assert_eq "$(stat_of died)" 1 "deaths"
ask /metrics -o "$T/metrics" >/dev/null
for series in 'log_capturer_containers_made_total{pool="redis"} [1-9]' \
    'log_capturer_containers_died_total{pool="redis"} 1' \
    'log_capturer_containers_make_seconds_count{pool="redis"} [1-9]' \
    'log_capturer_containers_reset_seconds_count{pool="redis"} [1-9]' \
    'log_capturer_pool_acquired_total{pool="redis"} [1-9]'; do
    grep -qE "^$series" "$T/metrics" || fail "no $series in the metrics"
done
end_serve

# The number follows demand.
serve --preset redis --size 4 --min 1
is_made() { [ "$(stat_of made)" -ge "$1" ]; }
wait_until 30 "the first one" stat_is available 1
for _ in 1 2 3 4; do
    ask '/acquire?ttl=60s' -X POST -o /dev/null >/dev/null &
done
wait_until 30 "four are taken" is_taken 4
assert_eq "$(stat_of total)" 4 "at most"
end_serve

# ---- two hundred cases from eight threads, while containers are killed
cat >"$T/kill_some.sh" <<'END'
while sleep 0.3; do
    victim=$(docker ps -q --filter label=log_capturer.container_pool | shuf -n 1)
    [ -z "$victim" ] || docker kill "$victim"
done
END
bash "$T/kill_some.sh" >/dev/null 2>&1 9>&- &
killer=$!
T_PIDS+=("$killer")
for i in 1 2 3; do # until some were killed while they were used
    "$BIN/example_container_pool" --presets "$PRESETS" --preset cleared >"$T/suite" || fail "$(cat "$T/suite")"
    jq -e '.passed == 200 and .wrong == 0 and .containers_left == 0' "$T/suite" >/dev/null || fail "$(cat "$T/suite")"
    [ "$(jq .broken_containers "$T/suite")" -eq 0 ] || break
done
assert_ge "$(jq .broken_containers "$T/suite")" 1 "containers that were killed in use"
kill "$killer"
no_pool_containers || fail "left: $(pool_containers)"

# ---- nothing survives a process that is killed
serve --preset redis --size 3
wait_until 30 "three are there" stat_is available 3
kill -KILL "$SERVE_PID"
wait_until 40 "the reaper has removed them" no_pool_containers
t_forget "$SERVE_PID"

# ... nor one that is killed with its reaper, once the next one starts
serve --preset redis --size 3
wait_until 30 "three are there" stat_is available 3
pkill -KILL -P "$SERVE_PID" || fail "there is no reaper"
kill -KILL "$SERVE_PID"
wait_until 10 "it is gone" t_has_ended "$SERVE_PID"
t_forget "$SERVE_PID"
assert_eq "$(pool_containers | wc -l)" 3 "containers that are left"
run_pool --preset redis --size 1 -- docker ps -aq --filter label=log_capturer.container_pool >"$T/ids"
assert_eq "$(wc -l <"$T/ids")" 1 "containers while the next one runs"
grep -q 'removed 3 containers that a killed process had left' "$T/err" || fail "$(cat "$T/err")"

# ... or by hand; what belongs to a process that lives stays.
serve --preset redis --size 1
wait_until 30 "one is there" stat_is available 1
assert_eq "$("$CONTAINER_POOL" clean)" "0 removed, nothing is left"
assert_eq "$(pool_containers | wc -l)" 1 "containers of a living one"
"$CONTAINER_POOL" clean --all | grep -q '^removed pool-redis' || fail "clean --all has removed nothing"
end_serve
