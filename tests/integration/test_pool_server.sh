#!/usr/bin/env bash
# The relay: who is given which backend, and whole bytes both ways, in every order of ends.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/integration/relay.sh
. "$(dirname "$0")/relay.sh"
t_begin pool_server
relay_begin

# ---- strategies

# even STRATEGY CLIENTS REQUESTS: each of three has a third, within 3 %.
even() {
    local backends=() ports=() i port chosen sum=0
    for i in 1 2 3; do
        echo_start
        ports+=("$ECHO")
        backends+=(--backend "127.0.0.1:$ECHO")
    done
    relay_start --strategy "$1" --max-connections 100 "${backends[@]}"
    bench -clients "$2" -requests "$3"
    for port in "${ports[@]}"; do
        chosen=$(backend "$port" chosen)
        sum=$((sum + chosen))
        if ((chosen * 300 < $2 * $3 * 97 || chosen * 300 > $2 * $3 * 103)); then
            fail "$chosen of $(($2 * $3)) went to one of three"
        fi
    done
    assert_eq "$sum" $(($2 * $3)) "clients of all backends"
}
even_round_robin() { even round-robin 30 100; }
even_least_connections() { even least-connections 1 900; } # one at a time, or who is slow has less
even_random() { even random 60 700; } # 3 % are four times the deviation of so many

# Of clients that stay, for it goes by what each backend has.
even_p2c() {
    relay_start --strategy p2c --max-connections 300 --health-interval 0 \
        --backend "127.0.0.1:$BACK1" --backend "127.0.0.1:$BACK2" --backend "127.0.0.1:$BACK3"
    py <<'EOF'
backends = [Backend(port=int(os.environ[f"BACK{i}"])) for i in (1, 2, 3)]
clients = []
for number in range(1, 301):
    clients.append(connect())
    until(lambda: sum(b.accepted for b in backends) == number, "it has a backend")
accepted = [b.accepted for b in backends]
assert all(97 <= count <= 103 for count in accepted), accepted
EOF
}

weights() {
    printf '127.0.0.1:%s weight=%s # a comment\n' "$BACK1" 1 "$BACK2" 2 "$BACK3" 5 >"$T/backends"
    relay_start --backends "$T/backends" --health-interval 0
    py <<'EOF'
backends = [Backend(port=int(os.environ[f"BACK{i}"])) for i in (1, 2, 3)]
for _ in range(160):
    ask()
accepted = [b.accepted for b in backends]
assert accepted == [20, 40, 100], accepted
EOF
}

# The busy one is there alone at first; the strategies that look at loads leave it out then.
avoids_busy() {
    relay_start --strategy "$1" --backend "127.0.0.1:$BACK1" --health-interval 0
    py <<'EOF'
busy, other = (Backend(port=int(os.environ[f"BACK{i}"])) for i in (1, 2))
held = [connect() for _ in range(20)]
until(lambda: busy.accepted == 20, "all are at the busy one")
path = f"http://127.0.0.1:{PORT}/api/v1/backends?address=127.0.0.1:{other.port}"
urllib.request.urlopen(urllib.request.Request(path, method="POST"), timeout=LIMIT).close()
held += [connect() for _ in range(20)]
until(lambda: busy.accepted + other.accepted == 40, "all have a backend")
assert other.accepted == 20, other.accepted
EOF
}
least_connections_avoids_busy() { avoids_busy least-connections; }
p2c_avoids_busy() { avoids_busy p2c; }

# ---- bytes

transfers_both_ways() {
    relay_start --backend "127.0.0.1:$BACK1" --health-interval 0
    py <<'EOF'
SIZE = 48 << 20
blocks = {side: os.urandom(1 << 20) for side in ("up", "down")}
got = {}


def sends(sock, side):
    for _ in range(SIZE >> 20):
        sock.sendall(blocks[side])
    sock.shutdown(socket.SHUT_WR)


def receives(sock, side):
    digest, size = hashlib.sha256(), 0
    while data := sock.recv(1 << 18):
        digest.update(data)
        size += len(data)
    got[side] = (size, digest.hexdigest())


def handle(sock, number):
    sender = threading.Thread(target=sends, args=(sock, "down"))
    sender.start()
    receives(sock, "up")
    sender.join()


backend = Backend(handle, int(os.environ["BACK1"]))
client = connect()
sender = threading.Thread(target=sends, args=(client, "up"))
sender.start()
receives(client, "down")
sender.join()
backend.wait()
for side in blocks:
    digest = hashlib.sha256(blocks[side] * (SIZE >> 20)).hexdigest()
    assert got[side] == (SIZE, digest), side
now = status()
assert now["bytes_from_clients"] == now["bytes_to_clients"] == SIZE, now
assert now["bytes_spliced"] > SIZE, now["bytes_spliced"]
EOF
}

half_close() {
    relay_start --backend "127.0.0.1:$BACK1" --health-interval 0
    py <<'EOF'
data = os.urandom(3 << 20)
got = []


def server_ends_first(sock, number):
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)
    got.append(read_all(sock))


def client_ends_first(sock, number):
    got.append(read_all(sock))
    sock.sendall(data)


for handle in (server_ends_first, client_ends_first):
    backend = Backend(handle, int(os.environ["BACK1"]))
    client = connect()
    if handle is server_ends_first:
        assert read_all(client) == data
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
    else:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == data
    assert client.recv(1) == b""
    backend.wait()
    assert got.pop() == data, handle.__name__
    backend.stop()
    until(quiet, "the session has ended")
assert status()["cut"] == 0
EOF
}

server_speaks_first() {
    relay_start --backend "127.0.0.1:$BACK1" --health-interval 0
    py <<'EOF'
def handle(sock, number):
    sock.sendall(b"220 hello\r\n")
    echo(sock, number)


backend = Backend(handle, int(os.environ["BACK1"]))
for _ in range(50):
    client = connect()
    assert read_exactly(client, 11) == b"220 hello\r\n"
    ask(b"EHLO\r\n", client)
EOF
}

# It has said all it has to say, which is nothing, before it has a backend.
silent_half_close() {
    relay_start --backend "127.0.0.1:$BACK1" --health-interval 0
    py <<'EOF'
Backend(lambda sock, number: sock.sendall(b"the time is now"), int(os.environ["BACK1"]))
for _ in range(20):
    client = connect()
    client.shutdown(socket.SHUT_WR)
    got = read_all(client)
    assert got == b"the time is now", got
EOF
}

# Who was cut off must not look like one who has finished.
resets_are_passed_on() {
    relay_start --backend "127.0.0.1:$BACK1" --health-interval 0
    py <<'EOF'
ends = []


def handle(sock, number):
    if number == 1:
        ends.append(end_of(sock))
    else:
        sock.sendall(b"half of an answer")
        time.sleep(0.1)
        reset(sock)


backend = Backend(handle, int(os.environ["BACK1"]))
client = connect()
client.sendall(b"half of a request")
until(lambda: status()["bytes_from_clients"] > 0, "its bytes are passed on")
reset(client)
until(lambda: ends, "the backend sees an end")
until(lambda: status()["cut"] == 1, "it is counted")
at_client = end_of(connect())
until(lambda: status()["cut"] == 2, "it is counted")
assert (ends[0], at_client) == ("reset", "reset"), \
    f"the backend saw {ends[0]}, the other client {at_client}"
EOF
}

# A client that is gone frees its place, whatever its backend does.
reset_frees_blocked() {
    relay_start --backend "127.0.0.1:$BACK1" --health-interval 0
    py <<'EOF'
release = threading.Event()
backend = Backend(lambda sock, number: release.wait(30), int(os.environ["BACK1"]))
client = connect()
client.settimeout(0.5)
try:
    while True:
        client.send(bytes(1 << 16))
except TimeoutError:
    pass
reset(client)
until(quiet, "the session of a client that was reset has ended", 3)
EOF
}

slow_readers() {
    relay_start --backend "127.0.0.1:$BACK1" --health-interval 0
    RELAY_PID=$AGENT_PID py <<'EOF'
SIZE, CLIENTS = 64 << 20, 8
block = os.urandom(1 << 20)
sent = [0] * (CLIENTS + 1)


def handle(sock, number):
    for _ in range(SIZE >> 20):
        sock.sendall(block)
        sent[number] += 1 << 20


backend = Backend(handle, int(os.environ["BACK1"]))
pid = int(os.environ["RELAY_PID"])
at_first = rss_kb(pid)
clients = [connect() for _ in range(CLIENTS)]
before = None
while before != (before := sum(sent)) or not all(sent[1:]):  # until all are stopped
    time.sleep(0.3)
grown = rss_kb(pid) - at_first
assert grown < 8 << 10, f"the relay has grown by {grown} KiB"
assert max(sent) < SIZE, "nothing has stopped the backend"
expected = hashlib.sha256(block * (SIZE >> 20)).hexdigest()
for client in clients[:2]:
    digest = hashlib.sha256()
    while data := client.recv(1 << 18):
        digest.update(data)
    assert digest.hexdigest() == expected
EOF
}

small_messages() {
    echo_start
    relay_start --backend "127.0.0.1:$ECHO"
    bench -reuse -clients 20 -requests 1000 -size 16
    assert_eq "$(bench_value connections)" 20 connections
    py <<'EOF'
client, data = connect(), os.urandom(5000)
writer = threading.Thread(target=lambda: [client.send(data[i:i + 1]) for i in range(len(data))])
writer.start()
assert read_exactly(client, len(data)) == data
writer.join()
EOF
}

# recv(2) stops at the urgent mark, so a short read does not say that all was read.
urgent_data() {
    relay_start --backend "127.0.0.1:$BACK1" --health-interval 0
    py <<'EOF'
got = {}


def handle(sock, number):
    got[number] = b""
    while data := sock.recv(1 << 16):
        got[number] += data


backend = Backend(handle, int(os.environ["BACK1"]))
for number in range(1, 41):
    client = connect()
    until(lambda: number in got, "it has a backend")
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    client.sendall(b"before")
    client.send(b"!", socket.MSG_OOB)
    client.sendall(b"behind")
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
    until(lambda: got[number].endswith(b"behind"), f"bytes behind the mark, try {number}", 2)
    client.close()
EOF
}

# Of clients that pause between requests, on a connection to the echo itself, none has an error.
bench_tells_the_truth() {
    echo_start
    RELAY=$ECHO
    PORT=''
    for _ in {1..30}; do
        bench -reuse -clients 40 -requests 3 -pause 1ms || fail "$(grep errors "$T/bench.out")"
    done
}

for name in BACK1 BACK2 BACK3; do
    export "$name=$(t_free_port)"
done
for name in even_round_robin even_least_connections even_random even_p2c weights \
    least_connections_avoids_busy p2c_avoids_busy transfers_both_ways half_close \
    server_speaks_first silent_half_close resets_are_passed_on reset_frees_blocked slow_readers \
    small_messages urgent_data bench_tells_the_truth; do
    check "$name"
done
cases_end
