/* GPU performance monitoring: a sample is a copy of the meter's integrals, a metric the difference
 * of two.  What programs do inside their SMs is not simulated; the shares below are ours. */
#include "sim/answer.h"
#include "sim/meter.h"
#include "sim/nvml.h"
#include <string.h>

#define MIN_INTERVAL_NS 100000000LL

struct nvml_gpm_sample {
    uint32_t magic, gpu, serial;
    int32_t target; /* GPU instance id, or SIM_WHOLE */
    bool has_data;  /* an instance without compute instance has none */
    int64_t at_ns;
    double busy, memory_busy, sm_mhz;
};

#define SAMPLE_MAGIC 0x47504D31u

/* The samples of this process, so that an invented pointer is never read. */
#define MAX_SAMPLES 1024
pthread_mutex_t gpm_samples_lock = PTHREAD_MUTEX_INITIALIZER;
static struct nvml_gpm_sample *samples[MAX_SAMPLES];

static struct nvml_gpm_sample **find_sample(const struct nvml_gpm_sample *sample)
{
    for (int i = 0; i < MAX_SAMPLES; i++) {
        if (samples[i] == sample) {
            return &samples[i];
        }
    }
    return NULL;
}

enum nvml_return nvmlGpmSampleAlloc(struct nvml_gpm_sample **ret)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_system(&c, __func__);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!ret) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    pthread_mutex_lock(&gpm_samples_lock);
    struct nvml_gpm_sample **slot = find_sample(NULL);
    if (slot) {
        *slot = xcalloc(1, sizeof(**slot));
        *ret = *slot;
    }
    pthread_mutex_unlock(&gpm_samples_lock);
    return slot ? NVML_SUCCESS : NVML_ERROR_MEMORY;
}

enum nvml_return nvmlGpmSampleFree(struct nvml_gpm_sample *sample)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_system(&c, __func__);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    pthread_mutex_lock(&gpm_samples_lock);
    struct nvml_gpm_sample **slot = sample ? find_sample(sample) : NULL;
    if (slot) {
        free(*slot);
        *slot = NULL;
    }
    pthread_mutex_unlock(&gpm_samples_lock);
    return slot ? NVML_SUCCESS : NVML_ERROR_INVALID_ARGUMENT;
}

/* With the GPU locked. */
static enum nvml_return take(struct call *c, int target, struct nvml_gpm_sample *sample)
{
    if (c->model->arch < SIM_ARCH_HOPPER) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    meter_update(c->model, c->gpu);
    int i = target == SIM_WHOLE ? SIM_MAX_GI : target;
    struct nvml_gpm_sample filled = {
        .magic = SAMPLE_MAGIC,
        .gpu = c->index,
        .serial = target == SIM_WHOLE ? 0 : c->state->gis[target].serial,
        .target = target,
        .has_data = target == SIM_WHOLE || slice_ci_count(&c->state->gis[target]) > 0,
        .at_ns = c->gpu->meter.at_ns,
        .busy = c->gpu->meter.busy[i],
        .memory_busy = c->gpu->meter.memory_busy[i],
        .sm_mhz = c->model->sm_clock_mhz,
    };
    pthread_mutex_lock(&gpm_samples_lock);
    struct nvml_gpm_sample **slot = sample ? find_sample(sample) : NULL;
    if (slot) {
        **slot = filled;
    }
    pthread_mutex_unlock(&gpm_samples_lock);
    return slot ? NVML_SUCCESS : NVML_ERROR_INVALID_ARGUMENT;
}

enum nvml_return nvmlGpmSampleGet(struct nvml_device *device, struct nvml_gpm_sample *sample)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU | CALL_MIG);
    return rc != NVML_SUCCESS ? rc : take(&c, c.is_mig ? (int)c.gi : SIM_WHOLE, sample);
}

enum nvml_return nvmlGpmMigSampleGet(struct nvml_device *device, unsigned int gi,
                                     struct nvml_gpm_sample *sample)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU | CALL_MIG_ON);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (gi >= SIM_MAX_GI || !c.state->gis[gi].is_used) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return take(&c, (int)gi, sample);
}

enum nvml_return nvmlGpmQueryDeviceSupport(struct nvml_device *device,
                                           struct nvml_gpm_support *support)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU | CALL_MIG);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!support) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (support->version != 1) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    support->is_supported = c.model->arch >= SIM_ARCH_HOPPER;
    return NVML_SUCCESS;
}

/* What is metric `id` in percent (or bytes per second) at this SM and DRAM activity (0..1)? */
static bool metric_value(unsigned int id, double sm, double memory, double *ret)
{
    static const struct {
        unsigned int id;
        double sm, memory;
    } shares[] = {
        {1, 100, 0},  /* GRAPHICS_UTIL */
        {2, 100, 0},  /* SM_UTIL */
        {3, 60, 0},   /* SM_OCCUPANCY */
        {4, 20, 0},   /* INTEGER_UTIL */
        {5, 40, 0},   /* ANY_TENSOR_UTIL */
        {6, 0, 0},    /* DFMA_TENSOR_UTIL */
        {7, 40, 0},   /* HMMA_TENSOR_UTIL */
        {9, 0, 0},    /* IMMA_TENSOR_UTIL */
        {10, 0, 100}, /* DRAM_BW_UTIL */
        {11, 0, 0},   /* FP64_UTIL */
        {12, 30, 0},  /* FP32_UTIL */
        {13, 10, 0},  /* FP16_UTIL */
        {20, 5e7, 0}, /* PCIE_TX_PER_SEC */
        {21, 5e7, 0}, /* PCIE_RX_PER_SEC */
    };
    for (size_t i = 0; i < ARRAY_SIZE(shares); i++) {
        if (shares[i].id == id) {
            *ret = shares[i].sm * sm + shares[i].memory * memory;
            return true;
        }
    }
    return false;
}

static enum nvml_return metric(const struct nvml_gpm_sample *a, const struct nvml_gpm_sample *b,
                               struct nvml_gpm_metric *m)
{
    m->short_name = m->long_name = m->unit = NULL;
    m->value = 0;
    if (!a->has_data || !b->has_data || b->at_ns - a->at_ns < MIN_INTERVAL_NS) {
        return NVML_ERROR_NO_DATA;
    }
    double s = (double)(b->at_ns - a->at_ns) / 1e9;
    return metric_value(m->metric_id, (b->busy - a->busy) / s,
                        (b->memory_busy - a->memory_busy) / s, &m->value)
               ? NVML_SUCCESS
               : NVML_ERROR_NOT_SUPPORTED;
}

static bool copy_sample(const struct nvml_gpm_sample *sample, struct nvml_gpm_sample *ret)
{
    pthread_mutex_lock(&gpm_samples_lock);
    struct nvml_gpm_sample **slot = sample ? find_sample(sample) : NULL;
    if (slot) {
        *ret = **slot;
    }
    pthread_mutex_unlock(&gpm_samples_lock);
    return slot && ret->magic == SAMPLE_MAGIC;
}

enum nvml_return nvmlGpmMetricsGet(struct nvml_gpm_metrics *metrics)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_system(&c, __func__);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!metrics) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (metrics->version != 1) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    struct nvml_gpm_sample a, b;
    if (!copy_sample(metrics->sample1, &a) || !copy_sample(metrics->sample2, &b) ||
        a.gpu != b.gpu || a.target != b.target || a.serial != b.serial) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    for (unsigned int i = 0; i < metrics->count; i++) {
        metrics->metrics[i].nvml_return = metric(&a, &b, &metrics->metrics[i]);
    }
    return NVML_SUCCESS;
}

/* Streaming is a mode of the hardware that changes nothing here. */
static enum nvml_return streaming_change(struct call *c, struct sim_state *next, void *arg)
{
    if (c->model->arch < SIM_ARCH_HOPPER) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    next->settings.gpm_streaming = (int32_t)((const struct setting *)arg)->value;
    return NVML_SUCCESS;
}

enum nvml_return nvmlGpmSetStreamingEnabled(struct nvml_device *device, unsigned int state)
{
    return setting_change(__func__, device, CALL_GPU, state, 1, streaming_change);
}

enum nvml_return nvmlGpmQueryIfStreamingEnabled(struct nvml_device *device, unsigned int *state)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU | CALL_MIG);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!state) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (c.model->arch < SIM_ARCH_HOPPER) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    *state = (unsigned int)c.state->settings.gpm_streaming;
    return NVML_SUCCESS;
}
