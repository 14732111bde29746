#!/usr/bin/env bash
# torture.sh BINARY: runs a unit test linked with torture.c once per allocation that its code under test makes, that
# allocation failing, until a run ends in which none failed. A failed assertion of the test is a reported failure and
# accepted; a signal, an abort, a hang or a sanitizer's report is not. After a failed assertion the leaks at exit do not
# count, as the test freed nothing; those that torture.c finds at the assertion do.
#
# TORTURE_DENSE: every allocation up to this one fails once (1000), then about one in a hundred of their number.
# TORTURE_JOBS: runs at a time (number of cores). TORTURE_TIMEOUT: seconds for one run (60).
set -euo pipefail
binary=$1
dense=${TORTURE_DENSE:-1000}
jobs=${TORTURE_JOBS:-$(nproc)}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# The sanitizer keeps its handlers, or cmocka would turn a fault into a failed test.
keep='handle_segv=2:handle_sigbus=2:handle_sigfpe=2:handle_sigill=2:handle_abort=2'
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}$keep:exitcode=99:allocator_may_return_null=1"
export UBSAN_OPTIONS="${UBSAN_OPTIONS:+$UBSAN_OPTIONS:}print_stacktrace=1"

run_one() {
    local status=0
    TORTURE_FAIL_AT=$1 TORTURE_REPORT=$dir/$1.report timeout -k 5 "${TORTURE_TIMEOUT:-60}" "$binary" >"$dir/$1.out" 2>&1 </dev/null || status=$?
    echo "$status" >"$dir/$1.status"
}

# why N: prints why run N was a crash, or nothing
why() {
    local status
    status=$(<"$dir/$1.status")
    if grep -qE 'ERROR: AddressSanitizer|AddressSanitizer:DEADLYSIGNAL|runtime error: ' "$dir/$1.out"; then
        echo "a sanitizer's report"
    elif grep -q 'Test failed with exception' "$dir/$1.out"; then
        echo "a fault, caught by cmocka"
    elif [ "$status" = 124 ] || [ "$status" = 137 ]; then
        echo "a hang"
    elif [ "$status" -ge 128 ]; then
        echo "signal $((status - 128))"
    elif grep -q '^leak$' "$dir/$1.report" 2>/dev/null; then
        echo "a leak, found when the first assertion failed"
    elif grep -q 'ERROR: LeakSanitizer' "$dir/$1.out"; then
        grep -q '^\[  FAILED  \]' "$dir/$1.out" || echo "a leak"
    elif ! grep -q '^end$' "$dir/$1.report" 2>/dev/null; then
        echo "an end without exit()"
    fi
}

show() {
    echo "allocation $1 failing: $2"
    echo "--- the allocation that failed:"
    grep -E '^[^ ]+\(.*\[0x' "$dir/$1.report" | sed -E 's/^([^(]+)\(\+?([^)]*)\).*/\1 \2/' | while read -r file place; do
        case $file:$place in
        "$binary":0x*) addr2line -spfe "$file" "$(printf '0x%x' $((place - 1)))" ;; # the call, not where it returns to
        esac
    done | grep -vE '^(report|fails_now|__wrap_)' || true
    echo "--- output of the run:"
    head -n 80 "$dir/$1.out"
}

n=1 failed=0 rejected=0 runs=0 ended=
while [ -z "$ended" ]; do
    batch=()
    while [ ${#batch[@]} -lt "$jobs" ]; do
        batch+=("$n")
        run_one "$n" &
        n=$((n < dense ? n + 1 : n + (n + 99) / 100))
    done
    wait
    for i in "${batch[@]}"; do
        reason=$(why "$i")
        if [ -n "$reason" ]; then
            show "$i" "$reason"
            failed=$((failed + 1))
            [ $failed -lt 5 ] || ended=yes
        fi
        if ! grep -q '^fired$' "$dir/$i.report" 2>/dev/null; then
            if [ "$(<"$dir/$i.status")" != 0 ] && [ -z "$reason" ]; then
                show "$i" "the test fails even without a failing allocation"
                failed=$((failed + 1))
            fi
            ended=yes
            break
        fi
        runs=$((runs + 1))
        [ -n "$reason" ] || [ "$(<"$dir/$i.status")" = 0 ] || rejected=$((rejected + 1))
    done
    rm -f "$dir"/*.report "$dir"/*.out "$dir"/*.status
done
echo "$runs failing allocations: $((runs - rejected - failed)) passed, $rejected ended in a failed assertion, $failed crashed"
[ $failed = 0 ]
