"""Discovery: every model that can be simulated, held against what the library itself says."""
import json
import subprocess
import sys

import pytest

from conftest import BUILD, foreign_env, H100, until

ON_DEMAND = "gpus: [{mig_mode: on-demand}]\n"

# Runs in a process of its own, with the machine in its environment: (name, [profile...]) per GPU,
# as an independent reading of NVIDIA's header.
ASK = """
import ctypes, json
class Info(ctypes.Structure):
    _fields_ = [(n, ctypes.c_uint) for n in ("version", "id", "p2p", "slices", "instances", "sms",
                "copy", "dec", "enc", "jpeg", "ofa")] + [("mib", ctypes.c_ulonglong),
                ("name", ctypes.c_char * 96)]
class Place(ctypes.Structure):
    _fields_ = [("start", ctypes.c_uint), ("size", ctypes.c_uint)]
n = ctypes.CDLL("libnvidia-ml.so.1")
assert n.nvmlInit_v2() == 0
count = ctypes.c_uint()
assert n.nvmlDeviceGetCount_v2(ctypes.byref(count)) == 0
out = []
for i in range(count.value):
    d, name, uuid = ctypes.c_void_p(), ctypes.create_string_buffer(96), \\
        ctypes.create_string_buffer(96)
    assert n.nvmlDeviceGetHandleByIndex_v2(i, ctypes.byref(d)) == 0
    assert n.nvmlDeviceGetName(d, name, 96) == 0 and n.nvmlDeviceGetUUID(d, uuid, 96) == 0
    profiles = {}
    for p in range(32):
        info = Info()
        info.version = ctypes.sizeof(Info) | 2 << 24
        if n.nvmlDeviceGetGpuInstanceProfileInfoV(d, p, ctypes.byref(info)):
            continue
        places, room = (Place * 64)(), ctypes.c_uint(64)
        assert n.nvmlDeviceGetGpuInstancePossiblePlacements_v2(
            d, info.id, places, ctypes.byref(room)) == 0
        label = info.name.decode().removeprefix("MIG ")
        profiles[label] = dict(id=info.id, compute=info.slices, slots=places[0].size,
                               memory_mib=info.mib, multiprocessors=info.sms, max=info.instances,
                               starts=[x.start for x in places[:room.value]])
    out.append(dict(name=name.value.decode(), uuid=uuid.value.decode(), profiles=profiles))
print(json.dumps(out))
"""


def models():
    text = subprocess.run([BUILD / "tangram-sim", "models"], check=True, text=True,
                          capture_output=True).stdout.split("\n\n")[0]
    return [line.split()[0] for line in text.splitlines()[1:]]


def ask_library(machine):
    return json.loads(subprocess.run([sys.executable, "-c", ASK], env=foreign_env(machine.env), check=True,
                                     text=True, capture_output=True, timeout=60).stdout)


def test_every_model_is_read_from_the_driver(daemon, machine):
    names = models()
    assert len(names) > 15 and "A30" in names and "RTX-PRO-6000-BSE" in names
    d = daemon(machine(*names))
    ours = json.loads(d.cli("gpus", "-o", "json", check=0).stdout)
    ours = ours["gpus"] if isinstance(ours, dict) else ours
    theirs = ask_library(d.machine)
    assert len(ours) == len(theirs) == len(names)
    for mine, real in zip(ours, theirs):
        assert (mine["name"], mine["uuid"]) == (real["name"], real["uuid"])
        seen = {p["name"]: {k: p[k] for k in ("id", "compute", "slots", "memory_mib",
                                              "multiprocessors", "max", "starts")}
                for p in mine["profiles"]}
        assert seen == real["profiles"], mine["name"]
        assert mine["memory_slots"] == max((p["starts"][-1] + p["slots"] for p in seen.values()),
                                           default=0)
        assert mine["mig"]["capable"] == bool(seen)


def test_a_gpu_without_mig_is_shown_and_leased_whole(daemon, machine):
    """Beside one with MIG: slices come from that one, the whole one stays as it is."""
    d = daemon(machine("T4", "A30", "L40S"))
    t4, a30, l40s = d.get("/v1/gpus").json["gpus"]
    assert [g["mig"]["capable"] for g in (t4, a30, l40s)] == [False, True, False]
    assert (t4["name"], t4["profiles"], t4["note"]) == ("Tesla T4", [], None)
    assert "this model cannot be cut" in d.cli("status", check=0).stdout
    whole = [row for row in json.loads(d.cli("profiles", "-o", "json", check=0).stdout)
             if row["profile"] == "gpu"]
    assert [(row["model"], row["compute"]) for row in whole] == [
        ("Tesla T4", None), ("NVIDIA A30", 4), ("NVIDIA L40S", None)]
    leases = [d.lease("1g.6gb") for _ in range(4)]
    assert {lease["gpu_uuid"] for lease in leases} == {a30["uuid"]}
    over = d.request("POST", "/v1/leases", {"profile": "1g.6gb", "model": "T4", "wait_s": -1})
    assert (over.status, over.json["reason"]) == (422, "can_never_fit")
    whole = d.lease("gpu", model="T4")
    assert whole["env"]["CUDA_VISIBLE_DEVICES"] == t4["uuid"]
    for lease in (*leases, whole):
        d.release(lease)
    assert [g["mig"] for g in d.machine.show()["gpus"]] == [False, True, False]


def test_who_wants_any_gpu_gets_one_that_cannot_be_cut(daemon, machine):
    """The other one is of use for slices, too; it is taken when there is nothing else."""
    d = daemon(machine("A30", "T4"))
    a30, t4 = d.get("/v1/gpus").json["gpus"]
    wholes = [d.lease("gpu") for _ in range(2)]
    assert [w["gpu_uuid"] for w in wholes] == [t4["uuid"], a30["uuid"]]


@pytest.mark.parametrize("model", ["A30", "A100-SXM4-40GB", H100, "H200-SXM5-141GB", "B200-180GB",
                                   "GH200-96GB", "RTX-PRO-6000-BSE"])
def test_one_lease_of_each_profile(daemon, machine, model):
    d = daemon(machine(model))
    gpu = d.get("/v1/gpus").json["gpus"][0]
    for profile in gpu["profiles"]:
        lease = d.lease(profile["name"])
        assert lease["slices"][0]["profile"] == profile["name"]
        assert lease["placement"]["size"] == profile["slots"]
        assert lease["placement"]["start"] in profile["starts"]
        assert lease["mig_uuid"] in json.dumps(d.machine.show())
        d.release(lease)
    most = max(p["max"] for p in gpu["profiles"])
    small = next(p["name"] for p in gpu["profiles"] if p["max"] == most)
    d.lease(small, count=most)
    over = d.request("POST", "/v1/leases", {"profile": small, "wait_s": -1})
    assert over.status == 409 and len(over.json["blocking"]) == most


def test_engines_are_counted_as_the_driver_does(daemon, machine):
    """+gfx, +me.all and -me: what one of them takes is missing for the other."""
    d = daemon(machine("RTX-PRO-6000-BSE"))
    gpu = d.get("/v1/gpus").json["gpus"][0]
    for profile in (p for p in gpu["profiles"] if "+" in p["name"]):
        leases = [d.lease(profile["name"]) for _ in range(profile["max"])]
        over = d.request("POST", "/v1/leases", {"profile": profile["name"], "wait_s": -1})
        assert over.status == 409 and over.json["blocking"], profile
        free = {p["name"]: p["free"] for p in d.get("/v1/gpus").json["gpus"][0]["profiles"]}
        assert free[profile["name"]] == 0
        for lease in leases:
            d.release(lease)


def test_gpu_without_mig_is_leased_whole_and_only_whole(daemon, machine):
    d = daemon(machine("RTX-4090", mig=False) if "RTX-4090" in models() else
               machine(H100, mig=False))
    lease = d.lease("gpu")
    assert lease["env"]["CUDA_VISIBLE_DEVICES"] == lease["gpu_uuid"]
    refused = d.request("POST", "/v1/leases", {"profile": "1g.10gb"})
    assert refused.status == 422, refused
    second = d.request("POST", "/v1/leases", {"profile": "gpu", "wait_s": -1})
    assert second.status == 409 and second.json["blocking"][0]["lease"] == lease["id"]
    d.release(lease)


def test_ampere_without_mig_says_what_the_administrator_has_to_do(daemon, machine):
    d = daemon(machine("A30:2", H100, mig=False), config="""
gpus:
  - {match: {model: A30}, mig_mode: on-demand}
  - {match: {model: H100}, mig_mode: keep}
""")
    done = d.cli("lease", "-p", "1g.6gb")
    assert done.returncode == 3
    assert "GPU 0,1:" in done.stderr and "nvidia-smi -i 0,1 -mig 1" in done.stderr
    assert "reset" in done.stderr
    # GPU 2 would not have that profile with MIG on, either.
    assert "there is 1g.10gb" in done.stderr and "nvidia-smi -i 2" not in done.stderr
    for text in (d.cli("status", check=0).stdout, d.cli("gpus", check=0).stdout,
                 d.cli("doctor").stdout):
        assert "switched on when a slice is wanted" not in text
        assert "nvidia-smi -i 1 -mig 1" in text
    assert d.lease("gpu", model="A30")["gpu_index"] == 0


def test_ampere_cut_once_its_mode_is_switched_on_by_hand(daemon, machine):
    d = daemon(machine("A30", mig=False), config=ON_DEMAND + "timing: {scan_interval: 1s}\n")
    assert d.get("/v1/gpus").json["gpus"][0]["mig"]["mode"] == "disabled"
    d.machine.enable_mig()
    until(lambda: d.get("/v1/gpus").json["gpus"][0]["profiles"], "the profiles to be read")
    assert d.lease("1g.6gb")["placement"]["size"] == 1


def test_mode_switched_on_demand_is_the_drivers_time(daemon, machine):
    d = daemon(machine(H100, mig=False, latency="typical"), config=ON_DEMAND)
    assert "switched on when a slice is wanted" in d.cli("status", check=0).stdout
    timing = d.lease("1g.10gb")["timing"]
    assert timing["driver_ms"] > 100 and timing["overhead_ms"] < timing["driver_ms"], timing
    assert timing["overhead_ms"] < 200, timing


def test_plan_does_not_guess_how_long_it_takes(daemon):
    d = daemon()
    body = {"requests": [{"profile": "2g.20gb", "count": 1}]}
    before = d.request("POST", "/v1/plan", body).json
    assert before["fits"] and before["estimate_ms"] is None
    d.release(d.lease("2g.20gb"))
    assert d.request("POST", "/v1/plan", body).json["steps"][0]["reuses"]
    assert d.request("POST", "/v1/plan", {"requests": [{"profile": "4g.40gb"}]}
                     ).json["estimate_ms"] is not None


def test_foreign_slices_are_shown_and_left_alone(daemon, machine):
    m = machine(H100)
    make = ASK.split("out = []")[0] + """
d, gi, ci = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
assert n.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(d)) == 0
info = Info(); info.version = ctypes.sizeof(Info) | 2 << 24
assert n.nvmlDeviceGetGpuInstanceProfileInfoV(d, 2, ctypes.byref(info)) == 0
assert n.nvmlDeviceCreateGpuInstance(d, info.id, ctypes.byref(gi)) == 0
assert n.nvmlGpuInstanceCreateComputeInstance(gi, 2, ctypes.byref(ci)) == 0
"""
    subprocess.run([sys.executable, "-c", make], env=foreign_env(m.env), check=True, timeout=60)
    d = daemon(m)
    row = d.slices()[0]
    assert row["state"] == "foreign" and row["profile"] == "3g.40gb"
    never = d.request("POST", "/v1/leases", {"profile": "7g.80gb", "wait_s": 0})
    assert never.status == 202
    why = d.get(f"/v1/leases/{never.json['id']}/why").json
    assert "foreign" in why["would_help"][0], why
    uuid = row["compute_instances"][0]["mig_uuid"]
    assert d.cli("disown", uuid).returncode != 0
    adopted = d.cli("adopt", uuid)
    assert adopted.returncode == 0, adopted
    assert d.wait_state(never.json, "active")
    assert uuid not in json.dumps(d.machine.show())
    assert d.events("slice.adopted")
