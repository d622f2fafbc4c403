"""kill -9 at random moments, with clients who keep books of what they were told.

TANGRAM_ROUNDS makes it longer, TANGRAM_SEED repeats the clients' choices (not the moments).  After
each restart what was promised is held against the daemon, and the daemon against the machine."""
import os
import random
import subprocess
import threading

from conftest import BUILD, H100, until

ROUNDS = int(os.environ.get("TANGRAM_ROUNDS", "8"))
SEED = int(os.environ.get("TANGRAM_SEED", "20261122"))
LATENCY = "none,create-gi=6ms,create-ci=2ms,destroy-gi=8ms,destroy-ci=2ms"
PROFILES = ["1g.10gb", "1g.10gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb", "2g", "1g.10gb+me"]
ENDED = {"released", "expired", "rejected", "lost"}


class Promise:
    """What a client knows of one request; `unsure` what an unanswered call may have done to it."""

    def __init__(self, name, body):
        self.name, self.body = name, body
        self.id = None
        self.uuids = set()  # one of these; none: not granted, as far as the client knows
        self.is_granted = self.is_released = False
        self.expires_at = None
        self.unsure = set()

    def hear(self, lease):
        self.id = lease["id"]
        if lease["state"] == "active":
            self.is_granted = True
            self.uuids = {lease["mig_uuid"]}

    def check(self, lease):
        """The lease as it is after a restart."""
        state = lease["state"]
        assert self.id is None or self.id == lease["id"], (vars(self), lease)
        if self.is_released:
            assert state in ENDED | {"releasing"}, (vars(self), lease)
        elif "release" in self.unsure:
            self.is_released = state in ENDED | {"releasing"}
        else:
            assert state not in ENDED | {"releasing"}, (vars(self), lease)
        # Who agreed to stop gets another slice: until then it has none.
        if state in ("active", "releasing") and self.is_granted and "stop" not in self.unsure:
            assert lease["mig_uuid"] in self.uuids, (vars(self), lease)
        if self.is_granted and not self.is_released and "stop" not in self.unsure:
            assert state == "active", (vars(self), lease)
        if self.expires_at and not self.is_released and "renew" not in self.unsure:
            assert lease["expires_at"] == self.expires_at, (vars(self), lease)
        self.unsure -= {"release", "renew", "move"}
        if state == "active":
            self.unsure.clear()
            self.expires_at = lease["expires_at"]
        self.hear(lease)


class Client(threading.Thread):
    def __init__(self, daemon, number, seed, stop):
        super().__init__()
        self.daemon_, self.number, self.stop = daemon, number, stop
        self.rng = random.Random(seed)
        self.promises, self.asked, self.answers, self.error = [], 0, 0, None

    def again(self, stop):
        """A thread that goes on with the same books."""
        other = Client(self.daemon_, self.number, 0, stop)
        other.rng, other.promises, other.asked = self.rng, self.promises, self.asked
        return other

    def run(self):
        try:
            while not self.stop.is_set():
                self.act()
        except Exception as e:  # told by the test
            self.error = e

    def call(self, method, path, body=None, headers=None):
        """The answer; None: it did not come."""
        try:
            reply = self.daemon_.request(method, path, body, headers, timeout=30)
            self.answers += 1
            return reply
        except OSError:
            self.stop.wait(0.002)
        except Exception as e:  # http.client's: an answer that breaks off
            assert "http.client" in type(e).__module__, e
        return None

    def act(self):
        mine = [p for p in self.promises if p.id and not p.is_released]
        what = self.rng.choice(["ask", "ask", "release", "renew", "move", "move"])
        if what == "ask" or not mine:
            if sum(not p.is_released for p in self.promises) < 5:
                self.ask()
            elif mine:
                self.release(self.rng.choice(mine))
            else:
                self.stop.wait()  # none of them was answered
        else:
            getattr(self, what)(self.rng.choice(mine))

    def ask(self):
        self.asked += 1
        p = Promise(f"c{self.number}-{self.asked}", {})
        p.body = {"profile": self.rng.choice(PROFILES), "name": p.name, "movable":
                  self.rng.random() < 0.7, "wait_s": self.rng.choice([0, 0, 0, 1]),
                  "ttl_s": self.rng.choice([None, 3600])}
        self.promises.append(p)
        self.post(p)

    def post(self, p):
        reply = self.call("POST", "/v1/leases", p.body, {"Idempotency-Key": p.name})
        if reply is None:
            return reply
        if reply.status == 429:  # the queue is full
            self.promises.remove(p)
            return reply
        assert reply.status in (200, 201, 202), reply
        lease = reply.json
        p.hear(lease)
        if lease["state"] == "active":
            p.expires_at = lease["expires_at"]
        return reply

    def release(self, p):
        reply = self.call("DELETE", f"/v1/leases/{p.id}")
        if reply is None:
            p.unsure.add("release")
        else:
            assert reply.status == 200, reply
            p.is_released = True

    def renew(self, p):
        reply = self.call("PATCH", f"/v1/leases/{p.id}", {"ttl_s": self.rng.choice([1800, 7200])})
        if reply is None:
            p.unsure.add("renew")
        elif reply.status == 200:
            p.hear(reply.json)
            p.expires_at = reply.json["expires_at"] if reply.json["state"] == "active" else None

    def move(self, p):
        reply = self.call("GET", f"/v1/leases/{p.id}")
        lease = reply.json if reply else {}
        move = lease.get("move")
        if not move or move["state"] != "asked" or p.is_released:
            return
        is_yes = self.rng.random() < 0.7
        if is_yes and move.get("stop"):
            p.unsure.add("stop")
        elif is_yes:
            p.unsure.add("move")
            p.uuids = {lease["mig_uuid"], move["mig_uuid"]}
        reply = self.call("POST", f"/v1/leases/{p.id}/move",
                          {"answer": "confirm" if is_yes else "refuse", "move": move["id"]})
        if reply is not None and reply.status == 200 and is_yes and not move.get("stop"):
            p.uuids = {move["mig_uuid"]}
            p.unsure.discard("move")
        elif reply is not None and reply.status != 200:
            assert reply.status == 409, reply
            p.unsure -= {"move", "stop"}
            if not move.get("stop"):
                p.uuids = {lease["mig_uuid"]}


def all_of(d, clients):
    """Every lease that somebody has a promise of, by name; each name once."""
    found = {}
    for x in d.get("/v1/leases").json["leases"]:
        if x["name"]:
            assert x["name"] not in found, (x, found[x["name"]])
            found[x["name"]] = x
    for client in clients:
        for p in client.promises:
            if p.id and p.name not in found:
                found[p.name] = d.get(f"/v1/leases/{p.id}").json
    return found


def instances(machine):
    return {(gpu["uuid"], gi["start"]): {ci["uuid"] for ci in gi["compute_instances"]}
            for gpu in machine.show()["gpus"] for gi in gpu["gpu_instances"]}


def slices_of(d):
    return {(s["gpu_uuid"], s["placement"]["start"]): s for s in d.slices()}


def check_same(d, machine):
    """When nothing is under way, the daemon shows what there is, and all of it is its own."""
    def look():
        if not all(g["health"] == "ok" for g in d.get("/v1/gpus").json["gpus"]):
            return None
        real, shown = instances(machine), slices_of(d)
        if any(s["state"] in ("creating", "destroying") for s in shown.values()):
            return None
        assert not [s for s in shown.values() if s["state"] not in ("idle", "leased")], shown
        return shown if real.keys() == shown.keys() and instances(machine) == real else None
    until(look, "the daemon to show what is there", 30)


def check_promises(d, machine, clients):
    found, real = all_of(d, clients), instances(machine)
    uuids = [x["mig_uuid"] for x in found.values() if x["state"] == "active"]
    assert len(uuids) == len(set(uuids)), found
    assert set(uuids) <= set().union(*real.values()), (found, real)
    for client in clients:
        for p in list(client.promises):
            if p.name in found:
                p.check(found[p.name])
            else:
                assert p.id is None, vars(p)
                reply = client.post(p)  # not accepted: once more, with the same key
                assert p.id, (vars(p), reply)


def runner(d, rng, name):
    proc = subprocess.Popen([BUILD / "tangram", "run", "-p", rng.choice(["1g.10gb", "2g.20gb"]),
                             "--wait", "forever", "--name", name, "--", "sleep", "1000"],
                            env=dict(os.environ, TANGRAM_SOCKET=str(d.socket)),
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return name, proc


def check_runners(d, runners):
    """A lease by `run` goes with its client, however that ended."""
    alive = {name for name, proc in runners if proc.poll() is None}

    def of_the_dead():
        return [x for x in d.get("/v1/leases").json["leases"]
                if x["lifetime"] == "client" and x["state"] != "releasing" and
                x["name"] not in alive]
    until(lambda: not of_the_dead(), "leases of clients that are dead to end")


def test_what_was_answered_is_kept(daemon, machine):
    rng = random.Random(SEED)
    m = machine(f"{H100}:2", latency=LATENCY)
    d = daemon(m)
    clients = [Client(d, i, rng.random(), None) for i in range(5)]
    runners, answers = [], 0
    try:
        for _ in range(ROUNDS):
            stop = threading.Event()
            clients = [c.again(stop) for c in clients]
            for c in clients:
                c.start()
            runners += [runner(d, rng, f"r{len(runners)}") for _ in range(rng.randrange(2))]
            stop.wait(rng.uniform(0.01, 0.4))
            d.kill()
            stop.set()
            for c in clients:
                c.join()
                assert c.error is None, c.error
            answers += sum(c.answers for c in clients)
            for _, p in runners:
                if rng.random() < 0.3:
                    p.kill()
                    p.wait()
            d.start()
            check_promises(d, m, clients)
            check_runners(d, runners)
            for c in clients:
                c.promises[:] = [p for p in c.promises if not p.is_released]
    finally:
        for _, p in runners:
            p.kill()
            p.wait()
    for x in d.get("/v1/leases").json["leases"]:
        d.request("DELETE", f"/v1/leases/{x['id']}")
    until(lambda: not d.get("/v1/leases").json["leases"], "everything to end")
    check_same(d, m)
    assert answers > 5 * ROUNDS
