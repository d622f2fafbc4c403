"""Programs that were not in mind when the simulator was written: monitors, hwloc, Slurm."""
import json
import os
import re

import clients
import pytest

H100, A30 = "H100-SXM5-80GB", "A30"


@pytest.fixture
def cut(machine):
    """Two H100: the first has a 3g and two 1g, the second is whole.  A load on the 3g."""
    smi = clients.nvidia_smi("bookworm")
    m = machine(f"{H100}:2", mig=False)
    smi(m, "-i", "0", "-mig", "1")
    smi(m, "mig", "-i", "0", "-cgi", "9,19,19", "-C")
    m.uuids = re.findall(r"MIG-[0-9a-f-]{36}", smi(m, "-L"))
    load = m.load(m.uuids[0], "--memory", "4GiB")
    m.load_pid = load.pid
    yield m
    load.kill()
    load.wait()


def needs_namespaces(machine):
    out = clients.Client(["true"], inside=True)(machine, check=None)
    if "namespace" in out or "private" in out:
        pytest.skip("no mount namespaces here: " + out.strip())


def test_nvitop(cut):
    out = clients.python_program("nvitop")(cut, "-1", "--ascii")
    rows = re.findall(r"\| 0:(\d) +(\S+) @ GI/CI: (\d+)/(\d+) \| +([\d.]+\w+) / +([\d.]+\w+)", out)
    assert [r[:4] for r in rows] == [("0", "3g.40gb", "2", "0"), ("1", "1g.10gb", "7", "0"),
                                     ("2", "1g.10gb", "8", "0")]
    assert rows[0][4:] == ("4122MiB", "39.50GiB")
    assert re.search(rf"\| 0:0 +{cut.load_pid} C ", out), out


def test_gpustat(cut):
    got = json.loads(clients.python_program("gpustat")(cut, "--json"))["gpus"]
    assert [g["name"] for g in got] == ["NVIDIA H100 80GB HBM3"] * 2
    assert [g["utilization.gpu"] for g in got] == [None, 0]
    assert [p["pid"] for p in got[0]["processes"]] == [cut.load_pid]
    assert got[1]["processes"] == []


def test_hwloc_finds_the_gpus_on_their_bus(machine):
    m = machine(H100, A30, mig=False)
    needs_namespaces(m)
    out = clients.lstopo()(m, "--of", "console", "--whole-io")
    assert re.search(r"PCI 07:00\.0 \(3D\)\n +GPU\(NVML\) \"nvml0\"", out), out
    assert re.search(r"PCI 0f:00\.0 \(3D\)\n +GPU\(NVML\) \"nvml1\"", out), out


def test_slurm_finds_gpus_and_slices(cut, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("slurmd wants to be root")
    if not os.path.ismount("/sys/fs/cgroup"):
        pytest.skip("slurmd wants control groups")
    needs_namespaces(cut)
    gpu = "nvidia_h100_80gb_hbm3"
    slurmd = clients.slurmd(tmp_path, f"gpu:{gpu}:1,gpu:{gpu}_3g.40gb:1,gpu:{gpu}_1g.10gb:2")
    out = slurmd(cut, "-G")
    assert "error" not in out
    rows = re.findall(r"Gres Name=gpu Type=(\S+) Count=1 .* File=(\S+) ", out)
    caps = "/dev/nvidia0,/dev/nvidia-caps/nvidia-cap{},/dev/nvidia-caps/nvidia-cap{}"
    # Capability files: 3 + 9 * GPU instance, and one more for its compute instance.
    assert sorted(rows) == [(gpu, "/dev/nvidia1"), (f"{gpu}_1g.10gb", caps.format(66, 67)),
                            (f"{gpu}_1g.10gb", caps.format(75, 76)),
                            (f"{gpu}_3g.40gb", caps.format(21, 22))]


def test_glances(cut):
    out = clients.python_program("glances", "nvidia-ml-py")(
        cut, "--stdout-json", "gpu", "--stop-after", "2")
    gpus = json.loads(re.search(r'\{"gpu": ?\[\{.*', out)[0])["gpu"]
    assert [g["name"] for g in gpus] == ["NVIDIA H100 80GB HBM3"] * 2
    assert gpus[0]["proc"] is None and gpus[1]["proc"] == 0  # none of a GPU that is cut up
    assert 5 < gpus[0]["mem"] < 7 and gpus[1]["mem"] < 1
    assert all(25 <= g["temperature"] <= 80 for g in gpus)


def test_gputil_reads_nvidia_smi(cut):
    smi = clients.nvidia_smi("trixie").command[0]
    script = ("import GPUtil, json\n"
              "print(json.dumps([[g.uuid, g.memoryTotal, g.memoryUsed, g.load, g.temperature]"
              " for g in GPUtil.getGPUs()]))")
    run = clients.Client(["/usr/bin/python3", "-W", "ignore", "-c", script],
                         PYTHONPATH=clients.had(clients.fetch.pypi, "gputil"),
                         PATH=f"{os.path.dirname(smi)}:{os.environ['PATH']}")
    first, second = json.loads(run(cut).splitlines()[-1].replace("NaN", "null"))
    assert first[1:4] == [81559.0, 4096.0 + 26 + 9 + 9, None]
    assert second[1:4] == [81559.0, 0.0, 0.0]
