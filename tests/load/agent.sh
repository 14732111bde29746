# shellcheck shell=bash
# shellcheck disable=SC2034 # AGENT_PID and others are for the one who sources this
# The agent of the load tests, as its users run it; sourced behind tests/integration/lib.sh.
#
#   AGENT    image: a container of $IMAGE (log_capturer); program: a container of $PROGRAM and the
#            libraries that it needs; process: $PROGRAM without a container
#   PROGRAM  $BIN/log_capturer
#
# The container has the daemon's socket, the socket's group, a read-only root, no capability, and a
# volume for the spool. The network is the host's, so that a port is all that the test needs.
: "${AGENT:=image}" "${IMAGE:=log_capturer}" "${PROGRAM:=$BIN/log_capturer}"
LOAD_DATA=/var/lib/log_capturer
LOAD_CONTAINER=''
LOAD_OWN_IMAGE=''
LOAD_SOCKET=''

# load_agent_prepare: says what is missing before anything is started.
load_agent_prepare() {
    t_need_docker
    case ${DOCKER_HOST:-unix:///var/run/docker.sock} in
    unix://*) LOAD_SOCKET=${DOCKER_HOST:-unix:///var/run/docker.sock} LOAD_SOCKET=${LOAD_SOCKET#unix://} ;;
    *) t_skip "the daemon must be at a unix socket: its processes are looked at in /proc" ;;
    esac
    case $AGENT in
    image)
        docker image inspect "$IMAGE" >/dev/null 2>&1 || fail "no image $IMAGE: make image, or AGENT=program"
        ;;
    program)
        LOAD_OWN_IMAGE=log_capturer-test/agent:$RUN_ID
        IMAGE=$LOAD_OWN_IMAGE
        load_make_image "$PROGRAM" "$IMAGE"
        ;;
    process)
        [ -x "$PROGRAM" ] || fail "no program $PROGRAM"
        mkdir "$T/bin"
        ln -s "$(realpath "$PROGRAM")" "$T/bin/log_capturer"
        ;;
    *) fail "AGENT is image, program or process, not '$AGENT'" ;;
    esac
}

# load_make_image PROGRAM IMAGE: the program and the libraries it needs, and nothing else.
load_make_image() {
    local root=$T/agent-image library
    mkdir -p "$root/usr/bin" "$root$LOAD_DATA"
    cp -L -- "$1" "$root/usr/bin/log_capturer"
    ldd "$1" | grep -oE '/[^ ]+' | while read -r library; do
        (cd / && cp -L --parents -- ".$library" "$root")
    done
    tar -C "$root" --numeric-owner --owner=65532 --group=65532 -c . |
        docker import --change 'USER 65532:65532' --change 'ENTRYPOINT ["/usr/bin/log_capturer"]' \
            - "$2" >/dev/null
    rm -rf -- "$root"
}

# load_agent_start CONFIG: and waits until it is ready. Sets AGENT_PID, which is the process on
# this machine, and PORT.
load_agent_start() {
    local config=$1
    chmod 755 "$T"
    chmod 644 "$config"
    if [ "$AGENT" = process ]; then
        BIN=$T/bin agent_start -c "$config"
        return
    fi
    PORT=$(t_free_port)
    LOAD_CONTAINER=$(gen_name agent)
    docker run -d --name "$LOAD_CONTAINER" --label "$TEST_LABEL=$RUN_ID" --restart unless-stopped \
        --network host --read-only --cap-drop ALL --security-opt no-new-privileges \
        --group-add "$(stat -c %g "$LOAD_SOCKET")" \
        -v "$LOAD_SOCKET:/var/run/docker.sock" -v "$LOAD_DATA" -v "$config:/etc/log_capturer.yaml:ro" \
        -e "LOG_CAPTURER_HTTP_LISTEN=127.0.0.1:$PORT" \
        "$IMAGE" run -c /etc/log_capturer.yaml >/dev/null
    wait_until 30 "the agent's container runs" container_is "$LOAD_CONTAINER" running
    AGENT_PID=$(docker inspect -f '{{.State.Pid}}' "$LOAD_CONTAINER")
    wait_until 30 "the agent is ready" agent_is_ready
}

# load_agent_state: times that it was started again, and whether it runs: "0 running".
load_agent_state() {
    if [ "$AGENT" != process ]; then
        docker inspect -f '{{.RestartCount}} {{.State.Status}}' "$LOAD_CONTAINER" 2>/dev/null ||
            echo "0 gone"
    elif kill -0 "$AGENT_PID" 2>/dev/null; then
        echo "0 running"
    else
        echo "0 exited"
    fi
}

# load_agent_log: what it wrote about itself.
load_agent_log() {
    if [ "$AGENT" = process ]; then
        cat "$T/agent.log"
    elif [ -n "$LOAD_CONTAINER" ]; then
        docker logs "$LOAD_CONTAINER" 2>&1
    fi
}

# load_agent_end: SIGTERM; sets AGENT_STATUS. Not in a subshell: only its parent can wait for a process.
load_agent_end() {
    if [ "$AGENT" != process ]; then
        docker stop -t 30 "$LOAD_CONTAINER" >/dev/null
        AGENT_STATUS=$(docker inspect -f '{{.State.ExitCode}}' "$LOAD_CONTAINER")
    elif kill -TERM "$AGENT_PID" 2>/dev/null; then
        agent_wait 30
    else
        AGENT_STATUS=ended
    fi
}

# load_search ARGS...: `search -o json` on the agent's spool.
load_search() {
    if [ "$AGENT" = process ]; then
        "$PROGRAM" search --data-dir "$T/data" -o json "$@"
    else
        docker run --rm --name "$(gen_name search)" --label "$TEST_LABEL=$RUN_ID" --network none \
            --log-driver none --read-only --cap-drop ALL --volumes-from "$LOAD_CONTAINER" \
            "$IMAGE" search --data-dir "$LOAD_DATA" -o json "$@"
    fi
}

# load_archive_fetch: what the file sink wrote into the folder archive beside the spool, to $T/archive.
load_archive_fetch() {
    if [ "$AGENT" = process ]; then
        cp -r "$T/data/archive" "$T/archive"
    else
        docker cp "$LOAD_CONTAINER:$LOAD_DATA/archive" "$T/archive"
    fi >/dev/null 2>"$T/archive.err" || true
}

# load_archive: its lines, of each container from the oldest file (NAME.log.9.gz) to the present one.
load_archive() {
    local file
    [ -d "$T/archive" ] || { cat "$T/archive.err" >&2 && return 1; }
    for file in "$T/archive"/*.log; do
        find "$T/archive" -name "${file##*/}.*" -print0 | sort -zVr | xargs -0 -r gzip -dcf --
        cat -- "$file"
    done
}

# load_agent_remove: the container, its volume, the image that was made.
load_agent_remove() {
    [ -z "$LOAD_CONTAINER" ] || docker rm -f -v "$LOAD_CONTAINER" >/dev/null 2>&1
    [ -z "$LOAD_OWN_IMAGE" ] || docker image rm -f "$LOAD_OWN_IMAGE" >/dev/null 2>&1
    return 0
}
