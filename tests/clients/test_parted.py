"""The calls of a MIG partition manager, in its order, over NVIDIA's Go bindings (go-nvml/parted.go):
a stand-in for nvidia-mig-parted, which no module proxy handed out where these tests were written."""
import json
import os

import clients
import pytest
from conftest import BUILD

A100, H100, A30 = "A100-SXM4-40GB", "H100-SXM5-80GB", "A30"
OFF = {"mig": False}


def on(**devices):
    return {"mig": True, "devices": {name.replace("_", ".").lstrip("."): n
                                     for name, n in devices.items()}}


# What the manager runs when a mode has to wait for a reset: nvidia-smi -r -i BUS,BUS,...
SMI = """#!/bin/sh
for bus in $(echo "$3" | tr , ' '); do
    bus=$(echo "$bus" | cut -d: -f2)
    {sim} reset {dir} $(((0x$bus - 7) / 8)) || exit 255
done
"""


class Parted:
    def __init__(self, machine, folder):
        self.machine = machine
        smi = folder / "nvidia-smi"
        smi.write_text(SMI.format(sim=BUILD / "tangram-sim", dir=machine.path))
        smi.chmod(0o755)
        self.client = clients.Client(clients.go_bindings().command, inside=True,
                                     PATH=f"{folder}:{os.environ['PATH']}")

    def __call__(self, command, plans=None, check=0):
        args = [json.dumps(plans)] if plans is not None else []
        return self.client(self.machine, "parted", command, *args, check=check).strip()

    def profiles(self):
        """For each GPU its profiles, sorted, as the simulator itself says."""
        return [sorted(gi["profile"] for gi in gpu["gpu_instances"])
                for gpu in self.machine.show()["gpus"]]


@pytest.fixture
def parted(machine, tmp_path):
    def make(*models):
        m = machine(*models, mig=False)
        out = clients.Client(["true"], inside=True)(m, check=None)
        if "namespace" in out or "private" in out:
            pytest.skip("no mount namespaces here: " + out.strip())
        return Parted(m, tmp_path)
    return make


@pytest.mark.parametrize("model, plans", [
    (A100, [[on(_1g_5gb=7)] * 2, [on(_1g_5gb=2, _2g_10gb=1, _3g_20gb=1), on(_3g_20gb=2)],
            [OFF, on(_4g_20gb=1, **{"_1g_5gb+me": 1})], [on(**{"_1c.3g_20gb": 3}), OFF]]),
    (H100, [[on(_1g_10gb=7)] * 2, [on(_1g_10gb=1, _2g_20gb=1, _4g_40gb=1), OFF], [OFF, OFF]]),
    (A30, [[on(_1g_6gb=4), on(_2g_12gb=2)], [on(_4g_24gb=1), OFF]])], ids=[A100, H100, A30])
def test_applies_and_asserts(parted, model, plans):
    run = parted(f"{model}:2")
    for plan in plans:
        run("assert", plan, check=1)
        run("apply", plan)
        run("assert", plan)
        whole = [sum(gpu.get("devices", {}).values()) for gpu in plan]
        assert [sum(len(gi["compute_instances"]) for gi in gpu["gpu_instances"])
                for gpu in run.machine.show()["gpus"]] == whole
        found = json.loads(run("export"))
        assert [g["devices"] for g in found] == [p.get("devices", {}) for p in plan]


def test_saves_and_restores(parted):
    run = parted(f"{H100}:2", "T4")
    run("apply", [on(_3g_40gb=1, _2g_20gb=1, _1g_10gb=2), on(_7g_80gb=1), OFF])
    before, saved = run.machine.show(), json.loads(run("save"))
    assert [len(g["Instances"] or []) for g in saved] == [4, 1]  # of T4 there is nothing to save
    run("apply", [on(_1g_10gb=7), OFF, OFF])
    assert run.profiles() == [["1g.10gb"] * 7, [], []]
    run("restore", saved)
    assert [g["gpu_instances"] for g in run.machine.show()["gpus"]] == [
        g["gpu_instances"] for g in before["gpus"]]


def test_what_does_not_fit_leaves_nothing(parted):
    run = parted(A100)
    assert "Insufficient Resources" in run("apply", [on(_4g_20gb=1, _3g_20gb=2)], check=1)
    assert run.profiles() == [[]]
    assert "is not a profile of this GPU" in run("apply", [on(_1g_10gb=1, _9g_90gb=1)], check=1)
    run("apply", [on(_7g_40gb=1)])
    assert run.profiles() == [["7g.40gb"]]


def test_a_busy_gpu_waits_for_its_reset(parted):
    """Ampere's mode is pending while a process runs; the manager then has nvidia-smi reset all."""
    run = parted(A100)
    load = run.machine.load(run.machine.show()["gpus"][0]["uuid"])
    out = run("apply", [on(_1g_5gb=7)], check=1)
    assert out.startswith("reset: exit status")
    assert run.machine.show()["gpus"][0]["mig"] is False
    load.kill()
    load.wait()
    run("apply", [on(_1g_5gb=7)])
    assert run.profiles() == [["1g.5gb"] * 7]


def test_a_gpu_that_cannot(parted):
    run = parted("T4")
    assert "GPU 0 has no MIG" in run("apply", [on(_1g_5gb=1)], check=1)
    run("apply", [OFF])
