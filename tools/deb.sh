#!/usr/bin/env bash
# deb.sh [DIR]: makes the Debian package of what tools/build.sh release has built, in DIR (build/deb), and prints its name.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-build/deb}
mkdir -p "$out"
rm -f "$out"/*.deb
if ! cpack -G DEB --config build/release/CPackConfig.cmake -B "$out" >"$out/log" 2>&1; then
    tail -n 30 "$out/log" >&2
    exit 1
fi
rm -rf "$out/_CPack_Packages"
ls "$out"/*.deb
