"""tangram doctor: each trouble that is known is recognised, with what to do about it."""
import json
import os
import subprocess

import pytest

from conftest import BUILD, foreign_env, H100, until
from fake_daemon import ROOT, FakeDaemon, gpu

pytestmark = pytest.mark.skipif(not (BUILD / "tangramd").exists(), reason="tangramd was not built")


def checks(d, name, code=None):
    done = d.cli("doctor", "-o", "json")
    assert code is None or done.returncode == code, done
    return [c for c in json.loads(done.stdout) if c["name"] == name]


def test_all_is_well(daemon):
    d = daemon()
    done = d.cli("doctor", "-o", "json", check=0)
    assert {c["state"] for c in json.loads(done.stdout)} == {"ok"}


def test_a_mode_that_waits_for_a_reset(daemon, machine):
    m = machine("A30", mig=False)
    m.load(m.show()["gpus"][0]["uuid"], "--memory", "1GiB")
    code = ("import ctypes as c\nn=c.CDLL('libnvidia-ml.so.1');n.nvmlInit_v2();d=c.c_void_p()\n"
            "n.nvmlDeviceGetHandleByIndex_v2(0,c.byref(d));a=c.c_uint()\n"
            "assert n.nvmlDeviceSetMigMode(d,1,c.byref(a))==0 and a.value,a.value\n")
    # Somebody uses it: the change stays pending.
    subprocess.run(["/usr/bin/python3", "-c", code], env=foreign_env(m.env), check=True)
    check, = checks(daemon(m), "gpu 0", 0)
    assert check["state"] == "warning" and "at the next reset" in check["what"], check
    assert "nvidia-smi --gpu-reset -i 0" in check["what"]


def test_a_mode_that_only_the_administrator_can_switch(daemon, machine):
    d = daemon(machine("A30", mig=False), config="gpus:\n  - mig_mode: on-demand\n")
    check, = checks(d, "gpu 0", 0)
    assert check["state"] == "warning" and "'nvidia-smi -i 0 -mig 1'" in check["what"], check


def test_slices_of_others(daemon, machine):
    m = machine()
    d = daemon(m)
    d.lease("3g.40gb")
    d.stop()
    d.state = d.folder / "another"
    d.start()
    check, = [c for c in checks(d, "gpu 0", 0) if c["state"] != "ok"]
    assert "was not made by tangram" in check["what"] and "tangram adopt" in check["do"]


def test_a_gpu_that_hangs(daemon, machine):
    d = daemon(machine(f"{H100}:2"), config="timing: {call_timeout: 1s}\n")
    uuid = d.get("/v1/gpus").json["gpus"][0]["uuid"]
    d.machine.fault("nvmlDeviceCreateGpuInstanceWithPlacement", "--hang", "forever", "--gpu", uuid,
                    "--times", 1)
    for _ in range(2):
        d.request("POST", "/v1/leases", {"profile": "7g.80gb", "wait_s": 0})
    until(lambda: d.events("gpu.unresponsive"), "the GPU to be called unresponsive")
    check, = checks(d, "gpu 0", 1)
    assert check["state"] == "error" and "unresponsive" in check["what"], check
    assert "dmesg" in check["do"] and "reboot" in check["do"]


def test_a_queue_and_who_speaks_for_it(daemon):
    d = daemon()
    big = d.lease("7g.80gb")
    first = d.request("POST", "/v1/leases", {"profile": "1g.10gb", "wait_s": 0}).json
    d.request("POST", "/v1/leases", {"profile": "2g.20gb", "wait_s": 0})
    check, = checks(d, "queue", 0)
    assert check["state"] == "ok" and check["what"].startswith(f"2 wait; the first, {first['id']} ")
    assert big["id"] in check["what"]


@pytest.mark.parametrize("seconds, says", [(7200, "forward by 2h"), (-600, "back by 10m")])
def test_a_clock_that_was_set(daemon, tmp_path, seconds, says):
    if not (BUILD / "tests/unit/libclock-shim.so").exists():
        pytest.skip("built without the shim")
    d = daemon(start=False)
    d.start(wrapper=("env", f"LD_PRELOAD={BUILD}/tests/unit/libclock-shim.so",
                     f"CLOCK_SHIM_FILE={tmp_path}/clock", "ASAN_OPTIONS=verify_asan_link_order=0"))
    assert not checks(d, "clock", 0)
    (tmp_path / "clock").write_text(str(seconds))
    check, = checks(d, "clock", 0)
    assert check["state"] == "warning" and says in check["what"], check


def test_a_disk_that_is_nearly_full(daemon, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "none", small],
                      capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    try:
        d = daemon(start=False)
        d.state = small / "state"
        d.start()
        warned = [c for c in checks(d, "journal", 0) if c["state"] == "warning"]
        assert "MiB are left on the disk" in warned[0]["what"] and "make room" in warned[0]["do"]
        d.stop()
    finally:
        subprocess.run(["umount", "-l", small], check=False)


# --- what the command sees by itself ---------------------------------------------------------------

def ask(path, *args):
    keep = {k: v for k, v in os.environ.items() if not k.startswith("TANGRAM_")}
    return subprocess.run([BUILD / "tangram", "--socket", str(path), "doctor", *args], text=True,
                          capture_output=True, env=keep, timeout=30, check=False)


def test_a_daemon_of_another_version(tmp_path):
    fake = FakeDaemon(tmp_path / "sock", {
        ("GET", "/v1/doctor"): {"checks": []}, ("GET", "/v1"): dict(ROOT, version="9.9.9"),
        ("GET", "/v1/gpus"): {"gpus": [gpu()]}})
    done = ask(tmp_path / "sock", "-o", "json")
    check, = json.loads(done.stdout)
    assert check["name"] == "versions" and "the daemon is 9.9.9" in check["what"]
    assert "restart" in check["do"]
    fake.close()


def test_a_daemon_that_listens_elsewhere(daemon, tmp_path):
    daemon()
    done = ask(tmp_path / "none", "-o", "json")
    assert done.returncode == 6
    check, = [c for c in json.loads(done.stdout) if c["name"] == "process"]
    assert "tangramd runs" in check["what"] and "--socket" in check["do"], check
