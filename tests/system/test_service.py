"""As a service: what the manager is told, what its unit lets the daemon do, and starts that cannot be."""
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest

from conftest import BUILD, ROOT, Daemon, for_everybody, until


class Manager:
    """The service manager's end of NOTIFY_SOCKET."""

    def __init__(self, path):
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(20)
        self.socket.bind(str(path))
        self.told = []

    def wait_for(self, word):
        while word not in self.told:
            self.told += self.socket.recv(4096).decode().splitlines()

    def wrapper(self, **env):
        return ("env", f"NOTIFY_SOCKET={self.path}", *(f"{k}={v}" for k, v in env.items()))


def test_the_manager_is_told(daemon, tmp_path):
    """Ready when GPUs are read; alive while the loop turns, also when a GPU hangs; stopping."""
    manager = Manager(tmp_path / "notify")
    d = daemon(start=False)
    d.start(wrapper=manager.wrapper(WATCHDOG_USEC=200000))
    manager.wait_for("READY=1")
    d.machine.fault("nvmlDeviceCreateGpuInstanceWithPlacement", "--hang", "forever")
    assert d.request("POST", "/v1/leases", {"profile": "1g.10gb"}).status == 202
    for _ in range(3):
        manager.told.clear()
        manager.wait_for("WATCHDOG=1")
    d.stop()
    manager.wait_for("STOPPING=1")


def test_ready_is_not_said_too_early(daemon, tmp_path):
    manager = Manager(tmp_path / "notify")
    d = daemon(start=False)
    d.machine.fault("nvmlDeviceGetGpuInstances", "--hang", "1s", "--times", 1)
    start = time.monotonic()
    d.start(ready=False, wrapper=manager.wrapper())
    manager.wait_for("READY=1")
    assert time.monotonic() - start >= 1
    assert d.get("/readyz").status == 200


def test_a_driver_that_hangs_at_the_start_can_be_interrupted(daemon):
    d = daemon(start=False)
    d.machine.fault("nvmlInit_v2", "--hang", "forever")
    d.start(ready=False)
    until(lambda: "nvml" in {(p / "comm").read_text().strip() for p in threads(d)}, "the call")
    start = time.monotonic()
    d.proc.send_signal(signal.SIGTERM)
    assert d.proc.wait(timeout=20) == -signal.SIGTERM and time.monotonic() - start < 3
    d.machine.clear()
    d.start()


def threads(d):
    folder = f"/proc/{d.proc.pid}/task"
    return [d.folder.__class__(folder, name) for name in os.listdir(folder)]


def capabilities():
    """What the unit leaves to root, as setpriv writes it."""
    unit = (ROOT / "packaging/systemd/tangramd.service.in").read_text()
    names = re.search(r"^CapabilityBoundingSet=(.*)$", unit, re.M).group(1).lower().split()
    return ",".join(["-all", *("+" + n.removeprefix("cap_") for n in names)])


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root")
def test_the_units_capabilities_are_enough(daemon):
    """The socket's group, slices, and who has a file of another user's process open."""
    d = daemon(config="socket: {group: daemon}\n", start=False)
    caps = capabilities()
    confined = ("setpriv", f"--bounding-set={caps}", f"--inh-caps={caps}", "--no-new-privs")
    d.start(wrapper=confined)
    assert d.socket.stat().st_gid == 1
    lease = d.lease("1g.10gb")
    d.release(lease)
    other = subprocess.Popen(["setpriv", "--reuid", "4242", "--clear-groups", "sleep", "60"])
    try:
        until(lambda: b"sleep" in open(f"/proc/{other.pid}/cmdline", "rb").read(), "the process")
        seen = subprocess.run([*confined, "readlink", f"/proc/{other.pid}/fd/0"], check=False)
        assert seen.returncode == 0
    finally:
        other.kill()
        other.wait()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here")
def test_the_unit_is_understood(tmp_path):
    unit = (ROOT / "packaging/systemd/tangramd.service.in").read_text()
    unit = re.sub(r"^Documentation=.*$", "", unit, flags=re.M)
    path = tmp_path / "tangramd.service"
    path.write_text(unit.replace("@bindir@/tangramd", str(BUILD / "tangramd")))
    done = subprocess.run(["systemd-analyze", "verify", path], text=True, capture_output=True,
                          timeout=60, check=False)
    lines = [x for x in done.stderr.splitlines() if "tangramd" in x]
    assert not lines, done.stderr


def said(text):
    """Its lines, without those of a build that counts lines and cannot write its counts as somebody
    else."""
    return [x for x in text.strip().splitlines() if not x.startswith("profiling:")]


def refused(d, **kw):
    """Why it does not start, in one line."""
    d.start(ready=False, **kw)
    assert d.proc.wait(timeout=20) == 1, d.log
    last = said(d.log)[-1]
    assert last.startswith("tangramd: "), d.log
    return last


def test_one_state_directory_has_one_daemon(daemon):
    d = daemon()
    second = Daemon(d.folder, d.machine)
    second.socket, second.log_path = d.folder / "second.sock", d.folder / "second.log"
    assert f"in use by another process (pid {d.proc.pid})" in refused(second)
    third = Daemon(d.folder, d.machine)
    third.state, third.log_path = d.folder / "third", d.folder / "third.log"
    assert "another process answers on" in refused(third)
    assert d.get("/readyz").status == 200


def test_a_state_directory_that_is_none(daemon):
    d = daemon(start=False)
    d.state.write_text("no folder")
    assert f"{d.state}" in refused(d)


@pytest.mark.parametrize("args", [(), ("--simulate", "A30")])
def test_folders_that_are_missing_are_made(daemon, args):
    """A user who is new has no ~/.local/state yet."""
    d = daemon(start=False)
    d.state, d.args = d.folder / "new/local/state", [*d.args, *args]
    d.start()
    assert d.state.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_without_home_nothing_is_sought_in_tmp():
    env = {k: v for k, v in os.environ.items() if k not in ("HOME", "XDG_RUNTIME_DIR")}
    env["XDG_STATE_HOME"] = "/proc/nowhere"
    tangramd = for_everybody("tangramd")
    done = subprocess.run(["setpriv", "--reuid", "4242", "--clear-groups", tangramd, "--driver",
                           "/nowhere.so"], env=env, capture_output=True, text=True, check=False,
                          timeout=60)
    lines = [x.replace(str(tangramd), "") for x in said(done.stderr)]
    assert done.returncode and lines and not [x for x in lines if "/tmp" in x], lines


def test_a_simulated_machine_of_another_version(daemon):
    d = daemon(start=False)
    d.args += ["--simulate", "A30"]
    d.start().stop()
    with open(d.state / "machine/machine", "r+b") as machine:
        machine.write(b"of yesterday")
    why = refused(d)
    assert f"{d.state}/machine" in why and "has to be removed" in why
    shutil.rmtree(d.state / "machine")
    d.start()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_a_state_directory_of_somebody_else(daemon):
    d = daemon(start=False)
    for folder in d.folder, *d.folder.parents:
        if str(folder).startswith("/tmp/") and folder.stat().st_uid == 0:
            folder.chmod(folder.stat().st_mode | 0o055)
    subprocess.run(["chmod", "-R", "a+rwX", d.machine.path], check=True)
    d.state.mkdir(mode=0o700)
    if for_everybody("tangramd").parent == BUILD:
        why = refused(d, wrapper=("setpriv", "--reuid", "4242", "--clear-groups"))
        assert "Permission denied" in why and str(d.state) in why
    os.chown(d.state, 4242, 4242)
    d.start()
    assert "belongs to another user" in d.log
    assert "belongs to another user" in d.cli("doctor").stdout
    d.stop()
    os.chown(d.state, 0, 0)
    d.state.chmod(0o777)
    d.start()
    assert "may be written by others" in d.cli("doctor").stdout
