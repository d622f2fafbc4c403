#!/bin/sh
# Runs the suite under the sanitizers: sanitize.sh [BUILD] [asan|tsan|quick].
#
# BUILD-asan: address, leak and undefined-behaviour sanitizer over everything but tests/clients
# (foreign programs cannot load an instrumented library).  The same run counts the lines that were
# executed: BUILD-asan/coverage.txt.
# `quick` leaves the system tests out: that is the part of `make check`.
# BUILD-tsan: thread sanitizer over everything; `quick`: over the unit tests of what has threads.
# A report from any process fails the run, also from a daemon whose exit status nobody looked at.
set -u
cd "$(dirname "$0")/.." || exit 1
build=${1:-build}
what=${2:-all}
status=0
reports=$(mktemp -d)
chmod 1777 "$reports" # some tests run a program as another user
trap 'rm -rf "$reports"' EXIT

show_reports() {
    for f in "$reports"/*; do
        [ -s "$f" ] || continue
        echo "--- sanitizer report $(basename "$f")"
        head -n 80 "$f"
        status=1
    done
    rm -rf "${reports:?}"/*
}

run_asan() {
    scripts/build.sh "$build-asan" -Db_sanitize=address,undefined -Db_coverage=true \
        -Db_lundef=false -Doptimization=1 -Dwerror=false || return 1
    find "$build-asan" -name '*.gcda' -delete
    ASAN_OPTIONS="log_path=$reports/asan:detect_stack_use_after_return=1:strict_string_checks=1" \
    UBSAN_OPTIONS="log_path=$reports/ubsan:print_stacktrace=1:halt_on_error=1" \
    LSAN_OPTIONS="suppressions=$PWD/tests/lsan.supp:print_suppressions=0" \
    TANGRAM_PRELOAD=$(gcc -print-file-name=libasan.so) \
        scripts/run-tests.py --build "$build-asan" --no-clients --timeout 1800 \
        $asan_tests || status=1
    show_reports
    scripts/coverage.py "$build-asan" >"$build-asan/coverage.txt" || status=1
}

run_tsan() {
    scripts/build.sh "$build-tsan" -Db_sanitize=thread -Db_lundef=false -Doptimization=1 -Dwerror=false || return 1
    TSAN_OPTIONS="log_path=$reports/tsan:halt_on_error=0:second_deadlock_stack=1:suppressions=$PWD/tests/tsan.supp" \
    TANGRAM_PRELOAD=$(gcc -print-file-name=libtsan.so) \
        scripts/run-tests.py --build "$build-tsan" --no-clients --timeout 1800 \
        $tsan_tests || status=1
    show_reports
}

asan_tests=
tsan_tests=
case "$what" in
quick)
    asan_tests='--only unit'
    tsan_tests='--only unit --match unit/test_(driver|store|sim|http|api)'
    run_asan || status=1
    run_tsan || status=1
    ;;
asan) run_asan || status=1 ;;
tsan) run_tsan || status=1 ;;
all)
    run_asan || status=1
    run_tsan || status=1
    ;;
*)
    echo "usage: sanitize.sh [BUILD] [asan|tsan|quick]" >&2
    exit 2
    ;;
esac
exit $status
