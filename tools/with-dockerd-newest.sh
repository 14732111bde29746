#!/usr/bin/env bash
# with-dockerd-newest.sh CMD...: runs CMD with DOCKER_HOST at a dockerd 29 of its own, which is built once, started in
# a temporary folder beside the system's, and stopped after CMD. Exits with CMD's status. Needs root.
# SHARED_DIR: where servers/dockerd29.sh, the build recipe, is (../shared). DOCKERD_CACHE: where builds are kept.
set -uo pipefail
[ $# -gt 0 ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
tools=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tools/dockerd-lib.sh
. "$tools/dockerd-lib.sh"

export DOCKERD_VERSION=${DOCKERD_VERSION:-v2.0.0-beta.24}
shared=${SHARED_DIR:-$tools/../../shared}
cache=${DOCKERD_CACHE:-/var/cache/log_capturer-servers}/dockerd29-$DOCKERD_VERSION

built() { [ -x "$1/dockerd" ] && [ -x "$1/docker-proxy" ] && [ -x "$1/runc" ]; }

[ "$(id -u)" = 0 ] || { echo "with-dockerd-newest: needs root" >&2; exit 1; }
if ! built "$cache"; then
    if [ ! -x "$shared/servers/dockerd29.sh" ]; then
        echo "with-dockerd-newest: no build in $cache, and no recipe $shared/servers/dockerd29.sh (set SHARED_DIR)" >&2
        exit 1
    fi
    echo "with-dockerd-newest: building dockerd $DOCKERD_VERSION, about 8 minutes the first time" >&2
    mkdir -p "$(dirname "$cache")"
    building=$(mktemp -d "$cache.XXXXXX")
    if ! "$shared/servers/dockerd29.sh" install "$building" >&2 || ! built "$building"; then
        rm -rf "$building"
        echo "with-dockerd-newest: the build failed" >&2
        exit 1
    fi
    rm -rf "$cache"
    mv "$building" "$cache"
fi
command -v containerd >/dev/null || "$tools/install-deps.sh" dockerd || exit 1

dir=$(mktemp -d)
export DOCKER_HOST=unix://$dir/docker.sock
# In a network namespace of its own: in the system's it would take over, or remove, the other daemon's docker0.
# Its own binaries come first in PATH, for its runc and docker-proxy.
export DAEMON_DIR=$dir
# shellcheck disable=SC2016 # expanded by the inner shell
start='ip link set lo up
exec dockerd --data-root "$DAEMON_DIR/data" --exec-root "$DAEMON_DIR/exec" --pidfile "$DAEMON_DIR/pid" --host "$DOCKER_HOST"'
dockerd_run_with "$DOCKER_HOST" env PATH="$cache:$PATH" unshare --net sh -c "$start" -- "$@"
status=$?
awk -v dir="$dir/" 'index($2, dir) == 1 {print $2}' /proc/mounts | sort -r | while read -r mount; do
    umount "$mount" 2>/dev/null || umount -l "$mount" 2>/dev/null
done
rm -rf "$dir"
exit $status
