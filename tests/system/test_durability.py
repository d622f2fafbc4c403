"""kill -9, reboot, damage, full disk: what was answered is kept, what is in use is not touched."""
import datetime as dt
import json
import os
import random
import shutil
import subprocess
import threading
import time

import pytest

from conftest import BUILD, H100, until


def facts(d):
    """What a user relies on: the leases that are active, and their slices."""
    return {x["id"]: (x["state"], x["mig_uuid"]) for x in d.get("/v1/leases").json["leases"]}


def test_kill_9_keeps_leases_and_owns_everything(daemon, machine):
    """Killed at random moments under load, many times: every answered lease is there afterwards,
    and no slice is left that is neither leased nor known."""
    d = daemon(machine(f"{H100}:2"))
    rng = random.Random(7)
    answered, stop = {}, threading.Event()

    def customer():
        while not stop.is_set():
            try:
                profile = rng.choice(["1g.10gb", "2g.20gb", "3g.40gb"])
                reply = d.request("POST", "/v1/leases", {"profile": profile, "wait_s": 0})
                if reply.status == 201:
                    answered[reply.json["id"]] = reply.json["mig_uuid"]
                elif reply.status == 202:
                    stop.wait(0.002)
                if answered and rng.random() < 0.6:
                    victim = rng.choice(sorted(answered))
                    gone = answered.pop(victim)
                    try:
                        d.request("DELETE", f"/v1/leases/{victim}")
                    except OSError:
                        answered.setdefault("?" + victim, gone)
            except (OSError, ValueError):
                stop.wait(0.005)

    for _ in range(8):
        stop.clear()
        thread = threading.Thread(target=customer)
        thread.start()
        stop.wait(rng.uniform(0.02, 0.3))
        d.kill()
        stop.set()
        thread.join()
        d.start()
        now = {x["id"]: x for x in d.get("/v1/leases").json["leases"]}
        for lease, uuid in answered.items():
            if not lease.startswith("?"):
                assert now[lease]["state"] in ("active", "releasing")
                assert now[lease]["mig_uuid"] == uuid
        answered = {k: v for k, v in answered.items() if not k.startswith("?")}
        assert not [s for s in d.slices() if s["state"] == "foreign"]
    for lease in d.get("/v1/leases").json["leases"]:
        d.request("DELETE", f"/v1/leases/{lease['id']}")
    until(lambda: not d.get("/v1/leases").json["leases"], "everything to end")
    assert not [s for s in d.slices() if s["state"] not in ("idle",)]


def test_sigterm_keeps_everything(daemon):
    d = daemon()
    lease = d.lease("2g.20gb", name="kept")
    before = facts(d)
    d.stop()
    d.start()
    assert facts(d) == before
    assert d.get(f"/v1/leases/{lease['id']}").json["name"] == "kept"


def test_reboot_makes_leases_lost_with_an_event(daemon):
    d = daemon()
    lease = d.lease("2g.20gb")
    d.kill()
    d.machine.reboot()
    d.start()
    now = d.get(f"/v1/leases/{lease['id']}").json
    assert now["state"] == "lost" and now["reason"]
    assert [e["lease"] for e in d.events("lease.lost")] == [lease["id"]]


def test_foreign_slices_are_shown_and_left_alone(daemon):
    d = daemon()
    lease = d.lease("3g.40gb")
    d.stop()
    shutil.rmtree(d.state)  # somebody deleted the journal: nothing is known of the slice
    d.start()
    foreign, = d.slices()
    assert foreign["state"] == "foreign" and foreign["owner"] == "foreign"
    big = d.request("POST", "/v1/leases", {"profile": "7g.80gb", "wait_s": -1})
    assert big.status == 409 and "foreign" in json.dumps(big.json)
    other = d.lease("3g.40gb")
    assert other["mig_uuid"] != lease["mig_uuid"]
    adopted = d.cli("adopt", lease["mig_uuid"], check=0)
    assert "3g.40gb" in adopted.stdout
    d.release(other)
    assert d.lease("7g.80gb")["state"] == "active"


@pytest.mark.parametrize("damage", ["truncate", "garbage", "gone"])
def test_damaged_journal(daemon, damage):
    """The main file is lost; the second copy has what was answered more than a moment ago."""
    d = daemon()
    lease = d.lease("2g.20gb")
    load = d.machine.load(lease["mig_uuid"])
    d.stop()
    db = next(p for p in d.state.iterdir() if p.suffix == ".db")
    if damage == "truncate":
        db.write_bytes(db.read_bytes()[:1500])
    elif damage == "garbage":
        db.write_bytes(bytes(random.Random(1).randrange(256) for _ in range(20000)))
    else:
        db.unlink()
    d.start()
    assert load.poll() is None
    assert lease["mig_uuid"] in json.dumps(d.machine.show())
    assert d.get(f"/v1/leases/{lease['id']}").json["state"] == "active"
    doctor = d.cli("doctor")
    assert "journal" in doctor.stdout and "warning" in doctor.stdout, doctor.stdout
    load.kill()


def test_full_disk_refuses_changes_and_recovers(daemon, machine, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", small],
                      capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    try:
        d = daemon(machine(), start=False)
        d.state = small / "state"
        d.start()
        kept = d.lease("1g.10gb")
        filler = small / "filler"
        with open(filler, "wb", buffering=0) as f:
            try:
                while True:
                    f.write(b"x" * 4096)
            except OSError:
                pass

        def refused():
            reply = d.request("POST", "/v1/leases", {"profile": "1g.10gb", "wait_s": 1}, timeout=5)
            return reply if reply.status == 503 else None

        def try_refused():
            try:
                return refused()
            except OSError:
                return None
        reply = until(try_refused, "changes to be refused", 60)
        assert reply.json["reason"] == "store_failed", reply
        assert d.get(f"/v1/leases/{kept['id']}").json["state"] == "active"
        filler.unlink()
        until(lambda: d.request("POST", "/v1/leases", {"profile": "1g.10gb", "wait_s": 5}).status
              == 201, "the disk to be used again")
        d.kill()
        d.start()
        assert d.get(f"/v1/leases/{kept['id']}").json["state"] == "active"
    finally:
        if d.proc and d.proc.poll() is None:
            d.kill()
        subprocess.run(["umount", "-l", small], check=False)


def at(seconds):
    """A wrapper under which the wall clock shows that much more."""
    assert (BUILD / "tests/unit/libclock-shim.so").exists()
    asan = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
    return ("env", f"LD_PRELOAD={BUILD}/tests/unit/libclock-shim.so", f"CLOCK_SHIM_S={seconds}",
            f"ASAN_OPTIONS={asan}")


def time_left_s(lease, ahead_s):
    """What the lease has left on a wall clock that is so much ahead of ours."""
    return dt.datetime.fromisoformat(lease["expires_at"]).timestamp() - time.time() - ahead_s


def test_a_wall_clock_that_is_set_costs_and_gives_no_lease_time(daemon):
    """Set a day ahead, then two days back, while the daemon is down."""
    d = daemon()
    limited, endless = d.lease("1g.10gb", ttl_s=1000), d.lease("1g.10gb")
    for ahead_s in (86400, -86400, 0):
        d.stop()
        d.start(wrapper=at(ahead_s))
        now = d.get(f"/v1/leases/{limited['id']}").json
        assert now["state"] == "active"
        assert 900 < time_left_s(now, ahead_s) <= 1000, now
        assert d.get(f"/v1/leases/{endless['id']}").json["state"] == "active"
    assert len(d.events("clock.set")) == 3
    d.stop()
    d.start()
    assert len(d.events("clock.set")) == 3


def test_time_that_passes_while_the_daemon_is_down_counts(daemon):
    d = daemon()
    lease = d.lease("1g.10gb", ttl_s=1)
    d.kill()
    until(lambda: time_left_s(lease, 0) < 0, "the lease's time to be up")
    d.start()
    d.wait_state(lease, "expired")
