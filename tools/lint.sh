#!/usr/bin/env bash
# lint.sh: everything of `make lint`, step by step; stops at the first step that fails.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
jobs=${JOBS:-$(nproc)}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# step NAME REMEDY COMMAND...
step() {
    local name=$1 remedy=$2 start=$SECONDS
    shift 2
    if "$@" >"$log" 2>&1 </dev/null; then
        printf '%-28s ok %4d s\n' "$name" $((SECONDS - start))
        return
    fi
    grep -vE '^\[[0-9]+/[0-9]+\] (Building|Linking|Re-checking)|^[0-9]+ warnings? (generated|treated)|^Suppressed [0-9]+ warnings' "$log" | tail -n 200
    printf '%-28s FAILED after %d s: %s\n' "$name" $((SECONDS - start)) "$remedy"
    exit 1
}

shell_scripts() {
    local file
    git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
        [ -f "$file" ] || continue
        case $file in
        *.sh | .ci/run) printf '%s\0' "$file" ;;
        esac
    done
}

check_shell() { shell_scripts | xargs -0 -r shellcheck -x; }

# The files of the compile database that are in the project (others are generated).
tidy_files() { jq -r '.[].file' build/clang-release/compile_commands.json | sort -u | grep -F "$PWD/" | grep -vF "$PWD/build/"; }

check_tidy() { tidy_files | xargs -r -d '\n' -n 1 -P "$jobs" clang-tidy -p build/clang-release --quiet; }

check_cppcheck() {
    mkdir -p build/cppcheck
    cppcheck --project=build/clang-release/compile_commands.json --cppcheck-build-dir=build/cppcheck \
        --enable=warning,performance,portability --inline-suppr --error-exitcode=1 --quiet -j "$jobs" \
        --suppressions-list=tools/cppcheck-suppressions
}

step "form (clang-format)" "run make format" tools/format.sh --check
step "rooms" "mend the lines above" tools/check-rooms.sh
step "shellcheck" "mend the lines above" check_shell
step "gcc" "mend the warnings above" tools/build.sh release
step "clang" "mend the warnings above" tools/build.sh clang-release
step "headers alone" "a header includes what it uses" tools/build.sh clang-release headers
step "clang-tidy" "mend the lines above, or NOLINT(check) with the reason" check_tidy
step "cppcheck" "mend the lines above, or cppcheck-suppress with the reason" check_cppcheck
