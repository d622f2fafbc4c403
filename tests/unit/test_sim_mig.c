/* Placement, ids and the life of slices, through the exported functions alone. */
#include "sim_fixture.h"
#include <string.h>

/* Creates `profiles` in order on a fresh GPU and compares the GPU instance ids. */
static void check_ids(const char *model, bool is_flipped, const int *profiles, const int *ids)
{
    struct fixture *f = fixture_new(model, 1, "none", is_flipped, "590.48.01");
    struct nvml_device *gpu = fixture_mig_gpu(0);
    for (int i = 0; profiles[i] >= 0; i++) {
        assert_int_equal(fixture_create(gpu, (unsigned int)profiles[i]), ids[i]);
    }
    fixture_free(f);
}

#define LIST(...) ((const int[]){__VA_ARGS__, -1})

/* The worked examples of docs/simulator.md: public logs and captures. */
static void test_gi_ids(void **state)
{
    (void)state;
    const char *h = "H100-SXM5-80GB";
    check_ids(h, false, LIST(19, 19, 19, 19, 19, 19, 19), LIST(13, 11, 12, 7, 8, 9, 10));
    check_ids(h, true, LIST(19, 19, 19, 19, 19, 19, 19), LIST(9, 7, 8, 11, 12, 13, 14));
    check_ids(h, false, LIST(9, 14, 19, 19), LIST(2, 3, 9, 10));
    check_ids(h, false, LIST(19, 14, 5), LIST(13, 5, 1));
    check_ids(h, false, LIST(9, 19, 14, 19), LIST(2, 7, 4, 8));
    check_ids(h, false, LIST(14, 19, 19, 19, 19, 19), LIST(5, 13, 7, 8, 9, 10));
    check_ids(h, false, LIST(9, 9), LIST(2, 1));
    check_ids(h, false, LIST(15, 15, 15), LIST(5, 3, 4));
    check_ids(h, false, LIST(0), LIST(0));
    check_ids("A30", false, LIST(14, 14), LIST(3, 4));
    check_ids("A30", false, LIST(5), LIST(1));
    check_ids("A30", false, LIST(0), LIST(0));
    check_ids("RTX-PRO-6000-BSE", false, LIST(14, 14), LIST(3, 4));
}

/* 19,19,14 leaves no window for a 3g (the user guide says: ask for the 3g first). */
static void test_order_matters(void **state)
{
    (void)state;
    struct fixture *f = fixture_new("A100-SXM4-40GB", 1, "none", false, "590.48.01");
    struct nvml_device *gpu = fixture_mig_gpu(0);
    assert_true(fixture_create(gpu, 19) >= 0);
    assert_true(fixture_create(gpu, 19) >= 0);
    assert_true(fixture_create(gpu, 14) >= 0);
    assert_int_equal(fixture_create(gpu, 9), -NVML_ERROR_INSUFFICIENT_RESOURCES);
    fixture_free(f);
}

static unsigned int room(struct nvml_device *gpu, unsigned int profile)
{
    unsigned int n = 99;
    assert_int_equal(nvmlDeviceGetGpuInstanceRemainingCapacity(gpu, profile, &n), NVML_SUCCESS);
    return n;
}

static void test_remaining_capacity(void **state)
{
    (void)state;
    struct fixture *f = fixture_new("H100-SXM5-80GB", 1, "none", false, "590.48.01");
    struct nvml_device *gpu = fixture_mig_gpu(0);
    static const struct {
        unsigned int create, profile[7], room[7];
    } steps[] = {
        {5, {19, 20, 15, 14, 9, 5, 0}, {3, 1, 2, 1, 1, 0, 0}},
        {14, {19, 20, 15, 14, 9, 5, 0}, {1, 1, 1, 0, 0, 0, 0}},
        {19, {19, 20, 15, 14, 9, 5, 0}, {0, 0, 0, 0, 0, 0, 0}},
    };
    assert_int_equal(room(gpu, 19), 7);
    assert_int_equal(room(gpu, 0), 1);
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        assert_true(fixture_create(gpu, steps[i].create) >= 0);
        for (size_t k = 0; k < 7; k++) {
            assert_int_equal(room(gpu, steps[i].profile[k]), steps[i].room[k]);
        }
    }
    fixture_free(f);
}

static void test_explicit_placement(void **state)
{
    (void)state;
    struct fixture *f = fixture_new("H100-SXM5-80GB", 1, "none", false, "590.48.01");
    struct nvml_device *gpu = fixture_mig_gpu(0);
    struct nvml_gpu_instance *gi = NULL;
    struct nvml_gi_info info;
    struct nvml_placement at2 = {2, 2}, at1 = {1, 2}, wrong_size = {2, 1}, far = {1000, 2};
    assert_int_equal(nvmlDeviceCreateGpuInstanceWithPlacement(gpu, 14, &at2, &gi), NVML_SUCCESS);
    assert_int_equal(nvmlGpuInstanceGetInfo(gi, &info), NVML_SUCCESS);
    assert_int_equal(info.id, 4);
    assert_int_equal(info.placement.start, 2);
    assert_int_equal(info.placement.size, 2);
    assert_ptr_equal(info.device, gpu);
    struct nvml_gpu_instance *other = NULL;
    assert_int_equal(nvmlDeviceCreateGpuInstanceWithPlacement(gpu, 14, &at2, &other),
                     NVML_ERROR_INSUFFICIENT_RESOURCES);
    assert_int_equal(nvmlDeviceCreateGpuInstanceWithPlacement(gpu, 14, &at1, &other),
                     NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvmlDeviceCreateGpuInstanceWithPlacement(gpu, 14, &wrong_size, &other),
                     NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvmlDeviceCreateGpuInstanceWithPlacement(gpu, 14, &far, &other),
                     NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvmlDeviceCreateGpuInstanceWithPlacement(gpu, 14, NULL, &other),
                     NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvmlDeviceCreateGpuInstance(gpu, 77, &other), NVML_ERROR_INVALID_ARGUMENT);
    fixture_free(f);
}

/* One +me per GPU, and none beside the whole-GPU profile's OFA. */
static void test_engine_budget(void **state)
{
    (void)state;
    struct fixture *f = fixture_new("RTX-PRO-6000-BSE", 1, "none", false, "590.48.01");
    struct nvml_device *gpu = fixture_mig_gpu(0);
    assert_true(fixture_create(gpu, 65) >= 0); /* 1g.24gb+me.all takes every engine */
    assert_int_equal(fixture_create(gpu, 14), -NVML_ERROR_INSUFFICIENT_RESOURCES);
    assert_int_equal(fixture_create(gpu, 47), -NVML_ERROR_INSUFFICIENT_RESOURCES);
    assert_true(fixture_create(gpu, 67) >= 0); /* 1g.24gb-me needs none */
    assert_int_equal(room(gpu, 14), 0);
    assert_int_equal(room(gpu, 67), 2);
    fixture_free(f);
    f = fixture_new("A100-SXM4-40GB", 1, "none", false, "590.48.01");
    gpu = fixture_mig_gpu(0);
    assert_true(fixture_create(gpu, 20) >= 0);
    assert_int_equal(fixture_create(gpu, 20), -NVML_ERROR_INSUFFICIENT_RESOURCES);
    assert_int_equal(fixture_create(gpu, 0), -NVML_ERROR_INSUFFICIENT_RESOURCES);
    fixture_free(f);
}

static void get_uuid(struct nvml_device *device, char uuid[96])
{
    assert_int_equal(nvmlDeviceGetUUID(device, uuid, 96), NVML_SUCCESS);
}

static void test_mig_devices(void **state)
{
    (void)state;
    struct fixture *f = fixture_new("H100-SXM5-80GB", 1, "none", false, "590.48.01");
    struct nvml_device *gpu = fixture_mig_gpu(0), *found = NULL;
    struct nvml_gpu_instance *gi = NULL, *empty = NULL;
    struct nvml_compute_instance *ci[2] = {NULL, NULL};
    struct nvml_device *mig = fixture_slice(gpu, 9, 0, &gi, &ci[0]);
    assert_int_equal(nvmlGpuInstanceCreateComputeInstance(gi, 1, &ci[1]),
                     NVML_ERROR_INSUFFICIENT_RESOURCES); /* 2c only at 0, taken by the 1c */
    assert_int_equal(nvmlGpuInstanceCreateComputeInstance(gi, 0, &ci[1]), NVML_SUCCESS);
    assert_int_equal(nvmlDeviceCreateGpuInstance(gpu, 19, &empty), NVML_SUCCESS);
    unsigned int n = 0, id = 99;
    assert_int_equal(nvmlDeviceGetMaxMigDeviceCount(gpu, &n), NVML_SUCCESS);
    assert_int_equal(n, 7);
    /* A GPU instance without compute instance is no MIG device. */
    assert_int_equal(nvmlDeviceGetMigDeviceHandleByIndex(gpu, 2, &found), NVML_ERROR_NOT_FOUND);
    assert_int_equal(nvmlDeviceGetMigDeviceHandleByIndex(gpu, 1, &found), NVML_SUCCESS);
    assert_int_equal(nvmlDeviceGetComputeInstanceId(found, &id), NVML_SUCCESS);
    assert_int_equal(id, 1);
    char name[96], uuid[96], again[96], old[160];
    assert_int_equal(nvmlDeviceGetName(mig, name, 96), NVML_SUCCESS);
    assert_string_equal(name, "NVIDIA H100 80GB HBM3 MIG 1c.3g.40gb");
    struct nvml_attributes a;
    assert_int_equal(nvmlDeviceGetAttributes_v2(mig, &a), NVML_SUCCESS);
    assert_int_equal(a.multiprocessor_count, 16);
    assert_int_equal(a.shared_copy_engine_count, 3);
    assert_int_equal(a.gpu_instance_slice_count, 3);
    assert_int_equal(a.compute_instance_slice_count, 1);
    assert_int_equal(a.memory_size_mb, 40448);
    get_uuid(mig, uuid);
    assert_int_equal(strncmp(uuid, "MIG-", 4), 0);
    assert_int_equal(strlen(uuid), 40);
    assert_int_equal(nvmlDeviceGetHandleByUUID(uuid, &found), NVML_SUCCESS);
    assert_ptr_equal(found, mig);
    get_uuid(gpu, again);
    snprintf(old, sizeof(old), "MIG-%s/2/0", again);
    assert_int_equal(nvmlDeviceGetHandleByUUID(old, &found), NVML_SUCCESS);
    assert_ptr_equal(found, mig);
    /* Indices are dense: the second device becomes the first. */
    assert_int_equal(nvmlComputeInstanceDestroy(ci[0]), NVML_SUCCESS);
    assert_int_equal(nvmlDeviceGetMigDeviceHandleByIndex(gpu, 0, &found), NVML_SUCCESS);
    assert_int_equal(nvmlDeviceGetComputeInstanceId(found, &id), NVML_SUCCESS);
    assert_int_equal(id, 1);
    assert_int_equal(nvmlDeviceGetName(mig, name, 96), NVML_ERROR_INVALID_ARGUMENT); /* stale */
    /* The same slice made again has the same UUID, yet another handle. */
    assert_int_equal(nvmlGpuInstanceCreateComputeInstance(gi, 0, &ci[0]), NVML_SUCCESS);
    found = fixture_mig(gpu, 2, 0);
    get_uuid(found, again);
    assert_string_equal(uuid, again);
    assert_ptr_not_equal(found, mig);
    fixture_free(f);
}

static void test_destroy(void **state)
{
    (void)state;
    struct fixture *f = fixture_new("A100-SXM4-40GB", 1, "none", false, "590.48.01");
    struct nvml_device *gpu = fixture_mig_gpu(0);
    struct nvml_gpu_instance *gi = NULL, *list[7];
    struct nvml_compute_instance *ci = NULL;
    fixture_slice(gpu, 19, 0, &gi, &ci);
    assert_int_equal(nvmlGpuInstanceDestroy(gi), NVML_ERROR_IN_USE);
    enum nvml_return activation = NVML_SUCCESS;
    unsigned int current = 9, pending = 9, count = 32764;
    assert_int_equal(nvmlDeviceSetMigMode(gpu, 0, &activation), NVML_SUCCESS);
    assert_int_equal(activation, NVML_ERROR_IN_USE);
    assert_int_equal(nvmlDeviceGetMigMode(gpu, &current, &pending), NVML_SUCCESS);
    assert_int_equal(current, 1);
    assert_int_equal(pending, 0); /* Ampere: after the next reset */
    assert_int_equal(nvmlDeviceGetGpuInstances(gpu, 19, list, &count), NVML_SUCCESS);
    assert_int_equal(count, 1);
    assert_ptr_equal(list[0], gi);
    assert_int_equal(nvmlComputeInstanceDestroy(ci), NVML_SUCCESS);
    assert_int_equal(nvmlComputeInstanceDestroy(ci), NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvmlGpuInstanceDestroy(gi), NVML_SUCCESS);
    assert_int_equal(nvmlGpuInstanceDestroy(gi), NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvmlDeviceGetGpuInstanceById(gpu, 13, &gi), NVML_ERROR_NOT_FOUND);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gi_ids),
        cmocka_unit_test(test_order_matters),
        cmocka_unit_test(test_remaining_capacity),
        cmocka_unit_test(test_explicit_placement),
        cmocka_unit_test(test_engine_budget),
        cmocka_unit_test(test_mig_devices),
        cmocka_unit_test(test_destroy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
