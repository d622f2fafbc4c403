"""NVIDIA's Python bindings, of two Debian releases and the newest."""
import clients
import pytest

H100, A100 = "H100-SXM5-80GB", "A100-SXM4-40GB"


@pytest.fixture(params=["bookworm", "trixie", "pypi"])
def py(request):
    return clients.Pynvml(request.param)


HELPERS = """
def gi_ids(d):
    ids = []
    for p in range(NVML_GPU_INSTANCE_PROFILE_COUNT):
        try:
            info = nvmlDeviceGetGpuInstanceProfileInfo(d, p)
        except NVMLError:
            continue
        count = c_uint()
        array = (c_nvmlGpuInstance_t * info.instanceCount)()
        fn = nvmlDeviceGetGpuInstances
        fn(d, info.id, array, byref(count))
        ids += [nvmlGpuInstanceGetInfo(array[i]).id for i in range(count.value)]
    return sorted(ids)

def migs(d):
    found = []
    for i in range(nvmlDeviceGetMaxMigDeviceCount(d)):
        try:
            found.append(nvmlDeviceGetMigDeviceHandleByIndex(d, i))
        except NVMLError_NotFound:
            pass
    return found

def text(s):
    return s.decode() if isinstance(s, bytes) else s

def refused(fn, *args):
    try:
        fn(*args)
    except NVMLError as e:
        return type(e).__name__, e.value
    return None
nvmlInit()
d = nvmlDeviceGetHandleByIndex(0)
"""


def test_life_of_an_instance(py, machine):
    m = machine(A100, mig=False)
    got = py(m, HELPERS + """
answer = {"count": nvmlDeviceGetCount(), "mode": nvmlDeviceGetMigMode(d)}
answer["set"] = nvmlDeviceSetMigMode(d, 1)
info = nvmlDeviceGetGpuInstanceProfileInfo(d, NVML_GPU_INSTANCE_PROFILE_3_SLICE)
answer["profile"] = [info.id, info.sliceCount, info.instanceCount, info.memorySizeMB]
answer["free"] = nvmlDeviceGetGpuInstanceRemainingCapacity(d, info.id)
gi = nvmlDeviceCreateGpuInstance(d, info.id)
answer["left"] = nvmlDeviceGetGpuInstanceRemainingCapacity(d, info.id)
got = nvmlGpuInstanceGetInfo(gi)
answer["gi"] = [got.id, got.profileId, got.placement.start, got.placement.size]
answer["migs before"] = len(migs(d))
ci_info = nvmlGpuInstanceGetComputeInstanceProfileInfo(
    gi, NVML_COMPUTE_INSTANCE_PROFILE_3_SLICE, NVML_COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED)
ci = nvmlGpuInstanceCreateComputeInstance(gi, ci_info.id)
mig, = migs(d)
answer["name"] = text(nvmlDeviceGetName(mig))
answer["uuid"] = text(nvmlDeviceGetUUID(mig))
again = nvmlDeviceGetHandleByUUID(nvmlDeviceGetUUID(mig))
answer["ids"] = [nvmlDeviceGetGpuInstanceId(again), nvmlDeviceGetComputeInstanceId(again)]
answer["parent"] = nvmlDeviceGetIndex(nvmlDeviceGetDeviceHandleFromMigDeviceHandle(mig))
a = nvmlDeviceGetAttributes(mig)
answer["attributes"] = [a.multiprocessorCount, a.gpuInstanceSliceCount, a.memorySizeMB]
answer["memory"] = nvmlDeviceGetMemoryInfo(mig).total >> 20
answer["list"] = gi_ids(d)
answer["busy"] = refused(nvmlGpuInstanceDestroy, gi)
nvmlComputeInstanceDestroy(ci)
nvmlGpuInstanceDestroy(gi)
answer["end"] = [gi_ids(d), len(migs(d))]
nvmlShutdown()
""")
    uuid = got.pop("uuid")
    assert uuid.startswith("MIG-") and len(uuid) == 40
    assert got == {
        "count": 1, "mode": [0, 0], "set": 0, "profile": [9, 3, 2, 20096], "free": 2, "left": 1,
        "gi": [2, 9, 4, 4], "migs before": 0, "name": "NVIDIA A100-SXM4-40GB MIG 3g.20gb",
        "ids": [2, 0], "parent": 0, "attributes": [42, 3, 20096], "memory": 20096, "list": [2],
        "busy": ["NVMLError_InUse", 19], "end": [[], 0]}


def test_each_error_has_its_class(py, machine):
    m = machine(H100)
    got = py(m, "early = None\ntry:\n    nvmlDeviceGetCount()\nexcept NVMLError as e:\n"
                "    early = type(e).__name__\n" + HELPERS + """
answer = {"early": early}
for i in range(7):
    nvmlDeviceCreateGpuInstance(d, 19)
answer["full"] = refused(nvmlDeviceCreateGpuInstance, d, 19)
answer["bad"] = refused(nvmlDeviceCreateGpuInstance, d, 77)
answer["mig off"] = refused(nvmlDeviceGetUtilizationRates, d)
answer["no index"] = refused(nvmlDeviceGetHandleByIndex, 5)
answer["no uuid"] = refused(nvmlDeviceGetHandleByUUID, b"GPU-00000000-0000-0000-0000-000000000000")
answer["no mig"] = refused(nvmlDeviceGetMigDeviceHandleByIndex, d, 0)
nvmlShutdown()
answer["late"] = refused(nvmlDeviceGetCount)
""")
    assert got == {
        "early": "NVMLError_Uninitialized", "full": ["NVMLError_InsufficientResources", 23],
        "bad": ["NVMLError_InvalidArgument", 2], "mig off": ["NVMLError_NotSupported", 3],
        "no index": ["NVMLError_InvalidArgument", 2], "no uuid": ["NVMLError_NotFound", 6],
        "no mig": ["NVMLError_NotFound", 6], "late": ["NVMLError_Uninitialized", 1]}


def test_no_driver(py, machine):
    m = machine(H100)
    m.path = m.path / "nowhere"
    assert py(m, "try:\n    nvmlInit()\nexcept NVMLError as e:\n"
                 "    answer = [type(e).__name__, e.value]") == ["NVMLError_DriverNotLoaded", 9]


@pytest.mark.parametrize("source", ["trixie", "pypi"])
def test_gpm_follows_the_load(machine, source):
    py = clients.Pynvml(source)
    m = machine(H100, A100)
    gi = py(m, HELPERS + """
gi = nvmlDeviceCreateGpuInstance(d, 9)
nvmlGpuInstanceCreateComputeInstance(gi, 2)
idle = nvmlDeviceCreateGpuInstance(d, 14)
nvmlGpuInstanceCreateComputeInstance(idle, 1)
answer = {"ids": [nvmlGpuInstanceGetInfo(g).id for g in (gi, idle)],
          "uuid": [text(nvmlDeviceGetUUID(x)) for x in migs(d)]}
""")
    load = m.load(gi["uuid"][0], "--sm", "60")
    try:
        got = py(m, HELPERS + f"""
import time
support = [nvmlGpmQueryDeviceSupport(nvmlDeviceGetHandleByIndex(i)).isSupportedDevice
           for i in (0, 1)]
def measure(gi):
    samples = [nvmlGpmSampleAlloc(), nvmlGpmSampleAlloc()]
    for i, s in enumerate(samples):
        nvmlGpmMigSampleGet(d, gi, s)
        time.sleep(0.15 * (1 - i))  # GPM wants 100 ms between two samples
    get = c_nvmlGpmMetricsGet_t()
    get.version = NVML_GPM_METRICS_GET_VERSION
    get.numMetrics = 1
    get.sample1, get.sample2 = samples
    get.metrics[0].metricId = NVML_GPM_METRIC_SM_UTIL
    nvmlGpmMetricsGet(get)
    for s in samples:
        nvmlGpmSampleFree(s)
    return get.metrics[0].nvmlReturn, get.metrics[0].value
answer = [support, measure({gi["ids"][0]}), measure({gi["ids"][1]})]
""")
    finally:
        load.kill()
        load.wait()
    support, busy, idle = got
    assert support == [1, 0]
    assert busy[0] == 0 and 50 <= busy[1] <= 70
    assert idle == [0, 0.0]


def test_events(py, machine):
    m = machine(H100)
    waits = py.client.start(m, py.HEAD + HELPERS + """
s = nvmlEventSetCreate()
nvmlDeviceRegisterEvents(d, nvmlEventTypeXidCriticalError | nvmlEventMigConfigChange, s)
print("ready", flush=True)
for _ in range(2):
    e = nvmlEventSetWait_v2(s, 20000)
    print(e.eventType, e.eventData, nvmlDeviceGetIndex(e.device), flush=True)
nvmlEventSetFree(s)
""")
    try:
        assert waits.stdout.readline() == "ready\n"
        m.sim("xid", m.path, "--gpu", 0, "--code", 31)
        assert waits.stdout.readline() == "8 31 0\n"
        py(m, HELPERS + "nvmlDeviceCreateGpuInstance(d, 19)")
        assert waits.stdout.readline() == "256 0 0\n"
        assert waits.wait(20) == 0
    finally:
        waits.kill()
        waits.wait()


def test_processes_of_a_slice(py, machine):
    m = machine(A100)
    uuid = py(m, HELPERS + """
gi = nvmlDeviceCreateGpuInstance(d, 14)
nvmlGpuInstanceCreateComputeInstance(gi, 1)
answer = text(nvmlDeviceGetUUID(migs(d)[0]))
""")
    load = m.load(uuid, "--memory", "1GiB")
    try:
        got = py(m, HELPERS + """
def rows(x):
    return [[p.pid, p.usedGpuMemory, p.gpuInstanceId, p.computeInstanceId]
            for p in nvmlDeviceGetComputeRunningProcesses(x)]
mig, = migs(d)
answer = {"mig": rows(mig), "gpu": rows(d), "used": nvmlDeviceGetMemoryInfo(mig).used >> 20,
          "name": text(nvmlSystemGetProcessName(rows(mig)[0][0])),
          "pids": refused(nvmlDeviceGetUtilizationRates, mig)}
""")
    finally:
        load.kill()
        load.wait()
    assert got["mig"] == got["gpu"] == [[load.pid, 1 << 30, 5, 0]]
    assert 1024 <= got["used"] < 1100 and "tangram-sim" in got["name"]
    assert got["pids"] == ["NVMLError_NotSupported", 3]
