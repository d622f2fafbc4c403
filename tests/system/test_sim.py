"""tangram-sim and the simulated library, as their users see them."""
import ctypes
import json
import os
import signal
import subprocess

import pytest

from conftest import BUILD, foreign_env

TOOL = BUILD / "tangram-sim"
LIBRARY = BUILD / "sim" / "libnvidia-ml.so.1"


def sim(*args, code=0, **kwargs):
    done = subprocess.run([TOOL, *map(str, args)], capture_output=True, text=True, check=False,
                          timeout=60, **kwargs)
    assert done.returncode == code, done.stderr
    return done


def show(machine):
    return json.loads(sim("show", machine, "-o", "json").stdout)


@pytest.fixture(name="machine")
def machine_fixture(tmp_path):
    path = tmp_path / "machine"
    sim("create", path, "--gpu", "H100-SXM5-80GB:2", "--gpu", "A30")
    return path


# A client in a process of its own: Python statements that see `nvml` and a few helpers.
CLIENT = """
import ctypes, sys
nvml = ctypes.CDLL(sys.argv[1])
def check(rc, want=0):
    assert rc == want, rc
def gpu(i):
    d = ctypes.c_void_p()
    check(nvml.nvmlDeviceGetHandleByIndex_v2(i, ctypes.byref(d)))
    return d
def mig_on(i):
    act = ctypes.c_int(99)
    check(nvml.nvmlDeviceSetMigMode(gpu(i), 1, ctypes.byref(act)))
    return act.value
def slice(i, profile, ci):
    g, c = ctypes.c_void_p(), ctypes.c_void_p()
    check(nvml.nvmlDeviceCreateGpuInstance(gpu(i), profile, ctypes.byref(g)))
    check(nvml.nvmlGpuInstanceCreateComputeInstance(g, ci, ctypes.byref(c)))
check(nvml.nvmlInit_v2())
"""


def client(machine, code, want=0, prefix=()):
    env = foreign_env(dict(os.environ, TANGRAM_SIM=str(machine)))
    done = subprocess.run([*prefix, "/usr/bin/python3", "-c", CLIENT + code, str(LIBRARY)], env=env,
                          capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == want, done.stdout + done.stderr
    return done.stdout


def test_create_says_what_is_wrong(tmp_path, machine):
    assert "no GPU model 'H1000'" in sim("create", tmp_path / "x", "--gpu", "H1000", code=1).stderr
    refused = sim("create", tmp_path / "x", "--gpu", "Thor-iGPU", code=1).stderr
    assert "cannot be simulated" in refused and "memory" in refused
    assert "already" in sim("create", machine, "--gpu", "A30", code=1).stderr
    assert "at least one --gpu" in sim("create", tmp_path / "x", code=2).stderr
    assert "latency key 'speed'" in sim("create", tmp_path / "x", "--gpu", "A30", "--latency",
                                        "typical,speed=1s", code=2).stderr
    assert not (tmp_path / "x" / "machine").exists()


@pytest.mark.parametrize("words, says", [
    (["models", "A30"], "'A30' is one argument too many"),
    (["models", "-o", "xml"], "-o takes table or json, not 'xml'"),
    (["models", "--any"], "--any"), (["show", "DIR", "--any"], "--any"),
    (["show", "DIR", "DIR"], "one argument too many"), (["env", "DIR", "DIR"], "and no more"),
    (["reset", "DIR", "0", "1"], "and no more"), (["lose", "DIR", "0", "1"], "and no more"),
    (["clear", "DIR", "0"], "and no more"), (["reboot", "DIR", "now"], "and no more")])
def test_what_is_too_much_is_refused(machine, words, says):
    before = show(machine)
    refused = sim(*[machine if word == "DIR" else word for word in words], code=2)
    assert says in refused.stderr and not refused.stdout
    assert show(machine) == before


def test_models_lists_those_that_can_and_those_that_cannot():
    models = json.loads(sim("models", "-o", "json").stdout)
    assert len(models) == 37
    without = [m["model"] for m in models if m["can_simulate"] and not m["profiles"]]
    assert without == ["T4", "L40S"]
    assert "cannot be cut" in sim("models").stdout
    able = {m["model"] for m in models if m["can_simulate"]}
    assert {"A100-SXM4-40GB", "A30", "H100-SXM5-80GB", "B200-180GB", "RTX-PRO-6000-BSE"} <= able
    assert all(m["lacks"] for m in models if not m["can_simulate"])
    assert "Too little is known" in sim("models").stdout


def test_output_that_cannot_be_written_is_a_failure():
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run([TOOL, "models"], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1 and b"No space left" in done.stderr


def test_one_machine_many_processes(machine):
    client(machine, "print(mig_on(0)); slice(0, 9, 2); slice(0, 14, 1)")
    gpus = show(machine)["gpus"]
    assert [g["mig"] for g in gpus] == [True, False, False]
    assert [(i["id"], i["profile"], i["start"]) for i in gpus[0]["gpu_instances"]] == [
        (2, "3g.40gb", 4), (3, "2g.20gb", 0)]
    uuid = gpus[0]["gpu_instances"][0]["compute_instances"][0]["uuid"]
    out = client(machine, f"""
d = ctypes.c_void_p()
check(nvml.nvmlDeviceGetHandleByUUID(b"{uuid}", ctypes.byref(d)))
name = ctypes.create_string_buffer(96)
check(nvml.nvmlDeviceGetName(d, name, 96))
print(name.value.decode())
""")
    assert out.strip() == "NVIDIA H100 80GB HBM3 MIG 3g.40gb"
    assert "3g.40gb" in sim("show", machine).stdout


def start_load(machine, uuid, *args):
    load = subprocess.Popen([TOOL, "load", "--machine", machine, "--device", uuid, *args],
                            stdout=subprocess.PIPE, text=True)
    assert load.stdout.readline() == "running\n"
    return load


DESTROY = """
d, g, c = gpu(0), ctypes.c_void_p(), ctypes.c_void_p()
check(nvml.nvmlDeviceGetGpuInstanceById(d, 5, ctypes.byref(g)))
check(nvml.nvmlGpuInstanceGetComputeInstanceById(g, 0, ctypes.byref(c)))
sys.exit(nvml.nvmlComputeInstanceDestroy(c))
"""


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_load_holds_its_slice_until_it_ends(machine, end):
    client(machine, "mig_on(0); slice(0, 14, 1)")
    gpu = show(machine)["gpus"][0]
    uuid = gpu["gpu_instances"][0]["compute_instances"][0]["uuid"]
    load = start_load(machine, uuid, "--memory", "2GiB", "--sm", "50")
    shown = show(machine)["gpus"][0]["loads"]
    assert [(x["pid"], x["gi"], x["memory_bytes"]) for x in shown] == [(load.pid, 5, 2 << 30)]
    assert "MIG is on" in sim("load", "--machine", machine, "--device", gpu["uuid"],
                              code=1).stderr
    assert "out of memory" in sim("load", "--machine", machine, "--device", uuid, "--memory",
                                  "18GiB", code=1).stderr
    client(machine, DESTROY, want=19)
    load.send_signal(end)
    load.wait(timeout=30)
    client(machine, DESTROY)
    assert show(machine)["gpus"][0]["loads"] == []


def test_reboot_ends_loads_and_slices(machine):
    client(machine, "mig_on(0); slice(0, 14, 1); mig_on(2)")
    before = show(machine)
    assert (machine / "boot_id").read_text().strip() == before["boot_id"]
    uuid = before["gpus"][0]["gpu_instances"][0]["compute_instances"][0]["uuid"]
    load = start_load(machine, uuid)
    sim("reboot", machine)
    load.wait(timeout=30)
    after = show(machine)
    assert after["boot_id"] != before["boot_id"]
    assert (machine / "boot_id").read_text().strip() == after["boot_id"]
    # Hopper forgets the mode, Ampere keeps it.
    assert [g["mig"] for g in after["gpus"]] == [False, False, True]
    assert after["gpus"][0]["gpu_instances"] == []


def test_faults_and_lost_gpus(machine):
    sim("fault", machine, "--call", "DeviceGetCount_v2", "--return", "gpu_is_lost", "--times", "1")
    count = "n = ctypes.c_uint()\nsys.exit(nvml.nvmlDeviceGetCount_v2(ctypes.byref(n)))"
    client(machine, count, want=15)
    client(machine, count)
    sim("fault", machine, "--call", "DeviceGetCount_v2", "--return", "NVML_ERROR_UNKNOWN",
        "--times", "1")
    client(machine, count, want=999 & 0xff)
    wrong = sim("fault", machine, "--call", "DeviceGetCount_v2", "--return", "LOST", code=2).stderr
    assert "as in IN_USE, or a number from 0 to 999, not 'LOST'" in wrong
    sim("lose", machine, "1")
    assert show(machine)["gpus"][1]["lost"]
    client(machine, "gpu(0); gpu(2)\ntry:\n gpu(1)\nexcept AssertionError as e:\n sys.exit(int(str(e)))",
           want=15)
    sim("clear", machine)
    client(machine, "gpu(1)")
    assert "fault needs" in sim("fault", machine, "--call", "nvmlInit_v2", code=2).stderr
    assert "no GPU '7'" in sim("lose", machine, "7", code=1).stderr


@pytest.mark.skipif("libtsan" in os.environ.get("TANGRAM_PRELOAD", ""),
                    reason="a shell does not run under the thread sanitizer")
def test_env_is_what_a_shell_needs(machine):
    out = subprocess.run(["sh", "-c", 'eval "$("$0" env "$1")"; exec /usr/bin/python3 -c "$2"', TOOL,
                          machine, "import ctypes; n = ctypes.CDLL('libnvidia-ml.so.1'); "
                          "print(n.nvmlInit_v2())"], capture_output=True, text=True, check=True,
                         env=foreign_env(os.environ))
    assert out.stdout == "0\n"


def as_nobody():
    """A prefix that runs a command as nobody, or None when we cannot."""
    return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 \
        else None


def test_who_did_not_make_the_machine_may_look_only(machine):
    prefix = as_nobody()
    if prefix is None:
        pytest.skip("needs root to become somebody else")
    for part in [machine, *machine.parents]:
        if str(part).startswith("/tmp/") and part.stat().st_uid == 0:
            part.chmod(part.stat().st_mode | 0o055)
    if subprocess.run([*prefix, "test", "-r", LIBRARY], check=False).returncode != 0:
        pytest.skip("nobody cannot read the build directory")
    client(machine, "mig_on(0)")
    out = client(machine, """
act = ctypes.c_int(); g = ctypes.c_void_p(); n = ctypes.c_uint()
print(nvml.nvmlDeviceSetMigMode(gpu(0), 0, ctypes.byref(act)),
      nvml.nvmlDeviceCreateGpuInstance(gpu(0), 19, ctypes.byref(g)),
      nvml.nvmlDeviceGetGpuInstanceRemainingCapacity(gpu(0), 19, ctypes.byref(n)), n.value)
""", prefix=prefix)
    assert out.split() == ["4", "4", "0", "7"]
    # The capability files decide, once they are there: config for changes, monitor for lists.
    shell(machine, "true")
    caps = machine / "root/proc/driver/nvidia/capabilities/mig"
    try_it = "g = ctypes.c_void_p(); m = (ctypes.c_ulonglong * 3)()\n" \
        "print(nvml.nvmlDeviceCreateGpuInstance(gpu(0), 19, ctypes.byref(g)), " \
        "nvml.nvmlDeviceGetMemoryInfo(gpu(0), m), nvml.nvmlDeviceGetMemoryInfo(gpu(1), m))"
    assert client(machine, try_it, prefix=prefix).split() == ["4", "0", "0"]
    (caps / "config").chmod(0o444)
    assert client(machine, try_it, prefix=prefix).split() == ["0", "0", "0"]
    (caps / "monitor").chmod(0o400)
    assert client(machine, try_it, prefix=prefix).split()[1:] == ["4", "0"]


def shell(machine, script):
    done = subprocess.run([TOOL, "shell", machine, "--", "sh", "-c", script], capture_output=True,
                          text=True, check=False, timeout=60)
    if "namespace" in done.stderr or "private" in done.stderr:
        pytest.skip("no mount namespaces here: " + done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_shell_shows_the_surroundings(machine):
    client(machine, "mig_on(0); slice(0, 14, 1)")
    boot = (machine / "boot_id").read_text()
    out = shell(machine, "cat /proc/driver/nvidia/version; "
                "cat /proc/driver/nvidia/capabilities/gpu0/mig/gi5/ci0/access; "
                "cat /sys/bus/pci/devices/0000:07:00.0/vendor; head -1 /proc/modules; "
                "cat /proc/self/comm; ls /dev/nvidia0 /dev/nvidia-caps/nvidia-cap49 /dev/null; "
                "grep gpu0/gi5/ci0 /proc/driver/nvidia-caps/mig-minors")
    assert "590.48.01" in out
    assert "DeviceFileMinor: 49\nDeviceFileMode: 292\nDeviceFileModify: 1\n" in out
    assert "0x10de" in out and "\ncat\n" in out
    if os.path.exists("/proc/modules"):  # else the kernel has none, and nothing can be put there
        assert "\nnvidia " in out
    # A client inside finds the machine as it was.
    client(machine, "gpu(0)")
    assert (machine / "boot_id").read_text() == boot
    inside = subprocess.run([TOOL, "shell", machine, "--", TOOL, "show", machine], text=True,
                            capture_output=True, check=True, timeout=60).stdout
    assert "2g.20gb" in inside and (machine / "boot_id").read_text() == boot
    assert "gpu0/gi5/ci0/access 49" in out
    # Capability files follow the instances from now on, whoever changes them.
    caps = machine / "root/proc/driver/nvidia/capabilities/gpu0/mig"
    assert sorted(p.name for p in caps.iterdir()) == ["gi5"]
    client(machine, "slice(0, 19, 0)")
    assert (caps / "gi13/ci0/access").exists()
    client(machine, DESTROY)
    assert not (caps / "gi5/ci0").exists() and (caps / "gi5/access").exists()
    sim("reboot", machine)
    assert list(caps.iterdir()) == []


def test_trace_writes_down_the_calls(machine, tmp_path):
    trace = tmp_path / "trace"
    env = foreign_env(dict(os.environ, TANGRAM_SIM=str(machine), TANGRAM_SIM_TRACE=str(trace)))
    subprocess.run(["/usr/bin/python3", "-c", CLIENT + "gpu(2)", str(LIBRARY)], env=env, check=True)
    names = [line.split()[1:] for line in trace.read_text().splitlines()]
    assert names == [["nvmlInit_v2", "-1"], ["nvmlDeviceGetHandleByIndex_v2", "2"]]


def test_a_machine_of_another_version_is_a_driver_of_another_version(machine):
    with open(machine / "machine", "r+b") as file:
        file.write(b"tangram-sim 0")
    assert "another version" in sim("show", machine, code=1).stderr
    env = foreign_env(dict(os.environ, TANGRAM_SIM=str(machine)))
    done = subprocess.run(["/usr/bin/python3", "-c", "import ctypes, sys; "
                           "sys.exit(ctypes.CDLL(sys.argv[1]).nvmlInit_v2())", LIBRARY],
                          env=env, check=False)
    assert done.returncode == 18


@pytest.mark.skipif("TANGRAM_PRELOAD" in os.environ, reason="a sanitizer brings its own libraries")
def test_library_needs_only_libc():
    out = subprocess.run(["objdump", "-p", LIBRARY], capture_output=True, text=True, check=True).stdout
    needed = [line.split()[1] for line in out.splitlines() if "NEEDED" in line]
    assert set(needed) <= {"libc.so.6", "libm.so.6"}
    assert "SONAME               libnvidia-ml.so.1" in out
    assert ctypes.CDLL(str(LIBRARY)).nvmlShutdown() == 1


def test_create_check_makes_nothing(tmp_path):
    def check(*args):
        return subprocess.run([BUILD / "tangram-sim", "create", *args], text=True, cwd=tmp_path,
                              capture_output=True, timeout=20, check=False)
    assert check("--check", "--gpu", "A30:2").returncode == 0
    assert "no GPU model 'NOPE'" in check("--check", "--gpu", "NOPE").stderr
    assert "a machine has at most" in check("--check", "--gpu", "A30:20", "--gpu", "A30:20").stderr
    assert check("--check", "somewhere", "--gpu", "A30").returncode == 2
    assert not list(tmp_path.iterdir())
