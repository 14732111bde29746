#!/bin/sh
# build-libraries.sh: libcurl, libmicrohttpd and snappy from Debian's source packages, into /usr/local, with what the
# agent uses of them and no more. Debian's own builds bring LDAP, Kerberos, SSH, RTMP, GnuTLS and all of libstdc++:
# 12 MB of libraries in the image.
# Runs as root in the build stage of docker/Dockerfile.
set -eux

sed -i 's/^Types: deb$/Types: deb deb-src/' /etc/apt/sources.list.d/debian.sources
apt-get update -q
mkdir -p /usr/src/libraries
cd /usr/src/libraries
apt-get source -q curl libmicrohttpd snappy

# Debian's hardening flags; no debug information.
CXXFLAGS="$(dpkg-buildflags --get CXXFLAGS | sed 's/-g //')"
CFLAGS="$(dpkg-buildflags --get CFLAGS | sed 's/-g //')"
LDFLAGS="$(dpkg-buildflags --get LDFLAGS)"
export CFLAGS CXXFLAGS LDFLAGS

cmake -S curl-7* -B curl -G Ninja -DCMAKE_BUILD_TYPE=None -DCMAKE_INSTALL_PREFIX=/usr/local \
    -DCMAKE_INSTALL_LIBDIR=lib -DBUILD_CURL_EXE=OFF -DBUILD_TESTING=OFF -DENABLE_MANUAL=OFF \
    -DHTTP_ONLY=ON -DCURL_USE_OPENSSL=ON -DCURL_USE_LIBSSH2=OFF -DCURL_USE_LIBPSL=OFF -DUSE_LIBIDN2=OFF \
    -DCURL_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt -DCURL_CA_PATH=none
ninja -C curl install

cmake -S snappy-* -B snappy -G Ninja -DCMAKE_BUILD_TYPE=None -DCMAKE_INSTALL_PREFIX=/usr/local \
    -DCMAKE_INSTALL_LIBDIR=lib -DBUILD_SHARED_LIBS=ON -DSNAPPY_BUILD_TESTS=OFF -DSNAPPY_BUILD_BENCHMARKS=OFF \
    -DCMAKE_SHARED_LINKER_FLAGS="$LDFLAGS -static-libstdc++ -static-libgcc -Wl,--exclude-libs,ALL"
ninja -C snappy install

cd libmicrohttpd-*/
./configure --prefix=/usr/local --disable-static --disable-https --disable-doc --disable-examples --disable-curl \
    --disable-bauth --disable-dauth --disable-postprocessor --disable-httpupgrade
make -j "$(nproc)" install
ldconfig
