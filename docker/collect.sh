#!/bin/sh
# collect.sh PROGRAM DIR: puts into DIR what an image without a distribution needs to run PROGRAM: the program, every
# shared library that it loads, the certificates of public authorities, users and groups.
# DIR-empty is an empty folder, to be copied to where the user may write. Runs as root in the build stage of docker/Dockerfile.
set -eu
program=$1
out=$2

mkdir -p "$out/etc/ssl/certs" "$out/etc/log_capturer" "$out/var/lib" "$out/var/log" "$out-empty"
strip -o "$out/$(basename "$program")" "$program"

# A line is "NAME => PATH (ADDRESS)", or for the loader "PATH (ADDRESS)".
ldd "$program" | grep -o '/[^ ]*' | sort -u | while read -r library; do
    mkdir -p "$out$(dirname "$library")"
    cp -L "$library" "$out$library"
    strip --strip-unneeded "$out$library"
done

cp -L /etc/ssl/certs/ca-certificates.crt "$out/etc/ssl/certs/"
echo 'hosts: files dns' >"$out/etc/nsswitch.conf"
echo 'log_capturer:x:8001:8001::/var/lib/log_capturer:/none' >"$out/etc/passwd"
echo 'log_capturer:x:8001:' >"$out/etc/group"

# It must start with nothing but that.
chroot "$out" "/$(basename "$program")" version
