"""The command line on the real daemon and a simulated machine: what a user sees."""
import csv
import io
import json
import os
import re
import signal
import subprocess

import pytest

from conftest import BUILD, Daemon, until
from fake_cli import env_for

CONFIG = f"""
gpus:
  - mig_mode: on-demand
tenants:
  - {{name: me, users: [{os.getuid()}], role: operator}}
"""


class Cli(Daemon):
    """A tangramd with simulated GPUs, as --simulate makes them, and the command line at it."""

    def __init__(self, folder, gpus):
        super().__init__(folder, None, config=CONFIG, args=["--simulate", gpus])

    def env(self):
        return env_for(TANGRAM_SOCKET=str(self.socket))

    def __call__(self, *args, **more):
        return subprocess.run([BUILD / "tangram", *args], capture_output=True, text=True,
                              env=self.env(), timeout=60, check=False, **more)

    def popen(self, *args, **more):
        return subprocess.Popen([BUILD / "tangram", *args], env=self.env(), text=True, **more)

    def ok(self, *args, **more):
        done = self(*args, **more)
        assert done.returncode == 0, done
        return done.stdout

    def json(self, *args):
        return json.loads(self.ok(*args, "-o", "json"))

    def rows(self, *args):
        return list(csv.DictReader(io.StringIO(self.ok(*args, "-o", "csv"))))

    def lease(self, profile, *more):
        return self.json("lease", "-p", profile, "--wait", "30s", *more)

    def states(self):
        return {row["place"]: row["state"] for row in self.rows("slices")}


@pytest.fixture
def make(tmp_path):
    made = []

    def make_one(gpus):
        made.append(Cli(tmp_path, gpus))
        return made[-1].start()
    yield make_one
    for one in made:
        one.kill()


@pytest.fixture
def h100(make):
    return make("H100-SXM5-80GB:1")


def test_a_plan_tells_of_the_mode_that_is_switched(h100):
    plan = h100.json("plan", "3g:2")
    assert plan["estimate_ms"] is None and all(s["switches_mig"] for s in plan["steps"])
    out = h100.ok("plan", "3g:2", "--explain")
    assert out.count("switch the MIG mode of GPU 0 on") == 1, out
    assert "is taken whole" in h100.ok("plan", "gpu")
    h100.lease("3g")
    plan = h100.json("plan", "3g")
    assert plan["estimate_ms"] > 0 and not plan["steps"][0]["switches_mig"]
    assert "MIG mode" not in h100.ok("plan", "3g", "--explain")


def test_lease_use_release(h100):
    lease = h100.lease("2g.20gb", "--name", "work", "--ttl", "1h", "-l", "team=a")
    assert lease["state"] == "active" and lease["env"]["CUDA_VISIBLE_DEVICES"].startswith("MIG-")
    row, = h100.rows("leases")
    assert (row["id"], row["state"], row["name"]) == (lease["id"], "active", "work")
    assert row["expires"].startswith("in 59m")
    assert h100.json("leases", lease["id"])["labels"] == {"team": "a"}
    assert "now has no time limit" in h100.ok("renew", lease["id"], "--ttl", "never")
    assert h100.json("leases", lease["id"])["expires_at"] is None
    assert lease["id"] in h100.ok("status")
    assert h100.ok("release", lease["id"]).startswith(f"{lease['id']} is ")
    again = h100("release", lease["id"])
    assert again.returncode == 5 and "ended" in again.stderr
    assert h100("release", "l-999").returncode == 1
    assert h100.rows("leases") == []
    assert h100.rows("leases", "--all")[0]["state"] == "released"


def test_run_and_its_exit_status(h100):
    done = h100("run", "-p", "1g", "--wait", "30s", "--", "sh", "-c",
                "echo $CUDA_VISIBLE_DEVICES $TANGRAM_LEASE; exit 9")
    assert done.returncode == 9
    uuid, lease = done.stdout.split()
    assert uuid.startswith("MIG-")
    until(lambda: h100.json("leases", lease)["state"] == "released")


def test_a_killed_run_gives_its_slice_back(h100):
    child = h100.popen("run", "-p", "1g", "--wait", "30s", "--", "sh", "-c",
                       "echo $TANGRAM_LEASE; exec sleep 1000", stdout=subprocess.PIPE)
    lease = child.stdout.readline().strip()
    assert h100.json("leases", lease)["state"] == "active"
    child.kill()
    child.wait()
    until(lambda: h100.json("leases", lease)["state"] == "released")
    child.stdout.close()


def test_run_survives_a_restart_of_the_daemon(h100):
    child = h100.popen("run", "-p", "1g", "--wait", "30s", "--", "sh", "-c",
                       "echo $TANGRAM_LEASE; read line; exit 4",
                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    lease = child.stdout.readline().strip()
    h100.kill()
    h100.start()
    assert h100.json("leases", lease)["state"] == "active"
    child.communicate("go\n", timeout=20)
    assert child.returncode == 4
    until(lambda: h100.json("leases", lease)["state"] == "released")


def test_no_room_is_3_and_names_what_is_in_the_way(h100):
    big = h100.lease("7g.80gb")["id"]
    for command in (["lease", "-p", "1g"], ["run", "-p", "1g", "--", "true"],
                    ["lease", "-p", "1g", "--wait", "200ms"]):
        done = h100(*command)
        assert done.returncode == 3 and big in done.stderr, done
    assert h100.rows("queue") == []
    plan = h100("plan", "1g.10gb:2")
    assert plan.returncode == 3 and big in plan.stdout
    never = h100("lease", "-p", "3g", "-n", "3")
    assert never.returncode == 3
    nonsense = h100("lease", "-p", "nonsense")
    assert nonsense.returncode in (2, 3) and nonsense.stderr.count("\n") == 1


def test_a_profile_that_nothing_offers_names_those_that_are(h100):
    for profile in ("9g.80gb", "1g.5gb", "memory=500GiB"):
        done = h100("lease", "-p", profile)
        assert done.returncode == 3 and f"no GPU here offers {profile}" in done.stderr, done
        assert "there is 1g.10gb, 2g.20gb, 3g.40gb, 4g.40gb, 7g.80gb, 1g.20gb\n" in done.stderr
    assert "1g.10gb+me" in h100("lease", "-p", "1g.5gb+me").stderr
    model = h100("lease", "-p", "2g", "--model", "A100")
    assert model.returncode == 3 and "there is NVIDIA H100 80GB HBM3" in model.stderr
    inside = h100("lease", "-p", "5c.7g.80gb")
    assert inside.returncode == 3 and "it has 1c.7g.80gb" in inside.stderr
    assert "tangram profiles" in h100("lease", "-p", "nonsense").stderr


def test_profiles_that_can_be_had(h100):
    rows = {row["profile"]: row for row in h100.rows("profiles")}
    assert list(rows)[0] == "1g.10gb" and "1g.10gb+me" in rows and rows["gpu"]["free"] == "1"
    assert (rows["2g.20gb"]["max"], rows["2g.20gb"]["free"]) == ("3", "3")
    h100.lease("4g.40gb")
    rows = {row["profile"]: row for row in h100.rows("profiles")}
    assert rows["2g.20gb"]["free"] == "1" and rows["gpu"]["free"] == "0"
    assert rows["4g.40gb"]["memory"] == "39.5 GiB" and rows["4g.40gb"]["gpus"] == "0"
    assert h100.json("profiles")[0]["compute"] == 1


def test_several_that_wait_are_counted(h100):
    h100.lease("7g.80gb")
    done = h100("lease", "-p", "1g", "-n", "3", "--wait", "200ms")
    assert done.returncode == 3 and "3 x 1g do not fit now; in the way: l-1 (me)" in done.stderr


def test_a_lease_may_be_named_by_its_number(h100):
    number = h100.lease("1g.10gb")["id"][2:]
    assert h100.json("leases", number)["id"] == f"l-{number}"
    assert "ends at" in h100.ok("renew", number, "--ttl", "1h")
    assert h100.ok("release", number).startswith(f"l-{number} is ")


def test_waiting_why_and_through(h100):
    big = h100.lease("7g.80gb")["id"]
    waiter = h100.popen("lease", "-p", "3g.40gb", "--wait", "60s", "--name", "patient", "-o",
                        "json", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until(lambda: h100.rows("queue"))
    row, = h100.rows("queue")
    assert row["position"] == "1" and row["name"] == "patient" and row["reason"]
    why = h100.ok("why", row["id"])
    assert big in why and "What would let it through" in why
    status = h100.ok("status")
    assert "1 waiting" in status and row["id"] in status
    h100.ok("release", big)
    out, err = waiter.communicate(timeout=30)
    assert waiter.returncode == 0 and json.loads(out)["state"] == "active"
    assert f"{row['id']} waits (number 1 in the queue)" in err


def test_ctrl_c_while_waiting_leaves_nothing_behind(h100):
    h100.lease("7g.80gb")
    waiter = h100.popen("lease", "-p", "1g", "--wait", "forever", stderr=subprocess.PIPE)
    until(lambda: h100.rows("queue"))
    waiter.send_signal(signal.SIGINT)
    _, err = waiter.communicate(timeout=20)
    assert waiter.returncode == 130 and "is cancelled" in err
    assert h100.rows("queue") == []


LAYOUT = """version: v1
mig-configs:
  mixed:
    - devices: all
      mig-enabled: true
      mig-devices:
        "1g.10gb": 2
        "2g.20gb": 1
        "3g.40gb": 1
  wrong:
    - devices: [0]
      mig-enabled: true
      mig-devices:
        "9g.99gb": 1
"""


def test_apply_diff_export(h100):
    dry = h100("apply", "-f", "-", "-c", "mixed", "--dry-run", input=LAYOUT)
    assert dry.returncode == 0 and "Nothing was changed" in dry.stdout
    assert h100("diff", "-f", "-", "-c", "mixed", input=LAYOUT).returncode == 3
    assert "Done." in h100.ok("apply", "-f", "-", "-c", "mixed", input=LAYOUT)
    assert h100("diff", "-f", "-", "-c", "mixed", input=LAYOUT).returncode == 0
    exported = h100.ok("export")
    assert h100("diff", "-f", "-", input=exported).returncode == 0
    assert sorted(r["profile"] for r in h100.rows("slices")) == ["1g.10gb", "1g.10gb", "2g.20gb",
                                                                  "3g.40gb"]
    wrong = h100("apply", "-f", "-", "-c", "wrong", input=LAYOUT)
    assert wrong.returncode == 1 and "<stdin>:14:20: " in wrong.stderr
    assert h100("apply", "-f", "-", input=LAYOUT).returncode == 2  # which one?
    unknown = h100("apply", "-f", "-", input=LAYOUT.replace("devices: all", "devises: all"))
    assert unknown.returncode == 1 and "devises" in unknown.stderr
    assert unknown.stderr.startswith("tangram: <stdin>:4:")
    lease = h100.lease("3g.40gb")["id"]
    used = h100("apply", "-f", "-", input="version: v1\nmig-configs:\n  none:\n"
                "    - {devices: all, mig-enabled: false, mig-devices: {}}\n")
    assert used.returncode == 5 and lease in used.stderr and used.stderr.count("\n") == 1


def test_disown_and_adopt(h100):
    lease = h100.lease("1g.10gb")
    start = lease["placement"]["start"]
    name = f"0:{start}"
    refused = h100("disown", name)
    assert refused.returncode == 5, refused
    h100.ok("release", lease["id"])
    until(lambda: "idle" in h100.states().values())
    h100.ok("disown", name)
    assert h100.states()[f"{start}:1"] == "foreign"
    assert "foreign" in h100.ok("status")
    for wrong, says in (("0:7", "no slice of GPU 0 starts at slot 7"), ("MIG-x", "no slice MIG-x")):
        done = h100("adopt", wrong)
        assert done.returncode == 1 and says in done.stderr, done
    h100.ok("adopt", name)
    assert h100.states()[f"{start}:1"] == "idle"
    again = h100("adopt", name)
    assert again.returncode == 5 and "tangram's already, and idle" in again.stderr, again


def test_csv_columns_are_words_that_programs_take(h100):
    for command in (["gpus"], ["profiles"], ["slices"], ["leases"], ["queue"], ["usage"],
                    ["usage", "--by", "lease"], ["usage", "--advice"], ["doctor"], ["events"],
                    ["token", "list"]):
        columns = h100.ok(*command, "-o", "csv").splitlines()[0].split(",")
        assert all(re.fullmatch("[a-z][a-z0-9_]*", name) for name in columns), columns
        assert len(set(columns)) == len(columns)


def test_events_tell_the_story(h100):
    lease = h100.lease("1g.10gb")["id"]
    kinds = [(e["kind"], e["lease"]) for e in h100.json("events")]
    assert ("lease.granted", lease) in kinds and ("daemon.started", None) in kinds
    follow = h100.popen("events", "-f", "-o", "json", stdout=subprocess.PIPE)
    h100.ok("release", lease)
    for line in follow.stdout:
        event = json.loads(line)
        if event["kind"] == "lease.released" and event["lease"] == lease:
            break
    follow.kill()
    follow.communicate()


def test_tokens(h100):
    token = h100.ok("token", "create", "--tenant", "vision").strip()
    assert token.startswith("tgm_")
    row, = h100.rows("token", "list")
    assert row["tenant"] == "vision" and row["role"] == "tenant"
    assert token not in h100.ok("token", "list", "-o", "json")
    h100.ok("token", "revoke", row["id"])
    assert h100.rows("token", "list") == []
    assert h100("token", "revoke", row["id"]).returncode == 1


def test_doctor_and_version(h100):
    assert h100("doctor").returncode == 0
    assert {c["state"] for c in h100.json("doctor")} == {"ok"}
    assert h100.json("version")["daemon"]["simulated"] is True


@pytest.mark.parametrize("model, profile, slots", [
    ("RTX-PRO-6000-BSE", "2g", 12), ("H200-SXM5-141GB", "2g", 8)])
def test_the_picture_of_other_models(make, model, profile, slots):
    machine = make(model)
    gpu, = machine.json("gpus")
    assert gpu["memory_slots"] == slots
    lease = machine.lease(profile)["id"]
    lines = machine.ok("status").splitlines()
    assert max(map(len, lines)) <= 80
    memory, = (line for line in lines if line.startswith("mem"))
    assert len(memory[6:-1].replace("│", " ").split()) == slots
    assert any(f"me  {lease}" in line for line in lines)
