/* Accounts of the processes that used a GPU: those that run, and of those that ended while
 * accounting was on the last SIM_MAX_ACCOUNTS (the driver has room for 4000).  On a GPU with MIG on
 * accounting is off and stays so. */
#include "base/clock.h"
#include "sim/answer.h"
#include "sim/nvml.h"

ANSWER(nvmlDeviceGetAccountingMode, CALL_GPU, c->state->settings.has_accounting)
ANSWER(nvmlDeviceGetAccountingBufferSize, CALL_GPU, 4000)

static enum nvml_return mode_change(struct call *c, struct sim_state *next, void *arg)
{
    unsigned int mode = ((struct setting *)arg)->value;
    if (next->mig_mode) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    next->settings.has_accounting = (int32_t)mode;
    if (mode == 0) {
        c->gpu->account_head = 0;
    }
    return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceSetAccountingMode(struct nvml_device *device, unsigned int mode)
{
    return setting_change(__func__, device, CALL_GPU, mode, 1, mode_change);
}

static enum nvml_return begin(struct call *c, const char *name, struct nvml_device *device,
                              unsigned int want)
{
    enum nvml_return rc = call_device(c, name, device, CALL_GPU | want);
    return rc == NVML_SUCCESS && !c->state->settings.has_accounting ? NVML_ERROR_NOT_SUPPORTED : rc;
}

static unsigned int ended_count(const struct sim_gpu *gpu)
{
    return (unsigned int)(gpu->account_head < SIM_MAX_ACCOUNTS ? gpu->account_head
                                                               : SIM_MAX_ACCOUNTS);
}

/* The i-th of those that ended, 0 the last. */
static const struct sim_account *ended(const struct sim_gpu *gpu, unsigned int i)
{
    return &gpu->accounts[(gpu->account_head - 1 - i) % SIM_MAX_ACCOUNTS];
}

static void add_pid(int32_t pid, unsigned int pids[], unsigned int *n)
{
    for (unsigned int i = 0; i < *n; i++) {
        if (pids[i] == (unsigned int)pid) {
            return;
        }
    }
    pids[(*n)++] = (unsigned int)pid;
}

enum nvml_return nvmlDeviceGetAccountingPids(struct nvml_device *device, unsigned int *count,
                                             unsigned int *pids)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = begin(&c, __func__, device, 0);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!count || (*count > 0 && !pids)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    unsigned int all[SIM_MAX_LOADS + SIM_MAX_ACCOUNTS], n = 0, room = *count;
    for (int i = 0; i < SIM_MAX_LOADS; i++) {
        if (c.gpu->loads[i].is_used) {
            add_pid(c.gpu->loads[i].pid, all, &n);
        }
    }
    for (unsigned int i = 0; i < ended_count(c.gpu); i++) {
        add_pid(ended(c.gpu, i)->pid, all, &n);
    }
    for (unsigned int i = 0; i < n && i < room; i++) {
        pids[i] = all[i];
    }
    *count = n;
    return n > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}

static struct nvml_accounting_stats stats_of(const struct sim_account *a, bool is_running)
{
    return (struct nvml_accounting_stats){
        .gpu_utilization = a->sm_pct,
        .memory_utilization = a->sm_pct / 2,
        .max_memory_usage = a->memory_bytes,
        .time_ms = is_running ? 0 : (unsigned long long)(a->end_real_ms - a->start_real_ms),
        .start_time_us = (unsigned long long)a->start_real_ms * 1000,
        .is_running = is_running,
    };
}

enum nvml_return nvmlDeviceGetAccountingStats(struct nvml_device *device, unsigned int pid,
                                              struct nvml_accounting_stats *stats)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = begin(&c, __func__, device, 0);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!stats) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    for (int i = 0; i < SIM_MAX_LOADS; i++) {
        const struct sim_load *l = &c.gpu->loads[i];
        if (l->is_used && (unsigned int)l->pid == pid) {
            const struct sim_account a = {.sm_pct = l->sm_pct,
                                          .memory_bytes = l->memory_bytes,
                                          .start_real_ms = l->start_real_ms};
            *stats = stats_of(&a, true);
            return NVML_SUCCESS;
        }
    }
    for (unsigned int i = 0; i < ended_count(c.gpu); i++) {
        if ((unsigned int)ended(c.gpu, i)->pid == pid) {
            *stats = stats_of(ended(c.gpu, i), false);
            return NVML_SUCCESS;
        }
    }
    return NVML_ERROR_NOT_FOUND;
}

enum nvml_return nvmlDeviceClearAccountingPids(struct nvml_device *device)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = begin(&c, __func__, device, CALL_ROOT);
    if (rc == NVML_SUCCESS) {
        c.gpu->account_head = 0;
    }
    return rc;
}
