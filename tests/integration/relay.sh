# shellcheck shell=bash
# shellcheck disable=SC2034,SC2030,SC2031 # some variables are for the tests only; a case is a subshell
# Helpers of the tests of pool_server, on top of lib.sh. A test is a list of cases: each runs by
# itself, with its own relay and peers, and one that fails does not keep the others from running.
#
#   RELAY         port of the relay, 127.0.0.1 alone; PORT is its admin API's, AGENT_PID its process
#   ONLY          cases to run, as a pattern; all if unset
#
# Sockets that bash can't have are Python's: py runs a program that begins with peer.py below. It has
# RELAY, PORT and T of its environment, and what else is exported.

export RELAY='' PORT=''
CASES_FAILED=()

# A network of its own, where that can be had: so many connections would fill the tables of ports and of
# conntrack that the other tests and their dockerd need.
# shellcheck disable=SC2016 # expanded by the inner shell
if [ -z "${RELAY_NETWORK:-}" ]; then
    export RELAY_NETWORK=1
    for flags in -n -rn; do
        if unshare $flags ip link set lo up 2>/dev/null; then
            exec unshare $flags sh -c 'ip link set lo up && exec bash "$0"' "$0"
        fi
    done
fi

# ---- cases

# case_end STATUS: of the subshell of a case.
case_end() {
    local rc=$1 pid
    trap - EXIT ERR
    set +e
    exec 2>&9 # it may be reached from within a redirection
    [ -z "$PORT" ] || agent_http /metrics -f >>"$T/metrics.all" 2>/dev/null
    if [ "$rc" -ne 0 ]; then
        echo "    at $T_AT" >&2
        t_show_log "$T/agent.log" 20
    fi
    for pid in "${T_PIDS[@]}"; do
        t_end_process "$pid"
    done
    exit "$rc"
}

# check FUNCTION: runs a case.
check() {
    local rc=0 start=${EPOCHREALTIME/[.,]/}
    # shellcheck disable=SC2254 # ONLY is a pattern
    case $1 in
    ${ONLY:-*}) ;;
    *) return 0 ;;
    esac
    set +e
    (
        set -e
        trap 'case_end $?' EXIT
        T_PIDS=()
        T_AT=''
        : >"$T/agent.log"
        "$1"
    )
    rc=$?
    set -e
    printf '  %-32s %s %5d ms\n' "$1" "$([ $rc -eq 0 ] && echo ok || echo FAILED)" \
        $(((${EPOCHREALTIME/[.,]/} - start) / 1000))
    [ $rc -eq 0 ] || CASES_FAILED+=("$1")
}

# cases_end: fails if a case has failed; with VERBOSE set it tells the relay's metrics that none has moved.
cases_end() {
    [ -z "${VERBOSE:-}" ] || awk '/^log_capturer_(relay|upstream|pool)_/ {
            key = $0
            sub(/ [^ ]+$/, "", key)
            sub(/(pool|upstream|backend)="[^"]*",?/, "", key)
            sub(/(pool|upstream|backend)="[^"]*",?/, "", key)
            if (key !~ /_bucket/ && (!(key in seen) || $NF != seen[key]))
                changes[key]++
            seen[key] = $NF
            largest[key] = $NF > largest[key] ? $NF : largest[key]
        }
        END { for (key in changes) if (largest[key] == 0) print "  not moved here:", key }' \
        "$T/metrics.all" | sort
    [ ${#CASES_FAILED[@]} -eq 0 ] || fail "cases: ${CASES_FAILED[*]}"
}

# ---- the relay

relay_is_ready() {
    kill -0 "$AGENT_PID" || fail "the relay has ended by itself"
    [ "$(agent_http /healthz -o /dev/null -w '%{http_code}')" = 200 ]
}

# relay_spawn ARGS...: starts it and does not wait. RELAY_WRAPPER=(prlimit ...) is put before it;
# RELAY_LISTEN is where it listens.
relay_spawn() {
    RELAY=$(t_free_port)
    PORT=$(t_free_port)
    ${RELAY_WRAPPER[@]+"${RELAY_WRAPPER[@]}"} "$BIN/pool_server" \
        --listen "${RELAY_LISTEN:-127.0.0.1:$RELAY}" --metrics "127.0.0.1:$PORT" "$@" \
        >>"$T/agent.log" 2>&1 9>&- &
    AGENT_PID=$!
    T_PIDS+=("$AGENT_PID")
}

# relay_start ARGS...: and waits until it is ready.
relay_start() {
    relay_spawn "$@"
    wait_until 10 "the relay is ready" relay_is_ready
}

relay_log_has() {
    grep -qE -- "$1" "$T/agent.log"
}

# status MEMBER, backend PORT MEMBER: of the admin API.
status() {
    agent_http /api/v1/status -f | jq -r ".$1"
}

backend() {
    agent_http /api/v1/backends -f |
        jq -r --arg address "127.0.0.1:$1" ".[] | select(.address == \$address).$2"
}

# Conditions for wait_until.
status_is() {
    [ "$(status "$1")" = "$2" ]
}

backend_is() {
    [ "$(backend "$1" state)" = "$2" ]
}

backend_active_is() {
    [ "$(backend "$1" active)" = "$2" ]
}

backend_idle_is() {
    [ "$(backend "$1" idle)" = "$2" ]
}

relay_is_quiet() {
    status '| .clients == 0 and ([.backends[].active] | add // 0) == 0' | grep -qx true
}

# admin METHOD PATH: prints the status code; the body is in $T/admin.json.
admin() {
    agent_http "$2" -X "$1" -o "$T/admin.json" -w '%{http_code}'
}

# relay_has_fds NUMBER: no more than so many.
relay_has_fds() {
    [ "$(agent_fds)" -le "$1" ]
}

relay_cpu_ms() {
    awk -v hz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print int(($12 + $13) * 1000 / hz) }' \
        "/proc/$AGENT_PID/stat"
}

# ---- peers

port_is_open() {
    ! t_port_is_free "$1"
}

# echo_start [PORT]: an echo backend; sets ECHO and ECHO_PID.
# shellcheck disable=SC2120
echo_start() {
    ECHO=${1:-$(t_free_port)}
    "$BIN/pool_bench" -echo "$ECHO" >>"$T/echo.log" 2>&1 9>&- &
    ECHO_PID=$!
    T_PIDS+=("$ECHO_PID")
    wait_until 10 "the echo listens" port_is_open "$ECHO"
}

# process_kill PID [SIGNAL]
process_kill() {
    kill -"${2:-KILL}" "$1"
    wait_until 10 "process $1 has ended" t_has_ended "$1"
    { wait "$1" || true; } 2>/dev/null
    t_forget "$1"
}

# bench ARGS...: pool_bench against the relay; what it measured is in $T/bench.json.
bench() {
    "$BIN/pool_bench" -server "127.0.0.1:$RELAY" -quiet -json "$T/bench.json" "$@" >"$T/bench.out"
}

# bench_value MEMBER
bench_value() {
    jq -r ".$1" "$T/bench.json"
}

# py: runs the program on its standard input.
py() {
    { cat "$T/peer.py" && cat; } >"$T/program.py"
    python3 "$T/program.py"
}

# py_spawn NAME: the same, not waited for, until it has printed "ready"; sets PY_PID. What it prints
# is in $T/NAME.out.
py_spawn() {
    local name=$1
    { cat "$T/peer.py" && cat; } >"$T/$name.py"
    : >"$T/$name.out"
    python3 "$T/$name.py" >"$T/$name.out" 9>&- &
    PY_PID=$!
    T_PIDS+=("$PY_PID")
    wait_until 10 "$name is ready" grep -q '^ready' "$T/$name.out"
}

relay_begin() {
    command -v python3 >/dev/null || t_skip "no python3"
    command -v jq >/dev/null || t_skip "no jq"
    export T
    cat >"$T/peer.py" <<'PEER'
import hashlib, json, os, resource, select, socket, ssl, struct, sys, threading, time, urllib.request

RELAY = int(os.environ["RELAY"] or 0)
PORT = int(os.environ["PORT"] or 0)
T = os.environ["T"]
LIMIT = 10 * float(os.environ.get("LIMIT_SCALE", "1"))


def connect(port=None):
    sock = socket.create_connection(("127.0.0.1", port or RELAY), timeout=LIMIT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def read_all(sock):
    parts = []
    while part := sock.recv(1 << 18):
        parts.append(part)
    return b"".join(parts)


def read_exactly(sock, size):
    parts = b""
    while len(parts) < size:
        part = sock.recv(size - len(parts))
        assert part, f"ended after {len(parts)} of {size} bytes"
        parts += part
    return parts


def end_of(sock):
    """How it ends: "end" or "reset"; its bytes are read away."""
    try:
        while sock.recv(1 << 18):
            pass
        return "end"
    except ConnectionResetError:
        return "reset"


def refusal():
    """Connects and returns how it was turned away, and after how many seconds."""
    begun = time.monotonic()
    try:
        sock = connect()
        how = sock.recv(1)
        how = "served" if how else "end"
    except ConnectionError:
        how = "reset"
    return how, time.monotonic() - begun


def ask(data=b"?", sock=None):
    """A request, its echo, a proper end."""
    sock = sock or connect()
    sock.sendall(data)
    assert read_exactly(sock, len(data)) == data
    sock.close()


def until(condition, what, seconds=LIMIT):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not in {seconds:.0f} s: {what}"
        time.sleep(0.02)


def http(path):
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}{path}", timeout=LIMIT) as answer:
        return answer.read().decode()


def status():
    return json.loads(http("/api/v1/status"))


def look():
    """What the metrics are now, for cases_end."""
    with open(f"{T}/metrics.all", "a") as file:
        file.write(http("/metrics"))


def deaf(port):
    """A listener whose kernel answers no connection any more; it is so while what this returns is kept."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(0)
    fill = [socket.socket() for _ in range(3)]
    for sock in fill:  # what comes behind them is dropped
        sock.setblocking(False)
        sock.connect_ex(listener.getsockname())
    return listener, fill


def quiet():
    now = status()
    return now["clients"] == 0 and all(b["active"] == 0 for b in now["backends"])


def rss_kb(pid):
    with open(f"/proc/{pid}/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def echo(sock, number):
    while data := sock.recv(1 << 16):
        sock.sendall(data)


class Backend:
    """Calls handle(socket, number) in a thread for each connection; an exception is kept."""

    def __init__(self, handle=echo, port=0, context=None):
        self.handle, self.context = handle, context
        self.accepted, self.sockets, self.faults, self.threads = 0, [], [], []
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", port))
        self.listener.listen(1024)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            self.sockets.append(sock)
            thread = threading.Thread(target=self.one, args=(sock, self.accepted), daemon=True)
            self.threads.append(thread)
            thread.start()

    def one(self, sock, number):
        try:
            with sock:
                if self.context:
                    with self.context.wrap_socket(sock, server_side=True,
                                                  suppress_ragged_eofs=False) as secured:
                        self.handle(secured, number)
                else:
                    self.handle(sock, number)
        except (AssertionError, OSError) as fault:
            self.faults.append(fault)

    def stop(self):
        """As when its process is killed."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for sock in self.sockets:
            if sock.fileno() >= 0:
                sock.shutdown(socket.SHUT_RDWR)

    def wait(self):
        for thread in self.threads:
            thread.join(LIMIT)
            assert not thread.is_alive(), "a connection of the backend has not ended"
        if self.faults:
            raise self.faults[0]
PEER
}
