# shellcheck shell=bash
# shellcheck disable=SC2016 # programs of awk
# The criteria of the smoke test: `judge` measures each and writes a row into $T/criteria; `verdict`
# prints them and ends the test. Sourced by smoke_test_simple.sh.

LOAD_IDLE_MOST=10 # the default of connections.idle_per_host

# criterion NAME VALUE UNIT OPERATOR LIMIT WORDS: VALUE OPERATOR LIMIT must hold, OPERATOR is <=, >= or
# =; with - there is no limit. No value is no success.
criterion() {
    awk -v name="$1" -v value="$2" -v unit="$3" -v operator="$4" -v limit="$5" -v words="$6" 'BEGIN {
        if (operator == "-")
            verdict = "    "
        else if (value == "")
            verdict = "FAIL"
        else if (operator == "<=")
            verdict = value + 0 <= limit + 0 ? "PASS" : "FAIL"
        else if (operator == ">=")
            verdict = value + 0 >= limit + 0 ? "PASS" : "FAIL"
        else
            verdict = value "" == limit "" ? "PASS" : "FAIL"
        wanted = operator == "-" ? "" : operator == "<=" ? "at most " limit : operator == ">=" ? "at least " limit : limit
        printf "%s  %-16s %12s %-8s %-14s %s\n", verdict, name, value == "" ? "none" : value, unit, wanted, words
    }' >>"$T/criteria"
}

# slope COLUMN [LESS [LESS]]: per minute.
slope() { awk -v column="$1" -v less="${2:-}" -v less_too="${3:-}" -f "$HERE/slope.awk" "$OUT/samples.csv"; }

# over SAMPLES-EXPRESSION: awk over the answered rows of the test; END prints.
over() { awk -F, "NR > 1 && \$1 >= 0 && \$2 != \"\" { $1 } END { $2 }" "$OUT/samples.csv"; }

# increase COLUMN: of the counter in the column of that number; a new process counts from 0.
increase() {
    over "if (n++) sum += \$$1 < last ? \$$1 : \$$1 - last; last = \$$1" 'if (n) printf "%.0f\n", sum'
}

# most COLUMN: the greatest value in the column of that number.
most() { over "if (\$$1 > most) most = \$$1; n++" 'if (n) print most + 0'; }

# metric_families FILE: names of what /metrics has.
metric_families() { awk '/^# TYPE / { print $3 }' "$1"; }

# Those of docs/metrics.md that no checkpoint saw. Not looked for: what only a Loki sink has (label sets) or a TCP sink (upstream), and without a
# sink all of sinks and cursors.
missing_metrics() {
    grep -oE '^\| `[a-z_0-9]+`' "$HERE/../../docs/metrics.md" | tr -d '|` ' | sort -u >"$T/wanted"
    sort -u "$T/families" >"$T/seen"
    local exempt='^log_capturer_(sink_label_sets|upstream_)'
    [ "$SINK" = file ] || exempt='^log_capturer_(sink|cursor|upstream)_'
    comm -23 "$T/wanted" "$T/seen" | grep -vE "$exempt" || true
}

# judge_lines PLACE COMMAND...: what the command prints against what was written.
judge_lines() {
    local place=$1 options name status=() counts
    shift
    mapfile -t options < <(load_expectations)
    set +e
    "$@" 2>"$T/judge.err" | "$BIN/oracle" "${options[@]}" >"$T/lines.$place"
    status=("${PIPESTATUS[@]}")
    set -e
    { echo "$place" && cat "$T/lines.$place"; } >>"$OUT/lines.txt"
    counts=$(tail -n 1 "$T/lines.$place")
    if [ "${status[0]}" -ne 0 ] || [[ $counts != lines=* ]]; then
        criterion "${place}_read" "${status[0]}" '' = 0 "the $place can't be read: $(tail -n 1 "$T/judge.err")"
    fi
    for name in missing:lost doubled:doubled disordered:disordered corrupt:corrupt; do
        criterion "${place}_${name#*:}" "$(grep -oP "(?<=${name%:*}=)[0-9]+" <<<"$counts")" lines = 0 \
            "$place: of $(load_lines) lines of $(wc -l <"$T/expected") containers"
    done
}

# As calls come together or not, the pool keeps from none to LOAD_IDLE_MOST idle connections; as containers come and go,
# there are more or fewer streams. In a short run that alone makes a slope: so both have a limit of their own, and the
# slope is that of all other files.
judge_resources() {
    local plain=-
    [ "$DURATION" -lt 600 ] || plain='<='
    criterion fd_slope "$(slope fds idle streams)" /min '<=' 0.5 "open files without streams and idle connections, least squares"
    criterion fd_slope_host "$(slope host_fds idle streams)" /min '<=' 0.5 "the same, files counted in /proc on the host"
    criterion fd_slope_all "$(slope fds)" /min "$plain" 0.5 "all open files; judged from 10 minutes on"
    criterion idle_most "$(most 6)" '' '<=' $LOAD_IDLE_MOST "idle connections (connections.idle_per_host)"
    criterion streams_most "$(most 14)" '' '<=' $((CONTAINERS + CHURN * 2)) "open streams; $((CONTAINERS + CHURN)) containers run"
    criterion fd_agree "$(over 'd = $4 - $2; if (d < 0) d = -d; sum += d; n++' 'if (n) printf "%.2f\n", sum / n')" \
        files '<=' 0.5 "mean difference between the two counts"
    criterion thread_slope "$(slope threads)" /min '<=' 0.1 "threads, least squares"
    criterion connection_slope "$(slope active streams)" /min '<=' 0.5 "connections that carry a request, without streams"
    criterion memory_slope "$(slope rss_bytes | awk '{ printf "%.1f", $1 / 1024 }')" KiB/min - '' "resident memory, least squares"
    criterion cpu "$(over 'if (!n++) { t = $1; c = $9 } span = $1 - t; used = $9 - c' \
        'if (span > 0) printf "%.2f\n", 100 * used / span')" % - '' "of one processor"
}

judge_service() {
    local calls requests
    criterion silent_samples "$SILENT" '' = 0 "of $(($(wc -l <"$OUT/samples.csv") - 1)) samples the agent did not answer these"
    criterion ready "$READY" '' = "$CHECKPOINTS" "checkpoints with /readyz 200"
    criterion restarts "$(restarts)" '' = 0 "restarts of the container, starts of the process, an end"
    criterion throughput "$(awk 'NR == 1 || $2 < least { least = $2 } END { if (NR) printf "%.0f\n", least }' "$T/throughput")" \
        lines/s '>=' $((CONTAINERS * RATE / 2)) "least of a checkpoint; the load is $((CONTAINERS * RATE)) and more"
    requests=$(increase 11)
    criterion requests "$requests" '' '>=' 1 "requests to the daemon (requests_total)"
    calls=$(increase 12)
    criterion reuse "$(awk -v new="$calls" -v reused="$(increase 13)" 'BEGIN {
        if (new + reused > 0) printf "%.1f\n", 100 * reused / (new + reused) }')" % '>=' 95 \
        "short calls over a connection from the pool; $calls of $((calls + $(increase 13))) made a new one"
    criterion metrics_missing "$(missing_metrics | wc -l)" '' = 0 "$(missing_metrics | tr '\n' ' ')of $(wc -l <"$T/wanted")"
    criterion gaps "$(increase 16)" '' = 0 "times that the agent tells of lost lines"
}

# The load has done what it should, or the rest says nothing.
judge_load() {
    local least=$((CONTAINERS * (DURATION / ROTATE - 1)))
    criterion rotations "$(increase 15)" '' '>=' "$((least > 1 ? least : 1))" "streams rotated"
    criterion churn "$(grep -c churn "$T/expected")" '' '>=' "$((CHURN * DURATION / 20))" "containers came and went"
    criterion inspects "$(awk '{ sum += $1 } END { print sum + 0 }' "$T/inspects")" '' '>=' \
        "$((CONTAINERS * (DURATION / INSPECT_EVERY - 1)))" "containers inspected through the daemon"
    criterion load_trouble "$(wc -l <"$T/trouble")" '' = 0 "$(head -n 1 "$T/trouble" | cut -c 1-80)"
}

# Restarts by dockerd's count, by the process's start or by its id, whichever says most; and the end, if it came.
restarts() {
    local counted
    counted=$(load_agent_state)
    over 'if (!($17 in seen)) { seen[$17] = 1; starts++ }' \
        "most = ${counted% *}; if (starts - 1 > most) most = starts - 1
         if ($AGENT_PID != $FIRST_PID && most < 1) most = 1
         print most + (${#GONE} > 0)"
}

judge() {
    : >"$T/criteria"
    : >"$OUT/lines.txt"
    judge_resources
    judge_service
    judge_load
    load_agent_end
    criterion exit_code "$AGENT_STATUS" '' = 0 "of the agent after SIGTERM"
    judge_lines spool load_search
    if [ "$SINK" = file ]; then
        load_archive_fetch
        judge_lines archive load_archive
    fi
}

verdict() {
    local failed
    say ''
    say "$(cat "$T/criteria")"
    failed=$(grep -c '^FAIL' "$T/criteria" || true)
    say ''
    if [ "$failed" -gt 0 ]; then
        say "FAILED: $failed of $(grep -cE '^(PASS|FAIL)' "$T/criteria") criteria: $(awk '/^FAIL/ { printf "%s ", $2 }' "$T/criteria")"
        trap 'smoke_end 1' EXIT
        exit 1
    fi
    say "passed: all $(grep -c '^PASS' "$T/criteria") criteria"
}
