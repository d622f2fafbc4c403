"""Who may do what: on the socket by user and group, over TCP by token."""
import json
import os
import pathlib
import socket
import subprocess
import time
import urllib.error
import urllib.request

import pytest

from conftest import BUILD, H100, for_everybody, until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become other users")

ROLES = """
tenants:
  - {name: watchers, users: [daemon], role: viewer}
  - {name: vision, users: [bin, 4242], groups: [5151], max_compute: 2, max_queued: 1}
  - {name: admins, groups: [sudo], role: operator}
"""


def open_to_all(d):
    for parent in d.folder, *d.folder.parents:
        if str(parent).startswith("/tmp/") and parent.stat().st_uid == os.getuid():
            parent.chmod(parent.stat().st_mode | 0o055)
    return d


def as_user(d, uid, *args, gid=65534):
    return subprocess.run(["setpriv", "--reuid", str(uid), "--regid", str(gid), "--clear-groups",
                           for_everybody("tangram"), *args], text=True, timeout=60,
                          capture_output=True, check=False,
                          env=dict(os.environ, TANGRAM_SOCKET=str(d.socket)))


def leased(done):
    assert done.returncode == 0, done
    return json.loads(done.stdout)


def test_roles_by_user_and_group(daemon, machine):
    d = open_to_all(daemon(machine(), config=ROLES))
    # viewer: reads, does nothing
    assert as_user(d, 1, "status").returncode == 0
    no = as_user(d, 1, "lease", "-p", "1g.10gb")
    assert no.returncode == 4 and "watchers" in no.stderr + no.stdout or "viewer" in no.stderr, no
    # tenants by name, by number and by group
    bin_lease = leased(as_user(d, 2, "lease", "-p", "1g.10gb", "-o", "json"))
    by_number = leased(as_user(d, 4242, "lease", "-p", "1g.10gb", "-o", "json"))
    assert bin_lease["tenant"] == by_number["tenant"] == "vision"
    by_group = as_user(d, 3, "release", bin_lease["id"], gid=5151)
    assert by_group.returncode == 0, by_group
    assert as_user(d, 3, "release", by_number["id"]).returncode == 4  # the group is what counted
    # an operator may end anybody's, and cut
    assert as_user(d, 3, "release", by_number["id"], gid=27).returncode == 0
    assert as_user(d, 2, "apply", "-f", "/dev/null").returncode != 0
    # whoever is not named is a tenant of his own
    own = leased(as_user(d, 60123, "lease", "-p", "1g.10gb", "-o", "json"))
    assert own["tenant"] == "uid-60123"


def test_who_comes_back_later_is_asked_for_again(daemon, tmp_path):
    d = open_to_all(daemon(start=False))
    shim = BUILD / "tests/unit/libclock-shim.so"
    d.start(wrapper=("env", f"LD_PRELOAD={shim}", f"CLOCK_SHIM_BOOT_FILE={tmp_path}/later",
                     "ASAN_OPTIONS=verify_asan_link_order=0"))
    for seconds in (0, 120, 3600):  # not known; known, and asked for again; known too long ago
        (tmp_path / "later").write_text(str(seconds))
        for _ in range(2):
            done = as_user(d, 4242, "status")
            assert done.returncode == 0, (seconds, done)


def test_limits_of_a_tenant(daemon, machine):
    d = open_to_all(daemon(machine(), config=ROLES))
    leased(as_user(d, 2, "lease", "-p", "2g.20gb", "-o", "json"))
    never = as_user(d, 2, "lease", "-p", "3g.40gb")
    assert never.returncode == 3 and "2 at most" in never.stderr, never
    waiting = subprocess.Popen(["setpriv", "--reuid", "2", "--regid", "65534", "--clear-groups",
                                for_everybody("tangram"), "lease", "-p", "1g.10gb", "--wait", "60s"],
                               env=dict(os.environ, TANGRAM_SOCKET=str(d.socket)))
    row = until(lambda: d.get("/v1/queue").json["queue"], "the request to wait")[0]
    assert row["tenant"] == "vision" and "2 of the 2 compute slots" in row["reason"], row
    full = as_user(d, 2, "lease", "-p", "1g.10gb", "--wait", "60s")
    assert full.returncode != 0 and "1 are allowed" in full.stderr, full
    waiting.terminate()
    waiting.wait()
    until(lambda: not d.get("/v1/queue").json["queue"], "the request to be cancelled")


def test_a_tenant_changes_and_sees_only_its_own(daemon, machine):
    d = open_to_all(daemon(machine(), config=ROLES))
    lease = d.lease("1g.10gb", name="secret", labels={"a": "b"})
    for args in (("release", lease["id"]), ("renew", lease["id"], "--ttl", "1h"),
                 ("apply", "-f", "/dev/stdin"), ("token", "list"),
                 ("token", "create", "--tenant", "root", "--role", "operator")):
        done = as_user(d, 60123, *args)
        assert done.returncode in (2, 4) and done.returncode == 4 or args[0] == "apply", done
    seen = leased(as_user(d, 60123, "leases", lease["id"], "-o", "json"))
    assert seen["name"] is None and seen["labels"] == {} and seen["env"] == {}
    assert d.get(f"/v1/leases/{lease['id']}").json["state"] == "active"


def hanging(gate, first_uid):
    """A wrapper under which the user database hangs for these users while the file is there."""
    assert (BUILD / "tests/unit/libnss-shim.so").exists()
    asan = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
    return ("env", f"LD_PRELOAD={BUILD}/tests/unit/libnss-shim.so", f"NSS_SHIM_GATE={gate}",
            f"NSS_SHIM_FROM={first_uid}", f"ASAN_OPTIONS={asan}")


def start_as(d, uid, *args):
    return subprocess.Popen(["setpriv", "--reuid", str(uid), "--regid", "65534", "--clear-groups",
                             for_everybody("tangram"), *args], text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE,
                            env=dict(os.environ, TANGRAM_SOCKET=str(d.socket)))


def test_a_user_database_that_hangs_stops_nobody_else(daemon, machine, tmp_path):
    """Who is not known yet waits for the answer; who is known, and root, do not notice."""
    gate = tmp_path / "gate"
    gate.touch()
    d = open_to_all(daemon(machine(), config=ROLES, start=False))
    d.start(wrapper=hanging(gate, 1000))
    assert as_user(d, 2, "status").returncode == 0
    waiting = [start_as(d, uid, "lease", "-p", "1g.10gb", "-o", "json") for uid in (4242, 60123)]
    many = [start_as(d, 70000 + i, "status") for i in range(12)]  # more than threads
    until(lambda: "users" in threads_of(d), "the database to be asked")
    for _ in range(20):
        start = time.monotonic()
        assert d.get("/v1/leases").json == {"leases": []}
        assert as_user(d, 2, "queue").returncode == 0
        assert time.monotonic() - start < 3
    assert all(p.poll() is None for p in waiting)
    many[0].kill()  # one that leaves while it is asked for
    gate.unlink()
    tenants = [json.loads(p.communicate(timeout=20)[0])["tenant"] for p in waiting]
    assert tenants == ["vision", "uid-60123"]
    assert [p.wait(20) for p in many] == [-9] + [0] * 11
    until(lambda: "users" not in threads_of(d), "the threads to end")


def test_a_user_database_that_never_answers(daemon, machine, tmp_path):
    """Others hear of it in time, root gets in as an operator, and the daemon ends all the same."""
    gate = tmp_path / "gate"
    gate.touch()
    d = open_to_all(daemon(machine(), config=ROLES, start=False))
    d.start(wrapper=hanging(gate, 0))
    other = start_as(d, 60123, "status")
    assert d.get("/v1").json["you"]["role"] == "operator"  # after some seconds
    assert "user database" in other.communicate(timeout=20)[1] and other.returncode == 6
    start = time.monotonic()
    assert d.get("/v1").status == 200 and time.monotonic() - start < 2  # it is not waited for again
    d.stop()


CROWD = """
import socket, sys
heard = []
for i in range(int(sys.argv[2])):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)
    s.connect(sys.argv[1])
    try:
        s.sendall(b"GET /healthz HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    except BrokenPipeError:
        pass  # the answer is there already
    heard.append((s, s.recv(4096).split()[1].decode()))
print(*[status for _, status in heard], flush=True)
sys.stdin.read()
"""


def crowd(d, uid, count):
    """A process of that user with so many connections; the first answer on each."""
    proc = subprocess.Popen(["setpriv", "--reuid", str(uid), "--regid", "65534", "--clear-groups",
                             "/usr/bin/python3", "-c", CROWD, d.socket, str(count)], text=True,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    return proc, proc.stdout.readline().split()


def test_clients_leave_descriptors_for_the_rest(daemon, machine):
    """As many as may be open are not used up by who connects: others are told, root is served."""
    d = open_to_all(daemon(machine(), start=False))
    d.start(wrapper=("prlimit", "--nofile=120:"))
    proc, answers = crowd(d, 4242, 150)
    assert 20 < answers.count("200") < 100 and answers.count("503") == 150 - answers.count("200")
    for _ in range(3):
        lease = json.loads(d.cli("lease", "-p", "1g.10gb", "-o", "json").stdout)
        assert lease["state"] == "active"
    refused = as_user(d, 4243, "status")
    assert refused.returncode == 6 and "as many connections as it may have" in refused.stderr
    proc.communicate("")
    until(lambda: as_user(d, 4243, "status").returncode == 0, "room for others")
    assert "cannot accept" not in d.log


def test_subordinate_users_are_their_owner(daemon, machine, tmp_path):
    """Anybody can be 65,536 users in a rootless container: that makes no more quota, no more
    connections and no operator of him."""
    subuid = pathlib.Path("/etc/subuid")
    probe = subprocess.run(["unshare", "--mount", "mount", "--bind", subuid, subuid], check=False,
                           capture_output=True)
    if probe.returncode != 0:
        pytest.skip("/etc/subuid cannot be replaced here")
    (tmp_path / "subuid").write_text("bin:500000:65536\nsys:600000:65536\nroot:700000:65536\n")
    (tmp_path / "subuid").chmod(0o644)
    d = open_to_all(daemon(machine(), config=ROLES + "  - {name: ops, users: [sys], role: operator}"
                           "\n", start=False))
    d.start(wrapper=("unshare", "--mount", "sh", "-c", f"mount --bind {tmp_path}/subuid {subuid} && "
                     'exec "$@"', "sh"))
    lease = leased(as_user(d, 500007, "lease", "-p", "1g.10gb", "-o", "json"))
    assert lease["tenant"] == "vision"  # as bin is
    assert as_user(d, 2, "release", lease["id"]).returncode == 0
    for uid in 500001, 500002:
        leased(as_user(d, uid, "lease", "-p", "1g.10gb", "-o", "json"))
    more = as_user(d, 500003, "lease", "-p", "1g.10gb", "--wait", "0")
    assert more.returncode == 3 and "2 compute slots" in more.stdout + more.stderr
    foreign = as_user(d, 600001, "release", lease["id"])
    assert foreign.returncode == 4, foreign  # though sys is an operator
    assert leased(as_user(d, 700001, "lease", "-p", "1g.10gb", "-o", "json"))["tenant"] == "uid-700001"
    first, answers = crowd(d, 500001, 256)
    assert answers == ["200"] * 256
    second, answers = crowd(d, 500002, 5)
    assert answers == ["503"] * 5
    assert as_user(d, 2, "status").returncode == 0
    for proc in first, second:
        proc.communicate("")


def threads_of(d):
    return [(p / "comm").read_text().strip()
            for p in pathlib.Path(f"/proc/{d.proc.pid}/task").iterdir()]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def ask(port, path, token=None, body=None, method=None):
    head = {"Content-Type": "application/json"}
    if token:
        head["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=head, method=method,
                                     data=json.dumps(body).encode() if body else None)
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_tokens_over_tcp(daemon, machine):
    port = free_port()
    d = daemon(machine(), args=["--listen", f"127.0.0.1:{port}"])
    token = d.cli("token", "create", "--tenant", "vision", "--name", "ci", check=0).stdout.strip()
    viewer = d.cli("token", "create", "--tenant", "w", "--role", "viewer", check=0).stdout.strip()
    listed = json.loads(d.cli("token", "list", "-o", "json", check=0).stdout)
    listed = listed["tokens"] if isinstance(listed, dict) else listed
    assert token not in json.dumps(listed) and {t["tenant"] for t in listed} == {"vision", "w"}
    for wrong in (None, "x", token[:-1], token + "a", token.swapcase()):
        status, problem = ask(port, "/v1/leases", wrong)
        assert status == 401, (wrong, problem)
    status, lease = ask(port, "/v1/leases", token, {"profile": "1g.10gb", "wait_s": 20})
    assert status == 201 and lease["tenant"] == "vision"
    assert ask(port, "/v1/leases", viewer, {"profile": "1g.10gb"})[0] == 403
    assert ask(port, "/v1/tokens", token)[0] == 403
    d.kill()
    d.start()  # tokens are kept
    assert ask(port, f"/v1/leases/{lease['id']}", token)[1]["state"] == "active"
    mine = next(t["id"] for t in listed if t["tenant"] == "vision")
    assert d.cli("token", "revoke", mine).returncode == 0
    assert ask(port, "/v1/leases", token)[0] == 401
    assert d.cli("token", "revoke", mine).returncode == 1
    kept = b"".join(p.read_bytes() for p in d.state.rglob("*") if p.is_file())
    assert token.encode() not in kept and viewer.encode() not in kept


def test_a_revoked_token_is_out_of_its_streams_too(daemon, machine):
    port = free_port()
    d = daemon(machine(), args=["--listen", f"127.0.0.1:{port}"])
    token = d.request("POST", "/v1/tokens", {"name": "x", "tenant": "x", "role": "operator"}).json
    other = d.request("POST", "/v1/tokens", {"name": "y", "tenant": "y"}).json

    def follow(secret):
        s = socket.create_connection(("127.0.0.1", port), timeout=20)
        s.sendall(b"GET /v1/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"
                  b"Authorization: Bearer " + secret.encode() + b"\r\n\r\n")
        assert b"200 OK" in s.recv(65536)
        return s
    out, stays = follow(token["token"]), follow(other["token"])
    # it may revoke itself, and hears that
    assert ask(port, f"/v1/tokens/{token['id']}", token["token"], method="DELETE")[0] == 200
    while out.recv(65536):
        pass
    d.lease("1g.10gb")
    heard = b""
    while b"lease.granted" not in heard:
        heard += stays.recv(65536)
    assert ask(port, "/v1", token["token"])[0] == 401


@pytest.mark.parametrize("where", ["0.0.0.0:7070", "192.0.2.1:80", ":7070", "localhost",
                                   "127.0.0.1:99999", "[::]:7070", "127.0.0.1:"])
def test_only_loopback(daemon, machine, where):
    d = daemon(machine(), start=False, args=["--listen", where])
    d.start(ready=False)
    assert d.proc.wait(timeout=20) == (2 if "usage" in d.log else 1), d.log
    assert "HOST:PORT" in d.log or "loopback" in d.log, d.log
    assert len(d.log.strip().splitlines()) <= 3, d.log
