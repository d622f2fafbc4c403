"""nvtop of two Debian releases; the newer one brings its own loader and C library along."""
import json
import os
import pty
import re
import select
import signal
import time

import clients

H100, A100 = "H100-SXM5-80GB", "A100-SXM4-40GB"


def screen(nvtop, machine, wanted, timeout_s=20):
    """What nvtop draws on a terminal until all of `wanted` was drawn; then it is told to quit."""
    command = [*map(str, nvtop.command), "-d", "5"]
    env = clients.environment(machine, nvtop.folders, **nvtop.env, LINES=40, COLUMNS=160)
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(command[0], command, env)
    drawn, end = "", time.monotonic() + timeout_s
    try:
        while time.monotonic() < end and not all(w in drawn for w in wanted):
            if select.select([fd], [], [], 0.5)[0]:
                try:
                    drawn += os.read(fd, 65536).decode(errors="replace")
                except OSError:
                    break
        os.write(fd, b"q")
        while time.monotonic() < end:
            if select.select([fd], [], [], 0.5)[0]:
                try:
                    os.read(fd, 65536)
                except OSError:  # its end of the terminal is closed
                    break
        else:
            os.kill(pid, signal.SIGKILL)
    finally:
        os.close(fd)
        _, status = os.waitpid(pid, 0)
    return drawn, os.waitstatus_to_exitcode(status)


def test_snapshot(machine):
    nvtop = clients.nvtop("trixie")
    m = machine(H100, A100, mig=False)
    gpus = m.show()["gpus"]
    load = m.load(gpus[1]["uuid"], "--sm", "70", "--memory", "10GiB")
    try:
        idle, busy = json.loads(nvtop(m, "-s"))
    finally:
        load.kill()
        load.wait()
    assert idle["device_name"] == "NVIDIA H100 80GB HBM3" and idle["gpu_util"] == "0%"
    assert busy["device_name"] == "NVIDIA A100-SXM4-40GB"
    assert 60 <= int(busy["gpu_util"].rstrip("%")) <= 80
    assert 24 <= int(busy["mem_util"].rstrip("%")) <= 28
    for gpu in (idle, busy):
        assert re.fullmatch(r"\d+MHz", gpu["gpu_clock"]) and re.fullmatch(r"\d+C", gpu["temp"])
        assert re.fullmatch(r"\d+W", gpu["power_draw"])


def test_snapshot_with_mig(machine):
    nvtop = clients.nvtop("trixie")
    gpu, = json.loads(nvtop(machine(H100), "-s"))
    assert gpu["device_name"] == "NVIDIA H100 80GB HBM3"
    assert gpu["gpu_util"] is None  # as NVML says with MIG on


def test_screens(machine):
    m = machine(A100, mig=False)
    load = m.load(m.show()["gpus"][0]["uuid"], "--sm", "70", "--memory", "10GiB")
    try:
        for suite in ("bookworm", "trixie"):
            wanted = ["NVIDIA A100-SXM4-40GB", str(load.pid)]
            drawn, status = screen(clients.nvtop(suite), m, wanted)
            assert all(w in drawn for w in wanted), drawn
            assert status == 0
    finally:
        load.kill()
        load.wait()
