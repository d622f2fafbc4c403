#!/usr/bin/python3
"""Measures a running tangramd on a simulated machine of eight H100 (`make bench`).

Every claim is a ratio against something that is measured beside it in the same run: the disk, the
driver alone, a bare HTTP server, one GPU against eight.  Prints a table, and writes all figures
as JSON.  docs/performance.md says what they mean.  Nothing here judges by its exit status.
"""
import argparse
import concurrent.futures
import http.client
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = "H100-SXM5-80GB"
GPUS = 8
SMALL = "1g.10gb"

ENABLE_MIG = """
import ctypes
n = ctypes.CDLL('libnvidia-ml.so.1')
assert n.nvmlInit_v2() == 0
count = ctypes.c_uint()
n.nvmlDeviceGetCount_v2(ctypes.byref(count))
for i in range(count.value):
    device, state = ctypes.c_void_p(), ctypes.c_uint()
    n.nvmlDeviceGetHandleByIndex_v2(i, ctypes.byref(device))
    assert n.nvmlDeviceSetMigMode(device, 1, ctypes.byref(state)) == 0
"""


# --- a machine and a daemon ------------------------------------------------------------------

class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=120)
        self.socket_path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.socket_path)


class Bench:
    """What the measurements share: the build, a folder on the disk, and how to run a program."""

    def __init__(self, build, folder):
        self.build = pathlib.Path(build).resolve()
        self.folder = pathlib.Path(folder)
        self.programs = self.build / "tests" / "bench"
        cores = sorted(os.sched_getaffinity(0))
        self.server_core, self.client_core = cores[0], cores[-1]
        self.started = []

    def popen(self, *args, **kw):
        """A program that does not outlive the benchmark, however that ends."""
        self.started.append(subprocess.Popen(*args, **kw))
        return self.started[-1]

    def end(self):
        for proc in self.started:
            proc.kill()
            proc.wait()

    def machine(self, name, latency):
        path = self.folder / name
        subprocess.run([self.build / "tangram-sim", "create", path, "--gpu", f"{MODEL}:{GPUS}",
                        "--latency", latency], check=True, stdout=subprocess.DEVNULL)
        subprocess.run([sys.executable, "-c", ENABLE_MIG], env=self.env(path), check=True)
        return path

    def env(self, machine):
        return dict(os.environ, TANGRAM_SIM=str(machine),
                    LD_LIBRARY_PATH=str(self.build / "src" / "sim"))

    def run(self, program, *args, machine=None, core=None):
        """The JSON lines that one of tests/bench/ prints, by name."""
        pin = ["taskset", "-c", str(core)] if core is not None else []
        done = subprocess.run([*pin, self.programs / program, *map(str, args)], text=True,
                              stdout=subprocess.PIPE, check=True,
                              env=self.env(machine) if machine else None)
        return by_name(done.stdout)


def by_name(text):
    rows = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return {row["name"]: row for row in rows}


class Daemon:
    def __init__(self, bench, name, machine):
        self.bench, self.machine = bench, machine
        self.folder = bench.folder / name
        self.folder.mkdir(exist_ok=True)
        self.socket = self.folder / "sock"
        self.proc = None

    def start(self):
        """Returns the milliseconds from its start to READY=1."""
        with tempfile.TemporaryDirectory() as folder, \
                socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, \
                open(self.folder / "log", "ab") as log:
            notify.bind(folder + "/notify")
            env = dict(self.bench.env(self.machine), NOTIFY_SOCKET=folder + "/notify")
            begin = time.perf_counter()
            self.proc = self.bench.popen(
                [self.bench.build / "tangramd", "--socket", self.socket, "--state",
                 self.folder / "state", "--driver",
                 self.bench.build / "src" / "sim" / "libnvidia-ml.so.1"],
                env=env, stdout=log, stderr=log)
            notify.settimeout(30)
            while b"READY=1" not in notify.recv(4096):
                pass
            return (time.perf_counter() - begin) * 1e3

    def stop(self):
        self.proc.send_signal(signal.SIGTERM)
        self.proc.wait(timeout=30)

    def ask(self, method, path, body=None, connection=None):
        own = connection or UnixConnection(self.socket)
        own.request(method, path, body=json.dumps(body) if body is not None else None,
                    headers={"Content-Type": "application/json"} if body is not None else {})
        answer = own.getresponse()
        data = json.loads(answer.read())
        if not connection:
            own.close()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {data}")
        return data

    def lease(self, profile, connection=None):
        return self.ask("POST", "/v1/leases", {"profile": profile, "wait_s": 60}, connection)

    def release(self, lease, connection=None):
        path = f"/v1/leases/{lease['id']}"
        self.ask("DELETE", path, connection=connection)
        while self.ask("GET", path, connection=connection)["state"] != "released":
            time.sleep(0.002)

    def fill(self):
        """56 leases, seven on each GPU."""
        with concurrent.futures.ThreadPoolExecutor(GPUS) as pool:
            return list(pool.map(lambda _: self.lease(SMALL), range(7 * GPUS)))

    def settle(self):
        """Until nothing runs and the journal's second copy is written."""
        for _ in range(20):
            before = cpu_ns(self.proc.pid)
            time.sleep(2.5)
            if cpu_ns(self.proc.pid) - before < 5000000:
                break


# --- what the system says of a process --------------------------------------------------------

def smaps(pid):
    """Sums of /proc/PID/smaps_rollup in KiB."""
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return {name: int(value) for name, value in re.findall(r"^(\w+): +(\d+) kB", text, re.M)}


def ticks(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def cpu_ns(pid):
    """Run time of all threads, as precise as the scheduler knows it."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total


def wal_frames(path):
    """(frames, commits) in a log of SQLite that was begun anew, and its page size."""
    data = path.read_bytes()
    page, = struct.unpack(">I", data[8:12])
    salt = data[16:24]
    frames = commits = 0
    for at in range(32, len(data) - page - 23, 24 + page):
        if data[at + 8:at + 16] != salt:
            break
        frames += 1
        commits += data[at + 4:at + 8] != b"\0\0\0\0"
    return frames, commits, page


def pct(values, p):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * p))]


# --- the measurements -------------------------------------------------------------------------

def measure_start(bench, rows):
    """Ready within 50 ms beyond the driver's initialisation."""
    machine = bench.machine("start", "typical")
    daemon = Daemon(bench, "start-daemon", machine)
    daemon.start()
    daemon.fill()
    daemon.stop()
    init, found, ready = [], [], []
    for _ in range(9):
        driver = bench.run("bench_driver", "init", machine=machine)
        init.append(driver["nvml_init"]["p50_us"] / 1e3)
        found.append(driver["discovery"]["p50_us"] / 1e3)
        ready.append(daemon.start())
        daemon.stop()
    init, found, ready = map(statistics.median, (init, found, ready))
    rows.add("start: exec to READY, 56 leases in the journal", f"{ready:.1f} ms",
             f"nvmlInit and handles {init:.1f} ms", f"+{ready - init:.1f} ms", "< +50 ms",
             ready - init < 50)
    rows.add("start: of which discovery and scans of 8 GPUs", f"{found:.1f} ms",
             f"READY {ready:.1f} ms", f"{found / ready:.2f}", "", None)
    return {"nvml_init_ms": init, "discovery_ms": found, "ready_ms": ready}


def measure_idle(bench, daemon, rows):
    """Private memory and CPU of a daemon with 56 leases that nobody asks anything."""
    out = {}
    for when in ("after making 56 leases", "after a restart with 56 leases"):
        daemon.settle()
        memory = smaps(daemon.proc.pid)
        private = memory["Private_Dirty"] + memory["Private_Clean"]
        out[when] = memory
        rows.add(f"idle memory {when}: private, dirty", f"{memory['Private_Dirty']} KiB",
                 f"with clean pages of files that nobody else maps {private} KiB",
                 f"{memory['Private_Dirty'] / 4096:.2f} of 4 MiB", "< 4096 KiB",
                 memory["Private_Dirty"] < 4096)
        if "making" in when:
            daemon.stop()
            daemon.start()
    before, cpu = ticks(daemon.proc.pid), cpu_ns(daemon.proc.pid)
    time.sleep(10)
    spent = ticks(daemon.proc.pid) - before
    cpu = (cpu_ns(daemon.proc.pid) - cpu) / 1e6
    rows.add("idle CPU over 10 s", f"{spent} ticks", "one tick is 10 ms", f"{cpu:.2f} ms",
             "0 ticks", spent == 0)
    return dict(out, idle_ticks=spent, idle_cpu_ms=cpu)


def lease_bytes(daemon):
    """What one lease of an idle slice writes: bytes and commits, read from the journal's log."""
    wal = daemon.folder / "state" / "tangram.db-wal"
    found = []
    for _ in range(10):
        before = wal_frames(wal)
        lease = daemon.lease(SMALL)
        after = wal_frames(wal)
        daemon.release(lease)
        if after[0] > before[0]:
            found.append(((after[0] - before[0]) * (24 + after[2]), after[1] - before[1]))
    return statistics.median_low(b for b, _ in found), statistics.median_low(c for _, c in found)


def measure_lease(bench, daemon, rows, count):
    """Lease of an existing idle slice against the disk."""
    size, commits = lease_bytes(daemon)
    raw_file = bench.folder / "raw"
    out = bench.run("bench_lease", daemon.socket, raw_file, size, count, SMALL)
    disk, served, lease = out["fdatasync"], out["fdatasync_served"], out["lease"]
    for p in ("p50", "p99"):
        ratio = lease[f"{p}_us"] / disk[f"{p}_us"]
        rows.add(f"lease of an idle slice, durable: {p}", f"{lease[f'{p}_us'] / 1e3:.2f} ms",
                 f"fdatasync of {size} bytes {disk[f'{p}_us'] / 1e3:.2f} ms", f"{ratio:.2f}",
                 "<= 2" if p == "p99" else "", ratio <= 2 if p == "p99" else None)
        rows.add(f"the same through a bare server that only writes: {p}",
                 f"{served[f'{p}_us'] / 1e3:.2f} ms", f"the lease {lease[f'{p}_us'] / 1e3:.2f} ms",
                 f"{served[f'{p}_us'] / disk[f'{p}_us']:.2f}", "", None)
    return dict(out, bytes=size, commits=commits)


def rate_of(bench, socket_path, path, requests):
    done = subprocess.run(["taskset", "-c", str(bench.client_core), bench.programs / "bench_api",
                           socket_path, path, "32", str(requests)],
                          stdout=subprocess.PIPE, text=True, check=True)
    wall, core = re.findall(r"(\d+)/s", done.stdout)
    return int(wall), int(core)


def pin(pid, core):
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {core})


class Static:
    """A server that only reads and writes a ready answer of that many bytes."""

    def __init__(self, bench, size):
        self.socket = bench.folder / "static"
        self.proc = bench.popen([bench.programs / "bench_static", self.socket, str(size)],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.proc.stdout.readline()

    def stop(self):
        self.proc.stdin.close()
        self.proc.wait()


def measure_rate(bench, daemon, rows, requests):
    """GET /v1/leases/{id} per second of one core, against a bare server with a ready answer."""
    lease = daemon.lease(SMALL)
    path = f"/v1/leases/{lease['id']}"
    static = Static(bench, len(json.dumps(lease, separators=(",", ":"))))
    pin(daemon.proc.pid, bench.server_core)
    pin(static.proc.pid, bench.server_core)
    ours, bare = [], []
    for _ in range(5):
        ours.append(rate_of(bench, daemon.socket, path, requests))
        bare.append(rate_of(bench, static.socket, "/", requests))
    static.stop()
    daemon.release(lease)
    core, bare_core = (statistics.median(c for _, c in r) for r in (ours, bare))
    wall = statistics.median(w for w, _ in ours)
    rows.add("GET /v1/leases/{id} per second of the daemon's CPU", f"{core:.0f}",
             f"only read and write {bare_core:.0f}", f"{core / bare_core:.2f}", ">= 30000",
             core >= 30000)
    rows.add("the same by the wall clock, 32 connections", f"{wall:.0f}",
             f"bare {statistics.median(w for w, _ in bare):.0f}", "", "", None)
    return {"daemon": ours, "bare": bare}


def measure_streams(daemon, rows):
    """500 event streams: memory, and that each is told."""
    daemon.settle()
    before = smaps(daemon.proc.pid)["Rss"]
    streams = []
    for _ in range(500):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.settimeout(20)
        s.connect(str(daemon.socket))
        s.sendall(b"GET /v1/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
        seen = b""
        while b": tangram\n\n" not in seen:
            seen += s.recv(4096)
        streams.append(s)
    connected = smaps(daemon.proc.pid)["Rss"]
    lease = daemon.lease(SMALL)
    told = 0
    for s in streams:
        seen = b""
        while b"lease.granted" not in seen and b"closed" not in seen:
            seen += s.recv(65536) or b"closed"
        told += f'"{lease["id"]}"'.encode() in seen
    busy = smaps(daemon.proc.pid)["Rss"]
    daemon.release(lease)
    for s in streams:
        s.close()
    grown = (max(connected, busy) - before) / 1024
    rows.add("500 event streams: resident memory", f"+{grown:.1f} MiB",
             f"{told} of 500 were told of a lease", f"{grown / 40:.2f} of 40 MiB", "< 40 MiB",
             grown < 40 and told == 500)
    return {"before_kib": before, "connected_kib": connected, "told_kib": busy, "told": told}


def cut_round(daemon, profile, count, connections):
    """Leases of that profile at the same time, each on its own connection; seconds and leases."""
    begin = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        leases = list(pool.map(lambda c: daemon.lease(profile, c), connections[:count]))
    return time.perf_counter() - begin, leases


def release_all(daemon, leases):
    for lease in leases:
        daemon.release(lease)


def recut_times(daemon, rounds, count):
    """Each lease needs its GPU re-cut: 7g.80gb and 4g.40gb in turns, all GPUs idle before."""
    connections = [UnixConnection(daemon.socket) for _ in range(GPUS)]
    seconds, timings = [], []
    for i in range(rounds):
        if i % 2 == 0:
            # Whole slices first, on every GPU, so that each small one has to cut one up.
            release_all(daemon, cut_round(daemon, "7g.80gb", GPUS, connections)[1])
        profile = "4g.40gb" if i % 2 == 0 else "7g.80gb"
        if i % 2 == 1 and count < GPUS:
            release_all(daemon, cut_round(daemon, "4g.40gb", GPUS, connections)[1])
        took, leases = cut_round(daemon, profile, count, connections)
        seconds.append(took)
        timings += [dict(lease["timing"], client_ms=took * 1e3) for lease in leases]
        assert len({lease["gpu_uuid"] for lease in leases}) == count
        release_all(daemon, leases)
    return seconds, timings


class Disk:
    """A journal's commit needs the disk thrice in a re-cut: how long does it take meanwhile?"""

    def __init__(self, folder):
        self.took_ms, self.is_over = [], False
        self.thread = threading.Thread(target=self.watch, args=(folder / "disk",))
        self.thread.start()

    def watch(self, path):
        with open(path, "wb", buffering=0) as file:
            file.write(bytes(1 << 20))
            os.fsync(file.fileno())
            while not self.is_over:
                file.seek(len(self.took_ms) % 32 * 32768)
                begin = time.perf_counter()
                file.write(bytes(28840))
                os.fdatasync(file.fileno())
                self.took_ms.append((time.perf_counter() - begin) * 1e3)
                time.sleep(0.02)
        path.unlink()

    def stop(self):
        self.is_over = True
        self.thread.join()
        return self.took_ms


def measure_cuts(bench, rows, rounds):
    """Time beyond the driver's calls; eight GPUs at once; answers meanwhile."""
    machine = bench.machine("cuts", "typical")
    raw = bench.run("bench_driver", "cut", GPUS - 1, 20, machine=machine)
    daemon = Daemon(bench, "cuts-daemon", machine)
    daemon.start()
    static = Static(bench, 700)
    disk = Disk(bench.folder)
    one, timing_one = recut_times(daemon, rounds, 1)
    probes = {}
    for name in ("quiet", "re-cutting"):
        probe = bench.popen([bench.programs / "bench_probe", daemon.socket, "/v1/leases/l-1",
                             static.socket, "/"], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, text=True)
        if name == "quiet":
            time.sleep(5)
        else:
            eight, timing_eight = recut_times(daemon, rounds, GPUS)
        probes[name] = by_name(probe.communicate("\n")[0])
    static.stop()
    daemon.stop()
    took_ms = disk.stop()
    rows.add("the disk meanwhile: one fdatasync, p99", f"{pct(took_ms, 0.99):.2f} ms",
             f"median {statistics.median(took_ms):.2f} ms", f"slowest {max(took_ms):.1f} ms", "",
             None)
    add_cut_rows(rows, raw, (one, timing_one), (eight, timing_eight), probes)
    return {"raw": raw, "one_s": one, "eight_s": eight, "timing_one": timing_one,
            "timing_eight": timing_eight, "probes": probes, "fdatasync_ms": took_ms}


def measure_simulator(bench, rows, count=20000):
    """A slice made and taken down in the simulated driver alone, when nothing takes time."""
    out = bench.run("bench_driver", "cut", GPUS - 1, count,
                    machine=bench.machine("simulator", "none"))
    pair = out["make"]["p50_us"] + out["take_down"]["p50_us"]
    rows.add("simulated driver alone: make and take down (medians)", f"{pair:.1f} us",
             f"100,000 such pairs {pair / 10:.2f} s", f"{pair / 20:.2f} of 20 us", "< 20 us",
             pair < 20)
    return out


def add_cut_rows(rows, raw, one, eight, probes):
    for name, (_, timings) in (("one GPU at a time", one), ("eight at once", eight)):
        over = [t["overhead_ms"] for t in timings]
        driver = statistics.median(t["driver_ms"] for t in timings)
        rows.add(f"re-cut, {name}: beyond the driver, p99 of {len(over)}",
                 f"{pct(over, 0.99):.2f} ms", f"the driver's calls {driver:.0f} ms (median)",
                 f"median {statistics.median(over):.2f} ms", "< 5 ms", pct(over, 0.99) < 5)
    # A re-cut takes one slice down and makes one: the same four calls, by a bare program.
    calls = (raw["make"]["p50_us"] + raw["take_down"]["p50_us"]) / 1e3
    client = statistics.median(t["client_ms"] for t in one[1])
    rows.add("re-cut as the client sees it (median)", f"{client:.1f} ms",
             f"the four calls in a bare program {calls:.1f} ms", f"+{client - calls:.1f} ms",
             "", None)
    ratio = statistics.median(eight[0]) / statistics.median(one[0])
    rows.add("eight GPUs re-cut at once (median of rounds)",
             f"{statistics.median(eight[0]) * 1e3:.0f} ms",
             f"one GPU {statistics.median(one[0]) * 1e3:.0f} ms", f"{ratio:.2f}", "< 1.3",
             ratio < 1.3)
    for name, probe in probes.items():
        ours, bare = probe["daemon"], probe["bare"]
        rows.add(f"a GET every ms, {name}: p99", f"{ours['p99_us'] / 1e3:.2f} ms",
                 f"bare server {bare['p99_us'] / 1e3:.2f} ms",
                 f"{ours['p99_us'] / bare['p99_us']:.2f}", "", None)
        rows.add(f"a GET every ms, {name}: slowest of {ours['count']}",
                 f"{ours['max_us'] / 1e3:.2f} ms", f"bare server {bare['max_us'] / 1e3:.2f} ms",
                 "", "< 10 ms", ours["max_us"] < 10000)


# --- the report -------------------------------------------------------------------------------

class Rows:
    def __init__(self):
        self.rows = []

    def add(self, what, value, beside, ratio, goal, is_met):
        self.rows.append((what, value, beside, ratio, goal,
                          "" if is_met is None else "met" if is_met else "MISSED"))
        print(f"  {what}: {value} ({beside}; {ratio}) {self.rows[-1][-1]}", file=sys.stderr,
              flush=True)

    def print(self):
        table = [("what", "measured", "beside it", "ratio", "goal", ""), *self.rows]
        widths = [max(len(row[i]) for row in table) for i in range(6)]
        for i, row in enumerate(table):
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
            if i == 0:
                print("  ".join("-" * width for width in widths))


def describe_machine(folder):
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    kind = subprocess.run(["stat", "-f", "-c", "%T", folder], text=True, stdout=subprocess.PIPE,
                          check=False).stdout.strip()
    return {"cpu": model.group(1) if model else platform.machine(), "cores": os.cpu_count(),
            "kernel": platform.release(), "file_system": kind,
            "load_average": os.getloadavg()[0]}


def measure(bench, args):
    rows, out = Rows(), {"machine": describe_machine(bench.folder)}

    def wanted(name):
        return not args.only or name in args.only
    if wanted("simulator"):
        out["simulator"] = measure_simulator(bench, rows)
    if wanted("start"):
        out["start"] = measure_start(bench, rows)
    if {"idle", "lease", "rate", "streams"} & set(args.only or ["idle"]):
        daemon = Daemon(bench, "daemon", bench.machine("machine", "none"))
        daemon.start()
        leases = daemon.fill()
        if wanted("idle"):
            out["idle"] = measure_idle(bench, daemon, rows)
        release_all(daemon, leases)
        if wanted("lease"):
            out["lease"] = measure_lease(bench, daemon, rows, args.leases)
        if wanted("rate"):
            out["rate"] = measure_rate(bench, daemon, rows, args.requests)
        if wanted("streams"):
            out["streams"] = measure_streams(daemon, rows)
        daemon.stop()
    if wanted("cuts"):
        out["cuts"] = measure_cuts(bench, rows, args.rounds)
    out["machine"]["load_average_after"] = os.getloadavg()[0]
    return rows, out


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--build", default=ROOT / "build-bench")
    parser.add_argument("--dir", help="a folder on the disk to measure (default: below --build)")
    parser.add_argument("--json", help="default: bench.json in --build")
    parser.add_argument("--only", action="append",
                        choices=["start", "idle", "lease", "rate", "streams", "cuts",
                                 "simulator"])
    parser.add_argument("--leases", type=int, default=2000)
    parser.add_argument("--requests", type=int, default=30000)
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="bench-", dir=args.dir or args.build))
    bench = Bench(args.build, folder)
    try:
        rows, out = measure(bench, args)
    finally:
        bench.end()
        shutil.rmtree(folder, ignore_errors=True)
    machine = out["machine"]
    print(f"{machine['cores']} x {machine['cpu']}, Linux {machine['kernel']}, "
          f"{machine['file_system']}, load {machine['load_average']:.1f} before and "
          f"{machine['load_average_after']:.1f} after\n")
    rows.print()
    path = pathlib.Path(args.json or pathlib.Path(args.build) / "bench.json")
    path.write_text(json.dumps(dict(out, rows=rows.rows), indent=1) + "\n")
    print(f"\nall figures: {path}")


if __name__ == "__main__":
    main()
