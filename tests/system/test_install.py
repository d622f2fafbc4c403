"""make install into an empty folder: everything is there, and names the places where it will be."""
import os
import re
import shutil
import subprocess

import pytest

from conftest import BUILD

pytestmark = pytest.mark.skipif(not (BUILD / "build.ninja").exists() or not shutil.which("meson"),
                                reason="needs a build by Meson")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    done = subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", root],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    return root


def find(root, name):
    found = [path for path in root.rglob(name)]
    assert len(found) == 1, (name, found)
    return found[0]


def test_everything_is_there(installed):
    for name in ("tangram", "tangramd", "tangram-sim", "tangram-replay"):
        program = [p for p in installed.rglob(name) if p.parent.name == "bin"]
        assert len(program) == 1 and os.access(program[0], os.X_OK), name
    prefix = program[0].parent.parent
    assert find(installed, "libnvidia-ml.so.1").is_file()
    # Beside the other libraries it would take the real one's place.
    assert find(installed, "libnvidia-ml.so.1").parent.name == "sim"
    assert (prefix / "share/bash-completion/completions/tangram").is_file()
    assert (prefix / "share/zsh/site-functions/_tangram").is_file()
    assert (prefix / "share/fish/vendor_completions.d/tangram.fish").is_file()
    assert (prefix / "share/doc/tangram/examples/tangram.yaml").is_file()


def test_the_unit_starts_what_was_installed(installed):
    unit = find(installed, "tangramd.service").read_text(encoding="utf-8")
    start = re.search(r"^ExecStart=(\S+)", unit, re.M).group(1)
    assert (installed / start.lstrip("/")).is_file(), start
    assert "@" not in re.sub(r"@system-service", "", unit)
    if shutil.which("systemd-analyze"):
        socket = find(installed, "tangramd.socket")
        done = subprocess.run(["systemd-analyze", "verify", "--root", installed, socket],
                              capture_output=True, text=True, check=False)
        assert "Unknown" not in done.stderr, done.stderr


@pytest.mark.parametrize("name", ["tangram.1", "tangram-sim.1", "tangram-replay.1", "tangramd.8",
                                  "tangram.yaml.5"])
def test_the_manual_reads_without_a_warning(installed, name):
    page = find(installed, name)
    if not shutil.which("man"):
        pytest.skip("man is not installed")
    done = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page],
                          capture_output=True, text=True, check=False,
                          env={**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8"})
    assert done.returncode == 0 and done.stderr == "", done.stderr


@pytest.mark.parametrize("shell, path", [
    ("bash", "bash-completion/completions/tangram"), ("zsh", "zsh/site-functions/_tangram"),
    ("fish", "fish/vendor_completions.d/tangram.fish")])
def test_completion_is_what_the_program_prints(installed, shell, path):
    script = [p for p in installed.rglob(path.rsplit("/", 1)[1]) if str(p).endswith(path)][0]
    asked = subprocess.run([BUILD / "tangram", "completion", shell], capture_output=True,
                           check=True).stdout
    assert script.read_bytes() == asked
    if shutil.which(shell):
        subprocess.run([shell, "-n", script], check=True)
