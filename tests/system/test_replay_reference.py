"""tangram-replay run against replay_reference.py on drawn traces: the same answers, exactly."""
import csv
import json
import random
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import BUILD
import replay_reference

FLEETS = {
    "H100-SXM5-80GB:3": ["1g.10gb", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb", "gpu"],
    "A30:5": ["1g.6gb", "2g", "4g", "7g"],
    "A100-SXM4-40GB:1,H100-SXM5-80GB:2,A30:2": ["1g", "2g", "3g", "4g", "7g", "1g.10gb", "gpu"],
}


def real(tmp_path, fleet, jobs, policy, queue):
    trace = tmp_path / "t.csv"
    trace.write_text("arrival_ms,profile,duration_ms,priority\n" +
                     "".join(f"{a},{p},{d},{k}\n" for a, p, d, k in jobs))
    done = subprocess.run([BUILD / "tangram-replay", "run", "--gpus", fleet, "--trace", trace,
                           "--policy", policy, "--queue", queue, "--age-step-ms", "0", "--bounds",
                           "none", "-o", "json", "--jobs", tmp_path / "jobs.csv"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "jobs.csv", encoding="utf-8") as f:
        rows = [tuple(row.values()) for row in csv.DictReader(f)]
    return json.loads(done.stdout), rows


def rows_of(run):
    """As --jobs writes them."""
    return [(str(a), p, str(d), str(run.start[i]), str(run.start[i] + d), *map(str, run.place[i]))
            if i in run.start else (str(a), p, str(d), "", "", "", "")
            for i, (a, p, d, _) in enumerate(run.jobs)]


def jobs_of(fleet, count, shortest):
    """Coarse times, so that much happens at once."""
    job = st.tuples(st.integers(0, 40), st.sampled_from(FLEETS[fleet]), st.integers(shortest, 60),
                    st.integers(0, 2))
    return st.lists(job, min_size=1, max_size=count).map(
        lambda jobs: sorted(jobs, key=lambda j: j[0]))


@pytest.mark.parametrize("queue", ["loss", "fifo", "backfill"])
@pytest.mark.parametrize("policy", list(replay_reference.COST))
@pytest.mark.parametrize("fleet", list(FLEETS))
def test_the_same_as_written_anew(tmp_path_factory, fleet, policy, queue):
    tmp_path = tmp_path_factory.mktemp("t")
    models = [(m, int(n)) for m, n in (g.split(":") for g in fleet.split(","))]

    @settings(max_examples=15, deadline=None, derandomize=True,
              suppress_health_check=list(HealthCheck))
    @given(jobs_of(fleet, 60, queue == "backfill"))
    def check(jobs):
        run = replay_reference.Run(models, jobs, policy, queue)
        expected = run.outcome()
        out, rows = real(tmp_path, fleet, jobs, policy, queue)
        assert rows == rows_of(run)
        for key, value in expected.items():
            # Utilisation has six digits.
            assert out[key] == pytest.approx(value, abs=1e-6 if "util" in key or "ratio" in key
                                             else 1e-3), (key, jobs)

    check()


@pytest.mark.parametrize("queue", ["loss", "fifo", "backfill"])
@pytest.mark.parametrize("seed", range(4))
def test_the_same_when_it_is_crowded(tmp_path, seed, queue):
    """Longer traces than hypothesis draws, with two and more times the work that fits."""
    rnd = random.Random(seed)
    fleet = list(FLEETS)[seed % len(FLEETS)]
    models = [(m, int(n)) for m, n in (g.split(":") for g in fleet.split(","))]
    jobs = sorted(((rnd.randrange(600), rnd.choice(FLEETS[fleet]), 1 + rnd.randrange(60),
                    rnd.randrange(3)) for _ in range(200)), key=lambda j: j[0])
    for policy in replay_reference.COST:
        run = replay_reference.Run(models, jobs, policy, queue)
        expected = run.outcome()
        out, rows = real(tmp_path, fleet, jobs, policy, queue)
        assert rows == rows_of(run), policy
        assert {k: out[k] for k in expected} == pytest.approx(expected, abs=1e-3), policy
