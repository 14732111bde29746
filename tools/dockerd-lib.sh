# shellcheck shell=bash
# Sourced by with-dockerd.sh and with-dockerd-newest.sh.

# dockerd_answers HOST: 0 when a daemon answers there; HOST as in DOCKER_HOST, empty for the usual socket
dockerd_answers() {
    local answer
    case ${1:-unix:///var/run/docker.sock} in
    unix://*) answer=$(curl -s --max-time 5 --unix-socket "$(dockerd_socket "$1")" http://docker/_ping) ;;
    tcp://*) answer=$(curl -s --max-time 5 "http://${1#tcp://}/_ping") ;;
    *) answer=$(docker version --format OK 2>/dev/null) ;;
    esac
    [ "$answer" = OK ]
}

dockerd_socket() {
    local host=${1:-unix:///var/run/docker.sock}
    printf '%s' "${host#unix://}"
}

# dockerd_run_with HOST DAEMON... -- CMD...: starts DAEMON, waits up to 60 s until HOST answers, runs CMD, stops DAEMON,
# returns CMD's status. TERM, INT and HUP end CMD first and the daemon then.
dockerd_run_with() {
    local host=$1 daemon=() status=0 log end
    shift
    while [ "$1" != -- ]; do
        daemon+=("$1")
        shift
    done
    shift
    dockerd_pid='' command_pid='' interrupted=''
    log=$(mktemp)
    trap 'interrupted=yes; [ -z "$command_pid" ] || kill -TERM "$command_pid" 2>/dev/null' TERM INT HUP

    # A session of its own: the terminal's Ctrl-C must not reach it before the command is through.
    setsid "${daemon[@]}" >"$log" 2>&1 </dev/null &
    dockerd_pid=$!
    end=$((SECONDS + 60))
    until dockerd_answers "$host"; do
        if ! kill -0 "$dockerd_pid" 2>/dev/null || [ $SECONDS -ge $end ] || [ -n "$interrupted" ]; then
            echo "${daemon[0]} did not start; the end of its log:" >&2
            tail -n 30 "$log" >&2
            dockerd_stop
            rm -f "$log"
            return 1
        fi
        sleep 0.1
    done

    "$@" <&0 &
    command_pid=$!
    while :; do # wait returns early at each signal
        status=0
        wait "$command_pid" || status=$?
        kill -0 "$command_pid" 2>/dev/null || break
    done
    command_pid=''
    if ! kill -0 "$dockerd_pid" 2>/dev/null; then
        echo "${daemon[0]} ended by itself; the end of its log:" >&2
        tail -n 30 "$log" >&2
    fi
    dockerd_stop
    rm -f "$log"
    return $status
}

dockerd_stop() {
    local tries=300
    kill -TERM "$dockerd_pid" 2>/dev/null || return 0
    while kill -0 "$dockerd_pid" 2>/dev/null; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || { kill -KILL "$dockerd_pid"; break; }
        sleep 0.1
    done
    wait "$dockerd_pid" 2>/dev/null
}
