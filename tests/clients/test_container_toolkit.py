"""nvidia-ctk of NVIDIA's container toolkit: what a container needs of each GPU and slice.

It looks at NVML, at /proc/driver/nvidia/capabilities and at the device nodes, all of them in their
places inside `tangram-sim shell`."""
import json
import re

import clients
import pytest
from test_others import needs_namespaces

A100 = "A100-SXM4-40GB"


@pytest.fixture
def spec(machine, tmp_path):
    """The container device specification of a machine: {device name: [device nodes]}."""
    program, smi = clients.container_toolkit(), clients.nvidia_smi("trixie")
    m = machine(A100, "T4", mig=False)
    needs_namespaces(m)
    smi(m, "-i", "0", "-mig", "1")
    smi(m, "mig", "-i", "0", "-cgi", "9,14,19", "-C")
    # A driver's installation has its library under its version as well.
    driver = tmp_path / "driver"
    driver.mkdir()
    library = (clients.LIBRARY_DIR / "libnvidia-ml.so.1").resolve().read_bytes()
    (driver / "libnvidia-ml.so.590.48.01").write_bytes(library)

    def make(*args):
        out = program(m, "--quiet", "cdi", "generate", "--format", "json",
                      "--library-search-path", driver, *args)
        devices = json.loads(out[out.index("{"):])["devices"]
        return {d["name"]: [n["path"] for n in d["containerEdits"]["deviceNodes"]]
                for d in devices}
    make.machine, make.smi = m, smi
    return make


def test_devices_of_containers(spec):
    by_index = spec("--device-name-strategy", "index")
    # Minors: 3 + 135 for each GPU + 9 for each GPU instance; the compute instance's is the next.
    assert by_index == {
        "0:0": ["/dev/nvidia0", "/dev/nvidia-caps/nvidia-cap21", "/dev/nvidia-caps/nvidia-cap22"],
        "0:1": ["/dev/nvidia0", "/dev/nvidia-caps/nvidia-cap30", "/dev/nvidia-caps/nvidia-cap31"],
        "0:2": ["/dev/nvidia0", "/dev/nvidia-caps/nvidia-cap84", "/dev/nvidia-caps/nvidia-cap85"],
        "1": ["/dev/nvidia1"],
        "all": by_index["all"],
    }
    assert set(by_index["all"]) == {p for n, ps in by_index.items() if n != "all" for p in ps}
    by_uuid = spec("--device-name-strategy", "uuid")
    listed = spec.smi(spec.machine, "-L")
    assert set(by_uuid) - {"all"} == {*re.findall(r"MIG-[0-9a-f-]{36}", listed),
                                      re.findall(r"GPU-[0-9a-f-]{36}", listed)[1]}


def test_devices_follow_a_change(spec):
    """An instance that goes takes its nodes with it; what was there keeps its own."""
    before = spec("--device-name-strategy", "index")
    spec.smi(spec.machine, "mig", "-i", "0", "-dci", "-gi", "3")
    spec.smi(spec.machine, "mig", "-i", "0", "-dgi", "-gi", "3")
    after = spec("--device-name-strategy", "index")
    assert [after["0:0"], after["0:1"]] == [before["0:0"], before["0:2"]]
    assert "0:2" not in after
