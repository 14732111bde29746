#!/usr/bin/env bash
# format.sh [--check]: brings every C file into the form of .clang-format, or with --check only says which are not.
set -euo pipefail
cd "$(dirname "$0")/.."
mode=(-i)
[ "${1:-}" != --check ] || mode=(--dry-run -Werror)
mapfile -d '' files < <(find internal cmd examples tests -name '*.[ch]' -print0 2>/dev/null)
[ ${#files[@]} -gt 0 ] || exit 0
clang-format "${mode[@]}" --style=file "${files[@]}"
