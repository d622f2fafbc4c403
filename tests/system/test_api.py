"""The REST API as its own document describes it, and what it makes of bad input."""
import concurrent.futures
import http.client
import json
import os
import pathlib
import socket
import subprocess

import pytest
import yaml
from conftest import BUILD, H100, Daemon, Machine, Reply, UnixConnection, until
from openapi import Document


class Checked:
    """Requests whose answers are held against the document."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.doc = Document(daemon.get("/v1/openapi.json").json)

    def ask(self, method, path, body=None, **kw):
        reply = self.daemon.request(method, path, body, **kw)
        self.doc.check_reply(method, path, reply)
        return reply


def test_the_document_holds_together(daemon):
    """Every reference leads somewhere, every keyword is known, every schema is used."""
    doc = Document(daemon().get("/v1/openapi.json").json)
    used, schemas = set(), doc.doc["components"]["schemas"]

    def walk(node):
        if isinstance(node, dict):
            if "$ref" in node and node["$ref"] not in used:
                used.add(node["$ref"])
                walk(doc.resolve(node["$ref"]))
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(doc.doc["paths"])
    assert {ref.rsplit("/", 1)[1] for ref in used} | {"Event"} == set(schemas)
    for name, schema in schemas.items():
        assert doc.errors(schema, 7), name
        assert set(schema["required"]) <= set(schema["properties"]), name
    for path, item in doc.doc["paths"].items():
        for method, operation in item.items():
            named = [p["name"] for p in operation["parameters"] if p["in"] == "path"]
            assert named == [p[1:-1] for p in path.split("/") if p.startswith("{")]
            assert operation["summary"] and "default" in operation["responses"], (path, method)


def test_every_answer_keeps_to_the_document(daemon, machine):
    """One of everything that can be on a machine, and every route."""
    d = daemon(machine(H100, "A30"))
    api = Checked(d)
    one = api.ask("POST", "/v1/leases", {"profile": "2g.20gb", "wait_s": 20, "name": "a\u00e9\u4e2d",
                                         "labels": {"k": "v"}, "ttl_s": 600, "movable": True})
    assert one.status == 201 and one.headers["Location"] == "/v1/leases/l-1"
    shared = api.ask("POST", "/v1/leases", {"profile": "1c.3g.40gb", "wait_s": 20})
    assert shared.status == 201 and shared.json["slices"][0]["profile"] == "1c.3g.40gb"
    two = api.ask("POST", "/v1/leases", {"profile": "1g.6gb", "count": 2, "wait_s": 20})
    assert two.status == 201 and len(two.json["slices"]) == 2 and two.json["mig_uuid"] is None
    waits = api.ask("POST", "/v1/leases", {"profile": "7g.80gb", "name": "big"})
    assert waits.status == 202 and waits.json["state"] == "queued"
    no = api.ask("POST", "/v1/leases", {"profile": "4g.40gb", "wait_s": -1})
    assert no.status == 409 and no.json["blocking"]
    never = api.ask("POST", "/v1/leases", {"profile": "1g.5gb"})
    assert never.status == 422
    why = api.ask("GET", f"/v1/leases/{waits.json['id']}/why").json
    assert why["position"] == 1 and {b["lease"] for b in why["blocking"]} >= {"l-1"}
    assert api.ask("GET", "/v1/queue").json["queue"][0]["name"] == "big"
    gpus = api.ask("GET", "/v1/gpus").json["gpus"]
    assert [g["memory_slots"] for g in gpus] == [8, 4]
    assert api.ask("GET", f"/v1/gpus/{gpus[1]['uuid']}").json == gpus[1]
    assert len(api.ask("GET", "/v1/slices").json["slices"]) == 4
    for path in ("/v1", "/v1/leases", "/v1/leases?all", "/v1/leases?state=queued", "/v1/layout",
                 "/v1/events", "/v1/events?after=1&limit=2", "/v1/doctor", "/v1/tokens", "/healthz",
                 "/readyz", "/v1/leases/l-1", "/v1/leases/l-1?wait_s=1", "/v1/leases/l-99",
                 "/v1/gpus/9", "/v1/operations/op-1", "/v1/leases/7/why"):
        api.ask("GET", path)
    plan = api.ask("POST", "/v1/plan", {"requests": [{"profile": "gpu", "count": 2}]})
    assert plan.json["fits"] is False and plan.json["reason"]
    assert api.ask("PATCH", "/v1/leases/l-1", {"ttl_s": None}).json["expires_at"] is None
    assert api.ask("DELETE", f"/v1/leases/{waits.json['id']}").json["state"] == "released"
    assert api.ask("DELETE", f"/v1/leases/{waits.json['id']}").status == 409
    plan = api.ask("POST", "/v1/plan", {"requests": [{"profile": "1g.10gb"}, {"profile": "1g.6gb"}]})
    assert plan.json["fits"] is True and len(plan.json["steps"]) == 2
    token = api.ask("POST", "/v1/tokens", {"name": "ci", "tenant": "vision"})
    assert token.status == 201 and token.json["token"].startswith("tgm_")
    assert api.ask("DELETE", f"/v1/tokens/{token.json['id']}").status == 200
    assert api.ask("DELETE", "/v1/tokens/t-99").status == 404


def test_everything_can_be_asked_while_a_gpu_is_re_cut(daemon, machine):
    """What goes and what comes in its place are both there for a moment."""
    d = daemon(machine(H100))
    api = Checked(d)
    d.release(d.lease("1g.10gb"))
    d.machine.fault("nvmlGpuInstanceDestroy", "--hang", "500ms", "--times", "4")
    for profile in ("7g.80gb", "4g.40gb"):
        lease = api.ask("POST", "/v1/leases", {"profile": profile}).json
        assert lease["state"] == "cutting"
        slices = api.ask("GET", "/v1/gpus").json["gpus"][0]["slices"]
        assert {s["state"] for s in slices} >= {"creating", "destroying"}
        for path, item in sorted(api.doc.doc["paths"].items()):
            if "get" in item:
                path = path.replace("leases/{id}", f"leases/{lease['id']}").replace("{gpu}", "0")
                api.ask("GET", path.replace("{id}", "op-1"))
        d.wait_state(lease, "active")
        d.release(lease)


def test_layout_is_applied_and_followed(daemon):
    d = daemon()
    api = Checked(d)

    def layout(devices, **more):
        return {"version": "v1", "mig-configs": {"x": [
            {"devices": "all", "mig-enabled": True, "mig-devices": devices}]}, **more}

    begun = api.ask("PUT", "/v1/layout", layout({"3g.40gb": 1, "2g.20gb": 1}))
    assert begun.status == 202
    done = api.ask("GET", f"{begun.headers['Location']}?wait_s=30").json
    assert done["state"] == "done" and done["done"] == done["total"] == 2
    now = api.ask("GET", "/v1/layout").json
    assert now["mig-configs"]["current"][0]["mig-devices"] == {"3g.40gb": 1, "2g.20gb": 1}
    same = api.ask("PUT", "/v1/layout", now)
    assert same.status == 200 and not same.json["changes"]
    lease = d.lease("2g.20gb")
    assert api.ask("PUT", "/v1/layout?dry_run=true", layout({"2g.20gb": 3})).json["changes"]
    busy = api.ask("PUT", "/v1/layout", layout({"7g.80gb": 1}))
    assert busy.status == 409 and busy.json["blocking"][0]["lease"] == lease["id"]
    assert api.ask("GET", "/v1/layout").json == now
    bad = api.ask("PUT", "/v1/layout", layout({"7g.80gb": -1}))
    assert bad.status == 422 and bad.json["pointer"] == "/mig-configs/x/0/mig-devices/7g.80gb"
    assert api.ask("PUT", "/v1/layout", layout({}, config="y")).status == 422


DATA = pathlib.Path(__file__).resolve().parents[1] / "data" / "parted"
ON, OFF = True, False
PARTED = [  # file, configuration, what is on GPU 0 and 1 afterwards
    ("all-disabled", None, [(OFF, {}), (OFF, {})]),
    ("all-enabled", None, [(ON, {}), (ON, {})]),
    ("all-1g.10gb", None, [(ON, {"1g.10gb": 7})] * 2),
    ("mixed", "mixed", [(ON, {"1g.10gb": 2, "2g.20gb": 1, "3g.40gb": 1})] * 2),
    ("per-device", "per-device", [(ON, {"3g.40gb": 2}), (OFF, {})]),
    ("per-device", "swapped", [(ON, {"1g.10gb+me": 1, "1g.20gb": 3})] * 2),
    ("filtered", "by-model", [(ON, {"1g.10gb": 7})] * 2),
    ("compute", "shared", [(ON, {"1c.3g.40gb": 3, "2c.4g.40gb": 2})] * 2),
]


def test_every_kind_of_parted_file_is_applied(daemon, machine):
    """One after the other on the same two GPUs: each a difference to the one before."""
    d = daemon(machine(H100 + ":2"), config="gpus:\n  - mig_mode: on-demand\n")
    api = Checked(d)
    for name, config, want in PARTED:
        body = yaml.safe_load((DATA / f"{name}.yaml").read_text())
        reply = api.ask("PUT", "/v1/layout", dict(body, config=config))
        assert reply.status in (200, 202), (name, reply)
        if reply.status == 202:
            done = api.ask("GET", reply.headers["Location"] + "?wait_s=60").json
            assert done["state"] == "done", (name, done)
        found = {i: (entry["mig-enabled"], entry["mig-devices"])
                 for entry in api.ask("GET", "/v1/layout").json["mig-configs"]["current"]
                 for i in entry["devices"]}
        assert [found[0], found[1]] == want, name
        shown = d.machine.show()
        assert len(shown["gpus"]) == 2
        again = api.ask("PUT", "/v1/layout", dict(body, config=config))
        assert again.status == 200 and not again.json["changes"], (name, again)


def test_a_layout_leaves_unmanaged_gpus_alone(daemon, machine):
    d = daemon(machine(H100 + ":2"), config="gpus:\n  - {match: {index: 1}, managed: false}\n")
    api = Checked(d)

    def entry(devices):
        return {"version": "v1", "mig-configs": {"x": [
            {"devices": devices, "mig-enabled": True, "mig-devices": {"7g.80gb": 1}}]}}

    no = api.ask("PUT", "/v1/layout", entry([0, 1]))
    assert no.status == 422 and "not managed" in no.json["detail"]
    assert no.json["pointer"] == "/mig-configs/x/0/devices/1"
    assert api.ask("PUT", "/v1/layout", entry([2])).json["pointer"] == "/mig-configs/x/0/devices/0"
    begun = api.ask("PUT", "/v1/layout", entry("all"))
    assert [g["gpu_index"] for g in begun.json["gpus"]] == [0]
    assert api.ask("GET", begun.headers["Location"] + "?wait_s=60").json["state"] == "done"
    assert [e["devices"] for e in api.ask("GET", "/v1/layout").json["mig-configs"]["current"]] == [[0]]


# --- bad input --------------------------------------------------------------------------------

def wrong_values(doc, schema):
    """Values that the field's schema forbids, each with a word for what is wrong with it."""
    while "$ref" in schema:
        schema = doc.resolve(schema["$ref"])
    candidates = [7, -1, 2 ** 53, 1.5, "", "x", "x" * 5000, "a\u0000b", "a\u001b[2J", "\u0085", True,
                  None, [], {}, [[]], [7], {"x": 1}, [{"x": 1}], 10 ** 15, "2" * 64, ["x"] * 100]
    return [c for c in candidates if doc.errors(schema, c)] + (
        ["a\u0000b", "a\u001b[2J", "\u0085"] if "string" in schema.get("type", []) else [])


def good_body(name):
    return {"LeaseRequest": {"profile": "1g.10gb"}, "LeasePatch": {"ttl_s": 5},
            "PlanRequest": {"requests": [{"profile": "1g.10gb"}]},
            "SliceName": {"gpu": "0", "start": 6},
            "LayoutRequest": {"version": "v1", "mig-configs": {
                "a": [{"devices": [99], "mig-enabled": False}]}},
            "MoveAnswer": {"answer": "confirm"},
            "TokenRequest": {"name": "n", "tenant": "t"}}[name]


RAW = [b"", b"{", b"nul", b"[]", b"7", b'"x"', b"{}x", b'{"a":1,"a":2}', b"\xff\xfe", b'{"\xff":1}',
       b'{"profile":"\xc0\x80"}', b'{"profile":"\xed\xa0\x80"}', b'{"profile":"\\ud800"}',
       b"[" * 31 + b"]" * 31, b"[" * 33 + b"]" * 33, b"[" * 100000, b'{"profile":1e999}',
       b'{"profile":123456789012345678901234567890}', b"\x00" * 64, b'{"profile":"a\\u0000b"}']


def test_no_bad_body_does_anything(daemon):
    """Every route with a body, every field of it, everything that it does not accept."""
    d = daemon()
    api = Checked(d)
    d.lease("2g.20gb")
    before = (d.get("/v1/leases?all").json, d.slices(), d.get("/v1/tokens").json)
    tried = 0
    for path, item in api.doc.doc["paths"].items():
        for method, operation in item.items():
            if "requestBody" not in operation:
                continue
            method, path = method.upper(), path.replace("{id}", "l-1")
            ref = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            schema, good = api.doc.resolve(ref), good_body(ref.rsplit("/", 1)[1])
            for raw in RAW:
                reply = api.ask(method, path, raw)
                assert reply.status == 400, (method, path, raw, reply)
                assert reply.json["reason"] in ("bad_json", "bad_field", "unknown_field")
                tried += 1
            for name, field in schema["properties"].items():
                for value in wrong_values(api.doc, field):
                    reply = api.ask(method, path, dict(good, **{name: value}))
                    assert reply.status == 400, (method, path, name, value, reply)
                    assert reply.json["reason"] in ("bad_field", "unknown_field", "bad_json")
                    assert name in reply.json["detail"] or reply.json["reason"] != "bad_field"
                    tried += 1
            for name in schema["required"]:
                short = {k: v for k, v in good.items() if k != name}
                assert "is missing" in api.ask(method, path, short).json["detail"]
            odd = api.ask(method, path, dict(good, unheard_of=1))
            assert odd.json["reason"] == "unknown_field" and "unheard_of" in odd.json["detail"]
            assert odd.json["pointer"] == "/unheard_of"
            huge = api.ask(method, path, b'{"a":"' + b"x" * (1 << 20) + b'"}')
            assert huge.status == 413 and huge.json["reason"] == "too_large"
            text = api.ask(method, path, good, headers={"Content-Type": "text/plain"})
            assert text.status == 415 and text.json["reason"] == "unsupported_media_type"
    assert tried > 300
    assert (d.get("/v1/leases?all").json, d.slices(), d.get("/v1/tokens").json) == before


PROFILES = ["", "g", "0g", "1g.", "1g.10gb+", "9999999999g", "1g.10gb;rm -rf /", "../../etc/passwd",
            "%s%s%n", "memory=", "memory=-1GiB", "memory=99999999TiB", "memory=1GiB,",
            "memory=1GiB,compute=", "0c.3g.40gb", "9c.3g.40gb", "1c.", "gpu ", "GPU",
            "1g.10gb" * 8, "\u0661g.10gb", "1g.10gb\u200b"]


@pytest.mark.parametrize("profile", PROFILES)
def test_no_bad_profile_is_accepted(shared, profile):
    reply = shared.ask("POST", "/v1/leases", {"profile": profile, "wait_s": -1})
    assert reply.status in (400, 422), reply
    assert reply.json["reason"] in ("unknown_profile", "bad_field", "can_never_fit"), reply
    plan = shared.ask("POST", "/v1/plan", {"requests": [{"profile": profile}]})
    assert plan.status == 400 or plan.json["possible"] is False, plan


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One daemon for tests that leave nothing behind."""
    folder = tmp_path_factory.mktemp("shared")
    machine = Machine(folder / "machine", H100)
    machine.enable_mig()
    d = Daemon(folder, machine).start()
    yield Checked(d)
    d.stop()


@pytest.mark.parametrize("path", [
    "/v1/leases?all=maybe", "/v1/leases?state=", "/v1/leases?state=on", "/v1/leases?tenant=",
    "/v1/leases?nope=1", "/v1/leases?all=true&all=false", "/v1/leases/l-1?wait_s=x",
    "/v1/leases/l-1?wait_s=-1", "/v1/leases/l-1?wait_s=61", "/v1/leases/l-1?wait_s=1e1",
    "/v1/operations/op-1?wait_s=99999999999999999999", "/v1/events?after=-1", "/v1/events?limit=0",
    "/v1/events?limit=1001", "/v1/events?after=9007199254740992", "/v1/gpus?x", "/v1?x=1",
    "/v1/leases?%00", "/v1/leases?tenant=%ff", "/v1/leases?tenant=%0a", "/v1/queue?all=true"])
def test_no_bad_query_is_accepted(shared, path):
    reply = shared.ask("GET", path)
    assert reply.status == 400, reply


@pytest.mark.parametrize("path", [
    "/v1/leases/l-", "/v1/leases/l-0", "/v1/leases/l--1", "/v1/leases/1", "/v1/leases/L-1",
    "/v1/leases/l-18446744073709551617", "/v1/leases/l-1%20", "/v1/leases/op-1/why",
    "/v1/operations/l-1", "/v1/operations/op-0", "/v1/gpus/GPU-", "/v1/gpus/-1",
    "/v1/gpus/4294967296", "/v1/gpus/" + "x" * 4000, "/v1/leases/" + "%25" * 500])
def test_what_is_not_there_is_404(shared, path):
    reply = shared.ask("GET", path)
    assert reply.status == 404 and reply.json["reason"] == "not_found", reply


@pytest.mark.parametrize("method,path,status", [
    ("PUT", "/v1/leases", 405), ("DELETE", "/v1/gpus/0", 405), ("POST", "/v1/events", 405),
    ("GET", "/v2", 404), ("GET", "/", 404), ("GET", "/v1/leases/l-1/x", 404), ("GET", "/v1/", 404)])
def test_routes_that_are_not(shared, method, path, status):
    reply = shared.daemon.request(method, path, None)
    assert reply.status == status, reply
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert reply.json["reason"] == ("not_found" if status == 404 else "method_not_allowed")


@pytest.mark.parametrize("key", ["", "a b", "\u00e9", "x" * 129])
def test_bad_idempotency_keys_are_refused(shared, key):
    reply = shared.ask("POST", "/v1/leases", {"profile": "1g.10gb"},
                       headers={"Idempotency-Key": key.encode("utf-8")})
    assert reply.status == 400 and "Idempotency-Key" in reply.json["detail"], reply
    assert shared.ask("GET", "/v1/leases").json["leases"] == []


def raw_exchange(path, data, half_close=False):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(20)
        s.connect(str(path))
        s.sendall(data)
        if half_close:
            s.shutdown(socket.SHUT_WR)
        got = b""
        while chunk := s.recv(65536):
            got += chunk
        return got


def test_half_closed_clients_hear_their_answer(shared):
    body = b'{"requests":[{"profile":"1g.10gb"}]}'
    got = raw_exchange(shared.daemon.socket,
                       b"POST /v1/plan HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                       b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                       % (len(body), body), half_close=True)
    assert b'"fits":true' in got


def test_who_waits_hears_that_the_daemon_stops(daemon):
    d = daemon()
    d.lease("7g.80gb")
    head = {"Content-Type": "application/json"}
    waits, follows = UnixConnection(d.socket), UnixConnection(d.socket)
    follows.request("GET", "/v1/events", headers={"Accept": "text/event-stream"})
    stream = follows.getresponse()
    waits.request("POST", "/v1/leases", '{"profile":"1g.10gb","wait_s":60}', head)
    until(lambda: d.events("lease.queued"), "the request to wait")
    d.stop()
    told = Reply(waits.getresponse())
    assert (told.status, told.json["reason"]) == (503, "shutting_down")
    assert b"lease.queued" in stream.read()  # its last chunk has come, too


def test_a_thousand_idle_clients_disturb_nobody(shared):
    idle = []
    try:
        for _ in range(1000):
            s = socket.socket(socket.AF_UNIX)
            s.connect(str(shared.daemon.socket))
            idle.append(s)
        assert shared.ask("GET", "/v1/leases").status == 200
    finally:
        for s in idle:
            s.close()
    assert shared.ask("GET", "/healthz").status == 200


# --- who ----------------------------------------------------------------------------------------

ASK = """
import http.client, socket, sys
c = http.client.HTTPConnection("x")
c.sock = socket.socket(socket.AF_UNIX)
c.sock.connect(sys.argv[1])
body = sys.argv[4] if len(sys.argv) > 4 else None
c.request(sys.argv[2], sys.argv[3], body, {"Content-Type": "application/json"} if body else {})
r = c.getresponse()
print(r.status)
print(r.read().decode())
"""


def ask_as(uid, d, method, path, body=None):
    """The same request as another user."""
    done = subprocess.run(["/usr/bin/python3", "-c", ASK, str(d.socket), method, path,
                           *([json.dumps(body)] if body is not None else [])],
                          user=uid, group=uid, extra_groups=[], capture_output=True, text=True,
                          check=True, timeout=60)
    status, text = done.stdout.split("\n", 1)
    return int(status), json.loads(text)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be several users")
def test_tenants_keep_to_themselves(daemon, tmp_path):
    config = ("tenants:\n  - {name: vision, users: [61001], max_queued: 1}\n"
              "  - {name: speech, users: [61002]}\n"
              "  - {name: screens, users: [61003], role: viewer}\n"
              "  - {name: admins, users: [61004], role: operator}\n")
    for folder in [tmp_path, *tmp_path.parents]:
        if folder.stat().st_uid == os.geteuid() and folder != folder.parent:
            folder.chmod(folder.stat().st_mode | 0o711)
    d = daemon(config=config)
    d.folder.chmod(0o755)
    status, mine = ask_as(61001, d, "POST", "/v1/leases",
                          {"profile": "1g.10gb", "wait_s": 20, "name": "n", "labels": {"a": "b"}})
    assert status == 201 and mine["tenant"] == "vision" and mine["env"]
    status, seen = ask_as(61002, d, "GET", "/v1/leases/l-1")
    assert status == 200 and seen["tenant"] == "vision"
    assert (seen["name"], seen["labels"], seen["env"]) == (None, {}, {})
    status, seen = ask_as(61002, d, "DELETE", "/v1/leases/l-1")
    assert (status, seen["reason"]) == (403, "forbidden")
    assert ask_as(61002, d, "PATCH", "/v1/leases/l-1", {"ttl_s": 5})[0] == 403
    for method, path, body in (("PUT", "/v1/layout", {"version": "v1", "mig-configs": {}}),
                               ("GET", "/v1/tokens", None), ("DELETE", "/v1/tokens/t-1", None),
                               ("POST", "/v1/tokens", {"name": "x", "tenant": "root"}),
                               ("POST", "/v1/slices/adopt", {"gpu": "0", "start": 0})):
        assert ask_as(61002, d, method, path, body)[0] == 403, path
    assert ask_as(61003, d, "POST", "/v1/leases", {"profile": "1g.10gb"})[0] == 403
    assert ask_as(61003, d, "GET", "/v1/gpus")[0] == 200
    assert ask_as(61001, d, "POST", "/v1/leases", {"profile": "7g.80gb"})[0] == 202
    status, full = ask_as(61001, d, "POST", "/v1/leases", {"profile": "7g.80gb"})
    assert (status, full["reason"]) == (429, "queue_full")
    assert ask_as(61004, d, "DELETE", "/v1/leases/l-1")[0] == 200
    assert ask_as(61005, d, "GET", "/v1")[1]["you"] == {"tenant": "uid-61005", "role": "tenant",
                                                       "uid": 61005}


# --- keys, events -------------------------------------------------------------------------------

def test_a_repeat_is_recognised_after_a_crash(daemon):
    d = daemon()
    api = Checked(d)
    head = {"Idempotency-Key": "job-17"}
    body = {"profile": "1g.10gb", "wait_s": 20, "labels": {"x": "y", "a": "b"}}
    first = api.ask("POST", "/v1/leases", body, headers=head)
    d.kill()
    d.start()
    again = api.ask("POST", "/v1/leases", dict(reversed(body.items())), headers=head)
    assert again.status == 201 and again.json["id"] == first.json["id"]
    other = api.ask("POST", "/v1/leases", dict(body, count=2), headers=head)
    assert other.status == 409 and other.json["reason"] == "idempotency_conflict"
    assert len(d.get("/v1/leases").json["leases"]) == 1


def test_repeats_at_once_make_one_lease(daemon):
    d = daemon()

    def ask(_):
        return d.request("POST", "/v1/leases", {"profile": "1g.10gb", "wait_s": 20},
                         {"Idempotency-Key": "k"})

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(ask, range(16)))
    assert {r.status for r in replies} == {201} and {r.json["id"] for r in replies} == {"l-1"}


class Stream:
    """A client of the event stream."""

    def __init__(self, d, last=None):
        self.connection = UnixConnection(d.socket, timeout=20)
        head = {"Accept": "text/event-stream"}
        if last is not None:
            head["Last-Event-ID"] = str(last)
        self.connection.request("GET", "/v1/events", headers=head)
        self.response = self.connection.getresponse()
        assert self.response.headers["Content-Type"] == "text/event-stream"
        self.data = b""
        self.read_to(b": tangram\n\n")

    def read_to(self, mark):
        while mark not in self.data or not self.data.endswith(b"\n\n"):
            chunk = self.response.read1(65536)
            assert chunk, self.data
            self.data += chunk

    def events(self):
        return [json.loads(line[6:]) for line in self.data.split(b"\n")
                if line.startswith(b"data: ")]


def test_streams_resume_across_a_restart(daemon):
    d = daemon()
    schema = Document(d.get("/v1/openapi.json").json)
    live = Stream(d, last=0)
    d.release(d.lease("1g.10gb"))
    live.read_to(b"lease.released")
    seen = live.events()
    assert [e["id"] for e in seen] == list(range(1, len(seen) + 1))
    for event in seen:
        assert not schema.errors(schema.resolve("#/components/schemas/Event"), event), event
    d.kill()
    d.start()
    resumed = Stream(d, last=seen[-1]["id"])
    d.release(d.lease("1g.10gb"))
    resumed.read_to(b"lease.released")
    rest = resumed.events()
    assert [e["id"] for e in rest] == [seen[-1]["id"] + 1 + i for i in range(len(rest))]
    assert seen + rest == d.events()[:len(seen + rest)]


def test_many_streams_get_the_same(daemon):
    d = daemon()
    streams = [Stream(d) for _ in range(200)]
    d.lease("1g.10gb")
    for s in streams:
        s.read_to(b"lease.granted")
    assert len({json.dumps(s.events()) for s in streams}) == 1


# --- lifetime, TCP, configuration ---------------------------------------------------------------

def test_a_client_lease_ends_with_its_client(daemon):
    d = daemon()
    code = ASK + "sys.stdout.flush(); sys.stdin.read()\n"
    child = subprocess.Popen(["/usr/bin/python3", "-c", code, str(d.socket), "POST", "/v1/leases",
                              '{"profile":"1g.10gb","wait_s":20,"lifetime":"client"}'],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "201\n"
    lease = json.loads(child.stdout.readline())
    assert lease["lifetime"] == "client" and lease["state"] == "active"
    child.kill()
    child.wait()
    ended = d.wait_state(lease, "released")
    assert ended["reason"] == "the process that asked for it has ended"


def test_the_number_of_a_revoked_token_is_not_given_again(daemon):
    """Nor after a restart, when no record is left that has it."""
    d = daemon(args=["--listen", "127.0.0.1:0"])
    wish = {"name": "ci", "tenant": "robots"}
    first = d.request("POST", "/v1/tokens", wish).json["id"]
    assert d.request("DELETE", f"/v1/tokens/{first}").status == 200
    d.stop()
    d.start()
    assert d.request("POST", "/v1/tokens", wish).json["id"] != first


def test_tcp_needs_a_token(daemon):
    with socket.socket() as s:  # a free port
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    d = daemon(args=["--listen", f"127.0.0.1:{port}"])
    token = d.request("POST", "/v1/tokens", {"name": "ci", "tenant": "robots"}).json

    def ask(path, secret, body=None):
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        head = {"Authorization": f"Bearer {secret}"} if secret else {}
        if body:
            head["Content-Type"] = "application/json"
        c.request("POST" if body else "GET", path, json.dumps(body) if body else None, head)
        r = c.getresponse()
        return r.status, json.loads(r.read())

    assert ask("/healthz", None) == (200, {"ok": True})
    assert ask("/v1", None)[0] == 401 and ask("/v1", "tgm_wrong")[0] == 401
    status, index = ask("/v1", token["token"])
    assert status == 200
    assert index["you"] == {"tenant": "robots", "role": "tenant", "uid": None}
    status, made = ask("/v1/leases", token["token"], {"profile": "1g.10gb", "wait_s": 20})
    assert status == 201 and made["tenant"] == "robots"
    status, no = ask("/v1/leases", token["token"], {"profile": "1g.10gb", "lifetime": "client"})
    assert status == 400 and no["pointer"] == "/lifetime"
    d.kill()
    d.start()
    assert ask("/v1", token["token"])[0] == 200
    assert d.request("DELETE", f"/v1/tokens/{token['id']}").status == 200
    assert ask("/v1", token["token"])[0] == 401
    assert token["token"].encode() not in b"".join(
        p.read_bytes() for p in d.state.rglob("*") if p.is_file())


@pytest.mark.parametrize("text,says", [
    ("socket:\n  pth: x\n", ":2:3: socket.pth: there is no such field"),
    ("gpus:\n- match: A30\n", ":2:10: gpus[0].match: must be an object of uuid, pci, index, model"),
    ("log_level: info\nsimulate: NOPE\n", ":2:11: simulate: no GPU model 'NOPE'"),
    ("simulate: A30,B300-269GB\n", ":1:11: simulate: B300-269GB cannot be simulated"),
    ("simulate: A30:99\n", ":1:11: simulate: number of GPUs: 99 is not in"),
    ("limits: {max_ttl: 5}\n", ":1:19: limits.max_ttl: must be a duration"),
    ("gpus:\n- match: {index: x}\n", ":2:18: gpus[0].match.index: must be a whole number"),
    ("a: b: c\n", ":1:5"),
    ("\xff\n", "tangram.yaml")])
def test_check_config_names_the_place(tmp_path, text, says):
    path = tmp_path / "tangram.yaml"
    path.write_bytes(text.encode("latin-1"))
    done = subprocess.run([BUILD / "tangramd", "--check-config", "--config", path],
                          capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1, done
    assert str(path) in done.stderr and says in done.stderr, done
    assert len(done.stderr.strip().splitlines()) == 1, done
