"""Obtaining leases: what is sent, what is said meanwhile, and how a wait ends."""
import http.server
import json
import signal
import socket
import subprocess
import threading
import time

import pytest

from conftest import until
from fake_cli import env_for, fake, lease, one_line, run, TANGRAM


def test_lease_sends_what_was_asked(fake):
    fake.routes[("POST", "/v1/leases")] = (201, lease())
    done = run(fake, "lease", "-p", "memory=12GiB", "-n2", "--ttl=1500ms", "--name", "x",
               "--priority", "-5", "--movable", "-l", "a=b=c", "--model", "A30", "-o", "json")
    assert done.returncode == 0 and json.loads(done.stdout)["id"] == "l-1"
    request = fake.requests[0]
    assert request["body"] == {"profile": "memory=12GiB", "count": 2, "ttl_s": 2, "name": "x",
                               "priority": -5, "movable": True, "labels": {"a": "b=c"},
                               "model": "A30", "wait_s": -1}
    assert len(request["headers"]["Idempotency-Key"]) == 32


def test_lease_env_is_safe_to_eval(fake):
    fake.routes[("POST", "/v1/leases")] = (201, lease(
        env={"CUDA_VISIBLE_DEVICES": "MIG-4'; touch /tmp/x #", "PATH": "/evil"}))
    out = run(fake, "lease", "-p", "1g", "--env").stdout
    shell = subprocess.run(["bash", "-c", f'{out}\necho "$CUDA_VISIBLE_DEVICES|$TANGRAM_LEASE"'],
                           capture_output=True, text=True, check=True)
    assert shell.stdout == "MIG-4'; touch /tmp/x #|l-1\n"
    assert "PATH" not in out


class Waiting:
    """A lease that waits until the test lets it through."""

    def __init__(self, fake, after=10**9, states=("queued",), final="active"):
        self.state, self.looks, self.after = states[0], 0, after
        self.final, self.seen, self.fake = final, threading.Event(), fake
        fake.routes.update({("POST", "/v1/leases"): lambda r: (202, self.lease()),
                            ("GET", "/v1/leases/l-1"): self.get,
                            ("GET", "/v1/leases/l-1/why"): self.why,
                            ("DELETE", "/v1/leases/l-1"): self.delete})

    def lease(self):
        return lease(state=self.state)

    def get(self, request):
        self.looks += 1
        self.seen.set()
        if self.looks >= self.after:
            self.state = self.final
        elif int(request["query"]["wait_s"]) > 0 and self.after > 10**6:
            time.sleep(0.05)
        return self.lease()

    def why(self, _):
        return {"id": "l-1", "state": self.state, "position": 2,
                "reason": f"l-3 is in use ({min(self.looks, 1)})", "blocking": []}

    def delete(self, _):
        self.state = "released"
        return self.lease()


def test_waiting_tells_why_once_per_reason(fake):
    Waiting(fake, after=4)
    done = run(fake, "lease", "-p", "1g", "--wait", "30s", "--env")
    assert done.returncode == 0 and "export CUDA_VISIBLE_DEVICES=MIG-4\n" in done.stdout
    assert done.stderr.splitlines() == [
        "tangram: l-1 waits (number 2 in the queue): l-3 is in use (0)",
        "tangram: l-1 waits (number 2 in the queue): l-3 is in use (1)"]
    assert fake.requests[0]["body"]["wait_s"] == 0


def test_over_tcp_a_wait_is_not_tied_to_the_process(fake):
    """The daemon cannot see who is at the other end there."""
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            seen.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            data = json.dumps(lease()).encode()
            self.send_response(201)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.handle_request, daemon=True).start()
    done = subprocess.run([TANGRAM, "lease", "-p", "1g", "--wait", "1m"], capture_output=True,
                          env=env_for(TANGRAM_URL=f"http://127.0.0.1:{server.server_port}"),
                          timeout=20, check=False)
    server.server_close()
    assert done.returncode == 0 and "lifetime" not in seen[0]
    fake.routes[("POST", "/v1/leases")] = (201, lease())
    assert run(fake, "lease", "-p", "1g", "--wait", "1m").returncode == 0
    assert fake.asked("POST", "/v1/leases")[0]["body"]["lifetime"] == "wait"


def test_waiting_bears_a_daemon_that_breaks_off_while_it_says_why(fake):
    waiting = Waiting(fake, after=3)
    fake.routes[("GET", "/v1/leases/l-1/why")] = lambda r: (
        lambda handler: handler.connection.shutdown(socket.SHUT_RDWR))
    done = run(fake, "lease", "-p", "1g", "--wait", "30s", "--env")
    assert done.returncode == 0 and "export CUDA_VISIBLE_DEVICES=MIG-4\n" in done.stdout, done
    assert waiting.looks >= 3


def test_waiting_ends_in_time_and_cancels(fake):
    Waiting(fake)
    done = run(fake, "lease", "-p", "1g", "--wait", "300ms")
    assert done.returncode == 3 and "not granted in time" in done.stderr
    assert len(fake.asked("DELETE", "/v1/leases/l-1")) == 1


def test_cutting_is_not_waiting(fake):
    Waiting(fake, after=2, states=("cutting",))
    done = run(fake, "lease", "-p", "1g")
    assert done.returncode == 0 and "l-1" in done.stdout and done.stderr == ""
    assert fake.requests[0]["body"]["wait_s"] == -1


@pytest.mark.parametrize("final, code", [("rejected", 1), ("expired", 3), ("lost", 1)])
def test_a_request_that_ends_ungranted(fake, final, code):
    Waiting(fake, after=2, final=final)
    done = run(fake, "lease", "-p", "1g", "--wait", "forever")
    assert done.returncode == code and f"it is {final}" in done.stderr


@pytest.mark.parametrize("command", [["lease"], ["run"]])
def test_interrupted_while_waiting_cancels(fake, command):
    waiting = Waiting(fake)
    tail = ["--", "true"] if command == ["run"] else []
    child = subprocess.Popen([TANGRAM, "--socket", fake.path, *command, "-p", "1g", "--wait",
                              "forever", *tail], env=env_for(), stderr=subprocess.PIPE, text=True)
    assert waiting.seen.wait(10)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=10)
    assert child.returncode == 130 and "l-1 is cancelled" in err
    assert len(fake.asked("DELETE", "/v1/leases/l-1")) == 1


def test_interrupted_before_the_answer_leaves_nothing_behind(fake):
    Waiting(fake)
    arrived, over = threading.Event(), threading.Event()

    def post(_):
        if not arrived.is_set():
            arrived.set()
            over.wait(10)
        return 202, lease(state="queued")
    fake.routes[("POST", "/v1/leases")] = post
    child = subprocess.Popen([TANGRAM, "--socket", fake.path, "lease", "-p", "1g", "--wait",
                              "forever"], env=env_for(), stderr=subprocess.PIPE, text=True)
    assert arrived.wait(10)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=10)
    over.set()
    assert child.returncode == 130 and "l-1 is cancelled" in one_line(err)
    first, second = fake.asked("POST", "/v1/leases")
    assert first["headers"]["Idempotency-Key"] == second["headers"]["Idempotency-Key"]
    assert len(fake.asked("DELETE", "/v1/leases/l-1")) == 1


@pytest.mark.parametrize("command", [["lease"], ["run"]])
def test_nohup_means_what_it_says(fake, command):
    waiting = Waiting(fake)
    tail = ["--", "true"] if command == ["run"] else []
    child = subprocess.Popen(["nohup", TANGRAM, "--socket", fake.path, *command, "-p", "1g",
                              "--wait", "forever", *tail], env=env_for(), stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert waiting.seen.wait(10)
    child.send_signal(signal.SIGHUP)
    asked = len(fake.asked("GET", "/v1/leases/l-1"))
    until(lambda: len(fake.asked("GET", "/v1/leases/l-1")) > asked + 1)
    assert child.poll() is None and not fake.asked("DELETE", "/v1/leases/l-1")
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=10)
    assert child.returncode == 143
