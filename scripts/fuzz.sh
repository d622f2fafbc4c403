#!/bin/sh
# Fuzzes each target for some seconds: fuzz.sh [BUILD] [SECONDS] [TARGET...].
# What it finds worth keeping goes to BUILD-fuzz/corpus/TARGET; copy what belongs to the project to
# tests/fuzz/corpus/TARGET, where every test run replays it.  A crash leaves its input in BUILD-fuzz.
set -eu
cd "$(dirname "$0")/.."
build=${1:-build}-fuzz
seconds=${2:-60}
[ $# -le 2 ] && shift $# || shift 2
[ -f "$build/build.ninja" ] ||
    CC=clang meson setup "$build" -Db_sanitize=address,undefined -Db_lundef=false \
        -Doptimization=1 -Dc_args=-fsanitize=fuzzer-no-link >/dev/null
targets=${*:-$(cd tests/fuzz && ls fuzz_*.c | sed 's/fuzz_\(.*\)\.c/\1/')}
failed=
for target in $targets; do
    ninja -C "$build" --quiet "tests/fuzz/fuzz_$target"
    mkdir -p "$build/corpus/$target" "tests/fuzz/corpus/$target"
    echo "fuzz: $target for $seconds s"
    "$build/tests/fuzz/fuzz_$target" -max_total_time="$seconds" -timeout=10 -verbosity=0 \
        -print_final_stats=1 -artifact_prefix="$build/crash-$target-" \
        "$build/corpus/$target" "tests/fuzz/corpus/$target" >"$build/$target.log" 2>&1 || {
        tail -n 60 "$build/$target.log"
        failed="$failed $target"
    }
    grep 'number_of_executed_units\|new_units_added' "$build/$target.log" || true
done
[ -z "$failed" ] || { echo "fuzz: failed:$failed"; exit 1; }
