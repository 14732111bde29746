# shellcheck shell=bash
# shellcheck disable=SC2034 # lists are for quotients, by name
# The sections of run.sh about sinks and the image, on top of its helpers.

SINK_DELIVERED=log_capturer_sink_lines_delivered_total
BENCH_IMAGE=log_capturer:latest
DRAIN_LINES=2000000
SINK_FIRST_BATCH=10000 # batch_lines: in the first delivery that is seen

# thread_ns PREFIX: CPU nanoseconds of the agent's threads of such a name.
thread_ns() {
    local task name sum=0
    for task in "/proc/$AGENT_PID/task/"*; do
        name=$(cat "$task/comm")
        [[ $name != "$1"* ]] || sum=$((sum + $(cut -d' ' -f1 "$task/schedstat")))
    done
    echo "$sum"
}

# ---- drain of a backlog

# drain_spool: DRAIN_LINES in the spool, no agent.
drain_spool() {
    local count=4
    progress "$DRAIN_LINES lines into the spool"
    begin_fake --containers $count --lines $((DRAIN_LINES / count)) --step-us 10
    agent_start
    wait_until 120 "all lines are in the spool" metric_ge log_capturer_spool_records_total $DRAIN_LINES
    agent_stop
    fake_expectations $count $((DRAIN_LINES / count))
}

# drain SINK-OPTION...: of a sink of a new name; adds to sink_rate, sink_core and all_core.
drain() {
    local name=drain$((++DRAINS)) option options=()
    for option in "$@"; do
        options+=(--set "sinks.$name.$option")
    done
    agent_spawn "${options[@]}"
    WATCH_MS=2 watch_agent $SINK_DELIVERED=1 $SINK_DELIVERED=$DRAIN_LINES
    sink_core+=("$(calc "$DRAIN_LINES * 1e9 / $(thread_ns "sink-")")")
    all_core+=("$(calc "$DRAIN_LINES * 1e9 / $(cpu_ns_of "$AGENT_PID")")")
    sink_rate+=("$(calc "($DRAIN_LINES - $SINK_FIRST_BATCH) / $(seconds_between "${WATCHED[0]}" "${WATCHED[1]}")")")
    assert_eq "$(metric $SINK_DELIVERED)" $DRAIN_LINES "lines delivered"
    SENT_PER_LINE=$(calc "$(metric log_capturer_sink_sent_bytes_total) / $DRAIN_LINES" 1)
    SENDS=$(metric 'log_capturer_sink_sends_total{verdict="delivered"}')
    agent_stop
}

drain_search() {
    local times TIMEFORMAT='%R %U %S'
    { time search_json >/dev/null; } 2>"$T/times"
    read -ra times <"$T/times"
    search_rate+=("$(calc "$DRAIN_LINES / ${times[0]}")")
    search_core+=("$(calc "$DRAIN_LINES / (${times[1]} + ${times[2]})")")
}

# drain_rows WHAT WANTED
drain_rows() {
    row "lines/s from first to last delivery, $1" "$(median "${sink_rate[@]}")" '' \
        "$(median "${search_rate[@]}")" "search -o json" - "$(median_ratio sink_rate search_rate)"
    row "lines per CPU s of the sink's thread" "$(median "${sink_core[@]}")" '' \
        "$(median "${search_core[@]}")" "search -o json" "$2" "$(median_ratio sink_core search_core)"
    row "lines per CPU s of the process" "$(median "${all_core[@]}")" '' \
        "$(median "${search_core[@]}")" "search -o json" - "$(median_ratio all_core search_core)"
    note "least-most of ${#sink_rate[@]} rounds: $(range "${sink_rate[@]}") lines/s," \
        "$(range "${sink_core[@]}") per CPU s of the thread; $SENDS sends, $SENT_PER_LINE bytes a line"
}

# drain_rounds WHAT WANTED COMMAND...: each drains once.
drain_rounds() {
    local what=$1 wanted=$2 round sink_rate=() sink_core=() all_core=() search_rate=() search_core=()
    shift 2
    for ((round = 1; round <= ROUNDS; round++)); do
        progress "$what, round $round of $ROUNDS, search"
        drain_search
        progress "$what, round $round of $ROUNDS"
        "$@"
    done
    drain_rows "$what" "$wanted"
}

drain_loki() {
    loki_start --discard
    drain type=loki "url=http://127.0.0.1:$LOKI_PORT"
    assert_eq "$(loki_stat .requests)" "$SENDS" "pushes that arrived"
    loki_stop
}

drain_loki_pinned() {
    local AGENT_WRAPPER=(taskset -c 0) LOKI_WRAPPER=(taskset -c 1)
    drain_loki
}

drain_file() {
    rm -rf "$T/out"
    mkdir "$T/out"
    drain type=file "path=$T/out/{container.name}.log" rotate_size=0
    cat "$T/out/"*.log | "$BIN/oracle" --quiet "${EXPECTED[@]}" >/dev/null || fail "lines of the files are missing"
}

run_sink_drain() {
    DRAINS=0
    drain_spool
    drain_rounds "Loki" ">= 150000" drain_loki
    [ "$(nproc)" -lt 2 ] || drain_rounds "Loki, agent on one core" ">= 150000" drain_loki_pinned
    drain_rounds "files" - drain_file
    fake_stop
    AGENT_DOCKER_HOST=''
}

# ---- live

# sink_live_window COST: CPU of the agent in cores, added to that list; its threads' to sink_cost and spool_cost.
sink_live_window() {
    local -n list=$1
    local start cpu sink spool lines us
    sleep 2
    start=$(now_us) cpu=$(cpu_ns_of "$AGENT_PID") sink=$(thread_ns sink-) spool=$(thread_ns spool)
    lines=$(metric log_capturer_spool_records_total)
    sleep "$SECONDS_SINK"
    us=$(($(now_us) - start))
    list+=("$(calc "($(cpu_ns_of "$AGENT_PID") - $cpu) / 1000 / $us" 4)")
    sink_cost+=("$(calc "($(thread_ns sink-) - $sink) / 1000 / $us" 4)")
    spool_cost+=("$(calc "($(thread_ns spool) - $spool) / 1000 / $us" 4)")
    live_rate+=("$(calc "($(metric log_capturer_spool_records_total) - $lines) / $us * 1e6")")
}

# sink_live_round COST AGENT-ARGS...: CONTAINERS times RATE lines/s.
sink_live_round() {
    local name=$1 i
    shift
    rm -rf "$T/data"
    agent_start --set "capture.include.name=$RUN_ID*" "$@"
    for ((i = 1; i <= CONTAINERS; i++)); do
        run_gen "live$i" --lines $((RATE * (SECONDS_SINK + 4))) --rate "$RATE"
    done
    sink_live_window "$name"
    wait_until 60 "all lines" metric_ge log_capturer_spool_records_total "$LIVE_LINES"
}

sink_live_loki() {
    local pid
    rm -f "$T/lines"
    mkfifo "$T/lines"
    "$BIN/bench_latency" 2 --pushes <"$T/lines" >"$T/latency" 9>&- &
    pid=$!
    T_PIDS+=("$pid")
    loki_start --out "$T/lines"
    sink_live_round cost --set sinks.live.type=loki --set "sinks.live.url=http://127.0.0.1:$LOKI_PORT"
    wait_until 60 "all lines are delivered" metric_ge $SINK_DELIVERED "$LIVE_LINES"
    push_ms=$(calc "$(metric log_capturer_sink_send_seconds_sum) / $(metric log_capturer_sink_send_seconds_count) * 1e3" 1)
    pushes=$(metric log_capturer_sink_send_seconds_count)
    agent_stop
    loki_stop
    wait "$pid" || fail "bench_latency"
    t_forget "$pid"
    assert_eq "$(jq .lines "$T/latency")" "$LIVE_LINES" "lines that arrived"
    p50+=("$(jq .p50_ms "$T/latency")")
    p99+=("$(jq .p99_ms "$T/latency")")
    most+=("$(jq .max_ms "$T/latency")")
}

run_sink_live() {
    local CONTAINERS=4 RATE=5000 LIVE_LINES round EXPECTED_LIVE=() i push_ms pushes
    local cost=() plain=() sink_cost=() spool_cost=() live_rate=() p50=() p99=() most=()
    need_dockerd
    LIVE_LINES=$((CONTAINERS * RATE * (SECONDS_SINK + 4)))
    for ((i = 1; i <= CONTAINERS; i++)); do
        EXPECTED_LIVE+=(--expect "live$i:o:1-$((LIVE_LINES / CONTAINERS))")
    done
    for ((round = 1; round <= LIVE_ROUNDS; round++)); do
        progress "round $round of $LIVE_ROUNDS, no sink"
        sink_live_round plain
        agent_stop
        end_containers
        sink_cost=() spool_cost=() live_rate=()
        progress "round $round of $LIVE_ROUNDS, Loki"
        sink_live_loki
        captured_quietly "${EXPECTED_LIVE[@]}" || fail "lines are missing or doubled"
        end_containers
    done
    row "cores of the agent, $((CONTAINERS * RATE)) lines/s to Loki" "$(median "${cost[@]}")" '' \
        "$(median "${plain[@]}")" "without a sink" "<= 0.25" "$(median_ratio cost plain)"
    row "of these the sink's thread, last round" "${sink_cost[0]}" '' "${cost[-1]}" "all threads" -
    row "of these the spool's thread, last round" "${spool_cost[0]}" '' "${cost[-1]}" "all threads" -
    row "lines/s captured, last round" "${live_rate[0]}" '' - - $((CONTAINERS * RATE))
    row "age of a line that Loki has, p50" "$(median "${p50[@]}")" ms - - -
    row "the same, p99" "$(median "${p99[@]}")" ms - - -
    row "the same, max" "$(median "${most[@]}")" ms - - -
    note "least-most of $LIVE_ROUNDS rounds: $(range "${cost[@]}") cores, without a sink $(range "${plain[@]}")"
    note "the last round's $pushes pushes took $push_ms ms in the mean"
}

# ---- idle, a part of run.sh's section

# idle_sink_row CONTAINERS WHERE: memory with a sink that has delivered all there is, of the agent that runs.
idle_sink_row() {
    local count=$1 before
    before=$(agent_rss_kb)
    fake "create?n=$count&lines=20" >/dev/null
    wait_until 60 "all are followed" metric_eq log_capturer_streams_active "$count"
    wait_until 60 "all lines are delivered" metric_ge $SINK_DELIVERED $((count * 20))
    progress "$SECONDS_IDLE s, with a sink$2"
    sleep "$SECONDS_IDLE" # the agent gives back what the start has needed
    row "resident memory, $count idle follows, one sink$2" "$(calc "$(agent_rss_kb) / 1024")" MiB \
        "$(calc "$before / 1024")" "none" "<= 32 MiB"
    row "threads" "$(agent_threads)" '' - - -
    row "% of a core over 10 s" "$(idle_window 10)" '%' - - -
}

idle_with_sink() {
    loki_start --discard
    begin_fake --containers 0
    agent_start --set sinks.idle.type=loki --set "sinks.idle.url=http://127.0.0.1:$LOKI_PORT"
    idle_sink_row "$1" ""
    end_fake
    loki_stop
}

# idle_in_image CONTAINERS: the same with the image's program and libraries.
idle_in_image() {
    local id
    if ! docker image inspect $BENCH_IMAGE >/dev/null 2>&1; then
        note "no $BENCH_IMAGE (make image): not measured in it"
        return
    fi
    t_need_docker
    loki_start --discard
    begin_fake --containers 0
    id=$(docker run -d --network host --user 0 --label "$TEST_LABEL=$RUN_ID" -v "$T:$T" \
        -e "DOCKER_HOST=$AGENT_DOCKER_HOST" $BENCH_IMAGE run --data-dir "$T/data" --listen "127.0.0.1:$PORT" \
        --output none --set sinks.idle.type=loki --set "sinks.idle.url=http://127.0.0.1:$LOKI_PORT")
    AGENT_PID=$(docker inspect -f '{{.State.Pid}}' "$id")
    wait_until 30 "the agent is ready" agent_is_ready
    idle_sink_row "$1" ", image"
    docker stop "$id" >/dev/null
    end_containers
    fake_stop
    AGENT_DOCKER_HOST=''
    loki_stop
}

# ---- the image

# Not tools/compose.sh, which makes a base image to build from.
image_compose() {
    "${COMPOSE[@]}" -p "${RUN_ID,,}" --project-directory "$TOP" -f "$TOP/docker-compose.yml" "$@"
}

image_is_healthy() {
    local id
    id=$(docker ps -q --filter "label=com.docker.compose.project=${RUN_ID,,}")
    [ -n "$id" ] && [ "$(docker inspect -f '{{.State.Health.Status}}' "$id")" = healthy ]
}

image_end() {
    local rc=$?
    image_compose down -v -t 5 >/dev/null 2>&1 || true
    t_end $rc
}

run_image() {
    local round start healthy=() TOP LOG_CAPTURER_PORT LOG_CAPTURER_TAG COMPOSE=(docker-compose)
    if [ "${DOCKER_HOST:-unix:///var/run/docker.sock}" != unix:///var/run/docker.sock ] ||
        ! docker image inspect $BENCH_IMAGE >/dev/null 2>&1; then
        note "no $BENCH_IMAGE at the usual socket (make image): skipped"
        return
    fi
    ! docker compose version >/dev/null 2>&1 || COMPOSE=(docker compose)
    if ! command -v "${COMPOSE[0]}" >/dev/null; then
        note "no compose (tools/install-deps.sh image): skipped"
        return
    fi
    TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
    "$TOP/docker/env.sh"
    LOG_CAPTURER_PORT=$(t_free_port)
    export LOG_CAPTURER_PORT LOG_CAPTURER_TAG=latest
    trap image_end EXIT
    for ((round = 1; round <= ROUNDS; round++)); do
        progress "round $round of $ROUNDS"
        start=$(now_us)
        image_compose up -d >"$T/up.log" 2>&1 || fail "up: $(tail -n 5 "$T/up.log")"
        wait_until 30 "healthy" image_is_healthy
        healthy+=("$(seconds_between "$start" "$(now_us)")")
        image_compose down -v -t 5 >"$T/down.log" 2>&1 || fail "down: $(tail -n 5 "$T/down.log")"
    done
    row "size of $BENCH_IMAGE" "$(calc "$(docker image inspect -f '{{.Size}}' $BENCH_IMAGE) / 1e6" 2)" MB - - "<= 20 MB"
    row "s from \`compose up -d\` to healthy" "$(median "${healthy[@]}")" s - - "<= 2 s"
    note "least-most of $ROUNDS: $(range "${healthy[@]}") s"
}
