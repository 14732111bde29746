#!/usr/bin/env bash
# The Debian package: what is in it, that its unit is sound and hardened, that it installs, runs and goes away again
# on a plain Debian. And the other ways to deploy that packaging/ has.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "$0")/lib.sh"
t_begin package
cd "${SOURCE_DIR:-$(dirname "$0")/../..}"
command -v dpkg-deb >/dev/null || t_skip "no dpkg"
EXPOSURE_LIMIT=20 # tenths, of `systemd-analyze security`

# ---- the package
tools/deb.sh "$T/deb" >"$T/name"
deb=$(cat "$T/name")
dpkg-deb -c "$deb" | awk '{ print $NF }' >"$T/content"
for file in ./usr/bin/log_capturer ./usr/bin/pool_server ./usr/bin/pool_bench ./usr/bin/container_pool ./lib/systemd/system/log_capturer.service ./etc/log_capturer/config.yaml \
    ./usr/share/man/man1/log_capturer.1.gz ./usr/share/man/man5/log_capturer.yaml.5.gz \
    ./usr/share/bash-completion/completions/log_capturer ./usr/share/zsh/vendor-completions/_log_capturer \
    ./usr/share/fish/vendor_completions.d/log_capturer.fish; do
    grep -qx -- "$file" "$T/content" || fail "$file is not in the package"
done
echo "$(stat -c %s "$deb") bytes, $(wc -l <"$T/content") files"
dpkg-deb -x "$deb" "$T/root"
"$T/root/usr/bin/log_capturer" check -c "$T/root/etc/log_capturer/config.yaml"

# ---- its unit
if command -v systemd-analyze >/dev/null; then
    mkdir "$T/unit"
    sed "s|=/usr/bin/log_capturer|=$T/root/usr/bin/log_capturer|" packaging/log_capturer.service \
        >"$T/unit/log_capturer.service"
    systemd-analyze verify --man=no "$T/unit/log_capturer.service" >"$T/out" 2>&1 || fail "verify: $(cat "$T/out")"
    [ ! -s "$T/out" ] || fail "verify says: $(cat "$T/out")"
    exposure=$(systemd-analyze security --offline=true --no-pager "$T/unit/log_capturer.service" |
        sed -n 's/.*Overall exposure level for .*: \([0-9]*\)\.\([0-9]\).*/\1\2/p')
    echo "exposure of the unit: ${exposure%?}.${exposure: -1}"
    assert_ge "$EXPOSURE_LIMIT" "$((10#$exposure))" "limit of the unit's exposure"
else
    echo "no systemd-analyze: the unit was not looked at"
fi

# ---- compose and swarm files are understood
if docker stack config --help >/dev/null 2>&1; then
    docker stack config -c packaging/swarm.yml >"$T/out" 2>"$T/err" || fail "swarm.yml: $(cat "$T/err")"
    grep -q 'mode: global' "$T/out" || fail "swarm.yml is not global: $(cat "$T/out")"
fi

# ---- on a plain Debian: in, at work, out
[ "${DOCKER_HOST:-unix:///var/run/docker.sock}" = unix:///var/run/docker.sock ] ||
    t_skip "installing it was not tried: containers of $DOCKER_HOST may have no way to Debian's packages"
t_need_docker
base=${LOG_CAPTURER_BASE:-log_capturer-base:bookworm}
[ "$(id -u)" = 0 ] || t_skip "not root: installing it was not tried"
docker image inspect "$base" >/dev/null 2>&1 || docker/base-image.sh
cat >"$T/deb/try.sh" <<'END'
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
find / -xdev -path /proc -prune -o -name '*log?capturer*' -print | sort >/tmp/before
apt-get install -q -y --no-install-recommends /deb/*.deb
log_capturer version
log_capturer check -c /etc/log_capturer/config.yaml
log_capturer run -c /etc/log_capturer/config.yaml --data-dir /tmp/spool --listen 127.0.0.1:0 2>/tmp/log &
pid=$!
tries=100
until grep -q listening /tmp/log; do
    tries=$((tries - 1))
    [ $tries -gt 0 ]
    sleep 0.1
done
kill $pid
wait $pid
echo changed >>/etc/log_capturer/config.yaml
dpkg -r log-capturer
grep -q changed /etc/log_capturer/config.yaml # the configuration stays until it is purged
[ ! -e /usr/bin/log_capturer ]
dpkg -P log-capturer
find / -xdev -path /proc -prune -o -name '*log?capturer*' -print | sort >/tmp/after
diff /tmp/before /tmp/after
echo installed, ran and removed
END
docker run --rm --network host --label "$TEST_LABEL=$RUN_ID" -v "$T/deb:/deb:ro" "$base" sh /deb/try.sh \
    >"$T/try.log" 2>&1 || { tail -n 40 "$T/try.log"; fail "on a plain Debian"; }
tail -n 1 "$T/try.log"
