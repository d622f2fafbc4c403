"""One YAML file: every key is taken, and what is wrong is said with file, line and column."""
import os
import re
import socket
import subprocess

import pytest

from conftest import BUILD, H100, ROOT, until

EVERY_KEY = """
socket: {path: %s, mode: "0660", group: root}
listen: 127.0.0.1:0
state_dir: %s
driver: libnvidia-ml.so.1
simulate: null
log_level: debug
gpus:
  - {match: {uuid: GPU-00000000-0000-0000-0000-000000000000}, managed: false}
  - {match: {pci: "0000:3b:00.0"}, managed: false, mig_mode: keep}
  - {match: {index: 3}, mig_mode: on-demand}
  - {match: {model: H100}, managed: true, mig_mode: on-demand}
tenants:
  - {name: vision, users: [root, 1004], groups: [adm, 44], role: tenant, max_queued: 3,
     max_compute: 7}
limits: {max_queued_per_tenant: 5, max_compute_per_tenant: 0, default_ttl: 1h, max_ttl: 1d,
         connections: 64}
queue: {backfill_depth: 8, age_step: 5m}
plan: {policy: best-fit, objective: requests}
timing: {call_timeout: 30s, scan_interval: 1m}
cost: {currency: EUR, compute_slot_hour: 0.4, memory_gib_hour: 0.01}
"""


def check(path):
    return subprocess.run([BUILD / "tangramd", "--check-config", "--config", path], text=True,
                          capture_output=True, timeout=20, check=False)


def test_every_key(tmp_path):
    path = tmp_path / "all.yaml"
    path.write_text(EVERY_KEY % (tmp_path / "s", tmp_path / "state"))
    done = check(path)
    assert done.returncode == 0, done


def test_every_documented_key_is_known(tmp_path):
    """The manual page's example with its comments taken off is a valid file."""
    text = (BUILD / "man" / "tangram.yaml.5").read_text()
    lines = [re.sub(r"\\\\([-&.'])", r"\\1", line).replace("\\\\&", "") for line in text.splitlines()]
    keys = {m[1] for line in lines if (m := re.match(r"\\s*#\\s*([a-z_]+):", line))}
    known = set(re.findall(r"([a-z_]+):", EVERY_KEY))
    assert not keys - known, keys - known


@pytest.mark.parametrize("text, where, what", [
    ("gpus: [{match: A30}]\n", "1:16", "match"),
    ("limits:\n  max_ttl: 1y\n", "2:12", "max_ttl"),
    ("limits:\n  connections: 5\n", "2:16", "16 to 65536"),
    ("plan: {policy: magic}\n", "1:16", "reach"),
    ("queue:\n  depth: 3\n", "2:", "known are: backfill_depth"),
    ("tenants:\n  - {users: [root]}\n", "2:5", "name"),
    ("tenants:\n  - {name: a, role: king}\n", "2:21", "operator"),
    ("listen: 0.0.0.0:70\n", "1:9", "loopback"),
    ("listen: nonsense\n", "1:9", "HOST:PORT"),
    ("socket: {mode: \"0999\"}\n", "1:16", "octal"),
    ("log_level: loud\n", "1:12", "debug"),
    ("a: [1, 2\n", "2:1", ""),
    ("gpus:\n  - match: {index: -1}\n", "2:20", "9999"),
    ("gpus:\n  - match: {index: 0, model: A30}\n", "2:12", "one of"),
    ("timing: {call_timeout: 0s}\n", "1:24", "1s"),
    ("limits: {default_ttl: 2h, max_ttl: 1h}\n", "1:", "max_ttl"),
    ("state_dir: \"\"\n", "1:12", ""),
    ("gpus: []\ngpus: []\n", "2:1", "gpus"),
    ("\t\n", "1:1", ""),
    ("- a\n", "1:1", ""),
    ("driver: \"a\\u0007b\"\n", "1:9", ""),
    ("x: \xff\n".encode("latin-1"), "1", ""),
])
def test_wrong_files(tmp_path, text, where, what):
    path = tmp_path / "wrong.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    done = check(path)
    assert done.returncode == 1, done
    assert f"{path}:{where}" in done.stderr and what in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_file_that_is_not_there_or_is_a_folder(tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path):
        done = check(path)
        assert done.returncode == 1 and str(path) in done.stderr, done


def test_empty_file_is_all_defaults(tmp_path):
    path = tmp_path / "empty.yaml"
    for text in ("", "# nothing\n", "---\n"):
        path.write_text(text)
        assert check(path).returncode == 0, check(path)


@pytest.mark.parametrize("key", ["uuid", "pci", "index", "model"])
def test_static_and_dynamic_gpus_side_by_side(daemon, machine, key):
    m = machine("A30", H100)
    static = m.show()["gpus"][0]
    value = {"uuid": static["uuid"], "index": 0, "model": "a30"}.get(key)
    if key == "pci":
        d = daemon(m)
        value = f'"{d.get("/v1/gpus").json["gpus"][0]["pci"]}"'
        d.stop()
    d = daemon(m, config=f"gpus: [{{match: {{{key}: {value}}}, managed: false}}]\n")
    gpus = d.get("/v1/gpus").json["gpus"]
    assert [g["managed"] for g in gpus] == [False, True]
    refused = d.request("POST", "/v1/leases", {"profile": "1g.6gb"})
    assert refused.status == 422 and "managed" in refused.json["detail"], refused
    assert d.lease("1g.10gb")["gpu_index"] == 1
    assert d.request("POST", "/v1/leases", {"profile": "gpu", "model": "A30"}).status == 422
    assert "not managed" in d.cli("status", check=0).stdout


def test_mig_mode_keep_is_kept(daemon, machine):
    d = daemon(machine(H100, mig=False), config="gpus: [{mig_mode: keep}]\n")
    refused = d.request("POST", "/v1/leases", {"profile": "1g.10gb"})
    assert refused.status == 422 and "mig_mode: keep" in refused.json["detail"], refused
    done = d.cli("apply", "-f", ROOT / "tests/data/parted/all-1g.10gb.yaml")
    assert done.returncode != 0 and "mig_mode" in done.stderr, done
    assert d.get("/v1/gpus").json["gpus"][0]["mig"]["mode"] == "disabled"


def test_limits_bind(daemon, machine):
    d = daemon(machine(), config="limits: {default_ttl: 1h, max_ttl: 2h}\n")
    assert d.lease("1g.10gb")["ttl_s"] == 3600
    long = d.lease("1g.10gb", ttl_s=7200)
    too_long = d.request("PATCH", f"/v1/leases/{long['id']}", {"ttl_s": 7201})
    assert too_long.status in (403, 409, 422) and "max_ttl" in too_long.json["detail"], too_long


def test_options_win_over_the_file(daemon, machine, tmp_path):
    other = tmp_path / "other.sock"
    d = daemon(machine(), config=f"socket: {{path: {other}}}\nstate_dir: {tmp_path}/other\n")
    assert d.is_ready() and not other.exists() and not (tmp_path / "other").exists()


def test_ready_is_told_to_systemd(daemon, machine, tmp_path):
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(str(tmp_path / "notify"))
    notify.settimeout(20)
    m = machine()
    d = daemon(m, start=False)
    os.environ["NOTIFY_SOCKET"] = str(tmp_path / "notify")
    try:
        d.start(ready=False)
        heard = b""
        while b"READY=1" not in heard:
            heard = notify.recv(4096)
        assert d.get("/readyz").status == 200
        d.proc.terminate()
        while b"STOPPING=1" not in heard:
            heard = notify.recv(4096)
        assert d.proc.wait(timeout=20) == 0
    finally:
        del os.environ["NOTIFY_SOCKET"]


def test_upgrade_is_a_restart_under_load(daemon, machine):
    d = daemon(machine(f"{H100}:2"))
    lease = d.lease("2g.20gb")
    load = d.machine.load(lease["mig_uuid"])
    waits = d.request("POST", "/v1/leases", {"profile": "7g.80gb", "count": 2}).json
    for _ in range(3):
        d.stop()
        assert load.poll() is None
        d.start()
        now = d.get(f"/v1/leases/{lease['id']}").json
        assert now["state"] == "active" and now["mig_uuid"] == lease["mig_uuid"]
        assert d.get(f"/v1/leases/{waits['id']}").json["state"] == "queued"
    load.kill()
    load.wait()
    d.release(lease)
    until(lambda: d.get(f"/v1/leases/{waits['id']}").json["state"] == "active", "the waiting one")
