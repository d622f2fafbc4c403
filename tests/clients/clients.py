"""The real NVML clients as the tests see them: run(machine, arguments) and what came out.

A client that cannot be had skips the test with the reason."""
import json
import os
import pathlib
import re
import shutil
import subprocess

import fetch
import pytest
from conftest import BUILD

LIBRARY_DIR = BUILD / "sim"
# With what bookworm's libsystemd0 is linked to; in trixie it is not, and may be absent.
NVTOP_LIBRARIES = ("libncursesw6", "libtinfo6", "libsystemd0", "libcap2", "libudev1",
                   "libdrm2", "libdrm-amdgpu1", "libgcrypt20", "libgpg-error0", "liblz4-1",
                   "liblzma5", "libzstd1")


def had(fetcher, *args):
    try:
        return fetcher(*args)
    except fetch.Unavailable as why:
        pytest.skip(f"cannot be had: {why}")


def environment(machine, folders=(), **more):
    path = ":".join(map(str, (LIBRARY_DIR, *folders)))
    return dict(os.environ, TANGRAM_SIM=str(machine.path), LD_LIBRARY_PATH=path,
                **{k: str(v) for k, v in more.items()})


class Client:
    """A program: call it with a machine and arguments."""

    def __init__(self, command, folders=(), inside=False, **env):
        self.command, self.folders, self.env, self.inside = list(command), folders, env, inside

    def start(self, machine, *args, **kw):
        command = [*map(str, self.command), *map(str, args)]
        if self.inside:
            command = [str(BUILD / "tangram-sim"), "shell", str(machine.path), "--", *command]
        return subprocess.Popen(command, env=environment(machine, self.folders, **self.env),
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                stdin=subprocess.DEVNULL, text=True, **kw)

    def __call__(self, machine, *args, check=0, **kw):
        """Its output; check is the exit status to insist on, None for any."""
        process = self.start(machine, *args, **kw)
        try:
            out, _ = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        assert check is None or process.returncode == check, (args, process.returncode, out)
        return out


def nvidia_smi(suite):
    root = had(fetch.debian, suite, "nvidia-smi")
    return Client([root / "usr/lib/nvidia/current/nvidia-smi"])


def nvtop(suite):
    libc = ["libc6"] if fetch.has_newer_libc(suite) else []
    root = had(fetch.debian, suite, "nvtop", *libc, *NVTOP_LIBRARIES)
    own, folders = fetch.loader(root)
    program = root / "usr/bin/nvtop"
    if own:  # of a newer Debian than this one
        path = ":".join(map(str, (LIBRARY_DIR, *folders)))
        return Client([own, "--argv0", "nvtop", "--library-path", path, program], TERM="xterm")
    return Client([program], folders, TERM="xterm")


def pynvml_folder(source):
    """Where to import pynvml from: a Debian suite's package, or PyPI's nvidia-ml-py."""
    if source == "pypi":
        return had(fetch.pypi, "nvidia-ml-py")
    return had(fetch.debian, source, "python3-pynvml") / "usr/lib/python3/dist-packages"


class Pynvml:
    """Runs Python text against pynvml; `answer` is what the text leaves for the test, as JSON."""
    HEAD = ("import json, sys\n"
            "from pynvml import *\n"
            "answer = None\n")
    TAIL = "\nprint('ANSWER ' + json.dumps(answer), flush=True)\n"

    def __init__(self, source):
        self.client = Client(["/usr/bin/python3", "-W", "ignore", "-c"],
                             PYTHONPATH=pynvml_folder(source), PYTHONDONTWRITEBYTECODE=1)

    def __call__(self, machine, text):
        out = self.client(machine, self.HEAD + text + self.TAIL)
        return json.loads(out.rsplit("ANSWER ", 1)[1])


def mig_parted():
    program = had(fetch.go_program, "github.com/NVIDIA/mig-parted/cmd/nvidia-mig-parted")
    return Client([program], inside=True)


def python_program(package, *more):
    """`python3 -m PACKAGE` of PyPI's newest version, with more packages beside it."""
    folders = ":".join(str(had(fetch.pypi, p)) for p in (package, *more))
    return Client(["/usr/bin/python3", "-W", "ignore", "-m", package], PYTHONPATH=folders,
                  PYTHONDONTWRITEBYTECODE=1, LC_ALL="C.UTF-8", TERM="dumb")


def over_nvidia_smi(command, folder, *packages):
    """A program that runs `nvidia-smi`, perhaps as `sudo nvidia-smi`, and reads what it prints."""
    sudo = folder / "sudo"
    sudo.write_text('#!/bin/sh\nexec "$@"\n')
    sudo.chmod(0o755)
    smi = pathlib.Path(nvidia_smi("trixie").command[0]).parent
    return Client(command, PATH=f"{folder}:{smi}:{os.environ['PATH']}", PYTHONDONTWRITEBYTECODE=1,
                  PYTHONPATH=":".join(str(had(fetch.pypi, p)) for p in packages))


def python_script(path, *packages):
    """A script of ours over packages of PyPI."""
    folders = ":".join(str(had(fetch.pypi, p)) for p in packages)
    return Client(["/usr/bin/python3", "-W", "ignore", path], PYTHONPATH=folders,
                  PYTHONDONTWRITEBYTECODE=1)


HERE = pathlib.Path(__file__).parent


def go_bindings():
    """Our program over NVIDIA's Go bindings."""
    return Client([had(fetch.go_build, HERE / "go-nvml")])


def rust_bindings():
    """Our program over the nvml-wrapper crate."""
    return Client([had(fetch.cargo_build, HERE / "nvml-wrapper")])


def container_toolkit():
    """nvidia-ctk, which writes down what a container needs of each GPU and slice."""
    program = had(fetch.go_program, "github.com/NVIDIA/nvidia-container-toolkit/cmd/nvidia-ctk")
    return Client([program], inside=True)


def lstopo():
    root = had(fetch.debian, "bookworm", "hwloc-nox", "libhwloc15", "libhwloc-contrib-plugins",
               "libtinfo6", "libudev1", "libpciaccess0", "libxml2", "libltdl7")
    _, folders = fetch.loader(root)
    plugins, = root.rglob("hwloc_nvml.so")
    return Client([root / "usr/bin/lstopo-no-graphics"], folders, inside=True,
                  HWLOC_PLUGINS_PATH=plugins.parent)


def lspci():
    """With the newest names of devices that there are."""
    root = had(fetch.debian, "bookworm", "pciutils", "libpci3", "libkmod2")
    names = had(fetch.debian, "trixie", "pci.ids") / "usr/share/misc/pci.ids"
    _, folders = fetch.loader(root)
    return Client([root / "usr/bin/lspci", "-i", names], folders, inside=True)


def btop(home):
    """btop 1.3 on a terminal of its own (util-linux's script makes one)."""
    if not shutil.which("script"):
        pytest.skip("btop wants a terminal, and there is no script(1) here to make one")
    root = had(fetch.debian, "trixie", "btop", "libc6", "libstdc++6", "libgcc-s1")
    own, folders = fetch.loader(root)
    config = home / ".config/btop"
    config.mkdir(parents=True)
    (config / "btop.conf").write_text('shown_boxes = "gpu0 gpu1"\nupdate_ms = 500\n')
    program = f"{root}/usr/bin/btop --utf-force"
    if own:
        path = ":".join(map(str, (LIBRARY_DIR, *folders)))
        program = f"{own} --library-path {path} {program}"
    command = f"stty rows 60 cols 160; exec {program}"
    return Client(["script", "-qefc", command, "/dev/null"], () if own else folders, HOME=home,
                  TERM="xterm-256color", LC_ALL="C.UTF-8")


class PcpAgent:
    """Performance Co-Pilot's NVIDIA agent, asked by PCP's own debugger for agents."""

    def __init__(self, folder):
        root = had(fetch.debian, "bookworm", "pcp", "libpcp3", "libpcp-pmda3", "pcp-conf")
        self.agent = root / "usr/lib/pcp/pmdas/nvidia"
        names = (self.agent / "pmns").read_text().split("*/", 1)[1]
        self.names = folder / "names"
        self.names.write_text("root { nvidia }\n" + names.replace("NVML:", "120:"))
        self.client = Client([root / "usr/bin/dbpmda", "-n", self.names],
                             [root / "usr/lib", root / "usr/lib/x86_64-linux-gnu"],
                             PCP_DIR=root, PCP_CONF=root / "etc/pcp.conf",
                             PCP_BINADM_DIR=root / "usr/lib/pcp/bin",
                             PCP_VAR_DIR=root / "var/lib/pcp")

    def fetch(self, machine, *metrics):
        """{metric: values, one for each GPU}."""
        lines = [f"open dso {self.agent}/pmda_nvidia.so nvidia_init 120"]
        lines += [f"fetch nvidia.{name}" for name in metrics]
        command = [*map(str, self.client.command)]
        done = subprocess.run(command, input="\n".join(lines) + "\n", text=True, timeout=60,
                              env=environment(machine, self.client.folders, **self.client.env),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        out = {}
        for part in done.stdout.split("PMID(s):")[1:]:
            name = re.search(r"\(nvidia\.([\w.]+)\)", part)[1]
            out[name] = re.findall(r"value (\"[^\"]*\"|[\d.]+)", part)
            assert len(out[name]) > 0, part
        return out


SLURM_LIBRARIES = ("slurm-wlm-basic-plugins", "slurm-wlm-nvml-plugin", "libhwloc15",
                   "libdbus-1-3", "liblua5.1-0", "libmunge2", "libnuma1", "libyaml-0-2",
                   "liblz4-1", "libpam0g", "libjson-c5", "libsystemd0", "libcap2", "libgcrypt20",
                   "libgpg-error0", "liblzma5", "libzstd1", "libaudit1", "libcap-ng0",
                   "libpciaccess0", "libxml2", "libltdl7", "libudev1")
SLURM_CONF = """ClusterName=test
SlurmctldHost=localhost
SlurmUser=root
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/pgid
TaskPlugin=task/none
GresTypes=gpu
PartitionName=all Nodes=localhost
PluginDir={plugins}
SlurmdSpoolDir={folder}/spool
SlurmdPidFile={folder}/pid
NodeName=localhost CPUs={cpus} Gres={gres}
"""


def slurmd(folder, gres):
    """slurmd 22.05 with a configuration that expects `gres` and lets NVML find it."""
    root = had(fetch.debian, "bookworm", "slurmd", *SLURM_LIBRARIES)
    _, folders = fetch.loader(root)
    plugins = next(root.rglob("gpu_nvml.so")).parent
    # Only under this name does it know that it is slurmd.
    (folder / "slurmd").symlink_to(root / "usr/sbin/slurmd-wlm")
    (folder / "gres.conf").write_text("AutoDetect=nvml\n")
    (folder / "slurm.conf").write_text(SLURM_CONF.format(
        folder=folder, plugins=plugins, gres=gres, cpus=os.cpu_count()))
    return Client([folder / "slurmd", "-f", folder / "slurm.conf", "-N", "localhost"],
                  [plugins, *folders], inside=True)
