"""What the command line makes of wrong use, and of answers that the real daemon gives rarely or
never."""
import json
import os
import shlex
import shutil
import subprocess

import pytest

from conftest import for_everybody
from fake_cli import env_for, fake, lease, one_line, run, TANGRAM
from fake_daemon import ROOT, dead_socket


# --- usage ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("args, says", [
    (["stauts"], "did you mean 'status'"),
    (["scancel"], "did you mean 'release'"),
    (["frobnicate"], "there is no command 'frobnicate'"),
    (["--sokcet", "x", "status"], "unknown option '--sokcet' before the command"),
    (["status", "--all"], "status has no option '--all'"),
    (["--sokcet", "x", "status"], "did you mean '--socket'?"),
    (["leases", "--no-headers"], "leases has no option '--no-headers'; did you mean '--no-header'?"),
    (["leases", "--json"], "did you mean '-o json'?"),
    (["lease", "--timeout=5m"], "did you mean '--wait'?"),
    (["lease", "--ttt=5m"], "lease has no option '--ttt=5m'; did you mean '--ttl'?"),
    (["status", "--timeout", "5m"], "status has no option '--timeout' (see"),
    (["lease", "-x"], "lease has no option '-x' (see"),
    (["lease", "-p"], "-p needs a value"),
    (["lease"], "-p PROFILE"),
    (["lease", "-p", "1g", "-n", "zero"], "'zero' is not a whole number"),
    (["lease", "-p", "1g", "-n", "0"], "0 is not in 1..64"),
    (["lease", "-p", "1g", "--ttl", "soon"], "'soon' is not a duration"),
    (["lease", "-p", "1g", "--ttl", "9999999999d"], "is not a duration"),
    (["lease", "-p", "1g", "-l", "novalue"], "KEY=VALUE"),
    (["lease", "-p", "1g", "-o", "csv"], "-o csv is for lists"),
    (["leases", "-o", "xml"], "'xml' is not an output format"),
    (["leases", "a", "b"], "one argument too many"),
    (["lease", "2g.20gb"], "takes the profile as -p 2g.20gb"),
    (["token", "list", "x"], "one argument too many"),
    (["token", "create", "bob"], "--tenant, --role, --name"),
    (["adopt", b"\xff"], "not valid UTF-8"),
    (["adopt", b"\xff:0"], "not valid UTF-8"),
    (["release"], "release needs ID..."),
    (["release", ""], "an argument is empty"),
    (["renew", "l-1"], "--ttl"),
    (["run", "-p", "1g"], "run needs -- CMD"),
    (["apply"], "-f FILE"),
    (["token", "steal"], "create, list and revoke"),
    (["adopt", "0:x"], "not a whole number"),
    (["plan"], "what to plan for"),
    (["plan", "1g:0"], "0 is not in 1..64"),
    (["status", "--ascii=yes"], "--ascii takes no value"),
    (["completion", "tcsh"], "bash, zsh and fish"),
    (["help", "lese"], "did you mean 'lease'"),
])
def test_usage_is_one_line_and_exit_2(fake, args, says):
    done = run(fake, *args)
    assert done.returncode == 2, done
    assert says in one_line(done.stderr)
    assert "tangram help" in done.stderr
    assert done.stdout == "" and not fake.requests


def test_help_needs_no_daemon(tmp_path):
    everything = run(tmp_path / "none", "--help")
    assert everything.returncode == 0 and "Commands:" in everything.stdout
    names = [line.split()[0] for line in everything.stdout.split("Commands:\n")[1]
             .split("\n\n")[0].splitlines()]
    for name in names:
        one = run(tmp_path / "none", name, "--help")
        assert one.returncode == 0 and f"Usage: tangram {name}" in one.stdout
        assert max(map(len, one.stdout.splitlines())) <= 79
        if "--output" in one.stdout:
            refused = run(tmp_path / "none", name, "-o", "csv").stderr
            assert ("is for lists" in refused) == ("or csv" not in one.stdout), refused
        for line in one.stdout.split("Examples:\n")[-1].split("\n\n")[0].splitlines() \
                if "Examples:" in one.stdout else ():
            words = shlex.split(line[line.index("tangram "):].split(")")[0].split(" > ")[0])
            assert words[1] == name, line
            known = run(tmp_path / "none", name, "--help", *words[2:])
            assert known.returncode == 0, (line, known)
    nothing = run(tmp_path / "none")
    assert nothing.returncode == 2 and "Commands:" in nothing.stderr


# --- the daemon cannot be reached ----------------------------------------------------------------

def test_unreachable_says_which_socket_and_why(tmp_path):
    none = run(tmp_path / "none", "gpus")
    assert none.returncode == 6
    assert str(tmp_path / "none") in one_line(none.stderr) and "there is no socket" in none.stderr
    assert "--simulate" in none.stderr
    dead_socket(tmp_path / "dead")
    dead = run(tmp_path / "dead", "gpus")
    assert dead.returncode == 6 and "no daemon answers" in one_line(dead.stderr)
    (tmp_path / "file").write_text("")
    plain = run(tmp_path / "file", "gpus")
    assert plain.returncode == 6 and "is not a socket" in one_line(plain.stderr)
    too_long = run("/" + "x" * 200, "gpus")
    assert too_long.returncode == 2 and "longer than" in one_line(too_long.stderr)


@pytest.mark.skipif(os.geteuid() != 0, reason="has to become somebody else")
@pytest.mark.skipif("TANGRAM_PRELOAD" in os.environ,
                    reason="another user may not write the counts of the coverage build")
def test_permission_denied_is_said(fake):
    os.chmod(fake.path, 0o600)
    os.chmod(os.path.dirname(fake.path), 0o755)
    done = subprocess.run([for_everybody("tangram"), "--socket", fake.path, "gpus"], text=True,
                          capture_output=True, env=env_for(), timeout=30, check=False, user=65534,
                          cwd="/")
    assert done.returncode == 6 and "permission denied" in one_line(done.stderr), done


def test_version_and_doctor_work_without_a_daemon(tmp_path):
    version = run(tmp_path / "none", "version")
    assert version.returncode == 0 and version.stdout.startswith("client   0.")
    assert "no daemon" in version.stdout
    doctor = run(tmp_path / "none", "doctor", "-o", "json")
    assert doctor.returncode == 6
    assert json.loads(doctor.stdout)[0]["name"] == "daemon"


def test_a_closed_output_is_nobodys_socket(fake):
    """Else the table would be written into the request."""
    fake.routes[("GET", "/v1/gpus")] = {"gpus": []}
    shell = f'{TANGRAM} --socket {fake.path} gpus >&- <&-; echo $?'
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, env=env_for(),
                          timeout=30, check=True)
    assert done.stdout == "0\n" and not done.stderr
    assert [r["path"] for r in fake.requests] == ["/v1/gpus"]


def test_who_is_refused_is_told_where_the_token_goes(fake):
    no = (401, {"status": 401, "reason": "unauthorized", "detail": "a bearer token is needed"})
    fake.routes.update({("GET", "/v1/gpus"): no, ("GET", "/v1"): no})
    assert "needed; TANGRAM_TOKEN" in one_line(run(fake, "gpus").stderr)
    assert "daemon   a bearer token is needed" in run(fake, "version").stdout


def test_the_environment_names_the_socket(fake):
    fake.routes[("GET", "/v1/gpus")] = {"gpus": []}
    done = subprocess.run([TANGRAM, "gpus", "-o", "json"], capture_output=True, text=True,
                          env=env_for(TANGRAM_SOCKET=fake.path), timeout=30, check=False)
    assert done.returncode == 0 and json.loads(done.stdout) == []


# --- nonsense ------------------------------------------------------------------------------------

@pytest.mark.parametrize("content, says", [
    (b"<html>hello</html>", "is not JSON"),
    (b"[1, 2]", "is not a JSON object"),
    (b'{"gpus": 3}', "has no list 'gpus'"),
    (b'{"gpus": [], "gpus": []}', "is not JSON"),
    (b"", "with nothing"),
    (b"\xff\xfe{}", "is not JSON"),
])
def test_nonsense_is_an_error_of_one_line(fake, content, says):
    fake.routes[("GET", "/v1/gpus")] = (200, content)
    done = run(fake, "gpus")
    assert done.returncode == 1 and says in one_line(done.stderr), done


def test_what_is_not_http_is_said(fake):
    def garbage(handler):
        handler.wfile.write(b"\x00\x01garbage\r\n\r\n")
        handler.close_connection = True
    fake.routes[("GET", "/v1/gpus")] = lambda request: garbage
    done = run(fake, "gpus")
    assert done.returncode in (1, 6) and "tangram: " in one_line(done.stderr)


def test_a_huge_answer_is_refused(fake):
    fake.routes[("GET", "/v1/gpus")] = (200, b'{"gpus": [' + b" " * (17 << 20) + b"]}")
    done = run(fake, "gpus")
    assert done.returncode == 1 and "larger than 16 MiB" in one_line(done.stderr)


@pytest.mark.parametrize("row", [{}, {"index": "x", "slices": 7, "mig": []}, 3, None, [], {
    "index": -1, "memory_slots": 10**9, "compute_slots": -5, "name": ["x"],
    "slices": [None, 5, {}, {"placement": {"start": -4, "size": 99999}, "compute_slots": 10**12},
               {"placement": {"start": 0, "size": 1}, "compute_slots": -7, "state": 5}]}])
def test_strange_rows_do_not_crash(fake, row):
    fake.routes.update({("GET", "/v1"): ROOT, ("GET", "/v1/gpus"): {"gpus": [row]},
                        ("GET", "/v1/leases"): {"leases": [row]},
                        ("GET", "/v1/slices"): {"slices": [row]},
                        ("GET", "/v1/queue"): {"queue": [row]}})
    for command in ("status", "gpus", "slices", "leases", "queue"):
        for format in ("table", "json", "yaml") if command == "status" else (
                "table", "wide", "json", "yaml", "csv"):
            done = run(fake, command, "-o", format)
            assert done.returncode == 0, (command, format, done)


def test_tenants_cannot_write_on_the_terminal(fake):
    evil = "a\x1b[2J\nb\x7f\u009bc"
    fake.routes[("GET", "/v1/leases")] = {"leases": [lease(name=evil, tenant=evil)]}
    for format in ("table", "wide", "json", "yaml", "csv"):
        out = run(fake, "leases", "-o", format).stdout
        assert not set(out) & set("\x1b\x7f\u009b"), (format, out)
        if format in ("table", "wide", "csv"):
            assert out.count("\n") == 2, out
    assert json.loads(run(fake, "leases", "-o", "json").stdout)[0]["name"] == evil


def test_numbers_are_the_same_everywhere(fake, tmp_path):
    """Where 12.5 is written 12,5 it would be two cells of a CSV file."""
    (tmp_path / "comma").write_text(
        'LC_CTYPE\ncopy "POSIX"\nEND LC_CTYPE\nLC_NUMERIC\ndecimal_point ","\n'
        'thousands_sep "."\ngrouping 3;3\nEND LC_NUMERIC\n')
    if not shutil.which("localedef") or subprocess.run(
            ["localedef", "-c", "--no-archive", "-i", tmp_path / "comma", "-f", "UTF-8",
             tmp_path / "comma.UTF-8"], capture_output=True, check=False).returncode > 1:
        pytest.skip("localedef cannot make a locale here (package locales)")
    fake.routes[("GET", "/v1/usage")] = {"usage": [
        {"tenant": "bob", "leases": 1, "compute_slot_hours": 0.5, "sm_mean_percent": 12.5}]}
    for format in ("table", "wide", "csv", "json", "yaml"):
        plain = run(fake, "usage", "-o", format).stdout
        assert "0.5" in plain and "12.5" in plain, plain
        assert run(fake, "usage", "-o", format, LC_ALL="", LC_NUMERIC="comma.UTF-8",
                   LOCPATH=str(tmp_path)).stdout == plain


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_text_of_any_language_is_shown(fake, locale):
    """A table must end also when the locale cannot show what is in it."""
    names = ["müller", "日本語", "\u200b\ue000\U0001f600", "e\u0301"]
    fake.routes[("GET", "/v1/leases")] = {"leases": [lease(name=n) for n in names]}
    out = run(fake, "leases", LC_ALL=locale).stdout
    assert out.count("\n") == 5
    if locale == "C.UTF-8":
        assert "日本語  GPU" in out


# --- refusals ------------------------------------------------------------------------------------

@pytest.mark.parametrize("status, reason, code", [
    (409, "does_not_fit", 3), (422, "can_never_fit", 3), (429, "queue_full", 3),
    (403, "forbidden", 4), (401, "unauthorized", 4), (403, "not_allowed_by_configuration", 4),
    (409, "in_use", 5), (409, "already_ended", 5), (422, "unknown_profile", 2),
    (404, "not_found", 1), (500, "driver_failed", 1), (503, "shutting_down", 6),
    (409, "something_new", 5), (418, "something_new", 1)])
def test_exit_codes(fake, status, reason, code):
    fake.routes[("POST", "/v1/leases")] = (status, {
        "status": status, "reason": reason, "detail": "No room for 2g.20gb.", "blocking": [
            {"gpu_index": 0, "profile": "4g.40gb", "placement": {"start": 0, "size": 4},
             "lease": "l-3", "tenant": "vision", "why": "leased until released"}]})
    done = run(fake, "lease", "-p", "2g.20gb")
    assert done.returncode == code
    assert ("No room for 2g.20gb.; in the way: 4g.40gb at 0:4 of GPU 0 (l-3 of vision, leased "
            "until released)") in one_line(done.stderr)
    assert ("--wait" in done.stderr) == (reason == "does_not_fit")


def test_release_of_several_gives_the_worst(fake):
    fake.routes[("DELETE", "/v1/leases/l-1")] = lease(state="released")
    fake.routes[("DELETE", "/v1/leases/l-2")] = (403, {
        "status": 403, "reason": "forbidden", "detail": "l-2 is not yours."})
    fake.routes[("DELETE", "/v1/leases/l-4")] = lease("l-4", state="releasing")
    done = run(fake, "release", "l-1", "l-2", "l-3", "l-4")
    assert done.returncode == 4
    assert done.stdout.startswith("l-1 is released\nl-4 is being released")
    assert done.stderr.count("\n") == 2


def test_ids_are_escaped_in_the_path(fake):
    run(fake, "release", "../tokens/t-1?x=y")
    run(fake, "leases", "..")
    assert [r["raw_path"] for r in fake.requests] == [
        "/v1/leases/..%2Ftokens%2Ft-1%3Fx%3Dy", "/v1/leases/%25"]
