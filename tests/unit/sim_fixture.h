#pragma once
#include "sim/load.h"
#include "sim/machine.h"
#include "sim/nvml.h"
#include "sim/trouble.h"
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* A machine in a temporary directory, named by TANGRAM_SIM, with nvmlInit done. */
struct fixture {
    char dir[64];
};

static inline int fixture_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static inline struct fixture *fixture_new(const char *model, int gpus, const char *latency,
                                          bool is_flipped, const char *driver)
{
    struct fixture *f = xcalloc(1, sizeof(*f));
    snprintf(f->dir, sizeof(f->dir), "/tmp/tangram-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    struct sim_plan plan = {.gpus = {{.model = model, .count = gpus, .is_flipped = is_flipped}},
                            .gpu_count = 1,
                            .driver_version = driver,
                            .seed = 7};
    struct error err = {0};
    assert_int_equal(latency_parse(latency, &plan.latency, &err), 0);
    assert_int_equal(sim_machine_create(f->dir, &plan, &err), 0);
    setenv("TANGRAM_SIM", f->dir, 1);
    assert_int_equal(nvmlInit_v2(), NVML_SUCCESS);
    return f;
}

static inline void fixture_free(struct fixture *f)
{
    assert_int_equal(nvmlShutdown(), NVML_SUCCESS);
    nftw(f->dir, fixture_remove, 16, FTW_DEPTH | FTW_PHYS);
    free(f);
}

/* A child that runs a load on (gi, ci) until it is killed; returns when the load counts. */
static inline pid_t fixture_load(const char *dir, int gi, int ci, uint32_t sm_pct,
                                 uint64_t bytes)
{
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct sim_machine *m = NULL;
        struct sim_load load = {
            .gi = (int8_t)gi, .ci = (int8_t)ci, .sm_pct = sm_pct, .memory_bytes = bytes};
        int index = 0;
        if (sim_machine_open(dir, &m, NULL) < 0) {
            _exit(1);
        }
        sim_lock(&m->file->gpus[0].state);
        int r = load_add(m, 0, &load, &index, NULL);
        sim_unlock(&m->file->gpus[0].state);
        if (r < 0 || write(ready[1], "x", 1) != 1) {
            _exit(1);
        }
        pause();
        _exit(0);
    }
    char x = 0;
    close(ready[1]);
    assert_int_equal(read(ready[0], &x, 1), 1);
    close(ready[0]);
    return pid;
}

static inline void fixture_end_load(pid_t pid)
{
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static inline struct nvml_device *fixture_gpu(unsigned int index)
{
    struct nvml_device *device = NULL;
    assert_int_equal(nvmlDeviceGetHandleByIndex_v2(index, &device), NVML_SUCCESS);
    return device;
}

static inline struct nvml_device *fixture_mig_gpu(unsigned int index)
{
    struct nvml_device *device = fixture_gpu(index);
    enum nvml_return activation = NVML_ERROR_UNKNOWN;
    assert_int_equal(nvmlDeviceSetMigMode(device, 1, &activation), NVML_SUCCESS);
    assert_int_equal(activation, NVML_SUCCESS);
    return device;
}

/* Creates where the driver likes; returns the GPU instance id, or -(return code). */
static inline int fixture_create(struct nvml_device *device, unsigned int profile)
{
    struct nvml_gpu_instance *gi = NULL;
    enum nvml_return rc = nvmlDeviceCreateGpuInstance(device, profile, &gi);
    if (rc != NVML_SUCCESS) {
        return -(int)rc;
    }
    struct nvml_gi_info info;
    assert_int_equal(nvmlGpuInstanceGetInfo(gi, &info), NVML_SUCCESS);
    assert_int_equal(info.profile_id, profile);
    return (int)info.id;
}

/* The MIG device with these ids, found as every client finds it; NULL when there is none. */
static inline struct nvml_device *fixture_mig(struct nvml_device *device, unsigned int gi,
                                              unsigned int ci)
{
    struct nvml_device *mig = NULL;
    for (unsigned int i = 0; nvmlDeviceGetMigDeviceHandleByIndex(device, i, &mig) == 0; i++) {
        unsigned int g = 99, c = 99;
        assert_int_equal(nvmlDeviceGetGpuInstanceId(mig, &g), NVML_SUCCESS);
        assert_int_equal(nvmlDeviceGetComputeInstanceId(mig, &c), NVML_SUCCESS);
        if (g == gi && c == ci) {
            return mig;
        }
    }
    return NULL;
}

/* With a compute instance of the given profile; the MIG device. */
static inline struct nvml_device *fixture_slice(struct nvml_device *device, unsigned int profile,
                                                unsigned int ci_profile,
                                                struct nvml_gpu_instance **ret_gi,
                                                struct nvml_compute_instance **ret_ci)
{
    assert_int_equal(nvmlDeviceCreateGpuInstance(device, profile, ret_gi), NVML_SUCCESS);
    assert_int_equal(nvmlGpuInstanceCreateComputeInstance(*ret_gi, ci_profile, ret_ci),
                     NVML_SUCCESS);
    struct nvml_ci_info info;
    assert_int_equal(nvmlComputeInstanceGetInfo_v2(*ret_ci, &info), NVML_SUCCESS);
    assert_ptr_equal(info.device, device);
    assert_ptr_equal(info.gpu_instance, *ret_gi);
    struct nvml_gi_info gi;
    assert_int_equal(nvmlGpuInstanceGetInfo(*ret_gi, &gi), NVML_SUCCESS);
    struct nvml_device *mig = fixture_mig(device, gi.id, info.id);
    assert_non_null(mig);
    return mig;
}
