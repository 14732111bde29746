#!/usr/bin/env bash
# run.sh [--json FILE] [SECTION...]: the measurements of docs/benchmarks.md, all or those named:
#
#   backlog cpu  1,000,000 lines that are there already, over the API (both are one measurement)
#   live         CPU per GB while containers write
#   latency      age of a line when it is durable
#   spool        the spool alone
#   codec        what codecs make of its frames
#   start        ready after a start with 500 known containers
#   idle         1,000 follows of silent containers, without a sink and with one
#   reuse        connections while 500 containers come and go
#   sink_drain   2,000,000 lines of the spool into Loki and into files
#   sink_live    20,000 lines/s to Loki
#   image        size of the image, time until it is healthy
#   pool         acquire and release, beside queues with a mutex and a condition
#   relay        pool_server beside HAProxy: connections, requests, bulk
#   relay_many   1,000 and 5,000 clients at once, as many as descriptors allow, and more
#   relay_load   reuse, distribution, health checks, memory of pooled connections
#   failover     a backend is killed under load
#   containers   24 test cases with a pool of containers and without
#
# Prints a table: figure, measured, reference of the same run, ratio, value wanted. No figure makes
# it fail; lost lines and programs that do not work do. BIN: folder of the programs.
# ROUNDS (5), LIVE_ROUNDS (3), SECONDS_LIVE (10), SECONDS_LATENCY (30), SECONDS_SINK (30),
# SECONDS_IDLE (100), RELAY_ROUNDS (15), RELAY_SECONDS (1) shorten or lengthen it.
# shellcheck disable=SC2119 # agent_start and others without arguments mean none
BIN=${BIN:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/build/release/bin}
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../integration/lib.sh"
# shellcheck source=tests/integration/sinks.sh
. "$(dirname "${BASH_SOURCE[0]}")/../integration/sinks.sh"
# shellcheck source=tests/bench/sink_sections.sh
. "$(dirname "${BASH_SOURCE[0]}")/sink_sections.sh"
# shellcheck source=tests/bench/pool_sections.sh
. "$(dirname "${BASH_SOURCE[0]}")/pool_sections.sh"

ALL_SECTIONS=(backlog live latency spool codec start idle reuse sink_drain sink_live image pool relay relay_many
    relay_load failover containers)
ROUNDS=${ROUNDS:-5}
LIVE_ROUNDS=${LIVE_ROUNDS:-3}
SECONDS_LIVE=${SECONDS_LIVE:-10}
SECONDS_LATENCY=${SECONDS_LATENCY:-30}
SECONDS_SINK=${SECONDS_SINK:-30}
SECONDS_IDLE=${SECONDS_IDLE:-100}
BACKLOG_LINES=1000000
LINE_BYTES=100
FRAME_BYTES=140 # header 8, timestamp 31, line 100, newline 1
RAW_PACE_US=300
PROGRAMS=(log_capturer loggen oracle fake_dockerd fake_loki bench_raw_reader bench_watch bench_latency
    bench_spool bench_codec bench_pool pool_server pool_bench example_container_pool)
JSON=''
SECTION=''
DOCKERD_PID=''
SOCKET=''

# ---- arithmetic

calc() { awk "BEGIN { printf \"%.${2:-3}f\", $1 }"; }

# quotients A B SCALE: of two lists of the same length, one each.
quotients() {
    local -n upper=$1 lower=$2
    local i
    for i in "${!upper[@]}"; do
        calc "${upper[i]} / ${lower[i]} * ${3:-1}" 6
        echo
    done
}

# median NUMBER...
median() {
    printf '%s\n' "$@" | sort -g |
        awk '{ v[NR] = $1 } END { printf "%.6g", (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'
}

# range NUMBER...: least and most.
range() {
    printf '%s\n' "$@" | sort -g | awk '{ v[NR] = $1 } END { printf "%.4g-%.4g", v[1], v[NR] }'
}

# median_ratio A B: median of the quotients round by round.
median_ratio() {
    local list
    mapfile -t list < <(quotients "$1" "$2")
    median "${list[@]}"
}

seconds_between() { calc "($2 - $1) / 1000000" 6; }
now_us() { echo "${EPOCHREALTIME/[.,]/}"; }

# ---- what is shown

progress() {
    [ ! -t 2 ] || printf '\r\033[K%s: %s' "$SECTION" "$*" >&2
}

plain() { awk -v v="$1" 'BEGIN { printf (v >= 1000 ? "%.0f" : v >= 100 ? "%.1f" : "%.3g"), v }'; }

# row FIGURE MEASURED UNIT REFERENCE REFERENCE-NAME WANTED [RATIO]: '-' where there is none. Without RATIO it
# is MEASURED / REFERENCE.
row() {
    local figure=$1 measured=$2 unit=$3 reference=$4 name=$5 wanted=$6 ratio=${7:-} shown='-'
    if [ "$reference" != - ]; then
        [ -n "$ratio" ] || ratio=$(calc "$measured / $reference")
        ratio=$(calc "$ratio" 2)
        shown="$(plain "$reference") $name"
    fi
    [ ! -t 2 ] || printf '\r\033[K' >&2
    printf '%-50s %14s  %-30s %6s  %s\n' "$figure" "$(plain "$measured") $unit" "$shown" "${ratio:--}" \
        "$wanted"
    [ -z "$JSON" ] || jq -nc --arg section "$SECTION" --arg figure "$figure" --arg measured "$measured" \
        --arg unit "$unit" --arg reference "$reference" --arg name "$name" --arg ratio "${ratio:-}" \
        --arg wanted "$wanted" --arg load "$(cut -d' ' -f1 /proc/loadavg)" \
        '{section: $section, figure: $figure, measured: ($measured | tonumber), unit: $unit,
          reference: ($reference | tonumber? // null), reference_name: $name,
          ratio: ($ratio | tonumber? // null), wanted: $wanted, load1: ($load | tonumber)}' >>"$JSON"
}

note() {
    [ ! -t 2 ] || printf '\r\033[K' >&2
    printf '  %s\n' "$*"
}

# busy_ticks: of all processors since the machine started, and the ticks there were.
busy_ticks() { awk '/^cpu / { print $2 + $3 + $4 + $7 + $8 + $9, $2 + $3 + $4 + $5 + $6 + $7 + $8 + $9 }' /proc/stat; }

# begin SECTION: says what others do on this machine meanwhile.
begin() {
    local before after
    SECTION=$1
    progress "load of others"
    before=$(busy_ticks)
    sleep 1
    after=$(busy_ticks)
    [ ! -t 2 ] || printf '\r\033[K' >&2
    printf '%s (before it: load %s, processors busy %s %%)\n' "$SECTION" "$(cut -d' ' -f1-2 /proc/loadavg)" \
        "$(awk -v a="$before" -v b="$after" 'BEGIN {
            split(a, x); split(b, y); printf "%.0f", 100 * (y[1] - x[1]) / (y[2] - x[2]) }')"
}

# ---- processes

# cpu_of PID: CPU seconds, user and system.
cpu_of() { awk '{ sub(/.*\) /, ""); printf "%.2f", ($12 + $13) / 100 }' "/proc/$1/stat"; }

# cpu_ns_of PID: the same of all threads in nanoseconds.
cpu_ns_of() { cat "/proc/$1/task/"*/schedstat | awk '{ sum += $1 } END { printf "%.0f", sum }'; }

# bytes_written_of PID: by write(2).
bytes_written_of() { awk '$1 == "wchar:" { print $2 }' "/proc/$1/io"; }

need_dockerd() {
    local host=${DOCKER_HOST:-unix:///var/run/docker.sock}
    t_image
    [[ $host == unix://* ]] || fail "DOCKER_HOST=$host: these measurements need a unix socket"
    SOCKET=${host#unix://}
    DOCKERD_PID=$("$BIN/bench_raw_reader" --peer "$SOCKET")
    [ "$(<"/proc/$DOCKERD_PID/comm")" = dockerd ] || DOCKERD_PID=$(pgrep -o -x dockerd)
}

# watch_agent CONDITION...: sets WATCHED to the times, in us, at which they were true.
watch_agent() {
    "$BIN/bench_watch" "$PORT" 180 "${WATCH_MS:-20}" "$@" >"$T/watched" || fail "the agent does not get there"
    mapfile -t WATCHED <"$T/watched"
}

fresh_agent() {
    rm -rf "$T/data"
    agent_spawn --set "capture.include.name=$RUN_ID*"
}

end_containers() {
    local ids
    ids=$(docker ps -aq --no-trunc --filter "label=$TEST_LABEL=$RUN_ID")
    # shellcheck disable=SC2086 # one word per container
    [ -z "$ids" ] || docker rm -f -v $ids >/dev/null
}

logs_path() { echo "/containers/$1/logs?stdout=1&stderr=1&timestamps=1$2"; }

# ---- 1 and 2: backlog

backlog_agent() {
    local start dockerd
    dockerd=$(cpu_of "$DOCKERD_PID")
    start=$(now_us)
    fresh_agent
    watch_agent log_capturer_streams_opened_total=1 \
        log_capturer_spool_records_total=$BACKLOG_LINES
    agent_cpu+=("$(cpu_of "$AGENT_PID")")
    agent_dockerd+=("$(calc "$(cpu_of "$DOCKERD_PID") - $dockerd")")
    agent_rate+=("$(calc "$BACKLOG_LINES / $(seconds_between "$start" "${WATCHED[1]}")")")
    stream_rate+=("$(calc "$BACKLOG_LINES / $(seconds_between "${WATCHED[0]}" "${WATCHED[1]}")")")
    agent_rss+=("$(agent_rss_kb)")
    agent_stop
}

backlog_curl() {
    local dockerd times TIMEFORMAT='%R %U %S'
    dockerd=$(cpu_of "$DOCKERD_PID")
    { time curl -sfN --unix-socket "$SOCKET" "http://docker$(logs_path "$GEN_ID" '')" >/dev/null; } 2>"$T/times"
    read -ra times <"$T/times"
    curl_rate+=("$(calc "$BACKLOG_LINES / ${times[0]}")")
    curl_cpu+=("$(calc "${times[1]} + ${times[2]}")")
    curl_dockerd+=("$(calc "$(cpu_of "$DOCKERD_PID") - $dockerd")")
}

backlog_raw() {
    local dockerd
    dockerd=$(cpu_of "$DOCKERD_PID")
    "$BIN/bench_raw_reader" "$SOCKET" "$(logs_path "$GEN_ID" '')" $RAW_PACE_US >"$T/raw"
    assert_ge "$(jq .bytes "$T/raw")" $((BACKLOG_LINES * FRAME_BYTES)) "bytes of the raw reader"
    raw_rate+=("$(calc "$BACKLOG_LINES / $(jq .seconds "$T/raw")")")
    raw_cpu+=("$(jq .cpu_seconds "$T/raw")")
    raw_dockerd+=("$(calc "$(cpu_of "$DOCKERD_PID") - $dockerd")")
}

run_backlog() {
    local round gb agent_rate=() stream_rate=() agent_cpu=() agent_dockerd=() agent_rss=()
    local curl_rate=() curl_cpu=() curl_dockerd=() raw_rate=() raw_cpu=() raw_dockerd=()
    need_dockerd
    progress "writing $BACKLOG_LINES lines"
    run_gen backlog --lines $BACKLOG_LINES
    wait_exited "$GEN_ID" 120
    for ((round = 1; round <= ROUNDS; round++)); do
        progress "round $round of $ROUNDS, curl"
        backlog_curl
        progress "round $round of $ROUNDS, agent"
        backlog_agent
        progress "round $round of $ROUNDS, raw reader"
        backlog_raw
    done
    progress "looking for every line"
    captured --expect "backlog:o:1-$BACKLOG_LINES" >"$T/oracle" || fail "lines are missing: $(<"$T/oracle")"
    row "lines/s from process start until durable" "$(median "${agent_rate[@]}")" '' \
        "$(median "${curl_rate[@]}")" "curl" ">= 1.3 x curl" "$(median_ratio agent_rate curl_rate)"
    row "lines/s from first stream opened until durable" "$(median "${stream_rate[@]}")" '' \
        "$(median "${curl_rate[@]}")" "curl" ">= 1.3 x curl" "$(median_ratio stream_rate curl_rate)"
    row "the same" "$(median "${stream_rate[@]}")" '' \
        "$(median "${raw_rate[@]}")" "raw reader, $RAW_PACE_US us" "-" "$(median_ratio stream_rate raw_rate)"
    gb=$(calc "$BACKLOG_LINES * $LINE_BYTES / 1e9")
    row "CPU s of the agent" "$(median "${agent_cpu[@]}")" s "$(median "${curl_cpu[@]}")" curl - \
        "$(median_ratio agent_cpu curl_cpu)"
    row "CPU s of the agent / of dockerd meanwhile" "$(median "${agent_cpu[@]}")" s \
        "$(median "${agent_dockerd[@]}")" dockerd "<= 0.22" "$(median_ratio agent_cpu agent_dockerd)"
    row "CPU s of dockerd for the agent / for curl" "$(median "${agent_dockerd[@]}")" s \
        "$(median "${curl_dockerd[@]}")" "for curl" "<= 0.95" "$(median_ratio agent_dockerd curl_dockerd)"
    row "CPU s of dockerd for the agent / for the raw reader" "$(median "${agent_dockerd[@]}")" s \
        "$(median "${raw_dockerd[@]}")" "for raw reader" "-" "$(median_ratio agent_dockerd raw_dockerd)"
    row "CPU s of the agent per GB of content" "$(calc "$(median "${agent_cpu[@]}") / $gb")" s \
        "$(calc "$(median "${raw_cpu[@]}") / $gb")" "raw reader" - "$(median_ratio agent_cpu raw_cpu)"
    row "resident memory behind it" "$(calc "$(median "${agent_rss[@]}") / 1024")" MiB - - -
    note "lines/s, least-most of $ROUNDS rounds: agent $(range "${stream_rate[@]}")," \
        "curl $(range "${curl_rate[@]}"), raw reader $(range "${raw_rate[@]}")"
    note "the last spool read back: $(tail -n 1 "$T/oracle")"
    end_containers
}

# ---- 3: live

live_agent_window() {
    local cpu dockerd bytes start us gb
    sleep 2
    start=$(now_us)
    cpu=$(cpu_of "$AGENT_PID") dockerd=$(cpu_of "$DOCKERD_PID") bytes=$(metric log_capturer_bytes_captured_total)
    sleep "$SECONDS_LIVE"
    gb=$(calc "($(metric log_capturer_bytes_captured_total) - $bytes) / 1e9" 9)
    us=$(($(now_us) - start))
    agent_cost+=("$(calc "($(cpu_of "$AGENT_PID") - $cpu) / $gb")")
    agent_dockerd+=("$(calc "($(cpu_of "$DOCKERD_PID") - $dockerd) / $gb")")
    agent_rate+=("$(calc "$gb * 1e9 / $LINE_BYTES / $us * 1e6")")
}

sum_over() {
    local each=$1 pid sum=0
    shift
    for pid in "$@"; do
        sum=$(calc "$sum + $("$each" "$pid")")
    done
    echo "$sum"
}

live_curl_window() {
    local pids=() id pid cpu dockerd bytes start us gb
    for id in "${ids[@]}"; do
        curl -sfN --unix-socket "$SOCKET" "http://docker$(logs_path "$id" '&follow=1&tail=0')" >/dev/null 9>&- &
        pids+=($!)
        T_PIDS+=($!)
    done
    sleep 2
    start=$(now_us)
    cpu=$(sum_over cpu_of "${pids[@]}") dockerd=$(cpu_of "$DOCKERD_PID")
    bytes=$(sum_over bytes_written_of "${pids[@]}")
    sleep "$SECONDS_LIVE"
    bytes=$(calc "$(sum_over bytes_written_of "${pids[@]}") - $bytes")
    us=$(($(now_us) - start))
    gb=$(calc "$bytes * $LINE_BYTES / $FRAME_BYTES / 1e9" 9)
    curl_cost+=("$(calc "($(sum_over cpu_of "${pids[@]}") - $cpu) / $gb")")
    curl_dockerd+=("$(calc "($(cpu_of "$DOCKERD_PID") - $dockerd) / $gb")")
    curl_rate+=("$(calc "$gb * 1e9 / $LINE_BYTES / $us * 1e6")")
    for pid in "${pids[@]}"; do
        t_end_process "$pid" || true # its status is that of the kill
        t_forget "$pid"
    done
}

# live_case CONTAINERS RATE
live_case() {
    local count=$1 rate=$2 round i ids what
    local agent_cost=() agent_dockerd=() agent_rate=() curl_cost=() curl_dockerd=() curl_rate=()
    what="live, $count x $rate lines/s"
    for ((round = 1; round <= LIVE_ROUNDS; round++)); do
        progress "$count x $rate lines/s, round $round of $LIVE_ROUNDS, agent"
        ids=()
        fresh_agent
        wait_until 30 "the agent is ready" agent_is_ready
        for ((i = 1; i <= count; i++)); do
            run_gen "live$i" --lines 0 --rate "$rate"
            ids+=("$GEN_ID")
        done
        live_agent_window
        assert_eq "$(metric log_capturer_capture_gaps_total || echo 0)" 0 "gaps in what was captured"
        agent_stop
        captured_quietly || fail "lines between the first and the last one are missing or doubled"
        progress "$count x $rate lines/s, round $round of $LIVE_ROUNDS, curl"
        live_curl_window
        end_containers
    done
    row "CPU s of the agent per GB, $what" "$(median "${agent_cost[@]}")" s \
        "$(median "${curl_cost[@]}")" curl "<= 12 s" "$(median_ratio agent_cost curl_cost)"
    row "CPU s of dockerd per GB meanwhile" "$(median "${agent_dockerd[@]}")" s \
        "$(median "${curl_dockerd[@]}")" "for curl" "<= 1" "$(median_ratio agent_dockerd curl_dockerd)"
    row "lines/s captured" "$(median "${agent_rate[@]}")" '' "$(median "${curl_rate[@]}")" curl \
        $((count * rate)) "$(median_ratio agent_rate curl_rate)"
}

run_live() {
    need_dockerd
    live_case 1 100000
    live_case 8 10000
}

# ---- 4: latency

run_latency() {
    local lines rate=10000 warm_up=2 pid
    need_dockerd
    lines=$((rate * (SECONDS_LATENCY + warm_up)))
    rm -rf "$T/data"
    mkfifo "$T/lines"
    "$BIN/bench_latency" $warm_up <"$T/lines" >"$T/latency" 9>&- &
    pid=$!
    T_PIDS+=("$pid")
    [ -n "$PORT" ] || PORT=$(t_free_port)
    "$BIN/log_capturer" run --data-dir "$T/data" --listen "127.0.0.1:$PORT" --output json \
        --set "capture.include.name=$RUN_ID*" >"$T/lines" 2>>"$T/agent.log" 9>&- &
    AGENT_PID=$!
    T_PIDS+=("$AGENT_PID")
    wait_until 30 "the agent is ready" agent_is_ready
    progress "$SECONDS_LATENCY s at $rate lines/s, agent"
    run_gen latency --lines $lines --rate $rate
    wait_exited "$GEN_ID" $((SECONDS_LATENCY + 60))
    wait_until 30 "all lines are durable" metric_ge log_capturer_spool_records_total $lines
    agent_stop
    wait "$pid" || fail "bench_latency"
    t_forget "$pid"
    captured --expect "latency:o:1-$lines" >/dev/null || fail "lines are missing"
    assert_eq "$(jq .lines "$T/latency")" $lines "lines that came out of the agent"
    progress "$SECONDS_LATENCY s at $rate lines/s, curl"
    run_gen plain --lines $lines --rate $rate
    curl -sfN --unix-socket "$SOCKET" "http://docker$(logs_path "$GEN_ID" '&follow=1')" |
        "$BIN/bench_latency" $warm_up --frames >"$T/latency_curl"
    latency_row "age of a durable line at $rate lines/s, p50" .p50_ms -
    latency_row "the same, p99" .p99_ms "<= 60 ms"
    latency_row "the same, p99.9" .p999_ms -
    latency_row "the same, max" .max_ms -
    end_containers
}

latency_row() {
    row "$1" "$(jq "$2" "$T/latency")" ms "$(jq "$2" "$T/latency_curl")" "curl, not stored" "$3"
}

# ---- 5: the spool and codecs

# spool_rates WHAT: a list.
spool_rates() { jq -r --arg what "$1" 'select(.what == $what).mb_s' "$T/spool"; }
spool_cost() { jq -r --arg what "$1" 'select(.what == $what).cpu_s_per_gb' "$T/spool"; }

run_spool() {
    local codec plain written read cost
    progress "$ROUNDS rounds of 512 MiB"
    "$BIN/bench_spool" "$T" 512 "$ROUNDS" >"$T/spool"
    # shellcheck disable=SC2034 # by name, in median_ratio
    mapfile -t plain < <(spool_rates plain)
    for codec in "zstd 1" none; do
        mapfile -t written < <(spool_rates "write $codec")
        mapfile -t cost < <(spool_cost "write $codec")
        row "MB/s until durable, $codec" "$(median "${written[@]}")" '' "$(median "${plain[@]}")" \
            "write, fdatasync" "$([ "$codec" = none ] && echo - || echo '>= 250')" "$(median_ratio written plain)"
        row "CPU s per GB of both threads, $codec" "$(median "${cost[@]}")" s - - -
    done
    for codec in "zstd 1" none; do
        mapfile -t read < <(spool_rates "read $codec")
        row "MB/s read back, $codec, from the page cache" "$(median "${read[@]}")" '' - - \
            "$([ "$codec" = none ] && echo - || echo '>= 600')"
    done
    mapfile -t written < <(spool_rates "write zstd 1")
    note "MB/s, least-most of $ROUNDS rounds: zstd 1 $(range "${written[@]}")," \
        "write and fdatasync $(range "${plain[@]}")"
}

codec_median() {
    local list
    mapfile -t list < <(jq -r --arg codec "$1" "select(.codec == \$codec)$2" "$T/codec")
    median "${list[@]}"
}

run_codec() {
    local codec base
    progress "3 rounds of 128 MiB"
    "$BIN/bench_codec" 128 3 >"$T/codec"
    base=$(codec_median "zstd 1" .compress_mb_s)
    while read -r codec; do
        row "MB/s compressed, $codec" "$(codec_median "$codec" .compress_mb_s)" '' "$base" "zstd 1" -
        note "$codec: $(codec_median "$codec" .ratio) times smaller, decompressed at" \
            "$(codec_median "$codec" .decompress_mb_s) MB/s"
    done < <(jq -r .codec "$T/codec" | awk '!seen[$0]++')
}

# ---- 6: start and idle

begin_fake() {
    rm -rf "$T/data"
    rm -f "$T/docker.sock" "$T/control.sock"
    fake_start "$@"
}

end_fake() {
    agent_stop
    fake_stop
    AGENT_DOCKER_HOST=''
}

# fake_expectations CONTAINERS LINES: sets EXPECTED.
fake_expectations() {
    local i
    EXPECTED=()
    for ((i = 0; i < $1; i++)); do
        EXPECTED+=(--expect "fake-$i:o:1-$2")
    done
}

run_start() {
    local count=500 round start ready=() active=()
    begin_fake --containers $count --lines 20
    agent_start
    wait_until 60 "all lines" metric_ge log_capturer_spool_records_total $((count * 20))
    for ((round = 1; round <= ROUNDS; round++)); do
        progress "round $round of $ROUNDS"
        agent_stop
        start=$(now_us)
        agent_spawn
        WATCH_MS=2 watch_agent ready log_capturer_streams_active=$count
        ready+=("$(seconds_between "$start" "${WATCHED[0]}")")
        active+=("$(seconds_between "$start" "${WATCHED[1]}")")
    done
    wait_until 30 "all lines again" metric_eq log_capturer_spool_records_total $((count * 20))
    fake_expectations $count 20
    captured "${EXPECTED[@]}" >/dev/null || fail "lines are missing or doubled"
    row "s from exec to ready, $count known containers" "$(median "${ready[@]}")" s - - "<= 1 s"
    row "s from exec to all streams active" "$(median "${active[@]}")" s - - "<= 1 s"
    note "least-most of $ROUNDS: ready $(range "${ready[@]}") s, all active $(range "${active[@]}") s"
    end_fake
}

# idle_window SECONDS: CPU of the agent in percent of one core.
idle_window() {
    local cpu start
    cpu=$(cpu_ns_of "$AGENT_PID") start=$(now_us)
    sleep "$1"
    calc "($(cpu_ns_of "$AGENT_PID") - $cpu) / 10 / ($(now_us) - $start)" 4
}

run_idle() {
    local count=1000 before probes followed
    begin_fake --containers 0
    agent_start
    before=$(agent_rss_kb)
    fake "create?n=$count&lines=20" >/dev/null
    wait_until 60 "all are followed" metric_eq log_capturer_streams_active $count
    followed=$(now_us)
    wait_until 60 "all lines" metric_ge log_capturer_spool_records_total $((count * 20))
    progress "10 s"
    sleep 3
    row "resident memory, $count idle follows" "$(calc "$(agent_rss_kb) / 1024")" MiB \
        "$(calc "$before / 1024")" "none" -
    row "KiB per follow" "$(calc "($(agent_rss_kb) - $before) / $count")" KiB - - -
    row "open files" "$(agent_fds)" '' $count "follows" "-"
    row "threads" "$(agent_threads)" '' - - -
    row "% of a core over 10 s" "$(idle_window 10)" '%' - - -
    # capture.idle_probe is 45 s; the first 45 s are not silent.
    progress "60 s of silence, then 60 s with an idle probe of each follow"
    sleep "$(calc "60 - $(seconds_between "$followed" "$(now_us)")")"
    probes=$(metric log_capturer_idle_probes_total)
    row "% of a core over 60 s, with idle probes" "$(idle_window 60)" '%' - - -
    note "idle probes in these 60 s: $(($(metric log_capturer_idle_probes_total) - probes))"
    end_fake
    idle_with_sink $count
    idle_in_image $count
}

# ---- 7: reuse

# transfers KIND CONNECTION
transfers() {
    metric "log_capturer_docker_http_transfers_total{kind=\"$1\",connection=\"$2\"}" || echo 0
}

# reuse_row FIGURE KIND WANTED
reuse_row() {
    local reused new
    reused=$(transfers "$2" reused) new=$(transfers "$2" new)
    row "$1" "$(calc "$reused / ($reused + $new)" 4)" '' - - "$3"
    note "$((reused + new)) transfers, $new on new connections"
}

# reuse_case COUNT BATCHES: so many containers at a time.
reuse_case() {
    local count=$1 batches=$2 batch total
    begin_fake --containers 0
    agent_start
    for ((batch = 1; batch <= batches; batch++)); do
        progress "$((batch * count)) of $((batches * count)) containers, $count at a time"
        fake "create?n=$count&lines=10" >/dev/null
        total=$((batch * count * 10))
        wait_until 30 "their lines" metric_ge log_capturer_spool_records_total $total
        wait_until 30 "they are followed" metric_eq log_capturer_streams_active "$count"
        fake die >/dev/null
        wait_until 30 "no stream" metric_eq log_capturer_streams_active 0
        fake destroy >/dev/null
        wait_until 30 "none is known" none_known
    done
    assert_eq "$(metric log_capturer_spool_records_total)" $total "lines captured"
    reuse_row "reused by short calls, $count containers at a time" call ">= 0.95"
    row "connections opened" "$(metric log_capturer_docker_http_connections_opened_total)" '' \
        $((batches * count)) "containers" -
    end_fake
}

run_reuse() {
    reuse_case 5 100
    reuse_case 50 10
}

none_known() { [ "$(metric log_capturer_containers)" = 0 ]; }

# ---- all of it

about() {
    local program
    for program in "${PROGRAMS[@]}"; do
        [ -x "$BIN/$program" ] || fail "$BIN/$program is missing: make, or tools/build.sh release"
    done
    printf '%s cores, %s, kernel %s, dockerd %s\n' "$(nproc)" \
        "$(awk -F': ' '/^model name/ { print $2; exit }' /proc/cpuinfo)" "$(uname -r)" \
        "$(docker version --format '{{.Server.Version}}' 2>/dev/null || echo none)"
    printf '%-50s %14s  %-30s %6s  %s\n' figure measured "reference, same run" ratio wanted
}

parse_arguments() {
    local section
    SECTIONS=()
    while [ $# -gt 0 ]; do
        case $1 in
        --json)
            [ $# -gt 1 ] || fail "--json needs a file"
            JSON=$(realpath -m -- "$2")
            : >"$JSON"
            shift
            ;;
        cpu | backlog) section=backlog && [[ " ${SECTIONS[*]} " == *" $section "* ]] || SECTIONS+=(backlog) ;;
        live | latency | spool | codec | start | idle | reuse | sink_drain | sink_live | image | pool | relay | \
            relay_many | relay_load | failover | containers) SECTIONS+=("$1") ;;
        *)
            sed -n '2,25s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
            exit 2
            ;;
        esac
        shift
    done
    [ ${#SECTIONS[@]} -gt 0 ] || SECTIONS=("${ALL_SECTIONS[@]}")
}

parse_arguments "$@"
TMPDIR=${BENCH_DIR:-/var/tmp} t_begin bench # /tmp may be in memory
ulimit -n "$(ulimit -H -n)"
about
for section in "${SECTIONS[@]}"; do
    begin "$section"
    "run_$section"
    PORT=''
done
