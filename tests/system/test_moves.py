"""Movable leases: asked, moved, refused, silent, and the daemon killed in between."""
import contextlib
import json
import os
import signal
import subprocess

import pytest

from conftest import BUILD, H100, until
from test_identity import as_user, open_to_all

QUICK = "moves: {max_per_request: 2, answer_within: 2s, pause: 1h}\n"
NO_PAUSE = "moves: {pause: 0s}\n"


def arrange(d):
    """Two GPUs: a movable 1g alone on one, a 4g that stays on the other; a 7g then waits."""
    small = d.lease("1g.10gb", movable=True)
    fill = [d.lease("4g.40gb"), d.lease("2g.20gb")]
    fixed = d.lease("4g.40gb")
    assert small["gpu_index"] != fixed["gpu_index"]
    for lease in fill:
        d.release(lease)
    return small, fixed


def ask_big(d, **fields):
    reply = d.request("POST", "/v1/leases", dict(fields, profile="7g.80gb"))
    assert reply.status == 202 and reply.json["state"] == "queued", reply
    return reply.json


def lease_of(d, lease):
    return d.get(f"/v1/leases/{lease['id']}").json


def wait_asked(d, lease):
    def look():
        now = lease_of(d, lease)
        return now if now["move"] and now["move"]["state"] == "asked" else None
    return until(look, f"{lease['id']} to be asked")


def wait_event(d, kind):
    """The last of its kind: what is shown by GET is a commit ahead of the events."""
    return until(lambda: d.events(kind), kind)[-1]


def answer(d, lease, word, **fields):
    return d.request("POST", f"/v1/leases/{lease['id']}/move", dict(fields, answer=word))


@pytest.fixture
def two(daemon, machine):
    made = []

    def make(config=None, **kw):
        d = daemon(machine(f"{H100}:2", **kw), config=config)
        d.runs = []
        made.append(d)
        return d
    yield make
    for proc in (proc for d in made for proc in d.runs):
        proc.kill()
        proc.wait()


def test_a_movable_lease_makes_room(two):
    d = two()
    small, _ = arrange(d)
    assert small["movable"] and small["move"] is None
    big = ask_big(d)
    asked = wait_asked(d, small)
    # until it is confirmed it has what it had, and both slices are there
    assert asked["mig_uuid"] == small["mig_uuid"] != asked["move"]["mig_uuid"]
    assert asked["move"]["request"] == big["id"] and asked["move"]["until"]
    assert asked["move"]["env"]["CUDA_VISIBLE_DEVICES"] == asked["move"]["mig_uuid"]
    shown = json.dumps(d.machine.show())
    assert small["mig_uuid"] in shown and asked["move"]["mig_uuid"] in shown
    event = wait_event(d, "lease.move_asked")
    assert event["lease"] == small["id"] and event["move"]["mig_uuid"] == asked["move"]["mig_uuid"]
    assert event["move"]["id"] == asked["move"]["id"] == f"{small['id']}.1"
    assert asked["move"]["from_mig_uuid"] == small["mig_uuid"]
    assert event["move"]["from_mig_uuid"] == small["mig_uuid"]
    assert event["move"]["env"]["NVIDIA_VISIBLE_DEVICES"] == asked["move"]["mig_uuid"]
    why = d.get(f"/v1/leases/{big['id']}/why").json
    assert small["id"] in why["reason"] and "asked" in why["reason"], why
    assert why["blocking"][0]["lease"] == small["id"] and why["blocking"][0]["until"]
    reply = answer(d, small, "confirm", mig_uuid=asked["move"]["mig_uuid"])
    assert reply.status == 200 and reply.json["mig_uuid"] == asked["move"]["mig_uuid"], reply
    assert d.wait_state(big, "active")["gpu_index"] == small["gpu_index"]
    moved = lease_of(d, small)
    assert moved["move"] is None and moved["granted_at"] == small["granted_at"]
    assert moved["env"]["CUDA_VISIBLE_DEVICES"] == asked["move"]["mig_uuid"]
    assert wait_event(d, "lease.moved")["move"]["mig_uuid"] == moved["mig_uuid"]
    assert small["mig_uuid"] not in json.dumps(d.machine.show())


def test_what_is_no_answer(two):
    d = two()
    small, fixed = arrange(d)
    assert answer(d, small, "confirm").json["reason"] == "no_move"
    assert answer(d, fixed, "confirm").json["reason"] == "no_move"
    assert answer(d, {"id": "l-999"}, "confirm").status == 404
    ask_big(d)
    wait_asked(d, small)
    for body in ({}, {"answer": "perhaps"}, {"answer": None}, {"answer": "confirm", "x": 1},
                 {"answer": "confirm", "mig_uuid": ""}, {"answer": "confirm", "mig_uuid": 1},
                 {"answer": "confirm", "move": ""}, {"answer": "confirm", "move": "l" * 48}):
        reply = d.request("POST", f"/v1/leases/{small['id']}/move", body)
        assert reply.status == 400, (body, reply)
    wrong = answer(d, small, "confirm", mig_uuid=small["mig_uuid"])
    assert wrong.status == 409 and wrong.json["reason"] == "no_move", wrong
    wrong = answer(d, small, "confirm", move=f"{small['id']}.2")
    assert wrong.status == 409 and wrong.json["reason"] == "no_move", wrong
    assert f"({small['id']}.1), not {small['id']}.2" in wrong.json["detail"], wrong
    assert lease_of(d, small)["mig_uuid"] == small["mig_uuid"]


def test_a_repeat_is_of_the_same_lease(two):
    """The key of one lease's answer is refused for another lease, with the same body, too."""
    d = two()
    small, fixed = arrange(d)
    ask_big(d)
    wait_asked(d, small)

    def confirm(lease):
        return d.request("POST", f"/v1/leases/{lease['id']}/move", {"answer": "confirm"},
                         headers={"Idempotency-Key": "k"})

    first = confirm(small)
    assert first.status == 200, first
    other = confirm(fixed)
    assert other.status == 409 and other.json["reason"] == "idempotency_conflict", other
    assert confirm(small).json == first.json


def test_a_refusal_and_silence_change_nothing(two):
    d = two(QUICK)
    small, _ = arrange(d)
    big = ask_big(d)
    new = wait_asked(d, small)["move"]["mig_uuid"]
    assert answer(d, small, "refuse").status == 200
    until(lambda: lease_of(d, small)["move"] is None, "the move to be over")
    assert lease_of(d, small)["mig_uuid"] == small["mig_uuid"]
    assert lease_of(d, big)["state"] == "queued"
    assert wait_event(d, "lease.move_cancelled")["move"]["mig_uuid"] == new
    assert small["id"] in d.get(f"/v1/leases/{big['id']}/why").json["reason"]
    # The other one is silent.
    d = two(QUICK)
    small, _ = arrange(d)
    big = ask_big(d)
    wait_asked(d, small)
    until(lambda: lease_of(d, small)["move"] is None, "the time to be over")
    assert lease_of(d, small)["mig_uuid"] == small["mig_uuid"]
    assert lease_of(d, big)["state"] == "queued"
    assert "did not answer" in wait_event(d, "lease.move_cancelled")["message"]


def test_processes_keep_the_old_slice(two):
    d = two()
    small, _ = arrange(d)
    load = d.machine.load(small["mig_uuid"])
    big = ask_big(d)
    wait_asked(d, small)
    assert answer(d, small, "confirm").status == 200
    until(lambda: "still run" in d.get(f"/v1/leases/{small['id']}/why").json["reason"],
          "the process to be seen")
    assert small["mig_uuid"] in json.dumps(d.machine.show())
    assert lease_of(d, big)["state"] == "queued"
    load.kill()
    load.wait()
    d.wait_state(big, "active")


@pytest.mark.parametrize("when", ["asked", "confirmed", "left"])
def test_kill_9_in_the_middle(two, when):
    d = two()
    small, _ = arrange(d)
    load = d.machine.load(small["mig_uuid"]) if when == "confirmed" else None
    big = ask_big(d)
    new = wait_asked(d, small)["move"]["mig_uuid"]
    wait_event(d, "lease.move_asked")  # it is on disk
    if when != "asked":
        assert answer(d, small, "confirm").status == 200
    d.kill()
    d.start()
    now = lease_of(d, small)
    if when == "asked":
        assert now["mig_uuid"] == small["mig_uuid"] and now["move"]["mig_uuid"] == new
        assert now["move"]["state"] == "asked" and lease_of(d, big)["state"] == "queued"
        assert answer(d, small, "confirm").status == 200
    elif when == "confirmed":
        assert now["mig_uuid"] == new and now["move"]["mig_uuid"] == small["mig_uuid"]
        load.kill()
        load.wait()
    d.wait_state(big, "active")
    assert lease_of(d, small)["mig_uuid"] == new
    assert small["mig_uuid"] not in json.dumps(d.machine.show())


def test_kill_9_while_the_new_slice_is_made(two):
    """With a driver that takes its time; however far it had come, it is begun again or gone on with."""
    d = two(NO_PAUSE, latency="typical")
    small, _ = arrange(d)
    for _ in range(3):
        big = ask_big(d)
        until(lambda: lease_of(d, small)["move"], "the move to begin")
        d.kill()
        d.start()
        assert lease_of(d, small)["mig_uuid"] == small["mig_uuid"]
        asked = wait_asked(d, small)
        shown = json.dumps(d.machine.show())
        assert small["mig_uuid"] in shown and asked["move"]["mig_uuid"] in shown
        d.request("DELETE", f"/v1/leases/{big['id']}")
        until(lambda: lease_of(d, small)["move"] is None, "the move to be called off")
    assert not d.events("slice.foreign")


def test_reboot_in_the_middle(two):
    d = two()
    small, _ = arrange(d)
    big = ask_big(d)
    wait_asked(d, small)
    d.kill()
    d.machine.reboot()
    d.machine.enable_mig()
    d.start()
    assert d.wait_state(small, "lost")["move"] is None
    d.wait_state(big, "active")


def test_the_fleet_is_brought_together(two):
    d = two("moves: {consolidate_per_hour: 3600}\n")
    small, fixed = arrange(d)
    asked = wait_asked(d, small)
    assert asked["move"]["request"] is None and asked["move"]["gpu_uuid"] == fixed["gpu_uuid"]
    assert answer(d, small, "confirm").status == 200
    until(lambda: lease_of(d, small)["move"] is None, "the old slice to be left")
    assert lease_of(d, small)["gpu_uuid"] == fixed["gpu_uuid"]


def test_the_command_line_answers(two):
    d = two()
    small, fixed = arrange(d)
    assert "not movable" in d.cli("move", fixed["id"], check=0).stdout
    assert "not asked" in d.cli("move", small["id"], check=0).stdout
    assert d.cli("move", small["id"], "--confirm").returncode == 5
    ask_big(d)
    new = wait_asked(d, small)["move"]["mig_uuid"]
    assert new in d.cli("move", small["id"], check=0).stdout
    assert f"tangram move {small['id']}" in d.cli("leases", small["id"], check=0).stdout
    assert f"tangram move {small['id']} {small['id']}.1 --confirm" in d.cli("move", small["id"]).stdout
    assert d.cli("move", small["id"], "--confirm", "--refuse").returncode == 2
    assert d.cli("move", small["id"], f"{small['id']}.1").returncode == 2
    assert d.cli("move", "l-999", "--confirm").returncode == 1
    for wrong in (f"{small['id']}.2", "MIG-x", small["mig_uuid"], "x", "\x1b[2J"):
        refused = d.cli("move", small["id"], wrong, "--confirm")
        assert refused.returncode in (2, 5) and "\x1b" not in refused.stderr, refused
        assert lease_of(d, small)["mig_uuid"] == small["mig_uuid"]
    assert "is asked to move to" in d.cli("move", small["id"], "l-9.9", "--confirm").stderr
    assert new in d.cli("move", small["id"], new, "--confirm", check=0).stdout


def test_a_late_answer_does_not_count_for_the_next_question(two):
    d = two(NO_PAUSE)
    small, _ = arrange(d)
    big = ask_big(d)
    first = wait_asked(d, small)["move"]["id"]
    d.request("DELETE", f"/v1/leases/{big['id']}")
    until(lambda: lease_of(d, small)["move"] is None, "the move to be called off")
    ask_big(d)
    second = wait_asked(d, small)["move"]["id"]
    assert first != second
    assert d.cli("move", small["id"], first, "--confirm").returncode == 5
    assert lease_of(d, small)["move"]["state"] == "asked"
    d.cli("move", small["id"], second, "--confirm", check=0)


def test_who_does_not_wait_is_told_that_asking_would_help(two):
    d = two()
    small, fixed = arrange(d)
    reply = d.request("POST", "/v1/leases", {"profile": "7g.80gb", "wait_s": -1})
    assert reply.status == 409 and reply.json["reason"] == "does_not_fit", reply
    assert "if it may wait, 1 holder is asked to move, for up to 60 s" in reply.json["detail"], reply
    assert lease_of(d, small)["move"] is None
    done = d.cli("run", "-p", "7g.80gb", "--", "true", check=3)
    assert "if it may wait" in done.stderr, done


def test_who_cancels_again_and_again_pesters_nobody(two):
    d = two()
    small, _ = arrange(d)
    for _ in range(5):
        big = ask_big(d)
        d.request("DELETE", f"/v1/leases/{big['id']}")
    big = ask_big(d)
    until(lambda: lease_of(d, small)["move"] is None, "nothing to be asked")
    assert len(d.events("lease.move_asked")) <= 1
    assert lease_of(d, big)["state"] == "queued"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become other users")
def test_other_tenants_cannot_answer(two):
    d = open_to_all(two())
    small, _ = arrange(d)
    ask_big(d)
    wait_asked(d, small)
    assert as_user(d, 60123, "move", small["id"], "--confirm").returncode == 4
    shown = json.loads(as_user(d, 60123, "leases", small["id"], "-o", "json").stdout)
    assert shown["move"]["env"] == {}
    assert lease_of(d, small)["mig_uuid"] == small["mig_uuid"]


def run_movable(d, hook, *command):
    env = dict(os.environ, TANGRAM_SOCKET=str(d.socket))
    proc = subprocess.Popen([BUILD / "tangram", "run", "-p", "1g.10gb", "--on-move", hook, "--",
                             *command], env=env, text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)
    d.runs.append(proc)
    until(lambda: any(l["state"] == "active" for l in d.get("/v1/leases").json["leases"]), "it")
    return proc


def wait_said(proc, text):
    """Until `tangram run` has said so: what it says and what the daemon notes race each other."""
    said = []
    os.set_blocking(proc.stderr.fileno(), False)

    def look():
        with contextlib.suppress(BlockingIOError):
            said.append(os.read(proc.stderr.fileno(), 65536).decode())
        return text in "".join(said)
    until(look, f"{text!r} on its standard error, not {said}")


def arrange_run(d, hook, *command):
    """As arrange(), with the 1g held by `tangram run`."""
    proc = run_movable(d, hook, *command)
    small = d.get("/v1/leases").json["leases"][0]
    fill = [d.lease("4g.40gb"), d.lease("2g.20gb")]
    fixed = d.lease("4g.40gb")
    assert small["movable"] and small["gpu_index"] != fixed["gpu_index"]
    for lease in fill:
        d.release(lease)
    return proc, small


def test_run_moves_with_a_hook(two, tmp_path):
    """The hook stops the command's work on the old slice and begins on the new one."""
    d = two()
    note = tmp_path / "note"
    hook = (f'echo "$TANGRAM_LEASE $TANGRAM_OLD_MIG_UUID $TANGRAM_NEW_MIG_UUID '
            f'$CUDA_VISIBLE_DEVICES $(id -u) $TANGRAM_MOVE_ID" > {note}; '
            'kill -USR1 $TANGRAM_COMMAND_PID')
    proc, small = arrange_run(d, hook, "sh", "-c",
                              'trap "echo asked" USR1; trap "exit 7" TERM; '
                              'while :; do sleep 0.05; done')
    big = ask_big(d)
    d.wait_state(big, "active")
    proc.send_signal(signal.SIGTERM)
    out, err = proc.communicate(timeout=20)
    assert out == "asked\n" and proc.returncode == 7, (out, err)
    words = note.read_text().split()
    assert words[0] == small["id"] and words[1] == small["mig_uuid"]
    assert words[2] == words[3] != words[1] and words[4] == str(os.getuid())
    assert words[5] == f"{small['id']}.1"
    assert wait_event(d, "lease.moved")["move"]["mig_uuid"] == words[2]


def test_run_stays_when_the_hook_says_so(two):
    d = two()
    proc, small = arrange_run(d, "exit 9", "sleep", "600")
    ask_big(d)
    wait_event(d, "lease.move_cancelled")
    assert lease_of(d, small)["mig_uuid"] == small["mig_uuid"]
    proc.send_signal(signal.SIGTERM)
    assert "stays where it is" in proc.communicate(timeout=20)[1]


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_run_ends_a_hook_that_takes_too_long(two, tmp_path):
    d = two(QUICK)
    note = tmp_path / "note"
    proc, small = arrange_run(d, f"sleep 601 & echo $! > {note}; wait", "sleep", "600")
    ask_big(d)
    wait_event(d, "lease.move_cancelled")
    d.wait_state(small, "active")
    assert lease_of(d, small)["mig_uuid"] == small["mig_uuid"]
    until(lambda: not is_alive(int(note.read_text())), "what the hook started to be gone")
    wait_said(proc, "did not end in time")


def test_run_hears_of_a_move_that_was_asked_while_the_daemon_restarted(two, tmp_path):
    d = two()
    gate = tmp_path / "gate"
    proc, small = arrange_run(d, f"test -e {gate}", "sleep", "600")
    gate.touch()
    big = ask_big(d)
    d.kill()  # at some point of it: making, asked or answered
    d.start()
    d.wait_state(big, "active")
    assert lease_of(d, small)["mig_uuid"] != small["mig_uuid"]
    proc.kill()
    proc.wait()
    d.wait_state(small, "released")


def arrange_gang(d):
    """Two GPUs, a movable 1g in the left half of each; the rest is free."""
    smalls, fill = [], []
    for _ in range(2):
        fill += [d.lease("3g.40gb")]
        smalls += [d.lease("1g.10gb", movable=True)]
        if len(smalls) == 1:
            fill += [d.lease("2g.20gb"), d.lease("1g.10gb")]
    for lease in fill:
        d.release(lease)
    assert smalls[0]["gpu_uuid"] != smalls[1]["gpu_uuid"]
    assert all(lease["placement"]["start"] < 4 for lease in smalls)
    return smalls


def test_a_gang_gets_all_of_its_windows(two):
    d = two("moves: {max_per_request: 2}\n")
    smalls = arrange_gang(d)
    gang = d.request("POST", "/v1/leases", {"profile": "4g.40gb", "count": 2}).json
    assert gang["state"] == "queued"
    asked = [wait_asked(d, small) for small in smalls]
    assert "GPUs 0 and 1" in d.get(f"/v1/leases/{gang['id']}/why").json["reason"]
    assert answer(d, smalls[0], "confirm", move=asked[0]["move"]["id"]).status == 200
    until(lambda: lease_of(d, smalls[0])["move"] is None, "the first to have moved")
    assert lease_of(d, gang)["state"] == "queued"
    late = d.request("POST", "/v1/leases", {"profile": "4g.40gb"})
    assert late.status == 202, late
    d.kill()
    d.start()
    assert answer(d, smalls[1], "confirm", move=asked[1]["move"]["id"]).status == 200
    assert len(d.wait_state(gang, "active")["slices"]) == 2
    assert lease_of(d, late.json)["state"] == "queued"


def test_a_plan_of_several_shows_all_places(two):
    d = two("moves: {max_per_request: 2}\n")
    smalls = arrange_gang(d)
    plan = d.request("POST", "/v1/plan", {"requests": [{"profile": "4g.40gb", "count": 2}]}).json
    assert not plan["fits"] and {move["lease"] for move in plan["moves"]} == {l["id"] for l in smalls}
    assert {room["gpu_uuid"] for room in plan["room"]} == {l["gpu_uuid"] for l in smalls}
    text = d.cli("plan", "4g.40gb:2", "--explain", check=3).stdout
    assert text.count("cut 4g.40gb at") == 2 and text.count("ask the holder") == 2, text


def test_which_of_several_is_said(daemon):
    d = daemon(config="moves: {max_per_request: 2}\n")
    half = d.lease("3g.40gb")
    pair = d.lease("1g.10gb", count=2, movable=True)
    d.release(half)
    d.request("POST", "/v1/leases", {"profile": "4g.40gb"})
    move = wait_asked(d, pair)["move"]
    assert move["from_mig_uuid"] in {s["mig_uuid"] for s in pair["slices"]}
    assert f"with its slice {move['from_mig_uuid']}" in d.cli("move", pair["id"], check=0).stdout
    assert answer(d, pair, "confirm", move=move["id"]).status == 200
    has = {s["mig_uuid"] for s in lease_of(d, pair)["slices"]}
    assert move["mig_uuid"] in has and move["from_mig_uuid"] not in has


def test_run_moves_one_of_several(two, tmp_path):
    d = two("moves: {max_per_request: 2}\n")
    note = tmp_path / "note"
    note.write_text("")
    half = d.lease("3g.40gb")
    hook = (f'echo "$TANGRAM_OLD_MIG_UUID $TANGRAM_NEW_MIG_UUID $CUDA_VISIBLE_DEVICES" >> {note}')
    env = dict(os.environ, TANGRAM_SOCKET=str(d.socket))
    d.runs.append(subprocess.Popen([BUILD / "tangram", "run", "-p", "1g.10gb", "-n", "2", "--on-move",
                                    hook, "--", "sleep", "600"], env=env))

    def find():
        return next((l for l in d.get("/v1/leases").json["leases"]
                     if l["count"] == 2 and l["state"] == "active"), None)
    had = {s["mig_uuid"] for s in until(find, "run")["slices"]}
    fill = d.lease("7g.80gb")
    d.release(half)
    big = d.request("POST", "/v1/leases", {"profile": "4g.40gb"}).json
    d.wait_state(big, "active")
    has = {s["mig_uuid"] for s in find()["slices"]}
    moves = [line.split() for line in note.read_text().splitlines()]
    assert moves and {old for old, _, _ in moves} <= had and {new for _, new, _ in moves} <= has
    assert all(new == cuda for _, new, cuda in moves)
    assert has - {new for _, new, _ in moves} == had - {old for old, _, _ in moves}
    d.release(fill)


def test_a_plan_shows_the_moves(two):
    d = two()
    small, fixed = arrange(d)
    plan = d.request("POST", "/v1/plan", {"requests": [{"profile": "7g.80gb"}]}).json
    assert not plan["fits"] and plan["possible"] and len(plan["moves"]) == 1, plan
    move = plan["moves"][0]
    assert move["lease"] == small["id"] and move["profile"] == "1g.10gb"
    assert move["from"]["gpu_uuid"] == small["gpu_uuid"]
    assert move["to"]["gpu_uuid"] == fixed["gpu_uuid"]
    assert [(room["gpu_uuid"], room["placement"]) for room in plan["room"]] == [
        (small["gpu_uuid"], {"start": 0, "size": 8})]
    shown = d.cli("plan", "-p", "7g.80gb", check=3).stdout
    assert "agree to move" in shown and small["id"] in shown and "Step by step" not in shown
    text = d.cli("plan", "-p", "7g.80gb", "--explain", check=3).stdout
    steps = text[text.index("Step by step"):]
    order = [steps.index(words) for words in ("make a 1g.10gb", "ask the holder of " + small["id"],
                                              "go when no process", "cut 7g.80gb")]
    assert order == sorted(order), steps
    assert lease_of(d, small)["move"] is None  # nothing was begun
    # What fits needs no moves, and what was planned is what happens.
    assert d.request("POST", "/v1/plan", {"requests": [{"profile": "1g.10gb"}]}).json["moves"] == []
    ask_big(d)
    asked = wait_asked(d, small)
    assert asked["move"]["placement"] == move["to"]["placement"]
    assert asked["move"]["gpu_uuid"] == move["to"]["gpu_uuid"]


def test_a_plan_without_moves(two):
    d = two("moves: {max_per_request: 0}\n")
    small, _ = arrange(d)
    plan = d.request("POST", "/v1/plan", {"requests": [{"profile": "7g.80gb"}]}).json
    assert plan["moves"] == [] and plan["room"] == [] and plan["moves_ms"] is None
    big = ask_big(d)
    assert small["id"] in d.get(f"/v1/leases/{big['id']}/why").json["reason"]
    assert lease_of(d, small)["move"] is None


def arrange_engines(d, lease_small):
    """One GPU; a movable 1g+me in the way of a 4g: its media engines cannot be had twice."""
    half = d.lease("3g.40gb")
    small = lease_small()
    assert small["placement"]["start"] < 4
    d.release(half)
    reply = d.request("POST", "/v1/leases", {"profile": "4g.40gb"})
    assert reply.status == 202, reply
    return small, reply.json


def test_break_before_make(daemon):
    d = daemon()
    small, big = arrange_engines(d, lambda: d.lease("1g.10gb+me", movable=True))
    asked = wait_asked(d, small)
    assert asked["move"]["stop"] and asked["move"]["mig_uuid"] is None and not asked["move"]["env"]
    assert wait_event(d, "lease.move_asked")["move"]["mig_uuid"] is None  # and it is on disk
    assert "asked to stop" in d.cli("move", small["id"], check=0).stdout
    d.kill()
    d.start()
    assert "another slice" in d.cli("move", small["id"], "--confirm", check=0).stdout
    d.wait_state(big, "active")
    again = d.wait_state(small, "active")
    assert again["placement"]["start"] >= 4 and again["granted_at"] == small["granted_at"]
    assert wait_event(d, "lease.stopped")["move"]["from_mig_uuid"] == small["mig_uuid"]
    assert wait_event(d, "lease.moved")["move"]["mig_uuid"] == again["mig_uuid"]


def test_who_stops_is_told_so(daemon):
    d = daemon()
    small, _ = arrange_engines(d, lambda: d.lease("1g.10gb+me", movable=True))
    wait_asked(d, small)
    wrong = answer(d, small, "confirm", mig_uuid="MIG-x")
    assert wrong.status == 409 and "asked to stop on MIG-" in wrong.json["detail"], wrong
    d.machine.load(small["mig_uuid"])
    d.cli("move", small["id"], "--confirm")
    assert lease_of(d, small)["move"]["state"] == "leaving"
    assert lease_of(d, small)["move"]["confirmed"]
    assert f"{small['id']} is to stop; its slice" in d.cli("move", small["id"]).stdout


def test_a_plan_shows_who_has_to_stop(daemon):
    d = daemon(config=NO_PAUSE)
    small, big = arrange_engines(d, lambda: d.lease("1g.10gb+me", movable=True))
    wait_asked(d, small)
    d.request("DELETE", f"/v1/leases/{big['id']}")
    until(lambda: lease_of(d, small)["move"] is None, "it to be called off")
    plan = d.request("POST", "/v1/plan", {"requests": [{"profile": "4g.40gb"}]}).json
    assert plan["moves"][0]["stops"] and plan["moves"][0]["lease"] == small["id"]
    assert "to stop" in d.cli("plan", "-p", "4g.40gb", "--explain", check=3).stdout


def test_run_stops_and_comes_back(daemon, tmp_path):
    d = daemon()
    d.runs = []
    note = tmp_path / "note"
    note.write_text("")
    procs = []

    def start():
        env = dict(os.environ, TANGRAM_SOCKET=str(d.socket))
        hook = f'echo "$TANGRAM_MOVE $TANGRAM_OLD_MIG_UUID $TANGRAM_NEW_MIG_UUID" >> {note}'
        procs.append(subprocess.Popen([BUILD / "tangram", "run", "-p", "1g.10gb+me", "--on-move",
                                       hook, "--", "sleep", "600"], env=env))
        return until(lambda: next((l for l in d.get("/v1/leases").json["leases"]
                                   if l["movable"] and l["state"] == "active"), None), "run")
    try:
        small, big = arrange_engines(d, start)
        d.wait_state(big, "active")
        until(lambda: "moved" in note.read_text(), "the second hook")
        now = lease_of(d, small)
        stop, moved = note.read_text().splitlines()
        assert stop.split() == ["stop", small["mig_uuid"]]
        assert moved.split() == ["moved", small["mig_uuid"], now["mig_uuid"]]
    finally:
        for proc in procs:
            proc.kill()
            proc.wait()
