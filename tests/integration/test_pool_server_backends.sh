#!/usr/bin/env bash
# The relay's backends: when they die, hang, answer nonsense and come back.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/integration/relay.sh
. "$(dirname "$0")/relay.sh"
t_begin pool_server_backends
relay_begin

failover_bench() {
    local third backends=() i
    for i in 1 2; do
        echo_start
        backends+=(--backend "127.0.0.1:$ECHO")
    done
    relay_start --health-interval 300ms "${backends[@]}" --backend "127.0.0.1:$BACK1"
    bench -failover "$BACK1" -duration 3900ms -clients 12 || true
    for third in 0 2; do
        assert_eq "$(bench_value "thirds[$third].errors")" 0 "errors in third $third"
        assert_ge "$(bench_value "thirds[$third].requests")" 100 "requests in third $third"
    done
    # Those that were with it when it went are lost; no new one is.
    assert_ge 12 "$(bench_value 'thirds[1].errors')" "most errors in the second third"
    assert_eq "$(bench_value errors.mismatch)" 0 mismatches
    assert_ge "$(backend "$BACK1" check_failures)" 1 "failed checks"
    wait_until 5 "it is down again" backend_is "$BACK1" down
}

ejection() {
    relay_start --health-interval 0 --eject-failures 2 --eject-time 60s \
        --backend "127.0.0.1:$BACK1" --backend "127.0.0.1:$BACK2" --backend "127.0.0.1:$BACK3"
    py <<'EOF'
backends = [Backend(port=int(os.environ[f"BACK{i}"])) for i in (1, 2, 3)]
for _ in range(6):
    ask()
backends[0].stop()


def backend():
    return status()["backends"][0]


for _ in range(60):  # nobody sees that it is gone
    ask()
# After a failure its pool pauses; so the second comes with a client after the pause.
until(lambda: ask() or backend()["state"] == "ejected", "it is ejected")
assert backend()["failures"] == 2, backend()
assert sum(status()["refused"].values()) == 0
EOF
    assert_eq "$(metric log_capturer_upstream_ejections_total)" 1 ejections
    relay_log_has "$BACK1: ejected for 60.0 s: .*refused" || fail "the log does not tell the ejection"
}

# One whose kernel does not answer is left after --connect-timeout; the client does not notice.
connect_timeout() {
    relay_start --health-interval 0 --connect-timeout 300ms --backend "127.0.0.1:$BACK1" \
        --backend "127.0.0.1:$BACK2"
    py <<'EOF'
silent = deaf(int(os.environ["BACK1"]))
Backend(port=int(os.environ["BACK2"]))
clients = [connect() for _ in range(4)]
look()
begun = time.monotonic()
for client in clients:
    ask(b"?", client)
assert 0.2 < time.monotonic() - begun < 2, time.monotonic() - begun
now = status()
assert now["backends"][0]["failures"] >= 1 and sum(now["refused"].values()) == 0, now
EOF
    relay_log_has "$BACK1: ejected .*no answer in time" || fail "the log does not say why"
}

# One lost packet, which the kernel sends again after a second, is no reason to turn a client away where
# there is no other backend.
lost_syn() {
    relay_start --health-interval 0 --connect-timeout 5s --backend "127.0.0.1:$BACK1"
    py <<'EOF'
accepts = threading.Event()
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(os.environ["BACK1"])))
listener.listen(0)


def serve():
    while accepts.wait():
        sock, _ = listener.accept()
        threading.Thread(target=echo, args=(sock, 0), daemon=True).start()


threading.Thread(target=serve, daemon=True).start()
accepts.set()
for _ in range(5):  # so that it is known to be quick
    ask()
accepts.clear()
connect(listener.getsockname()[1])  # the one that is being accepted
time.sleep(0.1)
fill = [socket.socket() for _ in range(3)]
for sock in fill:  # what comes behind them is dropped
    sock.setblocking(False)
    sock.connect_ex(listener.getsockname())
time.sleep(0.1)
client = connect()
threading.Timer(0.15, accepts.set).start()
ask(b"?", client)
EOF
}

# Each client of a backend is one choice of it, also where another backend failed before.
chosen_counts_once() {
    relay_start --health-interval 0 --eject-failures 0 --backend "127.0.0.1:$(t_free_port)" \
        --backend "127.0.0.1:$BACK1"
    py <<'EOF'
backend = Backend(port=int(os.environ["BACK1"]))
for _ in range(100):
    ask()
chosen = status()["backends"][1]["chosen"]
assert chosen == backend.accepted == 100, f"{chosen} choices for {backend.accepted} connections"
EOF
}

comes_back() {
    relay_start --health-interval 200ms --backend "127.0.0.1:$BACK1" --backend "127.0.0.1:$BACK2"
    echo_start "$BACK2"
    wait_until 5 "one is down" backend_is "$BACK1" down
    wait_until 5 "one is up" backend_is "$BACK2" up
    bench -clients 2 -requests 20
    echo_start "$BACK1"
    wait_until 5 "it is up" backend_is "$BACK1" up
    bench -clients 2 -requests 20
    assert_ge "$(backend "$BACK1" chosen)" 15 "clients of the one that came back"
}

# dead COUNT CLIENTS RELAY-ARGS...: all backends refuse; clients are told at once, and counted.
dead() {
    local backends=() i
    for ((i = 0; i < $1; i++)); do
        backends+=(--backend "127.0.0.1:$(t_free_port)")
    done
    relay_start "${backends[@]}" "${@:3}"
    CLIENTS=$2 py <<'EOF'
count, seen = int(os.environ["CLIENTS"]), []
threads = [threading.Thread(target=lambda: seen.append(refusal())) for _ in range(count)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
slowest = max(seconds for _, seconds in seen)
refused = status()["refused"]
assert all(how in ("reset", "end") for how, _ in seen), seen
assert refused["no_backend"] == count, refused
assert slowest < 2, f"one was told after {slowest:.1f} s"
EOF
}
all_dead() { dead 3 1 --health-interval 0; }
all_dead_checked() { dead 3 50 --health-interval 200ms; }
all_dead_unchecked() { dead 3 50 --health-interval 0; }
more_dead_than_tries() { dead 12 1 --health-interval 0; }

health_talk() {
    relay_start --health-interval 200ms --health-timeout 300ms --health-send 'PING\r\n' \
        --health-expect +PONG --backend "127.0.0.1:$BACK1" --backend "127.0.0.1:$BACK2"
    py <<'EOF'
answer = {1: b"+PONG\r\n", 2: b""}
asked = []


def handler(which):
    def handle(sock, number):
        request = sock.recv(100)
        asked.append(request)
        if request == b"PING\r\n" and answer[which]:
            sock.sendall(answer[which])
        end_of(sock)
    return handle


def backend(which):
    return status()["backends"][which - 1]


for which in (1, 2):
    Backend(handler(which), int(os.environ[f"BACK{which}"]))
until(lambda: backend(1)["state"] == "up", "the one that answers is up")
until(lambda: backend(2)["state"] == "down" and "not answered in time" in backend(2)["reason"],
      "the silent one is down")
assert backend(1)["state"] == "up", backend(1)
answer[1] = b"-LOADING\r\n"
until(lambda: backend(1)["state"] == "down", "one that answers something else is down")
assert refusal()[0] in ("reset", "end")
assert status()["refused"]["no_backend"] == 1
answer.update({1: b"+PONG\r\n", 2: b"+PONG\r\n"})
for which in (1, 2):
    until(lambda: backend(which)["state"] == "up", f"{which} is up again")
assert set(asked) <= {b"PING\r\n", b""}, set(asked)
EOF
    assert_ge "$(metric log_capturer_upstream_check_failures_total)" 3 "failed checks"
}

# One that says why it is not well is not one that says nothing.
health_reason() {
    relay_start --health-interval 200ms --health-timeout 300ms --health-send 'PING\r\n' \
        --health-expect +PONG --backend "127.0.0.1:$BACK1"
    py <<'EOF'
def handle(sock, number):
    sock.recv(100)
    sock.sendall(b"-LOADING Redis is loading the dataset in memory\r\n")
    end_of(sock)


Backend(handle, int(os.environ["BACK1"]))
until(lambda: "refused" not in status()["backends"][0]["reason"], "it is checked")
reason = status()["backends"][0]["reason"]
assert "not the expected one" in reason, reason
EOF
}

for name in BACK1 BACK2 BACK3; do
    export "$name=$(t_free_port)"
done
for name in failover_bench ejection connect_timeout lost_syn chosen_counts_once comes_back \
    all_dead all_dead_checked all_dead_unchecked more_dead_than_tries health_talk health_reason; do
    check "$name"
done
cases_end
