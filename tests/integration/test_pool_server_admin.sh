#!/usr/bin/env bash
# The relay's surface: command line, admin API, the file of backends, signals, log lines.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/integration/relay.sh
. "$(dirname "$0")/relay.sh"
t_begin pool_server_admin
relay_begin

# ---- command line

# bad TEXT ARGS...: exit 2, and the text.
bad() {
    local rc=0
    timeout 5 "$BIN/pool_server" --port 0 --metrics '' "${@:2}" >"$T/bad.out" 2>&1 || rc=$?
    assert_eq "$rc" 2 "the exit code of ${*:2}"
    grep -qE -- "$1" "$T/bad.out" || fail "${*:2} says '$(<"$T/bad.out")', not '$1'"
}

command_lines() {
    local some=(--backend 127.0.0.1:1)
    bad 'did you mean .?--backend' --bakend 127.0.0.1:1
    bad 'backend.*(value|needs|argument)' --backend
    bad 'no backend: give --backend HOST:PORT'
    bad '--backend and --backends exclude' "${some[@]}" --backends "$T/file"
    bad '--proxy-header and --reuse clean exclude' "${some[@]}" --proxy-header --reuse clean
    bad 'need --tls-cert' "${some[@]}" --tls-key "$T/key"
    bad 'need --tls-cert' "${some[@]}" --tls-client-ca "$T/ca"
    bad 'need --backend-tls' "${some[@]}" --backend-ca "$T/ca"
    bad 'self-signed makes its own key' "${some[@]}" --tls-cert self-signed --tls-key "$T/key"
    bad 'backend-key needs --backend-cert' "${some[@]}" --backend-tls unverified --backend-key "$T/key"
    bad 'backend-ca needs --backend-tls verified' "${some[@]}" --backend-tls unverified --backend-ca "$T/ca"
    bad 'need a --health-interval' "${some[@]}" --health-interval 0 --health-send PING
    bad '--warm 60 is more than --max-connections 50' "${some[@]}" --warm 60
    bad 'exclude each other: the header' "${some[@]}" --proxy-header --backend-tls unverified --warm 1
    bad 'round-robin.*least-connections.*random.*p2c' "${some[@]}" --strategy fastest
    bad 'workers' "${some[@]}" --workers 0
    bad 'max-connections' "${some[@]}" --max-connections 0
    bad 'queue-timeout' "${some[@]}" --queue-timeout soon
    bad "'surplus' is no flag" "${some[@]}" surplus
    [[ $("$BIN/pool_server" --help) == 'usage: pool_server'* ]] || fail "no --help"
    [[ $("$BIN/pool_server" --version) == *[0-9]* ]] || fail "no --version"
}

# not_started TEXT ARGS...: exit 1, and the text.
not_started() {
    local rc=0
    timeout 5 "$BIN/pool_server" "${@:2}" >"$T/bad.out" 2>&1 || rc=$?
    assert_eq "$rc" 1 "the exit code of ${*:2}"
    grep -qE -- "$1" "$T/bad.out" || fail "${*:2} says '$(<"$T/bad.out")', not '$1'"
}

start_failures() {
    local some=(--backend 127.0.0.1:1)
    echo_start
    not_started "can't listen on .*$ECHO.*another program" --listen "127.0.0.1:$ECHO" --metrics '' \
        "${some[@]}"
    not_started "can't listen on .*$ECHO.*another program" --port 0 --metrics "127.0.0.1:$ECHO" \
        "${some[@]}"
    not_started 'nonsense' --port 0 --metrics '' --backend nonsense
    not_started "$T/gone: No such file" --port 0 --metrics '' --backends "$T/gone"
    not_started "$T/gone.pem: No such file" --port 0 --metrics '' "${some[@]}" --tls-cert "$T/gone.pem"
    printf '127.0.0.1:1\n127.0.0.1:2 weight=0\n' >"$T/broken"
    not_started "$T/broken: line 2: .*weight" --port 0 --metrics '' --backends "$T/broken"
}

# --port is of all addresses, IPv6 ones too.
port_of_all_addresses() {
    local port
    grep -q . /proc/net/if_inet6 2>/dev/null || return 0 # this machine has none
    port=$(t_free_port)
    echo_start
    "$BIN/pool_server" --port "$port" --metrics '' --backend "127.0.0.1:$ECHO" >>"$T/agent.log" 2>&1 &
    T_PIDS+=("$!")
    wait_until 5 "it listens" port_is_open "$port"
    PORT='' RELAY=$port py <<'EOF'
for host in ("127.0.0.1", "::1"):
    with socket.create_connection((host, RELAY), timeout=LIMIT) as sock:
        sock.sendall(b"?")
        assert sock.recv(1) == b"?", host
EOF
}

# ---- admin API

# Backends come and go under load, and no client is cut.
changes_under_load() {
    local ports=() i code
    for i in 1 2 3; do
        echo_start
        ports+=("$ECHO")
    done
    relay_start --backend "127.0.0.1:${ports[0]}" --backend "127.0.0.1:${ports[1]}" \
        --health-interval 200ms
    bench -reuse -clients 20 -requests 0 -duration 3s &
    local reusing=$!
    "$BIN/pool_bench" -server "127.0.0.1:$RELAY" -quiet -clients 4 -requests 0 -duration 3s \
        -json "$T/short.json" >"$T/short.out" &
    local short=$!
    while kill -0 "$reusing" 2>/dev/null; do
        for i in "${ports[@]}"; do
            code=$(admin POST "/api/v1/backends?address=127.0.0.1:$i&weight=$((RANDOM % 3 + 1))")
            [[ $code =~ ^(200|409)$ ]] || fail "adding answers $code"
        done
        i=${ports[RANDOM % 3]}
        assert_eq "$(admin POST "/api/v1/backends/drain?address=127.0.0.1:$i")" 200 "drain"
        [ "$i" = "${ports[0]}" ] || assert_eq "$(admin DELETE "/api/v1/backends?address=127.0.0.1:$i")" 200 "removal"
        sleep 0.02
    done
    wait "$reusing" || fail "a client was cut: $(<"$T/bench.out")"
    wait "$short" || fail "a client was refused: $(<"$T/short.out")"
    assert_eq "$(bench_value connections)" 20 "connections of clients that keep theirs"
    wait_until 5 "all have left" relay_is_quiet
}

drain_and_remove() {
    echo_start
    local first=$ECHO
    echo_start
    relay_start --backend "127.0.0.1:$first" --backend "127.0.0.1:$ECHO" --health-interval 0
    exec 7<>"/dev/tcp/127.0.0.1/$RELAY"
    echo hello >&7
    read -r -t 5 <&7
    wait_until 5 "the first has a client" backend_active_is "$first" 1
    assert_eq "$(admin POST "/api/v1/backends/drain?address=127.0.0.1:$first")" 200 drain
    assert_eq "$(backend "$first" state)" draining state
    bench -clients 2 -requests 20
    assert_eq "$(backend "$first" chosen)" 1 "clients of one that drains"
    assert_eq "$(admin DELETE "/api/v1/backends?address=127.0.0.1:$first")" 200 removal
    assert_eq "$(backend "$first" state)" '' "state of one that was removed"
    echo again >&7
    read -r -t 5 REPLY <&7
    assert_eq "$REPLY" again "the client of one that was removed"
    exec 7>&-
    wait_until 5 "it is freed" relay_log_has "$first: removed"
    assert_eq "$(admin POST "/api/v1/backends?address=127.0.0.1:$first&weight=3")" 200 adding
    assert_eq "$(backend "$first" weight)" 3 weight
    bench -clients 2 -requests 20
    assert_ge "$(backend "$first" chosen)" 28 "clients of one with three quarters of the weight"
}

# answers CODE METHOD PATH [CURL-ARGS...]
answers() {
    local code
    code=$(agent_http "$3" -X "$2" -o "$T/admin.json" -w '%{http_code}' "${@:4}")
    assert_eq "$code" "$1" "$2 $3"
    if [ "$code" = 400 ] || [ "$code" = 409 ]; then
        [ "$(jq -r .error "$T/admin.json")" != null ] || fail "$2 $3 does not say what is wrong"
    fi
}

admin_errors() {
    local at=/api/v1/backends
    relay_start --backend 127.0.0.1:1 --health-interval 0
    answers 400 POST "$at?address=nonsense"
    answers 400 POST "$at?address=127.0.0.1:0"
    answers 400 POST "$at?weight=2"
    answers 400 POST "$at?address=127.0.0.1:2&weight=0"
    answers 400 POST "$at?address=127.0.0.1:2&weight=1001"
    answers 400 POST "$at?address=127.0.0.1:2&weight=-1"
    answers 400 POST "$at?address=127.0.0.1:2&color=red"
    answers 409 POST "$at?address=127.0.0.1:1"
    answers 404 POST "$at/drain?address=127.0.0.1:2"
    answers 404 DELETE "$at?address=127.0.0.1:2"
    answers 404 GET /api/v1/nonsense
    answers 403 POST "$at?address=127.0.0.1:2" -H 'Origin: http://evil.example'
    answers 403 DELETE "$at?address=127.0.0.1:1" -H 'Origin: http://evil.example'
    assert_eq "$(agent_http $at | jq -c '[.[].address]')" '["127.0.0.1:1"]' backends
}

# A series is there once, whatever comes and goes.
no_series_twice() {
    echo_start
    relay_start --backend "127.0.0.1:$ECHO" --health-interval 0
    py <<EOF
client = connect()
client.sendall(b"?")
assert client.recv(1) == b"?"
for method in ("DELETE", "POST"):  # it is there still, for its last client, and there again
    path = f"http://127.0.0.1:{PORT}/api/v1/backends?address=127.0.0.1:$ECHO"
    urllib.request.urlopen(urllib.request.Request(path, method=method), timeout=LIMIT).close()
series = [line.rsplit(" ", 1)[0] for line in http("/metrics").splitlines() if line[0] != "#"]
twice = sorted({s for s in series if series.count(s) > 1})
assert not twice, f"{len(twice)} series are there twice, the first: {twice[0]}"
client.close()
EOF
}

# What is refused changes nothing.
conflict_changes_nothing() {
    echo '127.0.0.1:1 weight=7' >"$T/backends"
    relay_start --backends "$T/backends" --health-interval 0
    answers 409 POST '/api/v1/backends?address=127.0.0.1:1'
    assert_eq "$(backend 1 weight)" 7 "the weight after an error"
    answers 200 POST '/api/v1/backends/drain?address=127.0.0.1:1'
    answers 200 POST '/api/v1/backends?address=127.0.0.1:1'
    assert_eq "$(backend 1 weight)" 7 "the weight of one that has drained"
}

readiness() {
    relay_start --backend "127.0.0.1:$BACK1" --health-interval 200ms
    wait_until 5 "it is down" backend_is "$BACK1" down
    answers 503 GET /readyz
    echo_start "$BACK1"
    wait_until 5 "it is up" backend_is "$BACK1" up
    answers 200 GET /readyz
}

# ---- the file of backends

file_reload() {
    local one=127.0.0.1:1 two=127.0.0.1:2 three=127.0.0.1:3
    printf '# two of them\n\n%s weight=2 # with a weight\n%s\r\n' $one $two >"$T/backends"
    relay_start --backends "$T/backends" --health-interval 0
    file_is() { [ "$(agent_http /api/v1/backends | jq -c '[.[] | [.address, .weight]]')" = "$1" ]; }
    wait_until 5 "the file was read" file_is "[[\"$one\",2],[\"$two\",1]]"
    printf '%s weight=5\n%s\n' $one $three >"$T/backends.new"
    mv "$T/backends.new" "$T/backends"
    wait_until 5 "it was read when it changed" file_is "[[\"$one\",5],[\"$three\",1]]"
    # A file of the same stamp is read for a signal only.
    touch -r "$T/backends" "$T/stamp"
    printf '%s weight=6\n%s\n' $one $three >"$T/backends"
    touch -r "$T/stamp" "$T/backends"
    kill -HUP "$AGENT_PID"
    wait_until 5 "it was read for SIGHUP" file_is "[[\"$one\",6],[\"$three\",1]]"
    rm "$T/backends"
    wait_until 5 "that it is gone is logged" relay_log_has "$T/backends: No such file"
    file_is "[[\"$one\",6],[\"$three\",1]]" || fail "the backends went with the file"
}

# broken TEXT MESSAGE: nothing changes, and the log has file and line.
broken() {
    : >"$T/agent.log"
    printf '%b' "$1" >"$T/backends.new"
    mv "$T/backends.new" "$T/backends"
    kill -HUP "$AGENT_PID"
    wait_until 5 "the log says '$2' of '$1'" relay_log_has "$T/backends: $2"
    assert_eq "$(agent_http /api/v1/backends | jq -c '[.[].address]')" '["127.0.0.1:1"]' backends
}

file_broken() {
    echo 127.0.0.1:1 >"$T/backends"
    relay_start --backends "$T/backends" --health-interval 0
    broken '127.0.0.1:1\n127.0.0.1:2 wieght=2\n' 'line 2: .wieght=2. is not understood'
    broken '127.0.0.1:1\n\n127.0.0.1\n' 'line 3: '
    broken '127.0.0.1:1\n127.0.0.1:2 weight=1001\n' 'line 2: '
    broken '# nothing\n' 'it names no backend'
}

file_broken_elsewhere() {
    echo 127.0.0.1:1 >"$T/backends"
    relay_start --backends "$T/backends" --health-interval 0
    broken '127.0.0.1:1\n127.0.0.1:2\n127.0.0.1:1\n' 'line 3: .*twice'
    broken '127.0.0.1:1\n127.0.0.1:0\n' 'line 2: '
}

# ---- ends

# stop_begins ARGS...: a relay with one client (descriptor 7) that has been told to end.
stop_begins() {
    echo_start
    relay_start --backend "127.0.0.1:$ECHO" --health-interval 0 "$@"
    exec 7<>"/dev/tcp/127.0.0.1/$RELAY"
    echo hello >&7
    read -r -t 5 REPLY <&7
    kill -TERM "$AGENT_PID"
    wait_until 5 "it drains" relay_log_has 'draining: no new clients, 1 are connected'
}

sigterm_drains() {
    stop_begins
    assert_eq "$(status draining)" true draining
    answers 503 GET /readyz
    echo still >&7
    read -r -t 5 REPLY <&7
    assert_eq "$REPLY" still "the client's answer while it drains"
    exec 7>&-
    agent_wait 5
    assert_eq "$AGENT_STATUS" 0 "the exit code"
}

# A new client is told at once, not left to wait in the kernel's queue; and the port is free for the
# next relay.
sigterm_refuses() {
    stop_begins
    py <<'EOF'
def turned_away():
    try:
        sock = connect()
        sock.settimeout(1)
        return sock.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


until(turned_away, "a new client is refused", 4)
EOF
    exec 7>&-
    agent_wait 5
}

drain_timeout() {
    stop_begins --drain-timeout 300ms
    agent_wait 5
    assert_eq "$AGENT_STATUS" 0 "the exit code"
    relay_log_has '1 clients are cut after --drain-timeout' || fail "the log does not tell it"
    if read -r -t 5 REPLY <&7 2>/dev/null; then
        fail "the client got '$REPLY'"
    fi
    exec 7>&-
}

second_signal() {
    stop_begins --drain-timeout 60s
    kill -INT "$AGENT_PID"
    agent_wait 2
    assert_eq "$AGENT_STATUS" 0 "the exit code"
    exec 7>&-
}

# ---- lines of metrics

# They come every ten seconds; so this relay begins before all cases, and is looked at after them.
lines_begin() {
    echo_start
    relay_start --backend "127.0.0.1:$ECHO" --health-interval 1s --reuse clean
    bench -clients 4 -requests 10
    ln "$T/agent.log" "$T/lines.log"
    rm "$T/agent.log"
}

lines_of_metrics() {
    local line
    wait_until 15 "there are lines" grep -q 'Manager Metrics' "$T/lines.log"
    line=$(grep 'Pool Metrics' "$T/lines.log" | head -n 1)
    for part in "backend=127.0.0.1:" state=up active=0 idle= 'utilization=0\.0%' chosen=40 \
        created= 'reused=' failures=0 'health_checks=[1-9]' 'health_success=100\.0%' \
        'connect_ms=0\.' lifetime_s=; do
        [[ $line =~ $part ]] || fail "no '$part' in $line"
    done
    line=$(grep 'Manager Metrics' "$T/lines.log" | head -n 1)
    for part in backends=1 up=1 strategy=round-robin clients=0 accepted=40 'accepted_per_s=4\.0' \
        relayed=40 refused=0 cut=0 kept= mb_per_s= spliced= spread= failures=0; do
        [[ $line =~ $part ]] || fail "no '$part' in $line"
    done
}
export BACK1
BACK1=$(t_free_port)
lines_begin
for name in command_lines start_failures port_of_all_addresses changes_under_load \
    drain_and_remove admin_errors no_series_twice conflict_changes_nothing readiness file_reload file_broken \
    file_broken_elsewhere sigterm_drains sigterm_refuses drain_timeout second_signal \
    lines_of_metrics; do
    check "$name"
done
cases_end
