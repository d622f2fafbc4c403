"""tangram run: the command, its signals and its slice, against a stand-in for the daemon."""
import os
import pathlib
import pty
import signal
import subprocess
import threading

import pytest

from conftest import until
from fake_cli import env_for, fake, lease, one_line, run, TANGRAM
from fake_daemon import FakeDaemon


@pytest.fixture
def granted(fake):
    fake.routes[("POST", "/v1/leases")] = (201, lease())
    fake.routes[("DELETE", "/v1/leases/l-1")] = lease(state="released")
    return fake


def released(fake):
    return len(fake.asked("DELETE", "/v1/leases/l-1"))


def test_run_gives_the_command_its_slice(granted):
    done = run(granted, "run", "-p", "1g", "--", "sh", "-c",
               'echo "$CUDA_VISIBLE_DEVICES $NVIDIA_VISIBLE_DEVICES $TANGRAM_LEASE"; cat; exit 7',
               input="through")
    assert done.returncode == 7 and done.stdout == "MIG-4 MIG-4 l-1\nthrough"
    assert done.stderr == "" and released(granted) == 1
    assert granted.requests[0]["body"]["lifetime"] == "client"


@pytest.mark.parametrize("command, code", [
    (["true"], 0), (["/etc/passwd"], 126), (["/"], 126),
    (["sh", "-c", "kill -SEGV $$"], 139), (["sh", "-c", "exit 255"], 255)])
def test_run_exits_as_a_shell_would(granted, command, code):
    assert run(granted, "run", "-p", "1g", "--", *command).returncode == code
    assert released(granted) == 1


@pytest.mark.parametrize("command", ["/no/such/program", "no-such-program", "/etc/passwd/x"])
def test_nothing_is_cut_for_a_program_that_is_not_there(granted, command):
    done = run(granted, "run", "-p", "1g", "--", command)
    assert done.returncode == 127 and command in one_line(done.stderr)
    assert not granted.requests


def test_a_program_that_is_found_but_may_not_run_is_126(granted, tmp_path):
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    done = run(granted, "run", "-p", "1g", "--", "tool", PATH=str(tmp_path))
    assert done.returncode == 126 and "Permission denied" in done.stderr
    assert released(granted) == 1


def test_run_leaves_the_commands_options_alone(granted):
    done = run(granted, "run", "-p", "1g", "echo", "-p", "--help", "-n")
    assert done.stdout == "-p --help -n\n"


def start_run(fake, script, **more):
    return subprocess.Popen([TANGRAM, "--socket", fake.path, "run", "-p", "1g", "--", "sh", "-c",
                             script], env=env_for(), stdout=subprocess.PIPE, text=True, **more)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_run_hands_signals_on(granted, number):
    name = signal.Signals(number).name[3:]
    child = start_run(granted, f"trap 'echo got {name}; exit 9' {name}; echo up;"
                               "while :; do sleep 0.02; done")
    assert child.stdout.readline() == "up\n"
    child.send_signal(number)
    out, _ = child.communicate(timeout=10)
    assert out == f"got {name}\n" and child.returncode == 9 and released(granted) == 1


def state_of(pid):
    return pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0]


def test_run_stops_and_goes_on_with_its_command(granted):
    child = start_run(granted, "echo $$; read line; exit 5", stdin=subprocess.PIPE,
                      process_group=0)  # apart, but not an orphan: those do not stop
    command = int(child.stdout.readline())
    child.send_signal(signal.SIGTSTP)
    until(lambda: state_of(child.pid) == "T" and state_of(command) == "T")
    child.send_signal(signal.SIGCONT)
    until(lambda: state_of(command) != "T")
    child.communicate("go\n", timeout=10)
    assert child.returncode == 5 and released(granted) == 1


def test_a_killed_run_takes_its_command_along(granted):
    child = start_run(granted, "echo $$; exec sleep 1000")
    pid = int(child.stdout.readline())
    child.kill()
    child.wait(timeout=10)
    # The pipe's end is closed by the last process that has it: the command is gone, too.
    assert child.stdout.read() == ""

    def is_gone():
        try:
            return pathlib.Path(f"/proc/{pid}/stat").read_text().split()[2] in "ZX"
        except (FileNotFoundError, ProcessLookupError):
            return True
    until(is_gone)


def test_ctrl_c_on_a_terminal_reaches_the_command_once(granted):
    parent, terminal = pty.openpty()
    child = subprocess.Popen(
        [TANGRAM, "--socket", granted.path, "run", "-p", "1g", "--", "sh", "-c",
         "n=0; trap 'n=$((n+1))' INT; echo up; while [ $n = 0 ]; do sleep 0.05; done;"
         "sleep 0.2; echo n=$n"],
        stdin=terminal, stdout=subprocess.PIPE, env=env_for(), text=True, start_new_session=True,
        preexec_fn=lambda: __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0))
    assert child.stdout.readline() == "up\n"
    os.write(parent, b"\x03")
    out, _ = child.communicate(timeout=10)
    assert out == "n=1\n" and child.returncode == 0 and released(granted) == 1
    os.close(parent)
    os.close(terminal)


def test_run_goes_on_without_the_daemon_and_returns_the_slice_later(tmp_path):
    first = FakeDaemon(tmp_path / "sock", {("POST", "/v1/leases"): (201, lease())})
    child = start_run(first, "echo up; read line; exit 3", stdin=subprocess.PIPE)
    assert child.stdout.readline() == "up\n"
    first.close()
    child.stdin.write("go\n")
    child.stdin.flush()
    asked = threading.Event()

    def delete(_):
        asked.set()
        return lease(state="released")
    second = FakeDaemon(tmp_path / "sock", {("DELETE", "/v1/leases/l-1"): delete})
    child.communicate(timeout=20)
    assert child.returncode == 3 and asked.is_set()
    second.close()
