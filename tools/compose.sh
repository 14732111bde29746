#!/usr/bin/env bash
# compose.sh ARGS...: docker compose ARGS, with what it needs on this machine: .env with the group of the socket, and
# the base image, pulled or made by docker/base-image.sh. Takes the compose plugin, or docker-compose 1.29.
set -euo pipefail
cd "$(dirname "$0")/.."
upstream_base=debian:bookworm-slim

docker/env.sh
if [ -z "${LOG_CAPTURER_BASE:-}" ] && ! grep -qs '^LOG_CAPTURER_BASE=' .env &&
    ! docker image inspect $upstream_base >/dev/null 2>&1 &&
    ! timeout 60 docker pull -q $upstream_base >/dev/null 2>&1; then
    echo "compose: $upstream_base can't be pulled; making a base image from Debian packages"
    docker/base-image.sh
fi
if docker compose version >/dev/null 2>&1; then
    exec docker compose "$@"
fi
tools/install-deps.sh image
exec docker-compose "$@"
