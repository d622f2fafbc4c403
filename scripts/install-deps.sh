#!/bin/sh
# Installs the Debian packages that a step needs: install-deps.sh build|test|check.
# Says so before it does; does nothing (and needs no root) when all of them are there.
set -eu

# libcmocka is here, too: what Meson does not find when it first looks, it would not build later.
build="gcc libc6-dev make meson ninja-build pkg-config libsystemd-dev
 libjansson-dev libyaml-dev libsqlite3-dev libssl-dev libcurl4-openssl-dev
 uthash-dev libcmocka-dev scdoc python3"
test="$build python3-pytest python3-hypothesis python3-yaml util-linux procps"
check="$test clang clang-tidy pmccabe gcovr git"

case "${1:-}" in
build) want=$build ;;
test) want=$test ;;
check) want=$check ;;
*) echo "usage: install-deps.sh build|test|check" >&2; exit 2 ;;
esac

missing=
for p in $want; do
    case "$(dpkg-query -W -f='${Status}' "$p" 2>/dev/null || true)" in
    "install ok installed") ;;
    *) missing="$missing $p" ;;
    esac
done
[ -n "$missing" ] || exit 0

echo "tangram: installing Debian packages:$missing"
as_root=
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
        echo "tangram: please install them as root: apt-get install$missing" >&2
        exit 1
    }
    as_root=sudo
fi
# shellcheck disable=SC2086
{
    $as_root apt-get update -qq
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        $missing >/dev/null
}
