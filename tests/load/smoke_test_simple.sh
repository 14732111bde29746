#!/usr/bin/env bash
# smoke_test_simple.sh: half an hour against the agent in its container. Does it leak, does it lose a line?
# It starts its own load and fails on any criterion that it prints at the end. --help shows the settings.
# shellcheck disable=SC2034,SC2119,SC2153 # variables for the files sourced here; agent_start without arguments; variables that begin like others
BIN=${BIN:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/build/release/bin}
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
    cat <<'END'
usage: [NAME=VALUE...] smoke_test_simple.sh

  DURATION=30m      of the test behind the warm-up: 90s, 30m, 1h; slopes of less than 90s say little
  CHECKPOINTS=15
  CONTAINERS=8      containers that write numbered lines all the time
  RATE=100          lines a second of each
  CHURN=6           containers that come, write for 2 to 6 s, go, and are followed by the next; 0: none
  WARMUP=45s        load before the first measured sample
  INSPECT_EVERY=30s all containers are inspected through the daemon
  ROTATE=30s        stream.max_lifetime of the agent
  SAMPLE=5s         between two samples; at most a 30th of DURATION
  SINK=file         a file sink that rotates and compresses, and whose files are judged as the spool is; or none
  OUT=build/smoke   report.txt, samples.csv, plot.svg, lines.txt (each stream), agent.log
  AGENT=image       a container of IMAGE (log_capturer); program: a container of PROGRAM
                    (BIN/log_capturer) and its libraries; process: PROGRAM without a container
  BIN               folder of the programs (build/release/bin)

Exit code 0: every criterion was met; 1: one was not, or something broke; 77: it cannot be run here.
END
}

case ${1:-} in
--help | -h) usage && exit 0 ;;
'') ;;
*) usage >&2 && exit 2 ;;
esac

# shellcheck source=tests/integration/lib.sh
. "$HERE/../integration/lib.sh"
# shellcheck source=tests/load/agent.sh
. "$HERE/agent.sh"
# shellcheck source=tests/load/load.sh
. "$HERE/load.sh"
# shellcheck source=tests/load/judge.sh
. "$HERE/judge.sh"

# seconds_of NAME TEXT: whole seconds of 90, 90s, 30m, 1h.
seconds_of() {
    local number=${2%[smh]} unit=1
    case $2 in
    *m) unit=60 ;;
    *h) unit=3600 ;;
    esac
    [[ $number =~ ^[0-9]+$ ]] || { echo "$1: not a time: $2" >&2 && exit 2; }
    echo $((number * unit))
}

DURATION=$(seconds_of DURATION "${DURATION:-30m}")
WARMUP=$(seconds_of WARMUP "${WARMUP:-45s}")
INSPECT_EVERY=$(seconds_of INSPECT_EVERY "${INSPECT_EVERY:-30s}")
ROTATE=$(seconds_of ROTATE "${ROTATE:-30s}")
SAMPLE=$(seconds_of SAMPLE "${SAMPLE:-5s}")
CHECKPOINTS=${CHECKPOINTS:-15}
CONTAINERS=${CONTAINERS:-8}
RATE=${RATE:-100}
CHURN=${CHURN:-6}
SINK=${SINK:-file}
OUT=${OUT:-$HERE/../../build/smoke}
[[ $SINK =~ ^(file|none)$ ]] || { echo "SINK: file or none" >&2 && exit 2; }
[ "$DURATION" -ge 60 ] || { echo "DURATION: at least 60s" >&2 && exit 2; }
[ "$SAMPLE" -le $((DURATION / 30)) ] || SAMPLE=$((DURATION / 30))

ZERO_US=0     # where second 0 of the samples is
LAST=''       # newest row of samples.csv, if the agent answered
BASE=''       # first one behind the warm-up
CHECKED=''    # the one of the checkpoint before
GONE=''       # why there will be no more samples
READY=0       # checkpoints with /readyz 200
SILENT=0      # samples that were not answered
FIRST_PID=''

now_us() { echo "${EPOCHREALTIME/[.,]/}"; }

# seconds_now: since second 0, with three decimals.
seconds_now() { awk -v us=$(($(now_us) - ZERO_US)) 'BEGIN { printf "%.3f", us / 1e6 }'; }

# past SECONDS: whether second SECONDS has come.
past() { (($(now_us) - ZERO_US >= $1 * 1000000)); }

say() {
    [ ! -t 2 ] || printf '\r\033[K' >&2
    printf '%s\n' "$*" | tee -a "$OUT/report.txt"
}

progress() {
    [ ! -t 2 ] || printf '\r\033[K%s' "$*" >&2
}

# ---- samples

# Asks for /metrics into $T/metrics.new and counts the process's files while that connection is
# open, as the agent did when it answered. In a subshell: a broken connection ends only that.
take_sample() {
    local line length=0 fds
    exec 8<>"/dev/tcp/127.0.0.1/$PORT" || exit 1
    printf 'GET /metrics HTTP/1.1\r\nHost: agent\r\n\r\n' >&8 || exit 1
    read -r -t 5 -u 8 line && [[ $line == *" 200 "* ]] || exit 1
    while read -r -t 5 -u 8 line && [ "$line" != $'\r' ]; do
        [[ ${line,,} != content-length:* ]] || length=${line//[^0-9]/}
    done
    timeout 5 head -c "$length" <&8 >"$T/metrics.new" || exit 1
    fds=("/proc/$AGENT_PID/fd/"*)
    [ -e "${fds[0]}" ] || [ -L "${fds[0]}" ] || fds=()
    awk -v seconds="$(seconds_now)" -v host_fds="${#fds[@]}" -f "$HERE/sample.awk" "$T/metrics.new"
}

sample() {
    [ -d "/proc/$AGENT_PID" ] || look_where_it_is
    if LAST=$(take_sample 2>/dev/null) && [[ $LAST != *,,* ]]; then
        mv "$T/metrics.new" "$T/metrics"
        if [ -z "$BASE" ] && past 0; then
            BASE=$LAST
        fi
    else
        LAST=''
        if past 0; then
            SILENT=$((SILENT + 1))
        fi
        look_where_it_is
    fi
    printf '%s\n' "${LAST:-$(seconds_now),,,,,,,,,,,,,,,,}" >>"$OUT/samples.csv"
}

# The agent does not answer, or its process is gone: started again, or ended for good?
look_where_it_is() {
    local state pid
    state=$(load_agent_state)
    case $state in
    *running)
        if [ "$AGENT" != process ]; then
            pid=$(docker inspect -f '{{.State.Pid}}' "$LOAD_CONTAINER" 2>/dev/null) || pid=$AGENT_PID
            AGENT_PID=$pid
        fi
        ;;
    *exited | *dead | *gone) GONE=${state#* } ;;
    esac
}

# sample_until SECONDS
sample_until() {
    local next_us
    while [ -z "$GONE" ] && ! past "$1"; do
        next_us=$(($(now_us) + SAMPLE * 1000000))
        sample
        progress "$(show_now)"
        while (($(now_us) < next_us)) && ! past "$1"; do
            sleep 0.1
        done
    done
}

# ---- what is shown

show_now() {
    [ -t 2 ] || return 0
    awk -F, -v duration="$DURATION" -v row="${LAST:-}" 'BEGIN {
        n = split(row, v, ",")
        if (n < 10) { print "the agent does not answer"; exit }
        printf "%.1f of %g min%s: %d threads, %d files, %d connections, %d lines", (v[1] > 0 ? v[1] : 0) / 60,
            duration / 60, v[1] < 0 ? " (warm-up)" : "", v[3], v[4], v[5], v[10]
    }'
}

# checkpoint N
checkpoint() {
    local code state
    code=$(curl -s -o /dev/null -m 5 -w '%{http_code}' "http://127.0.0.1:$PORT/readyz") || code=none
    [ "$code" != 200 ] || READY=$((READY + 1))
    state=$(load_agent_state)
    sample
    if [ -z "$LAST" ] || [ -z "$BASE" ]; then
        say "[$1/$CHECKPOINTS] $(minutes_of $((DURATION * $1 / CHECKPOINTS)))min: the agent does not answer (${state#* })"
        echo "$1 0" >>"$T/throughput"
        return
    fi
    metric_families "$T/metrics" >>"$T/families"
    say "$(awk -v n="$1" -v of="$CHECKPOINTS" -v base="$BASE" -v now="$LAST" -v before="${CHECKED:-$BASE}" \
        -v minutes="$(minutes_of $((DURATION * $1 / CHECKPOINTS)))" -v ready="$code" -v out="$T/throughput" 'BEGIN {
        split(base, b, ","); split(now, v, ","); split(before, p, ",")
        span = (v[1] - b[1]) / 60
        rate = (v[10] - (v[10] < p[10] ? 0 : p[10])) / (v[1] - p[1]) # a new process counts from 0
        printf "[%d/%d] %smin: THR=%d (%+d, %.2f/min) FD=%d (%+d, %.2f/min) CONN=%d (%d active, %d idle) " \
            "LINES=%d (%.0f/s) RSS=%.1fMiB%s\n", n, of, minutes, v[3], v[3] - b[3], (v[3] - b[3]) / span,
            v[4], v[4] - b[4], (v[4] - b[4]) / span, v[5], v[7], v[6], v[10], rate, v[8] / 1048576,
            ready == 200 ? "" : " NOT READY (" ready ")"
        print n, rate >>out
    }')"
    CHECKED=$LAST
}

minutes_of() { awk -v s="$1" 'BEGIN { printf "%.3g", s / 60 }'; }

# The file sink rotates and compresses all the time, and keeps all: the judge reads them.
write_config() {
    local data=$LOAD_DATA
    [ "$AGENT" != process ] || data=$T/data
    cat >"$T/config.yaml" <<END
capture: {include: {name: ["$RUN_ID-load*", "$RUN_ID-churn*"]}}
stream: {max_lifetime: ${ROTATE}s}
output: {format: none}
END
    [ "$SINK" = file ] || return 0
    cat >>"$T/config.yaml" <<END
sinks:
  archive: {type: file, path: "$data/archive/{container.name}.log", format: json, rotate_size: 1MiB, keep: 0, compress: gzip}
END
}

describe() {
    say "log_capturer smoke test: $((DURATION / 60)) min $((DURATION % 60)) s behind $WARMUP s of warm-up, $CHECKPOINTS checkpoints"
    say "load: $CONTAINERS containers of $RATE lines/s, $CHURN that come and go, inspect each $INSPECT_EVERY s," \
        "streams rotated each $ROTATE s, sink: $SINK"
    say "agent: $AGENT${LOAD_CONTAINER:+, container $LOAD_CONTAINER}; dockerd $(docker version -f '{{.Server.Version}}')," \
        "Linux $(uname -r), $(nproc) processors, load before: $(cut -d' ' -f1 /proc/loadavg)"
}

# ---- the run

smoke_end() {
    local rc=$1
    trap '' INT TERM HUP # nothing stays behind
    set +e
    load_agent_log >"$OUT/agent.log" 2>/dev/null
    touch "$T/stop"
    t_remove_containers # so that no job of the load waits for one
    load_stop
    t_remove_containers
    load_agent_remove
    t_end "$rc"
}

run() {
    local n
    ZERO_US=$(($(now_us) + WARMUP * 1000000))
    sample_until 0
    for ((n = 1; n <= CHECKPOINTS; n++)); do
        sample_until $((DURATION * n / CHECKPOINTS))
        [ -z "$GONE" ] || break
        checkpoint "$n"
    done
    for (( ; n <= CHECKPOINTS; n++)); do
        echo "$n 0" >>"$T/throughput"
    done
    [ -z "$GONE" ] || say "the agent has ended ($GONE); no further checkpoints"
}

mkdir -p "$OUT"
OUT=$(cd "$OUT" && pwd)
rm -f "$OUT"/{report.txt,samples.csv,plot.svg,lines.txt,agent.log,container}
t_begin smoke
trap 'smoke_end $?' EXIT
: >"$T/throughput"
: >"$T/families"
: >"$OUT/report.txt"
awk -v header=1 -f "$HERE/sample.awk" </dev/null >"$OUT/samples.csv"

load_agent_prepare
load_prepare
write_config
load_agent_start "$T/config.yaml"
FIRST_PID=$AGENT_PID
echo "$LOAD_CONTAINER" >"$OUT/container"
describe
load_start
run
progress "waiting for the load to end"
load_finish
progress "comparing the lines"
judge
awk -v title="log_capturer smoke test, $(minutes_of "$DURATION") min, $CONTAINERS containers" \
    -v checkpoints=$((DURATION / CHECKPOINTS)) -f "$HERE/plot.awk" "$OUT/samples.csv" >"$OUT/plot.svg"
verdict
