#!/bin/sh
# Configures once and builds: build.sh DIR [MESON OPTIONS].
set -eu
cd "$(dirname "$0")/.."
dir=$1
shift
[ -f "$dir/build.ninja" ] || meson setup "$dir" "$@" >"/tmp/tangram-meson.$$" 2>&1 || {
    cat "/tmp/tangram-meson.$$"
    exit 1
}
rm -f "/tmp/tangram-meson.$$"
ninja -C "$dir" --quiet
# The simulated driver is found at build/sim/ (docs/simulator.md).
[ ! -d "$dir/src/sim" ] || ln -sfn src/sim "$dir/sim"
