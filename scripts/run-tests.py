#!/usr/bin/python3
"""Runs every test: the cmocka programs that Meson built, and pytest on the real binaries.

Each cmocka program and each pytest file is one job of its own; as many run at once as there are
processors.  Prints what failed, what was skipped and why, the slowest, and as the last line
`N passed, N failed, N skipped`.  A job that says nothing at all, dies or takes too long counts as
failed.
"""
import argparse
import collections
import concurrent.futures
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET

ROOT = pathlib.Path(__file__).resolve().parent.parent
PYTEST_NO_TESTS = 5
Result = collections.namedtuple("Result", "name passed failed skipped seconds output cases")
Case = collections.namedtuple("Case", "name kind message seconds")  # kind: passed failed skipped


def run_limited(command, env, timeout_s):
    """(exit code, output, seconds); everything that it started ends when the time is over."""
    start = time.monotonic()
    with subprocess.Popen(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          start_new_session=True) as child:
        try:
            out, _ = child.communicate(timeout=timeout_s)
            code = child.returncode
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            out, _ = child.communicate()
            out += f"\ntimed out after {timeout_s} s\n".encode()
            code = 1
    return code, out.decode(errors="replace"), time.monotonic() - start


def make_result(name, code, output, seconds, cases):
    count = collections.Counter(case.kind for case in cases)
    if code != 0 and not count["failed"]:
        cases.append(Case(f"exit status {code}", "failed", output[-2000:], 0.0))
    elif not cases:
        cases.append(Case("no test in the output", "failed", output[-2000:], 0.0))
    count = collections.Counter(case.kind for case in cases)
    return Result(name, count["passed"], count["failed"], count["skipped"], seconds, output, cases)


def run_cmocka(program, opt):
    """One cmocka program, read as TAP."""
    env = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP")
    code, out, seconds = run_limited([str(program)], env, opt.timeout)
    cases = []
    for is_bad, text in re.findall(r"^(not )?ok \d+ ?-? ?(.*)$", out, re.M):
        skip = re.search(r"# SKIP ?(.*)", text)
        kind = "failed" if is_bad else "skipped" if skip else "passed"
        cases.append(Case(text, kind, skip.group(1) if skip else "", 0.0))
    return make_result(f"{program.parent.name}/{program.name}", code, out, seconds, cases)


def read_junit(path):
    cases = []
    for case in ET.parse(path).iter("testcase"):
        kind, message = "passed", ""
        for child in case:
            if child.tag in ("failure", "error"):
                kind, message = "failed", child.get("message", "")
            elif child.tag == "skipped" and kind == "passed":
                kind, message = "skipped", child.get("message", "")
        cases.append(Case(case.get("name", "?"), kind, message, float(case.get("time", 0))))
    return cases


def run_pytest(path, opt):
    """One pytest file; None if the arguments for pytest left nothing of it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as tmp:
        xml = pathlib.Path(tmp, "pytest.xml")
        env = dict(os.environ, TANGRAM_BUILD=str(opt.build), PYTHONDONTWRITEBYTECODE="1")
        code, out, seconds = run_limited(
            ["/usr/bin/python3", "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider",
             f"--basetemp={tmp}/tests", f"--junitxml={xml}", *opt.rest, str(path)],
            env, opt.timeout)
        if code == PYTEST_NO_TESTS and opt.rest:
            return None
        try:
            cases = read_junit(xml)
        except (OSError, ET.ParseError):
            cases = []
    return make_result(f"{path.parent.name}/{path.name}", code, out, seconds, cases)


def write_junit(path, results):
    suites = ET.Element("testsuites")
    for result in results:
        suite = ET.SubElement(suites, "testsuite", name=result.name, time=f"{result.seconds:.3f}",
                              tests=str(len(result.cases)), failures=str(result.failed),
                              skipped=str(result.skipped))
        for case in result.cases:
            row = ET.SubElement(suite, "testcase", name=case.name, classname=result.name,
                                time=f"{case.seconds:.3f}")
            if case.kind != "passed":
                text = re.sub(r"[^\t\n -\ud7ff\ue000-\ufffd]", "?", case.message)
                ET.SubElement(row, "failure" if case.kind == "failed" else "skipped", message=text)
    ET.ElementTree(suites).write(path, encoding="utf-8", xml_declaration=True)


def find_jobs(opt):
    """(function, path) of each job, the long ones (pytest, property) first."""
    jobs = []
    if opt.only != "unit":
        dirs = ["system"] + ([] if opt.no_clients else ["clients"])
        jobs += [(run_pytest, p) for d in dirs for p in sorted((ROOT / "tests" / d).glob("test_*.py"))]
    if opt.only != "system":
        programs = [p for d in ("property", "fuzz", "unit")
                    for p in sorted((opt.build / "tests" / d).glob("test_*"))
                    if p.is_file() and os.access(p, os.X_OK)]
        if not programs:
            raise SystemExit("no unit test was built (is libcmocka-dev installed?)\n"
                             "0 passed, 1 failed, 0 skipped")
        jobs += [(run_cmocka, p) for p in programs]
    if opt.match:
        jobs = [(run, p) for run, p in jobs if re.search(opt.match, f"{p.parent.name}/{p.name}")]
    return jobs


def report(results):
    slowest = sorted(((r.seconds, r.name) for r in results), reverse=True)[:10]
    print("slowest: " + ", ".join(f"{name} {seconds:.1f} s" for seconds, name in slowest))
    skipped = collections.Counter((r.name, c.message) for r in results for c in r.cases
                                  if c.kind == "skipped")
    for (name, why), count in sorted(skipped.items()):
        print(f"skipped: {name} ({count}): {why}")
    for result in results:
        for case in result.cases:
            if case.kind == "failed":
                print(f"failed: {result.name}: {case.name}")


def main():
    arg = argparse.ArgumentParser(description=__doc__)
    arg.add_argument("--build", default="build", help="build directory (default: build)")
    arg.add_argument("--only", choices=["unit", "system"], help="one half of the suite")
    arg.add_argument("--match", help="only jobs whose name (unit/test_text) has this expression")
    arg.add_argument("--no-clients", action="store_true", help="without tests/clients")
    arg.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at once")
    arg.add_argument("--timeout", type=int, default=600, help="seconds for one job")
    arg.add_argument("--junit", help="write the results to this file as well")
    arg.add_argument("rest", nargs="*", help="after --: given on to pytest")
    opt = arg.parse_args()
    opt.build = (ROOT / opt.build).resolve()
    # A shell that put us into the background has them ignored, which tests of signals would inherit.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    results = []
    with concurrent.futures.ThreadPoolExecutor(opt.jobs) as pool:
        for done in concurrent.futures.as_completed(
                [pool.submit(run, path, opt) for run, path in find_jobs(opt)]):
            result = done.result()
            if result is None:
                continue
            results.append(result)
            if result.failed:
                print(f"--- {result.name}\n{result.output}", flush=True)
            print(f"{'FAIL' if result.failed else 'ok':4} {result.name}: {result.passed} passed, "
                  f"{result.failed} failed, {result.skipped} skipped, {result.seconds:.1f} s",
                  flush=True)
    report(results)
    if opt.junit:
        write_junit(opt.junit, results)
    passed, failed, skipped = (sum(getattr(r, k) for r in results)
                               for k in ("passed", "failed", "skipped"))
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
