/* What the board's own ROMs say, and what depends on how the board was built: all of it from
 * captures, and NOT_SUPPORTED where no capture of this model is known. */
#include "sim/answer.h"
#include "sim/meter.h"
#include "sim/nvml.h"
#include <stdlib.h>
#include <string.h>

static enum nvml_return put_known(const char *name, struct nvml_device *device, char *text,
                                  unsigned int length, size_t offset)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, name, device, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    const char *known =
        *(const char *const *)(const void *)((const char *)&c.model->board + offset);
    if (!text) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return known[0] ? put_text(text, length, known) : NVML_ERROR_NOT_SUPPORTED;
}

enum nvml_return nvmlDeviceGetBoardPartNumber(struct nvml_device *device, char *part,
                                              unsigned int length)
{
    return put_known(__func__, device, part, length, offsetof(struct sim_board, part));
}

enum nvml_return nvmlDeviceGetInforomImageVersion(struct nvml_device *device, char *version,
                                                  unsigned int length)
{
    return put_known(__func__, device, version, length, offsetof(struct sim_board, image_version));
}

enum nvml_return nvmlDeviceGetInforomVersion(struct nvml_device *device, unsigned int object,
                                             char *version, unsigned int length)
{
    enum { OBJECT_OEM, OBJECT_ECC, OBJECT_COUNT = 4 };
    if (object == OBJECT_OEM) {
        return put_known(__func__, device, version, length,
                         offsetof(struct sim_board, oem_version));
    }
    if (object == OBJECT_ECC) {
        return put_known(__func__, device, version, length,
                         offsetof(struct sim_board, ecc_version));
    }
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    /* The others (power management) are in no capture. */
    return object >= OBJECT_COUNT || !version ? NVML_ERROR_INVALID_ARGUMENT
                                              : NVML_ERROR_NOT_SUPPORTED;
}

static int64_t known(int value)
{
    return value > 0 ? value : ANSWER_NONE;
}

/* Eight modules share a baseboard; a card is alone. */
ANSWER(nvmlDeviceGetModuleId, CALL_GPU, strstr(c->model->key, "SXM") ? c->index % 8 + 1 : 1)
ANSWER(nvmlDeviceGetMemoryBusWidth, CALL_GPU, known(c->model->board.bus_bits))
ANSWER(nvmlDeviceGetPowerSource, CALL_GPU, 0) /* NVML_POWER_SOURCE_AC */
/* No CPU hangs on NVLink-C2C here; before Hopper there is no such link. */
ANSWER(nvmlDeviceGetC2cModeInfoV, CALL_GPU, c->model->arch >= SIM_ARCH_HOPPER ? 0 : ANSWER_NONE)

/* Temperatures at which something happens.  nvml.h prefers fields for Ada and later, where each
 * counts from the limit, but has this still answer. */
enum nvml_return nvmlDeviceGetTemperatureThreshold(struct nvml_device *device, unsigned int type,
                                                   unsigned int *ret)
{
    enum { TYPE_COUNT = 8 }; /* those from 4 on are for boards with fans or a target */
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!ret || type >= TYPE_COUNT) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    const struct sim_board *b = &c.model->board;
    const int values[TYPE_COUNT] = {b->shutdown_c, b->slowdown_c,
                                    b->limit_c > 0 ? SIM_UNKNOWN : b->memory_max_c, b->gpu_max_c};
    if (values[type] <= 0) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    *ret = (unsigned int)values[type];
    return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetMarginTemperature(struct nvml_device *device,
                                                struct nvml_margin_temperature *margin)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!margin) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (margin->version != NVML_STRUCT_VERSION(struct nvml_margin_temperature, 1)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    if (c.model->board.limit_c <= 0) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    meter_update(c.model, c.gpu);
    margin->celsius = c.model->board.limit_c - (int)c.gpu->meter.celsius;
    return NVML_SUCCESS;
}
