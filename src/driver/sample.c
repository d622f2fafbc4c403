#include "driver/gpu.h"
#include <math.h>

/* Telemetry.  What the driver does not tell is left out (valid bits), whatever the reason: a sample
 * never fails, except that a lost GPU says so.
 *
 * GPM (Hopper and later) measures between two samples at least GPM_MIN_MS apart; the earlier one is
 * kept from job to job, and belongs to an instance by id, profile and start together. */

#define GPM_MIN_MS 100
#define GPM_VERSION 1u

void gpu_forget_samples(struct gpu *gpu)
{
    for (size_t i = 0; i < ARRAY_SIZE(gpu->gpm); i++) {
        if (gpu->gpm[i].sample) {
            GPU_CALL(gpu, gpm_free, gpu->gpm[i].sample);
        }
        gpu->gpm[i] = (struct gpu_gpm){0};
    }
    gpu->gpm_support = -1;
}

static bool has_gpm(struct gpu *gpu)
{
    struct nvml_gpm_support support = {.version = GPM_VERSION};

    if (gpu->gpm_support < 0) {
        nvml_return answer = GPU_CALL(gpu, gpm_support, gpu->device, &support);
        gpu->gpm_support = answer == NVML_SUCCESS && support.is_supported;
    }
    return gpu->gpm_support > 0;
}

static struct gpu_gpm *find_slot(struct gpu *gpu, const struct driver_sample_instance *of)
{
    struct gpu_gpm *unused = NULL;

    for (size_t i = 0; i < ARRAY_SIZE(gpu->gpm); i++) {
        struct gpu_gpm *slot = &gpu->gpm[i];
        if (!slot->sample) {
            unused = unused ? unused : slot;
        } else if (slot->gi_id == of->gi_id && slot->profile_id == of->profile_id &&
                   slot->start == of->start) {
            return slot;
        }
    }
    if (unused) {
        *unused =
            (struct gpu_gpm){.gi_id = of->gi_id, .profile_id = of->profile_id, .start = of->start};
    }
    return unused;
}

static bool take_percent(const struct nvml_gpm_metric *metric, float *ret)
{
    if (metric->code != NVML_SUCCESS || !isfinite(metric->value) || metric->value < 0) {
        return false;
    }
    *ret = metric->value > 100 ? 100.0f : (float)metric->value;
    return true;
}

static void compute_gpm(struct gpu *gpu, nvml_gpm_sample first, nvml_gpm_sample second,
                        struct driver_reading *to)
{
    struct nvml_gpm_get get = {.version = GPM_VERSION,
                               .count = 3,
                               .first = first,
                               .second = second,
                               .metrics = {{.id = NVML_GPM_GRAPHICS_UTIL},
                                           {.id = NVML_GPM_SM_UTIL},
                                           {.id = NVML_GPM_DRAM_UTIL}}};

    if (GPU_CALL(gpu, gpm_metrics, &get) != NVML_SUCCESS) {
        return;
    }
    if (take_percent(&get.metrics[0], &to->busy_percent)) {
        to->valid |= DRIVER_HAS_GPU_UTIL;
    }
    if (take_percent(&get.metrics[1], &to->sm_percent)) {
        to->valid |= DRIVER_HAS_SM_UTIL;
    }
    if (take_percent(&get.metrics[2], &to->dram_percent)) {
        to->valid |= DRIVER_HAS_MEMORY_UTIL;
    }
}

/* One GPU instance; gi_id MIG_NO_ID: the whole GPU. */
static void sample_gpm(struct gpu *gpu, struct driver_sample_instance *to)
{
    struct gpu_gpm *slot = find_slot(gpu, to);
    int64_t now_ms = clock_mono_ms();
    nvml_gpm_sample sample = NULL;
    nvml_return answer;

    if (!slot) {
        return;
    }
    slot->is_seen = true;
    if ((slot->sample && now_ms - slot->mono_ms < GPM_MIN_MS) ||
        GPU_CALL(gpu, gpm_alloc, &sample) != NVML_SUCCESS) {
        return;
    }
    answer = to->gi_id == MIG_NO_ID ? GPU_CALL(gpu, gpm_sample, gpu->device, sample)
                                    : GPU_CALL(gpu, gpm_mig_sample, gpu->device, to->gi_id, sample);
    if (answer != NVML_SUCCESS) {
        GPU_CALL(gpu, gpm_free, sample);
        return;
    }
    if (slot->sample) {
        compute_gpm(gpu, slot->sample, sample, &to->read);
        to->read.span_ms = (uint32_t)(now_ms - slot->mono_ms);
        GPU_CALL(gpu, gpm_free, slot->sample);
    }
    slot->sample = sample;
    slot->mono_ms = now_ms;
}

/* Samples of what is no more; keeps_unseen: nobody has looked at all that there is. */
static void end_round(struct gpu *gpu, bool keeps_unseen)
{
    for (size_t i = 0; i < ARRAY_SIZE(gpu->gpm); i++) {
        struct gpu_gpm *slot = &gpu->gpm[i];
        if (slot->sample && !slot->is_seen && !keeps_unseen) {
            GPU_CALL(gpu, gpm_free, slot->sample);
            *slot = (struct gpu_gpm){0};
        }
        slot->is_seen = false;
    }
}

static void read_memory(struct gpu *gpu, nvml_device device, struct driver_reading *to)
{
    struct nvml_memory_v2 v2 = {.version = NVML_VERSION(struct nvml_memory_v2, 2)};
    struct nvml_memory v1 = {0};

    if (GPU_CALL(gpu, memory_v2, device, &v2) == NVML_SUCCESS) {
        to->memory_used_mib = v2.used >> 20;
        to->memory_total_mib = v2.total >> 20;
        to->valid |= DRIVER_HAS_MEMORY;
    } else if (GPU_CALL(gpu, memory, device, &v1) == NVML_SUCCESS) {
        to->memory_used_mib = v1.used >> 20;
        to->memory_total_mib = v1.total >> 20;
        to->valid |= DRIVER_HAS_MEMORY;
    }
}

static void sample_gpu(struct gpu *gpu, struct driver_sample *sample)
{
    struct nvml_utilization utilization = {0};

    read_memory(gpu, gpu->device, &sample->read);
    if (GPU_CALL(gpu, power, gpu->device, &sample->power_mw) == NVML_SUCCESS) {
        sample->read.valid |= DRIVER_HAS_POWER;
    }
    if (GPU_CALL(gpu, energy, gpu->device, &sample->energy_mj) == NVML_SUCCESS) {
        sample->read.valid |= DRIVER_HAS_ENERGY;
    }
    if (GPU_CALL(gpu, temperature, gpu->device, NVML_TEMPERATURE_GPU, &sample->temperature_c) ==
        NVML_SUCCESS) {
        sample->read.valid |= DRIVER_HAS_TEMPERATURE;
    }
    if (GPU_CALL(gpu, utilization, gpu->device, &utilization) == NVML_SUCCESS) {
        sample->read.busy_percent = (float)utilization.gpu;
        sample->read.dram_percent = (float)utilization.memory;
        sample->read.valid |= DRIVER_HAS_GPU_UTIL | DRIVER_HAS_MEMORY_UTIL;
    }
}

/* With MIG on, the GPU's own utilisation comes from GPM, where there is GPM. */
static void sample_gpu_gpm(struct gpu *gpu, struct driver_sample *sample)
{
    struct driver_sample_instance whole = {.gi_id = MIG_NO_ID};
    uint32_t missing;

    sample_gpm(gpu, &whole);
    missing = whole.read.valid & ~sample->read.valid;
    if (missing & DRIVER_HAS_GPU_UTIL) {
        sample->read.busy_percent = whole.read.busy_percent;
    }
    if (missing & DRIVER_HAS_SM_UTIL) {
        sample->read.sm_percent = whole.read.sm_percent;
    }
    if (missing & DRIVER_HAS_MEMORY_UTIL) {
        sample->read.dram_percent = whole.read.dram_percent;
    }
    sample->read.valid |= missing;
    sample->read.span_ms = whole.read.span_ms;
}

static void sample_instance(struct gpu *gpu, const struct gpu_gi *gi,
                            const struct gpu_processes *processes,
                            struct driver_sample_instance *to)
{
    struct driver_result aside = {0};
    struct mig_instance instance = {0};

    if (gpu_list_cis(gpu, gi, &instance, NULL, &aside) < 0 || instance.ci_count == 0) {
        return; /* without a compute instance there is nothing to measure */
    }
    gpu_count_processes(processes, &instance);
    if (instance.has_processes) {
        to->read.process_count = instance.process_count;
        to->read.valid |= DRIVER_HAS_PROCESSES;
    }
    /* Siblings in one GPU instance share its memory: any of them tells. */
    nvml_device device = gpu_mig_device(gpu, gi->id, instance.ci[0].id);
    if (device) {
        read_memory(gpu, device, &to->read);
    }
    if (has_gpm(gpu)) {
        sample_gpm(gpu, to);
    }
}

/* Somebody waits for this worker, perhaps for a slice. */
static bool is_hurried(const struct gpu *gpu)
{
    return atomic_load(gpu->waiting) > 0;
}

static void sample_instances(struct gpu *gpu, const struct driver_job *job,
                             const struct gpu_processes *processes, struct driver_result *result)
{
    struct driver_sample *sample = &result->sample;
    struct gpu_gi_list list = {0};

    if (gpu_list_gis(gpu, &list, result) < 0) {
        return;
    }
    for (uint32_t i = 0; i < list.count && !is_hurried(gpu); i++) {
        const struct gpu_gi *gi = &list.rows[i];
        if (job->starts && !(job->starts & 1u << gi->start)) {
            continue;
        }
        struct driver_sample_instance *to = &sample->instances[sample->instance_count++];
        *to = (struct driver_sample_instance){.gi_id = gi->id,
                                              .profile_id = gi->profile->id,
                                              .start = gi->start,
                                              .size = gi->size};
        sample_instance(gpu, gi, processes, to);
    }
}

void gpu_sample(struct gpu *gpu, const struct driver_job *job, struct driver_result *result)
{
    struct driver_sample *sample = &result->sample;
    struct gpu_processes processes CLEANUP(gpu_processes_done) = {0};

    sample->mono_ms = clock_mono_ms();
    if (gpu_list_processes(gpu, &processes, result) < 0) {
        return;
    }
    if (processes.is_known) {
        sample->read.valid |= DRIVER_HAS_PROCESSES;
        sample->read.process_count = processes.count;
    }
    if (job->is_brief) {
        return;
    }
    sample_gpu(gpu, sample);
    if (has_gpm(gpu)) {
        sample->read.valid |= DRIVER_CAN_SM_UTIL;
        sample_gpu_gpm(gpu, sample);
    }
    if (job->has_instances) {
        sample_instances(gpu, job, &processes, result);
    }
    end_round(gpu, is_hurried(gpu));
}
