"""What the documents say is so: examples run, options exist, pictures are real."""
import os
import re
import shlex
import shutil
import subprocess

import pytest

from conftest import BUILD, ROOT

pytestmark = pytest.mark.skipif(not (BUILD / "tangramd").exists(), reason="tangramd was not built")


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


def help_of(program, *args):
    done = subprocess.run([BUILD / program, *args, "--help"], capture_output=True, text=True,
                          check=False)
    return done.stdout + done.stderr


def options_in(text):
    plain = re.sub(r"\\f[BIRP]", "", text).replace("\\-", "-")
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", plain))


def page_of(name):
    page = BUILD / "man" / name
    if not page.exists():
        pytest.skip("built without scdoc")
    return page.read_text(encoding="utf-8")


def parts_of(program, about):
    """The help of a program and of its commands."""
    names = re.findall(r"^  ([a-z]+) ", about, re.M) if program != "tangramd" else []
    return about + "".join(help_of(program, name) for name in names)


@pytest.mark.parametrize("program, page", [
    ("tangram", "tangram.1"), ("tangramd", "tangramd.8"), ("tangram-sim", "tangram-sim.1"),
    ("tangram-replay", "tangram-replay.1")])
def test_the_manual_and_the_program_know_the_same_options(program, page):
    manual, program_says = options_in(page_of(page)), options_in(
        parts_of(program, help_of(program)))
    # --seed is taken by `tangram-replay run` for the sake of scripts, and says nothing there.
    assert manual - {"--help", "--seed"} == program_says - {"--help", "--seed"}


def commands_in(name):
    """Each `tangram ...` that a document writes as code, once without what stands for something."""
    spans = re.findall(r"`(?:build/)?(tangram [a-z][^`\n]*)`", text_of(name))
    return [s for s in spans if "..." not in s]


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "docs/glossary.md",
                                  "docs/rest.md", "docs/planner.md", "docs/architecture.md"])
def test_commands_in_documents_exist(name):
    known = set(re.findall(r"^  ([a-z]+) ", help_of("tangram").split("Options everywhere")[0],
                           re.M))
    for line in commands_in(name):
        words = shlex.split(line)[1:]
        # "tangram token create|revoke" and the like: the first word is the command.
        assert words[0] in known, (name, line)
        mine = words[:words.index("--")] if "--" in words else words
        letters = {w for w in mine if re.fullmatch(r"--?[a-z][a-z-]*", w)}
        about = help_of("tangram", words[0]) if words[0] != "completion" else ""
        for option in letters:
            assert re.search(rf"(^|\s){re.escape(option)}[ ,\n]", about), (name, line, option)


def session_of(name):
    """[(command, expected output)] of the console block."""
    block = re.search(r"```console\n(.*?)```", text_of(name), re.S).group(1)
    return [(part.split("\n", 1)[0], part.split("\n", 1)[1])
            for part in re.split(r"^\$ ", block, flags=re.M) if part]


def test_the_session_of_the_rest_page(daemon):
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    d = daemon()
    alias, *steps = session_of("docs/rest.md")
    ask = re.fullmatch(r"alias ask='(.*)'", alias[0]).group(1)
    assert len(steps) >= 8
    for command, expected in steps:
        done = subprocess.run(["bash", "-c", f"ask() {{ {ask} \"$@\"; }}; {command}"], text=True,
                              capture_output=True, timeout=60, check=True,
                              env={**os.environ, "TANGRAM_SOCKET": str(d.socket)})
        wanted = ".*".join(map(re.escape, expected.strip().split("…")))
        assert re.match(wanted, done.stdout.strip(), re.S), (command, expected, done.stdout)
