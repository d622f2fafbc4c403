"""What leases use: samples, sums over time, advice, and who may see them."""
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest
from conftest import BUILD, H100, Machine, for_everybody, until

QUICK = "sampling: {interval: 150ms, advice_after: 1s, idle_after: 2s}\n"
PRICED = QUICK + "cost: {compute_slot_hour: 1, memory_gib_hour: 0.5, currency: EUR}\n"
A100 = "A100-SXM4-80GB"


def usage_of(d, lease):
    return d.get(f"/v1/leases/{lease['id']}/usage").json


def sampled(d, lease, count=1):
    """Its usage once there are that many samples."""
    def look():
        now = usage_of(d, lease)["usage"]
        return now if now["samples"] >= count else None
    return until(look, f"{count} samples of {lease['id']}")


def measured(d, lease):
    def look():
        now = usage_of(d, lease)
        return now if now["usage"]["sm_mean_percent"] and now["last_sample"]["processes"] else None
    return until(look, "an activity")


def rows(d, query=""):
    reply = d.get("/v1/usage" + query)
    assert reply.status == 200, reply
    return reply.json["usage"]


def test_memory_and_activity_are_sampled_on_hopper(daemon):
    d = daemon(config=QUICK)
    busy, idle = d.lease("3g.40gb"), d.lease("1g.10gb")
    load = d.machine.load(busy["mig_uuid"], "--sm", "40", "--memory", "4GiB")
    last = measured(d, busy)["last_sample"]
    assert last["memory_used_mib"] >= 4096 and last["memory_total_mib"] > 39000
    assert last["processes"] == 1
    until(lambda: usage_of(d, busy)["last_sample"]["sm_percent"] == pytest.approx(40, abs=2),
          "the whole activity")
    other = sampled(d, idle, 3)
    assert other["idle_percent"] == 100 and other["memory_peak_percent"] < 2  # beside a busy one
    assert usage_of(d, busy)["minutes"]
    until(lambda: "of its multiprocessors" in d.cli("leases", busy["id"], check=0).stdout,
          "the activity to be shown")
    load.kill()
    d.release(busy)
    row, = (r for r in rows(d, "?by=lease") if r["lease"] == busy["id"])
    assert row["ended_at"] and 0 < row["sm_mean_percent"] <= row["sm_peak_percent"] < 45
    assert 10 < row["memory_peak_percent"] < 12


def test_ampere_tells_memory_and_no_activity(daemon, machine):
    d = daemon(machine(A100), config=QUICK)
    lease = d.lease("1g.20gb")
    load = d.machine.load(lease["mig_uuid"], "--sm", "40", "--memory", "2GiB")
    until(lambda: (usage_of(d, lease)["usage"]["memory_peak_mib"] or 0) >= 2048, "its memory")
    now = usage_of(d, lease)
    assert now["usage"]["sm_mean_percent"] is None and now["last_sample"]["sm_percent"] is None
    advice = until(lambda: usage_of(d, lease)["advice"], "advice")
    assert advice[0]["better_profile"] == "1g.10gb"
    assert "does not tell" in advice[0]["message"]
    load.kill()


def test_a_whole_gpu_is_sampled_too(daemon, machine):
    d = daemon(machine(H100, mig=False), config=QUICK + "gpus: [{mig_mode: on-demand}]\n")
    lease = d.lease("gpu")
    load = d.machine.load(lease["gpu_uuid"], "--sm", "30", "--memory", "3GiB")
    assert measured(d, lease)["usage"]["profile"] == "gpu"
    advice = until(lambda: [a for a in usage_of(d, lease)["advice"] if a["kind"] == "smaller"],
                   "advice")
    assert advice[0]["better_profile"] == "3g.40gb"
    load.kill()


def test_compute_instances_that_share_a_slice_are_not_told_apart(daemon):
    d = daemon(config=QUICK)
    one, two = d.lease("1c.3g.40gb"), d.lease("1c.3g.40gb")
    assert one["gpu_instance_id"] == two["gpu_instance_id"]
    assert sampled(d, one, 3)["idle_percent"] == 100
    load = d.machine.load(one["mig_uuid"], "--sm", "40", "--memory", "4GiB")
    whole = d.lease("1g.10gb")
    sampled(d, whole, 5)
    for lease in (one, two):
        now = usage_of(d, lease)
        assert (now["usage"]["memory_peak_mib"] or 0) < 4096 and not now["usage"]["sm_mean_percent"]
        assert not [a for a in now["advice"] if a["kind"] == "smaller"]
    load.kill()


def test_advice_names_a_smaller_profile_and_what_it_saves(daemon):
    d = daemon(config=PRICED)
    lease, idle = d.lease("3g.40gb"), d.lease("1g.10gb")
    assert usage_of(d, lease)["advice"] == []
    load = d.machine.load(lease["mig_uuid"], "--sm", "10", "--memory", "4GiB")
    advice = until(lambda: [a for a in d.get("/v1/advice").json["advice"]
                            if a["kind"] == "smaller"], "advice")
    assert [a["lease"] for a in advice] == [lease["id"]]
    assert advice[0]["better_profile"] == "1g.10gb" and advice[0]["samples"] > 5
    assert advice[0]["better_profile"] in [p["name"] for p in d.get("/v1/gpus/0").json["profiles"]]
    until(lambda: d.get("/v1/advice").json["advice"][0]["saves_cost"] > 0, "a saving")
    lazy = until(lambda: [a for a in d.get("/v1/advice").json["advice"] if a["kind"] == "idle"],
                 "the idle lease")
    assert lazy[0]["lease"] == idle["id"] and lazy[0]["idle_s"] >= 2
    shown = d.cli("usage", "--advice", check=0).stdout
    assert "1g.10gb would do in place of 3g.40gb" in shown and f"release {idle['id']}" in shown
    load.kill()
    d.release(lease)
    d.release(idle)
    assert d.get("/v1/advice").json["advice"] == []
    ended, = d.get("/v1/advice?all").json["advice"]
    assert ended["active"] is False and "would have done" in ended["message"]
    assert "Nothing to advise" in d.cli("usage", "--advice", check=0).stdout
    assert "would have done" in d.cli("usage", "--advice", "--all", check=0).stdout


def test_what_is_known_survives_being_killed(daemon):
    d = daemon(config=QUICK)
    ended, running = d.lease("2g.20gb"), d.lease("1g.10gb")
    load = d.machine.load(ended["mig_uuid"], "--sm", "40", "--memory", "1GiB")
    measured(d, ended)
    load.kill()
    load.wait()
    d.release(ended)
    before = usage_of(d, ended)["usage"]
    days = rows(d, "?by=day")
    sampled(d, running, 65)  # sixty rounds are written
    d.kill()
    d.start()
    after = usage_of(d, ended)["usage"]
    assert after == before and after["sm_mean_percent"] > 0
    assert usage_of(d, running)["usage"]["samples"] >= 10
    again, = rows(d, "?by=day")
    assert again["leases"] == days[0]["leases"] == 2
    assert again["compute_slot_hours"] >= days[0]["compute_slot_hours"]
    d.release(running)
    total, by_lease = rows(d), rows(d, "?by=lease")
    assert total[0]["compute_slot_hours"] == pytest.approx(
        sum(r["compute_slot_hours"] for r in by_lease), abs=0.002)
    assert [r["compute_slot_hours"] for r in rows(d, "?by=day")] == pytest.approx(
        [total[0]["compute_slot_hours"]], abs=0.002)


def test_without_a_lease_nobody_looks(daemon, tmp_path):
    trace = tmp_path / "trace"
    os.environ["TANGRAM_SIM_TRACE"] = str(trace)
    try:
        d = daemon(config=QUICK)
    finally:
        del os.environ["TANGRAM_SIM_TRACE"]
    lease = d.lease("1g.10gb")
    until(lambda: "nvmlGpmMigSampleGet" in trace.read_text(), "a sample")
    d.release(lease)
    time.sleep(0.3)  # the round under way may end
    calls = trace.read_text().count("nvmlGpm")
    time.sleep(1)    # ten rounds
    assert trace.read_text().count("nvmlGpm") == calls


def test_sampling_can_be_switched_off(daemon):
    d = daemon(config="sampling: {interval: 0s}\n")
    lease = d.lease("1g.10gb")
    until(lambda: usage_of(d, lease)["usage"]["compute_slot_hours"] > 0, "time to pass")
    now = usage_of(d, lease)
    assert now["usage"]["samples"] == 0 and now["last_sample"] is None and now["advice"] == []
    row, = rows(d)
    assert row["idle_percent"] is None and row["sampled_hours"] == 0


def test_a_driver_that_hangs_in_a_sample_harms_nobody_else(daemon, machine):
    d = daemon(machine(f"{H100}:2"), config=QUICK + "timing: {call_timeout: 1s}\n")
    first = d.lease("7g.80gb")
    other = d.lease("7g.80gb")
    assert first["gpu_index"] != other["gpu_index"]
    sampled(d, first, 2)
    d.machine.fault("nvmlGpmMigSampleGet", "--hang", "4s", "--times", "1", "--gpu",
                    str(first["gpu_index"]))

    def health():
        return d.get(f"/v1/gpus/{first['gpu_index']}").json["health"]
    until(lambda: health() == "unresponsive", "the GPU to be given up")
    count = usage_of(d, other)["usage"]["samples"]
    sampled(d, other, count + 3)
    until(lambda: health() == "ok", "the GPU to be back")
    count = usage_of(d, first)["usage"]["samples"]
    sampled(d, first, count + 2)
    assert d.release(first)["state"] == "released"


def test_a_sample_that_fails_is_no_harm(daemon):
    d = daemon(config=QUICK)
    lease = d.lease("1g.10gb")
    for call in ("nvmlGpmSampleAlloc", "nvmlGpmMigSampleGet", "nvmlGpmMetricsGet",
                 "nvmlDeviceGetMemoryInfo*", "nvmlDeviceGetComputeRunningProcesses*"):
        d.machine.fault(call, "--return", "999", "--times", "3")
    count = usage_of(d, lease)["usage"]["samples"]
    sampled(d, lease, count + 5)
    d.machine.clear()
    load = d.machine.load(lease["mig_uuid"], "--sm", "40")
    measured(d, lease)
    load.kill()


def test_usage_by_time_tenant_and_profile(daemon):
    d = daemon(config=PRICED)
    d.release(d.lease("2g.20gb"))
    lease = d.lease("1g.10gb")
    until(lambda: usage_of(d, lease)["usage"]["cost"] > 0, "a cost")
    assert [r["profile"] for r in rows(d, "?by=profile")] == ["1g.10gb", "2g.20gb"]
    assert [r["profile"] for r in rows(d, "?by=profile&profile=2g.20gb")] == ["2g.20gb"]
    assert rows(d, "?profile=7g.80gb") == []
    bogus = d.get("/v1/usage?profile=bogus")
    assert bogus.status == 400 and bogus.json["reason"] == "unknown_profile"
    assert "no usage of a 'bogus'" in bogus.json["detail"] and "known are: 1g." in bogus.json["detail"]
    assert rows(d, "?tenant=nobody-here") == []
    assert rows(d, "?until=2020-01-01") == [] and rows(d, "?by=lease&until=2020-01-01") == []
    assert len(rows(d, "?by=lease&since=1h")) == 2
    today = d.get("/v1/usage?since=1s&by=day").json
    assert today["since"].endswith("T00:00:00.000Z")
    assert today["usage"][0]["day"] == today["since"][:10]
    for bad in ("?since=yesterday", "?since=2026-02-30", "?by=week", "?since=2026-01-02&until=2026-01-01",
                "?frm=1", "?since="):
        assert d.get("/v1/usage" + bad).status == 400, bad
    out = d.cli("usage", "--by", "lease", "--since", "2h", "-o", "csv", check=0).stdout.splitlines()
    assert len(out) == 3 and out[0].startswith("lease,tenant,profile,compute_hours")
    for bad in (("--by", "week"), ("--since", "x"), ("--advice", "--by", "day"), ("--all",)):
        done = d.cli("usage", *bad)
        assert done.returncode in (1, 2) and len(done.stderr.splitlines()) <= 2, done
    assert "from 20" in d.cli("usage", "--since", "2026-01-01", check=0).stdout


def test_tenants_see_their_own_usage_only(daemon):
    d = daemon(config=QUICK)
    d.socket.chmod(0o777)
    d.folder.chmod(0o755)
    for parent in d.folder.parents:
        if parent.stat().st_uid == os.getuid() and str(parent).startswith("/tmp/"):
            parent.chmod(parent.stat().st_mode | 0o055)
    lease = d.lease("1g.10gb")

    def other(*args):
        return subprocess.run(["setpriv", "--reuid", "65534", "--clear-groups",
                               for_everybody("tangram"), *args], text=True, capture_output=True, check=False,
                              env=dict(os.environ, TANGRAM_SOCKET=str(d.socket)))
    assert other("usage", "-o", "csv", "--no-header").stdout == ""
    assert other("usage", "--tenant", "root").returncode == 4
    assert other("usage", "--advice", "--tenant", "root").returncode == 4
    sampled(d, lease)
    shown = other("leases", lease["id"])
    assert shown.returncode == 0 and "uses" not in shown.stdout
    assert "uses" in d.cli("leases", lease["id"], check=0).stdout


def at(seconds):
    """A wrapper under which the wall clock shows that much more."""
    asan = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
    return ("env", f"LD_PRELOAD={BUILD}/tests/unit/libclock-shim.so", f"CLOCK_SHIM_S={seconds}",
            f"ASAN_OPTIONS={asan}")


def test_a_clock_that_is_set_is_no_use(daemon):
    """Set a day ahead, then two days back, while the daemon is down: nobody used a day."""
    d = daemon(config=QUICK)
    lease = d.lease("1g.10gb")
    count = sampled(d, lease, 3)["samples"]
    for ahead_s in (86400, -86400, 0):
        d.stop()
        d.start(wrapper=at(ahead_s))
        now = sampled(d, lease, count + 3)
        assert now["sampled_hours"] < 0.1
        assert now["compute_slot_hours"] < 0.1, now
        count = now["samples"]
    d.release(lease)
    for query in ("", "?by=day", "?by=profile", "?by=lease"):
        found = rows(d, query)
        assert found and sum(r["compute_slot_hours"] for r in found) < 0.1, (query, found)


def test_a_stop_loses_nothing(daemon):
    d = daemon(config=QUICK)
    lease = d.lease("1g.10gb")
    count = sampled(d, lease, 4)["samples"]
    d.proc.send_signal(signal.SIGTERM)
    assert d.proc.wait(timeout=20) == 0
    d.start()
    assert usage_of(d, lease)["usage"]["samples"] >= count


# --- /metrics ----------------------------------------------------------------------------------

SAMPLE = re.compile(r'([a-z_:]+)(?:\{((?:[a-z_]+="(?:[^"\\]|\\.)*",?)*)\})? (\S+)')


def parse_metrics(text):
    """The text format, strictly: {(name, labels): value} and {family: type}."""
    found, types, helps, family = {}, {}, {}, None
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            family, helps_text = line[7:].split(" ", 1)
            assert family not in helps and helps_text
            helps[family] = helps_text
        elif line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            assert name == family and kind in ("gauge", "counter", "histogram")
            types[family] = kind
        else:
            name, labels, value = SAMPLE.fullmatch(line).groups()
            ends = ("_bucket", "_sum", "_count") if types[family] == "histogram" else ("",)
            assert name in [family + end for end in ends], line
            key = (name, labels or "")
            assert key not in found, f"{key} twice"
            found[key] = float(value)
    assert set(types) == set(helps)
    return found, types


def test_metrics_are_what_prometheus_reads(daemon, machine):
    d = daemon(machine(f"{H100}:2", A100), config=QUICK)
    lease = d.lease("3g.40gb", model="H100")
    load = d.machine.load(lease["mig_uuid"], "--sm", "40", "--memory", "4GiB")
    measured(d, lease)
    d.release(d.lease("1g.10gb", model="A100"))
    assert d.request("POST", "/v1/leases", {"profile": "7g.80gb", "count": 60}).status >= 400
    reply = d.get("/metrics")
    assert reply.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    text = reply.body.decode()
    found, types = parse_metrics(text)
    for name, kind in types.items():
        assert name.startswith("tangram_") and name.endswith("_total") == (kind == "counter"), name
    gpu, other = lease["gpu_uuid"], d.get("/v1/gpus/2").json["uuid"]
    assert found["tangram_leases", 'state="active"'] == 1
    assert found["tangram_events_total", 'kind="lease.granted"'] == 2
    assert found["tangram_events_total", 'kind="lease.released"'] == 1
    assert found["tangram_lease_grant_seconds_count", ""] == 2
    assert found["tangram_driver_job_seconds_count", 'job="create"'] >= 2
    assert found["tangram_commits_total", ""] > 0 and found["tangram_ready", ""] == 1
    assert found["tangram_gpu_leased_compute_slots", f'gpu="{gpu}"'] == 3
    where = f"{lease['placement']['start']}:{lease['placement']['size']}"
    labels = f'gpu="{gpu}",slice="{where}",profile="3g.40gb"'
    assert found["tangram_slice_memory_used_bytes", labels] >= 4 << 30
    assert 0 < found["tangram_slice_sm_active_ratio", labels] < 0.5
    assert found["tangram_slice_processes", labels] == 1
    assert ("tangram_gpu_sm_active_ratio", f'gpu="{other}"') not in found  # it does not tell
    for name in types:
        if types[name] == "histogram":
            for key in [k for k in found if k[0] == name + "_count"]:
                label = key[1] + "," if key[1] else ""
                ends = [v for (n, l), v in found.items()
                        if n == name + "_bucket" and l.startswith(label)]
                assert ends == sorted(ends) and ends[-1] == found[key]
    assert "root" not in text and lease["id"] not in text  # neither tenants nor leases
    load.kill()
    load.wait()
    d.release(lease)
    later, _ = parse_metrics(d.get("/metrics").body.decode())
    for key, value in found.items():
        if types.get(re.sub("_(bucket|sum|count)$", "", key[0]), types.get(key[0])) != "gauge":
            assert later[key] >= value or "energy" in key[0], key
    assert not [k for k in later if k[0].startswith("tangram_slice_")]  # nobody's now
    if shutil.which("promtool"):
        done = subprocess.run(["promtool", "check", "metrics"], input=text, text=True,
                              capture_output=True, check=False)
        assert done.returncode == 0 and not done.stderr, done


def test_metrics_of_gpus_that_are_lost_or_unknown(daemon, machine):
    d = daemon(machine(f"{H100}:2"), config=QUICK)
    d.lease("1g.10gb")
    Machine.sim("lose", d.machine.path, "1")
    gpu = d.get("/v1/gpus/1").json["uuid"]
    until(lambda: parse_metrics(d.get("/metrics").body.decode())[0]
          ["tangram_gpu_up", f'gpu="{gpu}"'] == 0, "the loss to be told")
    assert d.get("/metrics?x=1").status == 400
    assert d.request("POST", "/metrics").status == 405


def test_metrics_need_a_token_over_tcp(daemon):
    port = socket.create_server(("127.0.0.1", 0)).getsockname()[1]
    d = daemon(args=["--listen", f"127.0.0.1:{port}"])
    token = d.cli("token", "create", "--name", "prometheus", "--tenant", "monitoring", "--role",
                  "viewer", check=0).stdout.strip()

    def ask(headers):
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        c.request("GET", "/metrics", headers=headers)
        reply = c.getresponse()
        return reply.status, reply.read()
    assert ask({})[0] == 401
    assert ask({"Authorization": "Bearer nonsense"})[0] == 401
    status, body = ask({"Authorization": f"Bearer {token}"})
    assert status == 200 and b"tangram_build_info" in body
