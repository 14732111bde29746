#!/bin/sh
# build-libraries.sh: libcurl and libmicrohttpd from Debian's source packages, into /usr/local, with what the agent uses
# of them and no more. Debian's own builds bring LDAP, Kerberos, SSH, RTMP, GnuTLS: 9 MB of libraries in the image.
# Runs as root in the build stage of docker/Dockerfile.
set -eux

sed -i 's/^Types: deb$/Types: deb deb-src/' /etc/apt/sources.list.d/debian.sources
apt-get update -q
mkdir -p /usr/src/libraries
cd /usr/src/libraries
apt-get source -q curl libmicrohttpd

# Debian's hardening flags; no debug information.
CFLAGS="$(dpkg-buildflags --get CFLAGS | sed 's/-g //')"
LDFLAGS="$(dpkg-buildflags --get LDFLAGS)"
export CFLAGS LDFLAGS

cmake -S curl-7* -B curl -G Ninja -DCMAKE_BUILD_TYPE=None -DCMAKE_INSTALL_PREFIX=/usr/local \
    -DCMAKE_INSTALL_LIBDIR=lib -DBUILD_CURL_EXE=OFF -DBUILD_TESTING=OFF -DENABLE_MANUAL=OFF \
    -DHTTP_ONLY=ON -DCURL_USE_OPENSSL=ON -DCURL_USE_LIBSSH2=OFF -DCURL_USE_LIBPSL=OFF -DUSE_LIBIDN2=OFF \
    -DCURL_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt -DCURL_CA_PATH=none
ninja -C curl install

cd libmicrohttpd-*/
./configure --prefix=/usr/local --disable-static --disable-https --disable-doc --disable-examples --disable-curl \
    --disable-bauth --disable-dauth --disable-postprocessor --disable-httpupgrade
make -j "$(nproc)" install
ldconfig
