/* Facts about the board that do not change. */
#include "sim/answer.h"
#include "sim/meter.h"
#include "sim/nvml.h"
#include <stdio.h>
#include <string.h>

enum nvml_return answer_number(const char *name, struct nvml_device *device, unsigned int *ret,
                               unsigned int want, int64_t (*value)(struct call *c))
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, name, device, want);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!ret) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if ((want & CALL_MIG_OFF) && c.state->mig_mode) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    int64_t v = value(&c);
    if (v == ANSWER_NONE) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    *ret = (unsigned int)v;
    return NVML_SUCCESS;
}

static int pcie_generation(const struct call *c)
{
    return c->model->arch >= SIM_ARCH_HOPPER ? 5 : c->model->arch >= SIM_ARCH_AMPERE ? 4 : 3;
}

static int64_t limit_mw(const struct call *c)
{
    double w = meter_limit_w(c->model, c->gpu);
    return w > 0 ? (int64_t)(w * 1000 + 0.5) : ANSWER_NONE;
}

ANSWER(nvmlDeviceGetDisplayActive, CALL_GPU | CALL_MIG, 0)
/* Could a display be attached?  Captures of GPUs of every generation say so, of slices not. */
ANSWER(nvmlDeviceGetDisplayMode, CALL_GPU | CALL_MIG, !c->is_mig)
ANSWER(nvmlDeviceGetDefaultEccMode, CALL_GPU, 1)
ANSWER(nvmlDeviceGetVirtualizationMode, CALL_GPU, 0)
ANSWER(nvmlDeviceGetMultiGpuBoard, CALL_GPU, 0)
ANSWER(nvmlDeviceGetBoardId, CALL_GPU, c->gpu->bus << 8)
ANSWER(nvmlDeviceGetPcieLinkMaxSpeed, CALL_GPU, pcie_generation(c)) /* the enumeration agrees */
ANSWER(nvmlDeviceGetPcieSpeed, CALL_GPU, 1000 << pcie_generation(c))
ANSWER(nvmlDeviceGetMaxPcieLinkGeneration, CALL_GPU, pcie_generation(c))
ANSWER(nvmlDeviceGetGpuMaxPcieLinkGeneration, CALL_GPU, pcie_generation(c))
ANSWER(nvmlDeviceGetCurrPcieLinkGeneration, CALL_GPU, pcie_generation(c))
ANSWER(nvmlDeviceGetMaxPcieLinkWidth, CALL_GPU, 16)
ANSWER(nvmlDeviceGetCurrPcieLinkWidth, CALL_GPU, 16)
ANSWER(nvmlDeviceGetPcieReplayCounter, CALL_GPU, 0)
ANSWER(nvmlDeviceGetBusType, CALL_GPU, 2) /* NVML_BUS_TYPE_PCIE */
ANSWER(nvmlDeviceGetPowerManagementMode, CALL_GPU, 1)
ANSWER(nvmlDeviceGetPowerManagementLimit, CALL_GPU, limit_mw(c))
ANSWER(nvmlDeviceGetPowerManagementDefaultLimit, CALL_GPU,
       c->model->power_w > 0 ? c->model->power_w * 1000 : ANSWER_NONE)
ANSWER(nvmlDeviceGetEnforcedPowerLimit, CALL_GPU, limit_mw(c))

enum nvml_return nvmlDeviceGetPowerManagementLimitConstraints(struct nvml_device *device,
                                                              unsigned int *least_mw,
                                                              unsigned int *most_mw)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!least_mw || !most_mw) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (c.model->power_w <= 0 || c.model->power_min_w <= 0) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    *least_mw = (unsigned int)c.model->power_min_w * 1000;
    *most_mw = (unsigned int)c.model->power_w * 1000;
    return NVML_SUCCESS;
}

/* FP32 lanes per SM: 64 up to compute capability 8.0, 128 later. */
ANSWER(nvmlDeviceGetNumGpuCores, CALL_GPU | CALL_MIG_OFF,
       c->model->sms *(c->model->arch <= SIM_ARCH_AMPERE ? 64 : 128))

enum nvml_return nvmlDeviceValidateInforom(struct nvml_device *device)
{
    CLEANUP(call_end) struct call c = {0};
    return call_device(&c, __func__, device, CALL_GPU);
}

enum nvml_return nvmlDeviceGetVbiosVersion(struct nvml_device *device, char *version,
                                           unsigned int length)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU);
    return rc != NVML_SUCCESS ? rc : put_text(version, length, sim_model_vbios(c.model));
}

enum nvml_return nvmlDeviceGetGspFirmwareVersion(struct nvml_device *device, char *version)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU);
    return rc != NVML_SUCCESS ? rc : put_text(version, 80, c.file->driver_version);
}

/* Two words; both may be asked for, neither may be NULL. */
static enum nvml_return put_two(const char *name, struct nvml_device *device, unsigned int *a,
                                unsigned int *b, unsigned int value_a, unsigned int value_b)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, name, device, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!a || !b) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *a = value_a;
    *b = value_b;
    return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetGspFirmwareMode(struct nvml_device *device, unsigned int *enabled,
                                              unsigned int *by_default)
{
    return put_two(__func__, device, enabled, by_default, 1, 1);
}

enum nvml_return nvmlDeviceGetRepairStatus(struct nvml_device *device,
                                           struct nvml_repair_status *status)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!status) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (status->version != NVML_STRUCT_VERSION(struct nvml_repair_status, 1)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    status->is_channel_repair_pending = status->is_tpc_repair_pending = 0;
    return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetAddressingMode(struct nvml_device *device,
                                             struct nvml_addressing_mode *mode)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!mode) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (mode->version != NVML_STRUCT_VERSION(struct nvml_addressing_mode, 1)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    mode->value = 0; /* neither HMM nor ATS */
    return NVML_SUCCESS;
}

/* The fabric that NVLink's switches make: fabric manager has done its work where there are links
 * (so captures of HGX boards), and since Blackwell tells its health.  Before Hopper there is
 * nothing to ask about. */
static struct nvml_fabric_info_v3 fabric_of(const struct call *c)
{
    enum { COMPLETED = 3, HEALTHY = 1, NO_TIMEOUT_RECOVERY = 2 << 6 };
    bool has_fabric = c->model->board.nvlink_switches > 0;
    bool has_health = has_fabric && c->model->arch >= SIM_ARCH_BLACKWELL;
    return (struct nvml_fabric_info_v3){
        .status = has_fabric ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED,
        .state = has_fabric ? COMPLETED : 0,
        .health_mask = has_health ? NO_TIMEOUT_RECOVERY : 0,
        .health_summary = has_health ? HEALTHY : 0,
    };
}

static enum nvml_return begin_fabric(struct call *c, const char *name, struct nvml_device *device,
                                     const void *info)
{
    enum nvml_return rc = call_device(c, name, device, CALL_GPU);
    if (rc == NVML_SUCCESS && !info) {
        rc = NVML_ERROR_INVALID_ARGUMENT;
    }
    return rc == NVML_SUCCESS && c->model->arch < SIM_ARCH_HOPPER ? NVML_ERROR_NOT_SUPPORTED : rc;
}

enum nvml_return nvmlDeviceGetGpuFabricInfo(struct nvml_device *device,
                                            struct nvml_fabric_info *info)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = begin_fabric(&c, __func__, device, info);
    if (rc == NVML_SUCCESS) {
        struct nvml_fabric_info_v3 full = fabric_of(&c);
        *info = (struct nvml_fabric_info){.status = full.status, .state = full.state};
    }
    return rc;
}

/* Version 2 is version 3 without its last field. */
enum nvml_return nvmlDeviceGetGpuFabricInfoV(struct nvml_device *device, void *info)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = begin_fabric(&c, __func__, device, info);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    struct nvml_fabric_info_v3 full = fabric_of(&c);
    full.version = *(unsigned int *)info;
    if (full.version == NVML_STRUCT_VERSION(struct nvml_fabric_info_v2, 2)) {
        memcpy(info, &full, offsetof(struct nvml_fabric_info_v3, health_summary));
        return NVML_SUCCESS;
    }
    if (full.version == NVML_STRUCT_VERSION(struct nvml_fabric_info_v3, 3)) {
        memcpy(info, &full, sizeof(full));
        return NVML_SUCCESS;
    }
    return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
}

/* No video session is ever open. */
enum nvml_return nvmlDeviceGetEncoderStats(struct nvml_device *device, unsigned int *sessions,
                                           unsigned int *fps, unsigned int *latency_us)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU);
    if (rc == NVML_SUCCESS && (!sessions || !fps || !latency_us)) {
        rc = NVML_ERROR_INVALID_ARGUMENT;
    }
    if (rc == NVML_SUCCESS) {
        *sessions = *fps = *latency_us = 0;
    }
    return rc;
}

enum nvml_return nvmlDeviceGetFBCStats(struct nvml_device *device, struct nvml_fbc_stats *stats)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU);
    if (rc == NVML_SUCCESS && !stats) {
        rc = NVML_ERROR_INVALID_ARGUMENT;
    }
    if (rc == NVML_SUCCESS) {
        *stats = (struct nvml_fbc_stats){0};
    }
    return rc;
}

static enum nvml_return no_sessions(const char *name, struct nvml_device *device,
                                    unsigned int *count)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, name, device, CALL_GPU);
    if (rc == NVML_SUCCESS && !count) {
        rc = NVML_ERROR_INVALID_ARGUMENT;
    }
    if (rc == NVML_SUCCESS) {
        *count = 0;
    }
    return rc;
}

enum nvml_return nvmlDeviceGetEncoderSessions(struct nvml_device *device, unsigned int *count,
                                              void *list)
{
    (void)list;
    return no_sessions(__func__, device, count);
}

enum nvml_return nvmlDeviceGetFBCSessions(struct nvml_device *device, unsigned int *count,
                                          void *list)
{
    (void)list;
    return no_sessions(__func__, device, count);
}
