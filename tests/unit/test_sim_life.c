/* Processes, time, trouble, events and counters, as a client sees them. */
#include "sim_fixture.h"

#include "base/clock.h"
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>

static void test_loads(void **state)
{
    (void)state;
    struct fixture *f = fixture_new("H100-SXM5-80GB", 1, "none", false, "590.48.01");
    struct nvml_device *gpu = fixture_mig_gpu(0);
    struct nvml_gpu_instance *gi = NULL, *other_gi = NULL;
    struct nvml_compute_instance *ci = NULL, *other_ci = NULL;
    struct nvml_device *mig = fixture_slice(gpu, 14, 1, &gi, &ci);
    struct nvml_device *other = fixture_slice(gpu, 19, 0, &other_gi, &other_ci);
    struct nvml_memory before, after;
    assert_int_equal(nvmlDeviceGetMemoryInfo(mig, &before), NVML_SUCCESS);
    assert_int_equal(before.total, 20096ULL << 20);
    pid_t pid = fixture_load(f->dir, 5, 0, 80, 1ULL << 30);
    assert_int_equal(nvmlDeviceGetMemoryInfo(mig, &after), NVML_SUCCESS);
    assert_int_equal(after.used - before.used, 1ULL << 30);
    struct nvml_process list[4];
    struct nvml_process_v1 old[4];
    unsigned int n = 4;
    assert_int_equal(nvmlDeviceGetComputeRunningProcesses_v3(mig, &n, list), NVML_SUCCESS);
    assert_int_equal(n, 1);
    assert_int_equal(list[0].pid, pid);
    assert_int_equal(list[0].gpu_instance_id, 5);
    assert_int_equal(list[0].compute_instance_id, 0);
    n = 4;
    assert_int_equal(nvmlDeviceGetComputeRunningProcesses(gpu, &n, old), NVML_SUCCESS);
    assert_int_equal(old[0].pid, pid);
    assert_int_equal(old[0].used_gpu_memory, 1ULL << 30);
    n = 0;
    assert_int_equal(nvmlDeviceGetComputeRunningProcesses_v3(mig, &n, NULL),
                     NVML_ERROR_INSUFFICIENT_SIZE);
    assert_int_equal(n, 1);
    n = 4;
    assert_int_equal(nvmlDeviceGetComputeRunningProcesses_v3(other, &n, list), NVML_SUCCESS);
    assert_int_equal(n, 0);
    /* A process holds its slice, and only its own. */
    assert_int_equal(nvmlComputeInstanceDestroy(ci), NVML_ERROR_IN_USE);
    assert_int_equal(nvmlComputeInstanceDestroy(other_ci), NVML_SUCCESS);
    assert_int_equal(nvmlGpuInstanceDestroy(other_gi), NVML_SUCCESS);
    fixture_end_load(pid);
    n = 4;
    assert_int_equal(nvmlDeviceGetComputeRunningProcesses_v3(mig, &n, list), NVML_SUCCESS);
    assert_int_equal(n, 0);
    assert_int_equal(nvmlComputeInstanceDestroy(ci), NVML_SUCCESS);
    fixture_free(f);
}

/* The driver cleans up behind a process for a while. */
static void test_in_use_tail(void **state)
{
    (void)state;
    struct fixture *f = fixture_new("A30", 1, "none,in-use=150ms", false, "590.48.01");
    struct nvml_device *gpu = fixture_mig_gpu(0);
    struct nvml_gpu_instance *gi = NULL;
    struct nvml_compute_instance *ci = NULL;
    fixture_slice(gpu, 14, 0, &gi, &ci);
    fixture_end_load(fixture_load(f->dir, 3, 0, 100, 0));
    int64_t start = clock_mono_ms();
    enum nvml_return rc = NVML_ERROR_UNKNOWN;
    unsigned int refused = 0;
    while ((rc = nvmlComputeInstanceDestroy(ci)) == NVML_ERROR_IN_USE) {
        refused++;
        latency_sleep_us(5000);
    }
    assert_int_equal(rc, NVML_SUCCESS);
    assert_true(refused > 0);
    assert_true(clock_mono_ms() - start >= 140);
    assert_int_equal(nvmlGpuInstanceDestroy(gi), NVML_SUCCESS);
    fixture_free(f);
}

static void test_mode_by_generation(void **state)
{
    (void)state;
    enum nvml_return activation = NVML_ERROR_UNKNOWN;
    unsigned int current = 9, pending = 9;
    struct error err = {0};
    static const struct {
        const char *model;
        unsigned int pending, after_reboot;
    } cases[] = {{"A100-SXM4-40GB", 1, 1}, {"H100-SXM5-80GB", 0, 0}, {"B200-180GB", 0, 0}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct fixture *f = fixture_new(cases[i].model, 1, "none", false, "590.48.01");
        struct nvml_device *gpu = fixture_gpu(0);
        pid_t pid = fixture_load(f->dir, SIM_WHOLE, SIM_WHOLE, 100, 0);
        assert_int_equal(nvmlDeviceSetMigMode(gpu, 1, &activation), NVML_SUCCESS);
        assert_int_equal(activation, NVML_ERROR_IN_USE);
        assert_int_equal(nvmlDeviceGetMigMode(gpu, &current, &pending), NVML_SUCCESS);
        assert_int_equal(current, 0);
        assert_int_equal(pending, cases[i].pending);
        fixture_end_load(pid);
        CLEANUP(sim_machine_freep) struct sim_machine *m = NULL;
        assert_int_equal(sim_machine_open(f->dir, &m, &err), 0);
        char boot_id[40];
        memcpy(boot_id, m->file->boot_id, sizeof(boot_id));
        assert_int_equal(sim_machine_reboot(m, &err), 0);
        assert_string_not_equal(boot_id, m->file->boot_id);
        assert_int_equal(nvmlDeviceGetMigMode(gpu, &current, &pending), NVML_SUCCESS);
        assert_int_equal(current, cases[i].after_reboot);
        assert_int_equal(nvmlDeviceSetMigMode(gpu, 1, &activation), NVML_SUCCESS);
        assert_int_equal(activation, NVML_SUCCESS);
        assert_true(fixture_create(gpu, 19) >= 0);
        assert_int_equal(sim_machine_reboot(m, &err), 0);
        struct nvml_gpu_instance *gi = NULL;
        assert_int_equal(nvmlDeviceSetMigMode(gpu, 1, &activation), NVML_SUCCESS);
        assert_int_equal(nvmlDeviceGetGpuInstanceById(gpu, 13, &gi), NVML_ERROR_NOT_FOUND);
        fixture_free(f);
    }
}

/* A reset makes a pending mode real; with the computer the simulated machine restarts, too. */
static void test_reset_and_host_reboot(void **state)
{
    (void)state;
    struct fixture *f = fixture_new("A100-SXM4-40GB", 1, "none", false, "590.48.01");
    struct nvml_device *gpu = fixture_mig_gpu(0);
    struct error err = {0};
    enum nvml_return activation = NVML_SUCCESS;
    unsigned int current = 9, pending = 9;
    CLEANUP(sim_machine_freep) struct sim_machine *m = NULL, *again = NULL;
    assert_int_equal(sim_machine_open(f->dir, &m, &err), 0);
    struct nvml_gpu_instance *gi = NULL;
    struct nvml_compute_instance *ci = NULL;
    fixture_slice(gpu, 19, 0, &gi, &ci);
    assert_int_equal(nvmlDeviceSetMigMode(gpu, 0, &activation), NVML_SUCCESS);
    assert_int_equal(activation, NVML_ERROR_IN_USE);
    pid_t pid = fixture_load(f->dir, 13, 0, 10, 0);
    assert_int_equal(sim_machine_reset(m, 0, &err), -EBUSY);
    fixture_end_load(pid);
    assert_int_equal(sim_machine_reset(m, 0, &err), 0);
    assert_int_equal(nvmlDeviceGetMigMode(gpu, &current, &pending), NVML_SUCCESS);
    assert_int_equal(current, 0);
    assert_int_equal(pending, 0);
    assert_int_equal(nvmlGpuInstanceDestroy(gi), NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvmlDeviceSetMigMode(gpu, 1, &activation), NVML_SUCCESS);
    assert_true(fixture_create(gpu, 19) == 13);
    uint32_t boots = m->file->boots;
    m->file->host_boot_id[0] ^= 1;
    assert_int_equal(sim_machine_open(f->dir, &again, &err), 0);
    assert_int_equal(m->file->boots, boots + 1);
    assert_int_equal(nvmlDeviceGetGpuInstanceById(gpu, 13, &gi), NVML_ERROR_NOT_FOUND);
    fixture_free(f);
}

/* With MIG off: Ampere and old drivers do not know profiles, later ones do. */
static void test_profiles_with_mig_off(void **state)
{
    (void)state;
    static const struct {
        const char *model, *driver;
        enum nvml_return rc;
    } cases[] = {{"A100-SXM4-40GB", "590.48.01", NVML_ERROR_NOT_SUPPORTED},
                 {"H100-SXM5-80GB", "590.48.01", NVML_SUCCESS},
                 {"H100-SXM5-80GB", "535.261.03", NVML_ERROR_NOT_SUPPORTED}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct fixture *f = fixture_new(cases[i].model, 1, "none", false, cases[i].driver);
        struct nvml_device *gpu = fixture_gpu(0);
        struct nvml_gi_profile p;
        struct nvml_gpu_instance *gi = NULL;
        unsigned int n = 5;
        assert_int_equal(nvmlDeviceGetGpuInstanceProfileInfo(gpu, 0, &p), cases[i].rc);
        assert_int_equal(nvmlDeviceGetGpuInstanceRemainingCapacity(gpu, 19, &n), cases[i].rc);
        assert_int_equal(nvmlDeviceCreateGpuInstance(gpu, 19, &gi), NVML_ERROR_NOT_SUPPORTED);
        assert_int_equal(nvmlDeviceGetMaxMigDeviceCount(gpu, &n), NVML_SUCCESS);
        assert_int_equal(n, 0);
        fixture_free(f);
    }
}

static void add_fault(const char *dir, const char *call, int gpu, int code, uint32_t after,
                      uint32_t times, int64_t hang_ms)
{
    CLEANUP(sim_machine_freep) struct sim_machine *m = NULL;
    struct error err = {0};
    assert_int_equal(sim_machine_open(dir, &m, &err), 0);
    struct sim_fault fault = {.gpu = gpu,
                              .has_return = code >= 0,
                              .code = code,
                              .after = after,
                              .times = times,
                              .hang_ms = hang_ms};
    snprintf(fault.call, sizeof(fault.call), "%s", call);
    assert_int_equal(fault_add(m->file, &fault, &err), 0);
}

static void *hang_in_uuid(void *arg)
{
    char uuid[96];
    return (void *)(uintptr_t)nvmlDeviceGetUUID(arg, uuid, sizeof(uuid));
}

static void test_faults(void **state)
{
    (void)state;
    struct fixture *f = fixture_new("H100-SXM5-80GB", 2, "none", false, "590.48.01");
    struct nvml_device *gpu[2] = {fixture_mig_gpu(0), fixture_mig_gpu(1)};
    struct nvml_gpu_instance *gi = NULL;
    char text[96];
    add_fault(f->dir, "nvmlDeviceCreateGpuInstance", 0, NVML_ERROR_UNKNOWN, 1, 2, 0);
    assert_int_equal(nvmlDeviceCreateGpuInstance(gpu[0], 19, &gi), NVML_SUCCESS);
    assert_int_equal(nvmlDeviceCreateGpuInstance(gpu[1], 19, &gi), NVML_SUCCESS);
    assert_int_equal(nvmlDeviceCreateGpuInstance(gpu[0], 19, &gi), NVML_ERROR_UNKNOWN);
    assert_int_equal(nvmlDeviceCreateGpuInstance(gpu[0], 19, &gi), NVML_ERROR_UNKNOWN);
    assert_int_equal(nvmlDeviceCreateGpuInstance(gpu[0], 19, &gi), NVML_SUCCESS);
    /* Every call on a lost GPU says so; the other GPU goes on. */
    CLEANUP(sim_machine_freep) struct sim_machine *m = NULL;
    struct error err = {0};
    assert_int_equal(sim_machine_open(f->dir, &m, &err), 0);
    m->file->gpus[0].is_lost = true;
    assert_int_equal(nvmlDeviceGetName(gpu[0], text, 96), NVML_ERROR_GPU_IS_LOST);
    assert_int_equal(nvmlGpuInstanceDestroy(gi), NVML_ERROR_GPU_IS_LOST);
    assert_int_equal(nvmlDeviceGetHandleByIndex_v2(0, &gpu[0]), NVML_ERROR_GPU_IS_LOST);
    assert_int_equal(nvmlDeviceGetName(gpu[1], text, 96), NVML_SUCCESS);
    m->file->gpus[0].is_lost = false;
    /* A hang holds the thread that called, nobody else, until it is cleared. */
    add_fault(f->dir, "nvmlDeviceGetUUID", 0, NVML_ERROR_TIMEOUT, 0, 0, -1);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, hang_in_uuid, gpu[0]), 0);
    assert_int_equal(nvmlDeviceGetName(gpu[0], text, 96), NVML_SUCCESS);
    assert_int_equal(nvmlDeviceGetUUID(gpu[1], text, 96), NVML_SUCCESS);
    assert_int_equal(nvmlDeviceCreateGpuInstance(gpu[0], 19, &gi), NVML_SUCCESS);
    fault_clear(m->file);
    void *rc = NULL;
    assert_int_equal(pthread_join(thread, &rc), 0);
    fixture_free(f);
}

static void test_events(void **state)
{
    (void)state;
    struct fixture *f = fixture_new("H100-SXM5-80GB", 2, "none", false, "590.48.01");
    struct nvml_device *gpu = fixture_mig_gpu(0);
    struct nvml_event_set *set = NULL;
    struct nvml_event_data data;
    struct nvml_event_data_v1 old;
    struct nvml_gpu_instance *gi = NULL;
    unsigned long long types = 0;
    assert_int_equal(nvmlDeviceGetSupportedEventTypes(gpu, &types), NVML_SUCCESS);
    assert_true(types & NVML_EVENT_XID);
    assert_true(types & NVML_EVENT_MIG_CONFIG);
    assert_int_equal(nvmlEventSetCreate(&set), NVML_SUCCESS);
    assert_int_equal(nvmlEventSetWait_v2(set, &data, 0), NVML_ERROR_TIMEOUT);
    assert_int_equal(nvmlDeviceRegisterEvents(gpu, 1ULL << 40, set), NVML_ERROR_NOT_SUPPORTED);
    assert_true(fixture_create(gpu, 19) >= 0); /* before registration: not reported */
    assert_int_equal(nvmlDeviceRegisterEvents(gpu, NVML_EVENT_XID | NVML_EVENT_MIG_CONFIG, set),
                     NVML_SUCCESS);
    assert_int_equal(nvmlEventSetWait_v2(set, &data, 1), NVML_ERROR_TIMEOUT);
    assert_int_equal(nvmlDeviceCreateGpuInstance(gpu, 19, &gi), NVML_SUCCESS);
    assert_int_equal(nvmlEventSetWait_v2(set, &data, 1000), NVML_SUCCESS);
    assert_int_equal(data.type, NVML_EVENT_MIG_CONFIG);
    assert_ptr_equal(data.device, gpu);
    assert_int_equal(nvmlEventSetWait_v2(set, &data, 0), NVML_ERROR_TIMEOUT);
    /* From another process, while we wait. */
    pid_t pid = fork();
    if (pid == 0) {
        struct sim_machine *m = NULL;
        struct sim_event e = {.type = NVML_EVENT_XID, .data = 43, .gi = 11, .ci = 0};
        int r = sim_machine_open(f->dir, &m, NULL);
        if (r == 0) {
            latency_sleep_us(20000);
            sim_lock(&m->file->gpus[0].state);
            sim_event_post(m->file, &m->file->gpus[0], &e);
            sim_unlock(&m->file->gpus[0].state);
        }
        _exit(r != 0);
    }
    assert_int_equal(nvmlEventSetWait_v2(set, &data, 60000), NVML_SUCCESS);
    assert_int_equal(data.type, NVML_EVENT_XID);
    assert_int_equal(data.data, 43);
    assert_int_equal(data.gpu_instance_id, 11);
    assert_int_equal(data.compute_instance_id, 0);
    waitpid(pid, NULL, 0);
    assert_int_equal(nvmlGpuInstanceDestroy(gi), NVML_SUCCESS);
    assert_int_equal(nvmlEventSetWait(set, &old, 1000), NVML_SUCCESS);
    assert_int_equal(old.type, NVML_EVENT_MIG_CONFIG);
    assert_int_equal(nvmlEventSetFree(set), NVML_SUCCESS);
    assert_int_equal(nvmlEventSetFree(set), NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvmlEventSetWait_v2(set, &data, 0), NVML_ERROR_INVALID_ARGUMENT);
    fixture_free(f);
}

/* SM_UTIL of one instance over 120 ms; or the metric's return code as a negative number. */
static double sm_util(struct nvml_device *gpu, unsigned int gi)
{
    struct nvml_gpm_metrics *get = xcalloc(1, sizeof(*get) + 2 * sizeof(get->metrics[0]));
    get->version = 1;
    get->count = 1;
    get->metrics[0].metric_id = 2;
    get->metrics[1].value = 4711; /* behind the last one asked for: not touched */
    assert_int_equal(nvmlGpmSampleAlloc(&get->sample1), NVML_SUCCESS);
    assert_int_equal(nvmlGpmSampleAlloc(&get->sample2), NVML_SUCCESS);
    assert_int_equal(nvmlGpmMigSampleGet(gpu, gi, get->sample1), NVML_SUCCESS);
    latency_sleep_us(120000);
    assert_int_equal(nvmlGpmMigSampleGet(gpu, gi, get->sample2), NVML_SUCCESS);
    assert_int_equal(nvmlGpmMetricsGet(get), NVML_SUCCESS);
    double value = get->metrics[0].nvml_return == NVML_SUCCESS
                       ? get->metrics[0].value
                       : -(double)get->metrics[0].nvml_return;
    assert_true(get->metrics[1].value == 4711);
    assert_int_equal(nvmlGpmSampleFree(get->sample1), NVML_SUCCESS);
    assert_int_equal(nvmlGpmSampleFree(get->sample2), NVML_SUCCESS);
    assert_int_equal(nvmlGpmSampleFree(get->sample2), NVML_ERROR_INVALID_ARGUMENT);
    free(get);
    return value;
}

static void test_gpm(void **state)
{
    (void)state;
    struct fixture *f = fixture_new("H100-SXM5-80GB", 1, "none", false, "590.48.01");
    struct nvml_device *gpu = fixture_mig_gpu(0);
    struct nvml_gpu_instance *gi = NULL;
    struct nvml_compute_instance *ci = NULL;
    fixture_slice(gpu, 9, 2, &gi, &ci); /* GI 2 */
    assert_true(fixture_create(gpu, 19) == 7);
    pid_t pid = fixture_load(f->dir, 2, 0, 70, 0);
    double value = sm_util(gpu, 2);
    assert_true(value > 69.0 && value < 71.0);
    assert_true(sm_util(gpu, 7) == -(double)NVML_ERROR_NO_DATA); /* no compute instance */
    unsigned int power = 0, idle = 0;
    assert_int_equal(nvmlDeviceGetPowerUsage(gpu, &power), NVML_SUCCESS);
    fixture_end_load(pid);
    assert_int_equal(nvmlDeviceGetPowerUsage(gpu, &idle), NVML_SUCCESS);
    assert_true(power > idle + 100000);
    assert_true(sm_util(gpu, 2) < 1.0);
    struct nvml_utilization u;
    assert_int_equal(nvmlDeviceGetUtilizationRates(gpu, &u), NVML_ERROR_NOT_SUPPORTED);
    fixture_free(f);
    f = fixture_new("A100-SXM4-40GB", 1, "none", false, "590.48.01");
    gpu = fixture_gpu(0);
    struct nvml_gpm_support support = {.version = 1, .is_supported = 7};
    assert_int_equal(nvmlGpmQueryDeviceSupport(gpu, &support), NVML_SUCCESS);
    assert_int_equal(support.is_supported, 0);
    assert_int_equal(nvmlDeviceGetUtilizationRates(gpu, &u), NVML_SUCCESS);
    assert_int_equal(u.gpu, 0);
    fixture_free(f);
}

struct slow {
    struct nvml_device *gpu;
    pthread_t thread;
    int id;
    int64_t end_ms;
};

static void *create_slowly(void *arg)
{
    struct slow *slow = arg;
    slow->id = fixture_create(slow->gpu, 19);
    slow->end_ms = clock_mono_ms();
    return NULL;
}

/* Changes of one GPU queue; another GPU, and queries, do not wait. */
static void test_latency(void **state)
{
    (void)state;
    struct fixture *f =
        fixture_new("H100-SXM5-80GB", 2, "none,create-gi=200ms", false, "590.48.01");
    struct nvml_device *gpu[2] = {fixture_mig_gpu(0), fixture_mig_gpu(1)};
    struct slow slow[3] = {{.gpu = gpu[0]}, {.gpu = gpu[0]}, {.gpu = gpu[1]}};
    int64_t start = clock_mono_ms();
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&slow[i].thread, NULL, create_slowly, &slow[i]), 0);
    }
    char name[96];
    for (int i = 0; i < 100; i++) {
        assert_int_equal(nvmlDeviceGetName(gpu[0], name, 96), NVML_SUCCESS);
    }
    int64_t queries_ms = clock_mono_ms();
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(slow[i].thread, NULL), 0);
        assert_true(slow[i].end_ms - start >= 195);
        assert_true(slow[i].end_ms > queries_ms);
    }
    int64_t last = slow[0].end_ms > slow[1].end_ms ? slow[0].end_ms : slow[1].end_ms;
    assert_true(last - start >= 390);        /* one after the other */
    assert_true(slow[2].end_ms < last - 50); /* the other GPU beside them */
    assert_int_equal(slow[0].id + slow[1].id, 13 + 11);
    assert_int_equal(slow[2].id, 13);
    fixture_free(f);
}

/* What a program did counts from when it started, however long nobody looked before. */
static void test_energy(void **state)
{
    (void)state;
    struct fixture *f = fixture_new("H100-SXM5-80GB", 1, "none", false, "590.48.01");
    struct nvml_device *gpu = fixture_gpu(0);
    unsigned long long before = 0, after = 0;
    unsigned int idle = 0, busy = 0, celsius = 0;
    assert_int_equal(nvmlDeviceGetPowerUsage(gpu, &idle), NVML_SUCCESS);
    assert_int_equal(nvmlDeviceGetTotalEnergyConsumption(gpu, &before), NVML_SUCCESS);
    int64_t start = clock_mono_ms();
    latency_sleep_us(300000);
    pid_t pid = fixture_load(f->dir, SIM_WHOLE, SIM_WHOLE, 100, 0);
    int64_t started = clock_mono_ms();
    assert_int_equal(nvmlDeviceGetPowerUsage(gpu, &busy), NVML_SUCCESS);
    assert_int_equal(nvmlDeviceGetTotalEnergyConsumption(gpu, &after), NVML_SUCCESS);
    assert_int_equal(nvmlDeviceGetTemperature(gpu, 0, &celsius), NVML_SUCCESS);
    int64_t end = clock_mono_ms();
    double least = (double)(started - start) * idle / 1000 - idle / 50.0;
    double most = (double)(end - start) * idle / 1000 + (double)(end - started + 20) * busy / 1000 +
                  idle / 50.0;
    assert_true((double)(after - before) >= least && (double)(after - before) <= most);
    assert_true(celsius <= 31);
    struct nvml_utilization u;
    assert_int_equal(nvmlDeviceGetUtilizationRates(gpu, &u), NVML_SUCCESS);
    assert_int_equal(u.gpu, 100);
    struct nvml_sample sample;
    unsigned int type = 9, n = 1;
    assert_int_equal(nvmlDeviceGetSamples(gpu, 1, 0, &type, &n, &sample), NVML_SUCCESS);
    assert_int_equal(type, NVML_VALUE_UINT);
    assert_int_equal(sample.value.ui, 100);
    struct nvml_process_utilization p;
    assert_int_equal(nvmlDeviceGetProcessUtilization(gpu, &p, &n, 0), NVML_SUCCESS);
    assert_int_equal(p.pid, pid);
    fixture_end_load(pid);
    fixture_free(f);
}

/* Two processes that change one GPU queue as threads do. */
static void test_latency_across_processes(void **state)
{
    (void)state;
    struct fixture *f =
        fixture_new("H100-SXM5-80GB", 2, "none,create-gi=150ms", false, "590.48.01");
    fixture_mig_gpu(0);
    fixture_mig_gpu(1);
    int64_t start = clock_mono_ms(), end[3];
    pid_t pid[3];
    for (unsigned int i = 0; i < 3; i++) {
        pid[i] = fork();
        if (pid[i] == 0) {
            _exit(fixture_create(fixture_gpu(i / 2), 19) < 0);
        }
    }
    for (int i = 2; i >= 0; i--) {
        int status = -1;
        assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
        assert_int_equal(status, 0);
        end[i] = clock_mono_ms() - start;
    }
    assert_true(end[2] >= 145); /* the other GPU's */
    assert_true(end[0] >= 295 && end[1] >= 295 - 150);
    fixture_free(f);
}

/* What `typical` promises: the mean within the spread, nearly always; one in a hundred four times
 * as long; and the sums that tangram is planned with. */
static void test_typical_latency(void **state)
{
    (void)state;
    enum { DRAWS = 20000, MEAN = 100000 };
    struct fixture *f = fixture_new("A30", 1, "typical", false, "590.48.01");
    CLEANUP(sim_machine_freep) struct sim_machine *m = NULL;
    assert_int_equal(sim_machine_open(f->dir, &m, NULL), 0);
    const struct sim_latency *l = &m->file->latency;
    assert_int_equal(l->create_gi_us + l->create_ci_us, 130000);
    assert_int_equal(l->destroy_gi_us + l->destroy_ci_us, 160000);
    assert_int_equal(l->each_us, 6000);
    int64_t sum = 0, least = INT64_MAX, most = 0;
    unsigned int tail = 0, outer = 0;
    for (int i = 0; i < DRAWS; i++) {
        int64_t us = latency_draw_us(m->file, &m->file->gpus[0], MEAN);
        bool is_tail = us > 2 * MEAN;
        us /= is_tail ? 4 : 1;
        sum += us;
        tail += is_tail;
        outer += us < MEAN * 95 / 100 || us > MEAN * 105 / 100;
        least = us < least ? us : least;
        most = us > most ? us : most;
    }
    assert_true(least >= MEAN * 90 / 100 && least < MEAN * 91 / 100);
    assert_true(most <= MEAN * 110 / 100 && most > MEAN * 109 / 100);
    assert_true(sum / DRAWS > MEAN * 995 / 1000 && sum / DRAWS < MEAN * 1005 / 1000);
    assert_true(tail > DRAWS / 200 && tail < DRAWS / 50);     /* 1 % */
    assert_true(outer > DRAWS / 5 && outer < DRAWS * 3 / 10); /* a hump: a quarter, not a half */
    fixture_free(f);
}

/* The same seed gives the same machine and the same draws. */
static void test_seed(void **state)
{
    (void)state;
    char uuid[2][96];
    int64_t us[2] = {0, 0};
    for (int i = 0; i < 2; i++) {
        struct fixture *f = fixture_new("A30", 1, "typical", false, "590.48.01");
        CLEANUP(sim_machine_freep) struct sim_machine *m = NULL;
        assert_int_equal(sim_machine_open(f->dir, &m, NULL), 0);
        assert_int_equal(nvmlDeviceGetUUID(fixture_gpu(0), uuid[i], 96), NVML_SUCCESS);
        for (int k = 0; k < 20; k++) {
            us[i] = us[i] * 3 + latency_draw_us(m->file, &m->file->gpus[0], 100000);
        }
        fixture_free(f);
    }
    assert_string_equal(uuid[0], uuid[1]);
    assert_int_equal(us[0], us[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loads),
        cmocka_unit_test(test_in_use_tail),
        cmocka_unit_test(test_mode_by_generation),
        cmocka_unit_test(test_reset_and_host_reboot),
        cmocka_unit_test(test_profiles_with_mig_off),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_gpm),
        cmocka_unit_test(test_latency),
        cmocka_unit_test(test_latency_across_processes),
        cmocka_unit_test(test_typical_latency),
        cmocka_unit_test(test_energy),
        cmocka_unit_test(test_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
