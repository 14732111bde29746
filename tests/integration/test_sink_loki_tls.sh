#!/usr/bin/env bash
# The Loki sink over TLS and with secrets: socat ends TLS before fake_loki. Who is trusted delivers;
# who is not delivers nothing, and the sink's problem says why. Then the secrets arrive, and a
# changed one is taken without a reload.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/integration/sinks.sh
. "$(dirname "$0")/sinks.sh"
t_begin sink_loki_tls
command -v socat >/dev/null || t_skip "no socat"
command -v openssl >/dev/null || t_skip "no openssl"

# ---- certificates: two authorities; a server for 127.0.0.1 alone; a client of each authority

C=$T/certs
mkdir "$C"
make_ca() { # NAME
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
        -subj "/CN=$1" -keyout "$C/$1.key" -out "$C/$1.pem" 2>>"$T/openssl.log"
}
make_cert() { # NAME AUTHORITY EXTENSION
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$1" \
        -keyout "$C/$1.key" -out "$C/$1.csr" 2>>"$T/openssl.log"
    openssl x509 -req -in "$C/$1.csr" -CA "$C/$2.pem" -CAkey "$C/$2.key" -CAcreateserial -days 2 \
        -extfile <(echo "$3") -out "$C/$1.pem" 2>>"$T/openssl.log"
    cat "$C/$1.key" "$C/$1.pem" >"$C/$1.both"
}
make_ca own
make_ca other
make_cert server own subjectAltName=IP:127.0.0.1
make_cert client own extendedKeyUsage=clientAuth
make_cert stranger other extendedKeyUsage=clientAuth

# ---- TLS before fake_loki

port_is_open() { ! t_port_is_free "$1"; }
tls_start() { # PORT SOCAT-OPTIONS
    socat "OPENSSL-LISTEN:$1,bind=127.0.0.1,reuseaddr,fork,cert=$C/server.both,$2" \
        "TCP:127.0.0.1:$LOKI_PORT" 2>>"$T/socat.log" 9>&- &
    T_PIDS+=("$!")
    wait_until 10 "TLS is served" port_is_open "$1"
}
loki_start
TLS=$(t_free_port)
tls_start "$TLS" verify=0
MUTUAL=$(t_free_port)
tls_start "$MUTUAL" "verify=1,cafile=$C/own.pem"
MUTUAL_12=$(t_free_port)
tls_start "$MUTUAL_12" "verify=1,cafile=$C/own.pem,openssl-max-proto-version=TLS1.2"

fake_start --containers 1 --lines 500

# ---- who is trusted

trusts="ca: $C/own.pem"
client="cert: $C/client.pem, key: $C/client.key"
often="retry_limit: 200ms" # the first answers may be resets
stranger="cert: $C/stranger.pem, key: $C/stranger.key"
config <<EOF
output: {format: none}
sinks:
  own_ca: {type: loki, url: "https://127.0.0.1:$TLS/own_ca", tls: {$trusts}, $often}
  insecure: {type: loki, url: "https://localhost:$TLS/insecure", tls: {insecure: true}, $often}
  client: {type: loki, url: "https://127.0.0.1:$MUTUAL/client", tls: {$trusts, $client}, $often}
  client_12: {type: loki, url: "https://127.0.0.1:$MUTUAL_12/client_12", tls: {$trusts, $client}, $often}
  system_ca: {type: loki, url: "https://127.0.0.1:$TLS/system_ca"}
  other_ca: {type: loki, url: "https://127.0.0.1:$TLS/other_ca", tls: {ca: $C/other.pem}, $often}
  no_ca_file: {type: loki, url: "https://127.0.0.1:$TLS/no_ca_file", tls: {ca: $C/gone.pem}, $often}
  wrong_host: {type: loki, url: "https://localhost:$TLS/wrong_host", tls: {$trusts}, $often}
  no_client: {type: loki, url: "https://127.0.0.1:$MUTUAL/no_client", tls: {$trusts}, $often}
  no_client_12: {type: loki, url: "https://127.0.0.1:$MUTUAL_12/no_client_12", tls: {$trusts}, $often}
  stranger: {type: loki, url: "https://127.0.0.1:$MUTUAL/stranger", tls: {$trusts, $stranger}, $often}
  wrong_key: {type: loki, url: "https://127.0.0.1:$MUTUAL/wrong_key",
              tls: {$trusts, cert: $C/client.pem, key: $C/stranger.key}, $often}
EOF
agent_start -c "$T/config.yaml"
for name in own_ca insecure client client_12; do
    arrived "/$name"
    wait_until 10 "$name is running" sink_is "$name" running
done

problem_says() { # NAME PATTERN
    [[ $(sink_status "$1" 'problem // ""') =~ $2 ]]
}
refused() { # NAME PATTERN: of what the sink's problem says
    wait_until 20 "the problem of $1 says '$2'" problem_says "$1" "$2"
    echo "$1: $(sink_status "$1" state): $(sink_status "$1" problem)"
    assert_eq "$(sink_status "$1" delivered_lines)" 0 "lines delivered by $1"
    assert_eq "$(grep -c "{\"path\":\"/$1/" "$T/taken.jsonl" || true)" 0 "lines at /$1"
}
refused system_ca 'unable to get local issuer certificate'
refused other_ca 'unable to get local issuer certificate'
refused no_ca_file 'gone\.pem'
refused wrong_host "no alternative certificate subject name matches target host name 'localhost'"
refused no_client 'certificate required.*tls\.cert and tls\.key'
refused no_client_12 'handshake failure.*tls\.cert and tls\.key'
refused stranger 'unknown ca'
refused wrong_key 'client\.pem|stranger\.key|private key'

# ---- what was missing comes: nothing was lost meanwhile

cp "$C/own.pem" "$C/gone.pem"
arrived /no_ca_file
wait_until 10 "no_ca_file is running" sink_is no_ca_file running

# ---- secrets

(umask 077 && printf 'open sesame\n' >"$T/password" && printf 'token-1\n' >"$T/token")
with_basic() {
    config <<EOF
output: {format: none}
sinks:
  basic: {type: loki, url: "https://127.0.0.1:$TLS/basic", tls: {$trusts}, retry_limit: 200ms,
          username: ali, password_file: $T/password}
EOF
}
with_bearer() {
    config <<EOF
output: {format: none}
sinks:
  bearer: {type: loki, url: "https://127.0.0.1:$TLS/bearer", tls: {$trusts}, retry_limit: 200ms,
           bearer_token_file: $T/token}
EOF
}
loki "require?header=Authorization&value=Basic+$(printf 'ali:open sesame' | base64)" >/dev/null
with_basic
reload
arrived /basic
(umask 077 && printf 'open barley\n' >"$T/password")
fake "emit?n=10" >/dev/null
wait_until 20 "the wrong password is denied" sink_is basic denied
problem_says basic 'status 401' || fail "its problem: $(sink_status basic problem)"
(umask 077 && printf 'open sesame\n' >"$T/password")
arrived /basic

loki "require?header=Authorization&value=Bearer+token-2" >/dev/null
with_bearer
reload
wait_until 20 "the old token is denied" sink_is bearer denied
(umask 077 && printf 'token-2\n' >"$T/token")
arrived /bearer
chmod o+r "$T/token"
fake "emit?n=10" >/dev/null
wait_until 20 "a token that everybody may read is refused" problem_says bearer 'everybody may read'
chmod o-r "$T/token"
arrived /bearer
assert_eq "$(metric log_capturer_sink_dead_letters_total)" 0 "dead letters"
agent_stop
for secret in sesame barley token-1 token-2; do
    if grep -q "$secret" "$T/agent.log"; then
        fail "'$secret' is in the log"
    fi
done
