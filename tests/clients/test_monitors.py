"""Monitors that bring their own idea of NVML: btop (trixie) and Performance Co-Pilot's agent."""
import os
import re
import select
import signal
import time

import clients
import pytest

H100 = "H100-SXM5-80GB"


@pytest.fixture
def whole(machine):
    """An H100 in use and a T4, neither of them cut up."""
    m = machine(H100, "T4", mig=False)
    load = m.load(m.show()["gpus"][0]["uuid"], "--memory", "2GiB", "--sm", "40")
    yield m
    load.kill()
    load.wait()


def read_screen(process, patterns, timeout_s):
    """What it has drawn once all patterns are there; fails when they do not come in time."""
    screen, end = "", time.monotonic() + timeout_s
    while not all(re.search(p, screen) for p in patterns):
        assert time.monotonic() < end and process.poll() is None, screen[-4000:]
        if select.select([process.stdout], [], [], 0.5)[0]:
            drawn = os.read(process.stdout.fileno(), 65536).decode(errors="replace")
            screen += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", drawn)
    return screen


def test_btop(whole, tmp_path):
    """It wants a terminal; its screen shows both GPUs with their power and memory."""
    process = clients.btop(tmp_path).start(whole, start_new_session=True)
    try:
        read_screen(process, ("H100 80GB HBM3", "Tesla T4", "P-state:", r"2\.\d+ GiB"), 20)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_performance_co_pilot(whole, tmp_path):
    pcp = clients.PcpAgent(tmp_path)
    names = ("numcards", "cardname", "gpuactive", "memused", "memtotal", "temperature",
             "perfstate", "power", "carduuid", "busid")
    got = pcp.fetch(whole, *names)
    uuids = [gpu["uuid"] for gpu in whole.show()["gpus"]]
    assert got["numcards"] == ["2"]
    assert got["cardname"] == ['"NVIDIA H100 80GB HBM3"', '"Tesla T4"']
    assert got["gpuactive"] == ["40", "0"]
    # What the first version of the call counts as used: also what the driver keeps for itself.
    assert got["memused"] == [str((2048 + 479) << 20), str(448 << 20)]
    assert got["memtotal"] == [str(81559 << 20), str(15360 << 20)]
    assert got["carduuid"] == [f'"{uuid}"' for uuid in uuids]
    assert all(25 <= int(t) <= 80 for t in got["temperature"])
    assert got["perfstate"] == ["0", "0"]
