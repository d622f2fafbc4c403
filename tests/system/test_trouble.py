"""A driver that fails, is slow, or never comes back: nobody else suffers, and it is said."""
import json
import time

import pytest

from conftest import H100, until

# The documented return codes of the calls that cut, and what they are called in tangram-sim.
CODES = ["NVML_ERROR_UNINITIALIZED", "NVML_ERROR_INVALID_ARGUMENT", "NVML_ERROR_NOT_SUPPORTED",
         "NVML_ERROR_NO_PERMISSION", "NVML_ERROR_NOT_FOUND", "NVML_ERROR_INSUFFICIENT_SIZE",
         "NVML_ERROR_GPU_IS_LOST", "NVML_ERROR_RESET_REQUIRED", "NVML_ERROR_IN_USE",
         "NVML_ERROR_INSUFFICIENT_RESOURCES", "NVML_ERROR_UNKNOWN"]


def number(code):
    return {"NVML_ERROR_UNINITIALIZED": 1, "NVML_ERROR_INVALID_ARGUMENT": 2,
            "NVML_ERROR_NOT_SUPPORTED": 3, "NVML_ERROR_NO_PERMISSION": 4, "NVML_ERROR_NOT_FOUND": 6,
            "NVML_ERROR_INSUFFICIENT_SIZE": 7, "NVML_ERROR_GPU_IS_LOST": 15,
            "NVML_ERROR_RESET_REQUIRED": 16, "NVML_ERROR_IN_USE": 19,
            "NVML_ERROR_INSUFFICIENT_RESOURCES": 23, "NVML_ERROR_UNKNOWN": 999}[code]


def instances(d):
    """GPU instances that are really on the machine."""
    return sum(len(g.get("gpu_instances", g.get("instances", []))) for g in d.machine.show()["gpus"])


@pytest.mark.parametrize("call", ["nvmlDeviceCreateGpuInstanceWithPlacement",
                                  "nvmlGpuInstanceCreateComputeInstance",
                                  "nvmlDeviceGetComputeRunningProcesses_v3"])
@pytest.mark.parametrize("code", CODES)
def test_each_call_fails_once(daemon, call, code):
    """The request is served in the end or ends with a reason; nothing half-made stays; a slice in
    use elsewhere on the GPU keeps its UUID."""
    d = daemon()
    used = d.lease("3g.40gb")
    load = d.machine.load(used["mig_uuid"])
    d.machine.fault(call, "--return", number(code), "--times", 1)
    reply = d.request("POST", "/v1/leases", {"profile": "1g.10gb", "wait_s": 15})
    assert reply.status in (201, 202, 409), reply
    if reply.status == 201:
        assert reply.json["state"] == "active"
    elif reply.status == 202:
        # A lost GPU stays lost until somebody looks after it; the request says so.
        assert code == "NVML_ERROR_GPU_IS_LOST", reply
        why = d.get(f"/v1/leases/{reply.json['id']}/why").json
        assert "lost" in json.dumps(why).lower(), why
    assert d.get(f"/v1/leases/{used['id']}").json["mig_uuid"] == used["mig_uuid"]
    assert used["mig_uuid"] in json.dumps(d.machine.show())
    assert load.poll() is None
    load.kill()


@pytest.mark.parametrize("code", ["NVML_ERROR_IN_USE", "NVML_ERROR_UNKNOWN"])
def test_destroy_is_tried_again(daemon, code):
    d = daemon()
    first = d.lease("7g.80gb")
    d.release(first)
    d.machine.fault("nvmlGpuInstanceDestroy", "--return", number(code), "--times", 2)
    assert d.lease("1g.10gb", wait_s=20)["state"] == "active"


def test_a_slice_that_does_not_go_is_quarantined_and_said(daemon, machine):
    d = daemon(machine(f"{H100}:2"))
    first, _ = d.lease("7g.80gb"), d.lease("7g.80gb")
    d.release(first)
    d.machine.fault("nvmlGpuInstanceDestroy", "--return", number("NVML_ERROR_IN_USE"))
    third = d.request("POST", "/v1/leases", {"profile": "1g.10gb", "wait_s": 0}).json
    until(lambda: [s for s in d.slices() if s["state"] == "quarantined"], "the quarantine", 40)
    assert "7g.80gb" in d.cli("doctor").stdout
    why = d.get(f"/v1/leases/{third['id']}/why").json
    assert "quarantined" in {block["state"] for block in why["blocking"]}, why
    d.machine.clear()
    d.wait_state(third, "active")


def test_a_hung_gpu_stops_nobody_else(daemon, machine):
    d = daemon(machine(f"{H100}:2"), config="timing: {call_timeout: 1s}\n")
    gpus = d.get("/v1/gpus").json["gpus"]
    d.machine.fault("nvmlDeviceCreateGpuInstanceWithPlacement", "--hang", "forever", "--gpu",
                    gpus[0]["uuid"], "--times", 1)
    start = time.monotonic()
    leases = [d.request("POST", "/v1/leases", {"profile": "7g.80gb", "wait_s": 0}).json
              for _ in range(2)]
    assert d.get("/v1").status == 200 and time.monotonic() - start < 5
    until(lambda: any(d.get(f"/v1/leases/{x['id']}").json["state"] == "active" for x in leases),
          "the other GPU to serve")
    sick = until(lambda: [g for g in d.get("/v1/gpus").json["gpus"]
                          if g["health"] == "unresponsive"], "the GPU to be called unresponsive")
    assert sick[0]["uuid"] == gpus[0]["uuid"]
    until(lambda: d.events("gpu.unresponsive"), "the event")
    d.stop()  # ends although a worker hangs


def test_restart_with_a_hung_gpu_serves_the_other(daemon, machine):
    d = daemon(machine(f"{H100}:2"), config="timing: {call_timeout: 1s}\n", start=False)
    uuid = d.machine.show()["gpus"][0]["uuid"]
    d.machine.fault("nvmlDeviceGetGpuInstances", "--hang", "forever", "--gpu", uuid)
    d.start()
    assert d.lease("1g.10gb")["gpu_uuid"] != uuid


def test_lost_gpu(daemon, machine):
    d = daemon(machine(f"{H100}:2"))
    lease = d.lease("1g.10gb")
    Machine = type(d.machine)
    Machine.sim("lose", d.machine.path, lease["gpu_uuid"])
    other = d.lease("7g.80gb", wait_s=20)
    assert other["gpu_uuid"] != lease["gpu_uuid"]


def test_half_made_slice_is_found_and_removed(daemon):
    """The compute instance fails, and so does the first attempt to take the GPU instance back."""
    d = daemon()
    d.machine.fault("nvmlGpuInstanceCreateComputeInstance", "--return",
                    number("NVML_ERROR_INSUFFICIENT_RESOURCES"), "--times", 1)
    d.machine.fault("nvmlGpuInstanceDestroy", "--return", number("NVML_ERROR_UNKNOWN"),
                    "--times", 3)
    lease = d.lease("7g.80gb", wait_s=30)
    assert lease["state"] == "active" and len(d.slices()) == 1


def test_xid_is_told(daemon):
    d = daemon()
    d.machine.sim("xid", d.machine.path, "--gpu", "0", "--code", "79")
    event = until(lambda: d.events("gpu.xid"), "the event")[0]
    assert "79" in event["message"]


def test_who_holds_a_released_slice_is_named(daemon):
    d = daemon()
    lease = d.lease("2g.20gb")
    load = d.machine.load(lease["mig_uuid"])
    assert d.request("DELETE", f"/v1/leases/{lease['id']}").status == 200
    named = until(lambda: (lambda r: r if f"pid {load.pid} (" in (r or "") else None)(
        d.get(f"/v1/leases/{lease['id']}").json["reason"]), "the process to be named")
    assert "still runs on the slice" in named
    assert f"pid {load.pid}" in d.cli("leases", lease["id"], check=0).stdout
    load.kill()
    load.wait()
    d.wait_state(lease, "released")


def test_a_hung_gpu_does_not_stop_the_regular_scans(daemon, machine):
    """What changes on the other GPU without an event, as a process does, is still seen."""
    d = daemon(machine(f"{H100}:2"), config="timing: {call_timeout: 1s, scan_interval: 1s}\n")
    sick = d.get("/v1/gpus").json["gpus"][0]["uuid"]
    used = d.lease("7g.80gb")
    if used["gpu_uuid"] == sick:
        other = d.lease("7g.80gb")
        d.release(used)
        used = other
    d.machine.fault("nvmlDeviceGetGpuInstances", "--hang", "forever", "--gpu", sick, "--times", 1)
    until(lambda: d.events("gpu.unresponsive"), "the GPU to be called unresponsive")
    load = d.machine.load(used["mig_uuid"])
    until(lambda: any(s["processes"] for s in d.slices()), "the process to be seen")
    load.kill()


def test_a_list_that_fails_is_not_an_empty_one(daemon):
    """A driver that for a while cannot say what is there does not cost anybody a lease."""
    d = daemon()
    lease = d.lease("3g.40gb")
    d.machine.fault("nvmlDeviceGetGpuInstances", "--return", number("NVML_ERROR_NOT_SUPPORTED"))
    # A release looks for the slice: it must neither find it gone nor end before it was looked at.
    assert d.request("DELETE", f"/v1/leases/{lease['id']}").status == 200
    until(lambda: "cannot be listed" in (d.get(f"/v1/leases/{lease['id']}").json["reason"] or ""),
          "the failure to be said")
    assert d.get(f"/v1/leases/{lease['id']}").json["state"] == "releasing"
    d.machine.clear()
    d.wait_state(lease, "released")


# Answers to reading calls that look like "there is no such thing".
DENIALS = [("nvmlDeviceGetMigMode", 3), ("nvmlDeviceGetGpuInstances", 3),
           ("nvmlDeviceGetGpuInstances", 6), ("nvmlGpuInstanceGetInfo", 2),
           ("nvmlGpuInstanceGetInfo", 6), ("nvmlGpuInstanceGetComputeInstanceProfileInfo", 2),
           ("nvmlGpuInstanceGetComputeInstanceProfileInfo", 3),
           ("nvmlGpuInstanceGetComputeInstances", 3), ("nvmlGpuInstanceGetComputeInstances", 6),
           ("nvmlComputeInstanceGetInfo_v2", 2), ("nvmlComputeInstanceGetInfo_v2", 6),
           ("nvmlDeviceGetGpuInstanceProfileInfoV", 3), ("nvmlDeviceGetGpuInstanceProfileInfoV", 4)]


def test_a_start_that_cannot_read_loses_no_lease(daemon):
    """Not even when the very first reading after a start is answered with "not supported"."""
    d = daemon()
    leases = [d.lease("3g.40gb"), d.lease("1c.2g.20gb")]
    for call, code in DENIALS:
        for times in ([], ["--times", 1], ["--times", 2]):
            d.stop()
            d.machine.fault(call, "--return", code, *times)
            d.start()
            d.machine.clear()
            states = [d.get(f"/v1/leases/{x['id']}").json["state"] for x in leases]
            assert states == ["active", "active"], (call, code, times, states)
    assert not d.events("lease.lost") and not d.events("slice.vanished")


def test_a_gpu_that_cannot_be_read_does_not_hold_up_the_others(daemon, machine):
    d = daemon(machine(f"{H100}:2"), start=False)
    uuid = d.machine.show()["gpus"][0]["uuid"]
    d.machine.fault("nvmlDeviceGetGpuInstances", "--return", number("NVML_ERROR_UNKNOWN"), "--gpu",
                    uuid)
    d.start()  # is ready
    assert d.lease("7g.80gb")["gpu_uuid"] != uuid
    waits = d.request("POST", "/v1/leases", {"profile": "1g.10gb", "wait_s": 0}).json
    assert "cannot be read" in d.cli("doctor").stdout
    d.machine.clear()
    assert d.wait_state(waits, "active")["gpu_uuid"] == uuid


def test_a_gpu_that_answers_only_after_the_start_is_taken_up(daemon, machine):
    d = daemon(machine(f"{H100}:2"), config="timing: {call_timeout: 1s}\n", start=False)
    uuid = d.machine.show()["gpus"][1]["uuid"]
    d.machine.fault("nvmlDeviceGetMigMode", "--hang", "9s", "--gpu", uuid, "--times", 1)
    d.start()
    assert [g["health"] for g in d.get("/v1/gpus").json["gpus"]] == ["ok", "failed"]
    until(lambda: d.get("/v1/gpus").json["gpus"][1]["health"] == "ok", "the GPU to answer", 30)
    assert d.get("/v1/gpus").json["gpus"][1]["uuid"] == uuid
    assert {d.lease("7g.80gb")["gpu_uuid"] for _ in range(2)} >= {uuid}


def test_a_late_gpu_finds_its_leases_again(daemon, machine):
    """One that cannot be told apart at the start is taken for absent; it comes with what it has on
    record, and what runs on it is not touched."""
    d = daemon(machine(f"{H100}:3"), config="timing: {scan_interval: 1s}\n")
    gpus = [g["uuid"] for g in d.get("/v1/gpus").json["gpus"]]
    leases = {}
    for _ in gpus:
        made = [d.lease("3g.40gb"), d.lease("3g.40gb")]
        leases[made[0]["gpu_uuid"]] = made
    assert set(leases) == set(gpus)
    loads = [d.machine.load(leases[gpu][0]["mig_uuid"]) for gpu in gpus]
    d.stop()
    for uuid in gpus[1:]:
        d.machine.fault("nvmlDeviceGetUUID", "--return", 999, "--gpu", uuid)
    d.start()
    assert [g["health"] for g in d.get("/v1/gpus").json["gpus"]] == ["ok", "failed", "failed",
                                                                     "lost", "lost"]
    for made in leases.values():
        assert {d.get(f"/v1/leases/{x['id']}").json["state"] for x in made} == {"active"}
    d.machine.clear()
    until(lambda: [g["health"] for g in d.get("/v1/gpus").json["gpus"]] == ["ok"] * 3,
          "the GPUs to be taken up")
    assert [g["uuid"] for g in d.get("/v1/gpus").json["gpus"]] == gpus
    for made in leases.values():
        for was in made:
            now = d.get(f"/v1/leases/{was['id']}").json
            assert (now["state"], now["gpu_uuid"], now["gpu_index"], now["mig_uuid"]) == (
                "active", was["gpu_uuid"], was["gpu_index"], was["mig_uuid"])
    d.release(leases[gpus[2]][1])
    assert d.lease("2g.20gb")["gpu_uuid"] == gpus[2]  # re-cut beside the one that runs
    assert all(load.poll() is None for load in loads) and not d.events("lease.lost")
    d.stop()
    d.start()
    assert len(d.get("/v1/gpus").json["gpus"]) == 3
    for load in loads:
        load.kill()


def test_a_gpu_that_failed_at_the_start_is_asked_again(daemon, machine):
    d = daemon(machine(), config="timing: {scan_interval: 1s}\n", start=False)
    d.machine.fault("nvmlDeviceGetMigMode", "--return", 999)
    d.start()
    assert d.get("/v1/gpus").json["gpus"][0]["health"] == "failed"
    d.machine.clear()
    until(lambda: d.get("/v1/gpus").json["gpus"][0]["health"] == "ok", "the GPU to be taken up")
    assert d.lease("1g.10gb")["state"] == "active"
