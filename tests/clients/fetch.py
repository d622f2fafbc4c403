"""Fetches the real NVML clients, each with its ordinary package manager, into a cache folder.

Nothing is installed and nothing is vendored: Debian packages are downloaded with a sources list of
our own (apt's own lists stay as they are) and unpacked, the Python module goes to a folder of its
own, Go programs to a GOBIN of their own, and small programs of ours over other people's bindings
are built there.  What cannot be had is skipped by the tests, with the
reason.  The cache is $TANGRAM_CLIENT_CACHE or ~/.cache/tangram-clients; delete it to fetch anew.
"""
import contextlib
import fcntl
import functools
import hashlib
import os
import pathlib
import re
import shutil
import subprocess

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
SUITES = ("bookworm", "trixie")
FETCH_TIMEOUT_S = 300


class Unavailable(Exception):
    """A client that cannot be had here; the message says why."""


def cache():
    base = os.environ.get("TANGRAM_CLIENT_CACHE") or pathlib.Path(
        os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache", "tangram-clients")
    path = pathlib.Path(base).absolute()
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def locked():
    """One fetch at a time, also between test runs that share the cache."""
    with open(cache() / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run(command, what, env=None, cwd=None, timeout_s=FETCH_TIMEOUT_S):
    try:
        done = subprocess.run(list(map(str, command)), env=env, cwd=cwd, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                              stdin=subprocess.DEVNULL, timeout=timeout_s)
    except FileNotFoundError:
        raise Unavailable(f"{what}: there is no {command[0]} here") from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{what}: no answer within {timeout_s} s") from None
    if done.returncode != 0:
        lines = done.stdout.strip().splitlines()
        raise Unavailable(f"{what}: {lines[-1].strip() if lines else 'failed'}")
    return done.stdout


def once(function):
    """Like functools.cache, also for Unavailable: what failed is not tried again in this run."""
    answers = {}

    @functools.wraps(function)
    def wrapper(*args):
        if args not in answers:
            try:
                answers[args] = function(*args)
            except Unavailable as why:
                answers[args] = why
        if isinstance(answers[args], Unavailable):
            raise answers[args]
        return answers[args]
    return wrapper


def fetched(name, fetch, is_enough=lambda folder: True):
    """The folder cache()/name, made by fetch(folder) unless it is there already, whole."""
    target = cache() / name
    with locked():
        if not target.is_dir() or not is_enough(target):
            part = target.with_name(target.name + ".part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            try:
                fetch(part)
                shutil.rmtree(target, ignore_errors=True)
                part.rename(target)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    return target


# -- Debian packages of another suite or component

def mirror():
    """Where this machine gets Debian from, according to its own sources."""
    texts = []
    for path in [pathlib.Path("/etc/apt/sources.list"),
                 *sorted(pathlib.Path("/etc/apt/sources.list.d").glob("*"))]:
        with contextlib.suppress(OSError):
            texts += [line for line in path.read_text().splitlines()
                      if not line.lstrip().startswith("#")]
    for url in re.findall(r"\bhttps?://[^\s\]]+", "\n".join(texts)):
        if re.search(r"/debian/?$", url):
            return url
    raise Unavailable("this machine's sources name no Debian mirror")


def apt_options(folder):
    sources = folder / "debian.sources"
    for sub in ("lists/partial", "cache/archives/partial"):
        (folder / sub).mkdir(parents=True, exist_ok=True)
    arch = run(["dpkg", "--print-architecture"], "Debian packages").strip()
    sources.write_text(f"Types: deb\nURIs: {mirror()}\nSuites: {' '.join(SUITES)}\n"
                       "Components: main contrib non-free\n"
                       f"Architectures: {arch}\nSigned-By: {KEYRING}\n")
    return ["-o", f"Dir::Etc::sourcelist={sources}", "-o", "Dir::Etc::sourceparts=/dev/null",
            "-o", f"Dir::State::lists={folder}/lists", "-o", f"Dir::Cache={folder}/cache",
            "-o", "Acquire::Languages=none", "-o", "Acquire::Retries=2",
            "-o", "APT::Update::Error-Mode=any",
            "-o", "Acquire::http::Timeout=30", "-o", "APT::Sandbox::User=root",
            "-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
            "-o", "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false"]


@once
def apt_update():
    folder = cache() / "apt"
    folder.mkdir(exist_ok=True)
    options = apt_options(folder)
    run(["apt-get", *options, "update"], "Debian's package lists")
    return options


@once
def debian(suite, *packages):
    """One folder with the packages of that suite unpacked over each other."""
    def fetch(folder):
        options = apt_update()
        with_suite = [f"{p}/{suite}" for p in packages]
        debs = folder / "debs"
        debs.mkdir()
        run(["apt-get", *options, "download", *with_suite], f"{packages[0]} of Debian {suite}",
            cwd=debs)
        names = sorted(deb.name for deb in debs.glob("*.deb"))
        for name in names:
            run(["dpkg", "-x", debs / name, folder], name)
        (folder / "versions").write_text("".join(f"{name}\n" for name in names))
        shutil.rmtree(debs)

    def has_all(folder):  # the list may have grown since it was fetched
        got = {name.split("_")[0] for name in (folder / "versions").read_text().splitlines()}
        return got >= set(packages)
    return fetched(f"debian/{suite}-{packages[0]}", fetch, has_all)


def glibc_version(text):
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


GLIBC = {"bookworm": (2, 36), "trixie": (2, 41)}


def has_newer_libc(suite):
    """Must its programs bring their own C library?  Where not, they must not: what lies in one folder
    with an older one is left out."""
    return GLIBC[suite] > glibc_version(os.confstr("CS_GNU_LIBC_VERSION"))


def loader(root):
    """(ld.so or None, library folders) for a program that was unpacked with its libraries.

    Its own C library is taken only when it is newer than ours: the simulated driver was built
    against ours."""
    own = sorted(root.rglob("ld-linux*.so*"))
    folders = sorted({str(f.parent) for f in root.rglob("lib*.so*")
                      if f.parent.name.endswith("-linux-gnu")})
    theirs = [line for line in (root / "versions").read_text().splitlines()
              if line.startswith("libc6_")]
    if own and theirs and glibc_version(theirs[0][len("libc6_"):]) > glibc_version(
            os.confstr("CS_GNU_LIBC_VERSION")):
        return own[0], folders
    return None, [f for f in folders if not pathlib.Path(f, "libc.so.6").exists()]


# -- PyPI, Go and Rust

@once
def pypi(package):
    """A folder for PYTHONPATH with the newest version and what it needs."""
    pip = shutil.which("pip3") or shutil.which("pip")

    def fetch(folder):
        if not pip:
            raise Unavailable(f"{package}: there is no pip here")
        run([pip, "install", "--quiet", "--disable-pip-version-check",
             "--target", folder, package], package)
    return fetched(f"pypi/{package}", fetch)


@once
def go_program(module):
    """The program that `go install MODULE@latest` makes."""
    name = module.rsplit("/", 1)[1]

    def fetch(folder):
        go, env = go_tool(name, folder)
        run([go, "install", f"{module}@latest"], name, env=env, timeout_s=600)
    return fetched(f"go/{name}", fetch) / name


def go_tool(name, folder):
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin:/usr/lib/go/bin")
    if not go:
        raise Unavailable(f"{name}: there is no go here")
    return go, dict(os.environ, GOBIN=str(folder), GOPATH=str(cache() / "go"),
                    GOTOOLCHAIN="local", GOFLAGS="-modcacherw -mod=mod", CGO_ENABLED="1",
                    GOCACHE=str(cache() / "go-build"))


def source_name(source):
    """The folder's name with a hash of what is in it: built anew when that changes."""
    digest = hashlib.sha256()
    for path in sorted(p for p in source.rglob("*") if p.is_file()):
        digest.update(path.relative_to(source).as_posix().encode() + b"\0" + path.read_bytes())
    return f"{source.name}-{digest.hexdigest()[:12]}"


@once
def go_build(source):
    """Our own program in that folder, built against the modules that its go.mod names."""
    def fetch(folder):
        go, env = go_tool(source.name, folder)
        shutil.copytree(source, folder / "source")
        run([go, "build", "-o", folder / "program", "."], source.name, env=env,
            cwd=folder / "source", timeout_s=600)
    return fetched(f"go/{source_name(source)}", fetch) / "program"


def cargo_tool(name):
    cargo = shutil.which("cargo") or shutil.which(
        "cargo", path=str(pathlib.Path.home() / ".cargo/bin"))
    if not cargo:
        raise Unavailable(f"{name}: there is no cargo here")
    return cargo


@once
def cargo_build(source):
    """The same of Rust: the crates that its Cargo.toml names."""
    def fetch(folder):
        cargo = cargo_tool(source.name)
        shutil.copytree(source, folder / "source")
        env = dict(os.environ, CARGO_HOME=str(cache() / "cargo"),
                   CARGO_TARGET_DIR=str(folder / "target"))
        run([cargo, "build", "--quiet"], source.name, env=env, cwd=folder / "source",
            timeout_s=600)
        program, = (p for p in (folder / "target/debug").iterdir()
                    if p.is_file() and os.access(p, os.X_OK) and not p.suffix)
        program.rename(folder / "program")
        shutil.rmtree(folder / "target")
    return fetched(f"cargo/{source_name(source)}", fetch) / "program"
