#!/usr/bin/python3
"""Checks what the compiler does not know: calls that the style guide forbids, descriptors that a
child would inherit, work that was put off."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Call -> what to use.
FORBIDDEN = {
    "atoi": "text_parse_int()", "atol": "text_parse_int()", "atoll": "text_parse_int()",
    "atof": "strtod()", "strcpy": "text_copy()", "stpcpy": "text_copy()", "strcat": "struct buf",
    "strncpy": "text_copy()", "strncat": "struct buf", "sprintf": "snprintf()",
    "vsprintf": "vsnprintf()", "strtok": "strcspn() or strsep()", "gets": "getline()",
    "localtime": "text_format_time_ms()", "gmtime": "gmtime_r()", "ctime": "text_format_time_ms()",
    "asctime": "text_format_time_ms()", "mktemp": "mkostemp()", "tmpnam": "mkostemp()",
    "alloca": "struct buf", "system": "posix_spawn()", "popen": "posix_spawn()",
    "rand": "a generator with a seed", "srand": "a generator with a seed",
    "malloc": "xcalloc()", "calloc": "xcalloc()", "realloc": "xreallocarray()",
    "strdup": "xstrdup()", "asprintf": "xasprintf()",
}
# Where the wrapper itself stands.
ALLOWED = {("src/base/cleanup.c", "calloc"), ("src/base/cleanup.c", "strdup"),
           ("src/base/cleanup.c", "malloc"), ("src/base/cleanup.c", "realloc")}
# Call -> what must stand among its arguments (None: another call does it).
CLOEXEC = {
    "open": "O_CLOEXEC", "openat": "O_CLOEXEC", "socket": "SOCK_CLOEXEC",
    "accept4": "SOCK_CLOEXEC", "socketpair": "SOCK_CLOEXEC", "pipe": None, "pipe2": "O_CLOEXEC",
    "eventfd": "EFD_CLOEXEC", "epoll_create": None, "epoll_create1": "EPOLL_CLOEXEC",
    "timerfd_create": "TFD_CLOEXEC", "signalfd": "SFD_CLOEXEC", "inotify_init": None,
    "inotify_init1": "IN_CLOEXEC", "memfd_create": "MFD_CLOEXEC", "dup": None, "mkstemp": None,
    "mkostemp": "O_CLOEXEC", "fopen": r'"[rwa]b?\+?b?e',
}
PUT_OFF = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
CALL = re.compile(r"(?<![\w.>\"])(\w+)\(")


def arguments(text, at):
    """The text between the parenthesis at `at` and its partner."""
    depth = 0
    for i in range(at, len(text)):
        depth += (text[i] == "(") - (text[i] == ")")
        if not depth:
            return text[at + 1:i]
    return text[at + 1:]


def check_c(path, text):
    name = str(path.relative_to(ROOT))
    code = COMMENT.sub(lambda m: re.sub(r"[^\n]", " ", m.group(0)), text)
    for found in CALL.finditer(code):
        call, line = found.group(1), code.count("\n", 0, found.start()) + 1
        if call in FORBIDDEN and (name, call) not in ALLOWED:
            yield f"{name}:{line}: {call}(): use {FORBIDDEN[call]}"
        if call == "accept" and "<sys/socket.h>" in text:
            yield f"{name}:{line}: accept() makes a descriptor that a child inherits: use accept4()"
        if call in CLOEXEC:
            given, wanted = arguments(code, found.end() - 1), CLOEXEC[call]
            if wanted is None:
                yield f"{name}:{line}: {call}() makes a descriptor that a child inherits"
            elif not re.search(wanted, given):
                yield f"{name}:{line}: {call}() without {wanted}"
    for found in re.finditer(r"\btypedef\s+(struct|union|enum)\b[^;(]*;", code):
        yield f"{name}:{code.count(chr(10), 0, found.start()) + 1}: no typedef for a {found.group(1)}"
    if path.suffix == ".h" and "#pragma once" not in text:
        yield f"{name}: no #pragma once"


def main():
    bad = []
    for path in sorted((ROOT / "src").rglob("*.[ch]")):
        bad += check_c(path, path.read_text())
    for folder in ("src", "tests", "scripts", "docs", "man", "packaging", ".ci", "web"):
        for path in sorted((ROOT / folder).rglob("*")):
            if not path.is_file() or "corpus" in path.parts or path.name == "check-words.py":
                continue
            try:
                text = path.read_text()
            except UnicodeDecodeError:
                continue
            bad += [f"{path.relative_to(ROOT)}:{n}: work put off: {line.strip()[:60]}"
                    for n, line in enumerate(text.splitlines(), 1) if PUT_OFF.search(line)]
    for line in bad:
        print(line)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
