#!/usr/bin/python3
"""Turns models.txt into C tables, refusing whatever does not fit together (file:line: why)."""
import re
import sys

KEYS = {
    "arch": ["chip", "cuda"],
    "memory": ["total", "reserved", "bar1"],
    "shape": ["slots", "sms", "devices"],
    "board": ["power", "power-min", "sm-clock", "memory-clock"],
    "inforom": ["vbios", "part", "image", "oem", "ecc", "subsystem"],
    "thermal": ["limit", "shutdown", "slowdown", "gpu", "memory"],
    "clocks": ["idle", "default", "video", "video-idle", "memory-low", "low-sm"],
    "dram": ["bits", "banks"],
    "nvlink": ["version", "links", "mbps", "switches"],
    "gi": ["enum", "id", "slices", "count", "sms", "memory", "ce", "dec", "enc", "jpeg", "ofa",
           "p2p", "caps", "at"],
    "ci": ["enum", "id", "slices", "count", "sms", "at"],
}
ARCHES = ["turing", "ampere", "ada", "hopper", "blackwell"]
# Lines that a model may leave out: nothing of that is known then.
OPTIONAL = ["inforom", "thermal", "clocks", "dram", "nvlink"]


class Bad(Exception):
    pass


def number(text):
    if text == "?":
        return None
    if not re.fullmatch(r"[0-9]+", text):
        raise Bad(f"'{text}' is neither a number nor '?'")
    return int(text)


def pairs(words, kind):
    found = {}
    for word in words:
        key, eq, value = word.partition("=")
        if not eq or key not in KEYS[kind] + (["order"] if kind == "gi" else []) or key in found:
            raise Bad(f"unexpected '{word}'")
        found[key] = value
    missing = [k for k in KEYS[kind] if k not in found]
    if missing:
        raise Bad(f"{kind} lacks {' '.join(missing)}")
    return found


def placements(text):
    if text == "?":
        return [], None
    got = re.fullmatch(r"([0-9]+(?:,[0-9]+)*):([0-9]+)", text)
    if not got:
        raise Bad(f"placements are written START,START:SIZE, not '{text}'")
    starts = [int(s) for s in got[1].split(",")]
    if len(set(starts)) != len(starts) or not 0 < len(starts) <= 16 or int(got[2]) < 1:
        raise Bad(f"placements '{text}'")
    return starts, int(got[2])


def instance(name, values):
    starts, size = placements(values["at"])
    row = {k: number(v) for k, v in values.items() if k not in ("at", "order")}
    row.update(name=name, starts=starts, size=size)
    row["order"] = ([int(s) for s in values["order"].split(",")] if "order" in values
                    else sorted(starts))
    if sorted(row["order"]) != sorted(starts):
        raise Bad(f"order of {name} does not name its placements")
    if row["enum"] is None or row["slices"] is None:
        raise Bad(f"{name} needs enum and slices")
    row["known"] = all(v is not None for v in row.values())
    return row


def model_line(model, kind, rest):
    words = rest.split()
    if kind == "name":
        model["name"] = rest
    elif kind == "pci":
        model["pci"] = None if rest == "?" else int(rest, 16)
    elif kind == "arch":
        values = pairs(words[1:], "arch")
        if words[0] not in ARCHES:
            raise Bad(f"arch '{words[0]}'")
        cuda = None if values["cuda"] == "?" else tuple(map(int, values["cuda"].split(".")))
        chip = None if values["chip"] == "?" else int(values["chip"], 16)
        model.update(arch=words[0], cuda=cuda, chip=chip)
    elif kind == "inforom":
        values = pairs(words, kind)
        for key, value in values.items():
            if not re.fullmatch(r"[0-9A-Za-z.-]+|\?", value):
                raise Bad(f"{key} '{value}'")
        model[kind] = {k: "" if v == "?" else v for k, v in values.items()}
        subsystem = model[kind]["subsystem"]
        model[kind]["subsystem"] = int(subsystem, 16) if subsystem else None
    elif kind in ("memory", "shape", "board", "thermal", "clocks", "dram", "nvlink"):
        model[kind] = {k: number(v) for k, v in pairs(words, kind).items()}
    elif kind == "confidence":
        model["confidence"] = rest
    elif kind == "note":
        pass
    elif kind == "gi":
        gi = instance(words[0], pairs(words[1:], "gi"))
        gi["cis"] = []
        model["gis"].append(gi)
    elif kind == "ci":
        if not model["gis"]:
            raise Bad("a ci needs a gi before it")
        model["gis"][-1]["cis"].append(instance(words[0], pairs(words[1:], "ci")))
    else:
        raise Bad(f"unknown word '{kind}'")


def check(model):
    """Is the model complete, and why can it not be simulated if it cannot?"""
    for key in ("name", "pci", "arch", "memory", "shape", "board", "confidence"):
        if key not in model:
            raise Bad(f"model {model['key']} has no {key} line")
    for kind in OPTIONAL:
        text = {k: "" for k in KEYS[kind]} if kind == "inforom" else {}
        model.setdefault(kind, {k: text.get(k) for k in KEYS[kind]})
    if model["inforom"]["subsystem"] == "":
        model["inforom"]["subsystem"] = None
    for field in ("enum", "id"):
        seen = [g[field] for g in model["gis"] if g["known"]]
        if len(seen) != len(set(seen)):
            raise Bad(f"model {model['key']}: the same {field} twice")
    slots = model["shape"]["slots"]
    for gi in model["gis"]:
        if gi["known"] and slots and any(s + gi["size"] > slots for s in gi["starts"]):
            raise Bad(f"model {model['key']}: {gi['name']} lies outside the {slots} slots")
        for ci in gi["cis"]:
            if any(s + ci["size"] > gi["slices"] for s in ci["starts"]):
                raise Bad(f"model {model['key']}: {ci['name']} lies outside {gi['name']}")
    whole = [g for g in model["gis"] if g["known"] and g["size"] == slots]
    has_mig = slots != 0 or model["gis"]
    lacks = [what for what, ok in (
        ("memory size", model["memory"]["total"]), ("memory slots", slots or not has_mig),
        ("SM count", model["shape"]["sms"]), ("chip", model["chip"]), ("PCI id", model["pci"]),
        ("profile of the whole GPU", whole or not has_mig)) if not ok]
    model["lacks"] = ", ".join(lacks)
    model["gis"] = [g for g in model["gis"] if g["known"] and any(c["known"] for c in g["cis"])]
    for gi in model["gis"]:
        gi["cis"] = [c for c in gi["cis"] if c["known"]]


def parse(path):
    models = []
    with open(path, encoding="utf-8") as file:
        for number_, line in enumerate(file, 1):
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            kind, _, rest = line.partition(" ")
            try:
                if kind == "model":
                    if models:
                        check(models[-1])
                    if not re.fullmatch(r"[A-Za-z0-9-]{1,31}", rest):
                        raise Bad(f"model key '{rest}'")
                    models.append({"key": rest, "gis": []})
                elif not models:
                    raise Bad("the first line must name a model")
                else:
                    model_line(models[-1], kind, rest.strip())
            except Bad as bad:
                sys.exit(f"{path}:{number_}: {bad}")
    try:
        check(models[-1])
    except Bad as bad:
        sys.exit(f"{path}: {bad}")
    return models


def num(value):
    return "SIM_UNKNOWN" if value is None else str(value)


def arr(values):
    return "{" + ", ".join(map(str, values)) + "}"


def emit_board(m):
    rom = m["inforom"]
    text = ", ".join(f'"{rom[k]}"' for k in KEYS["inforom"] if k != "subsystem")
    numbers = [rom["subsystem"], *(m[kind][k] for kind in ("thermal", "clocks", "dram", "nvlink")
                                   for k in KEYS[kind])]
    return f"{{{text}, {', '.join(map(num, numbers))}}}"


def emit_ci(ci):
    return (f'        {{"{ci["name"]}", {ci["enum"]}, {ci["id"]}, {ci["slices"]}, {ci["count"]}, '
            f'{ci["sms"]}, {ci["size"]}, {len(ci["starts"])}, {arr(ci["starts"])}}},')


def emit_gi(gi):
    words = ["enum", "id", "slices", "count", "sms", "memory", "ce", "dec", "enc", "jpeg", "ofa",
             "p2p", "caps", "size"]
    head = ", ".join(str(gi[w]) for w in words)
    lines = [f'     {{"{gi["name"]}", {head}, {len(gi["starts"])}, {arr(gi["starts"])}, '
             f'{arr(gi["order"])}, {len(gi["cis"])}, {{']
    lines += [emit_ci(ci) for ci in gi["cis"]]
    return lines + ["     }},"]


def emit(models, out):
    out.write("/* Generated from models.txt by gen-models.py. */\n#include \"sim/model.h\"\n\n")
    out.write("const struct sim_model sim_models[] = {\n")
    for m in models:
        cuda = m["cuda"] or (None, None)
        out.write(f'  {{"{m["key"]}", "{m["name"]}", "{m["confidence"]}", "{m["lacks"]}", '
                  f'SIM_ARCH_{m["arch"].upper()}, {num(m["pci"])}, {num(m["chip"])}, '
                  f'{num(cuda[0])}, {num(cuda[1])},\n')
        out.write("   " + ", ".join(num(v) for group in ("memory", "shape", "board")
                                    for v in (m[group][k] for k in KEYS[group])))
        out.write(f',\n   {emit_board(m)}, {len(m["gis"])}, {{\n')
        for gi in m["gis"]:
            out.write("\n".join(emit_gi(gi)) + "\n")
        out.write("   }},\n")
    out.write("};\nconst unsigned int sim_model_count = sizeof(sim_models) / "
              "sizeof(sim_models[0]);\n")


def main():
    with open(sys.argv[2], "w", encoding="utf-8") as out:
        emit(parse(sys.argv[1]), out)


if __name__ == "__main__":
    main()
