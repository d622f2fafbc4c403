"""The command line against a stand-in for the daemon; what the tests of it share."""
import os
import subprocess

import pytest

from conftest import BUILD
from fake_daemon import FakeDaemon

TANGRAM = str(BUILD / "tangram")
PAST = "2026-01-01T00:00:00.000Z"


@pytest.fixture
def fake(tmp_path):
    daemon = FakeDaemon(tmp_path / "sock")
    yield daemon
    daemon.close()


def env_for(**more):
    """What is set here does not change what is printed."""
    keep = {k: v for k, v in os.environ.items()
            if not k.startswith("TANGRAM_") and k not in ("COLUMNS", "LINES", "NO_COLOR")}
    return {**keep, "LC_ALL": "C.UTF-8", **more}


def run(daemon, *args, input=None, **env):
    path = daemon.path if isinstance(daemon, FakeDaemon) else str(daemon)
    return subprocess.run([TANGRAM, "--socket", path, *args], capture_output=True, text=True,
                          env=env_for(**env), timeout=30, input=input, check=False)


def lease(id="l-1", state="active", **more):
    return dict({"id": id, "state": state, "profile": "1g.10gb", "count": 1, "tenant": "bob",
                 "name": None, "gpu_index": 0, "gpu_uuid": "GPU-0",
                 "placement": {"start": 4, "size": 1}, "created_at": PAST, "granted_at": PAST,
                 "expires_at": None, "env": {"CUDA_VISIBLE_DEVICES": "MIG-4"},
                 "timing": {"wait_ms": 0, "driver_ms": 131.2, "overhead_ms": 3.1},
                 "reason": None}, **more)


def one_line(text):
    assert text.endswith("\n") and text.count("\n") == 1, text
    return text
