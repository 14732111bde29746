# shellcheck shell=bash
# shellcheck disable=SC2034 # some variables are for the tests only
# Helpers of the integration tests. A test sources this file, calls t_begin, and goes on with
# commands that must succeed: the first that does not ends the test (set -e), shows where, and
# shows the end of the agent's log. Nothing waits for a time, only for conditions with a limit.
#
#   BIN           directory of log_capturer, loggen, oracle, fake_dockerd (required)
#   DOCKER_HOST   the daemon; the local socket if unset
#   KEEP=1        the temporary directory stays
#   LIMIT_SCALE   factor on all limits, for slow builds (1)
#
# Set here for the test:
#   T             temporary directory; agents log to $T/agent.log, the spool is $T/data
#   RUN_ID        in the name and the label of every container of this test
#   PORT          of the agent; chosen by the first agent_start and kept
#   AGENT_PID, FAKE_PID, GEN_ID, GEN_NAME   of what was started last

set -Eeuo pipefail

TEST_IMAGE=log_capturer-test/loggen:1
TEST_LABEL=log_capturer.test
: "${BIN:?BIN must name the directory of the programs}"
: "${LIMIT_SCALE:=1}"
RUN_OPTIONS=() # further options of `docker run`, for run_gen and run_sh
T=''
RUN_ID=''
PORT=''
AGENT_PID=''
FAKE_PID=''
GEN_ID=''
GEN_NAME=''
T_NAME=''
T_PIDS=()
T_AT=''
T_USED_DOCKER=

# ---- begin, end, judgement

# t_begin NAME
t_begin() {
    T_NAME=$1
    RUN_ID=$1-$$-$RANDOM
    T=$(mktemp -d "${TMPDIR:-/tmp}/log_capturer.XXXXXX")
    exec 9>&2 # stderr for t_end, which may be reached from within a redirection
    trap 't_end $?' EXIT
    trap 'exit 130' INT TERM HUP
    trap 'T_AT="${BASH_SOURCE[0]##*/}:$LINENO: $BASH_COMMAND"' ERR
}

t_end() {
    local rc=$1 pid
    trap - EXIT ERR
    set +e
    exec 2>&9
    if [ "$rc" -ne 0 ] && [ "$rc" -ne 77 ]; then
        printf 'FAILED %s (%s)%s\n' "$T_NAME" "$rc" "${T_AT:+ at $T_AT}" >&2
        t_show_log "$T/agent.log" 60
        t_show_log "$T/fake.log" 20
    fi
    for pid in "${T_PIDS[@]}"; do
        t_end_process "$pid"
    done
    t_remove_containers
    if [ -n "${KEEP:-}" ]; then
        echo "kept: $T" >&2
    else
        rm -rf -- "$T"
    fi
    [ "$rc" -ne 0 ] || echo "ok $T_NAME"
    exit "$rc"
}

t_show_log() {
    if [ -s "$1" ]; then
        echo "---- the end of ${1##*/}:" >&2
        tail -n "$2" -- "$1" >&2
        echo "----" >&2
    fi
}

# Politely first; a stopped process (SIGSTOP) has to be woken for that.
t_end_process() {
    local pid=$1 i
    kill -TERM "$pid" 2>/dev/null || return 0
    kill -CONT "$pid" 2>/dev/null
    for ((i = 0; i < 100; i++)); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.05
    done
    kill -KILL "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
}

t_remove_containers() {
    local ids
    [ -n "$T_USED_DOCKER" ] || return 0
    ids=$(docker ps -aq --no-trunc --filter "label=$TEST_LABEL=$RUN_ID" 2>/dev/null)
    # shellcheck disable=SC2086 # one word per container
    [ -z "$ids" ] || docker rm -f -v $ids >/dev/null 2>&1
}

# fail MESSAGE...
fail() {
    local i=1
    while [ "${BASH_SOURCE[i]:-}" = "${BASH_SOURCE[0]}" ]; do
        i=$((i + 1))
    done
    T_AT="${BASH_SOURCE[i]##*/}:${BASH_LINENO[i - 1]}: $*"
    trap - ERR
    [ "$BASH_SUBSHELL" -eq 0 ] || printf '%s\n' "$T_AT" >&2 # t_end cannot know it
    exit 1
}

# t_skip REASON: the test cannot be made here.
t_skip() {
    echo "skipped: $*" >&2
    exit 77
}

# assert_eq ACTUAL EXPECTED [WHAT]
assert_eq() {
    [ "$1" = "$2" ] || fail "${3:-value} is '$1', not '$2'"
}

# assert_ge ACTUAL LEAST [WHAT]: integers.
assert_ge() {
    [ "$1" -ge "$2" ] || fail "${3:-value} is $1, less than $2"
}

# wait_until SECONDS DESCRIPTION COMMAND...: until the command succeeds. What it prints on stderr
# is of no interest.
wait_until() {
    local limit_us what=$2
    local start_us=${EPOCHREALTIME/[.,]/}
    limit_us=$(($1 * 1000000 * LIMIT_SCALE))
    shift 2
    until "$@"; do
        if ((${EPOCHREALTIME/[.,]/} - start_us > limit_us)); then
            fail "not in $((limit_us / 1000000)) s: $what ($*)"
        fi
        sleep 0.05
    done 2>/dev/null
}

# ---- containers

# t_need_docker: a daemon that answers, or the test is skipped.
t_need_docker() {
    docker version >/dev/null 2>&1 || t_skip "no dockerd at ${DOCKER_HOST:-the local socket}"
    T_USED_DOCKER=1
}

t_is_static() {
    local needs
    needs=$(ldd "$1" 2>&1) || return 0
    [[ $needs == *statically* ]]
}

# t_image: makes $TEST_IMAGE of loggen and a static busybox, unless it is there with this loggen.
t_image() {
    local busybox=${BUSYBOX:-} sum root=$T/image name
    t_need_docker
    sum=$(sha256sum <"$BIN/loggen")
    sum=${sum%% *}
    if [ "$(docker image inspect -f '{{.Config.Labels.loggen}}' $TEST_IMAGE 2>/dev/null)" = "$sum" ]
    then
        return 0
    fi
    [ -n "$busybox" ] || busybox=$(command -v busybox) || t_skip "no busybox (busybox-static)"
    t_is_static "$busybox" || t_skip "$busybox is not static (busybox-static)"
    t_is_static "$BIN/loggen" || fail "$BIN/loggen is not static"
    mkdir -p "$root/bin" "$root/tmp"
    cp -- "$BIN/loggen" "$root/loggen"
    cp -L -- "$busybox" "$root/bin/busybox"
    for name in sh sleep cat echo printf head tr kill seq true false; do
        ln -sf busybox "$root/bin/$name"
    done
    tar -C "$root" -c . | docker import --change "ENV PATH=/bin" --change "LABEL loggen=$sum" \
        --change 'CMD ["/loggen"]' - $TEST_IMAGE >/dev/null
}

# gen_name NAME: the whole name of a container of this test.
gen_name() {
    printf '%s-%s' "$RUN_ID" "$1"
}

t_run() {
    local name=$1
    shift
    [ -n "$T_USED_DOCKER" ] || t_image
    GEN_NAME=$(gen_name "$name")
    GEN_ID=$(docker run -d --network none --label "$TEST_LABEL=$RUN_ID" --name "$GEN_NAME" \
        ${RUN_OPTIONS[@]+"${RUN_OPTIONS[@]}"} $TEST_IMAGE "$@")
}

# run_gen NAME LOGGEN-ARGS...: its lines begin with NAME. Sets GEN_ID and GEN_NAME.
run_gen() {
    local name=$1
    shift
    t_run "$name" /loggen --name "$name" "$@"
}

# run_sh NAME SCRIPT
run_sh() {
    t_run "$1" /bin/sh -c "$2"
}

# container_state NAME-OR-ID; nothing if there is none.
container_state() {
    docker inspect -f '{{.State.Status}}' "$1" 2>/dev/null || true
}

# container_is NAME-OR-ID STATE
container_is() {
    [ "$(container_state "$1")" = "$2" ]
}

# wait_exited NAME-OR-ID [SECONDS]
wait_exited() {
    wait_until "${2:-60}" "container $1 has exited" container_is "$1" exited
}

# ---- the agent

t_port_is_free() {
    ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Below the range that the kernel takes for outgoing connections.
t_free_port() {
    local port
    while :; do
        port=$((10000 + (RANDOM * 32768 + RANDOM) % 20000))
        if t_port_is_free "$port"; then
            echo "$port"
            return
        fi
    done
}

# agent_http PATH [CURL-ARGS...]
agent_http() {
    local path=$1
    shift
    curl -sS --max-time 10 "$@" "http://127.0.0.1:$PORT$path"
}

agent_is_ready() {
    kill -0 "$AGENT_PID" || fail "the agent has ended by itself"
    [ "$(agent_http /readyz -o /dev/null -w '%{http_code}')" = 200 ]
}

# agent_spawn [ARGS...]: starts it and does not wait. AGENT_DOCKER_HOST, if set, is the daemon of
# the agent alone. AGENT_WRAPPER=(strace -f ...) is put before the command.
agent_spawn() {
    [ -n "$PORT" ] || PORT=$(t_free_port)
    DOCKER_HOST=${AGENT_DOCKER_HOST:-${DOCKER_HOST:-unix:///var/run/docker.sock}} \
        ${AGENT_WRAPPER[@]+"${AGENT_WRAPPER[@]}"} "$BIN/log_capturer" run \
        --data-dir "$T/data" --listen "127.0.0.1:$PORT" --output none "$@" \
        >>"$T/agent.log" 2>&1 9>&- &
    AGENT_PID=$!
    T_PIDS+=("$AGENT_PID")
}

# agent_start [ARGS...]: and waits until it is ready.
agent_start() {
    agent_spawn "$@"
    wait_until 30 "the agent is ready" agent_is_ready
}

t_forget() {
    local pid kept=()
    for pid in "${T_PIDS[@]}"; do
        [ "$pid" = "$1" ] || kept+=("$pid")
    done
    T_PIDS=(${kept[@]+"${kept[@]}"})
}

t_has_ended() {
    ! kill -0 "$1"
}

# agent_wait [SECONDS]: until it has ended; sets AGENT_STATUS.
agent_wait() {
    wait_until "${1:-30}" "the agent has ended" t_has_ended "$AGENT_PID"
    AGENT_STATUS=0
    { wait "$AGENT_PID" || AGENT_STATUS=$?; } 2>/dev/null # bash tells of killed jobs there
    t_forget "$AGENT_PID"
}

# agent_stop: SIGTERM; it must end with 0.
agent_stop() {
    kill -TERM "$AGENT_PID" || fail "the agent has ended by itself"
    agent_wait 30
    assert_eq "$AGENT_STATUS" 0 "the agent's exit code"
}

# agent_kill: SIGKILL.
agent_kill() {
    kill -KILL "$AGENT_PID" || fail "the agent has ended by itself"
    agent_wait 30
}

agent_fds() {
    local fds=("/proc/$AGENT_PID/fd/"*)
    echo "${#fds[@]}"
}

agent_threads() {
    awk '$1 == "Threads:" { print $2 }' "/proc/$AGENT_PID/status"
}

agent_rss_kb() {
    awk '$1 == "VmRSS:" { print $2 }' "/proc/$AGENT_PID/status"
}

# ---- what it has done

# metric NAME or metric 'NAME{a="x",b="y"}': the sum of the series of that name that have (at
# least) these labels. No such series: prints nothing and fails.
metric() {
    local text
    text=$(agent_http /metrics -f) || return 1
    WANTED=$1 awk '
        BEGIN {
            name = ENVIRON["WANTED"]
            brace = index(name, "{")
            if (brace > 0) {
                labels = substr(name, brace + 1)
                sub(/}$/, "", labels)
                name = substr(name, 1, brace - 1)
            }
            while (match(labels, /[a-zA-Z_][a-zA-Z0-9_]*="([^"\\]|\\.)*"/)) {
                pairs[++count] = substr(labels, RSTART, RLENGTH)
                labels = substr(labels, RSTART + RLENGTH)
            }
        }
        /^#/ { next }
        {
            key = $0
            sub(/ [^ ]+$/, "", key)
            if (key != name && index(key, name "{") != 1)
                next
            for (i = 1; i <= count; i++)
                if (!index(key, "{" pairs[i]) && !index(key, "," pairs[i]))
                    next
            sum += $NF
            found = 1
        }
        END {
            if (!found)
                exit 1
            if (sum == int(sum))
                printf "%.0f\n", sum
            else
                printf "%.9g\n", sum
        }' <<<"$text"
}

# metric_ge METRIC NUMBER, metric_eq METRIC NUMBER: conditions for wait_until.
metric_ge() {
    local value
    value=$(metric "$1") && awk -v a="$value" -v b="$2" 'BEGIN { exit !(a >= b) }'
}

metric_eq() {
    local value
    value=$(metric "$1") && awk -v a="$value" -v b="$2" 'BEGIN { exit !(a == b) }'
}

# search_json ARGS...: the captured lines as JSON, in order.
search_json() {
    "$BIN/log_capturer" search --data-dir "$T/data" -o json "$@"
}

# captured ORACLE-ARGS...: whether all that was expected is there. Prints the oracle's summary.
# SEARCH_ARGS=(...) limits what is looked at.
captured() {
    search_json ${SEARCH_ARGS[@]+"${SEARCH_ARGS[@]}"} | "$BIN/oracle" "$@"
}

# captured_quietly ORACLE-ARGS...: the same as a condition for wait_until.
captured_quietly() {
    captured --quiet "$@" >/dev/null
}

# ---- the fake daemon

fake_is_ready() {
    kill -0 "$FAKE_PID" || fail "fake_dockerd has ended by itself"
    grep -q '^ready' "$T/fake.log"
}

# fake_start ARGS...: and agents started from now on watch it. Sets FAKE_SOCKET.
fake_start() {
    FAKE_SOCKET=$T/docker.sock
    : >"$T/fake.log"
    "$BIN/fake_dockerd" --socket "$FAKE_SOCKET" --control "$T/control.sock" "$@" \
        >>"$T/fake.log" 2>&1 9>&- &
    FAKE_PID=$!
    T_PIDS+=("$FAKE_PID")
    AGENT_DOCKER_HOST=unix://$FAKE_SOCKET
    wait_until 30 "fake_dockerd is ready" fake_is_ready
}

# fake_stop [SIGNAL]
fake_stop() {
    kill -"${1:-TERM}" "$FAKE_PID" || fail "fake_dockerd has ended by itself"
    wait_until 10 "fake_dockerd has ended" t_has_ended "$FAKE_PID"
    wait "$FAKE_PID" || true
    t_forget "$FAKE_PID"
}

# fake 'VERB?PARAMETERS' [CURL-ARGS...]: as in tests/support/fake_dockerd/control.h; prints the
# answer. A body: --data-binary @FILE.
fake() {
    local request=$1
    shift
    curl -sS -f --max-time 30 -X POST --unix-socket "$T/control.sock" "$@" \
        "http://fake/_fake/$request"
}

# fake_stat NAME: a number of its statistics, such as .follows or .requests.logs
fake_stat() {
    fake stats | jq "$1"
}

# fake_stat_is NAME NUMBER: a condition for wait_until.
fake_stat_is() {
    [ "$(fake_stat "$1")" = "$2" ]
}
