"""The queue: in order, with backfill that delays nobody, and never silent."""
import json
import time

import pytest

from conftest import H100, until


def ask(d, profile, wait_s=0, **fields):
    reply = d.request("POST", "/v1/leases", dict(fields, profile=profile, wait_s=wait_s))
    assert reply.status in (201, 202), reply
    return reply.json


def why(d, lease):
    return d.get(f"/v1/leases/{lease['id']}/why").json


def state(d, lease):
    return d.get(f"/v1/leases/{lease['id']}").json["state"]


def queue(d):
    return [row["id"] for row in d.get("/v1/queue").json["queue"]]


def test_first_come_first_served(daemon):
    d = daemon()
    full = d.lease("7g.80gb")
    waiting = [ask(d, "4g.40gb") for _ in range(3)]
    assert queue(d) == [x["id"] for x in waiting]
    assert [why(d, x)["position"] for x in waiting] == [1, 2, 3]
    held = full
    for lease in waiting:
        d.release(held)
        held = d.wait_state(lease, "active")
    until(lambda: len(d.events("lease.granted")) == 4, "the last event")
    order = [e["lease"] for e in d.events("lease.granted")]
    assert order == [full["id"]] + [x["id"] for x in waiting]


def test_priority_goes_first_among_those_who_wait(daemon):
    d = daemon()
    full = d.lease("7g.80gb")
    low, normal, high = (ask(d, "7g.80gb", priority=p) for p in (-5, 0, 9))
    assert queue(d) == [high["id"], normal["id"], low["id"]]
    d.release(full)
    d.wait_state(high, "active")
    assert state(d, low) == state(d, normal) == "queued"


def test_backfill_passes_only_if_it_ends_in_time(daemon):
    """The 4g ends in an hour, the 7g waits for that: a short 1g may pass, a long one may not."""
    d = daemon()
    d.lease("4g.40gb", ttl_s=3600)
    head = ask(d, "7g.80gb")
    told = why(d, head)
    assert told["position"] == 1 and told["expected_start"], told
    short, long, endless = ask(d, "1g.10gb", ttl_s=600), ask(d, "1g.10gb", ttl_s=7200), \
        ask(d, "1g.10gb")
    d.wait_state(short, "active")
    assert state(d, long) == state(d, endless) == "queued"
    for lease in (long, endless):
        told = why(d, lease)
        assert head["id"] in told["reason"], told
        assert head["id"] in json.dumps(told["would_help"]), told


def test_head_that_waits_for_nothing_known_keeps_its_window_only(daemon, machine):
    """Nobody knows when the 7g ends; what the head does not wait for is free for others."""
    d = daemon(machine(f"{H100}:2"))
    d.lease("7g.80gb")
    d.lease("4g.40gb")
    head = ask(d, "4g.40gb")
    small = ask(d, "3g.40gb")
    assert state(d, head) == "queued"
    assert state(d, small) in ("active", "cutting", "queued")
    if state(d, small) == "queued":
        assert head["id"] in why(d, small)["reason"]


def test_strictly_in_order_without_backfill(daemon, machine):
    d = daemon(machine(), config="queue: {backfill_depth: 0}\n")
    full = d.lease("4g.40gb", ttl_s=3600)
    head, small = ask(d, "7g.80gb"), ask(d, "1g.10gb", ttl_s=60)
    assert state(d, small) == "queued"
    d.release(d.get(f"/v1/leases/{head['id']}").json)
    d.wait_state(small, "active")
    assert state(d, full) == "active"


def test_bound_per_tenant_and_cancel(daemon, machine):
    d = daemon(machine(), config="limits: {max_queued_per_tenant: 2}\n")
    d.lease("7g.80gb")
    first, second = ask(d, "1g.10gb"), ask(d, "1g.10gb")
    third = d.request("POST", "/v1/leases", {"profile": "1g.10gb"})
    assert third.status == 429 and third.json["reason"] == "queue_full", third
    assert "2" in third.json["detail"]
    ended = d.release(first)
    assert "cancelled" in ended["reason"]
    assert why(d, second)["position"] == 1
    assert d.request("POST", "/v1/leases", {"profile": "1g.10gb"}).status == 202


def test_who_is_let_in_ahead_is_not_renewed_beyond_that(daemon):
    """It was let in because it ends before the 7g can start."""
    d = daemon()
    d.lease("4g.40gb", ttl_s=3600)
    head = ask(d, "7g.80gb")
    short = d.lease("1g.10gb", ttl_s=600)
    for ttl in (7200, None):
        refused = d.request("PATCH", f"/v1/leases/{short['id']}", {"ttl_s": ttl})
        assert refused.status == 403, refused
        assert refused.json["reason"] == "not_allowed_by_configuration"
        assert f"ahead of {head['id']}" in refused.json["detail"]
    assert d.cli("renew", short["id"], "--ttl", "2h", check=4).stderr.count(head["id"]) == 2
    assert d.request("PATCH", f"/v1/leases/{short['id']}", {"ttl_s": 1200}).status == 200
    d.release(head)
    assert d.request("PATCH", f"/v1/leases/{short['id']}", {"ttl_s": 7200}).status == 200


def test_quota_is_kept_for_who_has_waited_long(daemon, machine):
    d = daemon(machine(), config="limits: {max_compute_per_tenant: 4}\nqueue: {age_step: 1s}\n")
    three = d.lease("3g.40gb")
    over = ask(d, "2g.20gb")

    def is_kept():
        one = ask(d, "1g.10gb")
        told = why(d, one)["reason"]
        d.release(one)
        return f"kept for {over['id']}" in told

    until(is_kept, "the quota to be kept for who waits for it")
    d.release(three)
    d.wait_state(over, "active")
    assert ask(d, "1g.10gb", wait_s=20)["state"] == "active"


def test_quota_of_compute_says_so_and_holds_up_nobody(daemon, machine):
    d = daemon(machine(), config="limits: {max_compute_per_tenant: 4}\n")
    d.lease("3g.40gb")
    over = ask(d, "2g.20gb")
    told = why(d, over)
    assert "3 of the 4 compute slots" in told["reason"] and told["would_help"], told
    assert d.lease("1g.10gb")["state"] == "active"
    never = d.request("POST", "/v1/leases", {"profile": "7g.80gb"})
    assert never.status == 422 and never.json["reason"] == "can_never_fit", never


def test_would_help_names_the_whole_set(daemon):
    """Two of the 1g stand where the 3g would go: one of them alone would not help."""
    d = daemon()
    ones = {x["placement"]["start"]: x for x in (d.lease("1g.10gb") for _ in range(7))}
    assert set(ones) == set(range(7))
    d.release(ones[5])
    waits = ask(d, "3g.40gb")
    helps = why(d, waits)["would_help"]
    assert len(helps) == 1
    for start in (4, 6):
        assert f"{ones[start]['id']} (root)" in helps[0]
    out = d.cli("why", waits["id"], check=0).stdout
    assert helps[0] in out
    d.release(ones[4])
    assert state(d, waits) == "queued"
    helps = why(d, waits)["would_help"]
    assert helps == [f"release of {ones[6]['id']} (root)"]
    d.release(ones[6])
    assert d.wait_state(waits, "active")["placement"]["start"] == 4


def test_would_help_prefers_the_gpu_with_the_fewest_holders(daemon, machine):
    d = daemon(machine(f"{H100}:2"))
    one = d.lease("7g.80gb")
    many = [d.lease("1g.10gb") for _ in range(7)]
    assert {x["gpu_uuid"] for x in many} != {one["gpu_uuid"]}
    assert why(d, ask(d, "7g.80gb"))["would_help"] == [f"release of {one['id']} (root)"]
    both = why(d, ask(d, "7g.80gb", count=2))["would_help"][0]
    for lease in [one, *many]:
        assert f"{lease['id']} " in both


def test_expected_start_is_met(daemon):
    d = daemon()
    first = d.lease("7g.80gb", ttl_s=2)
    waits = ask(d, "7g.80gb")
    assert why(d, waits)["expected_start"][:18] == first["expires_at"][:18]
    granted = d.wait_state(waits, "active")
    assert granted["granted_at"] >= first["expires_at"]
    assert granted["timing"]["wait_ms"] > 500


@pytest.mark.parametrize("how", ["queue", "cli"])
def test_the_list_says_position_and_reason(daemon, how):
    d = daemon()
    full = d.lease("7g.80gb", name="train")
    lease = ask(d, "1g.10gb")
    if how == "queue":
        row = d.get("/v1/queue").json["queue"][0]
        assert row["id"] == lease["id"] and row["position"] == 1 and row["reason"]
    else:
        out = d.cli("queue", check=0).stdout
        assert lease["id"] in out and full["id"] in out


def test_wait_that_ends_leaves_the_request_waiting_and_says_so(daemon):
    d = daemon()
    d.lease("7g.80gb")
    start = time.monotonic()
    reply = d.request("POST", "/v1/leases", {"profile": "1g.10gb", "wait_s": 1})
    assert reply.status == 202 and 0.9 < time.monotonic() - start < 10
    assert reply.headers["Location"] == f"/v1/leases/{reply.json['id']}"
    cut = d.cli("lease", "-p", "1g.10gb", "--wait", "0s")
    assert cut.returncode == 3, cut


def test_queue_survives_kill_in_its_order(daemon):
    d = daemon()
    full = d.lease("7g.80gb")
    waiting = [ask(d, "7g.80gb", priority=p) for p in (0, 3, 0)]
    order = queue(d)
    d.kill()
    d.start()
    assert queue(d) == order == [waiting[1]["id"], waiting[0]["id"], waiting[2]["id"]]
    d.release(full)
    d.wait_state(waiting[1], "active")
    until(lambda: why(d, waiting[0])["position"] == 1, "the next head")


def test_a_plan_of_several_is_proven(daemon, machine):
    """One after the other, the 2g would leave no place for the 3g."""
    d = daemon(machine(f"{H100}:2"))
    wanted = {"requests": [{"profile": "2g.20gb"}, {"profile": "2g.20gb"}, {"profile": "3g.40gb"}]}
    plan = d.request("POST", "/v1/plan", wanted).json
    assert plan["fits"] and plan["proven"] is True
    assert plan["gpus_opened"] == plan["gpus_opened_least"] == 1
    assert [step["profile"] for step in plan["steps"]] == ["2g.20gb", "2g.20gb", "3g.40gb"]
    wanted["requests"][2]["count"] = 4
    plan = d.request("POST", "/v1/plan", wanted).json
    assert not plan["fits"] and plan["proven"] is None and plan["gpus_opened"] is None
    assert plan["reason"] == "4 x 3g.40gb do not fit now; in the way: the rest of this plan"
    plan = d.request("POST", "/v1/plan", {"requests": [{"profile": "2g.20gb"}]}).json
    assert plan["fits"] and plan["proven"] is None


def test_when_room_appears_the_queue_is_placed_together(daemon):
    d = daemon()
    full = d.lease("7g.80gb")
    waiting = [ask(d, profile) for profile in ("2g.20gb", "2g.20gb", "3g.40gb")]
    d.release(full)
    for lease in waiting:
        d.wait_state(lease, "active")


def test_everybody_in_a_long_queue_is_told_why(daemon):
    d = daemon(config="limits:\n  max_queued_per_tenant: 200\n")
    full = d.lease("7g.80gb", ttl_s=3600)
    for i in range(150):
        ask(d, ("1g.10gb", "2g.20gb", "3g.40gb")[i % 3], count=1 + i % 2)
    rows = d.get("/v1/queue").json["queue"]
    assert len(rows) == 150 and all(row["reason"] for row in rows)
    assert rows[149]["reason"].startswith("2 x 3g.40gb do not fit now; in the way: " + full["id"])
    assert rows[0]["expected_start"] == full["expires_at"] and not rows[149]["expected_start"]
