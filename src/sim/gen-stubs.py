#!/usr/bin/python3
"""Makes a weak "not supported" function for every exported name of the real library.

Whatever the simulator implements is a strong symbol of the same name and wins at link time.
"""
import sys


def main():
    names = open(sys.argv[1], encoding="utf-8").read().split()
    with open(sys.argv[2], "w", encoding="utf-8") as out:
        out.write("/* Generated from exports.txt by gen-stubs.py. */\n#include \"sim/call.h\"\n\n")
        for name in names:
            out.write(f"__attribute__((weak, visibility(\"default\"))) enum nvml_return {name}"
                      f"(struct nvml_device *d);\n"
                      f"enum nvml_return {name}(struct nvml_device *d)\n"
                      f"{{\n    return call_stub(\"{name}\", d);\n}}\n")


if __name__ == "__main__":
    main()
