#!/usr/bin/env bash
# run-tests.sh: the whole test run of `make test`. The last line is "N passed, N failed".
# A step that finds no tests fails. A step whose tests fail does not keep the next ones from running; a failed build does.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
jobs=${JOBS:-$(nproc)}
passed=0 failed=0 skipped=0
start=$SECONDS

step() { printf '== %s (%d s)\n' "$*" $((SECONDS - start)); }

build() {
    local log
    log=$(mktemp)
    step "build $1"
    if ! tools/build.sh "$1" >"$log" 2>&1; then
        grep -vE '^\[[0-9]+/[0-9]+\]' "$log" | tail -n 100
        rm -f "$log"
        echo "the build of $1 failed"
        exit 1
    fi
    rm -f "$log"
}

# attribute FILE NAME: of the <testsuite> of ctest's JUnit output
attribute() { sed -n "/<testsuite/,/>/s/.*[[:space:]]$2=\"\([0-9]*\)\".*/\1/p" "$1" | head -n 1; }

# tests PRESET LABELS COMMAND...: runs ctest for the labels by COMMAND (which may be empty) and adds to the sums
tests() {
    local preset=$1 labels=$2 junit all bad skip status=0
    shift 2
    junit=$PWD/build/$preset/junit.xml
    rm -f "$junit"
    "$@" ctest --test-dir "build/$preset" -L "^($labels)\$" -j "$jobs" --no-tests=error --output-on-failure --output-junit "$junit" || status=$?
    if [ ! -f "$junit" ]; then
        echo "the tests of this step could not be run"
        failed=$((failed + 1))
        return
    fi
    all=$(attribute "$junit" tests) bad=$(attribute "$junit" failures) skip=$(attribute "$junit" skipped)
    passed=$((passed + ${all:-0} - ${bad:-0} - ${skip:-0}))
    failed=$((failed + ${bad:-0}))
    skipped=$((skipped + ${skip:-0}))
    if [ $status != 0 ] && [ "${bad:-0}" = 0 ]; then
        echo "this step failed (status $status), but none of its tests did"
        failed=$((failed + 1))
    fi
}

# The sanitizers of this gcc do not know an address space as random as newer kernels make it.
fixed_addresses=()
if setarch "$(uname -m)" -R true 2>/dev/null; then
    fixed_addresses=(setarch "$(uname -m)" -R)
fi

build debug
step "unit, torture and fuzz-corpus tests under AddressSanitizer and UndefinedBehaviorSanitizer"
tests debug 'unit|torture|fuzz-corpus' ${fixed_addresses[@]+"${fixed_addresses[@]}"}
build tsan
step "unit tests under ThreadSanitizer"
tests tsan 'unit' ${fixed_addresses[@]+"${fixed_addresses[@]}"}
build release
step "integration tests against dockerd"
tests release 'integration' tools/with-dockerd.sh

step "done"
[ $skipped = 0 ] || echo "$skipped skipped"
echo "$passed passed, $failed failed"
[ $failed = 0 ]
