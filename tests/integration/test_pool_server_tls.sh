#!/usr/bin/env bash
# The relay with TLS, towards clients, backends and both: who is trusted and who is not, which versions,
# and how ends are told.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/integration/relay.sh
. "$(dirname "$0")/relay.sh"
# shellcheck source=tests/integration/relay_tls.sh
. "$(dirname "$0")/relay_tls.sh"
t_begin pool_server_tls
relay_begin
tls_begin

# ---- clients

client_certificates() {
    echo_start
    relay_start --backend "127.0.0.1:$ECHO" --tls-cert self-signed
    py <<'EOF'
assert outcome(client_context()) == "served"
assert outcome(client_context("own")) == "refused", "it is not of that authority"
until(quiet, "they have left")
now = status()
assert now["relayed"] == 1 and now["refused"]["tls"] == 1, now
EOF
}

own_certificate() {
    echo_start
    relay_start --backend "127.0.0.1:$ECHO" --tls-cert "$C/server.pem" --tls-key "$C/server.key"
    py <<'EOF'
assert outcome(client_context("own")) == "served"
assert outcome(client_context("other")) == "refused"
data = os.urandom(5 << 20)
exchange(secure(client_context("own")), data)
until(lambda: status()["bytes_to_clients"] == len(data) + 1, "they are counted")
EOF
    # The key may be in the file of the certificate.
    relay_start --backend "127.0.0.1:$ECHO" --tls-cert "$C/server.both"
    py <<<'assert outcome(client_context("own")) == "served"'
}

client_certificates_demanded() {
    echo_start
    relay_start --backend "127.0.0.1:$ECHO" --tls-cert "$C/server.both" --tls-client-ca "$C/own.pem"
    py <<'EOF'
assert outcome(client_context("own", "client")) == "served"
assert outcome(client_context("own")) == "refused", "without one"
assert outcome(client_context("own", "stranger")) == "refused", "of another authority"
until(quiet, "they have left")
now = status()
assert now["relayed"] == 1 and now["refused"]["tls"] == 2, now
EOF
}

tls_12_of_clients() {
    echo_start
    relay_start --backend "127.0.0.1:$ECHO" --tls-cert "$C/server.both"
    py <<'EOF'
assert outcome(client_context("own", most=ssl.TLSVersion.TLSv1_2)) == "refused"
until(lambda: status()["refused"]["tls"] == 1, "it is counted")
EOF
    relay_start --backend "127.0.0.1:$ECHO" --tls-cert "$C/server.both" --tls-1.2
    py <<'EOF'
assert outcome(client_context("own", most=ssl.TLSVersion.TLSv1_2)) == "served"
assert outcome(client_context("own")) == "served"
EOF
}

# Who says nothing, or half a hello, is refused after five seconds; so these begin before all cases.
silence_begin() {
    echo_start
    relay_start --backend "127.0.0.1:$ECHO" --tls-cert self-signed
    py_spawn silence <<'EOF'
silent, began = connect(), connect()
began.sendall(b"\x16\x03\x01\x02\x00\x01")
print("ready", flush=True)
begun = time.monotonic()
end_of(silent)
end_of(began)
print("seconds", int(time.monotonic() - begun), "refused", status()["refused"]["tls"], flush=True)
EOF
}

silence_is_refused() {
    wait_until 10 "they are refused" grep -qE '^seconds [4567] refused 2' "$T/silence.out"
}

# Who speaks something else is refused.
no_tls() {
    echo_start
    relay_start --backend "127.0.0.1:$ECHO" --tls-cert self-signed
    py <<'EOF'
for number in range(30):
    garbage = connect()
    garbage.sendall(os.urandom(number * 20) + b"GET / HTTP/1.0\r\n\r\n")
    end_of(garbage)
    garbage.close()
until(quiet, "nobody is there")
now = status()
assert now["refused"]["tls"] == 30 and now["relayed"] == 0, now
assert outcome(client_context()) == "served"
EOF
}

# ---- backends

# backend_tls OUTCOME SERVER-ARGS RELAY-ARGS...: a plain client of a TLS backend.
backend_tls() {
    relay_start --backend "127.0.0.1:$BACK1" --health-interval 0 --queue-timeout 500ms "${@:3}"
    OUTCOME=$1 py <<EOF
backend = Backend(port=$BACK1, context=server_context($2))
try:
    ask()
    how = "served"
except (ConnectionError, AssertionError):
    how = "refused"
assert how == os.environ["OUTCOME"], (how, status()["backends"])
if how == "refused":
    assert status()["refused"]["no_backend"] == 1, status()["refused"]
EOF
}
backend_unverified() { backend_tls served '"elsewhere"' --backend-tls unverified; }
backend_verified() { backend_tls served '' --backend-tls verified --backend-ca "$C/own.pem"; }
backend_wrong_name() {
    backend_tls refused '"elsewhere"' --backend-tls verified --backend-ca "$C/own.pem"
    relay_log_has 'certificate is refused: IP address mismatch' || fail "the log does not say why"
}
backend_wrong_authority() {
    backend_tls refused '' --backend-tls verified --backend-ca "$C/other.pem"
    relay_log_has 'certificate is refused: .*issuer' || fail "the log does not say why"
}
backend_system_authorities() { backend_tls refused '' --backend-tls verified; }
backend_demands_certificate() {
    backend_tls served 'ca="own"' --backend-tls unverified --backend-cert "$C/client.pem" \
        --backend-key "$C/client.key"
}
backend_tls_12() {
    backend_tls refused 'most=ssl.TLSVersion.TLSv1_2' --backend-tls unverified
    backend_tls served 'most=ssl.TLSVersion.TLSv1_2' --backend-tls unverified --tls-1.2
}

# The name in the certificate is that of the backend as it was given.
backend_name() {
    relay_start --backend "localhost:$BACK1" --backend-tls verified --backend-ca "$C/own.pem" \
        --health-interval 0
    wait_until 5 "its name is looked up" status_is 'backends[0].state' up
    py <<'EOF'
names = []
context = server_context()
context.sni_callback = lambda sock, name, context: names.append(name)
Backend(port=int(os.environ["BACK1"]), context=context)
ask()
assert names == ["localhost"], names
EOF
}

both_sides() {
    relay_start --tls-cert "$C/server.both" --tls-client-ca "$C/own.pem" --backend-tls verified \
        --backend-ca "$C/own.pem" --backend-cert "$C/client.both" --health-interval 200ms \
        --warm 2 --reuse clean --backend "127.0.0.1:$BACK1"
    py <<'EOF'
backend = Backend(port=int(os.environ["BACK1"]), context=server_context(ca="own"))
until(lambda: status()["backends"][0]["state"] == "up", "it is up: the check has a certificate")
until(lambda: status()["backends"][0]["idle"] == 2, "two are warm")
data = os.urandom(3 << 20)
for _ in range(4):
    with secure(client_context("own", "client")) as sock:
        exchange(sock, data)
now = status()
assert now["bytes_to_clients"] == 4 * len(data) and now["bytes_spliced"] == 0, now
EOF
}

# From relay to relay by TLS: pool_bench checks each byte of long and short requests.
tls_chain() {
    local second
    echo_start
    relay_start --backend "127.0.0.1:$ECHO" --tls-cert "$C/server.both" --max-connections 100
    second=$RELAY
    relay_start --backend "127.0.0.1:$second" --backend-tls verified --backend-ca "$C/own.pem" \
        --max-connections 100
    bench -clients 20 -requests 30
    bench -clients 10 -requests 5 -size 1MiB
    bench -clients 20 -requests 50 -size 17000 -reuse
    wait_until 5 "the relay is quiet" relay_is_quiet
    assert_eq "$(status cut)" 0 "clients cut"
}

# ---- ends: close_notify is what a FIN is without TLS

ends_of_client() {
    relay_start --tls-cert "$C/server.both" --backend "127.0.0.1:$BACK1" --health-interval 0
    py <<'EOF'
def handle(sock, number):
    sock.sendall(b"got " + read_all(sock))


Backend(handle, int(os.environ["BACK1"]))
client = Bio(client_context("own"))
client.send(b"all of it")
client.end()
assert client.read_all() == b"got all of it"
until(quiet, "it has left")
assert status()["cut"] == 0
EOF
}

ends_of_backend() {
    relay_start --backend-tls unverified --backend "127.0.0.1:$BACK1" --health-interval 0
    py <<'EOF'
seen = []


def handle(sock, number):
    seen.append(read_all(sock))  # until close_notify; else an exception
    sock.sendall(b"got it")
    sock.unwrap()


backend = Backend(handle, int(os.environ["BACK1"]), server_context())
client = connect()
client.sendall(b"all of it")
client.shutdown(socket.SHUT_WR)
assert read_all(client) == b"got it"
backend.wait()
assert seen == [b"all of it"], seen
until(quiet, "it has left")
assert status()["cut"] == 0
EOF
}

# Also where the backend's connection is kept, and so the backend is told nothing.
end_of_kept() {
    relay_start --tls-cert "$C/server.both" --reuse clean --backend "127.0.0.1:$BACK1" --health-interval 0
    py <<'EOF'
Backend(port=int(os.environ["BACK1"]))
with secure(client_context("own")) as sock:
    sock.sendall(b"?")
    assert sock.recv(1) == b"?"
    sock.unwrap()  # waits for the relay's close_notify
until(lambda: status()["kept"] == 1, "it was kept")
EOF
}

# An end without close_notify may be an attacker's: who is not told by TLS is told by a reset.
truncated_client() {
    relay_start --tls-cert "$C/server.both" --backend "127.0.0.1:$BACK1" --health-interval 0
    py <<'EOF'
ends = []
Backend(lambda sock, number: ends.append(end_of(sock)), int(os.environ["BACK1"]))
client = Bio(client_context("own"))
client.send(b"half of it")
until(lambda: status()["bytes_from_clients"] == 10, "it is passed on")
client.sock.close()
until(lambda: ends, "the backend sees an end")
assert ends == ["reset"], f"the backend saw: {ends[0]}"
EOF
}

truncated_backend() {
    relay_start --backend-tls unverified --backend "127.0.0.1:$BACK1" --health-interval 0
    py <<'EOF'
def handle(sock, number):
    sock.recv(1)
    sock.sendall(b"half of it")  # and it is closed without a word


Backend(handle, int(os.environ["BACK1"]), server_context())
client = connect()
client.sendall(b"?")
how = end_of(client)
assert how == "reset", f"the client saw: {how}"
EOF
}

export BACK1
BACK1=$(t_free_port)
silence_begin
for name in client_certificates own_certificate client_certificates_demanded tls_12_of_clients \
    no_tls backend_unverified backend_verified backend_wrong_name backend_wrong_authority \
    backend_system_authorities backend_demands_certificate backend_tls_12 backend_name both_sides \
    tls_chain ends_of_client ends_of_backend end_of_kept truncated_client truncated_backend \
    silence_is_refused; do
    check "$name"
done
cases_end
