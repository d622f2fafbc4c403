#!/bin/bash
# The story of make run: story.sh BUILD DIR SOCKET PORT, on a fresh simulated machine with two H100.
#
# Two tenants, vision and nlp, share it.  They come over TCP with tokens, because everybody who
# comes over the unix socket is the user that they are.
set -euo pipefail
build=$1
work=$2 # where scripts/run.sh keeps the daemon's state
socket=$3
port=$4
machine=$work/state/machine
here=$build/tangram
export TANGRAM_SOCKET=$socket
unset TANGRAM_URL TANGRAM_TOKEN
load=

bold= plain= dim=
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'
fi

fail() {
    echo "tangram: the story broke off: $*" >&2
    exit 1
}

cleanup() {
    [ -z "$load" ] || kill "$load" 2>/dev/null || true
}
trap cleanup EXIT

chapter() {
    printf '\n%s── %s%s\n' "$bold" "$1" "$plain"
    shift
    printf '   %s\n' "$@"
    echo
}

# as TENANT ARGS: tangram as that tenant.
as() {
    local token=${1}_token
    TANGRAM_URL=http://127.0.0.1:$port TANGRAM_TOKEN=${!token} "$here" "${@:2}"
}

# Shows the command line, then runs it.
tell() {
    printf '%s%s$ tangram %s%s\n' "$bold" "$1" "${*:2}" "$plain"
    as "$@"
}

# lease_for TENANT PROFILE NAME: leases quietly and says in one line what came of it.
lease_for() {
    printf '%s%s$ tangram lease -p %s --name %s --wait 1m%s\n' "$bold" "$1" "$2" "$3" "$plain"
    as "$1" lease -p "$2" --name "$3" --wait 1m -o json >"$work/$3.json" 2>"$work/$3.err" ||
        fail "$(cat "$work/$3.err")"
    place "$3"
}

# place NAME: where the lease of that name has got its slice.
place() {
    "$here" leases -o csv --no-header |
        awk -F, -v n="$1" '$5 == n { print "   " $1 " has " $3 " on " $6 }'
}

# member FILE KEY: a top-level text of a JSON file.
member() {
    python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$@"
}

picture() {
    echo
    "$here" status | sed '1,2d'
}

vision_token=$("$here" token create --tenant vision --name story 2>/dev/null)
nlp_token=$("$here" token create --tenant nlp --name story 2>/dev/null)

chapter "1. Two tenants share two GPUs" \
    "Nobody has cut anything in advance: slices are made when they are asked for."
lease_for vision 7g.80gb big
lease_for vision 4g.40gb train
for name in a b c; do
    lease_for nlp 1g.10gb "$name"
done

# A process on the 4g slice, as a CUDA program would be; it must not notice what follows.
train=$(member "$work/train.json" mig_uuid)
TANGRAM_SIM=$machine "$build/tangram-sim" load --device "$train" --sm 90 --memory 30GiB \
    >"$work/load.log" 2>&1 &
load=$!
# Until it is seen (or is not, which the checks below find out).
for _ in $(seq 100); do
    "$here" slices -o csv --no-header | grep -q ",$(member "$work/train.json" id),[1-9]" && break
    sleep 0.1
done
printf '%s\n' "   vision trains on its 4g slice (process $load)."
picture

chapter "2. A re-cut beside a running workload" \
    "nlp gives two slices back. They stay, idle, for the next who wants just that ..."
# Those whose place a 2g can have: the ones below slot 6 of the right half.
give=$(as nlp leases -o csv --no-header | awk -F, '$6 ~ / [45]:1$/ { print $1 }')
# shellcheck disable=SC2086
tell nlp release $give
picture
printf '   %s\n' "... but now nlp needs a bigger one. The idle ones go, a 2g is made in their place," \
    "while the training beside them runs on." ""
lease_for nlp 2g.20gb bigger
kill -0 "$load" 2>/dev/null || fail "the workload ended: $(cat "$work/load.log")"
after=$("$here" slices -o wide --no-header | grep -c "$train") || true
[ "$after" = 1 ] || fail "the training's slice has changed"
printf '   %s\n' "The training still runs, on the same slice $train."
picture

chapter "3. A wait with its reason" \
    "nlp wants 3g.40gb. There is no room, and the request says so while it waits."
printf '%snlp$ tangram lease -p 3g.40gb --name eval --wait 10m &%s\n' "$bold" "$plain"
as nlp lease -p 3g.40gb --name eval --wait 10m -o json >"$work/eval.json" 2>"$work/eval.err" &
waiter=$!
for _ in $(seq 100); do
    id=$("$here" queue -o csv --no-header | cut -d, -f2)
    [ -z "$id" ] || break
    sleep 0.1
done
[ -n "$id" ] || fail "the request did not wait: $(cat "$work/eval.err")"
tell nlp why "$id"
picture

chapter "4. A release lets it through" "vision gives its whole-GPU slice back."
tell vision release "$(member "$work/big.json" id)"
wait "$waiter" || fail "$(cat "$work/eval.err")"
printf '   %s\n' "At once $id is granted:"
place eval
picture

printf '\n%s── That was the story.%s %sThe training process ends now; the leases stay as they are.%s\n' \
    "$bold" "$plain" "$dim" "$plain"
