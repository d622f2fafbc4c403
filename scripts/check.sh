#!/bin/sh
# Everything that reads the code instead of running it; each step prints only what it dislikes.
set -eu
cd "$(dirname "$0")/.."
build=${1:-build}
scripts/build.sh "$build"
scripts/check-rooms.py
scripts/check-sizes.py
echo "check: ok"
