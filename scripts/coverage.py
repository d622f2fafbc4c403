#!/usr/bin/python3
"""Prints the share of lines that the last test run executed, by room: coverage.py BUILD.

Reads gcov's counts by gcovr; the figures by file stand in BUILD/coverage.json.
"""
import collections
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def main():
    build = (ROOT / sys.argv[1]).resolve()
    summary = build / "coverage.json"
    subprocess.run(["gcovr", "-j", "2", "--root", str(ROOT), "--filter", "src/",
                    "--exclude-unreachable-branches", "--gcov-ignore-parse-errors",
                    "--json-summary", str(summary), str(build)],
                   cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    rooms = collections.defaultdict(lambda: [0, 0])
    for file in json.loads(summary.read_text())["files"]:
        parts = pathlib.Path(file["filename"]).parts
        for key in (parts[1], "all"):
            rooms[key][0] += file["line_covered"]
            rooms[key][1] += file["line_total"]
    print("coverage   lines  executed")
    for room, (covered, total) in sorted(rooms.items(), key=lambda item: (item[0] == "all", item)):
        print(f"{room:10} {total:5}  {100 * covered / max(total, 1):5.1f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
