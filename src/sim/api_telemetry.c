/* What changes while programs run: power, temperature, clocks, utilisation, errors. */
#include "base/clock.h"
#include "sim/answer.h"
#include "sim/load.h"
#include "sim/meter.h"
#include "sim/nvml.h"
#include <stdlib.h>
#include <string.h>

static bool is_active(const struct call *c)
{
    return meter_activity(c->model, c->gpu, SIM_WHOLE) > 0;
}

static int64_t power_mw(struct call *c)
{
    double w = meter_power_w(c->model, c->gpu);
    return w < 0 ? ANSWER_NONE : (int64_t)(w * 1000);
}

static int64_t celsius(struct call *c)
{
    meter_update(c->model, c->gpu);
    return (int64_t)c->gpu->meter.celsius;
}

ANSWER(nvmlDeviceGetPowerUsage, CALL_GPU, power_mw(c))
ANSWER(nvmlDeviceGetPerformanceState, CALL_GPU, 0)
ANSWER(nvmlDeviceGetPersistenceMode, CALL_GPU, c->state->persistence)
ANSWER(nvmlDeviceGetComputeMode, CALL_GPU | CALL_MIG,
       c->is_mig ? c->state->gis[c->gi].cis[c->ci].compute_mode
                 : (c->state->mig_mode ? 0 : c->state->compute_mode))

enum nvml_return nvmlDeviceGetTemperature(struct nvml_device *device, unsigned int sensor,
                                          unsigned int *ret)
{
    return sensor != 0 ? answer_number(__func__, device, NULL, CALL_GPU, celsius)
                       : answer_number(__func__, device, ret, CALL_GPU, celsius);
}

enum nvml_return nvmlDeviceGetTemperatureV(struct nvml_device *device,
                                           struct nvml_temperature *temperature)
{
    if (!temperature) {
        return answer_number(__func__, device, NULL, CALL_GPU, celsius);
    }
    if (temperature->version != NVML_STRUCT_VERSION(struct nvml_temperature, 1)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    unsigned int value = 0;
    enum nvml_return rc = nvmlDeviceGetTemperature(device, temperature->sensor, &value);
    if (rc == NVML_SUCCESS) {
        temperature->celsius = (int)value;
    }
    return rc;
}

enum nvml_return nvmlDeviceGetTotalEnergyConsumption(struct nvml_device *device,
                                                     unsigned long long *energy)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!energy) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (c.model->power_w <= 0) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    meter_update(c.model, c.gpu);
    *energy = (unsigned long long)c.gpu->meter.energy_mj;
    return NVML_SUCCESS;
}

/* Gone with driver 595, as a capture of T4 shows. */
enum nvml_return nvmlDeviceGetPowerState(struct nvml_device *device, unsigned int *ret)
{
    enum { WITHOUT_DRIVER = 595 };
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU);
    if (rc == NVML_SUCCESS && !ret) {
        rc = NVML_ERROR_INVALID_ARGUMENT;
    }
    if (rc == NVML_SUCCESS && strtol(c.file->driver_version, NULL, 10) >= WITHOUT_DRIVER) {
        rc = NVML_ERROR_DEPRECATED;
    }
    if (rc == NVML_SUCCESS) {
        *ret = 0;
    }
    return rc;
}

/* Only P0 is simulated; what remains of the list is "unknown". */
enum nvml_return nvmlDeviceGetSupportedPerformanceStates(struct nvml_device *device,
                                                         unsigned int *states, unsigned int size)
{
    enum { STATE_UNKNOWN = 32, MOST_STATES = 16 };
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!states) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    unsigned int room = size / (unsigned int)sizeof(*states);
    if (room == 0) {
        return NVML_ERROR_INSUFFICIENT_SIZE;
    }
    for (unsigned int i = 0; i < room && i < MOST_STATES; i++) {
        states[i] = i == 0 ? 0 : STATE_UNKNOWN;
    }
    return NVML_SUCCESS;
}

/* Utilisation of a GPU is not reported while MIG is on, nor of a MIG device. */
enum nvml_return nvmlDeviceGetUtilizationRates(struct nvml_device *device,
                                               struct nvml_utilization *utilization)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!utilization) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (c.state->mig_mode) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    double a = meter_activity(c.model, c.gpu, SIM_WHOLE);
    utilization->gpu = (unsigned int)(a * 100 + 0.5);
    utilization->memory = (unsigned int)(a * 50 + 0.5);
    return NVML_SUCCESS;
}

/* No load uses a media engine. */
static enum nvml_return media(const char *name, struct nvml_device *device, unsigned int *ret,
                              unsigned int *period_us)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, name, device, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!ret || !period_us) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (c.state->mig_mode) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    *ret = 0;
    *period_us = 167000;
    return NVML_SUCCESS;
}

#define MEDIA(fn)                                                                                  \
    enum nvml_return fn(struct nvml_device *device, unsigned int *ret, unsigned int *period_us)    \
    {                                                                                              \
        return media(__func__, device, ret, period_us);                                            \
    }

MEDIA(nvmlDeviceGetEncoderUtilization)
MEDIA(nvmlDeviceGetDecoderUtilization)
MEDIA(nvmlDeviceGetJpgUtilization)
MEDIA(nvmlDeviceGetOfaUtilization)

static enum nvml_return put_mask(const char *name, struct nvml_device *device,
                                 unsigned long long *ret, bool is_supported_mask)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, name, device, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!ret) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    enum { REASON_IDLE = 1, REASON_APP_CLOCKS = 2, REASON_POWER_CAP = 4, REASONS_ALL = 0x1FF };
    *ret = is_supported_mask                  ? REASONS_ALL
           : !is_active(&c)                   ? REASON_IDLE
           : meter_is_capped(c.model, c.gpu)  ? REASON_POWER_CAP
           : c.state->settings.app_sm_mhz > 0 ? REASON_APP_CLOCKS
                                              : 0;
    return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetCurrentClocksEventReasons(struct nvml_device *device,
                                                        unsigned long long *ret)
{
    return put_mask(__func__, device, ret, false);
}

enum nvml_return nvmlDeviceGetCurrentClocksThrottleReasons(struct nvml_device *device,
                                                           unsigned long long *ret)
{
    return put_mask(__func__, device, ret, false);
}

enum nvml_return nvmlDeviceGetSupportedClocksEventReasons(struct nvml_device *device,
                                                          unsigned long long *ret)
{
    return put_mask(__func__, device, ret, true);
}

enum nvml_return nvmlDeviceGetSupportedClocksThrottleReasons(struct nvml_device *device,
                                                             unsigned long long *ret)
{
    return put_mask(__func__, device, ret, true);
}

enum nvml_return nvmlDeviceGetPcieThroughput(struct nvml_device *device, unsigned int counter,
                                             unsigned int *ret)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!ret || counter > 1) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *ret = (unsigned int)(meter_activity(c.model, c.gpu, SIM_WHOLE) * 100000); /* KB/s */
    return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetViolationStatus(struct nvml_device *device, unsigned int policy,
                                              struct nvml_violation_time *time)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!time || policy > 11) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *time =
        (struct nvml_violation_time){.reference_time = (unsigned long long)clock_real_ms() * 1000};
    return NVML_SUCCESS;
}

/* The driver keeps a buffer of samples; we have the present. */
static int64_t sample_value(struct call *c, unsigned int type)
{
    double a = meter_activity(c->model, c->gpu, SIM_WHOLE);
    switch (type) {
    case 0: /* TOTAL_POWER, mW */
        return power_mw(c);
    case 1: /* GPU_UTILIZATION */
        return c->state->mig_mode ? ANSWER_NONE : (int64_t)(a * 100 + 0.5);
    case 2: /* MEMORY_UTILIZATION */
        return c->state->mig_mode ? ANSWER_NONE : (int64_t)(a * 50 + 0.5);
    case 3: /* ENC, DEC */
    case 4:
        return c->state->mig_mode ? ANSWER_NONE : 0;
    case 5: /* PROCESSOR_CLK */
        return clock_now_mhz(c, 1);
    case 6: /* MEMORY_CLK */
        return clock_now_mhz(c, 2);
    default:
        return ANSWER_NONE;
    }
}

enum nvml_return nvmlDeviceGetSamples(struct nvml_device *device, unsigned int type,
                                      unsigned long long last_seen, unsigned int *value_type,
                                      unsigned int *count, struct nvml_sample *samples)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!value_type || !count) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    int64_t value = sample_value(&c, type);
    if (value == ANSWER_NONE) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    *value_type = NVML_VALUE_UINT;
    unsigned long long now = (unsigned long long)clock_real_ms() * 1000;
    unsigned int room = *count;
    *count = 1;
    if (!samples) {
        return NVML_SUCCESS; /* so large must the buffer be */
    }
    if (last_seen >= now) {
        return NVML_ERROR_NOT_FOUND;
    }
    if (room == 0) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    samples[0] = (struct nvml_sample){.timestamp_us = now, .value.ui = (unsigned int)value};
    return NVML_SUCCESS;
}
