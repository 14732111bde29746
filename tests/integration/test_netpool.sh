#!/usr/bin/env bash
# Connection pools between two processes in network namespaces of their own, over a link: every TLS mode, who may
# connect, a link that goes down, connections that are killed, a peer that floods, lies, stalls and resets, and 10,000
# connects that are aborted.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
t_begin netpool
[ "$(id -u)" = 0 ] || t_skip "network namespaces need root"
command -v ip >/dev/null || t_skip "no ip (iproute2)"
NEAR=netpool-near-$$
FAR=netpool-far-$$
ADDRESS=10.213.77.2
PEER=$BIN/example_connection_pool

remove_namespaces() {
    ip netns del "$NEAR"
    ip netns del "$FAR"
}
# shellcheck disable=SC2154 # status: it is assigned in the trap
trap 'status=$?; remove_namespaces 2>/dev/null; t_end $status' EXIT
{ ip netns add "$NEAR" && ip netns add "$FAR"; } 2>/dev/null || t_skip "no network namespaces here"
ip link add near netns "$NEAR" type veth peer name far netns "$FAR"
ip -n "$NEAR" addr add 10.213.77.1/24 dev near
ip -n "$FAR" addr add "$ADDRESS/24" dev far
for end in "$NEAR near" "$FAR far"; do
    ip -n "${end% *}" link set "${end#* }" up
    ip -n "${end% *}" link set lo up
done

openssl_quietly() { openssl "$@" 2>>"$T/openssl.log"; }
certificate() { # NAME EXTENSION: signed by the authority
    openssl_quietly req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "$T/$1.key" \
        -out "$T/$1.csr"
    openssl_quietly x509 -req -in "$T/$1.csr" -CA "$T/ca.pem" -CAkey "$T/ca.key" -CAcreateserial -days 2 \
        -extfile <(echo "$2") -out "$T/$1.pem"
}
openssl_quietly req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority \
    -keyout "$T/ca.key" -out "$T/ca.pem"
certificate server "subjectAltName=IP:$ADDRESS"
certificate other "subjectAltName=IP:10.9.9.9"
certificate client "extendedKeyUsage=clientAuth"

server() { # ARGS...
    ip netns exec "$FAR" "$PEER" --role server --pool "$ADDRESS:9301" --pool "$ADDRESS:9302" \
        --control "$ADDRESS:9300" "$@" >"$T/server.json" 2>"$T/server.err" 9>&- &
    SERVER=$!
    T_PIDS+=("$SERVER")
}
client() {
    ip netns exec "$NEAR" "$PEER" --role client --pool "$ADDRESS:9301" --pool "$ADDRESS:9302" \
        --control "$ADDRESS:9300" "$@" >"$T/client.json" 2>"$T/client.err"
}
both_ended_well() { # REQUESTS
    wait_until 60 "the server has ended" t_has_ended "$SERVER"
    wait "$SERVER" || fail "server: $? $(cat "$T/server.json" "$T/server.err")"
    t_forget "$SERVER"
    jq -e --argjson n "$1" '.passed == $n and .failed == 0 and (.chosen | all(. > 0))' "$T/server.json" >/dev/null ||
        fail "server: $(cat "$T/server.json")"
    jq -e --argjson n "$1" '.taken == $n and .failed == 0' "$T/client.json" >/dev/null ||
        fail "client: $(cat "$T/client.json")"
}
end_server() {
    kill -TERM "$SERVER"
    wait_until 30 "the server has ended" t_has_ended "$SERVER"
    t_forget "$SERVER"
}
is_listening() { ip netns exec "$NEAR" bash -c "exec 3<>/dev/tcp/$ADDRESS/9301" 2>/dev/null; }

# ---- every TLS mode, by each policy
round() { # STRATEGY SERVER-ARGS -- CLIENT-ARGS
    local strategy=$1 server_args=()
    shift
    while [ "$1" != -- ]; do
        server_args+=("$1")
        shift
    done
    shift
    server --requests 400 --strategy "$strategy" ${server_args[@]+"${server_args[@]}"}
    client "$@" || fail "client: $(cat "$T/client.json" "$T/client.err")"
    both_ended_well 400
}
round round-robin -- --tls none
round least-connections --tls unverified -- --tls unverified
round random --tls unverified --cert "$T/server.pem" --key "$T/server.key" -- --tls verified --ca "$T/ca.pem"
round p2c --tls verified --cert "$T/server.pem" --key "$T/server.key" --ca "$T/ca.pem" -- \
    --tls verified --ca "$T/ca.pem" --cert "$T/client.pem" --key "$T/client.key"

# ---- who is refused: by address, without a certificate, with another's name, without TLS at all
no_connection_comes() { # REASON SERVER-ARGS -- CLIENT-ARGS: none becomes ready; the server counts it as REASON
    local reason=$1 server_args=() pid
    shift
    while [ "$1" != -- ]; do
        server_args+=("$1")
        shift
    done
    shift
    server --requests 0 "${server_args[@]}"
    wait_until 20 "the server listens" is_listening
    timeout 3 ip netns exec "$NEAR" "$PEER" --role client --pool "$ADDRESS:9301" --control "$ADDRESS:9301" "$@" \
        >"$T/client.json" 2>&1 || true
    end_server
    jq -e --arg r "$reason" '.refused[$r] > 0' "$T/server.json" >/dev/null || fail "not $reason: $(cat "$T/server.json")"
}
no_connection_comes address --allow 10.213.78.0/24,10.213.77.3 -- --tls none
no_connection_comes tls --tls verified --cert "$T/server.pem" --key "$T/server.key" --ca "$T/ca.pem" -- \
    --tls verified --ca "$T/ca.pem"
no_connection_comes tls --tls unverified --cert "$T/other.pem" --key "$T/other.key" -- --tls verified --ca "$T/ca.pem"
no_connection_comes tls --tls unverified -- --tls none
round round-robin --allow 10.213.77.1/32 -- --tls none

# ---- a link that goes down, and connections that are killed while they wait
server --requests 6000 --bytes 200000
(
    trap - EXIT ERR
    set +e
    for _ in 1 2 3 4 5 6 7 8; do
        sleep 0.2
        ip -n "$NEAR" link set near down
        sleep 0.05
        ip -n "$NEAR" link set near up
    done
) 9>&- &
client || fail "client: $(cat "$T/client.json" "$T/client.err")"
both_ended_well 6000

# ---- a peer that floods, lies, stalls and resets: honest requests do not notice
for tls in none unverified; do
    server --requests 4000 --tls "$tls"
    wait_until 20 "the server listens" is_listening
    ip netns exec "$NEAR" python3 "$SOURCE_DIR/tests/support/hostile_peer.py" "$ADDRESS" 9301 4 >"$T/hostile" &
    hostile=$!
    T_PIDS+=("$hostile")
    client --tls "$tls" || fail "client: $(cat "$T/client.json" "$T/client.err")"
    both_ended_well 4000
    wait_until 20 "the hostile peer has ended" t_has_ended "$hostile"
    t_forget "$hostile"
    jq -e '[.refused[]] | add > 50' "$T/server.json" >/dev/null || fail "nobody was refused: $(cat "$T/server.json")"
done

# ---- 10,000 aborted connects leave nothing behind
server --requests 0
wait_until 20 "the server listens" is_listening
AGENT_PID=$(pgrep -P "$SERVER" || echo "$SERVER")
abort() {
    ip netns exec "$NEAR" python3 "$SOURCE_DIR/tests/support/hostile_peer.py" "$ADDRESS" 9301 0 abort "$1"
}
is_quiet() { [ "$(agent_fds)" -le "$quiet" ]; }
quiet=$(agent_fds)
abort 2000
wait_until 20 "the descriptors of the first 2,000 are closed" is_quiet
memory=$(agent_rss_kb)
abort 10000
wait_until 20 "all descriptors are closed" is_quiet
after=$(agent_rss_kb)
[ "$((after - memory))" -lt 1024 ] || [[ ${ASAN_BUILD:-} ]] || grep -q asan <(ldd "$PEER") ||
    fail "memory has grown from $memory to $after kB"
end_server
jq -e '[.refused[]] | add >= 10000' "$T/server.json" >/dev/null || fail "$(cat "$T/server.json")"
