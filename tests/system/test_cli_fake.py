"""What the command line makes of answers that the real daemon gives rarely or never."""
import json
import os
import pathlib
import pty
import random
import signal
import socket
import subprocess
import threading
import time

import pytest

from conftest import for_everybody
from fake_daemon import ROOT, FakeDaemon, dead_socket, gpu, slice_

BUILD = pathlib.Path(os.environ.get("TANGRAM_BUILD", "build")).resolve()
TANGRAM = str(BUILD / "tangram")
PAST = "2026-01-01T00:00:00.000Z"


@pytest.fixture
def fake(tmp_path):
    daemon = FakeDaemon(tmp_path / "sock")
    yield daemon
    daemon.close()


def env_for(**more):
    keep = {k: v for k, v in os.environ.items() if not k.startswith("TANGRAM_")}
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


# --- usage ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("args, says", [
    (["stauts"], "did you mean 'status'"),
    (["frobnicate"], "there is no command 'frobnicate'"),
    (["--sokcet", "x", "status"], "unknown option '--sokcet' before the command"),
    (["status", "--all"], "status has no option '--all'"),
    (["lease", "-p"], "-p needs a value"),
    (["lease"], "-p PROFILE"),
    (["lease", "-p", "1g", "-n", "zero"], "'zero' is not a whole number"),
    (["lease", "-p", "1g", "-n", "0"], "0 is not in 1..64"),
    (["lease", "-p", "1g", "--ttl", "soon"], "'soon' is not a duration"),
    (["lease", "-p", "1g", "--ttl", "9999999999d"], "is not a duration"),
    (["lease", "-p", "1g", "-l", "novalue"], "KEY=VALUE"),
    (["lease", "-p", "1g", "-o", "csv"], "-o csv is for lists"),
    (["leases", "-o", "xml"], "'xml' is not an output format"),
    (["leases", "a", "b"], "one argument too many"),
    (["lease", "2g.20gb"], "takes the profile as -p 2g.20gb"),
    (["token", "list", "x"], "one argument too many"),
    (["token", "create", "bob"], "--tenant, --role, --name"),
    (["adopt", b"\xff"], "not valid UTF-8"),
    (["adopt", b"\xff:0"], "not valid UTF-8"),
    (["release"], "release needs ID..."),
    (["release", ""], "an argument is empty"),
    (["renew", "l-1"], "--ttl"),
    (["run", "-p", "1g"], "run needs -- CMD"),
    (["apply"], "-f FILE"),
    (["token", "steal"], "create, list and revoke"),
    (["adopt", "0:x"], "not a whole number"),
    (["plan"], "what to plan for"),
    (["plan", "1g:0"], "0 is not in 1..64"),
    (["status", "--ascii=yes"], "--ascii takes no value"),
    (["completion", "tcsh"], "bash, zsh and fish"),
    (["help", "lese"], "did you mean 'lease'"),
])
def test_usage_is_one_line_and_exit_2(fake, args, says):
    done = run(fake, *args)
    assert done.returncode == 2, done
    assert says in one_line(done.stderr)
    assert "tangram help" in done.stderr
    assert done.stdout == "" and not fake.requests


def test_help_needs_no_daemon(tmp_path):
    everything = run(tmp_path / "none", "--help")
    assert everything.returncode == 0 and "Commands:" in everything.stdout
    names = [line.split()[0] for line in everything.stdout.split("Commands:\n")[1]
             .split("\n\n")[0].splitlines()]
    for name in names:
        one = run(tmp_path / "none", name, "--help")
        assert one.returncode == 0 and f"Usage: tangram {name}" in one.stdout
        assert max(map(len, one.stdout.splitlines())) <= 110
    nothing = run(tmp_path / "none")
    assert nothing.returncode == 2 and "Commands:" in nothing.stderr


# --- the daemon cannot be reached ----------------------------------------------------------------

def test_unreachable_says_which_socket_and_why(tmp_path):
    none = run(tmp_path / "none", "gpus")
    assert none.returncode == 6
    assert str(tmp_path / "none") in one_line(none.stderr) and "there is no socket" in none.stderr
    assert "--simulate" in none.stderr
    dead_socket(tmp_path / "dead")
    dead = run(tmp_path / "dead", "gpus")
    assert dead.returncode == 6 and "no daemon answers" in one_line(dead.stderr)
    (tmp_path / "file").write_text("")
    plain = run(tmp_path / "file", "gpus")
    assert plain.returncode == 6 and "is not a socket" in one_line(plain.stderr)
    too_long = run("/" + "x" * 200, "gpus")
    assert too_long.returncode == 2 and "longer than" in one_line(too_long.stderr)


@pytest.mark.skipif(os.geteuid() != 0, reason="has to become somebody else")
@pytest.mark.skipif("TANGRAM_PRELOAD" in os.environ,
                    reason="another user may not write the counts of the coverage build")
def test_permission_denied_is_said(fake):
    os.chmod(fake.path, 0o600)
    os.chmod(os.path.dirname(fake.path), 0o755)
    done = subprocess.run([for_everybody("tangram"), "--socket", fake.path, "gpus"], text=True,
                          capture_output=True, env=env_for(), timeout=30, check=False, user=65534,
                          cwd="/")
    assert done.returncode == 6 and "permission denied" in one_line(done.stderr), done


def test_version_and_doctor_work_without_a_daemon(tmp_path):
    version = run(tmp_path / "none", "version")
    assert version.returncode == 0 and version.stdout.startswith("client   0.")
    assert "no daemon" in version.stdout
    doctor = run(tmp_path / "none", "doctor", "-o", "json")
    assert doctor.returncode == 6
    assert json.loads(doctor.stdout)[0]["name"] == "daemon"


def test_the_environment_names_the_socket(fake):
    fake.routes[("GET", "/v1/gpus")] = {"gpus": []}
    done = subprocess.run([TANGRAM, "gpus", "-o", "json"], capture_output=True, text=True,
                          env=env_for(TANGRAM_SOCKET=fake.path), timeout=30, check=False)
    assert done.returncode == 0 and json.loads(done.stdout) == []


# --- nonsense ------------------------------------------------------------------------------------

@pytest.mark.parametrize("content, says", [
    (b"<html>hello</html>", "is not JSON"),
    (b"[1, 2]", "is not a JSON object"),
    (b'{"gpus": 3}', "has no list 'gpus'"),
    (b'{"gpus": [], "gpus": []}', "is not JSON"),
    (b"", "with nothing"),
    (b"\xff\xfe{}", "is not JSON"),
])
def test_nonsense_is_an_error_of_one_line(fake, content, says):
    fake.routes[("GET", "/v1/gpus")] = (200, content)
    done = run(fake, "gpus")
    assert done.returncode == 1 and says in one_line(done.stderr), done


def test_what_is_not_http_is_said(fake):
    def garbage(handler):
        handler.wfile.write(b"\x00\x01garbage\r\n\r\n")
        handler.close_connection = True
    fake.routes[("GET", "/v1/gpus")] = lambda request: garbage
    done = run(fake, "gpus")
    assert done.returncode in (1, 6) and "tangram: " in one_line(done.stderr)


def test_a_huge_answer_is_refused(fake):
    fake.routes[("GET", "/v1/gpus")] = (200, b'{"gpus": [' + b" " * (17 << 20) + b"]}")
    done = run(fake, "gpus")
    assert done.returncode == 1 and "larger than 16 MiB" in one_line(done.stderr)


@pytest.mark.parametrize("row", [{}, {"index": "x", "slices": 7, "mig": []}, 3, None, [], {
    "index": -1, "memory_slots": 10**9, "compute_slots": -5, "name": ["x"],
    "slices": [None, 5, {}, {"placement": {"start": -4, "size": 99999}, "compute_slots": 10**12},
               {"placement": {"start": 0, "size": 1}, "compute_slots": -7, "state": 5}]}])
def test_strange_rows_do_not_crash(fake, row):
    fake.routes.update({("GET", "/v1"): ROOT, ("GET", "/v1/gpus"): {"gpus": [row]},
                        ("GET", "/v1/leases"): {"leases": [row]},
                        ("GET", "/v1/slices"): {"slices": [row]},
                        ("GET", "/v1/queue"): {"queue": [row]}})
    for command in ("status", "gpus", "slices", "leases", "queue"):
        for format in ("table", "json", "yaml") if command == "status" else (
                "table", "wide", "json", "yaml", "csv"):
            done = run(fake, command, "-o", format)
            assert done.returncode == 0, (command, format, done)


def test_tenants_cannot_write_on_the_terminal(fake):
    evil = "a\x1b[2J\nb\x7f\u009bc"
    fake.routes[("GET", "/v1/leases")] = {"leases": [lease(name=evil, tenant=evil)]}
    for format in ("table", "wide", "json", "yaml", "csv"):
        out = run(fake, "leases", "-o", format).stdout
        assert not set(out) & set("\x1b\x7f\u009b"), (format, out)
        if format in ("table", "wide", "csv"):
            assert out.count("\n") == 2, out
    assert json.loads(run(fake, "leases", "-o", "json").stdout)[0]["name"] == evil


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_text_of_any_language_is_shown(fake, locale):
    """A table must end also when the locale cannot show what is in it."""
    names = ["müller", "日本語", "\u200b\ue000\U0001f600", "e\u0301"]
    fake.routes[("GET", "/v1/leases")] = {"leases": [lease(name=n) for n in names]}
    out = run(fake, "leases", LC_ALL=locale).stdout
    assert out.count("\n") == 5
    if locale == "C.UTF-8":
        assert "日本語  GPU" in out


# --- refusals ------------------------------------------------------------------------------------

@pytest.mark.parametrize("status, reason, code", [
    (409, "does_not_fit", 3), (422, "can_never_fit", 3), (429, "queue_full", 3),
    (403, "forbidden", 4), (401, "unauthorized", 4), (403, "not_allowed_by_configuration", 4),
    (409, "in_use", 5), (409, "already_ended", 5), (422, "unknown_profile", 2),
    (404, "not_found", 1), (500, "driver_failed", 1), (503, "shutting_down", 6),
    (409, "something_new", 5), (418, "something_new", 1)])
def test_exit_codes(fake, status, reason, code):
    fake.routes[("POST", "/v1/leases")] = (status, {
        "status": status, "reason": reason, "detail": "No room for 2g.20gb.", "blocking": [
            {"gpu_index": 0, "profile": "4g.40gb", "placement": {"start": 0, "size": 4},
             "lease": "l-3", "tenant": "vision", "why": "leased until released"}]})
    done = run(fake, "lease", "-p", "2g.20gb")
    assert done.returncode == code
    assert ("No room for 2g.20gb.; in the way: 4g.40gb at 0:4 of GPU 0 (l-3 of vision, leased "
            "until released)") in one_line(done.stderr)
    assert ("--wait" in done.stderr) == (reason == "does_not_fit")


def test_release_of_several_gives_the_worst(fake):
    fake.routes[("DELETE", "/v1/leases/l-1")] = lease(state="released")
    fake.routes[("DELETE", "/v1/leases/l-2")] = (403, {
        "status": 403, "reason": "forbidden", "detail": "l-2 is not yours."})
    fake.routes[("DELETE", "/v1/leases/l-4")] = lease("l-4", state="releasing")
    done = run(fake, "release", "l-1", "l-2", "l-3", "l-4")
    assert done.returncode == 4
    assert done.stdout.startswith("l-1 is released\nl-4 is being released")
    assert done.stderr.count("\n") == 2


def test_ids_are_escaped_in_the_path(fake):
    run(fake, "release", "../tokens/t-1?x=y")
    run(fake, "leases", "..")
    assert [r["raw_path"] for r in fake.requests] == [
        "/v1/leases/..%2Ftokens%2Ft-1%3Fx%3Dy", "/v1/leases/%25"]


# --- leases --------------------------------------------------------------------------------------

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
    import http.server
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
    assert wait_until(lambda: len(fake.asked("GET", "/v1/leases/l-1")) > asked + 1)
    assert child.poll() is None and not fake.asked("DELETE", "/v1/leases/l-1")
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=10)
    assert child.returncode == 143


# --- run -----------------------------------------------------------------------------------------

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
    assert wait_until(lambda: state_of(child.pid) == "T" and state_of(command) == "T")
    child.send_signal(signal.SIGCONT)
    assert wait_until(lambda: state_of(command) != "T")
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
    assert wait_until(is_gone)


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


# --- the rest ------------------------------------------------------------------------------------

def test_the_picture_of_every_geometry(fake):
    gpus = [gpu(0, slices=[slice_("4g.40gb", 0, 4, 4, tenant="vision", lease="l-3"),
                           slice_("1g.10gb+me", 5, 1, 1, state="idle")]),
            gpu(1, 4, 4, [slice_("2g.12gb", 0, 2, 2, tenant="nlp", lease="l-4")], "NVIDIA A30"),
            gpu(2, 12, 4, [slice_("2g.48gb", 6, 6, 2, state="foreign")], "RTX PRO 6000")]
    fake.routes.update({("GET", "/v1"): ROOT, ("GET", "/v1/gpus"): {"gpus": gpus},
                        ("GET", "/v1/leases"): {"leases": []},
                        ("GET", "/v1/queue"): {"queue": []}})
    lines = run(fake, "status").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert "comp │████████ ████████ ████████ ████████│░░░░░░░░│▒▒▒▒▒▒▒▒│░░░░░░░░         │" in lines
    assert "mem  │▓▓▓▓▓▓▓▓ ▓▓▓▓▓▓▓▓ ▓▓▓▓▓▓▓▓ ▓▓▓▓▓▓▓▓│░░░░░░░░│▒▒▒▒▒▒▒▒│" \
           "░░░░░░░░ ░░░░░░░░│" in lines
    assert "comp │" + "█" * 17 + " " + "█" * 17 + "│" + "░" * 17 + " " + "░" * 17 + "│" in lines
    assert "mem  │" + " ".join(["░" * 5] * 6) + "│" + " ".join(["╱" * 5] * 6) + "│" in lines
    assert any("1g+me" in line and "4g.40gb" in line for line in lines)
    assert "2 of 7 compute free" in lines[2]
    plain = run(fake, "--ascii", "status").stdout
    assert plain.isascii() and "\x1b" not in plain
    assert max(map(len, plain.splitlines())) <= 80
    colored = run(fake, "--color=always", "status").stdout
    assert "\x1b[" in colored
    assert all(len(line) <= 50 for line in run(fake, "status", COLUMNS="50").stdout.splitlines()
               if line[:5].strip() in ("", "comp", "mem") and "│" in line)


@pytest.mark.parametrize("columns", [80, 57, 200])
def test_pictures_of_random_machines_are_whole(fake, columns):
    """Boxes line up, and every slot is shown once with what is there."""
    seed = random.randrange(10**6)
    dice = random.Random(seed)
    states = {"leased": "▓", "idle": "▒", "foreign": "╱", "quarantined": "╳", None: "░"}
    gpus, expected = [], []
    for index in range(40):
        slots, compute = dice.choice([(8, 7), (4, 4), (12, 4), (2, 2), (1, 1), (16, 14)])
        slices, row, at = [], "", 0
        while at < slots:
            size = dice.randint(1, slots - at)
            state = dice.choice(list(states))
            if state:
                slices.append(slice_("1g.10gb+me", at, size, max(1, size * compute // slots),
                                     state=state, tenant="müller" if state == "leased" else None,
                                     lease="l-123456" if state == "leased" else None,
                                     processes=dice.randint(0, 2)))
            row += states[state] * size
            at += size
        dice.shuffle(slices)
        gpus.append(gpu(index, slots, compute, slices))
        expected.append(row)
    fake.routes.update({("GET", "/v1"): ROOT, ("GET", "/v1/gpus"): {"gpus": gpus},
                        ("GET", "/v1/leases"): {"leases": []},
                        ("GET", "/v1/queue"): {"queue": []}})
    done = run(fake, "status", COLUMNS=str(columns))
    assert done.returncode == 0, done
    blocks, seen = done.stdout.split("GPU ")[1:41], []
    for block in blocks:
        box = [line for line in block.splitlines()[1:] if line[5:6] in "┌│└" and line[5:6]]
        assert len({len(line) for line in box}) == 1 and len(box[0]) <= columns, (seed, block)
        memory, = (line for line in box if line.startswith("mem"))
        cells = memory[6:-1].replace("│", " ").split()
        assert all(len(set(cell)) == 1 for cell in cells), (seed, block)
        seen.append("".join(cell[0] for cell in cells))
    assert seen == expected, seed


def test_errors_in_a_file_have_line_and_column(fake, tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("version: v1\nmig-configs:\n  x:\n    - devices: all\n"
                    "      mig-enabled: true\n      mig-devices:\n        9g.9gb: 1\n")
    fake.routes[("PUT", "/v1/layout")] = (422, {
        "status": 422, "reason": "unknown_profile", "detail": "no GPU here has a 9g.9gb",
        "pointer": "/mig-configs/x/0/mig-devices/9g.9gb"})
    done = run(fake, "apply", "-f", str(file), "-c", "x")
    assert done.returncode == 1
    assert done.stderr == f"tangram: {file}:7:17: no GPU here has a 9g.9gb\n"
    assert fake.requests[0]["body"]["config"] == "x"
    file.write_text("version: v1\n  bad: [\n")
    done = run(fake, "apply", "-f", str(file))
    assert done.returncode == 1 and f"{file}:2:" in one_line(done.stderr)
    missing = run(fake, "diff", "-f", str(tmp_path / "none"))
    assert missing.returncode == 1 and "No such file" in one_line(missing.stderr)


CHANGES = {"changes": True, "operation": "op-3", "gpus": [
    {"gpu_index": 0, "mig_mode": None, "keep": [{"profile": "4g.40gb",
                                                 "placement": {"start": 0, "size": 4}}],
     "create": [{"profile": "2g.20gb", "placement": {"start": 4, "size": 2}}],
     "destroy": [{"profile": "1g.10gb", "placement": {"start": 4, "size": 1}}]}]}


def test_apply_follows_its_operation(fake):
    states = iter(["running", "done", "running", "failed"])
    fake.routes[("PUT", "/v1/layout")] = (202, CHANGES)
    fake.routes[("GET", "/v1/operations/op-3")] = lambda r: {
        "id": "op-3", "state": next(states), "done": 1, "total": 2, "error": "the driver says no"}
    text = "version: v1\nmig-configs:\n  x: []\n"
    done = run(fake, "apply", "-f", "-", input=text)
    assert done.returncode == 0 and done.stdout.endswith("Done.\n")
    assert "+ create  2g.20gb at 4:2" in done.stdout and "4g.40gb at 0:4" in done.stdout
    failed = run(fake, "apply", "-f", "-", input=text)
    assert failed.returncode == 1 and "the driver says no" in one_line(failed.stderr)
    diff = run(fake, "diff", "-f", "-", input=text)
    assert diff.returncode == 3 and "2g.20gb at 4:2" in diff.stdout
    fake.routes[("PUT", "/v1/layout")] = {"changes": False, "operation": None, "gpus": []}
    same = run(fake, "diff", "-f", "-", input=text)
    assert same.returncode == 0 and same.stdout == ""


def test_an_apply_that_is_interrupted_says_that_it_goes_on(fake, tmp_path):
    asked = threading.Event()

    def wait(_):
        asked.set()
        time.sleep(2)
        return {"id": "op-3", "state": "running", "done": 0, "total": 2}
    fake.routes[("PUT", "/v1/layout")] = (202, CHANGES)
    fake.routes[("GET", "/v1/operations/op-3")] = wait
    (tmp_path / "c.yaml").write_text("version: v1\nmig-configs:\n  x: []\n")
    child = subprocess.Popen([TANGRAM, "--socket", fake.path, "apply", "-f",
                              str(tmp_path / "c.yaml")], env=env_for(), stdout=subprocess.DEVNULL,
                             stderr=subprocess.PIPE, text=True)
    assert asked.wait(10)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=10)
    assert child.returncode == 130 and "op-3 goes on without this command" in err


def test_plan(fake):
    fake.routes[("POST", "/v1/plan")] = {"fits": False, "reason": "4g.40gb is in use",
                                         "steps": [], "blocking": []}
    done = run(fake, "plan", "-p", "2g.20gb", "1g.10gb:3")
    assert done.returncode == 3 and "does not fit now: 4g.40gb is in use" in done.stdout
    assert fake.requests[0]["body"] == {"requests": [{"profile": "2g.20gb", "count": 1},
                                                     {"profile": "1g.10gb", "count": 3}]}


@pytest.mark.parametrize("proven,words", [(True, "Proven: no other way"),
                                          (False, "Not proven to be the best: it takes 3 empty "
                                                  "GPUs, and at least 2 are needed."), (None, "")])
def test_a_plan_says_how_good_it_is(fake, proven, words):
    fake.routes[("POST", "/v1/plan")] = {"fits": True, "reason": None, "proven": proven,
                                         "gpus_opened": 3, "gpus_opened_least": 2, "steps": [],
                                         "blocking": []}
    done = run(fake, "plan", "1g.10gb:3")
    assert done.returncode == 0 and words in done.stdout
    assert ("roven" in done.stdout) == (proven is not None)


def event(number):
    return {"id": number, "time": PAST, "kind": "lease.granted", "gpu_uuid": None,
            "lease": f"l-{number}", "tenant": "bob", "message": f"event {number}"}


class Stream:
    """An event stream; the test sends."""

    def __init__(self, fake, events=()):
        self.handlers, self.opened, self.events = [], threading.Semaphore(0), list(events)
        self.last_ids = []
        fake.routes[("GET", "/v1/events")] = self.answer

    def answer(self, request):
        if "text/event-stream" not in request["headers"].get("Accept", ""):
            return {"events": self.events}
        self.last_ids.append(request["headers"].get("Last-Event-ID"))
        return self.stream

    def stream(self, handler):
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Connection", "close")
        handler.end_headers()
        done = threading.Event()
        self.handlers.append((handler, done))
        self.opened.release()
        done.wait(20)
        handler.close_connection = True

    def send(self, event):
        handler, _ = self.handlers[-1]
        handler.wfile.write(f"id: {event['id']}\nevent: {event['kind']}\n"
                            f"data: {json.dumps(event)}\n\n: keep-alive\n\n".encode())

    def end(self):
        self.handlers[-1][1].set()


def test_events_follow_through_a_restart(fake):
    stream = Stream(fake, [event(1), event(2)])
    child = subprocess.Popen([TANGRAM, "--socket", fake.path, "events", "-f", "-o", "json"],
                             env=env_for(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             text=True)
    assert [json.loads(child.stdout.readline())["id"] for _ in range(2)] == [1, 2]
    assert stream.opened.acquire(timeout=10)
    stream.send(event(3))
    assert json.loads(child.stdout.readline())["id"] == 3
    stream.end()
    assert stream.opened.acquire(timeout=10)
    stream.send(event(4))
    assert json.loads(child.stdout.readline())["id"] == 4
    child.kill()
    child.communicate()
    assert stream.last_ids == ["2", "3"]
    stream.end()


def test_watch_prints_again_after_an_event(fake):
    stream = Stream(fake)
    fake.routes[("GET", "/v1/queue")] = {"queue": []}
    child = subprocess.Popen([TANGRAM, "--socket", fake.path, "queue", "-w", "-o", "csv",
                              "--no-header"], env=env_for(), stdout=subprocess.PIPE, text=True)
    assert stream.opened.acquire(timeout=10)
    assert wait_until(lambda: fake.asked("GET", "/v1/queue"))
    fake.routes[("GET", "/v1/queue")] = {"queue": [{"position": 1, "id": "l-5"}]}
    stream.send(event(1))
    assert child.stdout.readline() == "\n"
    assert child.stdout.readline().startswith("1,l-5,")
    child.kill()
    child.communicate()
    stream.end()


def wait_until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def test_a_full_disk_is_a_failure(fake):
    fake.routes[("GET", "/v1/gpus")] = {"gpus": []}
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run([TANGRAM, "--socket", fake.path, "gpus"], stdout=full,
                              stderr=subprocess.PIPE, text=True, env=env_for(), check=False)
    assert done.returncode == 1 and "cannot write the output" in one_line(done.stderr)


def test_export_is_a_mig_parted_file(fake):
    layout = {"version": "v1", "mig-configs": {"current": [
        {"devices": [0, 1], "mig-enabled": True, "mig-devices": {"1g.10gb": 3, "2g.20gb+me": 1}},
        {"devices": [2], "mig-enabled": False, "mig-devices": {}}]}}
    fake.routes[("GET", "/v1/layout")] = layout
    import yaml
    text = run(fake, "export").stdout
    assert yaml.safe_load(text) == layout
    assert "  current:\n    - devices: [0, 1]\n" in text
    assert json.loads(run(fake, "export", "-o", "json").stdout) == layout


def test_the_manual_has_every_command():
    page = BUILD / "man" / "tangram.1"
    if not page.exists():
        pytest.skip("built without scdoc")
    text = page.read_text(encoding="utf-8").replace("\\-", "-")
    names = [line.split()[0] for line in run("/none", "--help").stdout.split("Commands:\n")[1]
             .split("\n\n")[0].splitlines()]
    for name in names:
        assert f'.SS tangram {name}' in text or f'.SS "tangram {name}' in text, name
    assert "--no-header" in text and "[ID]" in text
