/* Where GPUs are: all of them under one host bridge of one NUMA node, near every CPU. */
#include "sim/answer.h"
#include "sim/nvml.h"
#include <sched.h>
#include <string.h>

enum topology_level { LEVEL_INTERNAL = 0, LEVEL_NODE = 40, LEVEL_SYSTEM = 50 };

/* Every GPU is near every CPU of the computer that simulates it, and near its first NUMA node. */
static enum nvml_return put_set(const char *name, struct nvml_device *device, unsigned int size,
                                unsigned long *set, long members)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, name, device, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!set || size == 0) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    memset(set, 0, size * sizeof(*set));
    const long bits = (long)(8 * sizeof(*set));
    for (long i = 0; i < members && i / bits < (long)size; i++) {
        set[i / bits] |= 1UL << (i % bits);
    }
    return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetCpuAffinity(struct nvml_device *device, unsigned int size,
                                          unsigned long *set)
{
    return put_set(__func__, device, size, set, sysconf(_SC_NPROCESSORS_ONLN));
}

enum nvml_return nvmlDeviceGetCpuAffinityWithinScope(struct nvml_device *device, unsigned int size,
                                                     unsigned long *set, unsigned int scope)
{
    (void)scope;
    return put_set(__func__, device, size, set, sysconf(_SC_NPROCESSORS_ONLN));
}

enum nvml_return nvmlDeviceGetMemoryAffinity(struct nvml_device *device, unsigned int size,
                                             unsigned long *set, unsigned int scope)
{
    (void)scope;
    return put_set(__func__, device, size, set, 1);
}

/* Of the calling thread: to the CPUs near the GPU, or free again; here both are all of them. */
static enum nvml_return bind_thread(const char *name, struct nvml_device *device)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, name, device, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    cpu_set_t all;
    memset(&all, 0xFF, sizeof(all));
    return sched_setaffinity(0, sizeof(all), &all) == 0 ? NVML_SUCCESS : NVML_ERROR_UNKNOWN;
}

enum nvml_return nvmlDeviceSetCpuAffinity(struct nvml_device *device)
{
    return bind_thread(__func__, device);
}

enum nvml_return nvmlDeviceClearCpuAffinity(struct nvml_device *device)
{
    return bind_thread(__func__, device);
}

/* Of two GPUs one number: `same` if they are one, else `other`. */
static enum nvml_return compare(const char *name, struct nvml_device *a, struct nvml_device *b,
                                unsigned int same, unsigned int other, unsigned int *ret)
{
    struct nvml_device *both[] = {a, b};
    for (int i = 0; i < 2; i++) {
        CLEANUP(call_end) struct call c = {0};
        enum nvml_return rc = call_device(&c, i == 0 ? name : "", both[i], CALL_GPU);
        if (rc != NVML_SUCCESS) {
            return rc;
        }
    }
    if (!ret) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *ret = a == b ? same : other;
    return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetTopologyCommonAncestor(struct nvml_device *a, struct nvml_device *b,
                                                     unsigned int *level)
{
    return compare(__func__, a, b, LEVEL_INTERNAL, LEVEL_NODE, level);
}

enum nvml_return nvmlDeviceOnSameBoard(struct nvml_device *a, struct nvml_device *b, int *same)
{
    return compare(__func__, a, b, 1, 0, (unsigned int *)same);
}

/* The GPUs of the machine but one (or all, with `but` beyond the last), as far as there is room;
 * with a *count of 0 only how many. */
static enum nvml_return put_gpus(const struct call *c, uint32_t but, unsigned int *count,
                                 struct nvml_device **list)
{
    unsigned int room = *count, n = 0;
    for (uint32_t i = 0; i < c->file->gpu_count; i++) {
        if (i != but && (room == 0 || n < room)) {
            if (room > 0) {
                list[n] = handle_gpu(i);
            }
            n++;
        }
    }
    *count = n;
    return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetTopologyNearestGpus(struct nvml_device *device, unsigned int level,
                                                  unsigned int *count, struct nvml_device **list)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!count || (*count > 0 && !list) || level > LEVEL_SYSTEM || level % 10 != 0) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (level != LEVEL_NODE) {
        *count = 0;
        return NVML_SUCCESS;
    }
    return put_gpus(&c, c.index, count, list);
}

enum nvml_return nvmlSystemGetTopologyGpuSet(unsigned int cpu, unsigned int *count,
                                             struct nvml_device **list)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_system(&c, __func__);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!count || (*count > 0 && !list) || cpu >= (unsigned int)sysconf(_SC_NPROCESSORS_ONLN)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return put_gpus(&c, UINT32_MAX, count, list);
}

/* May one GPU reach the other's memory?  Not while either is cut up.  Over PCIe without atomics,
 * and over NVLink where both hang on the same kind of switch. */
enum nvml_return nvmlDeviceGetP2PStatus(struct nvml_device *a, struct nvml_device *b,
                                        unsigned int index, unsigned int *status)
{
    enum { INDEX_READ, INDEX_WRITE, INDEX_NVLINK, INDEX_ATOMICS, INDEX_PCI, INDEX_COUNT };
    enum { STATUS_OK, STATUS_NOT_SUPPORTED = 5 };
    bool has_mig = false;
    int versions[2] = {0, -1};
    struct nvml_device *both[] = {a, b};
    for (int i = 0; i < 2; i++) {
        CLEANUP(call_end) struct call c = {0};
        enum nvml_return rc = call_device(&c, i == 0 ? __func__ : "", both[i], CALL_GPU);
        if (rc != NVML_SUCCESS) {
            return rc;
        }
        has_mig = has_mig || c.state->mig_mode;
        versions[i] = nvlink_is_up(&c) ? c.model->board.nvlink_version : -1 - i;
    }
    if (!status || a == b || index >= INDEX_COUNT) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    bool is_linked = versions[0] == versions[1];
    bool is_able = !has_mig && (is_linked || (index != INDEX_NVLINK && index != INDEX_ATOMICS));
    *status = is_able ? STATUS_OK : STATUS_NOT_SUPPORTED;
    return NVML_SUCCESS;
}
