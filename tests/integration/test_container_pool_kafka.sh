#!/usr/bin/env bash
# A pool of real Kafka brokers in containers: each is ready when it is taken, has an address of its own that it tells
# its clients, and takes and gives records.
#
# SERVERS_CACHE: where builds are kept. SHARED_DIR: the recipes (servers/kafka.sh, servers/kafka-image.sh), which need
# java, jlink and mvn.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/integration/pools.sh
. "$(dirname "$0")/pools.sh"
t_begin container_pool_kafka
: "${SERVERS_CACHE:=/var/cache/log_capturer-servers}"
SHARED=$(cd "$(dirname "$0")/../.." && cd "${SHARED_DIR:-../shared}" 2>/dev/null && pwd) || SHARED=/nonexistent
KAFKA_BUILD=$SERVERS_CACHE/kafka-4.1.1
KAFKA_BASE=log_capturer-test/kafka-base:4.1.1
KAFKA_IMAGE=log_capturer-test/kafka:4.1.1
t_need_docker
command -v kcat >/dev/null || t_skip "no kcat"

# The recipe's image, with a start of our own.
if ! docker image inspect $KAFKA_IMAGE >/dev/null 2>&1; then
    [ -x "$SHARED/servers/kafka-image.sh" ] || t_skip "no recipe servers/kafka-image.sh in SHARED_DIR"
    for program in java jlink mvn; do
        command -v $program >/dev/null || t_skip "no $program, which the recipe needs"
    done
    if [ ! -d "$KAFKA_BUILD/lib" ]; then
        mkdir -p "$SERVERS_CACHE"
        building=$(mktemp -d "$KAFKA_BUILD.XXXXXX")
        "$SHARED/servers/kafka.sh" install "$building" || { rm -rf "$building"; t_skip "Kafka can't be had"; }
        rm -rf "$KAFKA_BUILD"
        mv "$building" "$KAFKA_BUILD"
    fi
    KAFKA_IMAGE=$KAFKA_BASE KAFKA_DIR=$KAFKA_BUILD "$SHARED/servers/kafka-image.sh" install "$T/kafka-image" ||
        t_skip "the image can't be built"
    printf 'FROM %s\nENTRYPOINT []\n' $KAFKA_BASE | DOCKER_BUILDKIT=0 docker build -t $KAFKA_IMAGE - >/dev/null 2>&1
fi
cat >"$T/presets.yaml" <<END
kafka:
  image: $KAFKA_IMAGE
  environment: [PORT=9094]
  command:
    - /bin/sh
    - -c
    - >-
      /bin/busybox sed 's#^advertised.listeners=.*#advertised.listeners=OUT://{host}:{host_port:9094},IN://127.0.0.1:9092#'
      /opt/kafka/run.sh >/tmp/run.sh && exec /bin/sh /tmp/run.sh
  ports: [9094]
  ready: {port: 9094}
  startup_timeout: 90s
  memory: 1GiB
END
cat >"$T/use.sh" <<'END'
set -eu
for i in 1 2; do
    eval "address=\$CONTAINER_POOL_${i}_ADDRESS"
    seq 1 1000 | sed "s/^/broker $i line /" | kcat -P -b "$address" -t lines -X message.timeout.ms=60000
    kcat -L -b "$address" -J | jq -e --arg a "$address" '.brokers | map(.name) == [$a]' >/dev/null
done
for i in 1 2; do
    eval "address=\$CONTAINER_POOL_${i}_ADDRESS"
    kcat -C -b "$address" -t lines -e -q | sort -u | grep -c "^broker $i line "
done
END
"$CONTAINER_POOL" run --presets "$T/presets.yaml" --preset kafka --size 2 -- sh "$T/use.sh" >"$T/out" ||
    fail "$(cat "$T/out")"
assert_eq "$(tr '\n' ' ' <"$T/out")" "1000 1000 " "records of each broker"
no_pool_containers || fail "left: $(pool_containers)"
