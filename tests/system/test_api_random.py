"""Requests made up from the API's own document: nearly right, wrong, and absurd.

Whatever comes, the answer is one that the document promises, never one that says the daemon failed,
and the daemon goes on.  TANGRAM_STEPS and TANGRAM_SEED make it longer and repeat it."""
import http.client
import json
import os
import random
import socket
import string

import pytest
from conftest import H100, Reply
from openapi import Document

STEPS = int(os.environ.get("TANGRAM_STEPS", "1500"))
SEED = int(os.environ.get("TANGRAM_SEED", "20261122"))
ODD = [None, True, False, 0, -1, 1, 2**31, 2**53, -2**63, 2**63 - 1, 1.5, 1e300, -0.0, "", " ",
       "0", "\u00e9", "\U0001f600", "a" * 63, "a" * 64, "a" * 5000, "..", "../x", "%00", "\n", "\x7f",
       "'; drop", "{}", [], {}, [[]], [{}], {"": ""}, {"a": {"b": {"c": []}}}, "null", "NaN"]
WORDS = ["1g.10gb", "2g.20gb", "1g", "7g.80gb", "memory=12GiB", "1c.3g.40gb", "gpu", "1g.5gb",
         "bogus", "memory=0", "compute=99", "8g", "+me", "1g.10gb+me", "vision", "H100", "all", "0",
         "l-1", "2h", "2026-11-21", "2026-02-31", "-5m", "30s", "9999999d", "tenant", "confirm", "v1"]
PRINTABLE = string.printable + "\u00e9\u4e2d\x00"


class Author:
    """Writes requests."""

    def __init__(self, doc, seed):
        self.doc, self.rng = doc, random.Random(seed)
        self.seen = ["l-1", "op-1", "t-1", "0", "MIG-x"]
        self.operations = [(method.upper(), path, operation)
                           for path, item in sorted(doc.doc["paths"].items())
                           for method, operation in sorted(item.items())]

    def word(self):
        rng = self.rng
        if rng.random() < 0.7:
            return rng.choice(WORDS + self.seen)
        return "".join(rng.choice(PRINTABLE) for _ in range(rng.randrange(12)))

    def value(self, schema, depth=0):
        """Nearly always what the schema wants, so that what lies behind it is reached."""
        rng = self.rng
        if rng.random() < 0.04 or depth > 6:
            return rng.choice(ODD)
        if "$ref" in schema:
            return self.value(self.doc.resolve(schema["$ref"]), depth + 1)
        if "anyOf" in schema:
            return self.value(rng.choice(schema["anyOf"]), depth + 1)
        if "enum" in schema:
            return rng.choice(schema["enum"])
        kinds = schema.get("type", "string")
        kind = kinds if isinstance(kinds, str) else rng.choice(kinds)
        if kind == "object":
            return self.object(schema, depth)
        if kind == "array":
            items = schema.get("items", {})
            return [self.value(items, depth + 1) for _ in range(rng.randrange(4))]
        if kind == "integer":
            low, high = schema.get("minimum", 0), schema.get("maximum", 100)
            near = rng.randint(low, min(high, low + 5))
            return rng.choice([low, low + 1, near, high, high + 1])
        return {"boolean": rng.random() < 0.5, "number": rng.random() * 100, "null": None,
                "string": self.word()}[kind]

    def object(self, schema, depth):
        rng, made = self.rng, {}
        needed = schema.get("required", [])
        for name, member in schema.get("properties", {}).items():
            if rng.random() < (0.95 if name in needed else 0.3):
                made[name] = self.value(member, depth + 1)
        if isinstance(schema.get("additionalProperties"), dict) or rng.random() < 0.03:
            made[self.word()] = self.value({}, depth + 1)
        if isinstance(made.get("wait_s"), int) and made["wait_s"] > 0:
            made["wait_s"] = 0  # a test has no time
        return made

    def path(self, pattern, operation):
        rng, query = self.rng, []
        for parameter in operation["parameters"]:
            if parameter["in"] == "path":
                word = rng.choice(self.seen) if rng.random() < 0.8 else self.word()
                pattern = pattern.replace("{" + parameter["name"] + "}", quote(word) or "x")
            elif parameter["in"] == "query" and rng.random() < 0.4:
                value = self.value(parameter["schema"])
                value = 0 if parameter["name"] == "wait_s" else value
                query.append((parameter["name"], value))
        if rng.random() < 0.05:
            query.append((self.word(), self.word()))
        if query and rng.random() < 0.05:
            query.append(query[0])
        text = "&".join(f"{quote(n)}={quote(v if isinstance(v, str) else json.dumps(v))}"
                        for n, v in query)
        return pattern + ("?" + text if text else "")

    def body(self, operation):
        rng = self.rng
        if "requestBody" not in operation:
            return None
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        text = json.dumps(self.value(schema), ensure_ascii=rng.random() < 0.5)
        if rng.random() < 0.05:  # not JSON any more
            at = rng.randrange(len(text) + 1)
            text = text[:at] + rng.choice(["", ",", "}", "\x00", "\\u0000", "\ud800"]) + text[at + 1:]
        return text.encode("utf-8", "surrogatepass")

    def learn(self, answer):
        """Names that exist make better requests."""
        if isinstance(answer, dict):
            for name, value in answer.items():
                if name in ("id", "lease", "mig_uuid", "uuid", "gpu_uuid", "operation") and \
                        isinstance(value, str) and value not in self.seen:
                    self.seen = self.seen[-40:] + [value]
                self.learn(value)
        elif isinstance(answer, list):
            for value in answer[:5]:
                self.learn(value)


def quote(text):
    return "".join(c if c.isascii() and (c.isalnum() or c in "-._~") else
                   "".join(f"%{b:02X}" for b in c.encode()) for c in text)


def make_trouble(machine, rng):
    call = rng.choice(["nvmlGpuInstanceDestroy", "nvmlDeviceCreateGpuInstanceWithPlacement",
                       "nvmlGpuInstanceCreateComputeInstance", "nvmlComputeInstanceDestroy"])
    if rng.random() < 0.3:
        machine.clear()
    elif rng.random() < 0.3:
        machine.fault(call, "--hang", "300ms", "--times", "2")
    else:
        code = rng.choice(["IN_USE", "UNKNOWN", "INSUFFICIENT_RESOURCES", "NOT_SUPPORTED"])
        machine.fault(call, "--return", code, "--times", rng.choice(["1", "3"]))


class Stranger:
    """The same over TCP, by who may do less."""

    def __init__(self, daemon, port, role):
        self.port, self.headers = port, {}
        if role:
            wish = {"name": role, "tenant": "robots", "role": role}
            made = daemon.request("POST", "/v1/tokens", wish).json
            self.headers["Authorization"] = f"Bearer {made['token']}"

    def request(self, method, path, body, headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body=body, headers={**headers, **self.headers})
            return Reply(connection.getresponse())
        finally:
            connection.close()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.mark.parametrize("latency", ["none", "typical"])
def test_whatever_comes_is_answered_as_promised(daemon, machine, latency):
    """With a slow driver that fails now and then what is under way is met, too."""
    port = free_port()
    d = daemon(machine(H100, "A30", latency=latency), args=["--listen", f"127.0.0.1:{port}"])
    askers = [d, d] + [Stranger(d, port, role) for role in ("tenant", "viewer", None)]
    author = Author(Document(d.get("/v1/openapi.json").json), SEED)
    answered = {}
    for step in range(STEPS):
        if latency != "none" and step % 40 == 39:
            make_trouble(d.machine, author.rng)
        method, pattern, operation = author.rng.choice(author.operations)
        path, body = author.path(pattern, operation), author.body(operation)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if author.rng.random() < 0.1:
            headers["Idempotency-Key"] = author.rng.choice(["k1", "k2", "x" * 128, "x" * 129, " "])
        what = f"seed {SEED}, step {step}: {method} {path} {headers} {body!r}"
        try:
            reply = author.rng.choice(askers).request(method, path, body, headers=headers)
        except OSError as e:
            raise AssertionError(f"{what}: {e}, exit {d.proc.poll()}: {d.log[-2000:]}") from e
        what += f": {reply}"
        assert reply.status < 500 or path == "/readyz", what
        try:
            author.doc.check_reply(method, path, reply)
        except AssertionError as e:
            raise AssertionError(what) from e
        if reply.status >= 400:
            assert reply.json["detail"], what
        elif reply.headers["Content-Type"] == "application/json":
            author.learn(reply.json)
        answered[reply.status] = answered.get(reply.status, 0) + 1
    assert {200, 201, 400, 404} <= set(answered), answered
    assert d.get("/healthz").status == 200
