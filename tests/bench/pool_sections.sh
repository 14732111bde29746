# shellcheck shell=bash
# shellcheck disable=SC2034 # lists are for quotients, by name
# The sections of run.sh about pools, the relay and containers for tests, on top of its helpers.

RELAY_PORT=8080
HAPROXY_PORT=8090
ECHO_PORTS=(9001 9002)
RELAY_ROUNDS=${RELAY_ROUNDS:-15}
RELAY_SECONDS=${RELAY_SECONDS:-1}
RELAY_NS=''
RELAY_IN=() # what runs a command where the relay is
RELAY_WRAPPER=()
RELAY_PIDS=()

# relay_begin: a network of its own, where that can be had, so that ports of closed connections are nobody else's.
relay_begin() {
    local port
    if [ "$(id -u)" = 0 ] && ip netns add "bench$$" 2>/dev/null; then
        RELAY_NS=bench$$
        RELAY_IN=(ip netns exec "$RELAY_NS")
        "${RELAY_IN[@]}" ip link set lo up
        "${RELAY_IN[@]}" sysctl -qw net.ipv4.ip_local_port_range='10000 65000' net.core.somaxconn=8192 2>/dev/null || true
    fi
    for port in "${ECHO_PORTS[@]}"; do
        relay_run "$BIN/pool_bench" --echo "$port"
    done
}

# relay_run COMMAND...: in the background; sets RELAY_PID.
relay_run() {
    "${RELAY_IN[@]}" "$@" >>"$T/relay.log" 2>&1 9>&- &
    RELAY_PID=$!
    RELAY_PIDS+=("$RELAY_PID")
    T_PIDS+=("$RELAY_PID")
}

relay_end() {
    local pid
    for pid in "${RELAY_PIDS[@]}"; do
        t_end_process "$pid" || true
        t_forget "$pid"
    done
    RELAY_PIDS=()
    [ -z "$RELAY_NS" ] || ip netns del "$RELAY_NS"
    RELAY_NS='' RELAY_IN=()
}

relay_listens() { "${RELAY_IN[@]}" bash -c "exec 3<>/dev/tcp/127.0.0.1/$1" 2>/dev/null; }

# relay_server ARGS...: sets SERVER_PID. RELAY_WRAPPER=(prlimit ...) is put before the command.
relay_server() {
    local backends
    mapfile -t backends < <(printf -- '--backend\n127.0.0.1:%s\n' "${ECHO_PORTS[@]}")
    relay_run ${RELAY_WRAPPER[@]+"${RELAY_WRAPPER[@]}"} "$BIN/pool_server" --listen "127.0.0.1:$RELAY_PORT" --workers 2 "$@" \
        "${backends[@]}"
    SERVER_PID=$RELAY_PID
    wait_until 10 "pool_server listens" relay_listens "$RELAY_PORT"
}

relay_http() { "${RELAY_IN[@]}" curl -sS --max-time 10 "http://127.0.0.1:8002$1"; }

# load PORT ARGS...: sets LOAD to pool_bench's JSON; errors end the run unless LOAD_MAY_FAIL is set
load() {
    local port=$1
    shift
    LOAD=$("${RELAY_IN[@]}" "$BIN/pool_bench" --server "127.0.0.1:$port" --json - --quiet "$@" 2>>"$T/relay.log") ||
        [ -n "${LOAD_MAY_FAIL:-}" ] || fail "pool_bench $*: $(jq -c .errors <<<"$LOAD")"
}
of_load() { jq -r "$1" <<<"$LOAD"; }

# ---- the pool

run_pool() {
    local round pool_ns=() queue_ns=() few=() fair=() unfair=() allocated=0
    for ((round = 1; round <= ROUNDS; round++)); do
        progress "round $round of $ROUNDS"
        "$BIN/bench_pool" >"$T/pool"
        pool_ns+=("$(jq .pool_ns "$T/pool")")
        queue_ns+=("$(jq .queue_ns "$T/pool")")
        few+=("$(jq '.crowds[1].pool_per_s' "$T/pool")")
        fair+=("$(jq '.crowds[1].fair_per_s' "$T/pool")")
        unfair+=("$(jq '.crowds[1].unfair_per_s' "$T/pool")")
        allocated=$((allocated + $(jq .allocated_bytes "$T/pool")))
    done
    row "ns of acquire and release, one thread" "$(median "${pool_ns[@]}")" ns "$(median "${queue_ns[@]}")" \
        "mutex and list alone" "<= 60 ns" "$(median_ratio pool_ns queue_ns)"
    row "bytes allocated by 5,000,000 of them" "$allocated" '' - - 0
    row "acquires/s, 8 threads, 4 resources" "$(median "${few[@]}")" '' "$(median "${fair[@]}")" "fair queue" \
        ">= 10 x" "$(median_ratio few fair)"
    row "the same" "$(median "${few[@]}")" '' "$(median "${unfair[@]}")" "unfair queue" - \
        "$(median_ratio few unfair)"
    mapfile -t few < <(quotients few fair)
    note "ratio to the fair queue, least-most: $(range "${few[@]}")"
}

# ---- the relay beside HAProxy

haproxy_start() {
    local port index=0
    {
        printf 'global\n  nbthread 2\n  maxconn 4500\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n'
        printf '  timeout server 60s\n  option splice-auto\nfrontend f\n  bind 127.0.0.1:%s\n' $HAPROXY_PORT
        printf '  default_backend b\nbackend b\n  balance roundrobin\n'
        for port in "${ECHO_PORTS[@]}"; do
            printf '  server s%s 127.0.0.1:%s check inter 5s\n' $((++index)) "$port"
        done
    } >"$T/haproxy.cfg"
    relay_run haproxy -db -f "$T/haproxy.cfg"
    HAPROXY_PID=$RELAY_PID
    wait_until 10 "HAProxy listens" relay_listens $HAPROXY_PORT
}

# beside NAME WHAT UNIT ARGS...: alternating rounds of load; WHAT is the member that is the rate.
beside() {
    local name=$1 what=$2 unit=$3 round cpu port pid prefix
    local our_rate=() their_rate=() our_p99=() their_p99=() our_p50=() their_p50=() our_cpu=() their_cpu=()
    shift 3
    for ((round = 1; round <= RELAY_ROUNDS; round++)); do
        progress "$name, round $round of $RELAY_ROUNDS"
        for prefix in our their; do
            port=$RELAY_PORT pid=$SERVER_PID
            [ $prefix = our ] || port=$HAPROXY_PORT pid=$HAPROXY_PID
            cpu=$(cpu_ns_of "$pid")
            load $port --requests 0 --duration "${RELAY_SECONDS}s" "$@"
            cpu=$(calc "($(cpu_ns_of "$pid") - $cpu) / 1000")
            eval "${prefix}_rate+=(\"\$(of_load $what)\")"
            eval "${prefix}_p50+=(\"\$(of_load .latency.p50_ms)\")"
            eval "${prefix}_p99+=(\"\$(of_load .latency.p99_ms)\")"
            eval "${prefix}_cpu+=(\"\$(calc \"$cpu / $(of_load '.requests * 2 * .size_bytes') * 1000\" 6)\")"
        done
    done
    row "$name" "$(median "${our_rate[@]}")" "$unit" "$(median "${their_rate[@]}")" HAProxy ">= 1" \
        "$(median_ratio our_rate their_rate)"
    row "p50 of a request, $name" "$(median "${our_p50[@]}")" ms "$(median "${their_p50[@]}")" HAProxy "<= 1" \
        "$(median_ratio our_p50 their_p50)"
    row "p99 of a request, $name" "$(median "${our_p99[@]}")" ms "$(median "${their_p99[@]}")" HAProxy "<= 1" \
        "$(median_ratio our_p99 their_p99)"
    row "CPU s per GB, $name" "$(median "${our_cpu[@]}")" s "$(median "${their_cpu[@]}")" HAProxy "<= 1" \
        "$(median_ratio our_cpu their_cpu)"
    mapfile -t our_rate < <(quotients our_rate their_rate)
    note "ratio of the rates, least-most of $RELAY_ROUNDS: $(range "${our_rate[@]}")"
}

run_relay() {
    local SERVER_PID HAPROXY_PID
    command -v haproxy >/dev/null || fail "no haproxy: tools/install-deps.sh bench"
    relay_begin
    relay_server --max-connections 5000 --metrics ''
    haproxy_start
    beside "connections/s, 64 clients" .connections_per_s '' --clients 64
    beside "requests/s, 64 clients" .requests_per_s '' --clients 64 --reuse
    beside "requests/s, 1,000 clients" .requests_per_s '' --clients 1000 --reuse
    beside "MB/s, 4 clients, 4 MiB each" .mb_per_s '' --clients 4 --reuse --size 4MiB
    relay_end
}

# ---- many connections, and what is left of them

relay_fds() {
    local fds=("/proc/$SERVER_PID/fd/"*)
    echo "${#fds[@]}"
}
relay_rss_kb() { awk '$1 == "VmRSS:" { print $2 }' "/proc/$SERVER_PID/status"; }
relay_is_quiet() { [ "$(relay_fds)" -le "$1" ]; }

# crowd CLIENTS: three times so many at once; descriptors and memory behind them.
crowd() {
    local count=$1 quiet before round rss=()
    quiet=$(relay_fds)
    for round in 1 2 3; do
        progress "$count clients, round $round of 3"
        load $RELAY_PORT --clients "$count" --reuse --requests 20 --duration 60s --timeout 60s --threads 2
        wait_until 30 "their descriptors are closed" relay_is_quiet "$quiet"
        rss+=("$(relay_rss_kb)")
    done
    row "errors of $count clients at once, 3 x 20 requests" "$(of_load .errors.all)" '' - - 0
    row "descriptors left by 3 x $count clients" $(($(relay_fds) - quiet)) '' - - 0
    row "KiB resident, after the third crowd / first" "${rss[2]}" KiB "${rss[0]}" "first" "slope 0"
}

run_relay_many() {
    local SERVER_PID limit allowed
    relay_begin
    relay_server --max-connections 30000 --metrics 127.0.0.1:8002
    crowd 1000
    crowd 5000
    limit=$(ulimit -n)
    allowed=$(relay_http /api/v1/status | jq .max_clients)
    if [ "$allowed" -gt 25000 ]; then
        note "descriptors: limit $limit, clients allowed $allowed; 25,000 is what the ports of one address allow here"
        allowed=25000
    fi
    crowd "$allowed"
    t_end_process "$SERVER_PID" || true
    RELAY_WRAPPER=(prlimit --nofile=600:600)
    relay_server --max-connections 30000 --metrics 127.0.0.1:8002
    RELAY_WRAPPER=()
    allowed=$(relay_http /api/v1/status | jq .max_clients)
    LOAD_MAY_FAIL=1 load $RELAY_PORT --clients $((allowed * 2)) --reuse --requests 50 --duration 20s
    row "requests of $((allowed * 2)) clients where $allowed are allowed" "$(of_load .requests)" '' - - "> 0"
    row "refused at once" "$(of_load .errors.refused)" '' - - "> 0"
    row "errors of other kinds" "$(of_load '.errors.all - .errors.refused')" '' - - 0
    relay_end
}

# ---- the document's load: reuse, distribution, health checks, connecting

run_relay_load() {
    local SERVER_PID chosen reuse round with=() without=() seconds=10
    relay_begin
    relay_server --reuse clean --max-connections 50 --metrics 127.0.0.1:8002
    load $RELAY_PORT --clients 50 --requests 1000 --duration 120s
    relay_http /api/v1/status >"$T/status"
    relay_http /metrics >"$T/metrics"
    reuse=$(awk '/^log_capturer_pool_acquired_total/ { acquired += $NF } /^log_capturer_pool_reused_total/ { reused += $NF }
        END { printf "%.5f", reused / acquired }' "$T/metrics")
    row "backend connections reused, 50 clients x 1,000" "$reuse" '' - - ">= 0.95"
    chosen=$(jq '[.backends[].chosen] | (max - min) / add' "$T/status")
    row "difference of the two backends' shares" "$(calc "100 * $chosen")" % - - "<= 3 %"
    row "p99 to connect and be relayed, 50 clients" "$(of_load .connect.p99_ms)" ms - - "<= 10 ms"
    t_end_process "$SERVER_PID" || true
    for ((round = 1; round <= 3; round++)); do
        progress "$seconds s with and without health checks, round $round of 3"
        relay_server --metrics '' --health-interval 5s
        sleep 1
        with+=("$(relay_idle $seconds)")
        t_end_process "$SERVER_PID" || true
        relay_server --metrics '' --health-interval 0
        sleep 1
        without+=("$(relay_idle $seconds)")
        t_end_process "$SERVER_PID" || true
    done
    row "% of a core, idle, two backends checked each 5 s" "$(median "${with[@]}")" % "$(median "${without[@]}")" \
        "no checks" "<= 0.5 % more"
    relay_memory
    relay_end
}

# relay_idle SECONDS: CPU in percent of one core.
relay_idle() {
    local cpu start
    cpu=$(cpu_ns_of "$SERVER_PID") start=$(now_us)
    sleep "$1"
    calc "($(cpu_ns_of "$SERVER_PID") - $cpu) / 10 / ($(now_us) - $start)" 4
}

relay_private_kb() { awk '/^Private_(Dirty|Clean)/ { sum += $2 } END { print sum }' "/proc/$SERVER_PID/smaps_rollup"; }
relay_is_warm() { [ "$(relay_fds)" -ge "$1" ]; }

# Connections that wait in the pools.
relay_memory() {
    local cold warm count=2000
    relay_server --metrics '' --max-connections 2000
    sleep 1
    cold=$(relay_private_kb)
    t_end_process "$SERVER_PID" || true
    relay_server --metrics '' --max-connections 2000 --warm $((count / 2)) --idle-timeout 0
    wait_until 30 "$count connections are ready" relay_is_warm $count
    sleep 1
    warm=$(relay_private_kb)
    row "KiB of user space per 100 pooled connections" "$(calc "($warm - $cold) * 100 / $count")" KiB - - "<= 100 KiB"
    t_end_process "$SERVER_PID" || true
}

# ---- fail-over

run_failover() {
    local SERVER_PID
    relay_begin
    relay_run "$BIN/pool_server" --listen "127.0.0.1:$RELAY_PORT" --workers 2 --metrics '' --health-interval 1s \
        --eject-failures 1 --backend 127.0.0.1:9001 --backend 127.0.0.1:9003
    SERVER_PID=$RELAY_PID
    wait_until 10 "pool_server listens" relay_listens $RELAY_PORT
    progress "30 s; a backend is gone for the second third"
    LOAD_MAY_FAIL=1 load $RELAY_PORT --failover 9003 --clients 50 --duration 30s
    row "errors of new clients, backend there" "$(of_load '.thirds[0].errors')" '' "$(of_load '.thirds[0].requests')" requests 0
    row "errors, backend killed" "$(of_load '.thirds[1].errors')" '' "$(of_load '.thirds[1].requests')" requests \
        "<= those that were on it (25)"
    row "errors, backend there again" "$(of_load '.thirds[2].errors')" '' "$(of_load '.thirds[2].requests')" requests 0
    relay_end
}

# ---- containers for tests

run_containers() {
    local round pool=() alone=() warm=()
    # shellcheck source=tests/integration/pools.sh
    . "$(dirname "${BASH_SOURCE[0]}")/../integration/pools.sh"
    redis_image
    for ((round = 1; round <= LIVE_ROUNDS; round++)); do
        progress "24 cases, round $round of $LIVE_ROUNDS, pool"
        "$BIN/example_container_pool" --presets "$PRESETS" --preset redis --cases 24 --threads 6 >"$T/suite"
        pool+=("$(jq .took_ms "$T/suite")")
        warm+=("$(jq .warm_acquire_us "$T/suite")")
        progress "24 cases, round $round of $LIVE_ROUNDS, a container each"
        "$BIN/example_container_pool" --presets "$PRESETS" --preset redis --cases 24 --threads 1 --alone >"$T/suite"
        alone+=("$(jq .took_ms "$T/suite")")
    done
    row "ms for 24 cases, each with a clean Redis, a pool of 6" "$(median "${pool[@]}")" ms "$(median "${alone[@]}")" \
        "a container each" "<= 0.2" "$(median_ratio pool alone)"
    row "us to take one that is ready, longest of 6" "$(median "${warm[@]}")" us - - "<= 1000 us"
}
