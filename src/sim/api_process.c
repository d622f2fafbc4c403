#include "base/clock.h"
#include "sim/call.h"
#include "sim/load.h"
#include "sim/nvml.h"

enum process_kind { PROCESS_COMPUTE, PROCESS_GRAPHICS, PROCESS_MPS };

/* The loads that this handle shows: a MIG device those of its compute instance, a GPU all. */
static bool is_shown(const struct call *c, const struct sim_load *load, enum process_kind kind)
{
    if (!load->is_used || kind == PROCESS_MPS || load->is_graphics != (kind == PROCESS_GRAPHICS)) {
        return false;
    }
    return !c->is_mig || (load->gi == (int)c->gi && load->ci == (int)c->ci);
}

static struct nvml_process describe(const struct sim_load *load)
{
    return (struct nvml_process){
        .pid = (unsigned int)load->pid,
        .used_gpu_memory = load->memory_bytes,
        .gpu_instance_id = load->gi < 0 ? NVML_NO_INSTANCE : (unsigned int)load->gi,
        .compute_instance_id = load->ci < 0 ? NVML_NO_INSTANCE : (unsigned int)load->ci};
}

/* Puts entry i of the caller's array. */
typedef void put_process(void *list, unsigned int i, const struct nvml_process *p);

static enum nvml_return list_processes(const char *name, struct nvml_device *device,
                                       unsigned int *count, void *list, enum process_kind kind,
                                       put_process *put)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, name, device, CALL_GPU | CALL_MIG);
    rc = rc == NVML_SUCCESS ? call_aggregate(&c) : rc;
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!count || (*count > 0 && !list)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    unsigned int room = list ? *count : 0, n = 0;
    for (int i = 0; i < SIM_MAX_LOADS; i++) {
        if (is_shown(&c, &c.gpu->loads[i], kind)) {
            if (n < room) {
                struct nvml_process p = describe(&c.gpu->loads[i]);
                put(list, n, &p);
            }
            n++;
        }
    }
    *count = n;
    return n > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}

static void put_v1(void *list, unsigned int i, const struct nvml_process *p)
{
    ((struct nvml_process_v1 *)list)[i] = (struct nvml_process_v1){p->pid, p->used_gpu_memory};
}

static void put_v2(void *list, unsigned int i, const struct nvml_process *p)
{
    ((struct nvml_process *)list)[i] = *p;
}

/* Three kinds, three versions each; v3 has the layout of v2. */
#define PROCESS_LISTS(kind, number)                                                                \
    enum nvml_return nvmlDeviceGet##kind##RunningProcesses(                                        \
        struct nvml_device *device, unsigned int *count, struct nvml_process_v1 *list)             \
    {                                                                                              \
        return list_processes(__func__, device, count, list, number, put_v1);                      \
    }                                                                                              \
    enum nvml_return nvmlDeviceGet##kind##RunningProcesses_v2(                                     \
        struct nvml_device *device, unsigned int *count, struct nvml_process *list)                \
    {                                                                                              \
        return list_processes(__func__, device, count, list, number, put_v2);                      \
    }                                                                                              \
    enum nvml_return nvmlDeviceGet##kind##RunningProcesses_v3(                                     \
        struct nvml_device *device, unsigned int *count, struct nvml_process *list)                \
    {                                                                                              \
        return list_processes(__func__, device, count, list, number, put_v2);                      \
    }

PROCESS_LISTS(Compute, PROCESS_COMPUTE)
PROCESS_LISTS(Graphics, PROCESS_GRAPHICS)
PROCESS_LISTS(MPSCompute, PROCESS_MPS)

static void put_detail(void *list, unsigned int i, const struct nvml_process *p)
{
    ((struct nvml_process_detail *)list)[i] = (struct nvml_process_detail){
        p->pid, p->used_gpu_memory, p->gpu_instance_id, p->compute_instance_id, 0};
}

enum nvml_return nvmlDeviceGetRunningProcessDetailList(struct nvml_device *device,
                                                       struct nvml_process_detail_list *list)
{
    if (!list) {
        CLEANUP(call_end) struct call c = {0};
        enum nvml_return rc = call_system(&c, __func__);
        return rc != NVML_SUCCESS ? rc : NVML_ERROR_INVALID_ARGUMENT;
    }
    if (list->version != NVML_STRUCT_VERSION(struct nvml_process_detail_list, 1)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (list->mode > PROCESS_MPS) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return list_processes(__func__, device, &list->count, list->processes,
                          (enum process_kind)list->mode, put_detail);
}

/* What one process used of a GPU since last time: while MIG is off, and not on a MIG device. */
typedef void put_usage(void *list, unsigned int i, const struct sim_load *load,
                       unsigned long long now_us);

static enum nvml_return list_usage(const char *name, struct nvml_device *device,
                                   unsigned int *count, void *list, unsigned long long last_seen_us,
                                   put_usage *put)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, name, device, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!count) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (c.state->mig_mode) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    unsigned long long now_us = (unsigned long long)clock_real_ms() * 1000;
    unsigned int room = list ? *count : 0, n = 0;
    for (int i = 0; i < SIM_MAX_LOADS && last_seen_us < now_us; i++) {
        if (c.gpu->loads[i].is_used && n++ < room) {
            put(list, n - 1, &c.gpu->loads[i], now_us);
        }
    }
    *count = n;
    if (n > room) {
        return NVML_ERROR_INSUFFICIENT_SIZE;
    }
    return n == 0 ? NVML_ERROR_NOT_FOUND : NVML_SUCCESS;
}

static void put_utilization(void *list, unsigned int i, const struct sim_load *load,
                            unsigned long long now_us)
{
    ((struct nvml_process_utilization *)list)[i] =
        (struct nvml_process_utilization){.pid = (unsigned int)load->pid,
                                          .timestamp_us = now_us,
                                          .sm = load->sm_pct,
                                          .memory = load->sm_pct / 2};
}

enum nvml_return nvmlDeviceGetProcessUtilization(struct nvml_device *device,
                                                 struct nvml_process_utilization *list,
                                                 unsigned int *count, unsigned long long last_seen)
{
    return list_usage(__func__, device, count, list, last_seen, put_utilization);
}

static void put_full(void *list, unsigned int i, const struct sim_load *load,
                     unsigned long long now_us)
{
    ((struct nvml_process_usage *)list)[i] =
        (struct nvml_process_usage){.pid = (unsigned int)load->pid,
                                    .timestamp_us = now_us,
                                    .sm = load->sm_pct,
                                    .memory = load->sm_pct / 2};
}

enum nvml_return nvmlDeviceGetProcessesUtilizationInfo(struct nvml_device *device,
                                                       struct nvml_process_usage_list *list)
{
    if (list && list->version != NVML_STRUCT_VERSION(struct nvml_process_usage_list, 1)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    return list_usage(__func__, device, list ? &list->count : NULL, list ? list->list : NULL,
                      list ? list->last_seen_us : 0, put_full);
}
