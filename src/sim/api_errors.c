/* Memory errors and what became of them.  None happen by themselves. */
#include "sim/answer.h"
#include "sim/nvml.h"

/* Current and pending: a change waits for the next reset. */
enum nvml_return nvmlDeviceGetEccMode(struct nvml_device *device, unsigned int *current,
                                      unsigned int *pending)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU);
    if (rc == NVML_SUCCESS && (!current || !pending)) {
        rc = NVML_ERROR_INVALID_ARGUMENT;
    }
    if (rc == NVML_SUCCESS) {
        *current = !c.state->is_ecc_off;
        *pending = !c.state->is_ecc_off_pending;
    }
    return rc;
}

/* Errors are counted only with ECC on. */
static enum nvml_return put_counter(const char *name, struct nvml_device *device,
                                    unsigned int error_type, unsigned int counter_type,
                                    unsigned long long *ret)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, name, device, CALL_GPU | CALL_MIG);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!ret || error_type > 1 || counter_type > 1) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (c.state->is_ecc_off) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    *ret = error_type == 0 ? c.gpu->ecc_corrected : c.gpu->ecc_uncorrected;
    return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetTotalEccErrors(struct nvml_device *device, unsigned int error_type,
                                             unsigned int counter_type, unsigned long long *ret)
{
    return put_counter(__func__, device, error_type, counter_type, ret);
}

/* The older way to ask for places; there are no others than device memory. */
enum nvml_return nvmlDeviceGetDetailedEccErrors(struct nvml_device *device, unsigned int error_type,
                                                unsigned int counter_type,
                                                struct nvml_ecc_counts *counts)
{
    unsigned long long value = 0;
    enum nvml_return rc =
        put_counter(__func__, device, error_type, counter_type, counts ? &value : NULL);
    if (rc == NVML_SUCCESS) {
        *counts = (struct nvml_ecc_counts){.device_memory = value};
    }
    return rc;
}

enum nvml_return nvmlDeviceGetMemoryErrorCounter(struct nvml_device *device,
                                                 unsigned int error_type, unsigned int counter_type,
                                                 unsigned int location, unsigned long long *ret)
{
    enum { LOCATION_DRAM = 2, LOCATION_SRAM = 7, LOCATION_COUNT };
    unsigned long long value = 0;
    enum nvml_return rc =
        put_counter(__func__, device, error_type, counter_type, ret ? &value : NULL);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (location >= LOCATION_COUNT) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (location != LOCATION_DRAM && location != LOCATION_SRAM) {
        return NVML_ERROR_NOT_SUPPORTED; /* since Turing only these two */
    }
    *ret = location == LOCATION_DRAM ? value : 0;
    return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetSramEccErrorStatus(struct nvml_device *device,
                                                 struct nvml_sram_ecc_status *status)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!status) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    unsigned int version = status->version;
    if (version != NVML_STRUCT_VERSION(struct nvml_sram_ecc_status, 1)) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    if (c.model->arch < SIM_ARCH_AMPERE || c.state->is_ecc_off) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    *status = (struct nvml_sram_ecc_status){.version = version};
    return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetRemappedRows(struct nvml_device *device, unsigned int *corrected,
                                           unsigned int *uncorrected, unsigned int *is_pending,
                                           unsigned int *has_failed)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!corrected || !uncorrected || !is_pending || !has_failed) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (slice_gi_count(c.state) > 0 || c.model->arch < SIM_ARCH_AMPERE) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    *corrected = *uncorrected = *is_pending = *has_failed = 0;
    return NVML_SUCCESS;
}

/* Banks that can still remap all their rows: all of them. */
enum nvml_return nvmlDeviceGetRowRemapperHistogram(struct nvml_device *device,
                                                   struct nvml_row_remapper_histogram *histogram)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!histogram) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (c.model->board.remap_banks <= 0) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    *histogram =
        (struct nvml_row_remapper_histogram){.max = (unsigned int)c.model->board.remap_banks};
    return NVML_SUCCESS;
}

/* Turing retires pages, later GPUs remap rows; no page was ever retired. */
static enum nvml_return retired_pages(const char *name, struct nvml_device *device,
                                      unsigned int cause, unsigned int *count)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, name, device, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!count || cause > 1) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (c.model->arch >= SIM_ARCH_AMPERE) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    *count = 0;
    return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetRetiredPages(struct nvml_device *device, unsigned int cause,
                                           unsigned int *count, unsigned long long *addresses)
{
    (void)addresses;
    return retired_pages(__func__, device, cause, count);
}

enum nvml_return nvmlDeviceGetRetiredPages_v2(struct nvml_device *device, unsigned int cause,
                                              unsigned int *count, unsigned long long *addresses,
                                              unsigned long long *timestamps)
{
    (void)addresses;
    (void)timestamps;
    return retired_pages(__func__, device, cause, count);
}

enum nvml_return nvmlDeviceGetRetiredPagesPendingStatus(struct nvml_device *device,
                                                        unsigned int *is_pending)
{
    return retired_pages(__func__, device, 0, is_pending);
}
