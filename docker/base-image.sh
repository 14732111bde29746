#!/usr/bin/env bash
# base-image.sh: makes the base image of docker/Dockerfile from Debian packages, where no registry can be reached,
# and names it in .env, so that `docker compose up --build` takes it. Needs root and debootstrap (installed where it
# is missing). Does nothing when the image is there; --force makes it anew.
#
#   LOG_CAPTURER_BASE   name of the image (log_capturer-base:bookworm)
#   MIRROR              Debian mirror; the one that apt uses here, or Debian's own
#   SECURITY_MIRROR     the same for security updates
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
suite=bookworm
image=${LOG_CAPTURER_BASE:-log_capturer-base:$suite}

# mirror_of RELEASE: where apt takes that release's packages from, on this machine
mirror_of() {
    # shellcheck disable=SC2016 # the fields are apt's
    apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        awk -v release="$1" '$1 == release && $2 == "main" { sub("/+$", "", $3); print $3; exit }'
}

if [ "${1:-}" != --force ] && docker image inspect "$image" >/dev/null 2>&1; then
    LOG_CAPTURER_BASE=$image "$top/docker/env.sh"
    exit 0
fi
if [ "$(id -u)" != 0 ]; then
    echo "base-image: not root; debootstrap needs root" >&2
    exit 1
fi
"$top/tools/install-deps.sh" image
mirror=${MIRROR:-$(mirror_of $suite)}
mirror=${mirror:-http://deb.debian.org/debian}
security=${SECURITY_MIRROR:-$(mirror_of $suite-security)}
security=${security:-http://deb.debian.org/debian-security}

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
root=$work/root
echo "base-image: debootstrap of $suite from $mirror"
PATH=$PATH:/usr/sbin:/sbin
if ! debootstrap --variant=minbase --include=ca-certificates $suite "$root" "$mirror" >"$work/log" 2>&1; then
    tail -n 20 "$work/log" >&2
    exit 1
fi
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale}/*
rm -f "$root/etc/apt/sources.list"
cat >"$root/etc/apt/sources.list.d/debian.sources" <<END
Types: deb
URIs: $mirror
Suites: $suite $suite-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: $security
Suites: $suite-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
tar -C "$root" --one-file-system -c . | docker import --change 'CMD ["bash"]' - "$image" >/dev/null
echo "base-image: made $image"
LOG_CAPTURER_BASE=$image "$top/docker/env.sh"
