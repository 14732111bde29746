#!/usr/bin/env bash
# The examples do what they say, with a real PostgreSQL server and over real HTTP.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
t_begin examples

# ---- five workers over three connections; one connection is killed on the way
"$BIN/example_database_pool" 4 >"$T/database" || fail "the database example: $(tail -n 3 "$T/database")"
for worker in 1 2 3 4 5; do
    assert_eq "$(grep -c "^worker $worker: connection of server process" "$T/database")" 4 "answers to worker $worker"
done
processes=$(sed -n 's/.*server process \([0-9]*\)$/\1/p' "$T/database" | sort -u | wc -l)
assert_ge 4 "$processes" "server processes seen" # three connections, and the one that replaced the killed one
assert_ge "$processes" 3 "server processes seen"
grep -qE '^20 queries by 5 workers, [34] connections made, 1[678] times one was reused$' "$T/database" ||
    fail "its last line is: $(tail -n 1 "$T/database")"

# ---- four workers over two handles
"$BIN/example_http_pool" 25 >"$T/http" || fail "the HTTP example: $(tail -n 3 "$T/http")"
assert_eq "$(grep -c ': hello, on a new connection$' "$T/http")" 2 "connections made"
assert_eq "$(grep -c ': hello, on the kept connection$' "$T/http")" 98 "requests on a kept connection"
