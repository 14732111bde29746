# shellcheck shell=bash
# shellcheck disable=SC2034 # some variables are for the tests only
# Helpers of the tests of container pools; to be sourced behind lib.sh.

REDIS_IMAGE=log_capturer-test/redis:1
export CONTAINER_POOL=$BIN/container_pool

# copy_with_libraries ROOT FROM TO: a program and what it links, into the tree of an image.
copy_with_libraries() {
    local root=$1 library
    install -D -- "$2" "$root$3"
    for library in $(ldd "$2" | awk '$2 == "=>" { print $3 } $1 ~ /^\// { print $1 }'); do
        install -D -- "$library" "$root$library"
    done
}

# redis_image: makes $REDIS_IMAGE of Debian's redis-tools (whose redis-check-rdb is the server by another name), and the
# presets file $PRESETS.
redis_image() {
    local root=$T/redis-image sum
    t_need_docker
    command -v redis-check-rdb >/dev/null || t_skip "no redis (redis-tools)"
    sum=$(sha256sum /usr/bin/redis-check-rdb)
    sum=${sum%% *}
    PRESETS=$T/presets.yaml
    redis_presets >"$PRESETS"
    [ "$(docker image inspect -f '{{.Config.Labels.redis}}' $REDIS_IMAGE 2>/dev/null)" != "$sum" ] || return 0
    copy_with_libraries "$root" /usr/bin/redis-check-rdb /bin/redis-server
    copy_with_libraries "$root" /usr/bin/redis-cli /bin/redis-cli
    copy_with_libraries "$root" /bin/busybox /bin/sh
    install -d -m 1777 "$root/tmp"
    tar -C "$root" -c . |
        docker import --change "ENV PATH=/bin" --change "LABEL redis=$sum" - $REDIS_IMAGE >/dev/null
}

# By each way to be ready and to be reset.
redis_presets() {
    cat <<'END' | sed "s|IMAGE|$REDIS_IMAGE|"
redis:
  image: IMAGE
  command: [redis-server, --save, "", --protected-mode, "no"]
  ports: [6379]
  ready: {port: 6379}
  reset: {send: "FLUSHALL\r\n", expect: +OK}
fresh:
  image: IMAGE
  command: [redis-server, --save, "", --protected-mode, "no"]
  ports: [6379]
  memory: 64MiB
  ready: {exec: [redis-cli, ping]}
  reset: replace
cleared:
  image: IMAGE
  command: [redis-server, --save, "", --protected-mode, "no"]
  ports: [6379]
  ready: {port: 6379, send: "PING\r\n", expect: +PONG}
  reset: {exec: [redis-cli, flushall]}
restarted:
  image: IMAGE
  command: [redis-server, --save, "", --protected-mode, "no"]
  ports: [6379]
  ready: {port: 6379}
  reset: restart
logged:
  image: IMAGE
  command: [redis-server, --save, "", --protected-mode, "no"]
  ports: [6379]
  network: true
  ready: {log: Ready to accept connections}
  reset: none
silent:
  image: IMAGE
  command: [sh, -c, "echo starting up; echo the disk is on fire; sleep 100"]
  ports: [6379]
  ready: {port: 6379}
  startup_timeout: 500ms
crashing:
  image: IMAGE
  command: [sh, -c, "echo no configuration >&2; exit 3"]
  ports: [6379]
  ready: {port: 6379}
absent:
  image: log_capturer-test/there-is-no-such-image:1
  ports: [6379]
  ready: {port: 6379}
END
}

# pool_containers: names of all containers of pools.
pool_containers() {
    docker ps -a --filter label=log_capturer.container_pool --format '{{.Names}}'
}

no_pool_containers() {
    [ -z "$(pool_containers)" ]
}
