"""apply, diff and export: a mig-parted file as a difference; what is in use is named, all of it."""
import re

import pytest

from conftest import H100, ROOT

PARTED = ROOT / "tests" / "data" / "parted"
ONES = "version: v1\nmig-configs:\n  c:\n    - {devices: all, mig-enabled: true, mig-devices: %s}\n"


def put(tmp_path, text):
    path = tmp_path / "layout.yaml"
    path.write_text(text)
    return path


def test_all_blockers_on_all_gpus_are_named_and_nothing_changes(daemon, machine, tmp_path):
    d = daemon(machine(f"{H100}:2"))
    leases = [d.lease("4g.40gb") for _ in range(2)]
    assert {x["gpu_index"] for x in leases} == {0, 1}
    before = d.slices()
    done = d.cli("apply", "-f", put(tmp_path, ONES % "{7g.80gb: 1}"))
    assert done.returncode == 5, done
    for lease in leases:
        assert lease["id"] in done.stdout + done.stderr, done
    assert d.slices() == before


def test_fitting_slices_stay_and_diff_says_what_would_change(daemon, tmp_path):
    d = daemon()
    kept = d.lease("2g.20gb")
    path = put(tmp_path, ONES % "{2g.20gb: 1, 1g.10gb: 4}")
    assert d.cli("diff", "-f", path).returncode == 3
    assert d.cli("apply", "-f", path, "--dry-run").returncode == 0
    assert len(d.slices()) == 1
    assert d.cli("apply", "-f", path).returncode == 0
    assert d.cli("diff", "-f", path).returncode == 0
    assert sorted(s["profile"] for s in d.slices()) == ["1g.10gb"] * 4 + ["2g.20gb"]
    assert d.get(f"/v1/leases/{kept['id']}").json["mig_uuid"] == kept["mig_uuid"]


def test_export_is_what_apply_takes(daemon, tmp_path):
    d = daemon()
    d.cli("apply", "-f", put(tmp_path, ONES % "{3g.40gb: 1, 1c.3g.40gb: 0, 1g.10gb: 2}"), check=0)
    path = put(tmp_path, d.cli("export", check=0).stdout)
    assert d.cli("diff", "-f", path).returncode == 0
    assert d.cli("apply", "-f", PARTED / "all-1g.10gb.yaml").returncode == 0
    assert d.cli("diff", "-f", path).returncode == 3
    assert d.cli("apply", "-f", path).returncode == 0
    assert d.cli("diff", "-f", path).returncode == 0


@pytest.mark.parametrize("text, what", [
    ("version: v2\nmig-configs: {}\n", "version"),
    (ONES % "{1g.10gb: 8}", ""),
    (ONES % "{9g.90gb: 1}", "9g.90gb"),
    (ONES % "{1g.10gb: -1}", "1g.10gb"),
    ((ONES % "{1g.10gb: 1}").replace("mig-enabled", "mig-enable"), "mig-enable"),
    ("version: v1\nmig-configs:\n  c:\n    - {devices: [7], mig-enabled: true, mig-devices: {}}\n", "GPU 7"),
    ("version: v1\nmig-configs: [\n", ""),
])
def test_wrong_files_are_refused_with_their_place(daemon, tmp_path, text, what):
    d = daemon()
    path = put(tmp_path, text)
    done = d.cli("apply", "-f", path)
    assert done.returncode != 0 and what in done.stderr, done
    assert re.search(rf"{re.escape(str(path))}:\d+:\d+", done.stderr) or what == "", done.stderr
    assert d.slices() == []
