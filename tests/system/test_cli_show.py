"""Pictures, plans, files and events, as a stand-in for the daemon tells them."""
import datetime
import json
import random
import re
import signal
import subprocess
import threading
import time

import pytest

from conftest import until
from fake_cli import BUILD, env_for, fake, lease, one_line, PAST, run, TANGRAM
from fake_daemon import ROOT, gpu, slice_


def test_the_picture_of_every_geometry(fake):
    gpus = [gpu(0, slices=[slice_("4g.40gb", 0, 4, 4, tenant="vision", lease="l-3"),
                           slice_("1g.10gb+me", 5, 1, 1, state="idle")]),
            gpu(1, 4, 4, [slice_("2g.12gb", 0, 2, 2, tenant="nlp", lease="l-4")], "NVIDIA A30"),
            gpu(2, 12, 4, [slice_("2g.48gb", 6, 6, 2, state="foreign")], "RTX PRO 6000")]
    fake.routes.update({("GET", "/v1"): ROOT, ("GET", "/v1/gpus"): {"gpus": gpus},
                        ("GET", "/v1/leases"): {"leases": []},
                        ("GET", "/v1/queue"): {"queue": []}})
    lines = run(fake, "status").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert "comp │████████ ████████ ████████ ████████│░░░░░░░░│▒▒▒▒▒▒▒▒│░░░░░░░░         │" in lines
    assert "mem  │▓▓▓▓▓▓▓▓ ▓▓▓▓▓▓▓▓ ▓▓▓▓▓▓▓▓ ▓▓▓▓▓▓▓▓│░░░░░░░░│▒▒▒▒▒▒▒▒│" \
           "░░░░░░░░ ░░░░░░░░│" in lines
    assert "comp │" + "█" * 17 + " " + "█" * 17 + "│" + "░" * 17 + " " + "░" * 17 + "│" in lines
    assert "mem  │" + " ".join(["░" * 5] * 6) + "│" + " ".join(["╱" * 5] * 6) + "│" in lines
    assert any("1g+me" in line and "4g.40gb" in line for line in lines)
    assert "2 of 7 compute free" in lines[2]
    plain = run(fake, "--ascii", "status").stdout
    assert plain.isascii() and "\x1b" not in plain
    assert max(map(len, plain.splitlines())) <= 80
    colored = run(fake, "--color=always", "status").stdout
    assert "\x1b[" in colored
    assert all(len(line) <= 50 for line in run(fake, "status", COLUMNS="50").stdout.splitlines()
               if line[:5].strip() in ("", "comp", "mem") and "│" in line)


@pytest.mark.parametrize("columns", [80, 57, 200])
def test_pictures_of_random_machines_are_whole(fake, columns):
    """Boxes line up, and every slot is shown once with what is there."""
    seed = random.randrange(10**6)
    dice = random.Random(seed)
    states = {"leased": "▓", "idle": "▒", "foreign": "╱", "quarantined": "╳", None: "░"}
    gpus, expected = [], []
    for index in range(40):
        slots, compute = dice.choice([(8, 7), (4, 4), (12, 4), (2, 2), (1, 1), (16, 14)])
        slices, row, at = [], "", 0
        while at < slots:
            size = dice.randint(1, slots - at)
            state = dice.choice(list(states))
            if state:
                slices.append(slice_("1g.10gb+me", at, size, max(1, size * compute // slots),
                                     state=state, tenant="müller" if state == "leased" else None,
                                     lease="l-123456" if state == "leased" else None,
                                     processes=dice.randint(0, 2)))
            row += states[state] * size
            at += size
        dice.shuffle(slices)
        gpus.append(gpu(index, slots, compute, slices))
        expected.append(row)
    fake.routes.update({("GET", "/v1"): ROOT, ("GET", "/v1/gpus"): {"gpus": gpus},
                        ("GET", "/v1/leases"): {"leases": []},
                        ("GET", "/v1/queue"): {"queue": []}})
    done = run(fake, "status", COLUMNS=str(columns))
    assert done.returncode == 0, done
    blocks, seen = done.stdout.split("GPU ")[1:41], []
    for block in blocks:
        box = [line for line in block.splitlines()[1:] if line[5:6] in "┌│└" and line[5:6]]
        assert len({len(line) for line in box}) == 1 and len(box[0]) <= columns, (seed, block)
        memory, = (line for line in box if line.startswith("mem"))
        cells = memory[6:-1].replace("│", " ").split()
        assert all(len(set(cell)) == 1 for cell in cells), (seed, block)
        seen.append("".join(cell[0] for cell in cells))
    assert seen == expected, seed


def test_errors_in_a_file_have_line_and_column(fake, tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("version: v1\nmig-configs:\n  x:\n    - devices: all\n"
                    "      mig-enabled: true\n      mig-devices:\n        9g.9gb: 1\n")
    fake.routes[("PUT", "/v1/layout")] = (422, {
        "status": 422, "reason": "unknown_profile", "detail": "no GPU here has a 9g.9gb",
        "pointer": "/mig-configs/x/0/mig-devices/9g.9gb"})
    done = run(fake, "apply", "-f", str(file), "-c", "x")
    assert done.returncode == 1
    assert done.stderr == f"tangram: {file}:7:17: no GPU here has a 9g.9gb\n"
    assert fake.requests[0]["body"]["config"] == "x"
    file.write_text("version: v1\n  bad: [\n")
    done = run(fake, "apply", "-f", str(file))
    assert done.returncode == 1 and f"{file}:2:" in one_line(done.stderr)
    missing = run(fake, "diff", "-f", str(tmp_path / "none"))
    assert missing.returncode == 1 and "No such file" in one_line(missing.stderr)


CHANGES = {"changes": True, "operation": "op-3", "gpus": [
    {"gpu_index": 0, "mig_mode": None, "keep": [{"profile": "4g.40gb",
                                                 "placement": {"start": 0, "size": 4}}],
     "create": [{"profile": "2g.20gb", "placement": {"start": 4, "size": 2}}],
     "destroy": [{"profile": "1g.10gb", "placement": {"start": 4, "size": 1}}]}]}


def test_a_file_without_end_is_refused(fake):
    for path in ("/dev/zero", "-"):
        with open("/dev/zero", encoding="ascii") as zero:
            done = subprocess.run([TANGRAM, "--socket", fake.path, "diff", "-f", path], stdin=zero,
                                  capture_output=True, text=True, timeout=30, env=env_for(),
                                  check=False)
        assert done.returncode == 1 and "larger than" in one_line(done.stderr)


def test_apply_follows_its_operation(fake):
    states = iter(["running", "done", "running", "failed"])
    fake.routes[("PUT", "/v1/layout")] = (202, CHANGES)
    fake.routes[("GET", "/v1/operations/op-3")] = lambda r: {
        "id": "op-3", "state": next(states), "done": 1, "total": 2, "error": "the driver says no"}
    text = "version: v1\nmig-configs:\n  x: []\n"
    done = run(fake, "apply", "-f", "-", input=text)
    assert done.returncode == 0 and done.stdout.endswith("Done.\n")
    assert "+ create  2g.20gb at 4:2" in done.stdout and "4g.40gb at 0:4" in done.stdout
    failed = run(fake, "apply", "-f", "-", input=text)
    assert failed.returncode == 1 and "the driver says no" in one_line(failed.stderr)
    diff = run(fake, "diff", "-f", "-", input=text)
    assert diff.returncode == 3 and "2g.20gb at 4:2" in diff.stdout
    fake.routes[("PUT", "/v1/layout")] = {"changes": False, "operation": None, "gpus": []}
    same = run(fake, "diff", "-f", "-", input=text)
    assert same.returncode == 0 and same.stdout == ""


def test_an_apply_that_is_interrupted_says_that_it_goes_on(fake, tmp_path):
    asked = threading.Event()

    def wait(_):
        asked.set()
        time.sleep(2)
        return {"id": "op-3", "state": "running", "done": 0, "total": 2}
    fake.routes[("PUT", "/v1/layout")] = (202, CHANGES)
    fake.routes[("GET", "/v1/operations/op-3")] = wait
    (tmp_path / "c.yaml").write_text("version: v1\nmig-configs:\n  x: []\n")
    child = subprocess.Popen([TANGRAM, "--socket", fake.path, "apply", "-f",
                              str(tmp_path / "c.yaml")], env=env_for(), stdout=subprocess.DEVNULL,
                             stderr=subprocess.PIPE, text=True)
    assert asked.wait(10)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=10)
    assert child.returncode == 130 and "op-3 goes on without this command" in err


def test_what_has_ended_does_not_expire(fake):
    soon = "2099-01-01T00:00:00.000Z"
    fake.routes[("GET", "/v1/leases")] = {"leases": [
        lease("l-1", expires_at=soon), lease("l-2", "released", expires_at=soon, ended_at=PAST)]}
    rows = run(fake, "leases", "--all", "-o", "csv").stdout.splitlines()
    assert ",in " in rows[1] and ",in " not in rows[2] and PAST in rows[2]


def test_plan(fake):
    fake.routes[("POST", "/v1/plan")] = {"fits": False, "reason": "4g.40gb is in use",
                                         "steps": [], "blocking": []}
    done = run(fake, "plan", "-p", "2g.20gb", "1g.10gb:3")
    assert done.returncode == 3 and "does not fit now: 4g.40gb is in use" in done.stdout
    assert fake.requests[0]["body"] == {"requests": [{"profile": "2g.20gb", "count": 1},
                                                     {"profile": "1g.10gb", "count": 3}]}


@pytest.mark.parametrize("proven,words", [(True, "Proven: no other way"),
                                          (False, "Not proven to be the best: it takes 3 empty "
                                                  "GPUs, and at least 2 are needed."), (None, "")])
def test_a_plan_says_how_good_it_is(fake, proven, words):
    fake.routes[("POST", "/v1/plan")] = {"fits": True, "reason": None, "proven": proven,
                                         "gpus_opened": 3, "gpus_opened_least": 2, "steps": [],
                                         "blocking": []}
    done = run(fake, "plan", "1g.10gb:3")
    assert done.returncode == 0 and words in done.stdout
    assert ("roven" in done.stdout) == (proven is not None)


def test_who_is_asked_to_move_is_not_in_the_way_too(fake):
    held = {"gpu_index": 0, "profile": "1g.10gb", "placement": {"start": 2, "size": 1},
            "state": "leased", "tenant": "nlp", "processes": 0, "why": "leased until released"}
    fake.routes[("POST", "/v1/plan")] = {
        "fits": False, "reason": "no room", "steps": [],
        "moves": [{"lease": "l-2", "tenant": "nlp", "profile": "1g.10gb", "destroys": [],
                   "driver_ms": 100, "from": {"gpu_index": 0, "placement": held["placement"]},
                   "to": {"gpu_index": 0, "placement": {"start": 6, "size": 1}}}],
        "blocking": [dict(held, lease="l-2"), dict(held, lease="l-3")]}
    out = run(fake, "plan", "2g").stdout
    assert out.count("l-2") == 1 and "l-3" in out.split("In the way:")[1]


def test_a_plan_without_driver_work_takes_no_time(fake):
    step = {"profile": "1g.10gb", "gpu_index": 0, "placement": {"start": 2, "size": 1},
            "reuses": True, "destroys": [], "driver_ms": 0}
    plan = {"fits": True, "reason": None, "estimate_ms": 0, "steps": [step], "blocking": []}
    fake.routes[("POST", "/v1/plan")] = plan
    out = run(fake, "plan", "--explain", "1g").stdout
    assert "The driver has nothing to do." in out and "0 ms" not in out
    step.update(reuses=False, driver_ms=120.5)
    assert "one after the other: 120 ms" in run(fake, "plan", "--explain", "1g").stdout
    step.update(driver_ms=None)
    out = run(fake, "plan", "--explain", "1g").stdout
    assert out.endswith("How long the driver takes for this is not known yet.\n")


def test_ages_are_whole_seconds(fake):
    now = datetime.datetime.utcnow() - datetime.timedelta(milliseconds=200)
    fake.routes[("GET", "/v1/leases")] = {"leases": [
        lease(created_at=now.isoformat(timespec="milliseconds") + "Z")]}
    age = run(fake, "leases", "-o", "csv").stdout.splitlines()[1].split(",")[6]
    assert re.fullmatch("[0-9]+s", age), age


def event(number):
    return {"id": number, "time": PAST, "kind": "lease.granted", "gpu_uuid": None,
            "lease": f"l-{number}", "tenant": "bob", "message": f"event {number}"}


class Stream:
    """An event stream; the test sends."""

    def __init__(self, fake, events=()):
        self.handlers, self.opened, self.events = [], threading.Semaphore(0), list(events)
        self.last_ids = []
        fake.routes[("GET", "/v1/events")] = self.answer

    def answer(self, request):
        if "text/event-stream" not in request["headers"].get("Accept", ""):
            return {"events": self.events}
        self.last_ids.append(request["headers"].get("Last-Event-ID"))
        return self.stream

    def stream(self, handler):
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Connection", "close")
        handler.end_headers()
        done = threading.Event()
        self.handlers.append((handler, done))
        self.opened.release()
        done.wait(20)
        handler.close_connection = True

    def send(self, event):
        handler, _ = self.handlers[-1]
        handler.wfile.write(f"id: {event['id']}\nevent: {event['kind']}\n"
                            f"data: {json.dumps(event)}\n\n: keep-alive\n\n".encode())

    def end(self):
        self.handlers[-1][1].set()


def test_events_follow_through_a_restart(fake):
    stream = Stream(fake, [event(1), event(2)])
    child = subprocess.Popen([TANGRAM, "--socket", fake.path, "events", "-f", "-o", "json"],
                             env=env_for(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             text=True)
    assert [json.loads(child.stdout.readline())["id"] for _ in range(2)] == [1, 2]
    assert stream.opened.acquire(timeout=10)
    stream.send(event(3))
    assert json.loads(child.stdout.readline())["id"] == 3
    stream.end()
    assert stream.opened.acquire(timeout=10)
    stream.send(event(4))
    assert json.loads(child.stdout.readline())["id"] == 4
    child.kill()
    child.communicate()
    assert stream.last_ids == ["2", "3"]
    stream.end()


def test_watch_prints_again_after_an_event(fake):
    stream = Stream(fake)
    fake.routes[("GET", "/v1/queue")] = {"queue": []}
    child = subprocess.Popen([TANGRAM, "--socket", fake.path, "queue", "-w", "-o", "csv",
                              "--no-header"], env=env_for(), stdout=subprocess.PIPE, text=True)
    assert stream.opened.acquire(timeout=10)
    until(lambda: fake.asked("GET", "/v1/queue"))
    fake.routes[("GET", "/v1/queue")] = {"queue": [{"position": 1, "id": "l-5"}]}
    stream.send(event(1))
    assert child.stdout.readline() == "\n"
    assert child.stdout.readline().startswith("1,l-5,")
    child.kill()
    child.communicate()
    stream.end()


def test_a_full_disk_is_a_failure(fake):
    fake.routes[("GET", "/v1/gpus")] = {"gpus": []}
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run([TANGRAM, "--socket", fake.path, "gpus"], stdout=full,
                              stderr=subprocess.PIPE, text=True, env=env_for(), check=False)
    assert done.returncode == 1 and "cannot write the output" in one_line(done.stderr)


def test_export_is_a_mig_parted_file(fake):
    layout = {"version": "v1", "mig-configs": {"current": [
        {"devices": [0, 1], "mig-enabled": True, "mig-devices": {"1g.10gb": 3, "2g.20gb+me": 1}},
        {"devices": [2], "mig-enabled": False, "mig-devices": {}}]}}
    fake.routes[("GET", "/v1/layout")] = layout
    import yaml
    text = run(fake, "export").stdout
    assert yaml.safe_load(text) == layout
    assert "  current:\n    - devices: [0, 1]\n" in text
    assert json.loads(run(fake, "export", "-o", "json").stdout) == layout


def test_the_manual_has_every_command():
    page = BUILD / "man" / "tangram.1"
    if not page.exists():
        pytest.skip("built without scdoc")
    text = page.read_text(encoding="utf-8").replace("\\-", "-")
    names = [line.split()[0] for line in run("/none", "--help").stdout.split("Commands:\n")[1]
             .split("\n\n")[0].splitlines()]
    for name in names:
        assert f'.SS tangram {name}' in text or f'.SS "tangram {name}' in text, name
    assert "--no-header" in text and "[ID]" in text
