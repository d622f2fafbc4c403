#!/usr/bin/python3
"""Checks that a room includes only itself and the rooms it may know (docs/architecture.md)."""
import pathlib
import re
import sys

SRC = pathlib.Path(__file__).resolve().parent.parent / "src"
ORDER = ["base", "mig", "plan", "pool", "driver", "store", "meter", "http", "api", "daemon"]
ALLOWED = {room: set(ORDER[: i + 1]) for i, room in enumerate(ORDER)}
# The rooms beside each other in the table know less than their place alone would allow.
ALLOWED["driver"] = {"base", "mig", "driver"}
ALLOWED["store"] = {"base", "store"}
ALLOWED["meter"] = {"base", "mig", "meter"}
ALLOWED["http"] = {"base", "http"}
ALLOWED["api"] -= {"driver", "store"}
ALLOWED["cli"] = {"base", "cli"}
ALLOWED["sim"] = {"base", "sim"}
ALLOWED["replay"] = {"base", "mig", "plan", "pool", "replay"}


def main():
    bad = 0
    for path in sorted(SRC.rglob("*.[ch]")):
        room = path.relative_to(SRC).parts[0]
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if not found:
                continue
            target = found.group(1)
            other = target.split("/")[0]
            if "/" not in target or other not in ALLOWED:
                if (path.parent / target).exists() and "/" not in target:
                    print(f"{path}:{number}: write \"{room}/{target}\"")
                    bad += 1
                continue
            if other not in ALLOWED[room]:
                print(f"{path}:{number}: room {room} must not include {target}")
                bad += 1
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
