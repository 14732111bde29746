#!/usr/bin/env bash
# Backend connections that outlive a client: which are used again, which must not be, and those that
# are there before a client is.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/integration/relay.sh
. "$(dirname "$0")/relay.sh"
t_begin pool_server_reuse
relay_begin

# ---- used again

reuse_bench() {
    local backends=() i
    for i in 1 2 3; do
        echo_start
        backends+=(--backend "127.0.0.1:$ECHO")
    done
    relay_start --reuse clean --workers 4 "${backends[@]}"
    bench -clients 20 -requests 200
    assert_eq "$(bench_value connections)" 4000 "connections of clients"
    assert_ge "$(status kept)" 3800 "connections that went back"
    assert_ge 200 "$(metric 'log_capturer_pool_created_total{pool="backends/127.0.0.1:'"$ECHO"'"}')" \
        "most connections made to a backend"
    assert_ge "$(metric log_capturer_pool_reused_total)" 3800 "connections used again"
}

second_client() {
    relay_start --reuse clean --backend "127.0.0.1:$BACK1" --health-interval 0
    py <<'EOF'
backend = Backend(port=int(os.environ["BACK1"]))
for number in range(1, 6):
    ask(b"request %d" % number)
    until(lambda: status()["kept"] == number, "the connection went back", 3)
assert backend.accepted == 1, backend.accepted
EOF
}

# ---- not used again: each leaves the next client a connection that is as good as new

# not_reused WHAT: what the first client does, and its backend. The second is served by a new one.
not_reused() {
    relay_start --reuse clean --backend "127.0.0.1:$BACK1" --health-interval 0
    WHAT=$1 py <<'EOF'
what, ends = os.environ["WHAT"], []


def handle(sock, number):
    if number > 1:
        echo(sock, number)
        return
    request = sock.recv(100)
    if what == "unanswered":
        ends.append(end_of(sock))
        return
    sock.sendall(request)
    if what == "extra":
        left.wait(LIMIT)
        sock.sendall(b"and one more thing")
    if what == "closed":
        return
    ends.append(end_of(sock))


left = threading.Event()
backend = Backend(handle, int(os.environ["BACK1"]))
client = connect()
client.sendall(b"first")
if what == "unanswered":
    until(lambda: status()["bytes_from_clients"] == 5, "the request is passed on")
else:
    assert read_exactly(client, 5) == b"first"
if what == "closed":
    assert client.recv(1) == b""
if what == "reset":
    reset(client)
else:
    client.close()
until(quiet, "the first session has ended")
left.set()
if what == "extra":  # it may come at any time; here the relay has had time to see it
    time.sleep(0.2)
for _ in range(5):
    ask(b"another")
until(lambda: what == "closed" or ends, "the first connection has ended")
assert backend.accepted >= 2
assert all(what == "extra" or b["failures"] == 0 for b in status()["backends"])
EOF
}
not_reused_unanswered() { not_reused unanswered; }
not_reused_reset() { not_reused reset; }
not_reused_extra() { not_reused extra; }
not_reused_closed() { not_reused closed; }

# A client's half of an answer that it has not read, and a request of which nothing came back.
not_reused_half_close() {
    relay_start --reuse clean --backend "127.0.0.1:$BACK1" --health-interval 0
    py <<'EOF'
def handle(sock, number):
    request = read_all(sock)  # it answers when the client has ended
    sock.sendall(request * 2)


backend = Backend(handle, int(os.environ["BACK1"]))
for number in range(1, 4):
    client = connect()
    client.sendall(b"question")
    client.shutdown(socket.SHUT_WR)
    assert read_all(client) == b"questionquestion"
    until(quiet, "the session has ended")
    assert backend.accepted == number, backend.accepted
assert status()["kept"] == 0
EOF
}

# With other clients' bytes on their way over the same connections nobody gets any of them.
no_mixing() {
    local backends=() pids=() i
    for i in 1 2; do
        echo_start
        pids+=("$ECHO_PID")
        backends+=(--backend "127.0.0.1:$ECHO")
    done
    relay_start --reuse clean --max-connections 8 --health-interval 200ms "${backends[@]}"
    bench -clients 24 -requests 0 -duration 3s -size 20000 &
    local bench_pid=$!
    py <<'EOF'
for number in range(150):  # they leave in the middle of what they do
    client = connect()
    client.sendall(bytes([number]) * 70000)
    if number % 3:
        client.recv(number * 100)
    reset(client) if number % 2 else client.close()
EOF
    process_kill "${pids[0]}"
    wait "$bench_pid" || true # some were with it
    assert_eq "$(bench_value errors.mismatch)" 0 mismatches
    assert_ge "$(bench_value requests)" 500 requests
    wait_until 10 "the relay is quiet" relay_is_quiet
}

# Another backend has failed before this one's idle connection was taken.
kept_after_failover() {
    relay_start --reuse clean --health-interval 0 --eject-failures 0 \
        --backend "127.0.0.1:$BACK1" --backend "127.0.0.1:$BACK2"
    py <<'EOF'
backend = Backend(port=int(os.environ["BACK2"]))
for number in range(1, 7):  # each second one is tried at BACK1 first, which is not there
    ask()
    until(lambda: status()["kept"] == number, f"connection {number} went back", 3)
    time.sleep(0.15)  # the pause after a failed attempt
assert backend.accepted == 1, backend.accepted
assert status()["backends"][0]["failures"] >= 2, status()["backends"]
EOF
}

# ---- warm

warm() {
    relay_start --warm 6 --backend "127.0.0.1:$BACK1" --health-interval 0
    py <<'EOF'
backend = Backend(lambda sock, number: sock.sendall(b"%d" % number) or end_of(sock),
                  int(os.environ["BACK1"]))
until(lambda: status()["backends"][0]["idle"] == 6, "six are idle")
until(lambda: backend.accepted == 6, "they are the backend's too")
client = connect()
number = int(client.recv(10))
assert number <= 6, f"its connection is number {number}"
client.close()
until(lambda: status()["backends"][0]["idle"] == 6, "there are six again")
EOF
}

warm_restart() {
    local i
    echo_start "$BACK1"
    relay_start --warm 10 --backend "127.0.0.1:$BACK1" --health-interval 10s
    wait_until 5 "ten are idle" backend_idle_is "$BACK1" 10
    for i in 1 2 3; do
        process_kill "$ECHO_PID"
        echo_start "$BACK1"
        bench -clients 5 -requests 10 # none has an error
    done
}

# One that the server has ended behind its greeting is given to nobody.
warm_ended() {
    relay_start --warm 3 --health-interval 0 --backend "127.0.0.1:$BACK1"
    py <<'EOF'
def handle(sock, number):
    sock.sendall(b"HELLO")
    echo(sock, number)


backend = Backend(handle, int(os.environ["BACK1"]))
until(lambda: status()["backends"][0]["idle"] == 3, "three are ready")
for sock in list(backend.sockets):
    sock.shutdown(socket.SHUT_RDWR)
until(lambda: backend.accepted >= 6 and status()["backends"][0]["idle"] == 3, "they were replaced")
for _ in range(3):
    client = connect()
    client.sendall(b"ping")
    assert read_exactly(client, 9) == b"HELLOping"
    client.close()
EOF
}

# ---- a connection that could be made and is not wanted costs no time

# warm_is_calm WHAT: what the backend is, while the pool lacks what it should have.
warm_is_calm() {
    local before
    [ "$1" != drained ] || echo_start "$BACK1"
    relay_start --warm 5 --backend "127.0.0.1:$BACK1" --health-interval 300ms
    if [ "$1" = drained ]; then
        wait_until 5 "it is up" backend_is "$BACK1" up
        assert_eq "$(admin POST "/api/v1/backends/drain?address=127.0.0.1:$BACK1")" 200 "drain"
        process_kill "$ECHO_PID"
        wait_until 10 "its idle connections are gone" backend_idle_is "$BACK1" 0
    else
        wait_until 5 "it is down" backend_is "$BACK1" down
    fi
    sleep 0.5 # the pause after its failures
    before=$(relay_cpu_ms)
    sleep 1.5 # the time is what is measured
    assert_ge 150 $(($(relay_cpu_ms) - before)) "most ms of processor time in 1.5 s"
}
warm_down_is_calm() { warm_is_calm down; }
warm_drained_is_calm() { warm_is_calm drained; }

for name in BACK1 BACK2; do
    export "$name=$(t_free_port)"
done
for name in reuse_bench second_client not_reused_unanswered not_reused_reset not_reused_extra \
    not_reused_closed not_reused_half_close no_mixing kept_after_failover warm warm_ended warm_restart \
    warm_down_is_calm warm_drained_is_calm; do
    check "$name"
done
cases_end
