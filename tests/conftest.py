"""A machine, a daemon on it, and the ways a user talks to it.

Every test drives the real binaries; TANGRAM_BUILD names the folder they are in.  Nothing here
sleeps to wait for a change: it asks the daemon to hold the request, or polls a condition with a
deadline.
"""
import atexit
import functools
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("TANGRAM_BUILD", ROOT / "build")).resolve()
H100 = "H100-SXM5-80GB"


def foreign_env(env):
    """The environment for a program that is not ours and loads our library: when that is built with
    a sanitizer, its run-time library has to be there first, and the program's own leaks are its own."""
    if "TANGRAM_PRELOAD" not in os.environ:
        return env
    options = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
    return dict(env, LD_PRELOAD=os.environ["TANGRAM_PRELOAD"], ASAN_OPTIONS=options)


@functools.cache
def for_everybody(name):
    """A program of the build that any user can run: the build itself may lie where only we look, as
    in root's home."""
    program = (BUILD / name).resolve()
    if all(folder.stat().st_mode & 0o001 for folder in program.parents):
        return program
    folder = pathlib.Path(tempfile.mkdtemp(prefix="tangram-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(0o755)
    return pathlib.Path(shutil.copy(program, folder))


def until(condition, what="the condition", timeout_s=20):
    """Polls until condition() is true and returns its value."""
    end = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"waited {timeout_s} s for {what}"
        time.sleep(0.01)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout=60):
        super().__init__("localhost", timeout=timeout)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Reply:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.body[:2000]!r}"


class Machine:
    """A simulated machine: what tangram-sim makes, shows and disturbs."""

    def __init__(self, path, *gpus, latency="none", driver=None, seed=1):
        self.path = pathlib.Path(path)
        self.loads = []
        args = [arg for gpu in gpus for arg in ("--gpu", gpu)]
        if driver:
            args += ["--driver-version", driver]
        self.sim("create", self.path, *args, "--latency", latency, "--seed", str(seed))

    @property
    def env(self):
        return dict(os.environ, TANGRAM_SIM=str(self.path),
                    LD_LIBRARY_PATH=str(BUILD / "src" / "sim"))

    @staticmethod
    def sim(*args):
        return subprocess.run([BUILD / "tangram-sim", *map(str, args)], check=True, text=True,
                              capture_output=True, timeout=60).stdout

    def show(self):
        return json.loads(self.sim("show", self.path, "-o", "json"))

    def fault(self, call, *args):
        self.sim("fault", self.path, "--call", call, *args)

    def clear(self):
        self.sim("clear", self.path)

    def reboot(self):
        self.sim("reboot", self.path)

    def enable_mig(self):
        """As an administrator would before tangram is installed: MIG mode on, everywhere."""
        code = ("import ctypes,sys\n"
                "n=ctypes.CDLL('libnvidia-ml.so.1');assert n.nvmlInit_v2()==0\n"
                "c=ctypes.c_uint();n.nvmlDeviceGetCount_v2(ctypes.byref(c))\n"
                "for i in range(c.value):\n"
                "  d=ctypes.c_void_p();n.nvmlDeviceGetHandleByIndex_v2(i,ctypes.byref(d))\n"
                "  a=ctypes.c_uint();r=n.nvmlDeviceSetMigMode(d,1,ctypes.byref(a))\n"
                "  assert r in (0,3) and a.value in (0,3),(r,a.value)\n")
        subprocess.run(["/usr/bin/python3", "-c", code], env=foreign_env(self.env), check=True,
                       timeout=60)

    def load(self, device, *args):
        """A process that uses the GPU or slice, as a CUDA program would; returns once it does."""
        proc = subprocess.Popen([BUILD / "tangram-sim", "load", "--machine", self.path, "--device",
                                 device, *map(str, args)], env=self.env,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.loads.append(proc)
        until(lambda: str(proc.pid) in json.dumps(self.show()) or proc.poll() is not None,
              "the load to appear")
        assert proc.poll() is None, proc.stdout.read()
        return proc

    def end_loads(self):
        for proc in self.loads:
            proc.kill()
            proc.wait()


class Daemon:
    """tangramd on a machine; None: args say what it finds."""

    def __init__(self, folder, machine, config=None, args=()):
        self.folder = pathlib.Path(folder)
        self.machine = machine
        self.socket = self.folder / "tangram.sock"
        self.state = self.folder / "state"
        self.log_path = self.folder / "tangramd.log"
        self.driver = ["--driver", BUILD / "src" / "sim" / "libnvidia-ml.so.1"] if machine else []
        self.args = list(args)
        if config is not None:
            (self.folder / "tangram.yaml").write_text(config)
            self.args += ["--config", self.folder / "tangram.yaml"]
        self.proc = None

    def start(self, ready=True, wrapper=()):
        with open(self.log_path, "ab") as log:
            self.proc = subprocess.Popen(
                [*wrapper, BUILD / "tangramd", "--socket", self.socket, "--state", self.state,
                 *self.driver, *map(str, self.args)],
                env=self.machine.env if self.machine else None, stdout=log, stderr=log)
        if ready:
            self.wait_ready()
        return self

    def wait_ready(self):
        until(lambda: self.proc.poll() is not None or self.is_ready(), "the daemon to be ready")
        assert self.proc.poll() is None, self.log

    def is_ready(self):
        try:
            return self.get("/readyz").status == 200
        except OSError:
            return False

    @property
    def log(self):
        return self.log_path.read_text(errors="replace")

    def kill(self):
        self.proc.kill()
        self.proc.wait()

    def stop(self):
        self.proc.send_signal(signal.SIGTERM)
        assert self.proc.wait(timeout=20) == 0, self.log

    def request(self, method, path, body=None, headers=None, timeout=60):
        connection = UnixConnection(self.socket, timeout)
        head = dict(headers or {})
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        if body is not None:
            head.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, body=body, headers=head)
            return Reply(connection.getresponse())
        finally:
            connection.close()

    def get(self, path, **kw):
        return self.request("GET", path, **kw)

    def lease(self, profile, wait_s=20, **fields):
        """A lease that is active, or the test fails."""
        reply = self.request("POST", "/v1/leases", dict(fields, profile=profile, wait_s=wait_s))
        assert reply.status == 201, reply
        return reply.json

    def release(self, lease):
        """Until the lease has ended."""
        reply = self.request("DELETE", f"/v1/leases/{lease['id']}")
        assert reply.status == 200, reply
        return self.wait_state(lease, "released")

    def wait_state(self, lease, *states):
        def look():
            now = self.get(f"/v1/leases/{lease['id']}").json
            return now if now["state"] in states else None
        return until(look, f"{lease['id']} to be {states}")

    def slices(self):
        return self.get("/v1/slices").json["slices"]

    def events(self, kind=None):
        found = []
        while True:
            after = found[-1]["id"] if found else 0
            page = self.get(f"/v1/events?after={after}&limit=1000").json["events"]
            if not page:
                return [e for e in found if kind in (None, e["kind"])]
            found += page

    def cli(self, *args, check=None, timeout=60, **kw):
        done = subprocess.run([BUILD / "tangram", *map(str, args)], text=True, timeout=timeout,
                              capture_output=True,
                              env=dict(os.environ, TANGRAM_SOCKET=str(self.socket)), **kw)
        assert check is None or done.returncode == check, done
        return done


@pytest.fixture
def machine(tmp_path):
    """Makes machines: machine("A30", latency="typical")."""
    made = []

    def make(*gpus, mig=True, **kw):
        m = Machine(tmp_path / f"machine{len(made)}", *(gpus or (H100,)), **kw)
        made.append(m)
        if mig:
            m.enable_mig()
        return m
    yield make
    for m in made:
        m.end_loads()


@pytest.fixture
def daemon(tmp_path, machine):
    """Makes running daemons: daemon() on one H100, or daemon(machine(...), config="...")."""
    made = []

    def make(on=None, start=True, **kw):
        folder = tmp_path / f"daemon{len(made)}"
        folder.mkdir()
        d = Daemon(folder, on or machine(), **kw)
        made.append(d)
        return d.start() if start else d
    yield make
    for d in made:
        if d.proc and d.proc.poll() is None:
            d.proc.kill()
            d.proc.wait()
