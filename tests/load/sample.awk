# One row of samples.csv out of the text of /metrics. -v seconds=, -v host_fds=
# The columns' names: awk -v header=1 -f sample.awk </dev/null
BEGIN {
    http = "log_capturer_docker_http_"
    count = split("process_threads process_open_fds " http "open_connections " http "idle_connections " \
        http "active_connections process_resident_memory_bytes process_cpu_seconds_total " \
        "log_capturer_lines_captured_total " http "requests_total " \
        http "transfers_total{kind=\"call\",connection=\"new\"} " \
        http "transfers_total{kind=\"call\",connection=\"reused\"} " \
        "log_capturer_streams_active log_capturer_streams_ended_total{reason=\"rotated\"} " \
        "log_capturer_capture_gaps_total process_start_time_seconds", wanted, " ")
    if (header) {
        print "seconds,host_fds,threads,fds,connections,idle,active,rss_bytes,cpu_seconds,lines,requests," \
            "calls_new,calls_reused,streams,rotations,gaps,start_time"
        exit
    }
}
/^#/ { next }
{ value[$1] = $2 }
END {
    if (header)
        exit
    printf "%s,%s", seconds, host_fds
    for (i = 1; i <= count; i++)
        printf ",%s", value[wanted[i]]
    print ""
}
