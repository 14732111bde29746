#!/usr/bin/env bash
# Each fault that doctor knows is made, and it says so and how to mend it.
# shellcheck disable=SC2119 # no arguments are wanted
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
t_begin doctor
PORT=$(t_free_port)

# doctor STATUS ARGS...: its findings are in $T/found
doctor() {
    local expected=$1 status=0
    shift
    timeout 60 "$BIN/log_capturer" doctor --listen "127.0.0.1:$PORT" --data-dir "$T/data" -o json \
        --docker "unix://${FAKE_SOCKET:-/absent}" "$@" >"$T/found" 2>"$T/err" || status=$?
    assert_eq "$status" "$expected" "exit status of doctor $* ($(cat "$T/err" "$T/found"))"
}

# finds VERDICT CHECK PATTERN [PATTERN-OF-THE-MEND]
finds() {
    jq -e --arg v "$1" --arg c "$2" --arg t "$3" --arg m "${4:-}" \
        'any(.findings[]; .verdict == $v and .check == $c and (.text | test($t))
            and ((.mend // "") | test($m)))' "$T/found" >/dev/null ||
        fail "no $1 $2 '$3' '${4:-}' in $(jq -c '.findings[]' "$T/found")"
}

# ---- all fine, without and with an agent
fake_start --containers 3 --lines 10 --log-driver local
doctor 0
jq -e '.fine and all(.findings[]; .mend == null)' "$T/found" >/dev/null || fail "$(cat "$T/found")"
finds ok port 'no agent runs'
finds ok daemon 'Docker/.*API 1\.43'
finds ok containers '^3, of which 3 run'
finds ok 'log drivers' 'all 3'
agent_start
doctor 0
finds ok agent "runs at http://127.0.0.1:$PORT and is ready"
agent_stop
"$BIN/log_capturer" doctor --listen ":$PORT" --data-dir "$T/data" --docker "unix://$FAKE_SOCKET" \
    >"$T/out" || fail "text: $(cat "$T/out")"
grep -qE '^  ok +local +socket +.*docker.sock' "$T/out" || fail "text: $(cat "$T/out")"
grep -qE '^  [0-9]+ fine, 0 to look at, 0 bad' "$T/out" || fail "text: $(cat "$T/out")"

# ---- drivers and limits
fake 'create?name=silent&driver=none&start=1' >/dev/null
doctor 1
finds bad 'log drivers' '1 logs .*silent \(none\)' 'json-file or local'
fake 'create?name=endless&driver=json-file&start=1' >/dev/null
doctor 1
finds warn rotation '1 json-file logs grow without limit: endless' 'max-size'
doctor 1 --set spool.limit=900000TiB
finds warn 'disk space' 'free' 'spool.limit'
(
    ulimit -n 40
    doctor 1
)
finds bad 'open files' 'may open 40, and 5' 'LimitNOFILE'
status=0
"$BIN/log_capturer" doctor --set spool.limit=many >/dev/null 2>&1 || status=$?
assert_eq "$status" 1 "status with a wrong configuration"
status=0
"$BIN/log_capturer" doctor --nonsense >/dev/null 2>&1 || status=$?
assert_eq "$status" 2 "status of wrong usage"
fake_stop

# ---- an agent that waits
agent_spawn
wait_until 20 "the agent answers" agent_http /healthz -o /dev/null
doctor 1
finds bad agent 'is not ready: .*docker.sock'
agent_stop

# ---- sockets
doctor 1 --docker "unix://$T/absent.sock"
finds bad socket 'absent.sock: No such file' 'systemctl start docker'
mkdir "$T/folder.sock"
doctor 1 --docker "unix://$T/folder.sock"
finds bad socket 'no socket' 'remove it'
fake_start --containers 1 --api-version 1.24
doctor 1
finds bad daemon "API '1.24'" '19.03'
fake_stop
fake_start --containers 1 --log-driver local --tcp 0
tcp=$(sed -n 's/.*tcp=\([0-9]*\).*/\1/p' "$T/fake.log")
doctor 1 --docker "tcp://127.0.0.1:$tcp"
finds warn encryption 'neither encrypted' 'TLS'
doctor 1 --docker "tcp://127.0.0.1:$(t_free_port)"
finds bad daemon 'onnect' 'listens there'
PORT=$tcp doctor 1
finds bad port 'something else answers' 'another port'
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
    chgrp daemon "$FAKE_SOCKET"
    chmod 660 "$FAKE_SOCKET"
    chmod 711 "$T"
    mkdir "$T/bin" "$T/data2"
    cp "$BIN/log_capturer" "$T/bin/"
    status=0
    (cd / && setpriv --reuid=65534 --regid=65534 --clear-groups "$T/bin/log_capturer" doctor \
        --listen ":$PORT" --data-dir "$T/data2" -o json --docker "unix://$FAKE_SOCKET") \
        >"$T/found" || status=$?
    assert_eq "$status" 1 "status as nobody"
    finds bad socket 'no permission for user nobody; it needs group daemon' 'usermod.*--group-add'
    finds bad spool 'data2 can.t be written' 'install -d'
fi

# ---- something between that answers by itself
if command -v python3 >/dev/null; then
    cat >"$T/proxy.py" <<'PYTHON'
import http.client, http.server, socket, sys

class Daemon(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(sys.argv[1])

class Proxy(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass
    def version_string(self):
        return ""
    def do_GET(self):
        if not self.path.startswith(("/_ping", "/containers/")):
            self.send_response_only(403)
            self.end_headers()
            self.wfile.write(b"<html><body><h1>403 Forbidden</h1>")
            return
        daemon = Daemon("docker")
        daemon.request("GET", self.path)
        answer = daemon.getresponse()
        self.send_response_only(answer.status)
        for name in ("Api-Version", "Server"):
            self.send_header(name, answer.getheader(name) or "")
        self.send_header("Via", "1.1 test")
        self.end_headers()
        self.wfile.write(answer.read())

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
print(server.server_port, flush=True)
server.serve_forever()
PYTHON
    python3 "$T/proxy.py" "$FAKE_SOCKET" >"$T/proxy.port" &
    T_PIDS+=("$!")
    wait_until 20 "the proxy" test -s "$T/proxy.port"
    doctor 1 --docker "tcp://127.0.0.1:$(cat "$T/proxy.port")"
    finds warn proxy 'Via: 1.1 test'
    finds warn proxy 'lets only some requests through' 'time-outs'
    finds bad events '/events' 'EVENTS=1'
    finds ok containers '^1, of'
else
    echo "no python3: a proxy was not tried"
fi
fake_stop

# ---- rotation, with a real daemon
if docker version >/dev/null 2>&1; then
    T_USED_DOCKER=1
    t_image
    RUN_OPTIONS=(--log-opt max-size=10k --log-opt max-file=1)
    run_gen fast --rate 400 --lines 1000000
    RUN_OPTIONS=(--log-opt max-size=10m --log-opt max-file=3 --log-opt compress=true)
    run_gen calm --rate 5 --lines 1000000
    lines_written() { [ "$(docker logs --tail 50 "$1" 2>&1 | wc -l)" -ge "$2" ]; }
    wait_until 30 "lines" lines_written "$(gen_name fast)" 40
    doctor 1 --docker "${DOCKER_HOST:-unix:///var/run/docker.sock}"
    finds bad rotation "$(gen_name fast): max-size=10.0 KiB is full after [0-9]\\.[0-9] s" 'max-file=3'
    finds warn rotation 'max-file=1' 'max-file=3'
    finds warn rotation 'compressed' 'compress=false'
    jq -e --arg n "$(gen_name calm): max-size" 'all(.findings[]; .text | startswith($n) | not)' \
        "$T/found" >/dev/null || fail "a calm container is complained of"
else
    echo "no dockerd: rotation was not looked at"
fi
