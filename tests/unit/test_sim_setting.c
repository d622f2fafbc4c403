/* Links between GPUs, accounts of processes, and what an administrator switches. */
#include "sim_fixture.h"

#include "base/clock.h"
#include "sim/load.h"
#include <sched.h>
#include <string.h>

static struct nvml_field_value field(struct nvml_device *d, unsigned int id, unsigned int scope)
{
    struct nvml_field_value v = {.field_id = id, .scope_id = scope};
    assert_int_equal(nvmlDeviceGetFieldValues(d, 1, &v), NVML_SUCCESS);
    return v;
}

/* As captured of boards on their switches (A100, H100), on a card without a bridge, and without. */
static void test_nvlink(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        unsigned int links, version, mbps;
        bool is_up;
    } rows[] = {
        {"A100-SXM4-40GB", 12, 5, 25000, true},
        {"H100-SXM5-80GB", 18, 7, 26562, true},
        {"B200-180GB", 18, 8, 53125, true},
        {"A100-PCIE-80GB", 12, 5, 0, false},
        {"T4", 0, 0, 0, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct fixture *f = fixture_new(rows[i].model, 2, "none", false, "590.48.01");
        struct nvml_device *d = fixture_gpu(1);
        unsigned int is_active = 9, version = 9, able = 9, type = 9, last = rows[i].links - 1;
        unsigned long long errors = 9;
        assert_int_equal(field(d, 91, 0).value.ui, rows[i].links);
        if (rows[i].links == 0) {
            assert_int_equal(nvmlDeviceGetNvLinkState(d, 0, &is_active), NVML_ERROR_NOT_SUPPORTED);
            assert_int_equal(field(d, 90, 0).nvml_return, NVML_ERROR_NOT_SUPPORTED);
            fixture_free(f);
            continue;
        }
        assert_int_equal(nvmlDeviceGetNvLinkState(d, last, &is_active), NVML_SUCCESS);
        assert_int_equal(is_active, rows[i].is_up);
        assert_int_equal(nvmlDeviceGetNvLinkState(d, last + 1, &is_active),
                         NVML_ERROR_INVALID_ARGUMENT);
        assert_int_equal(nvmlDeviceGetNvLinkState(d, 0, NULL), NVML_ERROR_INVALID_ARGUMENT);
        assert_int_equal(nvmlDeviceGetNvLinkVersion(d, 0, &version), NVML_SUCCESS);
        assert_int_equal(version, rows[i].version);
        /* What no GPU of this model has may be asked for, what no GPU at all has may not. */
        assert_int_equal(nvmlDeviceGetNvLinkCapability(d, 35, 0, &able), NVML_SUCCESS);
        assert_int_equal(nvmlDeviceGetNvLinkCapability(d, 36, 0, &able),
                         NVML_ERROR_INVALID_ARGUMENT);
        assert_int_equal(nvmlDeviceGetNvLinkCapability(d, 0, 6, &able),
                         NVML_ERROR_INVALID_ARGUMENT);
        assert_int_equal(nvmlDeviceGetNvLinkErrorCounter(d, 0, 4, &errors), NVML_SUCCESS);
        assert_int_equal(errors, 0);
        assert_int_equal(nvmlDeviceGetNvLinkErrorCounter(d, 0, 5, &errors),
                         NVML_ERROR_INVALID_ARGUMENT);
        assert_int_equal(nvmlDeviceGetNvLinkRemoteDeviceType(d, 0, &type), NVML_SUCCESS);
        assert_int_equal(type, rows[i].is_up ? 2 : 0xFF);
        assert_int_equal(field(d, 165, last).value.ui, rows[i].is_up);
        assert_int_equal(field(d, 165, last + 1).nvml_return, NVML_ERROR_INVALID_ARGUMENT);
        assert_int_equal(field(d, 90, 0).value.ui, rows[i].mbps);
        assert_int_equal(field(d, 164, 0).nvml_return,
                         rows[i].is_up ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED);
        assert_int_equal(field(d, 138, 0xFFFFFFFF).nvml_return, NVML_SUCCESS);
        assert_int_equal(field(d, 60, 0).nvml_return, NVML_ERROR_NOT_SUPPORTED);
        unsigned int p2p = 9;
        assert_int_equal(nvmlDeviceGetP2PStatus(fixture_gpu(0), d, 2, &p2p), NVML_SUCCESS);
        assert_int_equal(p2p, rows[i].is_up ? 0 : 5);
        fixture_free(f);
    }
}

static void test_nvlink_of_a_cut_gpu(void **state)
{
    (void)state;
    struct fixture *f = fixture_new("H100-SXM5-80GB", 2, "none", false, "590.48.01");
    struct nvml_device *d = fixture_mig_gpu(0), *whole = fixture_gpu(1);
    unsigned int value = 9;
    struct nvml_pci_info pci;
    struct nvml_pci_info_v2 old;
    assert_int_equal(nvmlDeviceGetNvLinkState(d, 0, &value), NVML_ERROR_NOT_SUPPORTED);
    assert_int_equal(nvmlDeviceGetNvLinkCapability(d, 0, 0, &value), NVML_ERROR_NOT_SUPPORTED);
    assert_int_equal(field(d, 91, 0).nvml_return, NVML_ERROR_NOT_SUPPORTED);
    assert_int_equal(nvmlDeviceGetP2PStatus(d, whole, 2, &value), NVML_SUCCESS);
    assert_int_equal(value, 5);
    assert_int_equal(nvmlDeviceGetNvLinkRemotePciInfo_v2(whole, 5, &pci), NVML_SUCCESS);
    assert_int_equal(nvmlDeviceGetNvLinkRemotePciInfo(whole, 5, &old), NVML_SUCCESS);
    assert_string_equal(pci.bus_id, "00000000:C1:00.0");
    assert_string_equal(old.bus_id, "0000:C1:00.0");
    assert_int_equal(pci.pci_device_id, 0x22A310DE);
    assert_int_equal(nvmlDeviceGetNvLinkRemotePciInfo_v2(whole, 18, &pci),
                     NVML_ERROR_NOT_SUPPORTED);
    assert_int_equal(nvmlDeviceGetNvLinkRemotePciInfo_v2(whole, 36, &pci),
                     NVML_ERROR_INVALID_ARGUMENT);
    /* Fabric manager knows the board, cut up or not. */
    struct nvml_fabric_info_v3 fabric = {
        .version = NVML_STRUCT_VERSION(struct nvml_fabric_info_v3, 3)};
    assert_int_equal(nvmlDeviceGetGpuFabricInfoV(d, &fabric), NVML_SUCCESS);
    assert_int_equal(fabric.state, 3);
    assert_int_equal(fabric.status, NVML_SUCCESS);
    assert_int_equal(fabric.health_summary, 0);
    fixture_free(f);
    f = fixture_new("H100-PCIE-80GB", 1, "none", false, "590.48.01"); /* links not known */
    assert_int_equal(field(fixture_gpu(0), 91, 0).nvml_return, NVML_ERROR_NOT_SUPPORTED);
    assert_int_equal(nvmlDeviceGetGpuFabricInfoV(fixture_gpu(0), &fabric), NVML_SUCCESS);
    assert_int_equal(fabric.state, 0);
    fixture_free(f);
}

/* A child that uses GPU 0 as a whole until it is killed. */
static pid_t start_load(const char *dir)
{
    return fixture_load(dir, SIM_WHOLE, SIM_WHOLE, 40, 1ULL << 30);
}

static void check_mode(struct nvml_device *d, unsigned int want)
{
    unsigned int mode = 9;
    assert_int_equal(nvmlDeviceGetAccountingMode(d, &mode), NVML_SUCCESS);
    assert_int_equal(mode, want);
}

static void test_accounting(void **state)
{
    (void)state;
    struct fixture *f = fixture_new("A100-SXM4-40GB", 1, "none", false, "590.48.01");
    struct nvml_device *d = fixture_gpu(0);
    struct nvml_accounting_stats stats;
    unsigned int n = 0, pids[8] = {0};
    fixture_end_load(start_load(f->dir)); /* before it was on */
    check_mode(d, 0);
    assert_int_equal(nvmlDeviceGetAccountingPids(d, &n, NULL), NVML_ERROR_NOT_SUPPORTED);
    assert_int_equal(nvmlDeviceGetAccountingStats(d, 1, &stats), NVML_ERROR_NOT_SUPPORTED);
    assert_int_equal(nvmlDeviceSetAccountingMode(d, 2), NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvmlDeviceSetAccountingMode(d, 1), NVML_SUCCESS);
    check_mode(d, 1);
    assert_int_equal(nvmlDeviceGetAccountingPids(d, &n, NULL), NVML_SUCCESS);
    int64_t start_ms = clock_real_ms();
    pid_t first = start_load(f->dir), second = start_load(f->dir);
    fixture_end_load(first);
    n = 0;
    assert_int_equal(nvmlDeviceGetAccountingPids(d, &n, NULL), NVML_ERROR_INSUFFICIENT_SIZE);
    assert_int_equal(n, 2);
    n = 8;
    assert_int_equal(nvmlDeviceGetAccountingPids(d, &n, pids), NVML_SUCCESS);
    assert_int_equal(pids[0], second);
    assert_int_equal(pids[1], first);
    assert_int_equal(nvmlDeviceGetAccountingStats(d, (unsigned int)second, &stats), NVML_SUCCESS);
    assert_true(stats.is_running && stats.time_ms == 0);
    assert_int_equal(nvmlDeviceGetAccountingStats(d, (unsigned int)first, &stats), NVML_SUCCESS);
    assert_false(stats.is_running);
    assert_int_equal(stats.gpu_utilization, 40);
    assert_int_equal(stats.max_memory_usage, 1ULL << 30);
    assert_true(stats.start_time_us >= (unsigned long long)start_ms * 1000);
    assert_true(stats.time_ms <= (unsigned long long)(clock_real_ms() - start_ms));
    assert_int_equal(nvmlDeviceClearAccountingPids(d), NVML_SUCCESS);
    assert_int_equal(nvmlDeviceGetAccountingStats(d, (unsigned int)first, &stats),
                     NVML_ERROR_NOT_FOUND);
    assert_int_equal(nvmlDeviceGetAccountingStats(d, (unsigned int)second, &stats), NVML_SUCCESS);
    fixture_end_load(second);
    fixture_mig_gpu(0); /* which ends it for as long as MIG is on */
    check_mode(d, 0);
    assert_int_equal(nvmlDeviceSetAccountingMode(d, 1), NVML_ERROR_NOT_SUPPORTED);
    fixture_free(f);
}

/* More processes than there is room for: the oldest are forgotten. */
static void test_accounts_wrap(void **state)
{
    (void)state;
    struct fixture *f = fixture_new("A30", 1, "none", false, "590.48.01");
    struct nvml_device *d = fixture_gpu(0);
    CLEANUP(sim_machine_freep) struct sim_machine *m = NULL;
    assert_int_equal(nvmlDeviceSetAccountingMode(d, 1), NVML_SUCCESS);
    assert_int_equal(sim_machine_open(f->dir, &m, NULL), 0);
    struct sim_gpu *gpu = &m->file->gpus[0];
    for (int i = 0; i < SIM_MAX_ACCOUNTS + 3; i++) {
        struct sim_load load = {.gi = -1, .ci = -1};
        int index = 0;
        sim_lock(&gpu->state);
        assert_int_equal(load_add(m, 0, &load, &index, NULL), 0);
        gpu->loads[index].pid = 100 + i;
        load_remove(m, 0, index);
        sim_unlock(&gpu->state);
    }
    unsigned int n = 400, pids[400];
    struct nvml_accounting_stats stats;
    assert_int_equal(nvmlDeviceGetAccountingPids(d, &n, pids), NVML_SUCCESS);
    assert_int_equal(n, SIM_MAX_ACCOUNTS);
    assert_int_equal(pids[0], 100 + SIM_MAX_ACCOUNTS + 2);
    assert_int_equal(pids[n - 1], 103);
    assert_int_equal(nvmlDeviceGetAccountingStats(d, 102, &stats), NVML_ERROR_NOT_FOUND);
    assert_int_equal(nvmlDeviceGetAccountingStats(d, 103, &stats), NVML_SUCCESS);
    fixture_free(f);
}

static void check_ecc(struct nvml_device *d, unsigned int now, unsigned int later)
{
    unsigned int current = 9, pending = 9;
    unsigned long long errors = 9;
    assert_int_equal(nvmlDeviceGetEccMode(d, &current, &pending), NVML_SUCCESS);
    assert_int_equal(current, now);
    assert_int_equal(pending, later);
    assert_int_equal(field(d, 1, 0).value.ui, now);
    assert_int_equal(field(d, 2, 0).value.ui, later);
    enum nvml_return counted = now ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
    struct nvml_ecc_counts counts;
    assert_int_equal(nvmlDeviceGetTotalEccErrors(d, 0, 0, &errors), counted);
    assert_int_equal(nvmlDeviceGetDetailedEccErrors(d, 1, 1, &counts), counted);
    assert_int_equal(field(d, 3, 0).nvml_return, counted);
}

static int reset(const struct fixture *f)
{
    CLEANUP(sim_machine_freep) struct sim_machine *m = NULL;
    assert_int_equal(sim_machine_open(f->dir, &m, NULL), 0);
    return sim_machine_reset(m, 0, NULL);
}

static void test_ecc_mode_waits_for_a_reset(void **state)
{
    (void)state;
    struct fixture *f = fixture_new("A100-SXM4-40GB", 1, "none", false, "590.48.01");
    struct nvml_device *d = fixture_gpu(0);
    check_ecc(d, 1, 1);
    assert_int_equal(nvmlDeviceSetEccMode(d, 2), NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvmlDeviceSetEccMode(d, 0), NVML_SUCCESS);
    check_ecc(d, 1, 0);
    pid_t pid = start_load(f->dir);
    assert_int_equal(reset(f), -EBUSY);
    check_ecc(d, 1, 0);
    fixture_end_load(pid);
    assert_int_equal(reset(f), 0);
    check_ecc(d, 0, 0);
    CLEANUP(sim_machine_freep) struct sim_machine *m = NULL;
    assert_int_equal(sim_machine_open(f->dir, &m, NULL), 0);
    assert_int_equal(sim_machine_reboot(m, NULL), 0); /* it is kept in the InfoROM */
    check_ecc(d, 0, 0);
    assert_int_equal(nvmlDeviceSetEccMode(d, 1), NVML_SUCCESS);
    check_ecc(d, 0, 1);
    assert_int_equal(sim_machine_reboot(m, NULL), 0);
    check_ecc(d, 1, 1);
    fixture_free(f);
}

static void test_switches(void **state)
{
    (void)state;
    struct fixture *f = fixture_new("H100-SXM5-80GB", 1, "none", false, "590.48.01");
    struct nvml_device *d = fixture_gpu(0);
    unsigned int value = 9, states[16], shown = 9;
    assert_int_equal(nvmlDeviceGetAPIRestriction(d, 0, &value), NVML_SUCCESS);
    assert_int_equal(value, 1);
    assert_int_equal(nvmlDeviceGetAPIRestriction(d, 1, &value), NVML_ERROR_NOT_SUPPORTED);
    assert_int_equal(nvmlDeviceGetAPIRestriction(d, 2, &value), NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvmlDeviceSetAPIRestriction(d, 0, 0), NVML_SUCCESS);
    assert_int_equal(nvmlDeviceGetAPIRestriction(d, 0, &value), NVML_SUCCESS);
    assert_int_equal(value, 0);
    assert_int_equal(nvmlDeviceSetAPIRestriction(d, 1, 0), NVML_ERROR_NOT_SUPPORTED);
    assert_int_equal(nvmlGpmSetStreamingEnabled(d, 1), NVML_SUCCESS);
    assert_int_equal(nvmlGpmQueryIfStreamingEnabled(d, &value), NVML_SUCCESS);
    assert_int_equal(value, 1);
    assert_int_equal(nvmlDeviceSetPersistenceMode(d, 1), NVML_SUCCESS);
    assert_int_equal(reset(f), 0);
    assert_int_equal(nvmlGpmQueryIfStreamingEnabled(d, &value), NVML_SUCCESS);
    assert_int_equal(value, 0);
    assert_int_equal(nvmlDeviceGetPersistenceMode(d, &value), NVML_SUCCESS);
    assert_int_equal(value, 1); /* of the driver, not of the GPU */
    assert_int_equal(nvmlDeviceGetSupportedPerformanceStates(d, states, sizeof(states)),
                     NVML_SUCCESS);
    assert_true(states[0] == 0 && states[1] == 32 && states[15] == 32);
    assert_int_equal(nvmlDeviceGetSupportedPerformanceStates(d, states, 3),
                     NVML_ERROR_INSUFFICIENT_SIZE);
    assert_int_equal(nvmlDeviceSetCpuAffinity(d), NVML_SUCCESS);
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
    assert_true(CPU_COUNT(&set) >= 1);
    assert_int_equal(nvmlDeviceGetDisplayMode(d, &shown), NVML_SUCCESS);
    assert_int_equal(shown, 1);
    fixture_free(f);
}

/* Nothing is protected; what the system could do depends on its GPUs. */
static void test_confidential_computing(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        enum nvml_return caps, settings;
        unsigned int gpus;
    } rows[] = {
        {"H100-SXM5-80GB", NVML_SUCCESS, NVML_SUCCESS, 1},
        {"A100-SXM4-40GB", NVML_SUCCESS, NVML_ERROR_NOT_SUPPORTED, 0},
        {"T4", NVML_ERROR_NOT_SUPPORTED, NVML_ERROR_NOT_SUPPORTED, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct fixture *f = fixture_new(rows[i].model, 1, "none", false, "590.48.01");
        struct nvml_secure_caps caps = {9, 0};
        struct nvml_secure_state secure = {9, 9, 9};
        struct nvml_secure_settings set = {.version = 1};
        struct nvml_protected_size size = {9, 9};
        assert_int_equal(nvmlSystemGetConfComputeCapabilities(&caps), rows[i].caps);
        assert_int_equal(caps.gpus, rows[i].gpus);
        assert_int_equal(nvmlSystemGetConfComputeState(&secure), rows[i].caps);
        assert_int_equal(nvmlDeviceGetConfComputeMemSizeInfo(fixture_gpu(0), &size), rows[i].caps);
        assert_true(rows[i].caps != NVML_SUCCESS ||
                    (size.protected_kib == 0 && size.unprotected_kib > 1 << 20));
        assert_int_equal(nvmlSystemGetConfComputeSettings(NULL) == NVML_ERROR_NOT_SUPPORTED,
                         rows[i].settings == NVML_ERROR_NOT_SUPPORTED);
        assert_int_equal(nvmlSystemGetConfComputeSettings(&set),
                         rows[i].settings == NVML_SUCCESS ? NVML_ERROR_ARGUMENT_VERSION_MISMATCH
                                                          : rows[i].settings);
        set.version = NVML_STRUCT_VERSION(struct nvml_secure_settings, 1);
        assert_int_equal(nvmlSystemGetConfComputeSettings(&set), rows[i].settings);
        assert_true(rows[i].settings != NVML_SUCCESS || set.feature == 0);
        fixture_free(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nvlink),
        cmocka_unit_test(test_nvlink_of_a_cut_gpu),
        cmocka_unit_test(test_accounting),
        cmocka_unit_test(test_accounts_wrap),
        cmocka_unit_test(test_ecc_mode_waits_for_a_reset),
        cmocka_unit_test(test_switches),
        cmocka_unit_test(test_confidential_computing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
