"""Completion: what is offered for a line, and that bash, zsh and fish show it."""
import os
import shlex
import shutil
import subprocess
import time

import pytest

from fake_cli import BUILD, env_for, TANGRAM
from fake_daemon import FakeDaemon, gpu, slice_
from terminal import Terminal


@pytest.fixture
def fake(tmp_path):
    profiles = [{"name": name, "compute": n, "memory_mib": 9984 * n, "max": 1, "free": 1}
                for name, n in (("1g.10gb", 1), ("1g.10gb+me", 1), ("2g.20gb", 2))]
    slices = [slice_("1g.10gb", 0, 1, 1, state="foreign"), slice_("2g.20gb", 2, 2, 2, state="idle")]
    daemon = FakeDaemon(tmp_path / "sock", {
        ("GET", "/v1/gpus"): {"gpus": [gpu(0, profiles=profiles), gpu(1, profiles=profiles)]},
        ("GET", "/v1/slices"): {"slices": slices},
        ("GET", "/v1/tokens"): {"tokens": [{"id": "t-1"}]},
        ("GET", "/v1/leases"): {"leases": [
            {"id": "l-7", "state": "active", "profile": "1g", "tenant": "nlp", "name": "x\x1b[2Jy"},
            {"id": "l-8", "state": "queued", "profile": "2g", "tenant": "vision"},
            {"id": "l-\x1b9", "state": "active", "profile": "2g", "tenant": "nlp"}]}})
    yield daemon
    daemon.close()


def env_at(socket, **more):
    return env_for(TANGRAM_SOCKET=str(socket), PATH=f"{BUILD}:{os.environ['PATH']}", **more)


def offered(socket, *words):
    done = subprocess.run([TANGRAM, "completion", "words", *words], capture_output=True, text=True,
                          env=env_at(socket), timeout=10, check=False)
    assert done.returncode == 0 and done.stderr == "", done
    assert "\x1b" not in done.stdout
    return [line.split("\t")[0] for line in done.stdout.splitlines()]


@pytest.mark.parametrize("line, expected", [
    ("rel", "release"),
    ("lease --mo", "--model --movable"),
    ("lease --movable --mo", "--model"),
    ("lease -p 2", "2g.20gb"),
    ("lease -p ''", "1g.10gb 1g.10gb+me 2g.20gb gpu memory="),
    ("lease --profile=2", "--profile=2g.20gb"),
    ("plan 1g.10gb 2", "2g.20gb"),
    ("lease --color=al", "--color=always"),
    ("lease --color = al", "always"),
    ("lease --color =", "auto always never"),
    ("lease --model ''", "NVIDIA\\ H100\\ 80GB\\ HBM3"),
    ("leases --state q", "queued"),
    ("leases --tenant ''", "nlp vision"),
    ("leases ''", "l-7 l-8"),
    ("leases l-7 ''", ""),
    ("release l-7 ''", "l-8"),
    ("renew ''", "l-7"),
    ("why ''", "l-8"),
    ("adopt ''", "MIG-0"),
    ("disown ''", "MIG-2"),
    ("token ''", "create list revoke"),
    ("token revoke ''", "t-1"),
    ("token list ''", ""),
    ("help comp", "completion"),
    ("completion ''", "bash zsh fish"),
    ("completion bash ''", ""),
    ("status ''", ""),
    ("apply -f ''", ":files"),
    ("apply -f", ""),
    ("--socket ''", ":files"),
    ("--socket /nowhere release ''", ""),
    ("--socket=/nowhere rel", "release"),
    ("run -p 1g l", ":command\\ 3"),
    ("run -p 1g -- l", ":command\\ 4"),
    ("run -p 1g ls -", ":command\\ 3"),
    ("gpus -o j", "json"),
    ("gpus -wo j", "json"),
    ("nosuchcommand ''", None),
])
def test_what_could_stand_there(fake, line, expected):
    words = offered(fake.path, *shlex.split(line))
    if expected is not None:
        assert words == shlex.split(expected)


def test_every_option_of_every_command_is_offered(fake):
    commands = offered(fake.path, "")
    assert "status" in commands and "run" in commands
    for command in commands:
        page = subprocess.run([TANGRAM, command, "--help"], capture_output=True, text=True,
                              check=True).stdout if command != "completion" else ""
        for option in {word for word in page.split() if word.startswith("--") and len(word) > 2
                       and word[2:].replace("-", "").isalpha()}:
            if f"  {option}" in page or f", {option}" in page:
                assert option in offered(fake.path, command, "--"), (command, option)


def test_without_a_daemon_it_is_quick_and_silent(tmp_path):
    start = time.monotonic()
    assert offered(tmp_path / "none", "release", "") == []
    assert offered(tmp_path / "none", "lease", "-p", "") == ["gpu", "memory="]
    assert time.monotonic() - start < 2


def script(shell):
    return subprocess.run([TANGRAM, "completion", shell], capture_output=True, text=True,
                          check=True).stdout


def in_bash(socket, line):
    words = shlex.split(line) + ([""] if line.endswith(" ") else [])
    ask = (f"source /dev/stdin <<'END'\n{script('bash')}\nEND\n"
           f"COMP_LINE={shlex.quote(line)}; COMP_WORDS=({' '.join(map(shlex.quote, words))})\n"
           "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _tangram tangram\n"
           "printf '%s\\n' \"${COMPREPLY[@]}\"")
    done = subprocess.run(["bash", "--norc", "-c", ask], capture_output=True, text=True,
                          env=env_at(socket), timeout=20, check=False)
    assert done.stderr == "", done
    return [x for x in done.stdout.splitlines() if x]


def in_fish(socket, line):
    ask = f"source (printf %s {shlex.quote(script('fish'))} | psub); complete -C {shlex.quote(line)}"
    done = subprocess.run(["fish", "--no-config", "-c", ask], capture_output=True, text=True,
                          env=env_at(socket), timeout=20, check=False)
    assert done.stderr == "", done
    return [x.split("\t")[0] for x in done.stdout.splitlines()]


@pytest.mark.parametrize("shell, ask", [("bash", in_bash), ("fish", in_fish)])
def test_bash_and_fish_offer_it(fake, tmp_path, shell, ask):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "layout file.yaml").write_text("")
    assert ask(fake.path, "tangram rel") == ["release"]
    assert ask(fake.path, "tangram lease --mo") == ["--model", "--movable"]
    assert ask(fake.path, "tangram release ") == ["l-7", "l-8"]
    assert ask(fake.path, "tangram lease -p 2") == ["2g.20gb"]
    model, = ask(fake.path, "tangram lease --model NV")
    assert model.replace("\\", "") == "NVIDIA H100 80GB HBM3"
    file, = ask(fake.path, f"tangram apply -f {tmp_path}/lay")
    assert file.replace("\\", "") == f"{tmp_path}/layout file.yaml"
    assert "tangram-sim" in ask(fake.path, "tangram run -p 1g -- tangram-")
    assert f"{tmp_path}/sock" in ask(fake.path, f"tangram run -p 1g ls {tmp_path}/so")
    assert ask("/nowhere", "tangram release ") == []


def start_zsh(folder, socket):
    """An interactive zsh; completion there needs its line editor."""
    zsh = Terminal(["zsh", "-f", "-i"], env_at(socket, TERM="dumb", HOME=str(folder),
                                               ZDOTDIR=str(folder), COLUMNS="200"))
    zsh.key(f"PS1='%% '; fpath=({folder} $fpath); autoload -Uz compinit; compinit -u -D\n"
            "unsetopt beep; unset zle_bracketed_paste; print re''ady\n")
    zsh.until("\nready")
    return zsh


def test_zsh_offers_it(fake, tmp_path):
    if not shutil.which("zsh"):
        pytest.skip("zsh is not installed")
    folder = tmp_path / "z"
    folder.mkdir()
    (folder / "_tangram").write_text(script("zsh"))
    (tmp_path / "layout file.yaml").write_text("")
    zsh = start_zsh(folder, fake.path)
    # What is typed is echoed as it comes: only what the completion adds can be waited for whole.
    for keys, got in (("tangram rel\t", "ease "),
                      ("tangram lease -p 2\t", "g.20gb "),
                      ("tangram lease -p mem\t12GiB", "ory=12GiB"),
                      ("tangram lease --model NV\t", "IDIA\\ H100\\ 80GB\\ HBM3"),
                      ("tangram why \t", "l-8 "),
                      (f"tangram apply -f {tmp_path}/lay\t", "out\\ file.yaml"),
                      ("tangram run -p 1g -- tangram-si\t", "m "),
                      ("tangram release \t\t", "l-8  -- 2g  queued  vision")):
        zsh.key(keys)
        zsh.until(got)
        zsh.key("\x15")  # an empty line again
    zsh.close()
