#!/usr/bin/env bash
# The PROXY protocol's header, version 2, which tells backends who their client is:
# https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/integration/relay.sh
. "$(dirname "$0")/relay.sh"
t_begin pool_server_proxy
relay_begin

# proxy_header FAMILY HOST LISTEN: of a client that connects to HOST.
proxy_header() {
    if [ "$1" = AF_INET6 ]; then
        grep -q . /proc/net/if_inet6 2>/dev/null || return 0 # this machine has none
    fi
    RELAY_LISTEN="$3" relay_start --proxy-header --backend "127.0.0.1:$BACK1" --health-interval 0 \
        --warm 1
    FAMILY=$1 HOST=$2 LISTENS=${3##*:} py <<'EOF'
family, host = getattr(socket, os.environ["FAMILY"]), os.environ["HOST"]
got = {}


def handle(sock, number):
    got[number] = read_all(sock)


backend = Backend(handle, int(os.environ["BACK1"]))
until(lambda: status()["backends"][0]["idle"] == 1, "one is warm")
assert not got, "a warm connection has no client to tell of"
for number in (1, 2):
    client = socket.create_connection((host, int(os.environ["LISTENS"])), timeout=LIMIT)
    mine, theirs = client.getsockname(), client.getpeername()
    client.sendall(b"the first byte")
    client.shutdown(socket.SHUT_WR)
    end_of(client)
    ip = b"".join(socket.inet_pton(family, name[0]) for name in (mine, theirs))
    ports = struct.pack("!HH", mine[1], theirs[1])
    # Section 2.2: signature, version 2 and PROXY, family and STREAM, length
    expected = bytes.fromhex("0d0a0d0a000d0a515549540a") + bytes(
        [0x21, 0x11 if family == socket.AF_INET else 0x21]) + struct.pack("!H", len(ip + ports))
    whole = expected + ip + ports + b"the first byte"
    until(lambda: whole in got.values(), f"{whole.hex()} in {[g.hex() for g in got.values()]}", 3)
    got.clear()
EOF
}
proxy_header_v4() { proxy_header AF_INET 127.0.0.1 "127.0.0.1:$(t_free_port)"; }
proxy_header_v6() { proxy_header AF_INET6 ::1 "[::1]:$(t_free_port)"; }

# "Begin each backend connection with": before the handshake, where HAProxy, nginx and the specification
# have it.
proxy_header_before_tls() {
    relay_start --proxy-header --backend-tls unverified --backend "127.0.0.1:$BACK1" \
        --health-interval 0
    py <<'EOF'
first = []


def handle(sock, number):
    first.append(sock.recv(12))


Backend(handle, int(os.environ["BACK1"]))
refusal()
until(lambda: first, "the backend is connected to")
assert first[0] == bytes.fromhex("0d0a0d0a000d0a515549540a"), f"it begins with {first[0].hex()}"
EOF
}

# A backend that expects the header would close a check without one.
proxy_header_of_checks() {
    relay_start --proxy-header --backend "127.0.0.1:$BACK1" --health-interval 200ms \
        --health-send 'PING\r\n' --health-expect +PONG
    py <<'EOF'
first = []


def handle(sock, number):
    first.append(sock.recv(100))


Backend(handle, int(os.environ["BACK1"]))
until(lambda: first, "it is checked")
assert first[0].startswith(bytes.fromhex("0d0a0d0a000d0a515549540a")), first[0]
EOF
}

export BACK1
BACK1=$(t_free_port)
for name in proxy_header_v4 proxy_header_v6 proxy_header_before_tls proxy_header_of_checks; do
    check "$name"
done
cases_end
