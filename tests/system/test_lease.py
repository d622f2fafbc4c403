"""Lease, use, release: the main path, over REST and the command line."""
import ctypes
import json
import os
import resource
import signal
import subprocess
import time

import pytest

from conftest import BUILD, H100, for_everybody, until

CLONE3 = 435


def test_a_killed_client_waits_no_longer(daemon):
    """However `lease --wait` ends, its request goes with it; what was granted stays."""
    d = daemon()
    blocking = d.lease("7g.80gb")
    env = dict(os.environ, TANGRAM_SOCKET=str(d.socket))
    command = [BUILD / "tangram", "lease", "-p", "1g.10gb", "--wait", "60s", "-o", "json"]
    killed, patient = [subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE) for _ in range(2)]
    assert all("waits" in client.stderr.readline() for client in (killed, patient))
    by_rest = d.request("POST", "/v1/leases", {"profile": "1g.10gb"}).json
    d.kill()  # a restart does not forget for whom it waits
    d.start()
    killed.kill()
    killed.wait()
    until(lambda: len(d.get("/v1/queue").json["queue"]) == 2, "one to be cancelled")
    gone = [x for x in d.get("/v1/leases?all=true").json["leases"] if x["state"] == "released"]
    assert [x["reason"] for x in gone] == ["the process that asked for it has ended"]
    d.release(blocking)
    lease = json.loads(patient.communicate(timeout=20)[0])
    assert lease["state"] == "active" and lease["lifetime"] == "lease"
    d.wait_state(by_rest, "active")
    d.stop()
    d.start()
    assert d.get(f"/v1/leases/{lease['id']}").json["state"] == "active"


def test_lease_use_release(daemon):
    d = daemon()
    lease = d.lease("2g.20gb")
    assert lease["state"] == "active" and lease["placement"]["size"] == 2
    assert lease["env"]["CUDA_VISIBLE_DEVICES"] == lease["mig_uuid"]
    shown = json.dumps(d.machine.show())
    assert lease["mig_uuid"] in shown
    load = d.machine.load(lease["mig_uuid"])
    assert d.request("DELETE", f"/v1/leases/{lease['id']}").status == 200
    d.wait_state(lease, "releasing")
    assert lease["mig_uuid"] in json.dumps(d.machine.show())
    load.kill()
    load.wait()
    assert d.wait_state(lease, "released")["ended_at"]


def test_seed_case_is_recut_beside_running_work(daemon):
    """4g leased and busy, one 1g leased, two 1g idle: a 2g.20gb is granted, nothing in use moves."""
    d = daemon()
    big = d.lease("4g.40gb")
    ones = [d.lease("1g.10gb") for _ in range(3)]
    loads = [d.machine.load(big["mig_uuid"])]
    keep = next(one for one in ones if one["placement"]["start"] == 6)
    for one in ones:
        if one is not keep:
            d.release(one)
    loads.append(d.machine.load(keep["mig_uuid"]))
    calls = d.events()[-1]["id"]
    two = d.request("POST", "/v1/leases", {"profile": "2g.20gb", "wait_s": -1})
    assert two.status in (201, 202), two
    granted = d.wait_state(two.json, "active")
    assert granted["placement"] == {"start": 4, "size": 2}
    for lease in (big, keep):
        assert d.get(f"/v1/leases/{lease['id']}").json["mig_uuid"] == lease["mig_uuid"]
    destroyed = [e["message"] for e in d.events("slice.destroyed") if e["id"] > calls]
    assert destroyed and all("1g.10gb" in text for text in destroyed)
    for load in loads:
        assert load.poll() is None
        load.kill()


def test_why_names_what_blocks_where_geometry_forbids(daemon):
    d = daemon()
    big = d.lease("4g.40gb")
    ones = [d.lease("1g.10gb") for _ in range(3)]
    assert {one["placement"]["start"] for one in ones} == {4, 5, 6}
    for one in ones:
        if one["placement"]["start"] != 5:
            d.release(one)
        else:
            keep = one
    refused = d.request("POST", "/v1/leases", {"profile": "2g.20gb", "wait_s": -1})
    assert refused.status == 409 and refused.json["reason"] == "does_not_fit", refused
    queued = d.request("POST", "/v1/leases", {"profile": "2g.20gb"}).json
    assert queued["state"] == "queued"
    why = d.get(f"/v1/leases/{queued['id']}/why").json
    assert {block["lease"] for block in why["blocking"]} == {keep["id"], big["id"]}
    assert why["position"] == 1 and why["reason"]
    d.release(keep)
    assert d.wait_state(queued, "active")["placement"] == {"start": 4, "size": 2}


def test_run_ends_the_lease_however_it_ends(daemon):
    d = daemon()
    env = dict(os.environ, TANGRAM_SOCKET=str(d.socket))
    done = d.cli("run", "-p", "1g.10gb", "--", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES; exit 7")
    assert done.returncode == 7 and done.stdout.startswith("MIG-")
    until(lambda: not d.get("/v1/leases").json["leases"], "the lease to end")
    for sig in (signal.SIGTERM, signal.SIGKILL):
        proc = subprocess.Popen([BUILD / "tangram", "run", "-p", "1g.10gb", "--", "sleep", "1000"],
                                env=env)
        until(lambda: [x for x in d.get("/v1/leases").json["leases"] if x["state"] == "active"],
              "the lease")
        proc.send_signal(sig)
        proc.wait()
        until(lambda: not d.get("/v1/leases").json["leases"], f"the lease to end after {sig}")


def test_run_survives_a_restart_of_the_daemon(daemon):
    d = daemon()
    env = dict(os.environ, TANGRAM_SOCKET=str(d.socket))
    proc = subprocess.Popen([BUILD / "tangram", "run", "-p", "1g.10gb", "--", "sleep", "1000"],
                            env=env)
    lease = until(lambda: [x for x in d.get("/v1/leases").json["leases"]
                           if x["state"] == "active"], "the lease")[0]
    d.kill()
    d.start()
    assert d.get(f"/v1/leases/{lease['id']}").json["state"] == "active"
    proc.kill()
    proc.wait()
    d.wait_state(lease, "released")


def start_as(pid, *command):
    """A process with that very number, which its predecessor has just left (Linux 5.5, root)."""
    class CloneArgs(ctypes.Structure):
        _fields_ = [(name, ctypes.c_uint64) for name in (
            "flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack", "stack_size",
            "tls", "set_tid", "set_tid_size", "cgroup")]
    number = ctypes.c_int(pid)
    args = CloneArgs(exit_signal=signal.SIGCHLD, set_tid=ctypes.addressof(number), set_tid_size=1)
    libc = ctypes.CDLL(None, use_errno=True)
    got = libc.syscall(CLONE3, ctypes.byref(args), ctypes.sizeof(args))
    if got == 0:
        try:
            os.execvp(command[0], command)
        finally:
            os._exit(127)
    if got < 0:
        pytest.skip(f"no process can be given a number here: {os.strerror(ctypes.get_errno())}")
    return got


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to choose the number of a process")
def test_a_later_process_with_the_same_number_is_not_the_holder(daemon):
    d = daemon()
    proc = subprocess.Popen([BUILD / "tangram", "run", "-p", "1g.10gb", "--", "sleep", "1000"],
                            env=dict(os.environ, TANGRAM_SOCKET=str(d.socket)))
    lease = until(lambda: [x for x in d.get("/v1/leases").json["leases"]
                           if x["state"] == "active"], "the lease")[0]
    d.kill()
    proc.kill()
    proc.wait()
    namesake = start_as(proc.pid, "sleep", "1000")
    try:
        d.start()
        d.wait_state(lease, "released")
    finally:
        os.kill(namesake, signal.SIGKILL)
        os.waitpid(namesake, 0)


def test_time_limit(daemon):
    d = daemon()
    lease = d.lease("1g.10gb", ttl_s=1)
    assert lease["expires_at"]
    renewed = d.request("PATCH", f"/v1/leases/{lease['id']}", {"ttl_s": 2})
    assert renewed.status == 200 and renewed.json["expires_at"] > lease["expires_at"]
    start = time.monotonic()
    d.wait_state(lease, "expired")
    assert time.monotonic() - start > 0.9


def test_several_slices_all_or_nothing(daemon, machine):
    d = daemon(machine(f"{H100}:2"))
    three = d.lease("3g.40gb", count=3)
    assert len(three["slices"]) == 3 and len({s["mig_uuid"] for s in three["slices"]}) == 3
    two = d.request("POST", "/v1/leases", {"profile": "3g.40gb", "count": 2, "wait_s": -1})
    assert two.status == 409
    assert len(d.slices()) == 3


def test_by_memory_by_compute_whole_and_inside(daemon, machine):
    d = daemon(machine(f"{H100}:2"))
    assert d.lease("memory=12GiB")["slices"][0]["profile"] in ("1g.20gb", "2g.20gb")
    assert d.lease("2g")["slices"][0]["profile"] == "2g.20gb"
    whole = d.lease("gpu")
    assert whole["slices"][0]["profile"] == "7g.80gb"
    d.release(whole)
    first, second = d.lease("1c.3g.40gb"), d.lease("1c.3g.40gb")
    assert first["slices"][0]["gpu_instance_id"] == second["slices"][0]["gpu_instance_id"]
    assert first["mig_uuid"] != second["mig_uuid"]


def test_tenants_end_only_their_own(daemon):
    d = daemon()
    d.socket.chmod(0o777)
    d.folder.chmod(0o755)
    d.folder.parent.chmod(0o755)
    for parent in d.folder.parents:
        if parent.stat().st_uid == os.getuid() and str(parent).startswith("/tmp/"):
            parent.chmod(parent.stat().st_mode | 0o055)
    lease = d.lease("1g.10gb")
    other = subprocess.run(["setpriv", "--reuid", "65534", "--clear-groups",
                            for_everybody("tangram"), "release", lease["id"]], text=True,
                           capture_output=True, env=dict(os.environ, TANGRAM_SOCKET=str(d.socket)))
    assert other.returncode == 4 and "root" in other.stderr, other
    assert d.get(f"/v1/leases/{lease['id']}").json["state"] == "active"


def test_usage_is_counted_and_priced_across_a_crash(daemon):
    d = daemon(config="cost: {compute_slot_hour: 3600, memory_gib_hour: 0, currency: EUR}\n")
    lease = d.lease("2g.20gb")
    d.kill()
    d.start()
    before = d.get("/v1/usage").json
    assert before["currency"] == "EUR"
    row, = before["usage"]
    assert row["leases"] == 1 and row["active_compute_slots"] == 2
    until(lambda: d.get("/v1/usage").json["usage"][0]["cost"] > 0, "a cost")
    d.release(lease)
    until(lambda: d.events("lease.released"), "its end to be on disk")  # reads are ahead of it
    after, = d.get("/v1/usage").json["usage"]
    assert after["active_leases"] == 0 and after["cost"] >= row["cost"] > 0
    d.kill()
    d.start()
    assert d.get("/v1/usage").json["usage"] == [after]
    cells = d.cli("usage", "-o", "csv", "--no-header", check=0).stdout.strip().split(",")
    assert all(len(cell.partition(".")[2]) <= 3 for cell in cells), cells
    assert "COMPUTE-HOURS" in d.cli("usage", check=0).stdout


def test_leases_of_live_processes_survive_a_lack_of_descriptors(daemon):
    """At a restart every lease of a client's lifetime is watched again: one whose process cannot be
    watched for want of a file descriptor is kept, not ended, and watched as soon as it can be."""
    d = daemon(config="timing: {scan_interval: 1s}\n")
    in_use = len(os.listdir(f"/proc/{d.proc.pid}/fd"))
    asked = [d.request("POST", "/v1/leases", {"profile": "7g.80gb", "wait_s": 0,
                                              "lifetime": "client"}).json for _ in range(60)]
    proc = subprocess.Popen([BUILD / "tangram", "run", "-p", "1g.10gb", "--wait", "forever", "--",
                             "sleep", "1000"], env=dict(os.environ, TANGRAM_SOCKET=str(d.socket)),
                            stderr=subprocess.DEVNULL)
    last, = until(lambda: [x for x in d.get("/v1/leases").json["leases"]
                           if x["profile"] == "1g.10gb"], "its request")
    d.stop()
    d.start(ready=False, wrapper=("prlimit", f"--nofile={in_use + 20}:"))
    until(lambda: f"{last['id']} is kept" in d.log, "the lack to be said")
    _, most = resource.prlimit(d.proc.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(d.proc.pid, resource.RLIMIT_NOFILE, (most, most))
    states = {d.get(f"/v1/leases/{x['id']}").json["state"] for x in asked}
    assert states <= {"active", "cutting", "queued"}, states
    proc.kill()
    proc.wait()
    d.wait_state(last, "released")
