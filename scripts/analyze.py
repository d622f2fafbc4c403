#!/usr/bin/python3
"""Reads every source file of src/ with one tool: analyze.py [--build DIR] gcc|clang-tidy [FILE...]

gcc is -fanalyzer, clang-tidy what .clang-tidy names.  Both take the flags from
DIR/compile_commands.json.  Prints the findings only.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# malloc-leak: gcc 12 takes whatever goes into a queue or a hash table of uthash for lost; the leak
# sanitizer watches that in the tests.
GCC = ["gcc", "-fanalyzer", "-Wno-analyzer-malloc-leak", "-Wno-analyzer-too-complex", "-Werror"]


def read_flags(build):
    """{source file: (flags without compiler, input and output, directory)}"""
    found = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        path = (pathlib.Path(entry["directory"]) / entry["file"]).resolve()
        if (ROOT / "src") not in path.parents or path in found:
            continue
        words = shlex.split(entry["command"])[1:]
        flags = []
        while words:
            word = words.pop(0)
            if word in ("-o", "-MF", "-MQ"):
                words.pop(0)
            elif word not in ("-c", "-MD", "-fdiagnostics-color=always", entry["file"]):
                flags.append(word)
        found[path] = (flags, entry["directory"])
    return found


def run(tool, build, path, flags, directory):
    if tool == "clang-tidy":
        command = ["clang-tidy", "--quiet", "-p", str(build), str(path)]
    else:
        command = GCC + flags + ["-c", str(path), "-o", os.devnull]
    done = subprocess.run(command, cwd=directory, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout


def main():
    arg = argparse.ArgumentParser(description=__doc__)
    arg.add_argument("--build", default="build")
    arg.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    arg.add_argument("tool", choices=["gcc", "clang-tidy"])
    arg.add_argument("file", nargs="*", help="only these")
    opt = arg.parse_args()
    build = (ROOT / opt.build).resolve()
    only = {pathlib.Path(f).resolve() for f in opt.file}
    files = {p: f for p, f in read_flags(build).items() if not only or p in only}
    seen = set()
    with concurrent.futures.ThreadPoolExecutor(opt.jobs) as pool:
        for out in pool.map(lambda item: run(opt.tool, build, item[0], *item[1]), files.items()):
            # The same header is read with many files.
            head = re.search(r"^[^\n]*(?:error|warning):[^\n]*", out, re.M)
            if out and (head.group(0) if head else out) not in seen:
                seen.add(head.group(0) if head else out)
                print(out.strip(), flush=True)
    if not files:
        print("no source file found")
    return 1 if seen or not files else 0


if __name__ == "__main__":
    sys.exit(main())
