# shellcheck shell=bash
# Helpers of the tests that see metrics move; to be sourced behind lib.sh.

SAMPLES=$T/samples
: >"$SAMPLES"

# move_sample FILE: notes "family labels value" of all series in what /metrics has answered; histograms by their parts.
move_sample() {
    awk '/^# TYPE /{print "TYPE", $3, $4} /^log_capturer|^process/{
        value = $NF; key = $0; sub(/ [^ ]+$/, "", key); print key, value}' "$1" >>"$SAMPLES"
}

# families_of_code: names in quotes.
families_of_code() {
    (cd "${SOURCE_DIR:-$(dirname "$0")/../..}" &&
        grep -rhoE '"(log_capturer|process)_[a-z0-9_]+"' internal cmd --include='*.c' | tr -d '"' | grep -v '_$' | sort -u)
}

families_seen() { awk '$1 == "TYPE" {print $2}' "$SAMPLES" | sort -u; }

# never_moved FAMILIES: those of the file that have had neither two different values nor one that is not 0.
never_moved() {
    awk -v families="$1" '
        BEGIN { while ((getline line < families) > 0) wanted[line] = 1 }
        $1 == "TYPE" { next }
        {
            value = $NF
            key = $0
            sub(/ [^ ]+$/, "", key)
            name = key
            sub(/[{].*/, "", name)
            if (!(name in wanted)) {
                sub(/_(bucket|sum|count)$/, "", name)
            }
            if (!(key in first))
                first[key] = value
            if (value != 0 || value != first[key])
                moved[name] = 1
        }
        END {
            for (name in wanted)
                if (!(name in moved))
                    print name
        }' "$SAMPLES" | sort
}
