#!/usr/bin/env bash
# fuzz.sh [TARGET...]: runs fuzz targets of build/fuzz (all of them) for FUZZ_SECONDS (30) each, one per core at a time.
# Seeds are read from tests/fuzz/corpus/<target>; what is found goes to build/fuzz/corpus and build/fuzz/crashes.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
export SECONDS_EACH=${FUZZ_SECONDS:-30}
export UBSAN_OPTIONS=print_stacktrace=1

run_target() {
    local name=$1 short=${1#fuzz_} seeds=() options=() out
    mkdir -p "build/fuzz/corpus/$name" "build/fuzz/crashes" "build/fuzz/log"
    out=build/fuzz/log/$name
    for folder in "tests/fuzz/corpus/$name" "tests/fuzz/corpus/$short"; do
        [ -d "$folder" ] && seeds+=("$folder")
    done
    for dict in "tests/fuzz/$name.dict" "tests/fuzz/$short.dict"; do
        [ -f "$dict" ] && options+=("-dict=$dict")
    done
    if "build/fuzz/bin/$name" -max_total_time="$SECONDS_EACH" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="build/fuzz/crashes/$name-" ${options[@]+"${options[@]}"} \
        "build/fuzz/corpus/$name" ${seeds[@]+"${seeds[@]}"} >"$out" 2>&1 </dev/null; then
        echo "ok   $name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$out") runs"
    else
        echo "FAIL $name: see $out; its end:"
        tail -n 40 "$out"
        return 1
    fi
}
export -f run_target

if [ $# = 0 ]; then
    mapfile -t names < <(cd build/fuzz/bin 2>/dev/null && compgen -G 'fuzz_*' | sort)
    set -- "${names[@]}"
fi
if [ $# = 0 ]; then
    echo "fuzz: no targets"
    exit 0
fi
total=$#
failed=0
# shellcheck disable=SC2016 # expanded by the inner shell
printf '%s\0' "$@" | xargs -0 -P "${JOBS:-$(nproc)}" -I{} bash -c 'run_target "$1"' _ {} || failed=1
[ $failed = 0 ] || { echo "fuzz: a target failed"; exit 1; }
echo "fuzz: $total targets, $SECONDS_EACH s each, nothing found"
