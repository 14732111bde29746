#!/usr/bin/env bash
# Every option that `log_capturer options` lists has a member of struct config which the code reads.
# shellcheck disable=SC2016 # patterns
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
t_begin options_read
cd "${SOURCE_DIR:-$(dirname "$0")/../..}"
OPTIONS=internal/agent/options.c
names=$("$BIN/log_capturer" options | sed '/^# Sinks/,$d' | sed -n 's/^| `\([a-z_.]*\)`.*/\1/p')
assert_ge "$(wc -l <<<"$names")" 30 "number of options"
# The page in docs/ is the one that the program prints.
"$BIN/log_capturer" options | diff - docs/options.md >"$T/page" ||
    fail "docs/options.md is old; run: log_capturer options >docs/options.md: $(head -5 "$T/page")"
unread=()
while read -r name; do
    # The row of the option names its member, after the path.
    member=$(grep -A 6 "\"${name//./\\.}\"" $OPTIONS | tr '\n' ' ' |
        sed -n "s/^[^\"]*\"[^\"]*\",[^\"]*AT(\([a-z_.]*\)).*/\1/p")
    [ -n "$member" ] || member=${name//./_}
    case $member in
    include.* | exclude.*) member=${member%.*} ;; # each list of them is looked at by test_filters.sh
    esac
    echo "$name $member" >>"$T/members"
    grep -rqE "(\.|->)${member//./\\.}\b" internal cmd --include='*.c' --exclude=options.c || unread+=("$name ($member)")
done <<<"$names"
[ ${#unread[@]} -eq 0 ] || fail "options that nothing reads: ${unread[*]}"
