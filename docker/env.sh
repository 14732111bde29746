#!/usr/bin/env bash
# env.sh: writes what docker-compose.yml needs to know of this machine into .env at the top: DOCKER_GID, the group
# that may use dockerd's socket, LOG_CAPTURER_HOST, and LOG_CAPTURER_BASE where it is set. Other lines of .env stay.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
file=$top/.env
socket=${DOCKER_HOST:-unix:///var/run/docker.sock}
socket=${socket#unix://}

# put NAME VALUE
put() {
    local new
    new=$(mktemp "$file.XXXXXX")
    [ ! -f "$file" ] || grep -v "^$1=" "$file" >"$new" || true
    printf '%s=%s\n' "$1" "$2" >>"$new"
    chmod 644 "$new"
    mv -- "$new" "$file"
}

if [ -S "$socket" ]; then
    put DOCKER_GID "$(stat -L -c %g "$socket")"
else
    echo "env: no socket at $socket; DOCKER_GID is not set" >&2
fi
put LOG_CAPTURER_HOST "${LOG_CAPTURER_HOST:-$(uname -n)}"
[ -z "${LOG_CAPTURER_BASE:-}" ] || put LOG_CAPTURER_BASE "$LOG_CAPTURER_BASE"
