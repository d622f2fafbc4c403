"""nvidia-smi of two drivers, unmodified, with every command that looks at GPUs or cuts them."""
import csv
import re
import xml.etree.ElementTree as ET

import clients
import pytest

A100, A30, H100 = "A100-SXM4-40GB", "A30", "H100-SXM5-80GB"
BLACKWELL = "RTX-PRO-6000-BSE"
# What nvidia-smi says when the library gave an answer that it cannot use.
BAD = re.compile(r"ERR!|Uninitialized|Function Not Found|Unknown Error|Mismatch|Internal NVML")


@pytest.fixture(params=["bookworm", "trixie"], ids=["535", "550"])
def smi(request):
    return clients.nvidia_smi(request.param)


def gpu_uuid(smi, machine, index=0):
    return re.findall(r"^GPU \d+: .*\(UUID: (GPU-[0-9a-f-]+)\)", smi(machine, "-L"), re.M)[index]


def mig_devices(smi, machine):
    """[(profile, MIG UUID)] in order, as `nvidia-smi -L` lists them."""
    return re.findall(r"MIG (\S+)\s+Device +\d+: \(UUID: (MIG-[0-9a-f-]+)\)", smi(machine, "-L"))


def instances(smi, machine):
    """{GPU instance id: (profile, start, size)} of GPU 0, from `mig -lgi`."""
    rows = re.findall(r"\| +\d+ +MIG (\S+) +\d+ +(\d+) +(\d+):(\d+) +\|",
                      smi(machine, "mig", "-lgi", check=None))
    return {int(gi): (name, int(start), int(size)) for name, gi, start, size in rows}


@pytest.mark.parametrize("is_cut", [False, True], ids=["mig-off", "mig-on"])
@pytest.mark.parametrize("model", [A100, H100, A30, BLACKWELL])
def test_looks_at_every_part(smi, machine, model, is_cut):
    m = machine(f"{model}:2", mig=False)
    if is_cut:
        smi(m, "-i", "0", "-mig", "1")
        smi(m, "mig", "-i", "0", "-cgi", {A30: "2g.12gb", BLACKWELL: "2g.48gb"}.get(model, "9"),
            "-C")
    for command in ([], ["-L"], ["-q"], ["-i", "0"], ["-q", "-i", "1"], ["mig", "-lgip"],
                    ["-q", "-d", "MEMORY,UTILIZATION,ECC,TEMPERATURE,POWER,CLOCK,COMPUTE,PIDS"],
                    ["mig", "-lgipp"], ["mig", "-lgi"], ["mig", "-lci"], ["mig", "-lcip"],
                    ["mig", "-lcipp"], ["-i", gpu_uuid(smi, m)], ["nvlink", "-s"],
                    ["--query-compute-apps=pid,name,used_memory,gpu_uuid", "--format=csv"],
                    ["--query-remapped-rows=gpu_uuid", "--format=csv"], ["-B"]):
        out = smi(m, *command, check=None)
        assert not BAD.search(out), (command, out)
    table = smi(m)
    assert ("Enabled" in table) == is_cut
    assert ("MIG devices:" in table) == is_cut and "No MIG devices found" not in table
    assert len(mig_devices(smi, m)) == is_cut
    assert smi(m, "-L").count("GPU-") == 2


def test_every_property_can_be_asked(smi, machine):
    m = machine(A100, H100, mig=False)
    smi(m, "-i", "1", "-mig", "1")
    names = re.findall(r'^"([a-z0-9_.]+)"', smi(m, "--help-query-gpu"), re.M)
    assert len(names) > 120
    out = smi(m, f"--query-gpu={','.join(names)}", "--format=csv,nounits")
    assert not BAD.search(out), out
    head, *rows = csv.reader(out.splitlines(), skipinitialspace=True)
    assert len(head) == len(names) and [len(r) for r in rows] == [len(names)] * 2
    a100, h100 = (dict(zip(names, row)) for row in rows)
    assert a100["name"] == "NVIDIA A100-SXM4-40GB" and a100["memory.total"] == "40960"
    assert (a100["mig.mode.current"], h100["mig.mode.current"]) == ("Disabled", "Enabled")
    assert a100["utilization.gpu"] == "0" and h100["utilization.gpu"] == "[N/A]"
    limits = [a100[f"power.{k}_limit"] for k in ("min", "default", "max")]
    assert limits == ["100.00", "400.00", "400.00"]
    assert (a100["compute_cap"], h100["compute_cap"]) == ("8.0", "9.0")


def test_xml(smi, machine):
    m = machine(H100)
    smi(m, "mig", "-cgi", "3g.40gb,1g.10gb", "-C")
    tree = ET.fromstring(re.sub(r"<!DOCTYPE[^>]*>", "", smi(m, "-q", "-x")))
    gpu, = tree.findall("gpu")
    assert gpu.findtext("mig_mode/current_mig") == "Enabled"
    assert gpu.findtext("bar1_memory_usage/total") == "131072 MiB"
    found = {int(d.findtext("gpu_instance_id")): (
        d.findtext("device_attributes/shared/multiprocessor_count"),
        d.findtext("device_attributes/shared/copy_engine_count"),
        d.findtext("fb_memory_usage/total")) for d in gpu.iter("mig_device")}
    assert found == {2: ("60", "3", "40448 MiB"), 7: ("16", "1", "9984 MiB")}


def test_cuts_and_returns(smi, machine):
    m = machine(A100, mig=False)
    assert "Enabled MIG Mode for GPU 00000000:" in smi(m, "-i", "0", "-mig", "1")
    assert "No GPU instances found: Not Found" in smi(m, "mig", "-lgi", check=6)
    # Two halves by id, then without room for a third.
    out = smi(m, "mig", "-cgi", "9,9")
    assert re.findall(r"GPU instance ID +(\d+)", out) == ["2", "1"]
    assert "Insufficient Resources" in smi(m, "mig", "-cgi", "9", check=23)
    assert sorted(instances(smi, m).values()) == [("3g.20gb", 0, 4), ("3g.20gb", 4, 4)]
    assert mig_devices(smi, m) == []  # no compute instance, no MIG device
    smi(m, "mig", "-gi", "1", "-cci", "0,0")
    smi(m, "mig", "-gi", "2", "-cci")
    assert [name for name, _ in mig_devices(smi, m)] == ["1c.3g.20gb", "1c.3g.20gb", "3g.20gb"]
    out = smi(m, "mig", "-dgi", "-gi", "1", check=19)
    assert "In use by another client" in out
    smi(m, "mig", "-dci", "-gi", "1")
    smi(m, "mig", "-dgi", "-gi", "1")
    assert list(instances(smi, m)) == [2]
    smi(m, "mig", "-dci")
    smi(m, "mig", "-dgi")
    assert "Disabled MIG Mode" in smi(m, "-i", "0", "-mig", "0")


def test_names_and_placements(smi, machine):
    m = machine(H100)
    smi(m, "mig", "-cgi", "1g.10gb:5,2g.20gb:0", "-C")
    assert sorted(instances(smi, m).values()) == [("1g.10gb", 5, 1), ("2g.20gb", 0, 2)]
    assert [name for name, _ in mig_devices(smi, m)] == ["2g.20gb", "1g.10gb"]
    smi(m, "mig", "-cgi", "1g.10gb:9", check=2)  # no such place
    smi(m, "mig", "-cgi", "1g.10gb:5", check=23)  # taken
    smi(m, "mig", "-cgi", "77", check=2)
    smi(m, "mig", "-cgi", "9g.90gb", check=2)
    # What was created before the first failure stays.
    smi(m, "mig", "-cgi", "1g.10gb:6,1g.10gb:6", check=23)
    assert ("1g.10gb", 6, 1) in instances(smi, m).values()


def test_profiles_as_in_the_user_guide(smi, machine):
    m = machine(A100)
    out = smi(m, "mig", "-lgip")
    rows = re.findall(r"\| +0 +MIG (\S+) +(\d+) +(\d)/(\d) +([\d.]+) +(\w+) +(\d+) ", out)
    assert [r for r in rows if "+" not in r[0]] == [
        ("1g.5gb", "19", "7", "7", "4.75", "No", "14"),
        ("1g.10gb", "15", "4", "4", "9.75", "No", "14"),
        ("2g.10gb", "14", "3", "3", "9.75", "No", "28"),
        ("3g.20gb", "9", "2", "2", "19.62", "No", "42"),
        ("4g.20gb", "5", "1", "1", "19.62", "No", "56"),
        ("7g.40gb", "0", "1", "1", "39.38", "No", "98")]
    places = smi(m, "mig", "-lgipp")
    assert re.search(r"Profile ID 19 Placements: \{0,1,2,3,4,5,6\}:1", places)
    assert re.search(r"Profile ID +9 Placements: \{0,4\}:4", places)
    assert re.search(r"Profile ID +5 Placement +: \{0\}:4", places)


def test_mig_off(machine):
    old, new = clients.nvidia_smi("bookworm"), clients.nvidia_smi("trixie")
    m = machine(H100, mig=False)
    # The one asks for the mode first, the other only where something would be changed.
    assert "No MIG-enabled devices found." in old(m, "mig", "-lgip", check=6)
    assert "0/7" in new(m, "mig", "-lgip")
    assert "No MIG-enabled devices found." in new(m, "mig", "-lgi")
    assert "No MIG-enabled devices found." in new(m, "mig", "-cgi", "19")


def test_processes(smi, machine):
    m = machine(H100)
    smi(m, "mig", "-cgi", "9,14", "-C")
    (_, busy), (_, other) = mig_devices(smi, m)
    load = m.load(busy, "--memory", "2GiB", "--sm", "50")
    try:
        table = smi(m)
        gi = next(iter(i for i, (name, *_) in instances(smi, m).items() if name == "3g.40gb"))
        assert re.search(rf"\| +0 +{gi} +0 +{load.pid} +C +\S*tangram-sim", table), table
        apps = smi(m, "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits")
        assert f"{load.pid}, 2048" in apps
        smi(m, "mig", "-dci", "-gi", str(gi), check=19)  # in use
        free, = [i for i in instances(smi, m) if i != gi]
        smi(m, "mig", "-dci", "-gi", str(free))
        smi(m, "mig", "-dgi", "-gi", str(free))
        assert mig_devices(smi, m) == [("3g.40gb", busy)] and other != busy
        assert "pending disable" in smi(m, "-i", "0", "-mig", "0").lower()
    finally:
        load.kill()
        load.wait()


@pytest.mark.parametrize("code, text, status", [
    (9, "couldn't communicate with the NVIDIA driver", 9),
    (18, "Failed to initialize NVML: Driver/library version mismatch", 18),
    (4, "Failed to initialize NVML: Insufficient Permissions", 4),
    (12, "couldn't find libnvidia-ml.so library", 12),
    (999, "Failed to initialize NVML: Unknown Error", 255)])
def test_a_driver_that_does_not_start(smi, machine, code, text, status):
    m = machine(H100, mig=False)
    m.fault("nvmlInitWithFlags", "--return", code)
    assert text in smi(m, check=status)
    m.clear()
    assert "H100" in smi(m, "-L")


def test_no_machine(smi, machine):
    m = machine(H100, mig=False)
    m.path = m.path / "nowhere"
    assert "couldn't communicate with the NVIDIA driver" in smi(m, check=9)


def test_a_lost_gpu(smi, machine):
    m = machine(H100, A30, mig=False)
    m.fault("nvmlDeviceGetHandleByIndex_v2", "--return", 15, "--gpu", 0)
    out = smi(m, "-L", check=None)
    assert "GPU is lost.  Reboot the system to recover this GPU" in out
    m.clear()
    assert smi(m, "-L").count("UUID") == 2


@pytest.mark.parametrize("call, code, args, text, status", [
    ("nvmlDeviceSetMigMode", 4, ["-i", "0", "-mig", "0"], "Insufficient Permissions", 4),
    ("nvmlDeviceSetMigMode", 3, ["-i", "0", "-mig", "0"], "All done", 0),
    ("nvmlDeviceCreateGpuInstance", 23, ["mig", "-cgi", "19"], "Insufficient Resources", 23),
    ("nvmlDeviceCreateGpuInstance", 4, ["mig", "-cgi", "19"], "Insufficient Permissions", 4),
    ("nvmlGpuInstanceDestroy", 19, ["mig", "-dgi"], "In use by another client", 19),
    ("nvmlDeviceGetTemperature*", 3, [], "N/A", 0),
    ("nvmlEventSetCreate", 999, [], "", 255)])
def test_calls_that_fail(smi, machine, call, code, args, text, status):
    m = machine(H100)
    smi(m, "mig", "-cgi", "14")
    m.fault(call, "--return", code)
    assert text in smi(m, *args, check=status)
