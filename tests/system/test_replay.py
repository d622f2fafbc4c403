"""tangram-replay, driven as a user would, held against small independent re-implementations."""
import csv
import io
import json
import random
import subprocess
import xml.etree.ElementTree as ET

import pytest

from conftest import BUILD

# Name -> slots, starts, compute slices on an H100.
SHAPES = {"1g.10gb": (1, range(7), 1), "1g.20gb": (2, (0, 2, 4, 6), 1),
          "2g.20gb": (2, (0, 2, 4), 2), "3g.40gb": (4, (0, 4), 3), "4g.40gb": (4, (0,), 4),
          "7g.80gb": (8, (0,), 7)}


def replay(*args, code=0):
    done = subprocess.run([str(BUILD / "tangram-replay"), *map(str, args)], capture_output=True,
                          text=True, check=False)
    assert done.returncode == code, done.stderr
    return done.stderr if code else done.stdout


def make_trace(path, seed, count=600, gap_ms=1000, mean_ms=9000):
    rnd = random.Random(seed)
    jobs, t = [], 0
    for _ in range(count):
        t += rnd.randrange(0, 2 * gap_ms)
        jobs.append((t, rnd.choice(list(SHAPES)), 1 + int(rnd.expovariate(1 / mean_ms))))
    path.write_text("arrival_ms,profile,duration_ms\n" +
                    "".join(f"{a},{p},{d}\n" for a, p, d in jobs))
    return jobs


class FirstFit:
    """Lowest GPU, lowest slot; who ends at t makes room at t."""

    def __init__(self, gpus):
        self.slots = [[0] * 8 for _ in range(gpus)]  # when the slot is free again

    def place(self, now, profile, duration):
        size, starts, _ = SHAPES[profile]
        for gpu in self.slots:
            for s in starts:
                if all(gpu[k] <= now for k in range(s, s + size)):
                    gpu[s:s + size] = [now + duration] * size
                    return True
        return False

    def next_end(self, now):
        return min(e for gpu in self.slots for e in gpu if e > now)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_loss_agrees_with_a_reimplementation(tmp_path, seed):
    jobs = make_trace(tmp_path / "t.csv", seed)
    out = json.loads(replay("run", "--gpus", "H100-SXM5-80GB:3", "--trace", tmp_path / "t.csv",
                            "--policy", "first-fit", "-o", "json"))
    fleet, accepted, slots, area = FirstFit(3), 0, 0, 0
    end = 0
    for arrival, profile, duration in jobs:
        end = max(end, arrival)
        if fleet.place(arrival, profile, duration):
            accepted += 1
            slots += SHAPES[profile][0]
            area += SHAPES[profile][2] * duration
            end = max(end, arrival + duration)
    assert out["requests"] == len(jobs)
    assert out["accepted"] == accepted
    assert out["accepted_slices_ratio"] == pytest.approx(
        slots / sum(SHAPES[p][0] for _, p, _ in jobs), abs=1e-6)
    assert out["makespan_ms"] == end - jobs[0][0]
    assert out["compute_util"] == pytest.approx(area / (3 * 7 * out["makespan_ms"]), abs=1e-6)
    assert out["bounds"]["accepted_ratio"] >= out["accepted_ratio"]
    assert out["moves"] == 0


@pytest.mark.parametrize("seed", [4, 5])
def test_fifo_agrees_with_a_reimplementation(tmp_path, seed):
    jobs = make_trace(tmp_path / "t.csv", seed, count=300, mean_ms=4000)
    out = json.loads(replay("run", "--gpus", "H100-SXM5-80GB:3", "--trace", tmp_path / "t.csv",
                            "--policy", "first-fit", "--queue", "fifo", "-o", "json"))
    fleet, waits, now = FirstFit(3), [], 0
    for arrival, profile, duration in jobs:
        now = max(now, arrival)
        while not fleet.place(now, profile, duration):
            now = fleet.next_end(now)
        waits.append(now - arrival)
    assert out["accepted"] == len(jobs)
    assert out["mean_wait_ms"] == pytest.approx(sum(waits) / len(waits), abs=1e-3)
    assert out["p95_wait_ms"] == sorted(waits)[-(-95 * len(waits) // 100) - 1]
    assert out["bounds"]["makespan_ms"] <= out["makespan_ms"]


def test_backfill_fills_around_the_head_without_delaying_it(tmp_path):
    trace = tmp_path / "t.csv"
    trace.write_text("0,4g.40gb,1000\n1,7g.80gb,500\n2,1g.10gb,900\n3,1g.10gb,5000\n")
    run = lambda queue: json.loads(replay("run", "--gpus", "H100-SXM5-80GB", "--trace", trace,
                                          "--queue", queue, "-o", "json"))
    fifo, backfill = run("fifo"), run("backfill")
    # 7g at 1000; the short 1g (ends at 902) passes, the long one would delay the 7g.
    assert backfill["p99_wait_ms_by_profile"] == {"4g.40gb": 0, "7g.80gb": 999, "1g.10gb": 1497}
    assert backfill["mean_wait_ms"] == pytest.approx((999 + 0 + 1497) / 4)
    assert fifo["mean_wait_ms"] == pytest.approx((999 + 1498 + 1497) / 4)


def test_priority_goes_first(tmp_path):
    trace = tmp_path / "t.csv"
    trace.write_text("arrival_ms,profile,duration_ms,priority\n"
                     "0,7g.80gb,100,0\n1,7g.80gb,100,0\n2,4g.40gb,100,5\n")
    out = json.loads(replay("run", "--gpus", "H100-SXM5-80GB", "--trace", trace, "--queue", "fifo",
                            "-o", "json"))
    assert out["p99_wait_ms_by_profile"] == {"7g.80gb": 199, "4g.40gb": 98}


def test_driver_times_and_idle_slices(tmp_path):
    trace = tmp_path / "t.csv"
    trace.write_text("arrival_ms,profile,duration_ms,tenant\n"
                     "0,7g.80gb,1000,a\n5000,7g.80gb,1000,a\n10000,7g.80gb,1000,b\n")
    out = json.loads(replay("run", "--gpus", "H100-SXM5-80GB", "--trace", trace, "--create-ms", 300,
                            "--delete-ms", 200, "-o", "json"))
    # cut; the same tenant has it as it is; another one only after it was destroyed and made anew
    assert out["recuts"] == 2
    assert out["mean_wait_ms"] == pytest.approx((300 + 0 + 500) / 3, abs=1e-3)


def test_one_worker_cuts_one_slice_at_a_time(tmp_path):
    trace = tmp_path / "t.csv"
    trace.write_text("0,1g.10gb,1000\n0,1g.10gb,1000\n0,1g.10gb,1000\n")
    run = lambda gpus: json.loads(replay("run", "--gpus", f"H100-SXM5-80GB:{gpus}", "--trace",
                                         trace, "--policy", "worst-fit", "--create-ms", 100, "-o",
                                         "json"))
    assert run(1)["mean_wait_ms"] == pytest.approx((100 + 200 + 300) / 3, abs=1e-3)
    assert run(3)["mean_wait_ms"] == pytest.approx(100)


def test_use_is_counted_from_when_the_slice_is_ready(tmp_path):
    trace = tmp_path / "t.csv"
    trace.write_text("0,7g.80gb,600\n")
    out = json.loads(replay("run", "--gpus", "H100-SXM5-80GB", "--trace", trace, "--create-ms", 400,
                            "-o", "json"))
    assert (out["makespan_ms"], out["compute_util"], out["memory_util"]) == (1000, 0.6, 0.6)


def test_waiting_outweighs_priority_when_told_so(tmp_path):
    trace = tmp_path / "t.csv"
    trace.write_text("arrival_ms,profile,duration_ms,priority\n"
                     "0,7g.80gb,1000,0\n1,7g.80gb,100,0\n900,4g.40gb,100,5\n")
    waits = lambda *more: json.loads(replay("run", "--gpus", "H100-SXM5-80GB", "--trace", trace,
                                            "--queue", "fifo", "-o", "json",
                                            *more))["p99_wait_ms_by_profile"]
    assert waits() == waits("--age-step-ms", 0) == {"7g.80gb": 1099, "4g.40gb": 100}
    assert waits("--age-step-ms", 100) == {"7g.80gb": 999, "4g.40gb": 200}


def test_a_tenant_keeps_to_its_limit(tmp_path):
    trace = tmp_path / "t.csv"
    trace.write_text("arrival_ms,profile,duration_ms,tenant\n"
                     "0,3g.40gb,100,a\n1,1g.10gb,100,a\n2,1g.10gb,100,b\n3,4g.40gb,100,b\n")
    out = json.loads(replay("run", "--gpus", "H100-SXM5-80GB", "--trace", trace, "--queue", "fifo",
                            "--max-compute", 3, "-o", "json"))
    # a's second waits for its first, and holds nobody up; b's second is more than it may ever have
    assert out["accepted"] == 3
    assert out["p99_wait_ms_by_profile"] == {"3g.40gb": 0, "1g.10gb": 99, "4g.40gb": None}


@pytest.mark.parametrize("queue", ["loss", "fifo", "backfill"])
def test_jobs_that_take_no_time_leave_their_slots_at_once(tmp_path, queue):
    trace = tmp_path / "t.csv"
    trace.write_text("5,7g.80gb,0\n5,7g.80gb,10\n15,7g.80gb,0\n")
    out = json.loads(replay("run", "--gpus", "H100-SXM5-80GB", "--trace", trace, "--queue", queue,
                            "-o", "json"))
    assert (out["accepted"], out["makespan_ms"], out["mean_wait_ms"]) == (3, 10, 0)


@pytest.mark.parametrize("queue", ["loss", "fifo"])
@pytest.mark.parametrize("policy", ["first-fit", "best-fit", "mfi", "lowest-slot"])
def test_moves_change_nothing_when_nothing_may_move(tmp_path, queue, policy):
    jobs = make_trace(tmp_path / "t.csv", 21, mean_ms=9000 if queue == "loss" else 4000)
    (tmp_path / "t.csv").write_text("arrival_ms,profile,duration_ms,tenant,movable\n" + "".join(
        f"{a},{p},{d},t{i % 3},0\n" for i, (a, p, d) in enumerate(jobs)))
    none, one = (json.loads(replay("run", "--gpus", "H100-SXM5-80GB:3", "--trace",
                                    tmp_path / "t.csv", "--policy", policy, "--queue", queue,
                                    "--max-moves", k, "-o", "json")) for k in (0, 1))
    for out in (none, one):
        del out["decision_ns"], out["decisions"]
    assert none == one


def test_moves_accept_more(tmp_path):
    make_trace(tmp_path / "t.csv", 9, count=3000, gap_ms=300)
    args = ["run", "--gpus", "H100-SXM5-80GB:8", "--trace", tmp_path / "t.csv", "--bounds", "fast",
            "-o", "json"]
    none, three = (json.loads(replay(*args, "--max-moves", k)) for k in (0, 3))
    assert three["moves"] > 0
    assert three["accepted_slices_ratio"] > none["accepted_slices_ratio"]
    assert three["bounds"] == none["bounds"]
    assert three["accepted_slices_ratio"] <= three["bounds"]["accepted_slices_ratio"] + 0.01
    without_times = lambda o: {k: v for k, v in o.items() if k != "decision_ns"}
    assert without_times(json.loads(replay(*args, "--max-moves", 3))) == without_times(three)


def test_movable_is_obeyed(tmp_path):
    trace = tmp_path / "t.csv"
    rows = "0,1g.10gb,100000,x,0,{0}\n1,1g.10gb,10,x,0,{0}\n2,7g.80gb,100000,x,0,0\n" \
           "20,1g.10gb,100000,x,0,{0}\n21,4g.40gb,1,x,0,0\n"
    head = "arrival_ms,profile,duration_ms,tenant,priority,movable\n"
    for movable in (0, 1):
        trace.write_text(head + rows.format(movable))
        out = json.loads(replay("run", "--gpus", "H100-SXM5-80GB:2", "--trace", trace,
                                "--policy", "first-fit", "--max-moves", 2, "-o", "json"))
        assert out["accepted"] == 4 + movable


def test_what_was_never_accepted_has_no_wait(tmp_path):
    (tmp_path / "t.csv").write_text("0,7g.80gb,100\n1,1g.10gb,5\n")
    args = ("run", "--gpus", "H100-SXM5-80GB", "--trace", tmp_path / "t.csv")
    out = json.loads(replay(*args, "-o", "json", "--jobs", tmp_path / "jobs.csv"))
    assert out["p99_wait_ms_by_profile"] == {"7g.80gb": 0, "1g.10gb": None}
    assert "1g.10gb    never accepted" in replay(*args)
    assert (tmp_path / "jobs.csv").read_text() == \
        "arrival_ms,profile,duration_ms,ready_ms,end_ms,gpu,slot\n" \
        "0,7g.80gb,100,0,100,0,0\n1,1g.10gb,5,,,,\n"


def test_a_trace_as_a_spreadsheet_saves_it(tmp_path):
    (tmp_path / "t.csv").write_bytes(b'\xef\xbb\xbfarrival_ms,profile,duration_ms\r\n'
                                     b'0,"memory=12GiB,compute=2",100\r\n')
    args = ("run", "--gpus", "H100-SXM5-80GB", "--trace", tmp_path / "t.csv")
    replay(*args, "--jobs", tmp_path / "jobs.csv")
    with open(tmp_path / "jobs.csv", encoding="utf-8", newline="") as f:
        row, = csv.DictReader(f)
    assert row["profile"] == "memory=12GiB,compute=2" and row["end_ms"] == "100"
    (tmp_path / "t.csv").write_bytes(b"0,1g,100\0,7\n")
    done = subprocess.run([BUILD / "tangram-replay", *args], capture_output=True, check=False)
    assert done.returncode == 2 and b"t.csv:1:9: a NUL byte" in done.stderr


def test_results_that_cannot_be_written_are_a_failure(tmp_path):
    (tmp_path / "t.csv").write_text("0,1g,100\n")
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run([BUILD / "tangram-replay", "run", "--gpus", "A30", "--trace",
                               tmp_path / "t.csv"], stdout=full, stderr=subprocess.PIPE,
                              check=False)
    assert done.returncode == 1 and b"No space left" in done.stderr


def test_mixed_fleet_and_plot(tmp_path):
    make_trace(tmp_path / "t.csv", 11, count=200)
    out = replay("run", "--gpus", "H100-SXM5-80GB:1,A100-SXM4-80GB:2", "--trace",
                 tmp_path / "t.csv", "--svg", tmp_path / "u.svg", "-o", "csv")
    row = next(csv.DictReader(io.StringIO(out)))
    assert row["requests"] == "200"
    assert ET.parse(tmp_path / "u.svg").getroot().tag.endswith("svg")


def test_pack_is_exact():
    out = json.loads(replay("pack", "--model", "H100-SXM5-80GB", "--want",
                            "1g:7,2g:3,3g:3,4g:2,7g:1", "-o", "json"))
    search = json.loads(replay("pack", "--model", "H100-SXM5-80GB", "--want",
                               "1g:7,2g:3,3g:3,4g:2,7g:1", "--method", "search", "-o", "json"))
    assert out["gpus"] == search["gpus"] == 6
    assert out["proven"] and search["proven"]
    me = json.loads(replay("pack", "--model", "A30", "--want", "1g+me:3,2g:1", "-o", "json"))
    assert (me["gpus"], me["proven"], me["method"]) == (3, True, "search")


def test_online_plots_acceptance_against_moves(tmp_path):
    replay("online", "--gpus", "H100-SXM5-80GB:8", "--runs", 2, "--svg", tmp_path / "m.svg")
    lines = ET.parse(tmp_path / "m.svg").getroot().findall("{http://www.w3.org/2000/svg}polyline")
    assert [len(line.get("points").split()) for line in lines] == [6] * 4


def bounds_of(trace, *args):
    return json.loads(replay("run", "--trace", trace, "-o", "json", *args))["bounds"]


@pytest.mark.parametrize("fleet,rows,requests,slices", [
    # One GPU, two of everything at once: only one can be had.
    ("H100-SXM5-80GB", "0,7g.80gb,9\n0,7g.80gb,9\n", 0.5, 0.5),
    # Two 4g would fit by their slots and compute slices, but not by where they may start.
    ("H100-SXM5-80GB", "0,4g.40gb,9\n0,4g.40gb,9\n", 0.5, 0.5),
    # Somebody who looks ahead turns away the long 7g for the seven 1g.
    ("H100-SXM5-80GB", "0,7g.80gb,99\n" + "1,1g.10gb,9\n" * 7, 7 / 8, 8 / 15),
    # Mixed: the 4g has to go to the A30, as the H100 is needed for the 7g.
    ("H100-SXM5-80GB,A30", "0,4g,9\n0,7g,9\n0,7g,9\n", 2 / 3, 12 / 20),
    # What no GPU has is not counted among the slices that were asked for.
    ("A30", "0,7g,9\n0,4g,9\n", 1 / 2, 1)])
def test_the_clairvoyant_bound(tmp_path, fleet, rows, requests, slices):
    (tmp_path / "t.csv").write_text(rows)
    found = bounds_of(tmp_path / "t.csv", "--gpus", fleet)
    assert found["clairvoyant_accepted_ratio"] == pytest.approx(requests, abs=1e-6)
    assert found["clairvoyant_accepted_slices_ratio"] == pytest.approx(slices, abs=1e-6)


@pytest.mark.parametrize("fleet", ["H100-SXM5-80GB:4,A30:4", "A30:2,A100-SXM4-40GB:1,A30:1"])
def test_mixed_fleets_are_bounded_by_free_migration(tmp_path, fleet):
    rnd, t, rows = random.Random(4), 0, []
    for _ in range(300):
        t += int(rnd.expovariate(1 / 3000))
        rows.append(f"{t},{rnd.choice(['1g', '1g', '2g', '4g', '7g'])},{int(rnd.expovariate(1 / 60000))}")
    (tmp_path / "t.csv").write_text("arrival_ms,profile,duration_ms\n" + "\n".join(rows) + "\n")
    found = bounds_of(tmp_path / "t.csv", "--gpus", fleet)
    for ratio in ("accepted_ratio", "accepted_slices_ratio"):
        assert 0.2 < found[ratio] <= found["clairvoyant_" + ratio]
    # Variants that compete for an engine have no closed form: nothing is claimed.
    (tmp_path / "u.csv").write_text("arrival_ms,profile,duration_ms\n0,1g+me,5\n1,1g,5\n")
    assert bounds_of(tmp_path / "u.csv", "--gpus", fleet)["accepted_ratio"] is None


def test_bounds_can_be_chosen(tmp_path):
    make_trace(tmp_path / "t.csv", 7, count=100)
    of = lambda effort: bounds_of(tmp_path / "t.csv", "--gpus", "H100-SXM5-80GB:2", "--bounds",
                                  effort)
    assert of("auto") == of("lp")
    assert of("fast")["clairvoyant_accepted_ratio"] is None
    assert of("fast")["accepted_ratio"] == of("lp")["accepted_ratio"]
    assert set(of("none").values()) == {None}


@pytest.mark.parametrize("fleet,rows,least", [
    ("H100-SXM5-80GB", "0,7g.80gb,100\n0,7g.80gb,100\n", 200),
    ("H100-SXM5-80GB", "0,4g.40gb,100\n0,4g.40gb,100\n", 200),  # one left half
    ("H100-SXM5-80GB", "0,2g.20gb,90\n" * 4, 120),  # three on a GPU
    ("H100-SXM5-80GB", "0,1g.10gb,70\n1000,1g.10gb,5\n", 1005),
    ("H100-SXM5-80GB,A30", "0,4g,100\n" * 4, 200)])
def test_the_makespan_bound(tmp_path, fleet, rows, least):
    (tmp_path / "t.csv").write_text(rows)
    out = json.loads(replay("run", "--gpus", fleet, "--trace", tmp_path / "t.csv", "--queue",
                            "fifo", "-o", "json"))
    assert out["bounds"]["makespan_ms"] == least <= out["makespan_ms"]


@pytest.mark.parametrize("seed", [31, 32])
def test_no_policy_beats_the_bounds(tmp_path, seed):
    make_trace(tmp_path / "t.csv", seed, count=150, gap_ms=500)
    for fleet in ("H100-SXM5-80GB:3", "H100-SXM5-80GB:2,A100-SXM4-80GB:1"):
        for policy in ("reach", "mfi", "worst-fit"):
            for moves in (0, 3):
                out = json.loads(replay("run", "--gpus", fleet, "--trace", tmp_path / "t.csv",
                                        "--policy", policy, "--max-moves", moves, "-o", "json"))
                assert out["accepted_ratio"] <= out["bounds"]["clairvoyant_accepted_ratio"]
                assert (out["accepted_slices_ratio"] <=
                        out["bounds"]["clairvoyant_accepted_slices_ratio"])


def test_online_bounds_and_leads():
    out = json.loads(replay("online", "--gpus", "H100-SXM5-80GB:8", "--mix", "uniform", "--runs", 6,
                            "--policy", "reach,worst-fit", "--bounds", "lp", "-o", "json"))
    by = {row["policy"]: row for row in out}
    assert list(by) == ["reach", "worst-fit", "free-migration", "fluid", "steady-state",
                        "clairvoyant"]
    assert by["worst-fit"]["lead"] == pytest.approx(
        by["reach"]["accepted_slices_ratio"] - by["worst-fit"]["accepted_slices_ratio"], abs=2e-6)
    assert by["reach"]["lead"] == 0 < by["worst-fit"]["lead"] - by["worst-fit"]["lead_ci"]
    for ratio in ("accepted_ratio", "accepted_slices_ratio"):
        assert by["reach"][ratio] < by["free-migration"][ratio] < by["clairvoyant"][ratio] < 1
        assert by["steady-state"][ratio] < by["fluid"][ratio] <= 1
    assert [row["is_bound"] for row in out] == [False] * 2 + [True] * 4
    assert all(row["holds_for"] for row in out[2:])


@pytest.mark.parametrize("fleet", ["H100-SXM5-80GB:2", "RTX-PRO-6000-BSE:3"])
def test_free_migration_comes_to_what_the_formula_says(fleet):
    """Simulated with Poisson arrivals, against the product form."""
    out = json.loads(replay("online", "--gpus", fleet, "--mix", "uniform", "--runs", 700,
                            "--arrivals", "poisson", "-o", "json"))
    by = {row["policy"]: row for row in out}
    for ratio in ("accepted_ratio", "accepted_slices_ratio"):
        assert by["free-migration"][ratio] == pytest.approx(
            by["steady-state"][ratio], abs=2.5 * by["free-migration"][ratio + "_ci"])


def test_mixes_are_drawn_and_written():
    row = lambda mix: json.loads(replay("online", "--gpus", "H100-SXM5-80GB:4", "--mix", mix,
                                        "--runs", 2, "--no-bound", "-o", "json"))[0]
    assert row("random:5")["accepted_ratio"] == row("random:5")["accepted_ratio"]
    assert row("random:5")["accepted_ratio"] != row("random:6")["accepted_ratio"]
    assert row("0,0,0,0,0,1")["accepted_ratio"] == row("0,0,0,0,0,1")["accepted_slices_ratio"]
    assert row("3,2.5,2,1,1,.5")["mix"] == "3/2.5/2/1/1/.5"


def test_pack_compares_policies_with_the_least():
    out = json.loads(replay("pack", "--random", 60, "--runs", 5, "-o", "json"))
    assert [row["mix"] for row in out] == ["uniform", "skew-small", "skew-big", "bimodal"]
    for row in out:
        assert row["area"] <= row["least"] <= min(v for k, v in row.items() if k != "mix"
                                                  and k != "area")
        assert row["first-fit, sorted"] <= row["first-fit"]


@pytest.mark.parametrize("command", ["run", "online", "pack", "bench"])
def test_help_is_no_mistake(command):
    assert replay(command, "--help").startswith(f"usage: tangram-replay {command}")


@pytest.mark.parametrize("text", ["", "arrival_ms,profile,duration_ms\n", "# nothing\n\n"])
def test_an_empty_trace_is_no_mistake(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    for queue in ("loss", "fifo"):
        out = json.loads(replay("run", "--gpus", "A30", "--trace", tmp_path / "t.csv", "--queue",
                                queue, "-o", "json"))
        assert (out["requests"], out["accepted"], out["makespan_ms"]) == (0, 0, 0)
        assert out["accepted_ratio"] == 1


def test_the_order_of_rows_does_not_matter(tmp_path):
    jobs = make_trace(tmp_path / "t.csv", 3, count=200)
    random.Random(1).shuffle(jobs)
    (tmp_path / "u.csv").write_text("duration_ms,profile,arrival_ms\n" +
                                    "".join(f"{d},{p},{a}\n" for a, p, d in jobs))
    one, two = (json.loads(replay("run", "--gpus", "H100-SXM5-80GB:2", "--trace", tmp_path / name,
                                  "-o", "json")) for name in ("t.csv", "u.csv"))
    for out in (one, two):
        del out["decision_ns"]
    assert one == two


@pytest.mark.parametrize("queue", ["loss", "fifo", "backfill"])
def test_bursts_long_tails_and_whatever_people_write(tmp_path, queue):
    """Three models, all ways to name a slice, tenants, priorities, some movable; driver times."""
    rnd = random.Random(8)
    wants = ["1g", "2g", "3g", "4g", "7g", "gpu", '"memory=12GiB"', '"memory=12GiB,compute=2"',
             "1g+me", "9g.90gb"]
    rows, t = [], 0
    for _ in range(500):
        t += 0 if rnd.random() < 0.9 else int(rnd.expovariate(1 / 20000))
        rows.append((t, rnd.choice(wants), int(1000 * rnd.paretovariate(1.2)), f"t{rnd.randrange(3)}",
                     rnd.randrange(-2, 3), rnd.randrange(2)))
    (tmp_path / "t.csv").write_text("arrival_ms,profile,duration_ms,tenant,priority,movable\n" +
                                    "".join(",".join(map(str, r)) + "\n" for r in rows))
    out = json.loads(replay("run", "--gpus", "A30:2,H100-SXM5-80GB:2,RTX-PRO-6000-BSE:1", "--trace",
                            tmp_path / "t.csv", "--queue", queue, "--create-ms", 30, "--delete-ms",
                            20, "--bounds", "fast", "-o", "json"))
    never = sum(r[1] == "9g.90gb" for r in rows)
    assert out["requests"] == 500
    if queue == "loss":
        assert 100 < out["accepted"] < 500 - never
    else:
        assert out["accepted"] == 500 - never
        assert out["makespan_ms"] >= out["bounds"]["makespan_ms"]


def test_nobody_is_left_behind_alone(tmp_path):
    """Both halves of a GPU become free together when the ends of the jobs are known."""
    trace = tmp_path / "t.csv"
    trace.write_text("arrival_ms,profile,duration_ms\n0,4g.40gb,100\n0,4g.40gb,1000\n"
                     "1,3g.40gb,900\n150,7g.80gb,10\n")
    accepted = {}
    for policy in ([], ["--policy", "align"], ["--policy", "reach"]):
        out = json.loads(replay("run", "--gpus", "H100-SXM5-80GB:2", "--trace", trace, *policy,
                                "-o", "json"))
        accepted[out["policy"], bool(policy)] = out["accepted"]
    assert accepted == {("align", False): 4, ("align", True): 4, ("reach", True): 3}


def test_only_align_looks_at_limits():
    def online(*args):
        out = json.loads(replay("online", "--gpus", "H100-SXM5-80GB:60", "--mix", "uniform",
                                "--runs", 12, "--policy", "reach,align,mfi", "--bounds", "none",
                                "-o", "json", *args))
        return {row["policy"]: (row["accepted_slices_ratio"], row["lead"], row["lead_ci"])
                for row in out}
    without, exact, rough = online(), online("--limits", 1), online("--limits", 5)
    assert without["align"] == without["reach"]
    for policy in ("reach", "mfi"):
        assert without[policy] == exact[policy] == rough[policy]
    assert -exact["align"][1] > exact["align"][2] > 0 < -rough["align"][1]
    assert exact["align"] != rough["align"]


def test_value_learns_what_free_slots_are_worth():
    def online(mix, *args):
        out = json.loads(replay("online", "--mix", mix, "--runs", 10, "--policy", "value,reach",
                                "--bounds", "none", "-o", "json", *args))
        return {row["policy"]: row for row in out}
    for mix in ("skew-small", "uniform"):
        by = online(mix)
        assert by["reach"]["lead"] > 0, mix
    by = online("skew-small")
    assert by["reach"]["lead"] > by["reach"]["lead_ci"]
    again = online("skew-small")
    for key in ("accepted_ratio", "accepted_slices_ratio"):
        assert again["value"][key] == by["value"][key]
    # A model of which every choice is the same: nothing to gain, nothing to lose.
    by = online("0,1,0,0,0,0", "--gpus", "A30:3")
    assert by["value"]["accepted_slices_ratio"] == by["reach"]["accepted_slices_ratio"]


def test_online_protocol():
    out = json.loads(replay("online", "--gpus", "H100-SXM5-80GB:20", "--mix", "uniform", "--runs",
                            4, "--policy", "all", "-o", "json"))
    by = {row["policy"]: row["accepted_slices_ratio"] for row in out}
    assert by["worst-fit"] < by["first-fit"] < by["reach"] < by["free-migration"]
    assert by["mfi"] - 0.01 < by["reach"]


@pytest.mark.parametrize("args,says", [
    (["run"], "needs --gpus"), (["run", "--gpus", "X:1", "--trace", "/dev/null"], "no model"),
    (["run", "--gpus", "A30", "--trace", "/nonexistent"], "cannot open"),
    (["online", "--mix", "odd"], "no mix"), (["online", "--policy", "best"], "no policy"),
    (["pack", "--model", "A30", "--want", "9g:1"], "no profile 9g"), (["dance"], "no command"),
    (["online", "--limits", "0.5"], "--limits"), (["online", "--limits", "x"], "--limits"),
    (["online", "--load", "0"], "--load"), (["online", "--runs", "0"], "--runs"),
    (["online", "--mix", "1,2,3"], "no mix"), (["online", "--mix", "0,0,0,0,0,0"], "all be 0"),
    (["online", "--mix", "random:x"], "random mix"), (["online", "--policy", "mfi,"], "no policy"),
    (["online", "--bounds", "tight"], "none, fast, lp"), (["online", "--gpus", "A30,A30"], "one model"),
    (["run", "--queue", "lifo"], "loss, fifo, backfill"), (["run", "--speed"], "no option --speed"),
    (["run", "--gpus"], "value is missing after --gpus"), (["run", "now"], "is not an option"),
    (["pack", "--model", "A30"], "--want or --random"), (["pack", "--want", "1g:1"], "--model"),
    (["bench", "--model", "A30,A30"], "one model")])
def test_mistakes_are_named(args, says):
    done = subprocess.run([str(BUILD / "tangram-replay"), *args], capture_output=True, text=True,
                          check=False)
    assert done.returncode in (1, 2)
    assert says in done.stderr


@pytest.mark.parametrize("line,says", [
    ("x,1g,5", "t.csv:2:1: arrival_ms"), ("1,1g", "t.csv:2:1: 2 fields"),
    ("1,1g,-5", "t.csv:2:6: duration_ms"), ("1,1g,5,a,0,maybe", "t.csv:2:12: movable"),
    ("1,1g,5,a,zero", "t.csv:2:10: priority"), ("1,1g,5,a,0,1,7", "fields"),
    ("1,9q,5", 't.csv:2:3: "9q" is not a profile'), ("1,,5", "t.csv:2:3"),
    ("1, \"1g,5", "quote is not closed"), ("99999999999999999999,1g,5", "arrival_ms"),
    ("1;1g;5", "1 fields"), ("1,1g,5,t,99999999999", "priority"),
    ("1,\x1b[31m,5", "\\x1b[31m")])
def test_bad_traces_are_refused(tmp_path, line, says):
    trace = tmp_path / "t.csv"
    trace.write_text("0,1g.10gb,1\n" + line + "\n")
    done = subprocess.run([str(BUILD / "tangram-replay"), "run", "--gpus", "H100-SXM5-80GB",
                           "--trace", str(trace)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert says in done.stderr
