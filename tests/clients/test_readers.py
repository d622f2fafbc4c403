"""Programs that read what nvidia-smi prints, or the PCI bus, and packages of few users."""
import json
import re
import shutil

import clients
import pytest
from conftest import Machine
from test_others import needs_namespaces

A100, A30, H100, T4 = "A100-SXM4-40GB", "A30", "H100-SXM5-80GB", "T4"
PYTHON = ["/usr/bin/python3", "-W", "ignore"]


def test_lspci_names_every_model_by_its_device_id(machine):
    models = [m["model"] for m in json.loads(Machine.sim("models", "-o", "json"))
              if m["can_simulate"]]
    for first in range(0, len(models), 8):
        some = models[first:first + 8]
        m = machine(*some, mig=False)
        needs_namespaces(m)
        lines = clients.lspci()(m).splitlines()
        assert len(lines) == len(some)
        for model, line in zip(some, lines):
            name = re.search(r"3D controller: NVIDIA Corporation \w+ \[(.*)\]", line)[1]
            words = {"RTX-PRO": "RTX PRO"}.get(model[:7], model.split("-")[0])
            assert words in name, (model, line)


def test_lspci_tells_of_memory_and_driver(machine):
    m = machine(H100, mig=False)
    needs_namespaces(m)
    out = clients.lspci()(m, "-v", check=None)
    assert "Memory at" in out and "[size=128G]" in out and "[size=16M]" in out
    assert "Kernel driver in use: nvidia" in out


ALLOCATOR = """
import json
from pynvmig import MIGConfigManager, MIGInstanceAllocator
manager = MIGConfigManager()  # writes down the profiles, which the allocator then reads
allocator = MIGInstanceAllocator()
taken = allocator.allocate_mig_resource(12, 0)
answers = [taken, manager.list_gpu_instances(0), manager.list_compute_instances(0),
           manager.get_mig_devices_uuids(0)]
manager.enable_pm_mode(0)
print("ANSWER " + json.dumps(answers))
manager.destroy_compute_instance(0, [int(gi["gi_id"]) for gi in answers[1]])
manager.destroy_gpu_instance(0)
manager.disable_pm_mode(0)
"""


def test_a_mig_allocator(machine, tmp_path):
    """nvidia-mig-py cuts an A30 into its smallest slices, and makes a larger one of the last two:
    right only where the driver puts these side by side."""
    m = machine(A30)
    package = clients.had(clients.fetch.pypi, "nvidia-mig-py") / "pynvmig"
    shutil.copytree(package, tmp_path / "program" / "pynvmig")  # it writes beside itself
    (tmp_path / "program" / "main.py").write_text(ALLOCATOR)
    clients.nvidia_smi("trixie")(m, "mig", "-cgi", "2g.12gb", "-C")
    out = clients.over_nvidia_smi([*PYTHON, tmp_path / "program" / "main.py"], tmp_path)(m)
    taken, gis, cis, uuids = json.loads(re.search(r"ANSWER (.*)", out)[1])
    assert "Reinitializing MIG resources on GPUs: [0]" in out
    assert taken["mig_profile"] == "2g.12gb"
    assert taken["uuid"] in [u["uuid"] for u in uuids]
    names = sorted(gi["mig_profile"] for gi in gis)
    assert names == ["1g.6gb", "1g.6gb", "2g.12gb"] == sorted(ci["mig_profile"] for ci in cis)
    assert m.show()["gpus"][0]["gpu_instances"] == []


def test_htop_of_nvidia_smi(machine, tmp_path):
    m = machine(H100, T4, mig=False)
    program = clients.had(clients.fetch.pypi, "nvidia-htop") / "bin" / "nvidia-htop.py"
    run = clients.over_nvidia_smi([*PYTHON, program, "-m"], tmp_path, "nvidia-htop")
    assert "No running processes found" in run(m)
    load = m.load(m.show()["gpus"][1]["uuid"], "--memory", "3GiB")
    out = run(m)
    load.kill()
    load.wait()
    assert re.search(rf"\| +1 +{load.pid} +\S+ +3072MiB +[\d.]+ ", out), out


def test_nvsmi(machine, tmp_path):
    m = machine(H100, T4, mig=False)
    load = m.load(m.show()["gpus"][1]["uuid"], "--memory", "3GiB")
    program = ("import nvsmi\n"
               "for one in [*nvsmi.get_gpus(), *nvsmi.get_gpu_processes()]: print(one)")
    out = clients.over_nvidia_smi([*PYTHON, "-c", program], tmp_path, "nvsmi")(m).splitlines()
    load.kill()
    load.wait()
    assert len(out) == 3 and "mem_total: 81559.0MB" in out[0] and "mem_total: 15360.0MB" in out[1]
    assert str(load.pid) in out[2] and "3072" in out[2]


def test_py3nvml(machine, tmp_path):
    m = machine(H100, T4, mig=False)
    program = clients.had(clients.fetch.pypi, "py3nvml") / "bin" / "py3smi"
    out = clients.over_nvidia_smi([*PYTHON, program], tmp_path, "py3nvml")(m)
    assert re.search(r"\| +0 N/A% +\d+C +\d +\d+W / 700W \| +\d+MiB / 81559MiB ", out)
    assert re.search(r"\| +1 N/A% +\d+C +\d +\d+W / +70W \| +\d+MiB / 15360MiB ", out)


def probe(folder, *args):
    program = clients.had(clients.fetch.pypi, "voltry-probe") / "bin" / "voltry"
    return clients.over_nvidia_smi([*PYTHON, program, "scan", "--ephemeral-key", *args], folder,
                                   "voltry-probe", "nvidia-ml-py")


@pytest.mark.parametrize("model, links", [(A100, 12), (H100, 18)])
def test_a_probe_of_what_a_board_has_lived_through(machine, tmp_path, model, links):
    m = machine(model, mig=False)
    probe(tmp_path, "--out", tmp_path / "bundle")(m)
    found = json.loads((tmp_path / "bundle").read_text())["measured"]
    assert found["ecc"]["aggregate_uncorrectable"] == found["pages"]["retired"] == 0
    assert found["spare_rows"]["used"] == 0 < found["spare_rows"]["remaining"]
    assert found["nvlink"]["active_links"] == found["nvlink"]["total_links"] == links


def test_the_probe_wants_a_gpu_that_is_not_cut_nor_old(machine, tmp_path):
    m = machine(H100)
    clients.nvidia_smi("trixie")(m, "mig", "-cgi", "9", "-C")
    assert "row remapping is not readable while MIG mode is enabled" in probe(tmp_path)(m, check=2)
    m = machine(T4, mig=False)
    assert "does not support row remapping (pre-Ampere" in probe(tmp_path)(m, check=2)
