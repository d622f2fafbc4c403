#!/usr/bin/python3
"""Runs every test: the cmocka programs that Meson built, then pytest on the real binaries.

Prints what failed and, as the last line, `N passed, N failed, N skipped`.
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET

ROOT = pathlib.Path(__file__).resolve().parent.parent


def count_junit(path):
    """(passed, failed, skipped) of a JUnit XML file."""
    passed = failed = skipped = 0
    for case in ET.parse(path).iter("testcase"):
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            failed += 1
        elif "skipped" in kinds:
            skipped += 1
        else:
            passed += 1
    return passed, failed, skipped


def run_cmocka(program, timeout_s):
    """One cmocka program in TAP; its output is shown only when something fails."""
    env = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP")
    try:
        done = subprocess.run([program], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=timeout_s, check=False)
        out, code = done.stdout.decode(errors="replace"), done.returncode
    except subprocess.TimeoutExpired as late:
        out, code = (late.stdout or b"").decode(errors="replace") + "\ntimed out", 1
    skipped = len(re.findall(r"^ok .*# SKIP", out, re.M))
    passed = len(re.findall(r"^ok ", out, re.M)) - skipped
    failed = len(re.findall(r"^not ok ", out, re.M))
    if code != 0 and failed == 0:
        failed = 1
    if passed + failed + skipped == 0:
        failed = 1
        out += "\nno test in the output"
    if failed:
        print(f"--- {program.name} (exit {code})\n{out}", flush=True)
    return passed, failed, skipped


def run_pytest(build, paths, extra):
    with tempfile.TemporaryDirectory() as tmp:
        xml = pathlib.Path(tmp, "pytest.xml")
        env = dict(os.environ, TANGRAM_BUILD=str(build))
        subprocess.run(["/usr/bin/python3", "-m", "pytest", "-q", "--no-header", "-p",
                        "no:cacheprovider", f"--junitxml={xml}", *extra, *map(str, paths)],
                       cwd=ROOT, env=env, check=False)
        return count_junit(xml) if xml.exists() else (0, 1, 0)


def main():
    arg = argparse.ArgumentParser()
    arg.add_argument("--build", default="build")
    arg.add_argument("--only", choices=["unit", "system"], help="one half of the suite")
    arg.add_argument("--timeout", type=int, default=600, help="seconds for one test program")
    arg.add_argument("rest", nargs="*", help="given on to pytest")
    opt = arg.parse_args()
    build = (ROOT / opt.build).resolve()
    total = [0, 0, 0]

    def add(result):
        for i, n in enumerate(result):
            total[i] += n

    if opt.only != "system":
        programs = [p for d in ("unit", "property", "fuzz")
                    for p in sorted((build / "tests" / d).glob("test_*"))
                    if p.is_file() and os.access(p, os.X_OK)]
        if not programs:
            add((0, 1, 0))
            print("no unit test was built", flush=True)
        for program in programs:
            add(run_cmocka(program, opt.timeout))
        print(f"unit and property: {total[0]} passed, {total[1]} failed", flush=True)
    if opt.only != "unit":
        paths = [p for d in ("system", "clients") if (p := ROOT / "tests" / d).is_dir()
                 and any(p.glob("test_*.py"))]
        if paths:
            add(run_pytest(build, paths, opt.rest))
    print(f"{total[0]} passed, {total[1]} failed, {total[2]} skipped", flush=True)
    return 1 if total[1] or not total[0] else 0


if __name__ == "__main__":
    sys.exit(main())
