#!/usr/bin/python3
"""Makes the table of calls that fuzz_sim.c draws from: every prototype of src/sim/nvml.h with one
letter per argument, and every other exported name as if it took a device."""
import re
import sys

LETTERS = [  # first match wins: (type and name, letter)
    (r"struct nvml_device \*\*", "p"), (r"struct nvml_device \*", "d"),
    (r"struct nvml_gpu_instance \*\*", "p"), (r"struct nvml_gpu_instance \*", "g"),
    (r"struct nvml_compute_instance \*\*", "p"), (r"struct nvml_compute_instance \*", "c"),
    (r"struct nvml_event_set \*\*", "p"), (r"struct nvml_event_set \*", "e"),
    (r"struct nvml_gpm_sample \*\*", "p"), (r"struct nvml_gpm_sample \*", "s"),
    (r"struct nvml_gpm_metrics \*", "m"), (r"struct nvml_process_detail_list \*", "L"),
    (r"struct nvml_process_usage_list \*", "U"),
    (r"const char \*", "t"), (r"unsigned int \*count", "n"), (r"unsigned int timeout_ms", "z"),
    (r"(?:unsigned int|int) (?:length|size|count)$", "l"), (r"\*", "p"),
    (r"unsigned long long", "u"), (r"unsigned int|int|enum", "u"),
]


def letter(argument):
    for pattern, found in LETTERS:
        if re.search(pattern, argument):
            return found
    sys.exit(f"no letter for '{argument}'")


def main():
    header, exports, target = sys.argv[1:4]
    text = open(header, encoding="utf-8").read()
    calls = {}
    for name, arguments in re.findall(r"enum nvml_return\s+(nvml\w+)\(([^)]*)\);", text):
        arguments = re.sub(r"\s+", " ", arguments)
        calls[name] = "" if arguments == "void" else "".join(
            letter(a.strip()) for a in arguments.split(","))
    skip = {"nvmlInit", "nvmlInit_v2", "nvmlInitWithFlags", "nvmlShutdown", "nvmlErrorString"}
    with open(target, "w", encoding="utf-8") as out:
        for name in open(exports, encoding="utf-8").read().split():
            if name not in skip:
                out.write(f'CALL({name}, "{calls.get(name, "d")}")\n')


if __name__ == "__main__":
    main()
