#!/usr/bin/env bash
# check-rooms.sh [DIR]: what the compiler does not check: who includes whom, which library has which door, file sizes,
# banned functions, paths of one machine. Prints FILE:LINE: what is wrong; what to do. Exits 1 when there is anything.
set -euo pipefail
cd "${1:-$(dirname "$0")/..}"

# ---- internal/ROOMS itself: a line "room dep" for each include that is allowed, and the complaints
read_rooms() {
    awk '
    function complain(text) { printf "internal/ROOMS:%d: %s\n", at ? at : FNR, text }
    { sub(/#.*/, "") }
    NF == 0 { next }
    $1 !~ /^[a-z_]+:$/ { complain("not of the form \"room: dep dep\""); next }
    {
        room = substr($1, 1, length($1) - 1)
        if (room in line) complain("room " room " is listed twice; keep one row")
        line[room] = FNR; order[++count] = room
        for (i = 2; i <= NF; i++) deps[room, i] = $i
        width[room] = NF
    }
    END {
        for (r = 1; r <= count; r++) {
            room = order[r]; at = line[room]
            print room, room
            print room, "base"
            for (i = 2; i <= width[room]; i++) {
                dep = deps[room, i]
                if (dep == "*") { for (below = r + 1; below <= count; below++) print room, order[below]; continue }
                if (!(dep in line)) complain("room " room " names " dep ", which has no row; add one or mend the name")
                else if (line[dep] <= line[room]) complain("room " room " names " dep ", which is not below it; arrows only point down")
                else print room, dep
            }
        }
    }' internal/ROOMS
}

check_folders() {
    local folder room
    for folder in internal/*/; do
        [ -n "$(ls "$folder" 2>/dev/null)" ] || continue
        room=$(basename "$folder")
        grep -q "^$room " <<<"$pairs" || echo "internal/$room:1: a folder without a row in internal/ROOMS; add the row, from top to bottom"
        [ -s "$folder/README.md" ] || echo "internal/$room/README.md:1: missing; write half a page: what the room does, where to begin reading"
    done
}

# ---- includes
check_includes() {
    [ ${#room_files[@]} -gt 0 ] || return 0
    awk -v pairs="$pairs" '
    BEGIN {
        n = split(pairs, rows, "\n")
        for (i = 1; i <= n; i++) may[rows[i]] = 1
        # One library, one door: what an include looks like, which files may have it, in words.
        door("^curl/", "^internal/net/", "internal/net")
        door("^(cjson/)?cJSON", "^internal/base/json\\.[ch]$", "internal/base/json")
        door("^microhttpd", "^internal/web/httpd\\.c$", "internal/web/httpd.c")
        door("^yaml\\.h$", "^internal/(agent/config\\.c|base/yaml\\.c)$", "internal/agent/config.c, internal/base/yaml.c")
        door("^(zstd|zstd_errors|zdict)\\.h$", "^internal/spool/", "internal/spool")
        door("^openssl/", "^internal/net/", "internal/net")
        door("^librdkafka/", "^internal/sinks/", "internal/sinks")
    }
    function door(pattern, files, words) { ++doors; what[doors] = pattern; where[doors] = files; words_of[doors] = words }
    function complain(text) { printf "%s:%d: %s\n", FILENAME, FNR, text }
    FNR == 1 { split(FILENAME, part, "/"); room = part[1] == "internal" ? part[2] : "" }
    !/^[ \t]*#[ \t]*include[ \t]*[<"]/ { next }
    {
        match($0, /[<"][^>"]+[>"]/)
        quoted = substr($0, RSTART, 1) == "\""
        name = substr($0, RSTART + 1, RLENGTH - 2)
        for (d = 1; d <= doors; d++)
            if (name ~ what[d] && FILENAME !~ where[d])
                complain("<" name "> may be included only in " words_of[d] "; use that room, or move the code there")
        if (room == "") next
        if (!quoted) {
            if (name ~ /\// && ((room " " substr(name, 1, index(name, "/") - 1)) in may))
                complain("write \"" name "\", in quotes: it is ours")
            next
        }
        if (name !~ /^[a-z_]+\/[a-z0-9_]+\.h$/) {
            complain("\"" name "\": an include of ours reads \"room/file.h\", from internal/")
            next
        }
        other = substr(name, 1, index(name, "/") - 1)
        if (!((room " " other) in may))
            complain("room " room " may not include \"" name "\"; its row in internal/ROOMS does not name " other \
                ": pass data down or a callback in, or change the design and its row")
    }' "${room_files[@]}"
}

# ---- sizes
check_sizes() {
    local file lines limit
    while IFS= read -r file; do
        grep -qE "^${file}[[:space:]]+[^[:space:]]" tools/size-exceptions 2>/dev/null && continue
        case $file in *.h) limit=120 ;; *) limit=800 ;; esac
        lines=$(wc -l <"$file")
        [ "$lines" -le $limit ] ||
            echo "$file:$((limit + 1)): $lines lines, the limit is $limit; it tells two stories: split it (or give the reason in tools/size-exceptions)"
    done < <(printf '%s\n' ${all_files[@]+"${all_files[@]}"})
    while read -r file _; do
        [ -f "$file" ] || echo "tools/size-exceptions:1: $file is not there; remove its row"
    done < <(grep -v '^#' tools/size-exceptions 2>/dev/null || true)
}

# ---- banned functions. The tests have a shorter list: what overruns a buffer, whoever calls it.
check_banned() {
    [ ${#all_files[@]} -gt 0 ] || return 0
    awk '
    BEGIN {
        use["strcpy"] = use["stpcpy"] = use["strcat"] = use["strncat"] = "the bounded buffer of base/buf.h"
        use["sprintf"] = use["vsprintf"] = "snprintf or base/buf.h"
        use["strtok"] = use["gets"] = "base/str.h"
        for (name in use) everywhere[name] = 1
        n = split("atoi atol atoll atof strtol strtoul strtoll strtoull strtoimax strtoumax strtod strtok_r sscanf", names, " ")
        for (i = 1; i <= n; i++) use[names[i]] = "the parsers of base/str.h"
        n = split("gmtime localtime asctime ctime mktime", names, " ")
        for (i = 1; i <= n; i++) use[names[i]] = "base/timestamp.h"
        n = split("tmpnam tempnam mktemp", names, " ")
        for (i = 1; i <= n; i++) use[names[i]] = "mkstemp or mkdtemp"
        use["alloca"] = "a bounded array or the heap"
    }
    # The line without comments, strings and characters; in_comment goes on to the next line.
    function code_of(text,   out, c, two, quote) {
        out = ""
        while (length(text)) {
            two = substr(text, 1, 2); c = substr(text, 1, 1)
            if (in_comment) {
                if (!match(text, /\*\//)) return out
                text = substr(text, RSTART + 2); in_comment = 0
            } else if (two == "//") return out
            else if (two == "/*") { in_comment = 1; text = substr(text, 3); out = out " " }
            else if (c == "\"" || c == "'\''") {
                quote = c; text = substr(text, 2)
                while (length(text) && substr(text, 1, 1) != quote) text = substr(text, substr(text, 1, 1) == "\\" ? 3 : 2)
                text = substr(text, 2); out = out " "
            } else { out = out c; text = substr(text, 2) }
        }
        return out
    }
    FNR == 1 { in_comment = 0; strict = FILENAME !~ /^(tests|examples)\//; exempt = FILENAME ~ /^internal\/base\// }
    exempt { next }
    !/[a-z_]+[ \t]*\(/ && !/\/\*|\*\// { next }
    {
        line = code_of($0)
        while (match(line, /[A-Za-z_][A-Za-z0-9_]*[ \t]*\(/)) {
            before = RSTART > 1 ? substr(line, RSTART - 1, 1) : ""
            name = substr(line, RSTART, RLENGTH - 1); sub(/[ \t]+$/, "", name)
            line = substr(line, RSTART + RLENGTH)
            if (before == "." || before == ">") continue
            if (name in use && (strict || name in everywhere))
                printf "%s:%d: %s is banned; use %s\n", FILENAME, FNR, name, use[name]
        }
    }' "${all_files[@]}"
}

# ---- paths of one machine in anything that is or would be committed
check_paths() {
    git rev-parse --git-dir >/dev/null 2>&1 || return 0
    git ls-files -z --cached --others --exclude-standard | xargs -0 -r grep -HnIE '(^|[^A-Za-z0-9_.$}-])[/](work|root|home/[a-z]+)[/]' -- 2>/dev/null |
        sed -E 's/^([^:]+:[0-9]+):.*/\1: a path of one machine; derive it from the place of the script, or take an option/' || true
}

mapfile -t all_files < <(find internal cmd examples tests -name '*.[ch]' 2>/dev/null | sort)
mapfile -t room_files < <(find internal cmd -name '*.[ch]' 2>/dev/null | sort)
rooms=$(read_rooms)
pairs=$(grep -v '^internal/ROOMS:' <<<"$rooms" || true)
found=$(
    grep '^internal/ROOMS:' <<<"$rooms" || true
    check_folders
    check_includes
    check_sizes
    check_banned
    check_paths
)
if [ -n "$found" ]; then
    printf '%s\n' "$found" >&2
    echo "check-rooms: $(wc -l <<<"$found") to mend" >&2
    exit 1
fi
