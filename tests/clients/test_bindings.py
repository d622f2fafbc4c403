"""Other people's bindings of NVML: Go (NVIDIA), Rust (nvml-wrapper), Python (NVIDIA's cuda.core).

They know types and values that a C program does not look at, and refuse what does not fit."""
import json
import re

import clients
import pytest

H100, A100, RTX = "H100-SXM5-80GB", "A100-SXM4-40GB", "RTX-PRO-6000-BSE"


@pytest.fixture
def mixed(machine):
    """H100 with a 3g in use and a 1g, A100 without MIG in use, T4 which cannot."""
    smi = clients.nvidia_smi("trixie")
    m = machine(H100, A100, "T4", mig=False)
    smi(m, "-i", "0", "-mig", "1")
    smi(m, "mig", "-i", "0", "-cgi", "9,19", "-C")
    m.migs = re.findall(r"MIG-[0-9a-f-]{36}", smi(m, "-L"))
    m.gpus = re.findall(r"GPU-[0-9a-f-]{36}", smi(m, "-L"))
    loads = [m.load(m.migs[0], "--memory", "2GiB", "--sm", "50"),
             m.load(m.gpus[1], "--memory", "4GiB", "--sm", "30")]
    m.pids = [load.pid for load in loads]
    yield m
    for load in loads:
        load.kill()
        load.wait()


@pytest.mark.parametrize("model, profiles", [(A100, 7), ("A30", 5), (H100, 7), (RTX, 11),
                                             ("B200-180GB", 7)])
def test_go_lives_through_every_profile(machine, model, profiles):
    go = clients.go_bindings()
    m = machine("T4", model, mig=False)
    assert go(m, "life", "1").strip() == f"lived {profiles}"
    assert [gpu["mig"] for gpu in m.show()["gpus"]] == [False, False]
    assert go(m, "life", "0", check=1).strip() == "MIG on: Not Supported, not Success"


def test_go_sees_everything(mixed):
    seen = json.loads(clients.go_bindings()(mixed, "look"))
    assert set(seen) == {"system", "gpu0", "gpu0mig0", "gpu0mig1", "gpu1", "gpu2"}
    assert all(len(seen[gpu]) > 100 for gpu in ("gpu0", "gpu1", "gpu2"))
    ok = ("Success", "Not Supported", "Invalid Argument", "Not Found", "Insufficient Size")
    odd = {(who, name, answer[0]) for who, calls in seen.items()
           for name, answer in calls.items() if answer[0] not in ok}
    assert not odd
    assert seen["gpu0"]["GetMigMode"] == ["Success", 1, 1]
    assert seen["gpu1"]["GetMigMode"] == ["Success", 0, 0]
    assert seen["gpu2"]["GetMigMode"][0] == "Not Supported"
    assert seen["gpu2"]["GetMaxMigDeviceCount"] == ["Success", 0]
    # Which metrics work with MIG on, with it off, and on a slice.
    assert seen["gpu0"]["GetUtilizationRates"][0] == "Not Supported"
    assert seen["gpu1"]["GetUtilizationRates"] == ["Success", "{Gpu:30 Memory:15}"]
    for name in ("GetPowerUsage", "GetSerial", "GetMinorNumber", "GetFanSpeed",
                 "GetPersistenceMode", "GetMigMode", "GetPerformanceState"):
        assert seen["gpu0mig0"][name][0] == "Not Supported", name
    for name in ("GetName", "GetUUID", "GetMemoryInfo", "GetAttributes", "GetBAR1MemoryInfo",
                 "GetComputeRunningProcesses", "GetGpuInstanceId", "GetIndex"):
        assert seen["gpu0mig0"][name][0] == "Success", name


def test_rust_accepts_every_value(mixed):
    out = clients.rust_bindings()(mixed)
    lines = dict(re.findall(r"^(\S+ \S+) (.*)$", out, re.M))
    assert len(lines) > 500
    assert not re.findall(r".*(?:Unexpected|IncorrectBits|Utf8|FailedToLoad|Unknown|Panic).*", out)
    assert lines["gpu0 architecture"] == "Ok(Hopper)"
    assert lines["gpu2 architecture"] == "Ok(Turing)"
    assert lines["gpu1 max_pcie_link_speed"] == "Ok(MegaTransfersPerSecond16000)"
    assert lines["gpu0mig0 name"] == 'Ok("NVIDIA H100 80GB HBM3 MIG 3g.40gb")'
    assert lines["gpu0mig0 power_usage"] == "Err(NotSupported)"
    assert (f"pid: {mixed.pids[0]}, used_gpu_memory: Used({2 << 30}), gpu_instance_id: Some(2), "
            "compute_instance_id: Some(0)") in lines["gpu0 running_compute_processes"]
    assert ("gpu_instance_id: None, compute_instance_id: None"
            in lines["gpu1 running_compute_processes"])
    assert "sm_util: 30" in lines["gpu1 process_utilization_stats"]
    assert lines["gpu0 process_utilization_stats"] == "Err(NotSupported)"
    assert lines["gpu2 mig_mode"] == "Err(NotSupported)"
    assert lines["gpu0 wait"] == "Ok(Err(Timeout))"
    assert lines["gpu0 gpm"] == "Ok(())" and lines["gpu1 gpm"] == "Err(NotSupported)"
    metric = re.search(r"gpm Ok\(\((\w+), ([\d.]+)\)\)", out)
    assert metric[1] == "SmUtil" and 5 < float(metric[2]) < 40  # 50% of 60 of 132 SMs


def test_cuda_core(mixed):
    look = clients.python_script(clients.HERE / "cuda_core_look.py", "cuda-core", "cuda-bindings")
    seen = json.loads(look(mixed).splitlines()[-1])
    assert seen["driver"] == [590, 48, 1]
    assert seen["near_cpu_0"] == mixed.gpus
    h100, a100, t4 = seen["gpus"]
    assert [s["uuid"] for s in h100["slices"]] == mixed.migs and not a100["slices"]
    assert h100["slices"][0]["name"].endswith(" MIG 3g.40gb")
    assert h100["slices"][0]["attributes"]["multiprocessor_count"] == "60"
    assert h100["slices"][0]["processes"] == [mixed.pids[0]]
    assert {s["parent"] for s in h100["slices"]} == {mixed.gpus[0]}
    assert h100["gpu"]["inforom"]["board_part_number"] == "692-2G520-0200-000"
    assert h100["gpu"]["utilization"] == "NotSupportedError"
    assert a100["gpu"]["utilization"]["gpu"] == "30"
    assert t4["gpu"]["mig"]["mode"] == "NotSupportedError"
    assert t4["gpu"]["pci_info"]["link_generation"] == "3"
    for gpu in seen["gpus"]:
        text = json.dumps(gpu)
        assert "FunctionNotFound" not in text and "UnknownError" not in text
