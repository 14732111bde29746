#!/usr/bin/env bash
# install-deps.sh GROUP...: installs what is missing of the groups build, test, lint, fuzz (default: these four), bench, dockerd, image.
# Does nothing, and needs neither root nor apt, when everything is there.
set -euo pipefail

# One need a line: group, how to see that it is there (pkg:NAME, cmd:NAME or file:PATTERN), Debian package.
needs='
build cmd:gcc                build-essential
build cmd:make               build-essential
build cmd:cmake              cmake
build cmd:ninja              ninja-build
build cmd:pkg-config         pkg-config
build pkg:libcurl            libcurl4-openssl-dev
build pkg:openssl            libssl-dev
build pkg:libcjson           libcjson-dev
build pkg:libmicrohttpd      libmicrohttpd-dev
build pkg:yaml-0.1           libyaml-dev
build pkg:libzstd            libzstd-dev
build pkg:zlib               zlib1g-dev
build file:/usr/include/snappy-c.h libsnappy-dev
build file:/usr/include/pb_encode.h libnanopb-dev
test  pkg:cmocka             libcmocka-dev
test  cmd:curl               curl
test  cmd:jq                 jq
test  cmd:strace             strace
test  cmd:promtool           prometheus
test  file:/bin/busybox      busybox-static
test  cmd:docker             docker.io
test  cmd:setarch            util-linux
test  cmd:groff              groff-base
test  cmd:zsh                zsh
test  cmd:fish               fish
test  cmd:python3            python3
test  cmd:setpriv            util-linux
test  cmd:openssl            openssl
test  cmd:socat              socat
test  pkg:libpq              libpq-dev
test  file:/usr/lib/postgresql/*/bin/postgres postgresql
test  cmd:redis-cli          redis-tools
test  cmd:kcat               kcat
test  cmd:ip                 iproute2
bench cmd:haproxy            haproxy
dockerd cmd:dockerd          docker.io
fuzz  cmd:clang              clang
fuzz  file:/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a libclang-rt-dev
fuzz  cmd:llvm-symbolizer    llvm
lint  cmd:clang              clang
lint  cmd:clang-tidy         clang-tidy
lint  cmd:clang-format       clang-format
lint  cmd:cppcheck           cppcheck
lint  cmd:shellcheck         shellcheck
lint  cmd:jq                 jq
image file:/usr/sbin/debootstrap debootstrap
image cmd:docker             docker.io
image cmd:docker-compose     docker-compose
'

present() {
    case $1 in
    pkg:*) command -v pkg-config >/dev/null && pkg-config --exists "${1#pkg:}" ;;
    cmd:*) PATH=$PATH:/usr/sbin:/sbin command -v "${1#cmd:}" >/dev/null ;;
    file:*) compgen -G "${1#file:}" >/dev/null ;;
    esac
}

[ $# -gt 0 ] || set -- build test lint fuzz
missing=()
for group in "$@"; do
    while read -r row_group check package; do
        [ "$row_group" = "$group" ] || continue
        present "$check" || missing+=("$package")
    done <<<"$needs"
done
[ ${#missing[@]} -gt 0 ] || exit 0
mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)

if ! command -v apt-get >/dev/null; then
    echo "install-deps: apt-get not found; install these (Debian names) by other means: ${missing[*]}" >&2
    exit 1
fi
if [ "$(id -u)" != 0 ]; then
    echo "install-deps: not root; run as root: apt-get install -y --no-install-recommends ${missing[*]}" >&2
    exit 1
fi

echo "install-deps: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install_missing() {
    apt-get install -y --no-install-recommends "${missing[@]}" >"$log" 2>&1 </dev/null
}
if ! install_missing; then # most often: no package lists, or old ones
    if ! { apt-get update >"$log" 2>&1 && install_missing; }; then
        tail -20 "$log" >&2
        echo "install-deps: apt-get could not install ${missing[*]}" >&2
        exit 1
    fi
fi
