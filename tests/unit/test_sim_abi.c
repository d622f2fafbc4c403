/* The ABI: sizes that clients rely on, exported names, version words.  sim_abi_real.c compares
 * every struct with the real nvml.h, where that is installed. */
#include "sim_fixture.h"
#include <dlfcn.h>
#include <string.h>

/* What clients were seen to pass: docs/simulator.md. */
_Static_assert(NVML_STRUCT_VERSION(struct nvml_gi_profile_v2, 2) == 0x02000098, "152 bytes");
_Static_assert(NVML_STRUCT_VERSION(struct nvml_ci_profile_v2, 2) == 0x02000088, "136 bytes");
_Static_assert(NVML_STRUCT_VERSION(struct nvml_memory_v2, 2) == 0x02000028, "40 bytes");
_Static_assert(NVML_STRUCT_VERSION(struct nvml_pci_info_ext, 1) == 0x01000040, "64 bytes");
_Static_assert(NVML_STRUCT_VERSION(struct nvml_sram_ecc_status, 1) == 0x01000068, "104 bytes");
_Static_assert(NVML_STRUCT_VERSION(struct nvml_fabric_info_v2, 2) == 0x02000024, "36 bytes");
_Static_assert(sizeof(struct nvml_process_v1) == 16, "old lists have another stride");
_Static_assert(sizeof(struct nvml_process) == 24, "than new ones");

/* Every name of the real library, and nothing else. */
static void test_exports(void **state)
{
    (void)state;
    CLEANUP(freep)
    char *nm = xasprintf("nm -D --defined-only %s/src/sim/libnvidia-ml.so.1 | awk "
                         "'{print $3}' | LC_ALL=C sort | diff - %s && echo same",
                         BUILD_DIR, EXPORTS_SORTED);
    FILE *p = popen(nm, "r");
    assert_non_null(p);
    char text[4096];
    size_t n = fread(text, 1, sizeof(text) - 1, p);
    text[n] = '\0';
    pclose(p);
    assert_string_equal(text, "same\n");
}

/* Without a machine there is no driver; without init nothing works; texts always do. */
static void test_uninitialized(void **state)
{
    (void)state;
    void *lib = dlopen(BUILD_DIR "/src/sim/libnvidia-ml.so.1", RTLD_NOW);
    assert_non_null(lib);
    unsetenv("TANGRAM_SIM");
    unsigned int n = 0;
    assert_int_equal(nvmlInit_v2(), NVML_ERROR_DRIVER_NOT_LOADED);
    setenv("TANGRAM_SIM", "/nonexistent/machine", 1);
    assert_int_equal(nvmlInit_v2(), NVML_ERROR_DRIVER_NOT_LOADED);
    assert_int_equal(nvmlDeviceGetCount_v2(&n), NVML_ERROR_UNINITIALIZED);
    assert_int_equal(nvmlShutdown(), NVML_ERROR_UNINITIALIZED);
    enum nvml_return (*stub)(void *) = NULL;
    *(void **)&stub = dlsym(lib, "nvmlDeviceGetFanSpeed");
    assert_non_null(stub);
    assert_int_equal(stub(NULL), NVML_ERROR_UNINITIALIZED);
    struct fixture *f = fixture_new("H100-SXM5-80GB", 1, "none", false, "590.48.01");
    assert_int_equal(stub(NULL), NVML_ERROR_NOT_SUPPORTED);
    assert_int_equal(nvmlInitWithFlags(0), NVML_SUCCESS);
    assert_int_equal(nvmlShutdown(), NVML_SUCCESS);
    assert_int_equal(nvmlDeviceGetCount_v2(&n), NVML_SUCCESS); /* init counts */
    assert_int_equal(n, 1);
    fixture_free(f);
    assert_int_equal(nvmlDeviceGetCount_v2(&n), NVML_ERROR_UNINITIALIZED);
    assert_string_equal(nvmlErrorString(NVML_ERROR_IN_USE), "In use by another client");
    assert_string_equal(nvmlErrorString(4711), "Unknown Error");
    for (unsigned int i = 0; i < 30; i++) {
        assert_true(strlen(nvmlErrorString(i)) > 3);
    }
    dlclose(lib);
}

/* The same memory, read by version word; a wrong word is refused and nothing is written. */
static void test_versions(void **state)
{
    (void)state;
    struct fixture *f = fixture_new("H100-SXM5-80GB", 1, "none", false, "590.48.01");
    struct nvml_device *gpu = fixture_mig_gpu(0);
    struct nvml_gi_profile v1;
    struct nvml_gi_profile_v2 v2 = {.version = 0x02000098};
    struct nvml_gi_profile_v3 v3 = {.version = NVML_STRUCT_VERSION(struct nvml_gi_profile_v3, 3)};
    assert_int_equal(nvmlDeviceGetGpuInstanceProfileInfo(gpu, 1, &v1), NVML_SUCCESS);
    assert_int_equal(nvmlDeviceGetGpuInstanceProfileInfoV(gpu, 1, &v2), NVML_SUCCESS);
    assert_int_equal(nvmlDeviceGetGpuInstanceProfileInfoV(gpu, 1, &v3), NVML_SUCCESS);
    assert_int_equal(v1.id, 14);
    assert_string_equal(v2.name, "MIG 2g.20gb");
    assert_string_equal(v3.name, "MIG 2g.20gb");
    assert_int_equal(v3.memory_size_mb, 20096);
    assert_int_equal(v2.ofa_count, v3.ofa_count);
    /* nvml.h has INVALID_ARGUMENT for these, and a code of its own for later calls. */
    v2.version = 0x01000098;
    assert_int_equal(nvmlDeviceGetGpuInstanceProfileInfoV(gpu, 1, &v2),
                     NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvmlDeviceGetGpuInstanceProfileInfoByIdV(gpu, 14, &v2),
                     NVML_ERROR_INVALID_ARGUMENT);
    struct nvml_gpu_instance *gi = NULL;
    struct nvml_ci_profile_v2 ci = {.version = 0x02000089};
    assert_int_equal(nvmlDeviceCreateGpuInstance(gpu, 14, &gi), NVML_SUCCESS);
    assert_int_equal(nvmlGpuInstanceGetComputeInstanceProfileInfoV(gi, 1, 0, &ci),
                     NVML_ERROR_INVALID_ARGUMENT);
    struct nvml_process_detail_list list = {.version = 1};
    assert_int_equal(nvmlDeviceGetRunningProcessDetailList(gpu, &list),
                     NVML_ERROR_INVALID_ARGUMENT);
    struct nvml_memory_v2 memory = {.version = 2, .total = 5};
    assert_int_equal(nvmlDeviceGetMemoryInfo_v2(gpu, &memory),
                     NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
    assert_int_equal(memory.total, 5);
    /* Holes are not supported, what lies behind the last profile is invalid. */
    assert_int_equal(nvmlDeviceGetGpuInstanceProfileInfo(gpu, 5, &v1), NVML_ERROR_NOT_SUPPORTED);
    assert_int_equal(nvmlDeviceGetGpuInstanceProfileInfo(gpu, 18, &v1),
                     NVML_ERROR_INVALID_ARGUMENT);
    fixture_free(f);
}

/* The private table: size first, published slots real, all others not supported. */
static void test_export_table(void **state)
{
    (void)state;
    static const unsigned char id[16] = {0xc4, 0xfe, 0x3e, 0x6c, 0xc9, 0x8f, 0x6c, 0x4e,
                                         0xa3, 0x27, 0xee, 0x69, 0x6e, 0x12, 0xf7, 0xc4};
    static const unsigned char other[16] = {0};
    const void *table = NULL;
    assert_int_equal(nvmlInternalGetExportTable(&table, other), NVML_ERROR_NOT_FOUND);
    assert_int_equal(nvmlInternalGetExportTable(NULL, id), NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvmlInternalGetExportTable(&table, id), NVML_SUCCESS);
    const size_t *words = table;
    assert_int_equal(words[0], 256 * sizeof(size_t));
    struct fixture *f = fixture_new("H100-SXM5-80GB", 2, "none", false, "590.48.01");
    for (size_t i = 1; i < 256; i++) {
        enum nvml_return (*slot)(uintptr_t, void *, void *) = NULL;
        memcpy(&slot, &words[i], sizeof(slot));
        if (i == 81) {
            struct nvml_device *device = NULL;
            assert_int_equal(slot(1, &device, (void *)0x22), NVML_SUCCESS);
            assert_ptr_equal(device, fixture_gpu(1));
        } else if (i >= 213 && i <= 215) {
            unsigned int count = 4;
            assert_int_equal(slot((uintptr_t)fixture_gpu(0), &count, NULL), NVML_SUCCESS);
            assert_int_equal(count, 0);
        } else if (i == 230) {
            unsigned int generation = 0;
            assert_int_equal(slot((uintptr_t)fixture_gpu(0), &generation, NULL), NVML_SUCCESS);
            assert_int_equal(generation, 5);
        } else if (i == 23) {
            assert_int_equal(slot(0, NULL, NULL), NVML_SUCCESS);
        } else if (i == 251) {
            unsigned int mode = 0;
            assert_int_equal(slot((uintptr_t)fixture_gpu(0), (void *)1, NULL), NVML_SUCCESS);
            assert_int_equal(nvmlDeviceGetPersistenceMode(fixture_gpu(0), &mode), NVML_SUCCESS);
            assert_int_equal(mode, 1);
        } else {
            assert_int_equal(slot(0, NULL, NULL), NVML_ERROR_NOT_SUPPORTED);
        }
    }
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exports),
        cmocka_unit_test(test_uninitialized),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_export_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
