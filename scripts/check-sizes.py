#!/usr/bin/python3
"""Checks the limits of the style guide: function length and complexity (pmccabe), file length,
columns (of tests, too).

The few exceptions are listed below with their reason; there may be at most ten.
"""
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
MAX_COMPLEXITY, MAX_LINES, MAX_FILE, MAX_COLUMNS = 15, 60, 800, 100
# "file:function" -> why it is better whole.
EXCEPTIONS = {}


def count_wide_lines():
    """Says which lines are too wide."""
    bad = 0
    for path in sorted([*ROOT.glob("src/**/*.[ch]"), *ROOT.glob("tests/**/*.[ch]")]):
        for number, line in enumerate(path.read_text().split("\n"), 1):
            if len(line) > MAX_COLUMNS:
                print(f"{path.relative_to(ROOT)}:{number}: {len(line)} columns, the limit is "
                      f"{MAX_COLUMNS}")
                bad += 1
    return bad


def main():
    bad = count_wide_lines()
    files = sorted(ROOT.glob("src/**/*.[ch]"))
    for path in files:
        lines = len(path.read_text().splitlines())
        if lines > MAX_FILE:
            print(f"{path.relative_to(ROOT)}: {lines} lines, the limit is {MAX_FILE}")
            bad += 1
    out = subprocess.run(["pmccabe", *map(str, files)], capture_output=True, text=True,
                         check=True).stdout
    for row in out.splitlines():
        complexity, _, _, _, length, where = row.split("\t")[:6]
        file, _, name = where.rpartition(": ")
        file = str(pathlib.Path(file.split("(")[0]).resolve().relative_to(ROOT))
        if f"{file}:{name}" in EXCEPTIONS:
            continue
        if int(complexity) > MAX_COMPLEXITY or int(length) > MAX_LINES:
            print(f"{file}: {name}(): complexity {complexity} (at most {MAX_COMPLEXITY}), "
                  f"{length} lines (at most {MAX_LINES})")
            bad += 1
    if len(EXCEPTIONS) > 10:
        print("more than ten exceptions")
        bad += 1
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
