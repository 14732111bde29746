#!/usr/bin/env bash
# Completion and manual pages say what the program takes.
# shellcheck disable=SC2016 # patterns
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
t_begin completion
AGENT=$BIN/log_capturer
commands=$("$AGENT" --help | sed -n '/^commands:/,/^$/s/^  \([a-z]*\) .*/\1/p')
assert_ge "$(wc -w <<<"$commands")" 11 "number of commands"

# ---- bash
"$AGENT" completion bash >"$T/bash"
compopt() { :; } # bash knows it while it completes only
# shellcheck disable=SC1091 # made above
. "$T/bash"
# completes WORD...: what is offered for the last word, as one sorted line
completes() {
    COMP_WORDS=("$@")
    COMP_CWORD=$(($# - 1))
    COMPREPLY=()
    _log_capturer
    printf '%s\n' ${COMPREPLY[@]+"${COMPREPLY[@]}"} | sort | paste -sd ' ' -
}
complete -p log_capturer >/dev/null
assert_eq "$(completes log_capturer '')" "$(sort <<<"$commands" | paste -sd ' ' -)" "commands"
assert_eq "$(completes log_capturer se)" search
assert_eq "$(completes log_capturer --dat)" --data-dir "flags without a command"
assert_eq "$(completes log_capturer --output '')" "json logfmt none text"
assert_eq "$(completes log_capturer --output = js)" json
assert_eq "$(completes log_capturer run --set spool.li)" spool.limit=
assert_eq "$(completes log_capturer search --la)" --label
assert_eq "$(completes log_capturer search -o l)" logfmt
assert_eq "$(completes log_capturer tail --output n)" "" "tail has an --output of its own"
assert_eq "$(completes log_capturer search --stream '')" "stderr stdout"
assert_eq "$(completes log_capturer search --regex '')" "" "any text"
assert_eq "$(completes log_capturer status --watch --u)" --url "the value of --watch may be left out"
assert_eq "$(completes log_capturer completion '')" "bash fish zsh"
mkdir "$T/dir"
touch "$T/file.yaml"
assert_eq "$(completes log_capturer check -c "$T/f")" "$T/file.yaml"
assert_eq "$(completes log_capturer --data-dir "$T/di")" "$T/dir"
# All that help shows, and nothing else.
for command in $commands; do
    expect=$("$AGENT" "$command" --help | sed -n 's/^  \(-., \)\?\(--[a-z-]*\).*/\2/p')
    expect=$(printf '%s\n--help\n' "$expect" | sed '/^$/d' | sort -u | paste -sd ' ' -)
    assert_eq "$(completes log_capturer "$command" --)" "$expect" "flags of $command"
done
if command -v shellcheck >/dev/null; then
    shellcheck -s bash "$T/bash" || fail "shellcheck"
fi

# ---- zsh, fish
"$AGENT" completion zsh >"$T/_log_capturer"
if command -v zsh >/dev/null; then
    zsh -n "$T/_log_capturer" || fail "zsh"
else
    echo "no zsh: its script was not read"
fi
"$AGENT" completion fish >"$T/log_capturer.fish"
if command -v fish >/dev/null; then
    export HOME=$T
    offered=$(fish -c "source $T/log_capturer.fish; complete -C 'log_capturer search --stream '" | cut -f 1)
    assert_eq "$(sort <<<"$offered" | paste -sd ' ' -)" "stderr stdout" "fish"
    offered=$(fish -c "source $T/log_capturer.fish; complete -C 'log_capturer doc'" | cut -f 1)
    assert_eq "$offered" doctor "fish"
else
    echo "no fish: its script was not read"
fi
for command in $commands; do
    grep -q "\b$command\b" "$T/_log_capturer" || fail "zsh lacks $command"
    grep -q "\b$command\b" "$T/log_capturer.fish" || fail "fish lacks $command"
done
status=0
"$AGENT" completion >/dev/null 2>"$T/err" || status=$?
assert_eq "$status" 2 "status without a shell"
grep -q 'bash, zsh or fish' "$T/err" || fail "completion says: $(cat "$T/err")"
status=0
"$AGENT" completion csh >/dev/null 2>&1 || status=$?
assert_eq "$status" 2 "status of csh"

# ---- manual pages
"$AGENT" man >"$T/log_capturer.1"
"$AGENT" man 5 >"$T/log_capturer.yaml.5"
for page in log_capturer.1 log_capturer.yaml.5; do
    if command -v groff >/dev/null; then
        groff -ww -man -Tutf8 -z "$T/$page" >"$T/warnings" 2>&1 || fail "groff $page"
        [ ! -s "$T/warnings" ] || fail "groff warns: $(cat "$T/warnings")"
        groff -man -Tascii -P-cbou "$T/$page" >"$T/$page.txt"
        grep -qE '^NAME' "$T/$page.txt" || fail "$page has no NAME"
    else
        echo "no groff: $page was not set"
    fi
done
page=$(sed 's/\\-/-/g; s/\\f[BIR]//g; s/\\(dq/"/g' "$T/log_capturer.1")
for command in $commands; do
    grep -q "^.SS \"log_capturer $command" <<<"$page" || fail "log_capturer(1) lacks $command"
    for flag in $("$AGENT" "$command" --help | sed -n 's/^  \(-., \)\?--\([a-z-]*\).*/\2/p'); do
        grep -qE -- "^(-., )?--$flag\b" <<<"$page" || fail "log_capturer(1) lacks --$flag"
    done
done
page=$(sed 's/\\-/-/g; s/\\f[BIR]//g' "$T/log_capturer.yaml.5")
"$AGENT" options | sed -n 's/^| `\([a-z_.]*\)`.*/\1/p' | while read -r option; do
    grep -qF -- "$option (" <<<"$page" || fail "log_capturer.yaml(5) lacks $option"
done
