#!/usr/bin/env bash
# Kills a program that appends to a spool at each of its system calls that change the disk, and
# checks the spool after each: it opens, no acknowledged record is lost, none is there twice, and
# positions match the records. Then a disk that is full.
#
#   BIN     directory of test_spool_driver
#   POINTS  calls of each kind at which it is killed (60)
set -euo pipefail

: "${BIN:?BIN must name the directory of the programs}"
driver=$BIN/test_spool_driver
points=${POINTS:-60}
[ -x "$driver" ] || { echo "no $driver: skipped"; exit 77; }
command -v strace >/dev/null || { echo "no strace: skipped"; exit 77; }
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0" # it can't look under ptrace

T=$(mktemp -d "${TMPDIR:-/tmp}/spool_crash.XXXXXX")
mounted=
finish() {
    [ -z "$mounted" ] || umount "$T/disk" || true
    rm -rf "$T"
}
trap finish EXIT
if ! strace -o /dev/null true 2>/dev/null; then
    echo "strace may not trace here: skipped"
    exit 77
fi
failed=0 killed=0

# verify WHAT DIR
verify() {
    local rc=0
    "$driver" verify "$2" "$T/acks" 2>"$T/err" || rc=$?
    if [ "$rc" != 0 ]; then
        echo "FAILED ($rc) after $1: $(tr '\n' ';' <"$T/err")"
        failed=$((failed + 1))
    fi
}

# kill_at SYSCALL N LIVES: so many lives that each end at the Nth call, and one that goes through
kill_at() {
    local rc life
    rm -rf "$T/data" "$T/acks"
    for life in $(seq "$3"); do
        rc=0
        # The subshell, so that bash does not write of each kill.
        (strace -f -qq -o /dev/null -e "trace=$1" -e "inject=$1:signal=KILL:when=$2" \
            "$driver" append "$T/data" 40 "$T/acks" 2>"$T/err"; exit $?) 2>/dev/null || rc=$?
        if [ "$rc" = 0 ]; then
            [ "$life" = 1 ] && return 1 # fewer calls than that
            break
        fi
        killed=$((killed + 1))
        [ "$rc" = 137 ] || { echo "FAILED: $1 $2, life $life: $rc $(<"$T/err")"; failed=$((failed + 1)); }
    done
    verify "$1 $2, $3 lives" "$T/data"
    "$driver" append "$T/data" 12 "$T/acks" || { echo "FAILED: no life after $1 $2"; failed=$((failed + 1)); }
    verify "$1 $2, the life behind it" "$T/data"
}

for call in pwrite64 fdatasync fsync openat unlinkat ftruncate; do
    for n in $(seq "$points"); do
        kill_at "$call" "$n" 1 || break
        kill_at "$call" "$n" 3 || break
    done
done
echo "$killed kills"

# ---- a full disk
mkdir "$T/disk"
if mount -t tmpfs -o size=700k tmpfs "$T/disk" 2>/dev/null; then
    mounted=yes
    rm -f "$T/acks"
    dd if=/dev/zero of="$T/disk/ballast" bs=1k count=500 status=none
    "$driver" append "$T/disk/data" 60 "$T/acks" 2>"$T/err" &
    pid=$!
    for _ in $(seq 100); do # until nothing fits
        [ "$(df --output=avail "$T/disk" | tail -n 1)" -gt 8 ] || break
        sleep 0.05
    done
    rm -f "$T/disk/ballast"
    rc=0
    wait "$pid" || rc=$?
    if [ "$rc" != 0 ] || [ "$(tail -n 1 "$T/acks")" != 60 ]; then
        echo "FAILED: disk full, then room: $rc, $(tail -n 1 "$T/acks") of 60: $(<"$T/err")"
        failed=$((failed + 1))
    fi
    verify "a full disk" "$T/disk/data"
else
    echo "no mount: the full disk is left out"
fi

[ "$failed" = 0 ] || { echo "$failed failures"; exit 1; }
