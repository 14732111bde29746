#!/usr/bin/env bash
# The agent beside a test suite: of every container that a pool made, used and removed, what it said is there, once.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/integration/pools.sh
. "$(dirname "$0")/pools.sh"
t_begin capture_container_pool
redis_image
# shellcheck disable=SC2119 # its own defaults
agent_start
cat >"$T/suite.sh" <<'END'
for address in $(echo "$CONTAINER_POOL_ADDRESSES" | tr , ' '); do
    redis-cli -p "${address##*:}" ping
done
i=1
while [ $i -le "$CONTAINER_POOL_SIZE" ]; do
    eval "echo \$CONTAINER_POOL_${i}_NAME" >&2
    i=$((i + 1))
done
END
for _ in 1 2 3; do
    "$CONTAINER_POOL" run --quiet --presets "$PRESETS" --preset fresh --size 4 -- sh "$T/suite.sh" \
        2>>"$T/names" >>"$T/answers"
done
assert_eq "$(sort -u "$T/names" | wc -l)" 12 "containers"
assert_eq "$(grep -c PONG "$T/answers")" 12 "answers"
said_once() { # NAME
    [ "$(search_json --container "$1" | jq -r .line | grep -c 'Ready to accept connections')" -eq 1 ]
}
while read -r name; do
    wait_until 20 "what $name said" said_once "$name"
done <"$T/names"
agent_stop
