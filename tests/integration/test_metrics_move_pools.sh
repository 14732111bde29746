#!/usr/bin/env bash
# Every metric family of the pools moves when what it counts happens: relay, backends, netpool, containers.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/integration/pools.sh
. "$(dirname "$0")/pools.sh"
t_begin metrics_move_pools
# shellcheck source=tests/integration/metrics_move.sh
. "$(dirname "$0")/metrics_move.sh"

# spawn COMMAND...: in the background; its metrics are at port PORT from then on.
spawn() {
    PORT=$(t_free_port)
    "$@" --metrics "127.0.0.1:$PORT" >>"$T/log" 2>&1 9>&- &
    PID=$!
    T_PIDS+=("$PID")
    wait_until 10 "$1 shows metrics" look
}
look() { agent_http /metrics -f >"$T/now" 2>/dev/null && move_sample "$T/now"; }
# saw FAMILY...: each has a series above 0 now.
saw() {
    local family
    for family in "$@"; do
        above_0() { look && awk -v name="log_capturer_$family" 'index($1, name) == 1 && $NF > 0 { found = 1 } END { exit !found }' "$T/now"; }
        wait_until 20 "$family is above 0" above_0
    done
}
end() {
    t_end_process "$PID" || true
    t_forget "$PID"
}
port_is_open() { ! t_port_is_free "$1"; }

# ---- the relay, with a backend that is there and one that is not
ECHO=$(t_free_port)
RELAY=$(t_free_port)
"$BIN/pool_bench" -echo "$ECHO" >>"$T/log" 2>&1 9>&- &
T_PIDS+=("$!")
wait_until 10 "the echo listens" port_is_open "$ECHO"
bench() { "$BIN/pool_bench" --server "127.0.0.1:$RELAY" --quiet "$@" >>"$T/log" 2>&1 || true; }
relay() { spawn "$BIN/pool_server" --listen "127.0.0.1:$RELAY" --backend "127.0.0.1:$ECHO" "$@"; }

relay --backend "127.0.0.1:$(t_free_port)" --health-interval 200ms --reuse clean --max-connections 2 --max-clients 3 \
    --queue-timeout 10s --session-timeout 1s
saw upstream_up upstream_checks_total upstream_check_failures_total upstream_check_seconds
bench --clients 2 --requests 10
saw relay_accepted_total relay_relayed_total relay_bytes_total relay_kept_total upstream_chosen_total \
    upstream_connect_seconds pool_created_total pool_acquired_total pool_reused_total pool_reuse_ratio pool_limit
bench --clients 2 --reuse --size 4MiB --requests 5
saw relay_spliced_bytes_total
exec 5<>"/dev/tcp/127.0.0.1/$RELAY" 6<>"/dev/tcp/127.0.0.1/$RELAY" 7<>"/dev/tcp/127.0.0.1/$RELAY"
saw relay_clients upstream_active pool_resources upstream_waiting # two have a place, the third waits
bench --clients 1 --requests 1
saw relay_refused_total relay_cut_total upstream_wait_seconds pool_destroyed_total pool_lifetime_seconds
exec 5>&- 6>&- 7>&-
end

relay --backend "127.0.0.1:$(t_free_port)" --health-interval 0 --warm 1
bench --clients 1 --requests 4
saw upstream_failures_total upstream_ejections_total pool_create_failures_total pool_circuit_open pool_target
end

# ---- both ends of a netpool
NETPOOL=$(t_free_port)
peer() {
    spawn "$BIN/example_connection_pool" --pool "127.0.0.1:$NETPOOL" --control "127.0.0.1:$CONTROL" "$@"
}
CONTROL=$(t_free_port)
peer --role server --requests 0
SERVER=$PORT SERVER_PID=$PID
exec 5<>"/dev/tcp/127.0.0.1/$NETPOOL"
saw netpool_handshakes
printf 'nonsense, and more of it than a greeting has\n' >&5
saw netpool_refused_total
exec 5>&-
peer --role client
saw netpool_capacity netpool_interval_seconds
CLIENT_PID=$PID PORT=$SERVER
saw netpool_accepted_total
PID=$CLIENT_PID && end
PID=$SERVER_PID && end

# ---- containers
redis_image
serve() { # PRESET
    PORT=$(t_free_port)
    "$BIN/container_pool" serve --presets "$PRESETS" --preset "$1" --size 1 --listen "127.0.0.1:$PORT" >>"$T/log" 2>&1 9>&- &
    PID=$!
    T_PIDS+=("$PID")
    wait_until 20 "serve shows metrics" look
}
acquire() { agent_http "/acquire?ttl=60s&timeout=$1" -X POST; }
serve redis
lease=$(acquire 30s | jq -r .lease)
saw containers_made_total containers_make_seconds
acquire 500ms >/dev/null
saw pool_timeouts_total
acquire 30s >"$T/second" &
waiting=$!
saw pool_waiters
agent_http "/release?lease=$lease" -X POST >/dev/null
wait "$waiting"
saw containers_reset_seconds pool_wait_seconds
docker kill "$(jq -r .id "$T/second")" >/dev/null
saw containers_died_total
agent_http "/release?lease=$(jq -r .lease "$T/second")" -X POST >/dev/null
saw containers_removed_total
end
serve crashing
acquire 1s >/dev/null
saw containers_failed_total
end

# ---- the judgement
{ families_of_code && families_seen; } | sort -u |
    grep -xE 'log_capturer_((pool|relay|netpool|upstream)_.*|containers_.*)' >"$T/families"
echo "$(wc -l <"$T/families") families"
never_moved "$T/families" >"$T/never"
[ ! -s "$T/never" ] || fail "never moved: $(tr '\n' ' ' <"$T/never")"
