"""make run's second half: the story that a newcomer sees."""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile

import pytest

from conftest import BUILD, ROOT



@pytest.mark.skipif(not (BUILD / "tangramd").exists(), reason="tangramd was not built")
def test_the_story_is_told_to_its_end():
    folder = tempfile.mkdtemp(prefix="tangram-story-")  # short: a socket is in it
    env = {k: v for k, v in os.environ.items() if not k.startswith("TANGRAM_")}
    env.update(TANGRAM_RUN_DIR=folder, SIMULATE="H100-SXM5-80GB:2", LC_ALL="C.UTF-8")
    try:
        done = subprocess.run([ROOT / "scripts" / "run.sh", BUILD], env=env, text=True, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
        assert done.returncode == 0, done.stdout
        out = done.stdout
        assert "l-6 has 2g.20gb on GPU" in out and "is queued, number 1" in out
        assert "What would let it through:" in out
        assert "l-7 has 3g.40gb on GPU" in out and "That was the story." in out
        assert out.count("comp │") >= 10
        # The picture of the README is the last one of the story.
        picture = re.search(r"```\n(GPU 0.*?)```",
                            (ROOT / "README.md").read_text(encoding="utf-8"), re.S).group(1)
        assert picture in out
        assert out.count("1 proc") >= 4, "the workload is not seen from the first picture on"
        # It is left running, and what is printed works.
        status = subprocess.run([BUILD / "tangram", "--socket", folder + "/sock", "leases", "-o",
                                 "csv", "--no-header"], capture_output=True, text=True, check=True)
        assert len(status.stdout.splitlines()) == 4
    finally:
        pid = pathlib.Path(folder, "pid")
        if pid.exists():
            os.kill(int(pid.read_text()), signal.SIGTERM)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.skipif(not (BUILD / "tangramd").exists(), reason="tangramd was not built")
def test_a_story_that_is_interrupted_says_that_the_daemon_runs_on():
    folder = tempfile.mkdtemp(prefix="tangram-story-")
    env = {k: v for k, v in os.environ.items() if not k.startswith("TANGRAM_")}
    env.update(TANGRAM_RUN_DIR=folder, SIMULATE="H100-SXM5-80GB:2", LC_ALL="C.UTF-8")
    story = subprocess.Popen([ROOT / "scripts" / "run.sh", BUILD], env=env, text=True,
                             start_new_session=True, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT)
    try:
        while "Two tenants" not in story.stdout.readline():
            assert story.poll() is None
        os.killpg(story.pid, signal.SIGINT)
        rest = story.communicate(timeout=60)[0]
        pid = pathlib.Path(folder, "pid").read_text().strip()
        assert story.returncode != 0
        assert f"To end it: kill {pid}" in rest, rest
    finally:
        pid = pathlib.Path(folder, "pid")
        if pid.exists():
            os.kill(int(pid.read_text()), signal.SIGTERM)
        shutil.rmtree(folder, ignore_errors=True)
