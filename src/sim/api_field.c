/* Numbered fields.  Each answers for itself; a field that is not known is NOT_SUPPORTED. */
#include "base/clock.h"
#include "sim/call.h"
#include "sim/meter.h"
#include "sim/nvml.h"
#include <string.h>

static enum nvml_return put_uint(struct nvml_field_value *v, int64_t value)
{
    if (value < 0) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    v->value_type = NVML_VALUE_UINT;
    v->value.ui = (unsigned int)value;
    return NVML_SUCCESS;
}

static enum nvml_return put_ull(struct nvml_field_value *v, int64_t value)
{
    if (value < 0) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    v->value_type = NVML_VALUE_ULONGLONG;
    v->value.ull = (unsigned long long)value;
    return NVML_SUCCESS;
}

static int64_t limit_mw(const struct call *c)
{
    return c->model->power_w > 0 ? (int64_t)c->model->power_w * 1000 : -1;
}

static enum nvml_return power_field(const struct call *c, struct nvml_field_value *v)
{
    double w = meter_power_w(c->model, c->gpu);
    if (v->scope_id > 2) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (v->scope_id != 0) {
        return NVML_ERROR_NOT_SUPPORTED; /* only the GPU, not module or memory */
    }
    return put_uint(v, w < 0 ? -1 : (int64_t)(w * 1000));
}

static enum nvml_return field(struct call *c, struct nvml_field_value *v)
{
    switch (v->field_id) {
    case 1: /* ECC_CURRENT */
    case 2: /* ECC_PENDING */
        return put_uint(v, 1);
    case 3: /* ECC_SBE_VOL_TOTAL */
    case 5: /* ECC_SBE_AGG_TOTAL */
        return put_ull(v, (int64_t)c->gpu->ecc_corrected);
    case 4: /* ECC_DBE_VOL_TOTAL */
    case 6: /* ECC_DBE_AGG_TOTAL */
        return put_ull(v, (int64_t)c->gpu->ecc_uncorrected);
    case 83: /* TOTAL_ENERGY_CONSUMPTION, mJ */
        meter_update(c->model, c->gpu);
        return put_ull(v, c->model->power_w > 0 ? (int64_t)c->gpu->meter.energy_mj : -1);
    case 91: /* NVLINK_LINK_COUNT: no links are simulated */
    case 94: /* PCIE_REPLAY_COUNTER */
    case 95: /* PCIE_REPLAY_ROLLOVER_COUNTER */
        return put_uint(v, 0);
    case 142: /* REMAPPED_COR, UNC, PENDING, FAILURE */
    case 143:
    case 144:
    case 145:
        return slice_gi_count(c->state) > 0 ? NVML_ERROR_NOT_SUPPORTED : put_uint(v, 0);
    case 184: /* IS_RESETLESS_MIG_SUPPORTED */
        return put_uint(v, c->model->arch != SIM_ARCH_AMPERE);
    case 185: /* POWER_AVERAGE */
    case 186: /* POWER_INSTANT */
        return power_field(c, v);
    case 189: /* POWER_DEFAULT_LIMIT */
    case 190: /* POWER_CURRENT_LIMIT */
    case 192: /* POWER_REQUESTED_LIMIT */
        return v->scope_id == 0 ? put_uint(v, limit_mw(c)) : NVML_ERROR_NOT_SUPPORTED;
    case 199: /* IS_MIG_MODE_INDEPENDENT_MIG_QUERY_CAPABLE */
        return put_uint(v, call_knows_profiles(c, false));
    default:
        return NVML_ERROR_NOT_SUPPORTED;
    }
}

enum nvml_return nvmlDeviceGetFieldValues(struct nvml_device *device, int count,
                                          struct nvml_field_value *values)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = call_device(&c, __func__, device, CALL_GPU | CALL_MIG);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!values || count <= 0) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    for (int i = 0; i < count; i++) {
        values[i].timestamp_us = clock_real_ms() * 1000;
        values[i].latency_us = 0;
        memset(&values[i].value, 0, sizeof(values[i].value));
        values[i].nvml_return = c.is_mig ? NVML_ERROR_NOT_SUPPORTED : field(&c, &values[i]);
    }
    return NVML_SUCCESS;
}
