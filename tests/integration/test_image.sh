#!/usr/bin/env bash
# The image, started by compose as docker-compose.yml says: small, soon healthy, without rights, and at work.
# The first build on a machine takes minutes; later ones take it from the builder's cache.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
t_begin image
cd "${SOURCE_DIR:-$(dirname "$0")/../..}"
[ "${DOCKER_HOST:-unix:///var/run/docker.sock}" = unix:///var/run/docker.sock ] ||
    t_skip "docker-compose.yml mounts /var/run/docker.sock, the daemon is $DOCKER_HOST"
[ "$(id -u)" = 0 ] || t_skip "not root"
t_image
SIZE_LIMIT=20000000

PROJECT=${RUN_ID,,}
LOG_CAPTURER_PORT=$(t_free_port)
PORT=$LOG_CAPTURER_PORT
export LOG_CAPTURER_TAG=test LOG_CAPTURER_PORT
compose() { tools/compose.sh -p "$PROJECT" "$@"; }
down() {
    local rc=$?
    if [ "$rc" -ne 0 ] && [ "$rc" -ne 77 ]; then
        compose logs --tail 30 agent >"$T/agent.log" 2>&1 || true
    fi
    compose down -v -t 5 >/dev/null 2>&1 || true
    t_end $rc
}
trap down EXIT
milliseconds_since() { echo $(((${EPOCHREALTIME/[.,]/} - $1) / 1000)); }

# ---- build, and what came out
begin=${EPOCHREALTIME/[.,]/}
compose build >"$T/build.log" 2>&1 || { tail -n 40 "$T/build.log"; fail "the build"; }
size=$(docker image inspect -f '{{.Size}}' log_capturer:test)
echo "built in $(milliseconds_since "$begin") ms; $size bytes"
assert_ge $SIZE_LIMIT "$size" "limit of the image's size"
assert_eq "$(docker run --rm --network none log_capturer:test version)" "$("$BIN/log_capturer" version)" "its version"

# ---- the profile is understood, by each compose that is here
if docker compose version >/dev/null 2>&1; then
    docker compose --profile observability config >"$T/config" 2>"$T/err" || fail "config: $(cat "$T/err")"
    assert_eq "$(grep -c '^    image: ' "$T/config")" 4 "services of the profile and the agent"
fi
if command -v docker-compose >/dev/null; then
    docker-compose --profile observability config >"$T/config" 2>"$T/err" || fail "config: $(cat "$T/err")"
    assert_eq "$(grep -c '^    image: ' "$T/config")" 4 "services of the profile and the agent"
fi

# ---- up
run_gen before --lines 500 --rate 0
begin=${EPOCHREALTIME/[.,]/}
compose up -d >"$T/up.log" 2>&1 || { tail -n 20 "$T/up.log"; fail "up"; }
AGENT=$(docker ps -q --no-trunc --filter "label=com.docker.compose.project=$PROJECT" \
    --filter label=com.docker.compose.service=agent)
is_healthy() { [ "$(docker inspect -f '{{.State.Health.Status}}' "$AGENT")" = healthy ]; }
wait_until 15 "healthy" is_healthy
echo "healthy $(milliseconds_since "$begin") ms after up began"
ready() { [ "$(agent_http /readyz -o /dev/null -w '%{http_code}')" = 200 ]; }
wait_until 15 "ready" ready
agent_http /metrics -f >"$T/metrics"
grep -q '^log_capturer_docker_http_requests_total [1-9]' "$T/metrics" || fail "/metrics: $(head "$T/metrics")"

# ---- its rights
AGENT_PID=$(docker inspect -f '{{.State.Pid}}' "$AGENT")
status_of() { awk -v name="$1:" '$1 == name { print $2 }' "/proc/$AGENT_PID/status"; }
assert_ge "$(status_of Uid)" 1 "user"
assert_ge "$(status_of Gid)" 1 "group"
for set in CapInh CapPrm CapEff CapBnd CapAmb; do
    assert_eq "$(status_of $set)" 0000000000000000 $set
done
assert_eq "$(status_of NoNewPrivs)" 1 NoNewPrivs
awk '$5 == "/" { exit $6 !~ /(^|,)ro(,|$)/ }' "/proc/$AGENT_PID/mountinfo" || fail "the root is writable"
docker export "$AGENT" | tar -t >"$T/files"
! grep -qE '(^|/)(sh|bash|busybox|apt|perl)$' "$T/files" || fail "a shell is in the image"

SEARCH_ARGS=(--label "$TEST_LABEL=$RUN_ID")

# ---- at work: what was there before, and what starts now; not itself
search_json() { docker exec "$AGENT" /log_capturer search -o json "$@"; }
wait_until 30 "the lines of a container from before" captured_quietly --expect before:o:1-500
run_gen later --lines 2000 --rate 2000
wait_until 30 "the lines of a later container" captured_quietly --expect before:o:1-500 --expect later:o:1-2000
captured --expect before:o:1-500 --expect later:o:1-2000
agent_http /api/v1/containers >"$T/containers"
jq -e --arg id "$AGENT" 'all(.containers[]; .id != $id or .state == "ignored")' "$T/containers" >/dev/null ||
    fail "it captures itself: $(cat "$T/containers")"
assert_eq "$(search_json | jq -r .container.id | grep -c "^$AGENT" || true)" 0 "lines of its own"

# ---- the files of its archive
archived() {
    docker run --rm --network none -v "${PROJECT}_archive:/archive:ro" $TEST_IMAGE cat "/archive/$(gen_name later).log" |
        "$BIN/oracle" --quiet --expect later:o:1-2000 >/dev/null
}
wait_until 30 "the archive" archived

# ---- down
begin=${EPOCHREALTIME/[.,]/}
docker stop "$AGENT" >/dev/null
took=$(milliseconds_since "$begin")
echo "stopped in $took ms"
assert_eq "$(docker inspect -f '{{.State.ExitCode}}' "$AGENT")" 0 "exit code"
assert_ge 3000 "$took" "limit of the milliseconds until it has stopped"

# ---- again, on the same spool: nothing is read twice
compose up -d >"$T/up.log" 2>&1 || { tail -n 20 "$T/up.log"; fail "up again"; }
wait_until 15 "healthy again" is_healthy
wait_until 15 "ready again" ready
run_gen last --lines 100 --rate 0
wait_until 30 "every line once" captured_quietly --expect before:o:1-500 --expect later:o:1-2000 --expect last:o:1-100
