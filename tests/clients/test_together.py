"""Several clients on one machine: made in one, seen in a second, destroyed in a third; and beside
tangramd, which must agree with all of them."""
import json
import re

import clients
import pytest

H100 = "H100-SXM5-80GB"

MAKE = """
nvmlInit()
d = nvmlDeviceGetHandleByIndex(0)
at = c_nvmlGpuInstancePlacement_t(2, 2)
gi = nvmlDeviceCreateGpuInstanceWithPlacement(d, 14, byref(at))
nvmlGpuInstanceCreateComputeInstance(gi, 1)
answer = nvmlGpuInstanceGetInfo(gi).id
"""

LIST = """
nvmlInit()
answer = []
for g in range(nvmlDeviceGetCount()):
    d = nvmlDeviceGetHandleByIndex(g)
    for i in range(nvmlDeviceGetMaxMigDeviceCount(d)):
        try:
            mig = nvmlDeviceGetMigDeviceHandleByIndex(d, i)
        except NVMLError_NotFound:
            continue
        gi = nvmlDeviceGetGpuInstanceId(mig)
        place = nvmlGpuInstanceGetInfo(nvmlDeviceGetGpuInstanceById(d, gi)).placement
        texts = [nvmlDeviceGetUUID(d), nvmlDeviceGetUUID(mig), nvmlDeviceGetName(mig)]
        uuids = [t.decode() if isinstance(t, bytes) else t for t in texts]
        answer.append([uuids[0], uuids[1], uuids[2].split(" MIG ")[1], gi, place.start,
                       place.size])
"""


def listed(smi, machine):
    """{(GPU UUID, profile, MIG UUID)} as nvidia-smi -L lists them."""
    found, gpu = set(), None
    for line in smi(machine, "-L").splitlines():
        if got := re.search(r"^GPU .*\(UUID: (GPU-\S+)\)", line):
            gpu = got[1]
        elif got := re.search(r"MIG (\S+) +Device.*\(UUID: (MIG-\S+)\)", line):
            found.add((gpu, got[1], got[2]))
    return found


def test_made_in_one_seen_in_a_second_destroyed_in_a_third(machine):
    py, old, new = (clients.Pynvml("pypi"), clients.nvidia_smi("bookworm"),
                    clients.nvidia_smi("trixie"))
    m = machine(H100)
    new(m, "mig", "-cgi", "3g.40gb:4", "-C")
    (_, _, neighbour), = listed(new, m)
    load = m.load(neighbour, "--memory", "1GiB")
    try:
        gi = py(m, MAKE)
        assert gi == 4
        made, = (x for x in listed(old, m) if x[2] != neighbour)
        assert made[1] == "2g.20gb"
        assert re.search(rf"\| +0 +{gi} +0 +1 +\|.*\| 32 ", old(m))
        # A third one cannot touch the neighbour, and takes away the other.
        new(m, "mig", "-dci", "-gi", "2", check=19)
        new(m, "mig", "-dci", "-gi", gi)
        assert listed(old, m) == {x for x in listed(new, m) if x[2] == neighbour}
        new(m, "mig", "-dgi", "-gi", gi)
        assert [row[1] for row in py(m, LIST)] == [neighbour]
        assert load.poll() is None
        # The same slice made again has the same UUID.
        assert py(m, MAKE) == gi
        assert made in listed(new, m)
    finally:
        load.kill()
        load.wait()


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_all_see_what_tangram_says(machine, daemon, suite):
    smi, py = clients.nvidia_smi(suite), clients.Pynvml(suite)
    m = machine(f"{H100}:2", "A30")
    smi(m, "-i", "2", "-mig", "1")
    d = daemon(m)
    leases = [d.lease(p) for p in ("3g.40gb", "1g.10gb", "2g.12gb", "4g.40gb", "1g.10gb+me")]

    def agree():
        said = json.loads(d.cli("slices", "-o", "json", check=0).stdout)
        rows = {(s["gpu_uuid"], ci["mig_uuid"], ci["profile"], s["gpu_instance_id"],
                 s["placement"]["start"], s["placement"]["size"])
                for s in said for ci in s["compute_instances"]}
        assert rows == {tuple(row) for row in py(m, LIST)}
        assert {(g, p, u) for g, u, p, *_ in rows} == listed(smi, m)
        return rows

    assert len(agree()) == 5
    for lease in leases[::2]:
        d.release(lease)
    held = {lease["mig_uuid"] for lease in leases[1::2]}
    assert held <= {row[1] for row in agree()}


def test_a_foreign_slice_is_seen_and_left_alone(machine, daemon):
    smi = clients.nvidia_smi("trixie")
    m = machine(H100)
    d = daemon(m)
    smi(m, "mig", "-cgi", "3g.40gb:4", "-C")
    (_, _, foreign), = listed(smi, m)
    lease = d.lease("3g.40gb")
    assert lease["mig_uuid"] != foreign
    assert {x[2] for x in listed(smi, m)} == {foreign, lease["mig_uuid"]}
    owners = {ci["mig_uuid"]: s["owner"] for s in d.slices() for ci in s["compute_instances"]}
    assert owners == {foreign: "foreign", lease["mig_uuid"]: "tangram"}
    # What is leased runs, so nvidia-smi cannot take it away either.
    load = m.load(lease["mig_uuid"])
    try:
        smi(m, "mig", "-dci", "-gi", lease["gpu_instance_id"], check=19)
    finally:
        load.kill()
        load.wait()
