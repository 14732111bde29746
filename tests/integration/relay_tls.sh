# shellcheck shell=bash
# Helpers of the tests of pool_server with TLS, on top of relay.sh: certificates, and what peer.py needs for
# them. Call tls_begin after relay_begin.

tls_make_ca() { # NAME
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
        -subj "/CN=$1" -keyout "$C/$1.key" -out "$C/$1.pem" 2>>"$T/openssl.log"
}
tls_make_cert() { # NAME AUTHORITY EXTENSION
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$1" \
        -keyout "$C/$1.key" -out "$C/$1.csr" 2>>"$T/openssl.log"
    openssl x509 -req -in "$C/$1.csr" -CA "$C/$2.pem" -CAkey "$C/$2.key" -CAcreateserial -days 2 \
        -extfile <(echo "$3") -out "$C/$1.pem" 2>>"$T/openssl.log"
    cat "$C/$1.key" "$C/$1.pem" >"$C/$1.both"
}

# Two authorities, own and other; a server for localhost and 127.0.0.1 and one for elsewhere; a client
# of each authority. In $C: NAME.pem, NAME.key, and NAME.both with the two.
tls_begin() {
    command -v openssl >/dev/null || t_skip "no openssl"
    C=$T/certs
    mkdir "$C"
    tls_make_ca own
    tls_make_ca other
    tls_make_cert server own subjectAltName=IP:127.0.0.1,DNS:localhost
    tls_make_cert elsewhere own subjectAltName=DNS:elsewhere.example
    tls_make_cert client own extendedKeyUsage=clientAuth
    tls_make_cert stranger other extendedKeyUsage=clientAuth
    tls_extend_peer
}

tls_extend_peer() {
    cat >>"$T/peer.py" <<'EOF'


def certs(name):
    return f"{T}/certs/{name}"


def client_context(ca=None, cert=None, most=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = bool(ca)
    context.verify_mode = ssl.CERT_REQUIRED if ca else ssl.CERT_NONE
    if ca:
        context.load_verify_locations(certs(ca + ".pem"))
    if cert:
        context.load_cert_chain(certs(cert + ".both"))
    context.maximum_version = most or ssl.TLSVersion.TLSv1_3
    return context


def server_context(name="server", ca=None, most=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certs(name + ".both"))
    if ca:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certs(ca + ".pem"))
    context.maximum_version = most or ssl.TLSVersion.TLSv1_3
    return context


def secure(context, host="127.0.0.1"):
    return context.wrap_socket(connect(), server_hostname=host, suppress_ragged_eofs=False)


def outcome(context):
    """Of a request over TLS: "served", or "refused"."""
    try:
        with secure(context) as sock:
            sock.sendall(b"?")
            return "served" if sock.recv(1) == b"?" else "refused"
    except (ssl.SSLError, ConnectionError):
        return "refused"


def exchange(sock, data):
    """Sends and reads an echo at once, in one thread, for a TLS socket is no two threads'."""
    sock.setblocking(False)
    sent, got, end = 0, bytearray(), time.monotonic() + LIMIT
    while len(got) < len(data):
        waits = []
        assert time.monotonic() < end, f"{sent} were sent and {len(got)} came back of {len(data)}"
        for act in ("send", "recv"):
            try:
                if act == "send" and sent < len(data):
                    sent += sock.send(data[sent:sent + 65536])
                elif act == "recv":
                    part = sock.recv(65536)
                    assert part, f"an end after {len(got)} of {len(data)}"
                    got += part
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                waits.append(act)
        if len(waits) == 2 or (waits and sent == len(data)):
            select.select([sock], [sock] if sent < len(data) else [], [], 0.5)
    assert got == data
    sock.setblocking(True)


class Bio:
    """TLS by hand, so that each side's end is its own."""

    def __init__(self, context, host="127.0.0.1"):
        self.sock = connect()
        self.inside, self.outside = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.inside, self.outside, server_hostname=host)
        self.go(self.tls.do_handshake)

    def go(self, call, *args):
        while True:
            try:
                result = call(*args)
                self.flush()
                return result
            except ssl.SSLWantReadError:
                self.flush()
                data = self.sock.recv(1 << 16)
                self.inside.write(data) if data else self.inside.write_eof()

    def flush(self):
        if self.outside.pending:
            self.sock.sendall(self.outside.read())

    def send(self, data):
        self.go(self.tls.write, data)

    def end(self):
        """Sends close_notify."""
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        self.flush()

    def read_all(self):
        """Until close_notify; an end without it is an exception."""
        data = b""
        try:
            while part := self.go(self.tls.read, 1 << 16):
                data += part
        except ssl.SSLZeroReturnError:
            pass
        return data
EOF
}
