#!/bin/sh
# make run: starts tangramd and shows what it does.
#
# On a machine with GPUs that can do MIG it starts on them and only looks; otherwise (or with
# SIMULATE=MODEL:N) on a simulated machine, where it plays a short story (scripts/story.sh).  The
# daemon is left running; running this again replaces it.
set -eu
cd "$(dirname "$0")/.."
build=$(cd "${1:-build}" && pwd)
dir=${TANGRAM_RUN_DIR:-$build/run} # state, log, pid; the tests have one of their own
log=$dir/tangramd.log
mkdir -p "$dir"

say() { printf 'tangram: %s\n' "$*"; }

# Ends the daemon of an earlier run, and only that: the process must be this very program.
stop_earlier() {
    [ -f "$dir/pid" ] || return 0
    old=$(cat "$dir/pid")
    case "$(readlink "/proc/$old/exe" 2>/dev/null || true)" in
    "$build/tangramd" | "$build/tangramd (deleted)") ;;
    *) return 0 ;;
    esac
    kill "$old" 2>/dev/null || return 0
    i=0
    while [ -d "/proc/$old" ] && [ $i -lt 100 ]; do
        sleep 0.1
        i=$((i + 1))
    done
}

# The default socket, so that "tangram status" finds it; our own when somebody answers there or
# when it cannot be made.
choose_socket() {
    if [ -n "${TANGRAM_RUN_DIR:-}" ]; then
        socket=$dir/sock
        return
    fi
    if [ "$(id -u)" -eq 0 ]; then
        socket=/run/tangram/tangram.sock
    else
        home=${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)} # as the programs look for it
        socket=${XDG_RUNTIME_DIR:-$home/.local/state}/tangram/tangram.sock
    fi
    if "$build/tangram" --socket "$socket" status >/dev/null 2>&1 ||
        ! mkdir -p "$(dirname "$socket")" 2>/dev/null || [ ! -w "$(dirname "$socket")" ]; then
        socket=$dir/sock
    fi
}

# Starts tangramd with the given options and waits until it answers.
start() {
    : >"$log"
    setsid "$build/tangramd" --config "$dir/tangram.yaml" --socket "$socket" "$@" \
        >>"$log" 2>&1 </dev/null &
    pid=$!
    echo "$pid" >"$dir/pid"
    i=0
    until "$build/tangram" --socket "$socket" status >/dev/null 2>&1; do
        if ! kill -0 "$pid" 2>/dev/null || [ $i -ge 150 ]; then
            return 1
        fi
        sleep 0.1
        i=$((i + 1))
    done
}

has_mig_gpu() {
    "$build/tangram" --socket "$socket" gpus -o csv --no-header |
        awk -F, '$3 != "not capable" { found = 1 } END { exit !found }'
}

write_config() {
    cat >"$dir/tangram.yaml" <<END
# Written by scripts/run.sh.  packaging/tangram.yaml shows every key.
tenants:
  - name: $(id -un)
    users: [$(id -u)]
    role: operator
END
    [ -z "${1:-}" ] || cat >>"$dir/tangram.yaml" <<END
listen: 127.0.0.1:$1
gpus:
  - mig_mode: on-demand
timing: {scan_interval: 1s} # the pictures of the story show processes as they come
END
}

# However the story ends, somebody has to know that the daemon is still there.
say_goodbye() {
    [ -z "$pid" ] || ! kill -0 "$pid" 2>/dev/null ||
        say "the daemon runs on (log $log). To end it: kill $pid" >&2
}

next_commands() {
    t=$build/tangram
    case $t in "$PWD"/*) t=${t#"$PWD"/} ;; esac
    printf '\nThe daemon runs on (process %s, log %s). Try next:\n\n' "$pid" "$log"
    [ "$socket" != "$dir/sock" ] || printf '  export TANGRAM_SOCKET=%s\n' "$socket"
    printf '  %-57s # %s\n' "$t status -w" "the picture, live" \
        "$t run -p 1g --wait 1m -- env | grep VISIBLE" "a program on a slice" \
        "$t lease -p memory=12GiB --wait 1m" "by memory instead of by profile" \
        "$t profiles" "what can be asked for" \
        "$t plan 3g:2 1g" "would it fit?" \
        "$t events -f" "what happens" \
        "$t help" "all commands"
    printf '\nTo end it: kill %s\n' "$pid"
}

start_real() {
    [ -z "${SIMULATE:-}" ] && [ -e /dev/nvidiactl ] || return 1
    write_config
    say "looking at the GPUs of this machine"
    if start --state "$dir/state-real" && has_mig_gpu; then
        return 0
    fi
    kill "$pid" 2>/dev/null || true
    return 1
}

start_simulated() {
    # Any free port, for the two tenants of the story.
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])')
    write_config "$port"
    rm -rf "$dir/state"
    start --state "$dir/state" --simulate "${SIMULATE:-H100-SXM5-80GB:2}" || {
        say "tangramd did not start:" >&2
        cat "$log" >&2
        exit 1
    }
}

pid=
trap say_goodbye EXIT
trap 'exit 130' INT TERM
stop_earlier
choose_socket
if start_real; then
    say "tangramd runs on this machine's GPUs (the story is played on simulated ones only:"
    say "make run SIMULATE=H100-SXM5-80GB:2)."
    echo
    "$build/tangram" --socket "$socket" status
    "$build/tangram" --socket "$socket" doctor || true
else
    start_simulated
    say "no GPU that can do MIG is here: this is a simulated machine with" \
        "${SIMULATE:-two H100 (H100-SXM5-80GB:2)}."
    say "Everything but the GPUs is real: the daemon only sees NVIDIA's management library."
    case ${SIMULATE:-H100-SXM5-80GB:2} in
    H100-SXM5-80GB:2) scripts/story.sh "$build" "$dir" "$socket" "$port" ;;
    *) "$build/tangram" --socket "$socket" status ;;
    esac
fi
trap - EXIT
next_commands
