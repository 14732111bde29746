#!/usr/bin/env bash
# with-dockerd.sh CMD...: runs CMD with a dockerd. One that answers at DOCKER_HOST or the usual socket is used as it is;
# else dockerd is started (installed first where it is missing), and stopped after CMD. Exits with CMD's status.
# DOCKERD_ARGS: more arguments for the dockerd that is started.
set -uo pipefail
[ $# -gt 0 ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
tools=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tools/dockerd-lib.sh
. "$tools/dockerd-lib.sh"

if dockerd_answers "${DOCKER_HOST:-}"; then
    exec "$@"
fi
if [ -n "${DOCKER_HOST:-}" ]; then
    echo "with-dockerd: nothing answers at DOCKER_HOST=$DOCKER_HOST; unset it to have a dockerd started" >&2
    exit 1
fi
if [ "$(id -u)" != 0 ]; then
    echo "with-dockerd: no dockerd answers at /var/run/docker.sock, and starting one needs root" >&2
    exit 1
fi
PATH=$PATH:/usr/sbin:/sbin
command -v dockerd >/dev/null || "$tools/install-deps.sh" dockerd || exit 1

# One that is just starting: the package's own service, or another run's.
for _ in {1..100}; do
    pgrep -x dockerd >/dev/null || break
    if dockerd_answers ""; then
        exec "$@"
    fi
    sleep 0.1
done

# A file left by a process that is gone: its number may be another's by now, and dockerd would refuse to start.
for pid_file in /var/run/docker.pid /var/run/docker/containerd/containerd.pid; do
    if [ -f "$pid_file" ] && ! grep -qE '^(dockerd|containerd)$' "/proc/$(<"$pid_file")/comm" 2>/dev/null; then
        rm -f "$pid_file"
    fi
done

# shellcheck disable=SC2086 # DOCKERD_ARGS is a list
dockerd_run_with "" dockerd ${DOCKERD_ARGS:-} -- "$@"
