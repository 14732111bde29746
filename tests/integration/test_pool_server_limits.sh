#!/usr/bin/env bash
# What the relay does when something is used up: places at backends, clients, descriptors; and that
# all it has used comes back.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/integration/relay.sh
. "$(dirname "$0")/relay.sh"
t_begin pool_server_limits
relay_begin

# ---- places at backends, and the queue for them

queue_waits() {
    relay_start --max-connections 2 --queue-timeout 1s --backend "127.0.0.1:$BACK1" \
        --health-interval 0
    py <<'EOF'
backend = Backend(port=int(os.environ["BACK1"]))
held = [connect() for _ in range(2)]
until(lambda: backend.accepted == 2, "both places are taken")
waiting = connect()
waiting.sendall(b"patience")
time.sleep(0.3)
assert backend.accepted == 2, "there are more connections than --max-connections"
look()
held.pop().close()
assert read_exactly(waiting, 8) == b"patience"
how, seconds = refusal()  # nothing comes free for this one
assert how in ("reset", "end") and 0.8 < seconds < 3, (how, seconds)
assert status()["refused"]["queue"] == 1, status()["refused"]
EOF
    assert_eq "$(metric 'log_capturer_relay_refused_total{reason="queue"}')" 1 "clients that waited in vain"
    assert_eq "$(metric log_capturer_upstream_wait_seconds_count)" 1 "clients that waited for their place"
}

# Who waits uses nothing yet.
waiting_is_not_active() {
    relay_start --max-connections 2 --backend "127.0.0.1:$BACK1" --health-interval 0
    py <<'EOF'
backend = Backend(port=int(os.environ["BACK1"]))
clients = [connect() for _ in range(10)]
until(lambda: status()["clients"] == 10 and backend.accepted == 2, "two are served, eight wait")
active = status()["backends"][0]["active"]
assert active == 2, f"{active} connections are active with --max-connections 2"
assert status()["waiting"] == 8, status()["waiting"]
look()
EOF
}

# Who waits takes whatever comes free first, wherever it is.
queue_takes_any() {
    relay_start --max-connections 1 --queue-timeout 3s --health-interval 0 \
        --backend "127.0.0.1:$BACK1" --backend "127.0.0.1:$BACK2"
    py <<'EOF'
backends = [Backend(port=int(os.environ[f"BACK{i}"])) for i in (1, 2)]
held = [connect() for _ in range(2)]
until(lambda: all(b.accepted == 1 for b in backends), "each has one")
waiting = [connect() for _ in range(2)]
until(lambda: status()["waiting"] == 2, "two wait")
held[0].close()
for client in waiting:
    client.sendall(b"?")
served = 0
while waiting and (ready := select.select(waiting, [], [], 2)[0]):
    try:
        served += ready[0].recv(1) == b"?"
    except ConnectionError:
        pass
    ready[0].close()  # so that the other has its place
    waiting.remove(ready[0])
assert served == 2, f"{served} of 2 were served with a place that came free"
EOF
}

# What a backend's death does to those that wait for a place at it.
queue_of_dead_backend() {
    relay_start --max-connections 4 --queue-timeout 4s --health-interval 500ms \
        --backend "127.0.0.1:$BACK1" --backend "127.0.0.1:$BACK2"
    py <<'EOF'
backends = [Backend(port=int(os.environ[f"BACK{i}"])) for i in (1, 2)]
until(lambda: all(b["state"] == "up" for b in status()["backends"]), "both are up")
held = [connect() for _ in range(8)]
for client in held:
    client.sendall(b"?")
    assert client.recv(1) == b"?"
seen = []


def one():
    begun = time.monotonic()
    try:
        ask()
        seen.append(("served", time.monotonic() - begun))
    except (ConnectionError, AssertionError):
        seen.append(("refused", time.monotonic() - begun))


threads = [threading.Thread(target=one) for _ in range(30)]
for thread in threads:
    thread.start()
until(lambda: status()["clients"] == 38, "thirty wait")
backends[0].stop()
for client in held:
    client.close()
for thread in threads:
    thread.join()
refused = sum(how == "refused" for how, _ in seen)
assert refused == 0, f"{refused} of 30 were refused, with a backend that had nothing to do"
EOF
}

# No new connections for one that drains, also not for those who waited for a place there.
queue_of_drained_backend() {
    relay_start --max-connections 1 --queue-timeout 3s --health-interval 0 \
        --backend "127.0.0.1:$BACK1" --backend "127.0.0.1:$BACK2"
    py <<'EOF'
backends = [Backend(port=int(os.environ[f"BACK{i}"])) for i in (1, 2)]
held = [connect() for _ in range(2)]
until(lambda: all(b.accepted == 1 for b in backends), "each has one")
waiting = [connect() for _ in range(2)]
until(lambda: status()["waiting"] == 2, "two wait")
path = f"http://127.0.0.1:{PORT}/api/v1/backends/drain?address=127.0.0.1:{backends[0].port}"
urllib.request.urlopen(urllib.request.Request(path, method="POST"), timeout=LIMIT).close()
for client in held:
    client.close()
until(lambda: backends[0].accepted + backends[1].accepted >= 3, "a place came free")
time.sleep(0.3)
assert backends[0].accepted == 1, "one that drains was given a new connection"
EOF
}

# A client that goes while it waits frees its place in the queue, and is missing nowhere.
queue_is_left() {
    relay_start --max-connections 1 --queue-timeout 5s --backend "127.0.0.1:$BACK1" \
        --health-interval 0
    py <<'EOF'
backend = Backend(port=int(os.environ["BACK1"]))
held = connect()
until(lambda: backend.accepted == 1, "it is taken")
for number in range(20):
    client = connect()
    if number % 2:
        client.sendall(b"never mind")
    reset(client)
until(lambda: status()["clients"] == 1, "those that went are not there", 3)
held.close()
until(quiet, "nobody is there")
assert backend.accepted == 1, f"{backend.accepted - 1} backend connections for clients that went"
EOF
}

# The one that has waited longest comes first, also behind a while in which another backend was ejected.
queue_keeps_its_order() {
    relay_start --max-connections 6 --queue-timeout 20s --health-interval 0 --eject-time 30s --workers 1 \
        --backend "127.0.0.1:$(t_free_port)" --backend "127.0.0.1:$BACK1"
    py <<'EOF'
Backend(port=int(os.environ["BACK1"]))
held = []
for _ in range(6):
    held.append(connect())
    held[-1].sendall(b"?")
    assert held[-1].recv(1) == b"?"
waiting = []
for number in range(6):
    waiting.append(connect())
    waiting[-1].sendall(b"%d" % number)
    until(lambda: status()["waiting"] == number + 1, "it waits")
time.sleep(1.1)  # the relay has looked at them again
held[0].close()
order = []
while len(order) < 6:
    for sock in select.select(waiting, [], [], LIMIT)[0]:
        order.append(int(sock.recv(1)))
        waiting.remove(sock)
        sock.close()
assert order == list(range(6)), order
EOF
}

# Those who wait for one backend do not wake each other over another one that pauses after a failure.
waiting_is_calm() {
    local before
    relay_start --max-connections 1 --queue-timeout 20s --health-interval 0 --eject-failures 0 --workers 1 \
        --backend "127.0.0.1:$(t_free_port)" --backend "127.0.0.1:$BACK1"
    py_spawn clients <<'EOF'
Backend(port=int(os.environ["BACK1"]))
held = connect()
held.sendall(b"?")
assert held.recv(1) == b"?"
waiting = [connect() for _ in range(3)]
until(lambda: status()["waiting"] == 3, "three wait")
print("ready", flush=True)
time.sleep(60)
EOF
    before=$(relay_cpu_ms)
    sleep 2 # the time is what is measured
    assert_ge 300 $(($(relay_cpu_ms) - before)) "most ms of processor time in 2 s"
}

# One that ends while its backend is being connected to does not wait for another one behind that.
ended_while_connecting() {
    relay_start --max-connections 1 --queue-timeout 20s --health-interval 0 --connect-timeout 500ms --workers 1 \
        --eject-time 300ms --backend "127.0.0.1:$BACK1" --backend "127.0.0.1:$BACK2"
    py <<'EOF'
silent = deaf(int(os.environ["BACK1"]))
backend = Backend(port=int(os.environ["BACK2"]))
held = connect()
held.sendall(b"?")
assert held.recv(1) == b"?"
until(lambda: status()["backends"][0]["state"] == "up", "the silent one is tried again")
client = connect()
until(lambda: status()["backends"][0]["active"] == 1, "it is being connected to")
client.close()
until(lambda: status()["refused"]["gone"] == 1, "the client has left")
now = status()
assert (now["clients"], now["waiting"], backend.accepted) == (1, 0, 1), now
EOF
}

# ---- clients

session_timeout() {
    relay_start --session-timeout 400ms --backend "127.0.0.1:$BACK1" --health-interval 0
    py <<'EOF'
Backend(port=int(os.environ["BACK1"]))
busy, silent = connect(), connect()
begun = time.monotonic()
while time.monotonic() - begun < 1.2:
    busy.sendall(b"?")
    assert busy.recv(1) == b"?"
    time.sleep(0.05)
silent.settimeout(0.1)
end_of(silent)
assert status()["cut"] == 1
ask(b"?", busy)
EOF
}

max_clients() {
    relay_start --max-clients 5 --backend "127.0.0.1:$BACK1" --health-interval 0
    py <<'EOF'
backend = Backend(port=int(os.environ["BACK1"]))
held = [connect() for _ in range(5)]
for client in held:
    client.sendall(b"?")
    assert client.recv(1) == b"?"
for _ in range(10):
    how, seconds = refusal()
    assert how == "reset" and seconds < 1, (how, seconds)
now = status()
assert now["refused"]["limit"] == 10 and now["clients"] == 5, now
for client in held:
    ask(b"still here", client)
until(quiet, "all have left")
ask()
EOF
}

# ---- descriptors

# More clients than there are descriptors: who has none waits or is refused; it takes no time, and
# all is well when some are free again.
out_of_files() {
    relay_start --max-clients 1000 --max-connections 1000 --health-interval 0 \
        --backend "127.0.0.1:$BACK1"
    RELAY_PID=$AGENT_PID py <<'EOF'
pid = int(os.environ["RELAY_PID"])


def leave_files(count):
    """So many descriptors are free from now on."""
    used = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    limit = 0
    while count > 0 or limit in used:
        count -= limit not in used
        limit += 1
    most = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, most))


def cpu():
    with open(f"/proc/{pid}/stat") as file:
        return sum(map(int, file.read().rsplit(")", 1)[1].split()[11:13])) / os.sysconf("SC_CLK_TCK")


backend = Backend(port=int(os.environ["BACK1"]))
ask()
until(quiet, "it has left")
time.sleep(0.2)  # the API's connection too
leave_files(1)  # for a client; none is left for its backend
assert refusal()[0] in ("reset", "end"), "one without a descriptor for its backend was served"
for _ in range(5):
    assert refusal()[0] in ("reset", "end")
leave_files(60)
ask()  # at once: the backend has not failed
assert status()["refused"]["fault"] == 6, status()["refused"]
assert sum(status()["refused"].values()) == 6, status()["refused"]
clients = []
for _ in range(100):
    try:
        clients.append(connect())
    except ConnectionError:
        continue
time.sleep(0.5)
before = cpu()
time.sleep(1)  # the time is what is measured
spent = cpu() - before
assert spent < 0.2, f"{spent:.2f} s of processor time in 1 s without a descriptor"
for client in clients:
    client.close()
deadline = time.monotonic() + 5
while True:
    try:
        ask()
        break
    except (ConnectionError, AssertionError):
        assert time.monotonic() < deadline, "no client is served any more"
until(quiet, "all have left")
EOF
}

# Its own lack is no fault of the backends.
out_of_files_is_ours() {
    RELAY_WRAPPER=(prlimit --nofile=120:120)
    relay_start --max-clients 1000 --max-connections 1000 --health-interval 200ms \
        --backend "127.0.0.1:$BACK1"
    py <<'EOF'
backend = Backend(port=int(os.environ["BACK1"]))
until(lambda: status()["backends"][0]["state"] == "up", "it is up")
clients = []
for _ in range(200):
    try:
        clients.append(connect())
    except ConnectionError:
        continue
time.sleep(1.5)
for client in clients:
    client.close()
EOF
    if relay_log_has "down: .*Too many open files"; then
        fail "the backend was taken for down because the relay had no descriptor"
    fi
}

# ---- all comes back

nothing_is_left() {
    local fds threads
    echo_start
    printf '%s\n' "127.0.0.1:$ECHO" "127.0.0.1:$BACK1" "127.0.0.1:$BACK2" >"$T/backends"
    relay_start --backends "$T/backends" --reuse clean --max-connections 30 --queue-timeout 300ms \
        --max-clients 150 --health-interval 300ms --idle-timeout 100ms --session-timeout 2s
    wait_until 5 "the echo is up" backend_is "$ECHO" up
    fds=$(agent_fds)
    threads=$(agent_threads)
    bench -clients 40 -requests 35
    bench -clients 20 -requests 10 -reuse -size 300000
    py <<'EOF'
def good(sock):
    ask(os.urandom(5000), sock)


def resets(sock):
    sock.sendall(bytes(200000))
    reset(sock)


def resets_at_once(sock):
    reset(sock)


def never_reads(sock):
    sock.settimeout(0.2)
    sock.sendall(bytes(8 << 20))


def half_closes(sock):
    sock.sendall(b"x" * 1000)
    sock.shutdown(socket.SHUT_WR)
    end_of(sock)


def stays(sock):
    end_of(sock)


Backend(lambda sock, number: sock.recv(1) and reset(sock), int(os.environ["BACK1"]))
kinds = [good, resets, resets_at_once, half_closes, never_reads, good, stays, half_closes]


def client(number):
    for turn in range(8):
        try:
            kinds[(number + turn) % len(kinds)](connect())
        except (OSError, AssertionError):
            continue


threads = [threading.Thread(target=client, args=(i,)) for i in range(100)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
until(quiet, "all have left", 5)
now = status()
print(now["accepted"], "accepted,", now["relayed"], "relayed,", now["cut"], "cut,", now["refused"])
assert now["accepted"] > 2000, now["accepted"]
EOF
    wait_until 10 "the descriptors are $fds again" relay_has_fds "$fds"
    assert_eq "$(agent_threads)" "$threads" threads
    agent_http /metrics -f | promtool check metrics
}

# 10,000 clients that connect and are gone: at once, in the middle of what they send, or behind an answer.
aborts() {
    local fds memory
    echo_start
    relay_start --health-interval 0 --max-connections 50 --backend "127.0.0.1:$ECHO"
    abort_some 2000 # what is allocated once
    fds=$(agent_fds)
    memory=$(agent_rss_kb)
    abort_some 10000
    wait_until 10 "the relay is quiet" relay_is_quiet
    wait_until 10 "the descriptors are $fds again" relay_has_fds "$fds"
    if ! ldd "$BIN/pool_server" | grep -q san; then # their memory is kept for a while
        assert_ge 512 $(($(agent_rss_kb) - memory)) "most KiB by which 10,000 clients have made it grow"
    fi
    assert_ge "$(status accepted)" 12000 "clients accepted"
}

# abort_some COUNT
abort_some() {
    COUNT=$1 py <<'EOF'
THREADS = 8


def run(count):
    for number in range(count):
        sock = connect()
        if number % 4 > 1:
            sock.sendall(b"?" * (1 if number % 4 == 2 else 100000))
        if number % 4 == 2:
            sock.recv(1)
        sock.close() if number % 3 == 0 else reset(sock)


threads = [threading.Thread(target=run, args=(int(os.environ["COUNT"]) // THREADS,)) for _ in range(THREADS)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
until(quiet, "all have left")
EOF
}

for name in BACK1 BACK2; do
    export "$name=$(t_free_port)"
done
for name in queue_waits waiting_is_not_active queue_takes_any queue_of_dead_backend queue_of_drained_backend \
    queue_is_left queue_keeps_its_order waiting_is_calm ended_while_connecting session_timeout max_clients out_of_files out_of_files_is_ours nothing_is_left aborts; do
    check "$name"
done
cases_end
