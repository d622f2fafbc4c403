#!/bin/sh
# Reads the code in every way that needs no GPU and no network: check.sh [BUILD].
# A step prints its name and time; what it says is shown only when it fails.  All steps run, also
# after a failure; the exit status is that of the worst.
set -u
cd "$(dirname "$0")/.." || exit 1
build=${1:-build}
failed=
out=$(mktemp)
trap 'rm -f "$out"' EXIT

step() {
    name=$1
    shift
    from=$(date +%s)
    if "$@" >"$out" 2>&1; then
        echo "check: $name: ok ($(($(date +%s) - from)) s)"
    else
        cat "$out"
        echo "check: $name: FAILED ($(($(date +%s) - from)) s)"
        failed="$failed $name"
    fi
}

check_scripts() {
    status=0
    for f in scripts/*.sh; do
        sh -n "$f" || status=1
    done
    bash -n .ci/run || status=1
    git ls-files '*.py' | python3 -c '
import ast, sys
for path in sys.stdin.read().split():
    ast.parse(open(path).read(), path)' || status=1
    for f in scripts/*.sh scripts/*.py .ci/run; do
        [ -x "$f" ] || { echo "$f is not executable"; status=1; }
    done
    return $status
}

build_clang() {
    CC=clang scripts/build.sh "$build-clang"
}

step rooms scripts/check-rooms.py
step sizes scripts/check-sizes.py
step words scripts/check-words.py
step scripts check_scripts
step "gcc build" scripts/build.sh "$build"
step "clang build" build_clang
step "gcc -fanalyzer" scripts/analyze.py --build "$build" gcc
step "clang-tidy" scripts/analyze.py --build "$build" clang-tidy
step "sanitizers and coverage" scripts/sanitize.sh "$build" quick
[ ! -f "$build-asan/coverage.txt" ] || cat "$build-asan/coverage.txt"
if [ -n "$failed" ]; then
    echo "check: failed:$failed"
    exit 1
fi
echo "check: ok"
