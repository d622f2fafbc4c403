/* What a board says of itself, as captures of real ones show it; and GPUs without MIG. */
#include "sim_fixture.h"
#include <string.h>

/* Captures of nvidia-smi -q, as published with NVIDIA's own test tools (A100, H100, B200, T4, L40S)
 * and by users (H200). */
static const struct capture {
    const char *model, *vbios, *part, *image;
    unsigned int pcie, app_mhz, max_mhz, video_mhz, memory_mhz, idle_mhz, power_w, least_power_w;
    int banks, limit_c, shutdown_c; /* limit: 0 where temperatures are told as such */
    bool has_memory_temperature, has_average_power, has_retired_pages;
} captures[] = {
    {"A100-SXM4-40GB", "92.00.45.00.03", "692-2G506-0200-003", "G506.0200.00.04", 4, 1095, 1410,
     1290, 1215, 210, 400, 100, 640, 0, 92, true, false, false},
    {"H100-SXM5-80GB", "96.00.99.00.01", "692-2G520-0200-000", "G520.0200.00.05", 5, 1980, 1980,
     1545, 2619, 345, 700, 200, 2560, 87, 95, true, true, false},
    {"H200-SXM5-141GB", "96.00.A5.00.03", "695-2G520-0280-000", "G520.0280.02.02", 5, 1980, 1980,
     1545, 3201, 345, 700, 200, 3072, 87, 95, true, true, false},
    {"B200-180GB", "97.00.FA.00.09", "692-2G525-0220-500", "G525.0220.00.03", 5, 1965, 1965, 1965,
     3996, 120, 1000, 200, 3840, 88, 93, true, true, false},
    {"T4", "90.04.96.00.02", "900-2G183-A800-001", "G183.0200.00.02", 3, 585, 1590, 1470, 5001, 300,
     70, 60, 0, 0, 96, false, false, true},
    {"L40S", "95.02.66.00.15", "900-2G133-A880-000", "G133.0242.00.03", 4, 0, 2520, 1965, 9001, 210,
     350, 100, 192, 88, 93, false, true, false},
};

static struct nvml_field_value field(struct nvml_device *d, unsigned int id, unsigned int scope)
{
    struct nvml_field_value v = {.field_id = id, .scope_id = scope};
    assert_int_equal(nvmlDeviceGetFieldValues(d, 1, &v), NVML_SUCCESS);
    return v;
}

static void check_text(struct nvml_device *d, const struct capture *c)
{
    char text[80];
    assert_int_equal(nvmlDeviceGetVbiosVersion(d, text, sizeof(text)), NVML_SUCCESS);
    assert_string_equal(text, c->vbios);
    assert_int_equal(nvmlDeviceGetBoardPartNumber(d, text, sizeof(text)), NVML_SUCCESS);
    assert_string_equal(text, c->part);
    assert_int_equal(nvmlDeviceGetInforomImageVersion(d, text, sizeof(text)), NVML_SUCCESS);
    assert_string_equal(text, c->image);
    assert_int_equal(nvmlDeviceGetInforomVersion(d, 0, text, sizeof(text)), NVML_SUCCESS);
    assert_int_equal(nvmlDeviceGetInforomVersion(d, 2, text, sizeof(text)),
                     NVML_ERROR_NOT_SUPPORTED);
    assert_int_equal(nvmlDeviceGetInforomVersion(d, 4, text, sizeof(text)),
                     NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvmlDeviceGetBoardPartNumber(d, text, 5), NVML_ERROR_INSUFFICIENT_SIZE);
    assert_int_equal(nvmlDeviceGetBoardPartNumber(d, NULL, 80), NVML_ERROR_INVALID_ARGUMENT);
}

static void check_clocks(struct nvml_device *d, const struct capture *c)
{
    unsigned int mhz = 0, count = 512, list[512];
    assert_int_equal(nvmlDeviceGetMaxClockInfo(d, 0, &mhz), NVML_SUCCESS);
    assert_int_equal(mhz, c->max_mhz);
    assert_int_equal(nvmlDeviceGetMaxClockInfo(d, 3, &mhz), NVML_SUCCESS);
    assert_int_equal(mhz, c->video_mhz);
    assert_int_equal(nvmlDeviceGetClockInfo(d, 1, &mhz), NVML_SUCCESS);
    assert_int_equal(mhz, c->idle_mhz);
    enum nvml_return rc = nvmlDeviceGetApplicationsClock(d, 0, &mhz);
    assert_int_equal(rc, c->app_mhz ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED);
    assert_true(!c->app_mhz || mhz == c->app_mhz);
    assert_int_equal(nvmlDeviceGetMaxCustomerBoostClock(d, 0, &mhz), NVML_SUCCESS);
    assert_int_equal(mhz, c->max_mhz);
    assert_int_equal(nvmlDeviceGetSupportedMemoryClocks(d, &count, list), NVML_SUCCESS);
    assert_int_equal(list[0], c->memory_mhz);
    count = 512;
    assert_int_equal(nvmlDeviceGetSupportedGraphicsClocks(d, c->memory_mhz, &count, list),
                     NVML_SUCCESS);
    assert_int_equal(list[0], c->max_mhz);
    assert_int_equal(list[count - 1], c->idle_mhz);
    assert_int_equal(nvmlDeviceGetMinMaxClockOfPState(d, 0, 0, &mhz, &count), NVML_SUCCESS);
    assert_int_equal(mhz, c->idle_mhz);
    assert_int_equal(count, c->max_mhz);
    assert_int_equal(nvmlDeviceGetMinMaxClockOfPState(d, 0, 8, &mhz, &count),
                     NVML_ERROR_NOT_SUPPORTED);
}

static void check_heat(struct nvml_device *d, const struct capture *c)
{
    unsigned int celsius = 0;
    assert_int_equal(nvmlDeviceGetTemperatureThreshold(d, 0, &celsius), NVML_SUCCESS);
    assert_int_equal(celsius, c->shutdown_c);
    assert_int_equal(nvmlDeviceGetTemperatureThreshold(d, 5, &celsius), NVML_ERROR_NOT_SUPPORTED);
    assert_int_equal(nvmlDeviceGetTemperatureThreshold(d, 8, &celsius),
                     NVML_ERROR_INVALID_ARGUMENT);
    struct nvml_margin_temperature margin = {
        .version = NVML_STRUCT_VERSION(struct nvml_margin_temperature, 1)};
    enum nvml_return rc = nvmlDeviceGetMarginTemperature(d, &margin);
    struct nvml_field_value shutdown = field(d, 193, 0);
    if (c->limit_c == 0) {
        assert_int_equal(rc, NVML_ERROR_NOT_SUPPORTED);
        assert_int_equal(shutdown.nvml_return, NVML_ERROR_NOT_SUPPORTED);
    } else {
        assert_int_equal(rc, NVML_SUCCESS);
        assert_int_equal(nvmlDeviceGetTemperature(d, 0, &celsius), NVML_SUCCESS);
        assert_int_equal(margin.celsius, c->limit_c - (int)celsius);
        assert_int_equal(shutdown.nvml_return, NVML_SUCCESS);
        assert_int_equal(shutdown.value_type, NVML_VALUE_SINT);
        assert_int_equal(shutdown.value.si, c->limit_c - c->shutdown_c);
    }
    assert_int_equal(field(d, 82, 0).nvml_return,
                     c->has_memory_temperature ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED);
}

static void check_power(struct nvml_device *d, const struct capture *c)
{
    unsigned int least = 0, most = 0;
    assert_int_equal(nvmlDeviceGetPowerManagementLimitConstraints(d, &least, &most), NVML_SUCCESS);
    assert_int_equal(least, c->least_power_w * 1000);
    assert_int_equal(most, c->power_w * 1000);
    assert_int_equal(field(d, 187, 0).value.ui, least);
    assert_int_equal(field(d, 188, 0).value.ui, most);
    assert_int_equal(field(d, 185, 0).nvml_return,
                     c->has_average_power ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED);
    assert_int_equal(field(d, 186, 0).nvml_return, NVML_SUCCESS);
    assert_int_equal(field(d, 186, 1).nvml_return, NVML_ERROR_NOT_SUPPORTED);
    assert_int_equal(field(d, 186, 4).nvml_return, NVML_ERROR_INVALID_ARGUMENT);
}

static void check_memory(struct nvml_device *d, const struct capture *c)
{
    struct nvml_row_remapper_histogram h;
    enum nvml_return rc = nvmlDeviceGetRowRemapperHistogram(d, &h);
    assert_int_equal(rc, c->banks ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED);
    assert_true(!c->banks || ((int)h.max == c->banks && h.none == 0));
    enum nvml_return pages = c->has_retired_pages ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
    unsigned int count = 7, pending = 7, a, b, e, f;
    assert_int_equal(nvmlDeviceGetRetiredPages(d, 0, &count, NULL), pages);
    assert_int_equal(nvmlDeviceGetRetiredPagesPendingStatus(d, &pending), pages);
    assert_int_equal(nvmlDeviceGetRetiredPages(d, 2, &count, NULL), NVML_ERROR_INVALID_ARGUMENT);
    /* Rows or pages, never both. */
    assert_int_equal(nvmlDeviceGetRemappedRows(d, &a, &b, &e, &f),
                     c->has_retired_pages ? NVML_ERROR_NOT_SUPPORTED : NVML_SUCCESS);
    assert_int_equal(field(d, 142, 0).nvml_return,
                     c->has_retired_pages ? NVML_ERROR_NOT_SUPPORTED : NVML_SUCCESS);
}

static void test_captures(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(captures); i++) {
        const struct capture *c = &captures[i];
        struct fixture *f = fixture_new(c->model, 1, "none", false, "590.48.01");
        struct nvml_device *d = fixture_gpu(0);
        unsigned int generation = 0;
        check_text(d, c);
        check_clocks(d, c);
        check_heat(d, c);
        check_power(d, c);
        check_memory(d, c);
        assert_int_equal(nvmlDeviceGetMaxPcieLinkGeneration(d, &generation), NVML_SUCCESS);
        assert_int_equal(generation, c->pcie);
        struct nvml_fabric_info fabric; /* a question for Hopper and later */
        assert_int_equal(nvmlDeviceGetGpuFabricInfo(d, &fabric),
                         generation >= 5 ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED);
        fixture_free(f);
    }
}

/* B200's steps are 7.5 MHz, shown without the half; the others' 15; a low memory clock has a list
 * of its own. */
static void test_supported_clocks(void **state)
{
    (void)state;
    unsigned int list[512], count = 512;
    struct fixture *f = fixture_new("B200-180GB", 1, "none", false, "590.48.01");
    assert_int_equal(nvmlDeviceGetSupportedGraphicsClocks(fixture_gpu(0), 3996, &count, list),
                     NVML_SUCCESS);
    assert_int_equal(list[1], 1957);
    assert_int_equal(list[2], 1950);
    assert_int_equal(list[3], 1942);
    fixture_free(f);
    f = fixture_new("T4", 1, "none", false, "590.48.01");
    count = 512;
    assert_int_equal(nvmlDeviceGetSupportedMemoryClocks(fixture_gpu(0), &count, list),
                     NVML_SUCCESS);
    assert_int_equal(count, 2);
    assert_int_equal(list[1], 405);
    count = 4;
    assert_int_equal(nvmlDeviceGetSupportedGraphicsClocks(fixture_gpu(0), 405, &count, list),
                     NVML_ERROR_INSUFFICIENT_SIZE);
    assert_int_equal(count, 24);
    assert_int_equal(list[0], 645);
    assert_int_equal(list[3], 600);
    assert_int_equal(nvmlDeviceGetSupportedGraphicsClocks(fixture_gpu(0), 406, &count, list),
                     NVML_ERROR_NOT_FOUND);
    fixture_free(f);
}

/* What changed from driver to driver. */
static void test_drivers(void **state)
{
    (void)state;
    static const struct {
        const char *driver;
        enum nvml_return clocks, reset, recovery;
        unsigned int reasons; /* number of the first field of reasons for low clocks */
    } rows[] = {
        {"550.163.01", NVML_SUCCESS, NVML_SUCCESS, NVML_ERROR_NOT_SUPPORTED, 0},
        {"570.148.08", NVML_SUCCESS, NVML_ERROR_DEPRECATED, NVML_SUCCESS, 0},
        {"580.65.06", NVML_SUCCESS, NVML_ERROR_DEPRECATED, NVML_SUCCESS, 251},
        {"580.105.08", NVML_SUCCESS, NVML_ERROR_DEPRECATED, NVML_SUCCESS, 269},
        {"595.91.07", NVML_ERROR_DEPRECATED, NVML_ERROR_DEPRECATED, NVML_SUCCESS, 269},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct fixture *f = fixture_new("H100-SXM5-80GB", 1, "none", false, rows[i].driver);
        struct nvml_device *d = fixture_gpu(0);
        unsigned int mhz = 0;
        assert_int_equal(nvmlDeviceGetApplicationsClock(d, 0, &mhz), rows[i].clocks);
        assert_int_equal(nvmlDeviceGetDefaultApplicationsClock(d, 2, &mhz), rows[i].clocks);
        assert_int_equal(field(d, 226, 0).nvml_return, rows[i].reset);
        assert_int_equal(field(d, 230, 0).nvml_return, rows[i].recovery);
        assert_int_equal(field(d, 253, 0).nvml_return == 0, rows[i].reasons == 251);
        assert_int_equal(field(d, 271, 0).nvml_return == 0, rows[i].reasons == 269);
        fixture_free(f);
    }
}

/* Every MIG call but one answers NOT_SUPPORTED: how many MIG devices there can be is 0. */
static void test_without_mig(void **state)
{
    (void)state;
    struct fixture *f = fixture_new("T4", 2, "none", false, "590.48.01");
    struct nvml_device *d = fixture_gpu(1), *mig = NULL;
    struct nvml_gpu_instance *gi = NULL, *gis[8];
    struct nvml_placement where = {0, 1};
    struct nvml_gi_profile info;
    struct nvml_gi_profile_v2 v2 = {.version = NVML_STRUCT_VERSION(struct nvml_gi_profile_v2, 2)};
    enum nvml_return activation = NVML_SUCCESS;
    unsigned int a = 9, b = 9, n = 9;
    const enum nvml_return none = NVML_ERROR_NOT_SUPPORTED;
    assert_int_equal(nvmlDeviceGetMigMode(d, &a, &b), none);
    assert_int_equal(nvmlDeviceSetMigMode(d, 1, &activation), none);
    assert_int_equal(nvmlDeviceSetMigMode(d, 0, &activation), none);
    assert_int_equal(nvmlDeviceGetGpuInstanceProfileInfo(d, 0, &info), none);
    assert_int_equal(nvmlDeviceGetGpuInstanceProfileInfoV(d, 4, &v2), none);
    assert_int_equal(nvmlDeviceGetGpuInstanceProfileInfo(d, 99, &info),
                     NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvmlDeviceGetGpuInstanceProfileInfoByIdV(d, 19, &v2), none);
    assert_int_equal(nvmlDeviceGetGpuInstancePossiblePlacements_v2(d, 19, NULL, &n), none);
    assert_int_equal(nvmlDeviceGetGpuInstanceRemainingCapacity(d, 19, &n), none);
    assert_int_equal(nvmlDeviceCreateGpuInstance(d, 19, &gi), none);
    assert_int_equal(nvmlDeviceCreateGpuInstanceWithPlacement(d, 19, &where, &gi), none);
    assert_int_equal(nvmlDeviceGetGpuInstances(d, 19, gis, &n), none);
    assert_int_equal(nvmlDeviceGetGpuInstanceById(d, 0, &gi), none);
    assert_int_equal(nvmlDeviceGetMigDeviceHandleByIndex(d, 0, &mig), none);
    assert_int_equal(nvmlDeviceGetMaxMigDeviceCount(d, &n), NVML_SUCCESS);
    assert_int_equal(n, 0);
    assert_int_equal(nvmlDeviceIsMigDeviceHandle(d, &n), NVML_SUCCESS);
    assert_int_equal(n, 0);
    unsigned long long types = 0;
    assert_int_equal(nvmlDeviceGetSupportedEventTypes(d, &types), NVML_SUCCESS);
    assert_true((types & NVML_EVENT_MIG_CONFIG) == 0);
    struct nvml_event_set *set = NULL;
    assert_int_equal(nvmlEventSetCreate(&set), NVML_SUCCESS);
    assert_int_equal(nvmlDeviceRegisterEvents(d, NVML_EVENT_MIG_CONFIG, set), none);
    assert_int_equal(nvmlEventSetFree(set), NVML_SUCCESS);
    assert_int_equal(field(d, 184, 0).value.ui, 0);
    assert_int_equal(field(d, 199, 0).value.ui, 0);
    struct nvml_utilization use;
    assert_int_equal(nvmlDeviceGetUtilizationRates(d, &use), NVML_SUCCESS);
    fixture_free(f);
}

static void test_topology(void **state)
{
    (void)state;
    struct fixture *f = fixture_new("H100-SXM5-80GB", 3, "none", false, "590.48.01");
    struct nvml_device *a = fixture_gpu(0), *b = fixture_gpu(2), *list[3] = {0};
    unsigned int n = 0, status = 9, level = 9;
    assert_int_equal(nvmlDeviceGetTopologyCommonAncestor(a, b, &level), NVML_SUCCESS);
    assert_int_equal(nvmlDeviceGetTopologyNearestGpus(a, level, &n, NULL), NVML_SUCCESS);
    assert_int_equal(n, 2);
    assert_int_equal(nvmlDeviceGetTopologyNearestGpus(a, level, &n, list), NVML_SUCCESS);
    assert_ptr_equal(list[1], b);
    n = 1;
    assert_int_equal(nvmlDeviceGetTopologyNearestGpus(a, level, &n, NULL),
                     NVML_ERROR_INVALID_ARGUMENT);
    n = 0;
    assert_int_equal(nvmlDeviceGetTopologyNearestGpus(a, 10, &n, NULL), NVML_SUCCESS);
    assert_int_equal(n, 0);
    assert_int_equal(nvmlDeviceGetTopologyNearestGpus(a, 7, &n, NULL), NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvmlSystemGetTopologyGpuSet(0, &n, NULL), NVML_SUCCESS);
    assert_int_equal(n, 3);
    assert_int_equal(nvmlSystemGetTopologyGpuSet(100000, &n, list), NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvmlDeviceGetP2PStatus(a, b, 0, &status), NVML_SUCCESS);
    assert_int_equal(status, 0);
    assert_int_equal(nvmlDeviceGetP2PStatus(a, b, 2, &status), NVML_SUCCESS);
    assert_int_equal(status, 0); /* by the switches of the board */
    assert_int_equal(nvmlDeviceGetP2PStatus(a, b, 5, &status), NVML_ERROR_INVALID_ARGUMENT);
    /* Memory of a GPU that is cut up is nobody else's. */
    enum nvml_return activation;
    assert_int_equal(nvmlDeviceSetMigMode(b, 1, &activation), NVML_SUCCESS);
    assert_int_equal(nvmlDeviceGetP2PStatus(a, b, 0, &status), NVML_SUCCESS);
    assert_int_equal(status, 5);
    fixture_free(f);
}

static unsigned int now_mhz(struct nvml_device *d, unsigned int type)
{
    unsigned int mhz = 0;
    assert_int_equal(nvmlDeviceGetClockInfo(d, type, &mhz), NVML_SUCCESS);
    return mhz;
}

static void check_limit(struct nvml_device *d, unsigned int mw)
{
    unsigned int limit = 0, enforced = 0, by_default = 0;
    assert_int_equal(nvmlDeviceGetPowerManagementLimit(d, &limit), NVML_SUCCESS);
    assert_int_equal(nvmlDeviceGetEnforcedPowerLimit(d, &enforced), NVML_SUCCESS);
    assert_int_equal(nvmlDeviceGetPowerManagementDefaultLimit(d, &by_default), NVML_SUCCESS);
    assert_int_equal(limit, mw);
    assert_int_equal(enforced, mw);
    assert_int_equal(by_default, 400000);
    assert_int_equal(field(d, 190, 0).value.ui, mw);
    assert_int_equal(field(d, 192, 0).value.ui, mw);
}

static void reset(const struct fixture *f)
{
    CLEANUP(sim_machine_freep) struct sim_machine *m = NULL;
    assert_int_equal(sim_machine_open(f->dir, &m, NULL), 0);
    assert_int_equal(sim_machine_reset(m, 0, NULL), 0);
}

static void test_power_limit(void **state)
{
    (void)state;
    struct fixture *f = fixture_new("A100-SXM4-40GB", 1, "none", false, "570.148.08");
    struct nvml_device *d = fixture_mig_gpu(0); /* the board is one, cut up or not */
    check_limit(d, 400000);
    assert_int_equal(nvmlDeviceSetPowerManagementLimit(d, 99999), NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvmlDeviceSetPowerManagementLimit(d, 400001), NVML_ERROR_INVALID_ARGUMENT);
    check_limit(d, 400000);
    assert_int_equal(nvmlDeviceSetPowerManagementLimit(d, 250000), NVML_SUCCESS);
    check_limit(d, 250000);
    struct nvml_power_value v = {.version = 1, .mw = 300000};
    assert_int_equal(nvmlDeviceSetPowerManagementLimit_v2(d, &v),
                     NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
    v.version = NVML_STRUCT_VERSION(struct nvml_power_value, 2);
    assert_int_equal(nvmlDeviceSetPowerManagementLimit_v2(d, &v), NVML_SUCCESS);
    check_limit(d, 300000);
    v.scope = 1;
    assert_int_equal(nvmlDeviceSetPowerManagementLimit_v2(d, &v), NVML_ERROR_INVALID_ARGUMENT);
    reset(f);
    check_limit(d, 400000);
    fixture_free(f);
    f = fixture_new("A30", 1, "none", false, "570.148.08"); /* whose range is not known */
    assert_int_equal(nvmlDeviceSetPowerManagementLimit(fixture_gpu(0), 150000),
                     NVML_ERROR_NOT_SUPPORTED);
    fixture_free(f);
}

static void test_locked_clocks(void **state)
{
    (void)state;
    enum { GRAPHICS, SM, MEMORY };
    struct fixture *f = fixture_new("H100-SXM5-80GB", 1, "none", false, "580.105.08");
    struct nvml_device *d = fixture_gpu(0);
    unsigned int mhz = 0;
    assert_int_equal(now_mhz(d, SM), 345);
    assert_int_equal(nvmlDeviceSetGpuLockedClocks(d, 1200, 1500), NVML_SUCCESS);
    assert_int_equal(now_mhz(d, SM), 1200);
    assert_int_equal(now_mhz(d, GRAPHICS), 1200);
    assert_int_equal(nvmlDeviceSetGpuLockedClocks(d, 1500, 1200), NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvmlDeviceSetGpuLockedClocks(d, 0xFFFFFF01, 1200),
                     NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvmlDeviceSetGpuLockedClocks(d, 9000, 9000), NVML_SUCCESS);
    assert_int_equal(now_mhz(d, SM), 1980);
    assert_int_equal(nvmlDeviceResetGpuLockedClocks(d), NVML_SUCCESS);
    assert_int_equal(now_mhz(d, SM), 345);
    assert_int_equal(nvmlDeviceSetMemoryLockedClocks(d, 1593, 1593), NVML_SUCCESS);
    assert_int_equal(now_mhz(d, MEMORY), 1593);
    assert_int_equal(nvmlDeviceResetMemoryLockedClocks(d), NVML_SUCCESS);
    assert_int_equal(now_mhz(d, MEMORY), 2619);
    assert_int_equal(nvmlDeviceSetApplicationsClocks(d, 2619, 1410), NVML_SUCCESS);
    assert_int_equal(nvmlDeviceGetApplicationsClock(d, SM, &mhz), NVML_SUCCESS);
    assert_int_equal(mhz, 1410);
    assert_int_equal(nvmlDeviceGetDefaultApplicationsClock(d, SM, &mhz), NVML_SUCCESS);
    assert_int_equal(mhz, 1980);
    assert_int_equal(nvmlDeviceSetApplicationsClocks(d, 2619, 1411), NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvmlDeviceSetApplicationsClocks(d, 0, 0), NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvmlDeviceResetApplicationsClocks(d), NVML_SUCCESS);
    assert_int_equal(nvmlDeviceGetApplicationsClock(d, SM, &mhz), NVML_SUCCESS);
    assert_int_equal(mhz, 1980);
    assert_int_equal(nvmlDeviceSetGpuLockedClocks(d, 1200, 1200), NVML_SUCCESS);
    reset(f);
    assert_int_equal(now_mhz(d, SM), 345);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_captures),      cmocka_unit_test(test_supported_clocks),
        cmocka_unit_test(test_drivers),       cmocka_unit_test(test_without_mig),
        cmocka_unit_test(test_topology),      cmocka_unit_test(test_power_limit),
        cmocka_unit_test(test_locked_clocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
