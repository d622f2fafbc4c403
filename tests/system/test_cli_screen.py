"""What is seen on a terminal: -w, windows of every size, other people's scripts and names."""
import os
import re
import signal
import subprocess
import termios
import unicodedata

import pytest

from fake_cli import env_for, TANGRAM
from fake_daemon import ROOT, FakeDaemon, gpu, slice_
from terminal import Terminal

ENTER, LEAVE = "\x1b[?1049h", "\x1b[?1049l"


def show(daemon, gpus, queue=(), leases=()):
    daemon.routes.update({("GET", "/v1"): ROOT, ("GET", "/v1/gpus"): {"gpus": list(gpus)},
                          ("GET", "/v1/leases"): {"leases": list(leases)},
                          ("GET", "/v1/queue"): {"queue": list(queue)}})


def stream(_):
    """An event stream that stays open until the client goes."""
    def serve(handler):
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.end_headers()
        handler.close_connection = True
        try:
            while not handler.server.over and handler.connection.recv(1):
                pass
        except OSError:
            pass
    return serve


@pytest.fixture
def fake(tmp_path):
    daemon = FakeDaemon(tmp_path / "sock", {("GET", "/v1/events"): stream})
    daemon.over = False
    yield daemon
    daemon.over = True
    daemon.close()


@pytest.fixture
def terminal(fake):
    opened = []

    def start(*args, **more):
        size = {name: more.pop(name) for name in ("width", "height") if name in more}
        opened.append(Terminal([TANGRAM, "--socket", fake.path, *args],
                               env_for(TERM="xterm", **more), **size))
        return opened[-1]
    yield start
    for one in opened:
        one.close()


def plain(text):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def columns(text):
    return sum(0 if unicodedata.combining(c) else
               2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def many(count):
    return [gpu(i, slices=[slice_("3g.40gb", 0, 4, 3, tenant="vision", lease=f"l-{i}"),
                           slice_("1g.10gb", 4, 1, 1, state="idle")]) for i in range(count)]


# --- -w -------------------------------------------------------------------------------------------

def test_watch_has_the_screen_for_itself_and_gives_it_back(fake, terminal):
    show(fake, many(1))
    t = terminal("status", "-w")
    t.until(ENTER)
    t.until("nobody waits")
    t.key("q")
    assert t.end() == 0 and LEAVE in t.seen and t.seen.endswith(LEAVE)
    assert "\x1b[3J" not in t.seen  # what had been scrolled out stays


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_watch_gives_the_screen_back_on_a_signal(fake, terminal, number):
    show(fake, many(1))
    t = terminal("status", "-w")
    t.until("nobody waits")
    before = termios.tcgetattr(t.parent)
    if number == signal.SIGINT:
        t.key("\x03")
    else:
        t.process.send_signal(number)
    assert t.end() == 128 + number and t.seen.endswith(LEAVE)
    after = termios.tcgetattr(t.parent)
    assert not before[3] & termios.ECHO and after[3] & termios.ECHO and after[3] & termios.ICANON


def test_watch_follows_the_size_of_the_window(fake, terminal):
    show(fake, many(2))
    t = terminal("status", "-w", width=80, height=40)
    t.until("comp │")
    t.until("nobody waits")
    t.size(60, 12)
    t.process.send_signal(signal.SIGWINCH)
    low = plain(t.until("│ 2/7"))
    assert "GPU  NVIDIA H100" in low and "comp │" not in low
    assert all(columns(line) <= 60 for line in low.splitlines())
    t.size(60, 8)
    t.process.send_signal(signal.SIGWINCH)
    t.until("more lines; a higher window shows them")


def test_ctrl_z_hands_the_terminal_over(fake, terminal):
    show(fake, many(1))
    t = terminal("status", "-w")
    t.until("nobody waits")
    t.key("\x1a")
    _, status = os.waitpid(t.process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    t.until(LEAVE)
    assert termios.tcgetattr(t.parent)[3] & termios.ECHO
    t.process.send_signal(signal.SIGCONT)
    t.until(ENTER)
    t.until("nobody waits")
    t.key("q")
    assert t.end() == 0


def test_watch_keeps_the_picture_while_the_daemon_is_away(fake, terminal):
    show(fake, many(1))
    t = terminal("gpus", "-w")
    t.until("H100")
    fake.routes[("GET", "/v1/gpus")] = (503, {"reason": "not_ready", "detail": "not yet"})
    assert "not yet" in t.until("not yet")
    show(fake, many(3))
    t.until("  2  NVIDIA H100")
    assert t.process.poll() is None


def test_watch_says_why_it_cannot_start(terminal, tmp_path):
    t = terminal("--socket", str(tmp_path / "none"), "status", "-w")
    assert t.end() == 6
    assert "there is no socket" in t.seen[t.seen.index(LEAVE):]


def test_watch_of_a_lease_that_is_not_there(fake, terminal):
    t = terminal("leases", "l-9", "-w")
    assert t.end() == 1
    assert "there is no /v1/leases/l-9" in t.seen[t.seen.index(LEAVE):]


@pytest.mark.parametrize("args", [("events", "-f"), ("queue", "-w")])
def test_nothing_goes_on_when_nobody_reads(fake, args):
    show(fake, [])
    fake.routes[("GET", "/v1/events")] = lambda r: (
        {"events": []} if r["query"] else stream(r))
    reader, writer = os.pipe()
    child = subprocess.Popen([TANGRAM, "--socket", fake.path, *args], stdout=writer, env=env_for(TERM="xterm"))
    os.close(writer)
    os.close(reader)
    assert child.wait(timeout=10) == -signal.SIGPIPE


def test_a_stream_into_a_full_disk_says_why(fake):
    fake.routes[("GET", "/v1/events")] = lambda r: (
        {"events": [{"id": 1, "time": "x", "kind": "k", "message": "m"}]} if r["query"]
        else stream(r))
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run([TANGRAM, "--socket", fake.path, "events", "-f"], stdout=full,
                              stderr=subprocess.PIPE, text=True, env=env_for(TERM="xterm"), timeout=20,
                              check=False)
    assert done.returncode == 1 and "No space left on device" in done.stderr


# --- the picture ----------------------------------------------------------------------------------

def test_many_gpus_have_a_line_each_on_a_low_terminal(fake, terminal):
    show(fake, many(18))
    t = terminal("status", height=24)
    assert t.end() == 0
    text = plain(t.seen)
    rows = [line for line in text.splitlines() if re.match(r" *\d+ │", line)]
    assert len(rows) == 18 and all(line.endswith("│ 2/7") for line in rows)
    assert "│3g.40gb vision l-7 " in rows[7] and "│1g idle│" in rows[7]
    assert len({columns(line) for line in rows}) == 1
    assert len(text.splitlines()) <= 24
    high = terminal("status", height=200)
    assert high.end() == 0 and plain(high.seen).count("comp │") == 18
    wide = terminal("status", "-o", "wide", height=24)
    assert wide.end() == 0 and plain(wide.seen).count("comp │") == 18


def ask(fake, *args, **env):
    done = subprocess.run([TANGRAM, "--socket", fake.path, *args], capture_output=True, text=True,
                          env=env_for(TERM="xterm", **env), timeout=30, check=False)
    assert done.returncode == 0, done
    return done.stdout


def test_compact_without_a_terminal(fake):
    show(fake, [*many(1), gpu(1, 4, 4, [], "NVIDIA A30"),
                gpu(2, 4, 4, [], "NVIDIA A30", health="unresponsive", health_reason="it hangs")])
    text = ask(fake, "status", "--compact")
    assert "comp │" not in text and text.count("GPU  NVIDIA") == 2
    assert text.count("who has what") == 1
    assert "│ sick\n" in text and "! it hangs" in text
    assert "comp │" in ask(fake, "status")  # into a pipe always the whole one
    assert ask(fake, "status", "--compact", "--ascii").isascii()


def test_rows_say_what_matters_most(fake):
    show(fake, [gpu(0, slices=[slice_("4g.40gb", 0, 4, 4, tenant="a-laboratory-with-a-long-name-" * 2),
                               slice_("1g.10gb+me", 4, 1, 1, tenant="b")]),
                gpu(1, 0, 0, [], "NVIDIA L4", managed=False, processes=2,
                    mig={"capable": False, "mode": "disabled", "pending": "disabled"}),
                gpu(2, lease="l-4", mig={"capable": True, "mode": "disabled"})])
    rows = [line for line in ask(fake, "status", "--compact").splitlines() if "│" in line]
    assert "│4g.40gb a-laboratory-with-a-lo…│1g+me b│" in rows[0]
    assert rows[1].endswith("│ unmanaged") and rows[2].endswith("│ leased")


NAMES = ["視覚研究室", "команда-зрения", "فريق", "🚀🚀🚀🚀🚀", "e\u0301quipe", "x" * 200]


@pytest.mark.parametrize("size", [40, 57, 80, 118])
def test_boxes_line_up_with_names_of_every_script(fake, size):
    show(fake, [gpu(0, slices=[slice_("1g.10gb", i, 1, 1, tenant=name, lease=f"l-{i}")
                               for i, name in enumerate(NAMES)])])
    for args in (["status"], ["status", "--compact"]):
        lines = ask(fake, *args, COLUMNS=str(size)).splitlines()
        boxes = [line for line in lines if re.match(r"(comp |mem  |     |  0 )[│┌└]", line)]
        assert boxes and len({columns(line) for line in boxes}) == 1, boxes
        assert columns(boxes[0]) <= size


def test_the_direction_of_writing_cannot_be_turned(fake):
    show(fake, [gpu(0, slices=[slice_("4g.40gb", 0, 4, 4, tenant="a\u202eb\u2066c\u200fd\u2028e")])])
    text = ask(fake, "status")
    assert not set(text) & set("\u202e\u2066\u200f\u2028")
    assert r"\xe2\x80\xae" in text


def test_compute_instances_are_drawn_by_what_is_leased(fake):
    cis = [{"id": 0, "profile": "1c.3g.40gb", "mig_uuid": "MIG-a", "lease": "l-1"},
           {"id": 1, "profile": "1c.3g.40gb", "mig_uuid": "MIG-b", "lease": None}]
    show(fake, [gpu(0, slices=[slice_("3g.40gb", 4, 4, 3, tenant="bob", compute_instances=cis)])])
    text = ask(fake, "status")
    assert "│████████ ▒▒▒▒▒▒▒▒ ▒▒▒▒▒▒▒▒         │" in text
    assert "bob  1c l-1 " in text


def test_long_reasons_are_folded_on_a_terminal_only(fake, terminal):
    reason = " ".join(f"word{i}" for i in range(40))
    show(fake, [gpu()], queue=[{"position": 1, "id": "l-9", "profile": "7g.80gb", "tenant": "bob",
                                "created_at": "2026-01-01T00:00:00.000Z", "reason": reason}])
    assert reason in ask(fake, "status")
    t = terminal("status")
    assert t.end() == 0
    lines = plain(t.seen).splitlines()
    assert max(map(columns, lines)) <= 80
    assert "     word0 word1" in "\n".join(lines)
